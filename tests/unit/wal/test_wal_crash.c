/*
 * The log on the simulated disk. The contract under test: every frame whose wait returned OK is
 * replayed, in order, once, with its content; nothing that was not appended is replayed; damage of
 * what was durable is reported; and a log that was opened once opens again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"
#include "wal/wal.h"

enum { MAX_FRAMES = 20000 };

/* What the writers know: per LSN a content seed (0: never appended) and whether it was
 * acknowledged. */
struct model {
    uint64_t content[MAX_FRAMES];
    bool acked[MAX_FRAMES];
    ks_lsn released; /* frames below may be gone */
    ks_lsn top;      /* highest LSN appended */
    size_t max_len;
};

static size_t fill(uint64_t content, size_t max_len, char *out)
{
    uint64_t rng = content;
    size_t n = 1 + ks_rng_below(&rng, max_len);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = ks_rng_next(&rng);
        memcpy(out + i, &v, n - i < 8 ? n - i : 8);
    }
    return n;
}

struct check {
    const struct model *m;
    ks_lsn next; /* expected, 0 = any */
    ks_lsn first, last;
    uint64_t count;
};

static ks_err check_record(void *arg, const struct ks_wal_record *rec)
{
    struct check *c = arg;
    static _Thread_local char want[1 << 16];
    if (rec->lsn >= MAX_FRAMES || !c->m->content[rec->lsn])
        fail_msg("lsn %" PRIu64 " was never appended", rec->lsn);
    if (rec->lsn <= c->last)
        fail_msg("lsn %" PRIu64 " after %" PRIu64, rec->lsn, c->last);
    size_t n = fill(c->m->content[rec->lsn], c->m->max_len, want);
    assert_int_equal(n, rec->payload.len);
    assert_memory_equal(want, rec->payload.ptr, n);
    assert_int_equal(rec->shard, (uint16_t)rec->lsn);
    for (ks_lsn l = c->last + 1; c->count && l < rec->lsn; l++)
        if (c->m->acked[l])
            fail_msg("acknowledged lsn %" PRIu64 " is missing", l);
    if (!c->count++)
        c->first = rec->lsn;
    c->last = rec->lsn;
    return KS_OK;
}

static struct ks_wal_opts sim_opts(struct ks_simdisk *d)
{
    return (struct ks_wal_opts){.vfs = ks_simdisk_vfs(d),
                                .dir = "data/wal",
                                .segment_bytes = 32 << 10,
                                .buffer_bytes = 12 << 10,
                                .no_thread = true};
}

static ks_err append_one(struct ks_wal *wal, struct model *m, uint64_t content, ks_lsn *ret)
{
    char buf[1 << 16];
    ks_lsn lsn = 0, next = ks_wal_next_lsn(wal);
    KS_TRY(
        ks_wal_append(wal, 1, (uint16_t)next, ks_slice(buf, fill(content, m->max_len, buf)), &lsn));
    assert_int_equal(lsn, next);
    m->content[lsn] = content;
    m->acked[lsn] = false;
    m->top = lsn;
    *ret = lsn;
    return KS_OK;
}

/* Checks a log after a crash; returns the highest LSN it holds (0 = none). */
static ks_lsn verify(struct ks_simdisk *d, const struct model *m, struct ks_wal_opts o,
                     struct ks_wal **ret)
{
    struct check c = {.m = m};
    struct ks_wal *wal;
    o.vfs = ks_simdisk_vfs(d);
    if (ks_wal_open(&o, m->released, check_record, &c, &wal) != KS_OK)
        fail_msg("open after crash: %s", ks_err_text());
    for (ks_lsn l = m->released ? m->released : 1; l <= m->top; l++) {
        if (m->acked[l] && (c.count == 0 || l > c.last || l < c.first))
            fail_msg("acknowledged lsn %" PRIu64 " is missing, replayed %" PRIu64 "..%" PRIu64, l,
                     c.first, c.last);
    }
    assert_true(ks_wal_next_lsn(wal) > c.last);
    if (ret)
        *ret = wal;
    else
        assert_int_equal(ks_wal_close(wal), KS_OK);
    return c.last;
}

