#include "api/prom/remote_read.h"

#include "api/compress.h"
#include "api/ingest/histogram_proto.h"
#include "api/prom/sink.h"
#include "api/prom/xor_chunk.h"
#include "base/num.h"
#include "remote_read.pb-c.h"

/* A request is small: some matchers per selector. Chunk type 1 is XOR. */
enum {
    REQUEST_BYTES_MAX = 4 << 20,
    QUERIES_MAX = 1000,
    MATCHERS_MAX = 1000,
    XOR = 1,
    LENGTH_BYTES = 5
};

/* --- request --- */
static void *arena_alloc(void *arena, size_t size)
{
    return ks_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *p)
{
}

static ks_err matcher_of(const KsRead__LabelMatcher *m, struct ks_matcher *ret)
{
    static const enum ks_match_op ops[] = {KS_MATCH_EQ, KS_MATCH_NEQ, KS_MATCH_RE, KS_MATCH_NRE};
    if (m->type < 0 || m->type > 3)
        return ks_fail(KS_EPARSE, "unknown matcher type %d of label \"%.100s\"", m->type, m->name);
    *ret = (struct ks_matcher){ks_slice_str(m->name), ks_slice_str(m->value), ops[m->type]};
    return KS_OK;
}

static ks_err query_of(const KsRead__Query *q, struct ks_arena *arena, struct ks_read_query *ret)
{
    if (q->n_matchers > MATCHERS_MAX)
        return ks_fail(KS_EPARSE, "a query of %zu matchers; at most %d are allowed", q->n_matchers,
                       MATCHERS_MAX);
    *ret =
        (struct ks_read_query){q->start_timestamp_ms, q->end_timestamp_ms, {NULL, q->n_matchers}};
    ret->selector.matchers =
        ks_arena_array(arena, q->n_matchers + 1, sizeof *ret->selector.matchers);
    if (!ret->selector.matchers)
        return ks_arena_err(arena);
    for (size_t i = 0; i < q->n_matchers; i++)
        KS_TRY(matcher_of(q->matchers[i], &ret->selector.matchers[i]));
    return KS_OK;
}

ks_err ks_read_request_parse(struct ks_slice protobuf, struct ks_arena *arena,
                             struct ks_read_request *ret)
{
    ProtobufCAllocator alloc = {arena_alloc, arena_free, arena};
    KsRead__ReadRequest *r =
        ks_read__read_request__unpack(&alloc, protobuf.len, (const uint8_t *)protobuf.ptr);
    if (!r && arena->err != KS_OK)
        return ks_arena_err(arena);
    if (!r)
        return ks_fail(KS_EPARSE, "malformed protobuf of a remote read request, %zu bytes",
                       protobuf.len);
    if (r->n_queries > QUERIES_MAX)
        return ks_fail(KS_EPARSE, "%zu queries in one request; at most %d are allowed",
                       r->n_queries, QUERIES_MAX);
    *ret = (struct ks_read_request){.count = r->n_queries};
    ret->queries = ks_arena_array(arena, r->n_queries + 1, sizeof *ret->queries);
    if (!ret->queries)
        return ks_arena_err(arena);
    for (size_t i = 0; i < r->n_queries; i++)
        KS_TRY(query_of(r->queries[i], arena, &ret->queries[i]));
    /* The first of the list that is known; no list means samples. */
    ret->samples = r->n_accepted_response_types == 0;
    for (size_t i = 0; i < r->n_accepted_response_types; i++) {
        int type = (int)r->accepted_response_types[i];
        ret->streamed |= type == KS_READ__RESPONSE_TYPE__STREAMED_XOR_CHUNKS && !ret->samples;
        ret->samples |= type == KS_READ__RESPONSE_TYPE__SAMPLES;
    }
    return KS_OK;
}

/* --- answers --- */
static size_t varint_len(uint64_t v)
{
    return v < 128 ? 1 : (size_t)(70 - __builtin_clzll(v)) / 7;
}

