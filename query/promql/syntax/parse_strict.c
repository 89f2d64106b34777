/*
 * Strict PromQL: expressions, calls, aggregates, operators. Selectors, ranges and durations are in
 * parse_strict_selector.c, types are checked afterwards by check_strict.c. Errors are worded as
 * Prometheus words them. Thread role: any.
 */
#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "query/promql/syntax/parser_priv.h"

/* ---- errors ---- */

static const char *token_text(const struct ksi_parser *p, char out[KSI_QUOTE_MAX + 32])
{
    char q[KSI_QUOTE_MAX];
    struct ks_slice s = ksi_text(p);
    const char *kind = "";
    switch (p->tok.kind) {
    case KSI_TOK_EOF:
        return "end of input";
    case KSI_TOK_NUMBER:
        kind = "number ";
        break;
    case KSI_TOK_DURATION:
        kind = "duration ";
        break;
    case KSI_TOK_STRING:
        kind = "string ";
        break;
    default:
        break;
    }
    if (p->tok.kind == KSI_TOK_AT) /* Prometheus has no name for this token and prints its number */
        return "\"<Item 57400>\" <op:@>";
    if (p->tok.kind >= KSI_TOK_RE) {
        snprintf(out, KSI_QUOTE_MAX, "<op:%.*s>", KS_SLICE_ARG(s));
        return out;
    }
    if (p->tok.kind == KSI_TOK_IDENT) {
        static const char *const keywords[] = {"offset",   "by",         "without",     "on",
                                               "ignoring", "group_left", "group_right", "bool"};
        const struct ks_promql_func *f = ks_promql_func_find(KS_PROMQL_STRICT, s);
        for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
            if (ksi_word_is(s, keywords[i])) {
                snprintf(out, KSI_QUOTE_MAX, "<%.*s>", KS_SLICE_ARG(s));
                return out;
            }
        }
        if (ksi_binary_op(p) != KS_OP_COUNT)
            kind = "<op:";
        else if (f && f->kind == KS_FUNC_AGGREGATE)
            kind = "<aggr:";
        if (*kind) {
            snprintf(out, KSI_QUOTE_MAX, "%s%.*s>", kind, KS_SLICE_ARG(s));
            return out;
        }
        bool number = ksi_word_is(s, "inf") || ksi_word_is(s, "nan");
        kind = number                      ? "number "
               : memchr(s.ptr, ':', s.len) ? "metric identifier "
                                           : "identifier ";
    }
    bool cut = s.len > 10 && p->tok.kind != KSI_TOK_IDENT;
    snprintf(out, KSI_QUOTE_MAX + 32, "%s%s%s", kind,
             ksi_quote(q, ks_slice(s.ptr, cut ? 10 : s.len)), cut ? "..." : "");
    return out;
}

ks_err ksi_strict_unexpected(const struct ksi_parser *p, const char *context, const char *expected)
{
    char out[KSI_QUOTE_MAX + 32];
    if (!context && p->in_aggregates)
        context = "aggregation";
    return ksi_error(p, p->tok.start, "unexpected %s%s%s%s%s", token_text(p, out),
                     context ? " in " : "", context ? context : "", expected ? ", expected " : "",
                     expected ? expected : "");
}

/* ---- lists ---- */

/* ( args ) as in calls and aggregates, the next token being the parenthesis. */
static ks_err args(struct ksi_parser *p, struct ks_expr ***ret, size_t *ret_count)
{
    struct ksi_list items = {0};
    KS_TRY(ksi_advance(p));
    while (p->tok.kind != KSI_TOK_RPAREN) {
        struct ks_expr *e;
        KS_TRY(ksi_strict_expr(p, &e));
        KS_TRY(ksi_push(p, &items, &e, sizeof e));
        if (p->tok.kind != KSI_TOK_COMMA)
            break;
        uint32_t comma = p->tok.start;
        KS_TRY(ksi_advance(p));
        if (p->tok.kind == KSI_TOK_RPAREN)
            return ksi_error(p, comma, "trailing commas not allowed in function call args");
    }
    if (p->tok.kind != KSI_TOK_RPAREN)
        return ksi_strict_unexpected(p, NULL, NULL);
    *ret = items.items;
    *ret_count = items.count;
    return ksi_advance(p);
}

