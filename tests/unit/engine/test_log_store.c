/* A log store as its users see it: rows are there at once, after a restart, after a crash, and only
 * the rows asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/logs/log_store.h"
#include "log_rows.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/vfs.h"

#define T0     1790000000000ll /* ms; within the retention of a frozen clock */
#define NS(ms) ((T0 + (ms)) * 1000000ll)

struct fixture {
    char dir[64];
    struct ks_engine *e;
    struct ks_logs *logs;
    struct ks_log_store *s;
    struct ks_log_batch b;
    struct ks_log_store_opts store;
    struct ks_logs_opts opts;
};

static void open_store(struct fixture *f)
{
    f->opts.stores = &f->store;
    f->opts.store_count = 1;
    f->store.name = "logs";
    assert_int_equal(ks_logs_new(&f->opts, &f->logs), KS_OK);
    struct ks_signal sig = ks_logs_signal(f->logs);
    struct ks_engine_opts o = {.dir = f->dir,
                               .no_background = true,
                               .wal_segment_bytes = 4 << 20,
                               .memory_bytes = 64 << 20,
                               .signals = &sig,
                               .signal_count = 1};
    ks_err err = ks_engine_open(&o, &f->e);
    if (err != KS_OK)
        fail_msg("%s", ks_err_text());
    f->s = ks_logs_store_at(f->logs, 0);
}

static void close_store(struct fixture *f)
{
    assert_int_equal(ks_engine_close(f->e), KS_OK);
    ks_logs_free(f->logs);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    ks_clock_freeze_ms(T0);
    snprintf(f->dir, sizeof f->dir, "%.40s/ks-logs-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    ks_log_batch_init(&f->b, 64 << 20);
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    ks_log_batch_done(&f->b);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), f->dir), KS_OK);
    ks_clock_freeze_ms(0);
    free(f);
    return 0;
}

static struct ks_log_write_result put(struct fixture *f)
{
    struct ks_log_write_result r;
    ks_err err = ks_log_store_write(f->s, &f->b, &r);
    if (err != KS_OK)
        fail_msg("%s", ks_err_text());
    ks_log_batch_reset(&f->b);
    return r;
}

static char *all(struct fixture *f, const struct ks_log_scan_opts *o)
{
    struct ks_buf out;
    struct ks_log_scan_opts every = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    log_dump(f->s, o ? o : &every, &out);
    ks_buf_byte(&out, 0);
    return out.ptr;
}

static void expect(struct fixture *f, const struct ks_log_scan_opts *o, const char *want)
{
    char *got = all(f, o);
    assert_string_equal(got, want);
    ks_free(got);
}

static void sample_rows(struct fixture *f)
{
    log_row(&f->b, (struct ks_tenant){0, 0}, "host=a,app=web", NS(5), "_msg=hello|level=info");
    log_row(&f->b, (struct ks_tenant){0, 0}, "app=web,host=a", NS(3), "_msg=again|empty=");
    log_row(&f->b, (struct ks_tenant){7, 9}, "app=db", NS(4), "_msg=slow|ms=120|level=warn");
}

#define SAMPLE                                                                                     \
    "0:0 {app=\"web\",host=\"a\"} 1790000000003000000 _msg=\"again\"\n"                            \
    "0:0 {app=\"web\",host=\"a\"} 1790000000005000000 _msg=\"hello\" level=\"info\"\n"             \
    "7:9 {app=\"db\"} 1790000000004000000 _msg=\"slow\" level=\"warn\" ms=\"120\"\n"

static void rows_are_there_at_once(void **state)
{
    struct fixture *f = *state;
    sample_rows(f);
    assert_int_equal(f->b.stream_count, 2);
    struct ks_log_write_result r = put(f);
    assert_int_equal(r.stored, 3);
    assert_int_equal(r.streams_created, 2);
    expect(f, NULL, SAMPLE);
}

static void rows_survive_stop_and_start(void **state)
{
    struct fixture *f = *state;
    sample_rows(f);
    put(f);
    close_store(f);
    open_store(f);
    expect(f, NULL, SAMPLE);
    log_row(&f->b, (struct ks_tenant){0, 0}, "app=web,host=a", NS(9), "_msg=z");
    put(f);
    close_store(f);
    open_store(f);
    expect(f, NULL,
           "0:0 {app=\"web\",host=\"a\"} 1790000000003000000 _msg=\"again\"\n"
           "0:0 {app=\"web\",host=\"a\"} 1790000000005000000 _msg=\"hello\" level=\"info\"\n"
           "0:0 {app=\"web\",host=\"a\"} 1790000000009000000 _msg=\"z\"\n"
           "7:9 {app=\"db\"} 1790000000004000000 _msg=\"slow\" level=\"warn\" ms=\"120\"\n");
}

