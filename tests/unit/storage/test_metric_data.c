/* Metric data against a naive model: every chunk, aggregate and sample comes back bit for bit, or a
 * clean error does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "storage/metric_data.h"
#include "sys/rand.h"
#include "sys/simdisk.h"
#include "temp_dir.h"

/* --- the model --- */

struct chunk {
    uint32_t ord;
    struct ks_chunk_meta meta;
    int64_t *times;
    double *values;
    char *tbytes, *vbytes;
    size_t tlen, vlen;
};

struct model {
    struct chunk *chunks;
    size_t count;
    uint32_t series;
};

static void model_free(struct model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->chunks[i].times);
        free(m->chunks[i].values);
        free(m->chunks[i].tbytes);
        free(m->chunks[i].vbytes);
    }
    free(m->chunks);
}

static void fill_values(uint64_t *rng, unsigned kind, double *v, size_t n)
{
    double x = (double)ks_rng_below(rng, 100000) / (kind % 2 ? 1 : 1000);
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case 0: /* constant integer */
            v[i] = 7;
            break;
        case 1: /* counter */
            v[i] = x += (double)ks_rng_below(rng, 50);
            break;
        case 2: /* gauge of three decimals */
            v[i] = (double)ks_rng_below(rng, 1000000) / 1000;
            break;
        case 3: /* doubles */
            v[i] = ks_rng_double(rng) * 1e9 - 5e8;
            break;
        case 4: /* any bits */
            v[i] = ks_f64_from_bits(ks_rng_next(rng));
            break;
        case 5: /* counter with resets and stale markers */
            x = ks_rng_below(rng, 20) ? x + 1 : 0;
            v[i] = ks_rng_below(rng, 30) ? x : ks_stale_nan();
            break;
        case 6: /* all stale */
            v[i] = ks_stale_nan();
            break;
        case 7: /* constant decimal: the sum is off by ulps */
            v[i] = 0.1;
            break;
        case 8:
            v[i] = ks_rng_below(rng, 2) ? -0.0 : 0.0;
            break;
        default:
            v[i] = ks_rng_below(rng, 9) ? 1 : ks_rng_below(rng, 2) ? INFINITY : -INFINITY;
        }
    }
}

static void fill_chunk(uint64_t *rng, struct chunk *c, int64_t t0, size_t n, unsigned grid,
                       unsigned kind)
{
    c->times = malloc(n * sizeof *c->times);
    c->values = malloc(n * sizeof *c->values);
    uint64_t jitter =
        grid == 2 ? 77 : ks_rng_next(rng); /* grid 2: the same jittered scrape for all */
    for (size_t i = 0; i < n; i++)
        c->times[i] = t0 + (int64_t)i * 15000 + (grid ? (int64_t)ks_rng_below(&jitter, 900) : 0);
    fill_values(rng, kind, c->values, n);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    assert_int_equal(ks_times_encode(c->times, n, &b, &c->meta.times_encoding), KS_OK);
    c->tlen = b.len;
    c->tbytes = memcpy(malloc(b.len + 1), b.ptr, b.len);
    ks_buf_reset(&b);
    assert_int_equal(ks_values_encode(c->values, n, &b, &c->meta.values_encoding), KS_OK);
    c->vlen = b.len;
    c->vbytes = memcpy(malloc(b.len + 1), b.ptr ? b.ptr : "", b.len);
    ks_buf_done(&b);
    ks_chunk_aggregate(c->values, n, &c->meta.agg);
    c->meta.min_ms = c->times[0];
    c->meta.max_ms = c->times[n - 1];
    c->meta.sample_count = (uint32_t)n;
    c->meta.resolution = kind == 3;
}

