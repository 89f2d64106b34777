#include "api/ingest/import_native.h"

#include "api/app.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"native\"}");
static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"native\"}");

enum { LABELS_MAX = 1024, PART_BYTES_MAX = 1 << 20 };

/* u32 length and as many bytes. */
static ks_err part(struct ks_reader *r, const char *what, struct ks_slice *ret)
{
    uint64_t len = ks_read_be32(r);
    if (!r->bad && len > PART_BYTES_MAX)
        return ks_fail(KS_EPARSE, "a %s of %llu bytes; at most %d are allowed", what,
                       (unsigned long long)len, PART_BYTES_MAX);
    *ret = ks_read_bytes(r, len);
    return r->bad ? ks_fail(KS_EPARSE, "the body ends within a %s", what) : KS_OK;
}

static ks_err import_block(struct ks_ingest *in, struct ks_reader *r, struct ks_vm_block *b,
                           int64_t min_ms, int64_t max_ms)
{
    struct ks_slice name, block, raw;
    struct ks_label labels[LABELS_MAX];
    size_t count;
    KS_TRY(part(r, "metric name", &name));
    KS_TRY(part(r, "block", &block));
    KS_TRY(ks_vm_name_read(name, in->arena, labels, LABELS_MAX, &count));
    KS_TRY(ks_vm_block_read_portable(b, block));
    KS_TRY(ks_raw_labels_make(in->arena, labels, count, &raw));
    KS_TRY(ks_ingest_series(in, raw));
    for (size_t i = 0; i < b->header.rows; i++)
        if (b->times[i] >= min_ms && b->times[i] <= max_ms)
            KS_TRY(ks_ingest_sample(in, b->times[i], b->values[i]));
    return KS_OK;
}

ks_err ks_import_native(struct ks_ingest *in, struct ks_slice body, struct ks_vm_block *scratch)
{
    struct ks_reader r = ks_reader(body);
    int64_t min_ms = ks_unzigzag(ks_read_be64(&r)), max_ms = ks_unzigzag(ks_read_be64(&r));
    if (r.bad)
        return ks_fail(KS_EPARSE, "the body has %zu bytes; it begins with a time range of 16",
                       body.len);
    while (r.p != r.end) {
        size_t at = (size_t)(r.p - (const uint8_t *)body.ptr);
        ks_err err = import_block(in, &r, scratch, min_ms, max_ms);
        if (err == KS_EPARSE) {
            ks_stat_add(&stat_invalid, 1);
            return ks_fail_context(err, "cannot parse the block at byte %zu", at);
        }
        KS_TRY(err);
        KS_TRY(ks_ingest_flush_if_big(in));
    }
    return KS_OK;
}

ks_err ks_import_native_handle(struct ks_http_request *req)
{
    struct ks_ingest in;
    struct ks_slice body;
    struct ks_vm_block *scratch;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(ks_ingest_body(req, ks_app_of(req)->cfg.import_max_request_bytes, &body));
    KS_TRY(ks_vm_block_new(&scratch));
    ks_err err = ks_import_native(&in, body, scratch);
    ks_vm_block_free(scratch);
    KS_TRY(err);
    KS_TRY(ks_ingest_end(&in));
    req->resp.status = 204;
    return KS_OK;
}
