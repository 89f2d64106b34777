/* Strict PromQL: vector selectors, ranges, subqueries, offset, @, and durations with their
 * expressions. Thread: any. */
#include <math.h>

#include "base/labels.h"
#include "base/num.h"
#include "query/promql/syntax/parser_priv.h"

/* ---- {matchers} ---- */

static ks_err matcher(struct ksi_parser *p, struct ksi_list *matchers)
{
    struct ks_matcher m = {KS_NAME_LABEL, ksi_text(p), KS_MATCH_EQ};
    bool quoted = p->tok.kind == KSI_TOK_STRING;
    uint32_t start = p->tok.start;
    if (!quoted && p->tok.kind != KSI_TOK_IDENT)
        return ksi_strict_unexpected(p, "label matching", "identifier or \"}\"");
    if (quoted)
        KS_TRY(ksi_unquote(p, ksi_text(p), start, &m.value));
    KS_TRY(ksi_advance(p));
    bool op = p->tok.kind == KSI_TOK_ASSIGN || p->tok.kind == KSI_TOK_NE ||
              p->tok.kind == KSI_TOK_RE || p->tok.kind == KSI_TOK_NRE;
    if (!op) {
        if (!quoted)
            return ksi_strict_unexpected(p, "label matching", "label matching operator");
        return ksi_push(p, matchers, &m, sizeof m);
    }
    m.name = m.value;
    m.op = p->tok.kind == KSI_TOK_ASSIGN ? KS_MATCH_EQ
           : p->tok.kind == KSI_TOK_NE   ? KS_MATCH_NEQ
           : p->tok.kind == KSI_TOK_RE   ? KS_MATCH_RE
                                         : KS_MATCH_NRE;
    KS_TRY(ksi_advance(p));
    if (p->tok.kind != KSI_TOK_STRING)
        return ksi_strict_unexpected(p, "label matching", "string");
    KS_TRY(ksi_unquote(p, ksi_text(p), p->tok.start, &m.value));
    KS_TRY(ksi_check_matcher(p, &m, start));
    KS_TRY(ksi_push(p, matchers, &m, sizeof m));
    return ksi_advance(p);
}

static ks_err braces(struct ksi_parser *p, struct ksi_list *matchers)
{
    KS_TRY(ksi_advance(p));
    while (p->tok.kind != KSI_TOK_RBRACE) {
        KS_TRY(matcher(p, matchers));
        if (p->tok.kind == KSI_TOK_COMMA)
            KS_TRY(ksi_advance(p));
        else if (p->tok.kind != KSI_TOK_RBRACE)
            return ksi_strict_unexpected(p, "label matching", "\",\" or \"}\"");
    }
    return ksi_advance(p);
}

ks_err ksi_strict_selector(struct ksi_parser *p, bool has_name, struct ks_expr **ret)
{
    struct ksi_list matchers = {0};
    struct ks_slice name = {0};
    uint32_t start = p->tok.start;
    if (has_name) {
        name = ksi_text(p);
        KS_TRY(ksi_advance(p));
    }
    if (p->tok.kind == KSI_TOK_LBRACE)
        KS_TRY(braces(p, &matchers));
    if (has_name) {
        struct ks_matcher m = {KS_NAME_LABEL, name, KS_MATCH_EQ};
        KS_TRY(ksi_push(p, &matchers, &m, sizeof m));
    }
    struct ks_selector *list = ks_arena_array(p->arena, 1, sizeof *list);
    if (!list)
        return ks_arena_err(p->arena);
    *list = (struct ks_selector){matchers.items, matchers.count};
    KS_TRY(ksi_node(p, KS_EXPR_SELECTOR, start, p->prev_end, ret));
    (*ret)->selector = (struct ks_expr_selector){list, 1, name};
    return KS_OK;
}

/* ---- durations ---- */

#define DURATION_MAX_S 9223372036.854775807

static ks_err enabled(const struct ksi_parser *p, uint32_t pos)
{
    return p->opts->duration_expressions
               ? KS_OK
               : ksi_error(p, pos, "experimental duration expression is not enabled");
}

static ks_err check_range(const struct ksi_parser *p, const struct ks_expr *e)
{
    return e->kind == KS_EXPR_NUMBER && fabs(e->number.value) > DURATION_MAX_S
               ? ksi_error(p, e->start, "duration out of range")
               : KS_OK;
}

