/*
 * Pipes over rows, case by case: text in, rows out. Each case is run over several layouts of the
 * same rows (blocks of chance sizes, dictionaries, constants, workers): the answer must not depend
 * on them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lq_rows.h"

#define DROP "* | delete _time, _stream, _stream_id | "

struct pipe_case {
    const char *pipes, *rows, *want;
};

/* Case texts use ' for ": less noise. */
static void double_quotes(const char *in, char *out, size_t size)
{
    size_t n = strlen(in);
    assert_true(n < size);
    for (size_t i = 0; i <= n; i++)
        out[i] = in[i] == '\'' ? '"' : in[i];
}

static void check(const struct pipe_case *c, bool ordered)
{
    static const struct lq_layout layouts[] = {
        {0}, {.seed = 3}, {.seed = 4, .block_rows = 2}, {.seed = 5, .block_rows = 2, .workers = 3}};
    char rows[4096], want[4096], query[1024];
    double_quotes(c->rows, rows, sizeof rows);
    double_quotes(c->want, want, sizeof want);
    snprintf(query, sizeof query, DROP "%s", c->pipes);
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        char *got = lq_rows_query(query, rows, &layouts[i], ordered);
        if (strcmp(got, want) != 0)
            fail_msg("%s\nlayout %zu\ngot  %s\nwant %s", c->pipes, i, got, want);
        ks_free(got);
    }
}

static void check_all(const struct pipe_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(&cases[i], false);
}
#define CHECK(cases) check_all(cases, sizeof cases / sizeof *(cases))

static void test_columns(void **state)
{
    static const struct pipe_case cases[] = {
        {"copy a as b, c as d", "{'a':'1','d':'x'}\n{'c':'2'}\n",
         "{'a':'1','b':'1'}\n{'c':'2','d':'2'}\n"},
        {"copy a* as x*", "{'a':'1','ab':'2','b':'3'}\n",
         "{'a':'1','ab':'2','b':'3','x':'1','xb':'2'}\n"},
        {"rename a as b, b as a", "{'a':'1','b':'2'}\n", "{'a':'1'}\n"},
        {"rename * as p.*", "{'a':'1','b':'2'}\n", "{'p.a':'1','p.b':'2'}\n"},
        {"fields b, a*", "{'a':'1','ab':'2','b':'3','c':'4'}\n", "{'a':'1','ab':'2','b':'3'}\n"},
        {"delete a*, x", "{'a':'1','ab':'2','b':'3'}\n", "{'b':'3'}\n"},
        {"drop_empty_fields | count() n", "{'a':'1'}\n{'a':''}\n{'b':'2'}\n", "{'n':'2'}\n"},
        {"set_stream_fields b, a | fields _stream", "{'a':'1','b':'x\\\\'}\n{'c':'1'}\n",
         "{'_stream':'{a=\\'1\\',b=\\'x\\\\\\\\\\'}'}\n{'_stream':'{}'}\n"},
    };
    CHECK(cases);
}

