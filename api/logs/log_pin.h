/* Rows at error level that name a trace: the trace is to be pinned (api/trace_pins.h). */
#ifndef KS_API_LOGS_LOG_PIN_H
#define KS_API_LOGS_LOG_PIN_H

#include "api/logs/log_ingest.h"

/* Notes the trace in the row's field number `at`, if the row's level is that of an error. */
void ksi_log_trace_pin(struct ks_log_ingest *in, size_t at);
/* Asks for what was noted; for when the rows are written. */
void ksi_log_trace_pins_ask(struct ks_log_ingest *in);

/* Whether name=value says that a row is an error: level=error, severity_number=17, … */
bool ksi_log_is_error(struct ks_slice name, struct ks_slice value);

#endif