static ks_err duration_climb(struct ksi_parser *p, struct ks_expr *lhs, int min,
                             struct ks_expr **ret);

static ks_err duration_parens(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr *e, **item;
    uint32_t start = p->tok.start;
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_advance(p));
    KS_TRY(duration_climb(p, NULL, 0, &e));
    if (p->tok.kind != KSI_TOK_RPAREN)
        return ksi_strict_unexpected(p, NULL, NULL);
    KS_TRY(enabled(p, e->start));
    KS_TRY(ksi_advance(p));
    ksi_leave(p);
    if (e->kind == KS_EXPR_NUMBER) {
        *ret = e;
        return KS_OK;
    }
    item = ks_arena_array(p->arena, 1, sizeof *item);
    if (!item)
        return ks_arena_err(p->arena);
    *item = e;
    KS_TRY(ksi_node(p, KS_EXPR_PARENS, start, p->prev_end, ret));
    (*ret)->parens = (struct ks_expr_parens){item, 1};
    return ksi_adopt(p, *ret, e);
}

static ks_err duration_literal(struct ksi_parser *p, struct ks_expr **ret)
{
    double v, steps;
    char q[KSI_QUOTE_MAX];
    struct ks_slice text = ksi_text(p);
    bool duration = p->tok.kind == KSI_TOK_DURATION;
    bool ok = duration ? ksi_duration_parse(KS_PROMQL_STRICT, text, false, &v, &steps)
                       : ksi_number_parse(KS_PROMQL_STRICT, text, &v);
    if (!ok)
        return ksi_error(p, p->tok.start, "not a valid duration string: %s", ksi_quote(q, text));
    KS_TRY(ksi_number_node(p, duration ? v / 1000 : v, p->tok.start, p->tok.end, ret));
    (*ret)->number.is_duration = duration;
    (*ret)->number.text = text;
    KS_TRY(check_range(p, *ret));
    return ksi_advance(p);
}

/* A literal, a sign in front of an operand, or parentheses. Signs bind like multiplication. */
static ks_err duration_operand(struct ksi_parser *p, bool lone, struct ks_expr **ret)
{
    struct ks_expr *e;
    uint32_t start = p->tok.start;
    bool number = p->tok.kind == KSI_TOK_NUMBER || p->tok.kind == KSI_TOK_DURATION ||
                  ksi_at_word(p, "inf") || ksi_at_word(p, "nan");
    if (number)
        return duration_literal(p, ret);
    if (p->tok.kind == KSI_TOK_LPAREN)
        return duration_parens(p, ret);
    if (p->tok.kind != KSI_TOK_SUB && p->tok.kind != KSI_TOK_ADD)
        return ksi_strict_unexpected(p, lone ? "offset" : "subquery selector",
                                     "number or duration");
    bool negative = p->tok.kind == KSI_TOK_SUB;
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_advance(p));
    KS_TRY(duration_operand(p, lone, &e));
    if (!lone)
        KS_TRY(duration_climb(p, e, ksi_op_precedence(KS_OP_POW), &e));
    ksi_leave(p);
    if (e->kind == KS_EXPR_NUMBER) {
        e->number.value = negative ? -e->number.value : e->number.value;
        e->number.text = (struct ks_slice){0};
        e->start = start;
        *ret = e;
        return KS_OK;
    }
    if (!negative) {
        *ret = e;
        return KS_OK;
    }
    KS_TRY(ksi_node(p, KS_EXPR_UNARY, start, e->end, ret));
    (*ret)->unary = (struct ks_expr_unary){true, e};
    return ksi_adopt(p, *ret, e);
}

static ks_err duration_climb(struct ksi_parser *p, struct ks_expr *lhs, int min,
                             struct ks_expr **ret)
{
    KS_TRY(ksi_enter(p));
    if (!lhs)
        KS_TRY(duration_operand(p, false, &lhs));
    for (;;) {
        enum ks_binary_op op = p->tok.kind == KSI_TOK_IDENT ? KS_OP_COUNT : ksi_binary_op(p);
        if (op == KS_OP_COUNT || op < KS_OP_ADD || ksi_op_precedence(op) < min)
            break;
        struct ks_expr_binary b = {.op = op, .lhs = lhs};
        uint32_t op_pos = p->tok.start;
        KS_TRY(ksi_advance(p));
        KS_TRY(duration_operand(p, false, &b.rhs));
        KS_TRY(duration_climb(p, b.rhs, ksi_op_precedence(op) + !ksi_op_is_right(op), &b.rhs));
        KS_TRY(enabled(p, lhs->start));
        bool zero = b.rhs->kind == KS_EXPR_NUMBER && b.rhs->number.value == 0;
        if (zero && (op == KS_OP_DIV || op == KS_OP_MOD))
            return ksi_error(p, op_pos, "%s by zero", op == KS_OP_DIV ? "division" : "modulo");
        KS_TRY(ksi_binary_node(p, &b, &lhs));
    }
    ksi_leave(p);
    *ret = lhs;
    return KS_OK;
}

