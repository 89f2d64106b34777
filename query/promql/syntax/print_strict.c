/* Strict PromQL as one line of text, in the form Prometheus' format_query gives it. Thread role:
 * any. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "query/promql/syntax/lexer.h"
#include "query/promql/syntax/print_priv.h"

static void ident(struct ks_slice name, struct ks_buf *out)
{
    if (ksi_ident_is_plain(KS_PROMQL_STRICT, name))
        ks_buf_slice(out, name);
    else
        ksi_print_quoted(name, out);
}

static void labels(const struct ks_slice *names, size_t count, struct ks_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        ident(names[i], out);
    }
}

/* Units from years down; years and weeks only when nothing remains. */
static void duration_ms(double value, struct ks_buf *out)
{
    static const struct {
        char unit[3];
        uint64_t ms;
        bool exact;
    } units[] = {{"y", 31536000000, true}, {"w", 604800000, true}, {"d", 86400000, false},
                 {"h", 3600000, false},    {"m", 60000, false},    {"s", 1000, false},
                 {"ms", 1, false}};
    uint64_t ms = (uint64_t)fabs(value);
    if (value < 0)
        ks_buf_byte(out, '-');
    if (ms == 0)
        ks_buf_str(out, "0s");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t n = ms / units[i].ms;
        if (n == 0 || (units[i].exact && ms % units[i].ms))
            continue;
        ks_buf_u64_dec(out, n);
        ks_buf_str(out, units[i].unit);
        ms -= n * units[i].ms;
    }
}

static void fixed(double v, struct ks_buf *out)
{
    char text[KS_F64_TEXT_MAX];
    ks_buf_add(out, text, ks_f64_format_fixed(text, v));
}

static void number(const struct ks_expr_number *n, struct ks_buf *out)
{
    if (n->is_duration)
        duration_ms(n->value * 1000, out);
    else
        fixed(n->value, out);
}

static void duration(const struct ks_duration *d, struct ks_buf *out)
{
    if (d->expr)
        ksi_print_strict(d->expr, out);
    else
        duration_ms(d->ms, out);
}

/* ---- selectors ---- */

static void matcher(const struct ks_matcher *m, struct ks_buf *out)
{
    static const char *const ops[] = {
        [KS_MATCH_EQ] = "=", [KS_MATCH_NEQ] = "!=", [KS_MATCH_RE] = "=~", [KS_MATCH_NRE] = "!~"};
    ident(m->name, out);
    ks_buf_str(out, ops[m->op]);
    ksi_print_quoted(m->value, out);
}

static int compare_text(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

/* The matchers but the name's, sorted by their text. */
static void matchers(const struct ks_selector *s, size_t count, struct ks_buf *out)
{
    struct ks_buf text;
    ks_buf_init(&text, KS_BUF_UNLIMITED);
    struct ks_slice *items = ks_alloc_array(count, sizeof *items);
    for (size_t i = 0; items && i < count; i++) {
        size_t from = text.len;
        matcher(&s->matchers[i], &text);
        items[i] =
            ks_slice((const char *)from, text.len - from); /* an offset until text is final */
    }
    if (!items || text.err) {
        out->err = KS_ENOMEM;
    } else {
        for (size_t i = 0; i < count; i++)
            items[i].ptr = text.ptr + (size_t)items[i].ptr;
        qsort(items, count, sizeof *items, compare_text);
        for (size_t i = 0; i < count; i++) {
            ks_buf_byte(out, i ? ',' : '{');
            ks_buf_slice(out, items[i]);
        }
        ks_buf_byte(out, '}');
    }
    ks_free(items);
    ks_buf_done(&text);
}

static void selector(const struct ks_expr_selector *s, struct ks_buf *out)
{
    ks_buf_slice(out, s->name);
    const struct ks_selector *list = s->or_lists;
    size_t count = list->count - (s->name.len > 0);
    if (count)
        matchers(list, count, out);
    else if (!s->name.len)
        ks_buf_str(out, "{}");
}

void ksi_strict_rollup_tail(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    if (r->window.set) {
        ks_buf_byte(out, '[');
        duration(&r->window, out);
        if (ks_rollup_is_subquery(r))
            ks_buf_byte(out, ':');
        if (r->step.set)
            duration(&r->step, out);
        ks_buf_byte(out, ']');
    }
    if (r->anchored || r->smoothed)
        ks_buf_str(out, r->anchored ? " anchored" : " smoothed");
    if (r->at == KS_AT_EXPR)
        ks_buf_printf(out, " @ %.3f", round(r->at_expr->number.value * 1000) / 1000);
    else if (r->at != KS_AT_NONE)
        ks_buf_str(out, r->at == KS_AT_START ? " @ start()" : " @ end()");
    if (r->offset.set && (r->offset.expr || r->offset.ms != 0)) {
        ks_buf_str(out, " offset ");
        duration(&r->offset, out);
    }
}

/* ---- aggregates and operators ---- */

void ksi_strict_aggregate_head(const struct ks_expr_aggregate *a, struct ks_buf *out)
{
    ks_buf_str(out, a->func->name);
    bool without = a->grouping == KS_GROUP_WITHOUT;
    if (!without && a->label_count == 0)
        return;
    ks_buf_str(out, without ? " without (" : " by (");
    labels(a->labels, a->label_count, out);
    ks_buf_str(out, ") ");
}

static bool between_vectors(const struct ks_expr_binary *b)
{
    return b->lhs->type == KS_TYPE_VECTOR && b->rhs->type == KS_TYPE_VECTOR;
}

void ksi_strict_binary_op(const struct ks_expr *e, struct ks_buf *out)
{
    const struct ks_expr_binary *b = &e->binary;
    ks_buf_str(out, ks_binary_op_text[b->op]);
    if (b->return_bool)
        ks_buf_str(out, " bool");
    bool on = b->matching == KS_MATCHING_ON;
    if (!between_vectors(b) || (!on && b->match_label_count == 0))
        return;
    ks_buf_str(out, on ? " on (" : " ignoring (");
    labels(b->match_labels, b->match_label_count, out);
    ks_buf_byte(out, ')');
    if (b->join == KS_JOIN_NONE)
        return;
    ks_buf_str(out, b->join == KS_JOIN_GROUP_LEFT ? " group_left (" : " group_right (");
    labels(b->join_labels, b->join_label_count, out);
    ks_buf_byte(out, ')');
}

void ksi_print_strict(const struct ks_expr *e, struct ks_buf *out)
{
    if (out->err)
        return;
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
        ksi_print_strict(e->rollup.expr, out);
        ksi_strict_rollup_tail(&e->rollup, out);
        break;
    case KS_EXPR_CALL:
        ks_buf_str(out, e->call.func->name);
        ksi_print_list(e->call.args, e->call.arg_count, ksi_print_strict, out);
        break;
    case KS_EXPR_AGGREGATE:
        ksi_strict_aggregate_head(&e->aggregate, out);
        ksi_print_list(e->aggregate.args, e->aggregate.arg_count, ksi_print_strict, out);
        break;
    case KS_EXPR_BINARY:
        ksi_print_strict(e->binary.lhs, out);
        ks_buf_byte(out, ' ');
        ksi_strict_binary_op(e, out);
        ks_buf_byte(out, ' ');
        ksi_print_strict(e->binary.rhs, out);
        break;
    case KS_EXPR_UNARY:
        ks_buf_byte(out, e->unary.negative ? '-' : '+');
        ksi_print_strict(e->unary.expr, out);
        break;
    case KS_EXPR_PARENS:
        ksi_print_list(e->parens.items, e->parens.count, ksi_print_strict, out);
        break;
    }
}
