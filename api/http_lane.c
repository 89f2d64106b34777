/* Lanes: bounded queues with worker threads, and the watcher that ends waits and notices clients
 * that have gone. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "api/http_priv.h"
#include "api/scratch.h"
#include "base/mem.h"
#include "sys/clock.h"
#include "sys/thread.h"

enum { WATCH_INTERVAL_MS = 50 };

/* Workers' thread-safe list of running selects. */
static void watch_add(struct ks_http_server *s, struct ksi_conn *c)
{
    pthread_mutex_lock(&s->watch_lock);
    c->watch_next = s->watched;
    if (c->watch_next)
        c->watch_next->watch_prev = &c->watch_next;
    c->watch_prev = &s->watched;
    s->watched = c;
    if (s->canceling) /* was still queued when the others were told */
        atomic_store(&c->req.cancel, 1);
    pthread_mutex_unlock(&s->watch_lock);
}

void ksi_watch_remove(struct ks_http_server *s, struct ksi_conn *c)
{
    pthread_mutex_lock(&s->watch_lock);
    if (c->watch_prev) {
        *c->watch_prev = c->watch_next;
        if (c->watch_next)
            c->watch_next->watch_prev = c->watch_prev;
        c->watch_prev = NULL;
        c->watch_next = NULL;
    }
    pthread_mutex_unlock(&s->watch_lock);
}

/* Under l->lock. */
static struct ksi_conn *dequeue(struct ksi_lane *l)
{
    struct ksi_conn *c = l->head;
    l->head = c->next;
    if (!l->head)
        l->tail = &l->head;
    c->next = NULL;
    l->queued--;
    return c;
}

static void give_up(struct ksi_lane *l, struct ksi_conn *c)
{
    atomic_fetch_add(&l->limit_timeout, 1);
    char why[256];
    snprintf(why, sizeof why,
             "cannot handle more than %u concurrent %s requests during %lld ms; "
             "increase the limit or reduce the load",
             l->opts.threads, l->name, (long long)l->opts.max_wait_ms);
    ksi_overload(c, l->opts.overload_status, why);
    ksi_conn_answer(c);
}

static void run(struct ksi_lane *l, struct ksi_conn *c, struct ks_scratch *scratch)
{
    struct ks_http_server *s = l->server;
    if (ks_mono_ms() - c->queued_mono_ms > l->opts.max_wait_ms) {
        give_up(l, c);
        return;
    }
    bool watched = c->req.lane == KS_LANE_SELECT || c->req.lane == KS_LANE_EXPORT;
    if (watched)
        watch_add(s, c);
    c->req.scratch = scratch;
    c->req.flow = ksi_response_encoding(c) == KS_ENC_NONE ? ksi_flow : NULL; /* else packed whole */
    struct ksi_stopwatch took;
    c->req.start_mono_us = ks_mono_us();
    if (c->short_key)
        ksi_stopwatch_start(&took, c->req.start_mono_us);
    s->opts.handle(&c->req);
    if (c->short_key)
        ksi_short_learn(s, c->short_key, ksi_stopwatch_us(&took));
    c->req.scratch = NULL;
    if (watched)
        ksi_watch_remove(s, c);
    ksi_conn_answer(c);
    ks_scratch_trim(scratch);
}

/* Calls the worker that was busy last: a thread has an arena of the heap of its own, and pages of
 * the last request are faulted in already in this one. Under l->lock. */
static void call_idler(struct ksi_lane *l)
{
    struct ksi_idler *w = l->idle;
    if (!w)
        return;
    l->idle = w->next;
    w->called = true;
    pthread_cond_signal(&w->wake);
}

/* Under l->lock. */
static void idle(struct ksi_lane *l, struct ksi_idler *w)
{
    w->called = false;
    w->next = l->idle;
    l->idle = w;
    while (!w->called)
        pthread_cond_wait(&w->wake, &l->lock);
}

static void *worker(void *arg)
{
    struct ksi_lane *l = arg;
    struct ks_scratch scratch;
    struct ksi_idler w;
    ks_thread_short_turns();
    pthread_cond_init(&w.wake, NULL);
    ks_scratch_init(&scratch);
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->head && !l->stop)
            idle(l, &w);
        if (!l->head)
            break;
        struct ksi_conn *c = dequeue(l);
        l->running++;
        pthread_mutex_unlock(&l->lock);
        run(l, c, &scratch);
        pthread_mutex_lock(&l->lock);
        l->running--;
    }
    pthread_mutex_unlock(&l->lock);
    ks_scratch_done(&scratch);
    pthread_cond_destroy(&w.wake);
    return NULL;
}

