/* The parser of both dialects: shapes of trees, literals, templates, refusals, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "query/promql/syntax/parser.h"

static struct ks_arena arena;

static int setup(void **state)
{
    ks_arena_init(&arena, 64u << 20);
    return 0;
}

static int teardown(void **state)
{
    ks_arena_done(&arena);
    return 0;
}

static ks_err parse_in(enum ks_dialect dialect, const char *text, struct ks_expr **ret)
{
    struct ks_promql_parse_opts opts = {.dialect = dialect};
    return ks_promql_parse(ks_slice_str(text), &opts, &arena, ret);
}

static struct ks_expr *mql(const char *text)
{
    struct ks_expr *e = NULL;
    if (parse_in(KS_METRICSQL, text, &e) != KS_OK)
        fail_msg("%s: %s", text, ks_err_text());
    return e;
}

static struct ks_expr *strict(const char *text)
{
    struct ks_expr *e = NULL;
    if (parse_in(KS_PROMQL_STRICT, text, &e) != KS_OK)
        fail_msg("%s: %s", text, ks_err_text());
    return e;
}

static void refuse(enum ks_dialect dialect, const char *text, const char *why)
{
    struct ks_expr *e = NULL;
    if (parse_in(dialect, text, &e) == KS_OK)
        fail_msg("accepted: %s", text);
    if (why && !strstr(ks_err_text(), why))
        fail_msg("%s: got \"%s\", want \"%s\"", text, ks_err_text(), why);
}

/* ---- literals ---- */

