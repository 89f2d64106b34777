#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "api/logs/syslog.h"
#include "log_util.h"
#include "sys/rand.h"

#define NOW 1700000000123456789 /* 2023-11-14T22:13:20Z */

static struct tl t;

static int setup(void **state)
{
    tl_init(&t);
    t.params.stream_fields = tl_names(&t, "hostname,app_name");
    return 0;
}

static int teardown(void **state)
{
    tl_done(&t);
    return 0;
}

static void check(const char *text, const char *want)
{
    struct ks_syslog_opts o = {.utc = true};
    tl_begin(&t, NOW);
    assert_int_equal(ks_syslog_message(&t.in, ks_slice_str(text), &o), KS_OK);
    assert_string_equal(tl_text(&t), want);
}
#define PRI165                                                                                     \
    "priority=\"165\" facility_keyword=\"local4\" level=\"notice\" facility=\"20\" "               \
    "severity=\"5\" "

static void test_rfc5424(void **state)
{
    check(
        "<165>1 2023-06-03T17:42:32.123456789Z mymachine appname 12345 ID47 "
        "[exampleSDID@32473 iut=\"3\" eventSource=\"App 1 = \\\"2\\\\\\] q\" x=y][b] This is a msg",
        "1685814152123456789 {app_name=\"appname\",hostname=\"mymachine\"} " PRI165
        "format=\"rfc5424\" hostname=\"mymachine\" app_name=\"appname\" proc_id=\"12345\" "
        "msg_id=\"ID47\" exampleSDID@32473.iut=\"3\" exampleSDID@32473.eventSource=\"App 1 = "
        "\\x222\\] q\" exampleSDID@32473.x=\"y\" _msg=\"This is a msg\"\n");
    check("<165>1 - - - - - -", "1700000000123456789 {app_name=\"-\",hostname=\"-\"} " PRI165
                                "format=\"rfc5424\" hostname=\"-\" app_name=\"-\" proc_id=\"-\" "
                                "msg_id=\"-\"\n");
    check("<165>1 2023-06-03T17:42:32Z h a p m - \xef\xbb\xbfmsg",
          "1685814152000000000 {app_name=\"a\",hostname=\"h\"} " PRI165
          "format=\"rfc5424\" hostname=\"h\" app_name=\"a\" proc_id=\"p\" msg_id=\"m\" "
          "_msg=\"msg\"\n");
    /* a time that is none stays as a field; structured data that is none is the message */
    check("<165>1 yesterday h a p m [x y=\"z",
          "1700000000123456789 {app_name=\"a\",hostname=\"h\"} " PRI165
          "format=\"rfc5424\" timestamp=\"yesterday\" "
          "hostname=\"h\" app_name=\"a\" proc_id=\"p\" "
          "msg_id=\"m\" _msg=\"[x y=\\x22z\"\n");
    check("<165>1 2023-06-03T17:42:32Z h a p m [k=v] m",
          "1685814152000000000 {app_name=\"a\",hostname=\"h\"} " PRI165
          "format=\"rfc5424\" hostname=\"h\" app_name=\"a\" proc_id=\"p\" msg_id=\"m\" k=\"v\" "
          "_msg=\"m\"\n");
    check("<165>1 2023-06-03T17:42:32Z h",
          "1685814152000000000 {hostname=\"h\"} " PRI165 "format=\"rfc5424\" hostname=\"h\"\n");
    check("<165>1 ", "1700000000123456789 {} " PRI165 "format=\"rfc5424\"\n");
}

