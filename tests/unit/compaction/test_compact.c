/* Merging parts against a naive model of samples: many shapes of input, then every allocation, call
 * and byte failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "compaction/compact.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { SERIES = 12, SLOTS = 4000, INPUTS = 5 };

/* The model: per series and time slot the bits of a value. */
struct model {
    uint64_t bits[SERIES][SLOTS];
    bool has[SERIES][SLOTS];
};

static int64_t slot_ms[SLOTS]; /* times are shared by all series */

struct scenario {
    struct ks_simdisk *disk;
    struct ks_vfs *vfs;
    struct ks_compact_input in[INPUTS];
    struct ks_mpart parts[INPUTS];
    roaring_bitmap_t *deleted[INPUTS];
    size_t inputs;
    struct model m;
    uint64_t rng;
    uint64_t samples;
};

static void labels_of(int k, struct ks_buf *b)
{
    char name[16], inst[16];
    snprintf(name, sizeof name, "m%d", k / 4);
    snprintf(inst, sizeof inst, "i%d", k % 4);
    ks_buf_reset(b);
    ks_buf_lp(b, KS_NAME_LABEL);
    ks_buf_lp(b, ks_slice_str(name));
    ks_buf_lp(b, KS_SLICE_LIT("instance"));
    ks_buf_lp(b, ks_slice_str(inst));
}

static void must(ks_err err)
{
    if (err != KS_OK)
        print_error("%s (%s)\n", ks_err_text(), ks_err_place());
    assert_int_equal(err, KS_OK);
}

/* The rule for equal times: a number before NaN before a stale marker, then the larger. */
static bool wins(uint64_t a, uint64_t b)
{
    double x = ks_f64_from_bits(a), y = ks_f64_from_bits(b);
    int rx = a == KS_STALE_NAN_BITS ? 0
             : x != x               ? 1
                                    : 2,
        ry = b == KS_STALE_NAN_BITS ? 0
             : y != y               ? 1
                                    : 2;
    return rx != ry ? rx > ry : rx == 2 && x > y;
}

static void model_put(struct model *m, int k, size_t slot, uint64_t bits)
{
    if (!m->has[k][slot] || wins(bits, m->bits[k][slot])) {
        m->has[k][slot] = true;
        m->bits[k][slot] = bits;
    }
}

static void add_chunk(struct scenario *s, struct ks_mpart_writer *w, int k, const size_t *slots,
                      size_t n, bool hidden)
{
    static int64_t ts[SLOTS];
    static double v[SLOTS];
    struct ks_buf b;
    struct ks_chunk_meta meta;
    size_t times_bytes;
    bool counter = ks_rng_below(&s->rng, 2);
    for (size_t i = 0; i < n; i++) {
        ts[i] = slot_ms[slots[i]];
        /* Mostly what every replica sends: a value made by series and time alone. */
        double plain =
            counter ? (double)slots[i] * 3 : (double)((slots[i] * 7 + (size_t)k) % 100) / 4;
        if (ks_rng_below(&s->rng, 50) == 0)
            plain = ks_rng_below(&s->rng, 2) ? ks_stale_nan() : plain + 1;
        v[i] = plain;
        if (!hidden)
            model_put(&s->m, k, slots[i], ks_f64_bits(plain));
    }
    ks_buf_init(&b, 1 << 20);
    must(ks_chunk_encode(ts, v, n, &b, &meta, &times_bytes));
    must(ks_mpart_add_chunk(w, &meta, ks_slice(b.ptr, times_bytes),
                            ks_slice_from(ks_buf_view(&b), times_bytes)));
    ks_buf_done(&b);
    s->samples += n;
}

