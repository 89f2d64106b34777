#include "api/scratch.h"

#include "api/logs/log_ingest.h"

enum { KEEP_BODY_BYTES = 8 << 20, KEEP_SAMPLES = 256 << 10, ARENA_CAP_BYTES = 512 << 20 };

void ks_scratch_init(struct ks_scratch *s)
{
    *s = (struct ks_scratch){0};
    ks_buf_init(&s->body, KS_BUF_UNLIMITED);
    ks_arena_init(&s->arena, ARENA_CAP_BYTES);
}

void ks_scratch_done(struct ks_scratch *s)
{
    ks_buf_done(&s->body);
    ks_arena_done(&s->arena);
    ks_write_batch_done(&s->batch);
    ks_log_scratch_free(s->logs);
}

void ks_scratch_trim(struct ks_scratch *s)
{
    if (s->body.cap > KEEP_BODY_BYTES) {
        ks_buf_done(&s->body);
        ks_buf_init(&s->body, KS_BUF_UNLIMITED);
    }
    ks_arena_reset(&s->arena);
    ks_log_scratch_trim(s->logs);
    if (s->batch.sample_cap > KEEP_SAMPLES || s->batch.series_cap > KEEP_SAMPLES) {
        ks_write_batch_done(&s->batch);
        s->batch = (struct ks_write_batch){0};
    }
}
