/*
 * What expressions matched in the live index, kept from query to query: which values of a label,
 * and the series that carry them. New values of that label are tested when asked next, others never
 * again; series are united anew when the label's postings changed.
 *
 * Any number of readers under the index's read lock. A result under way is taken out of the table,
 * so that the table's mutex is never held while values are tested: a second reader of the same
 * expression starts from nothing meanwhile.
 */
#ifndef KS_INDEX_LIVE_MATCHES_H
#define KS_INDEX_LIVE_MATCHES_H

#include <pthread.h>

#include "index/intern.h"
#include "index/matcher_compile.h"
#include "index/select.h"

enum { KSI_MATCH_SLOTS = 128 };

struct ksi_matched {
    uint64_t re_id; /* 0: empty */
    uint32_t name;
    uint64_t dropped, changed; /* the name's stamps */
    size_t seen;               /* of the name's pairs, tested */
    uint32_t *pairs;           /* that match */
    size_t pair_count, pair_cap;
    roaring_bitmap_t *rows; /* of these; NULL: to be made */
};

struct ksi_live_matches {
    pthread_mutex_t lock;
    struct ksi_matched slots[KSI_MATCH_SLOTS];
};

void ksi_live_matches_init(struct ksi_live_matches *m);
void ksi_live_matches_done(struct ksi_live_matches *m);
/* The series whose value of the name matches; re is of shape SCAN. Under the index's read lock. */
KS_NODISCARD ks_err ksi_live_matches_rows(struct ksi_live_matches *m,
                                          const struct ksi_intern *words, uint32_t name,
                                          const struct ks_regex *re, struct ksi_set *ret);
/* Unites the postings of pairs. */
KS_NODISCARD ks_err ksi_unite_pairs(const struct ksi_intern *words, const uint32_t *pairs,
                                    size_t count, struct ksi_set *ret);

#endif
