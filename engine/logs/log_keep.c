/* Retention by age and size, damaged parts, and deletes. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/engine_priv.h"
#include "engine/logs/log_commit.h"
#include "engine/logs/log_flush.h"
#include "engine/tombs_file.h"
#include "sys/clock.h"

/* --- retention --- */

/* Drops the parts of days [.., day). Under commit_lock. */
static ks_err drop_before(struct ks_log_store *s, int64_t day, const char *why)
{
    struct ksi_lpart_list *l = ksi_log_pin(s);
    struct ksi_lpart **gone = ks_alloc_array(l->count + 1, sizeof(struct ksi_lpart *));
    ks_err err = gone ? KS_OK : KS_ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < l->count && err == KS_OK; i++)
        if (l->views[i].part->day < day)
            gone[n++] = l->views[i].part;
    if (n && err == KS_OK) {
        err = ksi_log_commit(s, &(struct ksi_log_change){.gone = gone, .gone_count = n});
        if (err == KS_OK)
            ks_log(KS_LOG_INFO, "logs", "store %s: dropped %zu parts: %s", s->name, n, why);
    }
    ks_free(gone);
    ksi_lparts_unpin(l);
    return err;
}

/* The oldest day, when the store is over its size; the newest two days stay. INT64_MIN: none. */
static int64_t day_over_size(struct ks_log_store *s)
{
    struct ksi_lpart_list *l = ksi_log_pin(s);
    uint64_t bytes = 0;
    int64_t first = INT64_MAX, newest = INT64_MIN, second = INT64_MIN;
    for (size_t i = 0; i < l->count; i++) {
        int64_t day = l->views[i].part->day;
        bytes += l->views[i].part->bytes;
        first = day < first ? day : first;
        if (day > newest) {
            second = newest;
            newest = day;
        } else if (day > second && day < newest) {
            second = day;
        }
    }
    ksi_lparts_unpin(l);
    bool over = s->opts.max_disk_bytes && bytes > s->opts.max_disk_bytes && first < second;
    return over ? first : INT64_MIN;
}

static ks_err enforce(struct ks_log_store *s)
{
    KS_TRY(drop_before(s, ksi_log_first_day(s), "older than the retention"));
    for (int64_t day; (day = day_over_size(s)) != INT64_MIN;)
        KS_TRY(drop_before(s, day + 1, "the store is over its size limit"));
    return KS_OK;
}

/* --- damage --- */

/* The file first: a crash between the two leaves a part that is listed and missing, which the next
 * start takes for what it is. Under commit_lock. */
static ks_err take_out_suspects(struct ks_log_store *s)
{
    struct ksi_lpart_list *l = ksi_log_pin(s);
    ks_err err = KS_OK;
    for (size_t i = 0; i < l->count && err == KS_OK; i++) {
        struct ksi_lpart *p = l->views[i].part;
        if (!atomic_exchange(&p->suspect, false) ||
            ks_part_verify(ks_lpart_file(p->p), NULL, NULL) != KS_ECORRUPT)
            continue;
        err = ksi_log_quarantine_file(s, p->path, p->id);
        if (err == KS_OK)
            err = ksi_log_commit(s, &(struct ksi_log_change){.gone = &p, .gone_count = 1});
    }
    ksi_lparts_unpin(l);
    return err;
}

ks_err ksi_log_keep(struct ks_log_store *s)
{
    pthread_mutex_lock(&s->commit_lock);
    ks_err err = enforce(s);
    if (err == KS_OK)
        err = take_out_suspects(s);
    pthread_mutex_unlock(&s->commit_lock);
    return err;
}

/* --- deletes --- */

struct deleting {
    struct ks_log_store *s;
    struct ks_log_scan *scan;
    roaring_bitmap_t **hidden; /* per part of the scan's list; NULL: none */
    struct ksi_tombs **tombs;  /* the same with what was hidden before */
    uint64_t *ids;
    uint64_t rows;
};

static ks_err note_hidden(struct deleting *d, size_t block, const uint64_t *bits)
{
    const struct ksi_scan_block *at = &d->scan->blocks[block];
    struct ksi_lpart *p = d->scan->list->views[at->part].part;
    uint32_t first = (uint32_t)ks_lpart_block(p->p, at->index)->first_row;
    if (!d->hidden[at->part] && !(d->hidden[at->part] = roaring_bitmap_create()))
        return ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
    for (size_t w = 0; w < KS_ROW_WORDS(at->rows); w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            uint32_t row = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
            roaring_bitmap_add(d->hidden[at->part], first + row);
            d->rows++;
        }
    }
    return KS_OK;
}

static ks_err pick_block(struct deleting *d, struct ks_log_block *b, size_t i, ks_log_pick_fn pick,
                         void *arg)
{
    KS_TRY(ks_log_block_open(b, d->scan, i));
    size_t words = KS_ROW_WORDS(ks_log_block_rows(b));
    uint64_t *bits = ks_alloc_array(words + 1, sizeof *bits), left = 0;
    bool any;
    if (!bits)
        return KS_ENOMEM;
    memset(bits, 0xff, words * 8);
    ks_err err = ks_log_block_select(b, bits, &any);
    if (err == KS_OK && any && pick)
        err = pick(arg, b, bits);
    for (size_t w = 0; w < words; w++)
        left |= bits[w];
    if (err == KS_OK && any && left)
        err = note_hidden(d, i, bits);
    ks_free(bits);
    return err;
}

