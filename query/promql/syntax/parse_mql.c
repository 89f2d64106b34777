/*
 * MetricsQL: expressions, operators, rollup suffixes. Calls are in parse_mql_call.c, selectors in
 * parse_mql_selector.c, templates in with_expand.c.
 *
 * Precedence climbing; unary minus is 0 - x with the precedence VictoriaMetrics gives it: it binds
 * like binary minus, so -a^b and -a*b negate the whole product.
 */
#include <math.h>

#include "query/promql/syntax/parser_priv.h"

static ks_err climb(struct ksi_parser *p, struct ks_expr *lhs, int min, struct ks_expr **ret);

static ks_err rollup_suffixed(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr *e;
    struct ksi_token next;
    if (ksi_at_word(p, "with")) {
        KS_TRY(ksi_peek(p, &next));
        if (next.kind == KSI_TOK_LPAREN)
            return ksi_mql_with(p, ret);
    }
    KS_TRY(ksi_mql_primary(p, &e));
    if (p->tok.kind == KSI_TOK_LBRACKET || p->tok.kind == KSI_TOK_AT || ksi_at_word(p, "offset"))
        return ksi_mql_rollup(p, e, ret);
    *ret = e;
    return KS_OK;
}

/* One operand, signs included. min is the precedence of the loop that asks for it. */
static ks_err operand(struct ksi_parser *p, int min, struct ks_expr **ret)
{
    uint32_t start = p->tok.start;
    if (p->tok.kind != KSI_TOK_SUB && p->tok.kind != KSI_TOK_ADD)
        return rollup_suffixed(p, ret);
    bool minus = p->tok.kind == KSI_TOK_SUB;
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_advance(p));
    struct ks_expr *e;
    if (!minus) {
        KS_TRY(operand(p, min, ret));
        ksi_leave(p);
        return KS_OK;
    }
    int above_minus = ksi_op_precedence(KS_OP_SUB) + 1;
    KS_TRY(operand(p, min > above_minus ? min : above_minus, &e));
    KS_TRY(climb(p, e, min > above_minus ? min : above_minus, &e));
    struct ks_expr_binary b = {.op = KS_OP_SUB, .rhs = e};
    KS_TRY(ksi_number_node(p, 0, start, start, &b.lhs));
    KS_TRY(ksi_binary_node(p, &b, &e));
    ksi_leave(p);
    return ksi_fold(p, e, ret);
}

/* Takes in the operators behind lhs that bind at least as tightly as min. */
static ks_err climb(struct ksi_parser *p, struct ks_expr *lhs, int min, struct ks_expr **ret)
{
    KS_TRY(ksi_enter(p));
    for (;;) {
        enum ks_binary_op op = ksi_binary_op(p);
        if (op == KS_OP_COUNT || ksi_op_precedence(op) < min)
            break;
        int next = ksi_op_precedence(op) + !ksi_op_is_right(op);
        struct ks_expr_binary b = {.op = op, .lhs = lhs};
        KS_TRY(ksi_advance(p));
        KS_TRY(ksi_mql_binary_modifiers(p, &b));
        KS_TRY(operand(p, next, &b.rhs));
        if (ksi_at_word(p, "keep_metric_names")) {
            b.keep_metric_names = true;
            KS_TRY(ksi_advance(p));
        }
        KS_TRY(climb(p, b.rhs, next, &b.rhs));
        KS_TRY(ksi_binary_node(p, &b, &lhs));
        KS_TRY(ksi_fold(p, lhs, &lhs));
    }
    ksi_leave(p);
    *ret = lhs;
    return KS_OK;
}

ks_err ksi_mql_expr(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr *e;
    KS_TRY(ksi_enter(p));
    KS_TRY(operand(p, 0, &e));
    KS_TRY(climb(p, e, 0, ret));
    ksi_leave(p);
    return KS_OK;
}

/* ---- primary expressions ---- */

static ks_err number(struct ksi_parser *p, struct ks_expr **ret)
{
    double v;
    struct ks_slice text = ksi_text(p);
    char q[KSI_QUOTE_MAX];
    if (!ksi_number_parse(KS_METRICSQL, text, &v))
        return ksi_error(p, p->tok.start, "cannot parse number %s", ksi_quote(q, text));
    KS_TRY(ksi_number_node(p, v, p->tok.start, p->tok.end, ret));
    (*ret)->number.text = text;
    return ksi_advance(p);
}

