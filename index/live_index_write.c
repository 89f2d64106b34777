/*
 * Adding and removing. A batch is staged first — pairs interned, blocks built aside, room in the
 * postings made — and any of that may fail and is undone; the commit behind it cannot fail. Sids
 * are handled in ascending order, so that a pair shared by neighbours gets one range instead of
 * many single sids.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/idlist.h"
#include "index/live_index_priv.h"

static ks_err list_push(struct ksi_id_list *l, uint32_t id)
{
    if (KS_UNLIKELY(l->count == l->cap))
        KS_TRY(ks_array_reserve((void **)&l->v, &l->cap, l->count + 1, sizeof *l->v));
    l->v[l->count++] = id;
    return KS_OK;
}

void ksi_live_batch_done(struct ksi_live_batch *b)
{
    ks_free(b->items);
    ks_free(b->ids.v);
    ks_free(b->pairs.v);
    ks_free(b->names.v);
    ks_free(b->tenants.v);
    ks_free(b->runs.v);
    ks_free(b->blocks);
    ks_free(b->labels[0]);
    ks_free(b->labels[1]);
    ks_free(b->view.ids);
    ks_buf_done(&b->scratch);
}

static void batch_reset(struct ksi_live_batch *b)
{
    b->item_count = b->ids.count = b->pairs.count = b->names.count = b->tenants.count = 0;
    b->runs.count = b->block_count = b->longest = 0;
}

static int cmp_items(const void *a, const void *b)
{
    uint32_t x = ((const struct ksi_live_item *)a)->sid, y = ((const struct ksi_live_item *)b)->sid;
    return (x > y) - (x < y);
}

static void sort_items(struct ksi_live_batch *b)
{
    for (size_t i = 1; i < b->item_count; i++)
        if (b->items[i].sid < b->items[i - 1].sid) {
            qsort(b->items, b->item_count, sizeof *b->items, cmp_items);
            return;
        }
}

/* --- staging: labels to pair ids ---------------------------------------------------------------
 */

static ks_err parse_labels(struct ksi_live_batch *b, int which, struct ks_slice bytes,
                           size_t *ret_count)
{
    struct ks_reader r = ks_reader(bytes);
    size_t n = 0;
    while (ks_reader_left(&r)) {
        KS_TRY(ks_array_reserve((void **)&b->labels[which], &b->label_cap[which], n + 1,
                                sizeof *b->labels[which]));
        struct ks_label *l = &b->labels[which][n++];
        l->name = ks_read_lp(&r);
        l->value = ks_read_lp(&r);
        bool ordered = n == 1 || ks_slice_cmp(l[-1].name, l->name) < 0;
        if (r.bad || !l->name.len || !l->value.len || !ordered)
            return ks_fail(KS_EINVAL, "label set is malformed at label %zu", n - 1);
    }
    b->longest = n > b->longest ? n : b->longest;
    *ret_count = n;
    return KS_OK;
}

static ks_err touch(struct ksi_id_list *touched, uint32_t *pending, uint32_t id)
{
    if (*pending == 0)
        KS_TRY(list_push(touched, id));
    ++*pending;
    return KS_OK;
}

static ks_err touch_pair(struct ks_live_index *x, uint32_t id)
{
    struct ksi_pair *p = ksi_pair(&x->words, id);
    struct ksi_live_batch *b = &x->batch;
    ks_err err = touch(&b->pairs, &p->pending, id);
    if (err != KS_OK) {
        if (p->rows.count == 0 && p->pending == 0)
            ksi_intern_drop(&x->words, id); /* just made, and in no list that would undo it */
        return err;
    }
    KS_TRY(touch(&b->names, &x->words.names[p->name].pending, p->name));
    return list_push(&b->ids, id);
}

/* Pair ids of one item. Labels that the item before has too are found by comparing, without
 * hashing. */
