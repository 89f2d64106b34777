/*
 * Stats functions over numbers: count, count_empty, sum, avg, stddev, rate, rate_sum, sum_len,
 * histogram.
 *
 * Sums carry their rounding error (Neumaier), so that the order of rows and the split between
 * workers do not show in the result; deviations are kept with twice the digits.
 */
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/vmrange.h"
#include "query/logsql/stats/agg.h"

static void print_number(struct ks_buf *out, double v)
{
    if (ks_buf_reserve(out, KS_F64_TEXT_MAX))
        out->len += ks_lq_f64_format(out->ptr + out->len, v);
}

/* Rows of the batch that take part. */
static uint64_t rows_on(const struct ksi_lq_update *u)
{
    uint64_t n = 0;
    if (!u->bits)
        return u->rows->row_count;
    for (size_t i = 0; i < KS_ROW_WORDS(u->rows->row_count); i++)
        n += (uint64_t)__builtin_popcountll(u->bits[i]);
    return n;
}

/* ---------------------------------------------------------------- count */

struct count_state {
    uint64_t n;
};

static void count_all(struct count_state *s, const struct ksi_lq_update *u)
{
    uint32_t rows = u->rows->row_count;
    if (!u->group_of) {
        s[u->single].n += rows_on(u);
    } else if (!u->bits) {
        for (uint32_t r = 0; r < rows; r++)
            s[u->group_of[r]].n++;
    } else {
        for (uint32_t r = 0; r < rows; r++)
            s[u->group_of[r]].n += ks_lq_bit(u->bits, r);
    }
}

/* Rows in which any of the columns has a value, or with `empty` none has. */
static ks_err count_values(const struct ksi_lq_agg *a, struct count_state *s,
                           const struct ksi_lq_update *u, bool empty)
{
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (uint32_t r = 0; r < u->rows->row_count; r++) {
        bool any = false;
        if (!ksi_lq_on(u, r))
            continue;
        for (size_t i = 0; i < args.count && !any; i++)
            any = ksi_lq_text(&args.texts[i], r).len > 0;
        s[ksi_lq_group(u, r)].n += any != empty;
    }
    return KS_OK;
}

static ks_err count_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                           const struct ksi_lq_update *u)
{
    if (!ksi_lq_args_all(&a->func->args))
        return count_values(a, (struct count_state *)(void *)st->data, u, false);
    count_all((struct count_state *)(void *)st->data, u);
    return KS_OK;
}
static ks_err count_empty_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                 const struct ksi_lq_update *u)
{
    return count_values(a, (struct count_state *)(void *)st->data, u, true);
}
static ks_err count_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                          void *src)
{
    ((struct count_state *)dst)->n += ((struct count_state *)src)->n;
    return KS_OK;
}
static ks_err count_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    ks_buf_u64_dec(out, ((struct count_state *)state)->n);
    return KS_OK;
}
static ks_err rate_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    double n = (double)((struct count_state *)state)->n;
    print_number(out, a->func->step_seconds > 0 ? n / a->func->step_seconds : n);
    return KS_OK;
}

void ksi_lq_hand_out_count(const void *state, struct ks_buf *out)
{
    ks_buf_varint(out, ((const struct count_state *)state)->n);
}

const struct ksi_lq_agg_ops ksi_lq_agg_count = {sizeof(struct count_state), count_update,
                                                count_merge, count_result, NULL};
const struct ksi_lq_agg_ops ksi_lq_agg_count_empty = {
    sizeof(struct count_state), count_empty_update, count_merge, count_result, NULL};
const struct ksi_lq_agg_ops ksi_lq_agg_rate = {sizeof(struct count_state), count_update,
                                               count_merge, rate_result, NULL};

/* ---------------------------------------------------------------- sums of lengths */

static ks_err sum_len_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                             const struct ksi_lq_update *u)
{
    struct count_state *s = (struct count_state *)(void *)st->data;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++)
        for (uint32_t r = 0; r < u->rows->row_count; r++)
            if (ksi_lq_on(u, r))
                s[ksi_lq_group(u, r)].n += ksi_lq_text(&args.texts[i], r).len;
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_sum_len = {sizeof(struct count_state), sum_len_update,
                                                  count_merge, count_result, NULL};

/* ---------------------------------------------------------------- sums */

struct exact { /* a sum and what rounding lost */
    double sum, lost;
};
static inline void exact_add(struct exact *e, double v)
{
    double t = e->sum + v;
    if (isfinite(t))
        e->lost += fabs(e->sum) >= fabs(v) ? (e->sum - t) + v : (v - t) + e->sum;
    e->sum = t;
}
static double exact_value(const struct exact *e)
{
    return isfinite(e->sum) ? e->sum + e->lost : e->sum;
}
static void exact_merge(struct exact *dst, const struct exact *src)
{
    exact_add(dst, src->sum);
    dst->lost += src->lost;
}

struct sum_state {
    struct exact sum;
    uint64_t n;
};