static void test_mql_numbers(void **state)
{
    static const struct {
        const char *text;
        double want;
    } cases[] = {
        {"010", 8},
        {"0x1F", 31},
        {"0b101", 5},
        {"0o17", 15},
        {"1_000", 1000},
        {"1K", 1e3},
        {"1Ki", 1024},
        {"1.5Mi", 1572864},
        {"2MB", 2e6},
        {"1M", 1e6},
        {"3GiB", 3221225472.},
        {"1T", 1e12},
        {"1tib", 1099511627776.},
        {".5", 0.5},
        {"1.", 1},
        {"1e3", 1000},
        {"1E-3", 0.001},
        {"5m", 300},
        {"1h30m", 5400},
        {"1.5h", 5400},
        {"10ms", 0.01},
        {"2h-5m", 6900},
        {"Inf", INFINITY},
        {"iNf", INFINITY},
        {"1d", 86400},
        {"1w", 604800},
        {"1y", 31536000},
        {"0", 0},
        {"00", 0},
        {"5S", 5},
        {"1 + 2 * 3", 7},
        {"-3", -3},
        {"2^3^2", 512},
        {"-2^2", -4},
        {"7 % 4", 3},
        {"1 == bool 1", 1},
        {"3 > 2", 3},
        {"(1 + 2) * 3", 9},
        {"--3", 3},
        {"8 / -2 * 2", -8},
        {"NaN default 4", 4},
        {"1 if 2", 1},
        {"\"a\" < \"b\"", 1},
        {"+5", 5},
        {"0_7", 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ks_expr *e = mql(cases[i].text);
        assert_int_equal(e->kind, KS_EXPR_NUMBER);
        if (e->number.value != cases[i].want)
            fail_msg("%s: %g", cases[i].text, e->number.value);
    }
    assert_true(isnan(mql("nan")->number.value));
    assert_true(isnan(mql("1 > 2")->number.value));
    struct ks_expr *e = mql("1i");
    assert_true(e->number.steps == 1 && e->number.value == 0);
    assert_true(mql("$__interval")->number.steps == 1);
    static const char *const bad[] = {
        "08", "0x", "0b2", "1__0", "1e", "1e999", "5q", "1_", "0x1ffffffffffffffff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(KS_METRICSQL, bad[i], "parse error");
}

static void test_mql_windows(void **state)
{
    static const struct {
        const char *text;
        double window_ms, window_steps, step_ms, offset_ms;
        bool window, inherit;
    } cases[] = {
        {"m[5m]", 300e3, 0, 0, 0, true, false},
        {"m[1.5h]", 5400e3, 0, 0, 0, true, false},
        {"m[60]", 60e3, 0, 0, 0, true, false},
        {"m[1i]", 0, 1, 0, 0, true, false},
        {"m[5m3i]", 300e3, 3, 0, 0, true, false},
        {"m[$__interval]", 0, 0, 0, 0, false, false},
        {"m[$__rate_interval:]", 0, 0, 0, 0, false, true},
        {"m[1h:5m]", 3600e3, 0, 300e3, 0, true, false},
        {"m[1h:]", 3600e3, 0, 0, 0, true, true},
        {"m[:5m]", 0, 0, 300e3, 0, false, false},
        {"m[:]", 0, 0, 0, 0, false, true},
        {"m offset -1h30m", 0, 0, 0, -5400e3, false, false},
        {"m[5m] offset 1.5", 300e3, 0, 0, 1500, true, false},
        {"(a + b)[5m:1m] OFFSET 1d", 300e3, 0, 60e3, 86400e3, true, false},
        {"sum(a) by (b)[1d:5m]", 86400e3, 0, 300e3, 0, true, false},
        {"WITH (w = 5m, s = 30) m[w:s] offset w", 300e3, 0, 30e3, 300e3, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ks_expr *e = mql(cases[i].text);
        assert_int_equal(e->kind, KS_EXPR_ROLLUP);
        const struct ks_expr_rollup *r = &e->rollup;
        bool same = r->window.set == cases[i].window && r->window.ms == cases[i].window_ms &&
                    r->window.steps == cases[i].window_steps && r->step.ms == cases[i].step_ms &&
                    r->offset.ms == cases[i].offset_ms && r->inherit_step == cases[i].inherit;
        if (!same)
            fail_msg("%s: window %g steps %g step %g offset %g", cases[i].text, r->window.ms,
                     r->window.steps, r->step.ms, r->offset.ms);
    }
    refuse(KS_METRICSQL, "m[5M]", "1:3: parse error: cannot parse duration \"5M\"");
    refuse(KS_METRICSQL, "m[5m", "expected \"]\"");
    refuse(KS_METRICSQL, "m[-5m]", "expected a duration");
    refuse(KS_METRICSQL, "m[]", "expected a duration");
    refuse(KS_METRICSQL, "m[5m][1h]", "unparsed data left");
    refuse(KS_METRICSQL, "m offset", "expected a duration");
    refuse(KS_METRICSQL, "m @ 1 @ 2", "duplicate");
    int64_t ms;
    assert_int_equal(ks_duration_resolve(&mql("m[5m3i]")->rollup.window, 1000, true, &ms), KS_OK);
    assert_int_equal(ms, 303000);
    assert_int_equal(ks_duration_resolve(&mql("m[1m-2m]")->rollup.window, 1000, true, &ms),
                     KS_EEXEC);
}

static void test_mql_at(void **state)
{
    struct ks_expr *e = mql("foo @ end() offset 5m");
    assert_int_equal(e->rollup.at, KS_AT_END);
    e = mql("foo[5m] offset 5m @ (time() - 1h)");
    assert_int_equal(e->rollup.at, KS_AT_EXPR);
    assert_int_equal(e->rollup.at_expr->kind, KS_EXPR_BINARY);
    e = mql("foo @ -5 + 2");
    assert_int_equal(e->kind, KS_EXPR_BINARY);
    assert_true(e->binary.lhs->rollup.at_expr->number.value == -5);
}

/* ---- operators ---- */

static void test_mql_precedence(void **state)
{
    struct ks_expr *e = mql("a default b if c or d and e == f + g * h ^ i");
    assert_int_equal(e->binary.op, KS_OP_DEFAULT);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_IF);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_OR);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_AND);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_EQ);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_ADD);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_MUL);
    assert_int_equal((e = e->binary.rhs)->binary.op, KS_OP_POW);
    /* Left associative but for ^. */
    assert_int_equal(mql("a - b - c")->binary.lhs->binary.op, KS_OP_SUB);
    assert_int_equal(mql("a ^ b ^ c")->binary.rhs->binary.op, KS_OP_POW);
    /* -a is 0 - a and binds like minus. */
    e = mql("-a * b");
    assert_true(e->binary.op == KS_OP_SUB && e->binary.lhs->number.value == 0);
    assert_int_equal(e->binary.rhs->binary.op, KS_OP_MUL);
    e = mql("a / -b * c");
    assert_int_equal(e->binary.op, KS_OP_MUL);
    assert_int_equal(e->binary.lhs->binary.op, KS_OP_DIV);
}

static void test_mql_modifiers(void **state)
{
    struct ks_expr *e = mql("a / ON (x, y) Group_Left (z, \"q.r\",) prefix \"p_\" fill_left(-1) b");
    const struct ks_expr_binary *b = &e->binary;
    assert_int_equal(b->matching, KS_MATCHING_ON);
    assert_int_equal(b->match_label_count, 2);
    assert_int_equal(b->join, KS_JOIN_GROUP_LEFT);
    assert_int_equal(b->join_label_count, 2);
    assert_true(ks_slice_is(b->join_labels[1], "q.r") && ks_slice_is(b->join_prefix, "p_"));
    assert_true(b->has_fill_left && !b->has_fill_right && b->fill_left == -1);
    assert_true(mql("a * on() group_right(*) b")->binary.join_all_labels);
    e = mql("a + fill(0) b");
    assert_true(e->binary.has_fill_left && e->binary.has_fill_right);
    assert_true(mql("a > bool b")->binary.return_bool);
    e = mql("a + b keep_metric_names * c");
    assert_true(e->binary.keep_metric_names && !e->binary.rhs->binary.keep_metric_names);
    assert_true(mql("(a + b) keep_metric_names")->binary.keep_metric_names);
    assert_true(mql("rate(a) keep_metric_names")->call.keep_metric_names);
    refuse(KS_METRICSQL, "a + bool b", "bool modifier");
    refuse(KS_METRICSQL, "a and on() group_left() b", "cannot be applied");
    refuse(KS_METRICSQL, "a or fill(1) b", "fill modifier");
    refuse(KS_METRICSQL, "1-", "1:3: parse error: unexpected end of input");
    refuse(KS_METRICSQL, "a b", "unparsed data left: \"b\"");
}

