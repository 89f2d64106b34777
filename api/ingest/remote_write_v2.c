/*
 * Remote write 2.0: label references into a symbol table. The references are turned into raw
 * labels, so a series has the same key whichever version brought it.
 */
#include "api/app.h"
#include "api/exemplars.h"
#include "api/ingest/remote_write_priv.h"
#include "api/metadata.h"
#include "base/stats.h"

/* Where each symbol's length prefix stands in the body: 4 bytes per symbol, whatever the client
 * claims. */
struct symbols {
    const uint8_t *body, *end;
    uint32_t *offsets;
    size_t count;
};

static ks_err symbol(const struct symbols *t, uint64_t ref, struct ks_slice *ret)
{
    if (ref >= t->count)
        return ks_fail(KS_EPARSE, "symbol reference %llu is out of range: %zu symbols",
                       (unsigned long long)ref, t->count);
    const uint8_t *p = t->body + t->offsets[ref];
    bool ok = ksi_pb_bytes(&p, t->end, ret);
    KS_ASSERT(ok); /* checked when the table was made */
    return KS_OK;
}

/* Counts the symbols, or with offsets also notes where they are. */
static ks_err scan_symbols(const struct ksi_pb *pb, struct symbols *t, bool fill)
{
    size_t n = 0;
    for (const uint8_t *p = t->body; p < t->end;) {
        const uint8_t *at = p;
        uint64_t key = 0;
        if (!ks_pb_varint(&p, t->end, &key))
            return ksi_pb_fail(pb, at, "Request");
        const uint8_t *value = p;
        if (!ksi_pb_skip(&p, t->end, key))
            return ksi_pb_fail(pb, at, "Request");
        if (key != 0x22)
            continue;
        if (fill)
            t->offsets[n] = (uint32_t)(value - t->body);
        n++;
    }
    t->count = n;
    return KS_OK;
}

/* A packed list of references, in pairs name and value, as raw labels. */
static ks_err refs_to_raw(struct ks_ingest *in, const struct symbols *t, struct ks_slice refs,
                          struct ks_slice *ret)
{
    const uint8_t *start = (const uint8_t *)refs.ptr, *end = start + refs.len;
    size_t size = 0;
    char *out = NULL, *o = NULL;
    for (int pass = 0; pass < 2; pass++) {
        const uint8_t *p = start;
        while (p < end) {
            uint64_t a, b;
            struct ks_slice name, value;
            if (!ks_pb_varint(&p, end, &a) || !ks_pb_varint(&p, end, &b))
                return ks_fail(
                    KS_EPARSE,
                    "malformed protobuf: field TimeSeries.labels_refs: want pairs of references");
            KS_TRY(symbol(t, a, &name));
            KS_TRY(symbol(t, b, &value));
            if (pass)
                o = ks_raw_label_put(o, name, value);
            else
                size += ks_raw_label_size(name.len, value.len);
        }
        if (!pass && !(out = o = ks_arena_alloc(in->arena, size + 1)))
            return ks_arena_err(in->arena);
    }
    *ret = ks_slice(out, size);
    return KS_OK;
}

/* labels_refs may be packed (0x0a) or one by one (0x08): brought together as packed. */
static ks_err collect_refs(struct ks_ingest *in, const uint8_t *p, const uint8_t *end,
                           struct ks_slice *ret)
{
    char *out = ks_arena_alloc(in->arena, (size_t)(end - p) + 1), *o = out;
    if (!out)
        return ks_arena_err(in->arena);
    while (p < end) {
        uint64_t key = 0;
        struct ks_slice s;
        bool ok = ks_pb_varint(&p, end, &key);
        const uint8_t *value = p;
        if (ok && key == 0x0a) {
            ok = ksi_pb_bytes(&p, end, &s);
        } else {
            ok = ok && ksi_pb_skip(&p, end, key);
            s = ks_slice(value, key == 0x08 ? (size_t)(p - value) : 0);
        }
        KS_ASSERT(ok); /* walked once already */
        memcpy(o, s.ptr, s.len);
        o += s.len;
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

static ks_err exemplar_v2(struct ks_ingest *in, const struct ksi_pb *pb, const struct symbols *t,
                          struct ks_slice raw, struct ks_slice msg)
{
    const uint8_t *start = (const uint8_t *)msg.ptr;
    struct ks_exemplar x = {.series_raw = raw};
    struct ks_slice refs;
    KS_TRY(ksi_rw_exemplar(pb, msg, &x));
    KS_TRY(collect_refs(in, start, start + msg.len, &refs));
    KS_TRY(refs_to_raw(in, t, refs, &x.raw));
    return ks_ingest_exemplar(in, &x);
}

/* Metadata: type (1), help_ref (3), unit_ref (4); the name is the series'. */
static ks_err metadata_v2(struct ks_ingest *in, const struct ksi_pb *pb, const struct symbols *t,
                          struct ks_slice raw, struct ks_slice msg)
{
    const uint8_t *p = (const uint8_t *)msg.ptr, *end = p + msg.len;
    uint64_t type = 0, help = 0, unit = 0;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        bool ok = ks_pb_varint(&p, end, &key);
        uint64_t *field = key == 0x08 ? &type : key == 0x18 ? &help : key == 0x20 ? &unit : NULL;
        ok = ok && (field ? ks_pb_varint(&p, end, field) : ksi_pb_skip(&p, end, key));
        if (!ok)
            return ksi_pb_fail(pb, at, "Metadata");
    }
    struct ks_metadata m = {.tenant = in->tenant, .type = (unsigned)type};
    KS_TRY(symbol(t, help, &m.help));
    KS_TRY(symbol(t, unit, &m.unit));
    struct ks_reader r = ks_reader(raw);
    struct ks_label l;
    bool bad;
    while (!m.name.len && ks_raw_label_next(&r, &l, &bad))
        if (ks_slice_eq(l.name, KS_NAME_LABEL))
            m.name = l.value;
    if (m.name.len && (type || m.help.len || m.unit.len))
        ks_metadata_put(in->app->metadata, &m);
    return KS_OK;
}

/* Checks the structure and tells whether there are samples; *ret_rest: anything besides labels and
 * samples. */
static ks_err check_series(const struct ksi_pb *pb, const uint8_t *p, const uint8_t *end,
                           bool *ret_samples)
{
    *ret_samples = false;
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        if (!ks_pb_varint(&p, end, &key) || !ksi_pb_skip(&p, end, key))
            return ksi_pb_fail(pb, at, "TimeSeries");
        *ret_samples |= key == 0x12;
    }
    return KS_OK;
}

