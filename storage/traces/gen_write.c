/* Packs spans of a batch into a generation. See gen_priv.h for the layout. */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/gen_priv.h"

/* Values of the flags field that need no bytes. */
static const uint32_t common_flags[7] = {0, 1, 0x101, 0x301, 0x100, 0x300, 0x201};

void ksi_mapping_init(struct ksi_mapping *m)
{
    memset(m, 0, sizeof *m);
    ks_buf_init(&m->record, (size_t)8 << 20);
}

void ksi_mapping_done(struct ksi_mapping *m)
{
    ks_free(m->strings);
    ks_free(m->shapes);
    ks_free(m->resources);
    ks_free(m->scopes);
    ks_buf_done(&m->record);
}

static ks_err clear(uint32_t **map, size_t *cap, size_t count)
{
    KS_TRY(ks_array_reserve((void **)map, cap, count ? count : 1, sizeof **map));
    memset(*map, 0, count * sizeof **map);
    return KS_OK;
}

ks_err ksi_mapping_begin(struct ksi_mapping *m, const struct ks_batch *b)
{
    KS_TRY(ks_array_reserve((void **)&m->strings, &m->strings_cap, b->strings_count + 1,
                            sizeof *m->strings));
    memset(m->strings, 0, b->strings_count * sizeof *m->strings);
    memset(m->recent, 0, sizeof m->recent);
    KS_TRY(clear(&m->shapes, &m->shapes_cap, b->shapes_count));
    KS_TRY(clear(&m->resources, &m->resources_cap, b->resources_count));
    return clear(&m->scopes, &m->scopes_cap, b->scopes_count);
}

/* --- shapes --- */
static ks_err shape_add(struct ksi_gen *g, uint32_t first, uint32_t count, uint32_t *ret)
{
    struct ksi_table *t = &g->shape_table;
    uint64_t hash = ks_hash64_seed(g->keys + first, count * sizeof *g->keys, ks_trace_seed());
    if (!ksi_table_roomy(t)) {
        KS_TRY(ksi_table_grow(g, t));
        for (uint32_t i = 0; i < g->shapes_count; i++)
            ksi_table_put(t, g->shapes[i].hash, i);
    }
    size_t i = hash & t->mask;
    for (; t->slots[i]; i = (i + 1) & t->mask) {
        const struct ksi_shape *s = &g->shapes[t->slots[i] - 1];
        if (s->hash == hash && s->count == count &&
            memcmp(g->keys + s->first, g->keys + first, count * sizeof *g->keys) == 0) {
            *ret = t->slots[i] - 1;
            return KS_OK;
        }
    }
    KS_TRY(ksi_gen_reserve(g, (void **)&g->shapes, &g->shapes_cap, g->shapes_count + 1,
                           sizeof *g->shapes));
    g->shapes[g->shapes_count] = (struct ksi_shape){first, count, hash};
    *ret = (uint32_t)g->shapes_count;
    t->slots[i] = (uint32_t)++g->shapes_count;
    t->count++;
    g->keys_count = first + count;
    return KS_OK;
}

static ks_err shape(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                    uint32_t number, uint32_t *ret)
{
    if (KS_LIKELY(m->shapes[number])) {
        *ret = m->shapes[number] - 1;
        return KS_OK;
    }
    const struct ks_batch_shape *sh = &b->shapes[number];
    uint32_t first = (uint32_t)g->keys_count;
    KS_TRY(ksi_gen_reserve(g, (void **)&g->keys, &g->keys_cap, first + (size_t)sh->count + 1,
                           sizeof *g->keys));
    for (uint32_t i = 0; i < sh->count; i++) {
        uint32_t key = b->keys[sh->first + i], n;
        KS_TRY(ksi_intern(g, m, b, key >> 3, &n));
        g->keys[first + i] = n << 3 | (key & 7);
        g->has_bytes |= (key & 7) == KS_ATTR_BYTES;
    }
    KS_TRY(shape_add(g, first, sh->count, ret));
    m->shapes[number] = *ret + 1;
    return KS_OK;
}