static void test_mql_calls(void **state)
{
    struct ks_expr *e = mql("SUM(a, b,) BY (x) limit 3");
    assert_int_equal(e->kind, KS_EXPR_AGGREGATE);
    assert_true(e->aggregate.func->id == KS_FN_AGGR_SUM && e->aggregate.limit == 3);
    assert_true(e->aggregate.arg_count == 2 && e->aggregate.grouping == KS_GROUP_BY);
    assert_int_equal(mql("topk without (x) (3, a)")->aggregate.grouping, KS_GROUP_WITHOUT);
    assert_int_equal(mql("sum")->kind, KS_EXPR_SELECTOR);
    assert_int_equal(mql("Rate(x)")->call.func->id, KS_FN_RATE);
    assert_int_equal(mql("(a, b)")->parens.count, 2);
    assert_int_equal(mql("()")->parens.count, 0);
    assert_int_equal(mql("union(a, b)")->call.func->id, KS_FN_UNION);
    assert_int_equal(mql("((a))")->kind, KS_EXPR_SELECTOR);
    refuse(KS_METRICSQL, "nonexisting(1)", "unsupported function \"nonexisting\"");
    refuse(KS_METRICSQL, "rate(a, b)", "unexpected number of args to rate()");
    refuse(KS_METRICSQL, "sum foo () (bar)", NULL);
    refuse(KS_METRICSQL, "sum(foo) by (1)", "expected a label name");
    refuse(KS_METRICSQL, "label_set(a, \"x\")", "even");
    refuse(KS_METRICSQL, "info(a)", "unsupported function");
}

/* ---- selectors ---- */

static void check_matcher(const struct ks_matcher *m, const char *name, enum ks_match_op op,
                          const char *value)
{
    assert_true(ks_slice_is(m->name, name));
    assert_true(ks_slice_is(m->value, value));
    assert_int_equal(m->op, op);
}

static void test_mql_selector_forms(void **state)
{
    struct ks_expr *e = mql("foo\\-bar{a=\"1\", b!='x\\n\"' or c=~\"a.*\",d!~`\\d`,}");
    assert_true(ks_slice_is(e->selector.name, "foo-bar"));
    assert_int_equal(e->selector.or_count, 2);
    const struct ks_selector *l = e->selector.or_lists;
    assert_int_equal(l[0].count, 3);
    check_matcher(&l[0].matchers[0], "__name__", KS_MATCH_EQ, "foo-bar");
    check_matcher(&l[0].matchers[1], "a", KS_MATCH_EQ, "1");
    check_matcher(&l[0].matchers[2], "b", KS_MATCH_NEQ, "x\n\"");
    check_matcher(&l[1].matchers[0], "__name__", KS_MATCH_EQ, "foo-bar");
    check_matcher(&l[1].matchers[2], "d", KS_MATCH_NRE, "\\d");
    e = mql("{\"metric.name\", \"lbl.x\"=\"v\"}");
    assert_true(ks_slice_is(e->selector.name, "metric.name"));
    check_matcher(&e->selector.or_lists[0].matchers[1], "lbl.x", KS_MATCH_EQ, "v");
    e = mql("{__name__=\"foo\", a=\"b\" or c=\"d\"}");
    assert_true(ks_slice_is(e->selector.name, "foo"));
    check_matcher(&e->selector.or_lists[1].matchers[0], "__name__", KS_MATCH_EQ, "foo");
    e = mql("{a=\"x\", __name__=\"foo\" or __name__=\"bar\"}");
    assert_int_equal(e->selector.name.len, 0);
    check_matcher(&e->selector.or_lists[0].matchers[0], "__name__", KS_MATCH_EQ, "foo");
    assert_int_equal(mql("{}")->selector.or_count, 0);
    assert_int_equal(mql("foo{}")->selector.or_lists[0].count, 1);
    assert_int_equal(mql("{a=\"\"}")->selector.or_lists[0].count, 1);
    assert_int_equal(mql("{a=\"b\",a=\"b\"}")->selector.or_lists[0].count, 1);
    assert_true(ks_slice_is(mql("héllo.wörld:x")->selector.name, "héllo.wörld:x"));
    refuse(KS_METRICSQL, "foo{a=\"b\"", "expected \",\", \"or\" or \"}\"");
    refuse(KS_METRICSQL, "foo{__name__=\"bar\"}", "metric name must not be set twice");
    refuse(KS_METRICSQL, "foo{a=~\"(\"}", "1:5: parse error: error parsing regexp");
    refuse(KS_METRICSQL, "foo{a=b}", "missing \"b\" value");
    refuse(KS_METRICSQL, "foo{a}", "cannot find WITH template");
    refuse(KS_METRICSQL, "foo{a=\"b}", "closing quote");
    refuse(KS_METRICSQL, "foo{a=\"\\q\"}", "error unquoting string");
    refuse(KS_METRICSQL, "{a=\"b\" or}", "expected a label name");
}

