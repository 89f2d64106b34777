/*
 * Lines are made series by series; memory is one chunk. Values are written so that they read back
 * exactly; what the formats cannot say (NaN in JSON) follows /api/v1/export.
 */
#include "cmd/block_export.h"

#include <math.h>
#include <string.h>

#include "api/ingest/histogram_proto.h"
#include "base/mem.h"
#include "base/num.h"
#include "index/matcher_compile.h"
#include "index/metric_part.h"
#include "query/promql/promql.h"

enum format { JSONL, PROMETHEUS, CSV };

struct export
{
    FILE *out;
    enum format format;
    struct ks_mpart part;
    struct ks_arena arena;
    struct ks_cselector *selectors;
    size_t selector_count;
    struct ks_buf labels, head, text;
    struct ks_tenant tenant;
    struct ks_chunk_ref *refs;
    size_t ref_cap;
    int64_t *times;
    double *values;
    struct ks_arena chunk; /* of a chunk of histograms */
    struct ks_buf message;
    uint64_t damaged, left_out;
};

static bool wanted(const struct export *x)
{
    for (size_t i = 0; i < x->selector_count; i++)
        if (ks_cselector_match(&x->selectors[i], ks_buf_view(&x->labels)))
            return true;
    return !x->selector_count;
}

static void put_escaped(struct ks_buf *b, struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' || c == '"')
            ks_buf_byte(b, '\\');
        if (c == '\n')
            ks_buf_str(b, "\\n");
        else
            ks_buf_byte(b, (uint8_t)c);
    }
}

static void head_jsonl(struct export *x)
{
    struct ks_labels_iter it = ks_labels_iter(ks_buf_view(&x->labels));
    struct ks_label l;
    const char *sep = "";
    ks_buf_str(&x->head, "{\"metric\":{");
    while (ks_labels_next(&it, &l)) {
        ks_buf_str(&x->head, sep);
        ks_buf_json_str(&x->head, l.name);
        ks_buf_byte(&x->head, ':');
        ks_buf_json_str(&x->head, l.value);
        sep = ",";
    }
    if (x->tenant.account || x->tenant.project)
        ks_buf_printf(&x->head, "%s\"vm_account_id\":\"%u\",\"vm_project_id\":\"%u\"", sep,
                      x->tenant.account, x->tenant.project);
    ks_buf_str(&x->head, "},");
}

static void head_prometheus(struct export *x)
{
    struct ks_labels_iter it = ks_labels_iter(ks_buf_view(&x->labels));
    struct ks_label l;
    const char *sep = "{";
    ks_buf_slice(&x->head, ks_labels_get(ks_buf_view(&x->labels), KS_NAME_LABEL));
    while (ks_labels_next(&it, &l)) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL))
            continue;
        ks_buf_str(&x->head, sep);
        ks_buf_slice(&x->head, l.name);
        ks_buf_str(&x->head, "=\"");
        put_escaped(&x->head, l.value);
        ks_buf_byte(&x->head, '"');
        sep = ",";
    }
    ks_buf_str(&x->head, *sep == ',' ? "}" : "");
}

/* account,project,"series", with the quotes of the series doubled. */
static void head_csv(struct export *x)
{
    struct ks_buf plain;
    struct ks_buf keep = x->head;
    ks_buf_init(&plain, 64 << 20);
    x->head = plain;
    head_prometheus(x);
    plain = x->head;
    x->head = keep;
    ks_buf_printf(&x->head, "%u,%u,\"", x->tenant.account, x->tenant.project);
    for (size_t i = 0; i < plain.len; i++) {
        if (plain.ptr[i] == '"')
            ks_buf_byte(&x->head, '"');
        ks_buf_byte(&x->head, (uint8_t)plain.ptr[i]);
    }
    ks_buf_byte(&x->head, '"');
    ks_buf_done(&plain);
}