/* A field whose length is known only at its end gets a varint of fixed width. */
static size_t begin_field(struct ks_buf *out, uint8_t key)
{
    ks_buf_byte(out, key);
    ks_buf_add(out, "\0\0\0\0\0", LENGTH_BYTES);
    return out->len;
}

static void end_field(struct ks_buf *out, size_t start)
{
    size_t len = out->len - start;
    if (ks_buf_status(out) != KS_OK)
        return;
    for (size_t i = 0; i < LENGTH_BYTES; i++, len >>= 7)
        out->ptr[start - LENGTH_BYTES + i] =
            (char)((len & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

static void put_label(struct ks_buf *out, struct ks_slice name, struct ks_slice value)
{
    ks_buf_byte(out, 0x0a);
    ks_buf_varint(out, 2 + varint_len(name.len) + name.len + varint_len(value.len) + value.len);
    ks_buf_byte(out, 0x0a);
    ks_buf_lp(out, name);
    ks_buf_byte(out, 0x12);
    ks_buf_lp(out, value);
}

static int name_cmp(struct ks_slice a, struct ks_slice b)
{
    int c = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* All labels as fields 1, by name: clients rely on that order. */
static void put_labels(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant)
{
    char text[2][24];
    struct ks_label extra[2] = {{KS_SLICE_LIT("vm_account_id"), {text[0], 0}},
                                {KS_SLICE_LIT("vm_project_id"), {text[1], 0}}};
    size_t next = tenant ? 0 : 2;
    if (tenant) {
        extra[0].value.len = ks_u64_format(text[0], tenant->account);
        extra[1].value.len = ks_u64_format(text[1], tenant->project);
    }
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        for (; next < 2 && name_cmp(extra[next].name, l.name) < 0; next++)
            put_label(out, extra[next].name, extra[next].value);
        put_label(out, l.name, l.value);
    }
    for (; next < 2; next++)
        put_label(out, extra[next].name, extra[next].value);
}

void ks_read_put_series(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant,
                        const int64_t *times, const double *values, size_t n,
                        const struct ks_histogram_run *histograms)
{
    size_t series = begin_field(out, 0x0a);
    put_labels(out, labels, tenant);
    for (size_t i = 0; i < n; i++) {
        if (!ks_buf_reserve(out, 32))
            return;
        uint8_t *p = (uint8_t *)out->ptr + out->len, *start = p;
        *p++ = 0x12;
        *p++ = (uint8_t)(10 + varint_len((uint64_t)times[i]));
        *p++ = 0x09;
        ks_put_le64(p, ks_f64_bits(values[i]));
        p += 8;
        *p++ = 0x10;
        p += ks_varint_put(p, (uint64_t)times[i]);
        out->len += (size_t)(p - start);
    }
    for (size_t i = 0; histograms && i < histograms->count; i++) {
        size_t one = begin_field(out, 0x22);
        ks_histogram_put_proto(&histograms->items[i], histograms->times[i], out);
        end_field(out, one);
    }
    end_field(out, series);
}

static void put_chunk(struct ks_buf *out, const int64_t *times, const double *values, size_t n)
{
    uint8_t data[KS_XOR_CHUNK_BYTES_MAX];
    size_t len = ks_xor_chunk_encode(times, values, n, data), chunk = begin_field(out, 0x12);
    ks_buf_byte(out, 0x08);
    ks_buf_varint(out, (uint64_t)times[0]);
    ks_buf_byte(out, 0x10);
    ks_buf_varint(out, (uint64_t)times[n - 1]);
    ks_buf_byte(out, 0x18);
    ks_buf_byte(out, XOR);
    ks_buf_byte(out, 0x22);
    ks_buf_lp(out, ks_slice(data, len));
    end_field(out, chunk);
}

/* Frame: varint length, CRC-32C big-endian, ChunkedReadResponse. */
ks_err ks_read_put_frame(struct ks_buf *out, struct ks_buf *scratch, struct ks_slice labels,
                         const struct ks_tenant *tenant, const int64_t *times, const double *values,
                         size_t n, size_t query_index)
{
    ks_buf_reset(scratch);
    size_t series = begin_field(scratch, 0x0a);
    put_labels(scratch, labels, tenant);
    for (size_t i = 0; i < n; i += KS_XOR_CHUNK_SAMPLES)
        put_chunk(scratch, times + i, values + i,
                  n - i < KS_XOR_CHUNK_SAMPLES ? n - i : KS_XOR_CHUNK_SAMPLES);
    end_field(scratch, series);
    ks_buf_byte(scratch, 0x10);
    ks_buf_varint(scratch, query_index);
    KS_TRY(ks_buf_status(scratch));
    uint8_t crc[4];
    ks_put_be32(crc, ks_crc32c(ks_buf_view(scratch)));
    ks_buf_varint(out, scratch->len);
    ks_buf_add(out, crc, 4);
    ks_buf_slice(out, ks_buf_view(scratch));
    return ks_buf_status(out);
}

/* --- the handler --- */
struct reader {
    struct ks_prom_ctx ctx;
    struct ks_sink sink;   /* streamed: the answer */
    struct ks_buf message; /* samples: the answer before packing; streamed: a frame's */
    bool streamed;
};

static ks_err put(struct reader *x, struct ks_slice labels, const struct ks_tenant *tenant,
                  const struct ks_samples *s, const struct ks_histogram_run *h, size_t query)
{
    if (!x->streamed) {
        ks_read_put_series(&x->message, labels, tenant, s->times, s->values, s->count, h);
        if (ks_buf_status(&x->message) == KS_ETOOBIG)
            return ks_fail(KS_ELIMIT,
                           "the answer exceeds -search.maxMemoryPerQuery (%zu bytes); read less at "
                           "once, or accept "
                           "STREAMED_XOR_CHUNKS",
                           x->message.max);
        return ks_buf_status(&x->message);
    }
    for (size_t i = 0; i < s->count; i += KS_READ_FRAME_SAMPLES) {
        size_t n = s->count - i < KS_READ_FRAME_SAMPLES ? s->count - i : KS_READ_FRAME_SAMPLES;
        KS_TRY(ks_read_put_frame(x->sink.out, &x->message, labels, tenant, s->times + i,
                                 s->values + i, n, query));
        KS_TRY(ks_sink_drain(&x->sink, false));
    }
    return KS_OK;
}

static ks_err select_query(struct reader *x, const struct ks_read_query *q,
                           struct ks_series_set **ret)
{
    struct ks_http_request *req = x->ctx.req;
    struct ks_select_opts sel = {.min_ms = q->start_ms, .max_ms = q->end_ms, .ctx = &x->ctx.read};
    if (!req->multitenant) {
        sel.tenants = &req->tenant;
        sel.tenant_count = 1;
    }
    KS_TRY(ks_prom_and_filters(&x->ctx, &q->selector, 1, &sel));
    KS_TRY(ks_engine_narrow_tenants(x->ctx.app->engine, &sel, &req->arena));
    return ks_engine_select(x->ctx.app->engine, &sel, ret);
}

static ks_err read_series(struct reader *x, const struct ks_read_query *q, size_t index,
                          struct ks_series_set *set, size_t i, struct ks_samples *samples,
                          struct ks_arena *arena)
{
    struct ks_tenant t = ks_series_set_tenant(set, i);
    struct ks_histogram_run h = {0};
    struct ks_slice labels;
    KS_TRY(ks_read_ctx_check(&x->ctx.read));
    KS_TRY(ks_series_read(set, i, q->start_ms, q->end_ms, samples));
    if (!x->streamed && ks_series_has_histograms(set, i)) {
        ks_arena_reset(arena);
        KS_TRY(ks_series_read_histograms(set, i, q->start_ms, q->end_ms, arena, &h));
    }
    if (!samples->count && !h.count)
        return KS_OK;
    KS_TRY(ks_series_set_labels(set, i, &labels));
    return put(x, labels, x->ctx.req->multitenant ? &t : NULL, samples, &h, index);
}

static ks_err read_query(struct reader *x, const struct ks_read_query *q, size_t index,
                         struct ks_series_set *set)
{
    struct ks_samples samples = {0};
    struct ks_arena arena;
    ks_err err = KS_OK;
    ks_arena_init(&arena, x->message.max);
    for (size_t i = 0; i < ks_series_set_count(set) && err == KS_OK; i++)
        err = read_series(x, q, index, set, i, &samples, &arena);
    ks_arena_done(&arena);
    ks_samples_done(&samples);
    return err;
}

static bool any_histograms(const struct ks_series_set *set)
{
    bool any = false;
    for (size_t i = 0; i < ks_series_set_count(set) && !any; i++)
        any = ks_series_has_histograms(set, i);
    return any;
}

/* All queries are selected before the first is answered: what they find decides the form. */
static ks_err select_all(struct reader *x, const struct ks_read_request *r,
                         struct ks_series_set **sets)
{
    bool histograms = false;
    for (size_t i = 0; i < r->count; i++) {
        if (r->queries[i].start_ms > r->queries[i].end_ms)
            continue;
        KS_TRY(select_query(x, &r->queries[i], &sets[i]));
        histograms |= any_histograms(sets[i]);
    }
    x->streamed = r->streamed && !(histograms && r->samples);
    return KS_OK;
}

static ks_err read_all(struct reader *x, const struct ks_read_request *r,
                       struct ks_series_set *const *sets)
{
    for (size_t i = 0; i < r->count; i++) {
        size_t result = x->streamed ? 0 : begin_field(&x->message, 0x0a);
        if (sets[i])
            KS_TRY(read_query(x, &r->queries[i], i, sets[i]));
        if (!x->streamed)
            end_field(&x->message, result);
    }
    return ks_buf_status(&x->message);
}

static ks_err answer(struct reader *x, const struct ks_read_request *r,
                     struct ks_series_set *const *sets)
{
    struct ks_http_request *req = x->ctx.req;
    req->resp.content_type =
        x->streamed ? "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
                    : "application/x-protobuf";
    req->resp.precompressed = true;
    KS_TRY(read_all(x, r, sets));
    if (x->streamed)
        return ks_sink_drain(&x->sink, true);
    ks_http_add_header(req, "Content-Encoding", KS_SLICE_LIT("snappy"));
    return ks_compress(KS_ENC_SNAPPY, ks_buf_view(&x->message), &req->resp.body);
}

ks_err ks_prom_remote_read(struct ks_http_request *req)
{
    struct reader x = {.sink = {req, &req->resp.body}};
    struct ks_read_request r;
    struct ks_buf body;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_query_duration_ms, &x.ctx));
    const struct ks_config *cfg = &x.ctx.app->cfg;
    x.ctx.read.max_series = cfg->max_unique_series;
    x.ctx.read.max_samples = cfg->max_samples_per_query;
    ks_buf_init(&body, REQUEST_BYTES_MAX);
    ks_err err = ks_decompress(KS_ENC_SNAPPY, req->body, REQUEST_BYTES_MAX, &body);
    if (err == KS_OK)
        err = ks_read_request_parse(ks_buf_view(&body), &req->arena, &r);
    ks_buf_done(&body); /* the request is in the arena: protobuf-c copies */
    KS_TRY(err);
    struct ks_series_set **sets = ks_arena_zalloc(&req->arena, (r.count + 1) * sizeof(*sets));
    if (!sets)
        return ks_arena_err(&req->arena);
    ks_buf_init(&x.message, cfg->max_memory_per_query_bytes ? cfg->max_memory_per_query_bytes
                                                            : KS_BUF_UNLIMITED);
    err = select_all(&x, &r, sets);
    if (err == KS_OK)
        err = answer(&x, &r, sets);
    for (size_t i = 0; i < r.count; i++)
        ks_series_set_free(sets[i]);
    ks_buf_done(&x.message);
    return err;
}
