/* The unpacked items of a ring's snapshot. */
#include "engine/traces/snapshot_priv.h"
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ks_err look(void *arg, const struct ks_span *s)
{
    uint64_t *sum = arg;
    for (uint32_t i = 0; i < s->attrs.count; i++)
        *sum += s->attrs.items[i].text.len;
    return KS_OK;
}

/* Whatever was loaded can be read, searched and written out again. */
static void use(void *arg, struct ks_tenant tenant)
{
    struct ks_traces *ring = arg;
    struct ks_trace_cond c = {
        .scopes = KS_COND_ANY, .key = KS_SLICE_LIT("request.id"), .value = KS_SLICE_LIT("r-1")};
    struct ks_trace_query q = {
        .max_start_ns = UINT64_MAX, .limit = 4, .conds = &c, .cond_count = 1};
    struct ks_arena arena;
    struct ks_trace_id *ids;
    struct ks_edge *edges;
    size_t n;
    uint64_t sum = 0;
    ks_arena_init(&arena, 64 << 20);
    (void)!ks_traces_each(ring, tenant, look, &sum);
    (void)!ks_traces_search(ring, tenant, &q, &arena, &ids, &n);
    q.cond_count = 0;
    if (ks_traces_search(ring, tenant, &q, &arena, &ids, &n) == KS_OK)
        for (size_t i = 0; i < n; i++)
            trace_check_json(ring, tenant, ids[i]);
    (void)!ks_traces_edges(ring, tenant, 0, UINT64_MAX, NULL, true, &arena, &edges, &n);
    ks_arena_done(&arena);
}

struct tenants {
    struct ks_tenant items[8];
    size_t count;
};

static void note(void *arg, struct ks_tenant tenant)
{
    struct tenants *t = arg;
    if (t->count < 8)
        t->items[t->count++] = tenant;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_traces_opts o = {.max_traces = 64, .max_bytes = 8 << 20, .max_tenants = 4};
    struct ks_traces *ring;
    struct tenants t = {.count = 0};
    bool end = false;
    if (ks_traces_new(&o, &ring) != KS_OK)
        abort();
    (void)!ksi_trsnap_items(ks_slice(data, size), ring, &end);
    ks_traces_tenants(ring, note, &t);
    for (size_t i = 0; i < t.count; i++)
        use(ring, t.items[i]);
    ks_traces_free(ring);
    return 0;
}
