/* MetricsQL as one line of text, in the form VictoriaMetrics gives it. Thread role: any. */
#include "query/promql/syntax/print.h"

#include <math.h>
#include <stdio.h>
#include <utf8proc.h>

#include "base/num.h"
#include "query/promql/syntax/lexer_priv.h"
#include "query/promql/syntax/parser_priv.h"
#include "query/promql/syntax/print_priv.h"

void ksi_print_quoted(struct ks_slice s, struct ks_buf *out)
{
    static const char from[] = "\a\b\f\n\r\t\v\"\\", to[] = "abfnrtv\"\\";
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        const char *esc = c ? strchr(from, c) : NULL;
        int32_t r;
        size_t n = ksi_rune(ks_slice_from(s, i), &r);
        bool bad = r == 0xfffd && n == 1;
        if (esc)
            ks_buf_printf(out, "\\%c", to[esc - from]);
        else if (c < 0x20 || c == 0x7f || bad)
            ks_buf_printf(out, "\\x%02x", c);
        else if (!ksi_rune_is_print(r))
            ks_buf_printf(out, r < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)r);
        else
            ks_buf_slice(out, ks_slice_sub(s, i, n));
        i += n;
    }
    ks_buf_byte(out, '"');
}

void ksi_mql_ident(struct ks_slice name, struct ks_buf *out)
{
    if (ksi_ident_is_plain(KS_METRICSQL, name)) {
        ks_buf_slice(out, name);
        return;
    }
    for (size_t i = 0; i < name.len;) {
        int32_t r;
        struct ks_slice rest = ks_slice_from(name, i);
        size_t n = ksi_rune(rest, &r);
        bool letter = r == '_' || r == ':' || ksi_rune_is_letter(r);
        if (letter || (i > 0 && ((r >= '0' && r <= '9') || r == '.'))) {
            ks_buf_add(out, rest.ptr, n);
        } else if (ksi_rune_is_print(r)) {
            ks_buf_byte(out, '\\');
            ks_buf_add(out, rest.ptr, n);
        } else {
            ks_buf_printf(out, r < 256 ? "\\x%02x" : "\\u%04x", (unsigned)r & 0xffff);
        }
        i += n;
    }
}

/* A name that escapes can write; others (bad UTF-8, astral non-printing) need quotes. */
static bool can_escape(struct ks_slice name)
{
    for (size_t i = 0; i < name.len;) {
        int32_t r;
        i += ksi_rune(ks_slice_from(name, i), &r);
        if (r == 0xfffd || (r > 0xffff && !ksi_rune_is_print(r)))
            return false;
    }
    return name.len > 0;
}

static void label_name(struct ks_slice name, struct ks_buf *out)
{
    if (can_escape(name))
        ksi_mql_ident(name, out);
    else
        ksi_print_quoted(name, out);
}

static void number(const struct ks_expr_number *n, struct ks_buf *out)
{
    /* A sign in front is read back as an operator: +Inf as an unary plus, -0 as 0 - 0. */
    if (n->text.len)
        ks_buf_slice(out, n->text);
    else if (isinf(n->value) && n->value > 0)
        ks_buf_str(out, "Inf");
    else if (n->value == 0 && signbit(n->value))
        ks_buf_str(out, "(0 / -1)");
    else
        ks_buf_f64(out, n->value);
}

void ksi_print_list(struct ks_expr *const *items, size_t count,
                    void (*print)(const struct ks_expr *, struct ks_buf *), struct ks_buf *out)
{
    ks_buf_byte(out, '(');
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        print(items[i], out);
    }
    ks_buf_byte(out, ')');
}

static void labels(const char *op, const struct ks_slice *names, size_t count, struct ks_buf *out)
{
    ks_buf_printf(out, " %s(", op);
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        label_name(names[i], out);
    }
    ks_buf_byte(out, ')');
}

/* ---- selectors ---- */

void ksi_mql_matchers(const struct ks_selector *s, size_t skip, struct ks_buf *out)
{
    static const char *const ops[] = {
        [KS_MATCH_EQ] = "=", [KS_MATCH_NEQ] = "!=", [KS_MATCH_RE] = "=~", [KS_MATCH_NRE] = "!~"};
    for (size_t i = skip; i < s->count; i++) {
        if (i > skip)
            ks_buf_byte(out, ',');
        label_name(s->matchers[i].name, out);
        ks_buf_str(out, ops[s->matchers[i].op]);
        ksi_print_quoted(s->matchers[i].value, out);
    }
}

