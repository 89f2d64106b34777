/*
 * Many threads on one log store: writers, readers, a live tail, deletes, flushes, merges, snapshots
 * and the background threads, all at once. Each scan is of one moment: every row acknowledged
 * before it is there once, and none twice. Run under TSan by `./dev tsan`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "engine/engine.h"
#include "engine/logs/log_store.h"
#include "sys/clock.h"
#include "sys/vfs.h"

enum { WRITERS = 3, BATCH = 50, DELETED_MODULO = 10 };

/* TSan is some ten times slower. */
#ifdef KS_SANITIZED
enum { ROWS_EACH = 3000 };
#else
enum { ROWS_EACH = 40000 };
#endif
enum { ROWS = WRITERS * ROWS_EACH };

static struct ks_engine *engine;
static struct ks_logs *logs;
static struct ks_log_store *store;
static int64_t base_ns;
static _Atomic uint32_t acked[WRITERS]; /* rows of each writer */
static _Atomic int writers_left;
static _Atomic uint64_t scans, tailed;

static void die(const char *what, uint64_t row)
{
    fprintf(stderr, "%s: row %llu: %s\n", what, (unsigned long long)row, ks_err_text());
    abort();
}

static void *writer(void *arg)
{
    uint32_t who = (uint32_t)(uintptr_t)arg;
    struct ks_log_batch b;
    char text[BATCH][48];
    ks_log_batch_init(&b, 1 << 20);
    for (uint32_t done = 0; done < ROWS_EACH;) {
        struct ks_log_write_result r;
        ks_log_batch_reset(&b);
        for (uint32_t i = 0; i < BATCH; i++) {
            uint32_t id = (done + i) * WRITERS + who, stream;
            struct ks_label tag = {KS_SLICE_LIT("app"), ks_slice_str(id % 3 ? "a" : "b")};
            snprintf(text[i], sizeof text[i], "%u", id);
            struct ks_log_field f = {KS_SLICE_LIT("id"), ks_slice_str(text[i])};
            if (ks_log_batch_stream(&b, (struct ks_tenant){0, 0}, &tag, 1, &stream) != KS_OK ||
                ks_log_batch_row(&b, stream, base_ns + id * 1000, &f, 1) != KS_OK)
                die("batch", id);
        }
        ks_err err = ks_log_store_write(store, &b, &r);
        if (err == KS_EAGAIN)
            continue;
        if (err != KS_OK)
            die("write", done);
        done += BATCH;
        atomic_store(&acked[who], done);
    }
    ks_log_batch_done(&b);
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void note(struct ks_log_block *b, uint8_t *seen)
{
    uint32_t rows = ks_log_block_rows(b);
    uint64_t *bits = ks_alloc_array(rows / 64 + 1, 8);
    struct ks_log_column c;
    bool any;
    memset(bits, 0xff, (rows / 64 + 1) * 8);
    if (ks_log_block_select(b, bits, &any) != KS_OK ||
        ks_log_block_column(b, KS_SLICE_LIT("id"), &c) != KS_OK)
        die("block", 0);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t id = ROWS;
        if (!(bits[i / 64] >> i % 64 & 1))
            continue;
        struct ks_slice v = ks_log_column_at(&c, i);
        if (!ks_u64_parse(v, &id) || id >= ROWS)
            die("a row nobody wrote", id);
        if (seen[id]++)
            die("a row twice", id);
    }
    ks_free(bits);
}

static void walk(struct ks_log_scan *scan, uint8_t *seen)
{
    struct ks_log_block *b;
    if (ks_log_block_new(&b) != KS_OK)
        die("block", 0);
    for (size_t i = 0; i < ks_log_scan_count(scan); i++) {
        if (ks_log_block_open(b, scan, i) != KS_OK)
            die("open", i);
        note(b, seen);
    }
    ks_log_block_free(b);
}

static void scan_once(uint8_t *seen)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    struct ks_log_scan *scan;
    uint32_t before[WRITERS];
    memset(seen, 0, ROWS);
    for (int w = 0; w < WRITERS; w++)
        before[w] = atomic_load(&acked[w]);
    if (ks_log_store_scan(store, &o, &scan) != KS_OK)
        die("scan", 0);
    walk(scan, seen);
    ks_log_scan_free(scan);
    for (uint32_t w = 0; w < WRITERS; w++)
        for (uint32_t i = 0; i < before[w]; i++)
            if (!seen[i * WRITERS + w] && (i * WRITERS + w) % DELETED_MODULO)
                die("an acknowledged row is missing", i * WRITERS + w);
    atomic_fetch_add(&scans, 1);
}