/* One number per distinct value; NaN for what is none. */
static ks_err numbers_of(const struct ksi_lq_texts *t, struct ks_arena *arena, double **ret)
{
    double *v = ks_arena_array(arena, t->count, sizeof *v);
    if (!v)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < t->count; i++)
        if (!ks_lq_parse_number(t->values[i], &v[i]))
            v[i] = NAN;
    *ret = v;
    return KS_OK;
}

/* take(state, number, weight) for every number of the batch. */
#define FOR_NUMBERS(a, u, v, r, body)                                                              \
    do {                                                                                           \
        struct ksi_lq_args args_;                                                                  \
        KS_TRY(ksi_lq_args(&(a)->func->args, (u)->rows, (u)->arena, &args_));                      \
        for (size_t i_ = 0; i_ < args_.count; i_++) {                                              \
            double *numbers_;                                                                      \
            if (!args_.cols[i_])                                                                   \
                continue;                                                                          \
            KS_TRY(numbers_of(&args_.texts[i_], (u)->arena, &numbers_));                           \
            for (uint32_t r = 0; r < (u)->rows->row_count; r++) {                                  \
                double v = numbers_[ksi_lq_text_at(&args_.texts[i_], r)];                          \
                if (v == v && ksi_lq_on(u, r))                                                     \
                    body;                                                                          \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static inline void sum_take(struct sum_state *s, double v)
{
    exact_add(&s->sum, v);
    s->n++;
}
static ks_err sum_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                         const struct ksi_lq_update *u)
{
    struct sum_state *s = (struct sum_state *)(void *)st->data;
    FOR_NUMBERS(a, u, v, r, sum_take(&s[ksi_lq_group(u, r)], v));
    return KS_OK;
}
static ks_err sum_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    struct sum_state *d = dst, *s = src;
    exact_merge(&d->sum, &s->sum);
    d->n += s->n;
    return KS_OK;
}
static ks_err sum_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct sum_state *s = state;
    print_number(out, s->n ? exact_value(&s->sum) : NAN);
    return KS_OK;
}
static ks_err avg_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct sum_state *s = state;
    print_number(out, s->n ? exact_value(&s->sum) / (double)s->n : NAN);
    return KS_OK;
}
static ks_err rate_sum_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct sum_state *s = state;
    double step = a->func->step_seconds > 0 ? a->func->step_seconds : 1;
    print_number(out, s->n ? exact_value(&s->sum) / step : NAN);
    return KS_OK;
}
/* Big-endian, as VictoriaLogs has it; NaN when there was no number. */
void ksi_lq_hand_out_sum(const void *state, struct ks_buf *out)
{
    const struct sum_state *s = state;
    uint64_t bits = ks_f64_bits(s->n ? exact_value(&s->sum) : NAN);
    for (int i = 56; i >= 0; i -= 8)
        ks_buf_byte(out, (uint8_t)(bits >> i));
}
void ksi_lq_hand_out_avg(const void *state, struct ks_buf *out)
{
    const struct sum_state *s = state;
    uint64_t bits = ks_f64_bits(exact_value(&s->sum));
    for (int i = 56; i >= 0; i -= 8)
        ks_buf_byte(out, (uint8_t)(bits >> i));
    ks_buf_varint(out, s->n);
}

const struct ksi_lq_agg_ops ksi_lq_agg_sum = {sizeof(struct sum_state), sum_update, sum_merge,
                                              sum_result, NULL};
const struct ksi_lq_agg_ops ksi_lq_agg_avg = {sizeof(struct sum_state), sum_update, sum_merge,
                                              avg_result, NULL};
const struct ksi_lq_agg_ops ksi_lq_agg_rate_sum = {sizeof(struct sum_state), sum_update, sum_merge,
                                                   rate_sum_result, NULL};

/* ---------------------------------------------------------------- stddev */

/* A number of some 100 bits: the sum of two doubles, the second below the last digit of the first.
 */
struct wide {
    double hi, lo;
};
static inline struct wide wide_of_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (struct wide){s, (a - (s - t)) + (b - t)};
}
static inline struct wide wide_of_product(double a, double b)
{
    double p = a * b;
    return (struct wide){p, fma(a, b, -p)};
}
static inline struct wide wide_add(struct wide a, struct wide b)
{
    if (!isfinite(a.hi + b.hi))
        return (struct wide){a.hi + b.hi, 0};
    struct wide s = wide_of_sum(a.hi, b.hi), t = wide_of_sum(a.lo, b.lo);
    s = wide_of_sum(s.hi, s.lo + t.hi);
    return wide_of_sum(s.hi, s.lo + t.lo);
}
static inline struct wide wide_mul(struct wide a, struct wide b)
{
    struct wide p = wide_of_product(a.hi, b.hi);
    if (!isfinite(p.hi))
        return (struct wide){p.hi, 0};
    return wide_of_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}
static struct wide wide_div(struct wide a, double n)
{
    double q = a.hi / n;
    struct wide left = wide_add(a, wide_mul((struct wide){-q, 0}, (struct wide){n, 0}));
    return isfinite(q) ? wide_of_sum(q, (left.hi + left.lo) / n) : (struct wide){q, 0};
}

/*
 * Sums of the distance from some value met, and of its square. Which value it is depends on how
 * workers split the rows; with twice the digits of a double no rounding reaches those printed.
 */
