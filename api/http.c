/* The network side over libmicrohttpd: sockets, bodies, hand-over to the lanes, start and stop. */
#include "api/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/http_priv.h"
#include "api/tls.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "sys/clock.h"
#include "sys/pool.h"
#include "sys/thread.h"

/* A client that sends more than this beyond the limit is cut off instead of read to the end. */
#define DISCARD_MAX ((size_t)16 << 20)
#define BODY_STEP   ((size_t)64 << 10)
/* Answers below this are not counted. */
#define ANSWER_SMALL ((size_t)64 << 10)

void ksi_conn_unref(struct ksi_conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    atomic_fetch_sub(&c->server->body_bytes, c->reserved_bytes);
    atomic_fetch_sub(&c->server->answer_bytes, c->answer_bytes);
    ks_buf_done(&c->body_buf);
    ksi_stream_done(&c->stream);
    ks_http_request_done(&c->req);
    ks_free(c);
}

/*
 * Answers wait in memory for clients to take them: all together have a budget, so that many slow
 * readers of large answers cost each other a retry and not the process its life.
 */
static void reserve_answer(struct ksi_conn *c)
{
    struct ks_http_server *s = c->server;
    size_t n = c->req.resp.body.len, max = s->opts.max_inflight_answer_bytes;
    if (!max || n < ANSWER_SMALL)
        return;
    if (n > max) {
        ks_buf_done(&c->req.resp.body);
        ks_http_text(&c->req, 422,
                     "the answer has %zu bytes, more than %zu; ask for less at once or raise "
                     "-memory.allowedPercent\n",
                     n, max);
    } else if (atomic_fetch_add(&s->answer_bytes, n) + n > max) {
        atomic_fetch_sub(&s->answer_bytes, n);
        ks_buf_done(&c->req.resp.body);
        ksi_overload(c, 429, "too many large answers wait for their clients; try again");
    } else {
        c->answer_bytes = n;
    }
}

/* Called by the worker with its reference, which ends here. */
void ksi_conn_answer(struct ksi_conn *c)
{
    if (c->stream.flows) {
        ksi_flow_end(c);
    } else if (c->stream.active) {
        ksi_stream_end(c);
    } else {
        ksi_compress_body(c);
        reserve_answer(c);
        c->state = CONN_READY;
        MHD_resume_connection(c->mhd);
    }
    ksi_conn_unref(c);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct ks_http_server *s = cls;
    struct ksi_conn *c = ks_zalloc(sizeof *c);
    if (!c)
        return NULL;
    ks_http_request_init(&c->req, s->opts.max_arena_bytes);
    c->req.app = s->opts.app;
    c->req.listener = s->opts.listener;
    c->server = s;
    c->mhd = mhd;
    atomic_store(&c->refs, 1);
    ks_buf_init(&c->body_buf, s->opts.max_body_bytes + 1);
    ksi_stream_init(&c->stream);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->fd = info ? info->connect_fd : -1;
    if (ks_http_parse_target(&c->req, uri, s->path_prefix) != KS_OK)
        c->rejected = true;
    atomic_fetch_add(&s->active, 1);
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    return c;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    struct ks_http_server *s = cls;
    struct ksi_conn *c = *con_cls;
    if (!c)
        return;
    *con_cls = NULL;
    ksi_watch_remove(s, c);
    atomic_store(&c->req.cancel, 1);
    ksi_stream_client_gone(c);
    ksi_conn_unref(c);
    atomic_fetch_sub(&s->active, 1);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **ctx,
                          enum MHD_ConnectionNotificationCode what)
{
    struct ks_http_server *s = cls;
    static _Thread_local bool prompt;
    if (!prompt) { /* the library starts its threads itself; this is where each comes by first */
        ks_thread_prompt();
        prompt = true;
    }
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        atomic_fetch_add(&s->conns, 1);
        atomic_fetch_add(&s->accepts, 1);
    } else {
        atomic_fetch_sub(&s->conns, 1);
    }
}

static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    struct ks_http_request *req = cls;
    struct ks_http_header h = {ks_arena_dup(&req->arena, ks_slice_str(key)),
                               ks_arena_dup(&req->arena, ks_slice_str(value ? value : ""))};
    if (!h.name.ptr || !h.value.ptr ||
        ks_arena_grow(&req->arena, (void **)&req->headers, &req->header_cap, req->header_count + 1,
                      sizeof h) != KS_OK)
        return MHD_NO;
    req->headers[req->header_count++] = h;
    return MHD_YES;
}

static enum ks_http_method method_of(const char *m)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(m, names[i]) == 0)
            return (enum ks_http_method)i;
    return KS_METHOD_OTHER;
}

