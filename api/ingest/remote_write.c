#include "api/ingest/remote_write.h"

#include <stdio.h>
#include <strings.h>

#include "api/app.h"
#include "api/compress.h"
#include "api/exemplars.h"
#include "api/ingest/remote_write_priv.h"
#include "api/metadata.h"
#include "api/scratch.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"promremotewrite\"}");
static KS_STAT(stat_metadata, "vm_metadata_rows_inserted_total{type=\"promremotewrite\"}");
static KS_STAT(stat_histograms, "kofstore_native_histograms_received_total");

/*
 * The sample nearly every client sends: value (9 bytes), then a timestamp of 6 varint bytes (1971
 * to 2109). Reads it with two loads; false sends it down the slow path.
 */
static inline bool fast_sample(const uint8_t *p, const uint8_t *body_end,
                               struct ks_write_sample *ret)
{
    if (body_end - p < 20 || p[0] != 16 || p[1] != 0x09 || p[10] != 0x10)
        return false;
    uint64_t x;
    memcpy(&x, p + 11, 8);
    if ((x & 0x808080808080u) != 0x8080808080u)
        return false;
    ret->time_ms =
        (int64_t)((x & 0x7f) | (x >> 1 & 0x7f << 7) | (x >> 2 & 0x7full << 14) |
                  (x >> 3 & 0x7full << 21) | (x >> 4 & 0x7full << 28) | (x >> 5 & 0x7full << 35));
    memcpy(&ret->value, p + 2, 8);
    return true;
}

ks_err ksi_rw_sample(struct ks_ingest *in, const struct ksi_pb *pb, const uint8_t *p,
                     const uint8_t *end)
{
    double value = 0;
    uint64_t time = 0;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        if (!ks_pb_varint(&p, end, &key))
            return ksi_pb_fail(pb, at, "Sample");
        if (key == 0x09) {
            if (end - p < 8)
                return ksi_pb_fail(pb, at, "Sample.value");
            memcpy(&value, p, 8);
            p += 8;
        } else if (key == 0x10) {
            if (!ks_pb_varint(&p, end, &time))
                return ksi_pb_fail(pb, at, "Sample.timestamp");
        } else if (!ksi_pb_skip(&p, end, key)) {
            return ksi_pb_fail(pb, at, "Sample");
        }
    }
    return ks_ingest_sample(in, (int64_t)time, value);
}

/* Labels that do not lie in one run are brought together: rare, and it keeps `raw` one slice. */
static ks_err gather_labels(struct ks_ingest *in, const uint8_t *p, const uint8_t *end,
                            struct ks_slice *ret)
{
    char *out = ks_arena_alloc(in->arena, (size_t)(end - p) + 1), *o = out;
    if (!out)
        return ks_arena_err(in->arena);
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        bool ok = ks_pb_varint(&p, end, &key) && ksi_pb_skip(&p, end, key);
        KS_ASSERT(ok); /* walked once already */
        if (key == 0x0a) {
            memcpy(o, at, (size_t)(p - at));
            o += p - at;
        }
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

ks_err ksi_rw_exemplar(const struct ksi_pb *pb, struct ks_slice msg, struct ks_exemplar *x)
{
    const uint8_t *p = (const uint8_t *)msg.ptr, *end = p + msg.len;
    uint64_t time = 0;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        bool ok = ks_pb_varint(&p, end, &key);
        if (ok && key == 0x11 && end - p >= 8) {
            memcpy(&x->value, p, 8);
            p += 8;
        } else if (ok && key == 0x18) {
            ok = ks_pb_varint(&p, end, &time);
        } else {
            ok = ok && ksi_pb_skip(&p, end, key);
        }
        if (!ok)
            return ksi_pb_fail(pb, at, "Exemplar");
    }
    x->time_ms = (int64_t)time;
    return KS_OK;
}

