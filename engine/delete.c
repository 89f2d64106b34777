/*
 * Deleting series: the head's data of the series goes to parts first; then, in one commit,
 * tombstones for the matching rows of every part. Samples that arrive later are new data and show.
 */
#include <string.h>

#include "base/mem.h"
#include "engine/commit.h"
#include "engine/series_set.h"
#include "engine/tombs_file.h"

struct deletion {
    struct ksi_tombs **tombs; /* per view of the list */
    uint64_t *ids;
    uint64_t touched;
};

/* Rows of a part that the selectors hide anew, with those hidden before; NULL in *ret when nothing
 * changes. */
static ks_err rows_to_hide(struct ks_engine *e, const struct ks_select_opts *o,
                           const struct ksi_part_view *v, roaring_bitmap_t **ret, uint64_t *ret_new)
{
    struct ks_arena arena;
    struct ks_tenant *tenants;
    size_t count;
    roaring_bitmap_t *all = roaring_bitmap_create();
    *ret = NULL;
    if (!all)
        return ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
    ks_arena_init(&arena, 64 << 20);
    ks_err err = ksi_tenants_of(e, o, &arena, &tenants, &count);
    for (size_t t = 0; t < count && err == KS_OK; t++) {
        roaring_bitmap_t *rows;
        err = ksi_part_matching(v, o, tenants[t], &rows);
        if (err == KS_OK) {
            roaring_bitmap_or_inplace(all, rows);
            roaring_bitmap_free(rows);
        }
    }
    ks_arena_done(&arena);
    *ret_new = roaring_bitmap_get_cardinality(all);
    if (err != KS_OK || !*ret_new) {
        roaring_bitmap_free(all);
        return err;
    }
    if (v->tombs)
        roaring_bitmap_or_inplace(all, v->tombs->rows);
    *ret = all;
    return KS_OK;
}

static ks_err hide_in_part(struct ks_engine *e, const struct ks_select_opts *o,
                           const struct ksi_part_view *v, struct deletion *d, size_t i)
{
    char path[4096];
    roaring_bitmap_t *rows;
    uint64_t fresh;
    KS_TRY(rows_to_hide(e, o, v, &rows, &fresh));
    if (!rows)
        return KS_OK;
    d->touched = d->touched > fresh ? d->touched : fresh;
    d->ids[i] = e->manifest.next_id++;
    ks_err err = ksi_path(path, e->dir, "tombs/%016llx.tomb", (unsigned long long)d->ids[i]);
    if (err == KS_OK)
        err = ksi_tombs_store(e->vfs, path, rows);
    if (err != KS_OK) {
        roaring_bitmap_free(rows);
        return err;
    }
    return ksi_tombs_new(rows, &d->tombs[i]);
}

static ks_err delete_locked(struct ks_engine *e, const struct ks_select_opts *o,
                            uint64_t *ret_series)
{
    struct ks_arena arena;
    struct ks_tenant *tenants;
    size_t count;
    roaring_bitmap_t *sids = roaring_bitmap_create();
    if (!sids)
        return ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
    ks_arena_init(&arena, 64 << 20);
    ks_err err = ksi_tenants_of(e, o, &arena, &tenants, &count);
    for (size_t t = 0; t < count && err == KS_OK; t++) {
        roaring_bitmap_t *found;
        err = ks_live_index_select(e->live, tenants[t], o->selectors, o->selector_count, &found);
        if (err == KS_OK) {
            roaring_bitmap_or_inplace(sids, found);
            roaring_bitmap_free(found);
        }
    }
    ks_arena_done(&arena);
    struct ksi_flush_opts flush = {.seal = sids};
    if (err == KS_OK && !roaring_bitmap_is_empty(sids))
        err = ksi_flush_locked(e, &flush);
    roaring_bitmap_free(sids);
    KS_TRY(err);

    struct ksi_part_list *l = ksi_parts_pin(&e->parts);
    struct deletion d = {.tombs = ks_zalloc_array(l->count, sizeof *d.tombs),
                         .ids = ks_zalloc_array(l->count, sizeof *d.ids)};
    err = d.tombs && d.ids ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < l->count && err == KS_OK; i++)
        err = hide_in_part(e, o, &l->views[i], &d, i);
    struct ksi_change c = {.tombs = d.tombs, .tombs_ids = d.ids};
    if (err == KS_OK && d.touched)
        err = ksi_commit(e, &c);
    for (size_t i = 0; d.tombs && i < l->count; i++)
        ksi_tombs_unref(d.tombs[i]);
    ks_free(d.tombs);
    ks_free(d.ids);
    ksi_parts_unpin(l);
    if (err == KS_OK) {
        ksi_past_note_all(&e->past);
        *ret_series = d.touched;
    }
    return err;
}

ks_err ks_engine_delete(struct ks_engine *e, const struct ks_select_opts *opts,
                        uint64_t *ret_series)
{
    struct ks_select_opts o = *opts;
    o.min_ms = INT64_MIN;
    o.max_ms = INT64_MAX;
    pthread_mutex_lock(&e->commit_lock);
    ks_err err = delete_locked(e, &o, ret_series);
    pthread_mutex_unlock(&e->commit_lock);
    return err;
}