static void test_texts(void **state)
{
    static const struct pipe_case cases[] = {
        {"decolorize a", "{'a':'\\u001b[31mred\\u001b[0m x'}\n{'a':'y\\u001b[1;'}\n",
         "{'a':'red x'}\n{'a':'y'}\n"},
        {"collapse_nums at a", "{'a':'0x12af deadbeef 1ab 12ab34 v1.2 sha256 5ms 10KB a_1'}\n",
         "{'a':'0x\\u003cN> \\u003cN> 1ab \\u003cN> v\\u003cN>.\\u003cN> sh\\u003cN> \\u003cN>ms "
         "10KB "
         "a_\\u003cN>'}\n"},
        {"collapse_nums at a prettify",
         "{'a':'2edfed59-3e98-4073-bbb2-28d321ca71a7 1.2.3.4:80 2024-01-02T03:04:05.1+02:00 "
         "03:04:05 2024/1/2'}\n",
         "{'a':'\\u003cUUID> \\u003cIP4>:\\u003cN> \\u003cDATETIME> \\u003cTIME> \\u003cDATE>'}\n"},
        {"hash(a) h", "{'a':'abcde'}\n{'b':'1'}\n",
         "{'a':'abcde','h':'957726378018795'}\n{'b':'1','h':'1929880503118233'}\n"},
        {"len(a) n", "{'a':'\xc3\xa9x'}\n{'b':'1'}\n",
         "{'a':'\xc3\xa9x','n':'3'}\n{'b':'1','n':'0'}\n"},
        {"json_array_len(a) n", "{'a':'[1, [2], {}]'}\n{'a':'[1'}\n",
         "{'a':'[1','n':'0'}\n{'a':'[1, [2], {}]','n':'3'}\n"},
        {"split ', ' a as b | fields b", "{'a':'x, y,z'}\n", "{'b':'[\\'x\\',\\'y,z\\']'}\n"},
        {"unpack_words a as b | fields b", "{'a':'x-y x_1'}\n",
         "{'b':'[\\'x\\',\\'y\\',\\'x_1\\']'}\n"},
        {"unpack_words a as b drop_duplicates | fields b", "{'a':'x-y x'}\n",
         "{'b':'[\\'x\\',\\'y\\']'}\n"},
        {"replace (a, bb) at x limit 2", "{'x':'aaa'}\n", "{'x':'bbbba'}\n"},
        {"replace_regexp (\"(a)|([0-9])\", \"[$1${2}$$]\") at x", "{'x':'ab1'}\n",
         "{'x':'[a$]b[1$]'}\n"},
        {"replace_regexp (\"x*\", \"-\") at x", "{'x':'axb'}\n", "{'x':'-a-b-'}\n"},
        {"time_add 1h at t", "{'t':'2024-01-01T00:00:00Z'}\n{'t':'soon'}\n",
         "{'t':'2024-01-01T01:00:00Z'}\n{'t':'soon'}\n"},
    };
    CHECK(cases);
}

static void test_extract_format(void **state)
{
    static const struct pipe_case cases[] = {
        {"extract 'a=<x> b=<y>' from s | fields x, y",
         "{'s':'a=\\'q w\\' b=1'}\n{'s':'a=\\'q\\'z b=2'}\n{'s':'a=3'}\n",
         "{'x':'q w','y':'1'}\n{'x':'q'}\n"},
        {"extract 'a=<plain:x> b' from s | fields x", "{'s':'a=\\'q\\' b'}\n", "{'x':'\\'q\\''}\n"},
        {"extract '[<x>]' from s keep_original_fields | fields x",
         "{'s':'[1]','x':'0'}\n{'s':'[2]'}\n", "{'x':'0'}\n{'x':'2'}\n"},
        {"extract '[<x>]' from s skip_empty_results | fields x", "{'s':'1','x':'0'}\n",
         "{'x':'0'}\n"},
        {"extract if (k:1) '[<x>]' from s | fields x", "{'s':'[1]','k':'1'}\n{'s':'[2]','x':'9'}\n",
         "{'x':'1'}\n{'x':'9'}\n"},
        {"extract_regexp \"(?P<l>[a-z])(?<d>[0-9])?\" from s | fields l, d",
         "{'s':'a1'}\n{'s':'b'}\n", "{'d':'1','l':'a'}\n{'l':'b'}\n"},
        {"format \"<uc:a>-<lc:b>-<q:c>\" as r | fields r",
         "{'a':'\xc3\xa9x','b':'ABC','c':'x y'}\n", "{'r':'\xc3\x89X-abc-\\'x y\\''}\n"},
        {"format \"<time:a> <duration:b> <duration_seconds:c> <ipv4:d>\" as r | fields r",
         "{'a':'1717328141.5','b':'65000000001','c':'1m1ms','d':'16909060'}\n"
         "{'a':'x','b':'y','c':'z','d':'-1'}\n",
         "{'r':'2024-06-02T11:35:41.5Z 1m5.000000001s 60.001 1.2.3.4'}\n{'r':'x y z -1'}\n"},
        {"format \"<hexencode:a> <hexdecode:b> <base64encode:a> <base64decode:c> <urlencode:d> "
         "<urldecode:e> <hexnumencode:n> <hexnumdecode:b>\" as r | fields r",
         "{'a':'hi','b':'6869','c':'aGk=','d':'a b/','e':'a+%2F','n':'255'}\n",
         "{'r':'6869 hi aGk= hi a+b%2F a / 00000000000000FF 26729'}\n"},
    };
    CHECK(cases);
}