static void remote_addr(struct ksi_conn *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char host[64] = "", port[16] = "";
    if (info && info->client_addr) {
        socklen_t len = info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                 : sizeof(struct sockaddr_in);
        getnameinfo(info->client_addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    }
    c->req.remote_addr = ks_arena_printf(&c->req.arena, "%s:%s", host, port);
}

static size_t body_limit(const struct ksi_conn *c)
{
    return c->req.max_body_bytes ? c->req.max_body_bytes : c->server->opts.max_body_bytes;
}

static void refuse_size(struct ksi_conn *c)
{
    c->truncated = true;
    ks_http_text(&c->req, 413, "too large request body; it mustn't exceed %zu bytes\n",
                 body_limit(c));
}

/* Takes n bytes out of the common budget for bodies. */
static bool reserve_body(struct ksi_conn *c, size_t n)
{
    struct ks_http_server *s = c->server;
    if (atomic_fetch_add(&s->body_bytes, n) + n > s->opts.max_inflight_body_bytes) {
        atomic_fetch_sub(&s->body_bytes, n);
        c->truncated = true;
        ksi_overload(c, c->req.lane == KS_LANE_INSERT ? 503 : 429,
                     "too many request bytes in flight; try again");
        return false;
    }
    c->reserved_bytes += n;
    return true;
}

/* Headers are in. False: the answer is ready already. */
static bool begin(struct ksi_conn *c, const char *method)
{
    struct ks_http_request *req = &c->req;
    req->method = method_of(method);
    if (c->rejected) {
        ks_http_text(req, 400, "cannot parse the request target\n");
        return false;
    }
    MHD_get_connection_values(c->mhd, MHD_HEADER_KIND, copy_header, req);
    remote_addr(c);
    req->lane = KS_LANE_SELECT;
    c->server->opts.route(req);
    if (req->resp.status)
        return false;
    uint64_t length = 0;
    struct ks_slice declared = ks_http_header(req, "Content-Length");
    if (declared.len && (!ks_u64_parse(declared, &length) || length > body_limit(c))) {
        refuse_size(c);
        return false;
    }
    c->body_buf.max = body_limit(c) + 1;
    /* A claim alone gets at most a page run, and nothing of the common budget: that is for bytes
     * which have come, else a few idle connections with a large Content-Length would shut everyone
     * out. */
    if (length)
        (void)ks_buf_reserve(&c->body_buf, length < (256 << 10) ? length + 1 : (256 << 10));
    return true;
}

static size_t next_step(const struct ksi_conn *c, size_t need)
{
    size_t step = (need + BODY_STEP - 1) / BODY_STEP * BODY_STEP;
    return (step < body_limit(c) ? step : body_limit(c)) - c->reserved_bytes;
}

static bool take_body(struct ksi_conn *c, const char *data, size_t n)
{
    atomic_fetch_add_explicit(&c->server->read_bytes, n, memory_order_relaxed);
    if (c->req.resp
            .status) { /* refused already: read on so that the client gets to see the answer */
        c->discarded_bytes += n;
        return c->discarded_bytes <= DISCARD_MAX;
    }
    size_t need = c->body_buf.len + n;
    if (need > body_limit(c))
        refuse_size(c);
    else if (need > c->reserved_bytes && !reserve_body(c, next_step(c, need)))
        return true;
    else
        ks_buf_add(&c->body_buf, data, n);
    if (ks_buf_status(&c->body_buf) != KS_OK)
        ksi_overload(c, 503, "out of memory while reading the request body");
    return true;
}

static enum MHD_Result to_lane(struct ksi_conn *c, struct ksi_lane *l)
{
    c->state = CONN_QUEUED;
    atomic_fetch_add(&c->refs, 1);
    /* Suspended first: a worker may answer before this function returns. */
    MHD_suspend_connection(c->mhd);
    if (ksi_lane_submit(l, c) != KS_OK) {
        atomic_fetch_add(&l->limit_timeout, 1);
        ksi_overload(c, l->opts.overload_status, "too many requests are waiting; try again");
        ksi_conn_answer(c);
    }
    return MHD_YES;
}

/* Handles the request here and now. */
static enum MHD_Result answer_now(struct ksi_conn *c)
{
    struct ksi_stopwatch took;
    c->req.start_mono_us = ks_mono_us();
    if (c->short_key)
        ksi_stopwatch_start(&took, c->req.start_mono_us);
    c->server->opts.handle(&c->req);
    c->req.may_defer = false;
    if (c->req.deferred)
        return to_lane(c, &c->server->lanes[c->req.lane]);
    if (c->short_key)
        ksi_short_learn(c->server, c->short_key, ksi_stopwatch_us(&took));
    ksi_compress_body(c);
    reserve_answer(c);
    return ksi_send(c);
}

/* The request is complete: to its lane, or answered at once. */
static enum MHD_Result dispatch(struct ksi_conn *c)
{
    struct ks_http_request *req = &c->req;
    if (req->resp.status)
        return ksi_send(c);
    req->body = ks_buf_view(&c->body_buf);
    if (!req->body.ptr)
        req->body.ptr = "";
    if (req->lane == KS_LANE_DIRECT)
        return answer_now(c);
    struct ksi_lane *l = &c->server->lanes[req->lane];
    c->short_key = ksi_short_key(c);
    req->may_defer = req->tried;
    if ((req->tried || ksi_is_short(c->server, c->short_key)) && ksi_lane_idle(l))
        return answer_now(c);
    req->may_defer = false;
    return to_lane(c, l);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **con_cls)
{
    struct ksi_conn *c = *con_cls;
    if (!c)
        return MHD_NO;
    switch (c->state) {
    case CONN_NEW:
        c->state = CONN_BODY;
        c->req.role = cls;
        return begin(c, method) ? MHD_YES : ksi_send(c);
    case CONN_BODY:
        if (*data_size) {
            bool go_on = take_body(c, data, *data_size);
            *data_size = 0;
            return go_on ? MHD_YES : MHD_NO;
        }
        return dispatch(c);
    case CONN_READY:
    case CONN_STREAM:
        return ksi_send(c);
    default:
        return MHD_NO;
    }
}

/* --- sockets --- */
static int listen_on(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0)
        return -1;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Splits host:port; an empty host means every address. */
static ks_err open_socket(const char *addr, int *ret_fd)
{
    char host[256] = "";
    const char *colon = strrchr(addr, ':');
    const char *port = colon ? colon + 1 : addr;
    size_t host_len = colon ? (size_t)(colon - addr) : 0;
    const char *start = addr;
    if (host_len >= 2 && start[0] == '[' && start[host_len - 1] == ']') {
        start++;
        host_len -= 2;
    }
    if (host_len >= sizeof host)
        return ks_fail(KS_EINVAL, "address \"%s\" is too long", addr);
    memcpy(host, start, host_len);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE},
                    *list;
    const char *any = host_len ? host : NULL;
    int e = getaddrinfo(any, port, &hints, &list);
    if (e)
        return ks_fail(KS_EINVAL, "cannot listen on \"%s\": %s (want host:port or :port)", addr,
                       gai_strerror(e));
    int fd = -1;
    /* Without a host the IPv6 socket serves both families; where there is no IPv6, the other one
     * does. */
    for (int want6 = !any; fd < 0 && want6 >= -1; want6--)
        for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
            if (any || (want6 > 0) == (a->ai_family == AF_INET6))
                fd = listen_on(a);
    int saved = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return ks_fail(KS_EIO, "cannot listen on \"%s\": %s", addr, strerror(saved));
    *ret_fd = fd;
    return KS_OK;
}

