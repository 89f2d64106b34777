/*
 * Merging parts of one day: L0 as flushed → L1 when there are enough of them → few parts, or one,
 * when the day is closed. Rows that were deleted or have expired by a rule are left behind. What is
 * merged is read and written block by block, run of rows by run of rows (storage/logs/log_part.h
 * says what is not decoded for it); publishing replaces the sources at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/engine_priv.h"
#include "engine/logs/log_commit.h"
#include "engine/logs/log_flush.h"
#include "sys/clock.h"

enum {
    SOURCES_MAX = 8,
    CLOSED_AFTER_MS = 3600000, /* late rows have come by then */
    REWRITE_PERMILLE = 250,    /* of the rows must be gone for a part to be written anew */
    TOP_LEVEL = 2,
    BALANCE = 4,             /* a part may be so many times as large as those merged into it */
    SMALL_BYTES = 256 << 10, /* not worth sparing */
};
#define MERGED_BYTES_MAX (8ull << 30)
#define NO_RANK          UINT32_MAX

struct source {
    struct ksi_lpart_view view;
    uint32_t *ranks; /* of its streams, among all sources */
    struct ks_lblock *block;
    size_t next_block;
    uint32_t row, rows;
    const int64_t *times;
    const struct ks_lblock_run *runs;
    size_t run, run_count;
    uint64_t first_row;
    bool done;
};

struct merge {
    struct ks_log_store *s;
    struct source src[SOURCES_MAX];
    size_t count;
    uint8_t level;
    struct ks_lpart_writer *w;
    uint32_t rank; /* of the stream begun in w; NO_RANK */
    int64_t now_ms;
    uint64_t rows_in, rows_out;
};

/* --- reading sources --- */

static ks_err load_block(struct merge *m, struct source *x)
{
    struct ks_lpart *p = x->view.part->p;
    ks_lpart_give_block(m->w, x->block);
    x->block = NULL;
    if (x->next_block == ks_lpart_block_count(p)) {
        x->done = true;
        return KS_OK;
    }
    if (ks_engine_stopping(m->s->logs->e))
        return ks_fail(KS_ECANCELED, "the store is closing");
    KS_TRY(ks_lpart_take_block(m->w, &x->block));
    x->first_row = ks_lpart_block(p, x->next_block)->first_row;
    x->rows = ks_lpart_block(p, x->next_block)->rows;
    KS_TRY(ks_lblock_open(x->block, p, x->next_block++));
    KS_TRY(ks_lblock_times(x->block, &x->times));
    x->run_count = ks_lblock_runs(x->block, &x->runs);
    x->row = 0;
    x->run = 0;
    return KS_OK;
}

static uint32_t rank_of(const struct source *x)
{
    return x->ranks[x->runs[x->run].stream];
}

/* Order of the current rows; sources are in order of age. */
static bool before(const struct source *a, const struct source *b)
{
    uint32_t ra = rank_of(a), rb = rank_of(b);
    if (ra != rb)
        return ra < rb;
    return a->times[a->row] != b->times[b->row] ? a->times[a->row] < b->times[b->row] : a < b;
}

static struct source *lowest(struct merge *m, const struct source *but)
{
    struct source *best = NULL;
    for (size_t i = 0; i < m->count; i++)
        if (!m->src[i].done && &m->src[i] != but && (!best || before(&m->src[i], best)))
            best = &m->src[i];
    return best;
}

/* --- what is left behind --- */

static bool is_deleted(const struct source *x, uint32_t row)
{
    return x->view.tombs &&
           roaring_bitmap_contains(x->view.tombs->rows, (uint32_t)(x->first_row + row));
}

/* Rows of the stream that are older have expired by a rule. */
static int64_t kept_from_ns(const struct merge *m, const struct ks_lpart_stream *s)
{
    struct ks_verdict v;
    if (!m->s->rules)
        return INT64_MIN;
    ks_rules_judge(m->s->rules, s->tenant, s->tags, &v);
    int64_t keep_ms = v.keep_ms == INT64_MAX ? m->s->opts.retention_ms : v.keep_ms;
    return keep_ms < m->now_ms ? (m->now_ms - keep_ms) * KSI_NS_MS : INT64_MIN;
}

/* --- runs of rows --- */

/* Where the rows of x end that come before those of the others: within its stream, at the first
 * row that next's current one precedes. */
static uint32_t run_end(const struct source *x, const struct source *next)
{
    uint32_t end = x->run + 1 < x->run_count ? x->runs[x->run + 1].first_row : x->rows;
    if (!next || rank_of(next) != rank_of(x))
        return end;
    int64_t until = next->times[next->row];
    uint32_t row = x->row + 1;
    while (row < end && (x->times[row] < until || (x->times[row] == until && x < next)))
        row++;
    return row;
}