/* ---- templates ---- */

/* Two texts that must give trees of the same shape. */
static bool same(const struct ks_expr *a, const struct ks_expr *b)
{
    if (a->kind != b->kind || a->size != b->size)
        return false;
    switch (a->kind) {
    case KS_EXPR_NUMBER:
        return a->number.value == b->number.value && a->number.steps == b->number.steps;
    case KS_EXPR_STRING:
        return ks_slice_eq(a->string, b->string);
    case KS_EXPR_SELECTOR:
        if (a->selector.or_count != b->selector.or_count ||
            !ks_slice_eq(a->selector.name, b->selector.name))
            return false;
        for (size_t i = 0; i < a->selector.or_count; i++) {
            const struct ks_selector *x = &a->selector.or_lists[i], *y = &b->selector.or_lists[i];
            if (x->count != y->count)
                return false;
            for (size_t k = 0; k < x->count; k++) {
                if (!ks_slice_eq(x->matchers[k].name, y->matchers[k].name) ||
                    !ks_slice_eq(x->matchers[k].value, y->matchers[k].value) ||
                    x->matchers[k].op != y->matchers[k].op)
                    return false;
            }
        }
        return true;
    case KS_EXPR_ROLLUP:
        return same(a->rollup.expr, b->rollup.expr) && a->rollup.window.ms == b->rollup.window.ms &&
               a->rollup.offset.ms == b->rollup.offset.ms && a->rollup.at == b->rollup.at;
    case KS_EXPR_CALL:
        if (a->call.func != b->call.func || a->call.arg_count != b->call.arg_count)
            return false;
        for (size_t i = 0; i < a->call.arg_count; i++)
            if (!same(a->call.args[i], b->call.args[i]))
                return false;
        return true;
    case KS_EXPR_AGGREGATE:
        if (a->aggregate.func != b->aggregate.func ||
            a->aggregate.label_count != b->aggregate.label_count)
            return false;
        for (size_t i = 0; i < a->aggregate.label_count; i++)
            if (!ks_slice_eq(a->aggregate.labels[i], b->aggregate.labels[i]))
                return false;
        return same(a->aggregate.args[0], b->aggregate.args[0]);
    case KS_EXPR_BINARY:
        return a->binary.op == b->binary.op && same(a->binary.lhs, b->binary.lhs) &&
               same(a->binary.rhs, b->binary.rhs);
    default:
        return true;
    }
}

