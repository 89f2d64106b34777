#include "api/otlp/sink.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/app.h"
#include "api/span_metrics.h"
#include "base/mem.h"
#include "base/stats.h"
#include "sys/thread.h"

static KS_STAT(stat_spans, "vt_rows_ingested_total{type=\"spans\"}");
static KS_STAT(stat_bytes, "vt_bytes_ingested_total{type=\"spans\"}");
static KS_STAT(stat_rejected, "vt_rows_dropped_total{reason=\"rejected\"}");
static KS_STAT(stat_over_limit, "vt_rows_dropped_total{reason=\"too_many_spans_per_trace\"}");

enum { SPANS_PER_BREATH = 32 };

/* --- a batch and a buffer per thread, kept from request to request --- */
struct own {
    struct ks_batch batch;
    struct ks_buf buf;
};
static pthread_key_t own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void own_free(void *p)
{
    struct own *o = p;
    ks_batch_done(&o->batch);
    ks_buf_done(&o->buf);
    ks_free(o);
}

static void own_init(void)
{
    pthread_key_create(&own_key, own_free);
}

static struct own *own_get(void)
{
    pthread_once(&own_once, own_init);
    struct own *o = pthread_getspecific(own_key);
    if (o)
        return o;
    o = ks_zalloc(sizeof *o);
    if (!o)
        return NULL;
    ks_batch_init(&o->batch);
    ks_buf_init(&o->buf, (size_t)8 << 20);
    pthread_setspecific(own_key, o);
    return o;
}

struct ks_batch *ks_span_thread_batch(void)
{
    struct own *o = own_get();
    return o ? &o->batch : NULL;
}

struct ks_buf *ks_span_thread_buf(void)
{
    struct own *o = own_get();
    return o ? &o->buf : NULL;
}

/* --- extra_fields, ignore_fields --- */
/* resource_attr:x and bare names go to the resource, span_attr:x to the span. */
static ks_err add_extra(struct ks_span_sink *s, struct ks_slice name, struct ks_slice value)
{
    bool span = ks_slice_has_prefix(name, KS_SLICE_LIT("span_attr:"));
    if (span)
        name = ks_slice_from(name, 10);
    else if (ks_slice_has_prefix(name, KS_SLICE_LIT("resource_attr:")))
        name = ks_slice_from(name, 14);
    size_t *n = span ? &s->extra_span_count : &s->extra_count;
    if (!name.len || *n == KS_EXTRA_FIELDS_MAX)
        return ks_fail(KS_EINVAL, "extra_fields: want at most %d fields name=value",
                       KS_EXTRA_FIELDS_MAX);
    (span ? s->extra_span : s->extra)[(*n)++] = (struct ks_label){name, value};
    return KS_OK;
}

ks_err ks_span_sink_extra_fields(struct ks_span_sink *s, struct ks_slice text)
{
    for (struct ks_slice one; ks_slice_cut(&text, ',', &one);) {
        const char *eq = one.len ? memchr(one.ptr, '=', one.len) : NULL;
        if (!one.len)
            continue;
        if (!eq)
            return ks_fail(KS_EINVAL, "extra_fields: missing = in \"%.*s\"", KS_SLICE_ARG(one));
        size_t at = (size_t)(eq - one.ptr);
        KS_TRY(add_extra(s, ks_slice(one.ptr, at), ks_slice_from(one, at + 1)));
    }
    return KS_OK;
}

static ks_err ignore_list(struct ks_span_sink *s, struct ks_slice text)
{
    for (struct ks_slice one; ks_slice_cut(&text, ',', &one);) {
        if (!one.len)
            continue;
        if (s->ignore_count == KS_EXTRA_FIELDS_MAX)
            return ks_fail(KS_EINVAL, "ignore_fields: want at most %d names", KS_EXTRA_FIELDS_MAX);
        s->ignore[s->ignore_count++] = one;
    }
    return KS_OK;
}

void ks_span_sink_begin_plain(struct ks_span_sink *s, struct ks_trace_store *store,
                              struct ks_tenant tenant)
{
    memset(s, 0, sizeof *s);
    s->store = store;
    s->batch = ks_span_thread_batch();
    s->encoded = ks_span_thread_buf();
    s->tenant = tenant;
    if (s->batch)
        ks_batch_reset(s->batch, tenant);
}

void ks_span_sink_begin_app(struct ks_span_sink *s, struct ks_app *app, struct ks_tenant tenant)
{
    ks_span_sink_begin_plain(s, app->traces, tenant);
    s->metrics = app->span_metrics;
}