static ks_err put_set(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                      const struct ks_batch_set *set)
{
    const struct ks_batch_shape *sh = &b->shapes[set->shape];
    const uint64_t *v = ks_batch_values(b, set);
    uint32_t number;
    KS_TRY(shape(g, m, b, set->shape, &number));
    ks_buf_varint(&m->record, number);
    ks_buf_varint(&m->record, set->dropped);
    for (uint32_t i = 0; i < sh->count; i++) {
        uint32_t key = b->keys[sh->first + i] >> 3;
        uint64_t key_hash = b->strings[key].hash;
        switch (b->keys[sh->first + i] & 7) {
        case KS_ATTR_EMPTY:
            break;
        case KS_ATTR_BOOL:
            (void)ksi_note(g, m, ksi_pair_hash(key_hash, ksi_bool_hash(v[i] != 0)));
            ks_buf_byte(&m->record, v[i] != 0);
            break;
        case KS_ATTR_INT:
            (void)ksi_note(g, m, ksi_pair_hash(key_hash, ksi_int_hash(v[i])));
            ks_buf_zigzag(&m->record, (int64_t)v[i]);
            break;
        case KS_ATTR_DOUBLE:
            (void)ksi_note(g, m, ksi_pair_hash(key_hash, ksi_real_hash(v[i])));
            ks_buf_u64(&m->record, v[i]);
            break;
        default:
            ksi_put_value(g, m, b, key, (uint32_t)v[i]);
        }
    }
    return KS_OK;
}

/* --- resources and scopes: their texts are all in the dictionary, so equal ones have equal bytes -
 */
static ks_err intern_set(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                         const struct ks_batch_set *set)
{
    const struct ks_batch_shape *sh = &b->shapes[set->shape];
    uint32_t n;
    for (uint32_t i = 0; i < sh->count; i++)
        if (ks_attr_is_text(b->keys[sh->first + i] & 7))
            KS_TRY(ksi_intern(g, m, b, (uint32_t)b->values[set->first + i], &n));
    return KS_OK;
}

/* Finds or adds the bytes of m->record. */
static ks_err process(struct ksi_gen *g, struct ksi_mapping *m, struct ksi_table *t,
                      struct ksi_process **list, size_t *count, size_t *cap, uint32_t *ret)
{
    struct ks_slice bytes = ks_buf_view(&m->record);
    uint64_t hash = ksi_text_hash(bytes);
    KS_TRY(ks_buf_status(&m->record));
    if (!ksi_table_roomy(t)) {
        KS_TRY(ksi_table_grow(g, t));
        for (uint32_t i = 0; i < *count; i++)
            ksi_table_put(t, (*list)[i].hash, i);
    }
    size_t i = hash & t->mask;
    for (; t->slots[i]; i = (i + 1) & t->mask) {
        const struct ksi_process *p = &(*list)[t->slots[i] - 1];
        if (p->hash == hash && p->len == bytes.len &&
            memcmp(ksi_chunks_at(&g->text, p->pos), bytes.ptr, bytes.len) == 0) {
            *ret = t->slots[i] - 1;
            return KS_OK;
        }
    }
    KS_TRY(ksi_gen_reserve(g, (void **)list, cap, *count + 1, sizeof **list));
    struct ksi_process *p = &(*list)[*count];
    *p = (struct ksi_process){.len = (uint32_t)bytes.len, .hash = hash};
    char *to = ksi_chunks_alloc(g, &g->text, bytes.len, &p->pos);
    if (!to)
        return KS_ENOMEM;
    memcpy(to, bytes.ptr, bytes.len);
    *ret = (uint32_t)*count;
    t->slots[i] = (uint32_t)++ * count;
    t->count++;
    return KS_OK;
}

