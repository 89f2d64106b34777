/*
 * How often metric names were asked for, and when last: for finding metrics nobody uses. Per
 * tenant, in memory, within a budget; beyond it new names are not counted. Any thread.
 */
#ifndef KS_API_NAME_STATS_H
#define KS_API_NAME_STATS_H

#include "base/labels.h"

struct ks_name_stats;
struct ks_name_use {
    uint64_t requests, last_s;
};
struct ks_name_stats_total {
    int64_t since_s;
    uint64_t names, bytes, max_bytes;
};

KS_NODISCARD ks_err ks_name_stats_new(size_t max_bytes, struct ks_name_stats **ret);
void ks_name_stats_free(struct ks_name_stats *s);
void ks_name_stats_reset(struct ks_name_stats *s);
/* A query asked for the name at that time. */
void ks_name_stats_add(struct ks_name_stats *s, struct ks_tenant tenant, struct ks_slice name,
                       int64_t now_ms);
/* Zeros for a name never asked for. */
struct ks_name_use ks_name_stats_get(struct ks_name_stats *s, struct ks_tenant tenant,
                                     struct ks_slice name);
void ks_name_stats_totals(struct ks_name_stats *s, struct ks_name_stats_total *ret);

#endif
