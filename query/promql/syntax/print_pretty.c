/*
 * Syntax trees broken over lines: what fits stays on one line, the rest is split at its outermost
 * construct, as the two peers do it. Thread role: any.
 */
#include "query/promql/syntax/lexer.h"
#include "query/promql/syntax/print_priv.h"

/* A number claims more room than its digits take. */
enum { MQL_WIDTH = 80, STRICT_WIDTH = 100, NUMBER_ROOM = 512 };

static void indent(unsigned level, struct ks_buf *out)
{
    while (level--)
        ks_buf_str(out, "  ");
}

/* ---- MetricsQL ---- */

static void mql(const struct ks_expr *e, unsigned level, bool parens, struct ks_buf *out);

/* Appends e on one line when it fits the width; else leaves out as it was. */
static bool mql_one_line(const struct ks_expr *e, unsigned level, bool parens, struct ks_buf *out)
{
    struct ks_buf line;
    ks_buf_init(&line, MQL_WIDTH + NUMBER_ROOM);
    indent(level, &line);
    if (parens)
        ks_buf_byte(&line, '(');
    ksi_print_mql(e, &line);
    if (parens)
        ks_buf_byte(&line, ')');
    bool fits = line.err == KS_OK && line.len <= MQL_WIDTH;
    if (fits)
        ks_buf_slice(out, ks_buf_view(&line));
    ks_buf_done(&line);
    return fits;
}

static void mql_args(const char *name, struct ks_expr *const *args, size_t count, unsigned level,
                     struct ks_buf *out)
{
    indent(level, out);
    ks_buf_str(out, name);
    ks_buf_str(out, "(\n");
    for (size_t i = 0; i < count; i++) {
        mql(args[i], level + 1, false, out);
        ks_buf_str(out, i + 1 < count ? ",\n" : "\n");
    }
    indent(level, out);
    ks_buf_byte(out, ')');
}

static void mql_binary(const struct ks_expr_binary *b, unsigned level, struct ks_buf *out)
{
    if (b->keep_metric_names) {
        indent(level++, out);
        ks_buf_str(out, "(\n");
    }
    mql(b->lhs, level, ksi_mql_left_parens(b), out);
    ks_buf_byte(out, '\n');
    indent(level + 1, out);
    ksi_mql_binary_op(b, out);
    ks_buf_byte(out, '\n');
    mql(b->rhs, level, ksi_mql_right_parens(b), out);
    if (b->keep_metric_names) {
        ks_buf_byte(out, '\n');
        indent(level - 1, out);
        ks_buf_str(out, ") keep_metric_names");
    }
}

static void mql_filters(const struct ks_selector *s, size_t skip, unsigned level,
                        struct ks_buf *out)
{
    struct ks_buf line;
    ks_buf_init(&line, MQL_WIDTH + NUMBER_ROOM);
    indent(level, &line);
    ksi_mql_matchers(s, skip, &line);
    bool fits = line.err == KS_OK && line.len <= MQL_WIDTH;
    if (fits)
        ks_buf_slice(out, ks_buf_view(&line));
    ks_buf_done(&line);
    if (fits) {
        ks_buf_byte(out, '\n');
        return;
    }
    for (size_t i = skip; i < s->count; i++) {
        struct ks_selector one = {s->matchers + i, 1};
        indent(level, out);
        ksi_mql_matchers(&one, 0, out);
        ks_buf_str(out, i + 1 < s->count ? ",\n" : "\n");
    }
}

static void mql_selector(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    const struct ks_expr_selector *s = &e->selector;
    size_t skip = ksi_ident_is_plain(KS_METRICSQL, s->name);
    indent(level, out);
    if (skip)
        ks_buf_slice(out, s->name);
    ks_buf_str(out, "{\n");
    for (size_t i = 0; i < s->or_count; i++) {
        if (i) {
            indent(level + 2, out);
            ks_buf_str(out, "or\n");
        }
        mql_filters(&s->or_lists[i], s->or_lists[i].count > skip ? skip : 0, level + 1, out);
    }
    indent(level, out);
    ks_buf_byte(out, '}');
}

