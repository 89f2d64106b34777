/*
 * Properties over random rows: an answer does not depend on how rows are cut into blocks, encoded
 * and spread over workers; stats, sort, uniq and top agree with naive models of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "lq_rows.h"
#include "query/logsql/filter/value.h"
#include "sys/rand.h"

enum { ROWS = 300, TEXT_MAX = 1 << 16 };

static const char *const words[] = {"1",   "2",       "10",    "2.5", "3ms",     "1KiB",
                                    "foo", "foo bar", "a=1 b", "zz",  "1.2.3.4", "",
                                    "07",  "99",      "[1,2]", "1e3", "x-y",     "{\\\"k\\\":1}"};

static char *random_rows(uint64_t *rng, size_t rows)
{
    struct ks_buf b;
    ks_buf_init(&b, TEXT_MAX);
    for (size_t i = 0; i < rows; i++) {
        ks_buf_printf(&b, "{\"i\":\"%zu\"", i);
        for (char name = 'a'; name <= 'd'; name++)
            if (ks_rng_below(rng, 4))
                ks_buf_printf(&b, ",\"%c\":\"%s\"", name,
                              words[ks_rng_below(rng, sizeof words / sizeof *words)]);
        ks_buf_str(&b, "}\n");
    }
    ks_buf_byte(&b, 0);
    char *text = ks_strdup(b.ptr);
    ks_buf_done(&b);
    return text;
}

/* Queries whose answers are sets that rows alone decide. */
static const char *const queries[] = {
    "stats count() n, count(a) c, count_empty(a, b) e, count_uniq(a) u, count_uniq(a, b) v",
    "stats by (a) count() n, sum(b) s, avg(b) m, min(c) lo, max(c) hi, sum_len(d) l",
    "stats by (a, b:5) count() n, uniq_values(c) u, median(d) m, quantile(0.9, c) q",
    "stats by (_time:1m) count() n, count() if (a:foo) f, stddev(a) s, histogram(a) h",
    "stats by (_time:7s, b) count_uniq_hash(a) n, rate_sum(c) r, max(_time) t, min(_time) u",
    "stats by (d) row_max(i, a, b) x, row_min(i) y, field_max(i, c) z",
    "stats by (c) json_values(a, i) sort by (i desc) limit 3 j",
    "stats by (a) count() switch (case (b:foo) f, case (b:>1) g, default h)",
    "uniq by (a, c) with hits",
    "uniq by (b) filter o with hits",
    "top 5 by (a) rank",
    "top 100 by (a, b) hits as h",
    "facets 5",
    "facets 100 max_values_per_field 10 keep_const_fields",
    "field_names",
    "field_values a",
    "sort by (a, i) limit 7 rank",
    "sort by (b desc, i) offset 5 limit 9",
    "sort by (c, i) partition by (a) limit 2 rank as r",
    "first 3 by (i desc) partition by (b)",
    "last 2 by (a, i)",
    "running_stats by (a) count() n, sum(b) s, last(i) offset 1 p",
    "total_stats by (a) count() n, max(b) m, first(i) f",
    "join by (a) (b:foo | stats by (a) count() k)",
    "unpack_json from a | unpack_logfmt from b | unroll by (c)",
    "extract '<x>=<y> ' from a | format '<x>.<uc:b>' as z keep_original_fields",
    "math a + b as x, round(x, 0.5) as y, max(a, b, c) as z",
    "filter a:>1 or b:foo | replace ('o', '0') at b | len(b) as l | pack_json as p",
    "sort by (i) | stats by (a) values(i) v",
};

static void test_layouts(void **state)
{
    uint64_t rng = 11;
    for (int round = 0; round < 6; round++) {
        char *rows = random_rows(&rng, 1 + ks_rng_below(&rng, ROWS));
        for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
            char query[256];
            snprintf(query, sizeof query, "* | delete _stream, _stream_id | %s", queries[i]);
            struct lq_layout one = {.seed = 1, .block_rows = 100000};
            char *want = lq_rows_query(query, rows, &one, false);
            if (strncmp(want, "error", 5) == 0)
                fail_msg("%s: %s", query, want);
            for (unsigned k = 0; k < 4; k++) {
                struct lq_layout l = {.seed = 20 + ks_rng_below(&rng, 1000),
                                      .block_rows = 1 + ks_rng_below(&rng, 40),
                                      .workers = 1 + k};
                char *got = lq_rows_query(query, rows, &l, false);
                if (strcmp(got, want) != 0)
                    fail_msg("%s\nseed %llu rows %zu workers %u\ngot  %.1500s\nwant %.1500s",
                             queries[i], (unsigned long long)l.seed, l.block_rows, l.workers, got,
                             want);
                ks_free(got);
            }
            ks_free(want);
        }
        ks_free(rows);
    }
}

