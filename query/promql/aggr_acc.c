/* Accumulators of the simple aggregates: one row of points per group, to which series are added. */
#include <math.h>

#include "base/clones.h"
#include "query/promql/exec_priv.h"

bool ksi_acc_supports(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_AGGR_SUM:
    case KS_FN_AGGR_AVG:
    case KS_FN_AGGR_MIN:
    case KS_FN_AGGR_MAX:
    case KS_FN_AGGR_COUNT:
    case KS_FN_AGGR_GROUP:
    case KS_FN_AGGR_SUM2:
    case KS_FN_AGGR_GEOMEAN:
        return true;
    default:
        return false;
    }
}

static bool needs_counts(enum ks_promql_func_id func)
{
    return func == KS_FN_AGGR_AVG || func == KS_FN_AGGR_GEOMEAN;
}

static void acc_init(enum ks_promql_func_id func, struct ksi_acc *a, size_t points)
{
    for (size_t i = 0; i < points; i++)
        a->values[i] = NAN;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] = 0;
    for (size_t i = 0; a->lost && i < points; i++)
        a->lost[i] = 0;
}

static bool needs_lost(enum ks_promql_func_id func)
{
    return func == KS_FN_AGGR_SUM || func == KS_FN_AGGR_AVG || func == KS_FN_AGGR_SUM2;
}

ks_err ksi_acc_new(struct ks_arena *arena, enum ks_promql_func_id func, size_t points,
                   struct ksi_acc *ret)
{
    size_t columns = 1 + (size_t)needs_counts(func) + (size_t)needs_lost(func);
    double *all = ks_arena_array(arena, columns * points, sizeof *all);
    if (!all)
        return ks_arena_err(arena);
    *ret = (struct ksi_acc){.values = all};
    ret->lost = needs_lost(func) ? all + points : NULL;
    ret->counts = needs_counts(func) ? all + (columns - 1) * points : NULL;
    acc_init(func, ret, points);
    return KS_OK;
}

/*
 * Adds b to a with what the rounding lost kept in lost: sums so made do not depend on the order of
 * adding, but for cases of no practical weight. So a sum over series is the same whichever order
 * they are found in, whichever worker meets them, and whether others without a point there were
 * along.
 */
static inline double add_exact(double a, double b, double *lost)
{
    double s = a + b, part = s - a, err = (a - (s - part)) + (b - part);
    /* Infinities lose nothing; of both kinds they make a NaN for good. */
    *lost += s - s == 0 ? err : s != s ? s : 0;
    return s;
}

/* NaN is "nothing yet" in the accumulator and "no point" in the input. */
#define KSI_EACH(first, next)                                                                      \
    for (size_t i = 0; i < points; i++) {                                                          \
        double x = v[i], y = o[i];                                                                 \
        if (!isnan(x))                                                                             \
            o[i] = isnan(y) ? (first) : (next);                                                    \
    }                                                                                              \
    break

/* Four points at once; without vector registers that wide the compiler makes two of each. */
typedef double four __attribute__((vector_size(32), aligned(8)));
typedef int64_t four_bits __attribute__((vector_size(32), aligned(8)));
#define FOUR(p)             (*(const four *)(p))
#define CHOOSE(which, a, b) ((four)(((which) & (four_bits)(a)) | (~(which) & (four_bits)(b))))

/* The sum of KSI_EACH, without branches. */
static KS_CLONES void add_sums(double *sums, double *lost, const double *v, size_t points)
{
    const four zero = {0};
    size_t i = 0;
    for (; i + 4 <= points; i += 4) {
        four x = FOUR(v + i), y = FOUR(sums + i), s = x + y, part = s - y;
        four err = (y - (s - part)) + (x - part);
        four_bits unknown = s != s, finite = s - s == zero, none = x != x, first = y != y;
        err = CHOOSE(finite, err, CHOOSE(unknown, s, zero));
        *(four *)(lost + i) = FOUR(lost + i) + CHOOSE(none | first, zero, err);
        *(four *)(sums + i) = CHOOSE(none, y, CHOOSE(first, x, s));
    }
    for (; i < points; i++)
        if (!isnan(v[i]))
            sums[i] = isnan(sums[i]) ? v[i] : add_exact(sums[i], v[i], &lost[i]);
}

void ksi_acc_add(enum ks_promql_func_id func, struct ksi_acc *a, const double *v, size_t points)
{
    double *o = a->values;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] += !isnan(v[i]);
    switch (func) {
    case KS_FN_AGGR_SUM:
    case KS_FN_AGGR_AVG:
        add_sums(o, a->lost, v, points);
        break;
    case KS_FN_AGGR_MIN:
        KSI_EACH(x, x < y ? x : y);
    case KS_FN_AGGR_MAX:
        KSI_EACH(x, x > y ? x : y);
    case KS_FN_AGGR_COUNT:
        KSI_EACH(1, y + 1);
    case KS_FN_AGGR_GROUP:
        KSI_EACH(1, 1);
    case KS_FN_AGGR_SUM2:
        KSI_EACH(x * x, add_exact(y, x * x, &a->lost[i]));
    case KS_FN_AGGR_GEOMEAN:
        KSI_EACH(x, y * x);
    default:
        KS_ASSERT(!"not an accumulating aggregate");
    }
}

void ksi_acc_merge(enum ks_promql_func_id func, struct ksi_acc *a, const struct ksi_acc *b,
                   size_t points)
{
    const double *v = b->values;
    double *o = a->values;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] += b->counts[i];
    switch (func) {
    case KS_FN_AGGR_MIN:
        KSI_EACH(x, x < y ? x : y);
    case KS_FN_AGGR_MAX:
        KSI_EACH(x, x > y ? x : y);
    case KS_FN_AGGR_GROUP:
        KSI_EACH(1, 1);
    case KS_FN_AGGR_GEOMEAN:
        KSI_EACH(x, y * x);
    case KS_FN_AGGR_COUNT:
        KSI_EACH(x, y + x);
    default:
        for (size_t i = 0; i < points; i++)
            a->lost[i] += b->lost[i];
        add_sums(o, a->lost, v, points);
    }
}
#undef KSI_EACH

void ksi_acc_finish(enum ks_promql_func_id func, struct ksi_acc *a, size_t points)
{
    for (size_t i = 0; a->lost && i < points; i++)
        a->values[i] += a->lost[i];
    if (func == KS_FN_AGGR_AVG)
        for (size_t i = 0; i < points; i++)
            a->values[i] /= a->counts[i];
    if (func == KS_FN_AGGR_GEOMEAN)
        for (size_t i = 0; i < points; i++)
            if (a->counts[i] > 1)
                a->values[i] = pow(a->values[i], 1 / a->counts[i]);
}
