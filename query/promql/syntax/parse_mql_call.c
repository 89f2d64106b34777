/* MetricsQL: function calls, aggregates, argument and label lists, modifiers of binary operators,
 * composed strings. */
#include <stdio.h>

#include "base/num.h"
#include "query/promql/syntax/parser_priv.h"

static ks_err expected(const struct ksi_parser *p, const char *what)
{
    char q[KSI_QUOTE_MAX];
    return ksi_error(p, p->tok.start, "unexpected %s, expected %s",
                     p->tok.kind == KSI_TOK_EOF ? "end of input" : ksi_quote(q, ksi_text(p)), what);
}

ks_err ksi_mql_args(struct ksi_parser *p, struct ks_expr ***ret, size_t *ret_count)
{
    struct ksi_list items = {0};
    KS_TRY(ksi_enter(p));
    do {
        KS_TRY(ksi_advance(p));
        if (p->tok.kind == KSI_TOK_RPAREN)
            break;
        struct ks_expr *e;
        KS_TRY(ksi_mql_expr(p, &e));
        KS_TRY(ksi_push(p, &items, &e, sizeof e));
    } while (p->tok.kind == KSI_TOK_COMMA);
    if (p->tok.kind != KSI_TOK_RPAREN)
        return expected(p, "\",\" or \")\"");
    ksi_leave(p);
    *ret = items.items;
    *ret_count = items.count;
    return ksi_advance(p);
}

/* ---- label lists ---- */

static ks_err add_label(struct ksi_parser *p, struct ksi_list *labels, struct ks_slice name)
{
    const struct ks_slice *items = labels->items;
    for (size_t i = 0; i < labels->count; i++) {
        if (ks_slice_eq(items[i], name))
            return KS_OK;
    }
    return ksi_push(p, labels, &name, sizeof name);
}

static bool is_bare_name(const struct ks_expr *e)
{
    return e->kind == KS_EXPR_SELECTOR && e->selector.name.len && e->selector.or_count == 1 &&
           e->selector.or_lists[0].count == 1;
}

/* A template in a label list stands for the name or (names, …) it is defined as. */
static ks_err add_template_labels(struct ksi_parser *p, const struct ksi_template *t, uint32_t pos,
                                  struct ksi_list *labels)
{
    struct ks_expr *e;
    char q[KSI_QUOTE_MAX];
    KS_TRY(ksi_expand(p, t, NULL, 0, pos, p->tok.end, &e));
    struct ks_expr **items = e->kind == KS_EXPR_PARENS ? e->parens.items : &e;
    size_t count = e->kind == KS_EXPR_PARENS ? e->parens.count : 1;
    for (size_t i = 0; i < count; i++) {
        if (!is_bare_name(items[i]))
            return ksi_error(p, pos, "WITH template %s is not a list of names",
                             ksi_quote(q, t->name));
        KS_TRY(add_label(p, labels, items[i]->selector.name));
    }
    return KS_OK;
}

static ks_err label_item(struct ksi_parser *p, struct ksi_list *labels)
{
    struct ks_slice name;
    bool quoted = p->tok.kind == KSI_TOK_STRING;
    uint32_t pos = p->tok.start;
    if (!quoted && p->tok.kind != KSI_TOK_IDENT)
        return expected(p, "a label name");
    if (quoted)
        KS_TRY(ksi_unquote(p, ksi_text(p), pos, &name));
    else
        KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
    const struct ksi_template *t = quoted ? NULL : ksi_template_find(p, name);
    if (t && t->param_count == 0)
        KS_TRY(add_template_labels(p, t, pos, labels));
    else
        KS_TRY(add_label(p, labels, name));
    return ksi_advance(p);
}

ks_err ksi_mql_labels(struct ksi_parser *p, bool *ret_star, struct ks_slice **ret,
                      size_t *ret_count)
{
    struct ksi_list labels = {0};
    if (p->tok.kind != KSI_TOK_LPAREN)
        return expected(p, "\"(\"");
    KS_TRY(ksi_advance(p));
    if (ret_star && p->tok.kind == KSI_TOK_MUL) {
        *ret_star = true;
        KS_TRY(ksi_advance(p));
        if (p->tok.kind != KSI_TOK_RPAREN)
            return expected(p, "\")\"");
    }
    while (p->tok.kind != KSI_TOK_RPAREN) {
        KS_TRY(label_item(p, &labels));
        if (p->tok.kind == KSI_TOK_COMMA)
            KS_TRY(ksi_advance(p));
        else if (p->tok.kind != KSI_TOK_RPAREN)
            return expected(p, "\",\" or \")\"");
    }
    *ret = labels.items;
    *ret_count = labels.count;
    return ksi_advance(p);
}

/* ---- calls ---- */

static ks_err call_node(struct ksi_parser *p, enum ks_expr_kind kind, uint32_t start,
                        struct ks_expr **args, size_t count, struct ks_expr **ret)
{
    KS_TRY(ksi_node(p, kind, start, p->prev_end, ret));
    for (size_t i = 0; i < count; i++)
        KS_TRY(ksi_adopt(p, *ret, args[i]));
    return KS_OK;
}

