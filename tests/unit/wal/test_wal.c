/* The log on a real folder: round trips, group commit, recycling, policies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "wal/inspect.h"
#include "wal/wal.h"

static char dir[256];

static int setup(void **state)
{
    snprintf(dir, sizeof dir, "scratch-wal-%d", (int)getpid());
    return ks_vfs_remove_tree(ks_vfs_posix(), dir) == KS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    return ks_vfs_remove_tree(ks_vfs_posix(), dir) == KS_OK ? 0 : -1;
}

static struct ks_wal_opts small_opts(void)
{
    return (struct ks_wal_opts){
        .vfs = ks_vfs_posix(), .dir = dir, .segment_bytes = 64 << 10, .buffer_bytes = 16 << 10};
}

/* The content of frame lsn is a function of (type, shard, serial): a reader can tell an invented
 * one. */
static size_t payload_of(uint64_t serial, char *out, size_t max)
{
    uint64_t seed = serial;
    size_t n = 8 + ks_rng_below(&seed, max - 8);
    memcpy(out, &serial, 8);
    for (size_t i = 8; i < n; i++)
        out[i] = (char)ks_rng_next(&seed);
    return n;
}

struct seen {
    ks_lsn last, first;
    uint64_t count;
};

static ks_err on_record(void *arg, const struct ks_wal_record *rec)
{
    struct seen *s = arg;
    char want[4096];
    uint64_t serial;
    assert_true(rec->payload.len >= 8);
    assert_true(rec->lsn > s->last);
    memcpy(&serial, rec->payload.ptr, 8);
    size_t n = payload_of(serial, want, 2000);
    assert_int_equal(n, rec->payload.len);
    assert_memory_equal(want, rec->payload.ptr, n);
    assert_int_equal(rec->type, (uint8_t)(serial % 250 + 1));
    assert_int_equal(rec->shard, (uint16_t)(serial * 7));
    if (!s->count++)
        s->first = rec->lsn;
    s->last = rec->lsn;
    return KS_OK;
}

static ks_err put(struct ks_wal *wal, uint64_t serial, ks_lsn *ret)
{
    char buf[4096];
    size_t n = payload_of(serial, buf, 2000);
    return ks_wal_append(wal, (uint8_t)(serial % 250 + 1), (uint16_t)(serial * 7), ks_slice(buf, n),
                         ret);
}

static struct ks_wal *open_wal(struct ks_wal_opts o, ks_lsn from, struct seen *seen)
{
    struct ks_wal *wal = NULL;
    memset(seen, 0, sizeof *seen);
    if (ks_wal_open(&o, from, on_record, seen, &wal) != KS_OK)
        fail_msg("open: %s", ks_err_text());
    return wal;
}

