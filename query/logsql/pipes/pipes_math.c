/*
 * math: expressions over numbers, a column at a time. A field's texts are read once per distinct
 * value; what is no number is NaN. Recursion follows the tree, whose depth the parser bounds.
 */
#include <math.h>

#include "base/num.h"
#include "query/logsql/pipes/pipe_priv.h"
#include "sys/rand.h"

struct vec { /* v[row], or one for all rows */
    double *v;
    double all;
    bool constant;
};
struct eval {
    struct ksi_lq_map *m;
    struct ksi_lq_call *c;
    uint32_t rows;
};

static inline double at(const struct vec *v, uint32_t row)
{
    return v->constant ? v->all : v->v[row];
}

/* ---------------------------------------------------------------- functions of numbers */

/* As Go on amd64 turns a float into a uint64. */
static uint64_t to_u64(double v)
{
    if (v >= 9223372036854775808.0)
        return v < 18446744073709551616.0 ? (uint64_t)v : 1ull << 63;
    return v > -9223372036854775808.0 ? (uint64_t)(int64_t)v : 1ull << 63;
}

/* To the nearest multiple, halves away from zero; decimal multiples stay decimal (7.3, not
 * 7.300000000000001). */
static double round_to(double v, double nearest)
{
    if (!(fabs(nearest) > 0) || isnan(v) || isinf(nearest))
        return nearest == 0 || isnan(v) || isnan(nearest) ? NAN : v;
    double p10 = 1;
    while (p10 < 1e15 && nearest * p10 != floor(nearest * p10))
        p10 *= 10;
    v += 0.5 * copysign(nearest, v);
    v -= fmod(v, nearest);
    /* what is left is a multiple but for its last bits */
    return p10 > 1 ? round(v * p10) / p10 : trunc(v);
}

static double binary(enum ks_lq_math_kind kind, double a, double b)
{
    switch (kind) {
    case KS_LQ_M_PLUS:
        return a + b;
    case KS_LQ_M_MINUS:
        return a - b;
    case KS_LQ_M_MUL:
        return a * b;
    case KS_LQ_M_DIV:
        return a / b;
    case KS_LQ_M_MOD:
        return fmod(a, b);
    case KS_LQ_M_POW:
        return pow(a, b);
    case KS_LQ_M_AND:
    case KS_LQ_M_OR:
    case KS_LQ_M_XOR:
        if (isnan(a) || isnan(b))
            return NAN;
        return (double)(kind == KS_LQ_M_AND  ? to_u64(a) & to_u64(b)
                        : kind == KS_LQ_M_OR ? to_u64(a) | to_u64(b)
                                             : to_u64(a) ^ to_u64(b));
    case KS_LQ_M_DEFAULT:
        return isnan(a) ? b : a;
    case KS_LQ_M_MAX: /* numbers win over NaN */
        return isnan(a) || b > a ? b : a;
    case KS_LQ_M_MIN:
        return isnan(a) || b < a ? b : a;
    case KS_LQ_M_ROUND:
        return round_to(a, b);
    default:
        return NAN;
    }
}

static double unary(enum ks_lq_math_kind kind, double a)
{
    switch (kind) {
    case KS_LQ_M_UNARY_MINUS:
        return -a;
    case KS_LQ_M_ABS:
        return fabs(a);
    case KS_LQ_M_CEIL:
        return ceil(a);
    case KS_LQ_M_EXP:
        return exp(a);
    case KS_LQ_M_FLOOR:
        return floor(a);
    case KS_LQ_M_LN:
        return log(a);
    case KS_LQ_M_ROUND:
        return round(a);
    default:
        return a; /* max and min of one */
    }
}

/* ---------------------------------------------------------------- columns */

static ks_err new_vec(struct eval *e, struct vec *ret)
{
    ret->constant = false;
    ret->v = ks_arena_array(e->c->arena, e->rows, sizeof *ret->v);
    return ret->v ? KS_OK : ks_arena_err(e->c->arena);
}

/* A field as the entries before left it. */
static ks_err field_vec(struct eval *e, struct ks_slice name, struct vec *ret)
{
    int64_t col = ksi_lq_edit_find(&e->c->edit, name);
    struct ksi_lq_texts t;
    *ret = (struct vec){.constant = true, .all = NAN};
    if (col < 0)
        return KS_OK;
    const struct ks_lq_col *c = &e->c->edit.cols[col];
    if (c->kind == KS_LQ_TIMES) {
        KS_TRY(new_vec(e, ret));
        for (uint32_t r = 0; r < e->rows; r++)
            ret->v[r] = (double)c->times_ns[r];
        return KS_OK;
    }
    KS_TRY(ksi_lq_texts(c, e->rows, e->c->arena, &t));
    double *numbers = ks_arena_array(e->c->arena, t.count, sizeof *numbers);
    if (!numbers)
        return ks_arena_err(e->c->arena);
    for (uint32_t i = 0; i < t.count; i++)
        if (!ks_lq_parse_any_number(t.values[i], &numbers[i]))
            numbers[i] = NAN;
    if (t.constant) {
        ret->all = numbers[0];
        return KS_OK;
    }
    *ret = (struct vec){.v = numbers};
    if (!t.codes)
        return KS_OK;
    KS_TRY(new_vec(e, ret));
    for (uint32_t r = 0; r < e->rows; r++)
        ret->v[r] = numbers[t.codes[r]];
    return KS_OK;
}