static void test_mql_with(void **state)
{
    static const char *const pairs[][2] = {
        {"WITH (x = foo{a=\"b\"}) x + x", "foo{a=\"b\"} + foo{a=\"b\"}"},
        {"with (f(x) = x + 1,) f(a) * f(b)", "(a + 1) * (b + 1)"},
        {"WITH (a = b, c = a + 1) c", "b + 1"},
        {"WITH (c = {job=\"x\"}) foo{c, a=\"y\"}", "foo{job=\"x\", a=\"y\"}"},
        {"WITH (c = {job=\"x\"}) foo{a=\"y\", c}", "foo{a=\"y\", job=\"x\"}"},
        {"WITH (m = foo{a=\"b\"}) m{c=\"d\"}", "foo{a=\"b\", c=\"d\"}"},
        {"WITH (m = foo{a=\"b\"}[5m]) rate(m{c=\"d\"})", "rate(foo{a=\"b\", c=\"d\"}[5m])"},
        {"WITH (m = {a=\"b\" or c=\"d\"}) m{e=\"f\"}", "{a=\"b\",e=\"f\" or c=\"d\",e=\"f\"}"},
        {"WITH (m = {a=\"b\"}) m{e=\"f\" or g=\"h\"}", "{a=\"b\",e=\"f\" or a=\"b\",g=\"h\"}"},
        {"WITH (by_ = (a, b)) sum(x) by (by_, c)", "sum(x) by (a, b, c)"},
        {"WITH (l = job) sum(x) by (l)", "sum(x) by (job)"},
        {"WITH (s = \"x\" + \"y\") foo{a = s + \"z\"}", "foo{a=\"xyz\"}"},
        {"WITH (f(q) = WITH (g(z) = z * q) g(2)) f(m)", "2 * m"},
        {"WITH (x = 5) WITH (x = 6) x", "6"},
        {"(WITH (x = 5) x) + x", "5 + x"},
        {"WITH (w = 1h) sum_over_time(m[w] offset w)", "sum_over_time(m[1h] offset 1h)"},
        {"WITH (f(a, b) = a) f(x, y)", "x"},
        {"WITH (sum = foo) sum", "foo"},
        {"WITH (rate(x) = x) rate(y)", "y"},
        {"WITH (f(x) = x) f", "f"},
        {"WITH (x = a[5m]) x", "a[5m]"},
        {"# comment\nWITH (\n x = a # another\n, ) x", "a"},
        {"WITH (unused = nofunc(1, {zzz})) 1", "1"},
        {"ru(a, b)", "clamp_min(b - clamp_min(a, 0), 0) / clamp_min(b, 0) * 100"},
        {"range_median(a)", "range_quantile(0.5, a)"},
        {"alias(a, \"x\")", "label_set(a, \"__name__\", \"x\")"},
        {"WITH (alias(x) = x) alias(a)", "a"},
        {"\"a\" + \"b\"", "\"ab\""},
        {"WITH (t(i) = m{a=i}) t(\"1\") or t(\"2\")", "m{a=\"1\"} or m{a=\"2\"}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (!same(mql(pairs[i][0]), mql(pairs[i][1])))
            fail_msg("differ: %s and %s", pairs[i][0], pairs[i][1]);
    }
    assert_int_equal(mql("ttf(a)")->call.func->id, KS_FN_SMOOTH_EXPONENTIAL);
    refuse(KS_METRICSQL, "WITH (x = 1, x = 2) x", "duplicate WITH template");
    refuse(KS_METRICSQL, "WITH (f(a, a) = 1) f(1, 2)", "duplicate parameter");
    refuse(KS_METRICSQL, "WITH (f(a) = a) f(1, 2)",
           "invalid number of args for \"f\"; got 2; want 1");
    refuse(KS_METRICSQL, "WITH (x = ) x", "expected an expression");
    refuse(KS_METRICSQL, "WITH (x = 1 x", "expected \",\" or \")\"");
    refuse(KS_METRICSQL, "WITH (x = x2) foo{a=x}", "must be a string");
    refuse(KS_METRICSQL, "WITH (m = {a=\"b\" or c=\"d\"}) m{e=\"f\" or g=\"h\"}", "\"or\"");
    refuse(KS_METRICSQL, "WITH (x = sum(a)) x{b=\"c\"}", "filters cannot be added");
    refuse(KS_METRICSQL, "ru(1)", "invalid number of args");
    refuse(KS_METRICSQL, "WITH (x = 1+) x", NULL);
}

/* Positions: of the text, and of the use for templates. */
static void test_positions(void **state)
{
    struct ks_expr *e = mql("foo +\n rate(bar[5m])");
    assert_int_equal(e->start, 0);
    assert_int_equal(e->end, 20);
    assert_int_equal(e->binary.rhs->start, 7);
    assert_int_equal(e->binary.rhs->call.args[0]->start, 12);
    e = mql("WITH (f(x) = x + 1) f(y)");
    assert_int_equal(e->start, 20);
    e = mql("alias(a, \"b\")");
    assert_int_equal(e->start, 0);
    assert_int_equal(e->end, 13);
    refuse(KS_METRICSQL, "foo +\n bar(1)", "2:2: parse error: unsupported function");
}

/* ---- limits ---- */

static char *repeat(const char *a, const char *mid, const char *b, size_t n)
{
    size_t la = strlen(a), lb = strlen(b), lm = strlen(mid);
    char *s = ks_alloc(n * (la + lb) + lm + 1), *p = s;
    for (size_t i = 0; i < n; i++, p += la)
        memcpy(p, a, la);
    memcpy(p, mid, lm);
    p += lm;
    for (size_t i = 0; i < n; i++, p += lb)
        memcpy(p, b, lb);
    *p = 0;
    return s;
}

static void test_nesting_limits(void **state)
{
    static const char *const shapes[][3] = {
        {"(", "a", ")"},     {"-", "a", ""},     {"a^", "a", ""},    {"sum(", "a", ")"},
        {"a+", "a", ""},     {"abs(", "a", ")"}, {"a or ", "a", ""}, {"+", "a", ""},
        {"a @ (", "1", ")"}, {"(a+", "a", ")"},  {"(", "", ""},      {"a^-", "a", ""},
    };
    struct ks_promql_parse_opts opts = {.max_len = 4u << 20, .max_nodes = 10u << 20};
    for (int d = 0; d < 2; d++) {
        opts.dialect = d ? KS_PROMQL_STRICT : KS_METRICSQL;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            char *s = repeat(shapes[i][0], shapes[i][1], shapes[i][2], 100000);
            struct ks_expr *e;
            assert_int_not_equal(ks_promql_parse(ks_slice_str(s), &opts, &arena, &e), KS_OK);
            ks_arena_reset(&arena);
            ks_free(s);
        }
    }
    char *s = repeat("a or ", "a", "", 300);
    mql(s);
    ks_free(s);
    s = repeat("(", "a", ")", 60);
    mql(s);
    strict(s);
    ks_free(s);
}

