#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "api/go_time.h"
#include "api/ingest/import_csv.h"
#include "base/num.h"
#include "ingest_util.h"
#include "sys/rand.h"

#define NOW 1700000000123

static uint64_t import(struct ti *t, const char *format, struct ks_slice body)
{
    struct ks_csv_format f;
    struct ks_arena arena;
    uint64_t bad;
    ks_arena_init(&arena, 64 << 20);
    ti_reset(t);
    assert_int_equal(ks_csv_format_parse(ks_slice_str(format), &arena, &f), KS_OK);
    assert_int_equal(ks_import_csv(&t->in, body, &f, &bad), KS_OK);
    ti_text(t);
    ks_arena_done(&arena);
    return bad;
}

static void check(const char *format, const char *body, uint64_t want_bad, const char *want)
{
    struct ti t;
    ti_init(&t, NOW);
    assert_int_equal(import(&t, format, ks_slice_str(body)), want_bad);
    assert_string_equal(t.text.ptr, want);
    ti_done(&t);
}

static void test_lines(void **state)
{
    check("2:metric:ask,3:metric:bid,1:label:ticker,4:label:market",
          "GOOG,1.23,4.56,NYSE\nMSFT,3.21,,NASDAQ\r\n", 0,
          "ask{market=\"NYSE\",ticker=\"GOOG\"} 1.23 "
          "1700000000123\nbid{market=\"NYSE\",ticker=\"GOOG\"} 4.56 1700000000123\n"
          "ask{market=\"NASDAQ\",ticker=\"MSFT\"} 3.21 1700000000123\n");
    check("1:time:unix_s,3:metric:m", "1600000000,skipped,5,more\n1600000001,x,6\n", 0,
          "m 5 1600000000000\nm 6 1600000001000\n");
    check("1:metric:m,2:label:l", "1,\"a, \"\"b\"\"\"\n2,'it''s'\n", 0,
          "m{l=\"a, \"b\"\"} 1 1700000000123\nm{l=\"it's\"} 2 1700000000123\n");
    check("1:label:l,2:metric:m", "only,\n\n", 0, "");
    check("1:metric:a,2:metric:b", "NaN,-Inf\n", 0, "a NaN 1700000000123\nb -Inf 1700000000123\n");
}

static void test_header(void **state)
{
    check("1:time:unix_ms,2:metric:m", "time,value\n1600000000000,1\n", 0, "m 1 1600000000000\n");
    check("1:label:l,2:metric:m", "l,m\na,1\n", 0, "m{l=\"a\"} 1 1700000000123\n");
    check("1:label:l,2:metric:m", "a,1\nl,m\n", 1, "m{l=\"a\"} 1 1700000000123\n");
}

static void test_bad_lines(void **state)
{
    static const char *const bad[] = {"x",          "1600000000", "1600000000,x",      "9,\"1",
                                      "9,\"1\"x,2", "1e9,1",      "9999999999999999,1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char body[128];
        snprintf(body, sizeof body, "1600000000,1\n%s\n1600000001,2\n", bad[i]);
        check("1:time:unix_s,2:metric:m", body, 1, "m 1 1600000000000\nm 2 1600000001000\n");
    }
    struct ti t;
    struct ks_csv_format f;
    uint64_t n;
    ti_init(&t, NOW);
    assert_int_equal(ks_csv_format_parse(KS_SLICE_LIT("1:metric:m"), &t.scratch.arena, &f), KS_OK);
    assert_int_equal(ks_import_csv(&t.in, KS_SLICE_LIT("1x\n2x\n"), &f, &n), KS_EPARSE);
    assert_non_null(strstr(ks_err_text(), "line 2, column 1"));
    ti_done(&t);
}

static void test_formats(void **state)
{
    static const char *const bad[] = {"",
                                      "1:metric",
                                      "0:metric:m",
                                      "x:metric:m",
                                      "1:metric:",
                                      "1:label:l",
                                      "1:metric:m,1:label:l",
                                      "1:time:unix_s,2:time:unix_s,3:metric:m",
                                      "1:time:julian,2:metric:m",
                                      "1:colour:x",
                                      "99999999:metric:m",
                                      "-1:metric:m"};
    struct ks_arena a;
    struct ks_csv_format f;
    ks_arena_init(&a, 16 << 20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ks_csv_format_parse(ks_slice_str(bad[i]), &a, &f) != KS_EINVAL)
            fail_msg("format taken: %s", bad[i]);
    ks_arena_done(&a);
}