static void test_round_trip(void **state)
{
    struct seen seen;
    ks_lsn lsn = 0;
    uint64_t total = 0;
    for (int round = 0; round < 5; round++) {
        struct ks_wal *wal = open_wal(small_opts(), 0, &seen);
        assert_int_equal(seen.count, total);
        assert_int_equal(seen.last, total);
        for (int i = 0; i < 300; i++) {
            assert_int_equal(put(wal, total, &lsn), KS_OK);
            total++;
            assert_int_equal(lsn, total);
            if (i % 7 == 0)
                assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
        }
        assert_int_equal(ks_wal_next_lsn(wal), total + 1);
        assert_int_equal(ks_wal_close(wal), KS_OK);
    }
    struct ks_wal *wal = open_wal(small_opts(), 700, &seen);
    assert_int_equal(seen.first, 700);
    assert_int_equal(seen.count, total - 699);
    assert_true(ks_wal_bytes_since(wal, 1) > 1000000);
    assert_int_equal(ks_wal_bytes_since(wal, total + 1), 0);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

static void test_empty_and_from(void **state)
{
    struct seen seen;
    ks_lsn lsn;
    struct ks_wal *wal = open_wal(small_opts(), 1000, &seen);
    assert_int_equal(ks_wal_next_lsn(wal), 1000);
    assert_int_equal(put(wal, 1, &lsn), KS_OK);
    assert_int_equal(lsn, 1000);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    /* A checkpoint ahead of the log: the gap is no damage. */
    wal = open_wal(small_opts(), 5000, &seen);
    assert_int_equal(seen.count, 0);
    assert_int_equal(put(wal, 2, &lsn), KS_OK);
    assert_int_equal(lsn, 5000);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    wal = open_wal(small_opts(), 0, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    wal = open_wal(small_opts(), 3000, &seen);
    assert_int_equal(seen.count, 1);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

static void test_limits(void **state)
{
    struct seen seen;
    ks_lsn lsn;
    struct ks_wal_opts o = small_opts();
    o.segment_bytes = o.buffer_bytes = 0;
    int64_t t = ks_mono_us();
    struct ks_wal *wal = open_wal(o, 0, &seen);
    char *big = ks_zalloc(KS_WAL_FRAME_MAX + 1);
    assert_int_equal(ks_wal_append(wal, 1, 0, ks_slice(big, 0), &lsn), KS_ELIMIT);
    assert_int_equal(ks_wal_append(wal, 1, 0, ks_slice(big, KS_WAL_FRAME_MAX + 1), &lsn),
                     KS_ELIMIT);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ks_wal_append(wal, 1, 0, ks_slice(big, KS_WAL_FRAME_MAX), &lsn), KS_OK);
    assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
    print_message("open and 10 frames of 2 MiB: %lld us, method %s\n",
                  (long long)(ks_mono_us() - t), ks_wal_method(wal));
    assert_int_equal(ks_wal_wait(wal, lsn + 1), KS_EINVAL);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    ks_free(big);
    setup(NULL);
    o = small_opts();
    wal = open_wal(o, 0, &seen);
    big = ks_zalloc(16 << 10);
    assert_int_equal(ks_wal_append(wal, 1, 0, ks_slice(big, (16 << 10) - 71), &lsn), KS_ELIMIT);
    assert_int_equal(ks_wal_append(wal, 1, 0, ks_slice(big, (16 << 10) - 72), &lsn), KS_OK);
    ks_free(big);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

struct writer {
    struct ks_wal *wal;
    uint64_t base;
    int frames;
    ks_lsn *lsns;
    pthread_t thread;
};

static void *write_some(void *arg)
{
    struct writer *w = arg;
    for (int i = 0; i < w->frames; i++)
        if (put(w->wal, w->base + (uint64_t)i, &w->lsns[i]) != KS_OK ||
            ks_wal_wait(w->wal, w->lsns[i]) != KS_OK)
            return "failed";
    return NULL;
}

static void group_commit(enum ks_wal_sync sync)
{
    enum { WRITERS = 16, FRAMES = 150 };
    struct seen seen;
    struct ks_wal_opts o = small_opts();
    o.sync = sync;
    o.interval_ms = 5;
    struct ks_wal *wal = open_wal(o, 0, &seen);
    struct writer w[WRITERS];
    static ks_lsn lsns[WRITERS][FRAMES];
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){wal, (uint64_t)i * 1000, FRAMES, lsns[i], 0};
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_some, &w[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        void *res;
        pthread_join(w[i].thread, &res);
        assert_null(res);
        for (int k = 1; k < FRAMES; k++)
            assert_true(lsns[i][k] > lsns[i][k - 1]);
    }
    assert_int_equal(ks_wal_sync(wal), KS_OK);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    wal = open_wal(o, 0, &seen);
    assert_int_equal(seen.count, WRITERS * FRAMES);
    assert_int_equal(seen.last, WRITERS * FRAMES);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

static void test_group_commit(void **state)
{
    group_commit(KS_WAL_SYNC_COMMIT);
}
static void test_policy_interval(void **state)
{
    group_commit(KS_WAL_SYNC_INTERVAL);
}
static void test_policy_os(void **state)
{
    group_commit(KS_WAL_SYNC_OS);
}

/*
 * Large and tiny frames from many threads: while a large one has the segment changed, a tiny one
 * would still fit the old one. It must wait, or its hash belongs to a segment it does not lie in.
 */
static size_t mixed_size(uint64_t serial)
{
    return serial % 5 == 0 ? 14000 : 8 + serial % 40;
}

static void *write_mixed(void *arg)
{
    struct writer *w = arg;
    static const char zeros[14000];
    char buf[14000];
    memcpy(buf, zeros, sizeof buf);
    for (int i = 0; i < w->frames; i++) {
        uint64_t serial = w->base + (uint64_t)i;
        memcpy(buf, &serial, 8);
        if (ks_wal_append(w->wal, 1, 0, ks_slice(buf, mixed_size(serial)), &w->lsns[i]) != KS_OK ||
            ks_wal_wait(w->wal, w->lsns[i]) != KS_OK)
            return "failed";
    }
    return NULL;
}

static ks_err count_mixed(void *arg, const struct ks_wal_record *rec)
{
    uint64_t serial;
    memcpy(&serial, rec->payload.ptr, 8);
    assert_int_equal(rec->payload.len, mixed_size(serial));
    ++*(int *)arg;
    return KS_OK;
}

static void test_sizes_at_rotation(void **state)
{
    enum { WRITERS = 8, FRAMES = 400 };
    static ks_lsn lsns[WRITERS][FRAMES];
    struct ks_wal_opts o = small_opts();
    struct ks_wal *wal = NULL;
    struct writer w[WRITERS];
    int count = 0;
    assert_int_equal(ks_wal_open(&o, 0, count_mixed, &count, &wal), KS_OK);
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){wal, (uint64_t)i * 1001, FRAMES, lsns[i], 0};
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_mixed, &w[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        void *res;
        pthread_join(w[i].thread, &res);
        assert_null(res);
    }
    assert_int_equal(ks_wal_close(wal), KS_OK);
    if (ks_wal_open(&o, 0, count_mixed, &count, &wal) != KS_OK)
        fail_msg("open: %s", ks_err_text());
    assert_int_equal(count, WRITERS * FRAMES);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

static void test_recycle(void **state)
{
    struct seen seen;
    ks_lsn lsn = 0;
    struct ks_wal *wal = open_wal(small_opts(), 0, &seen);
    uint64_t most = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        assert_int_equal(put(wal, i, &lsn), KS_OK);
        if (i % 16 == 0)
            assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
        if (i % 300 == 299)
            assert_int_equal(ks_wal_release(wal, lsn - 50), KS_OK);
        uint64_t disk = ks_wal_disk_bytes(wal);
        most = disk > most ? disk : most;
    }
    assert_true(most < (2u << 20)); /* 4 MB went through */
    assert_int_equal(ks_wal_close(wal), KS_OK);
    wal = open_wal(small_opts(), lsn - 200, &seen);
    assert_int_equal(seen.first, lsn - 200);
    assert_int_equal(seen.last, lsn);
    assert_int_equal(ks_wal_release(wal, lsn + 1), KS_OK);
    assert_int_equal(ks_wal_bytes_since(wal, 0), 0);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    wal = open_wal(small_opts(), lsn + 1, &seen);
    assert_int_equal(seen.count, 0);
    assert_int_equal(ks_wal_next_lsn(wal), lsn + 1);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

static ks_err stop_at_five(void *arg, const struct ks_wal_record *rec)
{
    return rec->lsn == 5 ? ks_fail(KS_EAGAIN, "enough") : KS_OK;
}

static void test_replay_error_is_passed(void **state)
{
    struct seen seen;
    ks_lsn lsn;
    struct ks_wal_opts o = small_opts();
    struct ks_wal *wal = open_wal(o, 0, &seen);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(put(wal, i, &lsn), KS_OK);
    assert_int_equal(ks_wal_close(wal), KS_OK);
    assert_int_equal(ks_wal_open(&o, 0, stop_at_five, NULL, &wal), KS_EAGAIN);
    wal = open_wal(o, 0, &seen);
    assert_int_equal(seen.count, 10);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

struct dump {
    uint64_t segments, frames, last_offset, payload;
    ks_lsn last;
};

static bool dump_segment(void *arg, const struct ks_wal_segment_info *info)
{
    struct dump *d = arg;
    assert_null(info->why);
    assert_non_null(strstr(info->path, "/wal-"));
    assert_int_equal(info->file_bytes, info->segment_bytes);
    d->segments++;
    d->last_offset = 0;
    return true;
}

static ks_err dump_frame(void *arg, const struct ks_wal_record *rec, uint64_t offset)
{
    struct dump *d = arg;
    assert_true(offset > d->last_offset);
    assert_int_equal(rec->lsn, d->last + 1);
    d->last = rec->lsn;
    d->last_offset = offset;
    d->frames++;
    return KS_OK;
}

static void dump_end(void *arg, const struct ks_wal_segment_info *info,
                     const struct ks_wal_segment_end *end)
{
    assert_int_equal(end->state, KS_WAL_CLEAN);
    assert_true(end->frames > 0 && end->commits > 0);
    assert_null(end->why);
    ((struct dump *)arg)->payload += end->payload_bytes;
}

static void test_inspect(void **state)
{
    struct seen seen;
    ks_lsn lsn;
    struct ks_wal *wal = open_wal(small_opts(), 0, &seen);
    for (uint64_t i = 0; i < 500; i++) {
        assert_int_equal(put(wal, i, &lsn), KS_OK);
        if (i % 10 == 0)
            assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
    }
    assert_int_equal(ks_wal_sync(wal), KS_OK);
    for (int round = 0; round < 2; round++) { /* beside the running log, and after it */
        struct dump d = {0};
        enum ks_wal_state worst;
        struct ks_wal_inspector in = {&d, dump_segment, dump_frame, dump_end};
        assert_int_equal(ks_wal_inspect(ks_vfs_posix(), dir, &in, &worst), KS_OK);
        assert_int_equal(worst, KS_WAL_CLEAN);
        assert_int_equal(d.frames, 500);
        assert_true(d.segments > 3 && d.payload > 300000);
        if (round == 0)
            assert_int_equal(ks_wal_close(wal), KS_OK);
    }
    enum ks_wal_state worst;
    struct ks_wal_inspector in = {0};
    assert_int_equal(ks_wal_inspect(ks_vfs_posix(), "no-such-folder", &in, &worst), KS_ENOTFOUND);
}

/* The n-th allocation fails: a clean error, no leak, and the log opens afterwards. */
static void test_no_memory(void **state)
{
    struct seen seen;
    struct ks_wal_opts o = small_opts();
    o.no_thread = true;
    for (uint64_t n = 1;; n++) {
        struct ks_wal *wal;
        ks_lsn lsn;
        uint64_t done = 0;
        setup(NULL);
        memset(&seen, 0, sizeof seen);
        ks_mem_fail_after(n, 0);
        ks_err err = ks_wal_open(&o, 0, on_record, &seen, &wal);
        if (err == KS_OK) {
            for (int i = 0; i < 60 && err == KS_OK; i++) {
                err = put(wal, done, &lsn);
                done += err == KS_OK;
            }
            bool was_memory = err == KS_OK || err == KS_ENOMEM;
            assert_true(was_memory);
            assert_int_equal(ks_wal_close(wal), KS_OK);
        } else {
            assert_int_equal(err, KS_ENOMEM);
        }
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        wal = open_wal(o, 0, &seen);
        assert_int_equal(seen.count, done);
        assert_int_equal(ks_wal_close(wal), KS_OK);
        if (!hit)
            break;
        assert_true(n < 500);
    }
}

/* A first start writes nothing; the first append needs a few milliseconds. */
static void test_first_start_is_quick(void **state)
{
    struct seen seen;
    ks_lsn lsn;
    struct ks_wal_opts o = {.vfs = ks_vfs_posix(), .dir = dir};
    int64_t t = ks_mono_us();
    struct ks_wal *wal = open_wal(o, 0, &seen);
    int64_t opened = ks_mono_us() - t;
    assert_int_equal(put(wal, 0, &lsn), KS_OK);
    assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
    print_message("open %lld us, first commit after %lld us\n", (long long)opened,
                  (long long)(ks_mono_us() - t));
    assert_true(ks_wal_disk_bytes(wal) <= 4 << 20);
    assert_int_equal(ks_wal_close(wal), KS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_empty_and_from, setup),
        cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_group_commit, setup),
        cmocka_unit_test_setup(test_policy_interval, setup),
        cmocka_unit_test_setup(test_policy_os, setup),
        cmocka_unit_test_setup(test_sizes_at_rotation, setup),
        cmocka_unit_test_setup(test_recycle, setup),
        cmocka_unit_test_setup(test_replay_error_is_passed, setup),
        cmocka_unit_test_setup(test_inspect, setup),
        cmocka_unit_test_setup(test_no_memory, setup),
        cmocka_unit_test_setup(test_first_start_is_quick, setup),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
