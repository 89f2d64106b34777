/* The trace ring with everybody in it at once: writers, every kind of reader, snapshots that are
 * loaded again. For TSan above all; by itself it checks that a trace read is a trace written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/bytes.h"
#include "span_model.h"
#include "sys/clock.h"

enum { WRITERS = 2, BATCHES = 250, BATCH = 40, READERS = 4 };
static const struct ks_tenant TENANT = {5, 0};

struct shared {
    struct ks_traces *ring;
    struct ks_traces_opts opts;
    _Atomic uint64_t ids, lsn;
    _Atomic bool stop, failed;
};

static ks_err log_it(void *arg, struct ks_batch *b, uint64_t *ret_lsn)
{
    struct shared *s = arg;
    *ret_lsn = atomic_fetch_add(&s->lsn, 1) + 1;
    return KS_OK;
}

/* Spans of a trace are named for it. */
static void *writer(void *arg)
{
    struct shared *s = arg;
    uint64_t rng = atomic_fetch_add(&s->ids, 1) + 1000;
    struct ks_batch b;
    ks_batch_init(&b);
    for (int n = 0; n < BATCHES; n++) {
        struct model_span *fresh[BATCH];
        struct ks_batch_memo memo = {0};
        struct ks_traces_result res;
        char names[BATCH][40];
        ks_batch_reset(&b, TENANT);
        for (int i = 0; i < BATCH; i++) {
            uint64_t id = ks_rng_below(&rng, 3) ? atomic_fetch_add(&s->ids, 1) + 1
                                                : ks_rng_below(&rng, atomic_load(&s->ids)) + 1;
            fresh[i] = ms_random(&rng, (struct ks_trace_id){1, id});
            fresh[i]->span.name = ms_text(names[i], "trace-%u", (unsigned)id);
            ks_batch_copy_span(&b, &fresh[i]->span, &memo);
        }
        if (ks_traces_write(s->ring, &b, log_it, s, &res) != KS_OK)
            atomic_store(&s->failed, true);
        for (int i = 0; i < BATCH; i++)
            ks_free(fresh[i]);
    }
    ks_batch_done(&b);
    return NULL;
}

static ks_err see(void *arg, const struct ks_span *span)
{
    struct shared *s = arg;
    char want[40];
    if (!ks_slice_eq(span->name, ms_text(want, "trace-%u", (unsigned)span->trace_id.lo)))
        atomic_store(&s->failed, true);
    return KS_OK;
}

static void get_some(struct shared *s, uint64_t *rng, struct ks_arena *arena)
{
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t n;
    uint64_t newest = atomic_load(&s->ids),
             id = newest - ks_rng_below(rng, newest < 400 ? newest : 400);
    if (ks_traces_get(s->ring, TENANT, (struct ks_trace_id){1, id}, arena, &spans, &n, &hold) !=
        KS_OK)
        return;
    for (size_t i = 0; i < n; i++)
        (void)!see(s, &spans[i]);
    ks_traces_release(hold);
}

static ks_err load_item(void *arg, enum ks_trimage type, struct ks_slice payload)
{
    return ks_traces_loader_item(arg, type, payload);
}

static void snapshot(struct shared *s)
{
    struct ks_traces *copy;
    struct ks_traces_loader *l;
    if (ks_traces_new(&s->opts, &copy) != KS_OK || ks_traces_loader_new(copy, 2, &l) != KS_OK)
        abort();
    struct ks_traces_dump d = {l, load_item};
    if (ks_traces_dump(s->ring, &d) != KS_OK || ks_traces_loader_finish(l) != KS_OK ||
        ks_traces_each(copy, TENANT, see, s) != KS_OK)
        atomic_store(&s->failed, true);
    ks_traces_loader_free(l);
    ks_traces_free(copy);
}

static ks_err head(void *arg, const struct ks_span_head *h)
{
    *(uint64_t *)arg += h->end_ns;
    return KS_OK;
}

static void look(struct shared *s, uint64_t *rng, struct ks_arena *arena)
{
    struct ks_trace_cond c = {
        .scopes = KS_COND_ANY, .key = KS_SLICE_LIT("http.method"), .value = KS_SLICE_LIT("GET")};
    struct ks_trace_query q = {.max_start_ns = UINT64_MAX,
                               .limit = 20,
                               .conds = &c,
                               .cond_count = ks_rng_below(rng, 2),
                               .service = {"", 0}};
    struct ks_trace_id *ids;
    struct ks_slice *services;
    struct ks_edge *edges;
    struct ks_traces_stats st;
    size_t n;
    uint64_t sum = 0;
    switch (ks_rng_below(rng, 9)) {
    case 0:
        (void)!ks_traces_search(s->ring, TENANT, &q, arena, &ids, &n);
        break;
    case 1:
        (void)!ks_traces_each(s->ring, TENANT, see, s);
        break;
    case 2:
        (void)!ks_traces_edges(s->ring, TENANT, 0, UINT64_MAX, NULL, true, arena, &edges, &n);
        break;
    case 3:
        (void)!ks_traces_settle(s->ring, 4);
        break;
    case 4:
        (void)!ks_traces_services(s->ring, TENANT, arena, &services, &n);
        break;
    case 5:
        ks_traces_get_stats(s->ring, &st);
        (void)ks_traces_pin(s->ring, TENANT, (struct ks_trace_id){1, atomic_load(&s->ids) - 5});
        break;
    case 6:
        (void)!ks_traces_heads(s->ring, TENANT, &q, head, &sum);
        break;
    case 7:
        snapshot(s);
        break;
    default:
        get_some(s, rng, arena);
    }
}

static void *reader(void *arg)
{
    struct shared *s = arg;
    uint64_t rng = atomic_fetch_add(&s->lsn, 1) + 77;
    struct ks_arena arena;
    ks_arena_init(&arena, 256 << 20);
    while (!atomic_load(&s->stop)) {
        ks_arena_reset(&arena);
        if (atomic_load(&s->ids) > 200)
            look(s, &rng, &arena);
    }
    ks_arena_done(&arena);
    return NULL;
}

/* Each write is in one bucket; what the ring itself held one for is some of the whole. */
static void check_pauses(struct ks_traces *ring, int64_t begun_ns)
{
    struct ks_traces_stats st;
    uint64_t sum = 0;
    ks_traces_get_stats(ring, &st);
    for (size_t i = 0; i < KS_PAUSE_BUCKETS; i++)
        sum += st.pauses.buckets[i];
    assert_true(st.pauses.count > 0);
    assert_int_equal(sum, st.pauses.count);
    assert_in_range(st.pauses.max_own_us, 1, st.pauses.max_us);
    assert_in_range(st.pauses.max_at_ns, begun_ns, ks_now_ns());
    assert_true(st.pauses.sum_us >= st.pauses.max_us);
}

static void test_all_at_once(void **state)
{
    struct shared s = {.opts = {.max_traces = 3000, .max_bytes = 64 << 20, .keep_errors = false}};
    pthread_t writers[WRITERS], readers[READERS];
    int64_t begun_ns = ks_now_ns();
    assert_int_equal(ks_traces_new(&s.opts, &s.ring), KS_OK);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader, &s), 0);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, writer, &s), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_false(atomic_load(&s.failed));
    check_pauses(s.ring, begun_ns);
    ks_traces_free(s.ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
