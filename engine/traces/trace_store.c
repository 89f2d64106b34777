#include "engine/traces/trace_store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/traces/history.h"
#include "engine/traces/snapshot_priv.h"
#include "engine/traces/trace_store_priv.h"
#include "sys/clock.h"

enum { REC_BATCH = KS_REC_TRACES_FIRST, REC_PIN = KS_REC_TRACES_FIRST + 1, PIN_BYTES = 24 };
/* After so much log of spans a snapshot is due: what a start has to replay stays within a second.
 */
enum { FLUSH_LOG_BYTES = 96 << 20 };
enum { SETTLED_PER_TICK = 16 }; /* generations: about so many milliseconds in each second */
enum { CUT_BYTES = 24 };        /* ring.cut: u64 needs of the snapshot, u64 needs now, u64 hash */

struct ks_trace_store {
    struct ks_trace_store_opts opts;
    struct ks_traces *ring;
    struct ks_engine *engine;
    struct ks_wal *wal;
    char dir[KSI_TRSNAP_PATH_MAX - 64];
    struct ks_batch replay_batch;
    _Atomic uint64_t needs;
    pthread_mutex_t flush_lock;
    /* Under flush_lock. */
    uint64_t snap_needs;    /* as the snapshot's header says */
    uint64_t snap_ring_lsn; /* the ring's last record when it was taken */
    bool snap_valid;
    _Atomic uint64_t logged_bytes; /* since the snapshot */
    _Atomic uint64_t snapshots, snapshot_bytes, snapshot_ms, load_ms, replayed, damaged;
    struct ksi_history *history; /* NULL: none */
};

struct ksi_history *ksi_trace_store_history(struct ks_trace_store *s)
{
    return s->history;
}

struct ks_engine *ksi_trace_store_engine(struct ks_trace_store *s)
{
    return s->engine;
}

struct ks_log_store *ks_trace_store_history(struct ks_trace_store *s)
{
    return s->opts.history;
}

ks_err ks_trace_store_new(const struct ks_trace_store_opts *opts, struct ks_trace_store **ret)
{
    struct ks_trace_store *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->opts = *opts;
    ks_err err = ks_traces_new(&opts->ring, &s->ring);
    if (err == KS_OK && opts->history)
        err = ksi_history_new(opts->history, &s->history);
    if (err != KS_OK) {
        ks_traces_free(s->ring);
        ks_free(s);
        return err;
    }
    ks_batch_init(&s->replay_batch);
    pthread_mutex_init(&s->flush_lock, NULL);
    atomic_store(&s->needs, KS_LSN_NONE);
    *ret = s;
    return KS_OK;
}

void ks_trace_store_free(struct ks_trace_store *s)
{
    if (!s)
        return;
    ks_traces_free(s->ring);
    ksi_history_free(s->history);
    ks_batch_done(&s->replay_batch);
    pthread_mutex_destroy(&s->flush_lock);
    ks_free(s);
}

struct ks_traces *ks_trace_store_ring(struct ks_trace_store *s)
{
    return s->ring;
}

/* --- writing --- */
struct log_arg {
    struct ks_trace_store *s;
    struct ks_buf *encoded;
    size_t seqs_at;
    ks_lsn lsn;
};

static ks_err append(void *arg, struct ks_batch *b, uint64_t *ret_lsn)
{
    struct log_arg *a = arg;
    ks_batch_patch(b, a->encoded, a->seqs_at);
    KS_TRY(ks_wal_append(a->s->wal, REC_BATCH, 0, ks_buf_view(a->encoded), &a->lsn));
    *ret_lsn = a->lsn;
    atomic_fetch_add_explicit(&a->s->logged_bytes, a->encoded->len, memory_order_relaxed);
    return KS_OK;
}

