/* Tests of log decoders: run one without a store and look at the batch it made as text. */
#ifndef KS_TESTS_LOG_UTIL_H
#define KS_TESTS_LOG_UTIL_H

#include "api/app.h"
#include "api/logs/logs.h"

struct tl {
    struct ks_app app;
    struct ks_log_scratch *scratch;
    struct ks_arena arena; /* of params */
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_buf text;
};
/* Options are set in t->params before tl_begin(). */
void tl_init(struct tl *t);
void tl_done(struct tl *t);
struct ks_log_names tl_names(struct tl *t, const char *list);
void tl_extra(struct tl *t, const char *list);
/* A new batch; the time is fixed. */
void tl_begin(struct tl *t, int64_t now_ns);
/* For fuzzers: made once; options by bits: time, message, stream, ignored, extra fields, colours.
 */
void tl_init_fuzz(struct tl *t);
void tl_begin_fuzz(struct tl *t, uint8_t options);
/*
 * The batch as lines `time {stream} a="b" …`, names as they are, in order of the batch. Aborts when
 * a row lies outside of the batch: fuzzers use it as their check.
 */
const char *tl_text(struct tl *t);

#endif
