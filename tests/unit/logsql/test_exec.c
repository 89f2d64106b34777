/* The executor over rows in memory: filters, time and stream push-down, workers, the newest rows,
 * subqueries, limits of memory and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "logsql_util.h"
#include "query/logsql/syntax/parser.h"
#include "sys/clock.h"
#include "sys/pool.h"

static struct ks_lq_mem *data;
static struct ks_pool *pool;
#define S 1000000000ll

static int fill(void **state)
{
    char text[64], num[16];
    if (ks_lq_mem_new(7, &data) || ks_pool_new("test", 3, 100, &pool))
        return 1;
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "request %d took %dms", i, i * 10);
        snprintf(num, sizeof num, "%d", i);
        logsql_add(data, i * S, i % 2 ? "app=web" : "app=db", "_msg", text, "n", num, "mod",
                   i % 3 == 0   ? "fizz"
                   : i % 5 == 0 ? "buzz"
                                : "",
                   "id", i < 50 ? "low" : "high", NULL);
    }
    return 0;
}

static int empty(void **state)
{
    ks_lq_mem_free(data);
    ks_pool_free(pool);
    return 0;
}

static void expect(const char *query, const char *want)
{
    struct ks_buf out;
    ks_buf_init(&out, 1 << 20);
    ks_err err = logsql_run(data, query, NULL, true, &out);
    ks_buf_byte(&out, 0);
    if (err || strcmp(out.ptr, want) != 0)
        fail_msg("[%s] gave %s [%s], want [%s]", query, err ? ks_err_text() : "", out.ptr, want);
    ks_buf_done(&out);
}

/* How many rows match. */
static void count(const char *filter, unsigned want)
{
    char query[512];
    struct ks_buf out;
    unsigned lines = 0;
    ks_buf_init(&out, 1 << 20);
    snprintf(query, sizeof query, "%s | fields n", filter);
    ks_err err = logsql_run(data, query, NULL, false, &out);
    for (size_t i = 0; i < out.len; i++)
        lines += out.ptr[i] == '\n';
    if (err || lines != want)
        fail_msg("[%s]: %u rows, want %u %s", filter, lines, want, err ? ks_err_text() : "");
    ks_buf_done(&out);
}

static void filters(void **state)
{
    count("*", 100);
    count("request", 100);
    count("reques", 0);
    count("reques*", 100);
    count("*eque*", 100);
    count("\"took 10ms\"", 1);
    count("n:=7", 1);
    count("n:in(1,2,3,3,x)", 3);
    count("n:>=98 or n:<2", 4);
    count("!n:>=10", 10);
    count("mod:\"\"", 53);
    count("mod:*", 47);
    count("mod:fizz id:low", 17);
    count("absent:\"\" absent:!x", 100);
    count("i(REQUEST) i(TOO*)", 100);
    count("~\"took 9[0-9]0ms\"", 10);
    count("~\"request (1|2) \"", 2);
    count("seq(request, took)", 100);
    count("seq(took, request)", 0);
    count("len_range(19, 19)", 9);
    count("{app=web} n:<10", 5);
    count("{app=~\"w.*\"} or n:=2", 51);
    count("{app!=web}", 50);
    count("_stream:{app=web} !{app=db}", 50);
    count("*:fizz", 34);
    count("m*:buzz", 13);
    count("n:eq_field(n)", 100);
    count("n:lt_field(mod)", 47);
    count("contains_all(request, took)", 100);
    count("contains_any(5, 6)", 2);
    count("n:contains_common_case(7)", 1);
    count("pattern_match_full(\"request <N> took <N>ms\")", 100);
    count("pattern_match(\"took 1<N>ms\")", 11);
    count("n:string_range(1, 2)", 11);
}

static void time_ranges(void **state)
{
    count("_time:1970-01-01T00:00:05Z", 1);
    count("_time:[1970-01-01T00:00:05Z,1970-01-01T00:00:07Z)", 2);
    count("_time:<1970-01-01T00:00:05Z or _time:>1970-01-01T00:01:30Z", 14);
    count("!_time:<1970-01-01T00:00:05Z", 95);
    count("_time:day_range[00:00, 00:01) offset 0h", 60);
    count("_time:week_range[Thu, Thu]", 100);
    count("_time:week_range[Fri, Wed]", 0);
    count("options(time_offset=10s) _time:[1970-01-01T00:00:15Z,1970-01-01T00:00:17Z)", 2);
    expect("options(time_offset=10s) _time:1970-01-01T00:00:15Z | fields _time, n",
           "_time=1970-01-01T00:00:15Z n=5\n");
}