static void json_value(struct ks_buf *b, double v)
{
    if (isnan(v))
        ks_buf_str(b, "null");
    else if (isinf(v))
        ks_buf_str(b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        ks_buf_f64(b, v);
}

static void put_chunk(struct export *x, uint32_t n)
{
    struct ks_buf *b = &x->text;
    ks_buf_reset(b);
    if (x->format == JSONL) {
        ks_buf_slice(b, ks_buf_view(&x->head));
        ks_buf_str(b, "\"values\":[");
        for (uint32_t i = 0; i < n; i++) {
            ks_buf_str(b, i ? "," : "");
            json_value(b, x->values[i]);
        }
        ks_buf_str(b, "],\"timestamps\":[");
        for (uint32_t i = 0; i < n; i++) {
            ks_buf_str(b, i ? "," : "");
            ks_buf_i64_dec(b, x->times[i]);
        }
        ks_buf_str(b, "]}\n");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        ks_buf_slice(b, ks_buf_view(&x->head));
        ks_buf_byte(b, x->format == CSV ? ',' : ' ');
        if (x->format == CSV) {
            ks_buf_i64_dec(b, x->times[i]);
            ks_buf_byte(b, ',');
        }
        ks_buf_f64(b, x->values[i]);
        if (x->format == PROMETHEUS) {
            ks_buf_byte(b, ' ');
            ks_buf_i64_dec(b, x->times[i]);
        }
        ks_buf_byte(b, '\n');
    }
}

/* Native histograms: JSON lines alone have a form for them. */
static ks_err put_histograms(struct export *x, const struct ks_chunk_ref *ref)
{
    size_t n = ref->meta.sample_count;
    ks_arena_reset(&x->chunk);
    struct ks_histogram *h = ks_arena_array(&x->chunk, n, sizeof *h);
    if (!h)
        return ks_arena_err(&x->chunk);
    KS_TRY(ks_mdata_decode_histograms(x->part.data, ref, NULL, &x->chunk, x->times, h));
    ks_buf_reset(&x->text);
    if (x->format != JSONL) {
        x->left_out += n;
        return KS_OK;
    }
    ks_buf_slice(&x->text, ks_buf_view(&x->head));
    ks_histograms_put_json(h, x->times, n, &x->message, &x->text);
    ks_buf_str(&x->text, "}\n");
    return ks_buf_status(&x->message);
}

static ks_err put_numbers(struct export *x, const struct ks_chunk_ref *ref)
{
    KS_TRY(ks_mdata_decode(x->part.data, ref, NULL, x->times, x->values));
    put_chunk(x, ref->meta.sample_count);
    return KS_OK;
}

static void damaged(struct export *x, uint32_t ord)
{
    x->damaged++;
    fprintf(stderr, "series %u: %s\n", ord, ks_err_text());
}

static ks_err export_row(struct export *x, uint32_t ord)
{
    size_t n = 0;
    ks_buf_reset(&x->labels);
    ks_err err = ks_sindex_series(x->part.index, ord, &x->labels, &x->tenant);
    if (err == KS_OK && !wanted(x))
        return KS_OK;
    if (err == KS_OK)
        err = ks_mdata_chunks(x->part.data, ord, INT64_MIN, INT64_MAX, &x->refs, &n, &x->ref_cap);
    ks_buf_reset(&x->head);
    if (err == KS_OK)
        (x->format == JSONL ? head_jsonl : x->format == CSV ? head_csv : head_prometheus)(x);
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        err = x->refs[i].meta.kind == KS_CHUNK_F64 ? put_numbers(x, &x->refs[i])
                                                   : put_histograms(x, &x->refs[i]);
        if (err == KS_ECORRUPT) {
            damaged(x, ord);
            err = KS_OK;
            continue;
        }
        KS_TRY(err);
        KS_TRY(ks_buf_status(&x->text));
        if (fwrite(x->text.ptr, 1, x->text.len, x->out) != x->text.len)
            return ks_fail(KS_EIO, "cannot write the output");
    }
    if (err != KS_ECORRUPT)
        return err;
    damaged(x, ord);
    return KS_OK;
}

static ks_err setup(struct export *x, const char *path, const char *selector, const char *format)
{
    static const char *const names[] = {"jsonl", "prometheus", "csv"};
    int f = 0;
    while (f < 3 && strcmp(format, names[f]) != 0)
        f++;
    if (f == 3)
        return ks_fail(KS_EINVAL, "-format=%s: want jsonl, prometheus or csv", format);
    x->format = (enum format)f;
    struct ks_selector *list = NULL;
    size_t count = 0;
    if (selector)
        KS_TRY(ks_promql_parse_selector(ks_slice_str(selector), &x->arena, &list, &count));
    x->selectors = ks_arena_array(&x->arena, count + 1, sizeof *x->selectors);
    x->times = ks_alloc_array(KS_CHUNK_SAMPLES_MAX, sizeof *x->times);
    x->values = ks_alloc_array(KS_CHUNK_SAMPLES_MAX, sizeof *x->values);
    if (!x->selectors || !x->times || !x->values)
        return KS_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        KS_TRY(ks_cselector_compile(&list[i], &x->selectors[i]));
        x->selector_count++;
    }
    return ks_mpart_open(ks_vfs_posix(), path, NULL, &x->part);
}

ks_err ks_block_export(const char *path, const char *selector, const char *format, FILE *out)
{
    struct export x = {.out = out};
    ks_arena_init(&x.arena, 64 << 20);
    ks_buf_init(&x.labels, 16 << 20);
    ks_buf_init(&x.head, 64 << 20);
    ks_buf_init(&x.text, (size_t)4 << 30);
    ks_buf_init(&x.message, 1 << 20);
    ks_arena_init(&x.chunk, (size_t)1 << 30);
    ks_err err = setup(&x, path, selector, format);
    for (uint32_t ord = 0; err == KS_OK && ord < ks_sindex_series_count(x.part.index); ord++)
        err = export_row(&x, ord);
    if (err == KS_OK && fflush(out) != 0)
        err = ks_fail(KS_EIO, "cannot write the output");
    if (x.left_out)
        fprintf(stderr, "%s: %llu native histograms are left out: -format=jsonl has them\n", path,
                (unsigned long long)x.left_out);
    if (err == KS_OK && x.damaged)
        err = ks_fail(KS_ECORRUPT, "%s: %llu series or chunks are damaged and left out", path,
                      (unsigned long long)x.damaged);
    if (x.part.file)
        ks_mpart_close(&x.part);
    for (size_t i = 0; i < x.selector_count; i++)
        ks_cselector_done(&x.selectors[i]);
    ks_free(x.refs);
    ks_free(x.times);
    ks_free(x.values);
    ks_buf_done(&x.labels);
    ks_buf_done(&x.head);
    ks_buf_done(&x.text);
    ks_buf_done(&x.message);
    ks_arena_done(&x.chunk);
    ks_arena_done(&x.arena);
    return err;
}
