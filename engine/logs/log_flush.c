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

#define NO_NAME UINT32_MAX

/* A row in memory, as it is sorted. */
struct row_ref {
    int64_t time_ns;
    uint32_t stream; /* rank */
    uint32_t frame, row;
    uint32_t bucket; /* what it is sorted by just now */
};

struct flush {
    struct ks_log_store *s;
    struct ksi_segment **segs;
    size_t seg_count;
    ks_lsn cut;
    struct ks_arena arena;
    const struct ksi_frame **frames;
    size_t frame_count, frame_cap;
    struct row_ref *rows, *spare;
    size_t row_count;
    struct ks_log_stream *streams; /* by rank */
    size_t stream_count;
    uint32_t **numbers; /* per frame: its names in the part being written, or NO_NAME */
    struct ks_lpart_cell *cells;
    size_t cell_cap;
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

static bool same_stream(const struct ks_log_stream *a, const struct ks_log_stream *b)
{
    return a->id.lo == b->id.lo && ks_tenant_eq(a->tenant, b->tenant) &&
           ks_slice_eq(a->tags, b->tags);
}

/* Numbers all streams of all frames in order of appearance: ret[i] those of frame i's; each stream
 * once in found. */
static ks_err find_streams(struct flush *f, size_t total, const struct ks_log_stream **found,
                           uint32_t **ret)
{
    size_t cap = 64;
    while (cap < total * 2)
        cap *= 2;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < f->frame_count; i++) {
        const struct ksi_frame *x = f->frames[i];
        if (!(ret[i] = ks_arena_array(&f->arena, x->stream_count + 1, sizeof **ret))) {
            ks_free(table);
            return ks_arena_err(&f->arena);
        }
        for (uint32_t k = 0; k < x->stream_count; k++) {
            size_t at = x->streams[k].id.lo & (cap - 1);
            while (table[at] && !same_stream(found[table[at] - 1], &x->streams[k]))
                at = (at + 1) & (cap - 1);
            if (!table[at]) {
                found[f->stream_count++] = &x->streams[k];
                table[at] = (uint32_t)f->stream_count;
            }
            ret[i][k] = table[at] - 1;
        }
    }
    ks_free(table);
    return KS_OK;
}

/*
 * Ranks all streams of all frames: *ret[i] are the ranks of frame i's streams. Neighbours by tags
 * are alike, which blocks they share profit from.
 */
static ks_err rank_streams(struct flush *f, uint32_t ***ret)
{
    size_t total = 0;
    for (size_t i = 0; i < f->frame_count; i++)
        total += f->frames[i]->stream_count;
    const struct ks_log_stream **found = ks_arena_array(&f->arena, total + 1, sizeof *found);
    uint32_t **ranks = ks_arena_array(&f->arena, f->frame_count + 1, sizeof *ranks);
    if (!found || !ranks)
        return ks_arena_err(&f->arena);
    KS_TRY(find_streams(f, total, found, ranks));
    size_t n = f->stream_count;
    const struct ks_log_stream **order = ks_arena_array(&f->arena, n + 1, sizeof *order);
    uint32_t *rank = ks_arena_array(&f->arena, n + 1, sizeof *rank);
    f->streams = ks_arena_array(&f->arena, n + 1, sizeof *f->streams);
    if (!order || !rank || !f->streams)
        return ks_arena_err(&f->arena);
    /* While they are sorted, their places in f->streams tell the numbers of appearance. */
    for (size_t i = 0; i < n; i++) {
        f->streams[i] = *found[i];
        order[i] = &f->streams[i];
    }
    qsort(order, n, sizeof *order, by_tags);
    for (size_t i = 0; i < n; i++)
        rank[order[i] - f->streams] = (uint32_t)i;
    for (size_t i = 0; i < n; i++)
        f->streams[rank[i]] = *found[i];
    for (size_t i = 0; i < f->frame_count; i++)
        for (uint32_t k = 0; k < f->frames[i]->stream_count; k++)
            ranks[i][k] = rank[ranks[i][k]];
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
    f->spare = ks_alloc_array(f->row_count + 1, sizeof *f->spare);
    if (!f->rows || !f->spare)
        return KS_ENOMEM;
    for (size_t i = 0; i < f->frame_count; i++) {
        struct ksi_row_iter it = ksi_rows(f->frames[i]);
        for (uint32_t k = 0; k < f->frames[i]->row_count; k++) {
            ksi_row_head(&it, f->frames[i], k);
            uint32_t rank = ranks[i][it.stream];
            f->rows[n++] = (struct row_ref){it.time_ns, rank, (uint32_t)i, k, rank};
        }
    }
    KS_ASSERT(n == f->row_count);
    return KS_OK;
}

