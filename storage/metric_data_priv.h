/* Sections of a metric part's data and the index of its directory pages
 * (docs/format/metric-part.md). */
#ifndef KS_STORAGE_METRIC_DATA_PRIV_H
#define KS_STORAGE_METRIC_DATA_PRIV_H

#include <stdint.h>

#define KSI_SECTION_DIR    "chunkdir"
#define KSI_SECTION_INDEX  "chunkidx"
#define KSI_SECTION_CHUNKS "chunks"
#define KSI_SECTION_TIMES  "times"

/* One directory page: the series from first_ord up to the next page's, and the time its chunks
 * span. */
struct ksi_mgroup {
    uint32_t first_ord;
    int64_t min_ms, max_ms;
};

#endif
