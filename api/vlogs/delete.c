/*
 * /delete/run_task, stop_task, active_tasks: each task has a thread of its own for as long as it
 * runs. Rows are hidden when it ends; a task that was stopped or fails hides those it came to.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "api/logs/log_stores.h"
#include "api/vlogs/vlogs.h"
#include "base/log.h"
#include "base/mem.h"
#include "query/logsql/delete.h"
#include "query/logsql/filter/value.h"
#include "sys/clock.h"

enum { MAX_TASKS = 16 };

struct task {
    struct ks_vl_deletes *all;
    struct ks_arena arena;
    struct ks_log_store *store;
    struct ks_tenant tenant;
    struct ks_lq_filter *filter;
    struct ks_slice text;
    int64_t id; /* ns of its start */
    _Atomic int cancel;
    struct ks_read_ctx ctx;
    bool used, over;
    pthread_t thread;
};
struct ks_vl_deletes {
    pthread_mutex_t lock;
    struct task tasks[MAX_TASKS];
};

ks_err ks_vl_deletes_new(struct ks_vl_deletes **ret)
{
    struct ks_vl_deletes *d = ks_zalloc(sizeof *d);
    if (!d)
        return KS_ENOMEM;
    pthread_mutex_init(&d->lock, NULL);
    *ret = d;
    return KS_OK;
}

/* The lock is held; waits for a thread that is at its end. */
static void reap(struct task *t)
{
    pthread_join(t->thread, NULL);
    ks_arena_done(&t->arena);
    *t = (struct task){0};
}

void ks_vl_deletes_free(struct ks_vl_deletes *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < MAX_TASKS; i++)
        if (d->tasks[i].used)
            atomic_store(&d->tasks[i].cancel, 1);
    for (size_t i = 0; i < MAX_TASKS; i++)
        if (d->tasks[i].used)
            reap(&d->tasks[i]);
    pthread_mutex_destroy(&d->lock);
    ks_free(d);
}

static void *run(void *arg)
{
    struct task *t = arg;
    uint64_t rows = 0;
    ks_err err = ks_lq_delete(t->store, &t->tenant, t->filter, &t->ctx, &rows);
    if (err)
        ks_log(KS_LOG_WARN, "vlogs", "deletion task %" PRId64 " ended: %s", t->id, ks_err_text());
    else
        ks_log(KS_LOG_INFO, "vlogs", "deletion task %" PRId64 " done, rows=%" PRIu64, t->id, rows);
    pthread_mutex_lock(&t->all->lock);
    t->over = true;
    pthread_mutex_unlock(&t->all->lock);
    return NULL;
}

static ks_err enabled(const struct ks_http_request *req)
{
    if (!ks_app_of(req)->cfg.logs.delete_enabled)
        return ks_fail(KS_EINVAL, "deletion of logs is off; the flag -delete.enable turns it on");
    return KS_OK;
}

static ks_err start(struct ks_vl_deletes *d, const struct ks_vl_ctx *c, struct ks_slice text,
                    int64_t *ret_id)
{
    struct task *t = NULL;
    if (c->spans)
        return ks_fail(KS_EUNSUPPORTED, "spans cannot be deleted by a filter");
    for (size_t i = 0; i < MAX_TASKS; i++)
        if (d->tasks[i].used && d->tasks[i].over)
            reap(&d->tasks[i]);
    for (size_t i = 0; i < MAX_TASKS && !t; i++)
        if (!d->tasks[i].used)
            t = &d->tasks[i];
    if (!t)
        return ks_fail(KS_EAGAIN, "%d deletion tasks run already", MAX_TASKS);
    *t = (struct task){.all = d, .store = c->store, .tenant = c->req->tenant, .id = ks_now_ns()};
    ks_arena_init(&t->arena, 16 << 20);
    t->ctx.cancel = &t->cancel;
    ks_err err = ks_lq_parse_filter(text, c->now_ns, &t->arena, &t->filter);
    if (!err)
        err = ks_lq_delete_check(t->filter);
    t->text = ks_arena_dup(&t->arena, text);
    if (!err && !t->text.ptr)
        err = ks_arena_err(&t->arena);
    if (!err && pthread_create(&t->thread, NULL, run, t) != 0)
        err = ks_fail(KS_EBUSY, "no thread for the deletion task");
    if (err) {
        ks_arena_done(&t->arena);
        *t = (struct task){0};
        return err;
    }
    t->used = true;
    *ret_id = t->id;
    return KS_OK;
}

