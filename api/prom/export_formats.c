/* export/native and export/csv. Streamed: memory is one series, whatever the answer's size. */
#include "api/csv.h"
#include "api/prom/prom.h"
#include "api/prom/sink.h"
#include "base/num.h"
#include "base/stats.h"
#include "replication/vm_block.h"

static KS_STAT(stat_nan, "kofstore_export_native_nan_samples_total");

struct export
{
    struct ks_prom_ctx ctx;
    struct ks_sink sink;
    int64_t start, end;
    struct ks_vm_block *block; /* native */
    struct ks_buf part;        /* native: a name or block before its length is known */
    struct csv_field *fields;  /* csv */
    size_t field_count;
};

/* Writes one series that has samples. */
typedef ks_err (*series_fn)(struct export *x, struct ks_slice labels,
                            const struct ks_tenant *tenant, const struct ks_samples *s);

static ks_err each_series(struct export *x, series_fn fn)
{
    struct ks_select_opts sel;
    struct ks_series_set *set;
    struct ks_samples samples = {0};
    KS_TRY(ks_prom_select_opts(&x->ctx, x->start, x->end, true, &sel));
    KS_TRY(ks_engine_select(x->ctx.app->engine, &sel, &set));
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_series_set_count(set) && err == KS_OK; i++) {
        struct ks_tenant t = ks_series_set_tenant(set, i);
        struct ks_slice labels;
        err = ks_read_ctx_check(&x->ctx.read);
        if (err == KS_OK)
            err = ks_series_read(set, i, x->start, x->end, &samples);
        if (err == KS_OK && samples.count)
            err = ks_series_set_labels(set, i, &labels);
        if (err == KS_OK && samples.count)
            err = fn(x, labels, x->ctx.req->multitenant ? &t : NULL, &samples);
    }
    ks_samples_done(&samples);
    ks_series_set_free(set);
    return err;
}

static ks_err begin(struct ks_http_request *req, struct export *x)
{
    *x = (struct export){.sink = {req, &req->resp.body}};
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_export_duration_ms, &x->ctx));
    x->ctx.read.max_series = x->ctx.app->cfg.max_export_series;
    KS_TRY(ks_http_arg_time_ms(req, "start", 0, &x->start));
    return ks_http_arg_time_ms(req, "end", x->ctx.now_ms, &x->end);
}

/* --- native --- */
static void put_be32(struct ks_buf *out, uint32_t v)
{
    uint8_t b[4];
    ks_put_be32(b, v);
    ks_buf_add(out, b, 4);
}

static void put_be64_zigzag(struct ks_buf *out, int64_t v)
{
    uint8_t b[8];
    ks_put_be64(b, ks_zigzag(v));
    ks_buf_add(out, b, 8);
}

static void put_part(struct ks_buf *out, const struct ks_buf *part)
{
    put_be32(out, (uint32_t)part->len);
    ks_buf_slice(out, ks_buf_view(part));
}

static void put_name(struct export *x, struct ks_slice labels, const struct ks_tenant *tenant,
                     struct ks_buf *out)
{
    char account[24], project[24];
    struct ks_label extra[2] = {{KS_SLICE_LIT("vm_account_id"), {account, 0}},
                                {KS_SLICE_LIT("vm_project_id"), {project, 0}}};
    if (tenant) {
        extra[0].value.len = ks_u64_format(account, tenant->account);
        extra[1].value.len = ks_u64_format(project, tenant->project);
    }
    ks_buf_reset(&x->part);
    ks_vm_name_put(labels, extra, tenant ? 2 : 0, &x->part);
    put_part(out, &x->part);
}

static ks_err native_series(struct export *x, struct ks_slice labels,
                            const struct ks_tenant *tenant, const struct ks_samples *s)
{
    for (size_t i = 0; i < s->count;) {
        size_t used;
        KS_TRY(ks_vm_block_encode(x->block, s->times + i, s->values + i, s->count - i, &used));
        ks_stat_add(&stat_nan, used - x->block->header.rows);
        i += used;
        if (!x->block->header.rows)
            continue;
        put_name(x, labels, tenant, x->sink.out);
        ks_buf_reset(&x->part);
        ks_vm_block_put_portable(x->block, &x->part);
        KS_TRY(ks_buf_status(&x->part));
        put_part(x->sink.out, &x->part);
        KS_TRY(ks_sink_drain(&x->sink, false));
    }
    return KS_OK;
}

