/*
 * Values of log fields as LogsQL reads and prints them: numbers, durations, sizes, addresses,
 * times, natural order, words, JSON text. Everything is a text; these say what a text means.
 * Pure functions, any thread.
 */
#ifndef KS_QUERY_LOGSQL_VALUE_H
#define KS_QUERY_LOGSQL_VALUE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* --- reading: the whole text must fit; false otherwise --- */

/* Decimal, `_` between digits, exponent; 0x, 0o, 0b integers; inf, nan. No units. */
bool ks_lq_parse_float(struct ks_slice s, double *ret);
/* Plain decimal uint64 without sign, spaces or `_` (leading zeros are allowed). */
bool ks_lq_parse_u64(struct ks_slice s, uint64_t *ret);
bool ks_lq_parse_i64(struct ks_slice s, int64_t *ret);
/* 1h5m, 2.5d, -3ms, 1y2w: sums of y w d h m s ms µs us ns, in ns. A unit is needed. */
bool ks_lq_parse_duration(struct ks_slice s, int64_t *ret_ns);
/* 10KiB, 1.5MB, 3K, 2Ti, 1_000KiB, 22MB100KB: sums; a bare number is no size. */
bool ks_lq_parse_bytes(struct ks_slice s, int64_t *ret);
bool ks_lq_parse_ipv4(struct ks_slice s, uint32_t *ret);
/* Also ::ffff:1.2.3.4; an IPv4 text gives its mapped form. */
bool ks_lq_parse_ipv6(struct ks_slice s, uint8_t ret[16]);
/* 2006-01-02T15:04:05[.fraction](Z|±hh:mm) with T or space; the zone may be absent (UTC). */
bool ks_lq_parse_rfc3339(struct ks_slice s, int64_t *ret_ns);
/*
 * What sum(), avg(), math and ranges make of a value: a number, else a duration (ns), else a size
 * (bytes), else an IPv4 address (as u32), else a time (ns). False: none of these.
 */
bool ks_lq_parse_any_number(struct ks_slice s, double *ret);
/* Without IPv4 and times: what sum() and avg() add up. */
bool ks_lq_parse_number(struct ks_slice s, double *ret);

/* --- printing --- */

/* RFC 3339 UTC with trailing zeros of the fraction cut: 2024-01-02T03:04:05.12Z. Bytes written. */
size_t ks_lq_time_format(char out[40], int64_t ns);
/* As values of stats and math print: integers up to 1e21 in full, shortest otherwise. */
size_t ks_lq_f64_format(char *out, double v); /* room for KS_F64_TEXT_MAX */
/* 1h5m3.5s as VictoriaLogs prints durations ("0" for 0). Bytes written, ≤ 64. */
size_t ks_lq_duration_format(char *out, int64_t ns);
size_t ks_lq_ipv4_format(char out[16], uint32_t ip);

/* A JSON string in quotes, with the escapes VictoriaLogs uses: < and ' as \u003c, \u0027, controls
 * short or \u00xx, everything else raw. */
void ks_lq_buf_json(struct ks_buf *b, struct ks_slice s);

/* --- order --- */

/*
 * The order of sort, min, max, uniq: integers, then times, then numbers (with units) by value where
 * both sides are such; natural order of texts (runs of digits as numbers) otherwise. <0, 0, >0;
 * 0 also for different texts of one value.
 */
int ks_lq_compare(struct ks_slice a, struct ks_slice b);
static inline bool ks_lq_less(struct ks_slice a, struct ks_slice b)
{
    return ks_lq_compare(a, b) < 0;
}
/* Natural order alone: digits as numbers, total. */
int ks_lq_natural_compare(struct ks_slice a, struct ks_slice b);

/* --- words --- */

/* The next word at or after *pos: a maximal run of Unicode letters, digits, `_`. False at the end.
 */
bool ks_lq_next_word(struct ks_slice s, size_t *pos, struct ks_slice *ret);
/* Is the rune at s[i] (start of it), or the one that ends before i, part of a word? */
bool ks_lq_word_starts_at(struct ks_slice s, size_t i);
bool ks_lq_word_ends_at(struct ks_slice s, size_t i);
/* Unicode lower case appended to out. */
void ks_lq_lower(struct ks_buf *out, struct ks_slice s);
size_t ks_lq_rune_count(struct ks_slice s);

#endif
