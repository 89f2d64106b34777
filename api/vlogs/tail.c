/*
 * Live tail. Rows are read in the order they arrived, each once, so that late rows and rows of
 * equal timestamps are not lost; what one round brings is put in order of time.
 */
#include <stdlib.h>
#include <time.h>

#include "api/vlogs/vlogs.h"
#include "engine/logs/log_store.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/plan.h"
#include "query/logsql/source_logs.h"
#include "sys/clock.h"

struct line {
    int64_t time_ns;
    size_t order, at, len; /* of text */
};
struct lines {
    struct ks_lq_stage s;
    struct ks_arena arena;
    struct ks_buf text;
    struct line *items;
    size_t count, cap;
    bool sorted;
};

static ks_err lines_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct lines *l = (struct lines *)s;
    const struct ks_lq_col *times = ks_lq_rows_col(rows, KS_SLICE_LIT("_time"));
    char tmp[KS_LQ_TIME_TEXT_MAX];
    uint32_t *order;
    KS_TRY(ks_vl_column_order(rows, l->sorted, &l->arena, &order));
    for (uint32_t i = 0; i < rows->row_count; i++) {
        struct line x = {.order = l->count, .at = l->text.len};
        (void)ks_lq_parse_rfc3339(ks_lq_col_text(times, i, tmp), &x.time_ns);
        ks_vl_write_row(&l->text, rows, i, order);
        x.len = l->text.len - x.at;
        if (l->count == l->cap)
            KS_TRY(ks_arena_grow(&l->arena, (void **)&l->items, &l->cap, l->count + 1,
                                 sizeof *l->items));
        l->items[l->count++] = x;
    }
    return ks_buf_status(&l->text);
}

static const struct ks_lq_stage_ops lines_ops = {.name = "lines", .push = lines_push};

static int by_time(const void *pa, const void *pb)
{
    const struct line *a = pa, *b = pb;
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

struct tail {
    struct ks_vl_ctx c;
    struct ks_lq_arrivals arrivals;
    struct lines lines;
    int64_t refresh_ms, start_offset_ns;
};

static ks_err send_lines(struct tail *t)
{
    struct lines *l = &t->lines;
    struct ks_buf out;
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, by_time);
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    for (size_t i = 0; i < l->count; i++)
        ks_buf_add(&out, l->text.ptr + l->items[i].at, l->items[i].len);
    ks_err err = ks_buf_status(&out);
    if (!err && out.len)
        err = ks_http_stream_write(t->c.req, ks_buf_view(&out));
    ks_buf_done(&out);
    return err;
}

/* Collects rows that arrived in [from, to), at or after min_ns. */
static ks_err collect(struct tail *t, uint64_t from, uint64_t to, int64_t min_ns)
{
    struct lines *l = &t->lines;
    ks_arena_reset(&l->arena);
    ks_buf_reset(&l->text);
    l->items = NULL;
    l->count = l->cap = 0;
    if (from >= to)
        return KS_OK;
    if (t->c.store) {
        t->arrivals = (struct ks_lq_arrivals){t->c.store, from, to};
        t->c.source = ks_lq_source_arrivals(&t->arrivals);
        t->c.min_ns = min_ns;
        t->c.max_ns = INT64_MAX;
    } else { /* positions are times */
        t->c.min_ns = (int64_t)from;
        t->c.max_ns = (int64_t)to - 1;
    }
    t->c.now_ns = ks_now_ns();
    struct ks_arena keep;
    ks_arena_init(&keep, 64 << 20);
    /* relative times move on with the clock */
    struct ks_slice text = ks_http_arg(t->c.req, "query");
    ks_err err = ks_lq_parse(text, t->c.now_ns, &keep, &t->c.query);
    t->c.read.deadline_mono_ms = ks_mono_ms() + t->c.app->cfg.max_query_duration_ms;
    if (!err)
        err = ks_vl_run(&t->c, 0, 0, &l->s);
    ks_arena_done(&keep);
    return err;
}

static ks_err check_pipes(const struct ks_lq_query *q)
{
    for (size_t i = 0; i < q->pipe_count; i++) {
        const struct ks_lq_pipe *p = &q->pipes[i];
        if (ksi_lq_pipe_row_local(p))
            continue;
        switch (p->kind) {
        case KS_LQ_P_EXTRACT_REGEXP: /* may set _time only when the user says so */
        case KS_LQ_P_UNPACK_JSON:
        case KS_LQ_P_UNPACK_LOGFMT:
        case KS_LQ_P_UNPACK_SYSLOG:
        case KS_LQ_P_UNROLL:
        case KS_LQ_P_SAMPLE:
        case KS_LQ_P_TIME_ADD:
            continue;
        default:
            break;
        }
        struct ks_buf b;
        ks_buf_init(&b, 1 << 20);
        ks_lq_print(q, &b);
        ks_err err = ks_fail(KS_EINVAL, "the query [%.*s] cannot be tailed because of its pipe %s",
                             (int)(b.len > 500 ? 500 : b.len), b.ptr, ks_lq_pipe_name(p->kind));
        ks_buf_done(&b);
        return err;
    }
    return KS_OK;
}