static void test_size_limits(void **state)
{
    char *s = repeat("a", "", "", 17000);
    struct ks_expr *e;
    assert_int_equal(parse_in(KS_METRICSQL, s, &e), KS_ETOOBIG);
    ks_free(s);
    /* Each template doubles the one before: refused, and quickly. */
    char text[4096] = "WITH (f0(x) = x + x";
    for (int i = 1; i < 60; i++) {
        char part[64];
        snprintf(part, sizeof part, ", f%d(x) = f%d(x) + f%d(x)", i, i - 1, i - 1);
        strcat(text, part);
    }
    strcat(text, ") f59(a)");
    assert_int_equal(parse_in(KS_METRICSQL, text, &e), KS_ELIMIT);
    strcpy(text, "WITH (x0 = a + a");
    for (int i = 1; i < 60; i++) {
        char part[64];
        snprintf(part, sizeof part, ", x%d = x%d + x%d", i, i - 1, i - 1);
        strcat(text, part);
    }
    strcat(text, ") x59");
    assert_int_equal(parse_in(KS_METRICSQL, text, &e), KS_ELIMIT);
    struct ks_promql_parse_opts opts = {.max_nodes = 3};
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("a+b+c+d"), &opts, &arena, &e), KS_ELIMIT);
    struct ks_arena small;
    ks_arena_init(&small, 64);
    struct ks_promql_parse_opts plain = {0};
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("a+b+c+d"), &plain, &small, &e), KS_ELIMIT);
    ks_arena_done(&small);
}

static void test_implicit_conversion(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"rate(a)", true},
        {"rate(sum(a))", false},
        {"rate(abs(a))", false},
        {"rate(a + b)", false},
        {"rate(sum(a)[5m:])", true},
        {"rate(a[5m])", true},
        {"timestamp(sum(a))", true},
        {"quantile_over_time(0.5, sum(a))", false},
        {"sum(rate(a > 10))", false},
        {"rate(sum(a)[:1m])", false},
        {"rate(sum(a) offset 5m)", false},
        {"1 + rate((a))", true},
    };
    struct ks_promql_parse_opts opts = {.disable_implicit_conversion = true};
    struct ks_expr *e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ks_err err = ks_promql_parse(ks_slice_str(cases[i].text), &opts, &arena, &e);
        if ((err == KS_OK) != cases[i].ok)
            fail_msg("%s", cases[i].text);
    }
}

/* ---- strict ---- */

