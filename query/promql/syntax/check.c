/* Checks both grammars share, and the argument counts of MetricsQL. Thread role: any. */
#include "base/cxx/re2.h"
#include "query/promql/syntax/parser_priv.h"

/* Patterns of plain characters, dots, stars behind a dot and alternation are valid for sure; most
 * real ones are. */
static bool is_simple_pattern(struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool word = (c | 32) >= 'a' && (c | 32) <= 'z';
        if (word || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '/' || c == ':' ||
            c == '.' || c == '|' || c == ' ' || c == ',')
            continue;
        bool repeats = (c == '*' || c == '+') && i > 0 && s.ptr[i - 1] == '.';
        if (!repeats)
            return false;
    }
    return true;
}

ks_err ksi_check_matcher(struct ksi_parser *p, const struct ks_matcher *m, uint32_t pos)
{
    char reason[256] = "", q[KSI_QUOTE_MAX];
    if ((m->op != KS_MATCH_RE && m->op != KS_MATCH_NRE) || is_simple_pattern(m->value))
        return KS_OK;
    struct ks_re *re = ks_re_new(m->value.ptr, m->value.len, KS_RE_DOT_NL, reason, sizeof reason);
    if (!re)
        return ksi_error(p, pos, "error parsing regexp %s: %s", ksi_quote(q, m->value), reason);
    ks_re_free(re);
    return KS_OK;
}

ks_err ksi_check_arg_count(struct ksi_parser *p, const struct ks_promql_func *f, size_t count,
                           uint32_t pos)
{
    bool few = count < (size_t)f->min_args;
    bool many = f->max_args >= 0 && count > (size_t)f->max_args;
    if (f->min_args == f->max_args && (few || many))
        return ksi_error(p, pos, "unexpected number of args to %s(); got %zu; want %d", f->name,
                         count, f->min_args);
    if (few)
        return ksi_error(p, pos, "not enough args to %s(); got %zu; want at least %d", f->name,
                         count, f->min_args);
    if (many)
        return ksi_error(p, pos, "too many args to %s(); got %zu; want at most %d", f->name, count,
                         f->max_args);
    bool pairs = f->id == KS_FN_LABEL_SET || f->id == KS_FN_LABEL_COPY || f->id == KS_FN_LABEL_MOVE;
    if (pairs && count % 2 == 0)
        return ksi_error(p, pos, "the number of string args to %s() must be even; got %zu", f->name,
                         count - 1);
    return KS_OK;
}

/* A rollup function over something that is neither a selector nor has a window of its own. */
static bool is_implicit(const struct ks_expr_call *c)
{
    if (c->func->kind != KS_FUNC_ROLLUP || c->func->id == KS_FN_TIMESTAMP)
        return false;
    int i = c->func->rollup_arg < 0 ? (int)c->arg_count - 1 : c->func->rollup_arg;
    if (i < 0 || (size_t)i >= c->arg_count)
        return false;
    const struct ks_expr *arg = c->args[i];
    if (arg->kind != KS_EXPR_ROLLUP)
        return arg->kind != KS_EXPR_SELECTOR;
    return arg->rollup.expr->kind != KS_EXPR_SELECTOR && !arg->rollup.window.set;
}

static ks_err check_all(struct ks_expr *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        KS_TRY(ksi_check_implicit(items[i]));
    return KS_OK;
}

ks_err ksi_check_implicit(const struct ks_expr *e)
{
    switch (e->kind) {
    case KS_EXPR_ROLLUP:
        KS_TRY(ksi_check_implicit(e->rollup.expr));
        return e->rollup.at_expr ? ksi_check_implicit(e->rollup.at_expr) : KS_OK;
    case KS_EXPR_CALL:
        if (is_implicit(&e->call))
            return ks_fail(KS_EINVAL,
                           "query requires implicit conversion and is rejected according "
                           "to -search.disableImplicitConversion command-line flag");
        return check_all(e->call.args, e->call.arg_count);
    case KS_EXPR_AGGREGATE:
        return check_all(e->aggregate.args, e->aggregate.arg_count);
    case KS_EXPR_BINARY:
        KS_TRY(ksi_check_implicit(e->binary.lhs));
        return ksi_check_implicit(e->binary.rhs);
    case KS_EXPR_PARENS:
        return check_all(e->parens.items, e->parens.count);
    default:
        return KS_OK;
    }
}
