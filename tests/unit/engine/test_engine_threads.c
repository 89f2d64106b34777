/*
 * Everything at once: writers, readers, a flusher, a merger and a deleter on one engine whose
 * series count as idle at once, so that ids are dropped and given again all the time. Readers check
 * what they may rely on while it runs; in the end the engine, reopened, holds exactly what the
 * model says. Meant for the tsan preset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/time.h"
#include "engine_util.h"
#include "histogram_shapes.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { WRITERS = 3, READERS = 2, SERIES = 24, SLOTS = 2000, STEP_MS = 15000, RUN_MS = 2500 };

/* One writer's series: slots below `acked` are acknowledged, below `tried` perhaps. */
struct line {
    _Atomic uint32_t acked, tried;
};

struct world {
    struct ks_engine *e;
    int64_t start_ms;
    _Atomic bool stop, failed;
    _Atomic uint64_t batches, reads, flushes, merges, deletes;
    struct line lines[WRITERS][SERIES];
};

struct thread {
    struct world *w;
    unsigned number;
    pthread_t id;
};

static void complain(struct world *w, const char *what, const char *name, size_t at)
{
    fprintf(stderr, "%s: series %s at %zu: %s\n", what, name, at, ks_err_text());
    atomic_store(&w->failed, true);
    atomic_store(&w->stop, true);
}

static void name_of(unsigned writer, unsigned s, char out[96])
{
    snprintf(out, 96, "m%u{writer=\"w%u\",series=\"s%u\",job=\"j%u\"}", s % 5, writer, s, s % 3);
}

static double value_of(unsigned writer, unsigned s, uint32_t slot)
{
    return (double)slot * 0.25 + s * 10000 + writer * 1000000;
}

/* These series have native histograms; the value is their sum. */
static bool has_histograms(unsigned s)
{
    return s % 6 == 1;
}

static void add(struct tw *batch, const char *name, int64_t ts, unsigned s, uint32_t slot,
                double value)
{
    if (!has_histograms(s)) {
        tw_add(batch, name, ts, value);
        return;
    }
    struct ks_histogram h = shape_counter(&batch->arena, 6 + slot % 3, slot, s > 6);
    h.sum = value;
    tw_add_histogram(batch, name, ts, &h);
}

/* Of histograms times and sums. */
static ks_err read_series(struct ks_series_set *set, unsigned s, int64_t min_ms, int64_t max_ms,
                          struct ks_samples *out)
{
    if (!has_histograms(s))
        return ks_series_read(set, 0, min_ms, max_ms, out);
    struct ks_arena a;
    struct ks_histogram_run r = {0};
    static _Thread_local int64_t times[SLOTS + 8];
    static _Thread_local double values[SLOTS + 8];
    ks_arena_init(&a, 1 << 28);
    ks_err err = ks_series_read_histograms(set, 0, min_ms, max_ms, &a, &r);
    for (size_t i = 0; i < r.count && i < SLOTS + 8; i++) {
        times[i] = r.times[i];
        values[i] = r.items[i].sum;
    }
    ks_arena_done(&a);
    ks_samples_done(out);
    *out = (struct ks_samples){.times = times, .values = values, .count = r.count};
    return err;
}

/* Lets go of what is not the heap's. */
static void forget(struct ks_samples *out)
{
    if (!out->cap)
        *out = (struct ks_samples){0};
}

static void *writer_main(void *arg)
{
    struct thread *t = arg;
    struct world *w = t->w;
    uint64_t rng = t->number + 1;
    char name[96];
    while (!atomic_load(&w->stop)) {
        struct tw batch;
        uint32_t upto[SERIES];
        tw_init(&batch);
        for (unsigned s = 0; s < SERIES; s++) {
            struct line *l = &w->lines[t->number][s];
            uint32_t from = atomic_load(&l->acked);
            upto[s] = from;
            if (ks_rng_below(&rng, 3) == 0 || from + 4 >= SLOTS)
                continue;
            upto[s] = from + 1 + (uint32_t)ks_rng_below(&rng, 3);
            atomic_store(&l->tried, upto[s]);
            name_of(t->number, s, name);
            /* Backwards: most arrive late. */
            for (uint32_t slot = upto[s]; slot-- > from;)
                add(&batch, name, w->start_ms + (int64_t)slot * STEP_MS, s, slot,
                    value_of(t->number, s, slot));
        }
        if (tw_write(&batch, w->e, NULL) != KS_OK)
            complain(w, "write", "", 0);
        tw_done(&batch);
        for (unsigned s = 0; s < SERIES; s++)
            atomic_store(&w->lines[t->number][s].acked, upto[s]);
        atomic_fetch_add(&w->batches, 1);
    }
    return NULL;
}

