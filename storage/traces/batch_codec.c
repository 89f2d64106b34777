/* A batch as bytes and back: docs/format/trace-log.md. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/batch.h"

enum { VERSION = 1, VALUES_MAX = 4 << 20 };
enum { HAS_EVENTS = 1, HAS_LINKS = 2, HAS_DROPPED = 4, HAS_STATUS = 8, HAS_STATE = 16 };

/* --- encode --- */
static void put_set(const struct ks_batch *b, const struct ks_batch_set *set, struct ks_buf *out)
{
    const struct ks_batch_shape *sh = &b->shapes[set->shape];
    const uint64_t *v = ks_batch_values(b, set);
    ks_buf_varint(out, set->shape);
    ks_buf_varint(out, set->dropped);
    for (uint32_t i = 0; i < sh->count; i++) {
        switch (b->keys[sh->first + i] & 7) {
        case KS_ATTR_EMPTY:
            break;
        case KS_ATTR_INT:
            ks_buf_zigzag(out, (int64_t)v[i]);
            break;
        case KS_ATTR_DOUBLE:
            ks_buf_u64(out, v[i]);
            break;
        default:
            ks_buf_varint(out, v[i]);
        }
    }
}

static void put_tables(const struct ks_batch *b, struct ks_buf *out)
{
    ks_buf_varint(out, b->strings_count);
    for (size_t i = 0; i < b->strings_count; i++)
        ks_buf_lp(out, ks_batch_text(b, (uint32_t)i));
    ks_buf_varint(out, b->shapes_count);
    for (size_t i = 0; i < b->shapes_count; i++) {
        ks_buf_varint(out, b->shapes[i].count);
        for (uint32_t k = 0; k < b->shapes[i].count; k++)
            ks_buf_varint(out, b->keys[b->shapes[i].first + k]);
    }
    ks_buf_varint(out, b->resources_count);
    for (size_t i = 0; i < b->resources_count; i++) {
        put_set(b, &b->resources[i].set, out);
        ks_buf_varint(out, b->resources[i].schema_url);
    }
    ks_buf_varint(out, b->scopes_count);
    for (size_t i = 0; i < b->scopes_count; i++) {
        put_set(b, &b->scopes[i].set, out);
        ks_buf_varint(out, b->scopes[i].name);
        ks_buf_varint(out, b->scopes[i].version);
        ks_buf_varint(out, b->scopes[i].schema_url);
    }
}

static void put_parts(const struct ks_batch *b, const struct ks_batch_span *s, unsigned has,
                      struct ks_buf *out)
{
    if (has & HAS_EVENTS) {
        ks_buf_varint(out, s->event_count);
        for (uint32_t i = 0; i < s->event_count; i++) {
            const struct ks_batch_event *e = &b->events[s->first_event + i];
            ks_buf_zigzag(out, (int64_t)(e->time_ns - s->start_ns));
            ks_buf_varint(out, e->name);
            put_set(b, &e->set, out);
        }
    }
    if (has & HAS_LINKS) {
        ks_buf_varint(out, s->link_count);
        for (uint32_t i = 0; i < s->link_count; i++) {
            const struct ks_batch_link *l = &b->links[s->first_link + i];
            ks_buf_u64(out, l->trace_id.hi);
            ks_buf_u64(out, l->trace_id.lo);
            ks_buf_u64(out, l->span_id);
            ks_buf_varint(out, l->flags);
            ks_buf_varint(out, l->state);
            put_set(b, &l->set, out);
        }
    }
}