static bool over(struct tail *t)
{
    return atomic_load(&t->c.req->cancel) || atomic_load(&t->c.app->shutting_down);
}

/* Rounds begin at least refresh_ms apart, so that a flood of rows does not become one of queries.
 */
static void pause_until(struct tail *t, int64_t mono_ms)
{
    for (int64_t left; !over(t) && (left = mono_ms - ks_mono_ms()) > 0;) {
        struct timespec ts = {0, (left < 50 ? left : 50) * 1000000};
        nanosleep(&ts, NULL);
    }
}

static ks_err follow(struct tail *t)
{
    uint64_t pos = ks_log_store_arrival(t->c.store);
    t->c.req->resp.content_type = "application/x-ndjson";
    /* what fails does so before the answer has begun */
    KS_TRY(collect(t, 0, pos, ks_now_ns() - t->start_offset_ns));
    KS_TRY(ks_http_stream_begin(t->c.req));
    KS_TRY(send_lines(t));
    for (int64_t last = ks_mono_ms(); !over(t); last = ks_mono_ms()) {
        ks_log_store_wait(t->c.store, pos, t->refresh_ms < 1000 ? t->refresh_ms : 1000);
        pause_until(t, last + t->refresh_ms);
        uint64_t now = ks_log_store_arrival(t->c.store);
        KS_TRY(collect(t, pos, now, INT64_MIN));
        KS_TRY(send_lines(t));
        pos = now;
    }
    return KS_OK;
}

/*
 * The ring does not know in which order spans arrived: they are shown by their times, `offset`
 * behind the clock, as VictoriaLogs does; one that arrives later than that is not shown.
 */
static ks_err follow_ring(struct tail *t)
{
    int64_t offset;
    KS_TRY(ks_vl_arg_duration_ns(t->c.req, "offset", 5000000000, &offset));
    if (offset < 0)
        return ks_fail(KS_EINVAL, "offset has to be 0 or more");
    int64_t from = ks_now_ns() - offset - t->start_offset_ns, to = ks_now_ns() - offset;
    t->c.req->resp.content_type = "application/x-ndjson";
    KS_TRY(collect(t, from > 0 ? (uint64_t)from : 0, to > 0 ? (uint64_t)to : 0, 0));
    KS_TRY(ks_http_stream_begin(t->c.req));
    KS_TRY(send_lines(t));
    for (int64_t last = ks_mono_ms(); !over(t); last = ks_mono_ms()) {
        pause_until(t, last + t->refresh_ms);
        from = to;
        to = ks_now_ns() - offset;
        if (from < 0 || to <= from)
            continue;
        KS_TRY(collect(t, (uint64_t)from, (uint64_t)to, 0));
        KS_TRY(send_lines(t));
    }
    return KS_OK;
}

static ks_err tail(struct ks_http_request *req)
{
    struct tail t = {0};
    int64_t refresh;
    KS_TRY(ks_vl_begin(req, true, &t.c));
    KS_TRY(check_pipes(t.c.query));
    KS_TRY(ks_vl_arg_duration_ns(req, "refresh_interval", 1000000000, &refresh));
    KS_TRY(ks_vl_arg_duration_ns(req, "start_offset", 5000000000, &t.start_offset_ns));
    if (refresh <= 0)
        return ks_fail(KS_EINVAL, "refresh_interval has to be above 0");
    t.refresh_ms = refresh < 1000000 ? 1 : refresh / 1000000;
    t.lines.s.ops = &lines_ops;
    t.lines.sorted = !ks_vl_fixed_columns(t.c.query);
    ks_arena_init(&t.lines.arena, 256 << 20);
    ks_buf_init(&t.lines.text, 256 << 20);
    ks_err err = t.c.store ? follow(&t) : follow_ring(&t);
    ks_arena_done(&t.lines.arena);
    ks_buf_done(&t.lines.text);
    return err == KS_ECANCELED ? KS_OK : err;
}

ks_err ks_vl_tail(struct ks_http_request *req)
{
    return ks_vl_answer(req, tail(req));
}
