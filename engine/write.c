/*
 * The write path: L1 lookup for the whole batch without a lock, labels resolved for the unknown
 * series, then shard by shard under its mutex: create series, log, apply; at the end one wait for
 * the log. A shard's records stand in the log in the order they were applied, because both happen
 * under its lock.
 */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "engine/engine_priv.h"
#include "engine/head_hist.h"
#include "engine/records.h"
#include "sys/clock.h"

enum { FRAME_BYTES = 1 << 20 };
#define SID_DROPPED (UINT32_MAX - 1) /* the resolver dropped the series */

struct miss {
    uint32_t series;
    struct ks_slice labels; /* canonical bytes in the arena */
    ks_hash128 fp;
};

/* One ks_engine_write() call. Arrays live in the batch's arena. */
struct write_op {
    struct ks_engine *e;
    struct ks_write_batch *batch;
    struct ks_write_result *result;
    uint32_t *sids;    /* per series */
    uint32_t *miss_of; /* per series: index into misses, or UINT32_MAX */
    uint32_t *order;   /* series grouped by shard */
    uint64_t *epochs;  /* per shard, as read before the lookup */
    struct miss *misses;
    size_t miss_count, miss_cap;
    struct ks_buf labels, frame;
    size_t frame_bytes; /* frames are closed when they reach it */
    int64_t min_ms, max_ms, now_ms;
    int64_t oldest_ms; /* of the samples applied */
    bool memory_short;
    ks_lsn lsn;
};

static ks_err resolve_one(struct write_op *w, uint32_t i)
{
    struct ks_labels l = {0};
    struct ks_write_batch *b = w->batch;
    KS_TRY(b->resolve(b, i, &l));
    ks_labels_canonicalise(&l);
    if (!l.count) {
        w->sids[i] = SID_DROPPED;
        return KS_OK;
    }
    ks_buf_reset(&w->labels);
    ks_labels_encode(&l, &w->labels);
    KS_TRY(ks_buf_status(&w->labels));
    struct miss m = {.series = i, .labels = ks_arena_dup(b->arena, ks_buf_view(&w->labels))};
    if (!m.labels.ptr)
        return ks_arena_err(b->arena);
    m.fp = ks_series_fp(b->series[i].tenant, m.labels);
    KS_TRY(ks_arena_grow(b->arena, (void **)&w->misses, &w->miss_cap, w->miss_count + 1, sizeof m));
    w->miss_of[i] = (uint32_t)w->miss_count;
    w->misses[w->miss_count++] = m;
    return KS_OK;
}

static uint32_t shard_of(const struct write_op *w, uint32_t i)
{
    uint32_t n = w->e->shard_count;
    return w->miss_of[i] == UINT32_MAX ? ksi_sid_shard(w->sids[i], n)
                                       : ksi_fp_shard(w->misses[w->miss_of[i]].fp, n);
}

static ks_err look_up(struct write_op *w)
{
    struct ks_engine *e = w->e;
    size_t n = w->batch->series_count;
    for (uint32_t s = 0; s < e->shard_count; s++)
        w->epochs[s] = atomic_load(&e->drop_epochs[s]);
    ksi_l1_lookup(&e->l1, &w->batch->series[0].raw_key, sizeof *w->batch->series, n, w->sids);
    for (uint32_t i = 0; i < n; i++) {
        w->miss_of[i] = UINT32_MAX;
        if (w->sids[i] == KS_NO_SID)
            KS_TRY(resolve_one(w, i));
    }
    return KS_OK;
}

/* Counting sort of the series by shard; starts[s]..starts[s+1] in order. */
static void group_by_shard(struct write_op *w, uint32_t *starts)
{
    uint32_t n = (uint32_t)w->batch->series_count, shards = w->e->shard_count;
    memset(starts, 0, (shards + 1) * sizeof *starts);
    for (uint32_t i = 0; i < n; i++)
        if (w->sids[i] != SID_DROPPED)
            starts[shard_of(w, i) + 1]++;
    for (uint32_t s = 0; s < shards; s++)
        starts[s + 1] += starts[s];
    for (uint32_t i = 0; i < n; i++)
        if (w->sids[i] != SID_DROPPED)
            w->order[starts[shard_of(w, i)]++] = i;
    for (uint32_t s = shards; s > 0; s--)
        starts[s] = starts[s - 1];
    starts[0] = 0;
}

