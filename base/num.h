/* Numbers as text: exact both ways. */
#ifndef KS_BASE_NUM_H
#define KS_BASE_NUM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* The stale marker: the exact bits that Prometheus and its kin send for "this series ended". */
#define KS_STALE_NAN_BITS 0x7ff0000000000002u
double ks_stale_nan(void);
bool ks_is_stale_nan(double v);

#define KS_F64_TEXT_MAX 352

/*
 * Shortest decimal that reads back the same, in the form Go's strconv.AppendFloat(v, 'g'|'f', -1)
 * gives and the peers print: fixed for exponents -5 < e < 21, else 1e+21; NaN, +Inf, -Inf. Returns
 * the bytes written (no NUL); `out` has room for KS_F64_TEXT_MAX.
 */
size_t ks_f64_format(char *out, double v);
/* As Go's %g and AppendFloat(v, 'g', -1): 1e+21's form already from 1e+06 on. VictoriaMetrics'
 * label values. */
size_t ks_f64_format_g(char *out, double v);
/* Always fixed notation ('f', -1). */
size_t ks_f64_format_fixed(char *out, double v);
/* As Prometheus' API writes numbers: fixed from 1e-6 to below 1e21, else with an exponent. */
size_t ks_f64_format_json(char *out, double v);
void ks_buf_f64(struct ks_buf *b, double v);
size_t ks_u64_format(char *out, uint64_t v); /* ≤ 20 bytes */
size_t ks_i64_format(char *out, int64_t v);  /* ≤ 20 bytes */
void ks_buf_u64_dec(struct ks_buf *b, uint64_t v);
void ks_buf_i64_dec(struct ks_buf *b, int64_t v);

/* Milliseconds as seconds without trailing zeros: 1700000000123 → 1700000000.123 (≤ 24 bytes). */
size_t ks_ms_format_seconds(char *out, int64_t ms);

/* The whole slice must be a number: decimal or scientific, Inf/NaN in any case with sign. False
 * otherwise. */
bool ks_f64_parse(struct ks_slice s, double *ret);
bool ks_i64_parse(struct ks_slice s, int64_t *ret);
bool ks_u64_parse(struct ks_slice s, uint64_t *ret);

/* "100", "4KiB", "1.5GB", "32MiB", "1Ti": bytes (KB = 1000, KiB = Ki = 1024). */
KS_NODISCARD ks_err ks_bytes_parse(struct ks_slice s, int64_t *ret);

#endif
