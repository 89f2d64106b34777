/* The gRPC server's threads: one that owns the sockets, and workers. See grpc.h. */
#include "api/grpc.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/grpc_priv.h"
#include "api/http_priv.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"
#include "sys/pool.h"
#include "sys/thread.h"

enum { EVENTS = 64, SWEEP_MS = 5000, BACKLOG = 512 };

/* --- workers --- */
static void run(struct ksi_grpc_stream *st)
{
    struct ks_grpc_server *s = st->conn->server;
    ks_grpc_fn fn = NULL;
    for (size_t i = 0; i < s->opts.method_count; i++)
        if (ks_slice_is(st->call.path, s->methods[i].path))
            fn = s->methods[i].fn;
    ks_err err;
    if (!fn)
        err = ks_fail(KS_EUNSUPPORTED, "unknown method \"%.*s\"", KS_SLICE_ARG(st->call.path));
    else
        err = ks_grpc_unframe(ks_buf_view(&st->body), ks_grpc_header(&st->call, "grpc-encoding"),
                              s->opts.max_message_bytes, &st->unpacked, &st->call.request);
    if (err == KS_OK)
        err = fn(&st->call);
    if (err == KS_OK)
        err = ks_buf_status(&st->call.out);
    if (err == KS_OK)
        return;
    st->code = st->call.code != KS_GRPC_OK ? st->call.code : ks_grpc_code_of(err);
    st->retry = st->code == KS_GRPC_UNAVAILABLE;
    snprintf(st->message, sizeof st->message, "%s", ks_err_text());
}

static void wake_io(struct ks_grpc_server *s)
{
    uint64_t one = 1;
    (void)!write(s->wake, &one, sizeof one);
}

static void *work(void *arg)
{
    struct ks_grpc_server *s = arg;
    ks_thread_short_turns();
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->queue && !s->stop_workers)
            pthread_cond_wait(&s->work, &s->lock);
        struct ksi_grpc_stream *st = s->queue;
        if (!st)
            break;
        s->queue = st->next;
        if (!s->queue)
            s->queue_tail = &s->queue;
        s->queued--;
        pthread_mutex_unlock(&s->lock);
        run(st);
        pthread_mutex_lock(&s->lock);
        st->next = s->answers;
        s->answers = st;
        wake_io(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool ksi_grpc_submit(struct ksi_grpc_stream *st)
{
    struct ks_grpc_server *s = st->conn->server;
    pthread_mutex_lock(&s->lock);
    bool room = s->queued < s->opts.max_queued && !atomic_load(&s->stopping);
    if (room) {
        st->queued = true;
        st->next = NULL;
        *s->queue_tail = st;
        s->queue_tail = &st->next;
        s->queued++;
        atomic_fetch_add(&s->running, 1);
        atomic_fetch_add(&st->conn->refs, 1);
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    if (!room) {
        atomic_fetch_add(&s->refused, 1);
        st->code = KS_GRPC_UNAVAILABLE;
        st->retry = true;
        snprintf(st->message, sizeof st->message, "too many calls are waiting; try again");
    }
    return room;
}

/* --- the network thread --- */
static void conn_drop(struct ks_grpc_server *s, struct ksi_grpc_conn *c)
{
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->conn_count--;
    atomic_store(&s->conn_stat, s->conn_count);
    ksi_grpc_conn_close(c);
}

static void watch(struct ksi_grpc_conn *c, int op)
{
    struct epoll_event ev = {.events = EPOLLIN | (c->want_write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(c->server->epoll, op, c->fd, &ev);
}

static void conn_io(struct ks_grpc_server *s, struct ksi_grpc_conn *c, bool readable)
{
    bool before = c->want_write;
    if (!ksi_grpc_conn_io(c, readable))
        conn_drop(s, c);
    else if (c->want_write != before)
        watch(c, EPOLL_CTL_MOD);
}

static void accept_all(struct ks_grpc_server *s, int listen_fd)
{
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        struct ksi_grpc_conn *c;
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (s->conn_count >= s->opts.max_connections || atomic_load(&s->stopping) ||
            ksi_grpc_conn_new(s, fd, &c) != KS_OK) {
            close(fd);
            continue;
        }
        c->next = s->conns;
        c->prev = &s->conns;
        if (s->conns)
            s->conns->prev = &c->next;
        s->conns = c;
        s->conn_count++;
        atomic_store(&s->conn_stat, s->conn_count);
        watch(c, EPOLL_CTL_ADD);
        conn_io(s, c, false);
    }
}

static void take_answers(struct ks_grpc_server *s)
{
    uint64_t n;
    (void)!read(s->wake, &n, sizeof n);
    pthread_mutex_lock(&s->lock);
    struct ksi_grpc_stream *list = s->answers;
    s->answers = NULL;
    pthread_mutex_unlock(&s->lock);
    for (struct ksi_grpc_stream *st = list, *next; st; st = next) {
        struct ksi_grpc_conn *c = st->conn;
        next = st->next;
        atomic_fetch_sub(&s->running, 1);
        if (st->id < 0) { /* the client has gone */
            ksi_grpc_stream_free(st);
        } else {
            c->seen_mono_ms = ks_mono_ms();
            ksi_grpc_conn_answer(st);
            conn_io(s, c, false);
        }
        ksi_grpc_conn_unref(c);
    }
}

static void sweep(struct ks_grpc_server *s)
{
    int64_t now = ks_mono_ms();
    for (struct ksi_grpc_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        bool at_work = false;
        for (struct ksi_grpc_stream *st = c->streams; st; st = st->list_next)
            at_work |= st->queued && !st->done;
        if (!at_work && now - c->seen_mono_ms > s->opts.idle_timeout_ms)
            conn_drop(s, c);
    }
}

static bool is_listener(const struct ks_grpc_server *s, const void *p, int *ret_fd)
{
    for (size_t i = 0; i < s->listen_count; i++)
        if (p == &s->listen_fds[i]) {
            *ret_fd = s->listen_fds[i];
            return true;
        }
    return false;
}

static void *io_loop(void *arg)
{
    struct ks_grpc_server *s = arg;
    struct epoll_event ev[EVENTS];
    int64_t swept = ks_mono_ms();
    while (atomic_load(&s->stopping) < 2) {
        int n = epoll_wait(s->epoll, ev, EVENTS, 1000), fd;
        bool answers = false;
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == s)
                answers = true;
            else if (is_listener(s, ev[i].data.ptr, &fd))
                accept_all(s, fd);
            else
                conn_io(s, ev[i].data.ptr, (ev[i].events & ~(uint32_t)EPOLLOUT) != 0);
        }
        /* Last: answering may close connections that had an event too. */
        if (answers)
            take_answers(s);
        if (ks_mono_ms() - swept > SWEEP_MS) {
            sweep(s);
            swept = ks_mono_ms();
        }
    }
    while (s->conns)
        conn_drop(s, s->conns);
    return NULL;
}

/* --- start and stop --- */
static void defaults(struct ks_grpc_opts *o)
{
    unsigned cores = ks_cpu_count();
    o->workers = o->workers ? o->workers : cores * 2 < 4 ? 4 : cores * 2;
    o->max_message_bytes = o->max_message_bytes ? o->max_message_bytes : (size_t)64 << 20;
    o->max_inflight_bytes = o->max_inflight_bytes ? o->max_inflight_bytes : (size_t)256 << 20;
    o->max_queued = o->max_queued ? o->max_queued : 1024;
    o->max_connections = o->max_connections ? o->max_connections : 1024;
    o->idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 600000;
}

static ks_err listen_all(struct ks_grpc_server *s, const struct ks_grpc_opts *opts)
{
    s->listen_fds = ks_alloc_array(opts->addr_count, sizeof *s->listen_fds);
    s->addrs = ks_zalloc_array(opts->addr_count, sizeof *s->addrs);
    if (!s->listen_fds || !s->addrs)
        return KS_ENOMEM;
    for (size_t i = 0; i < opts->addr_count; i++) {
        KS_TRY(ksi_http_listen(opts->addrs[i], &s->listen_fds[i], s->addrs[i]));
        s->listen_count++;
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &s->listen_fds[i]};
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listen_fds[i], &ev) != 0)
            return ks_fail(KS_EIO, "epoll: cannot watch %s", opts->addrs[i]);
    }
    return KS_OK;
}

