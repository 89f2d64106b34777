/* Label names, label values, series. */
#include <stdlib.h>

#include "api/prom/prom.h"
#include "base/num.h"
#include "base/time.h"

enum { DEFAULT_RANGE_MS = 300000 };

struct text_list {
    struct ks_arena *arena;
    struct ks_slice *items;
    size_t count, cap;
    ks_err err;
};

static bool add_text(void *arg, struct ks_slice text, uint64_t row_count)
{
    struct text_list *l = arg;
    l->err = ks_arena_grow(l->arena, (void **)&l->items, &l->cap, l->count + 1, sizeof *l->items);
    if (l->err != KS_OK)
        return false;
    struct ks_slice copy = ks_arena_dup(l->arena, text);
    if (!copy.ptr) {
        l->err = ks_arena_err(l->arena);
        return false;
    }
    l->items[l->count++] = copy;
    return true;
}

static int by_text(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

static ks_err limit_of(struct ks_http_request *req, size_t *ret)
{
    int64_t n;
    KS_TRY(ks_http_arg_i64(req, "limit", 0, &n));
    *ret = n > 0 ? (size_t)n : SIZE_MAX;
    return KS_OK;
}

static ks_err write_list(struct ks_http_request *req, struct text_list *l)
{
    size_t limit;
    KS_TRY(limit_of(req, &limit));
    for (size_t i = 1; i < l->count; i++) /* only what was added here is out of order */
        if (ks_slice_cmp(l->items[i - 1], l->items[i]) > 0) {
            qsort(l->items, l->count, sizeof *l->items, by_text);
            break;
        }
    ks_prom_json_begin(req);
    ks_buf_byte(&req->resp.body, '[');
    for (size_t i = 0; i < l->count && i < limit; i++) {
        if (i)
            ks_buf_byte(&req->resp.body, ',');
        ks_buf_json_str(&req->resp.body, l->items[i]);
    }
    ks_buf_byte(&req->resp.body, ']');
    ks_prom_json_trace(req, NULL);
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

static ks_err begin(struct ks_http_request *req, bool match_required, struct ks_prom_ctx *ctx,
                    struct ks_select_opts *sel)
{
    int64_t start, end;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_labels_duration_ms, ctx));
    KS_TRY(ks_prom_time_range(ctx, DEFAULT_RANGE_MS, &start, &end));
    /* Without an end all of today counts: senders' clocks may be ahead of ours. */
    if (!ks_http_arg(req, "end").len && end >= ctx->now_ms)
        end = (ks_day_of_ms(end) + 1) * KS_MS_DAY - 1;
    ctx->read.max_series = ctx->app->cfg.max_labels_series;
    KS_TRY(ks_prom_select_opts(ctx, start, end, match_required, sel));
    sel->no_counts = true;
    return KS_OK;
}

ks_err ks_prom_labels(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct text_list l = {.arena = &req->arena};
    KS_TRY(begin(req, false, &ctx, &sel));
    KS_TRY(ks_engine_label_names(ctx.app->engine, &sel, add_text, &l));
    KS_TRY(l.err);
    if (req->multitenant) {
        add_text(&l, KS_SLICE_LIT("vm_account_id"), 1);
        add_text(&l, KS_SLICE_LIT("vm_project_id"), 1);
        KS_TRY(l.err);
    }
    return write_list(req, &l);
}

/* Prometheus' U__ escape: _xHEX_ is a code point, __ an underscore. Names that are not so escaped
 * stay as they are. */
