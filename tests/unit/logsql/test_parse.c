/* Queries to canonical text and back; what has to be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "query/logsql/syntax/parser.h"

static const int64_t now_ns = 1700000000000000000;

static ks_err canonical(const char *text, struct ks_buf *out)
{
    struct ks_arena a;
    struct ks_lq_query *q;
    ks_arena_init(&a, 16 << 20);
    ks_buf_reset(out);
    ks_err err = ks_lq_parse(ks_slice_str(text), now_ns, &a, &q);
    if (!err)
        ks_lq_print(q, out);
    ks_buf_byte(out, 0);
    ks_arena_done(&a);
    return err;
}

struct pair {
    const char *text, *want; /* NULL: as it is */
};

static void prints(void **state)
{
    static const struct pair cases[] = {
        {"foo", NULL},
        {"foo AND bar OR NOT baz", "foo bar or !baz"},
        {"not (a b) or c", "!(a b) or c"},
        {"((a))", "a"},
        {"foo:(bar baz:xxx)", "foo:bar foo:\"baz:xxx\""},
        {"foo-bar.baz/x", "\"foo-bar.baz/x\""},
        {"foo:~'.+'", "foo:*"},
        {"a ''* *", "a _msg:*"}, /* a message that is not empty; any row */
        {"~'.+'", "_msg:*"},
        {"b | or.", "b \"or.\""},
        {"foo or * or bar", "*"},
        {"a * :foo", "a *:foo"},
        {"pre*:x", NULL},
        {"'\"q\"':\"a\\nb\"", "\"\\\"q\\\"\":\"a\\nb\""},
        {"{a=b, c=~\"x|y\" or d!=z} e", "{a=\"b\",c=~\"x|y\" or d!=\"z\"} e"},
        {"{a=b} {c=d}", "{a=\"b\",c=\"d\"}"},
        {"_time:(  now-1h  , now-5m]", "_time:(now-1h,now-5m]"},
        {"_time:day_range[08:00, 16:00) offset 2h", NULL},
        {"x:in(a, b | fields z)", "!"},
        {"x:in(y | keep z)", "x:in(y | fields z)"},
        {"x:in(*)", "*"},
        {"f:range(5,inf)", "f:range(5, inf)"},
        {"f:>\"10KiB\" g:<abc", "f:>10KiB g:<abc"},
        {"ipv4_range(1.2.3.4/20)", "ipv4_range(1.2.0.0, 1.2.15.255)"},
        {"i(Foo*) seq(a,'b c')", "i(Foo*) seq(a,\"b c\")"},
        {"options(concurrency=2, time_offset=1h) x", NULL},
        {"* | by (a, _time:1d offset 2h) count() x, sum(b) if (c)",
         "* | stats by (a, _time:1d offset 2h) count(*) as x, sum(b) if (c) as \"sum(b) if (c)\""},
        {"* | stats count() switch(case (a) x, default y)",
         "* | stats count(*) switch(case (a) as x, default as y)"},
        {"* | offset 3 | limit 10 | offset 5 | limit 30 | limit 15", "* | limit 13 | offset 8"},
        {"* | sort by (x desc) | offset 1 | limit 5", "* | sort by (x desc) offset 1 limit 5"},
        {"* | error", "error"},
        {"* | math a + b * -c as d", "* | math a + b * -c as d"},
        {"* | union (a | union (b)) | join on (x) (y) inner prefix p",
         "* | union (a | union (b)) | join by (x) (y) inner prefix p"},
        {"* | extract 'a<b>c' from d keep_original_fields",
         "* | extract \"a<b>c\" from d keep_original_fields"},
        {"* | top 5 x hits as h rank", "* | top 5 by (x) hits as h rank"},
    };
    struct ks_buf out;
    ks_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *want = cases[i].want ? cases[i].want : cases[i].text;
        ks_err err = canonical(cases[i].text, &out);
        if (*want == '!' && !want[1]) {
            assert_int_equal(err, KS_EPARSE);
            continue;
        }
        assert_int_equal(err, KS_OK);
        assert_string_equal(out.ptr, want);
        char once[4096];
        snprintf(once, sizeof once, "%s", out.ptr);
        assert_int_equal(canonical(once, &out), KS_OK); /* it reads what it prints */
        assert_string_equal(out.ptr, once);
    }
    ks_buf_done(&out);
}