ks_err ksi_strict_duration(struct ksi_parser *p, bool offset, struct ks_duration *ret)
{
    struct ks_expr *e;
    /* Behind offset only one operand is taken: foo offset 2 ^ 2 is (foo offset 2) ^ 2. */
    KS_TRY(offset ? duration_operand(p, true, &e) : duration_climb(p, NULL, 0, &e));
    *ret = (struct ks_duration){.set = true, .start = e->start, .end = e->end};
    if (e->kind != KS_EXPR_NUMBER) {
        ret->expr = e;
        return KS_OK;
    }
    if (!offset && !(e->number.value > 0))
        return ksi_error(p, e->start, "duration must be greater than 0");
    KS_TRY(check_range(p, e));
    ret->ms = trunc(round(e->number.value * 1e9) / 1e6);
    return KS_OK;
}

/* ---- [range], [range:step], offset, @ ---- */

static ks_err wrap(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    KS_TRY(ksi_node(p, KS_EXPR_ROLLUP, e->start, p->prev_end, ret));
    (*ret)->rollup.expr = e;
    return ksi_adopt(p, *ret, e);
}

static ks_err check_range_target(struct ksi_parser *p, const struct ks_expr *e, uint32_t pos)
{
    if (e->kind == KS_EXPR_SELECTOR)
        return KS_OK;
    bool plain = e->kind == KS_EXPR_ROLLUP && !e->rollup.window.set;
    if (plain && e->rollup.offset.set)
        return ksi_error(p, pos, "no offset modifiers allowed before range");
    if (plain && e->rollup.at != KS_AT_NONE)
        return ksi_error(p, pos, "no @ modifiers allowed before range");
    return ksi_error(p, pos, "ranges only allowed for vector selectors");
}

static ks_err range(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    struct ks_expr_rollup r = {.expr = e};
    uint32_t pos = p->tok.start;
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_strict_duration(p, false, &r.window));
    bool subquery = p->tok.kind == KSI_TOK_COLON;
    if (!subquery && p->tok.kind != KSI_TOK_RBRACKET)
        return ksi_strict_unexpected(p, "subquery or range", "\":\" or \"]\"");
    if (subquery) {
        KS_TRY(ksi_advance(p));
        r.inherit_step = p->tok.kind == KSI_TOK_RBRACKET;
        if (!r.inherit_step)
            KS_TRY(ksi_strict_duration(p, false, &r.step));
        if (p->tok.kind != KSI_TOK_RBRACKET)
            return ksi_strict_unexpected(p, "subquery selector", "\"]\"");
    } else {
        KS_TRY(check_range_target(p, e, pos));
    }
    KS_TRY(ksi_advance(p));
    KS_TRY(wrap(p, e, ret));
    (*ret)->rollup = r;
    return KS_OK;
}

/* The node an offset or @ is put on: e itself when it is a rollup already. */
static ks_err modifier_target(struct ksi_parser *p, struct ks_expr *e, const char *what,
                              struct ks_expr **ret)
{
    if (e->kind != KS_EXPR_SELECTOR && e->kind != KS_EXPR_ROLLUP)
        return ksi_error(p, e->start,
                         "%s modifier must be preceded by an instant vector selector or range "
                         "vector selector or a subquery",
                         what);
    *ret = e;
    return e->kind == KS_EXPR_SELECTOR ? wrap(p, e, ret) : KS_OK;
}

static ks_err offset(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    struct ks_duration d;
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_strict_duration(p, true, &d));
    KS_TRY(modifier_target(p, e, "offset", ret));
    struct ks_duration *o = &(*ret)->rollup.offset;
    if (o->set && (o->expr || o->ms != 0))
        return ksi_error(p, e->start, "offset may not be set multiple times");
    *o = d;
    (*ret)->end = p->prev_end;
    return KS_OK;
}