static void test_times(void **state)
{
    static const struct {
        const char *layout, *text;
        int64_t ms;
    } cases[] = {
        {"2006-01-02T15:04:05Z07:00", "2023-11-14T22:13:20Z", 1700000000000},
        {"2006-01-02T15:04:05Z07:00", "2023-11-15T00:13:20.123+02:00", 1700000000123},
        {"2006-01-02 15:04:05.000 -0700", "2023-11-14 17:13:20.500 -0500", 1700000000500},
        {"Mon, 02 Jan 2006 15:04:05 MST", "Tue, 14 Nov 2023 22:13:20 GMT", 1700000000000},
        {"Monday January _2 2006 3:04:05 PM", "Tuesday November 14 2023 10:13:20 PM",
         1700000000000},
        {"1/2/06 03:04 pm", "11/14/23 12:00 am", 1699920000000},
        {"2006-002", "2023-318", 1699920000000},
        {"20060102150405", "20231114221320", 1700000000000},
        {"2006-01-02", "1969-12-31", -86400000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms;
        if (!ks_go_time_parse(ks_slice_str(cases[i].layout), ks_slice_str(cases[i].text), &ms))
            fail_msg("not read: %s", cases[i].text);
        assert_int_equal(ms, cases[i].ms);
    }
    static const char *const bad[] = {"2023-02-29T00:00:00Z",
                                      "2023-13-01T00:00:00Z",
                                      "2023-01-01T24:00:00Z",
                                      "2023-01-01T00:00:00",
                                      "2023-01-01T00:00:00Zx",
                                      "x",
                                      ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms;
        assert_false(
            ks_go_time_parse(KS_SLICE_LIT("2006-01-02T15:04:05Z07:00"), ks_slice_str(bad[i]), &ms));
    }
}

/* Every time written in a layout is read back from it. */
static void test_times_round_trip(void **state)
{
    static const char *const layouts[] = {
        "2006-01-02T15:04:05.999Z07:00", "2006-01-02T15:04:05.000000000-07:00",
        "Mon Jan _2 15:04:05.000 2006",  "Monday, 2 January 2006 3:04:05,999 PM -0700",
        "2006 002 15 4 5.999 Z07",       "1/2/2006 03:04:05.999pm MST"};
    uint64_t r = 3;
    struct ks_buf b;
    ks_buf_init(&b, 1 << 10);
    for (int i = 0; i < 20000; i++) {
        int64_t ms = (int64_t)ks_rng_below(&r, 4102444800000), back;
        struct ks_slice layout = ks_slice_str(layouts[i % 6]);
        ms = i % 7 ? ms : ms / 1000 * 1000;
        ks_buf_reset(&b);
        ks_go_time_format(layout, ms, &b);
        if (!ks_go_time_parse(layout, ks_buf_view(&b), &back) || back != ms)
            fail_msg("%.*s in %s", (int)b.len, b.ptr, layout.ptr);
    }
    ks_buf_done(&b);
}

/* Any label values and numbers written as CSV come back. */
static void test_round_trip(void **state)
{
    static const char alphabet[] = "ab,\"' \t;\xc3\xa9";
    uint64_t r = 11;
    struct ti t;
    struct ks_buf body;
    ti_init(&t, NOW);
    ks_buf_init(&body, 1 << 20);
    for (int i = 0; i < 3000; i++) {
        char room[16];
        size_t n = 1 + ks_rng_below(&r, 10);
        for (size_t k = 0; k < n; k++)
            room[k] = alphabet[ks_rng_below(&r, sizeof alphabet - 1)];
        double v = ks_f64_from_bits(ks_rng_next(&r) & 0x7fefffffffffffff);
        struct ks_slice want = ks_slice(room, n);
        ks_buf_reset(&body);
        ks_csv_put(&body, want);
        ks_buf_str(&body, ",1600000000000,");
        ks_buf_f64(&body, v);
        assert_int_equal(import(&t, "1:label:l,2:time:unix_ms,3:metric:m", ks_buf_view(&body)), 0);
        struct ks_reader rd = ks_reader(t.in.batch->series[0].raw);
        struct ks_label l;
        bool bad;
        assert_true(ks_raw_label_next(&rd, &l, &bad) && ks_slice_eq(l.value, want));
        assert_true(ks_f64_bits(t.in.batch->samples[0].value) == ks_f64_bits(v));
    }
    ks_buf_done(&body);
    ti_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_header),
        cmocka_unit_test(test_bad_lines),  cmocka_unit_test(test_formats),
        cmocka_unit_test(test_times),      cmocka_unit_test(test_times_round_trip),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