static ks_err pick_rows(struct deleting *d, ks_log_pick_fn pick, void *arg)
{
    struct ks_log_block *b;
    size_t n = d->scan->list->count;
    d->hidden = ks_zalloc_array(n + 1, sizeof *d->hidden);
    d->tombs = ks_zalloc_array(n + 1, sizeof *d->tombs);
    d->ids = ks_zalloc_array(n + 1, sizeof *d->ids);
    if (!d->hidden || !d->tombs || !d->ids)
        return KS_ENOMEM;
    KS_TRY(ks_log_block_new(&b));
    ks_err err = KS_OK;
    for (size_t i = 0; i < d->scan->block_count && err == KS_OK; i++)
        err = ks_engine_stopping(d->s->logs->e) ? ks_fail(KS_ECANCELED, "the store is closing")
                                                : pick_block(d, b, i, pick, arg);
    ks_log_block_free(b);
    return err;
}

/* Whether the parts with hidden rows are still as they were seen. Under commit_lock. */
static bool still_there(struct deleting *d, const struct ksi_lpart_list *now)
{
    for (size_t i = 0; i < d->scan->list->count; i++) {
        const struct ksi_lpart_view *v = &d->scan->list->views[i];
        bool found = !d->hidden[i];
        for (size_t k = 0; k < now->count && !found; k++)
            found = now->views[k].part == v->part && now->views[k].tombs == v->tombs;
        if (!found)
            return false;
    }
    return true;
}

static ks_err store_tombs(struct deleting *d, const struct ksi_lpart_list *now,
                          struct ksi_tombs **tombs, uint64_t *ids)
{
    char path[4096];
    for (size_t i = 0; i < d->scan->list->count; i++) {
        const struct ksi_lpart_view *v = &d->scan->list->views[i];
        if (!d->hidden[i])
            continue;
        if (v->tombs)
            roaring_bitmap_or_inplace(d->hidden[i], v->tombs->rows);
        d->ids[i] = d->s->manifest.next_id++;
        KS_TRY(ksi_path(path, d->s->dir, "tombs/%016llx.tomb", (unsigned long long)d->ids[i]));
        KS_TRY(ksi_tombs_store(ks_engine_vfs(d->s->logs->e), path, d->hidden[i]));
        roaring_bitmap_t *rows = d->hidden[i];
        d->hidden[i] = NULL;
        KS_TRY(ksi_tombs_new(rows, &d->tombs[i]));
        for (size_t k = 0; k < now->count; k++) {
            if (now->views[k].part == v->part) {
                tombs[k] = d->tombs[i];
                ids[k] = d->ids[i];
            }
        }
    }
    return KS_OK;
}

/* Under commit_lock. */
static ks_err publish(struct deleting *d, bool *ret_done)
{
    struct ksi_lpart_list *now = ksi_log_pin(d->s);
    struct ksi_tombs **tombs = ks_zalloc_array(now->count + 1, sizeof(struct ksi_tombs *));
    uint64_t *ids = ks_zalloc_array(now->count + 1, sizeof *ids);
    ks_err err = tombs && ids ? KS_OK : KS_ENOMEM;
    *ret_done = err == KS_OK && still_there(d, now);
    if (*ret_done && d->rows) {
        err = store_tombs(d, now, tombs, ids);
        if (err == KS_OK)
            err = ksi_log_commit(d->s, &(struct ksi_log_change){.tombs = tombs, .tombs_ids = ids});
        if (err != KS_OK) {
            char why[KS_ERR_TEXT_MAX];
            snprintf(why, sizeof why, "%s", ks_err_text());
            ksi_log_discard_tombs(d->s, d->ids, d->scan->list->count);
            err = ks_fail(err, "%s", why);
        }
    }
    ks_free(tombs);
    ks_free(ids);
    ksi_lparts_unpin(now);
    return err;
}

static void deleting_done(struct deleting *d)
{
    for (size_t i = 0; d->scan && d->hidden && i < d->scan->list->count; i++)
        if (d->hidden[i])
            roaring_bitmap_free(d->hidden[i]);
    for (size_t i = 0; d->scan && d->tombs && i < d->scan->list->count; i++)
        ksi_tombs_unref(d->tombs[i]);
    ks_free(d->hidden);
    ks_free(d->tombs);
    ks_free(d->ids);
    ks_log_scan_free(d->scan);
}

/* Picking takes long and is done without the lock; when a merge took a part away meanwhile it is
 * done again, the last time under the lock. */
static ks_err try_delete(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                         ks_log_pick_fn pick, void *arg, bool locked, uint64_t *ret_rows,
                         bool *ret_done)
{
    struct deleting d = {.s = s};
    if (locked)
        pthread_mutex_lock(&s->commit_lock);
    ks_err err = ksi_scan_parts(s, opts, &d.scan);
    if (err == KS_OK)
        err = pick_rows(&d, pick, arg);
    if (!locked)
        pthread_mutex_lock(&s->commit_lock);
    if (err == KS_OK)
        err = publish(&d, ret_done);
    pthread_mutex_unlock(&s->commit_lock);
    *ret_rows = d.rows;
    deleting_done(&d);
    return err;
}

ks_err ks_log_store_delete(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                           ks_log_pick_fn pick, void *arg, uint64_t *ret_rows)
{
    enum { TRIES = 3 };
    bool done = false;
    uint64_t rows = 0;
    if (ks_engine_read_only(s->logs->e))
        return ks_fail(KS_EREADONLY, "the disk is nearly full: nothing can be deleted");
    KS_TRY(ksi_log_flush(s));
    for (int i = 0; i <= TRIES && !done; i++)
        KS_TRY(try_delete(s, opts, pick, arg, i == TRIES, &rows, &done));
    *ret_rows = rows;
    return KS_OK;
}