/* start() or end() behind @. */
static ks_err at_bound(struct ksi_parser *p, enum ks_at_kind *ret)
{
    enum ks_at_kind kind = ksi_at_word(p, "start") ? KS_AT_START : KS_AT_END;
    KS_TRY(ksi_advance(p));
    if (p->tok.kind != KSI_TOK_LPAREN)
        return ksi_strict_unexpected(p, NULL, NULL);
    KS_TRY(ksi_advance(p));
    if (p->tok.kind != KSI_TOK_RPAREN)
        return ksi_strict_unexpected(p, NULL, NULL);
    *ret = kind;
    return ksi_advance(p);
}

static ks_err at_timestamp(struct ksi_parser *p, const struct ks_expr *target, struct ks_expr **ret)
{
    bool negative = p->tok.kind == KSI_TOK_SUB;
    uint32_t start = p->tok.start;
    if (negative || p->tok.kind == KSI_TOK_ADD)
        KS_TRY(ksi_advance(p));
    bool number = p->tok.kind == KSI_TOK_NUMBER || ksi_at_word(p, "inf") || ksi_at_word(p, "nan");
    if (!number && p->tok.kind != KSI_TOK_DURATION)
        return ksi_strict_unexpected(p, "@", "timestamp");
    double v, steps;
    if (!(number ? ksi_number_parse(KS_PROMQL_STRICT, ksi_text(p), &v)
                 : ksi_duration_parse(KS_PROMQL_STRICT, ksi_text(p), false, &v, &steps)))
        return ksi_strict_unexpected(p, "@", "timestamp");
    v = (number ? v : v / 1000) * (negative ? -1 : 1);
    if (!(fabs(v) < 9223372036854775807.0)) {
        char text[KS_F64_TEXT_MAX];
        size_t n = ks_f64_format_fixed(text, v);
        return ksi_error(p, target->start, "timestamp out of bounds for @ modifier: %.*s", (int)n,
                         text);
    }
    KS_TRY(ksi_number_node(p, v, start, p->tok.end, ret));
    return ksi_advance(p);
}

static ks_err at_modifier(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    enum ks_at_kind kind = KS_AT_EXPR;
    struct ks_expr *ts = NULL;
    KS_TRY(ksi_advance(p));
    if (ksi_at_word(p, "start") || ksi_at_word(p, "end"))
        KS_TRY(at_bound(p, &kind));
    else
        KS_TRY(at_timestamp(p, e, &ts));
    KS_TRY(modifier_target(p, e, "@", ret));
    if ((*ret)->rollup.at != KS_AT_NONE)
        return ksi_error(p, e->start, "@ <timestamp> may not be set multiple times");
    (*ret)->rollup.at = kind;
    (*ret)->rollup.at_expr = ts;
    (*ret)->end = p->prev_end;
    return ts ? ksi_adopt(p, *ret, ts) : KS_OK;
}

/* anchored and smoothed choose how the edges of a range are read. */
static ks_err edges(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    bool anchored = ksi_at_word(p, "anchored");
    uint32_t pos = p->tok.start;
    KS_TRY(ksi_advance(p));
    KS_TRY(modifier_target(p, e, anchored ? "anchored" : "smoothed", ret));
    struct ks_expr_rollup *r = &(*ret)->rollup;
    if (r->anchored || r->smoothed)
        return ksi_error(p, pos, "anchored and smoothed may not be set multiple times");
    if (ks_rollup_is_subquery(r) || (anchored && !r->window.set))
        return ksi_error(p, pos, "%s modifier cannot be used here",
                         anchored ? "anchored" : "smoothed");
    r->anchored = anchored;
    r->smoothed = !anchored;
    (*ret)->end = p->prev_end;
    return KS_OK;
}

ks_err ksi_strict_rollups(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret)
{
    for (;;) {
        if (p->tok.kind == KSI_TOK_LBRACKET) {
            KS_TRY(range(p, e, &e));
        } else if (p->tok.kind == KSI_TOK_AT) {
            KS_TRY(at_modifier(p, e, &e));
        } else if (ksi_at_word(p, "offset")) {
            KS_TRY(offset(p, e, &e));
        } else if (p->opts->extended_range_selectors &&
                   (ksi_at_word(p, "anchored") || ksi_at_word(p, "smoothed"))) {
            KS_TRY(edges(p, e, &e));
        } else {
            *ret = e;
            return KS_OK;
        }
    }
}
