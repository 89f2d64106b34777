/*
 * What strict evaluation needs everywhere: names dropped now or late, equal label sets refused or
 * merged, annotations.
 *
 * In Prometheus a function that changes what a metric means drops its name, type and unit. With
 * late removal of names (the request's delayed_name_removal) they stay until the query ends, so
 * that label_replace still sees them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <utf8proc.h>

#include "query/promql/exec_priv.h"
#include "query/promql/strict/histogram_math.h"
#include "query/promql/syntax/print_priv.h"

static const struct ks_slice metadata_labels[] = {
    {"__name__", 8}, {"__type__", 8}, {"__unit__", 8}};
static const struct ksi_label_filter no_metadata = {
    .names = metadata_labels, .count = 3, .mode = KSI_DROP};

ks_err ksi_strict_drop_labels(struct ksi_query *q, struct ks_slice *labels)
{
    /* The usual series has the name alone. */
    if (!ks_labels_get(*labels, metadata_labels[1]).len &&
        !ks_labels_get(*labels, metadata_labels[2]).len)
        return ksi_labels_drop_name(q, labels);
    return ksi_labels_filtered(q, *labels, &no_metadata, labels);
}

ks_err ksi_drop_metric(struct ksi_query *q, struct ksi_series *s)
{
    if (!q->strict)
        return ksi_labels_drop_name(q, &s->labels);
    s->drop_name = true;
    return q->req->delayed_name_removal ? KS_OK : ksi_strict_drop_labels(q, &s->labels);
}

ks_err ksi_drop_metrics(struct ksi_query *q, struct ksi_vec *v)
{
    for (size_t i = 0; i < v->count; i++)
        KS_TRY(ksi_drop_metric(q, &v->items[i]));
    return KS_OK;
}

static ks_err same_labelset(void)
{
    return ks_fail(KS_EEXEC, "vector cannot contain metrics with the same labelset");
}

ks_err ksi_check_labelsets(const struct ksi_ctx *ctx, struct ksi_vec *v)
{
    struct ksi_map seen = {0};
    ksi_vec_drop_empty(ctx, v);
    for (size_t i = 0; i < v->count && v->count > 1; i++) {
        size_t at;
        bool added;
        KS_TRY(ksi_map_put(ctx->q->arena, &seen, v->items[i].labels, false, &at, &added));
        if (!added)
            return same_labelset();
    }
    return KS_OK;
}

ks_err ksi_merge_labelsets(const struct ksi_ctx *ctx, struct ksi_vec *v)
{
    struct ksi_query *q = ctx->q;
    struct ksi_map seen = {0};
    ksi_vec_drop_empty(ctx, v);
    size_t count = v->count, kept = 0;
    for (size_t i = 0; i < count && count > 1; i++) {
        size_t at;
        bool added;
        KS_TRY(ksi_map_put(q->arena, &seen, v->items[i].labels, false, &at, &added));
        if (added) {
            v->items[kept++] = v->items[i];
            continue;
        }
        for (size_t k = 0; k < ctx->points; k++) {
            double x = v->items[i].values[k];
            if (ksi_is_absent(q, x))
                continue;
            if (!ksi_is_absent(q, v->items[at].values[k]))
                return same_labelset();
            v->items[at].values[k] = x;
        }
    }
    if (count > 1)
        v->count = kept;
    return KS_OK;
}

ks_err ksi_strict_finish(const struct ksi_ctx *ctx, struct ksi_vec *v)
{
    struct ksi_query *q = ctx->q;
    ksi_vec_drop_empty(ctx, v);
    if (!q->req->delayed_name_removal)
        return KS_OK;
    for (size_t i = 0; i < v->count; i++)
        if (v->items[i].drop_name)
            KS_TRY(ksi_strict_drop_labels(q, &v->items[i].labels));
    return ksi_check_labelsets(ctx, v);
}