static void rows_survive_a_killed_process(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    pid_t child = fork();
    if (!child) {
        open_store(f);
        sample_rows(f);
        put(f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    open_store(f);
    expect(f, NULL, SAMPLE);
}

static bool only_db(void *arg, const struct ks_log_stream *s)
{
    ++*(int *)arg;
    return ks_slice_is(ks_labels_get(s->tags, KS_SLICE_LIT("app")), "db");
}

static void a_scan_sees_what_it_asks_for(void **state)
{
    struct fixture *f = *state;
    struct ks_tenant t = {7, 9};
    int asked = 0;
    sample_rows(f);
    put(f);
    for (int round = 0; round < 2; round++) {
        struct ks_log_scan_opts o = {.min_ns = NS(3), .max_ns = NS(3)};
        expect(f, &o, "0:0 {app=\"web\",host=\"a\"} 1790000000003000000 _msg=\"again\"\n");
        o = (struct ks_log_scan_opts){
            .min_ns = INT64_MIN, .max_ns = INT64_MAX, .tenants = &t, .tenant_count = 1};
        const char *db =
            "7:9 {app=\"db\"} 1790000000004000000 _msg=\"slow\" level=\"warn\" ms=\"120\"\n";
        expect(f, &o, db);
        o = (struct ks_log_scan_opts){
            .min_ns = INT64_MIN, .max_ns = INT64_MAX, .stream = only_db, .stream_arg = &asked};
        asked = 0;
        expect(f, &o, db);
        assert_int_equal(asked, 2);
        assert_int_equal(ks_log_store_flush(f->s), KS_OK);
    }
}

static void times_outside_are_counted(void **state)
{
    struct fixture *f = *state;
    struct ks_tenant t = {0, 0};
    log_row(&f->b, t, "a=b", NS(0) - 9 * 86400000000000ll, "_msg=old");
    log_row(&f->b, t, "a=b", NS(0) + 4 * 86400000000000ll, "_msg=new");
    log_row(&f->b, t, "a=b", NS(0), "_msg=now");
    log_row(&f->b, t, "a=b", INT64_MIN, "_msg=never");
    struct ks_log_write_result r = put(f);
    assert_int_equal(r.stored, 1);
    assert_int_equal(r.too_old, 2);
    assert_int_equal(r.too_new, 1);
}

static void hard_limits_hold(void **state)
{
    struct fixture *f = *state;
    uint32_t stream;
    static struct ks_log_field many[KS_LOG_FIELDS_MAX + 1];
    static char names[KS_LOG_FIELDS_MAX + 1][8], big[KS_LOG_ROW_MAX + 1], long_name[129];
    memset(big, 'x', sizeof big);
    memset(long_name, 'n', sizeof long_name);
    for (int i = 0; i <= KS_LOG_FIELDS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "f%d", i);
        many[i] = (struct ks_log_field){ks_slice_str(names[i]), KS_SLICE_LIT("v")};
    }
    assert_int_equal(ks_log_batch_stream(&f->b, (struct ks_tenant){0, 0}, NULL, 0, &stream), KS_OK);
    assert_int_equal(ks_log_batch_row(&f->b, stream, NS(0), many, KS_LOG_FIELDS_MAX + 1), KS_OK);
    struct ks_log_field x = {ks_slice(long_name, 129), KS_SLICE_LIT("v")};
    assert_int_equal(ks_log_batch_row(&f->b, stream, NS(0), &x, 1), KS_OK);
    x = (struct ks_log_field){KS_SLICE_LIT("_msg"), ks_slice(big, sizeof big)};
    assert_int_equal(ks_log_batch_row(&f->b, stream, NS(0), &x, 1), KS_OK);
    assert_int_equal(ks_log_batch_row(&f->b, stream, NS(0), many, KS_LOG_FIELDS_MAX), KS_OK);
    x.value.len = KS_LOG_ROW_MAX - 4;
    assert_int_equal(ks_log_batch_row(&f->b, stream, NS(0), &x, 1), KS_OK);
    struct ks_log_write_result r = put(f);
    assert_int_equal(r.too_many_fields, 1);
    assert_int_equal(r.name_too_long, 1);
    assert_int_equal(r.row_too_large, 1);
    assert_int_equal(r.stored, 2);
    char *before = all(f, NULL);
    close_store(f);
    open_store(f);
    expect(f, NULL, before);
    ks_free(before);
}

static void arrivals_come_once(void **state)
{
    struct fixture *f = *state;
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    uint64_t at = ks_log_store_arrival(f->s), first;
    sample_rows(f);
    put(f);
    uint64_t mid = ks_log_store_arrival(f->s);
    assert_int_equal(mid - at, 3);
    log_row(&f->b, (struct ks_tenant){0, 0}, "a=b", NS(1), "_msg=late");
    put(f);
    ks_log_store_wait(f->s, mid, 10000);
    assert_int_equal(ks_log_store_flush(f->s), KS_OK);
    struct ks_log_scan *scan;
    struct ks_buf out;
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    assert_int_equal(
        ks_log_store_scan_arrivals(f->s, &o, mid, ks_log_store_arrival(f->s), &first, &scan),
        KS_OK);
    log_dump_scan(scan, &out);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "0:0 {a=\"b\"} 1790000000001000000 _msg=\"late\"\n");
    ks_log_scan_free(scan);
    ks_buf_reset(&out);
    assert_int_equal(ks_log_store_scan_arrivals(f->s, &o, at + 1, mid, &first, &scan), KS_OK);
    log_dump_scan(scan, &out);
    ks_buf_byte(&out, 0);
    assert_string_equal(
        out.ptr, "0:0 {app=\"web\",host=\"a\"} 1790000000003000000 _msg=\"again\"\n"
                 "7:9 {app=\"db\"} 1790000000004000000 _msg=\"slow\" level=\"warn\" ms=\"120\"\n");
    ks_log_scan_free(scan);
    ks_buf_done(&out);
}

