/* Transforms that map values one by one: maths, rounding, clamping, bits, calendar fields. */
#include "base/time.h"
#include "query/promql/exec_priv.h"

static double sgn(double v)
{
    return v > 0 ? 1 : v < 0 ? -1 : v;
}
static double deg(double v)
{
    return v * 180 / M_PI;
}
static double rad(double v)
{
    return v * M_PI / 180;
}

static const struct {
    enum ks_promql_func_id id;
    double (*fn)(double);
} unary_funcs[] = {
    {KS_FN_ABS, fabs},    {KS_FN_ACOS, acos}, {KS_FN_ACOSH, acosh}, {KS_FN_ASIN, asin},
    {KS_FN_ASINH, asinh}, {KS_FN_ATAN, atan}, {KS_FN_ATANH, atanh}, {KS_FN_CEIL, ceil},
    {KS_FN_COS, cos},     {KS_FN_COSH, cosh}, {KS_FN_DEG, deg},     {KS_FN_EXP, exp},
    {KS_FN_FLOOR, floor}, {KS_FN_LN, log},    {KS_FN_LOG2, log2},   {KS_FN_LOG10, log10},
    {KS_FN_RAD, rad},     {KS_FN_SIN, sin},   {KS_FN_SINH, sinh},   {KS_FN_SQRT, sqrt},
    {KS_FN_TAN, tan},     {KS_FN_TANH, tanh}, {KS_FN_SGN, sgn},
};

ks_err ksi_drop_names(const struct ksi_call *c, struct ksi_vec *v)
{
    if (c->call->keep_metric_names || (!c->ctx->q->strict && c->call->func->keeps_name))
        return KS_OK;
    KS_TRY(ksi_drop_metrics(c->ctx->q, v));
    return c->ctx->q->strict ? ksi_merge_labelsets(c->ctx, v) : KS_OK;
}

static ks_err map_unary(const struct ksi_call *c, double (*fn)(double), struct ksi_vec *ret)
{
    KS_TRY(ksi_want_args(c->arg_count, 1));
    *ret = c->args[0];
    for (size_t i = 0; i < ret->count; i++)
        for (size_t k = 0; k < c->ctx->points; k++)
            if (!ksi_is_absent(c->ctx->q, ret->items[i].values[k]))
                ret->items[i].values[k] = fn(ret->items[i].values[k]);
    return ksi_drop_names(c, ret);
}

/* --- calendar --- */
static bool leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static double days_in_month(int64_t y, unsigned m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && leap(y) ? 29 : days[m - 1];
}

static double calendar(enum ks_promql_func_id id, double seconds)
{
    if (!(fabs(seconds) < 1e13))
        return NAN;
    int64_t t = (int64_t)seconds, day = t / 86400, rest = t % 86400;
    if (rest < 0) {
        rest += 86400;
        day--;
    }
    int64_t y;
    unsigned m, d;
    ks_civil_from_days(day, &y, &m, &d);
    switch (id) {
    case KS_FN_MINUTE:
        return (double)(rest / 60 % 60);
    case KS_FN_HOUR:
        return (double)(rest / 3600);
    case KS_FN_DAY_OF_WEEK:
        return (double)(((day + 4) % 7 + 7) % 7);
    case KS_FN_DAY_OF_MONTH:
        return d;
    case KS_FN_DAY_OF_YEAR:
        return (double)(day - ks_days_from_civil(y, 1, 1) + 1);
    case KS_FN_DAYS_IN_MONTH:
        return days_in_month(y, m);
    case KS_FN_MONTH:
        return m;
    default:
        return (double)y;
    }
}

static ks_err map_calendar(const struct ksi_call *c, struct ksi_vec *ret)
{
    if (c->arg_count > 1)
        return ks_fail(KS_EEXEC, "too many args; got %zu; want up to 1", c->arg_count);
    if (c->arg_count)
        *ret = c->args[0];
    else
        KS_TRY(ksi_vec_time(c->ctx, ret));
    for (size_t i = 0; i < ret->count; i++)
        for (size_t k = 0; k < c->ctx->points; k++) {
            double *v = &ret->items[i].values[k];
            if (!isnan(*v))
                *v = calendar(c->call->func->id, *v);
        }
    return ksi_drop_names(c, ret);
}

/* --- with scalar arguments --- */
/* 10^digits after the point in the shortest decimal form of n; below 1 for multiples of ten. */
static double decimal_scale(double n)
{
    char text[KS_F64_TEXT_MAX];
    size_t len = ks_f64_format_fixed(text, fabs(n));
    const char *dot = memchr(text, '.', len);
    if (dot)
        return pow(10, (double)(text + len - dot - 1));
    size_t zeros = 0;
    while (zeros + 1 < len && text[len - 1 - zeros] == '0')
        zeros++;
    return n == 0 || !isfinite(n) ? 1 : pow(10, -(double)zeros);
}

static void round_values(const struct ksi_ctx *ctx, double *v, const double *nearest)
{
    double last = 0, scale = 1;
    for (size_t i = 0; i < ctx->points; i++) {
        double n = nearest[i], x = v[i], whole;
        if (ksi_is_absent(ctx->q, x))
            continue;
        if (n != last) {
            last = n;
            scale = decimal_scale(n);
        }
        x += 0.5 * copysign(n, x);
        x -= fmod(x, n);
        modf(x * scale, &whole);
        v[i] = whole / scale;
    }
}

