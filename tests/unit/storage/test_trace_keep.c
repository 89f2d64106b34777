/*
 * The second ring: which traces come to it, of several tenants, over replay and snapshots, against
 * a naive model; and that a trace of many spans moves in steps which do not depend on how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "span_model.h"

enum { TENANTS = 3, MOVED_PER_WRITE = 1024 };

static struct ks_tenant tenant_of(unsigned i)
{
    return (struct ks_tenant){i, 7 * i};
}

/* --- a log in memory: batches and pins --- */
struct record {
    struct ks_buf bytes; /* none: a pin */
    struct ks_tenant tenant;
    struct ks_trace_id pin;
};
struct fake_log {
    struct record *items;
    size_t count, cap;
};

static struct record *log_add(struct fake_log *l)
{
    assert_int_equal(ks_array_reserve((void **)&l->items, &l->cap, l->count + 1, sizeof *l->items),
                     KS_OK);
    struct record *r = &l->items[l->count++];
    *r = (struct record){0};
    ks_buf_init(&r->bytes, KS_BUF_UNLIMITED);
    return r;
}

static ks_err append(void *arg, struct ks_batch *b, uint64_t *ret_lsn)
{
    struct fake_log *l = arg;
    struct record *r = log_add(l);
    size_t at;
    assert_int_equal(ks_batch_encode(b, &r->bytes, &at), KS_OK);
    ks_batch_patch(b, &r->bytes, at);
    *ret_lsn = l->count;
    return KS_OK;
}

static void log_done(struct fake_log *l)
{
    for (size_t i = 0; i < l->count; i++)
        ks_buf_done(&l->items[i].bytes);
    ks_free(l->items);
}

/* Records from a position on; the number of a record is its place + 1. */
static void replay_from(struct fake_log *l, struct ks_traces *to, uint64_t lsn)
{
    struct ks_batch b;
    ks_batch_init(&b);
    for (size_t i = lsn ? lsn - 1 : 0; i < l->count; i++) {
        struct record *r = &l->items[i];
        if (!r->bytes.len) {
            (void)ks_traces_pin(to, r->tenant, r->pin);
            continue;
        }
        assert_int_equal(ks_batch_decode(ks_buf_view(&r->bytes), &b), KS_OK);
        assert_int_equal(ks_traces_replay(to, &b, i + 1), KS_OK);
    }
    ks_batch_done(&b);
}

static ks_err copy_item(void *arg, enum ks_trimage type, struct ks_slice payload)
{
    char *copy = ks_memdup(payload.ptr, payload.len);
    ks_err err = ks_traces_loader_item(arg, type, ks_slice(copy, payload.len));
    ks_free(copy);
    return err;
}

/* Through a snapshot, with what the log has behind it. */
static struct ks_traces *restarted(struct ks_traces *ring, const struct ks_traces_opts *opts,
                                   struct fake_log *log)
{
    struct ks_traces *to;
    struct ks_traces_loader *loader;
    uint64_t from = ks_traces_lsn(ring) + 1;
    assert_int_equal(ks_traces_new(opts, &to), KS_OK);
    assert_int_equal(ks_traces_loader_new(to, 2, &loader), KS_OK);
    struct ks_traces_dump d = {loader, copy_item};
    assert_int_equal(ks_traces_dump(ring, &d), KS_OK);
    assert_int_equal(ks_traces_loader_finish(loader), KS_OK);
    ks_traces_loader_free(loader);
    replay_from(log, to, from);
    return to;
}

/* --- the model --- */
struct rings {
    struct model main, kept;
    bool pinned[MS_TRACES_MAX]; /* by id */
    bool gone[MS_TRACES_MAX];
};
struct world {
    struct ks_traces *ring;
    struct ks_traces_opts opts;
    struct rings of[TENANTS];
    struct fake_log log;
    struct ks_batch batch;
    uint64_t rng, ids, late;
};

static bool has_error(const struct model_trace *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->spans[i]->span.status == KS_STATUS_ERROR)
            return true;
    return false;
}

