/*
 * Decoders of metrics alone, for tests and fuzzers: an application without a server, and an engine
 * that writes the batches it is given down as text. It takes the place of ks_engine_write() in
 * every program that includes this (the linker's wrap, tests/CMakeLists.txt).
 */
#ifndef KS_TESTS_INGEST_UTIL_H
#define KS_TESTS_INGEST_UTIL_H

#include "api/app.h"
#include "api/ingest/ingest.h"
#include "api/scratch.h"

struct ti {
    struct ks_app app;
    struct ks_scratch scratch;
    struct ks_ingest in;
    struct ks_buf text; /* what the engine got, then what ti_text() added */
    size_t written_bytes;
    bool labels_may_fail; /* the labels are the client's own bytes, read late */
};
void ti_init(struct ti *t, int64_t now_ms);
void ti_done(struct ti *t);
/* Empties batch and text: the next body starts anew. */
void ti_reset(struct ti *t);
/*
 * What was decoded, written to the engine already or still in the batch, as lines
 * name{a="b",…} value time, labels sorted, in the order they came; "" when there is nothing. Aborts
 * when a raw label text is malformed or a sample lies outside of its series: so fuzzers may use it
 * as their check.
 */
const char *ti_text(struct ti *t);

ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);

#endif
