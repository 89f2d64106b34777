#include "wal/inspect.h"

#include <string.h>

#include "wal/folder_priv.h"
#include "wal/scan_priv.h"
#include "wal/wal_priv.h"

struct inspection {
    struct ks_vfs *vfs;
    const char *dir;
    const struct ks_wal_inspector *in;
    struct ksi_wal_end at; /* of the scan under way: its off is the frame's */
    struct ks_wal_segment_end end;
    enum ks_wal_state worst;
};

const char *ks_wal_state_name(enum ks_wal_state s)
{
    static const char *const names[] = {"clean", "torn", "damaged", "unreadable"};
    return (unsigned)s < 4 ? names[s] : "?";
}

static ks_err on_frame(void *arg, const struct ks_wal_record *rec)
{
    struct inspection *x = arg;
    x->end.frames++;
    x->end.payload_bytes += rec->payload.len;
    return x->in->frame ? x->in->frame(x->in->arg, rec, x->at.off) : KS_OK;
}

static void on_commit(void *arg, const struct ksi_wal_commit *c, uint64_t offset)
{
    ((struct inspection *)arg)->end.commits++;
}

static ks_err scan(struct inspection *x, const char *path, ks_lsn stop)
{
    struct ksi_wal_scan s;
    struct ksi_wal_visitor v = {x, on_frame, on_commit};
    KS_TRY(ksi_wal_scan_open(x->vfs, path, &s));
    ks_err err = ksi_wal_scan_run(&s, stop, &v, &x->at);
    ksi_wal_scan_close(&s);
    KS_TRY(err);
    x->end.end_lsn = x->at.next_lsn;
    x->end.stop_bytes = x->at.off;
    x->end.why = x->at.why;
    x->end.state = x->at.torn ? KS_WAL_TORN : KS_WAL_CLEAN;
    if (stop ? x->at.next_lsn != stop : x->at.damaged)
        x->end.state = KS_WAL_DAMAGED;
    else if (stop)
        x->end.state = KS_WAL_CLEAN;
    if (x->end.state == KS_WAL_CLEAN)
        x->end.why = NULL; /* that no commit follows is how a log ends */
    return KS_OK;
}

static ks_err inspect_one(struct inspection *x, const struct ksi_wal_found *f, const char *path,
                          bool copy, ks_lsn stop)
{
    struct ks_wal_segment_info info = {path,
                                       copy,
                                       f->id,
                                       f->file_bytes,
                                       f->header.segment_bytes,
                                       {0},
                                       f->header.first_lsn,
                                       f->header.prev_end_lsn,
                                       f->header.created_ms,
                                       f->readable ? NULL : f->why};
    memcpy(info.uuid, f->header.uuid, sizeof info.uuid);
    x->end = (struct ks_wal_segment_end){.state = KS_WAL_UNREADABLE, .why = info.why};
    bool wanted = !x->in->segment || x->in->segment(x->in->arg, &info);
    if (!wanted)
        return KS_OK;
    if (f->readable)
        KS_TRY(scan(x, path, stop));
    if (x->in->segment_end)
        x->in->segment_end(x->in->arg, &info, &x->end);
    if (!copy && x->end.state > x->worst)
        x->worst = x->end.state;
    return KS_OK;
}

static ks_err inspect_live(struct inspection *x, const struct ksi_wal_folder *dir)
{
    char path[KSI_WAL_PATH_MAX];
    for (size_t i = 0; i < dir->count; i++) {
        const struct ksi_wal_found *f = &dir->seg[i], *next = i + 1 < dir->count ? f + 1 : NULL;
        KS_TRY(ksi_wal_path(x->dir, "wal", f->id, "seg", path));
        KS_TRY(
            inspect_one(x, f, path, false, next && next->readable ? next->header.prev_end_lsn : 0));
    }
    return KS_OK;
}

static ks_err inspect_damaged(struct inspection *x, const struct ksi_wal_folder *dir)
{
    char path[KSI_WAL_PATH_MAX];
    for (size_t i = 0; i < dir->damaged_count; i++) {
        struct ksi_wal_found f = {.id = dir->damaged_ids[i]};
        struct ksi_wal_scan s;
        KS_TRY(ksi_wal_path(x->dir, "damaged", f.id, "seg", path));
        ks_err err = ksi_wal_scan_open(x->vfs, path, &s);
        if (err == KS_OK) {
            f.readable = true;
            f.header = s.header;
            f.file_bytes = s.file_bytes;
            ksi_wal_scan_close(&s);
        } else if (err != KS_ECORRUPT) {
            return err;
        } else {
            strncpy(f.why, ks_err_text(), sizeof f.why - 1);
        }
        KS_TRY(inspect_one(x, &f, path, true, 0));
    }
    return KS_OK;
}

ks_err ks_wal_inspect(struct ks_vfs *vfs, const char *dir, const struct ks_wal_inspector *in,
                      enum ks_wal_state *ret_state)
{
    struct inspection x = {.vfs = vfs, .dir = dir, .in = in};
    struct ksi_wal_folder folder;
    ks_err err = ksi_wal_folder_read(vfs, dir, &folder);
    if (err == KS_OK)
        err = inspect_live(&x, &folder);
    if (err == KS_OK)
        err = inspect_damaged(&x, &folder);
    ksi_wal_folder_done(&folder);
    if (err == KS_OK)
        *ret_state = x.worst;
    return err;
}
