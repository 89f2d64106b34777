/*
 * Types and semantic rules of strict PromQL, checked over the finished tree, children first, so
 * that the first error is the one Prometheus reports. Thread role: any.
 */
#include <stdio.h>

#include "base/cxx/re2.h"
#include "base/labels.h"
#include "query/promql/syntax/parser_priv.h"

static const char *type_name(enum ks_expr_type t)
{
    switch (t) {
    case KS_TYPE_SCALAR:
        return "scalar";
    case KS_TYPE_STRING:
        return "string";
    case KS_TYPE_VECTOR:
        return "instant vector";
    case KS_TYPE_MATRIX:
        return "range vector";
    default:
        return "none";
    }
}

static enum ks_expr_type type_of_letter(char c)
{
    return c == 's'   ? KS_TYPE_SCALAR
           : c == 't' ? KS_TYPE_STRING
           : c == 'v' ? KS_TYPE_VECTOR
                      : KS_TYPE_MATRIX;
}

static ks_err expect(struct ksi_parser *p, struct ks_expr *e, enum ks_expr_type want,
                     const char *context)
{
    KS_TRY(ksi_strict_check(p, e));
    if (e->type == want)
        return KS_OK;
    return ksi_error(p, e->start, "expected type %s in %s, got %s", type_name(want), context,
                     type_name(e->type));
}

static ks_err check_aggregate(struct ksi_parser *p, struct ks_expr *e)
{
    struct ks_expr_aggregate *a = &e->aggregate;
    KS_TRY(expect(p, a->args[a->arg_count - 1], KS_TYPE_VECTOR, "aggregation expression"));
    if (a->arg_count > 1)
        KS_TRY(expect(p, a->args[0], type_of_letter(a->func->strict_args[0]),
                      "aggregation parameter"));
    e->type = KS_TYPE_VECTOR;
    return KS_OK;
}

/* ---- calls ---- */

/* Counts and types from a signature like "vs?s*"; see functions.h. */
struct signature {
    size_t min, max; /* max SIZE_MAX: any number */
    char types[32];
    size_t type_count;
};

static struct signature read_signature(const char *text)
{
    struct signature s = {0};
    bool optional = false;
    for (; *text; text++) {
        if (*text == '?') {
            optional = true;
        } else if (*text == '*') {
            s.max = SIZE_MAX;
        } else if (s.type_count < sizeof s.types) {
            s.types[s.type_count++] = *text;
            s.min += !optional;
        }
    }
    if (s.max != SIZE_MAX)
        s.max = s.type_count;
    return s;
}

static ks_err check_arg_count(struct ksi_parser *p, const struct ks_expr *e,
                              const struct signature *s)
{
    const char *name = e->call.func->name;
    size_t n = e->call.arg_count;
    if (s->min == s->max && n != s->min)
        return ksi_error(p, e->start, "expected %zu argument(s) in call to \"%s\", got %zu", s->min,
                         name, n);
    if (n < s->min)
        return ksi_error(p, e->start,
                         "expected at least %zu argument(s) in call to \"%s\", got %zu", s->min,
                         name, n);
    if (n > s->max)
        return ksi_error(p, e->start, "expected at most %zu argument(s) in call to \"%s\", got %zu",
                         s->max, name, n);
    return KS_OK;
}

/* info(v, {…}): the selector tells labels, not a metric, and may be one that matches everything. */
static ks_err check_info(struct ksi_parser *p, const struct ks_expr *e)
{
    struct ks_expr *arg = e->call.args[1];
    if (arg->kind != KS_EXPR_SELECTOR || arg->selector.name.len)
        return ksi_error(p, arg->start,
                         "expected label selectors only, got vector selector instead");
    arg->type = KS_TYPE_VECTOR;
    return KS_OK;
}

static ks_err check_call(struct ksi_parser *p, struct ks_expr *e)
{
    struct signature s = read_signature(e->call.func->strict_args);
    char context[96];
    KS_TRY(check_arg_count(p, e, &s));
    snprintf(context, sizeof context, "call to function \"%s\"", e->call.func->name);
    for (size_t i = 0; i < e->call.arg_count; i++) {
        if (e->call.func->id == KS_FN_INFO && i == 1) {
            KS_TRY(check_info(p, e));
            continue;
        }
        size_t t = i < s.type_count ? i : s.type_count - 1;
        KS_TRY(expect(p, e->call.args[i], type_of_letter(s.types[t]), context));
    }
    e->type = type_of_letter(e->call.func->strict_ret);
    return KS_OK;
}

/* ---- binary operations ---- */

static uint32_t op_pos(const struct ksi_parser *p, const struct ks_expr *e)
{
    uint32_t i = e->binary.lhs->end;
    while (i < p->lx.text.len && (unsigned char)p->lx.text.ptr[i] <= ' ')
        i++;
    return i;
}

static ks_err check_labels(struct ksi_parser *p, const struct ks_expr *e)
{
    const struct ks_expr_binary *b = &e->binary;
    char q[KSI_QUOTE_MAX];
    if (b->matching != KS_MATCHING_ON)
        return KS_OK;
    for (size_t i = 0; i < b->match_label_count; i++) {
        for (size_t k = 0; k < b->join_label_count; k++) {
            if (ks_slice_eq(b->match_labels[i], b->join_labels[k]))
                return ksi_error(p, op_pos(p, e),
                                 "label %s must not occur in ON and GROUP clause at once",
                                 ksi_quote(q, b->match_labels[i]));
        }
    }
    return KS_OK;
}

static ks_err check_operand_type(struct ksi_parser *p, const struct ks_expr *e)
{
    return e->type == KS_TYPE_SCALAR || e->type == KS_TYPE_VECTOR
               ? KS_OK
               : ksi_error(p, e->start,
                           "binary expression must contain only scalar and instant vector types");
}

