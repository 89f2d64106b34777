#include "api/prom/points.h"

#include "base/bytes.h"
#include "base/num.h"

/* A slot has room for any time with what stands around it. */
enum { SLOT = 32, TABLE_SERIES = 4, TEXT_KEPT = 32, EXPECT_SERIES = 64 };

static bool absent(double v)
{
    return ks_f64_bits(v) == KS_ABSENT_BITS;
}

/* ,[1700000000.123," */
static size_t put_time(char *out, int64_t time_ms)
{
    char *p = out;
    *p++ = ',';
    *p++ = '[';
    p += ks_ms_format_seconds(p, time_ms);
    *p++ = ',';
    *p++ = '"';
    return (size_t)(p - out);
}

void ks_prom_points_init(struct ks_prom_points *w, const struct ks_promql_result *r, bool strict,
                         struct ks_arena *arena, const struct ks_buf *out)
{
    *w = (struct ks_prom_points){.result = r, .strict = strict, .start = out->len};
    size_t n = r->series_count ? r->series[0].count : 0;
    for (size_t i = 0; i < r->series_count; i++) {
        w->points += r->series[i].count;
        if (r->series[i].times || r->series[i].count != n)
            n = 0;
    }
    if (!n || r->series_count < TABLE_SERIES || arena->cap_bytes < arena->used_bytes ||
        arena->cap_bytes - arena->used_bytes < 2 * n * (SLOT + 1))
        return;
    char *times = ks_arena_array(arena, n, SLOT);
    w->sizes = times ? ks_arena_array(arena, n, 1) : NULL;
    if (!w->sizes)
        return;
    w->times = times;
    for (size_t i = 0; i < n; i++)
        w->sizes[i] = (uint8_t)put_time(times + i * SLOT, r->start_ms + (int64_t)i * r->step_ms);
}

static size_t put_point_time(const struct ks_prom_points *w, const struct ks_promql_series *s,
                             size_t i, char *out)
{
    if (w->times) {
        memcpy(out, w->times + i * SLOT, SLOT);
        return w->sizes[i];
    }
    return put_time(out,
                    s->times ? s->times[i] : w->result->start_ms + (int64_t)i * w->result->step_ms);
}

/* The text of the value before. */
struct last_value {
    uint64_t bits;
    size_t size; /* 0: none */
    char text[TEXT_KEPT];
};

static size_t put_value(const struct ks_prom_points *w, double v, struct last_value *last,
                        char *out)
{
    if (last->size && last->bits == ks_f64_bits(v)) {
        memcpy(out, last->text, TEXT_KEPT);
        return last->size;
    }
    size_t n = w->strict ? ks_f64_format_json(out, v) : ks_f64_format(out, v);
    last->bits = ks_f64_bits(v);
    last->size = n <= TEXT_KEPT ? n : 0;
    memcpy(last->text, out, last->size);
    return n;
}

size_t ks_prom_points_numbers(struct ks_prom_points *w, struct ks_buf *out,
                              const struct ks_promql_series *s)
{
    struct last_value last = {0};
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        double v = s->values[i];
        if ((!s->times && absent(v)) ||
            (w->result->histogram_count && ks_promql_histogram(w->result, v)))
            continue;
        if (!n++)
            ks_buf_str(out, ",\"values\":[");
        if (!ks_buf_reserve(out, SLOT + KS_F64_TEXT_MAX + TEXT_KEPT))
            return n;
        char *p = out->ptr + out->len - (n == 1); /* the first one's comma gives way to ... */
        p += put_point_time(w, s, i, p);
        if (n == 1)
            out->ptr[out->len - 1] = '['; /* ... what it was written over */
        p += put_value(w, v, &last, p);
        *p++ = '"';
        *p++ = ']';
        out->len = (size_t)(p - out->ptr);
    }
    if (n)
        ks_buf_byte(out, ']');
    return n;
}

size_t ks_prom_points_histograms(struct ks_prom_points *w, struct ks_buf *out,
                                 const struct ks_promql_series *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count && w->result->histogram_count; i++) {
        const struct ks_histogram *h = ks_promql_histogram(w->result, s->values[i]);
        if (!h)
            continue;
        ks_buf_str(out, n++ ? "," : ",\"histograms\":[");
        ks_prom_json_histogram(
            out, s->times ? s->times[i] : w->result->start_ms + (int64_t)i * w->result->step_ms, h);
    }
    if (n)
        ks_buf_byte(out, ']');
    return n;
}

void ks_prom_points_expect(struct ks_prom_points *w, struct ks_buf *out)
{
    if (++w->seen != EXPECT_SERIES)
        return;
    size_t written = out->len - w->start, left = w->result->series_count - w->seen;
    size_t more = written / EXPECT_SERIES * left;
    more += more / 32;
    if (more <= out->max - out->len)
        (void)ks_buf_reserve(out, more); /* what fails is in the buffer's status */
}
