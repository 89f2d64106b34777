/* Images in: nothing is believed that is not checked here, for readers check nothing. */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/image_priv.h"

enum { RECORD_MIN_BYTES = 16 };

struct check {
    const struct ksi_image_head *h;
    struct ksi_gen *g;
    struct ksi_tenant *tn;
    size_t max_names;
    uint64_t *hashes; /* of the dictionary */
    uint64_t recent[KSI_RECENT];
    struct ks_reader r; /* of the text or record at hand */
    bool bad;
};

static ks_err damaged(const char *what)
{
    return ks_fail(KS_ECORRUPT, "%s of a generation of traces is malformed", what);
}

static void note(struct check *c, uint64_t hash)
{
    uint64_t *recent = &c->recent[hash % KSI_RECENT];
    if (*recent == hash)
        return;
    *recent = hash;
    (void)ksi_bloom_add(c->g, hash);
}

/* Bytes of a chunk from a position on, up to its end; empty when there are none. */
static struct ks_slice bytes_at(const struct ksi_chunks *c, uint32_t pos)
{
    uint32_t chunk = pos >> KSI_CHUNK_BITS, off = pos & (KSI_CHUNK_BYTES - 1);
    if (chunk >= c->count || off >= c->len[chunk])
        return ks_slice("", 0);
    return ks_slice(c->ptr[chunk] + off, c->len[chunk] - off);
}

/* --- tables --- */
static ks_err read_u32s(struct ksi_gen *g, struct ks_reader *r, uint64_t n, uint32_t **array,
                        size_t *cap, size_t *count)
{
    if (n > ks_reader_left(r) / 4)
        return damaged("a table");
    KS_TRY(ksi_gen_reserve(g, (void **)array, cap, n + 1, sizeof **array));
    for (uint64_t i = 0; i < n; i++)
        (*array)[i] = ks_read_u32(r);
    *count = n;
    return KS_OK;
}

static ks_err check_dict(struct check *c)
{
    struct ksi_gen *g = c->g;
    c->hashes = ks_alloc_array(g->dict_count + 1, sizeof *c->hashes);
    if (!c->hashes)
        return KS_ENOMEM;
    for (size_t i = 0; i < g->dict_count; i++) {
        struct ks_reader r = ks_reader(bytes_at(&g->text, g->dict[i]));
        struct ks_slice s = ks_read_lp(&r);
        if (r.bad)
            return damaged("the dictionary");
        c->hashes[i] = ksi_text_hash(s);
    }
    return ksi_dict_index(g, c->hashes);
}

static ks_err check_shapes(struct check *c, struct ks_reader *r)
{
    struct ksi_gen *g = c->g;
    for (size_t i = 0; i < g->keys_count; i++)
        if (g->keys[i] >> 3 >= g->dict_count)
            return damaged("a shape");
    if (c->h->shapes > ks_reader_left(r) / 8)
        return damaged("a table");
    KS_TRY(ksi_gen_reserve(g, (void **)&g->shapes, &g->shapes_cap, c->h->shapes + 1,
                           sizeof *g->shapes));
    for (uint64_t i = 0; i < c->h->shapes; i++) {
        struct ksi_shape s = {.first = ks_read_u32(r), .count = ks_read_u32(r)};
        if (s.first > g->keys_count || s.count > g->keys_count - s.first)
            return damaged("a shape");
        s.hash = ks_hash64_seed(g->keys + s.first, s.count * sizeof *g->keys, ks_trace_seed());
        if (!ksi_table_roomy(&g->shape_table)) {
            KS_TRY(ksi_table_grow(g, &g->shape_table));
            for (uint32_t k = 0; k < g->shapes_count; k++)
                ksi_table_put(&g->shape_table, g->shapes[k].hash, k);
        }
        ksi_table_put(&g->shape_table, s.hash, (uint32_t)g->shapes_count);
        g->shape_table.count++;
        g->shapes[g->shapes_count++] = s;
    }
    return KS_OK;
}

