#include "api/otlp/traces_json.h"

#include "api/ingest/otlp_json_tables.h"

M(resource) = {"Resource",
               F(SUBS("attributes", 1, key_value), ONE("droppedAttributesCount", 2, VARINT))};
M(scope) = {"InstrumentationScope",
            F(ONE("name", 1, STRING), ONE("version", 2, STRING), SUBS("attributes", 3, key_value),
              ONE("droppedAttributesCount", 4, VARINT))};
M(event) = {"Span.Event",
            F(ONE("timeUnixNano", 1, FIXED64), ONE("name", 2, STRING),
              SUBS("attributes", 3, key_value), ONE("droppedAttributesCount", 4, VARINT))};
M(link) = {"Span.Link", F(ONE("traceId", 1, HEX), ONE("spanId", 2, HEX),
                          ONE("traceState", 3, STRING), SUBS("attributes", 4, key_value),
                          ONE("droppedAttributesCount", 5, VARINT), ONE("flags", 6, FIXED32))};
/* Receivers in the wild take names of enumerations too. */
static const char *const status_names[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK",
                                           "STATUS_CODE_ERROR", NULL};
static const char *const kind_names[] = {"SPAN_KIND_UNSPECIFIED",
                                         "SPAN_KIND_INTERNAL",
                                         "SPAN_KIND_SERVER",
                                         "SPAN_KIND_CLIENT",
                                         "SPAN_KIND_PRODUCER",
                                         "SPAN_KIND_CONSUMER",
                                         NULL};
M(status) = {"Status",
             F(ONE("message", 2, STRING), {"code", 3, KS_OTLP_ENUM, false, NULL, status_names})};
M(span) = {"Span", F(ONE("traceId", 1, HEX), ONE("spanId", 2, HEX), ONE("traceState", 3, STRING),
                     ONE("parentSpanId", 4, HEX), ONE("name", 5, STRING),
                     {"kind", 6, KS_OTLP_ENUM, false, NULL, kind_names},
                     ONE("startTimeUnixNano", 7, FIXED64), ONE("endTimeUnixNano", 8, FIXED64),
                     SUBS("attributes", 9, key_value), ONE("droppedAttributesCount", 10, VARINT),
                     SUBS("events", 11, event), ONE("droppedEventsCount", 12, VARINT),
                     SUBS("links", 13, link), ONE("droppedLinksCount", 14, VARINT),
                     SUB("status", 15, status), ONE("flags", 16, FIXED32))};
M(scope_spans) = {"ScopeSpans",
                  F(SUB("scope", 1, scope), SUBS("spans", 2, span), ONE("schemaUrl", 3, STRING))};
M(resource_spans) = {"ResourceSpans",
                     F(SUB("resource", 1, resource), SUBS("scopeSpans", 2, scope_spans),
                       ONE("schemaUrl", 3, STRING))};
const struct ks_otlp_message ks_otlp_traces_request = {"request",
                                                       F(SUBS("resourceSpans", 1, resource_spans))};