/* Moves the rows into the order of their buckets; those of one stay in their order. *ret_starts
 * has where each bucket begins and, behind the last, the count of rows. */
static ks_err sort_buckets(struct flush *f, size_t buckets, size_t **ret_starts)
{
    size_t *starts = ks_arena_zalloc(&f->arena, (buckets + 2) * sizeof *starts);
    if (!starts)
        return ks_arena_err(&f->arena);
    for (size_t i = 0; i < f->row_count; i++)
        starts[f->rows[i].bucket + 2]++;
    for (size_t i = 2; i < buckets + 2; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < f->row_count; i++)
        f->spare[starts[f->rows[i].bucket + 1]++] = f->rows[i];
    struct row_ref *sorted = f->spare;
    f->spare = f->rows;
    f->rows = sorted;
    *ret_starts = starts;
    return KS_OK;
}

/* Rows of equal times stay in order of arrival. */
static int by_time(const void *a, const void *b)
{
    const struct row_ref *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    if (x->frame != y->frame)
        return x->frame < y->frame ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Most streams arrive in order of time. */
static ks_err sort_streams(struct flush *f)
{
    size_t *starts;
    KS_TRY(sort_buckets(f, f->stream_count, &starts));
    for (size_t s = 0; s < f->stream_count; s++) {
        size_t i = starts[s] + 1;
        while (i < starts[s + 1] && f->rows[i - 1].time_ns <= f->rows[i].time_ns)
            i++;
        if (i < starts[s + 1])
            qsort(f->rows + starts[s], starts[s + 1] - starts[s], sizeof *f->rows, by_time);
    }
    return KS_OK;
}

static int by_day(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Whether all rows are of one day, which is the rule. */
static bool one_day(const struct flush *f)
{
    int64_t day = ksi_day_of_ns(f->frames[0]->min_ns);
    for (size_t i = 0; i < f->frame_count; i++)
        if (ksi_day_of_ns(f->frames[i]->min_ns) != day ||
            ksi_day_of_ns(f->frames[i]->max_ns) != day)
            return false;
    return true;
}

/* Sorted rows by day; *ret_starts is where each day begins, and where the last one ends. */
static ks_err sort_days(struct flush *f, size_t *ret_days, size_t **ret_starts)
{
    int64_t last = 0;
    size_t n = 0;
    if (one_day(f)) {
        size_t *starts = ks_arena_array(&f->arena, 2, sizeof *starts);
        if (!starts)
            return ks_arena_err(&f->arena);
        starts[0] = 0;
        starts[1] = f->row_count;
        *ret_starts = starts;
        *ret_days = 1;
        return KS_OK;
    }
    int64_t *days = ks_arena_array(&f->arena, f->row_count, sizeof *days);
    if (!days)
        return ks_arena_err(&f->arena);
    for (size_t i = 0; i < f->row_count; i++) {
        int64_t day = ksi_day_of_ns(f->rows[i].time_ns);
        if (!i || day != last)
            days[n++] = last = day;
    }
    qsort(days, n, sizeof *days, by_day);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!i || days[i] != days[kept - 1])
            days[kept++] = days[i];
    for (size_t i = 0; i < f->row_count; i++) {
        int64_t day = ksi_day_of_ns(f->rows[i].time_ns);
        int64_t *at = bsearch(&day, days, kept, sizeof *days, by_day);
        f->rows[i].bucket = (uint32_t)(at - days);
    }
    *ret_days = kept;
    return sort_buckets(f, kept, ret_starts);
}

/* --- parts --- */

/* The number of a frame's name in the part being written. */
static ks_err number_name(struct flush *f, struct ks_lpart_writer *w, uint32_t frame, uint32_t name,
                          uint32_t *ret)
{
    uint32_t *number = &f->numbers[frame][name];
    if (KS_UNLIKELY(*number == NO_NAME))
        KS_TRY(ks_lpart_name(w, f->frames[frame]->names[name], number));
    *ret = *number;
    return KS_OK;
}

static ks_err add_row(struct flush *f, struct ks_lpart_writer *w, const struct row_ref *r)
{
    const struct ksi_frame *x = f->frames[r->frame];
    struct ksi_row_iter it = ksi_rows(x);
    size_t n = 0;
    ksi_row_head(&it, x, r->row);
    if (it.fields_left > f->cell_cap)
        KS_TRY(
            ks_array_reserve((void **)&f->cells, &f->cell_cap, it.fields_left, sizeof *f->cells));
    for (uint32_t name; ksi_row_field(&it, &name, &f->cells[n].value); n++)
        KS_TRY(number_name(f, w, r->frame, name, &f->cells[n].name));
    return ks_lpart_add_cells(w, r->time_ns, f->cells, n);
}

static ks_err add_rows(struct flush *f, struct ks_lpart_writer *w, const struct row_ref *rows,
                       size_t n)
{
    enum { AHEAD = 6, LINE = 64, LINES = 5 }; /* rows lie anywhere: their bytes are fetched early */
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const struct ksi_frame *x = f->frames[rows[i + AHEAD].frame];
            const char *at = x->rows.ptr + x->row_at[rows[i + AHEAD].row];
            for (size_t k = 0; k < LINES; k++)
                __builtin_prefetch(at + k * LINE);
        }
        if (!i || rows[i].stream != rows[i - 1].stream) {
            const struct ks_log_stream *s = &f->streams[rows[i].stream];
            KS_TRY(ks_lpart_stream_begin(w, s->tenant, s->tags));
        }
        KS_TRY(add_row(f, w, &rows[i]));
    }
    return KS_OK;
}