/* ---------------------------------------------------------------- models */

struct numbers {
    int64_t *v;
    size_t count;
};

static char *number_rows(uint64_t *rng, size_t count, struct numbers *ret)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 22);
    ret->count = count;
    ret->v = ks_alloc_array(count + 1, sizeof *ret->v);
    for (size_t i = 0; i < count; i++) {
        ret->v[i] = (int64_t)ks_rng_below(rng, 1000) - 500;
        ks_buf_printf(&b, "{\"v\":\"%lld\",\"g\":\"%zu\"}\n", (long long)ret->v[i], i % 3);
    }
    ks_buf_byte(&b, 0);
    char *text = ks_strdup(b.ptr);
    ks_buf_done(&b);
    return text;
}

static int i64_cmp(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* sort with a limit is the head of a full sort, for any limit and offset. */
static void test_sort_model(void **state)
{
    uint64_t rng = 5;
    for (int round = 0; round < 20; round++) {
        struct numbers n;
        char *rows = number_rows(&rng, 9000, &n), query[128];
        size_t offset = ks_rng_below(&rng, 20), limit = 1 + ks_rng_below(&rng, 30);
        bool desc = ks_rng_below(&rng, 2);
        qsort(n.v, n.count, sizeof *n.v, i64_cmp);
        struct ks_buf want;
        ks_buf_init(&want, 1 << 20);
        for (size_t i = offset; i < offset + limit; i++)
            ks_buf_printf(&want, "{\"v\":\"%lld\"}\n", (long long)n.v[desc ? n.count - 1 - i : i]);
        ks_buf_byte(&want, 0);
        snprintf(query, sizeof query, "* | sort by (v%s) offset %zu limit %zu | fields v",
                 desc ? " desc" : "", offset, limit);
        struct lq_layout l = {.seed = round + 1, .block_rows = 700, .workers = 1 + round % 3};
        char *got = lq_rows_query(query, rows, &l, true);
        assert_string_equal(got, want.ptr);
        ks_free(got);
        ks_buf_done(&want);
        ks_free(rows);
        ks_free(n.v);
    }
}

static void test_stats_model(void **state)
{
    uint64_t rng = 6;
    for (int round = 0; round < 20; round++) {
        struct numbers n;
        size_t count = 1 + ks_rng_below(&rng, 3000);
        char *rows = number_rows(&rng, count, &n), want[256];
        int64_t sum = 0;
        size_t uniq = 0;
        for (size_t i = 0; i < count; i++)
            sum += n.v[i];
        qsort(n.v, count, sizeof *n.v, i64_cmp);
        for (size_t i = 0; i < count; i++)
            uniq += i == 0 || n.v[i] != n.v[i - 1];
        snprintf(
            want, sizeof want,
            "{\"hi\":\"%lld\",\"lo\":\"%lld\",\"m\":\"%lld\",\"n\":\"%zu\",\"q\":\"%lld\",\"s\":"
            "\"%lld\",\"u\":\"%zu\"}\n",
            (long long)n.v[count - 1], (long long)n.v[0], (long long)n.v[count / 2], count,
            (long long)n.v[(size_t)(0.99 * (double)count)], (long long)sum, uniq);
        struct lq_layout l = {.seed = round, .block_rows = 200, .workers = 1 + round % 4};
        char *got =
            lq_rows_query("* | stats count() n, sum(v) s, min(v) lo, max(v) hi, median(v) m, "
                          "quantile(0.99, v) q, count_uniq(v) u",
                          rows, &l, false);
        assert_string_equal(got, want);
        ks_free(got);
        ks_free(rows);
        ks_free(n.v);
    }
}

/* Beyond its sample a quantile stays near. */
static void test_quantile_sample(void **state)
{
    struct lq_layout l = {.workers = 1};
    char *got = lq_rows_query("* | generate_sequence 100000 | stats quantile(0.5, _msg) q", "{}\n",
                              &l, false);
    long long q = strtoll(got + strlen("{\"q\":\""), NULL, 10);
    assert_true(q > 46000 && q < 54000);
    ks_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_sort_model),
        cmocka_unit_test(test_stats_model),
        cmocka_unit_test(test_quantile_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
