/*
 * Writing: a batch becomes frames, each a record of the log, linked into memory under the store's
 * lock, so that memory, log and arrival have one order. Durable when the log says so; visible
 * before.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/logs/logs_priv.h"
#include "sys/clock.h"

enum { DEDUP_CAP = 1 << 16, ROW_OVERHEAD = 48 };

/* --- what may be stored --- */

int64_t ksi_log_first_day(struct ks_log_store *s)
{
    int64_t min_ms = ks_now_ms() - s->keep_ms;
    return ks_day_of_ms(min_ms < 0 ? 0 : min_ms);
}

void ksi_log_window(struct ks_log_store *s, int64_t *ret_min_ns, int64_t *ret_max_ns)
{
    int64_t now_ms = ks_now_ms();
    int64_t min = ksi_log_first_day(s) * KSI_NS_DAY;
    if (s->opts.max_backfill_age_ms && (now_ms - s->opts.max_backfill_age_ms) * KSI_NS_MS > min)
        min = (now_ms - s->opts.max_backfill_age_ms) * KSI_NS_MS;
    /* The last day that may be stored ends where the next begins; far ahead is bounded by what
     * nanoseconds can say. */
    int64_t max_ms = now_ms + s->opts.future_retention_ms;
    int64_t last_day = ks_day_of_ms(max_ms);
    int64_t far = INT64_MAX / KSI_NS_DAY - 1;
    *ret_min_ns = min;
    *ret_max_ns = ((last_day < far ? last_day : far) + 1) * KSI_NS_DAY - 1;
}

static bool admit(const struct ks_log_batch *b, const struct ks_log_row *row, int64_t min_ns,
                  int64_t max_ns, struct ks_log_write_result *res)
{
    uint64_t bytes = b->streams[row->stream].tags.len;
    if (row->time_ns < min_ns)
        return res->too_old++, false;
    if (row->time_ns > max_ns)
        return res->too_new++, false;
    if (row->field_count > KS_LOG_FIELDS_MAX)
        return res->too_many_fields++, false;
    for (uint32_t i = 0; i < row->field_count; i++) {
        const struct ks_log_field *f = &b->fields[row->field_first + i];
        if (f->name.len > KS_LOG_NAME_MAX)
            return res->name_too_long++, false;
        bytes += f->name.len + f->value.len;
    }
    if (bytes > KS_LOG_ROW_MAX)
        return res->row_too_large++, false;
    return true;
}

/* --- repeated batches --- */

void ksi_dedup_done(struct ksi_dedup *d)
{
    ks_free(d->seen);
    *d = (struct ksi_dedup){0};
}

static ks_hash128 hash_batch(const struct ks_log_batch *b)
{
    ks_hash128 h = {b->row_count, b->stream_count};
    for (size_t i = 0; i < b->row_count; i++) {
        const struct ks_log_row *row = &b->rows[i];
        const struct ks_stream_id *id = &b->streams[row->stream].id;
        uint64_t head[6] = {h.lo,   h.hi,   (uint64_t)row->time_ns,
                            id->hi, id->lo, ks_tenant_key(id->tenant)};
        h = ks_hash128_of(head, sizeof head, row->field_count);
        for (uint32_t k = 0; k < row->field_count; k++) {
            const struct ks_log_field *f = &b->fields[row->field_first + k];
            ks_hash128 n = ks_hash128_of(f->name.ptr, f->name.len, h.lo);
            ks_hash128 v = ks_hash128_of(f->value.ptr, f->value.len, h.hi ^ n.lo);
            h = (ks_hash128){ks_mix64(n.hi + v.lo), ks_mix64(v.hi ^ n.lo) + h.lo};
        }
    }
    return h;
}

static struct ksi_seen *dedup_slot(struct ksi_dedup *d, ks_hash128 h)
{
    size_t at = h.lo & (d->cap - 1);
    while (d->seen[at].at_ms && !ks_hash128_eq(d->seen[at].hash, h))
        at = (at + 1) & (d->cap - 1);
    return &d->seen[at];
}

/* Keeps what was seen at or after from_ms. */
static void dedup_sweep(struct ksi_dedup *d, int64_t from_ms)
{
    struct ksi_seen *old = d->seen;
    struct ksi_seen *fresh = ks_zalloc_array(d->cap, sizeof *fresh);
    d->count = 0;
    if (!fresh) { /* forgetting costs at worst a repetition */
        memset(d->seen, 0, d->cap * sizeof *d->seen);
        return;
    }
    d->seen = fresh;
    for (size_t i = 0; i < d->cap; i++) {
        if (!old[i].at_ms || (old[i].at_ms > 0 && old[i].at_ms < from_ms))
            continue;
        *dedup_slot(d, old[i].hash) = old[i];
        d->count++;
    }
    ks_free(old);
}

