/*
 * The tree as JSON with the node types and (sorted) keys of Prometheus' parse_query. What only
 * MetricsQL has is shown by the nearest Prometheus node: unions as calls, windows on other
 * expressions as subqueries. Thread role: any.
 */
#include <math.h>

#include "base/num.h"
#include "query/promql/syntax/parser.h"
#include "query/promql/syntax/print.h"

static void node(const struct ks_expr *e, struct ks_buf *out);

static void string_list(const char *key, const struct ks_slice *items, size_t count,
                        struct ks_buf *out)
{
    ks_buf_printf(out, "\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_buf_json_str(out, items[i]);
    }
    ks_buf_byte(out, ']');
}

static void matcher_list(const struct ks_selector *s, struct ks_buf *out)
{
    static const char *const ops[] = {
        [KS_MATCH_EQ] = "=", [KS_MATCH_NEQ] = "!=", [KS_MATCH_RE] = "=~", [KS_MATCH_NRE] = "!~"};
    ks_buf_byte(out, '[');
    for (size_t i = 0; s && i < s->count; i++) {
        ks_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
        ks_buf_json_str(out, s->matchers[i].name);
        ks_buf_printf(out, ",\"type\":\"%s\",\"value\":", ops[s->matchers[i].op]);
        ks_buf_json_str(out, s->matchers[i].value);
        ks_buf_byte(out, '}');
    }
    ks_buf_byte(out, ']');
}

static int64_t duration_ms(const struct ks_duration *d)
{
    int64_t ms;
    return ks_duration_resolve(d, 0, false, &ms) == KS_OK ? ms : 0;
}

static void start_or_end(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    const char *text = !r                     ? "null"
                       : r->at == KS_AT_START ? "\"start\""
                       : r->at == KS_AT_END   ? "\"end\""
                                              : "null";
    ks_buf_printf(out, "\"startOrEnd\":%s", text);
}

static void timestamp(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    bool number = r && r->at == KS_AT_EXPR && r->at_expr->kind == KS_EXPR_NUMBER &&
                  fabs(r->at_expr->number.value) < 9e15;
    ks_buf_str(out, "\"timestamp\":");
    if (number)
        ks_buf_i64_dec(out, (int64_t)llround(r->at_expr->number.value * 1000));
    else
        ks_buf_str(out, "null");
}

/* r: the rollup around the selector, or NULL. */
static void selector(const struct ks_expr_selector *s, const struct ks_expr_rollup *r,
                     struct ks_buf *out)
{
    bool matrix = r && r->window.set;
    ks_buf_str(out, "{\"matchers\":");
    matcher_list(s->or_count ? s->or_lists : NULL, out);
    ks_buf_str(out, ",\"name\":");
    ks_buf_json_str(out, s->name);
    ks_buf_printf(out, ",\"offset\":%lld", (long long)(r ? duration_ms(&r->offset) : 0));
    if (s->or_count > 1) {
        ks_buf_str(out, ",\"orMatchers\":[");
        for (size_t i = 1; i < s->or_count; i++) {
            if (i > 1)
                ks_buf_byte(out, ',');
            matcher_list(&s->or_lists[i], out);
        }
        ks_buf_byte(out, ']');
    }
    if (matrix)
        ks_buf_printf(out, ",\"range\":%lld", (long long)duration_ms(&r->window));
    ks_buf_byte(out, ',');
    start_or_end(r, out);
    ks_buf_byte(out, ',');
    timestamp(r, out);
    ks_buf_printf(out, ",\"type\":\"%s\"}", matrix ? "matrixSelector" : "vectorSelector");
}

static void rollup(const struct ks_expr_rollup *r, struct ks_buf *out)
{
    if (r->expr->kind == KS_EXPR_SELECTOR && !ks_rollup_is_subquery(r)) {
        selector(&r->expr->selector, r, out);
        return;
    }
    ks_buf_str(out, "{\"expr\":");
    node(r->expr, out);
    ks_buf_printf(out, ",\"offset\":%lld,\"range\":%lld,", (long long)duration_ms(&r->offset),
                  (long long)duration_ms(&r->window));
    start_or_end(r, out);
    ks_buf_printf(out, ",\"step\":%lld,", (long long)duration_ms(&r->step));
    timestamp(r, out);
    ks_buf_str(out, ",\"type\":\"subquery\"}");
}

static void nodes(struct ks_expr *const *items, size_t count, struct ks_buf *out)
{
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        node(items[i], out);
    }
    ks_buf_byte(out, ']');
}

static const char *type_of_letter(char c)
{
    return c == 's' ? "scalar" : c == 't' ? "string" : c == 'm' ? "matrix" : "vector";
}

/* argTypes and variadic as Prometheus keeps them: the first optional type is listed, variadic
 * counts or is -1. */