ks_err ks_trace_store_write(struct ks_trace_store *s, struct ks_batch *b, struct ks_buf *scratch,
                            ks_lsn *lsn, struct ks_traces_result *ret)
{
    struct log_arg a = {s, scratch, 0, 0};
    /* First, so that nothing is ever in the ring alone. */
    if (s->history)
        KS_TRY(ksi_history_write(s->history, b));
    if (s->opts.no_log || !s->wal)
        return ks_traces_write(s->ring, b, NULL, NULL, ret);
    if (ks_engine_read_only(s->engine))
        return ks_fail(KS_EREADONLY, "the disk is nearly full; see -storage.minFreeDiskSpaceBytes");
    ks_buf_reset(scratch);
    KS_TRY(ks_batch_encode(b, scratch, &a.seqs_at));
    if (scratch->len > KS_WAL_FRAME_MAX)
        return ks_fail(KS_ELIMIT, "spans of %zu bytes do not fit the log", scratch->len);
    ks_err err = ks_traces_write(s->ring, b, append, &a, ret);
    if (err == KS_OK)
        *lsn = a.lsn;
    return err;
}

ks_err ks_trace_store_commit(struct ks_trace_store *s, ks_lsn lsn)
{
    return lsn && s->wal ? ks_wal_wait(s->wal, lsn) : KS_OK;
}

bool ks_trace_pin(struct ks_trace_store *s, struct ks_tenant tenant, struct ks_trace_id id,
                  ks_lsn *lsn)
{
    char rec[PIN_BYTES];
    if (!ks_traces_pin(s->ring, tenant, id))
        return false;
    if (s->opts.no_log || !s->wal)
        return true;
    ks_put_le32(rec, tenant.account);
    ks_put_le32(rec + 4, tenant.project);
    ks_put_le64(rec + 8, id.hi);
    ks_put_le64(rec + 16, id.lo);
    return ks_wal_append(s->wal, REC_PIN, 0, ks_slice(rec, sizeof rec), lsn) == KS_OK;
}

/* --- the signal --- */
static void path_of(const struct ks_trace_store *s, const char *name, char *out)
{
    snprintf(out, KSI_TRSNAP_PATH_MAX, "%s/%s", s->dir, name);
}

/* A cut moved on without a new snapshot counts only with the snapshot it was made for. */
static ks_err read_cut(struct ks_trace_store *s, struct ks_vfs *vfs)
{
    char path[KSI_TRSNAP_PATH_MAX], *bytes;
    size_t n;
    path_of(s, "ring.cut", path);
    ks_err err = ks_vfs_read_file(vfs, path, CUT_BYTES, &bytes, &n);
    if (err != KS_OK)
        return err == KS_ENOTFOUND || err == KS_ETOOBIG ? KS_OK : err;
    if (n == CUT_BYTES && ks_hash64(bytes, 16) == ks_le64(bytes + 16) &&
        ks_le64(bytes) == s->snap_needs && ks_le64(bytes + 8) > s->snap_needs)
        atomic_store(&s->needs, ks_le64(bytes + 8));
    ks_free(bytes);
    return KS_OK;
}

/* The server starts without the traces of a damaged file rather than not at all; it is kept. */
static ks_err set_aside(struct ks_trace_store *s, struct ks_vfs *vfs, const char *path)
{
    char damaged[KSI_TRSNAP_PATH_MAX];
    ks_log(KS_LOG_ERROR, "engine", "the snapshot of traces is damaged and set aside: %s",
           ks_err_text());
    atomic_fetch_add(&s->damaged, 1);
    path_of(s, "ring.snap.damaged", damaged);
    KS_TRY(vfs->ops->rename(vfs, path, damaged));
    ks_traces_free(s->ring);
    s->ring = NULL;
    return ks_traces_new(&s->opts.ring, &s->ring);
}

