#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "log_util.h"

#define NOW 1700000000123456789

static void decode(struct tl *t, const char *body)
{
    tl_begin(t, NOW);
    assert_int_equal(ks_jsonline_decode(&t->in, ks_slice_str(body), KS_LOG_LINE_BYTES), KS_OK);
}

static void check(const char *body, const char *want)
{
    struct tl t;
    tl_init(&t);
    decode(&t, body);
    assert_string_equal(tl_text(&t), want);
    assert_int_equal(t.in.out.skipped + t.in.out.dropped, 0);
    tl_done(&t);
}

/* One skipped line; the text names why. */
static void skipped(const char *line, const char *why)
{
    struct tl t;
    char body[4096];
    tl_init(&t);
    snprintf(body, sizeof body, "%s\n{\"_time\":\"1\",\"a\":\"b\"}", line);
    decode(&t, body);
    assert_string_equal(tl_text(&t), "1000000000 {} a=\"b\"\n");
    assert_int_equal(t.in.out.skipped, 1);
    if (!strstr(t.in.out.first_reason, why) || strncmp(t.in.out.first_reason, "line 1: ", 8) != 0)
        fail_msg("%s: %s", line, t.in.out.first_reason);
    tl_done(&t);
}

static void test_shapes(void **state)
{
    check("", "");
    check("\n\r\n", "");
    check("{}", "1700000000123456789 {}\n");
    check("{\"_time\":\"2023-11-14T22:13:20Z\",\"_msg\":\"hi\",\"x\":\"y\"}\r\n",
          "1700000000000000000 {} _msg=\"hi\" x=\"y\"\n");
    check(" { \"a\" : \"b\" , \"c\" : 1 } \n", "1700000000123456789 {} a=\"b\" c=\"1\"\n");
    check("{\"a\":\"\",\"b\":null,\"c\":\"1\"}", "1700000000123456789 {} c=\"1\"\n");
    check("{\"\":\"m\"}", "1700000000123456789 {} _msg=\"m\"\n");
    /* of equal names the last one counts */
    check("{\"a\":\"1\",\"a\":\"2\"}", "1700000000123456789 {} a=\"2\"\n");
}

static void test_values(void **state)
{
    check("{\"a\":1.50,\"b\":true,\"c\":false,\"d\":-0,\"e\":1E+5,\"f\":12345678901234567890}",
          "1700000000123456789 {} a=\"1.50\" b=\"true\" c=\"false\" d=\"-0\" e=\"1E+5\" "
          "f=\"12345678901234567890\"\n");
    check("{\"a\":[1, \"x y\", {\"k\": [ ]} , null],\"b\":[],\"n\":NaN,\"i\":-Infinity}",
          "1700000000123456789 {} a=\"[1,\\x22x y\\x22,{\\x22k\\x22:[]},null]\" b=\"[]\" "
          "n=\"NaN\" i=\"-Infinity\"\n");
    check("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"}",
          "1700000000123456789 {} a=\"\\x22\\/\\x08\\x0c\\x0a\\x0d\\x09A\xc3\xa9\xe2\x82\xac"
          "\xf0\x9f\x98\x80\"\n");
    /* what is no escape stays; a byte that is no UTF-8 stays too */
    check("{\"a\":\"\\x \\u12 \\ud800 \\udc00\\ud800\\u0041\xff\x01\"}",
          "1700000000123456789 {} a=\"\\x \\u12 \\ud800 \\udc00\\ud800A\xff\\x01\"\n");
    check("{\"k\\u0065y\\n\":\"v\"}", "1700000000123456789 {} key\n=\"v\"\n");
    check("{\"long0123456789abcdef\":\"0123456789abcdef0123456789abcdef\\\\\"}",
          "1700000000123456789 {} "
          "long0123456789abcdef=\"0123456789abcdef0123456789abcdef\\\"\n");
}

static void test_flatten(void **state)
{
    check("{\"a\":{\"b\":{\"c\":\"1\"},\"d\":2},\"e\":{},\"f\":{ },\"g\":3}",
          "1700000000123456789 {} a.b.c=\"1\" a.d=\"2\" g=\"3\"\n");
    check("{\"a\":{\"\":\"x\"},\"b\":{\"\":{\"\":\"y\"}}}",
          "1700000000123456789 {} a.=\"x\" b..=\"y\"\n");
    check("{\"a\":{\"b\":[{\"c\":1}]}}", "1700000000123456789 {} a.b=\"[{\\x22c\\x22:1}]\"\n");
}

