/*
 * Entry point and the parts both grammars share: token stream, limits, node making. The grammars
 * are parse_mql*.c and parse_strict*.c. Thread role: any.
 */
#include "query/promql/syntax/parser.h"

#include <math.h>

#include "query/promql/syntax/parser_priv.h"

#define DEFAULT_MAX_LEN   (16u << 10)
#define DEFAULT_MAX_NODES 100000u

const char *const ks_binary_op_text[KS_OP_COUNT] = {
#define X(name, text, prec, right) [KS_OP_##name] = text,
    KS_BINARY_OPS(X)
#undef X
};

int ksi_op_precedence(enum ks_binary_op op)
{
    static const uint8_t precedence[KS_OP_COUNT] = {
#define X(name, text, prec, right) [KS_OP_##name] = prec,
        KS_BINARY_OPS(X)
#undef X
    };
    return precedence[op];
}

ks_err ksi_advance(struct ksi_parser *p)
{
    p->prev_end = p->tok.end;
    return ksi_lex(&p->lx, &p->tok);
}

ks_err ksi_peek(const struct ksi_parser *p, struct ksi_token *ret)
{
    struct ksi_lexer copy = p->lx;
    return ksi_lex(&copy, ret);
}

enum ks_binary_op ksi_binary_op(const struct ksi_parser *p)
{
    enum ksi_tok kind = p->tok.kind;
    if (kind >= KSI_TOK_EQ && kind <= KSI_TOK_POW) {
        static const uint8_t ops[] = {KS_OP_EQ,  KS_OP_NE,  KS_OP_LT,  KS_OP_GT,
                                      KS_OP_LE,  KS_OP_GE,  KS_OP_ADD, KS_OP_SUB,
                                      KS_OP_MUL, KS_OP_DIV, KS_OP_MOD, KS_OP_POW};
        return (enum ks_binary_op)ops[kind - KSI_TOK_EQ];
    }
    if (kind != KSI_TOK_IDENT)
        return KS_OP_COUNT;
    struct ks_slice s = ksi_text(p);
    for (int op = 0; op < KS_OP_COUNT; op++) {
        if (ks_binary_op_text[op][0] < 'a' || !ksi_word_is(s, ks_binary_op_text[op]))
            continue;
        bool extension = op == KS_OP_DEFAULT || op == KS_OP_IF || op == KS_OP_IFNOT;
        return extension && p->opts->dialect == KS_PROMQL_STRICT ? KS_OP_COUNT
                                                                 : (enum ks_binary_op)op;
    }
    return KS_OP_COUNT;
}

ks_err ksi_enter(struct ksi_parser *p)
{
    if (++p->nesting > KSI_MAX_NESTING)
        return ks_fail(KS_ELIMIT, "the query is nested deeper than %d levels", KSI_MAX_NESTING);
    return KS_OK;
}

ks_err ksi_node(struct ksi_parser *p, enum ks_expr_kind kind, uint32_t start, uint32_t end,
                struct ks_expr **ret)
{
    if (++p->nodes > p->max_nodes)
        return ks_fail(KS_ELIMIT, "the query has more than %zu parts", p->max_nodes);
    struct ks_expr *e = ks_arena_zalloc(p->arena, sizeof *e);
    if (!e)
        return ks_arena_err(p->arena);
    e->kind = kind;
    e->height = 1;
    e->size = 1;
    e->start = p->expanding ? p->use_start : start;
    e->end = p->expanding ? p->use_end : end;
    *ret = e;
    return KS_OK;
}

ks_err ksi_adopt(struct ksi_parser *p, struct ks_expr *e, const struct ks_expr *child)
{
    if (child->height >= KS_PROMQL_MAX_HEIGHT)
        return ks_fail(KS_ELIMIT, "the query is nested deeper than %d levels",
                       KS_PROMQL_MAX_HEIGHT);
    if (child->height >= e->height)
        e->height = (uint16_t)(child->height + 1);
    if ((size_t)e->size + child->size > p->max_nodes)
        return ks_fail(KS_ELIMIT, "the query has more than %zu parts", p->max_nodes);
    e->size += child->size;
    return KS_OK;
}

ks_err ksi_number_node(struct ksi_parser *p, double value, uint32_t start, uint32_t end,
                       struct ks_expr **ret)
{
    KS_TRY(ksi_node(p, KS_EXPR_NUMBER, start, end, ret));
    (*ret)->number.value = value;
    (*ret)->type = KS_TYPE_SCALAR;
    return KS_OK;
}

ks_err ksi_binary_node(struct ksi_parser *p, const struct ks_expr_binary *b, struct ks_expr **ret)
{
    struct ks_expr *e;
    KS_TRY(ksi_node(p, KS_EXPR_BINARY, b->lhs->start, b->rhs->end, &e));
    KS_TRY(ksi_adopt(p, e, b->lhs));
    KS_TRY(ksi_adopt(p, e, b->rhs));
    e->binary = *b;
    *ret = e;
    return KS_OK;
}