/* Notes a batch; at_ms < 0: being stored. Under lock. */
static ks_err dedup_note(struct ks_log_store *s, ks_hash128 h, int64_t at_ms)
{
    struct ksi_dedup *d = &s->dedup;
    if (!d->seen) {
        if (!(d->seen = ks_zalloc_array(DEDUP_CAP, sizeof *d->seen)))
            return KS_ENOMEM;
        d->cap = DEDUP_CAP;
    }
    for (int64_t window = s->opts.dedup_window_ms; d->count * 2 >= d->cap; window /= 2) {
        dedup_sweep(d, window ? ks_now_ms() - window : INT64_MAX);
        if (!window)
            break; /* what is left is being stored right now */
    }
    struct ksi_seen *x = dedup_slot(d, h);
    d->count += !x->at_ms;
    *x = (struct ksi_seen){h, at_ms};
    return KS_OK;
}

/* Begins the batch, or says that it is there already. */
static ks_err dedup_begin(struct ks_log_store *s, ks_hash128 h, bool *ret_duplicate)
{
    ks_err err = KS_OK;
    int64_t now = ks_now_ms();
    pthread_mutex_lock(&s->lock);
    struct ksi_seen *x = s->dedup.seen ? dedup_slot(&s->dedup, h) : NULL;
    *ret_duplicate = false;
    if (x && x->at_ms < 0)
        err = ks_fail(KS_EAGAIN, "the same batch is being stored by another request: try again");
    else if (x && x->at_ms > now - s->opts.dedup_window_ms)
        *ret_duplicate = true;
    else
        err = dedup_note(s, h, -now);
    pthread_mutex_unlock(&s->lock);
    return err;
}

static void dedup_end(struct ks_log_store *s, ks_hash128 h, ks_err err)
{
    pthread_mutex_lock(&s->lock);
    struct ksi_seen *x = dedup_slot(&s->dedup, h);
    /* A slot is never emptied, chains must stay whole: what failed is as old as can be. */
    if (x->at_ms)
        x->at_ms = err == KS_OK ? ks_now_ms() : 1;
    pthread_mutex_unlock(&s->lock);
}

/* --- memory --- */

static ks_err open_segment(struct ks_log_store *s, struct ksi_segment **ret)
{
    struct ksi_segment *last = s->seg_count ? s->segs[s->seg_count - 1] : NULL;
    if (last && last->row_count < KSI_SEGMENT_ROWS && last->text_bytes < KSI_SEGMENT_BYTES) {
        *ret = last;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&s->segs, &s->seg_cap, s->seg_count + 1,
                            sizeof(struct ksi_segment *)));
    KS_TRY(ksi_segment_new(s->arrival, ret));
    s->segs[s->seg_count++] = *ret;
    return KS_OK;
}

/* Counts streams that are new, by a table of bounded size: now and then one is counted again. */
static uint64_t count_streams(struct ks_log_store *s, const struct ksi_frame *f)
{
    uint64_t fresh = 0;
    for (uint32_t i = 0; i < f->stream_count; i++) {
        uint64_t h = f->streams[i].id.lo ^ ks_tenant_key(f->streams[i].tenant);
        uint32_t tag = (uint32_t)(h >> 32) | 1;
        _Atomic uint32_t *slot = &s->known[h % (sizeof s->known / sizeof *s->known)];
        if (atomic_load_explicit(slot, memory_order_relaxed) != tag) {
            atomic_store_explicit(slot, tag, memory_order_relaxed);
            fresh++;
        }
    }
    return fresh;
}

/* Under lock. */
static void link_frame(struct ks_log_store *s, struct ksi_segment *seg, struct ksi_frame *f)
{
    uint64_t bytes = ksi_segment_bytes(seg);
    ksi_segment_link(seg, f);
    s->arrival += f->row_count;
    atomic_fetch_add(&s->memory_rows, f->row_count);
    atomic_fetch_add(&s->memory_bytes, bytes - seg->accounted);
    seg->accounted = bytes;
}

ks_err ksi_log_replay(struct ks_log_store *s, const struct ks_wal_record *rec)
{
    struct ksi_segment *seg;
    struct ksi_frame *f;
    if (rec->lsn < atomic_load(&s->cut))
        return KS_OK;
    KS_TRY(open_segment(s, &seg));
    KS_TRY(ksi_segment_read(seg, rec->payload, &f));
    link_frame(s, seg, f);
    (void)count_streams(s, f);
    if (f->has_batch_hash && s->opts.dedup_window_ms)
        KS_TRY(dedup_note(s, f->batch_hash, ks_now_ms()));
    return KS_OK;
}

/* --- the whole --- */

static ks_err take_encoder(struct ks_logs *l, struct ksi_frame_enc **ret)
{
    pthread_mutex_lock(&l->lock);
    struct ksi_frame_enc *e = l->encoder_count ? l->encoders[--l->encoder_count] : NULL;
    pthread_mutex_unlock(&l->lock);
    if (!e) {
        if (!(e = ks_alloc(sizeof *e)))
            return KS_ENOMEM;
        ksi_frame_enc_init(e);
    }
    *ret = e;
    return KS_OK;
}