static ks_err load(void *self, struct ks_engine *e, ks_lsn *ret_from)
{
    struct ks_trace_store *s = self;
    struct ks_vfs *vfs = ks_engine_vfs(e);
    char path[KSI_TRSNAP_PATH_MAX];
    int64_t begun = ks_mono_ms();
    s->engine = e;
    *ret_from = KS_LSN_NONE;
    if ((size_t)snprintf(s->dir, sizeof s->dir, "%s/traces", ks_engine_dir(e)) >= sizeof s->dir)
        return ks_fail(KS_EINVAL, "the data folder's name is too long");
    if (s->opts.no_log)
        return KS_OK;
    KS_TRY(ks_vfs_mkdirs(vfs, s->dir));
    path_of(s, "ring.snap", path);
    ks_err err = ksi_trsnap_load(vfs, path, s->ring, &s->snap_needs);
    if (err == KS_ENOTFOUND)
        return KS_OK;
    if (err == KS_ECORRUPT)
        err = set_aside(s, vfs, path);
    else if (err == KS_OK)
        s->snap_valid = true;
    KS_TRY(err);
    atomic_store(&s->load_ms, (uint64_t)(ks_mono_ms() - begun));
    if (!s->snap_needs) /* the header itself was damaged: whatever the log still has */
        return KS_OK;
    atomic_store(&s->needs, s->snap_needs);
    KS_TRY(read_cut(s, vfs));
    *ret_from = atomic_load(&s->needs);
    return KS_OK;
}

static ks_err replay_pin(struct ks_trace_store *s, struct ks_slice p)
{
    if (p.len != PIN_BYTES)
        return ks_fail(KS_ECORRUPT, "a pin has %zu bytes", p.len);
    struct ks_tenant t = {ks_le32(p.ptr), ks_le32(p.ptr + 4)};
    struct ks_trace_id id = {ks_le64(p.ptr + 8), ks_le64(p.ptr + 16)};
    (void)ks_traces_pin(s->ring, t, id);
    return KS_OK;
}

static ks_err replay(void *self, const struct ks_wal_record *rec)
{
    struct ks_trace_store *s = self;
    uint64_t needs = atomic_load(&s->needs);
    if (s->opts.no_log || (needs != KS_LSN_NONE && rec->lsn < needs))
        return KS_OK;
    atomic_fetch_add(&s->replayed, 1);
    atomic_fetch_add_explicit(&s->logged_bytes, rec->payload.len, memory_order_relaxed);
    if (rec->type == REC_PIN)
        return replay_pin(s, rec->payload);
    if (rec->type != REC_BATCH)
        return ks_fail(KS_EUNSUPPORTED, "unknown type %u", rec->type);
    KS_TRY(ks_batch_decode(rec->payload, &s->replay_batch));
    return ks_traces_replay(s->ring, &s->replay_batch, rec->lsn);
}

/* Nothing came since the snapshot: only the cut moves on, so that others' log can be recycled. */
static ks_err move_cut(struct ks_trace_store *s, struct ks_vfs *vfs, uint64_t needs)
{
    char bytes[CUT_BYTES], path[KSI_TRSNAP_PATH_MAX];
    ks_put_le64(bytes, s->snap_needs);
    ks_put_le64(bytes + 8, needs);
    ks_put_le64(bytes + 16, ks_hash64(bytes, 16));
    path_of(s, "ring.cut", path);
    KS_TRY(ks_vfs_replace_file(vfs, path, ks_slice(bytes, sizeof bytes)));
    atomic_store(&s->needs, needs);
    return KS_OK;
}

