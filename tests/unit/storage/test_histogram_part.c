/*
 * Chunks of native histograms in a metric part, between chunks of numbers: all comes back, older
 * programs are told to keep away, damage is found, and the file of an earlier program still reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "histogram_shapes.h"
#include "storage/metric_data.h"
#include "sys/rand.h"
#include "temp_dir.h"

enum { SERIES = 12, PER_CHUNK = 20 };
static const int64_t start_ms = 1795268000000;

/* Series s: every third of numbers, the others of histograms; two chunks each. */
static struct ks_histogram make(struct ks_arena *a, uint32_t s, uint32_t i)
{
    uint64_t seed = (uint64_t)s * 1000 + i + 1;
    if (s % 4 == 1)
        return shape_wild(a, &seed);
    struct ks_histogram_span *spans = ks_arena_array(a, 2, sizeof *spans);
    int64_t *v = ks_arena_array(a, 4 + s, sizeof *v);
    spans[0] = (struct ks_histogram_span){-3, 3};
    spans[1] = (struct ks_histogram_span){2, 1 + s};
    for (uint32_t k = 0; k < 4 + s; k++) /* counts k² + i, as deltas or as doubles */
        v[k] = s % 2 ? (int64_t)ks_f64_bits((double)(k * k + i)) : k ? 2 * k - 1 : i;
    return (struct ks_histogram){.schema = (int32_t)s % 5,
                                 .is_float = s % 2,
                                 .hint = (uint8_t)(i % 4),
                                 .zero_threshold = 0.001,
                                 .sum = i * 2.5,
                                 .count.u = s % 2 ? ks_f64_bits(1000.0 + i) : 1000 + i,
                                 .positive = {spans, 2, 4 + s, {.deltas = v}}};
}

static void encode(struct ks_arena *a, uint32_t s, uint32_t k, struct ks_buf *out,
                   struct ks_chunk_meta *meta, size_t *times_bytes)
{
    int64_t ts[PER_CHUNK];
    double v[PER_CHUNK];
    struct ks_histogram h[PER_CHUNK];
    for (uint32_t i = 0; i < PER_CHUNK; i++) {
        ts[i] = start_ms + (int64_t)(k * PER_CHUNK + i) * 15000;
        v[i] = s * 10 + i * 0.5;
        h[i] = make(a, s, k * PER_CHUNK + i);
    }
    ks_buf_reset(out);
    assert_int_equal(s % 3 ? ks_histogram_chunk_encode(ts, h, PER_CHUNK, a, out, meta, times_bytes)
                           : ks_chunk_encode(ts, v, PER_CHUNK, out, meta, times_bytes),
                     KS_OK);
}

static ks_err write_part(const char *path, bool histograms)
{
    struct ks_part_writer *w;
    struct ks_mdata_writer *d;
    struct ks_arena a;
    struct ks_buf b;
    ks_arena_init(&a, 1 << 28);
    ks_buf_init(&b, 1 << 24);
    assert_int_equal(ks_part_writer_new(ks_vfs_posix(), path, KS_PART_METRICS, &w), KS_OK);
    assert_int_equal(ks_mdata_writer_new(w, 1, &d), KS_OK);
    for (uint32_t s = 0; s < SERIES; s++)
        for (uint32_t k = 0; k < 2 && (histograms || s % 3 == 0); k++) {
            struct ks_chunk_meta meta;
            size_t times_bytes;
            encode(&a, s, k, &b, &meta, &times_bytes);
            struct ks_slice all = ks_buf_view(&b);
            assert_int_equal(ks_mdata_add(d, s, &meta, ks_slice(all.ptr, times_bytes),
                                          ks_slice_from(all, times_bytes)),
                             KS_OK);
        }
    assert_int_equal(ks_mdata_writer_finish(d, SERIES), KS_OK);
    ks_buf_done(&b);
    ks_arena_done(&a);
    return ks_part_writer_finish(w, NULL);
}

static void check_chunk(struct ks_mdata *d, uint32_t s, uint32_t k, const struct ks_chunk_ref *ref)
{
    int64_t ts[PER_CHUNK];
    double v[PER_CHUNK];
    struct ks_histogram h[PER_CHUNK];
    struct ks_arena a;
    ks_arena_init(&a, 1 << 28);
    assert_int_equal(ref->meta.sample_count, PER_CHUNK);
    assert_int_equal(ref->meta.kind, s % 3 ? KS_CHUNK_HISTOGRAM : KS_CHUNK_F64);
    if (s % 3) {
        assert_int_equal(ks_mdata_decode(d, ref, NULL, ts, v), KS_EINVAL);
        assert_int_equal(ks_mdata_decode_histograms(d, ref, NULL, &a, ts, h), KS_OK);
        for (uint32_t i = 0; i < PER_CHUNK; i++) {
            struct ks_histogram want = make(&a, s, k * PER_CHUNK + i);
            assert_true(ks_histogram_identical(&h[i], &want));
        }
    } else {
        assert_int_equal(ks_mdata_decode(d, ref, NULL, ts, v), KS_OK);
        for (uint32_t i = 0; i < PER_CHUNK; i++)
            assert_true(v[i] == s * 10 + i * 0.5);
    }
    for (uint32_t i = 0; i < PER_CHUNK; i++)
        assert_int_equal(ts[i], start_ms + (int64_t)(k * PER_CHUNK + i) * 15000);
    ks_arena_done(&a);
}