/* What was acknowledged before the select is there, exact, and nothing that was not tried before
 * the check. */
static void check_line(struct world *w, unsigned writer, unsigned s, struct ks_samples *out)
{
    struct line *l = &w->lines[writer][s];
    struct ks_series_set *set = NULL;
    char name[96];
    name_of(writer, s, name);
    int64_t end_ms = w->start_ms + (int64_t)SLOTS * STEP_MS;
    uint32_t acked = atomic_load(&l->acked);
    if (t_select(w->e, name, w->start_ms, end_ms, &set) != KS_OK || ks_series_set_count(set) > 1) {
        complain(w, "select", name, set ? ks_series_set_count(set) : 0);
        ks_series_set_free(set);
        return;
    }
    out->count = 0;
    if (ks_series_set_count(set) && read_series(set, s, w->start_ms, end_ms, out) != KS_OK)
        complain(w, "read", name, 0);
    ks_series_set_free(set);
    uint32_t tried = atomic_load(&l->tried);
    if (out->count < acked || out->count > (tried > acked ? tried : acked))
        complain(w, "count", name, out->count);
    for (size_t i = 0; i < out->count; i++) {
        uint32_t slot = (uint32_t)((out->times[i] - w->start_ms) / STEP_MS);
        if ((i < acked && slot != i) || out->values[i] != value_of(writer, s, slot))
            complain(w, "sample", name, i);
    }
    forget(out);
}

static bool count_label(void *arg, struct ks_slice s, uint64_t rows)
{
    *(size_t *)arg += 1;
    return true;
}

static void *reader_main(void *arg)
{
    struct thread *t = arg;
    struct world *w = t->w;
    struct ks_samples out = {0};
    uint64_t rng = t->number + 100;
    while (!atomic_load(&w->stop)) {
        check_line(w, (unsigned)ks_rng_below(&rng, WRITERS), (unsigned)ks_rng_below(&rng, SERIES),
                   &out);
        struct ks_tenant tenant = {0, 0};
        struct ks_select_opts o = {.tenants = &tenant,
                                   .tenant_count = 1,
                                   .min_ms = w->start_ms,
                                   .max_ms = w->start_ms + (int64_t)SLOTS * STEP_MS};
        size_t values = 0;
        bool written = atomic_load(&w->batches) > 0;
        if (ks_engine_label_values(w->e, &o, KS_SLICE_LIT("series"), count_label, &values) !=
                KS_OK ||
            (written && !values))
            complain(w, "label values", "series", values);
        struct ks_engine_stats st;
        ks_engine_get_stats(w->e, &st);
        atomic_fetch_add(&w->reads, 1);
    }
    ks_samples_done(&out);
    return NULL;
}

static void *flusher_main(void *arg)
{
    struct world *w = ((struct thread *)arg)->w;
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        if ((i % 3 ? ks_engine_tick(w->e) : ks_engine_flush(w->e)) != KS_OK)
            complain(w, "flush", "", i);
        atomic_fetch_add(&w->flushes, 1);
    }
    return NULL;
}

static void *merger_main(void *arg)
{
    struct world *w = ((struct thread *)arg)->w;
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        if (ks_engine_merge(w->e, "") != KS_OK)
            complain(w, "merge", "", i);
        atomic_fetch_add(&w->merges, 1);
    }
    return NULL;
}