static void selector(const struct ks_expr_selector *s, struct ks_buf *out)
{
    size_t skip = s->name.len && can_escape(s->name);
    bool filters = s->or_count == 0 || !skip;
    if (skip)
        ksi_mql_ident(s->name, out);
    for (size_t i = 0; i < s->or_count; i++)
        filters |= s->or_lists[i].count > skip;
    if (!filters)
        return;
    ks_buf_byte(out, '{');
    for (size_t i = 0, shown = 0; i < s->or_count; i++) {
        /* foo{a="b" or …} cannot have an empty list in text; the name stands for it. */
        bool only_name = s->or_lists[i].count == skip;
        if (shown++)
            ks_buf_str(out, " or ");
        ksi_mql_matchers(&s->or_lists[i], only_name ? 0 : skip, out);
    }
    ks_buf_byte(out, '}');
}

/* ---- rollups ---- */

static void duration(const struct ks_duration *d, struct ks_buf *out)
{
    if (d->text.len) {
        ks_buf_slice(out, d->text);
        return;
    }
    /* Of a folded template: seconds, or steps, or both. */
    if (d->steps == 0) {
        ks_buf_f64(out, d->ms / 1000);
        return;
    }
    if (d->ms != 0)
        ks_buf_printf(out, "%.0fms", d->ms);
    ks_buf_f64(out, d->steps);
    ks_buf_byte(out, 'i');
}

bool ksi_mql_rollup_parens(const struct ks_expr_rollup *r)
{
    const struct ks_expr *e = r->expr;
    return e->kind == KS_EXPR_ROLLUP || e->kind == KS_EXPR_BINARY ||
           (e->kind == KS_EXPR_NUMBER && e->number.text.len == 0) ||
           (e->kind == KS_EXPR_AGGREGATE &&
            (e->aggregate.grouping != KS_GROUP_NONE || e->aggregate.limit));
}

void ksi_mql_rollup_tail(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    if (r->window.set || ks_rollup_is_subquery(r)) {
        ks_buf_byte(out, '[');
        if (r->window.set)
            duration(&r->window, out);
        if (ks_rollup_is_subquery(r))
            ks_buf_byte(out, ':');
        if (r->step.set)
            duration(&r->step, out);
        ks_buf_byte(out, ']');
    }
    if (r->offset.set) {
        ks_buf_str(out, " offset ");
        duration(&r->offset, out);
    }
    if (r->at == KS_AT_NONE)
        return;
    ks_buf_str(out, " @ ");
    if (r->at != KS_AT_EXPR) {
        ks_buf_str(out, r->at == KS_AT_START ? "start()" : "end()");
        return;
    }
    bool parens = r->at_expr->kind == KS_EXPR_BINARY || r->at_expr->kind == KS_EXPR_ROLLUP;
    if (parens)
        ks_buf_byte(out, '(');
    ksi_print_mql(r->at_expr, out);
    if (parens)
        ks_buf_byte(out, ')');
}

static void rollup(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    bool parens = ksi_mql_rollup_parens(r);
    if (parens)
        ks_buf_byte(out, '(');
    ksi_print_mql(r->expr, out);
    if (parens)
        ks_buf_byte(out, ')');
    ksi_mql_rollup_tail(r, out);
}

/* ---- aggregates and operators ---- */

void ksi_mql_aggregate_tail(const struct ks_expr_aggregate *a, struct ks_buf *out)
{
    if (a->grouping != KS_GROUP_NONE)
        labels(a->grouping == KS_GROUP_BY ? "by" : "without", a->labels, a->label_count, out);
    if (a->limit)
        ks_buf_printf(out, " limit %u", a->limit);
}

static bool operand_parens(const struct ks_expr *e)
{
    if (e->kind == KS_EXPR_BINARY)
        return true;
    return e->kind == KS_EXPR_ROLLUP &&
           (e->rollup.offset.set || e->rollup.at != KS_AT_NONE ||
            (e->rollup.expr->kind == KS_EXPR_BINARY && e->rollup.expr->binary.keep_metric_names));
}

/* Words that would be taken for a modifier behind the operator. */
static bool is_modifier_word(struct ks_slice s)
{
    static const char *const words[] = {"on",     "ignoring", "group_left", "group_right", "bool",
                                        "prefix", "fill",     "fill_left",  "fill_right"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (ksi_word_is(s, words[i]))
            return true;
    }
    return false;
}

/* -1.5 / x is read as 0 - (1.5 / x), so a folded -1.5 has to say that it is one number. */
bool ksi_mql_left_parens(const struct ks_expr_binary *b)
{
    const struct ks_expr *e = b->lhs;
    if (e->kind == KS_EXPR_NUMBER && signbit(e->number.value) && !isnan(e->number.value))
        return ksi_op_precedence(b->op) > ksi_op_precedence(KS_OP_SUB);
    return operand_parens(e);
}

