/* Times as log clients write them, in nanoseconds. Any thread. */
#ifndef KS_API_LOGS_LOG_TIME_H
#define KS_API_LOGS_LOG_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/*
 * VictoriaLogs' rules: "", "0" and "-" are now; without a - at byte 4 a Unix time (integer,
 * fraction or scientific; unit by magnitude); else RFC 3339 with T or a blank, up to nine digits of
 * fraction, zone Z, ±hh:mm, ±hhmm or the machine's when there is none. False: nothing of that.
 */
bool ks_log_time_parse(struct ks_slice s, int64_t now_ns, int64_t *ret_ns);
bool ks_log_time_unix(struct ks_slice s, int64_t *ret_ns);
bool ks_log_time_rfc3339(struct ks_slice s, int64_t *ret_ns);
/* "2024-05-01" at midnight UTC. */
bool ks_log_time_date(struct ks_slice s, int64_t *ret_ns);
/* A number's unit by its magnitude: seconds, ms, µs, ns. */
int64_t ks_log_time_scale(int64_t n);
/* Seconds east of UTC the machine's zone is at that moment. */
int64_t ks_log_zone_offset_s(int64_t unix_s);

#endif
