#include "storage/traces/span_equal.h"

#include "base/bytes.h"
#include "base/hash.h"

static bool attr_equal(const struct ks_attr *x, const struct ks_attr *y)
{
    return x->type == y->type && ks_slice_eq(x->key, y->key) && ks_slice_eq(x->text, y->text) &&
           x->number == y->number && ks_f64_bits(x->real) == ks_f64_bits(y->real);
}

/* In any order: rows of spans on disk have them by name. */
static bool attrs_equal(const struct ks_attrs *a, const struct ks_attrs *b)
{
    if (a->count != b->count || a->dropped != b->dropped)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        bool found = attr_equal(&a->items[i], &b->items[i]);
        for (uint32_t k = 0; k < b->count && !found; k++)
            found = attr_equal(&a->items[i], &b->items[k]);
        if (!found)
            return false;
    }
    return true;
}

static bool parts_equal(const struct ks_span *a, const struct ks_span *b)
{
    for (uint32_t i = 0; i < a->event_count; i++)
        if (a->events[i].time_ns != b->events[i].time_ns ||
            !ks_slice_eq(a->events[i].name, b->events[i].name) ||
            !attrs_equal(&a->events[i].attrs, &b->events[i].attrs))
            return false;
    for (uint32_t i = 0; i < a->link_count; i++)
        if (!ks_trace_id_eq(a->links[i].trace_id, b->links[i].trace_id) ||
            a->links[i].span_id != b->links[i].span_id || a->links[i].flags != b->links[i].flags ||
            !ks_slice_eq(a->links[i].state, b->links[i].state) ||
            !attrs_equal(&a->links[i].attrs, &b->links[i].attrs))
            return false;
    return true;
}

static bool resources_equal(const struct ks_resource *a, const struct ks_resource *b)
{
    return a == b || (a && b && ks_slice_eq(a->schema_url, b->schema_url) &&
                      attrs_equal(&a->attrs, &b->attrs));
}

static bool scopes_equal(const struct ks_scope *a, const struct ks_scope *b)
{
    return a == b ||
           (a && b && ks_slice_eq(a->name, b->name) && ks_slice_eq(a->version, b->version) &&
            ks_slice_eq(a->schema_url, b->schema_url) && attrs_equal(&a->attrs, &b->attrs));
}

bool ks_spans_equal(const struct ks_span *a, const struct ks_span *b)
{
    return a->span_id == b->span_id && ks_trace_id_eq(a->trace_id, b->trace_id) &&
           a->parent_id == b->parent_id && a->start_ns == b->start_ns && a->end_ns == b->end_ns &&
           a->kind == b->kind && a->status == b->status && a->flags == b->flags &&
           a->event_count == b->event_count && a->link_count == b->link_count &&
           a->dropped_events == b->dropped_events && a->dropped_links == b->dropped_links &&
           ks_slice_eq(a->name, b->name) && ks_slice_eq(a->state, b->state) &&
           ks_slice_eq(a->status_message, b->status_message) && attrs_equal(&a->attrs, &b->attrs) &&
           parts_equal(a, b) && resources_equal(a->resource, b->resource) &&
           scopes_equal(a->scope, b->scope);
}

ks_err ks_spans_drop_repeats(struct ks_span *spans, size_t *count, struct ks_arena *arena)
{
    size_t slots = 16, kept = 0;
    while (slots < *count * 2)
        slots *= 2;
    uint32_t *table = ks_arena_zalloc(arena, slots * sizeof *table);
    if (!table)
        return ks_arena_err(arena);
    for (size_t i = 0; i < *count; i++) {
        size_t at = ks_mix64(spans[i].span_id ^ spans[i].trace_id.lo) & (slots - 1);
        bool repeat = false;
        for (; table[at] && !repeat; at = (at + 1) & (slots - 1))
            repeat = ks_spans_equal(&spans[table[at] - 1], &spans[i]);
        if (repeat)
            continue;
        spans[kept++] = spans[i];
        table[at] = (uint32_t)kept;
    }
    *count = kept;
    return KS_OK;
}
