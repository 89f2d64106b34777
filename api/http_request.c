/* Reading a request: target, arguments, headers. Pure functions over the request's arena. */
#include <ctype.h>
#include <strings.h>

#include "api/http.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/time.h"
#include "sys/clock.h"

void ks_http_request_init(struct ks_http_request *req, size_t max_arena_bytes)
{
    memset(req, 0, sizeof *req);
    ks_arena_init(&req->arena, max_arena_bytes);
    ks_buf_init(&req->resp.body, KS_BUF_UNLIMITED);
}

void ks_http_request_done(struct ks_http_request *req)
{
    ks_buf_done(&req->resp.body);
    ks_arena_done(&req->arena);
}

/* Percent-decodes into the arena; `plus` turns + into a blank (query strings and forms). NUL
 * behind. */
static ks_err decode(struct ks_arena *arena, struct ks_slice in, bool plus, struct ks_slice *ret)
{
    char *out = ks_arena_alloc(arena, in.len + 1);
    if (!out)
        return ks_arena_err(arena);
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '%' && i + 2 < in.len && ks_hex_value(in.ptr[i + 1]) >= 0 &&
            ks_hex_value(in.ptr[i + 2]) >= 0) {
            c = (char)(ks_hex_value(in.ptr[i + 1]) << 4 | ks_hex_value(in.ptr[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = 0;
    *ret = ks_slice(out, n);
    return KS_OK;
}

ks_err ks_http_parse_args(struct ks_http_request *req, struct ks_slice text, bool in_body)
{
    for (struct ks_slice pair; ks_slice_cut(&text, '&', &pair);) {
        if (!pair.len)
            continue;
        const char *eq = memchr(pair.ptr, '=', pair.len);
        struct ks_slice name = ks_slice(pair.ptr, eq ? (size_t)(eq - pair.ptr) : pair.len);
        struct ks_slice value = eq ? ks_slice_from(pair, name.len + 1) : ks_slice("", 0);
        struct ks_http_arg a = {.in_body = in_body};
        KS_TRY(decode(&req->arena, name, true, &a.name));
        KS_TRY(decode(&req->arena, value, true, &a.value));
        KS_TRY(ks_arena_grow(&req->arena, (void **)&req->args, &req->arg_cap, req->arg_count + 1,
                             sizeof a));
        req->args[req->arg_count++] = a;
    }
    return KS_OK;
}

static void collapse_slashes(struct ks_slice *path)
{
    char *p = (char *)path->ptr; /* our own decoded copy */
    size_t n = 0;
    for (size_t i = 0; i < path->len; i++)
        if (!(p[i] == '/' && n && p[n - 1] == '/'))
            p[n++] = p[i];
    p[n] = 0;
    path->len = n;
}

ks_err ks_http_parse_target(struct ks_http_request *req, const char *target,
                            const char *path_prefix)
{
    struct ks_slice all = ks_slice_str(target);
    /* The absolute form of a proxy request: only the path counts. */
    if (all.len > 7 &&
        (strncasecmp(all.ptr, "http://", 7) == 0 || strncasecmp(all.ptr, "https://", 8) == 0)) {
        const char *host = strstr(all.ptr, "//") + 2;
        const char *slash = strchr(host, '/');
        all = slash ? ks_slice_str(slash) : KS_SLICE_LIT("/");
    }
    const char *q = all.len ? memchr(all.ptr, '?', all.len) : NULL;
    struct ks_slice raw_path = ks_slice(all.ptr, q ? (size_t)(q - all.ptr) : all.len);
    KS_TRY(decode(&req->arena, raw_path, false, &req->path));
    collapse_slashes(&req->path);
    struct ks_slice prefix = ks_slice_str(path_prefix);
    while (prefix.len && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    if (prefix.len && ks_slice_has_prefix(req->path, prefix) &&
        (req->path.len == prefix.len || req->path.ptr[prefix.len] == '/'))
        req->path =
            req->path.len == prefix.len ? KS_SLICE_LIT("/") : ks_slice_from(req->path, prefix.len);
    return q ? ks_http_parse_args(req, ks_slice_from(all, raw_path.len + 1), false) : KS_OK;
}

struct ks_slice ks_http_header(const struct ks_http_request *req, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < req->header_count; i++)
        if (req->headers[i].name.len == len &&
            strncasecmp(req->headers[i].name.ptr, name, len) == 0)
            return req->headers[i].value;
    return ks_slice("", 0);
}

ks_err ks_http_parse_form(struct ks_http_request *req)
{
    struct ks_slice type = ks_http_header(req, "Content-Type");
    static const char form[] = "application/x-www-form-urlencoded";
    if (type.len < sizeof form - 1 || strncasecmp(type.ptr, form, sizeof form - 1) != 0)
        return KS_OK;
    return ks_http_parse_args(req, req->body, true);
}

struct ks_slice ks_http_arg(const struct ks_http_request *req, const char *name)
{
    struct ks_slice want = ks_slice_str(name), found = {0};
    for (size_t i = 0; i < req->arg_count; i++) {
        if (!ks_slice_eq(req->args[i].name, want))
            continue;
        if (req->args[i].in_body)
            return req->args[i].value;
        if (!found.ptr)
            found = req->args[i].value;
    }
    return found;
}

bool ks_http_arg_bool(const struct ks_http_request *req, const char *name)
{
    struct ks_slice v = ks_http_arg(req, name);
    static const char *const no[] = {"0", "f", "false", "no"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (v.len == strlen(no[i]) && strncasecmp(v.ptr, no[i], v.len) == 0)
            return false;
    return v.len > 0;
}

static ks_err name_arg(ks_err err, const char *name, struct ks_slice v)
{
    return err == KS_OK
               ? KS_OK
               : ks_fail_context(err, "cannot parse arg \"%s\"=\"%.*s\"", name, KS_SLICE_ARG(v));
}

static bool missing(struct ks_slice v)
{
    return !v.len || ks_slice_is(v, "undefined");
}

ks_err ks_http_arg_time_ms(const struct ks_http_request *req, const char *name, int64_t fallback,
                           int64_t *ret_ms)
{
    struct ks_slice v = ks_http_arg(req, name);
    /* Prometheus' "any time" sentinels. */
    if (ks_slice_is(v, "-292273086-05-16T16:47:06Z") ||
        ks_slice_is(v, "-292273086-05-16T16:47:06.000Z")) {
        *ret_ms = 0;
        return KS_OK;
    }
    if (ks_slice_has_prefix(v, KS_SLICE_LIT("292277025-08-18T07:12:54"))) {
        *ret_ms = INT64_C(253402300799999); /* the end of year 9999 */
        return KS_OK;
    }
    if (missing(v)) {
        *ret_ms = fallback;
        return KS_OK;
    }
    return name_arg(ks_time_parse_ms(v, ks_now_ms(), ret_ms), name, v);
}

ks_err ks_http_arg_duration_ms(const struct ks_http_request *req, const char *name,
                               int64_t fallback, int64_t *ret_ms)
{
    struct ks_slice v = ks_http_arg(req, name);
    if (missing(v)) {
        *ret_ms = fallback;
        return KS_OK;
    }
    return name_arg(ks_duration_parse_ms(v, ret_ms), name, v);
}

ks_err ks_http_arg_i64(const struct ks_http_request *req, const char *name, int64_t fallback,
                       int64_t *ret)
{
    struct ks_slice v = ks_http_arg(req, name);
    *ret = fallback;
    if (!missing(v) && !ks_i64_parse(v, ret))
        return ks_fail(KS_EINVAL, "cannot parse arg \"%s\"=\"%.*s\" as an integer", name,
                       KS_SLICE_ARG(v));
    return KS_OK;
}