static void signature(const struct ks_promql_func *f, struct ks_buf *out)
{
    int optional = 0;
    bool behind = false, any = false, first = true;
    ks_buf_str(out, "{\"argTypes\":[");
    for (const char *p = f->strict_args; *p; p++) {
        any |= *p == '*';
        behind |= *p == '?';
        if (*p == '*' || *p == '?')
            continue;
        if (behind && optional++)
            continue;
        ks_buf_printf(out, "%s\"%s\"", first ? "" : ",", type_of_letter(*p));
        first = false;
    }
    ks_buf_printf(out, "],\"name\":\"%s\",\"returnType\":\"%s\",\"variadic\":%d}", f->name,
                  type_of_letter(f->strict_ret), any ? -1 : optional);
}

static void call(const struct ks_expr_call *c, struct ks_buf *out)
{
    ks_buf_str(out, "{\"args\":");
    nodes(c->args, c->arg_count, out);
    ks_buf_str(out, ",\"func\":");
    signature(c->func, out);
    ks_buf_str(out, ",\"type\":\"call\"}");
}

static void aggregate(const struct ks_expr_aggregate *a, struct ks_buf *out)
{
    ks_buf_str(out, "{\"expr\":");
    node(a->args[a->arg_count - 1], out);
    ks_buf_byte(out, ',');
    string_list("grouping", a->labels, a->label_count, out);
    ks_buf_printf(out, ",\"op\":\"%s\",\"param\":", a->func->name);
    if (a->arg_count > 1)
        node(a->args[0], out);
    else
        ks_buf_str(out, "null");
    ks_buf_printf(out, ",\"type\":\"aggregation\",\"without\":%s}",
                  a->grouping == KS_GROUP_WITHOUT ? "true" : "false");
}

static bool is_scalar(const struct ks_expr *e)
{
    return e->type == KS_TYPE_SCALAR || e->kind == KS_EXPR_NUMBER;
}

static void matching(const struct ks_expr_binary *b, struct ks_buf *out)
{
    if (is_scalar(b->lhs) || is_scalar(b->rhs)) {
        ks_buf_str(out, "null");
        return;
    }
    const char *card = b->join == KS_JOIN_GROUP_LEFT    ? "many-to-one"
                       : b->join == KS_JOIN_GROUP_RIGHT ? "one-to-many"
                       : ks_op_is_set(b->op)            ? "many-to-many"
                                                        : "one-to-one";
    ks_buf_printf(out, "{\"card\":\"%s\",", card);
    string_list("include", b->join_labels, b->join_label_count, out);
    ks_buf_byte(out, ',');
    string_list("labels", b->match_labels, b->match_label_count, out);
    ks_buf_printf(out, ",\"on\":%s}", b->matching == KS_MATCHING_ON ? "true" : "false");
}

static void binary(const struct ks_expr_binary *b, struct ks_buf *out)
{
    ks_buf_printf(out, "{\"bool\":%s,\"lhs\":", b->return_bool ? "true" : "false");
    node(b->lhs, out);
    ks_buf_str(out, ",\"matching\":");
    matching(b, out);
    ks_buf_printf(out, ",\"op\":\"%s\",\"rhs\":", ks_binary_op_text[b->op]);
    node(b->rhs, out);
    ks_buf_str(out, ",\"type\":\"binaryExpr\"}");
}

static void parens(const struct ks_expr_parens *p, struct ks_buf *out)
{
    if (p->count != 1) {
        struct ks_expr_call c = {&ks_promql_funcs[KS_FN_UNION], p->items, p->count, false};
        call(&c, out);
        return;
    }
    ks_buf_str(out, "{\"expr\":");
    node(p->items[0], out);
    ks_buf_str(out, ",\"type\":\"parenExpr\"}");
}

static void number(const struct ks_expr_number *n, struct ks_buf *out)
{
    char text[KS_F64_TEXT_MAX];
    ks_buf_str(out, "{\"type\":\"numberLiteral\",\"val\":\"");
    ks_buf_add(out, text, ks_f64_format_fixed(text, n->value));
    ks_buf_str(out, "\"}");
}

static void node(const struct ks_expr *e, struct ks_buf *out)
{
    if (out->err)
        return;
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        number(&e->number, out);
        break;
    case KS_EXPR_STRING:
        ks_buf_str(out, "{\"type\":\"stringLiteral\",\"val\":");
        ks_buf_json_str(out, e->string);
        ks_buf_byte(out, '}');
        break;
    case KS_EXPR_SELECTOR:
        selector(&e->selector, NULL, out);
        break;
    case KS_EXPR_ROLLUP:
        rollup(&e->rollup, out);
        break;
    case KS_EXPR_CALL:
        call(&e->call, out);
        break;
    case KS_EXPR_AGGREGATE:
        aggregate(&e->aggregate, out);
        break;
    case KS_EXPR_BINARY:
        binary(&e->binary, out);
        break;
    case KS_EXPR_UNARY:
        ks_buf_str(out, "{\"expr\":");
        node(e->unary.expr, out);
        ks_buf_printf(out, ",\"op\":\"%s\",\"type\":\"unaryExpr\"}", e->unary.negative ? "-" : "+");
        break;
    case KS_EXPR_PARENS:
        parens(&e->parens, out);
        break;
    }
}

void ks_promql_print_json(const struct ks_expr *expr, struct ks_buf *out)
{
    node(expr, out);
}
