/* What a client asks: arguments of searches, tags, durations. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/ingest/json_reader.h"
#include "api/jaeger/jaeger.h"
#include "base/num.h"
#include "sys/clock.h"

enum { VT_LIMIT = 20, JAEGER_LIMIT = 100 };

enum ks_jaeger_profile ks_jaeger_profile_of(const struct ks_http_request *req)
{
    if (req->listener != KS_LISTEN_JAEGER)
        return KS_JAEGER_VT;
    return ks_app_of(req)->cfg.jaeger_v1 ? KS_JAEGER_1 : KS_JAEGER_2;
}

static bool header_u32(const struct ks_http_request *req, const char *name, uint32_t *ret)
{
    struct ks_slice h = ks_http_header(req, name);
    uint64_t v = 0;
    if (h.len && (!ks_u64_parse(h, &v) || v > UINT32_MAX))
        return false;
    *ret = (uint32_t)v;
    return true;
}

ks_err ks_trace_tenant(struct ks_http_request *req, struct ks_tenant *ret)
{
    *ret = req->tenant;
    if (req->cluster_form)
        return KS_OK;
    if (!header_u32(req, "AccountID", &ret->account) ||
        !header_u32(req, "ProjectID", &ret->project))
        return ks_fail(KS_EINVAL, "headers AccountID and ProjectID must be numbers below 2^32");
    return KS_OK;
}

/* --- durations --- */
bool ks_go_duration_ns(struct ks_slice s, int64_t *ret)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1},   {"us", 1e3}, {"µs", 1e3}, {"μs", 1e3},
                 {"ms", 1e6}, {"s", 1e9},  {"m", 6e10}, {"h", 3.6e12}};
    double sum = 0;
    bool negative = s.len && s.ptr[0] == '-';
    if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        s = ks_slice_from(s, 1);
    *ret = 0;
    if (ks_slice_is(s, "0"))
        return true;
    if (!s.len)
        return false;
    while (s.len) {
        size_t n = 0;
        double v, unit = 0;
        while (n < s.len && ((s.ptr[n] >= '0' && s.ptr[n] <= '9') || s.ptr[n] == '.'))
            n++;
        if (!n || !ks_f64_parse(ks_slice(s.ptr, n), &v))
            return false;
        s = ks_slice_from(s, n);
        size_t len = 0;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            struct ks_slice name = ks_slice_str(units[i].name);
            if (ks_slice_has_prefix(s, name) && name.len > len) {
                len = name.len;
                unit = units[i].ns;
            }
        }
        if (!len)
            return false;
        s = ks_slice_from(s, len);
        sum += v * unit;
    }
    if (sum > 9.2e18)
        return false;
    *ret = (int64_t)llround(negative ? -sum : sum);
    return true;
}

static ks_err duration_arg(const struct ks_http_request *req, const char *name, int64_t *ret)
{
    struct ks_slice s = ks_http_arg(req, name);
    *ret = 0;
    if (s.len && (!ks_go_duration_ns(s, ret) || *ret < 0))
        return ks_fail(KS_EINVAL, "unable to parse param '%s': time: invalid duration \"%.*s\"",
                       name, KS_SLICE_ARG(s));
    return KS_OK;
}

/* Microseconds since 1970. */
static ks_err time_arg(const struct ks_http_request *req, const char *name, uint64_t fallback_ns,
                       uint64_t *ret_ns)
{
    struct ks_slice s = ks_http_arg(req, name);
    int64_t us;
    *ret_ns = fallback_ns;
    if (!s.len)
        return KS_OK;
    if (!ks_i64_parse(s, &us))
        return ks_fail(KS_EINVAL,
                       "unable to parse param '%s': want microseconds since 1970, have \"%.*s\"",
                       name, KS_SLICE_ARG(s));
    *ret_ns = us < 0 ? 0 : us > INT64_MAX / 1000 ? UINT64_MAX : (uint64_t)us * 1000;
    return KS_OK;
}

/* --- tags --- */
static ks_err add_cond(struct ks_trace_params *p, struct ks_trace_cond c)
{
    if (p->q.cond_count == KS_TRACE_CONDS_MAX)
        return ks_fail(KS_EINVAL, "more than %d tags", KS_TRACE_CONDS_MAX);
    p->conds[p->q.cond_count++] = c;
    return KS_OK;
}

static bool starts(struct ks_slice *s, const char *prefix)
{
    if (!ks_slice_has_prefix(*s, ks_slice_str(prefix)))
        return false;
    *s = ks_slice_from(*s, strlen(prefix));
    return true;
}

