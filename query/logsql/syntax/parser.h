/*
 * LogsQL text to tree and back. Thread role: any; the tree belongs to the arena.
 */
#ifndef KS_QUERY_LOGSQL_PARSER_H
#define KS_QUERY_LOGSQL_PARSER_H

#include "base/arena.h"
#include "base/buf.h"
#include "query/logsql/syntax/ast.h"

/*
 * Parses and optimises (folds limits and offsets, drops filters that are always true, moves
 * leading `filter` pipes into the filter) as VictoriaLogs does, so that printing gives its
 * canonical text. now_ns: what relative times count from. Error KS_EPARSE: the text says what was
 * expected, what is there, and the position.
 */
KS_NODISCARD ks_err ks_lq_parse(struct ks_slice text, int64_t now_ns, struct ks_arena *arena,
                                struct ks_lq_query **ret);
/* A filter alone, as in `extra_filters` and delete tasks. */
KS_NODISCARD ks_err ks_lq_parse_filter(struct ks_slice text, int64_t now_ns, struct ks_arena *arena,
                                       struct ks_lq_filter **ret);

/* A time as in _time filters (2024-05, now-1h, unix s to ns, -2y): its first and its last
 * nanosecond. KS_EPARSE names the text. */
KS_NODISCARD ks_err ks_lq_parse_time(struct ks_slice text, int64_t now_ns, int64_t *ret_min,
                                     int64_t *ret_max);

/*
 * What a query is to stats_query: the pipes have to end in stats, with nothing behind it but what
 * keeps rows series. Labels are the by() fields as they are called at the end, without _time.
 * KS_EEXEC says which pipe is in the way.
 */
struct ks_lq_stats_shape {
    struct ks_lq_names labels;
    size_t stats_pipe; /* index of the last stats pipe */
};
KS_NODISCARD ks_err ks_lq_stats_shape(const struct ks_lq_query *q, bool range,
                                      struct ks_arena *arena, struct ks_lq_stats_shape *ret);
/* Groups every stats pipe by _time, too: what stats_query_range does. */
KS_NODISCARD ks_err ks_lq_stats_by_time(struct ks_lq_query *q, int64_t step_ns, int64_t offset_ns,
                                        struct ks_arena *arena);

/* Canonical text. */
void ks_lq_print(const struct ks_lq_query *q, struct ks_buf *out);
void ks_lq_print_filter(const struct ks_lq_filter *f, struct ks_buf *out);
void ks_lq_print_pipe(const struct ks_lq_pipe *p, struct ks_buf *out);
void ks_lq_print_func(const struct ks_lq_func *f, struct ks_buf *out); /* without if and as */
/* A word as it stands in a query: quoted when it has to be. */
void ks_lq_print_token(struct ks_slice s, struct ks_buf *out);

/* The canonical name of a pipe: "sort". */
const char *ks_lq_pipe_name(enum ks_lq_pipe_kind kind);

#endif