static void mql_split(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    switch (e->kind) {
    case KS_EXPR_BINARY:
        mql_binary(&e->binary, level, out);
        break;
    case KS_EXPR_ROLLUP:
        mql(e->rollup.expr, level, ksi_mql_rollup_parens(&e->rollup), out);
        ksi_mql_rollup_tail(&e->rollup, out);
        break;
    case KS_EXPR_AGGREGATE:
        mql_args(e->aggregate.func->name, e->aggregate.args, e->aggregate.arg_count, level, out);
        ksi_mql_aggregate_tail(&e->aggregate, out);
        break;
    case KS_EXPR_CALL:
        mql_args(e->call.func->name, e->call.args, e->call.arg_count, level, out);
        if (e->call.keep_metric_names)
            ks_buf_str(out, " keep_metric_names");
        break;
    case KS_EXPR_PARENS:
        mql_args("", e->parens.items, e->parens.count, level, out);
        break;
    case KS_EXPR_SELECTOR:
        mql_selector(e, level, out);
        break;
    default:
        indent(level, out);
        ksi_print_mql(e, out);
        break;
    }
}

static void mql(const struct ks_expr *e, unsigned level, bool parens, struct ks_buf *out)
{
    if (out->err || mql_one_line(e, level, parens, out))
        return;
    if (parens) {
        indent(level, out);
        ks_buf_str(out, "(\n");
    }
    mql_split(e, level + parens, out);
    if (parens) {
        ks_buf_byte(out, '\n');
        indent(level, out);
        ks_buf_byte(out, ')');
    }
}

/* ---- strict ---- */

static void strict(const struct ks_expr *e, unsigned level, struct ks_buf *out);

static bool strict_one_line(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    struct ks_buf line;
    ks_buf_init(&line, STRICT_WIDTH + NUMBER_ROOM);
    ksi_print_strict(e, &line);
    bool fits = line.err == KS_OK && line.len <= STRICT_WIDTH;
    if (fits) {
        indent(level, out);
        ks_buf_slice(out, ks_buf_view(&line));
    }
    ks_buf_done(&line);
    return fits;
}

static void strict_args(struct ks_expr *const *args, size_t count, unsigned level,
                        struct ks_buf *out)
{
    ks_buf_str(out, "(\n");
    for (size_t i = 0; i < count; i++) {
        strict(args[i], level + 1, out);
        ks_buf_str(out, i + 1 < count ? ",\n" : "\n");
    }
    indent(level, out);
    ks_buf_byte(out, ')');
}

/* A sign and the operand broken behind it: printed at its level, then moved over the indentation.
 */
static void strict_unary(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    indent(level, out);
    ks_buf_byte(out, e->unary.negative ? '-' : '+');
    size_t from = out->len;
    strict(e->unary.expr, level, out);
    size_t skip = 0;
    while (!out->err && from + skip < out->len && out->ptr[from + skip] == ' ')
        skip++;
    if (skip) {
        memmove(out->ptr + from, out->ptr + from + skip, out->len - from - skip);
        out->len -= skip;
    }
}

static void strict_split(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    switch (e->kind) {
    case KS_EXPR_BINARY:
        strict(e->binary.lhs, level + 1, out);
        ks_buf_byte(out, '\n');
        indent(level, out);
        ksi_strict_binary_op(e, out);
        ks_buf_byte(out, '\n');
        strict(e->binary.rhs, level + 1, out);
        break;
    case KS_EXPR_AGGREGATE:
        indent(level, out);
        ksi_strict_aggregate_head(&e->aggregate, out);
        strict_args(e->aggregate.args, e->aggregate.arg_count, level, out);
        break;
    case KS_EXPR_CALL:
        indent(level, out);
        ks_buf_str(out, e->call.func->name);
        strict_args(e->call.args, e->call.arg_count, level, out);
        break;
    case KS_EXPR_PARENS:
        indent(level, out);
        strict_args(e->parens.items, 1, level, out);
        break;
    case KS_EXPR_UNARY:
        strict_unary(e, level, out);
        break;
    case KS_EXPR_ROLLUP:
        strict(e->rollup.expr, level, out);
        ksi_strict_rollup_tail(&e->rollup, out);
        break;
    default: /* selectors and literals stay on one line */
        indent(level, out);
        ksi_print_strict(e, out);
        break;
    }
}

static void strict(const struct ks_expr *e, unsigned level, struct ks_buf *out)
{
    if (!out->err && !strict_one_line(e, level, out))
        strict_split(e, level, out);
}

void ks_promql_print_pretty(const struct ks_expr *expr, enum ks_dialect dialect, struct ks_buf *out)
{
    if (dialect == KS_METRICSQL)
        mql(expr, 0, false, out);
    else
        strict(expr, 0, out);
}