static void test_strict_accepts(void **state)
{
    static const char *const good[] = {
        "1",
        "-1",
        "+1",
        "0x1F",
        "010",
        "1e3",
        "1_000",
        ".5",
        "5m",
        "1y2w3d4h5m6s7ms",
        "Inf",
        "\"s\"",
        "foo",
        "foo{a=\"b\",}",
        "{a=~\".+\"}",
        "{\"foo.bar\",a=\"b\"}",
        "foo:bar",
        ":x",
        "sum",
        "by",
        "offset",
        "foo offset 5m",
        "foo offset -5m",
        "foo offset 10",
        "foo[5m] offset 1h @ 5",
        "foo @ start()",
        "foo[5m] @ end() offset 5m",
        "max_over_time(foo[5m:1m] @ -5.5)",
        "sum by (a, \"b.c\") (x)",
        "sum without () (x)",
        "topk(3, x)",
        "count_values(\"a\", x)",
        "a + on (x) group_left (y) b",
        "a and b",
        "a unless ignoring (x) b",
        "1 > bool 2",
        "a ^ -b",
        "-a ^ b",
        "rate(a[5m])",
        "label_join(a, \"x\", \",\")",
        "round(a)",
        "round(a, 5)",
        "hour()",
        "histogram_quantile(0.9, a)",
        "(((a)))",
        "a atan2 b",
        "foo and and",
        "SUM(x) BY (y)",
        "rate(foo[5m])[1h:] offset 1m",
        "-max_over_time(foo[5m:])",
        "time()",
        "scalar(a) < bool 1",
        "a == 1",
        "# comment\nfoo # x",
        "{bool=\"x\",on=\"y\"}",
        "sum by (on, bool, offset) (x)",
        "foo{a='b'}",
        "`raw\\n`",
        "absent(x{a=\"\"})",
        "1 + 2 - 3 * 4 / 5 % 6 ^ 7",
        "foo[60]",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        strict(good[i]);
    assert_int_equal(strict("-a * b")->binary.op, KS_OP_MUL);
    assert_int_equal(strict("-a ^ b")->kind, KS_EXPR_UNARY);
    assert_int_equal(strict("rate(a[5m])")->type, KS_TYPE_VECTOR);
    assert_int_equal(strict("a[5m]")->type, KS_TYPE_MATRIX);
    assert_int_equal(strict("1 + 2")->type, KS_TYPE_SCALAR);
    struct ks_expr *e = strict("foo{a=\"b\"} @ 5 offset 1m");
    assert_int_equal(e->kind, KS_EXPR_ROLLUP);
    assert_int_equal(e->end, 24);
    check_matcher(&e->rollup.expr->selector.or_lists[0].matchers[1], "__name__", KS_MATCH_EQ,
                  "foo");
}

static void test_strict_refuses(void **state)
{
    static const char *const bad[][2] = {
        {"", "1:1: parse error: no expression found in input"},
        {"foo{", "1:5: parse error: unexpected end of input inside braces"},
        {"(foo", "1:5: parse error: unclosed left parenthesis"},
        {"foo)", "1:4: parse error: unexpected right parenthesis ')'"},
        {"1+", "1:3: parse error: unexpected end of input"},
        {"*1", "1:1: parse error: unexpected <op:*>"},
        {"1 1", "1:3: parse error: unexpected number \"1\""},
        {"foo bar", "1:5: parse error: unexpected identifier \"bar\""},
        {"foo or", "unexpected end of input"},
        {"foo default 1", "unexpected identifier \"default\""},
        {"{a=\"b\" or c=\"d\"}", "unexpected <op:or> in label matching, expected \",\" or \"}\""},
        {"nofunc(1)", "1:1: parse error: unknown function with name \"nofunc\""},
        {"Rate(a[5m])", "unknown function with name \"Rate\""},
        {"mad_over_time(a[5m])", "function \"mad_over_time\" is not enabled"},
        {"limitk(1, a)", "limitk() is experimental and must be enabled"},
        {"rate(a)", "expected type range vector in call to function \"rate\", got instant vector"},
        {"rate(a[5m], 1)", "expected 1 argument(s) in call to \"rate\", got 2"},
        {"sum()", "no arguments for aggregate expression provided"},
        {"topk(a)",
         "wrong number of arguments for aggregate expression provided, expected 2, got 1"},
        {"sum(a,)", "trailing commas not allowed in function call args"},
        {"topk(a, b)", "expected type scalar in aggregation parameter, got instant vector"},
        {"1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"},
        {"1 + bool 2", "bool modifier can only be used on comparison operators"},
        {"1 and 1", "set operator \"and\" not allowed in binary scalar expression"},
        {"a and on(x) group_left b", "no grouping allowed for \"and\" operation"},
        {"a + on(x) group_left(x) b", "label \"x\" must not occur in ON and GROUP clause at once"},
        {"a + on(x) 1", "vector matching only allowed between instant vectors"},
        {"a[5m] + 1", "binary expression must contain only scalar and instant vector types"},
        {"{}", "vector selector must contain at least one non-empty matcher"},
        {"{a=\"\"}", "at least one non-empty matcher"},
        {"{a=~\".*\"}", "at least one non-empty matcher"},
        {"foo{__name__=\"bar\"}", "metric name must not be set twice: \"foo\" or \"bar\""},
        {"foo[5m][5m]", "ranges only allowed for vector selectors"},
        {"foo offset 1m[5m]", "no offset modifiers allowed before range"},
        {"foo @ 1[5m]", "no @ modifiers allowed before range"},
        {"foo[0]", "duration must be greater than 0"},
        {"foo[5m*2]", "experimental duration expression is not enabled"},
        {"foo[5M]", "bad number or duration syntax: \"5\""},
        {"foo[1i]", "bad number or duration syntax"},
        {"foo[5m:]  offset 1m offset 2m", "offset may not be set multiple times"},
        {"(a + b) offset 5m", "offset modifier must be preceded by"},
        {"foo @ 1 @ 2", "@ <timestamp> may not be set multiple times"},
        {"foo @ x", "unexpected identifier \"x\" in @, expected timestamp"},
        {"foo offset x", "in offset, expected number or duration"},
        {"a[5m:1m", "unexpected end of input in duration expression"},
        {"\"abc", "unterminated quoted string"},
        {"\"\\q\"", "unknown escape sequence U+0071 'q'"},
        {"sum by x (a)", "unexpected identifier \"x\" in grouping opts, expected \"(\""},
        {"foo =~ 1", "unexpected character after '=': '~'"},
        {"foo $ 1", "unexpected character: '$'"},
        {"1h1h", "not a valid duration string: \"1h1h\""},
        {"(a, b)", "unexpected \",\""},
        {"-\"s\"", "unary expression only allowed on expressions of type scalar or instant vector"},
        {"sum(1)", "expected type instant vector in aggregation expression, got scalar"},
        {"foo{a=\"b\"}[1h:5m:1m]", "unexpected repeated colon in duration expression"},
        {"foo{a=~\"[\"}", "error parsing regexp"},
        {"foo}", "1:4: parse error: unexpected character: '}'"},
        {"1e999", "value out of range"},
        {"foo @ -Inf", "timestamp out of bounds for @ modifier: -Inf"},
        {"a[5m] anchored", "unexpected identifier \"anchored\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(KS_PROMQL_STRICT, bad[i][0], bad[i][1]);
}

static void test_strict_experimental(void **state)
{
    static const struct {
        const char *text;
        int64_t want_ms;
    } cases[] = {
        {"foo[5m * 2]", 600000},     {"foo[-5m+35m]", 1800000}, {"foo[1h30m % 1h]", 1800000},
        {"foo[2m*(10+5)]", 1800000}, {"foo[2 ^ 3 ^ 0]", 2000},  {"foo[(5m)]", 300000},
    };
    struct ks_promql_parse_opts opts = {.dialect = KS_PROMQL_STRICT,
                                        .experimental_functions = true,
                                        .duration_expressions = true,
                                        .extended_range_selectors = true};
    struct ks_expr *e;
    int64_t ms;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ks_promql_parse(ks_slice_str(cases[i].text), &opts, &arena, &e), KS_OK);
        assert_int_equal(ks_duration_resolve(&e->rollup.window, 15000, true, &ms), KS_OK);
        assert_int_equal(ms, cases[i].want_ms);
    }
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("foo offset -2^2"), &opts, &arena, &e), KS_OK);
    assert_int_equal(e->kind, KS_EXPR_BINARY);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("foo offset (-2^2)"), &opts, &arena, &e), KS_OK);
    assert_int_equal(ks_duration_resolve(&e->rollup.offset, 15000, false, &ms), KS_OK);
    assert_int_equal(ms, -4000);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("foo[5m] anchored"), &opts, &arena, &e), KS_OK);
    assert_true(e->rollup.anchored);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("info(a, {b=~\".*\"})"), &opts, &arena, &e),
                     KS_OK);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("info(a, b)"), &opts, &arena, &e), KS_EPARSE);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("foo[1m-2m]"), &opts, &arena, &e), KS_OK);
    assert_int_equal(ks_duration_resolve(&e->rollup.window, 1, true, &ms), KS_EEXEC);
    assert_int_equal(ks_promql_parse(KS_SLICE_LIT("foo[1m/0]"), &opts, &arena, &e), KS_EPARSE);
}

