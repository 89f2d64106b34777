/*
 * What a filter asks of the text of one column, with hints that let a block decide without reading
 * the text: by dictionary, filter (bloom), template or number range. Hints never decide a match
 * alone: every value that matches must satisfy them.
 */
#ifndef KS_STORAGE_LOGS_PRED_H
#define KS_STORAGE_LOGS_PRED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* Does the value match? Pure: the same answer for the same text, any thread. */
typedef bool (*ks_text_fn)(void *arg, struct ks_slice value);

struct ks_log_pred {
    ks_text_fn match;
    void *arg;
    bool match_empty; /* the answer for "", which absent fields have */
    /* It matches every text but "" / nothing but "": presence tells. */
    bool not_empty, only_empty;
    /*
     * Tokens that every matching value contains whole. A token is a maximal run of ASCII letters,
     * digits and '_'; bytes above 127 separate (storage/logs/token.h), so that hints are sound for
     * every Unicode text.
     */
    const struct ks_slice *tokens;
    size_t token_count;
    struct ks_slice literal; /* every matching value contains it; "" none */
    /* All texts known to stand in every matching value, in any order; `literal` is among them. */
    const struct ks_slice *literals;
    size_t literal_count;
    /* Every matching value contains one of these; NULL: not known. */
    const struct ks_slice *any;
    size_t any_count;
    /* Where a text of `literals` or `any` begins (ends) with a token character, the character
     * before (behind) it in the value is none. */
    bool bounded_start, bounded_end;
    /*
     * What the literal says beyond that, so that a template can answer for all its rows. substring:
     * a value matches if and only if it contains the literal (which is the only one then). phrase:
     * if and only if it contains it and, where the literal begins (ends) with a token character,
     * the character before (behind) it is none. prefix: so, but for what is behind it.
     */
    bool substring, phrase, prefix;
    /* The only values that match are these (exact, in(…)); NULL: not known. */
    const struct ks_slice *exact;
    size_t exact_count;
    /* Every matching value, read as a number (base/num.h, decimal text), lies in [min, max]. */
    bool has_range;
    double range_min, range_max;
};

/* Bits of rows: 64 to a word, row i is bit i % 64 of word i / 64. Bits above the last row are 0. */
#define KS_ROW_WORDS(rows) (((rows) + 63) / 64)

#endif
