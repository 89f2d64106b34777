/*
 * Metric parts: size of the directory, time to open, to list all chunks, to decode all samples; the
 * page cache's hit. micro_part [series] [chunks per series] [folder]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/metric_data.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { SAMPLES = 240, STEP_MS = 15000 };

static void must(ks_err err)
{
    if (err != KS_OK) {
        fprintf(stderr, "%s\n", ks_err_text());
        exit(1);
    }
}

/* 30 % constant, 40 % counters, 20 % gauges of two decimals, 10 % doubles. */
static void fill(uint32_t ord, uint64_t *rng, double *v)
{
    double x = (double)ks_rng_below(rng, 1000000);
    for (int i = 0; i < SAMPLES; i++) {
        unsigned kind = ord % 10;
        if (kind < 3)
            v[i] = ord % 5;
        else if (kind < 7)
            v[i] = x += (double)ks_rng_below(rng, kind * 10);
        else if (kind < 9)
            v[i] = (double)(5000 + ks_rng_below(rng, 400)) / 100;
        else
            v[i] = 1e3 + ks_rng_double(rng);
    }
}

/* Scrapes are on a grid for half of the targets, jittered for the others; 500 series per target. */
static void stamp(uint32_t ord, size_t chunk, int64_t *t)
{
    uint64_t rng = ord / 500 * 7919 + chunk;
    int64_t start = 1700006400000 + (ord / 500 % 60) * 250 + (int64_t)chunk * SAMPLES * STEP_MS;
    for (int i = 0; i < SAMPLES; i++)
        t[i] = start + (int64_t)i * STEP_MS + (ord / 500 % 2 ? (int64_t)ks_rng_below(&rng, 4) : 0);
}

static void write_part(const char *path, uint32_t series, size_t chunks)
{
    struct ks_part_writer *w;
    struct ks_mdata_writer *d;
    must(ks_part_writer_new(ks_vfs_posix(), path, KS_PART_METRICS, &w));
    must(ks_mdata_writer_new(w, 1, &d));
    static int64_t t[SAMPLES];
    static double v[SAMPLES];
    struct ks_buf tb, vb;
    ks_buf_init(&tb, 1 << 20);
    ks_buf_init(&vb, 1 << 20);
    int64_t spent = 0;
    uint64_t rng = 1;
    for (uint32_t ord = 0; ord < series; ord++)
        for (size_t k = 0; k < chunks; k++) {
            struct ks_chunk_meta m = {.sample_count = SAMPLES};
            fill(ord, &rng, v);
            stamp(ord, k, t);
            ks_buf_reset(&tb);
            ks_buf_reset(&vb);
            must(ks_times_encode(t, SAMPLES, &tb, &m.times_encoding));
            must(ks_values_encode(v, SAMPLES, &vb, &m.values_encoding));
            ks_chunk_aggregate(v, SAMPLES, &m.agg);
            m.min_ms = t[0];
            m.max_ms = t[SAMPLES - 1];
            int64_t begin = ks_thread_cpu_us();
            must(ks_mdata_add(d, ord, &m, ks_buf_view(&tb), ks_buf_view(&vb)));
            spent += ks_thread_cpu_us() - begin;
        }
    uint64_t bytes;
    int64_t begin = ks_thread_cpu_us();
    must(ks_mdata_writer_finish(d, series));
    must(ks_part_writer_finish(w, &bytes));
    spent += ks_thread_cpu_us() - begin;
    double n = (double)series * (double)chunks;
    printf(
        "write: %.0f chunks, %.2f us CPU per chunk (timer included), %llu bytes, %.4f B/sample\n",
        n, (double)spent / n, (unsigned long long)bytes, (double)bytes / n / SAMPLES);
    ks_buf_done(&tb);
    ks_buf_done(&vb);
}

static void sizes(struct ks_part *p, double chunks)
{
    for (size_t i = 0, count; ks_part_section_name(p, i); i++) {
        const char *name = ks_part_section_name(p, i);
        const struct ks_page_ref *refs = ks_part_section_pages(p, name, &count);
        uint64_t raw = 0;
        for (size_t k = 0; k < count; k++)
            raw += refs[k].raw_bytes;
        printf("  %-9s %6zu pages %10llu raw %10llu stored: %6.2f raw, %6.2f stored B/chunk\n",
               name, count, (unsigned long long)raw,
               (unsigned long long)ks_part_section_bytes(p, name), (double)raw / chunks,
               (double)ks_part_section_bytes(p, name) / chunks);
    }
}

static void list_all(struct ks_mdata *d, uint32_t series, const char *what)
{
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0, total = 0;
    int64_t begin = ks_mono_us();
    for (uint32_t ord = 0; ord < series; ord++) {
        size_t count = 0;
        must(ks_mdata_chunks(d, ord, INT64_MIN, INT64_MAX, &refs, &count, &cap));
        total += count;
    }
    double us = (double)(ks_mono_us() - begin);
    printf("list %s: %.1f ms, %.0f ns per series, %.0f ns per chunk\n", what, us / 1e3,
           us * 1e3 / series, us * 1e3 / (double)total);
    ks_free(refs);
}