static void test_functions(void **state)
{
    size_t rollups = 0, transforms = 0, aggregates = 0;
    for (int i = 0; i < KS_FN_COUNT; i++) {
        const struct ks_promql_func *f = &ks_promql_funcs[i];
        assert_int_equal(f->id, i);
        if (f->in_metricsql)
            assert_ptr_equal(ks_promql_func_find(KS_METRICSQL, ks_slice_str(f->name)), f);
        if (f->in_promql)
            assert_ptr_equal(ks_promql_func_find(KS_PROMQL_STRICT, ks_slice_str(f->name)), f);
        rollups += f->in_metricsql && f->kind == KS_FUNC_ROLLUP;
        aggregates += f->in_metricsql && f->kind == KS_FUNC_AGGREGATE;
        transforms += f->in_metricsql && (f->kind == KS_FUNC_TRANSFORM || f->kind == KS_FUNC_LABEL);
    }
    assert_int_equal(rollups, 80);
    assert_int_equal(transforms, 111);
    assert_int_equal(aggregates, 37);
    assert_non_null(ks_promql_func_find(KS_METRICSQL, KS_SLICE_LIT("RATE")));
    assert_null(ks_promql_func_find(KS_PROMQL_STRICT, KS_SLICE_LIT("RATE")));
    assert_non_null(ks_promql_func_find(KS_PROMQL_STRICT, KS_SLICE_LIT("SUM")));
    assert_null(ks_promql_func_find(KS_METRICSQL, KS_SLICE_LIT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mql_numbers),
        cmocka_unit_test(test_mql_windows),
        cmocka_unit_test(test_mql_at),
        cmocka_unit_test(test_mql_precedence),
        cmocka_unit_test(test_mql_modifiers),
        cmocka_unit_test(test_mql_calls),
        cmocka_unit_test(test_mql_selector_forms),
        cmocka_unit_test(test_mql_with),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_nesting_limits),
        cmocka_unit_test(test_size_limits),
        cmocka_unit_test(test_implicit_conversion),
        cmocka_unit_test(test_strict_accepts),
        cmocka_unit_test(test_strict_refuses),
        cmocka_unit_test(test_strict_experimental),
        cmocka_unit_test(test_functions),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