/* Some writers' worth of frames with waits, syncs and releases; stops at the first error. */
static void workload(struct ks_wal *wal, struct model *m, uint64_t seed, int steps)
{
    uint64_t rng = seed;
    for (int i = 0; i < steps; i++) {
        ks_lsn lsn = 0;
        unsigned burst = 1 + (unsigned)ks_rng_below(&rng, 6);
        for (unsigned k = 0; k < burst; k++)
            if (append_one(wal, m, ks_rng_next(&rng) | 1, &lsn) != KS_OK)
                return;
        if (ks_rng_below(&rng, 4)) {
            ks_lsn until = lsn - ks_rng_below(&rng, burst);
            if (ks_wal_wait(wal, until) != KS_OK)
                return;
            for (ks_lsn l = until; l >= 1 && !m->acked[l]; l--)
                m->acked[l] = m->content[l] != 0; /* numbers of a torn commit are skipped */
        }
        if (ks_rng_below(&rng, 12) == 0 && lsn > 20) {
            ks_lsn to = lsn - 10 - ks_rng_below(&rng, 10);
            m->released = to > m->released ? to : m->released;
            if (ks_wal_release(wal, m->released) != KS_OK)
                return;
        }
    }
}

static void *must_alloc(size_t n)
{
    void *p = ks_zalloc(n);
    assert_non_null(p);
    return p;
}

/* One run with the power going at change n; true when it went. */
static bool crash_once(uint64_t seed, uint64_t n, size_t max_len, bool fallback,
                       uint64_t crash_seeds)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = max_len;
    struct ks_simdisk *d, *after, *again;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    ks_simdisk_refuse_direct(d, fallback);
    struct ks_wal_opts o = sim_opts(d);
    struct check c = {.m = m};
    struct ks_wal *wal;
    ks_simdisk_stop_at(d, n);
    if (ks_wal_open(&o, 0, check_record, &c, &wal) == KS_OK) {
        workload(wal, m, seed, 40);
        (void)!ks_wal_close(wal);
    }
    bool stopped = ks_simdisk_stopped(d);
    for (uint64_t s = 0; s < crash_seeds; s++) {
        assert_int_equal(ks_simdisk_crash(d, n * 1000 + s, &after), KS_OK);
        ks_lsn have = verify(after, m, o, NULL);
        /* What was replayed once stays, whatever happens then: the next power loss included. */
        assert_int_equal(ks_simdisk_crash(after, s, &again), KS_OK);
        assert_true(verify(again, m, o, NULL) == have);
        ks_simdisk_free(after);
        ks_simdisk_free(again);
    }
    ks_simdisk_free(d);
    ks_free(m);
    return stopped;
}

static void crash_everywhere(uint64_t seed, size_t max_len, bool fallback)
{
    uint64_t n = 1;
    while (crash_once(seed, n, max_len, fallback, 4))
        n++;
    print_message("seed %" PRIu64 ": %" PRIu64 " crash points x 4\n", seed, n);
    assert_true(n > 40);
}

static void test_crash_direct(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        crash_everywhere(seed, 600, false);
    crash_everywhere(7, 7000, false);
    crash_everywhere(8, 30, false);
}

static void test_crash_fallback(void **state)
{
    for (uint64_t seed = 11; seed <= 13; seed++)
        crash_everywhere(seed, 600, true);
    crash_everywhere(14, 7000, true);
}