/* Names Jaeger gives to fields of the span itself. */
static bool special_tag(struct ks_slice key, struct ks_trace_cond *c)
{
    static const struct {
        const char *key;
        enum ks_cond_field field;
    } fields[] = {{"error", KS_FIELD_ERROR},
                  {"span.kind", KS_FIELD_KIND},
                  {"otel.status_description", KS_FIELD_STATUS_MESSAGE},
                  {"w3c.tracestate", KS_FIELD_STATE},
                  {"otel.scope.name", KS_FIELD_SCOPE_NAME},
                  {"otel.scope.version", KS_FIELD_SCOPE_VERSION},
                  {"otel.status_code", KS_FIELD_STATUS},
                  {"span.status", KS_FIELD_STATUS},
                  {"scope.name", KS_FIELD_SCOPE_NAME},
                  {"scope.version", KS_FIELD_SCOPE_VERSION}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (ks_slice_is(key, fields[i].key)) {
            c->scopes = KS_COND_FIELD;
            c->field = fields[i].field;
            return true;
        }
    return false;
}

static ks_err lower_value(struct ks_trace_cond *c, struct ks_arena *arena)
{
    struct ks_slice copy = ks_arena_dup(arena, c->value);
    if (!copy.ptr)
        return ks_arena_err(arena);
    for (size_t i = 0; i < copy.len; i++)
        if (copy.ptr[i] >= 'A' && copy.ptr[i] <= 'Z')
            ((char *)copy.ptr)[i] |= 32;
    c->value = copy;
    return KS_OK;
}

ks_err ks_trace_add_tag(struct ks_arena *arena, enum ks_jaeger_profile profile, struct ks_slice key,
                        struct ks_slice value, struct ks_trace_params *p)
{
    struct ks_trace_cond c = {.scopes = KS_COND_ANY, .value = value};
    bool vt = profile == KS_JAEGER_VT;
    if (special_tag(key, &c)) {
        if (c.field == KS_FIELD_STATUS || c.field == KS_FIELD_KIND)
            KS_TRY(lower_value(&c, arena));
        /* A span without a status is no error either; VictoriaTraces tells them apart. */
        if (c.field == KS_FIELD_ERROR && vt && ks_slice_is(value, "false")) {
            c.field = KS_FIELD_STATUS;
            c.value = KS_SLICE_LIT("ok");
        }
        return add_cond(p, c);
    }
    if (starts(&key, "resource_attr:") || (!vt && starts(&key, "resource.")))
        c.scopes = KS_COND_RESOURCE;
    else if (starts(&key, "scope_attr:"))
        c.scopes = KS_COND_SCOPE;
    else if (starts(&key, "span_attr:") || vt)
        c.scopes = KS_COND_SPAN;
    c.key = key;
    return add_cond(p, c);
}

/* {"key":"value",…}. */
ks_err ks_trace_tags_json(struct ks_http_request *req, enum ks_jaeger_profile profile,
                          struct ks_slice text, struct ks_trace_params *p)
{
    struct ks_json j = {text.ptr, text.ptr + text.len, &req->arena};
    struct ks_slice key, value;
    bool ok = ks_json_expect(&j, '{'), first = true;
    while (ok && !ks_json_expect(&j, '}')) {
        ok = (first || ks_json_expect(&j, ',')) && ks_json_string(&j, &key) &&
             ks_json_expect(&j, ':') && ks_json_string(&j, &value);
        first = false;
        if (ok)
            KS_TRY(ks_trace_add_tag(&req->arena, profile, key, value, p));
    }
    ks_json_blanks(&j);
    if (!ok || j.p != j.end)
        return ks_fail(KS_EINVAL,
                       "malformed 'tags' parameter, cannot unmarshal JSON object of "
                       "strings at byte %zu",
                       (size_t)(j.p - text.ptr));
    return KS_OK;
}

static ks_err all_tags(struct ks_http_request *req, enum ks_jaeger_profile profile,
                       struct ks_trace_params *p)
{
    for (size_t i = 0; i < req->arg_count; i++) {
        struct ks_slice v = req->args[i].value;
        if (ks_slice_is(req->args[i].name, "tags") && v.len) {
            KS_TRY(ks_trace_tags_json(req, profile, v, p));
        } else if (ks_slice_is(req->args[i].name, "tag") && profile != KS_JAEGER_VT) {
            const char *colon = v.len ? memchr(v.ptr, ':', v.len) : NULL;
            if (!colon)
                return ks_fail(KS_EINVAL,
                               "malformed 'tag' parameter, expecting key:value, received: %.*s",
                               KS_SLICE_ARG(v));
            size_t n = (size_t)(colon - v.ptr);
            KS_TRY(ks_trace_add_tag(&req->arena, profile, ks_slice(v.ptr, n),
                                    ks_slice_from(v, n + 1), p));
        }
    }
    return KS_OK;
}

/* --- all of it --- */
void ks_trace_params_init(struct ks_trace_params *p)
{
    *p = (struct ks_trace_params){.q = {.max_start_ns = UINT64_MAX, .limit = SIZE_MAX}};
    p->q.conds = p->conds;
}

ks_err ks_trace_filters(struct ks_http_request *req, struct ks_trace_params *p)
{
    ks_trace_params_init(p);
    p->q.cancel = &req->cancel;
    p->q.deadline_us = ks_mono_us() + ks_app_of(req)->cfg.max_query_duration_ms * 1000;
    for (size_t i = 0; i < req->arg_count; i++)
        if (ks_slice_is(req->args[i].name, "extra_filters") ||
            ks_slice_is(req->args[i].name, "extra_filters[]") ||
            ks_slice_is(req->args[i].name, "extra_stream_filters") ||
            ks_slice_is(req->args[i].name, "extra_stream_filters[]"))
            KS_TRY(ks_trace_filter_parse(req->args[i].value, &req->arena, p));
    p->filter_count = p->q.cond_count;
    return KS_OK;
}

static ks_err limit_arg(struct ks_http_request *req, enum ks_jaeger_profile profile,
                        struct ks_trace_params *p)
{
    struct ks_slice s = ks_http_arg(req, "limit");
    int64_t limit = profile == KS_JAEGER_VT ? VT_LIMIT : JAEGER_LIMIT;
    size_t max = ks_app_of(req)->cfg.max_traces_per_search;
    if (s.len && !ks_i64_parse(s, &limit))
        return ks_fail(KS_EINVAL, "unable to parse param 'limit': \"%.*s\" is no number",
                       KS_SLICE_ARG(s));
    /* Jaeger 1.52 took 0 and less for "all". */
    if (profile == KS_JAEGER_1 && limit <= 0)
        limit = (int64_t)max;
    if (limit < 0 || (size_t)limit > max || (limit == 0 && profile != KS_JAEGER_VT))
        return ks_fail(KS_EINVAL, "limit %lld out of range [%d, %zu]", (long long)limit,
                       profile == KS_JAEGER_VT ? 0 : 1, max);
    p->q.limit = (size_t)limit;
    return KS_OK;
}

ks_err ks_trace_search_params(struct ks_http_request *req, enum ks_jaeger_profile profile,
                              struct ks_trace_params *p)
{
    bool vt = profile == KS_JAEGER_VT;
    int64_t min_ns, max_ns;
    uint64_t now = (uint64_t)ks_now_ns();
    KS_TRY(ks_trace_filters(req, p));
    p->q.service = ks_http_arg(req, "service");
    p->q.operation = ks_http_arg(req, "operation");
    if (!p->q.service.len && profile != KS_JAEGER_2)
        return ks_fail(KS_EINVAL, vt ? "incorrect trace query params: service name is required"
                                     : "parameter 'service' is required");
    KS_TRY(duration_arg(req, "minDuration", &min_ns));
    KS_TRY(duration_arg(req, "maxDuration", &max_ns));
    if (min_ns && max_ns && max_ns < min_ns)
        return ks_fail(KS_EINVAL, "'maxDuration' should be greater than 'minDuration'");
    /* VictoriaTraces asks for durations beyond and below, not at. */
    p->q.min_duration_ns = (uint64_t)min_ns + (vt && min_ns);
    p->q.max_duration_ns = (uint64_t)max_ns - (vt && max_ns > 1);
    KS_TRY(limit_arg(req, profile, p));
    KS_TRY(time_arg(req, "start", vt ? 0 : now - 48 * 3600 * 1000000000ull, &p->q.min_start_ns));
    KS_TRY(time_arg(req, "end", now, &p->q.max_start_ns));
    if (p->q.max_start_ns < UINT64_MAX - 999)
        p->q.max_start_ns += 999; /* starts are shown in whole microseconds */
    return all_tags(req, profile, p);
}

size_t ks_trace_filter_spans(const struct ks_trace_params *p, struct ks_span *spans, size_t count)
{
    struct ks_trace_query q = {
        .max_start_ns = UINT64_MAX, .conds = p->conds, .cond_count = p->filter_count};
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!p->filter_count || ks_trace_query_matches(&q, &spans[i]))
            spans[kept++] = spans[i];
    return kept;
}
