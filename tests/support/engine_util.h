/* Test helpers over the engine: batches from label texts, reads into arrays. */
#ifndef KS_TESTS_ENGINE_UTIL_H
#define KS_TESTS_ENGINE_UTIL_H

#include "engine/engine.h"
#include "temp_dir.h"

/* Options of a store that does nothing by itself: no background, 100 days, small log segments. */
struct ks_engine_opts t_opts(const char *dir);
/* Opens or fails the test, with the reason. */
struct ks_engine *t_open(const struct ks_engine_opts *opts);

/* A writer that collects samples by label text like `m{a="b",c="d"}` (values without escapes) and
 * writes them. */
struct tw {
    struct ks_write_batch batch;
    struct ks_arena arena;
    bool memory_short; /* tw_add could not: tw_write says so */
};
void tw_init(struct tw *w);
void tw_done(struct tw *w);
void tw_add(struct tw *w, const char *series, int64_t ts, double value);
/* The same with a native histogram; its arrays live until tw_write. */
void tw_add_histogram(struct tw *w, const char *series, int64_t ts, const struct ks_histogram *h);
ks_err tw_write(struct tw *w, struct ks_engine *e, struct ks_write_result *ret);
/* Adds one sample and writes. */
ks_err tw_put(struct ks_engine *e, const char *series, int64_t ts, double value);

/* A selector of equalities and one regex from a label text: m{a="b",c=~"x.*"}. Slices point into
 * the text. */
struct ks_selector t_selector(const char *text, struct ks_matcher *room, size_t cap);

/* Selects by such a text, tenant 0. */
KS_NODISCARD ks_err t_select(struct ks_engine *e, const char *selector, int64_t min_ms,
                             int64_t max_ms, struct ks_series_set **ret);

/* A callback of label calls: appends "word " to a struct t_words. */
struct t_words {
    char text[4096];
};
bool t_add_word(void *words, struct ks_slice word, uint64_t rows);

/* All samples of the one series that matches; count in *ret_n. Fails the test unless at most one
 * series matches. */
size_t t_read(struct ks_engine *e, const char *selector, int64_t min_ms, int64_t max_ms,
              int64_t *ts, double *values, size_t cap);
/* The same for its native histograms; arrays from the arena. */
struct ks_histogram_run t_read_histograms(struct ks_engine *e, const char *selector, int64_t min_ms,
                                          int64_t max_ms, struct ks_arena *arena);
/* Series that match. */
size_t t_count(struct ks_engine *e, const char *selector, int64_t min_ms, int64_t max_ms);

#endif