ks_err ksi_gen_resource(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                        uint32_t resource, uint32_t *ret)
{
    if (KS_LIKELY(m->resources[resource])) {
        *ret = m->resources[resource] - 1;
        return KS_OK;
    }
    const struct ks_batch_resource *r = &b->resources[resource];
    uint32_t url;
    size_t before = g->resources_count;
    KS_TRY(intern_set(g, m, b, &r->set));
    KS_TRY(ksi_intern(g, m, b, r->schema_url, &url));
    ks_buf_reset(&m->record);
    ksi_put_text(g, m, b, r->schema_url);
    KS_TRY(put_set(g, m, b, &r->set));
    KS_TRY(process(g, m, &g->resource_table, &g->resources, &g->resources_count, &g->resources_cap,
                   ret));
    m->resources[resource] = *ret + 1;
    if (g->resources_count == before)
        return KS_OK; /* readers may be at it */
    struct ksi_process *p = &g->resources[*ret];
    p->has_service = r->service != 0;
    if (r->service) {
        uint32_t n;
        KS_TRY(ksi_intern(g, m, b, r->service - 1, &n));
        p->service = ksi_dict_text(&g->d, n);
        p->service_hash = b->strings[r->service - 1].hash;
    } else {
        p->service = ks_slice("", 0);
        p->service_hash = ksi_text_hash(p->service);
    }
    return KS_OK;
}

static ks_err scope(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                    uint32_t number, uint32_t *ret)
{
    if (KS_LIKELY(m->scopes[number])) {
        *ret = m->scopes[number] - 1;
        return KS_OK;
    }
    const struct ks_batch_scope *s = &b->scopes[number];
    const uint32_t texts[] = {s->name, s->version, s->schema_url};
    uint32_t n;
    KS_TRY(intern_set(g, m, b, &s->set));
    for (size_t i = 0; i < 3; i++)
        KS_TRY(ksi_intern(g, m, b, texts[i], &n));
    ks_buf_reset(&m->record);
    for (size_t i = 0; i < 3; i++)
        ksi_put_text(g, m, b, texts[i]);
    KS_TRY(put_set(g, m, b, &s->set));
    KS_TRY(process(g, m, &g->scope_table, &g->scopes, &g->scopes_count, &g->scopes_cap, ret));
    m->scopes[number] = *ret + 1;
    return KS_OK;
}

/* --- spans --- */
static ks_err put_parts(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                        const struct ks_batch_span *s)
{
    struct ks_buf *out = &m->record;
    if (s->event_count) {
        ks_buf_varint(out, s->event_count);
        for (uint32_t i = 0; i < s->event_count; i++) {
            const struct ks_batch_event *e = &b->events[s->first_event + i];
            ks_buf_zigzag(out, (int64_t)(e->time_ns - s->start_ns));
            ksi_put_text(g, m, b, e->name);
            KS_TRY(put_set(g, m, b, &e->set));
        }
    }
    if (s->link_count) {
        ks_buf_varint(out, s->link_count);
        for (uint32_t i = 0; i < s->link_count; i++) {
            const struct ks_batch_link *l = &b->links[s->first_link + i];
            ks_buf_u64(out, l->trace_id.hi);
            ks_buf_u64(out, l->trace_id.lo);
            ks_buf_u64(out, l->span_id);
            ks_buf_varint(out, l->flags);
            ksi_put_text(g, m, b, l->state);
            KS_TRY(put_set(g, m, b, &l->set));
        }
    }
    return KS_OK;
}

static unsigned flags_code(uint32_t flags)
{
    for (unsigned i = 0; i < 7; i++)
        if (common_flags[i] == flags)
            return i;
    return 7;
}