/* --- series creation, under the shard's lock --- */

/* Series of one shard being made: in the fp table already, not yet in the live index. */
struct making {
    struct write_op *w;
    struct ksi_shard *s;
    const uint32_t *made; /* batch indexes */
    size_t count;
    const struct miss *wanted;
    struct ks_tenant tenant;
};

static bool same_series(void *arg, uint32_t local)
{
    struct making *k = arg;
    uint32_t sid = ksi_sid(k->s, local);
    for (size_t i = k->count; i-- > 0;) {
        uint32_t x = k->made[i];
        if (k->w->sids[x] == sid)
            return ks_slice_eq(k->w->misses[k->w->miss_of[x]].labels, k->wanted->labels) &&
                   ks_tenant_eq(k->w->batch->series[x].tenant, k->tenant);
    }
    return ks_live_index_equals(k->w->e->live, sid, k->tenant, k->wanted->labels);
}

/* A local id with the series in shard and fp table; the live index is told later, many at a time.
 */
static ks_err make_local(struct ksi_shard *s, struct ks_tenant tenant, const struct miss *m,
                         uint32_t *ret)
{
    uint32_t local;
    KS_TRY(ksi_series_new(s, ksi_phase_key(tenant, m->labels), &local));
    ks_err err = ksi_fp_add(s, m->fp, local);
    if (err != KS_OK) {
        ksi_series_drop(s, local);
        ksi_series_recycle(s, local);
        return err;
    }
    *ret = local;
    return KS_OK;
}

static void forget_locals(struct write_op *w, struct ksi_shard *s, const uint32_t *made,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t local = ksi_sid_local(w->sids[made[i]], s->count_all);
        ksi_fp_remove(s, w->misses[w->miss_of[made[i]]].fp, local);
        ksi_series_drop(s, local);
        ksi_series_recycle(s, local);
    }
}

static ks_err index_series(struct write_op *w, const uint32_t *made, size_t count)
{
    struct ks_live_add *adds = ks_arena_array(w->batch->arena, count, sizeof *adds);
    if (!adds)
        return ks_arena_err(w->batch->arena);
    for (size_t i = 0; i < count; i++)
        adds[i] = (struct ks_live_add){w->sids[made[i]], w->batch->series[made[i]].tenant,
                                       w->misses[w->miss_of[made[i]]].labels};
    return ks_live_index_add(w->e->live, adds, count);
}

/* Logs the series made; ret_logged of them are in the log whatever is returned. */
static ks_err log_series(struct write_op *w, struct ksi_shard *s, const uint32_t *made,
                         size_t count, size_t *ret_logged)
{
    *ret_logged = 0;
    for (size_t i = 0; i < count;) {
        ks_buf_reset(&w->frame);
        for (; i < count; i++) {
            const struct miss *m = &w->misses[w->miss_of[made[i]]];
            if (w->frame.len && w->frame.len + m->labels.len >= w->frame_bytes)
                break;
            ksi_rec_series_add(&w->frame, w->sids[made[i]], w->batch->series[made[i]].tenant,
                               m->labels);
        }
        KS_TRY(ks_buf_status(&w->frame));
        KS_TRY(ks_wal_append(w->e->wal, KS_REC_SERIES, (uint16_t)s->index, ks_buf_view(&w->frame),
                             &w->lsn));
        *ret_logged = i;
    }
    return KS_OK;
}

/* Makes the new series known to index and log; those that could not be logged are forgotten again.
 */
static ks_err finish_series(struct write_op *w, struct ksi_shard *s, const uint32_t *made,
                            size_t count)
{
    size_t logged = 0;
    ks_err err = index_series(w, made, count);
    if (err != KS_OK) {
        forget_locals(w, s, made, count);
        return err;
    }
    err = log_series(w, s, made, count, &logged);
    for (size_t i = logged; i < count; i++)
        (void)!ks_live_index_remove(w->e->live, &w->sids[made[i]], 1);
    forget_locals(w, s, made + logged, count - logged);
    w->result->series_created += logged;
    return err;
}