ks_err ksi_push(struct ksi_parser *p, struct ksi_list *l, const void *item, size_t size)
{
    if (l->count == l->cap)
        KS_TRY(ks_arena_grow(p->arena, &l->items, &l->cap, l->count + 1, size));
    memcpy((char *)l->items + l->count * size, item, size);
    l->count++;
    return KS_OK;
}

static ks_err parse_text(struct ksi_parser *p, struct ks_expr **ret)
{
    bool strict = p->opts->dialect == KS_PROMQL_STRICT;
    KS_TRY(ksi_advance(p));
    if (p->tok.kind == KSI_TOK_EOF)
        return ksi_error(p, 0, "no expression found in input");
    KS_TRY(strict ? ksi_strict_expr(p, ret) : ksi_mql_expr(p, ret));
    if (p->tok.kind != KSI_TOK_EOF) {
        char q[KSI_QUOTE_MAX];
        if (strict)
            return ksi_strict_unexpected(p, NULL, NULL);
        return ksi_error(p, p->tok.start, "unparsed data left: %s",
                         ksi_quote(q, ks_slice_from(p->lx.text, p->tok.start)));
    }
    if (strict)
        return ksi_strict_check(p, *ret);
    return p->opts->disable_implicit_conversion ? ksi_check_implicit(*ret) : KS_OK;
}

ks_err ks_promql_parse(struct ks_slice text, const struct ks_promql_parse_opts *opts,
                       struct ks_arena *arena, struct ks_expr **ret)
{
    size_t max_len = opts->max_len ? opts->max_len : DEFAULT_MAX_LEN;
    if (text.len > max_len || text.len > UINT32_MAX / 2)
        return ks_fail(KS_ETOOBIG, "the query is %zu bytes long, more than the limit of %zu",
                       text.len, max_len);
    size_t max_nodes = opts->max_nodes ? opts->max_nodes : DEFAULT_MAX_NODES;
    struct ksi_parser p = {
        .opts = opts,
        .arena = arena,
        .lx = {.dialect = opts->dialect,
               .text = text,
               .query = text,
               .tokens_left = 16 * (uint64_t)max_nodes + 4 * text.len + 16},
        .max_nodes = max_nodes,
    };
    if (opts->dialect == KS_METRICSQL)
        ksi_default_templates(&p);
    struct ks_expr *e = NULL;
    KS_TRY(parse_text(&p, &e));
    *ret = e;
    return KS_OK;
}

/* ---- durations of strict PromQL: expressions over numbers, in seconds ---- */

static ks_err duration_op(const struct ks_expr *e, double l, double r, double *ret)
{
    switch (e->binary.op) {
    case KS_OP_ADD:
        *ret = l + r;
        return KS_OK;
    case KS_OP_SUB:
        *ret = l - r;
        return KS_OK;
    case KS_OP_MUL:
        *ret = l * r;
        return KS_OK;
    case KS_OP_DIV:
    case KS_OP_MOD:
        if (r == 0)
            return ks_fail(KS_EEXEC, "%u:%u: %s by zero", e->start, e->end,
                           e->binary.op == KS_OP_DIV ? "division" : "modulo");
        *ret = e->binary.op == KS_OP_DIV ? l / r : fmod(l, r);
        return KS_OK;
    default:
        *ret = pow(l, r);
        return KS_OK;
    }
}

static ks_err duration_value(const struct ks_expr *e, double *ret)
{
    double l, r;
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        *ret = e->number.value;
        return KS_OK;
    case KS_EXPR_PARENS:
        return duration_value(e->parens.items[0], ret);
    case KS_EXPR_UNARY:
        KS_TRY(duration_value(e->unary.expr, &r));
        *ret = e->unary.negative ? -r : r;
        return KS_OK;
    case KS_EXPR_BINARY:
        KS_TRY(duration_value(e->binary.lhs, &l));
        KS_TRY(duration_value(e->binary.rhs, &r));
        return duration_op(e, l, r, ret);
    default:
        return ks_fail(KS_EINTERNAL, "unexpected part of a duration expression");
    }
}

ks_err ks_duration_resolve(const struct ks_duration *d, int64_t step_ms, bool must_be_positive,
                           int64_t *ret_ms)
{
    double ms = d->ms + d->steps * (double)step_ms;
    if (d->expr) {
        KS_TRY(duration_value(d->expr, &ms));
        ms *= 1000;
    }
    if (must_be_positive && d->set && !(ms > 0))
        return ks_fail(KS_EEXEC, "%u:%u: duration must be greater than 0", d->start, d->end);
    /* As far as the times of requests go: nested windows and steps add up without overflow. */
    if (!(fabs(ms) < 9.0e15))
        return ks_fail(KS_EEXEC, "%u:%u: duration is out of range, it must be below 9e15 ms",
                       d->start, d->end);
    *ret_ms = (int64_t)ms;
    return KS_OK;
}