static void list_by_cursor(struct ks_mdata *d, uint32_t series)
{
    struct ks_chunk_ref *refs = NULL;
    struct ks_mdata_cursor *c;
    size_t cap = 0, total = 0;
    must(ks_mdata_cursor_new(d, &c));
    int64_t begin = ks_mono_us();
    for (uint32_t ord = 0; ord < series; ord++) {
        size_t count = 0;
        must(ks_mdata_cursor_chunks(c, ord, INT64_MIN, INT64_MAX, &refs, &count, &cap));
        total += count;
    }
    double us = (double)(ks_mono_us() - begin);
    printf("list by cursor: %.1f ms, %.0f ns per series, %.0f ns per chunk\n", us / 1e3,
           us * 1e3 / series, us * 1e3 / (double)total);
    ks_mdata_cursor_free(c);
    ks_free(refs);
}

static void fetch(struct ks_mdata *d, const struct ks_chunk_ref *refs, size_t count)
{
    struct ks_part_page *pages = ks_alloc_array(2 * count + 1, sizeof *pages);
    size_t n = 0;
    for (size_t i = 0; pages && i < count; i++) {
        size_t more;
        must(ks_mdata_pages(d, &refs[i], pages + n, &more));
        n += more;
    }
    must(pages ? ks_part_prefetch_pages(pages, n) : KS_ENOMEM);
    ks_free(pages);
}

static void decode_all(struct ks_mdata *d, uint32_t series, bool prefetch, const char *what)
{
    struct ks_chunk_ref *refs = NULL;
    struct ks_times_memo memo = {0};
    static int64_t t[KS_CHUNK_SAMPLES_MAX];
    static double v[KS_CHUNK_SAMPLES_MAX];
    size_t cap = 0;
    uint64_t samples = 0;
    int64_t begin = ks_mono_us();
    for (uint32_t first = 0; first < series; first += 512) {
        size_t count = 0;
        for (uint32_t ord = first; ord < series && ord < first + 512; ord++)
            must(ks_mdata_chunks(d, ord, INT64_MIN, INT64_MAX, &refs, &count, &cap));
        if (prefetch)
            fetch(d, refs, count);
        for (size_t i = 0; i < count; i++) {
            must(ks_mdata_decode(d, &refs[i], &memo, t, v));
            samples += refs[i].meta.sample_count;
        }
    }
    double us = (double)(ks_mono_us() - begin);
    printf("decode %s: %.1f ms, %.2f ns per sample\n", what, us / 1e3, us * 1e3 / (double)samples);
    ks_times_memo_done(&memo);
    ks_free(refs);
}

static void cache_hit(struct ks_part *p)
{
    size_t count;
    const struct ks_page_ref *refs = ks_part_section_pages(p, "chunkdir", &count);
    enum { ROUNDS = 2000000 };
    int64_t begin = ks_mono_us();
    for (size_t i = 0; i < ROUNDS; i++) {
        struct ks_page page;
        must(ks_part_read(p, refs[i % count], &page));
        ks_page_release(&page);
    }
    printf("cache hit: %.1f ns\n", (double)(ks_mono_us() - begin) * 1e3 / ROUNDS);
}

int main(int argc, char **argv)
{
    uint32_t series = argc > 1 ? (uint32_t)atoi(argv[1]) : 100000;
    size_t chunks = argc > 2 ? (size_t)atoi(argv[2]) : 1;
    char path[4096];
    snprintf(path, sizeof path, "%s/micro_part.part", argc > 3 ? argv[3] : "/tmp");
    write_part(path, series, chunks);
    struct ks_cache *cache;
    struct ks_part *p;
    struct ks_mdata *d;
    must(ks_cache_new(1u << 30, &cache));
    int64_t begin = ks_mono_us();
    must(ks_part_open(ks_vfs_posix(), path, cache, &p));
    must(ks_mdata_open(p, &d));
    printf("open: %lld us\n", (long long)(ks_mono_us() - begin));
    sizes(p, (double)series * (double)chunks);
    list_all(d, series, "cold (page cache of the kernel warm)");
    list_all(d, series, "warm");
    list_by_cursor(d, series);
    decode_all(d, series, true, "cold with prefetch");
    decode_all(d, series, false, "warm");
    cache_hit(p);
    struct ks_cache_stats st;
    ks_cache_get_stats(cache, &st);
    printf("cache: %.1f MB in %zu entries\n", (double)st.bytes / 1e6, st.entries);
    ks_mdata_close(d);
    ks_part_close(p);
    ks_cache_free(cache);
    remove(path);
    return 0;
}
