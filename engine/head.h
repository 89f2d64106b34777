/*
 * The head: what the engine holds in memory of every active series. A shard owns the series whose
 * identity hashes to it, under one mutex; series ids are dealt to the shards in runs of 64
 * (KSI_SID_RUN), so that neighbouring ids belong to one shard.
 *
 * A series has an open Gorilla chunk, a list of sealed chunks waiting for the next flush, and, when
 * samples came late, a side buffer. Chunks are cut at fixed boundaries: windows of the series' own
 * length (by its sample interval), shifted by a phase common to all series of one scrape target
 * (equal (tenant, job, instance)), so that twins keep equal time columns, targets do not all seal
 * at once, and replicas cut identical chunks. No chunk crosses a UTC day.
 *
 * Sealed chunks and time columns are immutable and refcounted: readers keep them while the head
 * moves on.
 */
#ifndef KS_ENGINE_HEAD_H
#define KS_ENGINE_HEAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/labels.h"
#include "storage/codec/gorilla.h"
#include "storage/metric_data.h"

/* Ids are dealt in runs: the live index keeps the labels of neighbouring ids together. */
enum { KSI_SID_RUN = 64 };
static inline uint32_t ksi_sid_of(uint32_t shards, uint32_t shard, uint32_t local)
{
    return (local / KSI_SID_RUN * shards + shard) * KSI_SID_RUN + local % KSI_SID_RUN;
}
static inline uint32_t ksi_sid_shard(uint32_t sid, uint32_t shards)
{
    return sid / KSI_SID_RUN % shards;
}
static inline uint32_t ksi_sid_local(uint32_t sid, uint32_t shards)
{
    return sid / KSI_SID_RUN / shards * KSI_SID_RUN + sid % KSI_SID_RUN;
}

#define KSI_CHUNK_SAMPLES 512 /* a chunk is cut here at the latest */

struct ksi_tcol {
    _Atomic uint32_t refs;
    uint32_t bytes;
    uint64_t hash;
    uint8_t encoding;
    uint8_t data[];
};

struct ksi_sealed {
    struct ksi_sealed *next; /* older; owned by the series, changed under the shard's lock */
    _Atomic uint32_t refs;
    uint32_t era; /* flush era it was sealed in */
    struct ks_chunk_meta meta;
    struct ksi_tcol *times;
    uint32_t values_bytes;
    uint8_t values[];
};
void ksi_sealed_unref(struct ksi_sealed *c);

/* Storage of an open chunk; sizes grow by classes. Behind the data of larger ones lie marks
 * (engine/head_marks.h). */
struct ksi_slab {
    uint16_t cap;   /* of data */
    uint8_t window; /* index of the chunk window */
    uint8_t phase;  /* shift of its boundaries, in 1/256 */
    uint8_t data[];
};

struct ksi_sample {
    int64_t ts;
    uint64_t bits;
};
struct ksi_side {
    uint32_t count, cap;
    struct ksi_sample items[]; /* in order of arrival */
};

/* One cache line. slab NULL: the sid is not in use. */
struct ksi_series {
    struct ks_gorilla g; /* g.seen: the shard's `now` when something came last */
    struct ksi_slab *slab;
    struct ksi_sealed *sealed; /* newest first */
    struct ksi_side *side;
};

enum { KSI_BLOCK_SERIES = 1024 };

struct ksi_hist;
struct ksi_shard {
    _Alignas(64) pthread_mutex_t lock;
    uint32_t index, count_all; /* of shards */
    struct ksi_series **blocks;
    size_t block_count, block_cap;
    uint32_t local_end; /* locals below were given at some time */
    uint32_t *free_locals;
    size_t free_count, free_cap;
    uint32_t in_use;
    uint32_t now; /* milliseconds of the wall clock as of the write at hand, modulo 2^32 */
    /* fp → local: {tag, local + 1}, open addressing */
    struct ksi_fp_slot {
        uint32_t tag, local1;
    } * fp_slots;
    size_t fp_mask, fp_used;
    struct ksi_tcol **recent_times; /* direct-mapped by content hash */
    uint32_t *sealed_locals; /* series that got a sealed chunk since the last flush; may repeat */
    size_t sealed_count, sealed_cap;
    uint32_t era;
    uint32_t *dropped; /* locals let go since the last commit: not to be given again before it */
    size_t dropped_count, dropped_cap;
    size_t bytes;                   /* of slabs, sealed chunks, side buffers */
    uint64_t samples, sealed_bytes; /* samples held; bytes of sealed chunks */
    struct ks_buf scratch;          /* encoding */
    struct ksi_hist **hists; /* by local: what it holds of native histograms (engine/head_hist.h) */
    size_t hist_cap;
    uint32_t *idents; /* by local: numbers + 1 of identities selects met, of generation ident_no
                         (engine/ident.h); 0: none */
    size_t ident_cap;
    uint64_t ident_no;
};