static ks_err label(struct ksi_parser *p, struct ksi_list *labels)
{
    struct ks_slice name = ksi_text(p);
    char q[KSI_QUOTE_MAX];
    if (p->tok.kind == KSI_TOK_STRING) {
        KS_TRY(ksi_unquote(p, ksi_text(p), p->tok.start, &name));
        if (!name.len)
            return ksi_error(p, p->tok.start, "invalid label name for grouping: %s",
                             ksi_quote(q, name));
    } else if (p->tok.kind != KSI_TOK_IDENT || ksi_word_is(name, "without") ||
               ksi_word_is(name, "inf") || ksi_word_is(name, "nan")) {
        return ksi_strict_unexpected(p, "grouping opts", "label");
    }
    KS_TRY(ksi_push(p, labels, &name, sizeof name));
    return ksi_advance(p);
}

static ks_err grouping_labels(struct ksi_parser *p, struct ks_slice **ret, size_t *ret_count)
{
    struct ksi_list labels = {0};
    if (p->tok.kind != KSI_TOK_LPAREN)
        return ksi_strict_unexpected(p, "grouping opts", "\"(\"");
    KS_TRY(ksi_advance(p));
    while (p->tok.kind != KSI_TOK_RPAREN) {
        KS_TRY(label(p, &labels));
        if (p->tok.kind == KSI_TOK_COMMA)
            KS_TRY(ksi_advance(p));
        else if (p->tok.kind != KSI_TOK_RPAREN)
            return ksi_strict_unexpected(p, "grouping opts", "\",\" or \")\"");
    }
    *ret = labels.items;
    *ret_count = labels.count;
    return ksi_advance(p);
}

/* ---- calls and aggregates ---- */

static ks_err call(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_slice name = ksi_text(p);
    uint32_t start = p->tok.start;
    struct ks_expr_call c = {.func = ks_promql_func_find(KS_PROMQL_STRICT, name)};
    char q[KSI_QUOTE_MAX];
    KS_TRY(ksi_advance(p));
    KS_TRY(args(p, &c.args, &c.arg_count));
    if (!c.func)
        return ksi_error(p, start, "unknown function with name %s", ksi_quote(q, name));
    if (c.func->experimental && !p->opts->experimental_functions)
        return ksi_error(p, start, "function %s is not enabled", ksi_quote(q, name));
    KS_TRY(ksi_node(p, KS_EXPR_CALL, start, p->prev_end, ret));
    for (size_t i = 0; i < c.arg_count; i++)
        KS_TRY(ksi_adopt(p, *ret, c.args[i]));
    (*ret)->call = c;
    return KS_OK;
}

static ks_err grouping(struct ksi_parser *p, struct ks_expr_aggregate *a)
{
    if (a->grouping != KS_GROUP_NONE || !(ksi_at_word(p, "by") || ksi_at_word(p, "without")))
        return KS_OK;
    a->grouping = ksi_at_word(p, "by") ? KS_GROUP_BY : KS_GROUP_WITHOUT;
    KS_TRY(ksi_advance(p));
    return grouping_labels(p, &a->labels, &a->label_count);
}

static ks_err check_aggregate(struct ksi_parser *p, const struct ks_expr_aggregate *a,
                              uint32_t start)
{
    size_t want = strlen(a->func->strict_args);
    if (a->arg_count == 0)
        return ksi_error(p, start, "no arguments for aggregate expression provided");
    if (a->func->experimental && !p->opts->experimental_functions)
        return ksi_error(p, start,
                         "%s() is experimental and must be enabled with "
                         "--enable-feature=promql-experimental-functions",
                         a->func->name);
    if (a->arg_count != want)
        return ksi_error(p, start,
                         "wrong number of arguments for aggregate expression provided, expected "
                         "%zu, got %zu",
                         want, a->arg_count);
    return KS_OK;
}

static ks_err aggregate(struct ksi_parser *p, const struct ks_promql_func *f, struct ks_expr **ret)
{
    struct ks_expr_aggregate a = {.func = f};
    uint32_t start = p->tok.start;
    KS_TRY(ksi_advance(p));
    KS_TRY(grouping(p, &a));
    if (p->tok.kind != KSI_TOK_LPAREN)
        return ksi_strict_unexpected(p, "aggregation", NULL);
    p->in_aggregates++;
    KS_TRY(args(p, &a.args, &a.arg_count));
    p->in_aggregates--;
    KS_TRY(grouping(p, &a));
    KS_TRY(check_aggregate(p, &a, start));
    KS_TRY(ksi_node(p, KS_EXPR_AGGREGATE, start, p->prev_end, ret));
    for (size_t i = 0; i < a.arg_count; i++)
        KS_TRY(ksi_adopt(p, *ret, a.args[i]));
    (*ret)->aggregate = a;
    return KS_OK;
}

