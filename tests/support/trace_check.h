/* What any batch of spans must stand, whatever bytes it was made from: fuzzers of trace decoders.
 */
#ifndef KS_TESTS_TRACE_CHECK_H
#define KS_TESTS_TRACE_CHECK_H

#include <stdlib.h>

#include "api/otlp/sink.h"
#include "base/mem.h"
#include "query/traces/jaeger.h"
#include "storage/traces/ring.h"

static inline struct ks_traces *trace_check_ring(void)
{
    static struct ks_traces *ring;
    struct ks_traces_opts o = {.max_traces = 64,
                               .max_bytes = 8 << 20,
                               .max_tenants = 8,
                               .keep_errors = true,
                               .max_spans_per_trace = 100};
    if (!ring && ks_traces_new(&o, &ring) != KS_OK)
        abort();
    return ring;
}

static inline void trace_check_json(struct ks_traces *ring, struct ks_tenant tenant,
                                    struct ks_trace_id id)
{
    for (int profile = KS_JAEGER_2; profile <= KS_JAEGER_VT; profile++) {
        struct ks_arena arena;
        struct ks_span *spans;
        struct ks_traces_hold *hold;
        struct ks_jaeger_processes processes = {0};
        struct ks_buf out;
        size_t n;
        ks_arena_init(&arena, 256 << 20);
        ks_buf_init(&out, 256 << 20);
        if (ks_traces_get(ring, tenant, id, &arena, &spans, &n, &hold) == KS_OK) {
            if (n)
                (void)!ks_jaeger_trace((enum ks_jaeger_profile)profile, false, spans, n, &processes,
                                       &arena, &out);
            ks_traces_release(hold);
        }
        ks_buf_done(&out);
        ks_arena_done(&arena);
    }
}

/* Encoded and decoded it is the same; the ring takes it and answers. */
static inline void trace_check_batch(void *arg, const struct ks_batch *b)
{
    struct ks_buf bytes, again;
    struct ks_batch copy;
    struct ks_traces_result res;
    size_t at, at2;
    (void)arg;
    if (b->err != KS_OK || !b->spans_count)
        return;
    ks_buf_init(&bytes, 64 << 20);
    ks_buf_init(&again, 64 << 20);
    ks_batch_init(&copy);
    if (ks_batch_encode(b, &bytes, &at) != KS_OK ||
        ks_batch_decode(ks_buf_view(&bytes), &copy) != KS_OK ||
        copy.spans_count != b->spans_count || copy.traces_count != b->traces_count)
        abort();
    if (ks_batch_encode(&copy, &again, &at2) != KS_OK || at != at2)
        abort();
    if (copy.traces_count <= KS_BATCH_SPANS_MAX) {
        struct ks_trace_id id = copy.traces[0].id;
        if (ks_traces_write(trace_check_ring(), &copy, NULL, NULL, &res) == KS_OK)
            trace_check_json(trace_check_ring(), copy.tenant, id);
    }
    ks_batch_done(&copy);
    ks_buf_done(&bytes);
    ks_buf_done(&again);
}

static inline void trace_check_sink(struct ks_span_sink *s)
{
    ks_span_sink_begin_plain(s, NULL, (struct ks_tenant){1, 2});
    s->each = trace_check_batch;
}

#endif
