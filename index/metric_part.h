/* A metric part as a whole: container + label index + data. What engine and compaction work with.
 */
#ifndef KS_INDEX_METRIC_PART_H
#define KS_INDEX_METRIC_PART_H

#include "index/series_index.h"
#include "storage/metric_data.h"

struct ks_mpart {
    struct ks_part *file;
    struct ks_sindex *index;
    struct ks_mdata *data;
};
KS_NODISCARD ks_err ks_mpart_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                                  struct ks_mpart *ret);
void ks_mpart_close(struct ks_mpart *p);

/* Series in ks_series_cmp order, each with its chunks in time order right behind it. */
struct ks_mpart_writer;
KS_NODISCARD ks_err ks_mpart_writer_new(struct ks_vfs *vfs, const char *path, int level,
                                        struct ks_mpart_writer **ret);
KS_NODISCARD ks_err ks_mpart_add_series(struct ks_mpart_writer *w, struct ks_tenant tenant,
                                        struct ks_slice label_bytes);
KS_NODISCARD ks_err ks_mpart_add_chunk(struct ks_mpart_writer *w, const struct ks_chunk_meta *meta,
                                       struct ks_slice times, struct ks_slice values);
KS_NODISCARD ks_err ks_mpart_writer_finish(struct ks_mpart_writer *w,
                                           uint64_t *ret_bytes); /* gone in any case */
void ks_mpart_writer_abort(struct ks_mpart_writer *w);

#endif
