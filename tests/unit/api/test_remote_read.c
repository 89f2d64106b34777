/* What is written is read back: by protobuf-c, and by a plain reader of XOR chunks. Requests: made
 * by protobuf-c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "api/prom/remote_read.h"
#include "api/prom/xor_chunk.h"
#include "base/num.h"
#include "remote_read.pb-c.h"
#include "sys/rand.h"

static uint64_t rng = 23;

static uint64_t below(uint64_t n)
{
    return ks_rng_below(&rng, n);
}

/* --- XOR chunks --- */
struct bits {
    const uint8_t *p;
    size_t at, end;
};

static uint64_t take(struct bits *b, unsigned n)
{
    uint64_t v = 0;
    assert_true(b->at + n <= b->end);
    for (; n; n--, b->at++)
        v = v << 1 | (b->p[b->at / 8] >> (7 - b->at % 8) & 1);
    return v;
}

static uint64_t take_varint(struct bits *b)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t c = take(b, 8);
        v |= (c & 127) << shift;
        if (c < 128)
            return v;
    }
}

static int64_t take_dod(struct bits *b)
{
    static const unsigned sizes[] = {0, 14, 17, 20, 64};
    unsigned k = 0;
    while (k < 4 && take(b, 1))
        k++;
    uint64_t v = sizes[k] ? take(b, sizes[k]) : 0;
    return sizes[k] && sizes[k] < 64 && v > 1u << (sizes[k] - 1)
               ? (int64_t)v - ((int64_t)1 << sizes[k])
               : (int64_t)v;
}

static size_t decode(const uint8_t *p, size_t len, int64_t *times, double *values)
{
    struct bits b = {p, 16, len * 8};
    size_t n = (size_t)p[0] << 8 | p[1];
    int64_t delta = 0;
    uint64_t v = 0;
    unsigned leading = 0, significant = 64;
    for (size_t i = 0; i < n; i++) {
        if (!i) {
            times[0] = ks_unzigzag(take_varint(&b));
            v = take(&b, 64);
        } else {
            delta = i == 1 ? (int64_t)take_varint(&b) : delta + take_dod(&b);
            times[i] = times[i - 1] + delta;
            if (take(&b, 1)) {
                if (take(&b, 1)) {
                    leading = (unsigned)take(&b, 5);
                    significant = (unsigned)take(&b, 6);
                    significant = significant ? significant : 64;
                }
                v ^= take(&b, significant) << (64 - leading - significant);
            }
        }
        values[i] = ks_f64_from_bits(v);
    }
    assert_true(b.end - b.at < 8);
    return n;
}

static size_t random_samples(int64_t *times, double *values, size_t max)
{
    static const uint64_t steps[] = {1, 10, 20000, 200000, 1000000, 1ull << 40};
    size_t n = 1 + below(max);
    uint64_t step = steps[below(6)], kind = below(4);
    int64_t t = (int64_t)below(1ull << 42);
    for (size_t i = 0; i < n; i++) {
        times[i] = t;
        t += 1 + (int64_t)below(step);
        values[i] = kind == 0   ? 7
                    : kind == 1 ? (double)i
                    : kind == 2 ? (double)below(1000) / 8
                                : ks_f64_from_bits(ks_rng_next(&rng));
    }
    if (below(4) == 0)
        values[n - 1] = ks_stale_nan();
    return n;
}

static void test_xor(void **state)
{
    int64_t times[KS_XOR_CHUNK_SAMPLES], t[KS_XOR_CHUNK_SAMPLES];
    double values[KS_XOR_CHUNK_SAMPLES], v[KS_XOR_CHUNK_SAMPLES];
    for (int round = 0; round < 20000; round++) {
        uint8_t out[KS_XOR_CHUNK_BYTES_MAX];
        size_t n = random_samples(times, values, KS_XOR_CHUNK_SAMPLES),
               len = ks_xor_chunk_encode(times, values, n, out);
        assert_true(len <= sizeof out);
        assert_int_equal(decode(out, len, t, v), n);
        assert_memory_equal(t, times, n * sizeof *t);
        assert_memory_equal(v, values, n * sizeof *v);
    }
}

static void test_crc(void **state)
{
    assert_int_equal(ks_crc32c(KS_SLICE_LIT("123456789")), 0xe3069283);
    assert_int_equal(ks_crc32c(KS_SLICE_LIT("")), 0);
}

/* --- series --- */
static struct ks_slice some_labels(struct ks_buf *out)
{
    struct ks_label room[] = {{KS_NAME_LABEL, KS_SLICE_LIT("m")},
                              {KS_SLICE_LIT("zone"), KS_SLICE_LIT("z")},
                              {KS_SLICE_LIT("a"), KS_SLICE_LIT("b")}};
    struct ks_labels l = {room, 3, 3};
    ks_labels_canonicalise(&l);
    ks_buf_reset(out);
    ks_labels_encode(&l, out);
    return ks_buf_view(out);
}

static void check_labels(KsRead__Label **list, size_t n, bool tenant)
{
    assert_int_equal(n, tenant ? 5 : 3);
    for (size_t i = 1; i < n; i++)
        assert_true(strcmp(list[i - 1]->name, list[i]->name) < 0);
    if (tenant)
        assert_string_equal(list[2]->value, "4000000000");
    assert_string_equal(list[n - 1]->value, "z");
}