static ks_err delete_run(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct ks_slice text = ks_http_arg(req, "filter");
    int64_t id = 0;
    KS_TRY(enabled(req));
    KS_TRY(ks_vl_begin(req, false, &c));
    if (req->multitenant)
        return ks_fail(KS_EINVAL, "a deletion is for one tenant");
    if (!ks_slice_trim(text).len)
        return ks_fail(KS_EINVAL, "missing `filter` arg");
    struct ks_vl_deletes *d = c.app->log_deletes;
    pthread_mutex_lock(&d->lock);
    ks_err err = start(d, &c, text, &id);
    pthread_mutex_unlock(&d->lock);
    KS_TRY(err);
    req->resp.content_type = "application/json";
    ks_buf_printf(&req->resp.body, "{\"task_id\":\"%" PRId64 "\"}", id);
    return KS_OK;
}

static ks_err delete_stop(struct ks_http_request *req)
{
    struct ks_slice id = ks_http_arg(req, "task_id");
    int64_t want;
    KS_TRY(enabled(req));
    if (!ks_lq_parse_i64(id, &want))
        return ks_fail(KS_EINVAL, "missing `task_id` arg");
    struct ks_vl_deletes *d = ks_app_of(req)->log_deletes;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < MAX_TASKS; i++)
        if (d->tasks[i].used && d->tasks[i].id == want &&
            ks_tenant_eq(d->tasks[i].tenant, req->tenant))
            atomic_store(&d->tasks[i].cancel, 1);
    pthread_mutex_unlock(&d->lock);
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"ok\"}");
    return KS_OK;
}

static void write_task(struct ks_buf *out, const struct task *t)
{
    char time[40];
    size_t n = ks_lq_time_format(time, t->id);
    ks_buf_printf(out,
                  "{\"task_id\":\"%" PRId64 "\",\"tenant_ids\":[{\"account_id\":%u,"
                  "\"project_id\":%u}],\"filter\":",
                  t->id, t->tenant.account, t->tenant.project);
    ks_lq_buf_json(out, t->text);
    ks_buf_printf(out, ",\"start_time\":\"%.*s\"}", (int)n, time);
}

static ks_err delete_active(struct ks_http_request *req)
{
    bool first = true;
    KS_TRY(enabled(req));
    struct ks_vl_deletes *d = ks_app_of(req)->log_deletes;
    req->resp.content_type = "application/json";
    ks_buf_byte(&req->resp.body, '[');
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < MAX_TASKS; i++) {
        const struct task *t = &d->tasks[i];
        if (!t->used || t->over || !ks_tenant_eq(t->tenant, req->tenant))
            continue;
        if (!first)
            ks_buf_byte(&req->resp.body, ',');
        first = false;
        write_task(&req->resp.body, t);
    }
    pthread_mutex_unlock(&d->lock);
    ks_buf_byte(&req->resp.body, ']');
    return KS_OK;
}

ks_err ks_vl_delete_run(struct ks_http_request *req)
{
    return ks_vl_answer(req, delete_run(req));
}

ks_err ks_vl_delete_stop(struct ks_http_request *req)
{
    return ks_vl_answer(req, delete_stop(req));
}

ks_err ks_vl_delete_active(struct ks_http_request *req)
{
    return ks_vl_answer(req, delete_active(req));
}
