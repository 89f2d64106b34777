#include "engine/logs/log_commit.h"

#include "base/mem.h"
#include "base/time.h"
#include "engine/engine_priv.h"
#include "engine/logs/log_flush.h"
#include "sys/rand.h"

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
    if (l && atomic_fetch_sub(&l->refs, 1) == 1)
        ks_free(l);
}

ks_err ksi_log_store_load(struct ks_log_store *s)
{
    char path[4096];
    struct ks_vfs *vfs = ks_engine_vfs(s->logs->e);
    KS_TRY(ksi_path(path, ks_engine_dir(s->logs->e), "logs/%s", s->name));
    if (!s->dir && !(s->dir = ks_strdup(path)))
        return KS_ENOMEM;
    KS_TRY(ks_vfs_mkdirs(vfs, s->dir));
    ks_err err = ks_manifest_load(vfs, s->dir, &s->manifest);
    if (err == KS_ENOTFOUND)
        return KS_OK;
    KS_TRY(err);
    atomic_store(&s->cut, s->manifest.cuts[0]);
    return KS_OK;
}

ks_err ksi_log_store_create(struct ks_log_store *s, ks_lsn cut)
{
    struct ks_manifest m = {.next_id = 1, .shard_count = 1};
    ks_random_bytes(m.store_id, sizeof m.store_id);
    if (!(m.cuts = ks_alloc(sizeof *m.cuts)))
        return KS_ENOMEM;
    m.cuts[0] = cut;
    ks_err err = ks_manifest_store(ks_engine_vfs(s->logs->e), s->dir, &m);
    if (err != KS_OK) {
        ks_manifest_done(&m);
        return err;
    }
    s->manifest = m;
    atomic_store(&s->cut, cut);
    return KS_OK;
}
ks_err ksi_log_snapshot(struct ks_log_store *s, const char *dir)
{
    return KS_OK;
}
ks_err ksi_log_flush(struct ks_log_store *s)
{
    return KS_OK;
}
ks_err ksi_log_keep(struct ks_log_store *s)
{
    return KS_OK;
}
ks_err ksi_log_merge_step(struct ks_log_store *s)
{
    return KS_OK;
}
ks_err ks_log_store_flush(struct ks_log_store *s)
{
    return ksi_log_flush(s);
}
ks_err ks_log_store_merge(struct ks_log_store *s, const char *day_prefix)
{
    return KS_OK;
}
ks_err ks_log_store_delete(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                           ks_log_pick_fn pick, void *arg, uint64_t *ret_rows)
{
    return ks_fail(KS_EUNSUPPORTED, "deleting log rows is not there yet");
}
