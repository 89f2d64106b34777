#include "query/traces/summary.h"

#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct ks_service_summary *)a)->name,
                        ((const struct ks_service_summary *)b)->name);
}

static int by_id(const void *a, const void *b)
{
    return (*(const uint64_t *)a > *(const uint64_t *)b) -
           (*(const uint64_t *)a < *(const uint64_t *)b);
}

/* Few services: the one of the span before is likely. */
static void count_service(struct ks_trace_summary *m, const struct ks_span *s)
{
    size_t k = m->service_count;
    while (k > 0 && !ks_slice_eq(m->services[k - 1].name, s->resource->service))
        k--;
    if (!k) {
        m->services[m->service_count++] = (struct ks_service_summary){s->resource->service, 0, 0};
        k = m->service_count;
    }
    m->services[k - 1].spans++;
    m->services[k - 1].errors += s->status == KS_STATUS_ERROR;
}

ks_err ks_trace_summarise(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                          struct ks_trace_summary *m)
{
    uint64_t *ids = ks_arena_array(arena, count, sizeof *ids);
    *m = (struct ks_trace_summary){.min_start_ns = UINT64_MAX, .spans = count};
    m->services = ks_arena_array(arena, count, sizeof *m->services);
    if (!ids || !m->services)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++)
        ids[i] = spans[i].span_id;
    qsort(ids, count, sizeof *ids, by_id);
    for (size_t i = 0; i < count; i++) {
        const struct ks_span *s = &spans[i];
        m->min_start_ns = s->start_ns < m->min_start_ns ? s->start_ns : m->min_start_ns;
        m->max_end_ns = s->end_ns > m->max_end_ns ? s->end_ns : m->max_end_ns;
        m->errors += s->status == KS_STATUS_ERROR;
        if (!s->parent_id && (!m->root || s->start_ns < m->root->start_ns))
            m->root = s;
        m->orphans += s->parent_id && !bsearch(&s->parent_id, ids, count, sizeof *ids, by_id);
        count_service(m, s);
    }
    qsort(m->services, m->service_count, sizeof *m->services, by_name);
    return KS_OK;
}