static void test_rfc3164(void **state)
{
    check(
        "<34>Nov 11 22:14:15 mymachine su[12]: 'su root' failed",
        "1699740855000000000 {app_name=\"su\",hostname=\"mymachine\"} priority=\"34\" "
        "facility_keyword=\"auth\" level=\"critical\" facility=\"4\" severity=\"2\" "
        "format=\"rfc3164\" hostname=\"mymachine\" app_name=\"su\" proc_id=\"12\" _msg=\"'su root' "
        "failed\"\n");
    /* beyond a day ahead: last year */
    check("Dec  3 12:08:33 abcd systemd: Starting", "1670069313000000000 {app_name=\"systemd\","
                                                    "hostname=\"abcd\"} format=\"rfc3164\" "
                                                    "hostname=\"abcd\" app_name=\"systemd\" "
                                                    "_msg=\"Starting\"\n");
    check("<34>2023-11-14T22:13:20.5+01:00 h app: x",
          "1699996400500000000 {app_name=\"app\",hostname=\"h\"} priority=\"34\" "
          "facility_keyword=\"auth\" level=\"critical\" facility=\"4\" severity=\"2\" "
          "format=\"rfc3164\" hostname=\"h\" app_name=\"app\" _msg=\"x\"\n");
    /* no host */
    check("Nov 11 22:14:15 app[1]: x", "1699740855000000000 {app_name=\"app\"} format=\"rfc3164\" "
                                       "app_name=\"app\" proc_id=\"1\" _msg=\"x\"\n");
    check("just text", "1700000000123456789 {} format=\"rfc3164\" _msg=\"just text\"\n");
    check("a text longer than a stamp", "1700000000123456789 {} format=\"rfc3164\" _msg=\"a text "
                                        "longer than a stamp\"\n");
    check("Nov 11 22:14:15", "1699740855000000000 {} format=\"rfc3164\"\n");
    check("Nov 11 22:14:15 h", "1699740855000000000 {hostname=\"h\"} format=\"rfc3164\" "
                               "hostname=\"h\"\n");
    check("Nov 11 22:14:15x", "1699740855000000000 {} format=\"rfc3164\" _msg=\"x\"\n");
    check("Nov 31 25:14:15 h a: x",
          "1700000000123456789 {} format=\"rfc3164\" _msg=\"Nov 31 25:14:15 h a: x\"\n");
    check("<x>y", "1700000000123456789 {} format=\"rfc3164\" _msg=\"<x>y\"\n");
    check("<5", "1700000000123456789 {} format=\"rfc3164\" _msg=\"<5\"\n");
    check("<191>", "1700000000123456789 {} priority=\"191\" facility_keyword=\"local7\" "
                   "level=\"debug\" facility=\"23\" severity=\"7\"\n");
    check("<999>x",
          "1700000000123456789 {} priority=\"999\" facility_keyword=\"unknown\" "
          "level=\"debug\" facility=\"124\" severity=\"7\" format=\"rfc3164\" _msg=\"x\"\n");
}

static void test_cef_and_cee(void **state)
{
    check("Nov 11 22:14:15 h CEF: 0|Vend\\|or|Prod|1.0|100|wo\\\\rm|10|src=10.0.0.1 msg=a b\\=c d "
          "dst=x",
          "1699740855000000000 {app_name=\"CEF\",hostname=\"h\"} format=\"rfc3164\" hostname=\"h\" "
          "app_name=\"CEF\" cef.version=\"0\" cef.device_vendor=\"Vend|or\" "
          "cef.device_product=\"Prod\" "
          "cef.device_version=\"1.0\" cef.device_event_class_id=\"100\" cef.name=\"wo\\rm\" "
          "cef.severity=\"10\" cef.extension.src=\"10.0.0.1\" cef.extension.msg=\"a b=c d\" "
          "cef.extension.dst=\"x\"\n");
    check("<165>1 2023-06-03T17:42:32Z h a p m - CEF:0|v|p|1|2|n|3|",
          "1685814152000000000 {app_name=\"a\",hostname=\"h\"} " PRI165
          "format=\"rfc5424\" hostname=\"h\" app_name=\"a\" proc_id=\"p\" msg_id=\"m\" "
          "cef.version=\"0\" cef.device_vendor=\"v\" cef.device_product=\"p\" "
          "cef.device_version=\"1\" cef.device_event_class_id=\"2\" cef.name=\"n\" "
          "cef.severity=\"3\"\n");
    check("Nov 11 22:14:15 h app: CEF:0|broken", "1699740855000000000 {app_name=\"app\",hostname="
                                                 "\"h\"} format=\"rfc3164\" hostname=\"h\" "
                                                 "app_name=\"app\" _msg=\"CEF:0|broken\"\n");
    check("Nov 11 22:14:15 h app: @cee: {\"a\":{\"b\":1},\"msg\":\"m\"}",
          "1699740855000000000 {app_name=\"app\",hostname=\"h\"} format=\"rfc3164\" hostname=\"h\" "
          "app_name=\"app\" a.b=\"1\" msg=\"m\"\n");
    check("Nov 11 22:14:15 h app: @cee: {bad", "1699740855000000000 {app_name=\"app\",hostname="
                                               "\"h\"} format=\"rfc3164\" hostname=\"h\" "
                                               "app_name=\"app\" _msg=\"@cee: {bad\"\n");
}

