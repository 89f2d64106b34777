/*
 * Values made ready for comparing many times (sort keys, extremes), unix times, and constants of
 * time. Companion of value.h; pure functions.
 */
#ifndef KS_QUERY_LOGSQL_VALUE_KEY_H
#define KS_QUERY_LOGSQL_VALUE_KEY_H

#include "base/slice.h"

#define KS_LQ_NS_SECOND 1000000000ll
#define KS_LQ_NS_DAY    (86400 * KS_LQ_NS_SECOND)

/* A unix time in s, ms, µs or ns told apart by magnitude; fractions and exponents allowed. */
bool ks_lq_parse_unix(struct ks_slice s, int64_t *ret_ns);

/* Order as ks_lq_compare: both integers, both unsigned, both times, both numbers, else natural. */
enum { KS_LQ_KEY_INT = 1, KS_LQ_KEY_UINT = 2, KS_LQ_KEY_TIME = 4, KS_LQ_KEY_NUM = 8 };
struct ks_lq_key {
    struct ks_slice text;
    union {
        int64_t i; /* INT, TIME */
        uint64_t u;
    };
    double f; /* NUM, also set for INT and UINT */
    uint8_t flags;
};
struct ks_lq_key ks_lq_key(struct ks_slice text);
int ks_lq_key_cmp(const struct ks_lq_key *a, const struct ks_lq_key *b);

#endif