ks_err ksi_lane_submit(struct ksi_lane *l, struct ksi_conn *c)
{
    c->queued_mono_ms = ks_mono_ms();
    c->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool taken = l->queued < l->opts.max_queued && !l->stop;
    if (taken) {
        if (l->running + l->queued >= l->opts.threads)
            atomic_fetch_add(&l->limit_reached, 1);
        *l->tail = c;
        l->tail = &c->next;
        l->queued++;
        call_idler(l);
    }
    pthread_mutex_unlock(&l->lock);
    return taken ? KS_OK : KS_EAGAIN;
}

bool ksi_lane_idle(struct ksi_lane *l)
{
    pthread_mutex_lock(&l->lock);
    bool idle = !l->queued && l->running < l->opts.threads && !l->stop;
    pthread_mutex_unlock(&l->lock);
    return idle;
}

/* Answers requests that waited too long although no worker came free. */
static void expire(struct ksi_lane *l)
{
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct ksi_conn *c = NULL;
        if (l->head && ks_mono_ms() - l->head->queued_mono_ms > l->opts.max_wait_ms)
            c = dequeue(l);
        pthread_mutex_unlock(&l->lock);
        if (!c)
            return;
        give_up(l, c);
    }
}

static bool peer_closed(int fd)
{
    char b;
    ssize_t n = fd >= 0 ? recv(fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) : 1;
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void *watcher(void *arg)
{
    struct ks_http_server *s = arg;
    struct timespec pause = {.tv_nsec = WATCH_INTERVAL_MS * 1000000l};
    while (atomic_load(&s->stopping) < 2) {
        nanosleep(&pause, NULL);
        for (int i = KS_LANE_INSERT; i < KS_LANE_COUNT; i++)
            expire(&s->lanes[i]);
        pthread_mutex_lock(&s->watch_lock);
        for (struct ksi_conn *c = s->watched; c; c = c->watch_next)
            if (!atomic_load(&c->req.cancel) && peer_closed(c->fd)) {
                atomic_store(&c->req.cancel, 1);
                atomic_fetch_add(&s->canceled, 1);
            }
        pthread_mutex_unlock(&s->watch_lock);
    }
    return NULL;
}

static ks_err lane_start(struct ksi_lane *l, struct ks_http_server *s, const char *name,
                         const struct ks_http_lane_opts *opts)
{
    l->server = s;
    l->name = name;
    l->opts = *opts;
    l->tail = &l->head;
    pthread_mutex_init(&l->lock, NULL);
    if (!(l->threads = ks_zalloc_array(l->opts.threads ? l->opts.threads : 1, sizeof *l->threads)))
        return KS_ENOMEM;
    for (; l->started < l->opts.threads; l->started++) {
        if (pthread_create(&l->threads[l->started], NULL, worker, l) != 0)
            return ks_fail(KS_ENOMEM, "cannot start an HTTP worker thread");
        char thread_name[16];
        snprintf(thread_name, sizeof thread_name, "http-%s", name);
        pthread_setname_np(l->threads[l->started], thread_name);
    }
    return KS_OK;
}

ks_err ksi_lanes_start(struct ks_http_server *s)
{
    static const char *const names[KS_LANE_COUNT] = {"direct", "insert", "select", "export", "ops"};
    for (int i = KS_LANE_INSERT; i < KS_LANE_COUNT; i++)
        KS_TRY(lane_start(&s->lanes[i], s, names[i], &s->opts.lanes[i]));
    if (pthread_create(&s->watcher, NULL, watcher, s) != 0)
        return ks_fail(KS_ENOMEM, "cannot start the HTTP watcher thread");
    s->watcher_started = true;
    return KS_OK;
}

void ksi_lanes_stop(struct ks_http_server *s)
{
    for (int i = KS_LANE_INSERT; i < KS_LANE_COUNT; i++) {
        struct ksi_lane *l = &s->lanes[i];
        if (!l->server)
            continue;
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        while (l->idle)
            call_idler(l);
        pthread_mutex_unlock(&l->lock);
        for (unsigned t = 0; t < l->started; t++)
            pthread_join(l->threads[t], NULL);
    }
    atomic_store(&s->stopping, 2);
    if (s->watcher_started)
        pthread_join(s->watcher, NULL);
}

/* After the network threads have ended: they look at lanes until then. */
void ksi_lanes_free(struct ks_http_server *s)
{
    for (int i = KS_LANE_INSERT; i < KS_LANE_COUNT; i++) {
        struct ksi_lane *l = &s->lanes[i];
        if (!l->server)
            continue;
        ks_free(l->threads);
        pthread_mutex_destroy(&l->lock);
    }
}