static ks_err flush_locked(struct ks_trace_store *s)
{
    struct ks_vfs *vfs = ks_engine_vfs(s->engine);
    int64_t begun = ks_mono_ms();
    uint64_t bytes;
    /* In this order: what has a smaller number than needs is in the ring by the time it is read. */
    uint64_t needs = ks_wal_next_lsn(s->wal), ring_lsn = ks_traces_lsn(s->ring);
    if (s->snap_valid && ring_lsn == s->snap_ring_lsn)
        return needs == atomic_load(&s->needs) ? KS_OK : move_cut(s, vfs, needs);
    uint64_t logged = atomic_load(&s->logged_bytes);
    KS_TRY(ksi_trsnap_write(vfs, s->dir, s->ring, needs, &bytes));
    atomic_fetch_sub(&s->logged_bytes, logged);
    s->snap_valid = true;
    s->snap_needs = needs;
    s->snap_ring_lsn = ring_lsn;
    atomic_store(&s->needs, needs);
    atomic_fetch_add(&s->snapshots, 1);
    atomic_store(&s->snapshot_bytes, bytes);
    atomic_store(&s->snapshot_ms, (uint64_t)(ks_mono_ms() - begun));
    return KS_OK;
}

static ks_err flush(void *self)
{
    struct ks_trace_store *s = self;
    if (s->opts.no_log)
        return KS_OK;
    pthread_mutex_lock(&s->flush_lock);
    ks_err err = flush_locked(s);
    pthread_mutex_unlock(&s->flush_lock);
    return err;
}

static ks_err tick(void *self)
{
    struct ks_trace_store *s = self;
    KS_TRY(ks_traces_settle(s->ring, SETTLED_PER_TICK));
    if (s->opts.no_log || atomic_load(&s->logged_bytes) < FLUSH_LOG_BYTES ||
        ks_engine_read_only(s->engine))
        return KS_OK;
    return flush(s);
}

static ks_err start(void *self)
{
    struct ks_trace_store *s = self;
    s->wal = ks_engine_wal(s->engine);
    s->snap_ring_lsn =
        s->snap_valid && !atomic_load(&s->replayed) ? ks_traces_lsn(s->ring) : UINT64_MAX;
    return s->snap_valid ? KS_OK : flush(s);
}

static ks_lsn needs(void *self)
{
    return atomic_load(&((struct ks_trace_store *)self)->needs);
}

static ks_err snapshot(void *self, const char *dir)
{
    struct ks_trace_store *s = self;
    struct ks_vfs *vfs = ks_engine_vfs(s->engine);
    static const char *const names[] = {"ring.snap", "ring.cut"};
    char from[KSI_TRSNAP_PATH_MAX], to[KSI_TRSNAP_PATH_MAX];
    if (s->opts.no_log)
        return KS_OK;
    snprintf(to, sizeof to, "%s/traces", dir);
    KS_TRY(ks_vfs_mkdirs(vfs, to));
    pthread_mutex_lock(&s->flush_lock);
    ks_err err = KS_OK;
    for (size_t i = 0; i < 2 && err == KS_OK; i++) {
        path_of(s, names[i], from);
        snprintf(to, sizeof to, "%s/traces/%s", dir, names[i]);
        err = vfs->ops->link(vfs, from, to);
        if (err == KS_ENOTFOUND && i)
            err = KS_OK;
    }
    pthread_mutex_unlock(&s->flush_lock);
    return err;
}

struct ks_signal ks_trace_store_signal(struct ks_trace_store *s)
{
    return (struct ks_signal){.name = "traces",
                              .type_first = KS_REC_TRACES_FIRST,
                              .type_last = KS_REC_TRACES_LAST,
                              .self = s,
                              .load = load,
                              .replay = replay,
                              .start = start,
                              .needs = needs,
                              .flush = flush,
                              .tick = tick,
                              .snapshot = snapshot};
}

void ks_trace_store_get_stats(struct ks_trace_store *s, struct ks_trace_store_stats *ret)
{
    ks_traces_get_stats(s->ring, &ret->ring);
    ret->snapshots_total = atomic_load(&s->snapshots);
    ret->snapshot_bytes = atomic_load(&s->snapshot_bytes);
    ret->snapshot_ms = atomic_load(&s->snapshot_ms);
    ret->load_ms = atomic_load(&s->load_ms);
    ret->replayed_total = atomic_load(&s->replayed);
    ret->damaged_total = atomic_load(&s->damaged);
}