/* A chain of lives: crash, recover (crashing in recovery too), write on, crash again. */
static void test_crash_lives(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct model *m = must_alloc(sizeof *m);
        m->max_len = 900;
        uint64_t rng = seed;
        struct ks_simdisk *d, *after;
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        ks_simdisk_refuse_direct(d, seed % 3 == 0);
        for (int life = 0; life < 8; life++) {
            struct ks_wal_opts o = sim_opts(d);
            struct check c = {.m = m};
            struct ks_wal *wal;
            ks_simdisk_stop_at(d, 1 + ks_rng_below(&rng, life % 2 ? 12 : 60));
            if (ks_wal_open(&o, m->released, check_record, &c, &wal) == KS_OK) {
                /* Unacknowledged frames above what was replayed are gone: their numbers may come
                 * again. */
                for (ks_lsn l = c.last + 1; l <= m->top; l++) {
                    assert_true(!m->acked[l] || l < m->released);
                    m->content[l] = 0;
                    m->acked[l] = false;
                }
                for (ks_lsn l = 1; l <= c.last; l++)
                    m->acked[l] = m->content[l] != 0; /* replayed: must stay */
                workload(wal, m, ks_rng_next(&rng), 12);
                (void)!ks_wal_close(wal);
            }
            assert_int_equal(ks_simdisk_crash(d, ks_rng_next(&rng), &after), KS_OK);
            ks_simdisk_free(d);
            d = after;
        }
        verify(d, m, sim_opts(d), NULL);
        ks_simdisk_free(d);
        ks_free(m);
    }
}

/* INTERVAL and OS: without a sync nothing is promised but order; what ks_wal_sync covered is. */
static void test_crash_relaxed(void **state)
{
    for (uint64_t n = 1; n < 400; n++) {
        struct model *m = must_alloc(sizeof *m);
        m->max_len = 500;
        struct ks_simdisk *d, *after;
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        struct ks_wal_opts o = sim_opts(d);
        o.sync = n % 2 ? KS_WAL_SYNC_OS : KS_WAL_SYNC_INTERVAL;
        struct check c = {.m = m};
        struct ks_wal *wal;
        ks_simdisk_stop_at(d, n / 2);
        uint64_t rng = n;
        if (ks_wal_open(&o, 0, check_record, &c, &wal) == KS_OK) {
            for (int i = 0; i < 200; i++) {
                ks_lsn lsn;
                if (append_one(wal, m, ks_rng_next(&rng) | 1, &lsn) != KS_OK ||
                    ks_wal_wait(wal, lsn) != KS_OK)
                    break;
                if (ks_rng_below(&rng, 9) == 0 && ks_wal_sync(wal) == KS_OK)
                    for (ks_lsn l = lsn; l >= 1 && !m->acked[l]; l--)
                        m->acked[l] = true;
            }
            (void)!ks_wal_close(wal);
        }
        for (uint64_t s = 0; s < 4; s++) {
            assert_int_equal(ks_simdisk_crash(d, n * 10 + s, &after), KS_OK);
            verify(after, m, o, NULL);
            ks_simdisk_free(after);
        }
        ks_simdisk_free(d);
        ks_free(m);
    }
}

/* A healthy log of some segments on a fresh disk. */
static struct ks_simdisk *make_log(struct model *m, int frames, bool clean)
{
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_wal_opts o = sim_opts(d);
    struct check c = {.m = m};
    struct ks_wal *wal;
    assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_OK);
    for (int i = 0; i < frames; i++) {
        ks_lsn lsn;
        assert_int_equal(append_one(wal, m, (uint64_t)i * 2 + 1, &lsn), KS_OK);
        if (i % 5 == 4 || i == frames - 1) {
            assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
            for (ks_lsn l = lsn; l >= 1 && !m->acked[l]; l--)
                m->acked[l] = true;
        }
    }
    if (!clean)
        ks_simdisk_stop_at(d, 1);
    (void)!ks_wal_close(wal);
    return d;
}

struct names {
    char name[16][64];
    size_t count;
};

