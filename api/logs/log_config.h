/* The flags of log ingestion as handlers need them. Strings live as long as the process. */
#ifndef KS_API_LOGS_LOG_CONFIG_H
#define KS_API_LOGS_LOG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ks_log_config {
    const char *default_msg;       /* NULL or "": rows may go without _msg */
    size_t max_line_bytes;         /* 0: 256 KiB */
    size_t max_fields;             /* 0: the hard limit */
    size_t max_stream_bytes;       /* bodies of lines: jsonline, bulk, journald; unpacked */
    size_t loki_max_request_bytes; /* 0: no limit but the server's */
    size_t datadog_max_request_bytes, splunk_max_request_bytes, native_max_request_bytes,
        internal_max_request_bytes, journald_max_request_bytes;
    bool loki_keep_message;          /* -loki.disableMessageParsing */
    const char *loki_message_prefix; /* of fields out of a message */
    const char *elasticsearch_version;
    const char *datadog_stream_fields, *datadog_ignore_fields;
    const char *journald_stream_fields, *journald_ignore_fields, *journald_time_field,
        *journald_tenant;
    bool journald_metadata; /* keep fields that begin with __ */
    const char *splunk_stream_fields, *splunk_ignore_fields, *splunk_time_field, *splunk_msg_field,
        *splunk_tenant, *splunk_preserve_keys;
    bool delete_enabled;        /* -delete.enable */
    int64_t max_query_range_ms; /* -search.maxQueryTimeRange; 0 = none */
    bool disable_insert, disable_internal_insert;
};

#endif
