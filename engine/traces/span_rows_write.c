/* Spans to rows: see span_rows.h. */
#include <stdlib.h>

#include "base/mem.h"
#include "engine/traces/span_rows_priv.h"
#include "storage/traces/span_fields.h"

enum {
    FIELDS_KEEP = 1900,     /* below what a row may have */
    BYTES_KEEP = 512 << 10, /* of fields; with the whole span behind them a row still fits */
    ROW_SPARE = 4096,
    SCRATCH_BYTES = 64 << 20,
};

struct typed {
    struct ks_slice name;
    char type;
};
struct ks_span_rows {
    struct ks_log_batch rows;
    struct ks_arena arena; /* texts of fields */
    struct ks_batch one;   /* a span in full */
    struct ks_buf encoded;
    struct ks_log_field *fields;
    size_t count, cap, bytes;
    struct typed *types;
    size_t type_count, type_cap;
    bool raw; /* the fields do not say all of it */
};

ks_err ks_span_rows_new(struct ks_span_rows **ret)
{
    struct ks_span_rows *w = ks_zalloc(sizeof *w);
    if (!w)
        return KS_ENOMEM;
    ks_log_batch_init(&w->rows, SCRATCH_BYTES);
    ks_arena_init(&w->arena, SCRATCH_BYTES);
    ks_batch_init(&w->one);
    ks_buf_init(&w->encoded, KS_BUF_UNLIMITED);
    *ret = w;
    return KS_OK;
}

void ks_span_rows_free(struct ks_span_rows *w)
{
    if (!w)
        return;
    ks_log_batch_done(&w->rows);
    ks_arena_done(&w->arena);
    ks_batch_done(&w->one);
    ks_buf_done(&w->encoded);
    ks_free(w->fields);
    ks_free(w->types);
    ks_free(w);
}

void ks_span_rows_begin(struct ks_span_rows *w)
{
    ks_log_batch_reset(&w->rows);
    ks_arena_reset(&w->arena);
}

const struct ks_log_batch *ks_span_rows_batch(const struct ks_span_rows *w)
{
    return &w->rows;
}

/* --- fields --- */
static char type_of(const struct ks_attr *a)
{
    switch (a->type) {
    case KS_ATTR_STRING:
        return a->text.len ? KSI_ROW_STRING : KSI_ROW_STRING_EMPTY;
    case KS_ATTR_BOOL:
        return KSI_ROW_BOOL;
    case KS_ATTR_INT:
        return KSI_ROW_INT;
    case KS_ATTR_DOUBLE:
        return KSI_ROW_DOUBLE;
    case KS_ATTR_EMPTY:
        return KSI_ROW_UNSET;
    default:
        return KSI_ROW_BYTES;
    }
}

static ks_err put(struct ks_span_rows *w, struct ks_slice name, struct ks_slice value)
{
    KS_TRY(ks_array_reserve((void **)&w->fields, &w->cap, w->count + 1, sizeof *w->fields));
    w->fields[w->count++] = (struct ks_log_field){name, value};
    w->bytes += name.len + value.len;
    return KS_OK;
}

static ks_err add_field(void *arg, struct ks_slice name, struct ks_slice value,
                        const struct ks_attr *of)
{
    struct ks_span_rows *w = arg;
    bool own = !of && !ks_slice_has_prefix(name, KS_SLICE_LIT("event:")) &&
               !ks_slice_has_prefix(name, KS_SLICE_LIT("link:"));
    /* Ids, times and names always fit; of the rest as much as a row takes. */
    if (!own && (name.len > KS_LOG_NAME_MAX || w->count >= FIELDS_KEEP ||
                 w->bytes + name.len + value.len > BYTES_KEEP)) {
        w->raw = true;
        return KS_OK;
    }
    KS_TRY(put(w, name, value));
    if (!of || w->raw)
        return KS_OK;
    if (of->type == KS_ATTR_ARRAY || of->type == KS_ATTR_KVLIST) {
        w->raw = true;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&w->types, &w->type_cap, w->type_count + 1, sizeof *w->types));
    w->types[w->type_count++] = (struct typed){name, type_of(of)};
    return KS_OK;
}

static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct typed *)a)->name, ((const struct typed *)b)->name);
}

