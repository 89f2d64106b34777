#include "api/logs/log_ingest.h"

#include <stdio.h>

#include "api/app.h"
#include "api/compress.h"
#include "api/logs/log_pin.h"
#include "api/logs/log_stores.h"
#include "api/logs/log_time.h"
#include "api/scratch.h"
#include "api/trace_pins.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"

enum {
    ARENA_MAX = 256 << 20,
    /* A batch beyond this is written before more is decoded. */
    FLUSH_BYTES = 16 << 20,
    FLUSH_ROWS = 128 << 10,
    FLUSH_ARENA_BYTES = 32 << 20,
    /* Fields of one row that are looked at: far beyond every limit. */
    FIELDS_SEEN_MAX = 16 << 10,
    KEEP_ROWS = 128 << 10,
    KEEP_FIELDS = 1 << 20,
    /* A row's cost as JSON text beside names and values, as the peer's limits and counters see it.
     */
    ROW_OVERHEAD = 48,
    FIELD_OVERHEAD = 6
};

#define DROPPED(var, reason) static KS_STAT(var, "vl_rows_dropped_total{reason=\"" reason "\"}")
DROPPED(stat_too_old, "too_small_timestamp");
DROPPED(stat_too_new, "too_big_timestamp");
DROPPED(stat_debug, "debug");
DROPPED(stat_many_fields, "too_many_fields");
DROPPED(stat_long_name, "too_long_field_name");
DROPPED(stat_large_row, "too_large_row");
DROPPED(stat_duplicate, "duplicate_batch");
static KS_STAT(stat_short_names, "vl_fields_renamed_total{reason=\"too_long_field_name\"}");
static KS_STAT(stat_reserved, "vl_fields_dropped_total{reason=\"reserved_name\"}");

/* --- scratch --- */
ks_err ks_log_scratch_new(struct ks_log_scratch **ret)
{
    struct ks_log_scratch *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    ks_log_batch_init(&s->batch, ARENA_MAX);
    ks_arena_init(&s->keep, ARENA_MAX);
    *ret = s;
    return KS_OK;
}

void ks_log_scratch_free(struct ks_log_scratch *s)
{
    if (!s)
        return;
    ks_log_batch_done(&s->batch);
    ks_arena_done(&s->keep);
    ks_free(s->fields);
    ks_free(s->tags);
    ks_free(s->last_tags);
    ks_free(s);
}

void ks_log_scratch_trim(struct ks_log_scratch *s)
{
    if (!s)
        return;
    ks_arena_reset(&s->keep);
    if (s->batch.row_cap > KEEP_ROWS || s->batch.field_cap > KEEP_FIELDS) {
        ks_log_batch_done(&s->batch);
        ks_log_batch_init(&s->batch, ARENA_MAX);
    } else {
        ks_log_batch_reset(&s->batch);
    }
}

/* --- beginning and end --- */
void ks_log_ingest_init(struct ks_log_ingest *in, struct ks_app *app, struct ks_log_scratch *s,
                        struct ks_log_protocol *protocol, const struct ks_log_params *params)
{
    ks_log_batch_reset(&s->batch);
    ks_arena_reset(&s->keep);
    *in = (struct ks_log_ingest){
        .params = params,
        .protocol = protocol,
        .scratch = s,
        .batch = &s->batch,
        .arena = &s->batch.arena,
        .keep = &s->keep,
        .now_ns = ks_now_ns(),
        .source = "",
        .default_msg = ks_slice_str(app->cfg.logs.default_msg),
        .max_fields = app->cfg.logs.max_fields ? app->cfg.logs.max_fields : KS_LOG_FIELDS_MAX,
        .fields = s->fields,
        .field_cap = s->field_cap,
        .pins = ks_trace_pins_wanted(app->pins, KS_PIN_LOG) ? app->pins : NULL,
    };
}