static void *reader(void *arg)
{
    uint8_t *seen = ks_alloc(ROWS);
    while (atomic_load(&writers_left))
        scan_once(seen);
    ks_free(seen);
    return NULL;
}

/* Each row once as it arrives; what has left memory is lost to a tail and said so. */
static void *tail(void *arg)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    uint8_t *seen = ks_zalloc(ROWS);
    uint64_t at = 0, first;
    while (atomic_load(&writers_left)) {
        struct ks_log_scan *scan;
        ks_log_store_wait(store, at, 20);
        uint64_t to = ks_log_store_arrival(store);
        ks_err err = ks_log_store_scan_arrivals(store, &o, at, to, &first, &scan);
        if (err == KS_ENOTFOUND) {
            at = first;
            continue;
        }
        if (err != KS_OK)
            die("tail", at);
        walk(scan, seen);
        ks_log_scan_free(scan);
        atomic_fetch_add(&tailed, to - at);
        at = to;
    }
    ks_free(seen);
    return NULL;
}

static bool in_group(void *arg, struct ks_slice v)
{
    uint64_t id;
    return ks_u64_parse(v, &id) && id % DELETED_MODULO == 0;
}

static ks_err pick(void *arg, struct ks_log_block *b, uint64_t *bits)
{
    struct ks_log_pred p = {.match = in_group};
    return ks_log_block_filter(b, KS_SLICE_LIT("id"), &p, bits);
}

static void *keeper(void *arg)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    struct ks_log_store_stats st;
    char name[64];
    uint64_t n;
    for (unsigned i = 0; atomic_load(&writers_left); i++) {
        ks_err err = KS_OK;
        switch (i % 5) {
        case 0:
            err = ks_log_store_flush(store);
            break;
        case 1:
            err = ks_log_store_delete(store, &o, pick, NULL, &n);
            break;
        case 2:
            err = ks_log_store_merge(store, "");
            break;
        case 3:
            err = i % 20 == 3 ? ks_engine_snapshot_create(engine, name) : KS_OK;
            break;
        default:
            err = ks_engine_tick(engine);
        }
        if (err != KS_OK)
            die("keeping", i % 5);
        ks_log_store_get_stats(store, &st);
        usleep(2000);
    }
    return NULL;
}

static void open_store(const char *dir)
{
    struct ks_log_store_opts so = {.name = "logs"};
    struct ks_logs_opts lo = {
        .stores = &so, .store_count = 1, .memory_bytes = 512 << 10, .flush_interval_ms = 50};
    assert_int_equal(ks_logs_new(&lo, &logs), KS_OK);
    struct ks_signal sig = ks_logs_signal(logs);
    struct ks_engine_opts o = {.dir = dir,
                               .wal_segment_bytes = 1 << 20,
                               .memory_bytes = 64 << 20,
                               .min_free_disk_bytes = 1,
                               .signals = &sig,
                               .signal_count = 1};
    if (ks_engine_open(&o, &engine) != KS_OK)
        fail_msg("%s", ks_err_text());
    store = ks_logs_store_at(logs, 0);
}

static void close_store(void)
{
    assert_int_equal(ks_engine_close(engine), KS_OK);
    ks_logs_free(logs);
}

static void all_at_once(void **state)
{
    void *(*const others[])(void *) = {reader, reader, tail, keeper};
    enum { OTHERS = sizeof others / sizeof *others };
    pthread_t threads[WRITERS + OTHERS];
    uint8_t *seen = ks_alloc(ROWS);
    char dir[64];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.40s/ks-logs-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    base_ns = ks_now_ns() - 3600000000000ll;
    open_store(dir);
    atomic_store(&writers_left, WRITERS);
    for (uintptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
    for (size_t i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&threads[WRITERS + i], NULL, others[i], NULL), 0);
    for (size_t i = 0; i < WRITERS + OTHERS; i++)
        pthread_join(threads[i], NULL);
    scan_once(seen);
    struct ks_log_store_stats st;
    ks_log_store_get_stats(store, &st);
    close_store();
    open_store(dir);
    scan_once(seen);
    close_store();
    ks_free(seen);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), dir), KS_OK);
    print_message("%llu scans, %llu rows by the tail, %llu flushes, %llu merges\n",
                  (unsigned long long)atomic_load(&scans), (unsigned long long)atomic_load(&tailed),
                  (unsigned long long)st.flushes_total, (unsigned long long)st.merges_total);
}

int main(void)
{
    ks_log_set_level(KS_LOG_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