static ks_err stage_item(struct ks_live_index *x, struct ksi_live_item *it, int which,
                         const struct ksi_live_item *before, size_t before_count)
{
    struct ksi_live_batch *b = &x->batch;
    size_t n = 0, k = 0;
    KS_TRY(parse_labels(b, which, it->label_bytes, &n));
    const struct ks_label *cur = b->labels[which], *old = b->labels[!which];
    it->first = b->ids.count;
    it->count = (uint32_t)n;
    for (size_t j = 0; j < n; j++) {
        int c = 1;
        while (k < before_count && (c = ks_slice_cmp(old[k].name, cur[j].name)) < 0)
            k++;
        uint32_t name, pair;
        if (k < before_count && c == 0) {
            pair = b->ids.v[before->first + k];
            if (!ks_slice_eq(old[k].value, cur[j].value)) {
                name = ksi_pair(&x->words, pair)->name;
                KS_TRY(ksi_intern_pair(&x->words, name, cur[j].value, &pair));
            }
            k++;
        } else {
            KS_TRY(ksi_intern_name(&x->words, cur[j].name, &name));
            KS_TRY(ksi_intern_pair(&x->words, name, cur[j].value, &pair));
        }
        KS_TRY(touch_pair(x, pair));
    }
    uint64_t key = ks_tenant_key(it->tenant_id);
    KS_TRY(ksi_intern_name(&x->tenants, ksi_tenant_text(&key), &it->tenant));
    return touch(&b->tenants, &x->tenants.names[it->tenant].pending, it->tenant);
}

static ks_err stage_items(struct ks_live_index *x)
{
    struct ksi_live_batch *b = &x->batch;
    size_t before_count = 0;
    for (size_t i = 0; i < b->item_count; i++) {
        struct ksi_live_item *before = i ? &b->items[i - 1] : NULL;
        KS_TRY(stage_item(x, &b->items[i], (int)(i & 1), before, before_count));
        before_count = b->items[i].count;
    }
    return KS_OK;
}

/* --- staging: blocks and room ------------------------------------------------------------------
 */

static ks_err change_slot(struct ks_live_index *x, struct ksi_live_item *it, bool add)
{
    struct ksi_live_batch *b = &x->batch;
    struct ksi_block_view *v = &b->view;
    unsigned slot = it->sid % KSI_BLOCK_SIDS;
    if (add) {
        if (v->e[slot].used)
            return ks_fail(KS_EEXIST, "series id %u is in use", it->sid);
        KS_TRY(ks_array_reserve((void **)&v->ids, &v->id_cap, v->id_count + it->count + 1,
                                sizeof *v->ids));
        if (it->count) /* a series without labels has no ids to copy from */
            memcpy(v->ids + v->id_count, b->ids.v + it->first, it->count * sizeof *v->ids);
        v->e[slot].used = true;
        v->e[slot].tenant = it->tenant;
        v->e[slot].count = it->count;
        v->e[slot].first = v->id_count;
        v->id_count += it->count;
        return KS_OK;
    }
    if (!v->e[slot].used)
        return ks_fail(KS_ENOTFOUND, "no series with id %u", it->sid);
    it->tenant = v->e[slot].tenant;
    it->count = v->e[slot].count;
    it->first = b->ids.count;
    for (uint32_t i = 0; i < it->count; i++)
        KS_TRY(list_push(&b->ids, v->ids[v->e[slot].first + i]));
    v->e[slot].used = false;
    return KS_OK;
}

/* Builds the blocks the items lie in anew, aside. */
static ks_err stage_blocks(struct ks_live_index *x, bool add)
{
    struct ksi_live_batch *b = &x->batch;
    for (size_t i = 0; i < b->item_count;) {
        size_t index = b->items[i].sid / KSI_BLOCK_SIDS;
        KS_TRY(ksi_block_load(ksi_blocks_at(&x->blocks, b->items[i].sid), &b->view));
        for (; i < b->item_count && b->items[i].sid / KSI_BLOCK_SIDS == index; i++)
            KS_TRY(change_slot(x, &b->items[i], add));
        KS_TRY(ks_array_reserve((void **)&b->blocks, &b->block_cap, b->block_count + 1,
                                sizeof *b->blocks));
        struct ksi_staged_block s = {index, NULL};
        KS_TRY(ksi_block_build(&b->view, &b->scratch, &s.fresh));
        b->blocks[b->block_count++] = s;
    }
    return KS_OK;
}

