#include "cmd/syslog.h"

#include <stdio.h>
#include <string.h>

#include "api/logs/log_json.h"
#include "api/logs/syslog_server.h"
#include "cmd/flags.h"
#include "cmd/tls.h"

/* The value for listener i: its own, or the only one there is. */
static struct ks_slice value_of(const char *flag, const char *kind, size_t i)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", flag, kind);
    return ks_slice_str(ks_flag_item(name, i));
}

/* ["a","b"], or one name. */
static ks_err names(struct ks_arena *arena, struct ks_slice text, struct ks_log_names *ret)
{
    struct ks_log_json j = {text.ptr, text.ptr + text.len, arena, NULL};
    struct ks_slice *items = NULL;
    size_t n = 0, cap = 0;
    if (!text.len)
        return KS_OK;
    if (!ks_log_json_take(&j, '['))
        return ks_log_names_parse(arena, text, ret);
    do {
        KS_TRY(ks_arena_grow(arena, (void **)&items, &cap, n + 1, sizeof *items));
        if (ks_log_json_string(&j, &items[n]) != KS_OK || !items[n].len)
            return ks_fail(KS_EINVAL, "want a list like [\"a\",\"b\"]");
        n++;
    } while (ks_log_json_take(&j, ','));
    *ret = (struct ks_log_names){items, n};
    return ks_log_json_take(&j, ']') ? KS_OK : ks_fail(KS_EINVAL, "want a list like [\"a\",\"b\"]");
}

/* {"a":"b"} */
static ks_err pairs(struct ks_arena *arena, struct ks_slice text, struct ks_log_params *ret)
{
    struct ks_log_json j = {text.ptr, text.ptr + text.len, arena, NULL};
    struct ks_log_field *items = NULL;
    size_t n = 0, cap = 0;
    if (!text.len)
        return KS_OK;
    if (!ks_log_json_take(&j, '{'))
        return ks_log_extra_parse(arena, text, ret);
    do {
        KS_TRY(ks_arena_grow(arena, (void **)&items, &cap, n + 1, sizeof *items));
        if (ks_log_json_string(&j, &items[n].name) != KS_OK || !ks_log_json_take(&j, ':') ||
            ks_log_json_string(&j, &items[n].value) != KS_OK)
            return ks_fail(KS_EINVAL, "want pairs like {\"a\":\"b\"}");
        n++;
    } while (ks_log_json_take(&j, ','));
    ret->extra = items;
    ret->extra_count = n;
    return ks_log_json_take(&j, '}') ? KS_OK : ks_fail(KS_EINVAL, "want pairs like {\"a\":\"b\"}");
}

static bool is_on(const char *flag, const char *kind, size_t i)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", flag, kind);
    return ks_flag_item_bool(name, i);
}

static ks_err fields(struct ks_arena *arena, const char *kind, size_t i, struct ks_log_params *p)
{
    static const struct ks_slice streams[] = {
        {"app_name", 8},
        {"cef.device_event_class_id", 25},
        {"cef.device_product", 18},
        {"cef.device_vendor", 17},
        {"hostname", 8},
        {"proc_id", 7},
    };
    p->stream_fields = (struct ks_log_names){streams, sizeof streams / sizeof *streams};
    struct ks_slice stream = value_of("syslog.streamFields", kind, i);
    if (stream.len) {
        KS_TRY(names(arena, stream, &p->stream_fields));
        ks_log_names_sort(&p->stream_fields);
    }
    KS_TRY(names(arena, value_of("syslog.ignoreFields", kind, i), &p->ignore));
    KS_TRY(names(arena, value_of("syslog.decolorizeFields", kind, i), &p->decolorize));
    KS_TRY(pairs(arena, value_of("syslog.extraFields", kind, i), p));
    struct ks_slice tenant = value_of("syslog.tenantID", kind, i);
    return tenant.len ? ks_log_tenant_parse(tenant, &p->tenant) : KS_OK;
}

static ks_err read_listener(struct ks_arena *arena, const char *kind, size_t i,
                            struct ks_syslog_listener *l)
{
    struct ks_slice method = value_of("syslog.compressMethod", kind, i);
    struct ks_slice store = value_of("syslog.store", kind, i);
    const char *zone = ks_flag_str("syslog.timezone");
    KS_TRY(fields(arena, kind, i, &l->params));
    l->opts.local_time = is_on("syslog.useLocalTimestamp", kind, i);
    l->opts.remote_ip = is_on("syslog.useRemoteIP", kind, i);
    l->opts.utc = strcmp(zone, "UTC") == 0;
    if (!l->opts.utc && zone[0] && strcmp(zone, "Local") != 0)
        return ks_fail(KS_EINVAL, "-syslog.timezone=%s: want UTC or Local; TZ sets what is local",
                       zone);
    l->store = store.len ? store.ptr : NULL;
    l->encoding = method.len && !ks_slice_is(method, "none") ? ks_encoding_of(method) : KS_ENC_NONE;
    bool udp = l->kind == KS_SYSLOG_UDP || l->kind == KS_SYSLOG_UNIX_DGRAM;
    if (l->encoding == KS_ENC_UNKNOWN || (l->encoding != KS_ENC_NONE && !udp))
        return ks_fail(KS_EINVAL,
                       "-syslog.compressMethod.%s=%.*s: want none%s; streams are taken plain only",
                       kind, KS_SLICE_ARG(method), udp ? ", gzip, deflate or zstd" : "");
    return KS_OK;
}

static ks_err read_kind(struct ks_arena *arena, const char *kind, enum ks_syslog_kind k,
                        struct ks_syslog_listener *out, size_t *count)
{
    char name[64];
    const char *const *addrs;
    snprintf(name, sizeof name, "syslog.listenAddr.%s", kind);
    size_t n = ks_flag_list(name, &addrs);
    for (size_t i = 0; i < n; i++) {
        struct ks_syslog_listener *l = &out[(*count)++];
        *l = (struct ks_syslog_listener){.kind = k, .addr = addrs[i]};
        if (k == KS_SYSLOG_UNIX && strncmp(addrs[i], "dgram:", 6) == 0) {
            l->kind = KS_SYSLOG_UNIX_DGRAM;
            l->addr += 6;
        }
        ks_err err = read_listener(arena, kind, i, l);
        if (err == KS_OK && k == KS_SYSLOG_TCP)
            err = ks_cmd_tls("syslog.", i, &l->tls);
        if (err != KS_OK)
            return ks_fail_context(err, "syslog listener %s", addrs[i]);
    }
    return KS_OK;
}

ks_err ks_cmd_syslog_start(struct ks_app *app, struct ks_arena *arena,
                           struct ks_syslog_server **ret)
{
    const char *const *unused;
    size_t max = ks_flag_list("syslog.listenAddr.tcp", &unused) +
                 ks_flag_list("syslog.listenAddr.udp", &unused) +
                 ks_flag_list("syslog.listenAddr.unix", &unused);
    size_t count = 0;
    *ret = NULL;
    if (!max)
        return KS_OK;
    struct ks_syslog_listener *list = ks_arena_array(arena, max, sizeof *list);
    if (!list)
        return ks_arena_err(arena);
    KS_TRY(read_kind(arena, "tcp", KS_SYSLOG_TCP, list, &count));
    KS_TRY(read_kind(arena, "udp", KS_SYSLOG_UDP, list, &count));
    KS_TRY(read_kind(arena, "unix", KS_SYSLOG_UNIX, list, &count));
    return ks_syslog_start(app, list, count, ret);
}