static ks_err duration_number(struct ksi_parser *p, struct ks_expr **ret)
{
    double ms = 0, steps = 1;
    struct ks_slice text = ksi_text(p);
    char q[KSI_QUOTE_MAX];
    if (p->tok.kind == KSI_TOK_INTERVAL)
        text = KS_SLICE_LIT("1i");
    else if (!ksi_duration_parse(KS_METRICSQL, text, false, &ms, &steps))
        return ksi_error(p, p->tok.start, "cannot parse duration %s", ksi_quote(q, text));
    KS_TRY(ksi_number_node(p, ms / 1000, p->tok.start, p->tok.end, ret));
    (*ret)->number.steps = steps;
    (*ret)->number.is_duration = true;
    (*ret)->number.text = text;
    return ksi_advance(p);
}

static ks_err string(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_slice s;
    uint32_t start = p->tok.start;
    KS_TRY(ksi_mql_string(p, &s));
    KS_TRY(ksi_node(p, KS_EXPR_STRING, start, p->prev_end, ret));
    (*ret)->string = s;
    (*ret)->type = KS_TYPE_STRING;
    return KS_OK;
}

/* (x) is x; () and (a, b) are unions. */
static ks_err parens(struct ksi_parser *p, struct ks_expr **ret)
{
    uint32_t start = p->tok.start;
    struct ks_expr **items, *e;
    size_t count;
    KS_TRY(ksi_mql_args(p, &items, &count));
    if (count == 1) {
        *ret = items[0];
        if (items[0]->kind != KS_EXPR_BINARY || !ksi_at_word(p, "keep_metric_names"))
            return KS_OK;
        /* A copy: the expansion of a template may be shared. */
        KS_TRY(ksi_node(p, KS_EXPR_BINARY, start, p->prev_end, &e));
        *e = *items[0];
        e->binary.keep_metric_names = true;
        *ret = e;
        return ksi_advance(p);
    }
    KS_TRY(ksi_node(p, KS_EXPR_PARENS, start, p->prev_end, &e));
    for (size_t i = 0; i < count; i++)
        KS_TRY(ksi_adopt(p, e, items[i]));
    e->parens = (struct ks_expr_parens){items, count};
    *ret = e;
    return KS_OK;
}

static bool is_aggregate(const struct ksi_parser *p, struct ksi_token next)
{
    struct ks_slice name = ksi_text(p), after = ksi_tok_text(&p->lx, next);
    bool modifier =
        next.kind == KSI_TOK_IDENT && (ksi_word_is(after, "by") || ksi_word_is(after, "without"));
    if (!modifier && next.kind != KSI_TOK_LPAREN)
        return false;
    const struct ks_promql_func *f = ks_promql_func_find(KS_METRICSQL, name);
    return f && f->kind == KS_FUNC_AGGREGATE;
}

static ks_err identifier(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_slice text = ksi_text(p);
    struct ksi_token next;
    if (ksi_word_is(text, "inf") || ksi_word_is(text, "nan"))
        return number(p, ret);
    KS_TRY(ksi_peek(p, &next));
    if (is_aggregate(p, next))
        return ksi_mql_aggregate(p, ret);
    if (next.kind == KSI_TOK_LPAREN)
        return ksi_mql_call(p, ret);
    return ksi_mql_selector(p, ret);
}

ks_err ksi_mql_primary(struct ksi_parser *p, struct ks_expr **ret)
{
    char q[KSI_QUOTE_MAX];
    switch (p->tok.kind) {
    case KSI_TOK_DURATION:
    case KSI_TOK_INTERVAL:
        return duration_number(p, ret);
    case KSI_TOK_STRING:
        return string(p, ret);
    case KSI_TOK_NUMBER:
        return number(p, ret);
    case KSI_TOK_IDENT:
        return identifier(p, ret);
    case KSI_TOK_LPAREN:
        return parens(p, ret);
    case KSI_TOK_LBRACE:
        return ksi_mql_selector(p, ret);
    case KSI_TOK_SUB:
    case KSI_TOK_ADD:
        /* Only behind @, where an operand stands without its suffix. */
        return operand(p, ksi_op_precedence(KS_OP_POW) + 1, ret);
    case KSI_TOK_EOF:
        return ksi_error(p, p->tok.start, "unexpected end of input, expected an expression");
    default:
        return ksi_error(p, p->tok.start, "unexpected %s, expected an expression",
                         ksi_quote(q, ksi_text(p)));
    }
}

/* ---- [window:step] offset @ ---- */

/* The duration a WITH name stands for. */
static ks_err template_duration(struct ksi_parser *p, bool negate, struct ks_duration *ret)
{
    struct ks_slice name;
    struct ks_expr *e;
    char q[KSI_QUOTE_MAX];
    uint32_t start = p->tok.start;
    KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
    KS_TRY(ksi_advance(p));
    ret->ms = 1;
    if (p->dry)
        return KS_OK;
    const struct ksi_template *t = ksi_template_find(p, name);
    if (!t)
        return ksi_error(p, start, "cannot find WITH template for %s", ksi_quote(q, name));
    KS_TRY(ksi_expand(p, t, NULL, 0, start, p->prev_end, &e));
    if (e->kind != KS_EXPR_NUMBER)
        return ksi_error(p, start, "WITH template %s is not a duration", ksi_quote(q, name));
    ret->ms = trunc(e->number.value * 1000 * (negate ? -1 : 1));
    ret->steps = negate ? -e->number.steps : e->number.steps;
    ret->text = e->number.text;
    return KS_OK;
}

