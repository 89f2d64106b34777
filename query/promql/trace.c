/*
 * The tree of what a query did and how long it took, for trace=1. Made on the query's thread alone;
 * costs nothing when it is not asked for.
 */
#include <stdarg.h>
#include <stdio.h>

#include "query/promql/exec_priv.h"
#include "sys/clock.h"

enum { MESSAGE_MAX = 512 };

static struct ks_slice text_of(struct ksi_query *q, const char *fmt, va_list args)
{
    char text[MESSAGE_MAX];
    int n = vsnprintf(text, sizeof text, fmt, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    struct ks_slice s = ks_arena_dup(q->arena, ks_slice(text, len));
    return s.ptr ? s : ks_slice("", 0);
}

struct ks_promql_trace *ksi_trace_begin(struct ksi_query *q, const char *fmt, ...)
{
    if (!q->req->trace)
        return NULL;
    struct ks_promql_trace *t = ks_arena_zalloc(q->arena, sizeof *t), *up = q->trace_at;
    if (!t)
        return NULL;
    va_list args;
    va_start(args, fmt);
    t->message = text_of(q, fmt, args);
    va_end(args);
    t->begun_us = ks_mono_us();
    t->up = up;
    if (up) {
        *(up->last ? &up->last->next : &up->children) = t;
        up->last = t;
    }
    q->trace_at = t;
    return t;
}

void ksi_trace_end(struct ksi_query *q, struct ks_promql_trace *t, const char *fmt, ...)
{
    if (!t)
        return;
    va_list args;
    va_start(args, fmt);
    t->outcome = text_of(q, fmt, args);
    va_end(args);
    t->duration_us = ks_mono_us() - t->begun_us;
    q->trace_at = t->up;
}
