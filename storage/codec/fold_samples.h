/*
 * Samples as parallel arrays put in order: the rules by which several samples become one. Pure
 * functions, used by reads and merges alike so that both give the same answer.
 */
#ifndef KS_STORAGE_CODEC_FOLD_SAMPLES_H
#define KS_STORAGE_CODEC_FOLD_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Sorts by time and folds equal times to one sample: the larger value wins, a NaN loses to a
 * number, a stale marker to anything (VictoriaMetrics' rule). In place; does nothing but a scan
 * when the times ascend already. KS_ENOMEM for the scratch.
 */
KS_NODISCARD ks_err ks_samples_fold(int64_t *times, double *values, size_t *count);

/*
 * The same where the first `sorted` samples ascend strictly and those behind, in order of arrival,
 * are few: they are put in one by one. Many are folded.
 */
KS_NODISCARD ks_err ks_samples_insert(int64_t *times, double *values, size_t sorted, size_t *count);

/* Of the samples in (k·interval - interval, k·interval] keeps the last one. times ascending.
 * Returns the new count. */
size_t ks_samples_dedup(int64_t *times, double *values, size_t count, int64_t interval_ms);

/* First index with a time ≥ t; times ascending. */
size_t ks_samples_lower_bound(const int64_t *times, size_t count, int64_t t);

#endif