static ks_err check_patterns(struct check *c, struct ks_reader *r)
{
    struct ksi_gen *g = c->g;
    for (uint64_t i = 0; i < c->h->patterns; i++) {
        uint32_t pos = ks_read_u32(r), len = ks_read_u32(r);
        struct ks_slice s = bytes_at(&g->text, pos);
        if (r->bad || !len || len > s.len || !ksi_pattern_valid(ks_slice(s.ptr, len)))
            return damaged("a pattern");
        KS_TRY(ksi_pattern_load(g, pos, len));
    }
    return KS_OK;
}

/* --- texts and lists --- */
/* A ref; its text's hash. key: NULL, or the hash of the attribute's key. */
static uint64_t check_text(struct check *c, const uint64_t *key, struct ks_slice *ret)
{
    const struct ksi_gen *g = c->g;
    uint64_t v = ks_read_varint(&c->r), hash = 0, len = 0;
    char scratch[KSI_UNPACKED_MAX];
    if (v & 1) {
        c->bad |= v >> 1 >= g->dict_count;
        if (c->bad)
            return 0;
        hash = c->hashes[v >> 1];
        if (ret)
            *ret = ksi_dict_text(&g->d, (uint32_t)(v >> 1));
        len = 1;
    } else if (!(v & 2)) {
        struct ks_slice s = ks_read_bytes(&c->r, v >> 2);
        if (c->r.bad)
            return 0;
        hash = ksi_text_hash(s);
        if (ret)
            *ret = s;
        len = s.len;
    } else {
        c->bad |= !key || v >> 2 >= g->patterns_count;
        if (c->bad)
            return 0;
        const struct ksi_pattern *p = &g->patterns[v >> 2];
        const uint8_t *at = c->r.p;
        for (unsigned i = 0; i < p->varints; i++)
            (void)ks_read_varint(&c->r);
        (void)ks_read_bytes(&c->r, p->nibble_bytes);
        if (c->r.bad)
            return 0;
        struct ks_slice s = ksi_unpack_value(&g->d, (uint32_t)(v >> 2), &at, scratch);
        hash = ksi_text_hash(s);
        len = s.len;
        if (ret)
            *ret = ks_slice("", 0); /* nothing that lasts */
    }
    if (len)
        note(c, key ? ksi_pair_hash(*key, hash) : hash);
    return hash;
}

static void check_value(struct check *c, uint32_t key, struct ks_slice *ret_text)
{
    const uint64_t *k = &c->hashes[key >> 3];
    switch (key & 7) {
    case KS_ATTR_EMPTY:
        break;
    case KS_ATTR_BOOL:
        note(c, ksi_pair_hash(*k, ksi_bool_hash(ks_read_u8(&c->r) != 0)));
        break;
    case KS_ATTR_INT:
        note(c, ksi_pair_hash(*k, ksi_int_hash((uint64_t)ks_read_zigzag(&c->r))));
        break;
    case KS_ATTR_DOUBLE:
        note(c, ksi_pair_hash(*k, ksi_real_hash(ks_read_u64(&c->r))));
        break;
    default:
        (void)check_text(c, k, ret_text);
    }
}

/* service: NULL, or what the text of service.name is told to. */
static void check_set(struct check *c, struct ksi_process *service)
{
    const struct ksi_gen *g = c->g;
    uint64_t number = ks_read_varint(&c->r);
    (void)ks_read_varint(&c->r);
    c->bad |= number >= g->shapes_count;
    if (c->bad || c->r.bad)
        return;
    const struct ksi_shape *sh = &g->shapes[number];
    for (uint32_t i = 0; i < sh->count && !c->bad && !c->r.bad; i++) {
        uint32_t key = g->keys[sh->first + i];
        struct ks_slice text = {"", 0};
        check_value(c, key, service ? &text : NULL);
        if (service && (key & 7) == KS_ATTR_STRING &&
            ks_slice_is(ksi_dict_text(&g->d, key >> 3), "service.name")) {
            service->has_service = true;
            service->service = text;
        }
    }
}

