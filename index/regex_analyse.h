/*
 * What an anchored regular expression asks of a text, as far as plain comparisons can tell: a union
 * of globs, each a row of literals with gaps between them. Every text the expression matches
 * matches one of the globs; when `exact` is set the converse holds too and no regular expression
 * engine is needed. `a|b|c`, `foo.*`, `app-(x|y)-.+` are exact; `[0-9]+`, `(?i)…` and the like
 * leave a gap where they stand and clear `exact`.
 *
 * Pure functions of the pattern; any thread. Validity of the pattern is not judged here (RE2 does
 * that): an ill-formed pattern gives some plan.
 */
#ifndef KS_INDEX_REGEX_ANALYSE_H
#define KS_INDEX_REGEX_ANALYSE_H

#include "base/arena.h"
#include "base/slice.h"

/* lits[0] gap lits[1] gap … lits[lit_count-1]; only the first and the last literal may be empty. */
struct ksi_glob {
    struct ks_slice *lits;
    uint8_t *gap_min; /* fewest bytes in the gap behind lits[i]: 0 or 1; lit_count - 1 of them */
    size_t lit_count; /* ≥ 1; 1: the text itself */
};

struct ksi_regex_plan {
    struct ksi_glob *globs;
    size_t count;
    bool exact;
    bool plain; /* nothing but literals and '|': well-formed without asking RE2 */
};

/* Everything lies in the arena. Errors: KS_ENOMEM, KS_ELIMIT (the arena's cap). */
KS_NODISCARD ks_err ksi_regex_analyse(struct ks_slice pattern, struct ks_arena *arena,
                                      struct ksi_regex_plan *ret);
bool ksi_glob_match(const struct ksi_glob *g, struct ks_slice text);
/* The length of the valid UTF-8 sequence at the front of s; 0 when there is none. */
size_t ksi_utf8_len(struct ks_slice s);

#endif
