#include "storage/traces/batch.h"

#include <stdatomic.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sys/rand.h"

enum { TABLE_MIN = 256, TABLE_KEPT = 1 << 16, SPAN_COST = 48 };

/* --- tables --- */
static bool table_grow(struct ks_batch_table *t, size_t slots)
{
    ks_free(t->slots);
    t->slots = ks_zalloc_array(slots, sizeof *t->slots);
    t->mask = t->slots ? slots - 1 : 0;
    return t->slots != NULL;
}

static void table_clear(struct ks_batch_table *t)
{
    if (t->slots && t->mask >= TABLE_KEPT) {
        ks_free(t->slots);
        t->slots = NULL;
        t->mask = 0;
    }
    if (t->slots && t->count)
        memset(t->slots, 0, (t->mask + 1) * sizeof *t->slots);
    t->count = 0;
}

static void table_put(struct ks_batch_table *t, uint64_t hash, uint32_t number)
{
    size_t i = hash & t->mask;
    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = number + 1;
}

/* Whether one more entry fits without growing. */
static bool table_roomy(const struct ks_batch_table *t)
{
    return t->slots && (t->count + 1) * 2 <= t->mask + 1;
}

/* Decoded batches hold entries that never were in a table: those count too. */
static size_t table_next_size(const struct ks_batch_table *t, size_t entries)
{
    size_t n = t->slots ? (t->mask + 1) * 2 : TABLE_MIN;
    while (n < 2 * (entries + 1))
        n *= 2;
    return n;
}

static bool reserve(struct ks_batch *b, void *array, size_t *cap, size_t need, size_t elem)
{
    if (KS_LIKELY(need <= *cap))
        return true;
    ks_err err = ks_array_reserve(array, cap, need, elem);
    if (err != KS_OK)
        b->err = err;
    return err == KS_OK;
}
#define RESERVE(b, name, extra)                                                                    \
    reserve((b), (void *)&(b)->name, &(b)->name##_cap, (b)->name##_count + (extra),                \
            sizeof *(b)->name)

/* --- life --- */
uint64_t ks_trace_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t s = atomic_load_explicit(&seed, memory_order_relaxed), none = 0;
    if (KS_LIKELY(s))
        return s;
    s = ks_random_u64() | 1;
    return atomic_compare_exchange_strong(&seed, &none, s) ? s : none;
}

void ks_batch_init(struct ks_batch *b)
{
    memset(b, 0, sizeof *b);
    b->seed = ks_trace_seed();
    ks_batch_reset(b, (struct ks_tenant){0});
}

void ks_batch_done(struct ks_batch *b)
{
    void *all[] = {b->strings,
                   b->shapes,
                   b->resources,
                   b->scopes,
                   b->traces,
                   b->spans,
                   b->events,
                   b->links,
                   b->keys,
                   b->values,
                   b->string_table.slots,
                   b->shape_table.slots,
                   b->trace_table.slots};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ks_free(all[i]);
    memset(b, 0, sizeof *b);
}

void ks_batch_reset(struct ks_batch *b, struct ks_tenant tenant)
{
    b->tenant = tenant;
    b->strings_count = b->shapes_count = b->resources_count = b->scopes_count = 0;
    b->traces_count = b->spans_count = b->events_count = b->links_count = 0;
    b->keys_count = b->values_count = b->open_key = b->open_value = 0;
    table_clear(&b->string_table);
    table_clear(&b->shape_table);
    table_clear(&b->trace_table);
    b->bytes = 0;
    memset(b->predicted, 0, sizeof b->predicted);
    b->err = KS_OK;
}

/* --- texts --- */
static bool strings_grow(struct ks_batch *b)
{
    struct ks_batch_table *t = &b->string_table;
    if (!table_grow(t, table_next_size(t, b->strings_count))) {
        b->err = KS_ENOMEM;
        return false;
    }
    for (uint32_t i = 0; i < b->strings_count; i++)
        table_put(t, b->strings[i].hash, i);
    t->count = b->strings_count;
    return true;
}

