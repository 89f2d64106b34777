/*
 * Flush: the rows in memory, sorted by stream and time, become one part for each day they lie in;
 * then the manifest says so, together with the point of the log from which a restart has to replay.
 */
#include "engine/logs/log_flush.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/logs/log_commit.h"
#include "sys/clock.h"

/* A row in memory, as it is sorted. */
struct row_ref {
    int64_t time_ns;
    uint32_t stream; /* rank */
    uint32_t frame;
    const uint8_t *at; /* its fields */
    uint32_t fields;
    int32_t day;
    uint32_t order; /* of arrival: rows of equal times stay in it */
};

struct flush {
    struct ks_log_store *s;
    struct ksi_segment **segs;
    size_t seg_count;
    ks_lsn cut;
    struct ks_arena arena;
    const struct ksi_frame **frames;
    size_t frame_count, frame_cap;
    struct row_ref *rows;
    size_t row_count;
    struct ks_log_stream *streams; /* by rank */
    size_t stream_count;
    struct ks_lpart_field *fields;
    size_t field_cap;
    struct ksi_lpart **fresh;
    size_t fresh_count, fresh_cap;
};

/* --- streams --- */

static int by_tags(const void *a, const void *b)
{
    const struct ks_log_stream *x = *(const struct ks_log_stream *const *)a;
    const struct ks_log_stream *y = *(const struct ks_log_stream *const *)b;
    uint64_t s = ks_tenant_key(x->tenant), t = ks_tenant_key(y->tenant);
    if (s != t)
        return s < t ? -1 : 1;
    return ks_slice_cmp(x->tags, y->tags);
}

/*
 * Ranks all streams of all frames: *ret[i] are the ranks of frame i's streams. Neighbours by tags
 * are alike, which blocks they share profit from.
 */
static ks_err rank_streams(struct flush *f, uint32_t ***ret)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < f->frame_count; i++)
        total += f->frames[i]->stream_count;
    struct ks_log_stream **all = ks_arena_array(&f->arena, total + 1, sizeof *all);
    uint32_t **ranks = ks_arena_array(&f->arena, f->frame_count + 1, sizeof *ranks);
    f->streams = ks_arena_array(&f->arena, total + 1, sizeof *f->streams);
    if (!all || !ranks || !f->streams)
        return ks_arena_err(&f->arena);
    for (size_t i = 0; i < f->frame_count; i++) {
        ranks[i] = ks_arena_array(&f->arena, f->frames[i]->stream_count + 1, sizeof **ranks);
        if (!ranks[i])
            return ks_arena_err(&f->arena);
        for (uint32_t k = 0; k < f->frames[i]->stream_count; k++)
            all[n++] = &f->frames[i]->streams[k];
    }
    qsort(all, n, sizeof *all, by_tags);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_tags(&all[i - 1], &all[i]) != 0)
            f->streams[f->stream_count++] = *all[i];
    for (size_t i = 0; i < f->frame_count; i++) {
        for (uint32_t k = 0; k < f->frames[i]->stream_count; k++) {
            const struct ks_log_stream *x = &f->frames[i]->streams[k];
            size_t lo = 0, hi = f->stream_count;
            while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                const struct ks_log_stream *m = &f->streams[mid];
                if (by_tags(&m, &x) < 0)
                    lo = mid + 1;
                else
                    hi = mid;
            }
            ranks[i][k] = (uint32_t)lo;
        }
    }
    *ret = ranks;
    return KS_OK;
}

/* --- rows --- */

static ks_err collect_frames(struct flush *f)
{
    for (size_t i = 0; i < f->seg_count; i++) {
        const struct ksi_frame *x = f->segs[i]->first;
        for (uint32_t k = 0; k < f->segs[i]->frame_count; k++, x = x->next) {
            KS_TRY(ks_array_reserve((void **)&f->frames, &f->frame_cap, f->frame_count + 1,
                                    sizeof *f->frames));
            f->frames[f->frame_count++] = x;
            f->row_count += x->row_count;
        }
    }
    return KS_OK;
}

static ks_err collect_rows(struct flush *f)
{
    uint32_t **ranks;
    size_t n = 0;
    KS_TRY(collect_frames(f));
    KS_TRY(rank_streams(f, &ranks));
    f->rows = ks_alloc_array(f->row_count + 1, sizeof *f->rows);
    if (!f->rows)
        return KS_ENOMEM;
    for (size_t i = 0; i < f->frame_count; i++) {
        struct ksi_row_iter it = ksi_rows(f->frames[i]);
        while (ksi_row_next(&it)) {
            uint32_t name;
            struct ks_slice value;
            f->rows[n] = (struct row_ref){.time_ns = it.time_ns,
                                          .stream = ranks[i][it.stream],
                                          .frame = (uint32_t)i,
                                          .at = it.r.p,
                                          .fields = it.fields_left,
                                          .day = (int32_t)ksi_day_of_ns(it.time_ns),
                                          .order = (uint32_t)n};
            n++;
            while (ksi_row_field(&it, &name, &value))
                ;
        }
    }
    KS_ASSERT(n == f->row_count);
    return KS_OK;
}