/* Prometheus' round: half up, by the inverse to keep decimals exact. */
static void round_strict(const struct ksi_ctx *ctx, double *v, const double *nearest)
{
    for (size_t i = 0; i < ctx->points; i++)
        if (!ksi_is_absent(ctx->q, v[i])) {
            double inv = 1.0 / nearest[i];
            v[i] = floor(v[i] * inv + 0.5) / inv;
        }
}

static ks_err map_round(const struct ksi_call *c, struct ksi_vec *ret)
{
    const double *nearest;
    struct ksi_vec one;
    if (c->arg_count != 1 && c->arg_count != 2)
        return ks_fail(KS_EEXEC, "unexpected number of args: %zu; want 1 or 2", c->arg_count);
    KS_TRY(ksi_vec_number(c->ctx, 1, &one));
    KS_TRY(ksi_arg_scalar(c->arg_count == 2 ? &c->args[1] : &one, 1, &nearest));
    *ret = c->args[0];
    for (size_t i = 0; i < ret->count; i++)
        (c->ctx->q->strict ? round_strict : round_values)(c->ctx, ret->items[i].values, nearest);
    return ksi_drop_names(c, ret);
}

/* Go's math.Max and math.Min: an infinity wins over NaN, NaN over anything else. */
static double go_max(double a, double b)
{
    if (a == INFINITY || b == INFINITY)
        return INFINITY;
    return isnan(a) || isnan(b) ? NAN : a == 0 && a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}
static double go_min(double a, double b)
{
    return -go_max(-a, -b);
}

static ks_err map_clamp(const struct ksi_call *c, struct ksi_vec *ret)
{
    enum ks_promql_func_id id = c->call->func->id;
    const double *lo = NULL, *hi = NULL;
    KS_TRY(ksi_want_args(c->arg_count, id == KS_FN_CLAMP ? 3 : 2));
    if (id != KS_FN_CLAMP_MAX)
        KS_TRY(ksi_arg_scalar(&c->args[1], 1, &lo));
    if (id != KS_FN_CLAMP_MIN)
        KS_TRY(ksi_arg_scalar(&c->args[c->arg_count - 1], c->arg_count - 1, &hi));
    *ret = c->args[0];
    bool strict = c->ctx->q->strict;
    for (size_t i = 0; i < ret->count; i++)
        for (size_t k = 0; k < c->ctx->points; k++) {
            double *v = &ret->items[i].values[k];
            if (ksi_is_absent(c->ctx->q, *v))
                continue;
            if (strict) {
                double l = lo ? lo[k] : -INFINITY, h = hi ? hi[k] : INFINITY;
                *v = h < l ? ksi_absent() : go_max(l, go_min(h, *v));
                continue;
            }
            if (hi && *v > hi[k])
                *v = hi[k];
            else if (lo && *v < lo[k])
                *v = lo[k];
        }
    return ksi_drop_names(c, ret);
}

/* As the peer's machine converts: out of range wraps or saturates, so keep what fits and be defined
 * for the rest. */
static uint64_t to_bits(double v)
{
    if (v >= 18446744073709551616.0 || v < -9223372036854775808.0)
        return (uint64_t)1 << 63;
    return v < 0 ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static ks_err map_bitmap(const struct ksi_call *c, struct ksi_vec *ret)
{
    const double *mask;
    KS_TRY(ksi_want_args(c->arg_count, 2));
    KS_TRY(ksi_arg_scalar(&c->args[1], 1, &mask));
    *ret = c->args[0];
    for (size_t i = 0; i < ret->count; i++)
        for (size_t k = 0; k < c->ctx->points; k++) {
            double *v = &ret->items[i].values[k];
            if (isnan(*v) || isnan(mask[k])) {
                *v = NAN;
                continue;
            }
            uint64_t a = to_bits(*v), b = to_bits(mask[k]);
            enum ks_promql_func_id id = c->call->func->id;
            *v = (double)(id == KS_FN_BITMAP_AND ? a & b : id == KS_FN_BITMAP_OR ? a | b : a ^ b);
        }
    return ksi_drop_names(c, ret);
}

ks_err ksi_transform_math(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    enum ks_promql_func_id id = c->call->func->id;
    for (size_t i = 0; i < sizeof unary_funcs / sizeof *unary_funcs; i++)
        if (unary_funcs[i].id == id)
            return map_unary(c, unary_funcs[i].fn, ret);
    switch (id) {
    case KS_FN_MINUTE:
    case KS_FN_HOUR:
    case KS_FN_DAY_OF_WEEK:
    case KS_FN_DAY_OF_MONTH:
    case KS_FN_DAY_OF_YEAR:
    case KS_FN_DAYS_IN_MONTH:
    case KS_FN_MONTH:
    case KS_FN_YEAR:
        return map_calendar(c, ret);
    case KS_FN_ROUND:
        return map_round(c, ret);
    case KS_FN_CLAMP:
    case KS_FN_CLAMP_MIN:
    case KS_FN_CLAMP_MAX:
        return map_clamp(c, ret);
    case KS_FN_BITMAP_AND:
    case KS_FN_BITMAP_OR:
    case KS_FN_BITMAP_XOR:
        return map_bitmap(c, ret);
    default:
        *mine = false;
        return KS_OK;
    }
}
