/*
 * The merge itself. Chunks of a series, from all inputs, go through in order of time: a run of
 * chunks that do not touch each other and need no change is copied byte for byte; anything else is
 * decoded into one sorted, folded run and cut into chunks again.
 */
#include "compaction/compact.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "compaction/fold.h"
#include "storage/codec/fold_histograms.h"

enum { JOIN_BELOW = 60, CHUNK_TARGET = 256, CHECK_EVERY = 256 };

/* One input part as the merge walks it. */
struct side {
    const struct ks_compact_input *in;
    struct ks_sindex_cursor *cursor;
    struct ks_mdata_cursor *chunks;
    uint32_t ord; /* of the row at hand */
    bool more;
    struct ks_tenant tenant;
    struct ks_slice labels;
    struct ks_series_key key; /* of these */
};

/* A chunk of the series at hand. */
struct piece {
    struct ks_mdata *data;
    struct ks_chunk_ref ref;
};

struct merge {
    const struct ks_compact_opts *o;
    struct side *sides;
    size_t count;
    struct ks_mpart_writer *w;
    struct piece *pieces;
    size_t piece_count, piece_cap;
    struct ks_chunk_ref *refs;
    size_t ref_cap;
    struct kfold fold;
    struct ks_buf labels, encoded;
    struct ks_compact_series keep; /* of the series at hand */
    bool series_open;              /* the series at hand has been added to the writer */
    struct ks_tenant tenant;
    struct ks_compact_result result;
};

static ks_err side_next(struct side *s)
{
    for (;;) {
        s->ord++;
        KS_TRY(ks_sindex_cursor_next(s->cursor, &s->more, &s->tenant, &s->labels));
        if (s->more && s->in->deleted && roaring_bitmap_contains(s->in->deleted, s->ord))
            continue;
        if (s->more)
            s->key = ks_series_key_of(s->tenant, s->labels);
        return KS_OK;
    }
}

static void side_done(struct side *s)
{
    ks_sindex_cursor_free(s->cursor);
    ks_mdata_cursor_free(s->chunks);
}

static ks_err open_sides(struct merge *m, const struct ks_compact_input *inputs, size_t count)
{
    if (!(m->sides = ks_zalloc_array(count, sizeof *m->sides)))
        return KS_ENOMEM;
    for (; m->count < count; m->count++) {
        struct side *s = &m->sides[m->count];
        s->in = &inputs[m->count];
        s->ord = UINT32_MAX; /* the first step makes it 0 */
        KS_TRY(ks_mdata_cursor_new(s->in->part->data, &s->chunks));
        KS_TRY(ks_sindex_cursor_new(s->in->part->index, &s->cursor));
    }
    for (size_t i = 0; i < count; i++)
        KS_TRY(side_next(&m->sides[i]));
    return KS_OK;
}

/* --- one series --- */

static int by_time(const void *pa, const void *pb)
{
    const struct piece *a = pa, *b = pb;
    if (a->ref.meta.min_ms != b->ref.meta.min_ms)
        return a->ref.meta.min_ms < b->ref.meta.min_ms ? -1 : 1;
    return (a->ref.meta.max_ms > b->ref.meta.max_ms) - (a->ref.meta.max_ms < b->ref.meta.max_ms);
}

static bool equal_pieces(const struct piece *a, const struct piece *b)
{
    return ks_chunk_same(&a->ref.meta, &b->ref.meta);
}

static ks_err take_chunks(struct merge *m, const struct side *s)
{
    size_t n = 0;
    KS_TRY(
        ks_mdata_cursor_chunks(s->chunks, s->ord, INT64_MIN, INT64_MAX, &m->refs, &n, &m->ref_cap));
    KS_TRY(ks_array_reserve((void **)&m->pieces, &m->piece_cap, m->piece_count + n,
                            sizeof *m->pieces));
    for (size_t i = 0; i < n; i++) {
        m->result.samples_in += m->refs[i].meta.sample_count;
        if (m->refs[i].meta.max_ms >= m->keep.keep_from_ms)
            m->pieces[m->piece_count++] = (struct piece){s->in->part->data, m->refs[i]};
    }
    return KS_OK;
}

static ks_err open_series(struct merge *m)
{
    if (m->series_open)
        return KS_OK;
    m->series_open = true;
    m->result.series++;
    return ks_mpart_add_series(m->w, m->tenant, ks_buf_view(&m->labels));
}

