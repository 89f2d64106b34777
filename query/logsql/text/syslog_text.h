/*
 * Fields of a syslog message: RFC 5424, RFC 3164, or neither. Pure; hostile bytes.
 */
#ifndef KS_QUERY_LOGSQL_SYSLOG_TEXT_H
#define KS_QUERY_LOGSQL_SYSLOG_TEXT_H

#include "query/logsql/text/json_text.h"

/* The words of a priority: its facility ("unknown" beyond 23) and its level. */
const char *ks_syslog_facility(uint64_t priority);
const char *ks_syslog_level(uint64_t priority);

/*
 * Appends priority, facility, facility_keyword, severity, level, format, timestamp, hostname,
 * app_name, proc_id, msg_id, <sd-id>.<param>, message. now_ns gives the year RFC 3164 lacks;
 * offset_ns is its time zone, east positive.
 */
KS_NODISCARD ks_err ksi_lq_syslog_fields(struct ks_slice text, int64_t now_ns, int64_t offset_ns,
                                         struct ks_arena *arena, struct ksi_json_fields *out);

#endif
