#include "cmd/logs.h"

#include <string.h>

#include "api/logs/log_stores.h"
#include "base/time.h"
#include "cmd/flags.h"
#include "cmd/tls.h"
#include "engine/logs/log_store.h"

/* name:retention */
static ks_err parse_store(struct ks_arena *arena, const char *text, struct ks_log_store_opts *ret)
{
    const char *colon = strchr(text, ':');
    struct ks_slice name = colon ? ks_slice(text, (size_t)(colon - text)) : ks_slice_str(text);
    ret->name = ks_arena_dup(arena, name).ptr;
    if (!ret->name)
        return ks_arena_err(arena);
    if (ks_slice_is(name, KS_STORE_TRACES))
        return ks_fail(KS_EINVAL, "-logs.store=%s: the name stands for the trace store", text);
    if (!colon)
        return KS_OK;
    ks_err err = ks_retention_parse_ms(ks_slice_str(colon + 1), &ret->retention_ms);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "-logs.store=%s", text);
}

ks_err ks_cmd_logs_new(struct ks_arena *arena, struct ks_logs **ret)
{
    const char *const *texts;
    size_t n = ks_flag_list("logs.store", &texts);
    struct ks_log_store_opts *stores = ks_arena_array(arena, n + 1, sizeof *stores);
    if (!stores)
        return ks_arena_err(arena);
    for (size_t i = 0; i <= n; i++) {
        stores[i] = (struct ks_log_store_opts){
            .name = KS_LOG_STORE_DEFAULT,
            .retention_ms = ks_flag_ms("logs.retentionPeriod"),
            .future_retention_ms = ks_flag_ms("logs.futureRetention"),
            .max_backfill_age_ms = ks_flag_ms("logs.maxBackfillAge"),
            .max_disk_bytes = (uint64_t)ks_flag_int("logs.maxDiskSpaceUsageBytes"),
            .dedup_window_ms = ks_flag_ms("logs.dedupWindow"),
        };
        if (i)
            KS_TRY(parse_store(arena, texts[i - 1], &stores[i]));
    }
    struct ks_logs_opts opts = {
        .stores = stores,
        .store_count = n + 1,
        .memory_bytes = (uint64_t)ks_flag_int("logs.memoryBytes"),
        .flush_interval_ms = ks_flag_ms("logs.flushInterval"),
    };
    return ks_logs_new(&opts, ret);
}

/* store[/insert|/select]=addr */
static ks_err parse_listener(struct ks_arena *arena, const char *text, const char **ret_addr,
                             const char **ret_role)
{
    const char *eq = strchr(text, '='), *slash = strchr(text, '/');
    struct ks_slice role = ks_slice(text, eq ? (size_t)(eq - text) : 0);
    bool plain = !slash || (eq && slash > eq);
    struct ks_slice kind =
        plain ? ks_slice("", 0) : ks_slice(slash + 1, eq ? (size_t)(eq - slash - 1) : 0);
    if (!role.len || !eq[1] ||
        (!plain && !ks_slice_is(kind, "insert") && !ks_slice_is(kind, "select")))
        return ks_fail(KS_EINVAL,
                       "-logs.listenAddr=%s: want store=addr, store/insert=addr or "
                       "store/select=addr",
                       text);
    *ret_role = ks_arena_dup(arena, role).ptr;
    *ret_addr = eq + 1;
    return *ret_role ? KS_OK : ks_arena_err(arena);
}

ks_err ks_cmd_listeners(struct ks_arena *arena, struct ks_cmd_listeners *ret)
{
    const char *const *plain, *const *logs;
    size_t n = ks_flag_list("httpListenAddr", &plain), m = ks_flag_list("logs.listenAddr", &logs);
    struct ks_cmd_listeners l = {.count = n + m};
    l.addrs = ks_arena_array(arena, n + m, sizeof *l.addrs);
    l.roles = ks_arena_array(arena, n + m, sizeof *l.roles);
    l.tls = ks_arena_array(arena, n + m, sizeof(struct ks_tls *));
    if (!l.addrs || !l.roles || !l.tls)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n; i++) {
        l.addrs[i] = plain[i];
        l.roles[i] = NULL;
        KS_TRY(ks_cmd_tls("", i, &l.tls[i]));
    }
    for (size_t i = 0; i < m; i++) {
        KS_TRY(parse_listener(arena, logs[i], &l.addrs[n + i], &l.roles[n + i]));
        KS_TRY(ks_cmd_tls("logs.", i, &l.tls[n + i]));
    }
    *ret = l;
    return KS_OK;
}