static bool note_stream(void *arg, const struct ks_log_stream *s, uint64_t rows)
{
    ks_stream_print(s->tags, arg);
    ks_buf_printf(arg, "%llu;", (unsigned long long)rows);
    return true;
}

static bool note_tenant(void *arg, struct ks_tenant t)
{
    ks_buf_printf(arg, "%u:%u;", t.account, t.project);
    return true;
}

static void streams_and_tenants_are_listed(void **state)
{
    struct fixture *f = *state;
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    struct ks_buf out;
    ks_buf_init(&out, 1 << 20);
    sample_rows(f);
    put(f);
    for (int round = 0; round < 2; round++) {
        ks_buf_reset(&out);
        assert_int_equal(ks_log_store_streams(f->s, &o, note_stream, &out), KS_OK);
        assert_int_equal(ks_log_store_tenants(f->s, INT64_MIN, INT64_MAX, note_tenant, &out),
                         KS_OK);
        ks_buf_byte(&out, 0);
        assert_string_equal(out.ptr, "{app=\"web\",host=\"a\"}2;{app=\"db\"}1;0:0;7:9;");
        assert_int_equal(ks_log_store_flush(f->s), KS_OK);
    }
    ks_buf_done(&out);
}

static void repeated_batches_are_stored_once(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    f->store.dedup_window_ms = 60000;
    open_store(f);
    sample_rows(f);
    assert_false(put(f).duplicate);
    sample_rows(f);
    assert_true(put(f).duplicate);
    expect(f, NULL, SAMPLE);
    ks_clock_freeze_ms(T0 + 61000);
    sample_rows(f);
    assert_int_equal(put(f).stored, 3);
}

static bool is_warn(void *arg, struct ks_slice v)
{
    return ks_slice_is(v, "warn");
}

static ks_err pick_warn(void *arg, struct ks_log_block *b, uint64_t *bits)
{
    struct ks_log_pred p = {.match = is_warn};
    return ks_log_block_filter(b, KS_SLICE_LIT("level"), &p, bits);
}

#define WITHOUT_WARN                                                                               \
    "0:0 {app=\"web\",host=\"a\"} 1790000000003000000 _msg=\"again\"\n"                            \
    "0:0 {app=\"web\",host=\"a\"} 1790000000005000000 _msg=\"hello\" level=\"info\"\n"

static struct ks_log_store_stats stats(struct fixture *f)
{
    struct ks_log_store_stats st;
    ks_log_store_get_stats(f->s, &st);
    return st;
}