/* ---- primary expressions ---- */

static ks_err number(struct ksi_parser *p, struct ks_expr **ret)
{
    double v, steps;
    char q[KSI_QUOTE_MAX];
    struct ks_slice text = ksi_text(p);
    bool duration = p->tok.kind == KSI_TOK_DURATION;
    if (duration) {
        if (!ksi_duration_parse(KS_PROMQL_STRICT, text, false, &v, &steps))
            return ksi_error(p, p->tok.start, "not a valid duration string: %s",
                             ksi_quote(q, text));
        v /= 1000;
    } else if (!ksi_number_parse(KS_PROMQL_STRICT, text, &v)) {
        bool large = ks_f64_parse(text, &v) && isinf(v);
        return ksi_error(p, p->tok.start,
                         "error parsing number: strconv.ParseFloat: parsing %s: %s",
                         ksi_quote(q, text), large ? "value out of range" : "invalid syntax");
    }
    KS_TRY(ksi_number_node(p, v, p->tok.start, p->tok.end, ret));
    (*ret)->number.is_duration = duration;
    (*ret)->number.text = text;
    return ksi_advance(p);
}

static ks_err string(struct ksi_parser *p, struct ks_expr **ret)
{
    KS_TRY(ksi_node(p, KS_EXPR_STRING, p->tok.start, p->tok.end, ret));
    KS_TRY(ksi_unquote(p, ksi_text(p), p->tok.start, &(*ret)->string));
    return ksi_advance(p);
}

static ks_err parens(struct ksi_parser *p, struct ks_expr **ret)
{
    uint32_t start = p->tok.start;
    struct ks_expr **item = ks_arena_array(p->arena, 1, sizeof *item);
    if (!item)
        return ks_arena_err(p->arena);
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_strict_expr(p, item));
    if (p->tok.kind != KSI_TOK_RPAREN)
        return ksi_strict_unexpected(p, NULL, NULL);
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_node(p, KS_EXPR_PARENS, start, p->prev_end, ret));
    KS_TRY(ksi_adopt(p, *ret, *item));
    (*ret)->parens = (struct ks_expr_parens){item, 1};
    return KS_OK;
}

static bool can_name_metric(struct ks_slice s)
{
    static const char *const words[] = {"bool",       "on",          "ignoring",
                                        "group_left", "group_right", "atan2"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (ksi_word_is(s, words[i]))
            return false;
    }
    return true;
}

/* Keywords cannot name functions; start and end are later versions' functions, behind the
 * experimental flag. */
static bool can_name_function(const struct ksi_parser *p, struct ks_slice s)
{
    if (memchr(s.ptr, ':', s.len) || ksi_binary_op(p) != KS_OP_COUNT)
        return false;
    if (ksi_word_is(s, "start") || ksi_word_is(s, "end"))
        return p->opts->experimental_functions;
    return !ksi_word_is(s, "offset") && !ksi_word_is(s, "by") && !ksi_word_is(s, "without");
}

static ks_err identifier(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_slice s = ksi_text(p), after;
    struct ksi_token next;
    if (ksi_word_is(s, "inf") || ksi_word_is(s, "nan"))
        return number(p, ret);
    if (!can_name_metric(s))
        return ksi_strict_unexpected(p, NULL, NULL);
    /* A peek may fail on text that only the next step would complain about. */
    struct ksi_lexer copy = p->lx;
    if (ksi_lex(&copy, &next) != KS_OK)
        next = (struct ksi_token){KSI_TOK_EOF, p->tok.end, p->tok.end};
    after = ksi_tok_text(&p->lx, next);
    bool modifier =
        next.kind == KSI_TOK_IDENT && (ksi_word_is(after, "by") || ksi_word_is(after, "without"));
    const struct ks_promql_func *f = ks_promql_func_find(KS_PROMQL_STRICT, s);
    if (f && f->kind == KS_FUNC_AGGREGATE && (modifier || next.kind == KSI_TOK_LPAREN))
        return aggregate(p, f, ret);
    if (next.kind == KSI_TOK_LPAREN && can_name_function(p, s))
        return call(p, ret);
    return ksi_strict_selector(p, true, ret);
}