ks_err ks_span_sink_begin(struct ks_span_sink *s, struct ks_http_request *req)
{
    ks_span_sink_begin_app(s, ks_app_of(req), req->tenant);
    if (!s->batch)
        return KS_ENOMEM;
    /* All that are given count: a proxy's argument beside a client's header. */
    for (size_t i = 0; i < req->arg_count; i++) {
        if (ks_slice_is(req->args[i].name, "extra_fields"))
            KS_TRY(ks_span_sink_extra_fields(s, req->args[i].value));
        if (ks_slice_is(req->args[i].name, "ignore_fields"))
            KS_TRY(ignore_list(s, req->args[i].value));
    }
    KS_TRY(ignore_list(s, ks_http_header(req, "VL-Ignore-Fields")));
    return ks_span_sink_extra_fields(s, ks_http_header(req, "VL-Extra-Fields"));
}

bool ks_span_sink_drops(const struct ks_span_sink *s, bool resource, struct ks_slice key)
{
    const struct ks_label *extra = resource ? s->extra : s->extra_span;
    size_t n = resource ? s->extra_count : s->extra_span_count;
    struct ks_slice prefix = resource ? KS_SLICE_LIT("resource_attr:") : KS_SLICE_LIT("span_attr:");
    for (size_t i = 0; i < n; i++)
        if (ks_slice_eq(extra[i].name, key))
            return true;
    for (size_t i = 0; i < s->ignore_count; i++)
        if (ks_slice_has_prefix(s->ignore[i], prefix) &&
            ks_slice_eq(ks_slice_from(s->ignore[i], prefix.len), key))
            return true;
    return false;
}

/* Of several for one name the first wins: arguments come before headers. */
void ks_span_sink_extra(struct ks_span_sink *s, bool resource)
{
    const struct ks_label *extra = resource ? s->extra : s->extra_span;
    size_t n = resource ? s->extra_count : s->extra_span_count;
    for (size_t i = 0; i < n; i++) {
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= ks_slice_eq(extra[k].name, extra[i].name);
        struct ks_attr a = {.key = extra[i].name, .type = KS_ATTR_STRING, .text = extra[i].value};
        if (!again)
            ks_batch_attr_of(s->batch, &a);
    }
}

/* --- handing over --- */
static ks_err hand_over(struct ks_span_sink *s)
{
    struct ks_traces_result res = {0};
    if (!s->batch->spans_count)
        return s->batch->err;
    s->received += s->batch->spans_count;
    if (s->each)
        s->each(s->each_arg, s->batch);
    if (s->store) {
        ks_err err = ks_trace_store_write(s->store, s->batch, s->encoded, &s->lsn, &res);
        if (err == KS_ELIMIT) {
            ks_span_sink_reject(s, s->batch->spans_count, "%s", ks_err_text());
            s->received -= s->batch->spans_count;
            err = KS_OK;
        }
        KS_TRY(err);
        if (res.stored)
            ks_span_metrics_add(s->metrics, s->batch);
    }
    if (res.over_trace_limit) {
        ks_span_sink_reject(s, 0,
                            "a trace has all the spans it may have; see -traces.maxSpansPerTrace");
        s->rejected += res.over_trace_limit;
        ks_stat_add(&stat_over_limit, res.over_trace_limit);
    }
    s->stored += res.stored;
    ks_stat_add(&stat_spans, res.stored);
    ks_stat_add(&stat_bytes, s->batch->bytes);
    s->batches++;
    ks_batch_reset(s->batch, s->tenant);
    return KS_OK;
}

ks_err ks_span_sink_room(struct ks_span_sink *s, size_t span_bytes)
{
    if (s->batch->spans_count % SPANS_PER_BREATH == 0)
        ks_thread_breathe();
    if (KS_LIKELY(!ks_batch_full(s->batch) &&
                  (s->batch->bytes + span_bytes <= KS_BATCH_BYTES_MAX || !s->batch->spans_count)))
        return s->batch->err;
    return hand_over(s);
}

void ks_span_sink_reject(struct ks_span_sink *s, uint64_t spans, const char *fmt, ...)
{
    s->rejected += spans;
    if (spans)
        ks_stat_add(&stat_rejected, spans);
    if (s->reason[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->reason, sizeof s->reason, fmt, ap);
    va_end(ap);
}

ks_err ks_span_sink_finish(struct ks_span_sink *s)
{
    KS_TRY(s->batch->err);
    KS_TRY(hand_over(s));
    return s->store ? ks_trace_store_commit(s->store, s->lsn) : KS_OK;
}
