/* Inside log parts: what an open part holds. */
#ifndef KS_STORAGE_LOGS_LOG_PART_PRIV_H
#define KS_STORAGE_LOGS_LOG_PART_PRIV_H

#include "storage/logs/block_priv.h"
#include "storage/logs/log_part.h"

struct ksi_lpart_index {
    struct ks_lpart_block block;
    struct ks_page_ref dir, bloom; /* bloom: zero when it has none */
};

struct ks_lpart {
    struct ks_part *file;
    uint64_t dir_owner;                     /* of directories in the cache (block_dir.h) */
    struct ks_buf names_text, streams_text; /* what the slices below lie in */
    struct ks_slice *names;
    struct ks_lpart_stream *streams;
    struct ksi_lpart_index *blocks;
    size_t name_count, stream_count, block_count;
    uint64_t rows, text_bytes;
    int64_t min_ns, max_ns;
};

#endif