static void put_span(const struct ks_batch *b, const struct ks_batch_span *s, uint64_t *prev_start,
                     struct ks_buf *out)
{
    unsigned has = (s->event_count ? HAS_EVENTS : 0) | (s->link_count ? HAS_LINKS : 0) |
                   (s->dropped_events || s->dropped_links ? HAS_DROPPED : 0) |
                   (s->status || b->strings[s->status_message].len ? HAS_STATUS : 0) |
                   (b->strings[s->state].len ? HAS_STATE : 0);
    ks_buf_byte(out, (uint8_t)has);
    ks_buf_varint(out, s->trace);
    ks_buf_varint(out, s->resource);
    ks_buf_varint(out, s->scope);
    ks_buf_u64(out, s->span_id);
    ks_buf_u64(out, s->parent_id);
    ks_buf_zigzag(out, (int64_t)(s->start_ns - *prev_start));
    ks_buf_zigzag(out, (int64_t)(s->end_ns - s->start_ns));
    *prev_start = s->start_ns;
    ks_buf_varint(out, s->name);
    ks_buf_varint(out, s->kind);
    ks_buf_varint(out, s->flags);
    if (has & HAS_STATUS) {
        ks_buf_varint(out, s->status);
        ks_buf_varint(out, s->status_message);
    }
    if (has & HAS_STATE)
        ks_buf_varint(out, s->state);
    if (has & HAS_DROPPED) {
        ks_buf_varint(out, s->dropped_events);
        ks_buf_varint(out, s->dropped_links);
    }
    put_set(b, &s->set, out);
    put_parts(b, s, has, out);
}

ks_err ks_batch_encode(const struct ks_batch *b, struct ks_buf *out, size_t *ret_seqs_at)
{
    uint64_t prev_start = 0;
    if (b->err != KS_OK)
        return b->err;
    ks_buf_byte(out, VERSION);
    ks_buf_u32(out, b->tenant.account);
    ks_buf_u32(out, b->tenant.project);
    ks_buf_varint(out, b->traces_count);
    *ret_seqs_at = out->len;
    ks_buf_u64(out, b->evicted_to);
    for (size_t i = 0; i < b->traces_count; i++)
        ks_buf_u64(out, b->traces[i].seq);
    for (size_t i = 0; i < b->traces_count; i++) {
        ks_buf_u64(out, b->traces[i].id.hi);
        ks_buf_u64(out, b->traces[i].id.lo);
    }
    put_tables(b, out);
    ks_buf_varint(out, b->spans_count);
    for (size_t i = 0; i < b->spans_count; i++)
        put_span(b, &b->spans[i], &prev_start, out);
    return ks_buf_status(out);
}

void ks_batch_patch(const struct ks_batch *b, struct ks_buf *encoded, size_t seqs_at)
{
    ks_put_le64(encoded->ptr + seqs_at, b->evicted_to);
    for (size_t i = 0; i < b->traces_count; i++)
        ks_put_le64(encoded->ptr + seqs_at + 8 * (i + 1), b->traces[i].seq);
}

/* --- decode --- */
struct decoder {
    struct ks_reader r;
    struct ks_batch *b;
    bool bad;
};

/* A count of things of at least min bytes each cannot be more than what is left. */
static size_t read_count(struct decoder *d, size_t min)
{
    uint64_t n = ks_read_varint(&d->r);
    if (n > ks_reader_left(&d->r) / min) {
        ks_reader_fail(&d->r);
        return 0;
    }
    return (size_t)n;
}

/* An index below count. */
static uint32_t read_index(struct decoder *d, size_t count)
{
    uint64_t n = ks_read_varint(&d->r);
    if (n >= count) {
        d->bad = true;
        return 0;
    }
    return (uint32_t)n;
}

static uint32_t read_string(struct decoder *d)
{
    uint32_t i = read_index(d, d->b->strings_count);
    if (!d->bad)
        d->b->strings[i].refs++;
    return i;
}

static uint32_t read_u32(struct decoder *d)
{
    uint64_t n = ks_read_varint(&d->r);
    d->bad |= n > UINT32_MAX;
    return (uint32_t)n;
}

#define GROW(b, name, extra)                                                                       \
    ks_array_reserve((void **)&(b)->name, &(b)->name##_cap, (b)->name##_count + (extra),           \
                     sizeof *(b)->name)

