#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"

static _Atomic int min_level = KS_LOG_INFO;
static _Atomic bool as_json;
static _Atomic uint64_t counts[KS_LOG_ERROR + 1];
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void ks_log_set_level(enum ks_log_level min)
{
    atomic_store(&min_level, (int)min);
}

void ks_log_set_json(bool json)
{
    atomic_store(&as_json, json);
}

uint64_t ks_log_count(enum ks_log_level level)
{
    return atomic_load(&counts[level]);
}

void ks_log(enum ks_log_level level, const char *area, const char *fmt, ...)
{
    atomic_fetch_add(&counts[level], 1);
    if ((int)level < atomic_load(&min_level))
        return;
    char text[2048], stamp[32], line[5000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    struct ks_buf quoted;
    ks_buf_init(&quoted, 16384);
    ks_buf_json_str(&quoted, ks_slice_str(text));
    const char *form =
        atomic_load(&as_json)
            ? "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\",\"area\":\"%s\",\"msg\":%.*s}\n"
            : "ts=%s.%03ldZ level=%s area=%s msg=%.*s\n";
    int n = snprintf(line, sizeof line, form, stamp, now.tv_nsec / 1000000, level_names[level],
                     area, KS_SLICE_ARG(ks_buf_view(&quoted)));
    ks_buf_done(&quoted);
    if (n > 0)
        fwrite(line, 1, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, stderr);
}

bool ks_log_gate_pass(struct ks_log_gate *g, int64_t every_ms, uint64_t *ret_held)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    int64_t next = atomic_load(&g->next_ms);
    if (now_ms < next || !atomic_compare_exchange_strong(&g->next_ms, &next, now_ms + every_ms)) {
        atomic_fetch_add(&g->held, 1);
        return false;
    }
    *ret_held = atomic_exchange(&g->held, 0);
    return true;
}