static void check_part(const char *path)
{
    struct ks_part *p;
    struct ks_mdata *d;
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0;
    assert_int_equal(ks_part_open(ks_vfs_posix(), path, NULL, &p), KS_OK);
    assert_int_equal(ks_part_verify(p, NULL, NULL), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    for (uint32_t s = 0; s < SERIES; s++) {
        size_t n = 0;
        assert_int_equal(ks_mdata_chunks(d, s, INT64_MIN, INT64_MAX, &refs, &n, &cap), KS_OK);
        assert_int_equal(n, 2);
        for (uint32_t k = 0; k < 2; k++)
            check_chunk(d, s, k, &refs[k]);
    }
    ks_free(refs);
    ks_mdata_close(d);
    ks_part_close(p);
}

static void golden_path(char out[4096])
{
    snprintf(out, 4096, "%s", KS_TEST_DIR "/unit/storage/golden/histogram-part-v1.part");
}

/* Run with KS_WRITE_GOLDEN=1 once per format version; the file is never written again. */
static void test_golden(void **state)
{
    char path[4096];
    golden_path(path);
    if (getenv("KS_WRITE_GOLDEN"))
        assert_int_equal(write_part(path, true), KS_OK);
    check_part(path);
}

static struct ks_buf read_file(const char *path)
{
    struct ks_buf b;
    FILE *f = fopen(path, "rb");
    char block[4096];
    ks_buf_init(&b, 1 << 24);
    assert_non_null(f);
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        ks_buf_add(&b, block, n);
    fclose(f);
    return b;
}

static void test_round_trip_and_feature(void **state)
{
    for (int histograms = 0; histograms < 2; histograms++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/part-%d", t_dir, histograms);
        assert_int_equal(write_part(path, histograms), KS_OK);
        if (histograms)
            check_part(path);
        struct ks_buf b = read_file(path);
        assert_int_equal(ks_le32(b.ptr + 20), histograms ? KS_PART_INCOMPAT_HISTOGRAMS : 0);
        ks_buf_done(&b);
    }
}

/* Every flipped bit of the file is found by opening it or by a scrub. */
static void test_flips(void **state)
{
    char path[4096], copy[4096];
    golden_path(path);
    snprintf(copy, sizeof copy, "%s/flipped", t_dir);
    struct ks_buf b = read_file(path);
    for (size_t bit = 0; bit<b.len * 8; bit += b.len> 4096 ? 13 : 1) {
        struct ks_part *p;
        b.ptr[bit / 8] ^= (char)(1 << bit % 8);
        FILE *f = fopen(copy, "wb");
        assert_int_equal(fwrite(b.ptr, 1, b.len, f), b.len);
        fclose(f);
        b.ptr[bit / 8] ^= (char)(1 << bit % 8);
        ks_err err = ks_part_open(ks_vfs_posix(), copy, NULL, &p);
        if (err == KS_OK) {
            err = ks_part_verify(p, NULL, NULL);
            ks_part_close(p);
        }
        assert_true(err == KS_ECORRUPT || err == KS_EUNSUPPORTED);
    }
    ks_buf_done(&b);
}

/* What the directory says of a chunk is checked too: another kind, too many histograms. */
static void test_wrong_kind(void **state)
{
    char path[4096];
    struct ks_part *p;
    struct ks_mdata *d;
    struct ks_chunk_ref *refs = NULL;
    struct ks_arena a;
    size_t n = 0, cap = 0;
    int64_t ts[PER_CHUNK];
    struct ks_histogram h[PER_CHUNK];
    golden_path(path);
    ks_arena_init(&a, 1 << 24);
    assert_int_equal(ks_part_open(ks_vfs_posix(), path, NULL, &p), KS_OK);
    assert_int_equal(ks_mdata_open(p, &d), KS_OK);
    assert_int_equal(ks_mdata_chunks(d, 0, INT64_MIN, INT64_MAX, &refs, &n, &cap), KS_OK);
    assert_int_equal(ks_mdata_decode_histograms(d, &refs[0], NULL, &a, ts, h), KS_ECORRUPT);
    refs[0].meta.kind = KS_CHUNK_HISTOGRAM; /* numbers taken for histograms */
    assert_int_equal(ks_mdata_decode_histograms(d, &refs[0], NULL, &a, ts, h), KS_ECORRUPT);
    refs[0].meta.sample_count = KS_HISTOGRAM_CHUNK_MAX + 1;
    assert_int_equal(ks_mdata_decode_histograms(d, &refs[0], NULL, &a, ts, h), KS_ECORRUPT);
    ks_free(refs);
    ks_mdata_close(d);
    ks_part_close(p);
    ks_arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_round_trip_and_feature),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_wrong_kind),
    };
    return cmocka_run_group_tests(tests, t_dir_setup, t_dir_teardown);
}