/* Writes a series of its own, deletes it, and finds it gone. */
static void *deleter_main(void *arg)
{
    struct world *w = ((struct thread *)arg)->w;
    struct ks_matcher room[8];
    struct ks_selector sel = t_selector("gone{writer=\"deleter\"}", room, 8);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {.tenants = &tenant,
                               .tenant_count = 1,
                               .selectors = &sel,
                               .selector_count = 1,
                               .min_ms = w->start_ms,
                               .max_ms = w->start_ms + (int64_t)SLOTS * STEP_MS};
    for (uint32_t i = 0; !atomic_load(&w->stop); i++) {
        struct ks_series_set *set = NULL;
        uint64_t touched = 0;
        if (tw_put(w->e, "gone{writer=\"deleter\"}", w->start_ms + (int64_t)(i % SLOTS) * STEP_MS,
                   i) != KS_OK)
            complain(w, "write", "gone", i);
        if (ks_engine_delete(w->e, &o, &touched) != KS_OK || !touched)
            complain(w, "delete", "gone", i);
        if (ks_engine_select(w->e, &o, &set) != KS_OK || ks_series_set_count(set) != 0)
            complain(w, "deleted and there", "gone", i);
        ks_series_set_free(set);
        atomic_fetch_add(&w->deletes, 1);
    }
    return NULL;
}

static struct ks_engine *open_on(const char *dir, struct ks_pool *pool)
{
    struct ks_engine_opts o = {.dir = dir,
                               .retention_ms = 90 * KS_MS_DAY,
                               .wal_segment_bytes = 256 << 10,
                               .wal_max_replay_bytes = 1 << 20,
                               .min_free_disk_bytes = 1,
                               .series_idle_ms = 1,
                               .flush_interval_ms = 1,
                               .shards = 4,
                               .pool = pool};
    return t_open(&o);
}

static void start(struct world *w, struct thread *t, unsigned number, void *(*fn)(void *))
{
    *t = (struct thread){.w = w, .number = number};
    assert_int_equal(pthread_create(&t->id, NULL, fn, t), 0);
}

static void check_all(struct world *w)
{
    struct ks_samples out = {0};
    for (unsigned n = 0; n < WRITERS; n++)
        for (unsigned s = 0; s < SERIES; s++)
            check_line(w, n, s, &out);
    ks_samples_done(&out);
    assert_false(atomic_load(&w->failed));
}

static void test_everything_at_once(void **state)
{
    static struct world w;
    struct thread t[WRITERS + READERS + 3];
    struct ks_pool *pool;
    char *dir = t_mkdir();
    unsigned n = 0;
    assert_int_equal(ks_pool_new("work", 2, 64, &pool), KS_OK);
    w.e = open_on(dir, pool);
    w.start_ms =
        (ks_now_ms() / KS_MS_DAY - 3) * KS_MS_DAY + 18 * KS_MS_HOUR; /* crosses midnights */
    for (unsigned i = 0; i < WRITERS; i++)
        start(&w, &t[n++], i, writer_main);
    for (unsigned i = 0; i < READERS; i++)
        start(&w, &t[n++], i, reader_main);
    start(&w, &t[n++], 0, flusher_main);
    start(&w, &t[n++], 0, merger_main);
    start(&w, &t[n++], 0, deleter_main);
    for (int64_t until = ks_mono_ms() + RUN_MS; ks_mono_ms() < until && !atomic_load(&w.stop);)
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    atomic_store(&w.stop, true);
    for (unsigned i = 0; i < n; i++)
        pthread_join(t[i].id, NULL);
    print_message("batches=%llu reads=%llu flushes=%llu merges=%llu deletes=%llu\n",
                  (unsigned long long)w.batches, (unsigned long long)w.reads,
                  (unsigned long long)w.flushes, (unsigned long long)w.merges,
                  (unsigned long long)w.deletes);
    assert_false(w.failed);
    check_all(&w);
    assert_int_equal(ks_engine_close(w.e), KS_OK);
    w.e = open_on(dir, pool);
    check_all(&w);
    assert_int_equal(ks_engine_close(w.e), KS_OK);
    ks_pool_free(pool);
    t_rmdir(dir);
}

int main(void)
{
    ks_log_set_level(KS_LOG_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
