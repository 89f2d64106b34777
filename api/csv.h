/* CSV as VictoriaMetrics' import and export know it: time formats, and splitting a line into
 * columns. */
#ifndef KS_API_CSV_H
#define KS_API_CSV_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum ks_csv_time_kind {
    KS_CSV_UNIX_S,
    KS_CSV_UNIX_MS,
    KS_CSV_UNIX_NS,
    KS_CSV_RFC3339,
    KS_CSV_CUSTOM
};
struct ks_csv_time {
    enum ks_csv_time_kind kind;
    struct ks_slice layout; /* of custom:<Go layout> */
};

/* "unix_s", "unix_ms", "unix_ns", "rfc3339" or "custom:<layout>"; KS_EINVAL names the text. */
KS_NODISCARD ks_err ks_csv_time_of(struct ks_slice text, struct ks_csv_time *ret);
bool ks_csv_time_read(const struct ks_csv_time *t, struct ks_slice text, int64_t *ret_ms);
void ks_csv_time_write(const struct ks_csv_time *t, int64_t ms, struct ks_buf *out);

/*
 * Takes the next column off a line: bare, or in double or single quotes with quotes inside doubled
 * (then copied to the arena). *ret_more is false behind the last column. NULL when well, else what
 * is wrong.
 */
const char *ks_csv_column(struct ks_slice *line, struct ks_arena *arena, struct ks_slice *ret,
                          bool *ret_more);
/* A field in quotes where it needs them, quotes inside doubled. */
void ks_csv_put(struct ks_buf *out, struct ks_slice s);

#endif