static void describe(int fd, char out[80])
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[64] = "?", port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    bool any = strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0;
    const char *fmt = strchr(host, ':') && !any ? "[%s]:%s" : "%s:%s";
    snprintf(out, 80, fmt, any ? "127.0.0.1" : host, port);
}

ks_err ksi_http_listen(const char *addr, int *ret_fd, char ret_name[80])
{
    KS_TRY(open_socket(addr, ret_fd));
    describe(*ret_fd, ret_name);
    return KS_OK;
}

static void log_mhd(void *cls, const char *fmt, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n')
        text[--n] = 0;
    ks_log_limited(5000, KS_LOG_WARN, "api", "http: %s", text);
}

static unsigned connection_limit(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
        return 1000;
    rlim_t n = rl.rlim_cur > 512 ? rl.rlim_cur - 256 : rl.rlim_cur / 2;
    return n > 65536 ? 65536 : (unsigned)n;
}

static ks_err start_daemon(struct ks_http_server *s, const char *addr, const char *role,
                           struct ks_tls *tls)
{
    void *cert = NULL;
    if (tls)
        KS_TRY(ks_tls_http_callback(tls, &cert));
    int fd = -1;
    KS_TRY(open_socket(addr, &fd));
    describe(fd, s->addrs[s->daemon_count]);
    unsigned threads = s->opts.io_threads ? s->opts.io_threads : ks_cpu_count();
    unsigned idle_s =
        (unsigned)((s->opts.idle_timeout_ms ? s->opts.idle_timeout_ms : 120000) / 1000);
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_mhd, s},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_uri, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)(idle_s ? idle_s : 1), NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)connection_limit(), NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 128 << 10, NULL},
        {MHD_OPTION_END, 0, NULL},
        {MHD_OPTION_END, 0, NULL},
        {MHD_OPTION_END, 0, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    size_t n = 8;
    if (threads > 1)
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL};
    if (tls) {
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, cert};
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                             (char *)(uintptr_t)ks_tls_priorities(tls)};
    }
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     MHD_USE_TURBO | (tls ? MHD_USE_TLS : 0);
    struct MHD_Daemon *d = MHD_start_daemon(flags, 0, NULL, NULL, on_request, (void *)role,
                                            MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (!d) {
        close(fd);
        return ks_fail(KS_EIO, "cannot start the HTTP server on \"%s\"", addr);
    }
    s->daemons[s->daemon_count++] = d;
    return KS_OK;
}