ks_err ks_prom_export_native(struct ks_http_request *req)
{
    struct export x;
    KS_TRY(begin(req, &x));
    KS_TRY(ks_vm_block_new(&x.block));
    ks_buf_init(&x.part, 1 << 20);
    req->resp.content_type = "VictoriaMetrics/native";
    put_be64_zigzag(x.sink.out, x.start);
    put_be64_zigzag(x.sink.out, x.end);
    ks_err err = each_series(&x, native_series);
    ks_buf_done(&x.part);
    ks_vm_block_free(x.block);
    KS_TRY(err);
    return ks_sink_drain(&x.sink, true);
}

/* --- csv --- */
struct csv_field {
    enum { FIELD_VALUE, FIELD_TIME, FIELD_LABEL } kind;
    struct ks_slice name;
    struct ks_csv_time time;
};

static ks_err field_of(struct ks_slice text, struct csv_field *ret)
{
    *ret = (struct csv_field){.kind = FIELD_LABEL, .name = text};
    if (ks_slice_is(text, "__value__"))
        ret->kind = FIELD_VALUE;
    else if (ks_slice_is(text, "__timestamp__"))
        *ret = (struct csv_field){.kind = FIELD_TIME, .time = {.kind = KS_CSV_UNIX_MS}};
    else if (ks_slice_has_prefix(text, KS_SLICE_LIT("__timestamp__:"))) {
        ret->kind = FIELD_TIME;
        return ks_csv_time_of(ks_slice_from(text, 14), &ret->time);
    }
    return KS_OK;
}

/* The header line repeats the format's entries. */
static ks_err read_fields(struct export *x, struct ks_slice format)
{
    struct ks_http_request *req = x->ctx.req;
    size_t cap = 0;
    if (!format.len)
        return ks_fail(KS_EINVAL, "missing \"format\" arg; for example "
                                  "format=__name__,job,__value__,__timestamp__:unix_s");
    for (bool more = true; more;) {
        const char *comma = format.len ? memchr(format.ptr, ',', format.len) : NULL;
        struct ks_slice text =
            ks_slice(format.ptr, comma ? (size_t)(comma - format.ptr) : format.len);
        format = ks_slice_from(format, text.len + (comma != NULL));
        more = comma != NULL;
        KS_TRY(ks_arena_grow(&req->arena, (void **)&x->fields, &cap, x->field_count + 1,
                             sizeof *x->fields));
        KS_TRY(field_of(text, &x->fields[x->field_count]));
        ks_buf_str(x->sink.out, x->field_count++ ? "," : "");
        ks_buf_slice(x->sink.out, text);
    }
    ks_buf_byte(x->sink.out, '\n');
    return KS_OK;
}

static void put_label(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant,
                      struct ks_slice name)
{
    if (tenant && ks_slice_is(name, "vm_account_id"))
        ks_buf_u64_dec(out, tenant->account);
    else if (tenant && ks_slice_is(name, "vm_project_id"))
        ks_buf_u64_dec(out, tenant->project);
    else
        ks_csv_put(out, ks_labels_get(labels, name));
}

static void put_time(struct ks_buf *out, struct ks_buf *scratch, const struct ks_csv_time *t,
                     int64_t ms)
{
    if (t->kind != KS_CSV_CUSTOM) {
        ks_csv_time_write(t, ms, out);
        return;
    }
    ks_buf_reset(scratch);
    ks_csv_time_write(t, ms, scratch);
    ks_csv_put(out, ks_buf_view(scratch));
}

static ks_err csv_series(struct export *x, struct ks_slice labels, const struct ks_tenant *tenant,
                         const struct ks_samples *s)
{
    struct ks_buf *out = x->sink.out;
    for (size_t i = 0; i < s->count; i++) {
        for (size_t k = 0; k < x->field_count; k++) {
            const struct csv_field *f = &x->fields[k];
            if (k)
                ks_buf_byte(out, ',');
            if (f->kind == FIELD_VALUE)
                ks_buf_f64(out, s->values[i]);
            else if (f->kind == FIELD_TIME)
                put_time(out, &x->part, &f->time, s->times[i]);
            else
                put_label(out, labels, tenant, f->name);
        }
        ks_buf_byte(out, '\n');
        KS_TRY(ks_sink_drain(&x->sink, false));
    }
    return KS_OK;
}

ks_err ks_prom_export_csv(struct ks_http_request *req)
{
    struct export x;
    KS_TRY(begin(req, &x));
    KS_TRY(read_fields(&x, ks_http_arg(req, "format")));
    ks_buf_init(&x.part, 64 << 10);
    req->resp.content_type = "text/csv; charset=utf-8";
    ks_err err = each_series(&x, csv_series);
    ks_buf_done(&x.part);
    KS_TRY(err);
    return ks_sink_drain(&x.sink, true);
}
