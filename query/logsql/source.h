/*
 * Where LogsQL's rows come from: a log store, the ring of traces, rows in memory. The language sees
 * blocks of columns and asks a block to filter itself, so that each source can use what it knows.
 *
 * The shapes are those of engine/logs/log_store.h: see there for lifetimes, threads and meaning.
 */
#ifndef KS_QUERY_LOGSQL_SOURCE_H
#define KS_QUERY_LOGSQL_SOURCE_H

#include "engine/logs/log_store.h"

struct ks_lq_block; /* the source's own; one thread at a time */

struct ks_lq_source {
    void *self;
    /* A view of the rows opts may touch. A source may return more rows than match; select()
     * decides. */
    ks_err (*scan)(void *self, const struct ks_log_scan_opts *opts, void **ret_scan);
    void (*scan_free)(void *self, void *scan);
    size_t (*block_count)(void *scan);
    struct ks_log_block_meta (*block_meta)(void *scan, size_t i);

    ks_err (*block_new)(void *self, struct ks_lq_block **ret);
    void (*block_free)(struct ks_lq_block *b);
    ks_err (*block_open)(struct ks_lq_block *b, void *scan, size_t i);
    uint32_t (*rows)(struct ks_lq_block *b);
    ks_err (*select)(struct ks_lq_block *b, uint64_t *bits, bool *ret_any);
    ks_err (*times)(struct ks_lq_block *b, const int64_t **ret_ns);
    ks_err (*streams)(struct ks_lq_block *b, const struct ks_log_stream **ret, size_t *ret_count,
                      const uint32_t **ret_of_row);
    ks_err (*names)(struct ks_lq_block *b, const struct ks_slice **ret, size_t *ret_count);
    ks_err (*column)(struct ks_lq_block *b, struct ks_slice name, const uint64_t *bits_or_null,
                     struct ks_log_column *ret);
    ks_err (*filter)(struct ks_lq_block *b, struct ks_slice name, const struct ks_log_pred *pred,
                     uint64_t *bits);

    /* Both may be NULL. */
    /* A leaf that every row of the query has to match, told before blocks are counted: blocks
     * without such a row may be left out. */
    ks_err (*prune)(void *self, void *scan, struct ks_slice name, const struct ks_log_pred *pred);
    /* From now on only rows whose bit is 1 are asked for: names() need not know others. */
    ks_err (*narrow)(struct ks_lq_block *b, const uint64_t *bits);
};

#endif
