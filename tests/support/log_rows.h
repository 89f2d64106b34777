/* Rows for tests of log stores, and reading them back as text. */
#ifndef KS_TESTS_LOG_ROWS_H
#define KS_TESTS_LOG_ROWS_H

#include "engine/logs/log_store.h"

/*
 * Adds a row: tags "app=web,host=a" make its stream, fields "k=v" pairs separated by "|". The text
 * must live until the batch was written.
 */
void log_row(struct ks_log_batch *b, struct ks_tenant tenant, const char *tags, int64_t time_ns,
             const char *fields);

/*
 * Every row of a scan as one line of text, sorted: tenant, stream, time, fields by name; each of
 * them ended by "\n". Columns are read by column() and by column_rows(), which must agree; filter()
 * must agree with the text of _msg.
 */
void log_dump(struct ks_log_store *s, const struct ks_log_scan_opts *opts, struct ks_buf *out);
void log_dump_scan(struct ks_log_scan *scan, struct ks_buf *out);

#endif
