/*
 * Times in the layouts of Go's time package (2006-01-02 15:04:05), which CSV formats name.
 * Milliseconds; finer digits are cut. Text without zone is UTC. Zone names are read as UTC, GMT or
 * Z only.
 */
#ifndef KS_API_GO_TIME_H
#define KS_API_GO_TIME_H

#include "base/buf.h"

/* The whole text must fit the layout; false otherwise. */
bool ks_go_time_parse(struct ks_slice layout, struct ks_slice text, int64_t *ret_ms);
void ks_go_time_format(struct ks_slice layout, int64_t ms, struct ks_buf *out);

#endif