ks_err ks_log_ingest_begin(struct ks_http_request *req, struct ks_log_protocol *protocol,
                           const struct ks_log_params *params, struct ks_log_ingest *ret)
{
    struct ks_app *app = ks_app_of(req);
    if (app->cfg.logs.disable_insert)
        return ks_fail(KS_EINVAL, "requests to /insert/* are disabled with -insert.disable");
    if (!req->scratch->logs)
        KS_TRY(ks_log_scratch_new(&req->scratch->logs));
    ks_log_ingest_init(ret, app, req->scratch->logs, protocol, params);
    ret->source = req->path.ptr;
    return ks_log_store_of(req, &ret->store);
}

static void note(struct ks_log_ingest *in, const char *why, uint64_t n)
{
    if (!n)
        return;
    in->out.dropped += n;
    if (!in->out.first_reason[0])
        snprintf(in->out.first_reason, sizeof in->out.first_reason, "%s", why);
}

static void drop(struct ks_log_ingest *in, struct ks_stat *stat, const char *why, uint64_t n)
{
    if (!n)
        return;
    ks_stat_add(stat, n);
    note(in, why, n);
    ks_log_limited(5000, KS_LOG_WARN, "api", "log rows dropped reason=\"%s\" rows=%llu protocol=%s",
                   why, (unsigned long long)n, in->protocol->name);
}

static void count_written(struct ks_log_ingest *in, const struct ks_log_write_result *r)
{
    in->out.stored += r->stored;
    drop(in, &stat_too_old, "older than the retention of the store", r->too_old);
    drop(in, &stat_too_new, "too far in the future", r->too_new);
    drop(in, &stat_many_fields, "too many fields", r->too_many_fields);
    drop(in, &stat_long_name, "a field name is longer than 128 bytes", r->name_too_long);
    drop(in, &stat_large_row, "the row is larger than 2 MiB", r->row_too_large);
    if (r->duplicate)
        ks_stat_add(&stat_duplicate, in->batch->row_count);
}

static void count_rows(struct ks_log_ingest *in)
{
    ks_stat_add(&in->protocol->rows, in->out.rows - in->counted_rows);
    ks_stat_add(&in->protocol->bytes, in->row_bytes);
    in->counted_rows = in->out.rows;
    in->row_bytes = 0;
}

ks_err ks_log_write_held(struct ks_log_ingest *in)
{
    struct ks_log_write_result r = {0};
    if (in->batch->row_count)
        KS_TRY(ks_log_store_write(in->store, in->batch, &r));
    count_written(in, &r);
    count_rows(in);
    if (in->pin_count)
        ksi_log_trace_pins_ask(in);
    ks_log_batch_reset(in->batch);
    in->stream_known = false;
    return KS_OK;
}

ks_err ks_log_flush(struct ks_log_ingest *in)
{
    if (!in->store)
        return KS_OK;
    ks_err err = ks_log_write_held(in);
    if (err != KS_OK) {
        ks_log_batch_reset(in->batch);
        in->stream_known = false;
    }
    return err;
}

ks_err ks_log_ingest_end(struct ks_log_ingest *in)
{
    ks_err err = ks_log_flush(in);
    count_rows(in);
    return err;
}

ks_err ks_log_ingest_end_with(struct ks_log_ingest *in, ks_err err)
{
    if (err != KS_OK && ks_err_http_status(err) >= 500) /* writing failed already */
        return err;
    KS_TRY(ks_log_ingest_end(in));
    return err;
}

ks_err ks_log_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret)
{
    struct ks_slice name = ks_http_header(req, "Content-Encoding");
    enum ks_encoding e = ks_encoding_of(name);
    if (e == KS_ENC_UNKNOWN)
        return ks_fail(KS_EUNSUPPORTED,
                       "unsupported Content-Encoding \"%.*s\"; want gzip, deflate, zstd, snappy or "
                       "none",
                       KS_SLICE_ARG(name));
    if (e == KS_ENC_NONE) {
        if (limit && req->body.len > limit)
            return ks_fail(KS_ETOOBIG, "the request body has %zu bytes; the limit is %zu",
                           req->body.len, limit);
        *ret = req->body;
        return KS_OK;
    }
    struct ks_buf *out = &req->scratch->body;
    ks_buf_reset(out);
    KS_TRY(ks_decompress(e, req->body, limit ? limit : KS_BUF_UNLIMITED, out));
    *ret = ks_buf_view(out);
    return KS_OK;
}