static void subqueries(void **state)
{
    count("n:in(mod:fizz n:<10 | fields n)", 4);
    count("n:in(nothing | fields n)", 0);
    count("!n:in(n:<90 | uniq by (n))", 10);
    count("id:in(n:in(n:=60 | fields n) | fields id)", 50);
    count("options(global_filter=(n:<20)) n:in(n:>10 | fields n)", 9);
    count("n:<5 | filter n:in(mod:fizz | fields n)", 2);
}

/* The newest rows come first, and no more than asked. */
static void newest(void **state)
{
    struct ks_lq_request opts = {.min_ns = INT64_MIN, .max_ns = INT64_MAX, .newest = 3};
    struct ks_buf out;
    ks_buf_init(&out, 1 << 20);
    for (unsigned workers = 1; workers <= 4; workers++) {
        ks_buf_reset(&out);
        opts.pool = workers > 1 ? pool : NULL;
        opts.workers = workers;
        assert_int_equal(
            logsql_run(data, "mod:fizz | delete _msg, _stream, _stream_id, id", &opts, false, &out),
            KS_OK);
        ks_buf_byte(&out, 0);
        assert_string_equal(out.ptr, "_time=1970-01-01T00:01:39Z mod=fizz n=99\n"
                                     "_time=1970-01-01T00:01:36Z mod=fizz n=96\n"
                                     "_time=1970-01-01T00:01:33Z mod=fizz n=93\n");
    }
    ks_buf_reset(&out);
    assert_int_equal(logsql_run(data, "mod:fizz | fields n", &opts, false, &out), KS_OK);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "n=99\nn=96\nn=93\n");
    opts.newest_offset = 2;
    opts.newest = 1;
    ks_buf_reset(&out);
    assert_int_equal(logsql_run(data, "n:<50 | fields _time", &opts, false, &out), KS_OK);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "_time=1970-01-01T00:00:47Z\n");
    ks_buf_done(&out);
}

/* Any limit over rows in any order of time, many at one time: as a sort would choose. */
static void newest_random(void **state)
{
    struct ks_lq_mem *all = data;
    struct ks_buf a, b;
    char num[16], query[64];
    unsigned seed = 7;
    ks_buf_init(&a, 1 << 20);
    ks_buf_init(&b, 1 << 20);
    for (unsigned round = 0; round < 60; round++) {
        unsigned rows = 1 + round * 3, spread = 1 + round % 7 * 13;
        assert_int_equal(ks_lq_mem_new(1 + round * 5, &data), KS_OK);
        for (unsigned i = 0; i < rows; i++) {
            seed = seed * 1103515245 + 12345;
            snprintf(num, sizeof num, "%u", seed >> 16 & 3);
            logsql_add(data, (int64_t)((seed >> 8) % spread) * S, "", "n", num, NULL);
        }
        for (unsigned limit = 1; limit <= rows; limit = limit * 2 + 1) {
            struct ks_lq_request opts = {.min_ns = INT64_MIN,
                                         .max_ns = INT64_MAX,
                                         .newest = limit,
                                         .newest_offset = round % 3};
            ks_buf_reset(&a);
            ks_buf_reset(&b);
            assert_int_equal(logsql_run(data, "* | fields _time", &opts, false, &a), KS_OK);
            snprintf(query, sizeof query,
                     "* | sort by (_time desc) offset %u limit %u | fields _time", round % 3,
                     limit);
            assert_int_equal(logsql_run(data, query, NULL, false, &b), KS_OK);
            assert_true(ks_slice_eq(ks_buf_view(&a), ks_buf_view(&b)));
        }
        ks_lq_mem_free(data);
    }
    data = all;
    ks_buf_done(&a);
    ks_buf_done(&b);
}