ks_err ksi_mql_call(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_slice name;
    struct ks_expr **args, *e;
    size_t count;
    char q[KSI_QUOTE_MAX];
    uint32_t start = p->tok.start;
    KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_mql_args(p, &args, &count));
    bool keep = ksi_at_word(p, "keep_metric_names");
    uint32_t end = keep ? p->tok.end : p->prev_end;
    if (keep)
        KS_TRY(ksi_advance(p));
    const struct ksi_template *t = ksi_template_find(p, name);
    if (t)
        return ksi_expand(p, t, args, count, start, end, ret);
    const struct ks_promql_func *f = ks_promql_func_find(KS_METRICSQL, name);
    if (!p->dry) {
        if (!f || f->kind == KS_FUNC_AGGREGATE)
            return ksi_error(p, start, "unsupported function %s", ksi_quote(q, name));
        KS_TRY(ksi_check_arg_count(p, f, count, start));
    }
    KS_TRY(call_node(p, KS_EXPR_CALL, start, args, count, &e));
    e->call = (struct ks_expr_call){f, args, count, keep};
    *ret = e;
    return KS_OK;
}

static ks_err grouping(struct ksi_parser *p, struct ks_expr_aggregate *a)
{
    if (a->grouping != KS_GROUP_NONE || !(ksi_at_word(p, "by") || ksi_at_word(p, "without")))
        return KS_OK;
    a->grouping = ksi_at_word(p, "by") ? KS_GROUP_BY : KS_GROUP_WITHOUT;
    KS_TRY(ksi_advance(p));
    return ksi_mql_labels(p, NULL, &a->labels, &a->label_count);
}

static ks_err limit(struct ksi_parser *p, struct ks_expr_aggregate *a)
{
    uint64_t n;
    if (!ksi_at_word(p, "limit"))
        return KS_OK;
    KS_TRY(ksi_advance(p));
    if (p->tok.kind != KSI_TOK_NUMBER || !ks_u64_parse(ksi_text(p), &n) || n > UINT32_MAX)
        return expected(p, "the number of series behind \"limit\"");
    a->limit = (uint32_t)n;
    return ksi_advance(p);
}

ks_err ksi_mql_aggregate(struct ksi_parser *p, struct ks_expr **ret)
{
    struct ks_expr_aggregate a = {.func = ks_promql_func_find(KS_METRICSQL, ksi_text(p))};
    struct ks_slice name = ks_slice_str(a.func->name);
    struct ks_expr *e;
    uint32_t start = p->tok.start;
    KS_TRY(ksi_advance(p));
    KS_TRY(grouping(p, &a));
    if (p->tok.kind != KSI_TOK_LPAREN)
        return expected(p, "\"(\"");
    KS_TRY(ksi_mql_args(p, &a.args, &a.arg_count));
    KS_TRY(grouping(p, &a));
    KS_TRY(limit(p, &a));
    const struct ksi_template *t = ksi_template_find(p, name);
    if (t)
        return ksi_expand(p, t, a.args, a.arg_count, start, p->prev_end, ret);
    if (!p->dry)
        KS_TRY(ksi_check_arg_count(p, a.func, a.arg_count, start));
    KS_TRY(call_node(p, KS_EXPR_AGGREGATE, start, a.args, a.arg_count, &e));
    e->aggregate = a;
    *ret = e;
    return KS_OK;
}

/* ---- modifiers of binary operators ---- */

static ks_err fill_value(struct ksi_parser *p, double *ret)
{
    bool minus = p->tok.kind == KSI_TOK_SUB;
    if (minus)
        KS_TRY(ksi_advance(p));
    bool number = p->tok.kind == KSI_TOK_NUMBER || p->tok.kind == KSI_TOK_IDENT;
    if (!number || !ksi_number_parse(KS_METRICSQL, ksi_text(p), ret))
        return expected(p, "a number");
    if (minus)
        *ret = -*ret;
    return ksi_advance(p);
}

static ks_err fill(struct ksi_parser *p, struct ks_expr_binary *b, bool *ret_found)
{
    bool left = ksi_at_word(p, "fill_left"), right = ksi_at_word(p, "fill_right");
    bool both = ksi_at_word(p, "fill");
    struct ksi_token next;
    *ret_found = false;
    if (!left && !right && !both)
        return KS_OK;
    KS_TRY(ksi_peek(p, &next));
    if (next.kind != KSI_TOK_LPAREN)
        return KS_OK;
    if (b->op < KS_OP_EQ)
        return ksi_error(p, p->tok.start, "fill modifier cannot be applied to \"%s\"",
                         ks_binary_op_text[b->op]);
    double v;
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_advance(p));
    KS_TRY(fill_value(p, &v));
    if (p->tok.kind != KSI_TOK_RPAREN)
        return expected(p, "\")\"");
    if (left || both) {
        b->has_fill_left = true;
        b->fill_left = v;
    }
    if (right || both) {
        b->has_fill_right = true;
        b->fill_right = v;
    }
    *ret_found = true;
    return ksi_advance(p);
}