static void test_long_names(void **state)
{
    char body[2048], want[2048], k60[61], k100[101];
    memset(k60, 'k', 60);
    memset(k100, 'l', 100);
    k60[60] = k100[100] = 0;
    /* 60 + 1 + 60 fits, 60 + 1 + 100 does not: that object becomes text, the rest not */
    snprintf(body, sizeof body,
             "{\"%s\":{\"%s\":\"1\"},\"%s\":{\"z\":{\"q\":1},\"%s\": \"2\"},\"t\":3}", k60, k60,
             k60, k100);
    snprintf(want, sizeof want,
             "1700000000123456789 {} %s.%s=\"1\" %s=\"{\\x22z\\x22:{\\x22q\\x22:1},\\x22%s\\x22:"
             "\\x222\\x22}\" t=\"3\"\n",
             k60, k60, k60, k100);
    check(body, want);
    /* on the top level the whole row becomes its message */
    snprintf(body, sizeof body, "{\"a\":1,\"%s%s\":\"1\"}", k60, k100);
    snprintf(want, sizeof want,
             "1700000000123456789 {} _msg=\"{\\x22a\\x22:1,\\x22%s%s\\x22:\\x221\\x22}\"\n", k60,
             k100);
    check(body, want);
    /* 128 is allowed */
    snprintf(body, sizeof body, "{\"%s\":{\"%.27s\":\"1\"}}", k100, k60);
    snprintf(want, sizeof want, "1700000000123456789 {} %s.%.27s=\"1\"\n", k100, k60);
    check(body, want);
}

static void test_deep(void **state)
{
    struct tl t;
    char body[4096] = "";
    size_t n = 0;
    tl_init(&t);
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, "{\"\":");
    n += (size_t)snprintf(body + n, sizeof body - n, "1");
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, "}");
    decode(&t, body);
    assert_int_equal(t.in.out.skipped, 0);
    assert_int_equal(t.in.batch->row_count, 1);
    assert_true(t.in.batch->fields[0].name.len <= 128);
    memset(body, '[', 1000);
    memcpy(body, "{\"a\":", 5);
    body[1000] = 0;
    decode(&t, body);
    assert_int_equal(t.in.out.skipped, 1);
    tl_done(&t);
}

static void test_bad_lines(void **state)
{
    skipped("nonsense", "want an object");
    skipped("[1]", "want an object");
    skipped("\"a\"", "want an object");
    skipped("{\"a\":1_0}", "want a comma or }");
    skipped("{\"a\":\"b\"", "want a comma or }");
    skipped("{\"a\":\"b\",}", "want a key");
    skipped("{\"a\":\"b", "without end");
    skipped("{\"a\":\"b\\", "without end");
    skipped("{\"a\"", "want a colon");
    skipped("{\"a\":}", "want a value");
    skipped("{\"a\":tru}", "want a value");
    skipped("{\"a\":[1,]}", "want a value");
    skipped("{\"a\":[1}", "want a comma or ]");
    skipped("{\"a\":[{1:2}]}", "want a key");
    skipped("{} x", "behind the object");
    skipped("{\"_time\":\"yesterday\",\"a\":\"b\"}", "cannot parse the time \"yesterday\"");
    skipped("{\"_time\":\"2023-02-29T00:00:00Z\",\"a\":\"b\"}", "cannot parse the time");
}

static void test_all_bad(void **state)
{
    struct tl t;
    tl_init(&t);
    decode(&t, "a\nb\n\nc");
    assert_int_equal(t.in.out.skipped, 3);
    assert_int_equal(t.in.out.rows, 0);
    tl_done(&t);
}

static void test_line_limit(void **state)
{
    struct tl t;
    tl_init(&t);
    tl_begin(&t, NOW);
    assert_int_equal(
        ks_jsonline_decode(&t.in, KS_SLICE_LIT("{\"a\":\"0123456789\"}\n{\"b\":\"1\"}\n"), 12),
        KS_OK);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} b=\"1\"\n");
    assert_non_null(strstr(t.in.out.first_reason, "maxLineSizeBytes=12"));
    tl_done(&t);
}

