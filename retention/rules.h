/*
 * Rules by selector, compiled: how long a series is kept (-retentionFilter) and how it thins out
 * with age
 * (-downsampling.period). Made once at start, immutable, used by reads and merges alike so that
 * both give the same answer. Any thread. Parsing the flags' texts is in rule_text.h; selectors come
 * from the query language above.
 *
 * Semantics are VictoriaMetrics':
 *   retention     of several filters that match a series the smallest retention applies.
 *   downsampling  the first filter that matches a series decides, with all the levels given for it;
 * of its levels the one with the largest offset that the sample's age has reached. Of the samples
 * in (k·i - i, k·i] the last one stays. A filter with 0s:0s exempts its series. vm_account_id and
 * vm_project_id in a selector mean the tenant.
 */
#ifndef KS_RETENTION_RULES_H
#define KS_RETENTION_RULES_H

#include "index/matcher.h"

#include "base/err.h"

struct ks_retention_rule {
    struct ks_selector selector;
    int64_t keep_ms;
};

struct ks_downsample_rule {
    struct ks_selector selector; /* count 0: every series */
    unsigned filter; /* rules of one filter carry one number (its `or` lists, its levels); the
                        lowest comes first */
    int64_t after_ms, resolution_ms;
};

struct ks_downsample_level {
    int64_t after_ms, resolution_ms;
};

struct ks_rules;

/*
 * Copies and compiles. *ret is NULL when there are no rules at all.
 *
 * dedup_ms  the dedup interval in effect; resolutions must be multiples of it (as the peer
 * demands). Errors    KS_EINVAL a resolution is no multiple of the finer one, KS_EPARSE a regular
 * expression, KS_ENOMEM.
 */
KS_NODISCARD ks_err ks_rules_new(const struct ks_retention_rule *keep, size_t keep_count,
                                 const struct ks_downsample_rule *thin, size_t thin_count,
                                 int64_t dedup_ms, struct ks_rules **ret);
void ks_rules_free(struct ks_rules *r);

/* What the rules say of one series. levels: ascending in after_ms, borrowed from the rules. */
struct ks_verdict {
    int64_t keep_ms; /* INT64_MAX: no rule */
    const struct ks_downsample_level *levels;
    size_t level_count;
};
/* Costs one match per rule. r may be NULL. */
void ks_rules_judge(const struct ks_rules *r, struct ks_tenant tenant, struct ks_slice label_bytes,
                    struct ks_verdict *ret);

/* Oldest time still shown; INT64_MIN without a rule. */
int64_t ks_verdict_keep_from(const struct ks_verdict *v, int64_t now_ms);
/* Thins samples (times ascending) by their age; in place, returns the new count. */
size_t ks_verdict_thin(const struct ks_verdict *v, int64_t now_ms, int64_t *times, double *values,
                       size_t count);
/* Whether samples up to max_ms from min_ms on are old enough for some level. */
bool ks_verdict_thins(const struct ks_verdict *v, int64_t now_ms, int64_t min_ms);
/* Resolution that all samples of a UTC day have reached; 0: the day (or some of it) is still kept
 * as it came. */
int64_t ks_verdict_day_resolution(const struct ks_verdict *v, int64_t day, int64_t now_ms);

/* Names what downsampling a day is due for: 0 none, else a hash over filters and their resolutions.
 */
uint32_t ks_rules_day_due(const struct ks_rules *r, int64_t day, int64_t now_ms);
int64_t ks_rules_widest_ms(const struct ks_rules *r);        /* coarsest resolution; 0: none */
int64_t ks_rules_smallest_keep_ms(const struct ks_rules *r); /* INT64_MAX: no retention rule */
/* Samples younger than this are as they came, whatever the series; INT64_MAX: no rule. */
int64_t ks_rules_youngest_ms(const struct ks_rules *r);
/* The retention rules as given, for selecting their rows in an index. */
const struct ks_retention_rule *ks_rules_retention(const struct ks_rules *r, size_t *ret_count);
/* Whether a rule's selector asks for the tenant too: then rows must be judged one by one. */
bool ks_rules_by_tenant(const struct ks_rules *r);

#endif