/* One series of one input: chunks in time order, sometimes overlapping the one before. */
static void add_series(struct scenario *s, struct ks_mpart_writer *w, int k, bool hidden)
{
    static size_t slots[SLOTS];
    size_t from = ks_rng_below(&s->rng, SLOTS / 2);
    unsigned chunks = 1 + (unsigned)ks_rng_below(&s->rng, 6);
    for (unsigned c = 0; c < chunks && from < SLOTS - 1; c++) {
        size_t want = ks_rng_below(&s->rng, 3) ? 100 + ks_rng_below(&s->rng, 300)
                                               : 1 + ks_rng_below(&s->rng, 40),
               n = 0;
        size_t step = 1 + ks_rng_below(&s->rng, 3), at = from;
        for (; at < SLOTS && n < want; at += step)
            slots[n++] = at;
        add_chunk(s, w, k, slots, n, hidden);
        from = ks_rng_below(&s->rng, 4) ? at + ks_rng_below(&s->rng, 50)
                                        : from + 1 + ks_rng_below(&s->rng, n * step);
    }
}

static void make_input(struct scenario *s, size_t i, bool twin_of_last)
{
    char path[32];
    struct ks_mpart_writer *w;
    struct ks_buf labels;
    uint32_t ord = 0;
    ks_buf_init(&labels, 1 << 16);
    snprintf(path, sizeof path, "p/in%zu.part", i);
    must(ks_mpart_writer_new(s->vfs, path, (int)ks_rng_below(&s->rng, 3), &w));
    s->deleted[i] = ks_rng_below(&s->rng, 3) ? NULL : roaring_bitmap_create();
    for (int k = 0; k < SERIES; k++) {
        if (k && ks_rng_below(&s->rng, 4) == 0)
            continue;
        bool hidden = s->deleted[i] && ks_rng_below(&s->rng, 3) == 0;
        labels_of(k, &labels);
        must(ks_mpart_add_series(w, (struct ks_tenant){(uint32_t)0, 0}, ks_buf_view(&labels)));
        if (hidden)
            roaring_bitmap_add(s->deleted[i], ord);
        add_series(s, w, k, hidden);
        ord++;
    }
    must(ks_mpart_writer_finish(w, NULL));
    ks_buf_done(&labels);
    must(ks_mpart_open(s->vfs, path, NULL, &s->parts[i]));
    s->in[i] = (struct ks_compact_input){&s->parts[i], s->deleted[i]};
}

static void setup(struct scenario *s, uint64_t seed, size_t inputs)
{
    memset(s, 0, sizeof *s);
    s->rng = seed;
    must(ks_simdisk_new(&s->disk));
    s->vfs = ks_simdisk_vfs(s->disk);
    must(ks_vfs_mkdirs(s->vfs, "p"));
    int64_t t = 20000 * KS_MS_DAY;
    for (size_t i = 0; i < SLOTS; i++) {
        slot_ms[i] = t;
        t += 15000 + (seed % 3 ? 0 : (int64_t)ks_rng_below(&s->rng, 5));
    }
    s->inputs = inputs;
    for (size_t i = 0; i < inputs; i++)
        make_input(s, i, false);
}

static void teardown(struct scenario *s)
{
    for (size_t i = 0; i < s->inputs; i++) {
        ks_mpart_close(&s->parts[i]);
        if (s->deleted[i])
            roaring_bitmap_free(s->deleted[i]);
    }
    ks_simdisk_free(s->disk);
}

/* --- the expected answer --- */

struct wish {
    int64_t keep_from[SERIES], resolution[SERIES];
};

static int series_number(struct ks_slice labels)
{
    struct ks_slice name = ks_labels_get(labels, KS_NAME_LABEL),
                    inst = ks_labels_get(labels, KS_SLICE_LIT("instance"));
    return (name.ptr[1] - '0') * 4 + inst.ptr[1] - '0';
}

static void tell(void *arg, struct ks_tenant tenant, struct ks_slice labels,
                 struct ks_compact_series *ret)
{
    const struct wish *wish = arg;
    int k = series_number(labels);
    ret->keep_from_ms = wish->keep_from[k];
    ret->resolution_ms = wish->resolution[k];
}

static int64_t slot_of(int64_t t, int64_t interval)
{
    return (t + interval - 1) / interval;
}

