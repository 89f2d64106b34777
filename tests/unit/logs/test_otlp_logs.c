#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "api/ingest/otlp_json.h"
#include "log_util.h"

#define NOW 1700000000123456789

static struct tl t;
static struct ks_buf proto;

static int setup(void **state)
{
    tl_init(&t);
    ks_buf_init(&proto, 4 << 20);
    return 0;
}

static int teardown(void **state)
{
    tl_done(&t);
    ks_buf_done(&proto);
    return 0;
}

/* The JSON form is the shorter way to write a message; it goes through the protobuf. */
static ks_err decode(const char *json)
{
    ks_buf_reset(&proto);
    ks_err err =
        ks_otlp_json_to_protobuf(ks_slice_str(json), &ks_otlp_logs_request, &t.arena, &proto);
    if (err != KS_OK)
        return err;
    tl_begin(&t, NOW);
    return ks_otlp_logs_decode(&t.in, ks_buf_view(&proto));
}

static void check(const char *json, const char *want)
{
    assert_int_equal(decode(json), KS_OK);
    assert_string_equal(tl_text(&t), want);
}

#define RECORDS(list) "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[" list "]}]}]}"

static void test_shape(void **state)
{
    check(
        "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{"
        "\"stringValue\":\"pay\"}},{\"key\":\"k8s\",\"value\":{\"kvlistValue\":{\"values\":[{"
        "\"key\":"
        "\"pod\",\"value\":{\"stringValue\":\"p-1\"}}]}}},{\"key\":\"n\",\"value\":{\"intValue\":"
        "\"7\"}}"
        "]},\"scopeLogs\":[{\"scope\":{\"name\":\"lib\",\"attributes\":[{\"key\":\"x\",\"value\":{"
        "\"boolValue\":true}}]},\"logRecords\":[{\"timeUnixNano\":\"1700000000000000001\","
        "\"severityNumber\":9,\"severityText\":\"INFO\",\"body\":{\"stringValue\":\"hello\"},"
        "\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"b\"}}],\"traceId\":"
        "\"0102030405060708090a0b0c0d0e0fff\",\"spanId\":\"0102030405060708\"},"
        "{\"observedTimeUnixNano\":\"5\",\"severityNumber\":18,\"body\":{\"stringValue\":\"next\"}}"
        "]}]}"
        "]}",
        "1700000000000000001 {k8s.pod=\"p-1\",n=\"7\",service.name=\"pay\"} service.name=\"pay\" "
        "k8s.pod=\"p-1\" n=\"7\" scope.attributes.x=\"true\" scope.name=\"lib\" "
        "scope.version=\"unknown\" severity_number=\"9\" severity_text=\"INFO\" severity=\"INFO\" "
        "trace_id=\"0102030405060708090a0b0c0d0e0fff\" span_id=\"0102030405060708\" _msg=\"hello\" "
        "a=\"b\"\n"
        "5 {k8s.pod=\"p-1\",n=\"7\",service.name=\"pay\"} service.name=\"pay\" k8s.pod=\"p-1\" "
        "n=\"7\" "
        "scope.attributes.x=\"true\" scope.name=\"lib\" scope.version=\"unknown\" "
        "severity_number=\"18\" severity=\"Error2\" _msg=\"next\"\n");
}

static void test_values(void **state)
{
    check(
        RECORDS(
            "{\"attributes\":["
            "{\"key\":\"d\",\"value\":{\"doubleValue\":1e21}},{\"key\":\"e\",\"value\":{"
            "\"stringValue\":\"\"}},{\"key\":\"nil\",\"value\":{}},{\"key\":\"none\"},"
            "{\"key\":\"b\",\"value\":{\"bytesValue\":\"AP8=\"}},{\"key\":\"i\",\"value\":{"
            "\"intValue\":-3}},{\"key\":\"f\",\"value\":{\"boolValue\":false}},"
            "{\"key\":\"arr\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"q\\\"\"},{"
            "\"intValue\":1},{},{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{"
            "\"arrayValue\":{}}}]}},{\"bytesValue\":\"AA==\"}]}}}]}"),
        "1700000000123456789 {} severity_number=\"0\" d=\"1000000000000000000000\" b=\"AP8=\" "
        "i=\"-3\" f=\"false\" "
        "arr=\"[\\x22q\\\\x22\\x22,1,null,{\\x22k\\x22:[]},\\x22AA==\\x22]\"\n");
}

static void test_bodies(void **state)
{
    check(
        RECORDS(
            "{\"body\":{\"intValue\":42}},{\"body\":{\"arrayValue\":{\"values\":[{"
            "\"stringValue\":\"q\"},{\"intValue\":1}]}}},{\"body\":{\"kvlistValue\":{\"values\":[{"
            "\"key\":\"m\",\"value\":{\"stringValue\":\"text\"}},{\"key\":\"o\",\"value\":{"
            "\"kvlistValue\":{\"values\":[{\"key\":\"p\",\"value\":{\"intValue\":1}}]}}}]}}}"),
        "1700000000123456789 {} severity_number=\"0\" _msg=\"42\"\n"
        "1700000000123456789 {} severity_number=\"0\" _msg=\"[\\x22q\\x22,1]\"\n"
        "1700000000123456789 {} severity_number=\"0\" m=\"text\" o.p=\"1\"\n");
    t.params.msg_fields = tl_names(&t, "o.p,m");
    check(
        RECORDS("{\"body\":{\"kvlistValue\":{\"values\":[{\"key\":\"m\",\"value\":{\"stringValue\":"
                "\"text\"}}]}},\"attributes\":[{\"key\":\"m\",\"value\":{\"stringValue\":\"stays\"}"
                "}]}"),
        "1700000000123456789 {} severity_number=\"0\" _msg=\"text\" m=\"stays\"\n");
}