static ks_err forget_names(struct flush *f)
{
    if (!f->numbers) {
        f->numbers = ks_arena_zalloc(&f->arena, f->frame_count * sizeof *f->numbers);
        if (!f->numbers)
            return ks_arena_err(&f->arena);
    }
    for (size_t i = 0; i < f->frame_count; i++) {
        size_t n = f->frames[i]->name_count;
        if (!f->numbers[i] &&
            !(f->numbers[i] = ks_arena_array(&f->arena, n + 1, sizeof **f->numbers)))
            return ks_arena_err(&f->arena);
        for (size_t k = 0; k < n; k++)
            f->numbers[i][k] = NO_NAME;
    }
    return KS_OK;
}

static ks_err write_day(struct flush *f, const struct row_ref *rows, size_t n)
{
    struct ks_log_store *s = f->s;
    struct ks_vfs *vfs = ks_engine_vfs(s->logs->e);
    struct ks_manifest_part mp = {.id = s->manifest.next_id++,
                                  .day = ksi_day_of_ns(rows[0].time_ns)};
    char path[4096];
    struct ks_lpart_writer *w;
    KS_TRY(ks_array_reserve((void **)&f->fresh, &f->fresh_cap, f->fresh_count + 1,
                            sizeof(struct ksi_lpart *)));
    KS_TRY(ksi_log_part_path(s, mp.day, mp.id, true, path));
    KS_TRY(forget_names(f));
    KS_TRY(ks_lpart_writer_new(vfs, path, false, &w));
    ks_err err = add_rows(f, w, rows, n);
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
    size_t days, *starts;
    KS_TRY(collect_rows(f));
    KS_TRY(sort_streams(f));
    KS_TRY(sort_days(f, &days, &starts));
    for (size_t d = 0; d < days; d++)
        KS_TRY(write_day(f, f->rows + starts[d], starts[d + 1] - starts[d]));
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
    ks_free(f.spare);
    ks_free(f.cells);
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