/* Samples the model has of a series after the rules, in order. */
static size_t expect(const struct model *m, int k, int64_t keep_from, int64_t dedup, int64_t res,
                     int64_t *ts, uint64_t *bits)
{
    size_t n = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!m->has[k][i])
            continue;
        int64_t wide = res > dedup ? res : dedup;
        if (n && wide > 1 && slot_of(ts[n - 1], wide) == slot_of(slot_ms[i], wide))
            n--;
        ts[n] = slot_ms[i];
        bits[n++] = m->bits[k][i];
    }
    size_t from = 0;
    while (from < n && ts[from] < keep_from)
        from++;
    memmove(ts, ts + from, (n - from) * sizeof *ts);
    memmove(bits, bits + from, (n - from) * sizeof *bits);
    return n - from;
}

static void check_series(struct scenario *s, struct ks_mpart *p, uint32_t ord, int k,
                         const struct wish *wish, int64_t dedup)
{
    static int64_t want_ts[SLOTS], ts[SLOTS * 4];
    static uint64_t want[SLOTS];
    static double v[SLOTS * 4];
    struct ks_chunk_ref *refs = NULL;
    size_t n = 0, cap = 0, got = 0;
    size_t want_n = expect(&s->m, k, wish->keep_from[k], dedup, wish->resolution[k], want_ts, want);
    must(ks_mdata_chunks(p->data, ord, INT64_MIN, INT64_MAX, &refs, &n, &cap));
    for (size_t c = 0; c < n; c++) {
        assert_true(refs[c].meta.sample_count <= 384 || !wish->resolution[k]);
        must(ks_mdata_decode(p->data, &refs[c], NULL, ts + got, v + got));
        struct ks_chunk_agg agg;
        ks_chunk_aggregate(v + got, refs[c].meta.sample_count, &agg);
        assert_true(ks_f64_bits(agg.sum) == ks_f64_bits(refs[c].meta.agg.sum) &&
                    agg.count == refs[c].meta.agg.count);
        got += refs[c].meta.sample_count;
    }
    ks_free(refs);
    assert_int_equal(got, want_n);
    for (size_t i = 0; i < got; i++) {
        assert_int_equal(ts[i], want_ts[i]);
        assert_int_equal(ks_f64_bits(v[i]), want[i]);
    }
}

static void check_output(struct scenario *s, const char *path, const struct wish *wish,
                         int64_t dedup, bool empty)
{
    static int64_t ts[SLOTS];
    static uint64_t bits[SLOTS];
    bool seen[SERIES] = {false};
    struct ks_mpart p;
    if (!empty) {
        must(ks_mpart_open(s->vfs, path, NULL, &p));
        must(ks_part_verify(p.file, NULL, NULL));
        struct ks_buf labels;
        ks_buf_init(&labels, 1 << 16);
        for (uint32_t ord = 0; ord < ks_sindex_series_count(p.index); ord++) {
            struct ks_tenant tenant;
            ks_buf_reset(&labels);
            must(ks_sindex_series(p.index, ord, &labels, &tenant));
            int k = series_number(ks_buf_view(&labels));
            assert_false(seen[k]);
            seen[k] = true;
            check_series(s, &p, ord, k, wish, dedup);
        }
        ks_buf_done(&labels);
        ks_mpart_close(&p);
    }
    for (int k = 0; k < SERIES; k++)
        assert_int_equal(seen[k], expect(&s->m, k, wish->keep_from[k], dedup, wish->resolution[k],
                                         ts, bits) > 0);
}

static void make_wish(struct scenario *s, struct wish *wish)
{
    static const int64_t widths[] = {0, 0, 0, 60000, 300000, 3600000};
    for (int k = 0; k < SERIES; k++) {
        wish->keep_from[k] = INT64_MIN;
        if (ks_rng_below(&s->rng, 3) == 0)
            wish->keep_from[k] =
                slot_ms[ks_rng_below(&s->rng, SLOTS)] + (int64_t)ks_rng_below(&s->rng, 2);
        wish->resolution[k] = widths[ks_rng_below(&s->rng, 6)];
    }
}

static struct scenario s;

