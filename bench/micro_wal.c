/*
 * Durable commits of the write-ahead log: commits/s, latency and CPU with 1, 8 and 64 writers.
 *
 *   micro_wal DIR [FRAME_BYTES=1024] [SECONDS=2] [commit|interval|os]
 *
 * DIR should lie on the disk to be measured; its content is removed. Every writer appends one frame
 * and waits for it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "wal/wal.h"

enum { MAX_WRITERS = 64, MAX_LATENCIES = 1 << 20 };

struct writer {
    struct ks_wal *wal;
    size_t frame_bytes;
    int64_t until_ms;
    uint32_t *latency_us;
    size_t count;
    bool failed;
    pthread_t thread;
};

static _Atomic uint64_t
    acked_lsn; /* what is kept is released behind the writers, so that segments are recycled */

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    char *buf = ks_zalloc(w->frame_bytes);
    while (buf && ks_mono_ms() < w->until_ms) {
        ks_lsn lsn;
        int64_t t = ks_mono_us();
        if (ks_wal_append(w->wal, 1, 0, ks_slice(buf, w->frame_bytes), &lsn) != KS_OK ||
            ks_wal_wait(w->wal, lsn) != KS_OK) {
            fprintf(stderr, "%s\n", ks_err_text());
            w->failed = true;
            break;
        }
        if (w->count < MAX_LATENCIES / MAX_WRITERS * 4)
            w->latency_us[w->count] = (uint32_t)(ks_mono_us() - t);
        w->count++;
        atomic_store_explicit(&acked_lsn, lsn, memory_order_relaxed);
    }
    ks_free(buf);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000LL + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

static void report(struct writer *w, int writers, size_t frame_bytes, int64_t wall_us, int64_t cpu)
{
    static uint32_t all[MAX_LATENCIES * 4];
    size_t n = 0;
    uint64_t commits = 0;
    for (int i = 0; i < writers; i++) {
        size_t kept = w[i].count < MAX_LATENCIES / MAX_WRITERS * 4
                          ? w[i].count
                          : MAX_LATENCIES / MAX_WRITERS * 4;
        memcpy(all + n, w[i].latency_us, kept * sizeof *all);
        n += kept;
        commits += w[i].count;
    }
    if (n == 0)
        return;
    qsort(all, n, sizeof *all, by_value);
    double mb = (double)commits * (double)frame_bytes / 1e6;
    printf("%3d writers x %zu B: %8.0f acks/s, p50 %6u us, p99 %6u us, max %6u us, %7.1f MB/s, cpu "
           "%.2f us/ack, "
           "%.2f ms/MB\n",
           writers, frame_bytes, (double)commits * 1e6 / (double)wall_us, all[n / 2],
           all[n * 99 / 100], all[n - 1], mb * 1e6 / (double)wall_us, (double)cpu / (double)commits,
           (double)cpu / 1000 / mb);
}

static ks_err no_replay(void *arg, const struct ks_wal_record *rec)
{
    return KS_OK;
}

static int run(const struct ks_wal_opts *o, int writers, size_t frame_bytes, int seconds)
{
    static struct writer w[MAX_WRITERS];
    struct ks_wal *wal;
    int64_t t = ks_mono_us();
    if (ks_wal_open(o, atomic_load(&acked_lsn) + 1, no_replay, NULL, &wal) != KS_OK) {
        fprintf(stderr, "%s\n", ks_err_text());
        return 1;
    }
    int64_t opened = ks_mono_us() - t, cpu = cpu_us();
    t = ks_mono_us();
    for (int i = 0; i < writers; i++) {
        uint32_t *lat = ks_alloc_array(MAX_LATENCIES / MAX_WRITERS * 4, sizeof *lat);
        w[i] = (struct writer){wal, frame_bytes, ks_mono_ms() + seconds * 1000, lat, 0, !lat, 0};
        if (lat)
            pthread_create(&w[i].thread, NULL, run_writer, &w[i]);
    }
    int64_t until = ks_mono_ms() + seconds * 1000;
    while (ks_mono_ms() < until) {
        struct timespec pause = {0, 50000000};
        nanosleep(&pause, NULL);
        if (ks_wal_bytes_since(wal, 0) > (256 << 20) &&
            ks_wal_release(wal, atomic_load_explicit(&acked_lsn, memory_order_relaxed)) != KS_OK)
            fprintf(stderr, "%s\n", ks_err_text());
    }
    for (int i = 0; i < writers; i++)
        pthread_join(w[i].thread, NULL);
    report(w, writers, frame_bytes, ks_mono_us() - t, cpu_us() - cpu);
    printf("    open %lld us, method %s, disk %llu MiB\n", (long long)opened, ks_wal_method(wal),
           (unsigned long long)ks_wal_disk_bytes(wal) >> 20);
    for (int i = 0; i < writers; i++)
        ks_free(w[i].latency_us);
    return ks_wal_close(wal) == KS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: micro_wal DIR [FRAME_BYTES] [SECONDS] [commit|interval|os]\n");
        return 2;
    }
    struct ks_wal_opts o = {.vfs = ks_vfs_posix(), .dir = argv[1]};
    size_t frame_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    int seconds = argc > 3 ? atoi(argv[3]) : 2;
    const char *sync = argc > 4 ? argv[4] : "commit";
    o.sync = strcmp(sync, "os") == 0         ? KS_WAL_SYNC_OS
             : strcmp(sync, "interval") == 0 ? KS_WAL_SYNC_INTERVAL
                                             : KS_WAL_SYNC_COMMIT;
    if (ks_vfs_remove_tree(o.vfs, o.dir) != KS_OK) {
        fprintf(stderr, "%s\n", ks_err_text());
        return 1;
    }
    int bad = run(&o, 1, frame_bytes, seconds) | run(&o, 8, frame_bytes, seconds) |
              run(&o, 64, frame_bytes, seconds);
    (void)!ks_vfs_remove_tree(o.vfs, o.dir);
    return bad;
}
