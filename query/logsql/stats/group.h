/*
 * Rows into groups by the texts of some fields: stats, top, uniq, partitions. One grouper per
 * worker; group numbers count from 0 in order of first sight.
 *
 * Dictionaries and constants are combined by code, so that a batch of n rows over few different
 * keys costs n array reads and a hash for each different key.
 */
#ifndef KS_QUERY_LOGSQL_GROUP_H
#define KS_QUERY_LOGSQL_GROUP_H

#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/stats/keymap.h"

struct ksi_lq_grouper {
    const struct ks_lq_by *by;
    size_t by_count;
    struct ksi_keymap keys;
    struct ks_arena texts;
    struct ks_buf key;
};
void ksi_lq_grouper_init(struct ksi_lq_grouper *g, const struct ks_lq_by *by, size_t by_count);
void ksi_lq_grouper_done(struct ksi_lq_grouper *g);
static inline uint64_t ksi_lq_grouper_bytes(const struct ksi_lq_grouper *g)
{
    return ksi_keymap_bytes(&g->keys) + g->texts.used_bytes;
}
/* by-fields without buckets, made in the arena of the query. */
KS_NODISCARD ks_err ksi_lq_by_names(struct ks_lq_exec *x, const struct ks_lq_names *names,
                                    struct ks_lq_by **ret);

/* Group of each row; *ret_of_row NULL: all are in *ret_single. */
KS_NODISCARD ks_err ksi_lq_group_rows(struct ksi_lq_grouper *g, const struct ks_lq_rows *rows,
                                      struct ks_arena *arena, const uint32_t **ret_of_row,
                                      uint32_t *ret_single);
/* How many rows of a batch each of its groups has; a group may come more than once. */
struct ksi_lq_hits {
    uint32_t group, rows;
};
KS_NODISCARD ks_err ksi_lq_group_hits(struct ksi_lq_grouper *g, const struct ks_lq_rows *rows,
                                      struct ks_arena *arena, struct ksi_lq_hits **ret,
                                      size_t *ret_count);
/* Adds to hits[code] the rows that have it. */
void ksi_lq_count_codes(const uint32_t *codes, uint32_t rows, uint32_t *hits);
/* The values of a group's fields: by_count slices. */
void ksi_lq_group_values(const struct ksi_lq_grouper *g, uint32_t group, struct ks_slice *ret);
/* The same group in another grouper of the same fields, added when new. */
KS_NODISCARD ks_err ksi_lq_group_import(struct ksi_lq_grouper *g, const struct ksi_lq_grouper *from,
                                        uint32_t group, uint32_t *ret, bool *ret_new);

#endif