static ks_err copy_piece(struct merge *m, const struct piece *p)
{
    struct ks_page times_page, values_page;
    struct ks_slice times, values;
    KS_TRY(open_series(m));
    KS_TRY(ks_mdata_raw(p->data, &p->ref, &times_page, &times, &values_page, &values));
    ks_err err = ks_mpart_add_chunk(m->w, &p->ref.meta, times, values);
    ks_page_release(&times_page);
    ks_page_release(&values_page);
    m->result.samples_out += p->ref.meta.sample_count;
    m->result.chunks_copied++;
    return err;
}

static ks_err put_chunk(struct merge *m, size_t from, size_t n)
{
    struct ks_chunk_meta meta;
    size_t times_bytes;
    ks_buf_reset(&m->encoded);
    KS_TRY(open_series(m));
    KS_TRY(ks_chunk_encode(m->fold.times + from, m->fold.values + from, n, &m->encoded, &meta,
                           &times_bytes));
    struct ks_slice all = ks_buf_view(&m->encoded);
    KS_TRY(ks_mpart_add_chunk(m->w, &meta, ks_slice(all.ptr, times_bytes),
                              ks_slice_from(all, times_bytes)));
    m->result.samples_out += n;
    m->result.chunks_rewritten++;
    return KS_OK;
}

static ks_err put_histograms(struct merge *m, size_t from, size_t n)
{
    struct ks_chunk_meta meta;
    size_t times_bytes;
    ks_buf_reset(&m->encoded);
    KS_TRY(open_series(m));
    KS_TRY(ks_histogram_chunk_encode(m->fold.hist_times + from, m->fold.hists + from, n,
                                     &m->fold.arena, &m->encoded, &meta, &times_bytes));
    struct ks_slice all = ks_buf_view(&m->encoded);
    KS_TRY(ks_mpart_add_chunk(m->w, &meta, ks_slice(all.ptr, times_bytes),
                              ks_slice_from(all, times_bytes)));
    m->result.samples_out += n;
    m->result.chunks_rewritten++;
    return KS_OK;
}

/* What was folded, as chunks of both kinds in order of their first times. */
static ks_err put_folded(struct merge *m)
{
    const struct kfold *f = &m->fold;
    size_t n = f->count, chunks = (n + CHUNK_TARGET * 3 / 2 - 1) / (CHUNK_TARGET * 3 / 2);
    size_t k = 0, h = 0;
    while (k < chunks || h < f->hist_count) {
        size_t a = chunks ? n * k / chunks : 0;
        if (h == f->hist_count || (k < chunks && f->times[a] <= f->hist_times[h])) {
            KS_TRY(put_chunk(m, a, n * ++k / chunks - a));
            continue;
        }
        size_t fit = ks_histograms_fit(f->hists + h, f->hist_count - h);
        KS_TRY(put_histograms(m, h, fit));
        h += fit;
    }
    return KS_OK;
}

/* Decodes pieces [from, to), folds them and writes the result as chunks of about CHUNK_TARGET
 * samples. */
static ks_err rewrite(struct merge *m, size_t from, size_t to)
{
    kfold_reset(&m->fold);
    for (size_t i = from; i < to; i++)
        KS_TRY(kfold_add(&m->fold, m->pieces[i].data, &m->pieces[i].ref));
    KS_TRY(kfold_finish(&m->fold, m->keep.keep_from_ms, m->o->dedup_interval_ms,
                        m->keep.resolution_ms));
    /* Nothing fell away from a lone chunk: its bytes stay, so that merging again changes nothing.
     */
    size_t kept = m->fold.count + m->fold.hist_count;
    if (to == from + 1 && kept == m->pieces[from].ref.meta.sample_count)
        return copy_piece(m, &m->pieces[from]);
    return put_folded(m);
}

/* Whether a piece that touches no other may be copied as it is. */
static bool as_is(const struct merge *m, const struct piece *p)
{
    return p->ref.meta.min_ms >= m->keep.keep_from_ms && m->o->dedup_interval_ms <= 1 &&
           m->keep.resolution_ms <= 1;
}

/* End of the run of pieces that overlap each other, starting at i. */
static size_t overlap_end(const struct merge *m, size_t i)
{
    int64_t reach = m->pieces[i].ref.meta.max_ms;
    size_t end = i + 1;
    while (end < m->piece_count && m->pieces[end].ref.meta.min_ms <= reach) {
        if (m->pieces[end].ref.meta.max_ms > reach)
            reach = m->pieces[end].ref.meta.max_ms;
        end++;
    }
    return end;
}