static uint64_t read_value(struct decoder *d, unsigned type)
{
    switch (type) {
    case KS_ATTR_EMPTY:
        return 0;
    case KS_ATTR_INT:
        return (uint64_t)ks_read_zigzag(&d->r);
    case KS_ATTR_DOUBLE:
        return ks_read_u64(&d->r);
    case KS_ATTR_BOOL:
        return ks_read_varint(&d->r) & 1;
    default:
        return read_string(d);
    }
}

static ks_err read_set(struct decoder *d, struct ks_batch_set *ret)
{
    struct ks_batch *b = d->b;
    ret->shape = read_index(d, b->shapes_count);
    ret->dropped = read_u32(d);
    ret->first = (uint32_t)b->values_count;
    if (d->bad || d->r.bad)
        return KS_OK;
    const struct ks_batch_shape *sh = &b->shapes[ret->shape];
    d->bad |= b->values_count + sh->count > VALUES_MAX; /* empty values cost no bytes */
    if (d->bad)
        return KS_OK;
    KS_TRY(GROW(b, values, sh->count));
    for (uint32_t i = 0; i < sh->count && !d->bad && !d->r.bad; i++) {
        uint32_t key = b->keys[sh->first + i];
        b->strings[key >> 3].refs++;
        b->values[b->values_count++] = read_value(d, key & 7);
    }
    return KS_OK;
}

static ks_err read_strings_and_shapes(struct decoder *d)
{
    struct ks_batch *b = d->b;
    size_t n = read_count(d, 1);
    KS_TRY(GROW(b, strings, n));
    for (size_t i = 0; i < n && !d->r.bad; i++) {
        struct ks_slice s = ks_read_lp(&d->r);
        b->strings[b->strings_count++] = (struct ks_batch_string){
            s.ptr ? s.ptr : "", (uint32_t)s.len, 0, ks_hash64_seed(s.ptr, s.len, b->seed)};
    }
    n = read_count(d, 1);
    KS_TRY(GROW(b, shapes, n));
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++) {
        uint32_t first = (uint32_t)b->keys_count;
        size_t count = read_count(d, 1);
        KS_TRY(GROW(b, keys, count + 1));
        for (size_t k = 0; k < count && !d->bad && !d->r.bad; k++) {
            uint32_t key = read_u32(d);
            d->bad |= key >> 3 >= b->strings_count;
            b->keys[b->keys_count++] = key;
        }
        uint64_t hash = ks_hash64_seed(b->keys + first, count * sizeof *b->keys, b->seed);
        b->shapes[b->shapes_count++] = (struct ks_batch_shape){first, (uint32_t)count, hash};
    }
    return KS_OK;
}

static ks_err read_processes(struct decoder *d)
{
    struct ks_batch *b = d->b;
    size_t n = read_count(d, 3);
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++) {
        struct ks_batch_set set;
        KS_TRY(read_set(d, &set));
        uint32_t url = read_string(d);
        if (d->bad || d->r.bad)
            break;
        ks_batch_put_resource(b, set, url);
        KS_TRY(b->err);
    }
    n = read_count(d, 5);
    KS_TRY(GROW(b, scopes, n));
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++) {
        struct ks_batch_scope *s = &b->scopes[b->scopes_count++];
        KS_TRY(read_set(d, &s->set));
        s->name = read_string(d);
        s->version = read_string(d);
        s->schema_url = read_string(d);
    }
    return KS_OK;
}

static ks_err read_parts(struct decoder *d, struct ks_batch_span *s, unsigned has)
{
    struct ks_batch *b = d->b;
    s->first_event = (uint32_t)b->events_count;
    s->first_link = (uint32_t)b->links_count;
    size_t n = has & HAS_EVENTS ? read_count(d, 4) : 0;
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++) {
        struct ks_batch_event e = {0};
        e.time_ns = s->start_ns + (uint64_t)ks_read_zigzag(&d->r);
        e.name = read_string(d);
        KS_TRY(read_set(d, &e.set));
        *ks_batch_add_event(b) = e;
        s->event_count++;
    }
    n = has & HAS_LINKS ? read_count(d, 28) : 0;
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++) {
        struct ks_batch_link l = {0};
        l.trace_id.hi = ks_read_u64(&d->r);
        l.trace_id.lo = ks_read_u64(&d->r);
        l.span_id = ks_read_u64(&d->r);
        l.flags = read_u32(d);
        l.state = read_string(d);
        KS_TRY(read_set(d, &l.set));
        *ks_batch_add_link(b) = l;
        s->link_count++;
    }
    return b->err;
}

