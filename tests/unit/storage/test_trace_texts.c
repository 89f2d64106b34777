/* Texts in the trace ring: packed values come back byte for byte, searches know key and value
 * together, and names that never come again stay within the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/traces/ring.h"
#include "sys/rand.h"

enum { TEXT_MAX = 700 };
static const struct ks_tenant TENANT = {1, 0};

static size_t random_text(uint64_t *rng, char *out)
{
    static const char *const fixed[] = {"/api/v1/", "req-", ":",    "SELECT * FROM t WHERE id=",
                                        "é€😀",      "face", "00",   "-",
                                        ".",        "g",    "\x01", "\x03",
                                        "Z",        "x"};
    size_t n = 0, pieces = 1 + ks_rng_below(rng, ks_rng_below(rng, 20) ? 6 : 40);
    for (size_t i = 0; i < pieces && n < TEXT_MAX - 64; i++) {
        uint64_t v = ks_rng_next(rng) >> ks_rng_below(rng, 60);
        switch (ks_rng_below(rng, 8)) {
        case 0:
            n += (size_t)sprintf(out + n, "%llu", (unsigned long long)v);
            break;
        case 1:
            n += (size_t)sprintf(out + n, "%016llx", (unsigned long long)v);
            break;
        case 2:
            n += (size_t)sprintf(out + n, "%llX", (unsigned long long)v);
            break;
        case 3:
            n += (size_t)sprintf(out + n, "%08x-%04x-%04x-%012llx", (unsigned)v,
                                 (unsigned)v & 0xffff, (unsigned)(v >> 16) & 0xffff,
                                 (unsigned long long)v);
            break;
        case 4:
            out[n++] = (char)ks_rng_below(rng, 256);
            break;
        default:
            n += (size_t)sprintf(out + n, "%s",
                                 fixed[ks_rng_below(rng, sizeof fixed / sizeof *fixed)]);
        }
    }
    return n;
}

struct one {
    struct ks_traces *ring;
    struct ks_batch batch;
    struct ks_batch_memo memo;
    uint64_t next;
};

static void one_init(struct one *o, const struct ks_traces_opts *opts)
{
    memset(o, 0, sizeof *o);
    assert_int_equal(ks_traces_new(opts, &o->ring), KS_OK);
    ks_batch_init(&o->batch);
    ks_batch_reset(&o->batch, TENANT);
}

static void one_done(struct one *o)
{
    ks_traces_free(o->ring);
    ks_batch_done(&o->batch);
}

static void flush(struct one *o)
{
    struct ks_traces_result res;
    assert_int_equal(ks_traces_write(o->ring, &o->batch, NULL, NULL, &res), KS_OK);
    ks_batch_reset(&o->batch, TENANT);
    o->memo = (struct ks_batch_memo){0};
}

/* A trace of one span with one attribute; its number is its id. The texts must live until flush. */
static void add(struct one *o, struct ks_slice service, struct ks_slice name, struct ks_slice key,
                struct ks_slice value)
{
    static struct ks_resource resources[KS_BATCH_SPANS_MAX];
    static struct ks_attr services[KS_BATCH_SPANS_MAX];
    static const struct ks_scope scope = {{"", 0}, {"", 0}, {"", 0}, {NULL, 0, 0}};
    size_t at = o->batch.spans_count;
    services[at] = (struct ks_attr){
        .key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING, .text = service};
    resources[at] = (struct ks_resource){.attrs = {&services[at], 1, 0},
                                         .schema_url = {"", 0},
                                         .service = service,
                                         .has_service = true};
    struct ks_attr a = {.key = key, .type = KS_ATTR_STRING, .text = value};
    struct ks_span s = {.trace_id = {1, ++o->next},
                        .span_id = 1,
                        .start_ns = 1700000000000000000u,
                        .end_ns = 1700000000000001000u,
                        .name = name,
                        .state = {"", 0},
                        .status_message = {"", 0},
                        .attrs = {&a, 1, 0},
                        .resource = &resources[at],
                        .scope = &scope};
    ks_batch_copy_span(&o->batch, &s, &o->memo);
}

static size_t search(struct one *o, struct ks_slice key, struct ks_slice value,
                     struct ks_arena *arena)
{
    struct ks_trace_cond c = {.scopes = KS_COND_ANY, .key = key, .value = value};
    struct ks_trace_query q = {
        .max_start_ns = UINT64_MAX, .conds = &c, .cond_count = 1, .limit = 100000};
    struct ks_trace_id *ids;
    size_t n;
    assert_int_equal(ks_traces_search(o->ring, TENANT, &q, arena, &ids, &n), KS_OK);
    return n;
}

