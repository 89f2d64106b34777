#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "api/ingest/influx.h"
#include "ingest_util.h"
#include "sys/rand.h"

#define NOW 1700000000123

static struct ks_influx_opts plain(void)
{
    return (struct ks_influx_opts){.db_label = KS_SLICE_LIT("db"), .separator = KS_SLICE_LIT("_")};
}

static void check(const struct ks_influx_opts *o, const char *body, const char *want)
{
    struct ti t;
    struct ks_influx_result res;
    ti_init(&t, NOW);
    assert_int_equal(ks_import_influx(&t.in, ks_slice_str(body), o, &res), KS_OK);
    assert_int_equal(res.bad, 0);
    assert_string_equal(ti_text(&t), want);
    ti_done(&t);
}

static void test_shapes(void **state)
{
    struct ks_influx_opts o = plain();
    check(&o, "cpu,host=a,region=eu usage=1.5,idle=98i 1700000000000000000\n",
          "cpu_usage{host=\"a\",region=\"eu\"} 1.5 "
          "1700000000000\ncpu_idle{host=\"a\",region=\"eu\"} 98 1700000000000\n");
    check(&o, "m f=1", "m_f 1 1700000000123\n");
    check(&o, "m f=1 \r\n", "m_f 1 1700000000123\n");
    check(&o, "m f=1 0", "m_f 1 1700000000123\n");
    check(&o, ",a=b f=2 1700000000", "f{a=\"b\"} 2 1700000000000\n");
    check(&o, "# comment\n\nm  f=3   1700000000000", "m_f 3 1700000000000\n");
    check(&o, "m,empty=,a=b f=1 1700000000000000", "m_f{a=\"b\"} 1 1700000000000\n");
    check(&o, "", "");
}

static void test_values(void **state)
{
    struct ks_influx_opts o = plain();
    check(&o,
          "m a=t,b=F,c=true,d=False,e=18446744073709551615u,f=-3i,g=-1e-3,h=\"17\",i=\"x y, "
          "z=1\",j=\"q\\\"r\" 1700000000000",
          "m_a 1 1700000000000\nm_b 0 1700000000000\nm_c 1 1700000000000\nm_d 0 1700000000000\n"
          "m_e 18446744073709552000 1700000000000\nm_f -3 1700000000000\nm_g -0.001 1700000000000\n"
          "m_h 17 1700000000000\nm_i 0 1700000000000\nm_j 0 1700000000000\n");
}

static void test_escapes(void **state)
{
    struct ks_influx_opts o = plain();
    check(&o, "my\\ m\\,x,tag\\ k=v\\,1\\=2,p=C:\\\\dir,w=C:\\x f\\=1=1 1700000000000",
          "my m,x_f=1{p=\"C:\\dir\",tag k=\"v,1=2\",w=\"C:\\x\"} 1 1700000000000\n");
}

static void test_options(void **state)
{
    struct ks_influx_opts o = plain();
    o.db = KS_SLICE_LIT("mydb");
    check(&o, "m f=1 1700000000000", "m_f{db=\"mydb\"} 1 1700000000000\n");
    check(&o, "m,db=own f=1 1700000000000", "m_f{db=\"own\"} 1 1700000000000\n");
    o = plain();
    o.skip_single_field = true;
    check(&o, "m f=1 1700000000000\nm f=1,g=2 1700000000000",
          "m 1 1700000000000\nm_f 1 1700000000000\nm_g 2 1700000000000\n");
    check(&o, ",a=b f=1 1700000000000", "f{a=\"b\"} 1 1700000000000\n");
    o = plain();
    o.skip_measurement = true;
    check(&o, "m f=1,g=2 1700000000000", "f 1 1700000000000\ng 2 1700000000000\n");
    o = plain();
    o.separator = KS_SLICE_LIT("::");
    check(&o, "m f=1 1700000000000", "m::f 1 1700000000000\n");
}

static void test_precision(void **state)
{
    static const struct {
        const char *precision, *stamp, *want;
    } cases[] = {
        {"ns", "1700000000123456789", "1700000000123"},
        {"u", "1700000000123456", "1700000000123"},
        {"us", "1700000000123456", "1700000000123"},
        {"µ", "1700000000123456", "1700000000123"},
        {"ms", "1700000000123", "1700000000123"},
        {"s", "1700000000", "1700000000000"},
        {"m", "28333333", "1699999980000"},
        {"h", "472222", "1699999200000"},
        {"", "1700000000", "1700000000000"},
        {"", "1700000000123", "1700000000123"},
        {"", "1700000000123456", "1700000000123"},
        {"", "1700000000123456789", "1700000000123"},
        {"s", "", "1700000000000"},
        {"h", "", "1699999200000"},
        {"ns", "-5000000", "-5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[64], want[64];
        struct ks_influx_opts o = plain();
        o.precision = ks_influx_precision(ks_slice_str(cases[i].precision));
        snprintf(body, sizeof body, "m f=1 %s", cases[i].stamp);
        snprintf(want, sizeof want, "m_f 1 %s\n", cases[i].want);
        check(&o, body, want);
    }
}

static void test_bad_lines(void **state)
{
    static const char *const bad[] = {
        "m",          "m ",
        "m f",        "m f=",
        "m f=x",      "m f=1 x",
        "m =1",       "m,t f=1",
        "m f=1,",     "m f=\"a",
        "m f=\"a\"b", "m,a=b",
        "m f=1 1 2",  "m f=1 9223372036854775808",
        "m f=1ii",    "m f=1,,g=2",
    };
    struct ks_influx_opts o = plain();
    struct ti t;
    ti_init(&t, NOW);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char body[256];
        struct ks_influx_result res;
        snprintf(body, sizeof body, "a f=1,g=2 1700000000000\n%s\nb f=2 1700000000000\n", bad[i]);
        ti_reset(&t);
        assert_int_equal(ks_import_influx(&t.in, ks_slice_str(body), &o, &res), KS_OK);
        if (res.bad != 1 || res.first_bad_line != 2)
            fail_msg("line taken: %s", bad[i]);
        assert_int_equal(res.good, 2);
        assert_true(res.first_bad[0] != 0);
        assert_string_equal(ti_text(&t),
                            "a_f 1 1700000000000\na_g 2 1700000000000\nb_f 2 1700000000000\n");
    }
    ti_done(&t);
}

