/* Values of the shapes logs have, by seed: for tests and fuzz seeds of log columns. */
#ifndef KS_TESTS_LOG_SHAPES_H
#define KS_TESTS_LOG_SHAPES_H

#include "base/buf.h"
#include "base/slice.h"

enum { LOG_SHAPES = 24 };

/* Replaces out by a value of the shape; "" now and then for some shapes: the field is absent. */
void log_shape(unsigned shape, uint64_t *rng, struct ks_buf *out);
/* A line of a program's log. */
void log_message(uint64_t *rng, struct ks_buf *out);

#endif