/* Rows [first, end) of x, which are of one stream, but for those that are gone. */
static ks_err copy_rows(struct merge *m, struct source *x, uint32_t first, uint32_t end)
{
    const struct ks_lpart_stream *s = ks_lpart_stream(x->view.part->p, x->runs[x->run].stream);
    int64_t from_ns = kept_from_ns(m, s);
    m->rows_in += end - first;
    while (first < end) {
        while (first < end && (x->times[first] < from_ns || is_deleted(x, first)))
            first++;
        uint32_t to = first;
        while (to < end && x->times[to] >= from_ns && !is_deleted(x, to))
            to++;
        if (to == first)
            break;
        if (m->rank != rank_of(x)) {
            KS_TRY(ks_lpart_stream_begin(m->w, s->tenant, s->tags));
            m->rank = rank_of(x);
        }
        KS_TRY(ks_lpart_add_run(m->w, x->block, first, to - first));
        m->rows_out += to - first;
        first = to;
    }
    return KS_OK;
}

static ks_err merge_rows(struct merge *m)
{
    m->rank = NO_RANK;
    for (size_t i = 0; i < m->count; i++)
        KS_TRY(load_block(m, &m->src[i]));
    for (struct source *x; (x = lowest(m, NULL));) {
        uint32_t end = run_end(x, lowest(m, x));
        KS_TRY(copy_rows(m, x, x->row, end));
        x->row = end;
        if (end == x->rows)
            KS_TRY(load_block(m, x));
        else if (x->run + 1 < x->run_count && x->runs[x->run + 1].first_row <= end)
            x->run++;
    }
    return KS_OK;
}

/* --- streams of all sources in one order --- */

struct named {
    const struct ks_lpart_stream *stream;
    uint32_t *rank;
};

static int by_tags(const void *a, const void *b)
{
    const struct ks_lpart_stream *x = ((const struct named *)a)->stream;
    const struct ks_lpart_stream *y = ((const struct named *)b)->stream;
    uint64_t s = ks_tenant_key(x->tenant), t = ks_tenant_key(y->tenant);
    if (s != t)
        return s < t ? -1 : 1;
    return ks_slice_cmp(x->tags, y->tags);
}

static ks_err rank_streams(struct merge *m)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < m->count; i++)
        total += ks_lpart_stream_count(m->src[i].view.part->p);
    struct named *all = ks_alloc_array(total + 1, sizeof *all);
    if (!all)
        return KS_ENOMEM;
    for (size_t i = 0; i < m->count; i++) {
        struct source *x = &m->src[i];
        size_t count = ks_lpart_stream_count(x->view.part->p);
        if (!(x->ranks = ks_alloc_array(count + 1, sizeof *x->ranks))) {
            ks_free(all);
            return KS_ENOMEM;
        }
        for (size_t k = 0; k < count; k++)
            all[n++] = (struct named){ks_lpart_stream(x->view.part->p, k), &x->ranks[k]};
    }
    qsort(all, n, sizeof *all, by_tags);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        rank += i && by_tags(&all[i - 1], &all[i]) != 0;
        *all[i].rank = rank;
    }
    ks_free(all);
    return KS_OK;
}

/* --- what to merge --- */

static bool due_for_rewrite(struct ks_log_store *s, const struct ksi_lpart_view *v, int64_t now_ms)
{
    uint64_t gone = v->tombs ? roaring_bitmap_get_cardinality(v->tombs->rows) : 0;
    if (gone * 1000 >= v->part->rows * REWRITE_PERMILLE)
        return gone != 0;
    int64_t last = atomic_load(&v->part->judged_at_ms);
    if (!s->rules || (last && now_ms - last < CLOSED_AFTER_MS))
        return false;
    atomic_store(&v->part->judged_at_ms, now_ms);
    for (size_t i = 0; i < ks_lpart_stream_count(v->part->p); i++) {
        const struct ks_lpart_stream *x = ks_lpart_stream(v->part->p, i);
        struct ks_verdict r;
        ks_rules_judge(s->rules, x->tenant, x->tags, &r);
        int64_t keep_ms = r.keep_ms == INT64_MAX ? s->opts.retention_ms : r.keep_ms;
        if (keep_ms < now_ms && v->part->max_ns < (now_ms - keep_ms) * KSI_NS_MS)
            gone += x->rows;
    }
    return gone * 1000 >= v->part->rows * REWRITE_PERMILLE && gone;
}

static int by_id(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    return (x->view.part->id > y->view.part->id) - (x->view.part->id < y->view.part->id);
}