static void naive_evict(struct rings *r)
{
    struct model_trace *t = &r->main.traces[0];
    if (!t->count || !(has_error(t) || r->pinned[t->id.lo])) {
        r->gone[t->id.lo] = true;
        model_drop_first(&r->main);
        return;
    }
    model_announce(&r->kept, t->id); /* drops the oldest when it is full */
    struct model_trace *to = model_find(&r->kept, t->id);
    to->spans = t->spans;
    to->count = t->count;
    to->cap = t->cap;
    *t = (struct model_trace){.id = t->id};
    model_drop_first(&r->main);
}

static void naive_announce(struct world *w, struct rings *r, struct ks_trace_id id)
{
    if (model_find(&r->main, id) || model_find(&r->kept, id))
        return;
    if (r->main.count >= r->main.max)
        naive_evict(r);
    r->pinned[id.lo] = false;
    model_announce(&r->main, id);
}

static void write_some(struct world *w)
{
    struct model_span *fresh[40];
    size_t n = 1 + ks_rng_below(&w->rng, 40), late = 0;
    unsigned tenant = (unsigned)ks_rng_below(&w->rng, TENANTS);
    struct rings *r = &w->of[tenant];
    struct ks_traces_result res;
    struct ks_batch_memo memo = {0};
    ks_batch_reset(&w->batch, tenant_of(tenant));
    for (size_t i = 0; i < n; i++) {
        uint64_t id = ks_rng_below(&w->rng, 3) ? ++w->ids : 1 + ks_rng_below(&w->rng, w->ids + 1);
        w->ids = id > w->ids ? id : w->ids;
        fresh[i] = ms_random(&w->rng, (struct ks_trace_id){4, id});
        fresh[i]->span.status = ks_rng_below(&w->rng, 30) ? 1 : KS_STATUS_ERROR;
        ks_batch_copy_span(&w->batch, &fresh[i]->span, &memo);
    }
    for (size_t i = 0; i < w->batch.traces_count; i++) {
        struct ks_trace_id id = w->batch.traces[i].id;
        bool fresh_id = !model_find(&r->main, id) && !model_find(&r->kept, id);
        bool was_here = r->gone[id.lo];
        naive_announce(w, r, id);
        for (size_t k = 0; fresh_id && was_here && k < n; k++)
            late += ks_trace_id_eq(fresh[k]->span.trace_id, id);
    }
    assert_int_equal(ks_traces_write(w->ring, &w->batch, append, &w->log, &res), KS_OK);
    w->late += late;
    for (size_t i = 0; i < n; i++)
        model_add(model_find(&r->main, fresh[i]->span.trace_id) ? &r->main : &r->kept, fresh[i]);
}

static void pin_some(struct world *w)
{
    unsigned tenant = (unsigned)ks_rng_below(&w->rng, TENANTS);
    struct rings *r = &w->of[tenant];
    struct ks_trace_id id = {4, 1 + ks_rng_below(&w->rng, w->ids + 1)};
    bool in_main = model_find(&r->main, id), known = in_main || model_find(&r->kept, id);
    assert_int_equal(ks_traces_pin(w->ring, tenant_of(tenant), id), known);
    if (!known)
        return;
    struct record *rec = log_add(&w->log);
    rec->tenant = tenant_of(tenant);
    rec->pin = id;
    r->pinned[id.lo] |= in_main;
}

static void check_trace(struct ks_traces *ring, unsigned tenant, struct ks_trace_id id,
                        const struct model_trace *want, struct ks_arena *arena)
{
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t count;
    ks_err err = ks_traces_get(ring, tenant_of(tenant), id, arena, &spans, &count, &hold);
    assert_int_equal(err, want && want->count ? KS_OK : KS_ENOTFOUND);
    if (err != KS_OK)
        return;
    assert_int_equal(count, want->count);
    for (size_t i = 0; i < count; i++) { /* in order of arrival, in either ring */
        assert_int_equal(spans[i].span_id, want->spans[i]->span.span_id);
        assert_int_equal(spans[i].start_ns, want->spans[i]->span.start_ns);
        assert_true(ks_slice_eq(spans[i].name, want->spans[i]->span.name));
    }
    ks_traces_release(hold);
}