static bool series_allowed(struct write_op *w, const struct ksi_shard *s)
{
    bool limit = w->e->opts.max_series && s->in_use >= w->e->opts.max_series / w->e->shard_count;
    if (!limit && !atomic_load(&w->e->memory_full))
        return true;
    w->result->series_refused++;
    w->memory_short |= !limit;
    return false;
}

static ks_err find_or_create(struct write_op *w, struct ksi_shard *s, const uint32_t *idx,
                             size_t count)
{
    uint32_t *made = ks_arena_array(w->batch->arena, count, sizeof *made);
    struct making k = {.w = w, .s = s, .made = made};
    ks_err err = made ? KS_OK : ks_arena_err(w->batch->arena);
    for (size_t n = 0; n < count && err == KS_OK; n++) {
        uint32_t i = idx[n], local;
        if (w->miss_of[i] == UINT32_MAX)
            continue;
        k.wanted = &w->misses[w->miss_of[i]];
        k.tenant = w->batch->series[i].tenant;
        local = ksi_fp_find(s, k.wanted->fp, same_series, &k);
        if (local == UINT32_MAX) {
            if (!series_allowed(w, s)) {
                w->sids[i] = SID_DROPPED;
                continue;
            }
            if ((err = make_local(s, k.tenant, k.wanted, &local)) != KS_OK)
                break;
            made[k.count++] = i;
        }
        w->sids[i] = ksi_sid(s, local);
    }
    ks_err finished = k.count ? finish_series(w, s, made, k.count) : KS_OK;
    return err == KS_OK ? finished : err;
}

static ks_err restore_local(struct ksi_shard *s, const struct ks_live_add *x, ks_hash128 fp)
{
    uint32_t local = ksi_sid_local(x->sid, s->count_all);
    if (local > s->local_end + (64u << 20))
        return ks_fail(KS_ECORRUPT, "series id %u is out of range", x->sid);
    KS_TRY(ksi_series_new_at(s, local, ksi_phase_key(x->tenant, x->label_bytes)));
    return ksi_fp_add(s, fp, local);
}

ks_err ksi_restore_series(struct ks_engine *e, struct ksi_shard *s, struct ks_live_add *adds,
                          size_t count)
{
    enum { AHEAD = 8 };
    ks_hash128 fps[AHEAD]; /* of the next ones, in turn */
    size_t n = 0;
    for (size_t i = 0, ready = 0; i < count; i++) {
        for (; ready < count && ready < i + AHEAD; ready++) {
            fps[ready % AHEAD] = ks_series_fp(adds[ready].tenant, adds[ready].label_bytes);
            ksi_fp_prefetch(s, fps[ready % AHEAD]);
        }
        const struct ks_live_add x = adds[i];
        uint32_t local = ksi_sid_local(x.sid, s->count_all);
        if (ksi_sid_shard(x.sid, s->count_all) != s->index)
            return ks_fail(KS_ECORRUPT, "series %u does not belong to shard %u", x.sid, s->index);
        if (local < s->local_end && ksi_series_at(s, local)->slab) {
            if (!ks_live_index_equals(e->live, x.sid, x.tenant, x.label_bytes))
                return ks_fail(KS_ECORRUPT, "series %u is logged twice with different labels",
                               x.sid);
            continue;
        }
        KS_TRY(restore_local(s, &x, fps[i % AHEAD]));
        adds[n++] = x;
    }
    return n ? ks_live_index_add(e->live, adds, n) : KS_OK;
}

/* --- samples, under the shard's lock --- */

