#include "api/ingest/ingest.h"

#include "api/app.h"
#include "api/compress.h"
#include "api/exemplars.h"
#include "api/extra_labels.h"
#include "api/scratch.h"
#include "api/trace_pins.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/stats.h"
#include "sys/clock.h"

/* A batch beyond this is written before more is decoded. */
enum { FLUSH_SERIES = 64 << 10, FLUSH_SAMPLES = 512 << 10, FLUSH_ARENA_BYTES = 64 << 20 };

enum { BLOWUP_MAX = 256, BLOWUP_BASE_BYTES = 64 << 20 };

static KS_STAT(stat_no_labels, "vm_rows_invalid_total{type=\"no_labels\"}");
static KS_STAT(stat_too_many_labels, "vm_rows_ignored_total{reason=\"too_many_labels\"}");
static KS_STAT(stat_long_name, "vm_rows_ignored_total{reason=\"too_long_label_name\"}");
static KS_STAT(stat_long_value, "vm_rows_ignored_total{reason=\"too_long_label_value\"}");

static KS_STAT_RANGES(rows_per_insert, "vm_rows_per_insert");
static KS_STAT(stat_exemplars, "kofstore_exemplars_received_total");

/* --- raw labels --- */
static size_t varint_size(uint64_t v)
{
    return v < 128 ? 1 : (size_t)(70 - __builtin_clzll(v)) / 7;
}

static size_t raw_label_inner(size_t name_len, size_t value_len)
{
    return 2 + varint_size(name_len) + name_len + varint_size(value_len) + value_len;
}

size_t ks_raw_label_size(size_t name_len, size_t value_len)
{
    size_t inner = raw_label_inner(name_len, value_len);
    return 1 + varint_size(inner) + inner;
}

char *ks_raw_label_put(char *p, struct ks_slice name, struct ks_slice value)
{
    *p++ = 0x0a;
    p += ks_varint_put((uint8_t *)p, raw_label_inner(name.len, value.len));
    *p++ = 0x0a;
    p += ks_varint_put((uint8_t *)p, name.len);
    if (name.len)
        memcpy(p, name.ptr, name.len);
    p += name.len;
    *p++ = 0x12;
    p += ks_varint_put((uint8_t *)p, value.len);
    if (value.len)
        memcpy(p, value.ptr, value.len);
    return p + value.len;
}

ks_err ks_raw_labels_make(struct ks_arena *arena, const struct ks_label *labels, size_t count,
                          struct ks_slice *ret)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += ks_raw_label_size(labels[i].name.len, labels[i].value.len);
    char *out = ks_arena_alloc(arena, size ? size : 1), *p = out;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++)
        p = ks_raw_label_put(p, labels[i].name, labels[i].value);
    *ret = ks_slice(out, (size_t)(p - out));
    return KS_OK;
}

/* --- exemplars --- */
static void pin_trace(const struct ks_ingest *in, const struct ks_exemplar *x)
{
    struct ks_reader r = ks_reader(x->raw);
    struct ks_label l;
    struct ks_trace_id id;
    bool bad = false;
    while (ks_raw_label_next(&r, &l, &bad))
        if (ks_pin_id_name(l.name) && ks_pin_id_text(l.value, &id)) {
            ks_trace_pins_add(in->app->pins, KS_PIN_EXEMPLAR, x->tenant, &id, 1);
            return;
        }
}

ks_err ks_ingest_exemplar(struct ks_ingest *in, struct ks_exemplar *x)
{
    x->tenant = in->tenant;
    in->exemplars++;
    ks_stat_add(&stat_exemplars, 1);
    if (ks_trace_pins_wanted(in->app->pins, KS_PIN_EXEMPLAR))
        pin_trace(in, x);
    return ks_exemplars_add(in->app->exemplars, x, in->extra, in->extra_count);
}

/* Skips a protobuf field whose key was read; false when malformed. */
static bool skip_field(struct ks_reader *r, uint64_t key)
{
    switch (key & 7) {
    case 0:
        ks_read_varint(r);
        break;
    case 1:
        ks_read_u64(r);
        break;
    case 2:
        ks_read_lp(r);
        break;
    case 5:
        ks_read_u32(r);
        break;
    default:
        ks_reader_fail(r);
    }
    return !r->bad;
}

bool ks_raw_label_next(struct ks_reader *r, struct ks_label *ret, bool *ret_bad)
{
    if (r->p == r->end)
        return false;
    *ret = (struct ks_label){ks_slice("", 0), ks_slice("", 0)};
    uint64_t key = ks_read_varint(r);
    struct ks_reader in = ks_reader(key == 0x0a ? ks_read_lp(r) : ks_slice(NULL, 0));
    if (key != 0x0a)
        ks_reader_fail(r);
    while (!r->bad && in.p != in.end) {
        uint64_t k = ks_read_varint(&in);
        if (k == 0x0a)
            ret->name = ks_read_lp(&in);
        else if (k == 0x12)
            ret->value = ks_read_lp(&in);
        else
            skip_field(&in, k);
        if (in.bad)
            ks_reader_fail(r);
    }
    *ret_bad = r->bad;
    return !r->bad;
}

