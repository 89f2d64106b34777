/* Elasticsearch, Datadog, Splunk, the journal and VictoriaLogs' own rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "log_util.h"

#define NOW 1700000000123456789

static struct tl t;

static int setup(void **state)
{
    tl_init(&t);
    return 0;
}

static int teardown(void **state)
{
    tl_done(&t);
    return 0;
}

/* --- Elasticsearch --- */
static ks_err bulk(const char *body, char *ret_items, size_t size, bool *ret_failed)
{
    struct ks_buf items;
    ks_buf_init(&items, 1 << 20);
    tl_begin(&t, NOW);
    ks_err err = ks_es_bulk_decode(&t.in, ks_slice_str(body), 4096, &items, ret_failed);
    snprintf(ret_items, size, "%.*s", (int)items.len, items.ptr ? items.ptr : "");
    ks_buf_done(&items);
    return err;
}

static void test_bulk(void **state)
{
    char items[1024];
    bool failed;
    t.params.time_fields = tl_names(&t, "@timestamp");
    t.params.msg_fields = tl_names(&t, "message");
    t.params.stream_fields = tl_names(&t, "host.name");
    assert_int_equal(bulk("{\"create\":{\"_index\":\"x\"}}\n"
                          "{\"@timestamp\":\"2023-11-14T22:13:20Z\",\"message\":\"m\",\"host\":{"
                          "\"name\":\"h\"}}\r\n"
                          "\n{ \"index\" : {}}\n{\"@timestamp\":\"2023-11-14\",\"message\":\"n\"}",
                          items, sizeof items, &failed),
                     KS_OK);
    assert_string_equal(tl_text(&t), "1700000000000000000 {host.name=\"h\"} _msg=\"m\" "
                                     "host.name=\"h\"\n1699920000000000000 {} _msg=\"n\"\n");
    assert_string_equal(items, "{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}");
    assert_false(failed);
}

static void test_bulk_errors(void **state)
{
    char items[1024];
    bool failed;
    /* a document that cannot be read fails alone */
    assert_int_equal(
        bulk("{\"create\":{}}\n{bad}\n{\"create\":{}}\n{\"a\":1}\n", items, sizeof items, &failed),
        KS_OK);
    assert_true(failed);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} a=\"1\"\n");
    assert_non_null(strstr(items,
                           "{\"create\":{\"status\":400,\"error\":{\"type\":\"mapper_parsing_"
                           "exception\",\"reason\":\"cannot parse JSON: want a key"));
    assert_non_null(strstr(items, "}},{\"create\":{\"status\":201}}"));
    /* rows before the end of sense stay */
    assert_int_equal(
        bulk("{\"create\":{}}\n{\"a\":1}\n{\"delete\":{}}\n", items, sizeof items, &failed),
        KS_EPARSE);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} a=\"1\"\n");
    assert_non_null(strstr(ks_err_text(), "cannot decode log message #1 in /_bulk request: "
                                          "unexpected command {\"delete\":{}}"));
    assert_int_equal(bulk("{\"create\":{}}\n", items, sizeof items, &failed), KS_EPARSE);
    assert_non_null(strstr(ks_err_text(), "missing log message"));
    assert_int_equal(bulk("", items, sizeof items, &failed), KS_OK);
    assert_string_equal(items, "");
}