static void test_unpack(void **state)
{
    static const struct pipe_case cases[] = {
        {"unpack_json from s | delete s",
         "{'s':'{\\'a\\':{\\'b\\':1,\\'c\\':[1, "
         "{\\'x\\':2}]},\\'d\\':null,\\'e\\':true,\\'f\\':1.50}'}\n"
         "{'s':'{\\'a\\':1','z':'1'}\n",
         "{'a.b':'1','a.c':'[1,{\\'x\\':2}]','e':'true','f':'1.50'}\n{'z':'1'}\n"},
        {"unpack_json from s fields (a, b) | delete s", "{'s':'{\\'a\\':\\'1\\'}','b':'x'}\n",
         "{'a':'1'}\n"},
        {"unpack_json from s result_prefix p_ keep_original_fields | delete s",
         "{'s':'{\\'a\\':\\'1\\',\\'b\\':\\'2\\'}','p_a':'0'}\n", "{'p_a':'0','p_b':'2'}\n"},
        {"unpack_logfmt from s | delete s",
         "{'s':'a=b c=\\'d \\\\\\'e\\' f g= h==i'}\n{'s':'  k=v   '}\n",
         "{'a':'b','c':'d \\'e','h':'=i'}\n{'k':'v'}\n"},
        {"unpack_syslog from s | fields app_name, format, level, message, proc_id, x.y",
         "{'s':'<165>1 2023-06-03T17:42:32Z h app 12 ID [x y=\\'a\\\\]\\'] hello'}\n"
         "{'s':'<13>Jan  2 03:04:05 host app[1]: hi'}\n{'s':'plain'}\n",
         "{'app_name':'app','format':'rfc3164','level':'notice','message':'hi','proc_id':'1'}\n"
         "{'app_name':'app','format':'rfc5424','level':'notice','message':'hello','proc_id':'12',"
         "'x.y':'a]'}\n"
         "{'format':'rfc3164','message':'plain'}\n"},
        {"unroll (a, b)", "{'a':'[1,\\'x\\']','b':'[true]','c':'k'}\n{'a':'no','c':'l'}\n",
         "{'a':'1','b':'true','c':'k'}\n{'a':'x','c':'k'}\n{'c':'l'}\n"},
        {"pack_json fields (a, b*) as s | fields s", "{'a':'1','b':'<','bb':'','c':'3'}\n",
         "{'s':'{\\'a\\':\\'1\\',\\'b\\':\\'\\\\u003c\\'}'}\n"},
        {"pack_logfmt fields (a, b) as s | fields s", "{'a':'x y','b':'k=v'}\n",
         "{'s':'a=\\'x y\\' b=k=v'}\n"},
    };
    CHECK(cases);
}

static void test_math(void **state)
{
    static const struct pipe_case cases[] = {
        {"math a + b as x, x * 2 as y | fields x, y", "{'a':'1','b':'1.5'}\n{'a':'z'}\n",
         "{'x':'2.5','y':'5'}\n{'x':'NaN','y':'NaN'}\n"},
        {"math 7 % 2.5 as a, -7 % 3 as b, 1 / 0 as c, 5 % 0 as d, 2 ^ 10 as e | limit 1",
         "{'z':'1'}\n", "{'a':'2','b':'-1','c':'+Inf','d':'NaN','e':'1024','z':'1'}\n"},
        {"math round(a) as x, round(a, 0.1) as y, floor(a) as z | delete a", "{'a':'-2.55'}\n",
         "{'x':'-3','y':'-2.5','z':'-3'}\n"},
        {"math d / 1m as x, ip & '255.255.255.0' as y, t + 1s as z | fields x, y, z",
         "{'d':'5m','ip':'1.2.3.4','t':'1970-01-01T00:00:00Z'}\n",
         "{'x':'5','y':'16909056','z':'1000000000'}\n"},
        {"math a default b as x, max(a, b, c) as y, min(b, c) as z | fields x, y, z",
         "{'b':'2','c':'3'}\n", "{'x':'2','y':'3','z':'2'}\n"},
        {"math 5 & 3 as a, 6 xor 3 as b, -1 xor 1 as c | fields a, b, c", "{'z':'1'}\n",
         "{'a':'1','b':'5','c':'18446744073709552000'}\n"},
    };
    CHECK(cases);
}

