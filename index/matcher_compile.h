/*
 * Matchers made ready to be evaluated. A regular expression is analysed once (literals, prefix,
 * globs; see regex_analyse.h) and RE2 is kept only for what plain comparisons cannot decide.
 * Compiled expressions are immutable, refcounted and kept in one bounded process-wide cache, so the
 * same alert pays once. Any thread.
 *
 * Semantics: anchored at both ends, '.' matches a newline, an absent label has the value "", bytes
 * that are no UTF-8 count as U+FFFD each (as in Go).
 */
#ifndef KS_INDEX_MATCHER_COMPILE_H
#define KS_INDEX_MATCHER_COMPILE_H

#include "base/arena.h"
#include "index/matcher.h"
#include "index/regex_analyse.h"

enum ks_regex_shape {
    KS_REGEX_ANY,      /* .* */
    KS_REGEX_NONEMPTY, /* .+ */
    KS_REGEX_SET,      /* just the literals */
    KS_REGEX_SCAN,     /* texts must be looked at */
};

struct ks_re;
struct ks_regex {
    struct ks_slice pattern;
    enum ks_regex_shape shape;
    bool matches_empty;
    struct ks_slice *literals; /* sorted, unique, "" left out; these match */
    size_t literal_count;
    struct ks_slice prefix; /* SCAN: every matching text that is no literal begins so */
    struct ksi_glob *globs; /* SCAN: a text must match one … */
    size_t glob_count;      /* … unless 0: no filter */
    struct ks_re *re;       /* SCAN: … and this, unless NULL */
    uint64_t id;            /* unique in the process: a key for caches of results */
    struct ks_arena arena;
    _Atomic int refs;
};

/* KS_EPARSE with RE2's reason on a bad pattern. Release with ks_regex_unref. */
KS_NODISCARD ks_err ks_regex_get(struct ks_slice pattern, struct ks_regex **ret);
struct ks_regex *ks_regex_ref(struct ks_regex *re);
void ks_regex_unref(struct ks_regex *re);
bool ks_regex_match(const struct ks_regex *re, struct ks_slice text);
/* Empties the process-wide cache (tests that count memory). */
void ks_regex_cache_clear(void);

/* What a matcher asks, put in terms of sets: HAS = series with the label, IN = series whose
 * (non-empty) value is one of those. */
enum ks_ask {
    KS_ASK_ALL,
    KS_ASK_NONE,
    KS_ASK_HAS,
    KS_ASK_HAS_NOT,
    KS_ASK_IN,
    KS_ASK_NOT_IN,
    KS_ASK_HAS_AND_NOT_IN,
    KS_ASK_HAS_NOT_OR_IN,
};

struct ks_cmatcher {
    struct ks_slice name; /* borrowed */
    enum ks_ask ask;
    struct ks_slice value; /* the one value when re is NULL; borrowed */
    struct ks_regex *re;
};

struct ks_cselector {
    struct ks_cmatcher *items;
    size_t count;
};

/* Names and values stay borrowed from `s`. */
KS_NODISCARD ks_err ks_cselector_compile(const struct ks_selector *s, struct ks_cselector *ret);
void ks_cselector_done(struct ks_cselector *s);
/* The straightforward answer for one label set. */
bool ks_cmatcher_match(const struct ks_cmatcher *m, struct ks_slice value);
bool ks_cselector_match(const struct ks_cselector *s, struct ks_slice label_bytes);
/* Whether a non-empty value is in the set IN. */
bool ks_cmatcher_in(const struct ks_cmatcher *m, struct ks_slice value);

#endif
