/*
 * The engine without HTTP: micro_engine [SERIES] [ROUNDS] [DIR] [kill]
 * With "kill" the writing process ends without closing, once all is in the log and once after a
 * checkpoint, and the time of opening again is printed. Otherwise: Writes ROUNDS samples of each of
 * SERIES series (20 k8s-like labels) in batches of 2000, and prints CPU per new series and per
 * sample, resident bytes per series, and the time of selecting and reading back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "bench/series.h"
#include "engine/engine.h"
#include "sys/clock.h"

static double cpu_s(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* Of the calling thread alone. */
static double thread_cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Writes and dies in a child process. */
static void write_and_die(const struct ks_engine_opts *o, size_t series, size_t rounds,
                          bool checkpoint)
{
    pid_t child = fork();
    if (child == 0) {
        struct ks_write_batch b;
        struct ks_arena arena;
        struct ks_engine *e = bench_open(o, &b, &arena);
        int64_t start = ks_now_ms() - (int64_t)rounds * 15000;
        for (size_t r = 0; r < rounds; r++)
            bench_write_round(e, &b, series, r, start + (int64_t)r * 15000);
        if (checkpoint && ks_engine_flush(e) != KS_OK)
            _exit(1);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "the writing process failed\n");
        exit(1);
    }
}

static int restart_after_kill(struct ks_engine_opts *o, size_t series, size_t rounds)
{
    struct ks_pool *pool;
    if (ks_pool_new("work", ks_cpu_count(), 1024, &pool) != KS_OK)
        return 1;
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        struct ks_engine *e;
        struct ks_engine_stats st;
        (void)!ks_vfs_remove_tree(ks_vfs_posix(), o->dir);
        o->pool = NULL;
        write_and_die(o, series, rounds, checkpoint);
        o->pool = pool;
        int64_t t0 = ks_mono_ms();
        double c0 = cpu_s(), t1 = thread_cpu_s();
        if (ks_engine_open(o, &e) != KS_OK) {
            fprintf(stderr, "open: %s\n", ks_err_text());
            return 1;
        }
        ks_engine_get_stats(e, &st);
        printf("restart from %s: %lld ms, %.2f s CPU, %.2f s of it in the opening thread, %llu "
               "series, %llu samples, log %llu MiB on disk\n",
               checkpoint ? "a checkpoint" : "the log", (long long)(ks_mono_ms() - t0),
               cpu_s() - c0, thread_cpu_s() - t1, (unsigned long long)st.active_series,
               (unsigned long long)st.head_samples, (unsigned long long)st.wal_bytes >> 20);
        ks_engine_close(e);
    }
    ks_pool_free(pool);
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), o->dir);
    return 0;
}

/* CPU of new and of known series, memory of each. */
static void write_all(struct ks_engine *e, struct ks_write_batch *b, size_t series, size_t rounds,
                      int64_t start)
{
    size_t rss0 = ks_memory_resident_bytes();
    double c0 = cpu_s();
    bench_write_round(e, b, series, 0, start);
    double c1 = cpu_s();
    printf("new series   %8.2f us CPU each\n", (c1 - c0) / (double)series * 1e6);
    int64_t t0 = ks_mono_ms();
    for (size_t r = 1; r < rounds; r++)
        bench_write_round(e, b, series, r, start + (int64_t)r * 15000);
    double c2 = cpu_s();
    double n = (double)series * (double)(rounds - 1);
    printf("known series %8.3f us CPU per sample, %.2f M samples/s wall\n", (c2 - c1) / n * 1e6,
           n / (double)(ks_mono_ms() - t0) / 1e3);
    printf("resident     %8.0f bytes per series\n",
           (double)(ks_memory_resident_bytes() - rss0) / (double)series);
}

static bool read_once(struct ks_engine *e, const struct ks_select_opts *so, const char *from,
                      struct ks_samples *s)
{
    struct ks_series_set *set;
    int64_t u0 = ks_mono_us();
    if (ks_engine_select(e, so, &set) != KS_OK)
        return false;
    int64_t u1 = ks_mono_us();
    uint64_t total = 0;
    for (size_t i = 0; i < ks_series_set_count(set); i++) {
        if (ks_series_read(set, i, so->min_ms, so->max_ms, s) != KS_OK)
            return false;
        total += s->count;
    }
    int64_t u2 = ks_mono_us();
    printf("%s select %zu series %.2f us each, read %llu samples %.1f ns each\n", from,
           ks_series_set_count(set), (double)(u1 - u0) / (double)ks_series_set_count(set),
           (unsigned long long)total, (double)(u2 - u1) * 1e3 / (double)total);
    ks_series_set_free(set);
    return true;
}

/* One metric of all pods, twice from the head and twice from parts. */
static bool read_back(struct ks_engine *e, int64_t start)
{
    struct ks_matcher m = {KS_NAME_LABEL, KS_SLICE_LIT("container_metric_7_total"), KS_MATCH_EQ};
    struct ks_selector sel = {&m, 1};
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts so = {.tenants = &tenant,
                                .tenant_count = 1,
                                .selectors = &sel,
                                .selector_count = 1,
                                .min_ms = start,
                                .max_ms = ks_now_ms()};
    struct ks_samples s = {0};
    bool ok = read_once(e, &so, "head ", &s) && read_once(e, &so, "head ", &s);
    int64_t f0 = ks_mono_ms();
    ok = ok && ks_engine_merge(e, "") == KS_OK;
    printf("flush+merge  %lld ms\n", (long long)(ks_mono_ms() - f0));
    ok = ok && read_once(e, &so, "parts", &s) && read_once(e, &so, "parts", &s);
    ks_samples_done(&s);
    return ok;
}

int main(int argc, char **argv)
{
    size_t series = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000,
           rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 20;
    const char *dir = argc > 3 ? argv[3] : "scratch/micro_engine";
    struct ks_engine_opts o = {.dir = dir, .flush_interval_ms = 86400000};
    struct ks_write_batch b;
    struct ks_arena arena;
    ks_log_set_level(KS_LOG_WARN);
    if (argc > 4 && strcmp(argv[4], "kill") == 0) {
        o.wal_max_replay_bytes = (uint64_t)8 << 30;
        return restart_after_kill(&o, series, rounds);
    }
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), dir);
    struct ks_engine *e = bench_open(&o, &b, &arena);
    int64_t start = ks_now_ms() - (int64_t)rounds * 15000;
    write_all(e, &b, series, rounds, start);
    if (!read_back(e, start)) {
        fprintf(stderr, "%s\n", ks_err_text());
        return 1;
    }
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    printf("parts %llu: data %.2f bytes/sample, index %.1f bytes/series\n",
           (unsigned long long)st.part_count,
           (double)st.data_bytes / (double)(st.part_samples ? st.part_samples : 1),
           (double)st.index_bytes / (double)series);
    int64_t k0 = ks_mono_ms();
    ks_engine_close(e);
    int64_t k1 = ks_mono_ms();
    if (ks_engine_open(&o, &e) != KS_OK)
        return 1;
    printf("close %lld ms, open %lld ms\n", (long long)(k1 - k0), (long long)(ks_mono_ms() - k1));
    ks_engine_close(e);
    ks_write_batch_done(&b);
    ks_arena_done(&arena);
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), dir);
    return 0;
}