static ks_err primary(struct ksi_parser *p, struct ks_expr **ret)
{
    switch (p->tok.kind) {
    case KSI_TOK_NUMBER:
    case KSI_TOK_DURATION:
        return number(p, ret);
    case KSI_TOK_STRING:
        return string(p, ret);
    case KSI_TOK_LPAREN:
        return parens(p, ret);
    case KSI_TOK_LBRACE:
        return ksi_strict_selector(p, false, ret);
    case KSI_TOK_IDENT:
        return identifier(p, ret);
    default:
        return ksi_strict_unexpected(p, NULL, NULL);
    }
}

/* ---- operators ---- */

static ks_err climb(struct ksi_parser *p, struct ks_expr *lhs, int min, struct ks_expr **ret);

/* Signs bind like multiplication: -a^b is -(a^b), -a*b is (-a)*b. */
static ks_err operand(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr *e;
    if (p->tok.kind != KSI_TOK_SUB && p->tok.kind != KSI_TOK_ADD) {
        KS_TRY(primary(p, &e));
        return ksi_strict_rollups(p, e, ret);
    }
    bool negative = p->tok.kind == KSI_TOK_SUB;
    uint32_t start = p->tok.start;
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_advance(p));
    KS_TRY(operand(p, &e));
    KS_TRY(climb(p, e, ksi_op_precedence(KS_OP_POW), &e));
    ksi_leave(p);
    if (e->kind == KS_EXPR_NUMBER) {
        if (negative)
            e->number.value = -e->number.value;
        e->number.text = (struct ks_slice){0};
        e->start = start;
        *ret = e;
        return KS_OK;
    }
    KS_TRY(ksi_node(p, KS_EXPR_UNARY, start, e->end, ret));
    (*ret)->unary = (struct ks_expr_unary){negative, e};
    return ksi_adopt(p, *ret, e);
}

static ks_err modifiers(struct ksi_parser *p, struct ks_expr_binary *b)
{
    if (ksi_at_word(p, "bool")) {
        b->return_bool = true;
        KS_TRY(ksi_advance(p));
    }
    if (!ksi_at_word(p, "on") && !ksi_at_word(p, "ignoring"))
        return KS_OK;
    b->matching = ksi_at_word(p, "on") ? KS_MATCHING_ON : KS_MATCHING_IGNORING;
    KS_TRY(ksi_advance(p));
    KS_TRY(grouping_labels(p, &b->match_labels, &b->match_label_count));
    if (!ksi_at_word(p, "group_left") && !ksi_at_word(p, "group_right"))
        return KS_OK;
    b->join = ksi_at_word(p, "group_left") ? KS_JOIN_GROUP_LEFT : KS_JOIN_GROUP_RIGHT;
    KS_TRY(ksi_advance(p));
    return p->tok.kind == KSI_TOK_LPAREN ? grouping_labels(p, &b->join_labels, &b->join_label_count)
                                         : KS_OK;
}

static ks_err climb(struct ksi_parser *p, struct ks_expr *lhs, int min, struct ks_expr **ret)
{
    KS_TRY(ksi_enter(p));
    for (;;) {
        enum ks_binary_op op = ksi_binary_op(p);
        if (op == KS_OP_COUNT || ksi_op_precedence(op) < min)
            break;
        struct ks_expr_binary b = {.op = op, .lhs = lhs};
        KS_TRY(ksi_advance(p));
        KS_TRY(modifiers(p, &b));
        KS_TRY(operand(p, &b.rhs));
        KS_TRY(climb(p, b.rhs, ksi_op_precedence(op) + !ksi_op_is_right(op), &b.rhs));
        KS_TRY(ksi_binary_node(p, &b, &lhs));
    }
    ksi_leave(p);
    *ret = lhs;
    return KS_OK;
}

ks_err ksi_strict_expr(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr *e;
    KS_TRY(ksi_enter(p));
    KS_TRY(operand(p, &e));
    KS_TRY(climb(p, e, 0, ret));
    ksi_leave(p);
    return KS_OK;
}
