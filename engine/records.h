/*
 * Records of the write-ahead log. Format: docs/format/wal-records.md. Each record is complete in
 * itself: no value depends on an earlier record, so a lost or reordered record can never change
 * another one's samples.
 */
#ifndef KS_ENGINE_RECORDS_H
#define KS_ENGINE_RECORDS_H

#include "base/buf.h"
#include "base/labels.h"
#include "storage/codec/histogram.h"
#include "wal/wal.h"

enum ks_record_type {
    KS_REC_SERIES = 1,        /* sid, tenant, label bytes of series made since the checkpoint */
    KS_REC_SAMPLES = 2,       /* sid, time, value */
    KS_REC_HISTOGRAMS = 3,    /* sid, time, native histogram */
    KSI_REC_METRICS_LAST = 15 /* above: other signals (engine/signal.h) */
};

/* --- SERIES --- */
void ksi_rec_series_add(struct ks_buf *b, uint32_t sid, struct ks_tenant tenant,
                        struct ks_slice label_bytes);
typedef ks_err (*ksi_series_fn)(void *arg, uint32_t sid, struct ks_tenant tenant,
                                struct ks_slice label_bytes);
KS_NODISCARD ks_err ksi_rec_series_read(struct ks_slice payload, ksi_series_fn fn, void *arg);

/* --- SAMPLES --- */
struct ksi_samples_enc {
    struct ks_buf *b;
    uint32_t prev_sid, stride; /* stride: sid distance of neighbours in a shard */
    int64_t prev_ts;
    uint32_t count;
};
#define KSI_SAMPLE_MAX 29 /* bytes one sample can take at most */
void ksi_rec_samples_begin(struct ksi_samples_enc *e, struct ks_buf *b, uint32_t stride);
/* The caller has reserved KSI_SAMPLE_MAX bytes in the buffer. */
void ksi_rec_samples_add(struct ksi_samples_enc *e, uint32_t sid, int64_t ts, uint64_t bits);

typedef ks_err (*ksi_sample_fn)(void *arg, uint32_t sid, int64_t ts, uint64_t bits);
KS_NODISCARD ks_err ksi_rec_samples_read(struct ks_slice payload, ksi_sample_fn fn, void *arg);

/* --- HISTOGRAMS --- */
struct ksi_histograms_enc {
    struct ks_buf *b;
    uint32_t prev_sid;
    int64_t prev_ts;
    uint32_t count;
};
void ksi_rec_histograms_begin(struct ksi_histograms_enc *e, struct ks_buf *b);
/* KS_EINVAL, KS_ELIMIT for an unsound layout; nothing of it is in the buffer then. */
KS_NODISCARD ks_err ksi_rec_histograms_add(struct ksi_histograms_enc *e, uint32_t sid, int64_t ts,
                                           const struct ks_histogram *h);
typedef ks_err (*ksi_histogram_fn)(void *arg, uint32_t sid, int64_t ts,
                                   const struct ks_histogram *h);
/* arena: reset for each histogram. */
KS_NODISCARD ks_err ksi_rec_histograms_read(struct ks_slice payload, struct ks_arena *arena,
                                            ksi_histogram_fn fn, void *arg);

#endif