/* Takes the oldest parts of a day up to a level; false when there are fewer than `least`. */
static bool take(struct merge *m, const struct ksi_lpart_list *l, int64_t day, uint8_t max_level,
                 size_t least)
{
    struct source all[256];
    uint64_t bytes = 0;
    size_t n = 0;
    for (size_t i = 0; i < l->count && n < 256; i++) {
        struct ksi_lpart *p = l->views[i].part;
        if (p->day == day && p->level <= max_level && p->bytes < MERGED_BYTES_MAX / 2)
            all[n++] = (struct source){.view = l->views[i]};
    }
    if (n < least)
        return false;
    qsort(all, n, sizeof *all, by_id);
    m->count = 0;
    for (size_t i = 0; i < n && m->count < SOURCES_MAX; i++) {
        bytes += all[i].view.part->bytes;
        if (bytes > MERGED_BYTES_MAX && m->count)
            break;
        m->src[m->count++] = all[i];
    }
    return m->count >= least || (m->count && least == 1);
}

static int by_bytes(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    return (x->view.part->bytes > y->view.part->bytes) -
           (x->view.part->bytes < y->view.part->bytes);
}

/*
 * Parts of a closed day: the most of the smallest whose largest is not much larger than the others
 * together. So late rows that trickle in do not write the whole day anew each time.
 */
static bool take_balanced(struct merge *m, const struct ksi_lpart_list *l, int64_t day)
{
    struct source all[256];
    uint64_t bytes = 0;
    size_t n = 0, best = 0;
    for (size_t i = 0; i < l->count && n < 256; i++) {
        struct ksi_lpart *p = l->views[i].part;
        if (p->day == day && p->bytes < MERGED_BYTES_MAX / 2)
            all[n++] = (struct source){.view = l->views[i]};
    }
    qsort(all, n, sizeof *all, by_bytes);
    for (size_t i = 0; i < n && i < SOURCES_MAX; i++) {
        uint64_t largest = all[i].view.part->bytes;
        if (bytes + largest > MERGED_BYTES_MAX)
            break;
        if (i && (bytes * BALANCE >= largest || bytes + largest <= SMALL_BYTES))
            best = i + 1;
        bytes += largest;
    }
    if (!best)
        return false;
    qsort(all, best, sizeof *all, by_id);
    memcpy(m->src, all, best * sizeof *all);
    m->count = best;
    return true;
}

static bool is_closed(int64_t day, int64_t now_ms)
{
    return now_ms > (day + 1) * KS_MS_DAY + CLOSED_AFTER_MS;
}

/* Something due; false: nothing is. */
static bool pick(struct merge *m, const struct ksi_lpart_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        int64_t day = l->views[i].part->day;
        bool closed = is_closed(day, m->now_ms);
        if (take(m, l, day, 0, SOURCES_MAX)) {
            m->level = 1;
            return true;
        }
        if (take(m, l, day, 1, SOURCES_MAX) && m->src[m->count - 1].view.part->level == 1) {
            size_t ones = 0;
            for (size_t k = 0; k < m->count; k++)
                ones += m->src[k].view.part->level == 1;
            if (ones == m->count) {
                m->level = TOP_LEVEL;
                return true;
            }
        }
        if (closed && take_balanced(m, l, day)) {
            m->level = TOP_LEVEL;
            return true;
        }
        if (due_for_rewrite(m->s, &l->views[i], m->now_ms)) {
            m->src[0] = (struct source){.view = l->views[i]};
            m->count = 1;
            m->level = l->views[i].part->level;
            return true;
        }
    }
    return false;
}

/* --- the whole --- */

/* Whether the sources are still listed, with the tombstones that were applied. Under commit_lock.
 */
static bool still_there(const struct merge *m)
{
    struct ksi_lpart_list *now = ksi_log_pin(m->s);
    size_t found = 0;
    for (size_t i = 0; i < now->count; i++)
        for (size_t k = 0; k < m->count; k++)
            found += now->views[i].part == m->src[k].view.part &&
                     now->views[i].tombs == m->src[k].view.tombs;
    ksi_lparts_unpin(now);
    return found == m->count;
}

/* Publishes; fresh is NULL when no row is left. */
static ks_err publish(struct merge *m, struct ksi_lpart *fresh)
{
    struct ksi_lpart *gone[SOURCES_MAX];
    for (size_t i = 0; i < m->count; i++)
        gone[i] = m->src[i].view.part;
    pthread_mutex_lock(&m->s->commit_lock);
    bool good = still_there(m);
    ks_err err = KS_OK;
    if (good)
        err = ksi_log_commit(m->s, &(struct ksi_log_change){.gone = gone,
                                                            .gone_count = m->count,
                                                            .fresh = &fresh,
                                                            .fresh_count = fresh != NULL});
    if (fresh && (!good || err != KS_OK)) {
        char why[KS_ERR_TEXT_MAX];
        snprintf(why, sizeof why, "%s", ks_err_text());
        ksi_log_discard(m->s, &fresh, 1);
        err = err == KS_OK ? KS_OK : ks_fail(err, "%s", why);
    }
    pthread_mutex_unlock(&m->s->commit_lock);
    if (good && err == KS_OK) {
        atomic_fetch_add(&m->s->merges, 1);
        atomic_fetch_add(&m->s->merged_rows, m->rows_in);
    }
    return err;
}