struct stddev_state {
    double from;
    struct wide sum, squares;
    uint64_t n;
};
static inline void stddev_take(struct stddev_state *s, double v)
{
    if (s->n++ == 0)
        s->from = v;
    struct wide d = wide_of_sum(v, -s->from);
    s->sum = wide_add(s->sum, d);
    s->squares = wide_add(s->squares, wide_mul(d, d));
}
static ks_err stddev_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                            const struct ksi_lq_update *u)
{
    struct stddev_state *s = (struct stddev_state *)(void *)st->data;
    FOR_NUMBERS(a, u, v, r, stddev_take(&s[ksi_lq_group(u, r)], v));
    return KS_OK;
}
static ks_err stddev_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                           void *src)
{
    struct stddev_state *d = dst, *s = src;
    if (!s->n)
        return KS_OK;
    if (!d->n)
        d->from = s->from;
    /* Of distances from d's value: sum + n·shift, squares + 2·shift·sum + n·shift². */
    struct wide shift = wide_of_sum(s->from, -d->from), n = {(double)s->n, 0};
    struct wide moved = wide_mul(shift, n), twice = {2 * s->sum.hi, 2 * s->sum.lo};
    d->squares = wide_add(d->squares, s->squares);
    d->squares = wide_add(d->squares, wide_mul(shift, wide_add(twice, moved)));
    d->sum = wide_add(d->sum, wide_add(s->sum, moved));
    d->n += s->n;
    return KS_OK;
}
static ks_err stddev_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct stddev_state *s = state;
    double n = (double)s->n, var = NAN;
    if (s->n) {
        struct wide mean = wide_div(s->sum, n), minus = {-s->sum.hi, -s->sum.lo};
        var = wide_div(wide_add(s->squares, wide_mul(minus, mean)), n).hi;
    }
    print_number(out, var < 0 ? 0 : sqrt(var));
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_stddev = {sizeof(struct stddev_state), stddev_update,
                                                 stddev_merge, stddev_result, NULL};

/* ---------------------------------------------------------------- histogram */

struct histogram_state {
    uint64_t *hits; /* [KS_VMRANGE_COUNT], NULL: nothing yet */
};
static ks_err histogram_take(struct ksi_lq_states *st, struct histogram_state *s, double v)
{
    int bucket = ks_vmrange_of(v);
    if (bucket < 0)
        return KS_OK;
    if (!s->hits) {
        s->hits = ks_zalloc_array(KS_VMRANGE_COUNT, sizeof *s->hits);
        if (!s->hits)
            return KS_ENOMEM;
        st->heap_bytes += KS_VMRANGE_COUNT * sizeof *s->hits;
    }
    s->hits[bucket]++;
    return KS_OK;
}
static ks_err histogram_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                               const struct ksi_lq_update *u)
{
    struct histogram_state *s = (struct histogram_state *)(void *)st->data;
    FOR_NUMBERS(a, u, v, r, KS_TRY(histogram_take(st, &s[ksi_lq_group(u, r)], v)));
    return KS_OK;
}
static ks_err histogram_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                              void *src)
{
    struct histogram_state *d = dst, *s = src;
    if (!s->hits)
        return KS_OK;
    if (!d->hits) {
        *d = *s;
        s->hits = NULL;
        return KS_OK;
    }
    for (int i = 0; i < KS_VMRANGE_COUNT; i++)
        d->hits[i] += s->hits[i];
    return KS_OK;
}

struct shown_bucket {
    char text[KS_VMRANGE_TEXT_MAX];
    size_t len;
    uint64_t hits;
};
static int shown_cmp(const void *a, const void *b)
{
    const struct shown_bucket *x = a, *y = b;
    return ks_slice_cmp(ks_slice(x->text, x->len), ks_slice(y->text, y->len));
}

/* Buckets in order of their text, as the peer prints them. */
static ks_err histogram_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct histogram_state *s = state;
    struct shown_bucket *shown = ks_alloc_array(KS_VMRANGE_COUNT, sizeof *shown);
    size_t count = 0;
    if (!shown)
        return KS_ENOMEM;
    for (int i = 0; s->hits && i < KS_VMRANGE_COUNT; i++) {
        if (!s->hits[i])
            continue;
        shown[count].len = ks_vmrange_text(i, shown[count].text);
        shown[count++].hits = s->hits[i];
    }
    qsort(shown, count, sizeof *shown, shown_cmp);
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        ks_buf_str(out, i ? ",{\"vmrange\":\"" : "{\"vmrange\":\"");
        ks_buf_add(out, shown[i].text, shown[i].len);
        ks_buf_str(out, "\",\"hits\":");
        ks_buf_u64_dec(out, shown[i].hits);
        ks_buf_byte(out, '}');
    }
    ks_buf_byte(out, ']');
    ks_free(shown);
    return KS_OK;
}
static void histogram_done(void *state)
{
    ks_free(((struct histogram_state *)state)->hits);
}
const struct ksi_lq_agg_ops ksi_lq_agg_histogram = {sizeof(struct histogram_state),
                                                    histogram_update, histogram_merge,
                                                    histogram_result, histogram_done};
