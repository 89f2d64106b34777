/* Label matchers as data: what a selector asks of a series. Compiled and evaluated by index/. */
#ifndef KS_INDEX_MATCHER_H
#define KS_INDEX_MATCHER_H

#include <stddef.h>

#include "base/labels.h"
#include "base/slice.h"

enum ks_match_op { KS_MATCH_EQ, KS_MATCH_NEQ, KS_MATCH_RE, KS_MATCH_NRE };

/* Regular expressions are anchored at both ends. An absent label has the value "". The metric name
 * is "__name__". */
struct ks_matcher {
    struct ks_slice name, value;
    enum ks_match_op op;
};

/* All matchers must hold. */
struct ks_selector {
    struct ks_matcher *matchers;
    size_t count;
};

#endif