static ks_err join(struct ksi_parser *p, struct ks_expr_binary *b)
{
    bool left = ksi_at_word(p, "group_left");
    if (!left && !ksi_at_word(p, "group_right"))
        return KS_OK;
    if (ks_op_is_set(b->op))
        return ksi_error(p, p->tok.start, "modifier \"%s\" cannot be applied to \"%s\"",
                         left ? "group_left" : "group_right", ks_binary_op_text[b->op]);
    b->join = left ? KS_JOIN_GROUP_LEFT : KS_JOIN_GROUP_RIGHT;
    KS_TRY(ksi_advance(p));
    if (p->tok.kind == KSI_TOK_LPAREN)
        KS_TRY(ksi_mql_labels(p, &b->join_all_labels, &b->join_labels, &b->join_label_count));
    if (!ksi_at_word(p, "prefix"))
        return KS_OK;
    KS_TRY(ksi_advance(p));
    return ksi_mql_string(p, &b->join_prefix);
}

ks_err ksi_mql_binary_modifiers(struct ksi_parser *p, struct ks_expr_binary *b)
{
    if (ksi_at_word(p, "bool")) {
        if (!ks_op_is_comparison(b->op))
            return ksi_error(p, p->tok.start, "bool modifier cannot be applied to \"%s\"",
                             ks_binary_op_text[b->op]);
        b->return_bool = true;
        KS_TRY(ksi_advance(p));
    }
    if (ksi_at_word(p, "on") || ksi_at_word(p, "ignoring")) {
        b->matching = ksi_at_word(p, "on") ? KS_MATCHING_ON : KS_MATCHING_IGNORING;
        KS_TRY(ksi_advance(p));
        KS_TRY(ksi_mql_labels(p, NULL, &b->match_labels, &b->match_label_count));
        KS_TRY(join(p, b));
    }
    bool found;
    do
        KS_TRY(fill(p, b, &found));
    while (found);
    return KS_OK;
}

/* ---- "a" + template + "b" ---- */

static ks_err string_part(struct ksi_parser *p, struct ks_slice *ret)
{
    char q[KSI_QUOTE_MAX];
    struct ks_expr *e;
    uint32_t start = p->tok.start;
    if (p->tok.kind == KSI_TOK_STRING) {
        KS_TRY(ksi_unquote(p, ksi_text(p), start, ret));
        return ksi_advance(p);
    }
    if (p->tok.kind != KSI_TOK_IDENT)
        return expected(p, "a string");
    struct ks_slice name;
    KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
    const struct ksi_template *t = ksi_template_find(p, name);
    *ret = KS_SLICE_LIT("");
    if (!t && !p->dry)
        return ksi_error(p, start, "missing %s value inside a string expression",
                         ksi_quote(q, name));
    if (t) {
        KS_TRY(ksi_expand(p, t, NULL, 0, start, p->tok.end, &e));
        if (e->kind != KS_EXPR_STRING)
            return ksi_error(p, start, "WITH template %s must be a string", ksi_quote(q, name));
        *ret = e->string;
    }
    return ksi_advance(p);
}

/* Whether the + at the next token continues a string: behind it stands a string or the bare name of
 * a template. */
static ks_err continues_string(const struct ksi_parser *p, bool *ret)
{
    struct ksi_lexer copy = p->lx;
    struct ksi_token first, second;
    *ret = false;
    if (p->tok.kind != KSI_TOK_ADD)
        return KS_OK;
    KS_TRY(ksi_lex(&copy, &first));
    if (first.kind == KSI_TOK_IDENT) {
        KS_TRY(ksi_lex(&copy, &second));
        *ret = second.kind != KSI_TOK_LPAREN && second.kind != KSI_TOK_LBRACE;
    } else {
        *ret = first.kind == KSI_TOK_STRING;
    }
    return KS_OK;
}

ks_err ksi_mql_string(struct ksi_parser *p, struct ks_slice *ret)
{
    struct ksi_list parts = {0};
    size_t total = 0, n = 0;
    bool more;
    do {
        struct ks_slice part;
        KS_TRY(string_part(p, &part));
        KS_TRY(ksi_push(p, &parts, &part, sizeof part));
        total += part.len;
        KS_TRY(continues_string(p, &more));
        if (more)
            KS_TRY(ksi_advance(p));
    } while (more);
    const struct ks_slice *items = parts.items;
    if (parts.count == 1) {
        *ret = items[0];
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, total + 1);
    if (!out)
        return ks_arena_err(p->arena);
    for (size_t i = 0; i < parts.count; i++) {
        if (items[i].len)
            memcpy(out + n, items[i].ptr, items[i].len);
        n += items[i].len;
    }
    *ret = ks_slice(out, total);
    return KS_OK;
}
