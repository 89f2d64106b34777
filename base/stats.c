#include "base/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* The linker's bounds of the section; absent from a program without any metric. */
extern const struct ks_stat_entry *const __start_ks_stats[] __attribute__((weak));
extern const struct ks_stat_entry *const __stop_ks_stats[] __attribute__((weak));

void ks_stat_ranges_add(struct ks_stat_ranges *s, uint64_t value)
{
    int bucket = ks_vmrange_of((double)value);
    atomic_fetch_add_explicit(&s->counts[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->sum, value, memory_order_relaxed);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct ks_stat *const *)a)->name, (*(struct ks_stat *const *)b)->name);
}

/* Buckets with events alone, as the peer writes them. */
static void write_ranges(struct ks_stat_ranges *s, struct ks_buf *out)
{
    char range[KS_VMRANGE_TEXT_MAX], name[160];
    uint64_t count = 0;
    for (int i = 0; i < KS_VMRANGE_COUNT; i++) {
        uint64_t n = atomic_load_explicit(&s->counts[i], memory_order_relaxed);
        if (!n)
            continue;
        count += n;
        int len = (int)ks_vmrange_text(i, range);
        snprintf(name, sizeof name, "%s_bucket{vmrange=\"%.*s\"}", s->name, len, range);
        ks_stats_line_u64(out, name, n);
    }
    snprintf(name, sizeof name, "%s_sum", s->name);
    ks_stats_line_u64(out, name, atomic_load_explicit(&s->sum, memory_order_relaxed));
    snprintf(name, sizeof name, "%s_count", s->name);
    ks_stats_line_u64(out, name, count);
}

void ks_stats_write(struct ks_buf *out)
{
    size_t max = (size_t)(__stop_ks_stats - __start_ks_stats), n = 0;
    struct ks_stat **list = max ? ks_alloc_array(max, sizeof *list) : NULL;
    for (size_t i = 0; list && i < max; i++) {
        if (__start_ks_stats[i]->stat)
            list[n++] = __start_ks_stats[i]->stat;
        else
            write_ranges(__start_ks_stats[i]->ranges, out);
    }
    if (n)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0, next; i < n; i = next) {
        uint64_t sum = ks_stat_get(list[i]);
        for (next = i + 1; next < n && strcmp(list[i]->name, list[next]->name) == 0; next++)
            sum += ks_stat_get(list[next]);
        ks_stats_line_u64(out, list[i]->name, sum);
    }
    ks_free(list);
}

void ks_stats_line_u64(struct ks_buf *out, const char *name, uint64_t v)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, ' ');
    ks_buf_u64_dec(out, v);
    ks_buf_byte(out, '\n');
}

void ks_stats_line_f64(struct ks_buf *out, const char *name, double v)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, ' ');
    ks_buf_f64(out, v);
    ks_buf_byte(out, '\n');
}