static ks_err apply_samples(struct write_op *w, struct ksi_shard *s, uint32_t i)
{
    const struct ks_write_series *x = &w->batch->series[i];
    const struct ks_write_sample *v = w->batch->samples + x->first_sample;
    uint32_t local = ksi_sid_local(w->sids[i], s->count_all);
    for (uint32_t k = 0; k < x->sample_count; k++) {
        enum ksi_append how;
        if (v[k].time_ms < w->min_ms || v[k].time_ms > w->max_ms)
            continue;
        KS_TRY(ksi_append(s, local, v[k].time_ms, ks_f64_bits(v[k].value), &how));
        w->oldest_ms = v[k].time_ms < w->oldest_ms ? v[k].time_ms : w->oldest_ms;
    }
    return KS_OK;
}

/* Hands the frame to the log and begins the next one. */
static ks_err log_frame(struct write_op *w, struct ksi_shard *s, struct ksi_samples_enc *enc)
{
    KS_TRY(ks_buf_status(&w->frame));
    if (enc->count)
        KS_TRY(ks_wal_append(w->e->wal, KS_REC_SAMPLES, (uint16_t)s->index, ks_buf_view(&w->frame),
                             &w->lsn));
    w->result->stored += enc->count;
    ks_buf_reset(&w->frame);
    ksi_rec_samples_begin(enc, &w->frame, 1);
    return KS_OK;
}

/* A series may be longer than a frame: an import brings a hundred thousand samples in one line. */
static ks_err log_samples(struct write_op *w, struct ksi_shard *s, uint32_t i,
                          struct ksi_samples_enc *enc)
{
    const struct ks_write_series *x = &w->batch->series[i];
    const struct ks_write_sample *v = w->batch->samples + x->first_sample;
    size_t most = (size_t)x->sample_count * KSI_SAMPLE_MAX, room = w->frame_bytes + KSI_SAMPLE_MAX;
    if (!ks_buf_reserve(&w->frame, most < room ? most : room))
        return ks_buf_status(&w->frame);
    for (uint32_t j = 0; j < x->sample_count; j++) {
        if (v[j].time_ms < w->min_ms) {
            w->result->too_old++;
        } else if (v[j].time_ms > w->max_ms) {
            w->result->too_new++;
        } else {
            if (w->frame.len >= w->frame_bytes)
                KS_TRY(log_frame(w, s, enc));
            ksi_rec_samples_add(enc, w->sids[i], v[j].time_ms, ks_f64_bits(v[j].value));
        }
    }
    return KS_OK;
}

/* --- native histograms: the same, in records of their own --- */

/* The histograms of series i: *ret_count of them from the index returned on. */
static size_t histograms_of(const struct ks_write_batch *b, uint32_t i, size_t *ret_count)
{
    size_t lo = 0, hi = b->histogram_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (b->histograms[mid].series < i)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (hi = lo; hi < b->histogram_count && b->histograms[hi].series == i;)
        hi++;
    *ret_count = hi - lo;
    return lo;
}

static ks_err log_histogram_frame(struct write_op *w, struct ksi_shard *s,
                                  struct ksi_histograms_enc *enc)
{
    KS_TRY(ks_buf_status(&w->frame));
    if (enc->count)
        KS_TRY(ks_wal_append(w->e->wal, KS_REC_HISTOGRAMS, (uint16_t)s->index,
                             ks_buf_view(&w->frame), &w->lsn));
    w->result->stored += enc->count;
    ks_buf_reset(&w->frame);
    ksi_rec_histograms_begin(enc, &w->frame);
    return KS_OK;
}

static ks_err log_histograms(struct write_op *w, struct ksi_shard *s, uint32_t i,
                             struct ksi_histograms_enc *enc)
{
    size_t n, at = histograms_of(w->batch, i, &n);
    for (const struct ks_write_histogram *v = w->batch->histograms + at; n--; v++) {
        if (v->time_ms < w->min_ms) {
            w->result->too_old++;
        } else if (v->time_ms > w->max_ms) {
            w->result->too_new++;
        } else {
            if (w->frame.len >= w->frame_bytes)
                KS_TRY(log_histogram_frame(w, s, enc));
            KS_TRY(ksi_rec_histograms_add(enc, w->sids[i], v->time_ms, &v->h));
        }
    }
    return KS_OK;
}

