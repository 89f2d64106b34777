#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
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

static ks_err json(const char *body, struct ks_loki_opts o)
{
    tl_begin(&t, NOW);
    return ks_loki_json_decode(&t.in, ks_slice_str(body), &o);
}

static void test_json(void **state)
{
    struct ks_loki_opts o = {0};
    assert_int_equal(json("{\"streams\":[{\"stream\":{\"job\":\"a\",\"n\":5},\"values\":["
                          "[\"1700000000000000001\",\"line one\"],"
                          "[\"\",\"now\",{\"trace\":\"x\",\"z\":1,\"nil\":null}],"
                          "[\"0\",\"zero\",null],[1700000000, \"number\"]]},"
                          "{\"stream\":{\"job\":\"b\"},\"values\":[]}]}",
                          o),
                     KS_OK);
    assert_string_equal(
        tl_text(&t),
        "1700000000000000001 {job=\"a\",n=\"5\"} job=\"a\" n=\"5\" _msg=\"line one\"\n"
        "1700000000123456789 {job=\"a\",n=\"5\"} job=\"a\" n=\"5\" trace=\"x\" z=\"1\" "
        "_msg=\"now\"\n"
        "1700000000123456789 {job=\"a\",n=\"5\"} job=\"a\" n=\"5\" _msg=\"zero\"\n"
        "1700000000000000000 {job=\"a\",n=\"5\"} job=\"a\" n=\"5\" _msg=\"number\"\n");
}

static void test_json_order(void **state)
{
    struct ks_loki_opts o = {0};
    /* values before the labels, keys unknown, no labels */
    assert_int_equal(json("{\"x\":[{}],\"streams\":[{\"values\":[[\"1\",\"m\"]],\"y\":1,\"stream\":"
                          "{\"job\":\"a\"}},{\"values\":[[\"2\",\"n\"]]}],\"z\":null}",
                          o),
                     KS_OK);
    assert_string_equal(tl_text(&t),
                        "1000000000 {job=\"a\"} job=\"a\" _msg=\"m\"\n2000000000 {} _msg=\"n\"\n");
}

static void test_message_parsing(void **state)
{
    struct ks_loki_opts o = {0}, keep = {.keep_message = true},
                        prefix = {.prefix = KS_SLICE_LIT("m.")};
    static const char body[] = "{\"streams\":[{\"stream\":{\"job\":\"a\"},\"values\":[[\"1\","
                               "\"{\\\"text\\\":\\\"hi\\\",\\\"n\\\":{\\\"k\\\":1}}\"],[\"2\","
                               "\"{not json}\"]]}]}";
    t.params.msg_fields = tl_names(&t, "text");
    assert_int_equal(json(body, o), KS_OK);
    assert_string_equal(tl_text(&t), "1000000000 {job=\"a\"} job=\"a\" _msg=\"hi\" n.k=\"1\"\n"
                                     "2000000000 {job=\"a\"} job=\"a\" _msg=\"{not json}\"\n");
    assert_int_equal(json(body, keep), KS_OK);
    assert_string_equal(tl_text(&t),
                        "1000000000 {job=\"a\"} job=\"a\" "
                        "_msg=\"{\\x22text\\x22:\\x22hi\\x22,\\x22n\\x22:{\\x22k\\x22:1}}\"\n"
                        "2000000000 {job=\"a\"} job=\"a\" _msg=\"{not json}\"\n");
    assert_int_equal(json(body, prefix), KS_OK);
    assert_string_equal(tl_text(&t), "1000000000 {job=\"a\"} job=\"a\" m.text=\"hi\" m.n.k=\"1\"\n"
                                     "2000000000 {job=\"a\"} job=\"a\" _msg=\"{not json}\"\n");
}

static void test_json_bad(void **state)
{
    struct ks_loki_opts o = {0};
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"streams\":{}}",
        "{\"streams\":[1]}",
        "{\"streams\":[{\"stream\":1,\"values\":[]}]}",
        "{\"streams\":[{\"stream\":{},\"values\":{}}]}",
        "{\"streams\":[{\"stream\":{},\"values\":[[\"1\"]]}]}",
        "{\"streams\":[{\"stream\":{},\"values\":[[\"1\",2]]}]}",
        "{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"m\",{},4]]}]}",
        "{\"streams\":[]}x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (json(bad[i], o) != KS_EPARSE)
            fail_msg("%s", bad[i]);
    /* a bad time costs its entry */
    assert_int_equal(
        json("{\"streams\":[{\"stream\":{},\"values\":[[\"soon\",\"m\"],[\"1\",\"n\"]]}]}", o),
        KS_OK);
    assert_string_equal(tl_text(&t), "1000000000 {} _msg=\"n\"\n");
    assert_int_equal(t.in.out.skipped, 1);
    assert_string_equal(t.in.out.first_reason, "entry 1: cannot parse the time \"soon\"");
}