static void test_against_model(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct wish wish = {{0}, {0}};
        setup(&s, seed, 1 + seed % INPUTS);
        int64_t dedup = seed % 4 == 3 ? 30000 : seed % 4 == 2 ? 1 : 0;
        if (seed % 2)
            make_wish(&s, &wish);
        for (int k = 0; k < SERIES && !(seed % 2); k++)
            wish.keep_from[k] = INT64_MIN;
        struct ks_compact_opts o = {.vfs = s.vfs,
                                    .path = "p/out.part",
                                    .level = (int)(seed % 3),
                                    .dedup_interval_ms = dedup,
                                    .series = seed % 2 ? tell : NULL,
                                    .arg = &wish};
        struct ks_compact_result r;
        must(ks_compact_merge(&o, s.in, s.inputs, &r));
        check_output(&s, "p/out.part", &wish, dedup, r.empty);
        /* Once more over its own output: nothing changes, and without rules nothing is even
         * decoded. */
        if (!r.empty) {
            struct ks_mpart p;
            must(ks_mpart_open(s.vfs, "p/out.part", NULL, &p));
            struct ks_compact_input again = {&p, NULL};
            struct ks_compact_result r2;
            o.path = "p/again.part";
            must(ks_compact_merge(&o, &again, 1, &r2));
            check_output(&s, "p/again.part", &wish, dedup, r2.empty);
            assert_int_equal(r2.samples_in, r.samples_out);
            assert_int_equal(r2.samples_out, r.samples_out);
            ks_mpart_close(&p);
        }
        teardown(&s);
    }
}

/* Chunks that touch nothing are copied byte for byte; copies of one chunk in two parts become one.
 */
static void test_verbatim(void **state)
{
    struct ks_buf labels, b;
    struct ks_mpart parts[3];
    struct ks_compact_input in[3];
    static int64_t ts[240];
    static double v[240];
    memset(&s, 0, sizeof s);
    must(ks_simdisk_new(&s.disk));
    s.vfs = ks_simdisk_vfs(s.disk);
    must(ks_vfs_mkdirs(s.vfs, "p"));
    ks_buf_init(&labels, 1 << 16);
    ks_buf_init(&b, 1 << 20);
    labels_of(0, &labels);
    for (int i = 0; i < 3; i++) {
        char path[32];
        struct ks_mpart_writer *w;
        struct ks_chunk_meta meta;
        size_t times_bytes;
        snprintf(path, sizeof path, "p/v%d.part", i);
        must(ks_mpart_writer_new(s.vfs, path, 0, &w));
        must(ks_mpart_add_series(w, (struct ks_tenant){7, 1}, ks_buf_view(&labels)));
        for (int k = 0; k < 240; k++) {
            ts[k] = (i / 2 * 240 + k) * 15000 + KS_MS_DAY; /* parts 0 and 1 are equal, 2 follows */
            v[k] = k * 0.1;
        }
        ks_buf_reset(&b);
        must(ks_chunk_encode(ts, v, 240, &b, &meta, &times_bytes));
        must(ks_mpart_add_chunk(w, &meta, ks_slice(b.ptr, times_bytes),
                                ks_slice_from(ks_buf_view(&b), times_bytes)));
        must(ks_mpart_writer_finish(w, NULL));
        must(ks_mpart_open(s.vfs, path, NULL, &parts[i]));
        in[i] = (struct ks_compact_input){&parts[i], NULL};
    }
    struct ks_compact_opts o = {.vfs = s.vfs, .path = "p/out.part", .level = 2};
    struct ks_compact_result r;
    must(ks_compact_merge(&o, in, 3, &r));
    assert_int_equal(r.chunks_copied, 2);
    assert_int_equal(r.chunks_rewritten, 0);
    assert_int_equal(r.samples_in, 720);
    assert_int_equal(r.samples_out, 480);
    for (int i = 0; i < 3; i++)
        ks_mpart_close(&parts[i]);
    ks_buf_done(&labels);
    ks_buf_done(&b);
    ks_simdisk_free(s.disk);
}

static bool exists(struct ks_vfs *vfs, const char *path)
{
    struct ks_file *f;
    if (vfs->ops->open(vfs, path, KS_OPEN_READ, &f) != KS_OK)
        return false;
    ks_close(f);
    return true;
}

