/*
 * What every ingestion protocol shares: request set-up, the series keys, label rules and limits,
 * and writing to the engine.
 *
 * A decoder begins with ks_ingest_begin(), reads its body with ks_ingest_body(), adds series and
 * samples, and ends with ks_ingest_end(). Whatever the protocol, a series' `raw` is in one form,
 * "raw labels": Prometheus remote write's label fields as on the wire, 0x0a len { 0x0a len name
 * 0x12 len value } for each label. So one resolver serves all, a series known from one protocol is
 * known to all, and remote write needs no copy.
 *
 * Rules for labels, in this order: extra_label overrides, empty values vanish, then the limits: a
 * series over one is dropped whole and counted in vm_rows_ignored_total{reason}.
 */
#ifndef KS_API_INGEST_INGEST_H
#define KS_API_INGEST_INGEST_H

#include "api/http.h"
#include "engine/engine.h"

struct ks_app;
struct ks_exemplar;

struct ks_ingest {
    struct ks_app *app;
    struct ks_tenant tenant;
    bool multitenant; /* tenant by labels vm_account_id, vm_project_id */
    const struct ks_label *extra;
    size_t extra_count;
    struct ks_slice extra_bytes; /* goes into the raw keys */
    struct ks_write_batch *batch;
    struct ks_arena *arena;    /* reset by every flush: holds raw labels of the batch only */
    struct ks_stat *rows_stat; /* vm_rows_inserted_total{type=…} */
    uint64_t samples, histograms, exemplars; /* accepted so far */
    uint64_t not_stored; /* of samples: outside of the retention, or their series was refused */
    int64_t now_ms;
    uint64_t label_bytes, label_bytes_max; /* see ks_ingest_spend */
    /* resolve's output */
    struct ks_label *labels;
    size_t label_cap;
};

/* Reads extra_label arguments and sets the batch up. rows_stat is the protocol's row counter. */
KS_NODISCARD ks_err ks_ingest_begin(struct ks_http_request *req, struct ks_stat *rows_stat,
                                    struct ks_ingest *ret);
/* The same without a request (self-scrape, tests). */
void ks_ingest_begin_local(struct ks_app *app, struct ks_scratch *scratch,
                           struct ks_stat *rows_stat, struct ks_ingest *ret);
/* The body decoded by its Content-Encoding, at most limit bytes (0 = -maxInsertRequestSize).
 * Borrowed from req and scratch. */
KS_NODISCARD ks_err ks_ingest_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret);

/* Starts a series; its samples follow by ks_ingest_sample. raw (raw labels) must live until the
 * next flush: in the body or arena. */
KS_NODISCARD ks_err ks_ingest_series(struct ks_ingest *in, struct ks_slice raw);
KS_NODISCARD static inline ks_err ks_ingest_sample(struct ks_ingest *in, int64_t time_ms,
                                                   double value)
{
    struct ks_write_batch *b = in->batch;
    if (KS_UNLIKELY(b->sample_count == b->sample_cap))
        KS_TRY(ks_write_batch_reserve(b, 0, b->sample_cap + 1024));
    b->samples[b->sample_count++] = (struct ks_write_sample){time_ms, value};
    b->series[b->series_count - 1].sample_count++;
    return KS_OK;
}
/* A native histogram of the series begun last; validates it. Its arrays live until the next flush.
 * KS_EINVAL with Prometheus' words. */
KS_NODISCARD ks_err ks_ingest_histogram(struct ks_ingest *in, int64_t time_ms,
                                        const struct ks_histogram *h);
/* Keeps an exemplar (copied; x->tenant is set here), and pins the trace it refers to. */
KS_NODISCARD ks_err ks_ingest_exemplar(struct ks_ingest *in, struct ks_exemplar *x);
/*
 * Where labels of one place are copied to many series (fields of a line, points of a resource), a
 * small body could ask for endless work: what is copied may come to 64 MiB and 256 times the body.
 * Begin sets the budget, spend takes from it; KS_ELIMIT beyond.
 */
void ks_ingest_budget(struct ks_ingest *in, size_t body_bytes);
KS_NODISCARD ks_err ks_ingest_spend(struct ks_ingest *in, size_t label_bytes);
/* Writes the batch when it has become big: between series, so that memory stays bounded whatever
 * the body says. */
KS_NODISCARD ks_err ks_ingest_flush_if_big(struct ks_ingest *in);
KS_NODISCARD ks_err ks_ingest_flush(struct ks_ingest *in);
/* Flushes what is left. */
KS_NODISCARD ks_err ks_ingest_end(struct ks_ingest *in);

/* --- raw labels --- */
size_t ks_raw_label_size(size_t name_len, size_t value_len);
/* Writes one label field at p (room for ks_raw_label_size); returns its end. */
char *ks_raw_label_put(char *p, struct ks_slice name, struct ks_slice value);
/* Appends all labels into the arena as one raw text. */
KS_NODISCARD ks_err ks_raw_labels_make(struct ks_arena *arena, const struct ks_label *labels,
                                       size_t count, struct ks_slice *ret);
/* Next label of a raw text; false at its end or when malformed (then *ret_bad). */
bool ks_raw_label_next(struct ks_reader *r, struct ks_label *ret, bool *ret_bad);

#endif
