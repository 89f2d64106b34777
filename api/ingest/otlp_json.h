/*
 * OTLP's JSON turned into its protobuf, so that one decoder serves both. Driven by tables of
 * messages and fields. As the protocol asks: 64-bit integers as numbers or strings, bytes of ids in
 * hex, other bytes in base64, unknown keys and nulls stepped over, both spellings of keys
 * (timeUnixNano, time_unix_nano).
 */
#ifndef KS_API_INGEST_OTLP_JSON_H
#define KS_API_INGEST_OTLP_JSON_H

#include "base/arena.h"
#include "base/buf.h"

enum ks_otlp_type {
    KS_OTLP_STRING,
    KS_OTLP_BOOL,
    KS_OTLP_VARINT,  /* int64, uint64, uint32, enumerations given as numbers */
    KS_OTLP_SINT,    /* zigzag */
    KS_OTLP_FIXED64, /* fixed64 and sfixed64 */
    KS_OTLP_FIXED32,
    KS_OTLP_ENUM, /* a number, or one of names */
    KS_OTLP_DOUBLE,
    KS_OTLP_BASE64,
    KS_OTLP_HEX,
    KS_OTLP_MESSAGE,
    KS_OTLP_SKIPPED, /* known and not wanted */
};

struct ks_otlp_message;
struct ks_otlp_field {
    const char *name; /* in camelCase */
    unsigned number;
    enum ks_otlp_type type;
    bool repeated;
    const struct ks_otlp_message *message;
    const char *const *names; /* ENUM: by number, ended by NULL */
};
struct ks_otlp_message {
    const char *name;
    const struct ks_otlp_field *fields; /* ended by name NULL */
};

/* The request body of /v1/metrics. */
extern const struct ks_otlp_message ks_otlp_metrics_request;
/* That of /v1/logs. */
extern const struct ks_otlp_message ks_otlp_logs_request;

/* Appends the protobuf; arena is for strings with escapes. KS_EPARSE names the field and the byte.
 */
KS_NODISCARD ks_err ks_otlp_json_to_protobuf(struct ks_slice json,
                                             const struct ks_otlp_message *message,
                                             struct ks_arena *arena, struct ks_buf *out);

#endif
