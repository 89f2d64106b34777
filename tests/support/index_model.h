/*
 * The slow, obvious index that the real ones are compared with: a list of label sets, matched one
 * by one with RE2 alone; and generators of random label sets and matchers that make every kind of
 * corner (absence, "", classes, flags) likely.
 */
#ifndef KS_TESTS_SUPPORT_INDEX_MODEL_H
#define KS_TESTS_SUPPORT_INDEX_MODEL_H

#include <roaring/roaring.h>

#include "base/labels.h"
#include "index/matcher.h"

enum { KST_MODEL_MATCHERS = 4, KST_MODEL_SELECTORS = 3 };

struct kst_series {
    bool used;
    struct ks_tenant tenant;
    struct ks_buf labels;
};
struct kst_model {
    struct kst_series *v; /* by sid or ordinal */
    size_t count;
};
void kst_model_init(struct kst_model *m, size_t count);
void kst_model_done(struct kst_model *m);

struct ks_tenant kst_random_tenant(uint64_t *seed);
/* A random canonical label set, unlike most others. */
void kst_random_labels(uint64_t *seed, struct ks_buf *out);

/* A random question: pointers inside point into itself or to literals. */
struct kst_question {
    struct ks_matcher matchers[KST_MODEL_SELECTORS][KST_MODEL_MATCHERS];
    struct ks_selector selectors[KST_MODEL_SELECTORS];
    size_t count;
    char texts[KST_MODEL_SELECTORS][KST_MODEL_MATCHERS][64];
};
void kst_random_question(uint64_t *seed, struct kst_question *q);
/* One line for a failed assertion. */
void kst_question_print(const struct kst_question *q);

bool kst_matches(const struct ks_selector *s, struct ks_slice label_bytes);
roaring_bitmap_t *kst_model_select(const struct kst_model *m, struct ks_tenant tenant,
                                   const struct ks_selector *selectors, size_t count);
/* How many of the rows (NULL: any) of the tenant have the label (value.ptr NULL: with any value).
 */
uint64_t kst_model_count(const struct kst_model *m, struct ks_tenant tenant,
                         const roaring_bitmap_t *rows, struct ks_slice name,
                         const struct ks_slice *value);

/* What a callback of label names, or of a name's values, has heard and is held to: the model's
 * count, in ascending order, each once. kst_on_label() ends the process where it is not. */
struct kst_heard {
    const struct kst_model *m;
    struct ks_tenant tenant;
    const roaring_bitmap_t *rows;
    struct ks_slice name; /* empty: names are told */
    uint64_t sum, calls;
    char last[256];
    size_t last_len;
};
bool kst_on_label(void *heard, struct ks_slice text, uint64_t row_count);

#endif