static void model_make(uint64_t seed, size_t series, struct model *m)
{
    uint64_t rng = seed;
    size_t cap = 0;
    *m = (struct model){0};
    uint32_t ord = 0;
    for (size_t s = 0; s < series; s++) {
        ord += s && ks_rng_below(&rng, 10) == 0 ? 1 + (uint32_t)ks_rng_below(&rng, 600) : s != 0;
        size_t chunks =
            ks_rng_below(&rng, 20) ? 1 + ks_rng_below(&rng, seed % 3 + 1) : ks_rng_below(&rng, 60);
        int64_t t0 = 1700000000000 + (int64_t)ks_rng_below(&rng, 2) * 3600000;
        unsigned kind = (unsigned)ks_rng_below(&rng, 10), grid = (unsigned)ks_rng_below(&rng, 3);
        for (size_t k = 0; k < chunks; k++) {
            if (m->count == cap)
                m->chunks = realloc(m->chunks, (cap = cap ? cap * 2 : 64) * sizeof *m->chunks);
            struct chunk *c = &m->chunks[m->count++];
            *c = (struct chunk){.ord = ord};
            size_t n = 1 + ks_rng_below(&rng, ks_rng_below(&rng, 40) ? 200 : 4000);
            fill_chunk(&rng, c, t0, n, grid, kind);
            /* The next one follows, overlaps, or begins at the same time. */
            t0 = ks_rng_below(&rng, 5) ? c->meta.max_ms + 15000
                                       : c->meta.min_ms + (int64_t)ks_rng_below(&rng, 2) * 20000;
        }
        m->series = ord + 1;
    }
}

static ks_err model_write_to(struct ks_vfs *vfs, const char *to, const struct model *m, int level)
{
    struct ks_part_writer *w;
    struct ks_mdata_writer *d = NULL;
    KS_TRY(ks_part_writer_new(vfs, to, KS_PART_METRICS, &w));
    ks_err err = ks_mdata_writer_new(w, level, &d);
    for (size_t i = 0; i < m->count && err == KS_OK; i++) {
        const struct chunk *c = &m->chunks[i];
        err = ks_mdata_add(d, c->ord, &c->meta, ks_slice(c->tbytes, c->tlen),
                           ks_slice(c->vbytes, c->vlen));
    }
    if (err == KS_OK)
        err = ks_mdata_writer_finish(d, m->series);
    else
        ks_mdata_writer_abort(d);
    if (err == KS_OK)
        return ks_part_writer_finish(w, NULL);
    ks_part_writer_abort(w);
    return err;
}

static ks_err model_write(const struct model *m, int level)
{
    return model_write_to(ks_vfs_posix(), t_part, m, level);
}

/* --- the comparison --- */

static void check_meta(const struct chunk *c, const struct ks_chunk_meta *m)
{
    assert_int_equal(m->min_ms, c->meta.min_ms);
    assert_int_equal(m->max_ms, c->meta.max_ms);
    assert_int_equal(m->sample_count, c->meta.sample_count);
    assert_int_equal(m->kind, c->meta.kind);
    assert_int_equal(m->resolution, c->meta.resolution);
    assert_int_equal(m->values_encoding, c->meta.values_encoding);
    assert_int_equal(m->times_encoding, c->meta.times_encoding);
    const double *got = &m->agg.min, *want = &c->meta.agg.min;
    for (int i = 0; i < 6; i++)
        if (ks_f64_bits(got[i]) != ks_f64_bits(want[i]))
            fail_msg("aggregate %d: %.17g instead of %.17g", i, got[i], want[i]);
    assert_int_equal(m->agg.count, c->meta.agg.count);
    assert_int_equal(m->agg.flags, c->meta.agg.flags);
    assert_int_equal(m->content_hash,
                     ks_chunk_content_hash(c->meta.sample_count, c->meta.times_encoding,
                                           ks_slice(c->tbytes, c->tlen), c->meta.values_encoding,
                                           ks_slice(c->vbytes, c->vlen)));
}

/* ks_chunk_encode says of a chunk what the directory will say. */
static void test_encode_agrees_with_the_directory(void **state)
{
    struct model m;
    model_make(9, 40, &m);
    for (size_t i = 0; i < m.count; i++) {
        struct chunk *c = &m.chunks[i];
        struct ks_chunk_meta meta;
        struct ks_buf b;
        size_t times_bytes;
        ks_buf_init(&b, 1 << 20);
        assert_int_equal(
            ks_chunk_encode(c->times, c->values, c->meta.sample_count, &b, &meta, &times_bytes),
            KS_OK);
        assert_int_equal(times_bytes, c->tlen);
        meta.resolution = c->meta.resolution;
        check_meta(c, &meta);
        c->meta.content_hash = meta.content_hash;
        assert_true(ks_chunk_same(&meta, &c->meta));
        meta.agg.sum = -meta.agg.sum;
        assert_false(ks_chunk_same(&meta, &c->meta));
        ks_buf_done(&b);
    }
    model_free(&m);
}

