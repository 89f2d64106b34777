/*
 * Damaged parts. A part that cannot be opened is set aside at the start. One whose pages prove
 * damaged later is marked by whoever hit the damage (that query or merge fails and says where); the
 * background then reads the whole part, and when damage is proven takes it out of the store, so
 * that everything else goes on. The file stays in dir/quarantine for repair; nothing is deleted.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/commit.h"
#include "engine/engine_priv.h"

ks_err ksi_quarantine_file(struct ks_engine *e, const char *path, uint64_t id)
{
    char to[4096], why[KS_ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", ks_err_text());
    KS_TRY(ksi_path(to, e->dir, "quarantine"));
    KS_TRY(ks_vfs_mkdirs(e->vfs, to));
    KS_TRY(ksi_path(to, e->dir, "quarantine/%016llx.part", (unsigned long long)id));
    ks_err err = e->vfs->ops->rename(e->vfs, path, to);
    if (err == KS_OK)
        err = ks_vfs_sync_parent(e->vfs, to);
    ks_log(KS_LOG_ERROR, "engine",
           "part %s is damaged and set aside as %s; its samples are missing from answers until it "
           "is repaired "
           "(kofstore block repair): %s",
           path, to, why);
    atomic_fetch_add(&e->quarantined, 1);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

void ksi_part_suspect(struct ksi_part *p, ks_err err)
{
    if (err == KS_ECORRUPT)
        atomic_store(&p->suspect, true);
}

/* The file first: a crash between the two leaves a part that is listed and missing, which the next
 * start takes for what it is. */
static ks_err take_out(struct ks_engine *e, struct ksi_part *p)
{
    struct ksi_change c = {.gone = &p, .gone_count = 1};
    pthread_mutex_lock(&e->commit_lock);
    struct ksi_part_list *now = ksi_parts_pin(&e->parts);
    bool listed = false;
    for (size_t i = 0; i < now->count; i++)
        listed |= now->views[i].part == p;
    ksi_parts_unpin(now);
    ks_err err = listed ? ksi_quarantine_file(e, p->path, p->id) : KS_OK;
    if (err == KS_OK && listed)
        err = ksi_commit(e, &c);
    pthread_mutex_unlock(&e->commit_lock);
    if (err == KS_OK && listed)
        ksi_past_note_all(&e->past);
    return err;
}

ks_err ksi_quarantine_suspects(struct ks_engine *e, bool *ret_any)
{
    struct ksi_part_list *l = ksi_parts_pin(&e->parts);
    ks_err err = KS_OK;
    *ret_any = false;
    for (size_t i = 0; i < l->count && err == KS_OK; i++) {
        struct ksi_part *p = l->views[i].part;
        if (!atomic_exchange(&p->suspect, false) ||
            ks_part_verify(p->p.file, NULL, NULL) != KS_ECORRUPT)
            continue;
        err = take_out(e, p);
        *ret_any = true;
    }
    ksi_parts_unpin(l);
    return err;
}