static ks_err exemplar_v1(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                          struct ks_slice msg)
{
    const uint8_t *start = (const uint8_t *)msg.ptr;
    struct ks_exemplar x = {.series_raw = raw};
    KS_TRY(ksi_rw_exemplar(pb, msg, &x));
    KS_TRY(gather_labels(in, start, start + msg.len, &x.raw));
    return ks_ingest_exemplar(in, &x);
}

/* What a TimeSeries message holds, after one walk that checked every field. */
struct series_parts {
    struct ks_slice raw;
    const uint8_t *first_sample, *samples_end; /* the first run of samples */
    bool scattered_labels, scattered_samples;
    bool samples, exemplars, histograms;
};

/*
 * The label lengths of the series before. Neighbours in a request are twins: walking by the
 * remembered lengths and only checking them keeps the next address from waiting for the load before
 * it, which is most of the cost of a plain walk.
 */
enum { SHAPE_MAX = 64 };
struct shape {
    uint8_t len[SHAPE_MAX];
    unsigned count;
};

/* Steps over label fields shorter than 128 bytes; returns where the run of them ends. Corrects the
 * shape as it goes. */
static inline const uint8_t *walk_labels(struct shape *sh, const uint8_t *p, const uint8_t *end)
{
    unsigned i = 0;
    for (; i < SHAPE_MAX; i++) {
        if (i < sh->count) {
            unsigned len = sh->len[i];
            if (KS_LIKELY((size_t)(end - p) >= 2 + len && p[0] == 0x0a && p[1] == len)) {
                p += 2 + len;
                continue;
            }
        }
        if (end - p < 2 || p[0] != 0x0a || p[1] >= 0x80 || end - p < 2 + p[1])
            break;
        sh->len[i] = p[1];
        if (i >= sh->count)
            sh->count = i + 1;
        p += 2 + p[1];
    }
    sh->count = i;
    return p;
}

static ks_err walk_series(const struct ksi_pb *pb, struct shape *sh, const uint8_t *p,
                          const uint8_t *end, struct series_parts *ret)
{
    struct series_parts s = {0};
    const uint8_t *raw = p, *raw_end = walk_labels(sh, p, end);
    if (raw_end == p)
        raw = raw_end = NULL;
    else
        p = raw_end;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t len;
        uint8_t key = *p;
        if (KS_LIKELY(key == 0x0a)) {
            s.scattered_labels |= raw && raw_end != p;
            raw = raw ? raw : p;
            do {
                p++;
                if (KS_UNLIKELY(!ks_pb_varint(&p, end, &len) || len > (uint64_t)(end - p)))
                    return ksi_pb_fail(pb, at, "TimeSeries.labels");
                p += len;
            } while (p < end && *p == 0x0a);
            raw_end = p;
        } else if (KS_LIKELY(key == 0x12)) {
            s.scattered_samples |= s.samples && s.samples_end != p;
            s.first_sample = s.first_sample ? s.first_sample : p;
            p++;
            if (KS_UNLIKELY(!ks_pb_varint(&p, end, &len) || len > (uint64_t)(end - p)))
                return ksi_pb_fail(pb, at, "TimeSeries.samples");
            p += len;
            s.samples_end = p;
            s.samples = true;
        } else {
            uint64_t k;
            if (!ks_pb_varint(&p, end, &k) || !ksi_pb_skip(&p, end, k))
                return ksi_pb_fail(pb, at, "TimeSeries");
            s.exemplars |= k == 0x1a;
            s.histograms |= k == 0x22;
        }
    }
    s.raw = ks_slice(raw, raw ? (size_t)(raw_end - raw) : 0);
    *ret = s;
    return KS_OK;
}

