/* Tests of ingestion decoders: run one without an engine and look at the batch it made as text. */
#ifndef KS_TESTS_INGEST_UTIL_H
#define KS_TESTS_INGEST_UTIL_H

#include "api/app.h"
#include "api/ingest/ingest.h"
#include "api/scratch.h"

struct ti {
    struct ks_app app;
    struct ks_scratch scratch;
    struct ks_ingest in;
    struct ks_buf text;
};
void ti_init(struct ti *t, int64_t now_ms);
void ti_done(struct ti *t);
/* Empties the batch: the next body starts anew. */
void ti_reset(struct ti *t);
/*
 * The batch as lines name{a="b",…} value time, labels sorted, lines in the order of the batch; ""
 * when empty. Aborts when a raw label text is malformed or a sample lies outside of its series: so
 * fuzzers may use it as their check.
 */
const char *ti_text(struct ti *t);

#endif