static int by_row(const void *a, const void *b)
{
    const struct row_ref *x = a, *y = b;
    if (x->day != y->day)
        return x->day < y->day ? -1 : 1;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static ks_err add_row(struct flush *f, struct ks_lpart_writer *w, const struct row_ref *r)
{
    const struct ksi_frame *x = f->frames[r->frame];
    const struct ks_log_stream *s = &f->streams[r->stream];
    struct ksi_row_iter it = {.r = {r->at, (const uint8_t *)x->rows.ptr + x->rows.len, false},
                              .fields_left = r->fields};
    uint32_t name;
    size_t n = 0;
    KS_TRY(ks_array_reserve((void **)&f->fields, &f->field_cap, r->fields, sizeof *f->fields));
    while (ksi_row_field(&it, &name, &f->fields[n].value))
        f->fields[n++].name = x->names[name];
    return ks_lpart_add(w, s->tenant, s->tags, r->time_ns, f->fields, n);
}

/* --- parts --- */

static ks_err write_day(struct flush *f, const struct row_ref *rows, size_t n)
{
    struct ks_log_store *s = f->s;
    struct ks_vfs *vfs = ks_engine_vfs(s->logs->e);
    struct ks_manifest_part mp = {.id = s->manifest.next_id++, .day = rows[0].day};
    char path[4096];
    struct ks_lpart_writer *w;
    KS_TRY(ks_array_reserve((void **)&f->fresh, &f->fresh_cap, f->fresh_count + 1,
                            sizeof(struct ksi_lpart *)));
    KS_TRY(ksi_log_part_path(s, mp.day, mp.id, true, path));
    KS_TRY(ks_lpart_writer_new(vfs, path, false, &w));
    ks_err err = KS_OK;
    for (size_t i = 0; i < n && err == KS_OK; i++)
        err = add_row(f, w, &rows[i]);
    if (err != KS_OK) {
        ks_lpart_writer_abort(w);
        return err;
    }
    KS_TRY(ks_lpart_writer_finish(w, NULL));
    KS_TRY(ksi_log_open_fresh(s, path, &mp, &f->fresh[f->fresh_count]));
    f->fresh_count++;
    return KS_OK;
}

static ks_err write_parts(struct flush *f)
{
    KS_TRY(collect_rows(f));
    qsort(f->rows, f->row_count, sizeof *f->rows, by_row);
    for (size_t i = 0; i < f->row_count;) {
        size_t j = i + 1;
        while (j < f->row_count && f->rows[j].day == f->rows[i].day)
            j++;
        KS_TRY(write_day(f, f->rows + i, j - i));
        i = j;
    }
    return KS_OK;
}

/* Closes the open segment and notes where the log stands: rows logged later are in later segments.
 */
static ks_err freeze(struct flush *f)
{
    struct ks_log_store *s = f->s;
    ks_err err = KS_OK;
    pthread_mutex_lock(&s->lock);
    size_t n = s->seg_count;
    bool open_is_empty = n && !s->segs[n - 1]->row_count;
    f->seg_count = n - open_is_empty;
    f->segs = ks_memdup(s->segs, n * sizeof(struct ksi_segment *));
    if (!f->segs)
        err = KS_ENOMEM;
    f->cut = ks_wal_next_lsn(s->logs->wal);
    if (err == KS_OK && f->seg_count && !open_is_empty) {
        struct ksi_segment *fresh;
        err = ks_array_reserve((void **)&s->segs, &s->seg_cap, s->seg_count + 1,
                               sizeof(struct ksi_segment *));
        if (err == KS_OK)
            err = ksi_segment_new(s->arrival, &fresh);
        if (err == KS_OK)
            s->segs[s->seg_count++] = fresh;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static ks_err flush_locked(struct ks_log_store *s)
{
    struct flush f = {.s = s};
    ks_arena_init(&f.arena, (size_t)1 << 31);
    ks_err err = freeze(&f);
    /* Rows of writers that still wait: a part may not hold what the log then turns out to lack. */
    if (err == KS_OK)
        err = ks_wal_sync(s->logs->wal);
    if (err == KS_OK && f.seg_count)
        err = write_parts(&f);
    if (err == KS_OK) {
        struct ksi_log_change c = {.fresh = f.fresh,
                                   .fresh_count = f.fresh_count,
                                   .cut = f.cut,
                                   .flushed_segments = f.seg_count};
        err = ksi_log_commit(s, &c);
    }
    if (err != KS_OK) {
        char why[KS_ERR_TEXT_MAX];
        snprintf(why, sizeof why, "%s", ks_err_text());
        ksi_log_discard(s, f.fresh, f.fresh_count);
        (void)ks_fail(err, "%s", why);
    }
    ks_arena_done(&f.arena);
    ks_free(f.segs);
    ks_free(f.frames);
    ks_free(f.rows);
    ks_free(f.fields);
    ks_free(f.fresh);
    return err;
}

ks_err ksi_log_flush(struct ks_log_store *s)
{
    pthread_mutex_lock(&s->commit_lock);
    ks_err err = flush_locked(s);
    if (err == KS_OK) {
        s->last_flush_mono_ms = ks_mono_ms();
        atomic_fetch_add(&s->flushes, 1);
    }
    pthread_mutex_unlock(&s->commit_lock);
    return err;
}

ks_err ks_log_store_flush(struct ks_log_store *s)
{
    return ksi_log_flush(s);
}