static ks_err apply_histograms(struct write_op *w, struct ksi_shard *s, uint32_t i)
{
    size_t n, at = histograms_of(w->batch, i, &n);
    uint32_t local = ksi_sid_local(w->sids[i], s->count_all);
    for (const struct ks_write_histogram *v = w->batch->histograms + at; n--; v++) {
        enum ksi_append how;
        if (v->time_ms < w->min_ms || v->time_ms > w->max_ms)
            continue;
        KS_TRY(ksi_hist_append(s, local, v->time_ms, &v->h, &how));
        w->oldest_ms = v->time_ms < w->oldest_ms ? v->time_ms : w->oldest_ms;
    }
    return KS_OK;
}

static ks_err log_and_apply_histograms(struct write_op *w, struct ksi_shard *s, const uint32_t *idx,
                                       size_t count)
{
    struct ksi_histograms_enc enc;
    ks_buf_reset(&w->frame);
    ksi_rec_histograms_begin(&enc, &w->frame);
    for (size_t k = 0; k < count; k++)
        if (w->sids[idx[k]] != SID_DROPPED)
            KS_TRY(log_histograms(w, s, idx[k], &enc));
    KS_TRY(log_histogram_frame(w, s, &enc));
    for (size_t k = 0; k < count; k++)
        if (w->sids[idx[k]] != SID_DROPPED)
            KS_TRY(apply_histograms(w, s, idx[k]));
    return KS_OK;
}

/* All of the shard's samples into the log, then into the head: what the log refuses never shows. */
static ks_err log_and_apply(struct write_op *w, struct ksi_shard *s, const uint32_t *idx,
                            size_t count)
{
    struct ksi_samples_enc enc;
    ks_buf_reset(&w->frame);
    ksi_rec_samples_begin(&enc, &w->frame, 1);
    for (size_t k = 0; k < count; k++)
        if (w->sids[idx[k]] != SID_DROPPED)
            KS_TRY(log_samples(w, s, idx[k], &enc));
    KS_TRY(log_frame(w, s, &enc));
    for (size_t k = 0; k < count; k++)
        if (w->sids[idx[k]] != SID_DROPPED)
            KS_TRY(apply_samples(w, s, idx[k]));
    return w->batch->histogram_count ? log_and_apply_histograms(w, s, idx, count) : KS_OK;
}

/* The sids of this group may be stale: asks again, one by one. */
static ks_err look_up_again(struct write_op *w, uint32_t shard, const uint32_t *idx, size_t count)
{
    w->epochs[shard] = atomic_load(&w->e->drop_epochs[shard]);
    for (size_t k = 0; k < count; k++) {
        uint32_t i = idx[k];
        if (w->miss_of[i] != UINT32_MAX)
            continue;
        ksi_l1_lookup(&w->e->l1, &w->batch->series[i].raw_key, 0, 1, &w->sids[i]);
        if (w->sids[i] == KS_NO_SID)
            KS_TRY(resolve_one(w, i));
    }
    return KS_OK;
}

static ks_err write_shard(struct write_op *w, uint32_t shard, const uint32_t *idx, size_t count)
{
    struct ksi_shard *s = &w->e->shards[shard];
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&w->e->drop_epochs[shard]) != w->epochs[shard]) {
        pthread_mutex_unlock(&s->lock);
        KS_TRY(look_up_again(w, shard, idx, count));
        pthread_mutex_lock(&s->lock);
    }
    s->now = (uint32_t)w->now_ms;
    ks_err err = w->miss_count ? find_or_create(w, s, idx, count) : KS_OK;
    if (err == KS_OK)
        err = log_and_apply(w, s, idx, count);
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* No series of the sid's shard was dropped since this write looked its keys up. */
static bool sid_still_valid(void *arg, uint32_t sid)
{
    struct write_op *w = arg;
    uint32_t shard = ksi_sid_shard(sid, w->e->shard_count);
    return atomic_load(&w->e->drop_epochs[shard]) == w->epochs[shard];
}