static void check_nothing_left(void)
{
    assert_false(exists(s.vfs, "p/out.part"));
    assert_false(exists(s.vfs, "p/out.part.tmp"));
}

static void test_faults(void **state)
{
    struct wish wish;
    struct ks_compact_result r;
    setup(&s, 77, 3);
    make_wish(&s, &wish);
    struct ks_compact_opts o = {
        .vfs = s.vfs, .path = "p/out.part", .level = 2, .series = tell, .arg = &wish};
    for (uint64_t n = 1;; n += n < 200 ? 1 : n / 16) {
        ks_mem_fail_after(n, 0);
        ks_err err = ks_compact_merge(&o, s.in, s.inputs, &r);
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        if (err == KS_OK) {
            check_output(&s, "p/out.part", &wish, 0, r.empty);
            must(s.vfs->ops->unlink(s.vfs, "p/out.part"));
            if (!hit)
                break;
            continue;
        }
        assert_true(hit);
        assert_int_equal(err, KS_ENOMEM);
        check_nothing_left();
    }
    for (uint64_t n = 1;; n += n < 100 ? 1 : n / 16) {
        ks_simdisk_fail(s.disk, KS_SIM_ALL & ~KS_SIM_UNLINK, n, n % 2 ? KS_EIO : KS_ENOSPC, false);
        ks_err err = ks_compact_merge(&o, s.in, s.inputs, &r);
        bool hit = ks_simdisk_fail_hit(s.disk);
        ks_simdisk_fail(s.disk, 0, 0, KS_OK, false);
        if (!hit) {
            must(err);
            check_output(&s, "p/out.part", &wish, 0, r.empty);
            break;
        }
        assert_true(err == KS_EIO || err == KS_ENOSPC);
        assert_false(exists(s.vfs, "p/out.part.tmp"));
        if (exists(s.vfs, "p/out.part")) /* only the sync of the folder may fail after the rename */
            must(s.vfs->ops->unlink(s.vfs, "p/out.part"));
    }
    teardown(&s);
}

static void test_stop(void **state)
{
    _Atomic int stop = 1;
    struct ks_compact_result r;
    setup(&s, 5, 2);
    struct ks_compact_opts o = {.vfs = s.vfs, .path = "p/out.part", .stop = &stop};
    assert_int_equal(ks_compact_merge(&o, s.in, s.inputs, &r), KS_ECANCELED);
    check_nothing_left();
    teardown(&s);
}

/* A damaged input: KS_ECORRUPT that names it and no output, or, where nothing needed was hit, the
 * right answer. */
static void test_damaged_input(void **state)
{
    struct wish wish;
    struct ks_compact_result r;
    setup(&s, 31, 3);
    for (int k = 0; k < SERIES; k++) {
        wish.keep_from[k] = INT64_MIN;
        wish.resolution[k] = 0;
    }
    uint64_t bytes = ks_part_bytes(s.parts[1].file), caught = 0, rng = 3;
    for (int round = 0; round < 200; round++) {
        uint64_t bit =
            KS_PART_HEADER_BYTES * 8 + ks_rng_below(&rng, (bytes - KS_PART_HEADER_BYTES) * 8);
        must(ks_simdisk_flip(s.disk, "p/in1.part", bit));
        struct ks_compact_opts o = {.vfs = s.vfs, .path = "p/out.part", .level = 1};
        ks_err err = ks_compact_merge(&o, s.in, s.inputs, &r);
        if (err == KS_OK) {
            check_output(&s, "p/out.part", &wish, 0, r.empty);
            must(s.vfs->ops->unlink(s.vfs, "p/out.part"));
        } else {
            assert_int_equal(err, KS_ECORRUPT);
            assert_non_null(strstr(ks_err_text(), "p/in1.part"));
            check_nothing_left();
            caught++;
        }
        must(ks_simdisk_flip(s.disk, "p/in1.part", bit));
    }
    assert_true(caught > 100);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model), cmocka_unit_test(test_verbatim),
        cmocka_unit_test(test_faults),        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_damaged_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