static ks_err check_binary(struct ksi_parser *p, struct ks_expr *e)
{
    struct ks_expr_binary *b = &e->binary;
    KS_TRY(ksi_strict_check(p, b->lhs));
    KS_TRY(ksi_strict_check(p, b->rhs));
    bool scalars = b->lhs->type == KS_TYPE_SCALAR && b->rhs->type == KS_TYPE_SCALAR;
    bool vectors = b->lhs->type == KS_TYPE_VECTOR && b->rhs->type == KS_TYPE_VECTOR;
    if (b->return_bool && !ks_op_is_comparison(b->op))
        return ksi_error(p, op_pos(p, e), "bool modifier can only be used on comparison operators");
    if (ks_op_is_comparison(b->op) && !b->return_bool && scalars)
        return ksi_error(p, op_pos(p, e), "comparisons between scalars must use BOOL modifier");
    KS_TRY(check_labels(p, e));
    KS_TRY(check_operand_type(p, b->lhs));
    KS_TRY(check_operand_type(p, b->rhs));
    if (!vectors && b->match_label_count)
        return ksi_error(p, e->start, "vector matching only allowed between instant vectors");
    if (vectors && ks_op_is_set(b->op) && b->join != KS_JOIN_NONE)
        return ksi_error(p, e->start, "no grouping allowed for \"%s\" operation",
                         ks_binary_op_text[b->op]);
    if (!vectors && ks_op_is_set(b->op))
        return ksi_error(p, e->start, "set operator \"%s\" not allowed in binary scalar expression",
                         ks_binary_op_text[b->op]);
    e->type = scalars ? KS_TYPE_SCALAR : KS_TYPE_VECTOR;
    return KS_OK;
}

/* ---- the rest ---- */

static ks_err matches_empty(const struct ks_matcher *m, bool *ret)
{
    char reason[128];
    if (m->op == KS_MATCH_EQ || m->op == KS_MATCH_NEQ) {
        *ret = (m->value.len == 0) == (m->op == KS_MATCH_EQ);
        return KS_OK;
    }
    struct ks_re *re = ks_re_new(m->value.ptr, m->value.len, KS_RE_DOT_NL, reason, sizeof reason);
    if (!re)
        return ks_fail(KS_EPARSE, "error parsing regexp: %s", reason);
    *ret = ks_re_full_match(re, "", 0) == (m->op == KS_MATCH_RE);
    ks_re_free(re);
    return KS_OK;
}

static ks_err check_selector(struct ksi_parser *p, struct ks_expr *e)
{
    const struct ks_selector *s = e->selector.or_lists;
    char q1[KSI_QUOTE_MAX], q2[KSI_QUOTE_MAX];
    e->type = KS_TYPE_VECTOR;
    if (e->selector.name.len) {
        for (size_t i = 0; i + 1 < s->count; i++) {
            if (ks_slice_eq(s->matchers[i].name, KS_NAME_LABEL))
                return ksi_error(p, e->start, "metric name must not be set twice: %s or %s",
                                 ksi_quote(q1, e->selector.name),
                                 ksi_quote(q2, s->matchers[i].value));
        }
        return KS_OK;
    }
    for (size_t i = 0; i < s->count; i++) {
        bool empty = false;
        KS_TRY(matches_empty(&s->matchers[i], &empty));
        if (!empty)
            return KS_OK;
    }
    return ksi_error(p, e->start, "vector selector must contain at least one non-empty matcher");
}

static ks_err check_rollup(struct ksi_parser *p, struct ks_expr *e)
{
    const struct ks_expr_rollup *r = &e->rollup;
    KS_TRY(ksi_strict_check(p, r->expr));
    if (ks_rollup_is_subquery(r) && r->expr->type != KS_TYPE_VECTOR)
        return ksi_error(p, e->start, "subquery is only allowed on instant vector, got %s instead",
                         r->expr->type == KS_TYPE_MATRIX ? "matrix" : type_name(r->expr->type));
    e->type = r->window.set ? KS_TYPE_MATRIX : KS_TYPE_VECTOR;
    return KS_OK;
}

static ks_err check_unary(struct ksi_parser *p, struct ks_expr *e)
{
    KS_TRY(ksi_strict_check(p, e->unary.expr));
    e->type = e->unary.expr->type;
    if (e->type == KS_TYPE_SCALAR || e->type == KS_TYPE_VECTOR)
        return KS_OK;
    return ksi_error(p, e->start,
                     "unary expression only allowed on expressions of type scalar or instant "
                     "vector, got \"%s\"",
                     type_name(e->type));
}

ks_err ksi_strict_check(struct ksi_parser *p, struct ks_expr *e)
{
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        e->type = KS_TYPE_SCALAR;
        return KS_OK;
    case KS_EXPR_STRING:
        e->type = KS_TYPE_STRING;
        return KS_OK;
    case KS_EXPR_SELECTOR:
        return check_selector(p, e);
    case KS_EXPR_ROLLUP:
        return check_rollup(p, e);
    case KS_EXPR_CALL:
        return check_call(p, e);
    case KS_EXPR_AGGREGATE:
        return check_aggregate(p, e);
    case KS_EXPR_BINARY:
        return check_binary(p, e);
    case KS_EXPR_UNARY:
        return check_unary(p, e);
    case KS_EXPR_PARENS:
        KS_TRY(ksi_strict_check(p, e->parens.items[0]));
        e->type = e->parens.items[0]->type;
        return KS_OK;
    }
    return ks_fail(KS_EINTERNAL, "unknown kind of expression %d", (int)e->kind);
}