static void remember_keys(struct write_op *w)
{
    struct l1_add *adds = ks_arena_array(w->batch->arena, w->miss_count, sizeof *adds);
    size_t n = 0;
    for (size_t m = 0; adds && m < w->miss_count; m++) {
        uint32_t i = w->misses[m].series;
        if (w->sids[i] != SID_DROPPED)
            adds[n++] = (struct l1_add){w->batch->series[i].raw_key, w->sids[i]};
    }
    if (n)
        ksi_l1_add(&w->e->l1, adds, n, sid_still_valid, w);
}

static ks_err write_op_init(struct write_op *w, uint32_t **ret_starts)
{
    struct ks_arena *a = w->batch->arena;
    size_t n = w->batch->series_count, shards = w->e->shard_count;
    w->sids = ks_arena_array(a, n, sizeof *w->sids);
    w->miss_of = ks_arena_array(a, n, sizeof *w->miss_of);
    w->order = ks_arena_array(a, n, sizeof *w->order);
    w->epochs = ks_arena_array(a, shards, sizeof *w->epochs);
    *ret_starts = ks_arena_array(a, shards + 1, sizeof **ret_starts);
    if (!w->sids || !w->miss_of || !w->order || !w->epochs || !*ret_starts)
        return ks_arena_err(a);
    ks_buf_init(&w->labels, 1 << 20);
    ks_buf_init(&w->frame, 256 << 20);
    w->now_ms = ks_now_ms();
    uint64_t segment = w->e->opts.wal_segment_bytes;
    w->frame_bytes = segment && segment / 4 < FRAME_BYTES ? (size_t)segment / 4 : FRAME_BYTES;
    w->min_ms = ks_engine_min_time_ms(w->e);
    w->max_ms = w->now_ms + w->e->opts.future_retention_ms;
    w->oldest_ms = INT64_MAX;
    return KS_OK;
}

ks_err ks_engine_write(struct ks_engine *e, struct ks_write_batch *batch,
                       struct ks_write_result *ret)
{
    *ret = (struct ks_write_result){0};
    if (!batch->series_count)
        return KS_OK;
    if (atomic_load(&e->read_only))
        return ks_fail(
            KS_EREADONLY,
            "the storage is read-only: free disk space is below -storage.minFreeDiskSpaceBytes");
    if (atomic_load(&e->memory_over))
        return ks_fail(
            KS_EAGAIN,
            "memory is short: nothing was taken, try again later (-memory.allowedPercent)");
    KS_TRY(ks_wal_status(e->wal));
    struct write_op w = {.e = e, .batch = batch, .result = ret};
    uint32_t *starts;
    KS_TRY(write_op_init(&w, &starts));
    ks_err err = look_up(&w);
    if (err == KS_OK) {
        group_by_shard(&w, starts);
        /* Writers start at different shards, so that they rarely queue behind each other. */
        uint32_t n = e->shard_count, at = (uint32_t)(batch->series[0].raw_key.hi % n);
        for (uint32_t k = 0; k < n && err == KS_OK; k++, at = at + 1 == n ? 0 : at + 1)
            if (starts[at] < starts[at + 1])
                err = write_shard(&w, at, w.order + starts[at], starts[at + 1] - starts[at]);
    }
    if (err == KS_OK && w.miss_count)
        remember_keys(&w);
    if (err == KS_OK && w.lsn)
        err = ks_wal_wait(e->wal, w.lsn);
    if (err == KS_OK && w.memory_short)
        err = ks_fail(KS_EAGAIN,
                      "memory is short: %llu new series were not taken; the others are stored, try "
                      "again later",
                      (unsigned long long)ret->series_refused);
    ks_buf_done(&w.labels);
    ks_buf_done(&w.frame);
    atomic_fetch_add(&e->rows_added, ret->stored);
    atomic_fetch_add(&e->rows_too_old, ret->too_old);
    atomic_fetch_add(&e->rows_too_new, ret->too_new);
    atomic_fetch_add(&e->series_created, ret->series_created);
    atomic_fetch_add(&e->l1_misses, w.miss_count);
    atomic_fetch_add(&e->l1_hits, batch->series_count - w.miss_count);
    ksi_past_note_batch(&e->past, batch, w.oldest_ms);
    return err;
}
