#include "engine/parts.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static ks_err list_new(size_t cap, struct ksi_part_list **ret)
{
    struct ksi_part_list *l = ks_zalloc(sizeof *l + cap * sizeof *l->views);
    if (!l)
        return KS_ENOMEM;
    atomic_init(&l->refs, 1);
    *ret = l;
    return KS_OK;
}

ks_err ksi_parts_init(struct ksi_part_store *s)
{
    KS_TRY(list_new(0, &s->list));
    pthread_mutex_init(&s->lock, NULL);
    return KS_OK;
}

void ksi_parts_done(struct ksi_part_store *s)
{
    if (!s->list)
        return;
    ksi_parts_unpin(s->list);
    s->list = NULL;
    pthread_mutex_destroy(&s->lock);
}

struct ksi_part_list *ksi_parts_pin(struct ksi_part_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct ksi_part_list *l = s->list;
    atomic_fetch_add(&l->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return l;
}

void ksi_parts_unpin(struct ksi_part_list *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (size_t i = 0; i < l->count; i++) {
        ksi_part_unref(l->views[i].part);
        ksi_tombs_unref(l->views[i].tombs);
    }
    ks_free(l);
}

ks_err ksi_part_open(struct ks_vfs *vfs, struct ks_cache *cache, const char *path, uint64_t id,
                     int64_t day, uint8_t level, uint32_t resolution, struct ksi_part **ret)
{
    size_t n = strlen(path) + 1;
    struct ksi_part *p = ks_zalloc(sizeof *p + n);
    if (!p)
        return KS_ENOMEM;
    memcpy(p->path, path, n);
    ks_err err = ks_mpart_open(vfs, path, cache, &p->p);
    if (err != KS_OK) {
        ks_free(p);
        return err;
    }
    atomic_init(&p->refs, 1);
    p->vfs = vfs;
    p->id = id;
    p->day = day;
    p->level = level;
    p->resolution = resolution;
    p->created_ms = ks_part_created_ms(p->p.file);
    atomic_init(&p->expired_at_ms, INT64_MIN / 2);
    ks_mdata_time_range(p->p.data, &p->min_ms, &p->max_ms);
    p->bytes = ks_part_bytes(p->p.file);
    p->index_bytes = ks_sindex_stored_bytes(p->p.index);
    p->samples = ks_mdata_sample_count(p->p.data);
    p->series = ks_sindex_series_count(p->p.index);
    *ret = p;
    return KS_OK;
}

void ksi_part_unref(struct ksi_part *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    ksi_rows_unref(p->rows);
    ks_mpart_close(&p->p);
    ks_err err = atomic_load(&p->doomed) ? p->vfs->ops->unlink(p->vfs, p->path) : KS_OK;
    if (err != KS_OK && err != KS_ENOTFOUND) /* not found: it was set aside */
        ks_log(KS_LOG_WARN, "engine",
               "cannot remove a part no longer used; the next start will: %s", ks_err_text());
    ks_free(p);
}

ks_err ksi_tombs_new(roaring_bitmap_t *rows, struct ksi_tombs **ret)
{
    struct ksi_tombs *t = ks_alloc(sizeof *t);
    if (!t) {
        roaring_bitmap_free(rows);
        return KS_ENOMEM;
    }
    atomic_init(&t->refs, 1);
    t->rows = rows;
    *ret = t;
    return KS_OK;
}

void ksi_tombs_unref(struct ksi_tombs *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    roaring_bitmap_free(t->rows);
    ks_free(t);
}

static bool is_among(const struct ksi_part *p, struct ksi_part *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == p)
            return true;
    return false;
}

ks_err ksi_parts_make(struct ksi_part_store *s, struct ksi_part *const *gone, size_t gone_count,
                      struct ksi_part *const *fresh, size_t fresh_count,
                      struct ksi_tombs *const *tombs, struct ksi_part_list **ret)
{
    struct ksi_part_list *old = ksi_parts_pin(s), *l;
    ks_err err = list_new(old->count + fresh_count, &l);
    for (size_t i = 0; err == KS_OK && i < old->count; i++) {
        struct ksi_part_view v = old->views[i];
        if (is_among(v.part, gone, gone_count))
            continue;
        if (tombs && tombs[i])
            v.tombs = tombs[i];
        atomic_fetch_add(&v.part->refs, 1);
        if (v.tombs)
            atomic_fetch_add(&v.tombs->refs, 1);
        l->views[l->count++] = v;
    }
    for (size_t i = 0; err == KS_OK && i < fresh_count; i++)
        l->views[l->count++] = (struct ksi_part_view){fresh[i], NULL};
    ksi_parts_unpin(old);
    if (err == KS_OK)
        *ret = l;
    return err;
}

void ksi_parts_swap(struct ksi_part_store *s, struct ksi_part_list *next)
{
    pthread_mutex_lock(&s->lock);
    struct ksi_part_list *old = s->list;
    s->list = next;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < old->count; i++) {
        bool kept = false;
        for (size_t k = 0; k < next->count && !kept; k++)
            kept = next->views[k].part == old->views[i].part;
        if (!kept)
            atomic_store(&old->views[i].part->doomed, true);
    }
    ksi_parts_unpin(old);
}
