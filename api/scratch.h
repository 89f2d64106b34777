/* A worker thread's reusable memory, so that a request costs no allocation once warm. Trimmed when
 * a big request has grown it. */
#ifndef KS_API_SCRATCH_H
#define KS_API_SCRATCH_H

#include "base/arena.h"
#include "base/buf.h"
#include "engine/write_batch.h"

struct ks_log_scratch;
struct ks_scratch {
    struct ks_buf body; /* the decompressed request */
    struct ks_arena arena;
    struct ks_write_batch batch;
    struct ks_log_scratch *logs; /* made on first use */
};

void ks_scratch_init(struct ks_scratch *s);
void ks_scratch_done(struct ks_scratch *s);
/* Between requests: gives back what exceeds a usual request. */
void ks_scratch_trim(struct ks_scratch *s);

#endif