/* The samples between p and end; other fields are stepped over (they were checked). */
static ks_err take_samples(struct ks_ingest *in, const struct ksi_pb *pb, const uint8_t *p,
                           const uint8_t *end, const uint8_t *body_end)
{
    while (p < end) {
        struct ks_write_sample x;
        if (KS_LIKELY(*p == 0x12 && fast_sample(p + 1, body_end, &x))) {
            KS_TRY(ks_ingest_sample(in, x.time_ms, x.value));
            p += 18;
            continue;
        }
        uint64_t key = 0;
        struct ks_slice msg;
        bool ok = ks_pb_varint(&p, end, &key);
        if (key == 0x12 && ok && ksi_pb_bytes(&p, end, &msg)) {
            const uint8_t *m = (const uint8_t *)msg.ptr;
            KS_TRY(ksi_rw_sample(in, pb, m, m + msg.len));
        } else {
            ok = ok && ksi_pb_skip(&p, end, key);
            KS_ASSERT(ok);
        }
    }
    return KS_OK;
}

/* Exemplars and native histograms: rare, so by a second walk. */
static ks_err take_rest(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                        const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        uint64_t key = 0;
        struct ks_slice msg;
        bool ok = ks_pb_varint(&p, end, &key);
        if (ok && (key == 0x1a || key == 0x22) && ksi_pb_bytes(&p, end, &msg)) {
            if (key == 0x1a) {
                KS_TRY(exemplar_v1(in, pb, raw, msg));
            } else {
                ks_stat_add(&stat_histograms, 1);
                KS_TRY(ksi_rw_histogram(in, pb, raw, msg));
            }
        } else {
            ok = ok && ksi_pb_skip(&p, end, key);
            KS_ASSERT(ok);
        }
    }
    return KS_OK;
}

static ks_err time_series(struct ks_ingest *in, const struct ksi_pb *pb, struct shape *sh,
                          const uint8_t *p, const uint8_t *end, const uint8_t *body_end)
{
    struct series_parts s;
    KS_TRY(walk_series(pb, sh, p, end, &s));
    if (KS_UNLIKELY(s.scattered_labels))
        KS_TRY(gather_labels(in, p, end, &s.raw));
    if (KS_LIKELY(s.samples)) {
        KS_TRY(ks_ingest_series(in, s.raw));
        KS_TRY(take_samples(in, pb, s.scattered_samples ? p : s.first_sample,
                            s.scattered_samples ? end : s.samples_end, body_end));
    }
    if (KS_UNLIKELY(s.exemplars || s.histograms))
        KS_TRY(take_rest(in, pb, s.raw, p, end));
    return ks_ingest_flush_if_big(in);
}

/* MetricMetadata: type (1), metric_family_name (2), help (4), unit (5). */
static ks_err metadata(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice msg)
{
    const uint8_t *p = (const uint8_t *)msg.ptr, *end = p + msg.len;
    struct ks_metadata m = {.tenant = in->tenant};
    uint64_t type = 0;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        bool ok = ks_pb_varint(&p, end, &key);
        struct ks_slice *field = key == 0x12   ? &m.name
                                 : key == 0x22 ? &m.help
                                 : key == 0x2a ? &m.unit
                                               : NULL;
        if (ok && key == 0x08)
            ok = ks_pb_varint(&p, end, &type);
        else if (ok && field)
            ok = ksi_pb_bytes(&p, end, field);
        else
            ok = ok && ksi_pb_skip(&p, end, key);
        if (!ok)
            return ksi_pb_fail(pb, at, "MetricMetadata");
    }
    m.type = (unsigned)type;
    ks_stat_add(&stat_metadata, 1);
    ks_metadata_put(in->app->metadata, &m);
    return KS_OK;
}

ks_err ks_remote_write_v1(struct ks_ingest *in, struct ks_slice body)
{
    const uint8_t *p = (const uint8_t *)body.ptr, *end = p ? p + body.len : p;
    struct ksi_pb pb = {p};
    struct shape sh = {.count = 0};
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        struct ks_slice msg;
        if (!ks_pb_varint(&p, end, &key))
            return ksi_pb_fail(&pb, at, "WriteRequest");
        if (KS_LIKELY(key == 0x0a)) {
            if (!ksi_pb_bytes(&p, end, &msg))
                return ksi_pb_fail(&pb, at, "WriteRequest.timeseries");
            const uint8_t *m = (const uint8_t *)msg.ptr;
            KS_TRY(time_series(in, &pb, &sh, m, m + msg.len, end));
        } else if (key == 0x1a) {
            if (!ksi_pb_bytes(&p, end, &msg))
                return ksi_pb_fail(&pb, at, "WriteRequest.metadata");
            KS_TRY(metadata(in, &pb, msg));
        } else if (!ksi_pb_skip(&p, end, key)) {
            return ksi_pb_fail(&pb, at, "WriteRequest");
        }
    }
    return KS_OK;
}