static void test_options(void **state)
{
    struct ks_syslog_opts o = {
        .utc = true, .local_time = true, .remote_ip = true, .ip = KS_SLICE_LIT("10.1.2.3")};
    tl_begin(&t, NOW);
    assert_int_equal(ks_syslog_message(&t.in, KS_SLICE_LIT("<34>Nov 11 22:14:15 h a: x"), &o),
                     KS_OK);
    assert_int_equal(t.in.batch->rows[0].time_ns, NOW);
    assert_non_null(strstr(tl_text(&t), "remote_ip=\"10.1.2.3\""));
}

/* Feeds the stream in pieces, as a connection would get it, and joins the messages with |. */
static void frames(const char *stream, size_t piece, size_t max, const char *want)
{
    struct ks_syslog_framer f = {.max_bytes = max};
    char buf[512], got[512] = "";
    size_t have = 0, len = strlen(stream), at = 0;
    do {
        size_t n = len - at < piece ? len - at : piece;
        memcpy(buf + have, stream + at, n);
        at += n;
        have += n;
        struct ks_slice data = ks_slice(buf, have), m;
        while (ks_syslog_next(&f, &data, &m)) {
            strncat(got, m.ptr, m.len);
            strcat(got, "|");
        }
        have = data.len;
        memmove(buf, data.ptr, data.len);
    } while (at < len);
    if (strcmp(got, want) != 0)
        fail_msg("in pieces of %zu: %s, want %s", piece, got, want);
}

static void test_frames(void **state)
{
    for (size_t piece = 1; piece < 40; piece++) {
        frames("<1>one two\n\n<2>\nthree\r\n", piece, 100, "<1>one two|<2>|three|");
        frames("10 <1>one two9 <2>a\nb c\n<3>x\n", piece, 100, "<1>one two|<2>a\nb c|<3>x|");
        frames("2023 was long\n123\n12 monkeys\n", piece, 100, "2023 was long|123|12 monkeys|");
        frames("<1>this is too long for it\n<2>ok\n30 <1>345678901234567890123456789<3>y\n", piece,
               12, "<2>ok|<3>y|");
        frames("99999999 <1>x\n<2>y\n", piece, 100, "99999999 <1>x|<2>y|");
    }
    frames("<1>without an end", 5, 100, "");
}

static void test_datagrams(void **state)
{
    struct ks_slice data = KS_SLICE_LIT("<1>trace:\n at a\n at b\n<2>x\n\n5 <3>yz\n"), m;
    assert_true(ks_syslog_next_datagram(&data, &m));
    assert_true(ks_slice_is(m, "<1>trace:\n at a\n at b"));
    assert_true(ks_syslog_next_datagram(&data, &m));
    assert_true(ks_slice_is(m, "<2>x\n\n5 <3>yz"));
    assert_false(ks_syslog_next_datagram(&data, &m));
    data = KS_SLICE_LIT("5 <3>yz");
    assert_true(ks_syslog_next_datagram(&data, &m));
    assert_true(ks_slice_is(m, "<3>yz"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {T(test_rfc5424), T(test_rfc3164), T(test_cef_and_cee),
                                       T(test_options), T(test_frames),  T(test_datagrams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