static void test_event_name(void **state)
{
    check("{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"a\",\"value\":{"
          "\"stringValue\":"
          "\"b\"}}]},\"scopeLogs\":[{\"logRecords\":[{\"eventName\":\"login\"},{\"eventName\":"
          "\"login\"},"
          "{},{\"eventName\":\"out\"}]}]},{\"scopeLogs\":[{\"logRecords\":[{}]}]}]}",
          "1700000000123456789 {a=\"b\",event_name=\"login\"} a=\"b\" event_name=\"login\" "
          "severity_number=\"0\"\n"
          "1700000000123456789 {a=\"b\",event_name=\"login\"} a=\"b\" event_name=\"login\" "
          "severity_number=\"0\"\n"
          "1700000000123456789 {a=\"b\"} a=\"b\" severity_number=\"0\"\n"
          "1700000000123456789 {a=\"b\",event_name=\"out\"} a=\"b\" event_name=\"out\" "
          "severity_number=\"0\"\n"
          "1700000000123456789 {} severity_number=\"0\"\n");
}

static void test_stream_fields(void **state)
{
    t.params.stream_fields = tl_names(&t, "who");
    tl_extra(&t, "tenant=blue");
    check("{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"tenant\",\"value\":{"
          "\"stringValue\":\"red\"}}]},\"scopeLogs\":[{\"logRecords\":[{\"attributes\":[{\"key\":"
          "\"who\","
          "\"value\":{\"stringValue\":\"me\"}}]}]}]}]}",
          "1700000000123456789 {who=\"me\"} severity_number=\"0\" who=\"me\" tenant=\"blue\"\n");
}

/* Names beyond the limit: nested ones become JSON, flat ones are shortened; no row is lost. */
static void test_long_names(void **state)
{
    char json[2048], k[121], flat[201];
    memset(k, 'k', 120);
    memset(flat, 'f', 200);
    k[120] = flat[200] = 0;
    snprintf(
        json, sizeof json,
        RECORDS("{\"attributes\":[{\"key\":\"%s\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":"
                "\"innerx\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"z\",\"value\":{"
                "\"intValue\":1}}]}}}]}}},{\"key\":\"%s\",\"value\":{\"intValue\":2}}]}"),
        k, flat);
    assert_int_equal(decode(json), KS_OK);
    const struct ks_log_batch *b = t.in.batch;
    assert_int_equal(b->row_count, 1);
    assert_int_equal(b->field_count, 3);
    assert_int_equal(b->fields[1].name.len, 127); /* k… + .innerx */
    assert_true(ks_slice_is(b->fields[1].value, "{\"z\":1}"));
    assert_int_equal(b->fields[2].name.len, 128);
    assert_int_equal(b->fields[2].name.ptr[119], '~');
    assert_int_equal(t.in.out.dropped, 0);
}

static void test_deep(void **state)
{
    struct ks_buf inner, outer;
    ks_buf_init(&inner, 1 << 20);
    ks_buf_init(&outer, 1 << 20);
    for (int i = 0; i < 500; i++) { /* AnyValue { array { values: … } } */
        struct ks_buf swap = inner;
        ks_buf_reset(&outer);
        ks_buf_varint(&outer, 0x0a);
        ks_buf_lp(&outer, ks_buf_view(&inner));
        ks_buf_reset(&swap);
        ks_buf_varint(&swap, 0x2a);
        ks_buf_lp(&swap, ks_buf_view(&outer));
        inner = swap;
    }
    /* wrapped: request { resource_logs { scope_logs { record { body */
    static const unsigned tags[] = {0x2a, 0x12, 0x12, 0x0a};
    for (size_t i = 0; i < 4; i++) {
        ks_buf_reset(&outer);
        ks_buf_varint(&outer, tags[i]);
        ks_buf_lp(&outer, ks_buf_view(&inner));
        ks_buf_reset(&inner);
        ks_buf_slice(&inner, ks_buf_view(&outer));
    }
    tl_begin(&t, NOW);
    assert_int_equal(ks_otlp_logs_decode(&t.in, ks_buf_view(&inner)), KS_EPARSE);
    assert_non_null(strstr(ks_err_text(), "nested too deeply"));
    ks_buf_done(&inner);
    ks_buf_done(&outer);
}

static void test_cut(void **state)
{
    assert_int_equal(
        decode(RECORDS("{\"timeUnixNano\":\"9\",\"body\":{\"stringValue\":\"x\"},"
                       "\"attributes\":[{\"key\":\"a\",\"value\":{\"intValue\":1}}]}")),
        KS_OK);
    for (size_t n = 1; n < proto.len; n++) {
        tl_begin(&t, NOW);
        if (ks_otlp_logs_decode(&t.in, ks_slice(proto.ptr, n)) != KS_EPARSE)
            fail_msg("cut at %zu", n);
    }
    assert_int_equal(decode("{\"resourceLogs\":7}"), KS_EPARSE);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_shape),         T(test_values),     T(test_bodies), T(test_event_name),
        T(test_stream_fields), T(test_long_names), T(test_deep),   T(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