static ks_err check_payload(struct ks_mdata *d, const struct chunk *c,
                            const struct ks_chunk_ref *ref, struct ks_times_memo *memo)
{
    static int64_t times[KS_CHUNK_SAMPLES_MAX];
    static double values[KS_CHUNK_SAMPLES_MAX];
    KS_TRY(ks_mdata_decode(d, ref, memo, times, values));
    assert_memory_equal(times, c->times, c->meta.sample_count * sizeof *times);
    assert_memory_equal(values, c->values, c->meta.sample_count * sizeof *values);
    struct ks_page tp, vp;
    struct ks_slice t, v;
    KS_TRY(ks_mdata_raw(d, ref, &tp, &t, &vp, &v));
    assert_true(ks_slice_eq(t, ks_slice(c->tbytes, c->tlen)));
    assert_true(ks_slice_eq(v, ks_slice(c->vbytes, c->vlen)));
    ks_page_release(&tp);
    ks_page_release(&vp);
    return KS_OK;
}

/* Compares series by series; an error ends it, a difference fails the test. */
static ks_err model_check(const struct model *m, struct ks_mdata *d, int64_t min_ms, int64_t max_ms)
{
    struct ks_chunk_ref *refs = NULL;
    struct ks_times_memo memo = {0};
    size_t cap = 0, i = 0;
    ks_err err = KS_OK;
    struct ks_mdata_cursor *cursor = NULL;
    bool with_cursor = m->count % 2;
    if (with_cursor)
        err = ks_mdata_cursor_new(d, &cursor);
    for (uint32_t ord = 0; ord < m->series + 3 && err == KS_OK; ord++) {
        size_t count = 0, k = 0;
        err = with_cursor ? ks_mdata_cursor_chunks(cursor, ord, min_ms, max_ms, &refs, &count, &cap)
                          : ks_mdata_chunks(d, ord, min_ms, max_ms, &refs, &count, &cap);
        for (; err == KS_OK && i < m->count && m->chunks[i].ord == ord; i++) {
            const struct chunk *c = &m->chunks[i];
            if (c->meta.min_ms > max_ms || c->meta.max_ms < min_ms)
                continue;
            assert_true(k < count);
            check_meta(c, &refs[k].meta);
            err = check_payload(d, c, &refs[k], k % 2 ? &memo : NULL);
            k++;
        }
        if (err == KS_OK)
            assert_int_equal(k, count);
    }
    ks_mdata_cursor_free(cursor);
    ks_times_memo_done(&memo);
    ks_free(refs);
    return err;
}

/* A cursor led anywhere finds what a fresh lookup finds. */
static void test_cursor_jumps(void **state)
{
    struct model m;
    struct ks_part *p;
    struct ks_mdata *d;
    struct ks_mdata_cursor *c;
    struct ks_chunk_ref *a = NULL, *b = NULL;
    size_t acap = 0, bcap = 0;
    uint64_t rng = 3;
    model_make(8, 700, &m);
    assert_int_equal(model_write(&m, 1), KS_OK);
    assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    assert_int_equal(ks_mdata_cursor_new(d, &c), KS_OK);
    uint32_t ord = 0;
    for (int i = 0; i < 5000; i++) {
        size_t an = 0, bn = 0;
        ord = ks_rng_below(&rng, 3) ? ord + (uint32_t)ks_rng_below(&rng, 4)
                                    : (uint32_t)ks_rng_below(&rng, m.series + 2);
        int64_t min = ks_rng_below(&rng, 2) ? INT64_MIN : 1700003600000;
        assert_int_equal(ks_mdata_chunks(d, ord, min, INT64_MAX, &a, &an, &acap), KS_OK);
        assert_int_equal(ks_mdata_cursor_chunks(c, ord, min, INT64_MAX, &b, &bn, &bcap), KS_OK);
        assert_int_equal(an, bn);
        for (size_t k = 0; k < an; k++) {
            assert_int_equal(a[k].meta.content_hash, b[k].meta.content_hash);
            assert_int_equal(a[k].values_frame, b[k].values_frame);
            assert_int_equal(a[k].values_offset, b[k].values_offset);
        }
    }
    ks_mdata_cursor_free(c);
    ks_mdata_close(d);
    ks_part_close(p);
    ks_free(a);
    ks_free(b);
    model_free(&m);
}