ks_err ks_http_start(const struct ks_http_opts *opts, struct ks_http_server **ret)
{
    struct ks_http_server *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->opts = *opts;
    snprintf(s->path_prefix, sizeof s->path_prefix, "%s",
             opts->path_prefix ? opts->path_prefix : "");
    if (gethostname(s->hostname, sizeof s->hostname - 1) != 0)
        snprintf(s->hostname, sizeof s->hostname, "unknown");
    pthread_mutex_init(&s->watch_lock, NULL);
    s->daemons = ks_zalloc_array(opts->addr_count ? opts->addr_count : 1, sizeof *s->daemons);
    s->addrs = ks_zalloc_array(opts->addr_count ? opts->addr_count : 1, sizeof *s->addrs);
    ks_err err = s->daemons && s->addrs ? ksi_lanes_start(s) : KS_ENOMEM;
    for (size_t i = 0; err == KS_OK && i < opts->addr_count; i++)
        err = start_daemon(s, opts->addrs[i], opts->addr_roles ? opts->addr_roles[i] : NULL,
                           opts->addr_tls ? opts->addr_tls[i] : NULL);
    if (err != KS_OK) {
        ks_http_stop(s, 0);
        return err;
    }
    *ret = s;
    return KS_OK;
}

static void wait_idle(struct ks_http_server *s, int64_t ms)
{
    struct timespec pause = {.tv_nsec = 5 * 1000000l};
    for (int64_t end = ks_mono_ms() + ms; atomic_load(&s->active) && ks_mono_ms() < end;)
        nanosleep(&pause, NULL);
}

void ks_http_stop(struct ks_http_server *s, int64_t grace_ms)
{
    if (!s)
        return;
    atomic_store(&s->stopping, 1);
    int *fds = ks_zalloc_array(s->daemon_count + 1, sizeof *fds);
    for (size_t i = 0; i < s->daemon_count; i++) {
        int fd = MHD_quiesce_daemon(s->daemons[i]);
        if (fds)
            fds[i] = fd;
    }
    wait_idle(s, grace_ms);
    pthread_mutex_lock(&s->watch_lock);
    s->canceling = true;
    for (struct ksi_conn *c = s->watched; c; c = c->watch_next) {
        atomic_store(&c->req.cancel, 1);
        ksi_stream_wake(c);
    }
    pthread_mutex_unlock(&s->watch_lock);
    /* The lanes answer what they hold, so that no connection is left suspended, which the daemon
     * could not stop with. */
    ksi_lanes_stop(s);
    wait_idle(s, 200);
    for (size_t i = 0; i < s->daemon_count; i++) {
        MHD_stop_daemon(s->daemons[i]);
        if (fds && fds[i] >= 0)
            close(fds[i]);
    }
    ks_free(fds);
    ks_free(s->daemons);
    ks_free(s->addrs);
    ksi_lanes_free(s);
    pthread_mutex_destroy(&s->watch_lock);
    ks_free(s);
}

const char *ks_http_scheme(const struct ks_http_server *s, size_t i)
{
    return s->opts.addr_tls && i < s->daemon_count && s->opts.addr_tls[i] ? "https" : "http";
}

const char *ks_http_addr(const struct ks_http_server *s, size_t i)
{
    return i < s->daemon_count ? s->addrs[i] : "";
}

void ks_http_lane_get_stats(struct ks_http_server *s, enum ks_http_lane lane,
                            struct ks_http_lane_stats *ret)
{
    struct ksi_lane *l = &s->lanes[lane];
    pthread_mutex_lock(&l->lock);
    *ret = (struct ks_http_lane_stats){
        .current = l->running, .capacity = l->opts.threads, .queued = l->queued};
    pthread_mutex_unlock(&l->lock);
    ret->limit_reached_total = atomic_load(&l->limit_reached);
    ret->limit_timeout_total = atomic_load(&l->limit_timeout);
}

void ks_http_get_conn_stats(struct ks_http_server *s, struct ks_http_conn_stats *ret)
{
    *ret = (struct ks_http_conn_stats){
        .conns = atomic_load(&s->conns),
        .accepts_total = atomic_load(&s->accepts),
        .requests_total = atomic_load(&s->requests),
        .body_bytes_inflight = atomic_load(&s->body_bytes),
        .read_bytes_total = atomic_load(&s->read_bytes),
        .written_bytes_total = atomic_load(&s->written_bytes),
        .canceled_total = atomic_load(&s->canceled),
    };
}