static void test_params(void **state)
{
    struct tl t;
    tl_init(&t);
    t.app.cfg.logs.default_msg = "none";
    t.params.time_fields = tl_names(&t, "ts,when");
    t.params.msg_fields = tl_names(&t, "log.text,message");
    t.params.stream_fields = tl_names(&t, "app,host,tenant");
    t.params.ignore = tl_names(&t, "secret,tmp.*");
    t.params.decolorize = tl_names(&t, "_msg");
    tl_extra(&t, "tenant=blue,env=prod");
    decode(&t,
           "{\"when\":\"1\",\"app\":\"a\",\"tenant\":\"red\",\"message\":\"\x1b[31mred\x1b[0m "
           "x\",\"secret\":1,\"tmp\":{\"a\":1},\"env\":\"dev\"}\n"
           "{\"ts\":\"2\",\"app\":\"a\",\"host\":\"\",\"log\":{\"text\":\"\"},\"message\":\"m\"}\n"
           "{\"ts\":\"3\",\"log\":{\"text\":\"t\"},\"message\":\"m\",\"_time\":\"9\",\"_stream\":"
           "\"{}\",\"_stream_id\":\"7\"}\n"
           "{\"ts\":\"4\",\"app\":\"b\",\"host\":\"h\"}\n");
    assert_string_equal(
        tl_text(&t),
        "1000000000 {app=\"a\",tenant=\"blue\"} app=\"a\" _msg=\"red x\" tenant=\"blue\" "
        "env=\"prod\"\n"
        "2000000000 {app=\"a\",tenant=\"blue\"} app=\"a\" _msg=\"m\" tenant=\"blue\" env=\"prod\"\n"
        "3000000000 {tenant=\"blue\"} _msg=\"t\" message=\"m\" tenant=\"blue\" env=\"prod\"\n"
        "4000000000 {app=\"b\",host=\"h\",tenant=\"blue\"} app=\"b\" host=\"h\" tenant=\"blue\" "
        "env=\"prod\" _msg=\"none\"\n");
    assert_int_equal(t.in.batch->stream_count, 3);
    tl_done(&t);
}

static void test_preserve(void **state)
{
    struct tl t;
    tl_init(&t);
    t.params.preserve = tl_names(&t, "raw,a.b");
    decode(&t, "{\"raw\":{\"x\": 1},\"a\":{\"b\":{\"y\":[ ]},\"c\":{\"z\":2}}}");
    assert_string_equal(tl_text(&t), "1700000000123456789 {} raw=\"{\\x22x\\x22:1}\" "
                                     "a.b=\"{\\x22y\\x22:[]}\" a.c.z=\"2\"\n");
    tl_done(&t);
}

static void test_limits(void **state)
{
    struct tl t;
    struct ks_buf b;
    tl_init(&t);
    ks_buf_init(&b, 8 << 20);
    ks_buf_str(&b, "{\"f0\":\"x\"");
    for (int i = 1; i < 1001; i++)
        ks_buf_printf(&b, ",\"f%d\":\"x\"", i);
    ks_buf_str(&b, "}");
    ks_buf_byte(&b, 0);
    decode(&t, b.ptr);
    assert_int_equal(t.in.out.dropped, 1);
    assert_string_equal(t.in.out.first_reason, "too many fields");
    assert_int_equal(t.in.batch->row_count, 0);
    t.app.cfg.logs.max_fields = 1001;
    decode(&t, b.ptr);
    assert_int_equal(t.in.out.dropped, 0);
    assert_int_equal(t.in.batch->field_count, 1001);
    ks_buf_reset(&b);
    ks_buf_str(&b, "{\"a\":\"");
    for (int i = 0; i < 3 << 17; i++)
        ks_buf_str(&b, "01234567");
    ks_buf_str(&b, "\"}");
    tl_begin(&t, NOW);
    assert_int_equal(ks_jsonline_decode(&t.in, ks_buf_view(&b), 4 << 20), KS_OK);
    assert_string_equal(t.in.out.first_reason, "the row is larger than 2 MiB");
    ks_buf_done(&b);
    tl_done(&t);
}

static void test_debug(void **state)
{
    struct tl t;
    tl_init(&t);
    t.params.debug = true;
    decode(&t, "{\"a\":\"b\"}");
    assert_int_equal(t.in.batch->row_count, 0);
    assert_int_equal(t.in.out.dropped, 1);
    tl_done(&t);
}

static void test_report(void **state)
{
    struct tl t;
    struct ks_buf out;
    tl_init(&t);
    ks_buf_init(&out, 4096);
    decode(&t, "{\"a\":\"b\"}");
    ks_log_report(&t.in, &out);
    assert_int_equal(out.len, 0);
    decode(&t, "{\"a\":\"b\"}\nx");
    ks_log_report(&t.in, &out);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr,
                        "{\"stored\":0,\"skipped\":1,\"dropped\":0,\"firstError\":\"line 2: "
                        "cannot parse JSON: want an object at byte 0\"}\n");
    ks_buf_done(&out);
    tl_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_flatten), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_deep),    cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_all_bad), cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_params),  cmocka_unit_test(test_preserve),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_debug),
        cmocka_unit_test(test_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