static ks_err read_span(struct decoder *d, uint32_t none, uint64_t *prev_start)
{
    struct ks_batch *b = d->b;
    struct ks_batch_span s = {.state = none, .status_message = none};
    unsigned has = ks_read_u8(&d->r);
    s.trace = read_index(d, b->traces_count);
    s.resource = read_index(d, b->resources_count);
    s.scope = read_index(d, b->scopes_count);
    s.span_id = ks_read_u64(&d->r);
    s.parent_id = ks_read_u64(&d->r);
    s.start_ns = *prev_start + (uint64_t)ks_read_zigzag(&d->r);
    s.end_ns = s.start_ns + (uint64_t)ks_read_zigzag(&d->r);
    *prev_start = s.start_ns;
    s.name = read_string(d);
    s.kind = read_u32(d);
    s.flags = read_u32(d);
    if (has & HAS_STATUS) {
        s.status = read_u32(d);
        s.status_message = read_string(d);
    }
    if (has & HAS_STATE)
        s.state = read_string(d);
    if (has & HAS_DROPPED) {
        s.dropped_events = read_u32(d);
        s.dropped_links = read_u32(d);
    }
    KS_TRY(read_set(d, &s.set));
    KS_TRY(read_parts(d, &s, has));
    if (!d->bad && !d->r.bad)
        *ks_batch_add_span(b) = s;
    return b->err;
}

static ks_err read_all(struct decoder *d)
{
    struct ks_batch *b = d->b;
    size_t n = read_count(d, 24);
    uint64_t prev_start = 0;
    b->evicted_to = ks_read_u64(&d->r);
    KS_TRY(GROW(b, traces, n));
    for (size_t i = 0; i < n; i++)
        b->traces[i].seq = ks_read_u64(&d->r);
    for (size_t i = 0; i < n; i++) {
        b->traces[i].id.hi = ks_read_u64(&d->r);
        b->traces[i].id.lo = ks_read_u64(&d->r);
    }
    b->traces_count = n;
    KS_TRY(read_strings_and_shapes(d));
    uint32_t none = (uint32_t)b->strings_count; /* an empty text of our own */
    KS_TRY(GROW(b, strings, 1));
    b->strings[b->strings_count++] =
        (struct ks_batch_string){"", 0, 2, ks_hash64_seed("", 0, b->seed)};
    KS_TRY(read_processes(d));
    n = read_count(d, 24);
    for (size_t i = 0; i < n && !d->bad && !d->r.bad; i++)
        KS_TRY(read_span(d, none, &prev_start));
    return b->err;
}

ks_err ks_batch_decode(struct ks_slice bytes, struct ks_batch *b)
{
    struct decoder d = {ks_reader(bytes), b, false};
    uint8_t version = ks_read_u8(&d.r);
    if (!d.r.bad && version != VERSION)
        return ks_fail(KS_EUNSUPPORTED, "batch of spans has version %u, this build knows %u",
                       version, VERSION);
    struct ks_tenant t;
    t.account = ks_read_u32(&d.r);
    t.project = ks_read_u32(&d.r);
    ks_batch_reset(b, t);
    KS_TRY(read_all(&d));
    if (d.bad || d.r.bad || d.r.p != d.r.end)
        return ks_fail(KS_ECORRUPT, "batch of spans is damaged at byte %zu of %zu",
                       bytes.len - ks_reader_left(&d.r), bytes.len);
    return KS_OK;
}

/* --- one span as readers see it --- */
static struct ks_slice text(const struct ks_batch *b, uint32_t i)
{
    return ks_batch_text(b, i);
}