static void deleted_rows_are_hidden_then_gone(void **state)
{
    struct fixture *f = *state;
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    uint64_t rows;
    sample_rows(f);
    put(f);
    assert_int_equal(ks_log_store_delete(f->s, &o, pick_warn, NULL, &rows), KS_OK);
    assert_int_equal(rows, 1);
    expect(f, NULL, WITHOUT_WARN);
    close_store(f);
    open_store(f);
    expect(f, NULL, WITHOUT_WARN);
    assert_int_equal(stats(f).part_rows, 3);
    assert_int_equal(ks_log_store_merge(f->s, ""), KS_OK);
    assert_int_equal(stats(f).part_rows, 2);
    expect(f, NULL, WITHOUT_WARN);
    assert_int_equal(ks_log_store_delete(f->s, &o, NULL, NULL, &rows), KS_OK);
    assert_int_equal(rows, 2);
    assert_int_equal(ks_log_store_merge(f->s, ""), KS_OK);
    assert_int_equal(stats(f).part_count, 0);
    expect(f, NULL, "");
}

static void merged_parts_say_the_same(void **state)
{
    struct fixture *f = *state;
    static char fields[3000][64], tags[3000][24];
    for (int i = 0; i < 3000; i++) {
        snprintf(fields[i], sizeof fields[i], "_msg=row %d of some|n=%d%s", i, i * 7,
                 i % 3 ? "" : "|odd=yes");
        snprintf(tags[i], sizeof tags[i], "app=a%d", i % 40);
        log_row(&f->b, (struct ks_tenant){(uint32_t)i % 2, 0}, tags[i],
                NS(-(i * 7919 % 100000) * 1000ll), fields[i]);
        if (i % 100 == 99) {
            put(f);
            assert_int_equal(ks_log_store_flush(f->s), KS_OK);
        }
    }
    char *before = all(f, NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ks_engine_tick(f->e), KS_OK);
    expect(f, NULL, before);
    assert_true(stats(f).merges_total > 0);
    assert_int_equal(ks_log_store_merge(f->s, ""), KS_OK);
    assert_int_equal(stats(f).part_count, stats(f).day_count);
    assert_int_equal(stats(f).part_rows, 3000);
    expect(f, NULL, before);
    close_store(f);
    open_store(f);
    expect(f, NULL, before);
    ks_free(before);
}

static void old_days_leave(void **state)
{
    struct fixture *f = *state;
    struct ks_tenant t = {0, 0};
    log_row(&f->b, t, "a=b", NS(-5 * 86400000ll), "_msg=old");
    log_row(&f->b, t, "a=b", NS(0), "_msg=now");
    put(f);
    assert_int_equal(ks_log_store_flush(f->s), KS_OK);
    assert_int_equal(stats(f).day_count, 2);
    ks_clock_freeze_ms(T0 + 4 * 86400000ll);
    const char *now = "0:0 {a=\"b\"} 1790000000000000000 _msg=\"now\"\n";
    expect(f, NULL, now); /* hidden before it is dropped */
    assert_int_equal(ks_engine_tick(f->e), KS_OK);
    assert_int_equal(stats(f).day_count, 1);
    expect(f, NULL, now);
}

/* Late rows of a day that is over, a few with each flush: what is merged stays in proportion. */
static void late_rows_do_not_rewrite_the_day(void **state)
{
    struct fixture *f = *state;
    struct ks_tenant t = {0, 0};
    enum { ROWS = 60000, LATE = 40 };
    static char text[ROWS][48];
    uint64_t rng = 3;
    for (size_t i = 0; i < ROWS; i++) {
        snprintf(text[i], sizeof text[i], "_msg=%016llx%016llx",
                 (unsigned long long)ks_rng_next(&rng), (unsigned long long)ks_rng_next(&rng));
        log_row(&f->b, t, "a=b", NS(-2 * 86400000ll) + (int64_t)i, text[i]);
        if (i % 1000 == 999)
            put(f);
    }
    assert_int_equal(ks_log_store_merge(f->s, ""), KS_OK);
    uint64_t before = stats(f).merged_rows_total;
    for (int i = 0; i < LATE; i++) {
        log_row(&f->b, t, "a=b", NS(-2 * 86400000ll) + i, text[i]);
        put(f);
        assert_int_equal(ks_log_store_flush(f->s), KS_OK);
        for (int k = 0; k < 3; k++)
            assert_int_equal(ks_engine_tick(f->e), KS_OK);
    }
    struct ks_log_store_stats st = stats(f);
    if (st.merged_rows_total - before >= ROWS)
        fail_msg("%llu rows merged, data %llu parts %llu",
                 (unsigned long long)(st.merged_rows_total - before),
                 (unsigned long long)st.data_bytes, (unsigned long long)st.part_count);
    assert_true(st.part_count < 8);
    assert_int_equal(st.part_rows, ROWS + LATE);
}