static ks_err write_merged(struct merge *m, struct ksi_lpart **ret)
{
    struct ks_log_store *s = m->s;
    struct ks_vfs *vfs = ks_engine_vfs(s->logs->e);
    char path[4096];
    *ret = NULL;
    pthread_mutex_lock(&s->commit_lock);
    struct ks_manifest_part mp = {
        .id = s->manifest.next_id++, .day = m->src[0].view.part->day, .level = m->level};
    pthread_mutex_unlock(&s->commit_lock);
    KS_TRY(rank_streams(m));
    KS_TRY(ksi_log_part_path(s, mp.day, mp.id, true, path));
    KS_TRY(ks_lpart_writer_new(vfs, path, false, &m->w));
    ks_err err = merge_rows(m);
    for (size_t i = 0; i < m->count; i++) {
        ks_lpart_give_block(m->w, m->src[i].block);
        m->src[i].block = NULL;
    }
    if (err != KS_OK || !m->rows_out) {
        ks_lpart_writer_abort(m->w);
        return err;
    }
    KS_TRY(ks_lpart_writer_finish(m->w, NULL));
    return ksi_log_open_fresh(s, path, &mp, ret);
}

static void mark_suspects(const struct merge *m, ks_err err)
{
    for (size_t i = 0; err == KS_ECORRUPT && i < m->count; i++)
        atomic_store(&m->src[i].view.part->suspect, true);
}

/* The sources are pinned by the caller's list. */
static ks_err run(struct merge *m)
{
    struct ksi_lpart *fresh = NULL;
    atomic_fetch_add(&m->s->active_merges, 1);
    ks_err err = write_merged(m, &fresh);
    if (err == KS_OK)
        err = publish(m, fresh);
    else
        mark_suspects(m, err);
    for (size_t i = 0; i < m->count; i++)
        ks_free(m->src[i].ranks);
    atomic_fetch_sub(&m->s->active_merges, 1);
    return err;
}

ks_err ksi_log_merge_step(struct ks_log_store *s)
{
    struct merge m = {.s = s, .now_ms = ks_now_ms()};
    struct ksi_lpart_list *l = ksi_log_pin(s);
    ks_err err = pick(&m, l) ? run(&m) : KS_OK;
    ksi_lparts_unpin(l);
    return err == KS_ECANCELED ? KS_OK : err;
}

/* Whether the day's name begins so; both 20261121 and 2026_11_21 are understood. */
static bool named(int64_t day, const char *prefix)
{
    char text[16];
    int64_t y;
    unsigned mo, d;
    size_t n = 0;
    ks_civil_from_days(day, &y, &mo, &d);
    snprintf(text, sizeof text, "%04u%02u%02u", (unsigned)y % 10000, mo, d);
    for (; *prefix; prefix++) {
        if (*prefix == '_' || *prefix == '-')
            continue;
        if (n == 8 || text[n++] != *prefix)
            return false;
    }
    return true;
}

/* One merge of a day that has several parts, or deleted rows; false: none is left. */
static bool pick_forced(struct merge *m, const struct ksi_lpart_list *l, const char *prefix)
{
    for (size_t i = 0; i < l->count; i++) {
        if (!named(l->views[i].part->day, prefix))
            continue;
        m->level = TOP_LEVEL;
        if (take(m, l, l->views[i].part->day, TOP_LEVEL, 2))
            return true;
        if (l->views[i].tombs) {
            m->src[0] = (struct source){.view = l->views[i]};
            m->count = 1;
            return true;
        }
    }
    return false;
}

ks_err ks_log_store_merge(struct ks_log_store *s, const char *day_prefix)
{
    if (ks_engine_read_only(s->logs->e))
        return ks_fail(KS_EREADONLY, "the disk is nearly full: nothing can be merged");
    KS_TRY(ksi_log_flush(s));
    for (bool more = true; more;) {
        struct merge m = {.s = s, .now_ms = ks_now_ms()};
        struct ksi_lpart_list *l = ksi_log_pin(s);
        more = pick_forced(&m, l, day_prefix);
        ks_err err = more ? run(&m) : KS_OK;
        ksi_lparts_unpin(l);
        KS_TRY(err);
    }
    return KS_OK;
}