static void test_round_trip(void **state)
{
    enum { TEXTS = 4000, BATCH = 100 };
    struct ks_traces_opts opts = {.max_traces = 10000};
    struct one o;
    struct ks_arena arena;
    uint64_t rng = 7;
    char(*texts)[TEXT_MAX] = calloc(TEXTS, TEXT_MAX);
    size_t lens[TEXTS];
    one_init(&o, &opts);
    ks_arena_init(&arena, 256 << 20);
    for (size_t i = 0; i < TEXTS; i++) {
        /* One in four again: what came twice is found in the dictionary. */
        size_t from = i && !ks_rng_below(&rng, 4) ? ks_rng_below(&rng, i) : i;
        lens[i] = from < i ? lens[from] : random_text(&rng, texts[i]);
        memmove(texts[i], texts[from], lens[i]);
        struct ks_slice key = i % 3 ? KS_SLICE_LIT("http.url") : KS_SLICE_LIT("request.id");
        add(&o, KS_SLICE_LIT("s"), KS_SLICE_LIT("op"), key, ks_slice(texts[i], lens[i]));
        if (i % BATCH == BATCH - 1)
            flush(&o);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        struct ks_span *spans;
        struct ks_traces_hold *hold;
        size_t n;
        assert_int_equal(ks_traces_get(o.ring, TENANT, (struct ks_trace_id){1, i + 1}, &arena,
                                       &spans, &n, &hold),
                         KS_OK);
        assert_int_equal(n, 1);
        assert_int_equal(spans[0].attrs.count, 1);
        assert_true(ks_slice_eq(spans[0].attrs.items[0].text, ks_slice(texts[i], lens[i])));
        ks_traces_release(hold);
    }
    for (size_t i = 0; i < 100; i++) {
        size_t want[2] = {0, 0};
        struct ks_slice v = ks_slice(texts[i], lens[i]);
        for (size_t k = 0; k < TEXTS; k++)
            if (lens[k] == v.len && memcmp(texts[k], v.ptr, v.len) == 0)
                want[k % 3 != 0]++;
        assert_int_equal(search(&o, KS_SLICE_LIT("request.id"), v, &arena), want[0]);
        assert_int_equal(search(&o, KS_SLICE_LIT("http.url"), v, &arena), want[1]);
    }
    ks_arena_done(&arena);
    one_done(&o);
    free(texts);
}

static uint64_t resident(void)
{
    unsigned long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lu %lu", &ignored, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Services, operations, keys and values that never come twice, for many turnovers. */
static void unique_names(const struct ks_traces_opts *opts, size_t turns, uint64_t max_bytes)
{
    static char texts[KS_BATCH_SPANS_MAX][4][64];
    struct one o;
    struct ks_traces_stats st;
    uint64_t rng = 3, early = 0;
    one_init(&o, opts);
    for (size_t i = 0; i < turns * opts->max_traces; i++) {
        size_t at = o.batch.spans_count;
        struct ks_slice s[4];
        for (size_t k = 0; k < 4; k++)
            s[k] = ks_slice(texts[at][k],
                            (size_t)sprintf(texts[at][k], "%s-%zu-%016llx", k == 2 ? "key" : "name",
                                            i, (unsigned long long)ks_rng_next(&rng)));
        add(&o, s[0], s[1], s[2], s[3]);
        if (o.batch.spans_count < 256)
            continue;
        flush(&o);
        ks_traces_get_stats(o.ring, &st);
        assert_true(st.traces <= opts->max_traces);
        assert_true(st.bytes <= max_bytes);
        assert_true(st.pool_bytes <= max_bytes + (max_bytes >> 1) + (4 << 20));
        assert_true(st.operations <= opts->max_names);
        assert_true(st.services <= opts->max_names);
        if (i / opts->max_traces == turns / 2 && !early)
            early = resident();
    }
#ifndef __SANITIZE_ADDRESS__
    assert_true(resident() <= early + early / 4 + (8 << 20));
#endif
    one_done(&o);
}

static void test_unique_names(void **state)
{
    struct ks_traces_opts by_count = {.max_traces = 20000, .max_names = 3000};
    struct ks_traces_opts by_bytes = {
        .max_traces = 100000, .max_names = 50000, .max_bytes = 8 << 20};
    unique_names(&by_count, 8, 64 << 20);
    /* A generation of a 32nd of the budget goes after it was filled: so much may stand over it. */
    unique_names(&by_bytes, 3, (8 << 20) + (2 << 20));
}

/* Traces whose names nobody else has. */
static void write_new(struct one *o, size_t n)
{
    static char texts[KS_BATCH_SPANS_MAX][4][64];
    for (size_t i = 0; i < n; i++) {
        size_t at = o->batch.spans_count;
        struct ks_slice s[4];
        for (size_t k = 0; k < 4; k++)
            s[k] = ks_slice(texts[at][k], (size_t)sprintf(texts[at][k], "some-longer-name-%zu-%llu",
                                                          k, (unsigned long long)o->next));
        add(o, s[0], s[1], s[2], s[3]);
        if (o->batch.spans_count == 256)
            flush(o);
    }
}

enum { DUMPED_TRACES = 64000, DUMPED_GENERATION = DUMPED_TRACES / 64 };

struct turning {
    struct one one;
    uint64_t most; /* bytes of the pool */
};

static ks_err write_between(void *arg, enum ks_trimage type, struct ks_slice payload)
{
    struct turning *t = arg;
    struct ks_traces_stats st;
    if (type != KS_TRIMAGE_SLOTS) /* the last item of a generation */
        return KS_OK;
    write_new(&t->one, DUMPED_GENERATION);
    ks_traces_get_stats(t->one.ring, &st);
    assert_true(st.pool_free_bytes <= st.pool_bytes);
    t->most = st.pool_bytes > t->most ? st.pool_bytes : t->most;
    return KS_OK;
}

/* The ring turns over once while it is dumped: what was written out serves the new ones. */
static void test_dump_lets_go(void **state)
{
    struct ks_traces_opts opts = {.max_traces = DUMPED_TRACES, .max_names = 100};
    struct ks_traces_stats before, after;
    struct turning t = {.most = 0};
    one_init(&t.one, &opts);
    write_new(&t.one, DUMPED_TRACES + DUMPED_GENERATION);
    ks_traces_get_stats(t.one.ring, &before);
    struct ks_traces_dump d = {&t, write_between};
    assert_int_equal(ks_traces_dump(t.one.ring, &d), KS_OK);
    ks_traces_get_stats(t.one.ring, &after);
    assert_true(after.evicted_traces_total >= DUMPED_TRACES - DUMPED_GENERATION);
    assert_in_range(t.most, before.pool_bytes, before.pool_bytes + (2 << 20));
    one_done(&t.one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_dump_lets_go),
        cmocka_unit_test(test_unique_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
