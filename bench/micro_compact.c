/*
 * CPU per merged sample: micro_compact [SERIES]. Four parts with chunks of 240 samples per series
 * are merged on the simulated disk: copy      the chunks follow each other overlap   every second
 * chunk shares time with the next: decoded, folded, encoded again twins     the parts are equal, as
 * two replicas' would be dedup     one sample per minute stays of four thin      one sample per
 * five minutes stays of twenty
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/time.h"
#include "compaction/compact.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { PARTS = 4, ROWS = 240 };

static void must(ks_err err)
{
    if (err != KS_OK) {
        fprintf(stderr, "%s\n", ks_err_text());
        exit(1);
    }
}

static void labels_of(unsigned k, struct ks_buf *b)
{
    char inst[24];
    snprintf(inst, sizeof inst, "host-%08u", k);
    ks_buf_reset(b);
    ks_buf_lp(b, KS_NAME_LABEL);
    ks_buf_lp(b, KS_SLICE_LIT("http_requests_total"));
    ks_buf_lp(b, KS_SLICE_LIT("instance"));
    ks_buf_lp(b, ks_slice_str(inst));
}

static void make_part(struct ks_vfs *vfs, const char *path, unsigned series, int64_t start)
{
    int64_t ts[ROWS];
    double v[ROWS];
    uint64_t rng = 7;
    struct ks_mpart_writer *w;
    struct ks_buf labels, b;
    ks_buf_init(&labels, 1 << 16);
    ks_buf_init(&b, 1 << 20);
    must(ks_mpart_writer_new(vfs, path, 0, &w));
    for (unsigned k = 0; k < series; k++) {
        struct ks_chunk_meta meta;
        size_t times_bytes;
        double x = 0;
        for (int i = 0; i < ROWS; i++) {
            ts[i] = start + i * 15000;
            x += k % 3 ? (double)ks_rng_below(&rng, 100) : 0; /* a third is constant */
            v[i] = x;
        }
        labels_of(k, &labels);
        ks_buf_reset(&b);
        must(ks_chunk_encode(ts, v, ROWS, &b, &meta, &times_bytes));
        must(ks_mpart_add_series(w, (struct ks_tenant){0, 0}, ks_buf_view(&labels)));
        must(ks_mpart_add_chunk(w, &meta, ks_slice(b.ptr, times_bytes),
                                ks_slice_from(ks_buf_view(&b), times_bytes)));
    }
    must(ks_mpart_writer_finish(w, NULL));
    ks_buf_done(&labels);
    ks_buf_done(&b);
}

static void thin(void *arg, struct ks_tenant tenant, struct ks_slice labels,
                 struct ks_compact_series *ret)
{
    ret->resolution_ms = 5 * KS_MS_MINUTE;
}

static void run(const char *name, unsigned series, int64_t apart_ms, int64_t dedup_ms, bool thinned)
{
    struct ks_simdisk *disk;
    struct ks_cache *cache;
    struct ks_mpart parts[PARTS];
    struct ks_compact_input in[PARTS];
    struct ks_compact_result r;
    char path[32];
    must(ks_simdisk_new(&disk));
    struct ks_vfs *vfs = ks_simdisk_vfs(disk);
    must(ks_vfs_mkdirs(vfs, "p"));
    must(ks_cache_new(64 << 20, &cache)); /* as the engine opens them: neighbours share a page */
    for (int i = 0; i < PARTS; i++) {
        snprintf(path, sizeof path, "p/%d.part", i);
        make_part(vfs, path, series, 20000 * KS_MS_DAY + i * apart_ms);
        must(ks_mpart_open(vfs, path, cache, &parts[i]));
        in[i] = (struct ks_compact_input){&parts[i], NULL};
    }
    struct ks_compact_opts o = {.vfs = vfs,
                                .path = "p/out.part",
                                .level = 2,
                                .dedup_interval_ms = dedup_ms,
                                .series = thinned ? thin : NULL};
    int64_t cpu = ks_thread_cpu_us();
    must(ks_compact_merge(&o, in, PARTS, &r));
    cpu = ks_thread_cpu_us() - cpu;
    printf("%-8s %8.1f ns/sample in, %6.3f bytes/sample out, copied %llu rewritten %llu\n", name,
           (double)cpu * 1000 / (double)r.samples_in, (double)r.bytes / (double)r.samples_out,
           (unsigned long long)r.chunks_copied, (unsigned long long)r.chunks_rewritten);
    for (int i = 0; i < PARTS; i++)
        ks_mpart_close(&parts[i]);
    ks_cache_free(cache);
    ks_simdisk_free(disk);
}

int main(int argc, char **argv)
{
    unsigned series = argc > 1 ? (unsigned)atoi(argv[1]) : 5000;
    int64_t window = ROWS * 15000;
    run("copy", series, window, 0, false);
    run("overlap", series, window - 600000, 0, false);
    run("twins", series, 0, 0, false);
    run("dedup", series, window, KS_MS_MINUTE, false);
    run("thin", series, window, 0, true);
    return 0;
}
