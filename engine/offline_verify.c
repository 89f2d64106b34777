/* Checking and salvaging single parts. Both walk rows by ordinal, so that a damaged page costs its
 * own rows and no more. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "engine/offline_logs.h"
#include "index/metric_part.h"

struct walk {
    struct ks_vfs *vfs;
    const char *path;
    ks_offline_fn fn;
    void *arg;
    struct ks_offline_counts n;
    struct ks_mpart part;
    struct ks_mpart_writer *out; /* salvage: the new part */
    const roaring_bitmap_t *deleted;
    struct ks_buf labels, before; /* of the row at hand and of the last readable one */
    struct ks_tenant tenant, tenant_before;
    bool has_before, series_open;
    struct ks_chunk_ref *refs;
    size_t ref_cap;
    int64_t *times;
    double *values;        /* of histograms their sums */
    struct ks_arena arena; /* of one chunk of histograms */
};

static void problem(struct walk *w, const char *fmt, ...) KS_PRINTF(2, 3);
static void problem(struct walk *w, const char *fmt, ...)
{
    char text[KS_ERR_TEXT_MAX + 128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    w->n.problems++;
    if (w->fn)
        w->fn(w->arg, w->path, text);
}

static bool is_damage(ks_err err)
{
    return err == KS_ECORRUPT || err == KS_EIO;
}

/* Reads a row's labels and checks their form and place in the order. *ret_good: it may be used. */
static ks_err read_row(struct walk *w, uint32_t ord, bool *ret_good)
{
    *ret_good = false;
    ks_buf_reset(&w->labels);
    ks_err err = ks_sindex_series(w->part.index, ord, &w->labels, &w->tenant);
    if (is_damage(err)) {
        problem(w, "series %u: %s", ord, ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    KS_TRY(ks_buf_status(&w->labels));
    struct ks_slice labels = ks_buf_view(&w->labels);
    if (w->has_before &&
        ks_series_cmp(w->tenant_before, ks_buf_view(&w->before), w->tenant, labels) >= 0) {
        problem(w, "series %u is out of order or there twice", ord);
        return KS_OK;
    }
    ks_buf_reset(&w->before);
    ks_buf_slice(&w->before, labels);
    w->tenant_before = w->tenant;
    w->has_before = *ret_good = true;
    return ks_buf_status(&w->before);
}

/* What a chunk's directory entry says against its samples; NULL when all holds. */
static const char *wrong_with(const struct walk *w, const struct ks_chunk_meta *m)
{
    struct ks_chunk_agg agg;
    for (uint32_t i = 1; i < m->sample_count; i++)
        if (w->times[i] <= w->times[i - 1])
            return "times do not ascend";
    if (w->times[0] != m->min_ms || w->times[m->sample_count - 1] != m->max_ms)
        return "the time range is not that of its samples";
    ks_chunk_aggregate(w->values, m->sample_count, &agg);
    const struct ks_chunk_agg *a = &m->agg;
    bool same = agg.count == a->count && agg.flags == a->flags &&
                ks_f64_bits(agg.min) == ks_f64_bits(a->min) &&
                ks_f64_bits(agg.max) == ks_f64_bits(a->max) &&
                ks_f64_bits(agg.sum) == ks_f64_bits(a->sum) &&
                ks_f64_bits(agg.first) == ks_f64_bits(a->first) &&
                ks_f64_bits(agg.last) == ks_f64_bits(a->last) &&
                ks_f64_bits(agg.increase) == ks_f64_bits(a->increase);
    return same ? NULL : "the aggregates are not those of its samples";
}

static ks_err save_chunk(struct walk *w, const struct ks_chunk_ref *ref, struct ks_slice times,
                         struct ks_slice values)
{
    if (!w->out)
        return KS_OK;
    if (!w->series_open)
        KS_TRY(ks_mpart_add_series(w->out, w->tenant, ks_buf_view(&w->labels)));
    w->series_open = true;
    return ks_mpart_add_chunk(w->out, &ref->meta, times, values);
}

/* Times and values of a chunk; of histograms the sums, whose aggregates it keeps. */
static ks_err decode_chunk(struct walk *w, const struct ks_chunk_ref *ref)
{
    size_t n = ref->meta.sample_count;
    if (ref->meta.kind == KS_CHUNK_F64)
        return ks_mdata_decode(w->part.data, ref, NULL, w->times, w->values);
    ks_arena_reset(&w->arena);
    struct ks_histogram *h = ks_arena_array(&w->arena, n, sizeof *h);
    if (!h)
        return ks_arena_err(&w->arena);
    KS_TRY(ks_mdata_decode_histograms(w->part.data, ref, NULL, &w->arena, w->times, h));
    for (size_t i = 0; i < n; i++)
        w->values[i] = h[i].sum;
    return KS_OK;
}

static ks_err walk_chunk(struct walk *w, uint32_t ord, const struct ks_chunk_ref *ref)
{
    struct ks_page times_page, values_page;
    struct ks_slice times, values;
    ks_err err = decode_chunk(w, ref);
    const char *wrong = err == KS_OK ? wrong_with(w, &ref->meta) : NULL;
    if (err == KS_OK && !wrong) {
        err = ks_mdata_raw(w->part.data, ref, &times_page, &times, &values_page, &values);
        if (err == KS_OK) {
            if (ks_chunk_content_hash(ref->meta.sample_count, ref->meta.times_encoding, times,
                                      ref->meta.values_encoding, values) != ref->meta.content_hash)
                wrong = "the content hash is wrong";
            else
                err = save_chunk(w, ref, times, values);
            ks_page_release(&times_page);
            ks_page_release(&values_page);
            KS_TRY(err);
        }
    }
    if (is_damage(err) || wrong) {
        problem(w, "series %u, chunk from %lld ms, %u samples: %s", ord,
                (long long)ref->meta.min_ms, ref->meta.sample_count, wrong ? wrong : ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    w->n.chunks++;
    w->n.samples += ref->meta.sample_count;
    return KS_OK;
}

static ks_err walk_row(struct walk *w, uint32_t ord)
{
    bool good;
    size_t n = 0;
    uint64_t chunks = w->n.chunks;
    w->series_open = false;
    KS_TRY(read_row(w, ord, &good));
    if (!good)
        return KS_OK;
    ks_err err =
        ks_mdata_chunks(w->part.data, ord, INT64_MIN, INT64_MAX, &w->refs, &n, &w->ref_cap);
    if (is_damage(err)) {
        problem(w, "chunks of series %u: %s", ord, ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    for (size_t i = 0; i < n; i++) {
        if (w->refs[i].meta.sample_count < 1 || w->refs[i].meta.sample_count > KS_CHUNK_SAMPLES_MAX)
            problem(w, "series %u: a chunk of %u samples", ord, w->refs[i].meta.sample_count);
        else
            KS_TRY(walk_chunk(w, ord, &w->refs[i]));
    }
    w->n.series += w->n.chunks > chunks;
    return KS_OK;
}

static ks_err walk_init(struct walk *w)
{
    ks_buf_init(&w->labels, 16 << 20);
    ks_buf_init(&w->before, 16 << 20);
    ks_arena_init(&w->arena, (size_t)256 << 20);
    w->times = ks_alloc_array(KS_CHUNK_SAMPLES_MAX, sizeof *w->times);
    w->values = ks_alloc_array(KS_CHUNK_SAMPLES_MAX, sizeof *w->values);
    return w->times && w->values ? ks_mpart_open(w->vfs, w->path, NULL, &w->part) : KS_ENOMEM;
}

static void walk_done(struct walk *w)
{
    if (w->part.file)
        ks_mpart_close(&w->part);
    ks_buf_done(&w->labels);
    ks_buf_done(&w->before);
    ks_arena_done(&w->arena);
    ks_free(w->refs);
    ks_free(w->times);
    ks_free(w->values);
}

static ks_err walk_all(struct walk *w)
{
    uint32_t n = ks_sindex_series_count(w->part.index);
    for (uint32_t ord = 0; ord < n; ord++)
        if (!w->deleted || !roaring_bitmap_contains(w->deleted, ord))
            KS_TRY(walk_row(w, ord));
    return KS_OK;
}

/* --- pages --- */

static void page_damage(void *arg, const char *section, struct ks_page_ref ref, const char *what)
{
    problem(arg, "section %s, page at %llu: %s", section, (unsigned long long)ref.offset, what);
}

static ks_err verify_pages(struct walk *w, enum ks_part_kind *ret_kind)
{
    struct ks_part *p;
    KS_TRY(ks_part_open(w->vfs, w->path, NULL, &p));
    *ret_kind = ks_part_get_kind(p);
    ks_err err = ks_part_verify(p, page_damage, w);
    ks_part_close(p);
    return err;
}

ks_err ks_offline_verify(struct ks_vfs *vfs, const char *path, ks_offline_fn fn, void *arg,
                         struct ks_offline_counts *ret)
{
    struct walk w = {.vfs = vfs, .path = path, .fn = fn, .arg = arg};
    enum ks_part_kind kind = 0;
    ks_err err = verify_pages(&w, &kind);
    if (err == KS_ECORRUPT && !w.n.problems) /* not even the table of contents */
        problem(&w, "%s", ks_err_text());
    else if ((err == KS_OK || err == KS_ECORRUPT) && kind == KS_PART_LOGS) {
        err = ksi_offline_verify_log(vfs, path, fn, arg, &w.n);
    } else if ((err == KS_OK || err == KS_ECORRUPT) && kind == KS_PART_METRICS) {
        err = walk_init(&w);
        if (err == KS_OK)
            err = walk_all(&w);
        else if (is_damage(err))
            problem(&w, "%s", ks_err_text());
    }
    walk_done(&w);
    *ret = w.n;
    if (w.n.problems && (err == KS_OK || is_damage(err)))
        return ks_fail(KS_ECORRUPT, "%s: %llu problems", path, (unsigned long long)w.n.problems);
    return err;
}

ks_err ks_offline_salvage(struct ks_vfs *vfs, const char *from, const char *to,
                          const roaring_bitmap_t *deleted, ks_offline_fn fn, void *arg,
                          struct ks_offline_counts *ret)
{
    struct walk w = {.vfs = vfs, .path = from, .fn = fn, .arg = arg, .deleted = deleted};
    if (ksi_offline_is_log(vfs, from))
        return ksi_offline_salvage_log(vfs, from, to, deleted, fn, arg, ret);
    ks_err err = walk_init(&w);
    if (is_damage(err)) {
        problem(&w, "%s", ks_err_text());
        err = ks_fail(KS_ECORRUPT, "%s: nothing can be read", from);
    }
    if (err == KS_OK)
        err = ks_mpart_writer_new(vfs, to, 1, &w.out);
    if (err == KS_OK)
        err = walk_all(&w);
    if (err == KS_OK && !w.n.chunks)
        err = ks_fail(KS_ECORRUPT, "%s: nothing can be read", from);
    if (err == KS_OK) {
        err = ks_mpart_writer_finish(w.out, NULL);
        w.out = NULL;
    }
    ks_mpart_writer_abort(w.out);
    walk_done(&w);
    *ret = w.n;
    return err;
}
