/*
 * The patterns of extract and format, and the options of format: <uc:field>, <time:field> ….
 * Pure functions.
 */
#ifndef KS_QUERY_LOGSQL_PATTERN_H
#define KS_QUERY_LOGSQL_PATTERN_H

#include "base/arena.h"
#include "base/buf.h"
#include "query/logsql/syntax/ast.h"

/*
 * Matches text from the first occurrence of the first literal: ret[i] is what step i stands for, ""
 * where the match did not get to it. A quoted value is unquoted (into the arena) unless the step's
 * option is "plain". Steps without a field take part, their ret is undefined.
 */
KS_NODISCARD ks_err ksi_lq_pattern_match(const struct ks_lq_pattern *p, struct ks_slice text,
                                         struct ks_arena *arena, struct ks_slice *ret);
/* A text quoted as in Go at the start of s: its value and its length with quotes. False: none. */
KS_NODISCARD ks_err ksi_lq_unquote_prefix(struct ks_slice s, struct ks_arena *arena,
                                          struct ks_slice *ret_text, size_t *ret_used,
                                          bool *ret_ok);

enum ksi_lq_format_opt {
    KSI_LQ_FMT_PLAIN,
    KSI_LQ_FMT_Q,
    KSI_LQ_FMT_UC,
    KSI_LQ_FMT_LC,
    KSI_LQ_FMT_TIME,
    KSI_LQ_FMT_DURATION,
    KSI_LQ_FMT_DURATION_SECONDS,
    KSI_LQ_FMT_IPV4,
    KSI_LQ_FMT_HEXENCODE,
    KSI_LQ_FMT_HEXDECODE,
    KSI_LQ_FMT_HEXNUMENCODE,
    KSI_LQ_FMT_HEXNUMDECODE,
    KSI_LQ_FMT_BASE64ENCODE,
    KSI_LQ_FMT_BASE64DECODE,
    KSI_LQ_FMT_URLENCODE,
    KSI_LQ_FMT_URLDECODE
};
/* False: no such option. */
bool ksi_lq_format_opt(struct ks_slice name, enum ksi_lq_format_opt *ret);
/* Appends v in that form; as it is when it does not fit. */
void ksi_lq_format_value(enum ksi_lq_format_opt opt, struct ks_slice v, struct ks_buf *out);

#endif
