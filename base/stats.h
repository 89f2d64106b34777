/*
 * The program's own metrics (/metrics). A metric is a static object that registers itself on first
 * use through ks_stat_register(), or is emitted by a callback that reads live state. Names are
 * VictoriaMetrics' where it has one.
 */
#ifndef KS_BASE_STATS_H
#define KS_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"

/* A counter or gauge: `name` may carry labels: vm_rows_inserted_total{type="import"}. */
struct ks_stat {
    const char *name;
    _Atomic uint64_t value;
    _Atomic int registered;
    struct ks_stat *next;
};

#define KS_STAT(var, metric_name) struct ks_stat var = {.name = metric_name}

void ks_stat_register(struct ks_stat *s); /* idempotent, thread-safe */
static inline void ks_stat_add(struct ks_stat *s, uint64_t n)
{
    if (__builtin_expect(!atomic_load_explicit(&s->registered, memory_order_relaxed), 0))
        ks_stat_register(s);
    atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}
static inline uint64_t ks_stat_get(struct ks_stat *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

/* Appends "name value\n" lines for all registered metrics, sorted by name so that families stay
 * together. */
void ks_stats_write(struct ks_buf *out);

/* One line; for callbacks and handlers that emit live values. name includes labels. */
void ks_stats_line_u64(struct ks_buf *out, const char *name, uint64_t v);
void ks_stats_line_f64(struct ks_buf *out, const char *name, double v);

#endif