static void rules_shorten_the_life_of_streams(void **state)
{
    struct fixture *f = *state;
    struct ks_tenant t = {0, 0};
    struct ks_matcher m = {KS_SLICE_LIT("app"), KS_SLICE_LIT("noise"), KS_MATCH_EQ};
    struct ks_selector sel = {&m, 1};
    struct ks_log_retention_rule rule = {&sel, 1, 86400000000000ll};
    close_store(f);
    f->store.rules = &rule;
    f->store.rule_count = 1;
    open_store(f);
    log_row(&f->b, t, "app=noise", NS(-2 * 86400000ll), "_msg=old");
    log_row(&f->b, t, "app=noise", NS(0), "_msg=now");
    log_row(&f->b, t, "app=rest", NS(-2 * 86400000ll), "_msg=kept");
    put(f);
    const char *want = "0:0 {app=\"noise\"} 1790000000000000000 _msg=\"now\"\n"
                       "0:0 {app=\"rest\"} 1789827200000000000 _msg=\"kept\"\n";
    expect(f, NULL, want);
    assert_int_equal(ks_log_store_flush(f->s), KS_OK);
    expect(f, NULL, want);
    assert_int_equal(stats(f).part_rows, 3);
    assert_int_equal(ks_engine_tick(f->e), KS_OK);
    assert_int_equal(stats(f).part_rows, 2);
    expect(f, NULL, want);
}

static void snapshots_open_as_stores(void **state)
{
    struct fixture *f = *state;
    char name[64], old[64];
    sample_rows(f);
    put(f);
    assert_int_equal(ks_engine_snapshot_create(f->e, name), KS_OK);
    log_row(&f->b, (struct ks_tenant){0, 0}, "a=b", NS(1), "_msg=later");
    put(f);
    close_store(f);
    memcpy(old, f->dir, sizeof old);
    char snap[256];
    snprintf(snap, sizeof snap, "%s/snapshots/%s", old, name);
    snprintf(f->dir, sizeof f->dir, "%.50s-copy", old);
    assert_int_equal(rename(snap, f->dir), 0);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), old), KS_OK);
    open_store(f);
    expect(f, NULL, SAMPLE);
}

static void damaged_parts_are_set_aside(void **state)
{
    struct fixture *f = *state;
    char cmd[256];
    sample_rows(f);
    put(f);
    close_store(f);
    snprintf(
        cmd, sizeof cmd,
        "for p in %s/logs/logs/parts/*/*.part; do printf X | dd of=$p bs=1 seek=3 conv=notrunc "
        "2>/dev/null; done",
        f->dir);
    assert_int_equal(system(cmd), 0);
    open_store(f);
    assert_int_equal(stats(f).quarantined_parts, 1);
    expect(f, NULL, "");
    sample_rows(f);
    put(f);
    expect(f, NULL, SAMPLE);
}

/* Memory stays within its budget however much is written. */
static void memory_is_bounded(void **state)
{
    struct fixture *f = *state;
    static char text[4096];
    close_store(f);
    f->opts.memory_bytes = 1 << 20;
    open_store(f);
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "_msg=", 5);
    for (int i = 0; i < 2000; i++) {
        log_row(&f->b, (struct ks_tenant){0, 0}, "a=b", NS(i), text);
        put(f);
        assert_true(stats(f).memory_bytes <= 3 << 20);
    }
    assert_true(stats(f).flushes_total > 3);
    assert_int_equal(stats(f).part_rows + stats(f).memory_rows, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        TEST(rows_are_there_at_once),
        TEST(rows_survive_stop_and_start),
        TEST(rows_survive_a_killed_process),
        TEST(a_scan_sees_what_it_asks_for),
        TEST(times_outside_are_counted),
        TEST(hard_limits_hold),
        TEST(arrivals_come_once),
        TEST(streams_and_tenants_are_listed),
        TEST(repeated_batches_are_stored_once),
        TEST(deleted_rows_are_hidden_then_gone),
        TEST(merged_parts_say_the_same),
        TEST(old_days_leave),
        TEST(late_rows_do_not_rewrite_the_day),
        TEST(rules_shorten_the_life_of_streams),
        TEST(snapshots_open_as_stores),
        TEST(damaged_parts_are_set_aside),
        TEST(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