static void check_totals(const struct model *m, struct ks_mdata *d)
{
    uint64_t samples = 0;
    int64_t min = INT64_MAX, max = INT64_MIN, got_min, got_max;
    for (size_t i = 0; i < m->count; i++) {
        samples += m->chunks[i].meta.sample_count;
        min = m->chunks[i].meta.min_ms < min ? m->chunks[i].meta.min_ms : min;
        max = m->chunks[i].meta.max_ms > max ? m->chunks[i].meta.max_ms : max;
    }
    ks_mdata_time_range(d, &got_min, &got_max);
    assert_int_equal(ks_mdata_series_count(d), m->series);
    assert_int_equal(ks_mdata_sample_count(d), samples);
    assert_int_equal(ks_mdata_chunk_count(d), m->count);
    assert_int_equal(got_min, m->count ? min : 0);
    assert_int_equal(got_max, m->count ? max : 0);
}

static void test_model(void **state)
{
    struct ks_cache *cache;
    assert_int_equal(ks_cache_new(1 << 20, &cache), KS_OK);
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct model m;
        model_make(seed, seed ? seed * 60 : 0, &m);
        assert_int_equal(model_write(&m, (int)seed % 2), KS_OK);
        struct ks_part *p;
        struct ks_mdata *d;
        assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, seed % 3 ? cache : NULL, &p), KS_OK);
        assert_int_equal(ks_mdata_open(p, &d), KS_OK);
        check_totals(&m, d);
        assert_int_equal(model_check(&m, d, INT64_MIN, INT64_MAX), KS_OK);
        int64_t t = 1700000000000;
        assert_int_equal(model_check(&m, d, t + 600000, t + 3700000), KS_OK);
        assert_int_equal(model_check(&m, d, t - 10, t), KS_OK);
        assert_int_equal(model_check(&m, d, 0, t - 1), KS_OK);
        ks_mdata_close(d);
        ks_part_close(p);
        model_free(&m);
    }
    ks_cache_free(cache);
}

/* Series of one scrape: their timestamps are stored once. */
static void test_times_are_shared(void **state)
{
    struct model m = {calloc(5000, sizeof *m.chunks), 5000, 5000};
    for (uint32_t i = 0; i < 5000; i++) {
        uint64_t rng = i;
        m.chunks[i].ord = i;
        fill_chunk(&rng, &m.chunks[i], 1700000000000, 240, 2, 1);
    }
    assert_int_equal(model_write(&m, 1), KS_OK);
    struct ks_part *p;
    struct ks_mdata *d;
    assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    assert_true(ks_part_section_bytes(p, "times") < 2 * m.chunks[0].tlen + 100);
    assert_int_equal(model_check(&m, d, INT64_MIN, INT64_MAX), KS_OK);
    ks_mdata_close(d);
    ks_part_close(p);
    model_free(&m);
}

static void test_extreme_times(void **state)
{
    struct model m = {calloc(3, sizeof *m.chunks), 3, 1};
    static const int64_t at[3][2] = {{INT64_MIN, -1}, {-5, INT64_MAX}, {INT64_MAX, INT64_MAX}};
    for (int i = 0; i < 3; i++) {
        uint64_t rng = 1;
        size_t n = at[i][0] == at[i][1] ? 1 : 2;
        fill_chunk(&rng, &m.chunks[i], 0, n, 0, 1);
        struct chunk *c = &m.chunks[i];
        memcpy(c->times, at[i], n * 8);
        struct ks_buf b;
        ks_buf_init(&b, 1000);
        assert_int_equal(ks_times_encode(c->times, n, &b, &c->meta.times_encoding), KS_OK);
        free(c->tbytes);
        c->tbytes = memcpy(malloc(b.len + 1), b.ptr, c->tlen = b.len);
        ks_buf_done(&b);
        c->meta.min_ms = at[i][0];
        c->meta.max_ms = at[i][1];
    }
    assert_int_equal(model_write(&m, 0), KS_OK);
    struct ks_part *p;
    struct ks_mdata *d;
    assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    assert_int_equal(model_check(&m, d, INT64_MIN, INT64_MAX), KS_OK);
    ks_mdata_close(d);
    ks_part_close(p);
    model_free(&m);
}