uint32_t ks_batch_string(struct ks_batch *b, struct ks_slice s)
{
    struct ks_batch_table *t = &b->string_table;
    if (KS_UNLIKELY(!table_roomy(t)) && !strings_grow(b))
        return 0;
    uint64_t hash = ks_hash64_seed(s.ptr, s.len, b->seed);
    size_t i = hash & t->mask;
    for (; t->slots[i]; i = (i + 1) & t->mask) {
        struct ks_batch_string *e = &b->strings[t->slots[i] - 1];
        if (e->hash == hash && e->len == s.len && (!s.len || memcmp(e->ptr, s.ptr, s.len) == 0)) {
            e->refs++;
            return t->slots[i] - 1;
        }
    }
    if (!RESERVE(b, strings, 1))
        return 0;
    b->strings[b->strings_count] =
        (struct ks_batch_string){s.ptr ? s.ptr : "", (uint32_t)s.len, 1, hash};
    t->slots[i] = (uint32_t)++b->strings_count;
    t->count++;
    b->bytes += s.len + 2;
    return (uint32_t)b->strings_count - 1;
}

/* The key of a list's next attribute: usually the one that stood there last time. */
static uint32_t key_string(struct ks_batch *b, struct ks_slice key)
{
    if (b->predicted[b->open_kind] < b->shapes_count) {
        const struct ks_batch_shape *sh = &b->shapes[b->predicted[b->open_kind]];
        size_t at = b->keys_count - b->open_key;
        if (at < sh->count) {
            struct ks_batch_string *e = &b->strings[b->keys[sh->first + at] >> 3];
            if (e->len == key.len && memcmp(e->ptr, key.ptr, key.len) == 0) {
                e->refs++;
                return b->keys[sh->first + at] >> 3;
            }
        }
    }
    return ks_batch_string(b, key);
}

/* --- traces --- */
static uint64_t id_hash(const struct ks_batch *b, struct ks_trace_id id)
{
    return ks_mix64(id.hi ^ b->seed) ^ ks_mix64(id.lo + b->seed);
}

uint32_t ks_batch_trace(struct ks_batch *b, struct ks_trace_id id)
{
    struct ks_batch_table *t = &b->trace_table;
    if (b->traces_count && ks_trace_id_eq(b->traces[b->traces_count - 1].id, id))
        return (uint32_t)b->traces_count - 1;
    if (!table_roomy(t)) {
        if (!table_grow(t, table_next_size(t, b->traces_count))) {
            b->err = KS_ENOMEM;
            return 0;
        }
        for (uint32_t i = 0; i < b->traces_count; i++)
            table_put(t, id_hash(b, b->traces[i].id), i);
    }
    size_t i = id_hash(b, id) & t->mask;
    for (; t->slots[i]; i = (i + 1) & t->mask)
        if (ks_trace_id_eq(b->traces[t->slots[i] - 1].id, id))
            return t->slots[i] - 1;
    if (!RESERVE(b, traces, 1))
        return 0;
    b->traces[b->traces_count] = (struct ks_batch_trace){id, 0};
    t->slots[i] = (uint32_t)++b->traces_count;
    t->count++;
    b->bytes += 24;
    return (uint32_t)b->traces_count - 1;
}

/* --- attribute lists --- */
void ks_batch_set_begin(struct ks_batch *b, enum ks_batch_kind kind)
{
    b->open_kind = kind;
    b->open_key = b->keys_count;
    b->open_value = b->values_count;
}

void ks_batch_attr(struct ks_batch *b, struct ks_slice key, enum ks_attr_type type, uint64_t bits)
{
    if (KS_UNLIKELY(!RESERVE(b, keys, 1) || !RESERVE(b, values, 1)))
        return;
    b->keys[b->keys_count] = key_string(b, key) << 3 | (uint32_t)type;
    b->keys_count++;
    b->values[b->values_count++] = bits;
    b->bytes += 3;
}