static bool on_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    if (strncmp(name, "wal-", 4) == 0 && n->count < 16)
        snprintf(n->name[n->count++], 64, "data/wal/%.40s", name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct names segments(struct ks_simdisk *d)
{
    struct names n = {.count = 0};
    struct ks_vfs *v = ks_simdisk_vfs(d);
    assert_int_equal(v->ops->list(v, "data/wal", on_name, &n), KS_OK);
    qsort(n.name, n.count, sizeof n.name[0], by_name);
    return n;
}

/* After any single flipped bit: either every record is there as written, or the log says it is
 * damaged. */
static void test_flipped_bits(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 300;
    struct ks_simdisk *d = make_log(m, 400, true), *copy;
    struct names seg = segments(d);
    assert_true(seg.count >= 3);
    uint64_t rng = 5, caught = 0, harmless = 0;
    for (int i = 0; i < 6000; i++) {
        assert_int_equal(ks_simdisk_crash(d, 0, &copy), KS_OK);
        const char *name = seg.name[ks_rng_below(&rng, seg.count)];
        assert_int_equal(ks_simdisk_flip(copy, name, ks_rng_below(&rng, (32 << 10) * 8)), KS_OK);
        struct ks_wal_opts o = sim_opts(copy);
        struct check c = {.m = m};
        struct ks_wal *wal;
        ks_err err = ks_wal_open(&o, 0, check_record, &c, &wal);
        if (err == KS_OK) {
            assert_int_equal(c.last, 400);
            assert_int_equal(ks_wal_close(wal), KS_OK);
            harmless++;
        } else {
            assert_int_equal(err, KS_ECORRUPT);
            assert_non_null(strstr(ks_err_text(), "-wal.repair"));
            assert_non_null(strstr(ks_err_text(), "offset"));
            caught++;
        }
        ks_simdisk_free(copy);
    }
    print_message("%" PRIu64 " flips reported, %" PRIu64 " in unused bytes\n", caught, harmless);
    assert_true(caught > 1500);
    ks_simdisk_free(d);
    ks_free(m);
}

static void test_repair(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 300;
    struct ks_simdisk *d = make_log(m, 400, true), *copy;
    struct names seg = segments(d);
    uint64_t rng = 9;
    memset(m->acked, 0, sizeof m->acked);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(ks_simdisk_crash(d, 0, &copy), KS_OK);
        const char *name = seg.name[ks_rng_below(&rng, seg.count)];
        uint8_t junk[512];
        memset(junk, (int)ks_rng_next(&rng), sizeof junk);
        assert_int_equal(ks_simdisk_poke(copy, name, ks_rng_below(&rng, (32 << 10) - sizeof junk),
                                         junk, sizeof junk),
                         KS_OK);
        struct ks_wal_opts o = sim_opts(copy);
        struct check c = {.m = m}, c2 = {.m = m};
        struct ks_wal *wal;
        if (ks_wal_open(&o, 0, check_record, &c, &wal) == KS_OK) {
            assert_int_equal(ks_wal_close(wal), KS_OK);
            ks_simdisk_free(copy);
            continue;
        }
        c = (struct check){.m = m};
        o.repair = true;
        if (i % 2) { /* the power goes during the repair */
            struct ks_simdisk *after;
            ks_simdisk_stop_at(copy, 1 + ks_rng_below(&rng, 8));
            if (ks_wal_open(&o, 0, check_record, &c, &wal) == KS_OK)
                (void)!ks_wal_close(wal);
            assert_int_equal(ks_simdisk_crash(copy, (uint64_t)i, &after), KS_OK);
            ks_simdisk_free(copy);
            copy = after;
            o.vfs = ks_simdisk_vfs(copy);
            c = (struct check){.m = m};
        }
        assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_OK);
        assert_true(c.count == c.last); /* a prefix */
        ks_lsn lsn;
        char buf[400];
        ks_lsn next = ks_wal_next_lsn(wal);
        assert_true(next > c.last);
        uint64_t old = m->content[next];
        m->content[next] = 77;
        assert_int_equal(
            ks_wal_append(wal, 1, (uint16_t)next, ks_slice(buf, fill(77, m->max_len, buf)), &lsn),
            KS_OK);
        assert_int_equal(ks_wal_close(wal), KS_OK);
        o.repair = false;
        assert_int_equal(ks_wal_open(&o, 0, check_record, &c2, &wal), KS_OK);
        assert_int_equal(c2.count, c.count + 1);
        assert_int_equal(ks_wal_close(wal), KS_OK);
        m->content[next] = old;
        ks_simdisk_free(copy);
    }
    ks_simdisk_free(d);
    ks_free(m);
}