/* --- the handler --- */
/*
 * Clients and proxies mislabel the body: VictoriaMetrics' own protocol is zstd, Prometheus' is
 * snappy, and each falls back to the other. An uncompressed body is taken when the header says
 * identity.
 */
static ks_err decode_body(struct ks_http_request *req, struct ks_slice *ret)
{
    struct ks_scratch *s = req->scratch;
    size_t limit = ks_app_of(req)->cfg.max_insert_request_bytes;
    struct ks_slice header = ks_http_header(req, "Content-Encoding");
    enum ks_encoding e = ks_encoding_of(header);
    if (e == KS_ENC_NONE && header.len) {
        *ret = req->body;
        return KS_OK;
    }
    if (e == KS_ENC_NONE)
        e = KS_ENC_SNAPPY;
    ks_buf_reset(&s->body);
    ks_err err = ks_decompress(e, req->body, limit, &s->body);
    if (err == KS_EPARSE && (e == KS_ENC_SNAPPY || e == KS_ENC_ZSTD)) {
        char first[256];
        snprintf(first, sizeof first, "%s", ks_err_text());
        ks_buf_reset(&s->body);
        err = ks_decompress(e == KS_ENC_SNAPPY ? KS_ENC_ZSTD : KS_ENC_SNAPPY, req->body, limit,
                            &s->body);
        if (err == KS_EPARSE)
            err = ks_fail(KS_EPARSE, "%s", first);
    }
    *ret = ks_buf_view(&s->body);
    return err;
}

/* 2.0 announces itself in the content type:
 * application/x-protobuf;proto=io.prometheus.write.v2.Request */
static ks_err protocol_version(struct ks_http_request *req, int *ret)
{
    struct ks_slice type = ks_http_header(req, "Content-Type");
    char text[256];
    snprintf(text, sizeof text, "%.*s", KS_SLICE_ARG(type));
    const char *proto = strcasestr(text, "proto=");
    if (!proto || strcasestr(proto, "prometheus.WriteRequest"))
        *ret = 1;
    else if (strcasestr(proto, "io.prometheus.write.v2.Request"))
        *ret = 2;
    else
        return ks_fail(KS_EUNSUPPORTED,
                       "unknown remote write message \"%s\"; want prometheus.WriteRequest or "
                       "io.prometheus.write.v2.Request",
                       proto + 6);
    return KS_OK;
}

static void written_header(struct ks_http_request *req, const char *name, uint64_t n)
{
    ks_http_add_header(req, name, ks_arena_printf(&req->arena, "%llu", (unsigned long long)n));
}

ks_err ks_remote_write_handle(struct ks_http_request *req)
{
    if (ks_http_arg(req, "get_vm_proto_version").len) {
        ks_http_text(req, 200, "1");
        return KS_OK;
    }
    int version = 1;
    KS_TRY(protocol_version(req, &version));
    struct ks_ingest in;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    struct ks_slice body;
    KS_TRY(decode_body(req, &body));
    KS_TRY(version == 2 ? ks_remote_write_v2(&in, body) : ks_remote_write_v1(&in, body));
    KS_TRY(ks_ingest_end(&in));
    req->resp.status = 204;
    if (version == 2) {
        written_header(req, "X-Prometheus-Remote-Write-Samples-Written", in.samples);
        written_header(req, "X-Prometheus-Remote-Write-Histograms-Written", in.histograms);
        written_header(req, "X-Prometheus-Remote-Write-Exemplars-Written", in.exemplars);
    }
    return KS_OK;
}