static ks_err apply_binary(struct eval *e, enum ks_lq_math_kind kind, struct vec a, struct vec b,
                           struct vec *ret)
{
    *ret = (struct vec){.constant = true};
    if (a.constant && b.constant) {
        ret->all = binary(kind, a.all, b.all);
        return KS_OK;
    }
    KS_TRY(new_vec(e, ret));
    for (uint32_t r = 0; r < e->rows; r++)
        ret->v[r] = binary(kind, at(&a, r), at(&b, r));
    return KS_OK;
}

static ks_err apply_unary(struct eval *e, enum ks_lq_math_kind kind, struct vec a, struct vec *ret)
{
    *ret = (struct vec){.constant = true};
    if (a.constant) {
        ret->all = unary(kind, a.all);
        return KS_OK;
    }
    KS_TRY(new_vec(e, ret));
    for (uint32_t r = 0; r < e->rows; r++)
        ret->v[r] = unary(kind, a.v[r]);
    return KS_OK;
}

static ks_err eval(struct eval *e, const struct ks_lq_math *n, struct vec *ret);

/* min and max of any number, the others of one or two. */
static ks_err eval_call(struct eval *e, const struct ks_lq_math *n, struct vec *ret)
{
    struct vec a, b;
    if (!n->arg_count)
        return ks_fail(KS_EPARSE, "math: a function lacks its arguments");
    KS_TRY(eval(e, n->args[0], &a));
    if (n->arg_count == 1)
        return apply_unary(e, n->kind, a, ret);
    for (size_t i = 1; i < n->arg_count; i++) {
        KS_TRY(eval(e, n->args[i], &b));
        KS_TRY(apply_binary(e, n->kind, a, b, &a));
    }
    *ret = a;
    return KS_OK;
}

static ks_err eval(struct eval *e, const struct ks_lq_math *n, struct vec *ret)
{
    switch (n->kind) {
    case KS_LQ_M_CONST:
        *ret = (struct vec){.constant = true, .all = n->value};
        return KS_OK;
    case KS_LQ_M_FIELD:
        return field_vec(e, n->text, ret);
    case KS_LQ_M_NOW:
        *ret = (struct vec){.constant = true, .all = (double)e->m->head.x->now_ns};
        return KS_OK;
    case KS_LQ_M_RAND: {
        uint64_t seed = ks_random_u64();
        KS_TRY(new_vec(e, ret));
        for (uint32_t r = 0; r < e->rows; r++)
            ret->v[r] = ks_rng_double(&seed);
        return KS_OK;
    }
    default:
        return eval_call(e, n, ret);
    }
}

static ks_err number_text(struct ks_arena *arena, double v, struct ks_slice *ret)
{
    char text[KS_F64_TEXT_MAX];
    return ksi_lq_take(arena, ks_slice(text, ks_lq_f64_format(text, v)), ret);
}

static ks_err math_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct eval e = {m, c, c->in->row_count};
    for (size_t i = 0; i < m->pipe->u.math.count; i++) {
        const struct ks_lq_math_entry *entry = &m->pipe->u.math.items[i];
        struct vec v;
        KS_TRY(eval(&e, entry->expr, &v));
        uint32_t count = v.constant ? 1 : e.rows;
        struct ks_slice *values = ks_arena_array(c->arena, count, sizeof *values);
        if (!values)
            return ks_arena_err(c->arena);
        for (uint32_t r = 0; r < count; r++) {
            if (r && v.v[r] == v.v[r - 1] && signbit(v.v[r]) == signbit(v.v[r - 1]))
                values[r] = values[r - 1];
            else
                KS_TRY(number_text(c->arena, at(&v, r), &values[r]));
        }
        struct ksi_lq_texts t = {values, NULL, count, v.constant};
        KS_TRY(ksi_lq_edit_set(&c->edit, entry->result, &t, (struct ksi_lq_how){.bits = c->bits}));
    }
    return KS_OK;
}

ks_err ks_lq_make_math(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    KS_TRY(ksi_lq_map_new(x, pipe, next, math_apply, &m));
    *ret = &m->head;
    return KS_OK;
}
