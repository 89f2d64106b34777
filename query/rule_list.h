/*
 * The rules of -retentionFilter and -downsampling.period from their texts: what retention/rules.h
 * compiles, with the selectors read by the query language. Used at start by the program and the
 * embedded library. One thread; fill, give to ks_engine_open, done.
 */
#ifndef KS_QUERY_RULE_LIST_H
#define KS_QUERY_RULE_LIST_H

#include "base/arena.h"
#include "retention/rules.h"

struct ks_rule_list {
    struct ks_arena arena;
    struct ks_retention_rule *keep;
    size_t keep_count, keep_cap;
    struct ks_downsample_rule *thin;
    size_t thin_count, thin_cap;
    struct ks_slice *filters; /* distinct filter texts; the index is the filter's number */
    size_t filter_count, filter_cap;
};

void ks_rule_list_init(struct ks_rule_list *l);
void ks_rule_list_done(struct ks_rule_list *l);
/*
 * Adds {filter}:duration. Errors name the text: KS_EINVAL its form, or a duration longer than
 * period_ms (the samples would be gone already); KS_EPARSE the selector.
 */
KS_NODISCARD ks_err ks_rule_list_retention(struct ks_rule_list *l, const char *text,
                                           int64_t period_ms);
/* Adds [{filter}:]offset:interval. Levels of one filter come as further texts with the same filter.
 */
KS_NODISCARD ks_err ks_rule_list_downsample(struct ks_rule_list *l, const char *text);

#endif