/* Resources have one text before their list, scopes three. */
static ks_err check_processes(struct check *c, struct ks_reader *table, uint64_t n, unsigned texts,
                              struct ksi_table *t, struct ksi_process **list, size_t *count,
                              size_t *cap)
{
    struct ksi_gen *g = c->g;
    if (n > ks_reader_left(table) / 8)
        return damaged("a table");
    KS_TRY(ksi_gen_reserve(g, (void **)list, cap, n + 1, sizeof **list));
    for (uint64_t i = 0; i < n; i++) {
        struct ksi_process p = {.pos = ks_read_u32(table), .len = ks_read_u32(table)};
        struct ks_slice s = bytes_at(&g->text, p.pos);
        if (p.len > s.len)
            return damaged("a resource");
        p.service = ks_slice("", 0);
        c->r = ks_reader(ks_slice(s.ptr, p.len));
        for (unsigned k = 0; k < texts; k++)
            (void)check_text(c, NULL, NULL);
        check_set(c, texts == 1 ? &p : NULL);
        if (c->bad || c->r.bad || c->r.p != c->r.end)
            return damaged("a resource");
        p.hash = ksi_text_hash(ks_slice(s.ptr, p.len));
        p.service_hash = ksi_text_hash(p.service);
        if (!ksi_table_roomy(t)) {
            KS_TRY(ksi_table_grow(g, t));
            for (uint32_t k = 0; k < *count; k++)
                ksi_table_put(t, (*list)[k].hash, k);
        }
        ksi_table_put(t, p.hash, (uint32_t)*count);
        t->count++;
        (*list)[(*count)++] = p;
    }
    return KS_OK;
}

/* --- spans --- */
struct seen {
    uint32_t prev, kind, status;
    uint64_t resource, start_ns, end_ns, name_hash;
    struct ks_slice name;
};

static void check_parts(struct check *c, unsigned bits1)
{
    uint64_t n = bits1 & 0x20 ? ks_read_varint(&c->r) : 0;
    for (; n && !c->bad && !c->r.bad; n--) {
        (void)ks_read_zigzag(&c->r);
        (void)check_text(c, NULL, NULL);
        check_set(c, NULL);
    }
    n = bits1 & 0x40 ? ks_read_varint(&c->r) : 0;
    for (; n && !c->bad && !c->r.bad; n--) {
        (void)ks_read_bytes(&c->r, 24);
        (void)ks_read_varint(&c->r);
        (void)check_text(c, NULL, NULL);
        check_set(c, NULL);
    }
}

static bool check_record(struct check *c, uint32_t pos, struct seen *ret)
{
    struct ksi_gen *g = c->g;
    c->r = ks_reader(bytes_at(&g->recs, pos));
    int64_t back = ks_read_zigzag(&c->r);
    unsigned bits1 = ks_read_u8(&c->r), bits2 = ks_read_u8(&c->r);
    ret->prev = back ? (uint32_t)((int64_t)pos - back) : KSI_NONE;
    ret->kind = bits1 & 7;
    ret->status = bits1 >> 3 & 3;
    if (ret->kind == 7)
        ret->kind = (uint32_t)ks_read_varint(&c->r);
    if (ret->status == 3)
        ret->status = (uint32_t)ks_read_varint(&c->r);
    if ((bits2 >> 3 & 7) == 7)
        (void)ks_read_varint(&c->r);
    ret->resource = ks_read_varint(&c->r);
    c->bad |= ret->resource >= g->resources_count || ks_read_varint(&c->r) >= g->scopes_count;
    ret->name_hash = check_text(c, NULL, &ret->name);
    (void)ks_read_u64(&c->r);
    if (bits2 & 4)
        (void)ks_read_u64(&c->r);
    ret->start_ns = g->base_ns + (uint64_t)ks_read_zigzag(&c->r);
    ret->end_ns = ret->start_ns + (uint64_t)ks_read_zigzag(&c->r);
    if (bits2 & 1)
        (void)check_text(c, NULL, NULL);
    if (bits1 & 0x80)
        (void)check_text(c, NULL, NULL);
    if (bits2 & 2) {
        (void)ks_read_varint(&c->r);
        (void)ks_read_varint(&c->r);
    }
    check_set(c, NULL);
    check_parts(c, bits1);
    return !c->bad && !c->r.bad;
}

