/*
 * Opening a folder: lists it, checks that the segments continue each other, replays what is needed,
 * and decides what the end of the log is. Changes nothing before the whole log has proven readable,
 * and each change can be cut off by a crash at any point. Writing never continues in a segment that
 * was read: the first append takes a fresh one, so bytes of a torn commit can never come to lie
 * behind new ones.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/rand.h"
#include "wal/folder_priv.h"
#include "wal/scan_priv.h"
#include "wal/wal_priv.h"

struct recovery {
    struct ks_wal *wal;
    struct ks_vfs *vfs;
    struct ksi_wal_folder dir;
    ks_lsn from, expected, highest;
    ks_wal_replay_fn fn;
    void *arg;
};

/* The first segment that holds a frame ≥ from; those before it are not even read. */
static size_t first_needed(const struct recovery *r)
{
    for (size_t i = r->dir.count; r->from && i-- > 0;)
        if (r->dir.seg[i].readable && r->dir.seg[i].header.first_lsn <= r->from)
            return i;
    return 0;
}

static ks_err on_frame(void *arg, const struct ks_wal_record *rec)
{
    struct recovery *r = arg;
    return rec->lsn < r->from ? KS_OK : r->fn(r->arg, rec);
}

static ks_err damaged_at(const struct recovery *r, size_t i, uint64_t off, const char *why)
{
    return ks_fail(KS_ECORRUPT,
                   "write-ahead log %s/wal-%016" PRIx64 ".seg is damaged at offset %" PRIu64
                   ": %s; to keep what is before it and go on, start once with -wal.repair",
                   r->wal->dir, r->dir.seg[i].id, off, why);
}

/* Checks what segment i says about itself against the one before. NULL when it fits. */
static const char *header_misfit(const struct recovery *r, size_t i, size_t first)
{
    const struct ksi_wal_found *f = &r->dir.seg[i];
    if (!f->readable)
        return f->why;
    if (memcmp(f->header.uuid, r->wal->uuid, sizeof r->wal->uuid) != 0)
        return "it belongs to another log";
    if (i > first && f->header.prev_end_lsn != r->expected)
        return "a segment before it is missing";
    if (i == first && !r->wal->opts.repair && r->from && f->header.first_lsn > r->from &&
        f->header.prev_end_lsn > r->from)
        return "a segment before it is missing";
    return NULL;
}

static ks_err push_live(struct recovery *r, size_t i, ks_lsn end_lsn, uint64_t used_bytes)
{
    struct ks_wal *wal = r->wal;
    KS_TRY(ks_array_reserve((void **)&wal->live, &wal->live_cap, wal->live_count + 1,
                            sizeof *wal->live));
    struct ksi_wal_found *f = &r->dir.seg[i];
    ks_lsn first = f->readable ? f->header.first_lsn : end_lsn;
    wal->live[wal->live_count++] =
        (struct ksi_wal_live){f->id, first, end_lsn, f->file_bytes, used_bytes};
    return KS_OK;
}

/* Replays segment i; sets *ret_why when it does not reach where it should. */
static ks_err replay_segment(struct recovery *r, size_t i, const char **ret_why, uint64_t *ret_off)
{
    char path[KSI_WAL_PATH_MAX];
    struct ksi_wal_scan s;
    struct ksi_wal_end end;
    bool last = i + 1 == r->dir.count;
    KS_TRY(ksi_wal_path(r->wal->dir, "wal", r->dir.seg[i].id, "seg", path));
    KS_TRY(ksi_wal_scan_open(r->vfs, path, &s));
    ks_lsn stop = !last && r->dir.seg[i + 1].readable ? r->dir.seg[i + 1].header.prev_end_lsn : 0;
    struct ksi_wal_visitor v = {r, on_frame, NULL};
    ks_err err = ksi_wal_scan_run(&s, stop, &v, &end);
    ksi_wal_scan_close(&s);
    KS_TRY(err);
    r->expected = end.next_lsn;
    if (end.highest_lsn > r->highest)
        r->highest = end.highest_lsn;
    if (stop ? end.next_lsn != stop : end.damaged)
        *ret_why = end.why ? end.why : "frames are missing behind it";
    *ret_off = end.off;
    return push_live(r, i, end.next_lsn, end.off);
}

/* What the segments behind the damage held: their LSNs are not given again. */
static void note_lost(struct recovery *r, size_t i)
{
    char path[KSI_WAL_PATH_MAX];
    struct ksi_wal_scan s;
    struct ksi_wal_end end;
    struct ksi_wal_visitor v = {0};
    if (!r->dir.seg[i].readable ||
        ksi_wal_path(r->wal->dir, "wal", r->dir.seg[i].id, "seg", path) != KS_OK ||
        ksi_wal_scan_open(r->vfs, path, &s) != KS_OK)
        return;
    if (ksi_wal_scan_run(&s, 0, &v, &end) == KS_OK && end.highest_lsn > r->highest)
        r->highest = end.highest_lsn;
    ksi_wal_scan_close(&s);
}