static ks_err start(struct ks_grpc_server *s, const struct ks_grpc_opts *opts)
{
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll < 0 || s->wake < 0)
        return ks_fail(KS_EIO, "cannot make an epoll or eventfd descriptor");
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &ev);
    KS_TRY(listen_all(s, opts));
    s->methods = ks_alloc_array(opts->method_count + 1, sizeof *s->methods);
    s->workers = ks_alloc_array(s->opts.workers, sizeof *s->workers);
    if (!s->methods || !s->workers)
        return KS_ENOMEM;
    if (opts->method_count)
        memcpy(s->methods, opts->methods, opts->method_count * sizeof *s->methods);
    for (; s->worker_count < s->opts.workers; s->worker_count++)
        if (pthread_create(&s->workers[s->worker_count], NULL, work, s) != 0)
            return ks_fail(KS_EAGAIN, "cannot start a thread");
    if (pthread_create(&s->io, NULL, io_loop, s) != 0)
        return ks_fail(KS_EAGAIN, "cannot start a thread");
    s->io_started = true;
    return KS_OK;
}

ks_err ks_grpc_start(const struct ks_grpc_opts *opts, struct ks_grpc_server **ret)
{
    struct ks_grpc_server *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->opts = *opts;
    s->epoll = s->wake = -1;
    s->queue_tail = &s->queue;
    defaults(&s->opts);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    ks_err err = start(s, opts);
    if (err != KS_OK)
        ks_grpc_stop(s, 0);
    else
        *ret = s;
    return err;
}

void ks_grpc_stop(struct ks_grpc_server *s, int64_t grace_ms)
{
    if (!s)
        return;
    int64_t until = ks_mono_ms() + grace_ms;
    atomic_store(&s->stopping, 1);
    while (atomic_load(&s->running) && ks_mono_ms() < until)
        usleep(5000);
    pthread_mutex_lock(&s->lock);
    s->stop_workers = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->worker_count; i++)
        pthread_join(s->workers[i], NULL);
    if (s->io_started) {
        usleep(20000); /* the last answers go out */
        atomic_store(&s->stopping, 2);
        wake_io(s);
        pthread_join(s->io, NULL);
        take_answers(s); /* of connections that are gone */
    }
    for (size_t i = 0; i < s->listen_count; i++)
        close(s->listen_fds[i]);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->wake >= 0)
        close(s->wake);
    ks_free(s->listen_fds);
    ks_free(s->addrs);
    ks_free(s->methods);
    ks_free(s->workers);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    ks_free(s);
}

const char *ks_grpc_addr(const struct ks_grpc_server *s, size_t i)
{
    return s->addrs[i];
}

void ks_grpc_get_stats(struct ks_grpc_server *s, struct ks_grpc_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    ret->queued = s->queued;
    pthread_mutex_unlock(&s->lock);
    ret->connections = atomic_load(&s->conn_stat);
    ret->calls_total = atomic_load(&s->calls);
    ret->errors_total = atomic_load(&s->errors);
    ret->refused_total = atomic_load(&s->refused);
    ret->inflight_bytes = atomic_load(&s->inflight);
}
