/*
 * Native histograms with their times put in order: the rules by which several of one series become
 * one. Reads and merges use them alike. Pure functions; a histogram is moved, never copied deeply.
 */
#ifndef KS_STORAGE_CODEC_FOLD_HISTOGRAMS_H
#define KS_STORAGE_CODEC_FOLD_HISTOGRAMS_H

#include "base/histogram.h"

/*
 * Sorts by time, stable, and folds equal times to one: a stale marker loses, then the larger count
 * wins, then the larger sum (the rule for doubles, ks_samples_fold). In place; only a scan when the
 * times ascend already. KS_ENOMEM for the scratch.
 */
KS_NODISCARD ks_err ks_histograms_fold(int64_t *times, struct ks_histogram *h, size_t *count);

/* Of those in (k·interval - interval, k·interval] keeps the last one. times ascending. Returns the
 * new count. */
size_t ks_histograms_dedup(int64_t *times, struct ks_histogram *h, size_t count,
                           int64_t interval_ms);

/* How many of the next n go into one chunk: few enough to decode cheaply, one at least. */
size_t ks_histograms_fit(const struct ks_histogram *h, size_t n);

#endif