static ks_err reserve_room(struct ks_live_index *x)
{
    struct ksi_live_batch *b = &x->batch;
    for (size_t i = 0; i < b->pairs.count; i++) {
        struct ksi_pair *p = ksi_pair(&x->words, b->pairs.v[i]);
        KS_TRY(ksi_postings_reserve(&p->rows, p->pending));
    }
    for (size_t i = 0; i < b->names.count; i++) {
        struct ksi_name *n = &x->words.names[b->names.v[i]];
        KS_TRY(ksi_postings_reserve(&n->rows, n->pending));
    }
    for (size_t i = 0; i < b->tenants.count; i++) {
        struct ksi_name *n = &x->tenants.names[b->tenants.v[i]];
        KS_TRY(ksi_postings_reserve(&n->rows, n->pending));
    }
    size_t runs = 4 * b->longest + 1; /* ids and starts, of the item before and this one */
    KS_TRY(ks_array_reserve((void **)&b->runs.v, &b->runs.cap, runs, sizeof *b->runs.v));
    uint32_t last = b->items[b->item_count - 1].sid;
    return ksi_blocks_reserve(&x->blocks, last / KSI_BLOCK_SIDS + 1u);
}

static void clear_pending(struct ks_live_index *x)
{
    struct ksi_live_batch *b = &x->batch;
    for (size_t i = 0; i < b->names.count; i++)
        x->words.names[b->names.v[i]].pending = 0;
    for (size_t i = 0; i < b->tenants.count; i++)
        x->tenants.names[b->tenants.v[i]].pending = 0;
    for (size_t i = 0; i < b->pairs.count; i++) {
        struct ksi_pair *p = ksi_pair(&x->words, b->pairs.v[i]);
        p->pending = 0;
        if (p->rows.count == 0)
            ksi_intern_drop(&x->words, b->pairs.v[i]);
    }
}

static void undo(struct ks_live_index *x)
{
    clear_pending(x);
    for (size_t i = 0; i < x->batch.block_count; i++)
        ks_free(x->batch.blocks[i].fresh);
}

/* --- commit ------------------------------------------------------------------------------------
 */

static struct ksi_postings *rows_of(struct ks_live_index *x, uint32_t id, bool of_name)
{
    return of_name ? &x->words.names[id].rows : &ksi_pair(&x->words, id)->rows;
}

/*
 * Adds all items to the postings of their pairs (or names). An id that the item before has too, the
 * sids being neighbours, only keeps its run open. A run missed by the short look-ahead is two
 * ranges instead of one, nothing worse.
 */
static void commit_runs(struct ks_live_index *x, bool of_name)
{
    enum { LOOK_AHEAD = 4 };
    const uint32_t closed = UINT32_MAX;
    struct ksi_live_batch *b = &x->batch;
    uint32_t *old = b->runs.v, *old_from = old + b->longest;
    uint32_t *from = old_from + b->longest, *ids = from + b->longest;
    size_t old_count = 0;
    uint32_t old_sid = 0;
    for (size_t i = 0; i <= b->item_count; i++) {
        const struct ksi_live_item *it = i < b->item_count ? &b->items[i] : NULL;
        size_t n = it ? it->count : 0, k = 0;
        for (size_t j = 0; j < n; j++) {
            uint32_t id = b->ids.v[it->first + j];
            ids[j] = of_name ? ksi_pair(&x->words, id)->name : id;
            from[j] = it->sid;
            if (!i || it->sid != old_sid + 1)
                continue;
            for (size_t m = k; m < old_count && m < k + LOOK_AHEAD; m++)
                if (old[m] == ids[j]) {
                    from[j] = old_from[m];
                    old_from[m] = closed;
                    k = m + 1;
                    break;
                }
        }
        for (size_t m = 0; m < old_count; m++)
            if (old_from[m] != closed)
                ksi_postings_add(rows_of(x, old[m], of_name), old_from[m], old_sid + 1);
        uint32_t *t = old, *t_from = old_from;
        old = ids;
        old_from = from;
        ids = t;
        from = t_from;
        old_count = n;
        old_sid = it ? it->sid : 0;
    }
}