/* --- Datadog --- */
static void test_datadog(void **state)
{
    t.params.stream_fields = tl_names(&t, "service");
    tl_begin(&t, NOW);
    assert_int_equal(
        ks_datadog_decode(
            &t.in,
            KS_SLICE_LIT(
                "[{\"ddsource\":\"nginx\",\"ddtags\":\"env:staging,version:5.1,lonely,:x,,a:b:c\","
                "\"hostname\":\"i-0\",\"message\":\"m \\u00e9\",\"service\":\"pay\",\"timestamp\":"
                "1700000000123,\"n\":5},\n"
                " {\"message\":{\"message\":\"text\",\"lamdba\":{\"arn\":\"x\",\"n\":1},"
                "\"timestamp\":"
                "1700000001000,\"status\":\"ok\"},\"service\":\"pay\"},"
                "{\"message\":null}, {\"message\":\"late\",\"timestamp\":null}]"),
            77),
        KS_OK);
    assert_string_equal(
        tl_text(&t),
        "1700000000123000000 {service=\"pay\"} ddsource=\"nginx\" env=\"staging\" version=\"5.1\" "
        "lonely=\"no_label_value\" a=\"b:c\" hostname=\"i-0\" _msg=\"m \xc3\xa9\" service=\"pay\" "
        "n=\"5\"\n"
        "1700000001000000000 {service=\"pay\"} _msg=\"text\" arn=\"x\" n=\"1\" status=\"ok\" "
        "service=\"pay\"\n"
        "77 {}\n77 {} _msg=\"late\"\n");
    tl_begin(&t, NOW);
    assert_int_equal(ks_datadog_decode(&t.in, KS_SLICE_LIT("{\"message\":\"one\"}"), 5), KS_OK);
    assert_string_equal(tl_text(&t), "5 {} _msg=\"one\"\n");
    static const char *const bad[] = {
        "", "[", "[1]", "[{}", "[{}]x", "{\"a\"}", "[{\"timestamp\":\"x\"}]", "[{},]", "null"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tl_begin(&t, NOW);
        if (ks_datadog_decode(&t.in, ks_slice_str(bad[i]), 5) != KS_EPARSE)
            fail_msg("%s", bad[i]);
    }
    tl_begin(&t, NOW);
    assert_int_equal(ks_datadog_decode(&t.in, KS_SLICE_LIT(" [ ] "), 5), KS_OK);
}

/* --- Splunk --- */
static void test_splunk(void **state)
{
    t.params.time_fields = tl_names(&t, "time");
    t.params.msg_fields = tl_names(&t, "event,event.log,event.line,event.message");
    t.params.stream_fields = tl_names(&t, "host,source,sourcetype");
    tl_begin(&t, NOW);
    assert_int_equal(
        ks_splunk_decode(
            &t.in, KS_SLICE_LIT("{\"time\":1700000000.5,\"host\":\"h\",\"event\":\"one\"}"
                                "{\"time\":\"1700000001\",\"event\":{\"log\":\"two\",\"x\":1},"
                                "\"fields\":{\"a\":\"b\"}} \n {\"event\":{\"line\":3}}\n")),
        KS_OK);
    assert_string_equal(tl_text(&t),
                        "1700000000500000000 {host=\"h\"} host=\"h\" _msg=\"one\"\n"
                        "1700000001000000000 {} _msg=\"two\" event.x=\"1\" fields.a=\"b\"\n"
                        "1700000000123456789 {} _msg=\"3\"\n");
    assert_int_equal(t.in.out.skipped, 0);
    tl_begin(&t, NOW);
    assert_int_equal(
        ks_splunk_decode(&t.in, KS_SLICE_LIT("{\"event\":\"a\"}{\"time\":\"soon\"}{\"event\":"
                                             "\"b\"}{\"event\":x} {}\n{\"event\":\"c\"}")),
        KS_OK);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} _msg=\"a\"\n1700000000123456789 {} "
                                     "_msg=\"b\"\n1700000000123456789 {} _msg=\"c\"\n");
    assert_int_equal(t.in.out.skipped, 2);
    assert_int_equal(t.in.out.first_skipped, 1);
}

/* --- journal --- */
static ks_err journal(const char *body, size_t n, bool metadata)
{
    tl_begin(&t, NOW);
    return ks_journald_decode(&t.in, ks_slice(body, n), metadata);
}
#define JOURNAL(text, metadata) journal(text, sizeof text - 1, metadata)