static ks_err duration(struct ksi_parser *p, bool signed_, struct ks_duration *ret)
{
    char q[KSI_QUOTE_MAX];
    *ret = (struct ks_duration){.set = true, .start = p->tok.start};
    bool negate = signed_ && p->tok.kind == KSI_TOK_SUB;
    if (negate)
        KS_TRY(ksi_advance(p));
    switch (p->tok.kind) {
    case KSI_TOK_IDENT:
        KS_TRY(template_duration(p, negate, ret));
        break;
    case KSI_TOK_INTERVAL:
        ret->steps = negate ? -1 : 1;
        ret->text = KS_SLICE_LIT("1i");
        KS_TRY(ksi_advance(p));
        break;
    case KSI_TOK_NUMBER:
    case KSI_TOK_DURATION:
        if (!ksi_duration_parse(KS_METRICSQL, ksi_text(p), negate, &ret->ms, &ret->steps))
            return ksi_error(p, p->tok.start, "cannot parse duration %s",
                             ksi_quote(q, ksi_text(p)));
        ret->text = ksi_text(p);
        KS_TRY(ksi_advance(p));
        break;
    default:
        return ksi_error(p, p->tok.start, "unexpected %s, expected a duration",
                         p->tok.kind == KSI_TOK_EOF ? "end of input" : ksi_quote(q, ksi_text(p)));
    }
    ret->end = p->prev_end;
    return negate ? ksi_concat(p, KS_SLICE_LIT("-"), ret->text, &ret->text) : KS_OK;
}

/* [window], [window:step], [window:], [:step], [:]. [$__interval] is no window at all. */
static ks_err window_and_step(struct ksi_parser *p, struct ks_expr_rollup *r)
{
    char q[KSI_QUOTE_MAX];
    KS_TRY(ksi_advance(p));
    if (p->tok.kind == KSI_TOK_INTERVAL)
        KS_TRY(ksi_advance(p));
    else if (p->tok.kind != KSI_TOK_COLON)
        KS_TRY(duration(p, false, &r->window));
    if (p->tok.kind == KSI_TOK_COLON) {
        KS_TRY(ksi_advance(p));
        if (p->tok.kind == KSI_TOK_RBRACKET)
            r->inherit_step = true;
        else
            KS_TRY(duration(p, false, &r->step));
    }
    if (p->tok.kind != KSI_TOK_RBRACKET)
        return ksi_error(p, p->tok.start, "unexpected %s, expected \"]\"",
                         p->tok.kind == KSI_TOK_EOF ? "end of input" : ksi_quote(q, ksi_text(p)));
    return ksi_advance(p);
}

static ks_err at_modifier(struct ksi_parser *p, struct ks_expr_rollup *r)
{
    if (r->at != KS_AT_NONE)
        return ksi_error(p, p->tok.start, "duplicate \"@\"");
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_mql_primary(p, &r->at_expr));
    ksi_leave(p);
    r->at = KS_AT_EXPR;
    if (r->at_expr->kind == KS_EXPR_CALL && r->at_expr->call.func) {
        enum ks_promql_func_id id = r->at_expr->call.func->id;
        r->at = id == KS_FN_START ? KS_AT_START : id == KS_FN_END ? KS_AT_END : KS_AT_EXPR;
    }
    if (r->at != KS_AT_EXPR)
        r->at_expr = NULL;
    return KS_OK;
}

ks_err ksi_mql_rollup(struct ksi_parser *p, struct ks_expr *expr, struct ks_expr **ret)
{
    struct ks_expr_rollup r = {.expr = expr};
    struct ks_expr *e;
    if (p->tok.kind == KSI_TOK_LBRACKET)
        KS_TRY(window_and_step(p, &r));
    if (p->tok.kind == KSI_TOK_AT)
        KS_TRY(at_modifier(p, &r));
    if (ksi_at_word(p, "offset")) {
        KS_TRY(ksi_advance(p));
        KS_TRY(duration(p, true, &r.offset));
    }
    if (p->tok.kind == KSI_TOK_AT)
        KS_TRY(at_modifier(p, &r));
    KS_TRY(ksi_node(p, KS_EXPR_ROLLUP, expr->start, p->prev_end, &e));
    KS_TRY(ksi_adopt(p, e, expr));
    if (r.at_expr)
        KS_TRY(ksi_adopt(p, e, r.at_expr));
    e->rollup = r;
    *ret = e;
    return KS_OK;
}