/* One letter per attribute, in the order of the fields' names. Nothing when all are texts. */
static ks_err put_types(struct ks_span_rows *w)
{
    bool plain = true;
    if (w->type_count)
        qsort(w->types, w->type_count, sizeof *w->types, by_name);
    for (size_t i = 0; i < w->type_count; i++) {
        plain &= w->types[i].type == KSI_ROW_STRING;
        if (i && ks_slice_eq(w->types[i - 1].name, w->types[i].name))
            w->raw = true; /* a key twice: fields keep the last one */
    }
    if (w->raw || plain)
        return KS_OK;
    char *text = ks_arena_alloc(&w->arena, w->type_count);
    if (!text)
        return ks_arena_err(&w->arena);
    for (size_t i = 0; i < w->type_count; i++)
        text[i] = w->types[i].type;
    return put(w, KS_SLICE_LIT(KSI_ROW_TYPES), ks_slice(text, w->type_count));
}

static bool has_map(const struct ks_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++)
        if (attrs->items[i].type == KS_ATTR_KVLIST)
            return true;
    return false;
}

/* What no field tells: maps as such, dropped counts of processes. */
static bool needs_raw(const struct ks_span *s)
{
    bool raw = s->resource->attrs.dropped || s->scope->attrs.dropped ||
               has_map(&s->resource->attrs) || has_map(&s->scope->attrs) || has_map(&s->attrs);
    for (uint32_t i = 0; i < s->event_count && !raw; i++)
        raw = has_map(&s->events[i].attrs);
    for (uint32_t i = 0; i < s->link_count && !raw; i++)
        raw = has_map(&s->links[i].attrs);
    return raw;
}

/* The span would not fit twice: long values are then in the whole alone. */
static void drop_long(struct ks_span_rows *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->fields[i].value.len <= ROW_SPARE)
            w->fields[n++] = w->fields[i];
    w->count = n;
}

static ks_err put_raw(struct ks_span_rows *w, struct ks_tenant tenant, const struct ks_span *s)
{
    struct ks_batch_memo memo = {0};
    size_t at;
    ks_batch_reset(&w->one, tenant);
    ks_batch_copy_span(&w->one, s, &memo);
    ks_buf_reset(&w->encoded);
    KS_TRY(ks_batch_encode(&w->one, &w->encoded, &at));
    ks_batch_patch(&w->one, &w->encoded, at);
    if (w->bytes + w->encoded.len > KS_LOG_ROW_MAX - ROW_SPARE)
        drop_long(w);
    struct ks_slice copy = ks_arena_dup(&w->arena, ks_buf_view(&w->encoded));
    return copy.ptr ? put(w, KS_SLICE_LIT(KSI_ROW_RAW), copy) : ks_arena_err(&w->arena);
}

static ks_err put_hidden(struct ks_span_rows *w, struct ks_tenant tenant, const struct ks_span *s)
{
    if (!w->raw)
        KS_TRY(put_types(w));
    if (w->raw)
        return put_raw(w, tenant, s);
    if (s->resource->schema_url.len)
        KS_TRY(put(w, KS_SLICE_LIT(KSI_ROW_RESOURCE_SCHEMA), s->resource->schema_url));
    if (s->scope->schema_url.len)
        KS_TRY(put(w, KS_SLICE_LIT(KSI_ROW_SCOPE_SCHEMA), s->scope->schema_url));
    return KS_OK;
}

static ks_err stream_of(struct ks_span_rows *w, struct ks_tenant tenant, const struct ks_span *s,
                        uint32_t *ret)
{
    struct ks_label tags[2];
    size_t n = 0;
    struct ks_slice service_field = KS_SLICE_LIT("resource_attr:service.name"), service;
    KS_TRY(ks_span_field(s, service_field, &w->arena, &service));
    if (s->name.len)
        tags[n++] = (struct ks_label){KS_SLICE_LIT("name"), s->name};
    if (service.len)
        tags[n++] = (struct ks_label){service_field, service};
    return ks_log_batch_stream(&w->rows, tenant, tags, n, ret);
}

ks_err ks_span_rows_add(struct ks_span_rows *w, struct ks_tenant tenant, const struct ks_span *s)
{
    uint32_t stream;
    w->count = w->bytes = w->type_count = 0;
    w->raw = needs_raw(s);
    KS_TRY(stream_of(w, tenant, s, &stream));
    KS_TRY(ks_span_fields(s, &w->arena, add_field, w));
    KS_TRY(put_hidden(w, tenant, s));
    return ks_log_batch_row(&w->rows, stream, ks_span_time_ns(s), w->fields, w->count);
}

ks_err ks_span_rows_add_batch(struct ks_span_rows *w, const struct ks_batch *b)
{
    for (size_t i = 0; i < b->spans_count; i++) {
        struct ks_span s;
        KS_TRY(ks_batch_view(b, i, &w->arena, &s));
        KS_TRY(ks_span_rows_add(w, b->tenant, &s));
    }
    return KS_OK;
}