/* Lines [from, from + count) of a text. */
static struct ks_slice lines_of(const struct ks_buf *b, size_t from, size_t count)
{
    size_t i = 0, begin;
    for (; from && i < b->len; i++)
        from -= b->ptr[i] == '\n';
    for (begin = i; count && i < b->len; i++)
        count -= b->ptr[i] == '\n';
    return ks_slice(b->ptr + begin, i - begin);
}

static void fill_random(unsigned rows, unsigned spread, unsigned *seed)
{
    char num[16];
    for (unsigned i = 0; i < rows; i++) {
        *seed = *seed * 1103515245 + 12345;
        snprintf(num, sizeof num, "%u", *seed >> 16 & 63);
        logsql_add(data, (int64_t)((*seed >> 8) % spread + i / 50) * S, *seed & 1 ? "app=a" : "",
                   *seed >> 20 & 7 ? "n" : "m", num, "text", *seed >> 24 & 1 ? "x" : "a longer one",
                   NULL);
    }
}

/* A limit gives the beginning of what the sort gives without: rows are chosen early by their keys,
 * and whole blocks by their times. Fields are the keys alone: rows that tie may stand for each
 * other. */
static void sort_random(void **state)
{
    static const char *const keys[][2] = {
        {"_time", "_time"},
        {"_time desc", "_time"},
        {"n", "n"},
        {"n desc, _time", "n,_time"},
        {"_time, n desc", "n,_time"},
        {"text, _time desc", "text,_time"},
        {"m, n desc", "m,n"},
    };
    struct ks_lq_mem *all = data;
    struct ks_buf a, b;
    char query[160];
    unsigned seed = 11;
    ks_buf_init(&a, 4 << 20);
    ks_buf_init(&b, 4 << 20);
    for (unsigned round = 0; round < 24; round++) {
        struct ks_lq_request opts = {
            .min_ns = INT64_MIN, .max_ns = INT64_MAX, .pool = pool, .workers = 1 + round % 4};
        unsigned offset = round % 3 * 4;
        assert_int_equal(ks_lq_mem_new(1 + round * 7 % 90, &data), KS_OK);
        fill_random(40 + round * 60, 1 + round % 5 * 40, &seed);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            for (unsigned limit = 1; limit < 400; limit = limit * 3 + 1) {
                const char *desc = limit % 2 ? "" : " desc";
                ks_buf_reset(&a);
                ks_buf_reset(&b);
                snprintf(query, sizeof query, "* | sort by (%s)%s | fields %s", keys[k][0], desc,
                         keys[k][1]);
                assert_int_equal(logsql_run(data, query, NULL, false, &a), KS_OK);
                snprintf(query, sizeof query, "* | sort by (%s)%s offset %u limit %u | fields %s",
                         keys[k][0], desc, offset, limit, keys[k][1]);
                assert_int_equal(logsql_run(data, query, &opts, false, &b), KS_OK);
                if (!ks_slice_eq(lines_of(&a, offset, limit), ks_buf_view(&b)))
                    fail_msg("[%s] on %u rows, %u workers", query, 40 + round * 60, opts.workers);
            }
        }
        ks_lq_mem_free(data);
    }
    data = all;
    ks_buf_done(&a);
    ks_buf_done(&b);
}

/* Any number of workers, the same answer. */
static void workers(void **state)
{
    static const char *const queries[] = {
        "* | stats by (mod) count() c, sum(n) s, max(n) m",
        "{app=web} | stats count() if (mod:fizz) a, count() b",
        "* | uniq by (id, mod) with hits",
        "* | sort by (n) desc limit 5 | fields n",
        "* | top 2 by (mod)",
        "* | facets 3 max_values_per_field 20",
        "* | sort by (_time) limit 3",
        "* | sort by (n) desc limit 2 partition by (id) | fields n",
    };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        struct ks_buf one, many;
        struct ks_lq_request opts = {
            .min_ns = INT64_MIN, .max_ns = INT64_MAX, .pool = pool, .workers = 4};
        ks_buf_init(&one, 1 << 20);
        ks_buf_init(&many, 1 << 20);
        assert_int_equal(logsql_run(data, queries[i], NULL, true, &one), KS_OK);
        assert_int_equal(logsql_run(data, queries[i], &opts, true, &many), KS_OK);
        assert_true(one.len > 0);
        assert_true(ks_slice_eq(ks_buf_view(&one), ks_buf_view(&many)));
        ks_buf_done(&one);
        ks_buf_done(&many);
    }
}