bool ksi_utf8_valid(struct ks_slice s)
{
    for (size_t i = 0; i < s.len;) {
        utf8proc_int32_t rune;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s.ptr + i,
                                              (utf8proc_ssize_t)(s.len - i), &rune);
        if (n <= 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

struct ks_slice ksi_go_quoted(struct ksi_query *q, struct ks_slice s)
{
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    ksi_print_quoted(s, &b);
    struct ks_slice text = ks_arena_dup(q->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return text;
}

static bool plain_label_name(struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              (i && c >= '0' && c <= '9')))
            return false;
    }
    return s.len > 0;
}

struct ks_slice ksi_labels_text_strict(struct ksi_query *q, struct ks_slice labels)
{
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    ks_buf_byte(&b, '{');
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    for (const char *sep = ""; ks_labels_next(&it, &l); sep = ", ") {
        ks_buf_str(&b, sep);
        if (plain_label_name(l.name))
            ks_buf_slice(&b, l.name);
        else
            ks_buf_json_str(&b, l.name);
        ks_buf_byte(&b, '=');
        ks_buf_json_str(&b, l.value);
    }
    ks_buf_byte(&b, '}');
    struct ks_slice s = ks_arena_dup(q->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return s;
}

/* --- annotations --- */
/* As many as Prometheus' API returns; the rest are counted. */
enum { ANNOTATIONS_MAX = 10 };

static ks_err annotate(struct ksi_query *q, struct ksi_annotations *a, const char *kind,
                       const struct ks_expr *at, const char *text)
{
    unsigned line = 1, column = 1;
    for (uint32_t i = 0; i < at->start && i < q->req->query.len; i++) {
        column++;
        if (q->req->query.ptr[i] == '\n') {
            line++;
            column = 1;
        }
    }
    struct ks_slice s =
        ks_arena_printf(q->arena, "PromQL %s: %s (%u:%u)", kind, text, line, column);
    if (!s.ptr)
        return ks_arena_err(q->arena);
    size_t index;
    bool added;
    KS_TRY(ksi_map_put(q->arena, &a->seen, s, false, &index, &added));
    if (added && a->count >= ANNOTATIONS_MAX)
        a->omitted++;
    if (!added || a->count >= ANNOTATIONS_MAX)
        return KS_OK;
    KS_TRY(ks_arena_grow(q->arena, (void **)&a->items, &a->cap, a->count + 2, sizeof *a->items));
    a->items[a->count++] = s;
    return KS_OK;
}

ks_err ksi_warn(struct ksi_query *q, const struct ks_expr *at, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return annotate(q, &q->warnings, "warning", at, text);
}

ks_err ksi_inform(struct ksi_query *q, const struct ks_expr *at, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return annotate(q, &q->infos, "info", at, text);
}

ks_err ksi_hist_notes(struct ksi_query *q, const struct ks_expr *at, unsigned notes,
                      struct ks_slice name)
{
    for (unsigned bit = 1; bit <= notes; bit <<= 1) {
        if (!(notes & bit))
            continue;
        bool warning = ks_hist_note_is_warning(bit);
        /* The kind is part of the text there. */
        const char *text =
            ks_hist_note_text(bit) + strlen(warning ? "PromQL warning: " : "PromQL info: ");
        struct ks_slice quoted = ksi_go_quoted(q, name);
        KS_TRY(warning ? ksi_warn(q, at, "%s %.*s", text, KS_SLICE_ARG(quoted))
                       : ksi_inform(q, at, "%s %.*s", text, KS_SLICE_ARG(quoted)));
    }
    return KS_OK;
}

ks_err ksi_annotations_close(struct ksi_query *q, struct ksi_annotations *a, const char *kind)
{
    if (!a->omitted)
        return KS_OK;
    struct ks_slice s =
        ks_arena_printf(q->arena, "%zu more %s annotations omitted", a->omitted, kind);
    if (!s.ptr)
        return ks_arena_err(q->arena);
    a->items[a->count++] = s; /* room was made by annotate() */
    return KS_OK;
}

ks_err ksi_warn_quantile(struct ksi_query *q, const struct ks_expr *at, double phi)
{
    char text[KS_F64_TEXT_MAX + 1];
    if (phi >= 0 && phi <= 1)
        return KS_OK;
    text[ks_f64_format_g(text, phi)] = 0;
    return ksi_warn(q, at, "quantile value should be between 0 and 1, got %s", text);
}
