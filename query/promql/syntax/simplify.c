/*
 * Folding of constants in MetricsQL: operations over two numbers or two strings become their value
 * at parse time, as VictoriaMetrics does. Numbers that depend on the step stay. Thread role: any.
 */
#include "query/promql/binary_op.h"
#include "query/promql/syntax/parser_priv.h"

static double eval(enum ks_binary_op op, double l, double r)
{
    switch (op) {
    case KS_OP_DEFAULT:
    case KS_OP_OR:
        return isnan(l) ? r : l;
    case KS_OP_IF:
    case KS_OP_AND:
        return isnan(r) ? NAN : l;
    case KS_OP_IFNOT:
        return isnan(r) ? l : NAN;
    case KS_OP_UNLESS:
        return NAN;
    default:
        return ksi_op_arith(op, l, r);
    }
}

static ks_err fold_numbers(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    const struct ks_expr_binary *b = &e->binary;
    double l = b->lhs->number.value, r = b->rhs->number.value, v;
    if (ks_op_is_comparison(b->op)) {
        bool holds = ksi_op_holds_mql(b->op, l, r);
        v = b->return_bool ? holds : holds ? l : NAN;
    } else {
        v = eval(b->op, l, r);
    }
    return ksi_number_node(p, v, e->start, e->end, ret);
}

static ks_err fold_strings(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    const struct ks_expr_binary *b = &e->binary;
    if (b->op == KS_OP_ADD) {
        struct ks_slice s;
        KS_TRY(ksi_concat(p, b->lhs->string, b->rhs->string, &s));
        KS_TRY(ksi_node(p, KS_EXPR_STRING, e->start, e->end, ret));
        (*ret)->string = s;
        (*ret)->type = KS_TYPE_STRING;
        return KS_OK;
    }
    if (!ks_op_is_comparison(b->op))
        return KS_OK;
    bool holds = ksi_op_holds_mql(b->op, ks_slice_cmp(b->lhs->string, b->rhs->string), 0);
    return ksi_number_node(p, holds ? 1 : b->return_bool ? 0 : NAN, e->start, e->end, ret);
}

ks_err ksi_fold(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    *ret = e;
    if (p->opts->no_fold || p->dry || e->kind != KS_EXPR_BINARY)
        return KS_OK;
    const struct ks_expr *l = e->binary.lhs, *r = e->binary.rhs;
    if (l->kind == KS_EXPR_STRING && r->kind == KS_EXPR_STRING)
        return fold_strings(p, e, ret);
    bool numbers = l->kind == KS_EXPR_NUMBER && r->kind == KS_EXPR_NUMBER;
    if (!numbers || l->number.is_duration || r->number.is_duration)
        return KS_OK;
    return fold_numbers(p, e, ret);
}
