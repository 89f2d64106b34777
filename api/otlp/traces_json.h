/* The messages of an OTLP trace request for api/ingest/otlp_json.h. */
#ifndef KS_API_OTLP_TRACES_JSON_H
#define KS_API_OTLP_TRACES_JSON_H

#include "api/ingest/otlp_json.h"

extern const struct ks_otlp_message ks_otlp_traces_request;

#endif
