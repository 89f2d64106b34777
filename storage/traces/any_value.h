/*
 * Values of attributes as text. Arrays and maps are kept as their protobuf (ArrayValue,
 * KeyValueList), checked once by ks_any_check when they come in.
 */
#ifndef KS_STORAGE_TRACES_ANY_VALUE_H
#define KS_STORAGE_TRACES_ANY_VALUE_H

#include "base/buf.h"
#include "storage/traces/span.h"

enum { KS_ANY_DEPTH_MAX = 32 };

/* Whether bytes are a well-formed ArrayValue (or KeyValueList), nested at most KS_ANY_DEPTH_MAX. */
bool ks_any_check(struct ks_slice bytes, enum ks_attr_type type);

/* Reads an AnyValue message; false when malformed. An unknown or missing value is EMPTY. */
bool ks_any_read(struct ks_slice message, struct ks_attr *ret);
/* The next KeyValue (or array element, key empty); false at the end. */
struct ks_any_iter {
    const uint8_t *p, *end;
    enum ks_attr_type type;
};
struct ks_any_iter ks_any_iter(struct ks_slice bytes, enum ks_attr_type type);
bool ks_any_next(struct ks_any_iter *it, struct ks_attr *ret);

/* As Go's encoding/json prints it: maps with sorted keys, < > & escaped, bytes in base64. */
void ks_any_json(const struct ks_attr *a, struct ks_buf *out);
/* As OpenTelemetry's AsString: texts bare, bytes in base64, arrays and maps as JSON, empty "". */
void ks_attr_text(const struct ks_attr *a, struct ks_buf *out);

/* JSON string as Go's encoder writes it, HTML-safe: < > & U+2028 U+2029 escaped. */
void ks_go_json_str(struct ks_buf *out, struct ks_slice s);
/* A float as Go's encoding/json has it. */
void ks_go_json_f64(struct ks_buf *out, double v);

/* Whether the value reads as this text. */
struct ks_attr_match {
    struct ks_slice text;
    bool is_int, is_real, is_bool;
    int64_t number;
    double real;
};
struct ks_attr_match ks_attr_match_of(struct ks_slice text);
bool ks_attr_is(const struct ks_attr *a, const struct ks_attr_match *m);

#endif
