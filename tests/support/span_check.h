/* Two spans are the same, field by field; cmocka's headers come before this one. */
#ifndef KS_TESTS_SPAN_CHECK_H
#define KS_TESTS_SPAN_CHECK_H

#include <math.h>

#include "base/num.h"
#include "storage/traces/span.h"

enum check_order { CHECK_IN_ORDER, CHECK_IN_ANY_ORDER };

static inline bool same_attr(const struct ks_attr *a, const struct ks_attr *b)
{
    return ks_slice_eq(a->key, b->key) && a->type == b->type && ks_slice_eq(a->text, b->text) &&
           a->number == b->number &&
           (ks_f64_bits(a->real) == ks_f64_bits(b->real) || (isnan(a->real) && isnan(b->real)));
}

static inline void check_attrs(const struct ks_attrs *a, const struct ks_attrs *b,
                               enum check_order order)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->dropped, b->dropped);
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t k = order == CHECK_IN_ORDER ? i : 0;
        while (order == CHECK_IN_ANY_ORDER && k < b->count &&
               !same_attr(&a->items[i], &b->items[k]))
            k++;
        if (k == b->count || !same_attr(&a->items[i], &b->items[k]))
            fail_msg("the attribute %.*s is not as it was", KS_SLICE_ARG(a->items[i].key));
    }
}

static inline void check_span(const struct ks_span *a, const struct ks_span *b,
                              enum check_order order)
{
    assert_true(ks_trace_id_eq(a->trace_id, b->trace_id));
    assert_int_equal(a->span_id, b->span_id);
    assert_int_equal(a->parent_id, b->parent_id);
    assert_int_equal(a->start_ns, b->start_ns);
    assert_int_equal(a->end_ns, b->end_ns);
    assert_true(ks_slice_eq(a->name, b->name));
    assert_true(ks_slice_eq(a->state, b->state));
    assert_true(ks_slice_eq(a->status_message, b->status_message));
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->flags, b->flags);
    check_attrs(&a->attrs, &b->attrs, order);
    check_attrs(&a->resource->attrs, &b->resource->attrs, order);
    check_attrs(&a->scope->attrs, &b->scope->attrs, order);
    assert_true(ks_slice_eq(a->resource->schema_url, b->resource->schema_url));
    assert_true(ks_slice_eq(a->resource->service, b->resource->service));
    assert_int_equal(a->resource->has_service, b->resource->has_service);
    assert_true(ks_slice_eq(a->scope->name, b->scope->name));
    assert_true(ks_slice_eq(a->scope->version, b->scope->version));
    assert_true(ks_slice_eq(a->scope->schema_url, b->scope->schema_url));
    assert_int_equal(a->dropped_events, b->dropped_events);
    assert_int_equal(a->event_count, b->event_count);
    for (uint32_t i = 0; i < a->event_count; i++) {
        assert_int_equal(a->events[i].time_ns, b->events[i].time_ns);
        assert_true(ks_slice_eq(a->events[i].name, b->events[i].name));
        check_attrs(&a->events[i].attrs, &b->events[i].attrs, order);
    }
    assert_int_equal(a->link_count, b->link_count);
    for (uint32_t i = 0; i < a->link_count; i++) {
        assert_true(ks_trace_id_eq(a->links[i].trace_id, b->links[i].trace_id));
        assert_int_equal(a->links[i].span_id, b->links[i].span_id);
        assert_int_equal(a->links[i].flags, b->links[i].flags);
        check_attrs(&a->links[i].attrs, &b->links[i].attrs, order);
    }
}

#endif