/* Cut at every byte: an older segment that is short is damage; the last one's torn end is not,
 * unless proven. */
static void test_cut_everywhere(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 300;
    struct ks_simdisk *d = make_log(m, 20, false), *copy;
    ks_simdisk_stop_at(d, 0);
    struct names seg = segments(d);
    assert_int_equal(seg.count, 1);
    memset(m->acked, 0,
           sizeof m->acked); /* a cut file is damage nobody can prove without later commits */
    for (uint64_t size = 0; size < 20 << 10; size++) {
        assert_int_equal(ks_simdisk_crash(d, 0, &copy), KS_OK);
        assert_int_equal(ks_simdisk_cut(copy, seg.name[0], size), KS_OK);
        struct ks_wal_opts o = sim_opts(copy);
        struct check c = {.m = m};
        struct ks_wal *wal;
        ks_err err = ks_wal_open(&o, 0, check_record, &c, &wal);
        assert_int_equal(err, size < 4096 ? KS_ECORRUPT : KS_OK);
        if (err == KS_OK) {
            assert_true(c.count == c.last);
            assert_true(size > 16384 || c.count < 20);
            assert_int_equal(ks_wal_close(wal), KS_OK);
        }
        ks_simdisk_free(copy);
    }
    ks_simdisk_free(d);
    ks_free(m);
}

static void test_missing_segment(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 300;
    struct ks_simdisk *d = make_log(m, 400, true), *copy;
    struct names seg = segments(d);
    for (size_t i = 0; i + 1 < seg.count; i++) {
        assert_int_equal(ks_simdisk_crash(d, 0, &copy), KS_OK);
        struct ks_vfs *v = ks_simdisk_vfs(copy);
        assert_int_equal(v->ops->unlink(v, seg.name[i]), KS_OK);
        struct ks_wal_opts o = sim_opts(copy);
        struct check c = {.m = m};
        struct ks_wal *wal;
        assert_int_equal(ks_wal_open(&o, 1, check_record, &c, &wal), KS_ECORRUPT);
        /* Nothing at or above 395 was in it: then it is not missed. */
        c = (struct check){.m = m};
        assert_int_equal(ks_wal_open(&o, 395, check_record, &c, &wal), KS_OK);
        assert_int_equal(c.count, 6);
        assert_int_equal(ks_wal_close(wal), KS_OK);
        ks_simdisk_free(copy);
    }
    ks_simdisk_free(d);
    ks_free(m);
}

/* The n-th call of any kind fails: a clean error, and the log opens again with everything
 * acknowledged. */
static void fail_everywhere(ks_err how, bool sticky, bool fallback)
{
    uint64_t n = 1;
    for (bool hit = true; hit; n++) {
        struct model *m = must_alloc(sizeof *m);
        m->max_len = 600;
        struct ks_simdisk *d, *after;
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        ks_simdisk_refuse_direct(d, fallback);
        struct ks_wal_opts o = sim_opts(d);
        struct check c = {.m = m};
        struct ks_wal *wal;
        ks_simdisk_fail(d, KS_SIM_ALL, n, how, sticky);
        if (ks_wal_open(&o, 0, check_record, &c, &wal) == KS_OK) {
            workload(wal, m, 3, 30);
            ks_err status = ks_wal_status(wal);
            ks_err closed = ks_wal_close(wal);
            assert_true(status == KS_OK || closed != KS_OK);
        }
        hit = ks_simdisk_fail_hit(d);
        ks_simdisk_fail(d, 0, 0, KS_OK, false);
        assert_int_equal(ks_simdisk_crash(d, n, &after), KS_OK);
        verify(after, m, o, NULL);
        verify(d, m, o, NULL); /* without a crash as well */
        ks_simdisk_free(after);
        ks_simdisk_free(d);
        ks_free(m);
    }
    assert_true(n > 40);
}

