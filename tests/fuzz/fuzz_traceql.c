/* TraceQL: whatever the text, parsing ends, and what parses can be evaluated. */
#include <stdint.h>

#include "api/tempo/traceql.h"
#include "query/traces/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ks_traceql q;
    static struct ks_trace_params p;
    static const struct ks_attr attrs[] = {
        {.key = KS_SLICE_LIT("a"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("b")},
        {.key = KS_SLICE_LIT("n"), .type = KS_ATTR_INT, .number = 500}};
    static const struct ks_resource r = {.attrs = {attrs, 2, 0}};
    static const struct ks_scope scope;
    struct ks_span spans[2] = {
        {.span_id = 1, .end_ns = 5, .resource = &r, .scope = &scope},
        {.span_id = 2, .parent_id = 1, .attrs = {attrs, 2, 0}, .resource = &r, .scope = &scope}};
    struct ks_trace_summary summary;
    struct ks_arena arena;
    bool matched[2], exact;
    ks_arena_init(&arena, 1 << 20);
    if (ks_trace_summarise(spans, 2, &arena, &summary) == KS_OK &&
        ks_traceql_parse(ks_slice(data, size), &arena, &q) == KS_OK) {
        bool hit = ks_traceql_matches(&q, spans, 2, &summary, matched);
        ks_trace_params_init(&p);
        if (ks_traceql_hints(&q, &p, &exact) == KS_OK && exact && hit)
            KS_ASSERT(matched[0] || matched[1]);
        ks_traceql_done(&q);
    }
    ks_arena_done(&arena);
    return 0;
}
