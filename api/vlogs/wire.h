/*
 * What a VictoriaLogs' vlselect asks of its storage nodes below /internal/select, in versions v1
 * (as of 1.26) and v4 (1.38 to 1.50) of its protocol: the arguments, and answers in binary. A query
 * arrives as text that is complete in itself: time range and pipes included.
 */
#ifndef KS_API_VLOGS_WIRE_H
#define KS_API_VLOGS_WIRE_H

#include "api/vlogs/vlogs.h"

/* Whether the request came by such a route. */
bool ks_vl_is_wire(const struct ks_http_request *req);
/* Version, tenants, time and compression into c->wire, c->tenants, c->now_ns. */
KS_NODISCARD ks_err ks_vl_wire_begin(struct ks_vl_ctx *c);

/* --- values with hits: one answer in whole --- */
void ks_vl_wire_value(struct ks_buf *out, struct ks_slice text, uint64_t hits);
/* items: of ks_vl_wire_value. */
KS_NODISCARD ks_err ks_vl_wire_values(struct ks_vl_ctx *c, size_t count, struct ks_slice items);

/* --- rows as they come --- */
struct ks_vl_wire_sink {
    struct ks_lq_stage s;
    struct ks_vl_ctx *c;
    struct ks_buf raw, packed;
    struct ks_arena scratch;
    struct ks_slice *names; /* of columns whose places are fixed; NULL: as they come */
    size_t name_count;
};
void ks_vl_wire_sink_init(struct ks_vl_wire_sink *w, struct ks_vl_ctx *c);
/* What is left, and the counters; called when the query ended well. */
KS_NODISCARD ks_err ks_vl_wire_sink_end(struct ks_vl_wire_sink *w);
void ks_vl_wire_sink_done(struct ks_vl_wire_sink *w);

ks_err ks_vl_wire_query(struct ks_http_request *req);
ks_err ks_vl_wire_tenant_ids(struct ks_http_request *req);

#endif
