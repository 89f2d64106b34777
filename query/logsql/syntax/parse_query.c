/* Whole queries: options, filter, pipes. */
#include <stdio.h>

#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

static ks_err parse_bool(struct ksi_lq_parser *p, enum ks_lq_tristate *ret)
{
    if (ksi_lq_is(p, "true"))
        *ret = KS_LQ_TRUE;
    else if (ksi_lq_is(p, "false"))
        *ret = KS_LQ_FALSE;
    else
        return ksi_lq_unexpected(p, "the option needs true or false");
    return ksi_lq_next(p);
}

static ks_err parse_small(struct ksi_lq_parser *p, uint32_t *ret)
{
    uint64_t v;
    KS_TRY(ksi_lq_uint(p, "the option needs a number", &v));
    *ret = v > 1024 ? 1024 : (uint32_t)v;
    return KS_OK;
}

static ks_err parse_option(struct ksi_lq_parser *p, struct ks_lq_options *o)
{
    struct ks_slice name;
    KS_TRY(ksi_lq_compound(p, 0, "an option is needed", &name));
    KS_TRY(ksi_lq_expect(p, "="));
    if (ks_slice_is(name, "concurrency"))
        return parse_small(p, &o->concurrency);
    if (ks_slice_is(name, "parallel_readers"))
        return parse_small(p, &o->parallel_readers);
    if (ks_slice_is(name, "ignore_global_time_filter"))
        return parse_bool(p, &o->ignore_global_time_filter);
    if (ks_slice_is(name, "allow_partial_response"))
        return parse_bool(p, &o->allow_partial_response);
    if (ks_slice_is(name, "global_filter")) {
        KS_TRY(ksi_lq_filter_paren(p, &o->global_filter));
        return ksi_lq_simplify_filter(p, &o->global_filter);
    }
    if (ks_slice_is(name, "time_offset"))
        return ksi_lq_duration(p, "time_offset needs a duration", &o->time_offset_ns,
                               &o->time_offset_text);
    return ks_fail(KS_EPARSE, "unknown option \"%.*s\"", KS_SLICE_ARG(name));
}

/* `options(a=b, …)` at the front; any other use of the word is left to the filter. */
static ks_err parse_options(struct ksi_lq_parser *p, struct ks_lq_options *o)
{
    if (!ksi_lq_is(p, "options"))
        return KS_OK;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_expect(p, "("));
    for (;;) {
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(parse_option(p, o));
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_expect(p, ","));
    }
}

static ks_err parse_pipes(struct ksi_lq_parser *p, struct ks_lq_query *q)
{
    size_t cap = 0;
    while (ksi_lq_is(p, "|")) {
        KS_TRY(ksi_lq_next(p));
        if (q->pipe_count == KS_LQ_MAX_PIPES)
            return ks_fail(KS_EPARSE, "the query has more than %d pipes", KS_LQ_MAX_PIPES);
        struct ks_lq_pipe pipe = {0};
        KS_TRY(ksi_lq_pipe(p, &pipe));
        if (!ksi_lq_pipe_end(p))
            return ksi_lq_unexpected(p, "'|' or the end of the pipe is needed");
        KSI_LQ_PUSH(p, q->pipes, q->pipe_count, cap, pipe);
    }
    return KS_OK;
}

ks_err ksi_lq_query(struct ksi_lq_parser *p, struct ks_lq_query **ret)
{
    struct ks_lq_query *q = ks_arena_zalloc(p->arena, sizeof *q);
    if (!q)
        return ksi_lq_oom(p);
    int64_t outer_offset = p->time_offset_ns;
    q->now_ns = p->now_ns;
    KS_TRY(parse_options(p, &q->options));
    p->time_offset_ns += q->options.time_offset_ns;
    KS_TRY(ksi_lq_filter_or(p, NULL, &q->filter));
    KS_TRY(ksi_lq_simplify_filter(p, &q->filter));
    KS_TRY(parse_pipes(p, q));
    KS_TRY(ksi_lq_optimise(p, q));
    p->time_offset_ns = outer_offset;
    *ret = q;
    return KS_OK;
}

ks_err ksi_lq_query_paren(struct ksi_lq_parser *p, struct ks_lq_query **ret)
{
    KS_TRY(ksi_lq_enter(p));
    KS_TRY(ksi_lq_expect(p, "("));
    KS_TRY(ksi_lq_query(p, ret));
    KS_TRY(ksi_lq_expect(p, ")"));
    ksi_lq_leave(p);
    return KS_OK;
}

static void start(struct ksi_lq_parser *p, struct ks_slice text, int64_t now_ns,
                  struct ks_arena *arena)
{
    *p = (struct ksi_lq_parser){.lx = {.text = text}, .arena = arena, .now_ns = now_ns};
}

ks_err ks_lq_parse(struct ks_slice text, int64_t now_ns, struct ks_arena *arena,
                   struct ks_lq_query **ret)
{
    struct ksi_lq_parser p;
    struct ks_lq_query *q;
    struct ks_slice copy = ks_arena_dup(arena, text); /* the tree points into it */
    if (!copy.ptr)
        return ks_arena_err(arena);
    start(&p, copy, now_ns, arena);
    KS_TRY(ksi_lq_next(&p));
    KS_TRY(ksi_lq_query(&p, &q));
    if (!ksi_lq_at_end(&p))
        return ksi_lq_unexpected(&p, "the end of the query is needed");
    *ret = q;
    return KS_OK;
}

ks_err ks_lq_parse_filter(struct ks_slice text, int64_t now_ns, struct ks_arena *arena,
                          struct ks_lq_filter **ret)
{
    struct ksi_lq_parser p;
    struct ks_lq_filter *f;
    struct ks_slice copy = ks_arena_dup(arena, text);
    if (!copy.ptr)
        return ks_arena_err(arena);
    start(&p, copy, now_ns, arena);
    KS_TRY(ksi_lq_next(&p));
    KS_TRY(ksi_lq_filter_or(&p, NULL, &f));
    if (!ksi_lq_at_end(&p))
        return ksi_lq_unexpected(&p, "the end of the filter is needed");
    KS_TRY(ksi_lq_simplify_filter(&p, &f));
    *ret = f;
    return KS_OK;
}