static void test_series(void **state)
{
    enum { MAX = 1000 };
    static int64_t times[MAX], t[MAX];
    static double values[MAX], v[MAX];
    struct ks_tenant tenant = {4000000000, 2};
    struct ks_buf out, scratch, labels;
    ks_buf_init(&out, 16 << 20);
    ks_buf_init(&scratch, 16 << 20);
    ks_buf_init(&labels, 1 << 10);
    for (int round = 0; round < 300; round++) {
        size_t n = random_samples(times, values, MAX), at = 0;
        const struct ks_tenant *who = round % 2 ? &tenant : NULL;
        ks_buf_reset(&out);
        ks_read_put_series(&out, some_labels(&labels), who, times, values, n, NULL);
        KsRead__QueryResult *q = ks_read__query_result__unpack(NULL, out.len, (uint8_t *)out.ptr);
        assert_non_null(q);
        assert_int_equal(q->n_timeseries, 1);
        check_labels(q->timeseries[0]->labels, q->timeseries[0]->n_labels, who);
        assert_int_equal(q->timeseries[0]->n_samples, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(q->timeseries[0]->samples[i]->timestamp == times[i]);
            assert_memory_equal(&q->timeseries[0]->samples[i]->value, &values[i], 8);
        }
        ks_read__query_result__free_unpacked(q, NULL);
        ks_buf_reset(&out);
        assert_int_equal(
            ks_read_put_frame(&out, &scratch, some_labels(&labels), who, times, values, n, 3),
            KS_OK);
        struct ks_reader r = ks_reader(ks_buf_view(&out));
        uint64_t len = ks_read_varint(&r);
        uint32_t crc = ks_read_be32(&r);
        struct ks_slice frame = ks_read_bytes(&r, len);
        assert_true(!r.bad && r.p == r.end && crc == ks_crc32c(frame));
        KsRead__ChunkedReadResponse *c =
            ks_read__chunked_read_response__unpack(NULL, frame.len, (const uint8_t *)frame.ptr);
        assert_non_null(c);
        assert_int_equal(c->query_index, 3);
        check_labels(c->chunked_series[0]->labels, c->chunked_series[0]->n_labels, who);
        for (size_t i = 0; i < c->chunked_series[0]->n_chunks; i++) {
            const KsRead__Chunk *k = c->chunked_series[0]->chunks[i];
            size_t got = decode(k->data.data, k->data.len, t, v);
            assert_true(k->type == 1 && k->min_time_ms == t[0] && k->max_time_ms == t[got - 1]);
            assert_memory_equal(t, times + at, got * sizeof *t);
            assert_memory_equal(v, values + at, got * sizeof *v);
            at += got;
        }
        assert_int_equal(at, n);
        ks_read__chunked_read_response__free_unpacked(c, NULL);
    }
    ks_buf_done(&out);
    ks_buf_done(&scratch);
    ks_buf_done(&labels);
}

/* --- requests --- */
static ks_err parse(const KsRead__ReadRequest *q, struct ks_arena *arena,
                    struct ks_read_request *ret)
{
    size_t len = ks_read__read_request__get_packed_size(q);
    uint8_t *body = ks_arena_alloc(arena, len + 1);
    ks_read__read_request__pack(q, body);
    return ks_read_request_parse(ks_slice(body, len), arena, ret);
}

static void test_request(void **state)
{
    KsRead__LabelMatcher m = KS_READ__LABEL_MATCHER__INIT, *ms[] = {&m};
    KsRead__Query q = KS_READ__QUERY__INIT, *qs[] = {&q, &q};
    KsRead__ReadRequest r = KS_READ__READ_REQUEST__INIT;
    KsRead__ResponseType types[] = {7, KS_READ__RESPONSE_TYPE__STREAMED_XOR_CHUNKS,
                                    KS_READ__RESPONSE_TYPE__SAMPLES};
    struct ks_read_request got;
    struct ks_arena arena;
    ks_arena_init(&arena, 1 << 20);
    m.type = 3;
    m.name = "n";
    m.value = "v.*";
    q.start_timestamp_ms = -5;
    q.end_timestamp_ms = 1700000000000;
    q.matchers = ms;
    q.n_matchers = 1;
    r.queries = qs;
    r.n_queries = 2;
    assert_int_equal(parse(&r, &arena, &got), KS_OK);
    assert_int_equal(got.count, 2);
    assert_false(got.streamed);
    assert_true(got.queries[1].start_ms == -5 && got.queries[1].end_ms == 1700000000000);
    assert_int_equal(got.queries[1].selector.matchers[0].op, KS_MATCH_NRE);
    assert_true(ks_slice_is(got.queries[0].selector.matchers[0].value, "v.*"));
    r.accepted_response_types = types;
    r.n_accepted_response_types = 3;
    assert_int_equal(parse(&r, &arena, &got), KS_OK);
    assert_true(got.streamed);
    m.type = 4;
    assert_int_equal(parse(&r, &arena, &got), KS_EPARSE);
    assert_int_equal(ks_read_request_parse(KS_SLICE_LIT("\x0a\x05"), &arena, &got), KS_EPARSE);
    ks_arena_done(&arena);
    /* Two bytes of input ask for a struct each: the arena's cap holds. */
    static char many[400000];
    for (size_t i = 0; i < sizeof many; i += 2)
        many[i] = 0x0a;
    ks_arena_init(&arena, 1 << 20);
    ks_err err = ks_read_request_parse(ks_slice(many, sizeof many), &arena, &got);
    assert_true(err == KS_ELIMIT || err == KS_EPARSE);
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xor),
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_series),
        cmocka_unit_test(test_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
