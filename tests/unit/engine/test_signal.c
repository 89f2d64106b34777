/* A signal beside the metrics: its records come back after a crash, the log is kept and let go by
 * what it needs, and a store opened without it refuses the log. */
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
#include "engine/signal.h"
#include "sys/vfs.h"

/* Counts what it was given; its "files" are fields that outlive the engine. */
struct toy {
    struct ks_engine *e;
    ks_lsn cut; /* durable; 0 = never started */
    uint64_t sum, durable_sum;
    unsigned loads, starts, flushes;
};

static ks_err toy_load(void *self, struct ks_engine *e, ks_lsn *ret_from)
{
    struct toy *t = self;
    t->e = e;
    t->loads++;
    t->sum = t->durable_sum;
    *ret_from = t->cut ? t->cut : KS_LSN_NONE;
    return KS_OK;
}

static ks_err toy_replay(void *self, const struct ks_wal_record *rec)
{
    struct toy *t = self;
    if (rec->lsn >= t->cut)
        t->sum += (uint8_t)rec->payload.ptr[0];
    return KS_OK;
}

static ks_err toy_start(void *self)
{
    struct toy *t = self;
    t->starts++;
    if (!t->cut)
        t->cut = ks_wal_next_lsn(ks_engine_wal(t->e));
    return KS_OK;
}

static ks_lsn toy_needs(void *self)
{
    return ((struct toy *)self)->cut;
}

static ks_err toy_flush(void *self)
{
    struct toy *t = self;
    t->flushes++;
    t->durable_sum = t->sum;
    t->cut = ks_wal_next_lsn(ks_engine_wal(t->e));
    return KS_OK;
}

static void toy_add(struct toy *t, uint8_t n)
{
    ks_lsn lsn;
    char byte = (char)n;
    assert_int_equal(
        ks_wal_append(ks_engine_wal(t->e), KS_REC_LOGS_FIRST, 0, ks_slice(&byte, 1), &lsn), KS_OK);
    assert_int_equal(ks_wal_wait(ks_engine_wal(t->e), lsn), KS_OK);
    t->sum += n;
}

static struct ks_engine *open_toy(const char *dir, struct toy *t, ks_err want)
{
    struct ks_signal s = {.name = "toy",
                          .type_first = KS_REC_LOGS_FIRST,
                          .type_last = KS_REC_LOGS_LAST,
                          .self = t,
                          .load = toy_load,
                          .replay = toy_replay,
                          .start = toy_start,
                          .needs = toy_needs,
                          .flush = toy_flush};
    struct ks_engine_opts o = {.dir = dir,
                               .no_background = true,
                               .wal_segment_bytes = 256 << 10,
                               .memory_bytes = 64 << 20};
    struct ks_engine *e = NULL;
    if (t)
        o.signals = &s, o.signal_count = 1;
    assert_int_equal(ks_engine_open(&o, &e), want);
    return e;
}

static void make_dir(char out[64])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out, 64, "%.40s/ks-signal-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(out));
}

static void replays_after_a_stop_without_flush(void **state)
{
    char dir[64];
    struct toy t = {0};
    make_dir(dir);
    struct ks_engine *e = open_toy(dir, &t, KS_OK);
    toy_add(&t, 3);
    toy_add(&t, 4);
    ks_lsn cut = t.cut;
    assert_int_equal(ks_engine_close(e), KS_OK); /* flushes */
    assert_true(t.cut > cut);
    assert_int_equal(t.durable_sum, 7);
    t.cut = cut; /* as if that flush had not reached the disk */
    t.durable_sum = 0;
    e = open_toy(dir, &t, KS_OK);
    assert_int_equal(t.sum, 7);
    toy_add(&t, 5);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = open_toy(dir, &t, KS_OK); /* flushed: nothing twice */
    assert_int_equal(t.sum, 12);
    assert_int_equal(ks_engine_close(e), KS_OK);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), dir), KS_OK);
}

static void a_log_with_unknown_records_is_refused(void **state)
{
    char dir[64];
    struct toy t = {0};
    make_dir(dir);
    pid_t child = fork();
    if (!child) {
        (void)!open_toy(dir, &t, KS_OK);
        toy_add(&t, 1);
        _exit(0); /* the lock goes with the process, the record stays */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_null(open_toy(dir, NULL, KS_EUNSUPPORTED));
    t.cut = 1;
    struct ks_engine *e = open_toy(dir, &t, KS_OK);
    assert_int_equal(t.sum, 1);
    assert_int_equal(ks_engine_close(e), KS_OK);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), dir), KS_OK);
}

/* What the signal has not flushed stays in the log however often the metrics checkpoint. */
static void the_log_waits_for_the_slowest(void **state)
{
    char dir[64], name[64];
    struct toy t = {0};
    make_dir(dir);
    struct ks_engine *e = open_toy(dir, &t, KS_OK);
    for (int i = 0; i < 5; i++)
        toy_add(&t, 1);
    ks_lsn cut = t.cut;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ks_engine_snapshot_create(e, name), KS_OK);
    assert_true(t.flushes >= 3 && t.cut > cut);
    assert_int_equal(ks_wal_bytes_since(ks_engine_wal(e), t.cut), 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    assert_int_equal(ks_vfs_remove_tree(ks_vfs_posix(), dir), KS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_after_a_stop_without_flush),
        cmocka_unit_test(a_log_with_unknown_records_is_refused),
        cmocka_unit_test(the_log_waits_for_the_slowest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
