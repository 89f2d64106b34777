/*
 * LogsQL over rows given as JSON lines: an in-memory source whose blocks are cut and encoded as
 * asked, so that one query can be run over many layouts of the same rows.
 */
#ifndef KS_TESTS_LQ_ROWS_H
#define KS_TESTS_LQ_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lq_layout {
    size_t block_rows;   /* at most so many rows to a block; 0 = 4096 */
    uint64_t seed;       /* 0: columns as values; else constants and dictionaries by chance, and
                            blocks of chance sizes */
    unsigned workers;    /* 0 = 1 */
    uint64_t memory_max; /* 0 none */
    int64_t timeout_ms;  /* 0 none */
};

/*
 * Runs `query` over rows, one JSON object a line. `_time` (RFC 3339) is given or counts seconds
 * from 2024; rows without _msg have none. A block holds rows of one set of fields, as a store's
 * blocks of one stream mostly do, unless the layout has a seed. The answer: rows as JSON objects
 * with sorted names and without empty values, one a line; lines sorted unless `ordered`; rows
 * without fields left out. "error: <text>" when it fails. The caller frees it with ks_free.
 */
char *lq_rows_query(const char *query, const char *rows, const struct lq_layout *layout,
                    bool ordered);

#endif
