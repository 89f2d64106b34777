/* Times and durations as users write them. Milliseconds unless the name says otherwise. No clock is
 * read here. */
#ifndef KS_BASE_TIME_H
#define KS_BASE_TIME_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

#define KS_MS_SECOND 1000ll
#define KS_MS_MINUTE 60000ll
#define KS_MS_HOUR   3600000ll
#define KS_MS_DAY    86400000ll
#define KS_MS_YEAR   (365 * KS_MS_DAY)

/*
 * A time in VictoriaMetrics' forms: unix seconds/ms/µs/ns told apart by magnitude (fractional,
 * scientific), RFC 3339, truncated dates (2024, 2024-05, 2024-05-01T10), zone suffix Z or ±hh:mm
 * (none: UTC), relative to now_ms: now, now-1h, -1h, 1h. Negative results become 0. Error KS_EINVAL
 * names the text.
 */
KS_NODISCARD ks_err ks_time_parse_ms(struct ks_slice s, int64_t now_ms, int64_t *ret_ms);

/* Float seconds ("15", "0.5") or a sum of units: 1h30m, 1.5h, 5m, 30d, 1w, 1y, 100ms; a sign is
 * allowed. */
KS_NODISCARD ks_err ks_duration_parse_ms(struct ks_slice s, int64_t *ret_ms);
/* A retention: as a duration, but a bare number counts months of 31 days. */
KS_NODISCARD ks_err ks_retention_parse_ms(struct ks_slice s, int64_t *ret_ms);

/* 2024-05-01T10:00:00.123Z (always 3 decimals) into out[32]; the bytes written. */
size_t ks_time_format_rfc3339_ms(char *out, int64_t ms);

/* Civil date → days since 1970-01-01 and back (proleptic Gregorian). */
int64_t ks_days_from_civil(int64_t y, unsigned m, unsigned d);
void ks_civil_from_days(int64_t days, int64_t *ret_y, unsigned *ret_m, unsigned *ret_d);

/* floor(ms / day): the UTC day a time lies in. */
static inline int64_t ks_day_of_ms(int64_t ms)
{
    return ms / KS_MS_DAY - (ms % KS_MS_DAY < 0);
}

/* The first millisecond of that day; INT64_MIN when that lies before it. */
static inline int64_t ks_day_start_ms(int64_t ms)
{
    int64_t since = ms % KS_MS_DAY;
    since = since < 0 ? since + KS_MS_DAY : since;
    return ms < INT64_MIN + since ? INT64_MIN : ms - since;
}

#endif