/* A word or text behind "text" + is read as a part of it. */
static bool joins_text(const struct ks_expr_binary *b)
{
    enum ks_expr_kind kind = b->rhs->kind;
    return b->op == KS_OP_ADD && b->lhs->kind == KS_EXPR_STRING &&
           (kind == KS_EXPR_SELECTOR || kind == KS_EXPR_ROLLUP || kind == KS_EXPR_NUMBER ||
            kind == KS_EXPR_STRING);
}

bool ksi_mql_right_parens(const struct ks_expr_binary *b)
{
    const struct ks_expr *e = b->rhs;
    if (operand_parens(e) || joins_text(b))
        return true;
    if (e->kind == KS_EXPR_SELECTOR)
        return is_modifier_word(e->selector.name);
    return e->kind == KS_EXPR_CALL && (e->call.keep_metric_names || b->keep_metric_names);
}

static void fills(const struct ks_expr_binary *b, struct ks_buf *out)
{
    bool both = b->has_fill_left && b->has_fill_right && b->fill_left == b->fill_right;
    if (b->has_fill_left) {
        ks_buf_str(out, both ? " fill(" : " fill_left(");
        ks_buf_f64(out, b->fill_left);
        ks_buf_byte(out, ')');
    }
    if (b->has_fill_right && !both) {
        ks_buf_str(out, " fill_right(");
        ks_buf_f64(out, b->fill_right);
        ks_buf_byte(out, ')');
    }
}

void ksi_mql_binary_op(const struct ks_expr_binary *b, struct ks_buf *out)
{
    ks_buf_str(out, ks_binary_op_text[b->op]);
    if (b->return_bool)
        ks_buf_str(out, "bool");
    if (b->matching != KS_MATCHING_NONE)
        labels(b->matching == KS_MATCHING_ON ? "on" : "ignoring", b->match_labels,
               b->match_label_count, out);
    if (b->join != KS_JOIN_NONE) {
        const char *join = b->join == KS_JOIN_GROUP_LEFT ? "group_left" : "group_right";
        if (b->join_all_labels)
            ks_buf_printf(out, " %s(*)", join);
        else
            labels(join, b->join_labels, b->join_label_count, out);
        if (b->join_prefix.len) {
            ks_buf_str(out, " prefix ");
            ksi_print_quoted(b->join_prefix, out);
        }
    }
    fills(b, out);
}

static void operand(const struct ks_expr *e, bool parens, struct ks_buf *out)
{
    if (parens)
        ks_buf_byte(out, '(');
    ksi_print_mql(e, out);
    if (parens)
        ks_buf_byte(out, ')');
}

static void binary(const struct ks_expr_binary *b, struct ks_buf *out)
{
    if (b->keep_metric_names)
        ks_buf_byte(out, '(');
    operand(b->lhs, ksi_mql_left_parens(b), out);
    ks_buf_byte(out, ' ');
    ksi_mql_binary_op(b, out);
    ks_buf_byte(out, ' ');
    operand(b->rhs, ksi_mql_right_parens(b), out);
    if (b->keep_metric_names)
        ks_buf_str(out, ") keep_metric_names");
}

void ksi_print_mql(const struct ks_expr *e, struct ks_buf *out)
{
    if (out->err)
        return; /* full: do not walk the rest of a large tree */
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        number(&e->number, out);
        break;
    case KS_EXPR_STRING:
        ksi_print_quoted(e->string, out);
        break;
    case KS_EXPR_SELECTOR:
        selector(&e->selector, out);
        break;
    case KS_EXPR_ROLLUP:
        rollup(&e->rollup, out);
        break;
    case KS_EXPR_CALL:
        ks_buf_str(out, e->call.func->name);
        ksi_print_list(e->call.args, e->call.arg_count, ksi_print_mql, out);
        if (e->call.keep_metric_names)
            ks_buf_str(out, " keep_metric_names");
        break;
    case KS_EXPR_AGGREGATE:
        ks_buf_str(out, e->aggregate.func->name);
        ksi_print_list(e->aggregate.args, e->aggregate.arg_count, ksi_print_mql, out);
        ksi_mql_aggregate_tail(&e->aggregate, out);
        break;
    case KS_EXPR_BINARY:
        binary(&e->binary, out);
        break;
    case KS_EXPR_UNARY:
        ks_buf_byte(out, e->unary.negative ? '-' : '+');
        ksi_print_mql(e->unary.expr, out);
        break;
    case KS_EXPR_PARENS:
        ksi_print_list(e->parens.items, e->parens.count, ksi_print_mql, out);
        break;
    }
}

void ks_promql_print(const struct ks_expr *expr, enum ks_dialect dialect, struct ks_buf *out)
{
    if (dialect == KS_METRICSQL)
        ksi_print_mql(expr, out);
    else
        ksi_print_strict(expr, out);
}