static void put_head(const struct ks_batch *b, const struct ks_batch_span *s, struct ks_buf *out)
{
    unsigned kind = s->kind < 7 ? s->kind : 7, status = s->status < 3 ? s->status : 3;
    unsigned flags = flags_code(s->flags);
    ks_buf_byte(out, (uint8_t)(kind | status << 3 | (s->event_count != 0) << 5 |
                               (s->link_count != 0) << 6 | (b->strings[s->state].len != 0) << 7));
    ks_buf_byte(out, (uint8_t)((b->strings[s->status_message].len != 0) |
                               (s->dropped_events || s->dropped_links) << 1 |
                               (s->parent_id != 0) << 2 | flags << 3));
    if (kind == 7)
        ks_buf_varint(out, s->kind);
    if (status == 3)
        ks_buf_varint(out, s->status);
    if (flags == 7)
        ks_buf_varint(out, s->flags);
}

static ks_err pack(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                   const struct ks_batch_span *s)
{
    uint32_t resource, scope_number;
    KS_TRY(ksi_gen_resource(g, m, b, s->resource, &resource));
    KS_TRY(scope(g, m, b, s->scope, &scope_number));
    struct ks_buf *out = &m->record;
    ks_buf_reset(out);
    put_head(b, s, out);
    ks_buf_varint(out, resource);
    ks_buf_varint(out, scope_number);
    ksi_put_text(g, m, b, s->name);
    ks_buf_u64(out, s->span_id);
    if (s->parent_id)
        ks_buf_u64(out, s->parent_id);
    ks_buf_zigzag(out, (int64_t)(s->start_ns - g->base_ns));
    ks_buf_zigzag(out, (int64_t)(s->end_ns - s->start_ns));
    if (b->strings[s->status_message].len)
        ksi_put_text(g, m, b, s->status_message);
    if (b->strings[s->state].len)
        ksi_put_text(g, m, b, s->state);
    if (s->dropped_events || s->dropped_links) {
        ks_buf_varint(out, s->dropped_events);
        ks_buf_varint(out, s->dropped_links);
    }
    KS_TRY(put_set(g, m, b, &s->set));
    KS_TRY(put_parts(g, m, b, s));
    return ks_buf_status(out);
}

void ksi_slot_note(const struct ksi_gen *g, struct ksi_slot *slot, uint32_t resource,
                   uint64_t start_ns, uint64_t end_ns, uint32_t status)
{
    uint64_t end = end_ns > start_ns ? end_ns : start_ns;
    if (start_ns < slot->min_start_ns)
        slot->min_start_ns = start_ns;
    if (end > slot->max_end_ns)
        slot->max_end_ns = end;
    if (end - start_ns > slot->max_duration_ns)
        slot->max_duration_ns = end - start_ns;
    slot->services |= ksi_service_bit(g->resources[resource].service_hash);
    if (status == KS_STATUS_ERROR)
        slot->flags |= KSI_SLOT_ERROR;
}

ks_err ksi_gen_append(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b, size_t i,
                      struct ksi_slot *slot)
{
    const struct ks_batch_span *s = &b->spans[i];
    uint8_t back[KS_VARINT_MAX];
    uint32_t pos;
    KS_TRY(pack(g, m, b, s));
    /* The link's length depends on the position: make room for the longest, give the rest back. */
    size_t len = m->record.len;
    char *p = ksi_chunks_alloc(g, &g->recs, len + 6, &pos);
    if (!p)
        return KS_ENOMEM;
    int64_t diff = slot->tail == KSI_NONE ? 0 : (int64_t)pos - slot->tail;
    size_t n = ks_varint_put(back, ks_zigzag(diff));
    memcpy(p, back, n);
    memcpy(p + n, m->record.ptr, len);
    if (g->recs.size && pos >> KSI_CHUNK_BITS == g->recs.cur)
        g->recs.used -= (uint32_t)(6 - n);
    slot->tail = pos;
    g->spans++;
    slot->spans++;
    ksi_slot_note(g, slot, m->resources[s->resource] - 1, s->start_ns, s->end_ns, s->status);
    return KS_OK;
}