static ks_err unescape_name(struct ks_http_request *req, struct ks_slice name, struct ks_slice *ret)
{
    *ret = name;
    if (!ks_slice_has_prefix(name, KS_SLICE_LIT("U__")))
        return KS_OK;
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    for (size_t i = 3; i < name.len; i++) {
        if (name.ptr[i] != '_') {
            ks_buf_byte(&b, (uint8_t)name.ptr[i]);
            continue;
        }
        if (i + 1 < name.len && name.ptr[i + 1] == '_') {
            ks_buf_byte(&b, '_');
            i++;
            continue;
        }
        uint32_t c = 0;
        size_t k = i + 1;
        for (; k < name.len && name.ptr[k] != '_' && k - i < 8; k++) {
            char h = (char)(name.ptr[k] | 0x20);
            int d = h >= '0' && h <= '9' ? h - '0' : h >= 'a' && h <= 'f' ? h - 'a' + 10 : -1;
            if (name.ptr[k] >= '0' && name.ptr[k] <= '9')
                d = name.ptr[k] - '0';
            if (d < 0)
                break;
            c = c << 4 | (uint32_t)d;
        }
        if (k == i + 1 || k >= name.len || name.ptr[k] != '_' || c > 0x10ffff) {
            ks_buf_done(&b);
            return KS_OK; /* not an escape after all */
        }
        if (c < 0x80) {
            ks_buf_byte(&b, (uint8_t)c);
        } else if (c < 0x800) {
            ks_buf_byte(&b, (uint8_t)(0xc0 | c >> 6));
            ks_buf_byte(&b, (uint8_t)(0x80 | (c & 63)));
        } else {
            if (c >= 0x10000) {
                ks_buf_byte(&b, (uint8_t)(0xf0 | c >> 18));
                ks_buf_byte(&b, (uint8_t)(0x80 | (c >> 12 & 63)));
            } else {
                ks_buf_byte(&b, (uint8_t)(0xe0 | c >> 12));
            }
            ks_buf_byte(&b, (uint8_t)(0x80 | (c >> 6 & 63)));
            ks_buf_byte(&b, (uint8_t)(0x80 | (c & 63)));
        }
        i = k;
    }
    struct ks_slice copy = ks_arena_dup(&req->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    if (!copy.ptr)
        return ks_arena_err(&req->arena);
    *ret = copy;
    return KS_OK;
}

static bool add_tenant_value(void *arg, struct ks_tenant t)
{
    struct {
        struct text_list *l;
        bool project;
    } *x = arg;
    char text[16];
    struct ks_slice value = ks_slice(text, ks_u64_format(text, x->project ? t.project : t.account));
    for (size_t i = 0; i < x->l->count; i++)
        if (ks_slice_eq(x->l->items[i], value))
            return true;
    return add_text(x->l, value, 1);
}

ks_err ks_prom_label_values(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct ks_slice name;
    struct text_list l = {.arena = &req->arena};
    KS_TRY(begin(req, false, &ctx, &sel));
    KS_TRY(unescape_name(req, req->param, &name));
    bool account = ks_slice_is(name, "vm_account_id"), project = ks_slice_is(name, "vm_project_id");
    if (req->multitenant && (account || project)) {
        struct {
            struct text_list *l;
            bool project;
        } x = {&l, project};
        if (!sel.tenants)
            KS_TRY(
                ks_engine_tenants(ctx.app->engine, sel.min_ms, sel.max_ms, add_tenant_value, &x));
        for (size_t i = 0; i < sel.tenant_count; i++)
            (void)add_tenant_value(&x, sel.tenants[i]);
    } else {
        KS_TRY(ks_engine_label_values(ctx.app->engine, &sel, name, add_text, &l));
    }
    KS_TRY(l.err);
    return write_list(req, &l);
}

struct series_ref {
    struct ks_slice labels;
    struct ks_tenant tenant;
};

static int by_labels(const void *pa, const void *pb)
{
    const struct series_ref *a = pa, *b = pb;
    uint64_t ka = ks_tenant_key(a->tenant), kb = ks_tenant_key(b->tenant);
    return ka != kb ? (ka < kb ? -1 : 1) : ks_slice_cmp(a->labels, b->labels);
}

static ks_err write_series(struct ks_http_request *req, struct ks_series_set *set, size_t limit)
{
    size_t n = ks_series_set_count(set);
    struct series_ref *refs = ks_arena_array(&req->arena, n ? n : 1, sizeof *refs);
    if (!refs)
        return ks_arena_err(&req->arena);
    for (size_t i = 0; i < n; i++) {
        KS_TRY(ks_series_set_labels(set, i, &refs[i].labels));
        refs[i].tenant = ks_series_set_tenant(set, i);
    }
    qsort(refs, n, sizeof *refs, by_labels);
    ks_prom_json_begin(req);
    ks_buf_byte(&req->resp.body, '[');
    for (size_t i = 0; i < n && i < limit; i++) {
        if (i)
            ks_buf_byte(&req->resp.body, ',');
        ks_prom_json_labels(&req->resp.body, refs[i].labels,
                            req->multitenant ? &refs[i].tenant : NULL);
    }
    ks_buf_byte(&req->resp.body, ']');
    ks_prom_json_trace(req, NULL);
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

ks_err ks_prom_series(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct ks_series_set *set;
    size_t limit;
    KS_TRY(limit_of(req, &limit));
    KS_TRY(begin(req, true, &ctx, &sel));
    ctx.read.max_series = ctx.app->cfg.max_series;
    KS_TRY(ks_engine_select(ctx.app->engine, &sel, &set));
    ks_err err = write_series(req, set, limit);
    ks_series_set_free(set);
    return err;
}

ks_err ks_prom_series_count(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct ks_series_set *set;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_status_duration_ms, &ctx));
    KS_TRY(ks_prom_select_opts(&ctx, 0, INT64_MAX, false, &sel));
    KS_TRY(ks_engine_select(ctx.app->engine, &sel, &set));
    ks_prom_json_begin(req);
    ks_buf_printf(&req->resp.body, "[%zu]}", ks_series_set_count(set));
    ks_series_set_free(set);
    return KS_OK;
}