static void limits(void **state)
{
    struct ks_buf out;
    _Atomic int cancel = 1;
    struct ks_read_ctx late = {.deadline_mono_ms = 1}, gone = {.cancel = &cancel};
    struct ks_lq_request opts = {.min_ns = INT64_MIN, .max_ns = INT64_MAX, .ctx = &late};
    ks_buf_init(&out, 1 << 20);
    (void)ks_mono_ms();
    assert_int_equal(logsql_run(data, "*", &opts, false, &out), KS_ETIMEDOUT);
    opts.ctx = &gone;
    assert_int_equal(logsql_run(data, "*", &opts, false, &out), KS_ECANCELED);
    opts.ctx = NULL;
    opts.memory_max = 100;
    assert_int_equal(logsql_run(data, "* | sort by (n)", &opts, false, &out), KS_ELIMIT);
    /* What stages make of a batch counts, however many there are: each of these doubles it. */
    char packed[1024] = "n:<3";
    for (int i = 0; i < 20; i++)
        strcat(packed, " | pack_json");
    opts.memory_max = 8 << 20;
    assert_int_equal(logsql_run(data, packed, &opts, false, &out), KS_ELIMIT);
    ks_buf_reset(&out);
    packed[strlen("n:<3 | pack_json | pack_json | pack_json")] = 0;
    assert_int_equal(logsql_run(data, packed, &opts, false, &out), KS_OK);
    ks_buf_done(&out);
}

/* What a proxy imposes holds for the query, its subqueries and context; hidden fields are not
 * there. */
static void imposed(void **state)
{
    struct ks_arena a;
    struct ks_lq_filter *f;
    struct ks_buf out;
    ks_arena_init(&a, 1 << 20);
    ks_buf_init(&out, 1 << 20);
    assert_int_equal(ks_lq_parse_filter(KS_SLICE_LIT("id:low"), 0, &a, &f), KS_OK);
    struct ks_lq_request opts = {.min_ns = INT64_MIN, .max_ns = INT64_MAX, .extra = f};
    assert_int_equal(
        logsql_run(data, "n:in(n:>48 | fields n) or n:99 | fields n", &opts, true, &out), KS_OK);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "n=49\n");
    ks_buf_reset(&out);
    assert_int_equal(
        logsql_run(data, "n:=49 | stream_context after 1 before 1 | fields n", &opts, true, &out),
        KS_OK);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "n=47\nn=49\n");
    struct ks_lq_field hide = {{"mo", 2}, true};
    opts.extra = NULL;
    opts.hidden = (struct ks_lq_fields){&hide, 1};
    ks_buf_reset(&out);
    assert_int_equal(logsql_run(data, "n:=3 mod:\"\" | fields n, mod", &opts, true, &out), KS_OK);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "n=3\n");
    ks_buf_done(&out);
    ks_arena_done(&a);
}

static void context(void **state)
{
    expect("n:=20 or n:=40 | stream_context before 1 after 1 | fields n, _msg",
           "_msg=---\n"
           "_msg=request 18 took 180ms n=18\n_msg=request 20 took 200ms n=20\n"
           "_msg=request 22 took 220ms n=22\n_msg=request 38 took 380ms n=38\n"
           "_msg=request 40 took 400ms n=40\n_msg=request 42 took 420ms n=42\n");
    expect("n:=20 | stream_context before 5 time_window 3s | fields n", "n=18\nn=20\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters), cmocka_unit_test(time_ranges),   cmocka_unit_test(subqueries),
        cmocka_unit_test(newest),  cmocka_unit_test(newest_random), cmocka_unit_test(sort_random),
        cmocka_unit_test(workers), cmocka_unit_test(limits),        cmocka_unit_test(imposed),
        cmocka_unit_test(context),
    };
    return cmocka_run_group_tests(tests, fill, empty);
}