static ks_err view_set(const struct ks_batch *b, const struct ks_batch_set *set,
                       struct ks_arena *arena, struct ks_attrs *ret)
{
    const struct ks_batch_shape *sh = &b->shapes[set->shape];
    struct ks_attr *items = ks_arena_array(arena, sh->count ? sh->count : 1, sizeof *items);
    if (!items)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < sh->count; i++) {
        uint32_t key = b->keys[sh->first + i];
        uint64_t v = b->values[set->first + i];
        items[i] = (struct ks_attr){.key = text(b, key >> 3), .type = key & 7};
        if (ks_attr_is_text(items[i].type))
            items[i].text = text(b, (uint32_t)v);
        else if (items[i].type == KS_ATTR_DOUBLE)
            items[i].real = ks_f64_from_bits(v);
        else
            items[i].number = (int64_t)v;
    }
    *ret = (struct ks_attrs){items, sh->count, set->dropped};
    return KS_OK;
}

static ks_err view_process(const struct ks_batch *b, const struct ks_batch_span *s,
                           struct ks_arena *arena, struct ks_span *ret)
{
    const struct ks_batch_resource *from = &b->resources[s->resource];
    const struct ks_batch_scope *sc = &b->scopes[s->scope];
    struct ks_resource *r = ks_arena_zalloc(arena, sizeof *r);
    struct ks_scope *c = ks_arena_zalloc(arena, sizeof *c);
    if (!r || !c)
        return ks_arena_err(arena);
    KS_TRY(view_set(b, &from->set, arena, &r->attrs));
    r->schema_url = text(b, from->schema_url);
    r->has_service = from->service != 0;
    if (from->service)
        r->service = text(b, from->service - 1);
    KS_TRY(view_set(b, &sc->set, arena, &c->attrs));
    c->name = text(b, sc->name);
    c->version = text(b, sc->version);
    c->schema_url = text(b, sc->schema_url);
    ret->resource = r;
    ret->scope = c;
    return KS_OK;
}

ks_err ks_batch_view(const struct ks_batch *b, size_t i, struct ks_arena *arena,
                     struct ks_span *ret)
{
    const struct ks_batch_span *s = &b->spans[i];
    struct ks_span_event *events =
        ks_arena_array(arena, s->event_count + (size_t)1, sizeof *events);
    struct ks_span_link *links = ks_arena_array(arena, s->link_count + (size_t)1, sizeof *links);
    if (!events || !links)
        return ks_arena_err(arena);
    *ret = (struct ks_span){
        .trace_id = b->traces[s->trace].id,
        .span_id = s->span_id,
        .parent_id = s->parent_id,
        .start_ns = s->start_ns,
        .end_ns = s->end_ns,
        .name = text(b, s->name),
        .state = text(b, s->state),
        .status_message = text(b, s->status_message),
        .kind = s->kind,
        .status = s->status,
        .flags = s->flags,
        .events = events,
        .event_count = s->event_count,
        .dropped_events = s->dropped_events,
        .links = links,
        .link_count = s->link_count,
        .dropped_links = s->dropped_links,
    };
    KS_TRY(view_set(b, &s->set, arena, &ret->attrs));
    for (uint32_t k = 0; k < s->event_count; k++) {
        const struct ks_batch_event *e = &b->events[s->first_event + k];
        events[k].time_ns = e->time_ns;
        events[k].name = text(b, e->name);
        KS_TRY(view_set(b, &e->set, arena, &events[k].attrs));
    }
    for (uint32_t k = 0; k < s->link_count; k++) {
        const struct ks_batch_link *l = &b->links[s->first_link + k];
        links[k] = (struct ks_span_link){.trace_id = l->trace_id,
                                         .span_id = l->span_id,
                                         .flags = l->flags,
                                         .state = text(b, l->state)};
        KS_TRY(view_set(b, &l->set, arena, &links[k].attrs));
    }
    return view_process(b, s, arena, ret);
}