/* --- fields --- */
ks_err ks_log_add_slow(struct ks_log_ingest *in, struct ks_slice name, struct ks_slice value)
{
    struct ks_log_scratch *s = in->scratch;
    if (in->field_count >= FIELDS_SEEN_MAX) {
        in->overflow = true;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&s->fields, &s->field_cap, in->field_count + 64,
                            sizeof *s->fields));
    in->fields = s->fields;
    in->field_cap = s->field_cap;
    in->fields[in->field_count++] = (struct ks_log_field){name, value};
    return KS_OK;
}

ks_err ks_log_take_time(struct ks_log_ingest *in, int64_t *ret_ns)
{
    const struct ks_log_names *names = &in->params->time_fields;
    for (size_t i = 0; i < names->count; i++)
        for (size_t k = 0; k < in->field_count; k++) {
            struct ks_log_field *f = &in->fields[k];
            if (!ks_slice_eq(f->name, names->items[i]))
                continue;
            if (!(in->accept_dates && ks_log_time_date(f->value, ret_ns)) &&
                !ks_log_time_parse(f->value, in->now_ns, ret_ns))
                return ks_fail(KS_EPARSE, "cannot parse the time \"%.*s\" of field \"%.*s\"",
                               (int)(f->value.len < 64 ? f->value.len : 64), f->value.ptr,
                               KS_SLICE_ARG(f->name));
            f->value.len = 0;
            return KS_OK;
        }
    *ret_ns = in->now_ns;
    return KS_OK;
}

void ks_log_rename_msg(struct ks_log_ingest *in, size_t first)
{
    const struct ks_log_names *names = &in->params->msg_fields;
    for (size_t i = 0; i < names->count; i++)
        for (size_t k = first; k < in->field_count; k++)
            if (in->fields[k].value.len && ks_slice_eq(in->fields[k].name, names->items[i])) {
                in->fields[k].name = KS_SLICE_LIT("_msg");
                return;
            }
}

static bool is_extra(const struct ks_log_params *p, struct ks_slice name)
{
    for (size_t i = 0; i < p->extra_count; i++)
        if (ks_slice_eq(p->extra[i].name, name))
            return true;
    return false;
}

/* Names that belong to the row itself. */
static bool is_reserved(struct ks_slice name)
{
    return name.len >= 5 && name.ptr[0] == '_' &&
           (ks_slice_is(name, "_time") || ks_slice_is(name, "_stream") ||
            ks_slice_is(name, "_stream_id"));
}

/* --- colours --- */
/* ESC [ parameters intermediates final: ECMA-48's control sequences. */
static const char *skip_sequence(const char *p, const char *end)
{
    while (p < end && *p >= 0x30 && *p <= 0x3f)
        p++;
    while (p < end && *p >= 0x20 && *p <= 0x2f)
        p++;
    return p < end && *p >= 0x30 && *p <= 0x7e ? p + 1 : p;
}