/* Every trace once, main ring newest first, then the second one. */
static void check_search(const struct rings *r, struct ks_traces *ring, unsigned tenant,
                         struct ks_arena *arena)
{
    struct ks_trace_query q = {.max_start_ns = UINT64_MAX, .limit = 100000};
    struct ks_trace_id *ids;
    size_t count, at = 0;
    assert_int_equal(ks_traces_search(ring, tenant_of(tenant), &q, arena, &ids, &count), KS_OK);
    const struct model *both[] = {&r->main, &r->kept};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = both[k]->count; i-- > 0;) {
            if (!both[k]->traces[i].count)
                continue;
            assert_true(at < count);
            assert_true(ks_trace_id_eq(ids[at++], both[k]->traces[i].id));
        }
    assert_int_equal(at, count);
}

static void check_all(struct world *w, struct ks_traces *ring)
{
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    for (unsigned t = 0; t < TENANTS; t++) {
        struct rings *r = &w->of[t];
        for (uint64_t n = 1; n <= w->ids; n++) {
            struct ks_trace_id id = {4, n};
            struct model_trace *in_main = model_find(&r->main, id);
            check_trace(ring, t, id, in_main ? in_main : model_find(&r->kept, id), &arena);
            ks_arena_reset(&arena);
        }
        check_search(r, ring, t, &arena);
    }
    ks_arena_done(&arena);
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->rng = seed;
    w->opts = (struct ks_traces_opts){.max_traces = 20 + (uint32_t)seed % 3 * 30,
                                      .max_kept = 5 + (uint32_t)seed % 2 * 20,
                                      .max_spans_per_trace = 12,
                                      .keep_errors = true};
    for (unsigned i = 0; i < TENANTS; i++) {
        w->of[i].main.max = w->opts.max_traces;
        w->of[i].kept.max = w->opts.max_kept;
        w->of[i].main.max_spans = w->of[i].kept.max_spans = 12;
    }
    assert_int_equal(ks_traces_new(&w->opts, &w->ring), KS_OK);
    ks_batch_init(&w->batch);
}

static void test_model(void **state)
{
    static struct world w;
    for (uint64_t seed = 1; seed <= 9; seed++) {
        struct ks_traces *other;
        world_init(&w, seed);
        for (int round = 0; round < 8; round++) {
            for (int i = 0; i < 6; i++) {
                write_some(&w);
                pin_some(&w);
            }
            check_all(&w, w.ring);
            assert_int_equal(ks_traces_new(&w.opts, &other), KS_OK);
            replay_from(&w.log, other, 0);
            check_all(&w, other);
            ks_traces_free(other);
            other = restarted(w.ring, &w.opts, &w.log);
            check_all(&w, other);
            ks_traces_free(w.ring);
            w.ring = other;
        }
        ks_traces_free(w.ring);
        for (unsigned i = 0; i < TENANTS; i++) {
            model_done(&w.of[i].main);
            model_done(&w.of[i].kept);
        }
        log_done(&w.log);
        ks_batch_done(&w.batch);
    }
}

/* What is late is counted, in a process that goes on: exactly, but for the filter's rare mistakes.
 */
static void test_late(void **state)
{
    static struct world w;
    struct ks_traces_stats st;
    world_init(&w, 5);
    for (int i = 0; i < 300 && w.ids < MS_TRACES_MAX - 100; i++)
        write_some(&w);
    ks_traces_get_stats(w.ring, &st);
    assert_true(w.late > 100);
    assert_true(st.late_spans_total <= w.late + w.late / 10 + 5);
    assert_true(st.late_spans_total >= w.late / 3); /* those of long ago are forgotten */
    ks_traces_free(w.ring);
    for (unsigned i = 0; i < TENANTS; i++) {
        model_done(&w.of[i].main);
        model_done(&w.of[i].kept);
    }
    log_done(&w.log);
    ks_batch_done(&w.batch);
}

