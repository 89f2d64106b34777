#include "api/logs/log_params.h"

#include "base/num.h"

static const struct ks_slice default_time_fields[] = {{"_time", 5}};

struct ks_slice ks_log_arg(const struct ks_http_request *req, const char *arg, const char *header)
{
    struct ks_slice s = ks_http_arg(req, arg);
    return s.len ? s : ks_http_header(req, header);
}

ks_err ks_log_arg_bool(const struct ks_http_request *req, const char *arg, const char *header,
                       bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    struct ks_slice s = ks_log_arg(req, arg, header);
    if (!s.len)
        return KS_OK;
    for (size_t i = 0; i < 6; i++)
        if (ks_slice_is(s, yes[i]) || ks_slice_is(s, no[i])) {
            *ret = ks_slice_is(s, yes[i]);
            return KS_OK;
        }
    return ks_fail(KS_EINVAL, "cannot parse %s=\"%.*s\"; want true or false", arg, KS_SLICE_ARG(s));
}

/* The next item of a list with commas; false at the end. */
static bool next_item(struct ks_slice *text, struct ks_slice *ret)
{
    while (ks_slice_cut(text, ',', ret))
        if (ret->len)
            return true;
    return false;
}

ks_err ks_log_names_parse(struct ks_arena *arena, struct ks_slice text, struct ks_log_names *ret)
{
    struct ks_slice item, *items = NULL;
    size_t n = 0, cap = 0;
    while (next_item(&text, &item)) {
        KS_TRY(ks_arena_grow(arena, (void **)&items, &cap, n + 1, sizeof *items));
        items[n++] = item;
    }
    *ret = (struct ks_log_names){items, n};
    return KS_OK;
}

ks_err ks_log_extra_parse(struct ks_arena *arena, struct ks_slice text, struct ks_log_params *ret)
{
    struct ks_log_field *items = NULL;
    struct ks_slice item;
    size_t n = 0, cap = 0;
    while (next_item(&text, &item)) {
        const char *eq = memchr(item.ptr, '=', item.len);
        if (!eq || eq == item.ptr || eq == item.ptr + item.len - 1)
            return ks_fail(KS_EINVAL,
                           "invalid extra_field format: \"%.*s\"; must be in the form "
                           "\"field=value\"",
                           KS_SLICE_ARG(item));
        size_t at = (size_t)(eq - item.ptr);
        KS_TRY(ks_arena_grow(arena, (void **)&items, &cap, n + 1, sizeof *items));
        items[n++] = (struct ks_log_field){ks_slice(item.ptr, at), ks_slice_from(item, at + 1)};
    }
    ret->extra = items;
    ret->extra_count = n;
    return KS_OK;
}

void ks_log_names_sort(struct ks_log_names *names)
{
    struct ks_slice *a = (struct ks_slice *)names->items;
    for (size_t i = 1; i < names->count; i++)
        for (size_t k = i; k > 0 && ks_slice_cmp(a[k - 1], a[k]) > 0; k--) {
            struct ks_slice s = a[k];
            a[k] = a[k - 1];
            a[k - 1] = s;
        }
}

static bool parse_u32(struct ks_slice s, uint32_t *ret)
{
    uint64_t v;
    if (!ks_u64_parse(s, &v) || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

ks_err ks_log_tenant_parse(struct ks_slice text, struct ks_tenant *ret)
{
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    struct ks_slice account = ks_slice(text.ptr, colon ? (size_t)(colon - text.ptr) : text.len);
    struct ks_tenant t = {0};
    if (!parse_u32(account, &t.account) ||
        (colon && !parse_u32(ks_slice_from(text, account.len + 1), &t.project)))
        return ks_fail(KS_EINVAL, "cannot parse tenant \"%.*s\"; want account or account:project",
                       KS_SLICE_ARG(text));
    *ret = t;
    return KS_OK;
}

static ks_err read_tenant(struct ks_http_request *req, struct ks_tenant *ret)
{
    struct ks_slice account = ks_http_header(req, "AccountID");
    struct ks_slice project = ks_http_header(req, "ProjectID");
    *ret = req->tenant;
    if (account.len && !parse_u32(account, &ret->account))
        return ks_fail(KS_EINVAL, "cannot parse header AccountID: \"%.*s\"", KS_SLICE_ARG(account));
    if (project.len && !parse_u32(project, &ret->project))
        return ks_fail(KS_EINVAL, "cannot parse header ProjectID: \"%.*s\"", KS_SLICE_ARG(project));
    return KS_OK;
}

ks_err ks_log_params_read(struct ks_http_request *req, struct ks_log_params *ret)
{
    *ret = (struct ks_log_params){0};
    const struct {
        const char *arg, *header;
        struct ks_log_names *names;
    } lists[] = {
        {"_time_field", "VL-Time-Field", &ret->time_fields},
        {"_msg_field", "VL-Msg-Field", &ret->msg_fields},
        {"_stream_fields", "VL-Stream-Fields", &ret->stream_fields},
        {"ignore_fields", "VL-Ignore-Fields", &ret->ignore},
        {"decolorize_fields", "VL-Decolorize-Fields", &ret->decolorize},
        {"preserve_json_keys", "VL-Preserve-JSON-Keys", &ret->preserve},
    };
    KS_TRY(read_tenant(req, &ret->tenant));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        KS_TRY(ks_log_names_parse(&req->arena, ks_log_arg(req, lists[i].arg, lists[i].header),
                                  lists[i].names));
    ret->time_fields_set = ret->time_fields.count > 0;
    if (!ret->time_fields_set)
        ret->time_fields = (struct ks_log_names){default_time_fields, 1};
    KS_TRY(
        ks_log_extra_parse(&req->arena, ks_log_arg(req, "extra_fields", "VL-Extra-Fields"), ret));
    ks_log_names_sort(&ret->stream_fields);
    return ks_log_arg_bool(req, "debug", "VL-Debug", &ret->debug);
}

ks_err ks_log_params_default(struct ks_http_request *req, struct ks_log_names *names,
                             const char *list)
{
    return names->count ? KS_OK : ks_log_names_parse(&req->arena, ks_slice_str(list), names);
}

bool ks_log_names_have(const struct ks_log_names *names, struct ks_slice name)
{
    for (size_t i = 0; i < names->count; i++)
        if (ks_slice_eq(names->items[i], name))
            return true;
    return false;
}

bool ks_log_names_match(const struct ks_log_names *names, struct ks_slice name)
{
    for (size_t i = 0; i < names->count; i++) {
        struct ks_slice item = names->items[i];
        if (item.ptr[item.len - 1] == '*') {
            if (ks_slice_has_prefix(name, ks_slice(item.ptr, item.len - 1)))
                return true;
        } else if (ks_slice_eq(item, name)) {
            return true;
        }
    }
    return false;
}
