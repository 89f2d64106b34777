/*
 * One leaf of a filter made ready: does a text match, and what a block may know without reading it
 * (storage/logs/pred.h). Immutable once made; any thread.
 */
#ifndef KS_QUERY_LOGSQL_MATCH_H
#define KS_QUERY_LOGSQL_MATCH_H

#include "base/arena.h"
#include "query/logsql/syntax/ast.h"
#include "storage/logs/pred.h"

struct ks_re;
struct ksi_lq_set;

struct ksi_lq_leaf {
    const struct ks_lq_filter *f;
    struct ks_log_pred pred;
    struct ks_re *re;         /* REGEXP, PATTERN_MATCH */
    struct ks_slice folded;   /* text in lower case */
    struct ksi_lq_set *set;   /* of values: IN */
    struct ks_slice *escaped; /* of values, as JSON strings without quotes */
    bool starts_word, ends_word;
};

/* Makes the leaf of a filter that looks at the text of one column. ksi_lq_leaf_done frees what is
 * not in the arena. Errors: KS_EPARSE bad regexp, memory. */
KS_NODISCARD ks_err ksi_lq_leaf_init(struct ksi_lq_leaf *l, const struct ks_lq_filter *f,
                                     struct ks_arena *arena);
void ksi_lq_leaf_done(struct ksi_lq_leaf *l);
static inline bool ksi_lq_leaf_match(const struct ksi_lq_leaf *l, struct ks_slice value)
{
    return l->pred.match(l->pred.arg, value);
}

/* Position of the phrase on word boundaries in s at or after from; -1 none. */
ptrdiff_t ksi_lq_find_phrase(struct ks_slice s, size_t from, struct ks_slice phrase);

/* --- sets of texts --- */
KS_NODISCARD ks_err ksi_lq_set_new(struct ks_arena *arena, const struct ks_slice *items,
                                   size_t count, struct ksi_lq_set **ret);
bool ksi_lq_set_has(const struct ksi_lq_set *s, struct ks_slice v);

/* Labels of a stream against {…}. */
struct ksi_lq_stream_match;
KS_NODISCARD ks_err ksi_lq_stream_match_new(const struct ks_lq_stream_filter *f,
                                            struct ks_arena *arena,
                                            struct ksi_lq_stream_match **ret);
void ksi_lq_stream_match_done(struct ksi_lq_stream_match *m);
/* tags: label bytes. */
bool ksi_lq_stream_match(const struct ksi_lq_stream_match *m, struct ks_slice tags);
/* The same on the printed form {a="b",…} of a row's _stream field. */
bool ksi_lq_stream_match_text(const struct ksi_lq_stream_match *m, struct ks_slice text);

#endif