/* Salvage: segments from i on are kept under another name for whoever wants to look. */
static ks_err set_aside(struct recovery *r, size_t i)
{
    char from[KSI_WAL_PATH_MAX], to[KSI_WAL_PATH_MAX];
    for (size_t k = r->dir.count; k-- > i;) {
        note_lost(r, k);
        KS_TRY(ksi_wal_path(r->wal->dir, "wal", r->dir.seg[k].id, "seg", from));
        KS_TRY(ksi_wal_path(r->wal->dir, "damaged", r->dir.seg[k].id, "seg", to));
        KS_TRY(r->vfs->ops->rename(r->vfs, from, to));
    }
    r->dir.count = i;
    return KS_OK;
}

static ks_err replay(struct recovery *r)
{
    size_t first = first_needed(r);
    /* Not read: the next segment's word is taken for where they end. first is readable unless it is
     * 0. */
    for (size_t i = 0; i < first; i++)
        KS_TRY(push_live(r, i,
                         r->dir.seg[r->dir.seg[i + 1].readable ? i + 1 : first].header.prev_end_lsn,
                         r->dir.seg[i].file_bytes));
    for (size_t i = first; i < r->dir.count; i++) {
        uint64_t off = 0;
        const char *why = header_misfit(r, i, first);
        bool head = why != NULL;
        if (!why)
            KS_TRY(replay_segment(r, i, &why, &off));
        if (!why)
            continue;
        if (!r->wal->opts.repair)
            return damaged_at(r, i, off, why);
        return set_aside(r, head ? i : i + 1);
    }
    return KS_OK;
}

/*
 * What was replayed counts from now on, so it must not vanish with a later power loss: after a mere
 * kill it may be only in the page cache. Then a last segment without any frame becomes a spare
 * again.
 */
static ks_err settle_tail(struct recovery *r)
{
    struct ks_wal *wal = r->wal;
    char path[KSI_WAL_PATH_MAX], to[KSI_WAL_PATH_MAX];
    if (wal->live_count == 0)
        return r->vfs->ops->sync_dir(r->vfs, wal->dir);
    struct ksi_wal_live *last = &wal->live[wal->live_count - 1];
    struct ks_file *f;
    KS_TRY(ksi_wal_path(wal->dir, "wal", last->epoch, "seg", path));
    KS_TRY(ks_open(r->vfs, path, KS_OPEN_WRITE, &f));
    ks_err err = ks_sync(f);
    ks_close(f);
    KS_TRY(err);
    if (last->first_lsn == last->end_lsn) {
        KS_TRY(ksi_wal_path(wal->dir, "spare", last->epoch, "seg", to));
        KS_TRY(r->vfs->ops->rename(r->vfs, path, to)); /* adopt_spares judges its size */
        KS_TRY(ksi_wal_folder_add_spare(&r->dir, last->epoch));
        wal->live_count--;
    }
    return r->vfs->ops->sync_dir(r->vfs, wal->dir);
}

/* Spares too small for these options are removed; one that vanished or cannot be read is no loss.
 */
static ks_err adopt_spares(struct recovery *r)
{
    struct ks_wal *wal = r->wal;
    char path[KSI_WAL_PATH_MAX];
    for (size_t i = 0; i < r->dir.spare_count; i++) {
        struct ks_file *f;
        uint64_t bytes = 0;
        KS_TRY(ksi_wal_path(wal->dir, "spare", r->dir.spare_ids[i], "seg", path));
        KS_TRY(ks_open(r->vfs, path, KS_OPEN_READ, &f));
        ks_err err = ks_file_size(f, &bytes);
        ks_close(f);
        KS_TRY(err);
        if (bytes >= ksi_wal_min_segment(wal) && bytes % KSI_WAL_BLOCK == 0)
            KS_TRY(ksi_wal_put_spare(wal, (struct ksi_wal_spare){r->dir.spare_ids[i], bytes}));
        else
            KS_TRY(r->vfs->ops->unlink(r->vfs, path));
    }
    for (size_t i = 0; i < r->dir.junk_len; i += strlen(r->dir.junk + i) + 1) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", wal->dir, r->dir.junk + i) < sizeof path)
            KS_TRY(r->vfs->ops->unlink(r->vfs, path));
    }
    return KS_OK;
}

static ks_err recover(struct recovery *r)
{
    struct ks_wal *wal = r->wal;
    KS_TRY(ksi_wal_folder_read(r->vfs, wal->dir, &r->dir));
    ks_random_bytes(wal->uuid, sizeof wal->uuid);
    for (size_t i = 0; i < r->dir.count; i++) {
        if (r->dir.seg[i].readable)
            memcpy(wal->uuid, r->dir.seg[i].header.uuid, sizeof wal->uuid);
    }
    KS_TRY(replay(r));
    KS_TRY(settle_tail(r));
    KS_TRY(adopt_spares(r));
    wal->next_id = r->dir.max_id + 1;
    ks_lsn next = r->expected;
    next = next > r->from ? next : r->from;
    next = next > r->highest + 1 ? next : r->highest + 1;
    wal->next_lsn = next;
    wal->written_lsn = wal->durable_lsn = wal->attested_lsn = next - 1;
    wal->tail_end_lsn = wal->live_count ? wal->live[wal->live_count - 1].end_lsn : next;
    return KS_OK;
}

ks_err ksi_wal_recover(struct ks_wal *wal, ks_lsn from, ks_wal_replay_fn fn, void *arg)
{
    struct recovery r = {
        .wal = wal, .vfs = wal->vfs, .from = from, .expected = 1, .fn = fn, .arg = arg};
    ks_err err = recover(&r);
    ksi_wal_folder_done(&r.dir);
    return err;
}