void ks_batch_attr_of(struct ks_batch *b, const struct ks_attr *a)
{
    uint64_t bits = (uint64_t)a->number;
    if (ks_attr_is_text(a->type))
        bits = ks_batch_string(b, a->text);
    else if (a->type == KS_ATTR_DOUBLE)
        memcpy(&bits, &a->real, 8);
    ks_batch_attr(b, a->key, a->type, bits);
}

static bool shapes_grow(struct ks_batch *b)
{
    struct ks_batch_table *t = &b->shape_table;
    if (!table_grow(t, table_next_size(t, b->shapes_count))) {
        b->err = KS_ENOMEM;
        return false;
    }
    for (uint32_t i = 0; i < b->shapes_count; i++)
        table_put(t, b->shapes[i].hash, i);
    return true;
}

/* The shape of the open keys, which are taken back when it is known already. */
static uint32_t shape_of(struct ks_batch *b)
{
    struct ks_batch_table *t = &b->shape_table;
    uint32_t count = (uint32_t)(b->keys_count - b->open_key);
    const uint32_t *keys = b->keys + b->open_key;
    if (b->predicted[b->open_kind] < b->shapes_count) {
        const struct ks_batch_shape *p = &b->shapes[b->predicted[b->open_kind]];
        if (p->count == count && memcmp(b->keys + p->first, keys, count * sizeof *keys) == 0) {
            b->keys_count = b->open_key;
            return b->predicted[b->open_kind];
        }
    }
    if (!table_roomy(t) && !shapes_grow(b))
        return 0;
    uint64_t hash = ks_hash64_seed(keys, count * sizeof *keys, b->seed);
    size_t i = hash & t->mask;
    for (; t->slots[i]; i = (i + 1) & t->mask) {
        const struct ks_batch_shape *s = &b->shapes[t->slots[i] - 1];
        if (s->hash == hash && s->count == count &&
            memcmp(b->keys + s->first, keys, count * sizeof *keys) == 0) {
            b->keys_count = b->open_key;
            return t->slots[i] - 1;
        }
    }
    if (!RESERVE(b, shapes, 1))
        return 0;
    b->shapes[b->shapes_count] = (struct ks_batch_shape){(uint32_t)b->open_key, count, hash};
    t->slots[i] = (uint32_t)++b->shapes_count;
    t->count++;
    b->bytes += 2 + 3 * (size_t)count;
    return (uint32_t)b->shapes_count - 1;
}

struct ks_batch_set ks_batch_set_end(struct ks_batch *b, uint32_t dropped)
{
    uint32_t first = (uint32_t)b->open_value;
    if (KS_UNLIKELY(!b->keys && !RESERVE(b, keys, 1))) /* an empty list still has an address */
        return (struct ks_batch_set){0};
    uint32_t shape = shape_of(b);
    b->predicted[b->open_kind] = shape;
    return (struct ks_batch_set){shape, first, dropped};
}

/* --- parts --- */
uint32_t ks_batch_add_resource(struct ks_batch *b, struct ks_batch_set set, struct ks_slice schema)
{
    return ks_batch_put_resource(b, set, ks_batch_string(b, schema));
}

uint32_t ks_batch_put_resource(struct ks_batch *b, struct ks_batch_set set, uint32_t url)
{
    uint32_t service = 0;
    if (!RESERVE(b, resources, 1) || !b->shapes_count)
        return 0;
    const struct ks_batch_shape *sh = &b->shapes[set.shape];
    for (uint32_t i = 0; i < sh->count; i++) {
        uint32_t key = b->keys[sh->first + i];
        if ((key & 7) == KS_ATTR_STRING && ks_slice_is(ks_batch_text(b, key >> 3), "service.name"))
            service = (uint32_t)b->values[set.first + i] + 1;
    }
    b->resources[b->resources_count++] = (struct ks_batch_resource){set, url, service};
    return (uint32_t)b->resources_count - 1;
}