/* --- a trace of many spans --- */
static void write_trace(struct ks_traces *ring, struct fake_log *log, struct ks_batch *b,
                        uint64_t id, uint32_t first, uint32_t n, bool error)
{
    struct ks_traces_result res;
    struct ks_resource resource = {.service = KS_SLICE_LIT("s"), .has_service = true};
    struct ks_attr attr = {
        .key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("s")};
    struct ks_scope scope = {0};
    struct ks_batch_memo memo = {0};
    resource.attrs = (struct ks_attrs){&attr, 1, 0};
    ks_batch_reset(b, tenant_of(0));
    for (uint32_t i = 0; i < n; i++) {
        struct ks_span s = {.trace_id = {9, id},
                            .span_id = first + i + 1,
                            .start_ns = 1700000000000000000u + first + i,
                            .end_ns = 1700000000000000000u + first + i + 5,
                            .name = KS_SLICE_LIT("op"),
                            .status = error ? KS_STATUS_ERROR : 0,
                            .resource = &resource,
                            .scope = &scope};
        ks_batch_copy_span(b, &s, &memo);
    }
    assert_int_equal(ks_traces_write(ring, b, append, log, &res), KS_OK);
    assert_int_equal(res.stored, n);
}

static void whole(struct ks_traces *ring, uint32_t want)
{
    struct ks_arena arena;
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t count;
    ks_arena_init(&arena, 512 << 20);
    assert_int_equal(ks_traces_get(ring, tenant_of(0), (struct ks_trace_id){9, 1}, &arena, &spans,
                                   &count, &hold),
                     KS_OK);
    assert_int_equal(count, want);
    for (uint32_t i = 0; i < want; i++)
        assert_int_equal(spans[i].span_id, i + 1);
    ks_traces_release(hold);
    struct ks_trace_query q = {.max_start_ns = UINT64_MAX, .limit = 100000};
    struct ks_trace_id *ids;
    size_t seen = 0;
    assert_int_equal(ks_traces_search(ring, tenant_of(0), &q, &arena, &ids, &count), KS_OK);
    for (size_t i = 0; i < count; i++)
        seen += ids[i].lo == 1;
    assert_int_equal(seen, 1);
    ks_arena_done(&arena);
}

/* No write moves more spans than its share; nobody sees half a trace; spans that come while it
 * moves are part of it; a restart in the middle ends with the same. */
static void test_long_trace_moves_in_steps(void **state)
{
    enum { SPANS = 20000, RING = 50 };
    struct ks_traces_opts opts = {.max_traces = RING, .keep_errors = true};
    struct ks_traces *ring, *other;
    struct ks_traces_stats st;
    struct fake_log log = {0};
    struct ks_batch b;
    uint32_t spans = 0, moving = 0, late = 0;
    uint64_t id = 1, moved = 0, most = 0;
    ks_batch_init(&b);
    assert_int_equal(ks_traces_new(&opts, &ring), KS_OK);
    for (; spans < SPANS; spans += 400)
        write_trace(ring, &log, &b, 1, spans, 400, true);
    do {
        write_trace(ring, &log, &b, ++id, 0, 3, false);
        ks_traces_get_stats(ring, &st);
        assert_true(st.moved_spans_total - moved <= MOVED_PER_WRITE);
        bool under_way = st.moved_spans_total && !st.kept_total;
        moved = st.moved_spans_total;
        most = st.traces > most ? st.traces : most;
        moving += under_way;
        if (under_way && late < 3) {
            write_trace(ring, &log, &b, 1, spans, 7, false);
            spans += 7;
            late++;
            ks_traces_get_stats(ring, &st);
            moved = st.moved_spans_total;
        }
        whole(ring, spans);
        if (moving == 5 && under_way) {
            other = restarted(ring, &opts, &log);
            whole(other, spans);
            ks_traces_free(other);
        }
    } while (!st.kept_total && id < 10000);
    assert_true(moving >= SPANS / MOVED_PER_WRITE - 1);
    assert_int_equal(moved, spans);
    assert_int_equal(st.kept_traces, 1);
    assert_true(most > RING && most < RING + 100);
    for (int i = 0; i < 100; i++)
        write_trace(ring, &log, &b, ++id, 0, 3, false);
    ks_traces_get_stats(ring, &st);
    assert_int_equal(st.traces, RING);
    whole(ring, spans);
    other = restarted(ring, &opts, &log);
    whole(other, spans);
    ks_traces_free(other);
    assert_int_equal(ks_traces_new(&opts, &other), KS_OK);
    replay_from(&log, other, 0);
    whole(other, spans);
    ks_traces_free(other);
    ks_traces_free(ring);
    log_done(&log);
    ks_batch_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_long_trace_moves_in_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