static ks_err decolorize(struct ks_arena *arena, struct ks_slice *value)
{
    const char *p = value->ptr, *end = p + value->len;
    if (!memmem(p, value->len, "\x1b[", 2))
        return KS_OK;
    char *out = ks_arena_alloc(arena, value->len), *o = out;
    if (!out)
        return ks_arena_err(arena);
    while (p < end) {
        if (*p == 0x1b && end - p >= 2 && p[1] == '[')
            p = skip_sequence(p + 2, end);
        else
            *o++ = *p++;
    }
    *value = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

/* --- streams --- */
static ks_err reserve_tags(struct ks_log_scratch *s, size_t n)
{
    KS_TRY(ks_array_reserve((void **)&s->tags, &s->tag_cap, n, sizeof *s->tags));
    return ks_array_reserve((void **)&s->last_tags, &s->last_cap, n, sizeof *s->last_tags);
}

/* The stream of explicit tags: those not ignored and not overridden by extra fields. */
ks_err ks_log_stream(struct ks_log_ingest *in, struct ks_tenant tenant, size_t count)
{
    const struct ks_log_params *p = in->params;
    struct ks_log_scratch *s = in->scratch;
    size_t n = 0;
    KS_TRY(reserve_tags(s, count));
    for (size_t i = 0; i < count; i++) {
        const struct ks_log_field *f = &in->fields[i];
        struct ks_slice name = f->name.len ? f->name : KS_SLICE_LIT("_msg");
        if (f->value.len && !ks_log_names_match(&p->ignore, name) && !is_extra(p, name))
            s->tags[n++] = (struct ks_label){name, f->value};
    }
    KS_TRY(ks_log_batch_stream(in->batch, tenant, s->tags, n, &in->stream));
    in->stream_known = true;
    in->stream_tags = count;
    return KS_OK;
}

/* The value of stream field i: an extra field's before the client's. */
static struct ks_slice tag_value(const struct ks_log_ingest *in, struct ks_slice name)
{
    const struct ks_log_params *p = in->params;
    for (size_t i = 0; i < p->extra_count; i++)
        if (ks_slice_eq(p->extra[i].name, name))
            return p->extra[i].value;
    if (ks_log_names_match(&p->ignore, name))
        return ks_slice("", 0);
    for (size_t i = 0; i < in->field_count; i++) {
        const struct ks_log_field *f = &in->fields[i];
        if (f->value.len && (f->name.len == name.len && !memcmp(f->name.ptr, name.ptr, name.len)))
            return f->value;
    }
    return ks_slice("", 0);
}

static ks_err stream_by_name(struct ks_log_ingest *in)
{
    const struct ks_log_names *names = &in->params->stream_fields;
    struct ks_log_scratch *s = in->scratch;
    size_t count = names->count, n = 0;
    bool same = in->stream_known && in->stream_tags == KS_LOG_TAGS_BY_NAME;
    KS_TRY(reserve_tags(s, count + 1));
    for (size_t i = 0; i < count; i++) {
        struct ks_slice v = tag_value(in, names->items[i]);
        same = same && ks_slice_eq(v, s->last_tags[i]);
        s->last_tags[i] = v;
        if (v.len)
            s->tags[n++] = (struct ks_label){names->items[i], v};
    }
    if (same)
        return KS_OK;
    KS_TRY(ks_log_batch_stream(in->batch, in->params->tenant, s->tags, n, &in->stream));
    in->stream_known = true;
    in->stream_tags = KS_LOG_TAGS_BY_NAME;
    return KS_OK;
}

static ks_err stream_of(struct ks_log_ingest *in, size_t tag_count)
{
    if (tag_count == KS_LOG_TAGS_BY_NAME)
        return stream_by_name(in);
    if (tag_count == KS_LOG_TAGS_GIVEN || (in->stream_known && in->stream_tags == tag_count))
        return KS_OK;
    return ks_log_stream(in, in->params->tenant, tag_count);
}

/* --- rows --- */
/* The limits; NULL when within them, else the counter of the broken one. */
static struct ks_stat *over_limit(const struct ks_log_ingest *in, uint64_t bytes, size_t present,
                                  const char **why)
{
    if (in->overflow || present > in->max_fields || present > KS_LOG_FIELDS_MAX) {
        *why = "too many fields";
        return &stat_many_fields;
    }
    *why = "the row is larger than 2 MiB";
    return bytes > KS_LOG_ROW_MAX ? &stat_large_row : NULL;
}

/* Room behind the row's own fields for the extra ones and the default message. */
static ks_err room(struct ks_log_ingest *in)
{
    struct ks_log_scratch *s = in->scratch;
    size_t need = in->field_count + in->params->extra_count + 1;
    if (KS_LIKELY(need <= in->field_cap && in->field_count))
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&s->fields, &s->field_cap, need, sizeof *s->fields));
    in->fields = s->fields;
    in->field_cap = s->field_cap;
    return KS_OK;
}