uint32_t ks_batch_add_scope(struct ks_batch *b, struct ks_batch_set set, struct ks_slice name,
                            struct ks_slice version, struct ks_slice schema)
{
    struct ks_batch_scope s = {set, ks_batch_string(b, name), ks_batch_string(b, version),
                               ks_batch_string(b, schema)};
    if (!RESERVE(b, scopes, 1))
        return 0;
    b->scopes[b->scopes_count++] = s;
    return (uint32_t)b->scopes_count - 1;
}

/* Where an append failed, the caller still gets a place to write to. */
#define ADD(kind, name, cost)                                                                      \
    static _Thread_local struct ks_batch_##kind nowhere_##kind;                                    \
    struct ks_batch_##kind *ks_batch_add_##kind(struct ks_batch *b)                                \
    {                                                                                              \
        if (!RESERVE(b, name, 1))                                                                  \
            return &nowhere_##kind;                                                                \
        b->bytes += (cost);                                                                        \
        struct ks_batch_##kind *e = &b->name[b->name##_count++];                                   \
        memset(e, 0, sizeof *e);                                                                   \
        return e;                                                                                  \
    }
ADD(span, spans, SPAN_COST)
ADD(event, events, 12)
ADD(link, links, 32)

/* --- from a span as readers see it --- */
static struct ks_batch_set copy_attrs(struct ks_batch *b, enum ks_batch_kind kind,
                                      const struct ks_attrs *attrs)
{
    ks_batch_set_begin(b, kind);
    for (uint32_t i = 0; i < attrs->count; i++)
        ks_batch_attr_of(b, &attrs->items[i]);
    return ks_batch_set_end(b, attrs->dropped);
}

static void copy_process(struct ks_batch *b, const struct ks_span *s, struct ks_batch_memo *memo)
{
    if (memo->resource != s->resource || !b->resources_count) {
        struct ks_batch_set set = copy_attrs(b, KS_SET_PROCESS, &s->resource->attrs);
        memo->resource = s->resource;
        memo->resource_at = ks_batch_add_resource(b, set, s->resource->schema_url);
    }
    if (memo->scope != s->scope || !b->scopes_count) {
        struct ks_batch_set set = copy_attrs(b, KS_SET_PROCESS, &s->scope->attrs);
        memo->scope = s->scope;
        memo->scope_at =
            ks_batch_add_scope(b, set, s->scope->name, s->scope->version, s->scope->schema_url);
    }
}

void ks_batch_copy_span(struct ks_batch *b, const struct ks_span *s, struct ks_batch_memo *memo)
{
    copy_process(b, s, memo);
    struct ks_batch_span t = {
        .span_id = s->span_id,
        .parent_id = s->parent_id,
        .start_ns = s->start_ns,
        .end_ns = s->end_ns,
        .trace = ks_batch_trace(b, s->trace_id),
        .resource = memo->resource_at,
        .scope = memo->scope_at,
        .name = ks_batch_string(b, s->name),
        .state = ks_batch_string(b, s->state),
        .status_message = ks_batch_string(b, s->status_message),
        .kind = s->kind,
        .status = s->status,
        .flags = s->flags,
        .first_event = (uint32_t)b->events_count,
        .event_count = s->event_count,
        .dropped_events = s->dropped_events,
        .first_link = (uint32_t)b->links_count,
        .link_count = s->link_count,
        .dropped_links = s->dropped_links,
    };
    for (uint32_t i = 0; i < s->event_count; i++) {
        struct ks_batch_event e = {s->events[i].time_ns, ks_batch_string(b, s->events[i].name),
                                   copy_attrs(b, KS_SET_PART, &s->events[i].attrs)};
        *ks_batch_add_event(b) = e;
    }
    for (uint32_t i = 0; i < s->link_count; i++) {
        const struct ks_span_link *l = &s->links[i];
        struct ks_batch_link k = {l->trace_id, l->span_id, l->flags, ks_batch_string(b, l->state),
                                  copy_attrs(b, KS_SET_PART, &l->attrs)};
        *ks_batch_add_link(b) = k;
    }
    t.set = copy_attrs(b, KS_SET_SPAN, &s->attrs);
    *ks_batch_add_span(b) = t;
}