static void test_every_call_fails(void **state)
{
    fail_everywhere(KS_EIO, false, false);
    fail_everywhere(KS_EIO, true, false);
    fail_everywhere(KS_ENOSPC, false, false);
    fail_everywhere(KS_EIO, false, true);
    fail_everywhere(KS_ENOSPC, true, true);
}

/* A full disk is no end: append says so, and goes on once there is room. */
static void test_disk_full(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 500;
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_wal_opts o = sim_opts(d);
    struct check c = {.m = m};
    struct ks_wal *wal;
    ks_simdisk_limit(d, 100 << 10); /* three segments */
    assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_OK);
    for (int round = 0; round < 5; round++) {
        ks_lsn lsn = 0;
        ks_err err;
        for (uint64_t i = 1; (err = append_one(wal, m, i, &lsn)) == KS_OK; i++)
            assert_true(i < 3000);
        assert_int_equal(err, KS_ENOSPC);
        assert_int_equal(append_one(wal, m, 1, &lsn), KS_ENOSPC);
        assert_int_equal(ks_wal_status(wal), KS_OK);
        assert_int_equal(ks_wal_wait(wal, m->top), KS_OK);
        for (ks_lsn l = m->top; l >= 1 && !m->acked[l]; l--)
            m->acked[l] = true;
        if (round % 2)
            ks_simdisk_limit(d, (100 << 10) + (uint64_t)round * (64 << 10));
        else
            assert_int_equal(ks_wal_release(wal, m->released = m->top - 5), KS_OK);
        assert_int_equal(append_one(wal, m, 5, &lsn), KS_OK);
    }
    assert_int_equal(ks_wal_close(wal), KS_OK);
    verify(d, m, o, NULL);
    ks_simdisk_free(d);
    ks_free(m);
}

/* A spare full of another segment's valid-looking frames never shows them again. */
static void test_stale_frames(void **state)
{
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct model *m = must_alloc(sizeof *m);
        m->max_len = 40; /* many equal positions between uses of a file */
        struct ks_simdisk *d, *after;
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        struct ks_wal_opts o = sim_opts(d);
        struct check c = {.m = m};
        struct ks_wal *wal;
        assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_OK);
        uint64_t rng = seed;
        for (int i = 0; i < 60; i++) {
            ks_lsn lsn;
            assert_int_equal(append_one(wal, m, ks_rng_next(&rng) | 1, &lsn), KS_OK);
            assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
            m->acked[lsn] = true;
            if (i % 8 == 0)
                assert_int_equal(ks_wal_release(wal, m->released = lsn), KS_OK);
        }
        ks_simdisk_stop_at(d, 1);
        ks_lsn lsn;
        if (append_one(wal, m, 3, &lsn) == KS_OK)
            (void)!ks_wal_wait(wal, lsn);
        (void)!ks_wal_close(wal);
        assert_int_equal(ks_simdisk_crash(d, seed, &after), KS_OK);
        assert_true(verify(after, m, o, NULL) >= 60);
        ks_simdisk_free(after);
        ks_simdisk_free(d);
        ks_free(m);
    }
}

struct racer {
    struct ks_wal *wal;
    struct model *m;
    pthread_mutex_t *lock;
    uint64_t seed;
    pthread_t thread;
};

/* Content is a function of the LSN here, since threads learn it only after the append: payloads
 * carry no LSN. */