static void test_writer_refuses(void **state)
{
    struct model m;
    model_make(5, 3, &m);
    struct chunk good = m.chunks[0];
    for (int what = 0; what < 6; what++) {
        struct ks_part_writer *w;
        struct ks_mdata_writer *d;
        struct ks_chunk_meta meta = good.meta;
        struct ks_slice t = ks_slice(good.tbytes, good.tlen), v = ks_slice(good.vbytes, good.vlen);
        assert_int_equal(ks_part_writer_new(ks_vfs_posix(), t_part, KS_PART_METRICS, &w), KS_OK);
        assert_int_equal(ks_mdata_writer_new(w, 1, &d), KS_OK);
        assert_int_equal(ks_mdata_add(d, 9, &meta, t, v), KS_OK);
        meta.sample_count = what == 0   ? 0
                            : what == 1 ? KS_CHUNK_SAMPLES_MAX + 1
                                        : meta.sample_count;
        meta.max_ms = what == 2 ? meta.min_ms - 1 : meta.max_ms;
        meta.min_ms -= what == 3;
        if (what < 5)
            assert_int_equal(ks_mdata_add(d, what == 4 ? 8 : 9, &meta, t, v), KS_EINVAL);
        assert_int_equal(ks_mdata_writer_finish(d, 9), KS_EINVAL);
        ks_part_writer_abort(w);
    }
    model_free(&m);
}

/* --- damage and failures --- */