static void test_journal(void **state)
{
    t.params.time_fields = tl_names(&t, "__REALTIME_TIMESTAMP");
    t.params.stream_fields = tl_names(&t, "_HOSTNAME");
    assert_int_equal(
        JOURNAL(
            "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1700000000123456\nMESSAGE=hi = there\nPRIORITY=3\n"
            "_HOSTNAME=h\nlower=no\n_EMPTY=\n\n\n"
            "__REALTIME_TIMESTAMP=soon\nMESSAGE\n\x0b\0\0\0\0\0\0\0two\nlines\0x\nPRIORITY=9\n",
            false),
        KS_OK);
    assert_string_equal(tl_text(&t),
                        "1700000000123456000 {_HOSTNAME=\"h\"} _msg=\"hi = there\" level=\"error\" "
                        "PRIORITY=\"3\" _HOSTNAME=\"h\"\n"
                        "1700000000123456789 {} _msg=\"two\\x0alines\\x00x\" level=\"9\" "
                        "PRIORITY=\"9\"\n");
    assert_int_equal(JOURNAL("__CURSOR=c\nMESSAGE=m\n", true), KS_OK);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} __CURSOR=\"c\" _msg=\"m\"\n");
    /* cut off: nothing of the entry */
    assert_int_equal(JOURNAL("A=b\n\nMESSAGE\n\x0b\0\0\0", false), KS_EPARSE);
    assert_string_equal(tl_text(&t), "1700000000123456789 {} A=\"b\"\n");
    assert_int_equal(JOURNAL("MESSAGE\n\x0b\0\0\0\0\0\0\0short\n", false), KS_EPARSE);
    assert_int_equal(JOURNAL("MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffshort\n", false), KS_EPARSE);
    assert_int_equal(JOURNAL("MESSAGE\n\x01\0\0\0\0\0\0\0ab\n", false), KS_EPARSE);
    assert_int_equal(JOURNAL("", false), KS_OK);
}

/* --- VictoriaLogs' rows --- */
static void test_native(void **state)
{
    static const char rows[] = "\0\0\0\7\0\0\0\3" /* tenant 7:3 */
                               "\5\1\3app"        /* malformed: no value */
                               "\0\0\0\0\0\0\0\1\0";
    static const char good[] = "\0\0\0\7\0\0\0\3"
                               "\7\1\3app\1x"
                               "\x17\x97\x0f\x6c\x1b\x2a\x3c\x4d\2\0\2hi\3app\1x"
                               "\0\0\0\0\0\0\0\0"
                               "\1\0"
                               "\0\0\0\0\0\0\0\5\1\1a\1b";
    struct ks_tenant other = {1, 2};
    tl_begin(&t, NOW);
    t.in.default_msg = ks_slice("", 0);
    assert_int_equal(ks_log_native_decode(&t.in, ks_slice(good, sizeof good - 1), NULL), KS_OK);
    assert_string_equal(tl_text(&t), "1699844341342288973 {app=\"x\"} _msg=\"hi\" app=\"x\"\n"
                                     "5 {} a=\"b\"\n");
    assert_int_equal(t.in.batch->streams[0].tenant.account, 7);
    assert_int_equal(t.in.batch->streams[0].tenant.project, 3);
    tl_begin(&t, NOW);
    assert_int_equal(ks_log_native_decode(&t.in, ks_slice(good, sizeof good - 1), &other), KS_OK);
    assert_int_equal(t.in.batch->streams[0].tenant.account, 1);
    tl_begin(&t, NOW);
    assert_int_equal(ks_log_native_decode(&t.in, ks_slice(rows, sizeof rows - 1), NULL), KS_EPARSE);
    for (size_t n = 1; n < sizeof good - 1; n++) {
        tl_begin(&t, NOW);
        ks_err err = ks_log_native_decode(&t.in, ks_slice(good, n), NULL);
        if (err != KS_EPARSE && n != 35)
            fail_msg("cut at %zu: %d", n, err);
    }
}

/* --- Go's strings --- */
static void quoted(const char *text, const char *want, size_t used)
{
    struct ks_slice s;
    size_t n;
    assert_int_equal(ks_go_unquote(&t.arena, ks_slice_str(text), &s, &n), KS_OK);
    assert_int_equal(n, used);
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.ptr, want, s.len);
}

static void test_go_strings(void **state)
{
    struct ks_slice s;
    size_t n;
    quoted("\"\"", "", 2);
    quoted("\"a b\",x", "a b", 5);
    quoted("`a\\n`", "a\\n", 5);
    quoted("\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\\'\\x41\\101\\u00e9\\U0001f600\"z",
           "\a\b\f\n\r\t\v\\\"'AA\xc3\xa9\xf0\x9f\x98\x80", 46);
    static const char *const bad[] = {
        "",         "a",           "\"",        "\"abc", "\"\\",           "\"\\q\"",
        "\"\\x4\"", "\"\\ud800\"", "\"\\400\"", "`x",    "\"\\U00110000\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ks_go_unquote(&t.arena, ks_slice_str(bad[i]), &s, &n) == KS_OK)
            fail_msg("%s", bad[i]);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_bulk),    T(test_bulk_errors), T(test_datadog),    T(test_splunk),
        T(test_journal), T(test_native),      T(test_go_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