/* Any tags, names and values, escaped as the protocol says, come back. */
static void put_escaped(struct ks_buf *out, struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (strchr(" ,=\\", s.ptr[i]))
            ks_buf_byte(out, '\\');
        ks_buf_byte(out, (uint8_t)s.ptr[i]);
    }
}

static struct ks_slice random_text(uint64_t *r, char *room)
{
    static const char alphabet[] = "ab ,=\\\"c#\xc3\xa9";
    size_t n = 1 + ks_rng_below(r, 8);
    for (size_t i = 0; i < n; i++)
        room[i] = alphabet[ks_rng_below(r, sizeof alphabet - 1)];
    if (room[0] == '#') /* would make the line a comment */
        room[0] = 'x';
    return ks_slice(room, n);
}

static void test_round_trip(void **state)
{
    uint64_t r = 7;
    struct ks_influx_opts o = plain();
    struct ti t;
    struct ks_buf body;
    ti_init(&t, NOW);
    ks_buf_init(&body, 1 << 20);
    for (int i = 0; i < 3000; i++) {
        char room[4][16];
        struct ks_slice m = random_text(&r, room[0]), k = random_text(&r, room[1]),
                        v = random_text(&r, room[2]);
        struct ks_slice f = random_text(&r, room[3]);
        int64_t n = (int64_t)ks_rng_below(&r, 1000000);
        char name[64];
        snprintf(name, sizeof name, "%.*s_%.*s", KS_SLICE_ARG(m), KS_SLICE_ARG(f));
        ks_buf_reset(&body);
        put_escaped(&body, m);
        ks_buf_byte(&body, ',');
        put_escaped(&body, k);
        ks_buf_byte(&body, '=');
        put_escaped(&body, v);
        ks_buf_byte(&body, ' ');
        put_escaped(&body, f);
        ks_buf_printf(&body, "=%lldi 1700000000000", (long long)n);
        ti_reset(&t);
        struct ks_influx_result res;
        assert_int_equal(ks_import_influx(&t.in, ks_buf_view(&body), &o, &res), KS_OK);
        if (res.bad)
            fail_msg("refused: %s: %.*s", res.first_bad, (int)body.len, body.ptr);
        struct ks_reader rd = ks_reader(t.in.batch->series[0].raw);
        struct ks_label l;
        bool bad;
        assert_true(ks_raw_label_next(&rd, &l, &bad));
        assert_true(ks_slice_eq(l.name, k) && ks_slice_eq(l.value, v));
        assert_true(ks_raw_label_next(&rd, &l, &bad));
        assert_true(ks_slice_is(l.value, name));
        assert_true(t.in.batch->samples[0].value == (double)n);
    }
    ks_buf_done(&body);
    ti_done(&t);
}

/* Labels of a line are copied to each field: the whole of it is bounded. */
static void test_blow_up(void **state)
{
    struct ks_influx_opts o = plain();
    struct ks_influx_result res;
    struct ks_buf body;
    struct ti t;
    ti_init(&t, NOW);
    ks_buf_init(&body, 8 << 20);
    ks_buf_str(&body, "m,t=");
    for (int i = 0; i < 500000; i++)
        ks_buf_byte(&body, 'x');
    for (int i = 0; i < 2000; i++)
        ks_buf_str(&body, i ? ",f=1" : " f=1");
    assert_int_equal(ks_import_influx(&t.in, ks_buf_view(&body), &o, &res), KS_ELIMIT);
    ks_buf_done(&body);
    ti_done(&t);
}

/* A body of several batches: the engine gets each of them, in order. */
static void test_many_batches(void **state)
{
    enum { LINES = 150000 };
    struct ks_influx_opts o = plain();
    struct ks_influx_result res;
    struct ks_buf body, want;
    struct ti t;
    ti_init(&t, NOW);
    ks_buf_init(&body, 16 << 20);
    ks_buf_init(&want, 16 << 20);
    for (int i = 0; i < LINES; i++) {
        ks_buf_printf(&body, "m,t=%d f=%d 1700000000000000000\n", i, i);
        ks_buf_printf(&want, "m_f{t=\"%d\"} %d 1700000000000\n", i, i);
    }
    ks_buf_byte(&want, 0);
    assert_int_equal(ks_import_influx(&t.in, ks_buf_view(&body), &o, &res), KS_OK);
    assert_true(t.in.batch->series_count > 0 && t.in.batch->series_count < LINES / 2);
    assert_true(strcmp(ti_text(&t), want.ptr) == 0);
    ks_buf_done(&body);
    ks_buf_done(&want);
    ti_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_escapes),      cmocka_unit_test(test_options),
        cmocka_unit_test(test_precision),    cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_blow_up),
        cmocka_unit_test(test_many_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
