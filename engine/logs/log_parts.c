#include "engine/logs/log_parts.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/logs/log_batch.h"

static ks_err fill(struct ksi_lpart *p, struct ks_cache *cache)
{
    KS_TRY(ks_lpart_open(p->vfs, p->path, cache, &p->p));
    size_t n = ks_lpart_stream_count(p->p);
    if (!(p->ids = ks_alloc_array(n + 1, sizeof *p->ids)))
        return KS_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct ks_lpart_stream *s = ks_lpart_stream(p->p, i);
        p->ids[i] = ks_stream_id_of(s->tenant, s->tags);
    }
    return KS_OK;
}

ks_err ksi_lpart_open(struct ks_vfs *vfs, struct ks_cache *cache, const char *path,
                      const struct ks_manifest_part *mp, struct ksi_lpart **ret)
{
    size_t n = strlen(path) + 1;
    struct ksi_lpart *p = ks_zalloc(sizeof *p + n);
    if (!p)
        return KS_ENOMEM;
    memcpy(p->path, path, n);
    p->vfs = vfs;
    p->id = mp->id;
    p->day = mp->day;
    p->level = mp->level;
    ks_err err = fill(p, cache);
    if (err != KS_OK) {
        ks_lpart_close(p->p);
        ks_free(p->ids);
        ks_free(p);
        return err;
    }
    atomic_init(&p->refs, 1);
    p->bytes = ks_part_bytes(ks_lpart_file(p->p));
    p->rows = ks_lpart_rows(p->p);
    ks_lpart_range(p->p, &p->min_ns, &p->max_ns);
    *ret = p;
    return KS_OK;
}

void ksi_lpart_unref(struct ksi_lpart *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    ks_lpart_close(p->p);
    ks_err err = atomic_load(&p->doomed) ? p->vfs->ops->unlink(p->vfs, p->path) : KS_OK;
    if (err != KS_OK && err != KS_ENOTFOUND) /* not found: it was set aside */
        ks_log(KS_LOG_WARN, "logs", "cannot remove a part no longer used; the next start will: %s",
               ks_err_text());
    ks_free(p->ids);
    ks_free(p);
}

ks_err ksi_lparts_new_list(size_t cap, struct ksi_lpart_list **ret)
{
    struct ksi_lpart_list *l = ks_zalloc(sizeof *l + cap * sizeof *l->views);
    if (!l)
        return KS_ENOMEM;
    atomic_init(&l->refs, 1);
    *ret = l;
    return KS_OK;
}

void ksi_lparts_unpin(struct ksi_lpart_list *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (size_t i = 0; i < l->count; i++) {
        ksi_lpart_unref(l->views[i].part);
        ksi_tombs_unref(l->views[i].tombs);
    }
    ks_free(l);
}