/* --- resolving --- */
static bool is_tenant_label(struct ks_slice name)
{
    return ks_slice_is(name, "vm_account_id") || ks_slice_is(name, "vm_project_id");
}

static ks_err add_label(struct ks_ingest *in, size_t n, struct ks_label l)
{
    KS_TRY(ks_arena_grow(in->arena, (void **)&in->labels, &in->label_cap, n + 1, sizeof l));
    in->labels[n] = l;
    return KS_OK;
}

/* NULL when within the limits, else the counter of the broken one. */
static struct ks_stat *over_limit(const struct ks_config *cfg, const struct ks_label *labels,
                                  size_t n)
{
    size_t present = 0;
    for (size_t i = 0; i < n; i++) {
        if (cfg->max_label_name_bytes && labels[i].name.len > cfg->max_label_name_bytes)
            return &stat_long_name;
        if (cfg->max_label_value_bytes && labels[i].value.len > cfg->max_label_value_bytes)
            return &stat_long_value;
        present += labels[i].value.len > 0;
    }
    return cfg->max_labels_per_series && present > cfg->max_labels_per_series
               ? &stat_too_many_labels
               : NULL;
}

/* name with what Prometheus does not allow as _; colons only in metric names. Borrowed when nothing
 * is to do. */
static ks_err prometheus_name(struct ks_arena *arena, bool metric, struct ks_slice *s)
{
    char *out = NULL;
    for (size_t i = 0; i < s->len; i++) {
        char c = s->ptr[i], low = (char)(c | 32);
        bool fine = (low >= 'a' && low <= 'z') || c == '_' || (metric && c == ':') ||
                    (c >= '0' && c <= '9');
        if (fine)
            continue;
        if (!out) {
            if (!(out = ks_arena_alloc(arena, s->len)))
                return ks_arena_err(arena);
            memcpy(out, s->ptr, s->len);
            s->ptr = out;
        }
        out[i] = '_';
    }
    return KS_OK;
}

static ks_err prometheus_names(struct ks_ingest *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ks_label *l = &in->labels[i];
        bool metric = ks_slice_eq(l->name, KS_NAME_LABEL);
        KS_TRY(prometheus_name(in->arena, metric, metric ? &l->value : &l->name));
    }
    return KS_OK;
}

static ks_err resolve(struct ks_write_batch *b, size_t i, struct ks_labels *ret)
{
    struct ks_ingest *in = b->arg;
    struct ks_reader r = ks_reader(b->series[i].raw);
    struct ks_label l;
    bool bad = false;
    size_t n = 0, present = 0;
    while (ks_raw_label_next(&r, &l, &bad)) {
        if (in->multitenant && is_tenant_label(l.name))
            continue;
        KS_TRY(add_label(in, n, l));
        n++;
    }
    if (bad)
        return ks_fail(KS_EPARSE, "malformed label in series %zu of the request", i);
    for (size_t k = 0; k < in->extra_count; k++, n++)
        KS_TRY(add_label(in, n, in->extra[k]));
    if (in->app->cfg.prometheus_names)
        KS_TRY(prometheus_names(in, n));
    for (size_t k = 0; k < n; k++)
        present += in->labels[k].name.len && in->labels[k].value.len;
    struct ks_stat *reason = present ? over_limit(&in->app->cfg, in->labels, n) : &stat_no_labels;
    if (reason) {
        ks_stat_add(reason, b->series[i].sample_count);
        n = 0;
    }
    *ret = (struct ks_labels){in->labels, n, in->label_cap};
    return KS_OK;
}

/* --- series --- */
static ks_err tenant_of(struct ks_slice raw, struct ks_tenant *ret)
{
    struct ks_reader r = ks_reader(raw);
    struct ks_label l;
    bool bad = false;
    *ret = (struct ks_tenant){0};
    while (ks_raw_label_next(&r, &l, &bad)) {
        bool account = ks_slice_is(l.name, "vm_account_id") ||
                       ks_slice_is(l.name, "VictoriaMetrics_AccountID");
        bool project = ks_slice_is(l.name, "vm_project_id") ||
                       ks_slice_is(l.name, "VictoriaMetrics_ProjectID");
        uint64_t v;
        if (!(account || project) || !ks_u64_parse(l.value, &v) || v > UINT32_MAX)
            continue;
        *(account ? &ret->account : &ret->project) = (uint32_t)v;
    }
    return bad ? ks_fail(KS_EPARSE, "malformed label") : KS_OK;
}

ks_err ks_ingest_series(struct ks_ingest *in, struct ks_slice raw)
{
    struct ks_write_batch *b = in->batch;
    struct ks_tenant tenant = in->tenant;
    if (KS_UNLIKELY(in->multitenant))
        KS_TRY(tenant_of(raw, &tenant));
    if (KS_UNLIKELY(b->series_count == b->series_cap))
        KS_TRY(ks_write_batch_reserve(b, b->series_cap + 256, 0));
    b->series[b->series_count++] = (struct ks_write_series){
        .raw_key = ks_raw_key(tenant, in->extra_bytes, raw),
        .raw = raw,
        .tenant = tenant,
        .first_sample = (uint32_t)b->sample_count,
    };
    return KS_OK;
}

