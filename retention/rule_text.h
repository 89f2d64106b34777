/* The flags' texts: FILTER:DURATION (-retentionFilter) and [FILTER:]OFFSET:INTERVAL
 * (-downsampling.period). Pure functions. */
#ifndef KS_RETENTION_RULE_TEXT_H
#define KS_RETENTION_RULE_TEXT_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

/* filter: the selector's text with its braces, borrowed. KS_EINVAL says what is wrong and how it is
 * written. */
KS_NODISCARD ks_err ks_retention_text_parse(struct ks_slice text, struct ks_slice *ret_filter,
                                            int64_t *ret_keep_ms);
/* filter is empty when none was given. 0s:0s is allowed. */
KS_NODISCARD ks_err ks_downsample_text_parse(struct ks_slice text, struct ks_slice *ret_filter,
                                             int64_t *ret_after_ms, int64_t *ret_resolution_ms);
/* Bytes up to the next comma that stands outside of quotes and braces (or all). For lists of such
 * texts. */
size_t ks_rule_text_item(struct ks_slice text);

#endif