static void test_every_bit_flip(void **state)
{
    struct model m;
    model_make(6, 4, &m);
    assert_int_equal(model_write(&m, 1), KS_OK);
    char *data;
    size_t len, caught = 0;
    assert_int_equal(ks_vfs_read_file(ks_vfs_posix(), t_part, 1 << 20, &data, &len), KS_OK);
    for (size_t bit = 0; bit<len * 8; bit += len> 3000 ? 7 : 1) {
        data[bit / 8] ^= (char)(1 << bit % 8);
        FILE *f = fopen(t_part, "wb");
        assert_int_equal(fwrite(data, 1, len, f), len);
        fclose(f);
        struct ks_part *p = NULL;
        struct ks_mdata *d = NULL;
        ks_err err = ks_part_open(ks_vfs_posix(), t_part, NULL, &p);
        if (err == KS_OK)
            err = ks_mdata_open(p, &d);
        if (err == KS_OK)
            err = model_check(&m, d, INT64_MIN, INT64_MAX); /* fails the test on wrong data */
        caught += err != KS_OK;
        ks_mdata_close(d);
        ks_part_close(p);
        data[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_true(caught > 0);
    ks_free(data);
    model_free(&m);
}

static void test_allocation_failures(void **state)
{
    struct model m;
    model_make(7, 40, &m);
    for (uint64_t n = 1;; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = model_write(&m, 1);
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_true(err == KS_OK || err == KS_ENOMEM);
        if (!hit)
            break;
    }
    for (uint64_t n = 1;; n++) {
        struct ks_cache *cache = NULL;
        struct ks_part *p = NULL;
        struct ks_mdata *d = NULL;
        ks_mem_fail_after(n, 0);
        ks_err err = ks_cache_new(1 << 20, &cache);
        if (err == KS_OK)
            err = ks_part_open(ks_vfs_posix(), t_part, cache, &p);
        if (err == KS_OK)
            err = ks_mdata_open(p, &d);
        if (err == KS_OK)
            err = model_check(&m, d, INT64_MIN, INT64_MAX);
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_true(err == KS_OK || err == KS_ENOMEM);
        ks_mdata_close(d);
        ks_part_close(p);
        ks_cache_free(cache);
        if (!hit)
            break;
    }
    model_free(&m);
}

/* The n-th call to the disk fails, for every n, with prefetch, raw copies and decoding on the way.
 */
static void test_disk_faults(void **state)
{
    struct ks_simdisk *disk;
    struct model m;
    model_make(8, 60, &m);
    assert_int_equal(ks_simdisk_new(&disk), KS_OK);
    struct ks_vfs *v = ks_simdisk_vfs(disk);
    assert_int_equal(ks_vfs_mkdirs(v, "d"), KS_OK);
    for (uint64_t n = 1;; n++) {
        ks_simdisk_fail(disk, KS_SIM_ALL & ~KS_SIM_UNLINK, n, KS_EIO, false);
        ks_err err = model_write_to(v, "d/p", &m, 1);
        bool hit = ks_simdisk_fail_hit(disk);
        assert_int_equal(err, hit ? KS_EIO : KS_OK);
        if (!hit)
            break;
    }
    for (uint64_t n = 1;; n++) {
        struct ks_cache *cache;
        struct ks_part *p = NULL;
        struct ks_mdata *d = NULL;
        assert_int_equal(ks_cache_new(1 << 20, &cache), KS_OK);
        ks_simdisk_fail(disk, KS_SIM_ALL, n, KS_EIO, false);
        ks_err err = ks_part_open(v, "d/p", cache, &p);
        if (err == KS_OK)
            err = ks_mdata_open(p, &d);
        if (err == KS_OK)
            err = model_check(&m, d, INT64_MIN, INT64_MAX);
        bool hit = ks_simdisk_fail_hit(disk);
        ks_simdisk_fail(disk, 0, 0, KS_OK, false);
        assert_int_equal(err, hit ? KS_EIO : KS_OK);
        if (d)
            assert_int_equal(model_check(&m, d, INT64_MIN, INT64_MAX), KS_OK);
        ks_mdata_close(d);
        ks_part_close(p);
        ks_cache_free(cache);
        if (!hit)
            break;
    }
    ks_simdisk_free(disk);
    model_free(&m);
}

/* Samples and aggregates of a part written by an earlier program; how it encoded them is its own
 * affair. */
static void check_golden(const struct model *m, struct ks_mdata *d)
{
    static int64_t times[KS_CHUNK_SAMPLES_MAX];
    static double values[KS_CHUNK_SAMPLES_MAX];
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < m->count;) {
        size_t count = 0;
        uint32_t ord = m->chunks[i].ord;
        assert_int_equal(ks_mdata_chunks(d, ord, INT64_MIN, INT64_MAX, &refs, &count, &cap), KS_OK);
        for (size_t k = 0; k < count; k++, i++) {
            const struct chunk *c = &m->chunks[i];
            assert_int_equal(c->ord, ord);
            assert_int_equal(refs[k].meta.sample_count, c->meta.sample_count);
            assert_int_equal(refs[k].meta.resolution, c->meta.resolution);
            assert_memory_equal(&refs[k].meta.agg, &c->meta.agg, sizeof c->meta.agg);
            assert_int_equal(ks_mdata_decode(d, &refs[k], NULL, times, values), KS_OK);
            assert_memory_equal(times, c->times, c->meta.sample_count * sizeof *times);
            assert_memory_equal(values, c->values, c->meta.sample_count * sizeof *values);
        }
    }
    ks_free(refs);
}

/* Run with KS_WRITE_GOLDEN=1 once per format version; the file is never written again. */
static void test_golden(void **state)
{
    char file[4096];
    struct model m;
    struct ks_part *p;
    struct ks_mdata *d;
    snprintf(file, sizeof file, "%s", KS_TEST_DIR "/unit/storage/golden/metric-part-v1.part");
    model_make(2, 30, &m);
    if (getenv("KS_WRITE_GOLDEN"))
        assert_int_equal(model_write_to(ks_vfs_posix(), file, &m, 1), KS_OK);
    assert_int_equal(ks_part_open(ks_vfs_posix(), file, NULL, &p), KS_OK);
    assert_int_equal(ks_part_verify(p, NULL, NULL), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    check_totals(&m, d);
    check_golden(&m, d);
    ks_mdata_close(d);
    ks_part_close(p);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_times_are_shared),
        cmocka_unit_test(test_extreme_times),
        cmocka_unit_test(test_cursor_jumps),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_every_bit_flip),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_disk_faults),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_encode_agrees_with_the_directory),
    };
    return cmocka_run_group_tests(tests, t_dir_setup, t_dir_teardown);
}