KS_NODISCARD ks_err ksi_shard_init(struct ksi_shard *s, uint32_t index, uint32_t count_all);
void ksi_shard_done(struct ksi_shard *s);

/* All below: under the shard's lock. */

/* Whether nothing came for idle_ms until s->now: judged by when samples came, not by their times,
 * as an import of last month's or a sender that lags by hours is active too. */
static inline bool ksi_idle(const struct ksi_shard *s, uint32_t seen, int64_t idle_ms)
{
    int32_t since = (int32_t)(s->now - seen);
    return since > 0 && since >= (idle_ms < INT32_MAX ? idle_ms : INT32_MAX);
}
static inline struct ksi_series *ksi_series_at(struct ksi_shard *s, uint32_t local)
{
    return &s->blocks[local / KSI_BLOCK_SERIES][local % KSI_BLOCK_SERIES];
}
static inline uint32_t ksi_sid(const struct ksi_shard *s, uint32_t local)
{
    return ksi_sid_of(s->count_all, s->index, local);
}

/* A free local id with an empty series; phase_key: hash of (tenant, job, instance). */
KS_NODISCARD ks_err ksi_series_new(struct ksi_shard *s, uint64_t phase_key, uint32_t *ret_local);
/* The same at a given local id not in use (recovery). */
KS_NODISCARD ks_err ksi_series_new_at(struct ksi_shard *s, uint32_t local, uint64_t phase_key);
/* Frees the series' memory; the local id may be given again once ksi_series_recycle is called. */
void ksi_series_drop(struct ksi_shard *s, uint32_t local);
void ksi_series_recycle(struct ksi_shard *s, uint32_t local);
uint64_t ksi_phase_key(struct ks_tenant tenant, struct ks_slice label_bytes);

/* fp table. `same` is asked to verify candidates. */
typedef bool (*ksi_same_fn)(void *arg, uint32_t local);
uint32_t ksi_fp_find(struct ksi_shard *s, ks_hash128 fp, ksi_same_fn same,
                     void *arg);                                /* local or UINT32_MAX */
void ksi_fp_prefetch(const struct ksi_shard *s, ks_hash128 fp); /* that will be added soon */
KS_NODISCARD ks_err ksi_fp_add(struct ksi_shard *s, ks_hash128 fp, uint32_t local);
void ksi_fp_remove(struct ksi_shard *s, ks_hash128 fp, uint32_t local);
static inline uint32_t ksi_fp_shard(ks_hash128 fp, uint32_t shard_count)
{
    return (uint32_t)(fp.hi >> 32) % shard_count;
}

enum ksi_append { KSI_APPENDED, KSI_DUPLICATE, KSI_LATE };
/* Stores a sample. KS_ENOMEM leaves the series usable. */
KS_NODISCARD ks_err ksi_append(struct ksi_shard *s, uint32_t local, int64_t ts, uint64_t bits,
                               enum ksi_append *ret);
/* Turns the open chunk and the side buffer into sealed chunks. */
KS_NODISCARD ks_err ksi_seal(struct ksi_shard *s, uint32_t local);
KS_NODISCARD ks_err ksi_seal_side(struct ksi_shard *s, uint32_t local);

/* Removes sealed chunks of eras before `era` from every series. */
void ksi_drop_flushed(struct ksi_shard *s, uint32_t era);

/* --- checkpoint bytes --- */
/* Appends the state of one series: open chunk, side buffer (not the sealed chunks). */
void ksi_series_save(struct ksi_shard *s, uint32_t local, struct ks_buf *out);
KS_NODISCARD ks_err ksi_series_load(struct ksi_shard *s, uint32_t local, struct ks_reader *r);

#endif
