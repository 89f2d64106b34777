/*
 * LogsQL over the ring of traces: one span is one row, with VictoriaTraces' fields
 * (storage/traces/span_fields.h).
 *
 * A block is a run of neighbouring traces of one generation. Of its spans the heads are read first;
 * attributes, events and links only of rows that are left when a filter or a column asks for them;
 * what belongs to a process is looked at once per process. Blocks without the trace ids asked for
 * are left out.
 */
#ifndef KS_QUERY_TRACES_SOURCE_TRACES_H
#define KS_QUERY_TRACES_SOURCE_TRACES_H

#include "query/logsql/source.h"
#include "storage/traces/ring.h"

struct ks_lq_source ks_lq_source_traces(struct ks_traces *t);

/* The canonical stream tags of a span: {name, resource_attr:service.name}. In the arena. */
KS_NODISCARD ks_err ks_span_stream_tags(const struct ks_span *s, struct ks_arena *arena,
                                        struct ks_slice *ret);

#endif