struct shape {
    uint64_t bytes;
    size_t present;
    bool has_msg, plain; /* plain: the fields can be stored as they are */
    size_t trace;        /* 1 + a field that looks like a trace id; 0: none */
};

static inline struct shape shape_of(const struct ks_log_ingest *in)
{
    const struct ks_log_params *p = in->params;
    struct shape s = {.bytes = ROW_OVERHEAD,
                      .plain = !p->ignore.count && !p->decolorize.count && !p->extra_count};
    for (size_t i = 0; i < in->field_count; i++) {
        const struct ks_log_field *f = &in->fields[i];
        if (!f->value.len)
            continue;
        s.present++;
        s.bytes += f->name.len + f->value.len + FIELD_OVERHEAD;
        s.plain = s.plain && f->name.len <= KS_LOG_NAME_MAX;
        if (KS_UNLIKELY(f->value.len == 32) && (f->name.len | 15) == 15)
            s.trace = ks_pin_id_name(f->name) ? i + 1 : s.trace;
        if (!f->name.len || f->name.ptr[0] == '_') {
            s.has_msg |= ks_slice_is(f->name, "_msg");
            s.plain = s.plain && f->name.len && !is_reserved(f->name);
        }
    }
    return s;
}

static void debug_row(struct ks_log_ingest *in, int64_t time_ns)
{
    char text[2048];
    size_t n = 0;
    for (size_t i = 0; i < in->field_count && n < sizeof text - 1; i++) {
        const struct ks_log_field *f = &in->fields[i];
        int m = snprintf(text + n, sizeof text - n, " %.*s=%.*s", KS_SLICE_ARG(f->name),
                         KS_SLICE_ARG(f->value));
        n += m > 0 ? (size_t)m : 0;
    }
    ks_log(KS_LOG_INFO, "api", "log row ignored because of the debug argument path=%s time=%lld:%s",
           in->source, (long long)time_ns, text);
    ks_stat_add(&stat_debug, 1);
    note(in, "debug", 1);
}

/*
 * A name beyond the limit: its beginning, ~ and a hash of the whole, so that the row is not lost
 * and names stay apart. (The peer drops such rows.)
 */
static ks_err shorten(struct ks_arena *arena, struct ks_slice *name)
{
    enum { TAIL = 9 };
    size_t n = KS_LOG_NAME_MAX - TAIL;
    char *out = ks_arena_alloc(arena, KS_LOG_NAME_MAX + 1);
    if (!out)
        return ks_arena_err(arena);
    while (n && ((unsigned char)name->ptr[n] & 0xc0) == 0x80) /* not within a character */
        n--;
    memcpy(out, name->ptr, n);
    snprintf(out + n, TAIL + 1, "~%08x", (unsigned)ks_hash64(name->ptr, name->len));
    *name = ks_slice(out, n + TAIL);
    ks_stat_add(&stat_short_names, 1);
    return KS_OK;
}

/*
 * The row's fields as they are stored, behind the client's ones which stay as they are: a row of
 * many may share its first fields with the next.
 */
