/*
 * The program's own metrics (/metrics). A metric is a static object that the linker puts on one
 * list, so that it is there with a zero from the start: rates over a counter that appears with its
 * first event miss that event. Live state is written by callbacks. Names are VictoriaMetrics' where
 * it has one. Thread role: any.
 */
#ifndef KS_BASE_STATS_H
#define KS_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/vmrange.h"

/* A counter or gauge: `name` may carry labels: vm_rows_inserted_total{type="import"}. */
struct ks_stat {
    const char *name;
    _Atomic uint64_t value;
};

/* How values of events are distributed, in VictoriaMetrics' buckets; `name` has no labels. */
struct ks_stat_ranges {
    const char *name;
    _Atomic uint64_t sum; /* events count as whole numbers */
    _Atomic uint64_t counts[KS_VMRANGE_COUNT];
};

/* What the list holds: one of the two. */
struct ks_stat_entry {
    struct ks_stat *stat;
    struct ks_stat_ranges *ranges;
};
#define KS_STAT_ENTRY(tag, ...)                                                                    \
    static const struct ks_stat_entry tag##_entry = {__VA_ARGS__};                                 \
    static const struct ks_stat_entry *const tag##_listed                                          \
        __attribute__((section("ks_stats"), used)) = &tag##_entry

/* At file scope; `static` may stand before. */
#define KS_STAT(var, metric_name)                                                                  \
    struct ks_stat var = {.name = metric_name};                                                    \
    KS_STAT_ENTRY(var, .stat = &var)
#define KS_STAT_RANGES(var, metric_name)                                                           \
    struct ks_stat_ranges var = {.name = metric_name};                                             \
    KS_STAT_ENTRY(var, .ranges = &var)

static inline void ks_stat_add(struct ks_stat *s, uint64_t n)
{
    atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}
static inline uint64_t ks_stat_get(struct ks_stat *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

void ks_stat_ranges_add(struct ks_stat_ranges *s, uint64_t value);

/* Appends "name value\n" lines for all listed metrics, sorted by name so that families stay
 * together; those of one name are one line. */
void ks_stats_write(struct ks_buf *out);

/* One line; for callbacks and handlers that emit live values. name includes labels. */
void ks_stats_line_u64(struct ks_buf *out, const char *name, uint64_t v);
void ks_stats_line_f64(struct ks_buf *out, const char *name, double v);

#endif