static void give_encoder(struct ks_logs *l, struct ksi_frame_enc *e)
{
    enum { KEEP_BYTES = 2 << 20 };
    bool keep = e->rows.cap + e->head.cap + e->names.cap < KEEP_BYTES;
    pthread_mutex_lock(&l->lock);
    if (keep && l->encoder_count < sizeof l->encoders / sizeof *l->encoders) {
        l->encoders[l->encoder_count++] = e;
        e = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    if (e) {
        ksi_frame_enc_done(e);
        ks_free(e);
    }
}

struct write {
    struct ks_log_store *s;
    const struct ks_log_batch *b;
    struct ksi_frame_enc *enc;
    const ks_hash128 *hash;
    struct ks_log_write_result res;
    ks_lsn last;
};

/* The encoder's frame into log and memory. */
static ks_err append(struct write *w)
{
    struct ks_log_store *s = w->s;
    struct ksi_segment *seg;
    struct ksi_frame *f = NULL;
    struct ks_slice record;
    pthread_mutex_lock(&s->lock);
    ks_err err = open_segment(s, &seg);
    if (err == KS_OK)
        err = ksi_frame_make(w->enc, w->b, &seg->arena, &record, &f);
    if (err == KS_OK)
        err = ks_wal_append(s->logs->wal, KS_REC_LOG_ROWS, 0, record, &w->last);
    if (err == KS_OK) {
        link_frame(s, seg, f);
        w->res.stored += f->row_count;
        w->res.streams_created += count_streams(s, f);
        pthread_cond_broadcast(&s->arrived);
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static ks_err put_frame(struct write *w, const ks_hash128 *hash)
{
    KS_TRY(ksi_frame_finish(w->enc, w->b, ks_slice_str(w->s->name), hash));
    return append(w);
}

static ks_err put_rows(struct write *w)
{
    int64_t min_ns, max_ns;
    const struct ks_log_batch *b = w->b;
    ksi_log_window(w->s, &min_ns, &max_ns);
    KS_TRY(ksi_frame_begin(w->enc, b));
    for (size_t i = 0; i < b->row_count; i++) {
        const struct ks_log_row *row = &b->rows[i];
        if (!admit(b, row, min_ns, max_ns, &w->res))
            continue;
        /* The frame is closed before the row that would make it large: a row may itself be as
         * large as a record can be. */
        uint64_t bytes = ROW_OVERHEAD;
        for (uint32_t k = 0; k < row->field_count; k++)
            bytes += b->fields[row->field_first + k].value.len + 4;
        if (w->enc->row_count && ksi_frame_bytes(w->enc) + bytes > KSI_FRAME_TARGET) {
            KS_TRY(put_frame(w, NULL));
            KS_TRY(ksi_frame_begin(w->enc, b));
        }
        KS_TRY(ksi_frame_add(w->enc, b, row));
    }
    return w->enc->row_count ? put_frame(w, w->hash) : KS_OK;
}

static void count_results(struct ks_log_store *s, const struct ks_log_write_result *r)
{
    atomic_fetch_add(&s->rows_stored, r->stored);
    atomic_fetch_add(&s->rows_too_old, r->too_old);
    atomic_fetch_add(&s->rows_too_new, r->too_new);
    atomic_fetch_add(&s->streams_created, r->streams_created);
}

ks_err ks_log_store_write(struct ks_log_store *s, const struct ks_log_batch *b,
                          struct ks_log_write_result *ret)
{
    struct ks_logs *l = s->logs;
    struct write w = {.s = s, .b = b};
    ks_hash128 hash;
    if (ks_engine_read_only(l->e))
        return ks_fail(KS_EREADONLY, "the disk is nearly full: log rows are not taken");
    KS_TRY(ksi_logs_wait_room(l));
    if (s->opts.dedup_window_ms && b->row_count) {
        hash = hash_batch(b);
        KS_TRY(dedup_begin(s, hash, &w.res.duplicate));
        if (w.res.duplicate) {
            *ret = w.res;
            return KS_OK;
        }
        w.hash = &hash;
    }
    ks_err err = take_encoder(l, &w.enc);
    if (err == KS_OK) {
        err = put_rows(&w);
        give_encoder(l, w.enc);
    }
    if (w.last && err == KS_OK)
        err = ks_wal_wait(l->wal, w.last);
    if (w.hash)
        dedup_end(s, hash, err);
    count_results(s, &w.res);
    ksi_logs_pressure(l);
    if (err == KS_OK)
        *ret = w.res;
    return err;
}

/* --- live tail --- */

uint64_t ks_log_store_arrival(struct ks_log_store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t at = s->arrival;
    pthread_mutex_unlock(&s->lock);
    return at;
}

void ks_log_store_wait(struct ks_log_store *s, uint64_t after, int64_t timeout_ms)
{
    int64_t until = ks_mono_ms() + timeout_ms;
    struct timespec t = {until / 1000, until % 1000 * 1000000};
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (s->arrival <= after && rc != ETIMEDOUT && !ks_engine_stopping(s->logs->e))
        rc = pthread_cond_timedwait(&s->arrived, &s->lock, &t);
    pthread_mutex_unlock(&s->lock);
}