static void commit_tenants(struct ks_live_index *x)
{
    struct ksi_live_batch *b = &x->batch;
    for (size_t i = 0; i < b->item_count;) {
        size_t j = i + 1;
        while (j < b->item_count && b->items[j].tenant == b->items[i].tenant &&
               b->items[j].sid == b->items[j - 1].sid + 1)
            j++;
        ksi_postings_add(&x->tenants.names[b->items[i].tenant].rows, b->items[i].sid,
                         b->items[j - 1].sid + 1);
        i = j;
    }
}

static void commit_blocks(struct ks_live_index *x)
{
    for (size_t i = 0; i < x->batch.block_count; i++)
        ksi_blocks_put(&x->blocks, x->batch.blocks[i].index, x->batch.blocks[i].fresh);
}

static void count_changes(struct ks_live_index *x, size_t count)
{
    atomic_fetch_add_explicit(&x->changes, count, memory_order_relaxed);
}

static ks_err add_locked(struct ks_live_index *x, const struct ks_live_add *adds, size_t count)
{
    struct ksi_live_batch *b = &x->batch;
    KS_TRY(ks_array_reserve((void **)&b->items, &b->item_cap, count, sizeof *b->items));
    for (size_t i = 0; i < count; i++) {
        if (adds[i].sid == UINT32_MAX)
            return ks_fail(KS_EINVAL, "series id out of range");
        b->items[i] = (struct ksi_live_item){
            .sid = adds[i].sid, .label_bytes = adds[i].label_bytes, .tenant_id = adds[i].tenant};
    }
    b->item_count = count;
    sort_items(b);
    ks_err err = stage_items(x);
    if (err == KS_OK)
        err = stage_blocks(x, true);
    if (err == KS_OK)
        err = reserve_room(x);
    if (err != KS_OK) {
        undo(x);
        return err;
    }
    commit_blocks(x);
    commit_runs(x, false);
    commit_runs(x, true);
    for (size_t i = 0; i < b->names.count; i++)
        ksi_intern_touch(&x->words, b->names.v[i]);
    commit_tenants(x);
    clear_pending(x);
    x->series_count += count;
    count_changes(x, count);
    return KS_OK;
}

ks_err ks_live_index_add(struct ks_live_index *x, const struct ks_live_add *adds, size_t count)
{
    if (!count)
        return KS_OK;
    pthread_rwlock_wrlock(&x->lock);
    batch_reset(&x->batch);
    ks_err err = add_locked(x, adds, count);
    pthread_rwlock_unlock(&x->lock);
    return err;
}

static void forget(struct ks_live_index *x, const struct ksi_live_item *it)
{
    for (uint32_t i = 0; i < it->count; i++) {
        uint32_t id = x->batch.ids.v[it->first + i];
        struct ksi_pair *p = ksi_pair(&x->words, id);
        ksi_postings_remove(&x->words.names[p->name].rows, it->sid);
        ksi_postings_remove(&p->rows, it->sid);
        ksi_intern_touch(&x->words, p->name);
        if (p->rows.count == 0)
            ksi_intern_drop(&x->words, id);
    }
    ksi_postings_remove(&x->tenants.names[it->tenant].rows, it->sid);
}

static ks_err remove_locked(struct ks_live_index *x, const uint32_t *sids, size_t count)
{
    struct ksi_live_batch *b = &x->batch;
    KS_TRY(ks_array_reserve((void **)&b->items, &b->item_cap, count, sizeof *b->items));
    for (size_t i = 0; i < count; i++)
        b->items[i] = (struct ksi_live_item){.sid = sids[i]};
    b->item_count = count;
    sort_items(b);
    ks_err err = stage_blocks(x, false);
    if (err != KS_OK) {
        undo(x);
        return err;
    }
    commit_blocks(x);
    for (size_t i = 0; i < count; i++)
        forget(x, &b->items[i]);
    x->series_count -= count;
    count_changes(x, count);
    return KS_OK;
}

ks_err ks_live_index_remove(struct ks_live_index *x, const uint32_t *sids, size_t count)
{
    if (!count)
        return KS_OK;
    pthread_rwlock_wrlock(&x->lock);
    batch_reset(&x->batch);
    ks_err err = remove_locked(x, sids, count);
    pthread_rwlock_unlock(&x->lock);
    return err;
}
