/* Between match.c and match_hints.c. */
#ifndef KS_QUERY_LOGSQL_MATCH_PRIV_H
#define KS_QUERY_LOGSQL_MATCH_PRIV_H

#include "query/logsql/filter/match.h"

ptrdiff_t ksi_lq_find_text(struct ks_slice s, size_t from, struct ks_slice needle);
/* The regexp of a pattern with <N>, <UUID>, …. */
KS_NODISCARD ks_err ksi_lq_pattern_regexp(struct ks_slice pattern, enum ks_lq_pattern_mode mode,
                                          struct ks_arena *arena, struct ks_slice *ret);
/* Tokens, literal, exact values and number range of a leaf. */
KS_NODISCARD ks_err ksi_lq_hints(struct ksi_lq_leaf *l, struct ks_arena *arena);

#endif