static void test_sort(void **state)
{
    static const char rows[] = "{'a':'2','b':'x'}\n{'a':'10','b':'y'}\n{'a':'1ms','b':'x'}\n"
                               "{'b':'y'}\n{'a':'-1','b':'z'}\n";
    static const struct pipe_case cases[] = {
        {"sort by (a) | fields a, b", rows,
         "{'b':'y'}\n{'a':'-1','b':'z'}\n{'a':'2','b':'x'}\n{'a':'10','b':'y'}\n"
         "{'a':'1ms','b':'x'}\n"},
        {"sort by (a desc) limit 2 | fields a", rows, "{'a':'1ms'}\n{'a':'10'}\n"},
        {"sort by (b desc, a) desc offset 1 limit 2 rank as r", rows,
         "{'a':'2','b':'x','r':'2'}\n{'a':'10','b':'y','r':'3'}\n"},
        {"sort by (a) partition by (b) limit 1", rows,
         NULL}, /* order of partitions is open: below */
        {"first by (a desc)", rows, "{'a':'1ms','b':'x'}\n"},
        {"last 2 by (a)", rows, "{'a':'1ms','b':'x'}\n{'a':'10','b':'y'}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].want)
            check(&cases[i], true);
    static const struct pipe_case parts[] = {
        {"sort by (a) partition by (b) limit 1 rank r", rows,
         "{'a':'-1','b':'z','r':'1'}\n{'a':'2','b':'x','r':'1'}\n{'b':'y','r':'1'}\n"},
        {"last by (a) partition by (b) | fields a", rows, "{'a':'-1'}\n{'a':'10'}\n{'a':'1ms'}\n"},
    };
    CHECK(parts);
}

static void test_rows(void **state)
{
    static const char rows[] = "{'a':'1'}\n{'a':'2'}\n{'a':'3'}\n";
    static const struct pipe_case cases[] = {
        {"limit 2 | count() n", rows, "{'n':'2'}\n"},
        {"offset 2 | count() n", rows, "{'n':'1'}\n"},
        {"generate_sequence 3", rows, "{'_msg':'0'}\n{'_msg':'1'}\n{'_msg':'2'}\n"},
        {"generate_sequence 5000 | stats sum(_msg) s, count() n", rows,
         "{'n':'5000','s':'12497500'}\n"},
        {"union rows({b=4}, {a=5})", rows,
         "{'a':'1'}\n{'a':'2'}\n{'a':'3'}\n{'a':'5'}\n{'b':'4'}\n"},
        {"union (* | count() n)", rows, "{'a':'1'}\n{'a':'2'}\n{'a':'3'}\n{'n':'3'}\n"},
        {"join by (a) rows({a=1, k=x}, {a=1, k=y}, {a=3, k=z})", rows,
         "{'a':'1','k':'x'}\n{'a':'1','k':'y'}\n{'a':'2'}\n{'a':'3','k':'z'}\n"},
        {"join by (a) (a:>1 | math a*2 as d | fields a, d) inner prefix q.", rows,
         "{'a':'2','q.d':'4'}\n{'a':'3','q.d':'6'}\n"},
        {"filter a:>1", rows, "{'a':'2'}\n{'a':'3'}\n"},
        {"field_names", rows, "{'hits':'3','name':'a'}\n"},
        {"field_values a", rows,
         "{'a':'1','hits':'1'}\n{'a':'2','hits':'1'}\n{'a':'3','hits':'1'}\n"},
    };
    CHECK(cases);
}

static void test_counts(void **state)
{
    static const char rows[] =
        "{'a':'x','b':'1'}\n{'a':'x','b':'2'}\n{'a':'y','b':'1'}\n{'b':'1'}\n";
    static const struct pipe_case cases[] = {
        {"uniq by (a)", rows, "{'a':'x'}\n{'a':'y'}\n"},
        {"uniq by (a, b) with hits", rows,
         "{'a':'x','b':'1','hits':'1'}\n{'a':'x','b':'2','hits':'1'}\n{'a':'y','b':'1','hits':'1'}"
         "\n"
         "{'b':'1','hits':'1'}\n"},
        {"uniq by (a) with hits limit 1 | fields hits", rows, "{'hits':'0'}\n"},
        {"top 1 by (b)", rows, "{'b':'1','hits':'3'}\n"},
        {"top 2 by (a) hits as n rank as r", rows,
         "{'a':'x','n':'2','r':'1'}\n{'n':'1','r':'2'}\n"},
        {"facets", rows,
         "{'field_name':'a','field_value':'x','hits':'2'}\n"
         "{'field_name':'a','field_value':'y','hits':'1'}\n"
         "{'field_name':'b','field_value':'1','hits':'3'}\n"
         "{'field_name':'b','field_value':'2','hits':'1'}\n"},
        {"facets 1 max_values_per_field 1", rows, ""},
    };
    CHECK(cases);
}

static void test_stats(void **state)
{
    static const char rows[] = "{'g':'x','v':'1'}\n{'g':'x','v':'11ms'}\n{'g':'y','v':'1KiB'}\n"
                               "{'g':'y'}\n{'g':'x','v':'no'}\n";
    static const struct pipe_case cases[] = {
        {"stats count() n, count(v) c, count_empty(v) e, count_uniq(v) u, sum_len(v) l", rows,
         "{'c':'4','e':'1','l':'11','n':'5','u':'4'}\n"},
        {"stats by (g) sum(v) s, avg(v) a", rows,
         "{'a':'1024','g':'y','s':'1024'}\n{'a':'5500000.5','g':'x','s':'11000001'}\n"},
        {"stats by (g) min(v) lo, max(v) hi", rows,
         "{'g':'x','hi':'no','lo':'1'}\n{'g':'y','hi':'1KiB'}\n"},
        {"stats count() if (g:x) a, count() if (g:y v:*) b", rows, "{'a':'3','b':'1'}\n"},
        {"stats uniq_values(v) u, values(zz) z", "{'v':'10'}\n{'v':'9'}\n{'v':'10'}\n",
         "{'u':'[\\'9\\',\\'10\\']','z':'[\\'\\',\\'\\',\\'\\']'}\n"},
        {"filter nope | stats count() c, sum(v) s, max(v) m, uniq_values(v) u, row_any() r", rows,
         "{'c':'0','r':'{}','s':'NaN','u':'[]'}\n"},
        {"filter nope | stats by (g) count() c", rows, ""},
        {"stats histogram(v) h", "{'v':'1'}\n{'v':'1'}\n{'v':'2'}\n{'v':'-1'}\n",
         "{'h':'[{\\'vmrange\\':\\'1.896e+00...2.154e+00\\',\\'hits\\':1},"
         "{\\'vmrange\\':\\'8.799e-01...1.000e+00\\',\\'hits\\':2}]'}\n"},
        {"stats quantile(0.5, v) m, median(v) n, quantile(1, v) p, quantile(0, v) z",
         "{'v':'1'}\n{'v':'3'}\n{'v':'2'}\n", "{'m':'2','n':'2','p':'3','z':'1'}\n"},
        {"stats stddev(v) s", "{'v':'2'}\n{'v':'4'}\n{'v':'x'}\n", "{'s':'1'}\n"},
        {"stats row_max(v, g) a, row_min(v) b, field_max(v, g) c",
         "{'g':'p','v':'1'}\n{'g':'q','v':'10'}\n{'g':'r'}\n",
         "{'a':'{\\'g\\':\\'q\\'}','b':'{\\'g\\':\\'p\\',\\'v\\':\\'1\\'}','c':'q'}\n"},
        {"stats json_values(v) sort by (v desc) limit 2 j", "{'v':'1'}\n{'v':'3'}\n{'v':'2'}\n",
         "{'j':'[{\\'v\\':\\'3\\'},{\\'v\\':\\'2\\'}]'}\n"},
        {"stats sum(v) s", "{'v':'1e16'}\n{'v':'1'}\n{'v':'-1e16'}\n", "{'s':'1'}\n"},
    };
    CHECK(cases);
}

static void test_buckets(void **state)
{
    static const struct pipe_case cases[] = {
        {"stats by (v:5ms) count() n", "{'v':'1ms'}\n{'v':'7ms'}\n{'v':'-3ms'}\n{'v':'foo'}\n",
         "{'n':'1','v':'-5ms'}\n{'n':'1','v':'0'}\n{'n':'1','v':'5ms'}\n{'n':'1','v':'foo'}\n"},
        {"stats by (v:10 offset 3) count() n", "{'v':'1'}\n{'v':'12'}\n{'v':'-5'}\n{'v':'25.5'}\n",
         "{'n':'1','v':'23'}\n{'n':'1','v':'3'}\n{'n':'2','v':'-7'}\n"},
        {"stats by (v:0.1) count() n", "{'v':'0.35'}\n{'v':'0.3'}\n{'v':'1'}\n",
         "{'n':'1','v':'1'}\n{'n':'2','v':'0.3'}\n"},
        {"stats by (v:/24) count() n", "{'v':'1.2.3.4'}\n{'v':'1.2.3.9'}\n{'v':'x'}\n",
         "{'n':'1','v':'x'}\n{'n':'2','v':'1.2.3.0'}\n"},
        {"stats by (v:month) count() n", "{'v':'2024-02-29T13:14:15Z'}\n",
         "{'n':'1','v':'2024-02-01T00:00:00Z'}\n"},
        {"stats by (v:week) count() n", "{'v':'2024-02-29T13:14:15Z'}\n",
         "{'n':'1','v':'2024-02-26T00:00:00Z'}\n"},
        {"stats by (v:1w) count() n", "{'v':'2024-02-28T13:14:15Z'}\n",
         "{'n':'1','v':'2024-02-22T00:00:00Z'}\n"},
    };
    CHECK(cases);
}

/* Of the time column itself, which is no text on its way. */
static void test_times(void **state)
{
    static const char rows[] = "{\"_time\":\"2024-01-01T10:20:30Z\",\"a\":\"1\"}\n"
                               "{\"_time\":\"2024-01-02T10:20:30.5Z\",\"a\":\"2\"}\n"
                               "{\"_time\":\"2024-01-02T11:20:30Z\",\"a\":\"1\"}\n";
    static const char *const cases[][2] = {
        {"* | stats by (_time:1d) count() n", "{\"_time\":\"2024-01-01T00:00:00Z\",\"n\":\"1\"}\n"
                                              "{\"_time\":\"2024-01-02T00:00:00Z\",\"n\":\"2\"}\n"},
        {"* | stats min(_time) a, max(_time) b",
         "{\"a\":\"2024-01-01T10:20:30Z\",\"b\":\"2024-01-02T11:20:30Z\"}\n"},
        {"* | sort by (_time desc) limit 1 | fields _time",
         "{\"_time\":\"2024-01-02T11:20:30Z\"}\n"},
        {"* | time_add 1d | stats max(_time) b", "{\"b\":\"2024-01-03T11:20:30Z\"}\n"},
        {"* | running_stats by (a) count() n | fields a, n",
         "{\"a\":\"1\",\"n\":\"1\"}\n{\"a\":\"1\",\"n\":\"2\"}\n{\"a\":\"2\",\"n\":\"1\"}\n"},
        {"* | running_stats first(a) offset 1 f, last(a) offset 1 l | fields f, l, a",
         "{\"a\":\"1\",\"f\":\"2\",\"l\":\"2\"}\n{\"a\":\"1\"}\n{\"a\":\"2\",\"f\":\"2\",\"l\":"
         "\"1\"}\n"},
        {"* | total_stats by (a) count() n, last(a) x | fields a, n",
         "{\"a\":\"1\",\"n\":\"2\"}\n{\"a\":\"1\",\"n\":\"2\"}\n{\"a\":\"2\",\"n\":\"1\"}\n"},
        {"* | stats row_max(_time, a) r", "{\"r\":\"{\\\"a\\\":\\\"1\\\"}\"}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct lq_layout l = {.seed = seed, .block_rows = 2, .workers = 1 + (unsigned)seed};
            char *got = lq_rows_query(cases[i][0], rows, &l, false);
            if (strcmp(got, cases[i][1]) != 0)
                fail_msg("%s\ngot  %s\nwant %s", cases[i][0], got, cases[i][1]);
            ks_free(got);
        }
    }
}

/* State over the cap ends the query with an error that says what to do. */
static void test_memory(void **state)
{
    static const char *const queries[] = {
        "* | generate_sequence 200000 | sort by (_msg)",
        "* | generate_sequence 200000 | stats by (_msg) count()",
        "* | generate_sequence 200000 | uniq by (_msg)",
        "* | generate_sequence 200000 | stats values(_msg)",
        "* | generate_sequence 200000 | stats count_uniq(_msg)",
        "* | generate_sequence 200000 | total_stats count()",
        "* | join by (a) (* | generate_sequence 200000)",
    };
    struct lq_layout l = {.memory_max = 1 << 20};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        char *got = lq_rows_query(queries[i], "{\"a\":\"1\"}\n", &l, false);
        if (!strstr(got, "error: the query needs more than"))
            fail_msg("%s: %.200s", queries[i], got);
        ks_free(got);
    }
    /* a limit needs little */
    char *got = lq_rows_query("* | generate_sequence 200000 | sort by (_msg desc) limit 2",
                              "{\"a\":\"1\"}\n", &l, true);
    assert_string_equal(got, "{\"_msg\":\"199999\"}\n{\"_msg\":\"199998\"}\n");
    ks_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_extract_format), cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_math),           cmocka_unit_test(test_sort),
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_counts),
        cmocka_unit_test(test_stats),          cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_times),          cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
