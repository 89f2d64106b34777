#include "cmd/logs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/logs/log_stores.h"
#include "base/num.h"
#include "base/time.h"
#include "cmd/flags.h"
#include "cmd/tls.h"
#include "engine/logs/log_store.h"
#include "query/rule_list.h"

/* A request that is sent again because its answer was lost has its rows once. */
enum { SPANS_DEDUP_MS = 3600000 };

/* retention[:bytes] */
static ks_err parse_limits(struct ks_arena *arena, const char *text, struct ks_log_store_opts *ret)
{
    const char *colon = strchr(text, ':');
    struct ks_slice period =
        ks_arena_dup(arena, colon ? ks_slice(text, (size_t)(colon - text)) : ks_slice_str(text));
    int64_t bytes;
    if (!period.ptr)
        return ks_arena_err(arena);
    KS_TRY(ks_retention_parse_ms(period, &ret->retention_ms));
    if (!colon)
        return KS_OK;
    KS_TRY(ks_bytes_parse(ks_slice_str(colon + 1), &bytes));
    ret->max_disk_bytes = (uint64_t)bytes;
    return KS_OK;
}

/* name[:retention[:bytes]] */
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
    ks_err err = parse_limits(arena, colon + 1, ret);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "-logs.store=%s", text);
}

/* [store=]{filter}:duration of this store. */
static ks_err read_rules(const char *store, struct ks_rule_list *list)
{
    const char *const *texts;
    size_t n = ks_flag_list("logs.retentionFilter", &texts);
    for (size_t i = 0; i < n; i++) {
        const char *brace = strchr(texts[i], '{'), *eq = strchr(texts[i], '=');
        struct ks_slice name = ks_slice(texts[i], 0);
        if (brace && eq && eq < brace)
            name = ks_slice(texts[i], (size_t)(eq - texts[i]));
        if (name.len ? !ks_slice_is(name, store) : strcmp(store, KS_STORE_TRACES) == 0)
            continue; /* a rule of all log stores is none of spans */
        const char *rule = name.len ? eq + 1 : texts[i];
        ks_err err = ks_rule_list_retention(list, rule, INT64_MAX);
        if (err != KS_OK)
            return ks_fail_context(err, "-logs.retentionFilter=%s", texts[i]);
    }
    return KS_OK;
}

static ks_err set_rules(struct ks_arena *arena, struct ks_rule_list *list,
                        struct ks_log_store_opts *o)
{
    KS_TRY(read_rules(o->name, list));
    struct ks_log_retention_rule *rules =
        ks_arena_array(arena, list->keep_count + 1, sizeof *rules);
    if (!rules)
        return ks_arena_err(arena);
    for (size_t i = 0; i < list->keep_count; i++) {
        int64_t ms = list->keep[i].keep_ms, most = INT64_MAX / 1000000;
        rules[i] = (struct ks_log_retention_rule){&list->keep[i].selector, 1,
                                                  (ms < most ? ms : most) * 1000000};
    }
    o->rules = rules;
    o->rule_count = list->keep_count;
    return KS_OK;
}

/* Names of filters must be stores; each by itself would let a slip of the pen pass. */
static ks_err check_rule_stores(const struct ks_log_store_opts *stores, size_t count)
{
    const char *const *texts;
    size_t n = ks_flag_list("logs.retentionFilter", &texts);
    for (size_t i = 0; i < n; i++) {
        const char *brace = strchr(texts[i], '{'), *eq = strchr(texts[i], '=');
        bool found = !brace || !eq || eq > brace;
        for (size_t k = 0; k < count && !found; k++)
            found = ks_slice_is(ks_slice(texts[i], (size_t)(eq - texts[i])), stores[k].name);
        if (!found)
            return ks_fail(KS_EINVAL, "-logs.retentionFilter=%s: there is no such store", texts[i]);
    }
    return KS_OK;
}

static ks_err make_logs(struct ks_arena *arena, struct ks_logs_opts *opts, size_t count,
                        struct ks_log_store_opts *stores, struct ks_logs **ret)
{
    struct ks_rule_list *lists = ks_arena_array(arena, count, sizeof *lists);
    if (!lists)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++)
        ks_rule_list_init(&lists[i]);
    ks_err err = check_rule_stores(stores, count);
    for (size_t i = 0; i < count && err == KS_OK; i++)
        err = set_rules(arena, &lists[i], &stores[i]);
    opts->stores = stores;
    opts->store_count = count;
    if (err == KS_OK)
        err = ks_logs_new(opts, ret);
    for (size_t i = 0; i < count; i++) /* the stores have made their own of them */
        ks_rule_list_done(&lists[i]);
    return err;
}

/* Days of spans kept by an earlier run: their records may still be in the log. */
static bool has_spans(void)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/logs/" KS_STORE_TRACES, ks_flag_str("storageDataPath"));
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

ks_err ks_cmd_logs_new(struct ks_arena *arena, struct ks_logs **ret)
{
    const char *const *texts;
    size_t n = ks_flag_list("logs.store", &texts);
    struct ks_log_store_opts *stores = ks_arena_array(arena, n + 2, sizeof *stores);
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
    bool spans = ks_flag_ms("traces.retentionPeriod") > 0 || has_spans();
    stores[n + 1] = (struct ks_log_store_opts){
        .name = KS_STORE_TRACES,
        .retention_ms = ks_flag_ms("traces.retentionPeriod"),
        .future_retention_ms = ks_flag_ms("logs.futureRetention"),
        .max_disk_bytes = (uint64_t)ks_flag_int("logs.maxDiskSpaceUsageBytes"),
        .dedup_window_ms = SPANS_DEDUP_MS,
    };
    struct ks_logs_opts opts = {
        .memory_bytes = (uint64_t)ks_flag_int("logs.memoryBytes"),
        .flush_interval_ms = ks_flag_ms("logs.flushInterval"),
    };
    return make_logs(arena, &opts, n + 1 + spans, stores, ret);
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