static ks_err time_series_v2(struct ks_ingest *in, const struct ksi_pb *pb, const struct symbols *t,
                             struct ks_slice msg)
{
    const uint8_t *start = (const uint8_t *)msg.ptr, *end = start + msg.len;
    bool samples;
    struct ks_slice refs, raw;
    KS_TRY(check_series(pb, start, end, &samples));
    KS_TRY(collect_refs(in, start, end, &refs));
    KS_TRY(refs_to_raw(in, t, refs, &raw));
    if (samples)
        KS_TRY(ks_ingest_series(in, raw));
    /* Samples first: histograms start series of their own. */
    for (int pass = 0; pass < 2; pass++)
        for (const uint8_t *p = start; p < end;) {
            uint64_t key = 0;
            struct ks_slice s;
            bool ok = ks_pb_varint(&p, end, &key);
            if (!ok || (key & 7) != 2) {
                ok = ok && ksi_pb_skip(&p, end, key);
                KS_ASSERT(ok);
                continue;
            }
            ok = ksi_pb_bytes(&p, end, &s);
            KS_ASSERT(ok);
            const uint8_t *m = (const uint8_t *)s.ptr;
            if (!pass && key == 0x12)
                KS_TRY(ksi_rw_sample(in, pb, m, m + s.len));
            else if (pass && key == 0x1a)
                KS_TRY(ksi_rw_histogram(in, pb, raw, s));
            else if (pass && key == 0x22)
                KS_TRY(exemplar_v2(in, pb, t, raw, s));
            else if (pass && key == 0x2a)
                KS_TRY(metadata_v2(in, pb, t, raw, s));
        }
    return ks_ingest_flush_if_big(in);
}

static ks_err walk_request(struct ks_ingest *in, const struct ksi_pb *pb, const struct symbols *t)
{
    for (const uint8_t *p = t->body; p < t->end;) {
        uint64_t key = 0;
        struct ks_slice msg;
        bool ok = ks_pb_varint(&p, t->end, &key);
        if (ok && key == 0x2a) {
            ok = ksi_pb_bytes(&p, t->end, &msg);
            KS_ASSERT(ok);
            KS_TRY(time_series_v2(in, pb, t, msg));
        } else {
            ok = ok && ksi_pb_skip(&p, t->end, key);
            KS_ASSERT(ok); /* scan_symbols walked all */
        }
    }
    return KS_OK;
}

ks_err ks_remote_write_v2(struct ks_ingest *in, struct ks_slice body)
{
    const uint8_t *p = (const uint8_t *)body.ptr;
    struct symbols t = {.body = p, .end = p ? p + body.len : p};
    struct ksi_pb pb = {p};
    struct ks_arena table; /* not in->arena: that one is reset by flushes */
    ks_arena_init(&table, (size_t)512 << 20);
    ks_err err = body.len > UINT32_MAX
                     ? ks_fail(KS_ETOOBIG, "a remote write 2.0 body is limited to 4 GiB")
                     : scan_symbols(&pb, &t, false);
    if (err == KS_OK && t.count) {
        t.offsets = ks_arena_array(&table, t.count, sizeof *t.offsets);
        err = t.offsets ? scan_symbols(&pb, &t, true) : ks_arena_err(&table);
    }
    if (err == KS_OK)
        err = walk_request(in, &pb, &t);
    ks_arena_done(&table);
    return err;
}
