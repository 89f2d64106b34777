/*
 * Traces that something stored refers to: an exemplar, or a log row at error level with a trace id.
 * They are pinned in the trace store, so that the link from a dashboard still opens when the ring
 * has turned over.
 *
 * The reference often comes before the spans do, so a pin waits here until its trace is known, at
 * most KS_PIN_WAIT_MS. A thread of its own does the pinning: who ingests only adds to a bounded
 * list, once per request or batch. What waits is lost by a restart; pins that were set are in the
 * log.
 *
 * Bounds: KS_PINS_WAITING_MAX waiting; so many pins set per minute (a bucket of ten minutes), that
 * pins alone do not turn the second ring over within an hour.
 */
#ifndef KS_API_TRACE_PINS_H
#define KS_API_TRACE_PINS_H

#include "base/labels.h"
#include "base/stats.h"
#include "storage/traces/span.h"

struct ks_trace_store;
struct ks_trace_pins;

enum { KS_PINS_WAITING_MAX = 8192, KS_PIN_WAIT_MS = 120000 };
enum ks_pin_source { KS_PIN_EXEMPLAR, KS_PIN_LOG, KS_PIN_SOURCES };

struct ks_trace_pins_opts {
    struct ks_trace_store *store;
    bool from[KS_PIN_SOURCES];
    uint32_t per_minute; /* at least 1 */
    int64_t tick_ms;     /* 0 = 1 s; less than 0: no thread, ks_trace_pins_tick is called (tests) */
};
KS_NODISCARD ks_err ks_trace_pins_new(const struct ks_trace_pins_opts *opts,
                                      struct ks_trace_pins **ret);
/* Sets what can be set now, then ends. The store must still be open. */
void ks_trace_pins_free(struct ks_trace_pins *p);

/* Whether references of this kind are wanted; p may be NULL. */
bool ks_trace_pins_wanted(const struct ks_trace_pins *p, enum ks_pin_source from);
/* Asks for pins. p may be NULL. Any thread; one lock for all. */
void ks_trace_pins_add(struct ks_trace_pins *p, enum ks_pin_source from, struct ks_tenant tenant,
                       const struct ks_trace_id *ids, size_t count);
/* One round over what waits. */
void ks_trace_pins_tick(struct ks_trace_pins *p, int64_t now_mono_ms);
/* Lines of /metrics; p may be NULL. */
void ks_trace_pins_metrics(struct ks_trace_pins *p, struct ks_buf *out);

/* A trace id as metrics and logs write it: 32 hex digits. */
bool ks_pin_id_text(struct ks_slice s, struct ks_trace_id *ret);
/* Whether a label or field of that name holds one: trace_id, traceid, trace.id, any case. */
bool ks_pin_id_name(struct ks_slice name);

#endif