static void field(struct ks_buf *b, unsigned tag, struct ks_slice s)
{
    ks_buf_varint(b, tag);
    ks_buf_lp(b, s);
}

static void test_protobuf(void **state)
{
    struct ks_loki_opts o = {0};
    struct ks_buf entry, pair, stream, body;
    ks_buf_init(&entry, 4096);
    ks_buf_init(&pair, 4096);
    ks_buf_init(&stream, 4096);
    ks_buf_init(&body, 4096);
    field(&entry, 0x0a, KS_SLICE_LIT("\x08\x80\xe2\xcf\xaa\x06\x10\x05")); /* 1700000000 s, 5 ns */
    field(&entry, 0x12, KS_SLICE_LIT("{\"a\":\"b\"}"));
    field(&pair, 0x0a, KS_SLICE_LIT("meta"));
    field(&pair, 0x12, KS_SLICE_LIT("data"));
    field(&entry, 0x1a, ks_buf_view(&pair));
    field(&stream, 0x12, ks_buf_view(&entry)); /* the entry before its labels */
    field(&stream, 0x0a, KS_SLICE_LIT(" {job=\"x\\\"y\", ns=`z` , e=\"\"}"));
    ks_buf_reset(&entry);
    field(&entry, 0x12, KS_SLICE_LIT("plain"));
    field(&stream, 0x12, ks_buf_view(&entry));
    field(&body, 0x0a, ks_buf_view(&stream));
    tl_begin(&t, NOW);
    assert_int_equal(ks_loki_proto_decode(&t.in, ks_buf_view(&body), &o), KS_OK);
    assert_string_equal(tl_text(&t),
                        "1700000000000000005 {job=\"x\\\"y\",ns=\"z\"} job=\"x\\x22y\" ns=\"z\" "
                        "meta=\"data\" a=\"b\"\n"
                        "1700000000123456789 {job=\"x\\\"y\",ns=\"z\"} job=\"x\\x22y\" ns=\"z\" "
                        "_msg=\"plain\"\n");
    for (size_t n = 1; n < body.len; n++) {
        tl_begin(&t, NOW);
        if (ks_loki_proto_decode(&t.in, ks_slice(body.ptr, n), &o) != KS_EPARSE)
            fail_msg("cut at %zu", n);
    }
    static const char *const labels[] = {"",      "{",       "a=\"b\"",          "{a}",
                                         "{a=b}", "{a=\"b}", "{a=\"b\" c=\"d\"}"};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        ks_buf_reset(&stream);
        ks_buf_reset(&body);
        field(&stream, 0x0a, ks_slice_str(labels[i]));
        field(&body, 0x0a, ks_buf_view(&stream));
        tl_begin(&t, NOW);
        if (ks_loki_proto_decode(&t.in, ks_buf_view(&body), &o) != KS_EPARSE)
            fail_msg("%s", labels[i]);
    }
    ks_buf_done(&entry);
    ks_buf_done(&pair);
    ks_buf_done(&stream);
    ks_buf_done(&body);
}

static void test_stream_fields(void **state)
{
    struct ks_loki_opts o = {0};
    t.params.stream_fields = tl_names(&t, "b");
    tl_extra(&t, "a=forced");
    assert_int_equal(json("{\"streams\":[{\"stream\":{\"a\":\"1\",\"b\":\"2\"},\"values\":[[\"1\","
                          "\"m\"]]}]}",
                          o),
                     KS_OK);
    assert_string_equal(tl_text(&t), "1000000000 {b=\"2\"} b=\"2\" _msg=\"m\" a=\"forced\"\n");
    /* what is forced is no tag of the client's */
    t.params.stream_fields.count = 0;
    assert_int_equal(json("{\"streams\":[{\"stream\":{\"a\":\"1\",\"b\":\"2\"},\"values\":[[\"1\","
                          "\"m\"]]}]}",
                          o),
                     KS_OK);
    assert_string_equal(tl_text(&t), "1000000000 {b=\"2\"} b=\"2\" _msg=\"m\" a=\"forced\"\n");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_json),     T(test_json_order), T(test_message_parsing),
        T(test_json_bad), T(test_protobuf),   T(test_stream_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