static ks_err rewrite(struct ks_log_ingest *in, struct shape *s, struct ks_log_field **ret,
                      size_t *ret_count)
{
    const struct ks_log_params *p = in->params;
    struct ks_log_field *out =
        ks_arena_array(in->arena, in->field_count + p->extra_count + 1, sizeof *out);
    size_t n = 0;
    if (!out)
        return ks_arena_err(in->arena);
    s->has_msg = false;
    for (size_t i = 0; i < in->field_count; i++) {
        struct ks_log_field f = in->fields[i];
        if (!f.name.len)
            f.name = KS_SLICE_LIT("_msg");
        if (!f.value.len || is_extra(p, f.name) || ks_log_names_match(&p->ignore, f.name))
            continue;
        if (is_reserved(f.name)) {
            ks_stat_add(&stat_reserved, 1);
            continue;
        }
        if (p->decolorize.count && ks_log_names_match(&p->decolorize, f.name))
            KS_TRY(decolorize(in->arena, &f.value));
        if (f.name.len > KS_LOG_NAME_MAX)
            KS_TRY(shorten(in->arena, &f.name));
        s->has_msg |= f.value.len && ks_slice_is(f.name, "_msg");
        out[n++] = f;
    }
    for (size_t i = 0; i < p->extra_count; i++) {
        if (is_reserved(p->extra[i].name))
            continue;
        s->has_msg |= ks_slice_is(p->extra[i].name, "_msg");
        out[n++] = p->extra[i];
        if (out[n - 1].name.len > KS_LOG_NAME_MAX)
            KS_TRY(shorten(in->arena, &out[n - 1].name));
    }
    if (!s->has_msg && in->default_msg.len)
        out[n++] = (struct ks_log_field){KS_SLICE_LIT("_msg"), in->default_msg};
    *ret = out;
    *ret_count = n;
    return KS_OK;
}

ks_err ks_log_row(struct ks_log_ingest *in, int64_t time_ns, size_t tag_count)
{
    struct shape s = shape_of(in);
    const char *why;
    in->out.rows++;
    in->row_bytes += s.bytes;
    struct ks_stat *broken = over_limit(in, s.bytes, s.present, &why);
    if (KS_UNLIKELY(broken)) {
        drop(in, broken, why, 1);
        return KS_OK;
    }
    if (KS_UNLIKELY(in->params->debug)) {
        debug_row(in, time_ns);
        return KS_OK;
    }
    KS_TRY(room(in));
    KS_TRY(stream_of(in, tag_count));
    struct ks_log_field *fields = in->fields;
    size_t n = in->field_count;
    if (!s.plain)
        KS_TRY(rewrite(in, &s, &fields, &n));
    else if (!s.has_msg && in->default_msg.len)
        fields[n++] = (struct ks_log_field){KS_SLICE_LIT("_msg"), in->default_msg};
    KS_TRY(ks_log_batch_row(in->batch, in->stream, time_ns, fields, n));
    if (KS_UNLIKELY(s.trace && in->pins))
        ksi_log_trace_pin(in, s.trace - 1);
    if (KS_LIKELY(in->hold ||
                  (in->batch->bytes < FLUSH_BYTES && in->batch->row_count < FLUSH_ROWS &&
                   in->arena->used_bytes < FLUSH_ARENA_BYTES)))
        return KS_OK;
    return ks_log_flush(in);
}

/* --- reporting --- */
void ks_log_skip(struct ks_log_ingest *in, const char *what, uint64_t number)
{
    if (!in->out.skipped++)
        in->out.first_skipped = number;
    if (!in->out.first_reason[0])
        snprintf(in->out.first_reason, sizeof in->out.first_reason, "%s %llu: %s", what,
                 (unsigned long long)number, ks_err_text());
    ks_log_limited(5000, KS_LOG_WARN, "api", "%s skipped protocol=%s number=%llu error=\"%s\"",
                   what, in->protocol->name, (unsigned long long)number, ks_err_text());
}

void ks_log_report(const struct ks_log_ingest *in, struct ks_buf *out)
{
    const struct ks_log_outcome *o = &in->out;
    if (!o->skipped && !o->dropped)
        return;
    ks_buf_printf(out, "{\"stored\":%llu,\"skipped\":%llu,\"dropped\":%llu,\"firstError\":",
                  (unsigned long long)o->stored, (unsigned long long)o->skipped,
                  (unsigned long long)o->dropped);
    ks_buf_json_str(out, ks_slice_str(o->first_reason));
    ks_buf_str(out, "}\n");
}