static void refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "!",
        "foo:",
        "(foo",
        "foo)",
        "\"foo",
        "foo bar)",
        "foo=bar",
        "foo!=bar",
        "1*1",
        "foo(bar)",
        "a:in",
        "in(a b)",
        "in(x | limit 1)",
        "{a}",
        "{a=b",
        "_time:foo",
        "_time:[now,",
        "_stream:x",
        "_stream_id:x",
        "len_range(1.5, 2)",
        "range(a, b)",
        "ipv4_range(1.2.3)",
        "re(`a(`)",
        "* |",
        "* | stats",
        "* | count",
        "* | stats by (a) count() a",
        "* | limit x",
        "* | limit -1",
        "* | extract 'a'",
        "* | extract '<a><b>'",
        "* | fields",
        "* | sort by (a*)",
        "* | top",
        "* | uniq limit 5",
        "* | math",
        "* | math max(a)",
        "* | stats quantile(2, a)",
        "* | stream_context",
        "* | fields a | stream_context before 1",
        "options(x=1) a",
        "* | union ()",
        "* | join by () (a)",
        "foo | bar(",
        "* | sort by (x) limit 1 limit 2",
    };
    struct ks_buf out;
    ks_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (canonical(cases[i], &out) != KS_EPARSE)
            fail_msg("[%s] was taken as [%s]", cases[i], out.ptr);
    ks_buf_done(&out);
}

static void bounds(void **state)
{
    static char text[200000];
    struct ks_buf out;
    ks_buf_init(&out, 4 << 20);
    memset(text, '(', 100000);
    text[100000] = 0;
    assert_int_equal(canonical(text, &out), KS_EPARSE);
    memset(text, '!', 100000);
    text[100000] = 'a';
    text[100001] = 0;
    assert_int_equal(canonical(text, &out), KS_OK);
    assert_string_equal(out.ptr, "a");
    memset(text, '-', 60);
    snprintf(text, sizeof text, "* | math ");
    memset(text + 9, '-', 1000);
    snprintf(text + 1009, 16, "a as b");
    assert_int_equal(canonical(text, &out), KS_EPARSE);
    char *p = text;
    p += snprintf(p, 8, "*");
    for (int i = 0; i < 300; i++)
        p += snprintf(p, 16, " | fields a%d", i);
    assert_int_equal(canonical(text, &out), KS_EPARSE);
    assert_non_null(strstr(ks_err_text(), "256 pipes"));
    ks_buf_done(&out);
}

static void range_of(const char *text, int64_t *min, int64_t *max)
{
    struct ks_arena a;
    struct ks_lq_filter *f;
    ks_arena_init(&a, 1 << 20);
    assert_int_equal(ks_lq_parse_filter(ks_slice_str(text), now_ns, &a, &f), KS_OK);
    assert_int_equal(f->kind, KS_LQ_F_TIME);
    *min = f->min_ns;
    *max = f->max_ns;
    ks_arena_done(&a);
}

static void times(void **state)
{
    static const struct {
        const char *text;
        int64_t min, max;
    } cases[] = {
        {"_time:2023-02:00", 1672538400000000000, 1704074399999999999},
        {"_time:2023-02-28T22:59-01:00", 1677628740000000000, 1677628799999999999},
        {"_time:(2023-03-01T21:20Z,2023-04-06Z]", 1677705600000000001, 1680825599999999999},
        {"_time:[1562529662678,1562529662679]", 1562529662678000000, 1562529662679999999},
        {"_time:<=2023-03-01+02:20", INT64_MIN, 1677706799999999999},
        {"_time:5m", now_ns - 300000000000 + 1, now_ns},
        {"_time:5m offset 1h", now_ns - 3900000000000 + 1, now_ns - 3600000000000},
        {"_time:>1h", INT64_MIN, now_ns - 3600000000000 - 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t min, max;
        range_of(cases[i].text, &min, &max);
        assert_int_equal(min, cases[i].min);
        assert_int_equal(max, cases[i].max);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints),
        cmocka_unit_test(refuses),
        cmocka_unit_test(bounds),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