ks_err ks_ingest_histogram(struct ks_ingest *in, int64_t time_ms, const struct ks_histogram *h)
{
    KS_TRY(ks_histogram_validate(h));
    return ks_write_batch_histogram(in->batch, time_ms, h);
}

ks_err ks_ingest_flush(struct ks_ingest *in)
{
    struct ks_write_batch *b = in->batch;
    ks_err err = KS_OK;
    uint64_t rows = b->sample_count + b->histogram_count;
    KS_ASSERT(in->app->engine);
    if (rows) {
        struct ks_write_result res = {0};
        err = ks_engine_write(in->app->engine, b, &res);
        if (err == KS_OK) {
            in->samples += b->sample_count;
            in->not_stored += res.stored < rows ? rows - res.stored : 0;
            ks_stat_add(in->rows_stat, rows);
        }
    }
    ks_write_batch_reset(b);
    ks_arena_reset(in->arena);
    in->labels = NULL;
    in->label_cap = 0;
    b->resolve = resolve;
    b->arg = in;
    b->arena = in->arena;
    return err;
}

void ks_ingest_budget(struct ks_ingest *in, size_t body_bytes)
{
    in->label_bytes = 0;
    in->label_bytes_max = BLOWUP_BASE_BYTES + (uint64_t)body_bytes * BLOWUP_MAX;
}

ks_err ks_ingest_spend(struct ks_ingest *in, size_t label_bytes)
{
    in->label_bytes += label_bytes;
    if (KS_LIKELY(in->label_bytes <= in->label_bytes_max))
        return KS_OK;
    return ks_fail(KS_ELIMIT,
                   "the labels of this request come to more than %llu MiB; send smaller batches or "
                   "fewer labels",
                   (unsigned long long)(in->label_bytes_max >> 20));
}

ks_err ks_ingest_flush_if_big(struct ks_ingest *in)
{
    if (KS_LIKELY(in->batch->series_count < FLUSH_SERIES &&
                  in->batch->sample_count < FLUSH_SAMPLES &&
                  in->arena->used_bytes < FLUSH_ARENA_BYTES))
        return KS_OK;
    return ks_ingest_flush(in);
}

ks_err ks_ingest_end(struct ks_ingest *in)
{
    KS_TRY(ks_ingest_flush(in));
    ks_stat_ranges_add(&rows_per_insert, in->samples);
    return KS_OK;
}

void ks_ingest_begin_local(struct ks_app *app, struct ks_scratch *scratch,
                           struct ks_stat *rows_stat, struct ks_ingest *ret)
{
    *ret = (struct ks_ingest){
        .app = app,
        .batch = &scratch->batch,
        .arena = &scratch->arena,
        .rows_stat = rows_stat,
        .now_ms = ks_now_ms(),
    };
    ks_write_batch_reset(ret->batch);
    ks_arena_reset(ret->arena);
    ret->batch->resolve = resolve;
    ret->batch->arg = ret;
    ret->batch->arena = ret->arena;
}

ks_err ks_ingest_begin(struct ks_http_request *req, struct ks_stat *rows_stat,
                       struct ks_ingest *ret)
{
    ks_ingest_begin_local(ks_app_of(req), req->scratch, rows_stat, ret);
    ret->tenant = req->tenant;
    ret->multitenant = req->multitenant;
    struct ks_label *labels;
    KS_TRY(ks_extra_labels(req, &labels, &ret->extra_count));
    ret->extra = labels;
    if (ret->extra_count)
        KS_TRY(ks_raw_labels_make(&req->arena, labels, ret->extra_count, &ret->extra_bytes));
    /* The same series may mean something else when its tenant labels are consumed. */
    if (ret->multitenant) {
        static const char mark[] = "multitenant ";
        size_t n = sizeof mark - 1, extra = ret->extra_bytes.len; /* bytes, zeros among them */
        char *key = ks_arena_alloc(&req->arena, n + extra);
        if (!key)
            return ks_arena_err(&req->arena);
        memcpy(key, mark, n);
        if (extra)
            memcpy(key + n, ret->extra_bytes.ptr, extra);
        ret->extra_bytes = ks_slice(key, n + extra);
    }
    return KS_OK;
}

ks_err ks_ingest_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret)
{
    struct ks_scratch *s = req->scratch;
    enum ks_encoding e = ks_encoding_of(ks_http_header(req, "Content-Encoding"));
    if (e == KS_ENC_NONE) {
        *ret = req->body;
        return KS_OK;
    }
    ks_buf_reset(&s->body);
    KS_TRY(ks_decompress(e, req->body, limit ? limit : ks_app_of(req)->cfg.max_insert_request_bytes,
                         &s->body));
    *ret = ks_buf_view(&s->body);
    return KS_OK;
}
