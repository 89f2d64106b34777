/* When two spans are one, sent twice or found in two places. Pure; any thread. */
#ifndef KS_STORAGE_TRACES_SPAN_EQUAL_H
#define KS_STORAGE_TRACES_SPAN_EQUAL_H

#include "base/arena.h"
#include "storage/traces/span.h"

/* Everything a client sent is the same, whatever memory it lies in. */
bool ks_spans_equal(const struct ks_span *a, const struct ks_span *b);
/* Clients send again when an answer was lost: of equal spans the first stays. */
KS_NODISCARD ks_err ks_spans_drop_repeats(struct ks_span *spans, size_t *count,
                                          struct ks_arena *arena);

#endif