static ks_err check_spans(struct check *c, struct ksi_slot *s)
{
    struct ksi_gen *g = c->g;
    uint32_t pos = s->tail;
    for (uint32_t n = s->spans; n; n--) {
        struct seen seen = {.name = {"", 0}};
        if (pos == KSI_NONE || !check_record(c, pos, &seen))
            return damaged("a span");
        const struct ksi_process *r = &g->resources[seen.resource];
        ksi_slot_note(g, s, (uint32_t)seen.resource, seen.start_ns, seen.end_ns, seen.status);
        (void)ksi_note_op(
            c->tn, g,
            &(struct ksi_op_key){r->service, r->service_hash, seen.name, seen.name_hash, seen.kind},
            c->max_names);
        pos = seen.prev;
    }
    return pos == KSI_NONE ? KS_OK : damaged("the list of spans of a trace");
}

static ks_err check_slots(struct check *c, struct ks_slice bytes)
{
    struct ksi_gen *g = c->g;
    struct ks_reader r = ks_reader(bytes);
    uint64_t most = 0;
    if (bytes.len / KSI_IMAGE_SLOT_BYTES != c->h->slots || bytes.len % KSI_IMAGE_SLOT_BYTES)
        return damaged("the list of traces");
    for (size_t i = 0; i < g->recs.count; i++)
        most += g->recs.len[i] / RECORD_MIN_BYTES;
    for (uint64_t i = 0; i < c->h->slots; i++) {
        struct ks_trace_id id = {ks_read_u64(&r), ks_read_u64(&r)};
        uint32_t tail = ks_read_u32(&r), spans = ks_read_u32(&r), refused = ks_read_u32(&r),
                 flags = ks_read_u32(&r);
        (void)ks_read_u64(&r);
        struct ksi_slot *s = ksi_gen_slot_add(g, id);
        if (!s)
            return KS_ENOMEM;
        if (g->first_seq + i < c->h->first_live) {
            s->id = (struct ks_trace_id){0}; /* evicted before */
            continue;
        }
        if ((spans && ks_trace_id_zero(id)) || spans > most - g->spans)
            return damaged("the list of traces");
        s->tail = spans ? tail : KSI_NONE;
        s->refused = refused;
        s->flags = flags & KSI_SLOT_STORED;
        s->spans = spans;
        KS_TRY(check_spans(c, s));
        g->spans += spans;
    }
    return KS_OK;
}

static ks_err build(struct check *c, struct ks_slice table, struct ks_slice slots)
{
    struct ksi_gen *g = c->g;
    const struct ksi_image_head *h = c->h;
    struct ks_reader r = ks_reader(table);
    if (h->dict > KSI_DICT_MAX)
        return damaged("the dictionary");
    KS_TRY(read_u32s(g, &r, h->dict, &g->dict, &g->dict_cap, &g->dict_count));
    KS_TRY(check_dict(c));
    KS_TRY(read_u32s(g, &r, h->keys, &g->keys, &g->keys_cap, &g->keys_count));
    KS_TRY(check_shapes(c, &r));
    /* Resources' values may be packed: patterns come first. */
    if (ks_reader_left(&r) / 8 != h->resources + h->scopes + h->patterns ||
        h->resources > UINT32_MAX || h->scopes > UINT32_MAX || h->patterns > UINT32_MAX)
        return damaged("a table");
    struct ks_reader patterns = r;
    if (h->resources + h->scopes)
        patterns.p += 8 * (h->resources + h->scopes);
    KS_TRY(check_patterns(c, &patterns));
    KS_TRY(check_processes(c, &r, h->resources, 1, &g->resource_table, &g->resources,
                           &g->resources_count, &g->resources_cap));
    KS_TRY(check_processes(c, &r, h->scopes, 3, &g->scope_table, &g->scopes, &g->scopes_count,
                           &g->scopes_cap));
    return check_slots(c, slots);
}

ks_err ksi_image_build(const struct ksi_image_head *h, struct ks_slice table, struct ks_slice slots,
                       struct ksi_tenant *tn, size_t max_names, struct ksi_gen *g)
{
    /* A value that is nowhere else comes about every so many bytes of records. */
    for (size_t i = 0; i < g->recs.count; i++)
        g->bloom_hint += g->recs.len[i] / 48;
    struct check c = {.h = h, .g = g, .tn = tn, .max_names = max_names};
    g->has_bytes = h->has_bytes;
    g->lsn = g->snap_lsn = h->lsn;
    ks_err err = build(&c, table, slots);
    ksi_gen_publish(g);
    ks_free(c.hashes);
    return err;
}