static ks_err write_pieces(struct merge *m)
{
    if (m->piece_count > 1)
        qsort(m->pieces, m->piece_count, sizeof *m->pieces, by_time);
    size_t kept = 0;
    for (size_t i = 0; i < m->piece_count; i++)
        if (!kept || !equal_pieces(&m->pieces[kept - 1], &m->pieces[i]))
            m->pieces[kept++] = m->pieces[i];
    m->piece_count = kept;
    for (size_t i = 0; i < m->piece_count;) {
        size_t end = overlap_end(m, i);
        uint32_t samples = m->pieces[i].ref.meta.sample_count;
        if (end == i + 1 && as_is(m, &m->pieces[i]) && samples >= JOIN_BELOW) {
            KS_TRY(copy_piece(m, &m->pieces[i]));
            i = end;
            continue;
        }
        /* Everything up to the next piece worth copying is rewritten together, so that short ones
         * grow. */
        while (end < m->piece_count) {
            size_t next = overlap_end(m, end);
            if (next == end + 1 && as_is(m, &m->pieces[end]) &&
                m->pieces[end].ref.meta.sample_count >= JOIN_BELOW)
                break;
            end = next;
        }
        bool alone = end == i + 1 && as_is(m, &m->pieces[i]);
        KS_TRY(alone ? copy_piece(m, &m->pieces[i]) : rewrite(m, i, end));
        i = end;
    }
    return KS_OK;
}

/* The smallest series among the sides, with the chunks of every side that has it. */
static ks_err merge_series(struct merge *m, const struct side *least)
{
    m->tenant = least->tenant;
    m->piece_count = 0;
    m->series_open = false;
    ks_buf_reset(&m->labels);
    ks_buf_slice(&m->labels, least->labels);
    KS_TRY(ks_buf_status(&m->labels));
    struct ks_slice labels = ks_buf_view(&m->labels);
    m->keep = (struct ks_compact_series){.keep_from_ms = INT64_MIN};
    if (m->o->series)
        m->o->series(m->o->arg, m->tenant, labels, &m->keep);
    for (size_t i = 0; i < m->count; i++) {
        struct side *s = &m->sides[i];
        if (!s->more || !ks_tenant_eq(s->tenant, m->tenant) || !ks_slice_eq(s->labels, labels))
            continue;
        KS_TRY(take_chunks(m, s));
        KS_TRY(side_next(s));
    }
    return m->piece_count ? write_pieces(m) : KS_OK;
}

static ks_err merge_all(struct merge *m)
{
    for (size_t round = 0;; round++) {
        const struct side *least = NULL;
        if (round % CHECK_EVERY == 0 && m->o->stop && atomic_load(m->o->stop))
            return ks_fail(KS_ECANCELED, "the merge was stopped");
        for (size_t i = 0; i < m->count; i++)
            if (m->sides[i].more &&
                (!least || ks_series_key_cmp(&m->sides[i].key, &least->key) < 0))
                least = &m->sides[i];
        if (!least)
            return KS_OK;
        KS_TRY(merge_series(m, least));
    }
}

ks_err ks_compact_merge(const struct ks_compact_opts *o, const struct ks_compact_input *inputs,
                        size_t count, struct ks_compact_result *ret)
{
    struct merge m = {.o = o};
    ks_buf_init(&m.labels, 16 << 20);
    ks_buf_init(&m.encoded, 16 << 20);
    ks_err err = ks_mpart_writer_new(o->vfs, o->path, o->level, &m.w);
    if (err == KS_OK)
        err = open_sides(&m, inputs, count);
    if (err == KS_OK)
        err = merge_all(&m);
    if (err == KS_OK && m.result.series) {
        err = ks_mpart_writer_finish(m.w, &m.result.bytes);
        m.w = NULL;
    }
    ks_mpart_writer_abort(m.w);
    m.result.empty = !m.result.series;
    for (size_t i = 0; m.sides && i < count; i++)
        side_done(&m.sides[i]);
    ks_free(m.sides);
    ks_free(m.pieces);
    ks_free(m.refs);
    kfold_done(&m.fold);
    ks_buf_done(&m.labels);
    ks_buf_done(&m.encoded);
    if (err == KS_OK)
        *ret = m.result;
    return err;
}