static void *race(void *arg)
{
    struct racer *r = arg;
    uint64_t rng = r->seed;
    char buf[1 << 10];
    for (int i = 0; i < 60; i++) {
        uint64_t content = ks_rng_next(&rng) | 1;
        ks_lsn lsn;
        size_t n = fill(content, r->m->max_len, buf);
        pthread_mutex_lock(r->lock); /* makes the shard equal to the LSN, as the check wants it */
        ks_err err =
            ks_wal_append(r->wal, 1, (uint16_t)ks_wal_next_lsn(r->wal), ks_slice(buf, n), &lsn);
        if (err == KS_OK) {
            r->m->content[lsn] = content;
            r->m->top = lsn > r->m->top ? lsn : r->m->top;
        }
        pthread_mutex_unlock(r->lock);
        if (err != KS_OK || ks_wal_wait(r->wal, lsn) != KS_OK)
            break;
        pthread_mutex_lock(r->lock);
        r->m->acked[lsn] = true;
        pthread_mutex_unlock(r->lock);
    }
    return NULL;
}

static void test_crash_threads(void **state)
{
    enum { THREADS = 6 };
    for (uint64_t n = 1; n < 120; n++) {
        struct model *m = must_alloc(sizeof *m);
        m->max_len = 700;
        struct ks_simdisk *d, *after;
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        struct ks_wal_opts o = sim_opts(d);
        o.no_thread = false;
        struct check c = {.m = m};
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct racer r[THREADS];
        assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &r[0].wal), KS_OK);
        ks_simdisk_stop_at(d, n);
        for (int i = 0; i < THREADS; i++) {
            r[i] = (struct racer){r[0].wal, m, &lock, n * 100 + (uint64_t)i, 0};
            assert_int_equal(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(r[i].thread, NULL);
        (void)!ks_wal_close(r[0].wal);
        assert_int_equal(ks_simdisk_crash(d, n, &after), KS_OK);
        o.no_thread = true;
        verify(after, m, o, NULL);
        ks_simdisk_free(after);
        ks_simdisk_free(d);
        ks_free(m);
    }
}

/* A log at rest attests its last commit, so that damage to that one is seen too. */
static void test_idle_attests(void **state)
{
    struct model *m = must_alloc(sizeof *m);
    m->max_len = 300;
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_wal_opts o = sim_opts(d);
    o.no_thread = false;
    o.segment_bytes =
        256 << 10; /* so that no spare is wanted: the next write is the attesting one */
    struct check c = {.m = m};
    struct ks_wal *wal;
    ks_lsn lsn;
    assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_OK);
    assert_int_equal(append_one(wal, m, 1, &lsn), KS_OK);
    assert_int_equal(ks_wal_wait(wal, lsn), KS_OK);
    uint64_t writes = ks_simdisk_calls(d, KS_SIM_WRITE);
    for (int64_t t = ks_mono_ms(); ks_simdisk_calls(d, KS_SIM_WRITE) == writes;) {
        assert_true(ks_mono_ms() - t < 20000);
        struct timespec pause = {0, 20000000};
        nanosleep(&pause, NULL);
    }
    ks_simdisk_stop_at(d, 1); /* killed */
    (void)!ks_wal_close(wal);
    struct ks_simdisk *after;
    assert_int_equal(ks_simdisk_crash(d, 1, &after), KS_OK);
    struct names seg = segments(after);
    assert_int_equal(seg.count, 1);
    assert_int_equal(ks_simdisk_flip(after, seg.name[0], (4096 + 48 + 24) * 8 + 3), KS_OK);
    o = sim_opts(after);
    assert_int_equal(ks_wal_open(&o, 0, check_record, &c, &wal), KS_ECORRUPT);
    ks_simdisk_free(after);
    ks_simdisk_free(d);
    ks_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_direct),     cmocka_unit_test(test_crash_fallback),
        cmocka_unit_test(test_crash_lives),      cmocka_unit_test(test_crash_relaxed),
        cmocka_unit_test(test_flipped_bits),     cmocka_unit_test(test_repair),
        cmocka_unit_test(test_cut_everywhere),   cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_every_call_fails), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_stale_frames),     cmocka_unit_test(test_crash_threads),
        cmocka_unit_test(test_idle_attests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
