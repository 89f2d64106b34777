#include "api/logs/syslog_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "api/app.h"
#include "api/logs/logs.h"
#include "api/tls.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"

enum {
    CONNS_MAX = 4096, /* of one listener */
    READ_BYTES = 64 << 10,
    DATAGRAM_BYTES = 64 << 10,
    DATAGRAMS = 64, /* of one round */
    EVENTS = 64,
    UNPACKED_MAX = 1 << 20,
    RETRY_MS = 100,
    RECEIVE_BUFFER_BYTES = 4 << 20
};

KS_LOG_PROTOCOL(protocol_tcp, "syslog_tcp");
KS_LOG_PROTOCOL(protocol_udp, "syslog_udp");
KS_LOG_PROTOCOL(protocol_unix, "syslog_unix");
static KS_STAT(stat_errors, "vl_errors_total{type=\"syslog\"}");
/* Both spellings: the peer corrected its own later, dashboards have either. */
static KS_STAT(stat_udp, "vl_udp_requests_total{type=\"syslog\"}");
static KS_STAT(stat_udp_old, "vl_udp_reqests_total{type=\"syslog\"}");
static KS_STAT(stat_udp_errors, "vl_udp_errors_total{type=\"syslog\"}");
static KS_STAT(stat_conns, "vl_tcplistener_accepts_total{name=\"syslog\"}");
static KS_STAT(stat_refused, "vl_tcplistener_errors_total{name=\"syslog\",type=\"limit\"}");
static KS_STAT(stat_long, "vl_too_long_lines_skipped_total{type=\"syslog\"}");
static KS_STAT(stat_shutdown, "vl_rows_dropped_total{reason=\"shutdown\"}");

struct conn {
    int fd;
    struct ks_tls_conn *tls; /* NULL: plain */
    bool ended, touched;     /* in this round */
    bool sending;            /* the handshake waits for room to send */
    struct ks_syslog_framer framer;
    char *buf; /* messages not whole yet */
    size_t len, cap;
    char ip[64];
    struct conn *next, **prev, *touched_next;
};

struct listener {
    struct ks_syslog_server *server;
    struct ks_syslog_listener o;
    struct ks_log_store *store;
    struct ks_log_protocol *protocol;
    struct ks_log_scratch *scratch;
    struct ks_log_ingest in;
    int fd, epoll, wake;
    pthread_t thread;
    bool started;
    size_t max_bytes, conn_count;
    struct conn *conns, *touched;
    struct ks_buf unpacked[DATAGRAMS]; /* live until the round's write */
    char *datagrams;
    char addr[160];
};

struct ks_syslog_server {
    struct ks_app *app;
    _Atomic int stopping;
    size_t count;
    struct listener *list;
};

/* --- sockets --- */
static ks_err bind_ip(struct listener *l)
{
    const char *addr = l->o.addr, *colon = strrchr(addr, ':');
    const char *port = colon ? colon + 1 : addr;
    size_t n = colon ? (size_t)(colon - addr) : 0;
    char host[128] = "";
    bool udp = l->o.kind == KS_SYSLOG_UDP;
    if (n >= 2 && addr[0] == '[')
        snprintf(host, sizeof host, "%.*s", (int)n - 2, addr + 1);
    else
        snprintf(host, sizeof host, "%.*s", (int)n, addr);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = udp ? SOCK_DGRAM : SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int e = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (e)
        return ks_fail(KS_EINVAL, "cannot listen on \"%s\" for syslog: %s", addr, gai_strerror(e));
    int on = 1, saved = 0;
    for (struct addrinfo *a = list; a && l->fd < 0; a = a->ai_next) {
        l->fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (l->fd < 0)
            continue;
        setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(l->fd, a->ai_addr, a->ai_addrlen) != 0) {
            saved = errno;
            close(l->fd);
            l->fd = -1;
        }
    }
    freeaddrinfo(list);
    return l->fd >= 0
               ? KS_OK
               : ks_fail(KS_EIO, "cannot listen on \"%s\" for syslog: %s", addr, strerror(saved));
}

static ks_err bind_path(struct listener *l)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int type = l->o.kind == KS_SYSLOG_UNIX ? SOCK_STREAM : SOCK_DGRAM;
    if (strlen(l->o.addr) >= sizeof un.sun_path)
        return ks_fail(KS_EINVAL, "the path \"%s\" is too long for a socket", l->o.addr);
    snprintf(un.sun_path, sizeof un.sun_path, "%s", l->o.addr);
    l->fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return ks_fail(KS_EIO, "cannot make a socket: %s", strerror(errno));
    /* A socket nobody listens on is one a former process left. */
    int probe = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (probe >= 0) {
        if (connect(probe, (struct sockaddr *)&un, sizeof un) != 0 && errno == ECONNREFUSED)
            unlink(l->o.addr);
        close(probe);
    }
    if (bind(l->fd, (struct sockaddr *)&un, sizeof un) != 0)
        return ks_fail(KS_EIO, "cannot listen on \"%s\" for syslog: %s", l->o.addr,
                       strerror(errno));
    return KS_OK;
}

static bool is_stream(const struct listener *l)
{
    return l->o.kind == KS_SYSLOG_TCP || l->o.kind == KS_SYSLOG_UNIX;
}

static void describe(struct listener *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[64], port[16];
    snprintf(l->addr, sizeof l->addr, "%s", l->o.addr);
    if (l->o.kind > KS_SYSLOG_UDP || getsockname(l->fd, (struct sockaddr *)&ss, &len) != 0)
        return;
    if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(l->addr, sizeof l->addr, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                 port);
}

static ks_err watch(struct listener *l, int fd, void *who)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = who};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) == 0
               ? KS_OK
               : ks_fail(KS_EIO, "epoll: %s", strerror(errno));
}

static ks_err open_listener(struct listener *l)
{
    KS_TRY(l->o.kind <= KS_SYSLOG_UDP ? bind_ip(l) : bind_path(l));
    int bytes = RECEIVE_BUFFER_BYTES;
    if (!is_stream(l))
        setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    else if (listen(l->fd, SOMAXCONN) != 0)
        return ks_fail(KS_EIO, "cannot listen on \"%s\" for syslog: %s", l->o.addr,
                       strerror(errno));
    describe(l);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->wake < 0)
        return ks_fail(KS_EIO, "epoll: %s", strerror(errno));
    KS_TRY(watch(l, l->wake, NULL));
    return watch(l, l->fd, l);
}

/* --- connections --- */
static void conn_free(struct listener *l, struct conn *c)
{
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    l->conn_count--;
    ks_tls_conn_free(c->tls);
    close(c->fd);
    ks_free(c->buf);
    ks_free(c);
}

static struct conn *conn_new(struct listener *l, int fd, const struct sockaddr_storage *ss,
                             socklen_t len)
{
    struct conn *c = ks_zalloc(sizeof *c);
    if (!c)
        return NULL;
    if (l->o.tls && ks_tls_conn_new(l->o.tls, fd, &c->tls) != KS_OK) {
        ks_free(c);
        return NULL;
    }
    c->fd = fd;
    c->framer.max_bytes = l->max_bytes;
    if (l->o.kind == KS_SYSLOG_TCP)
        getnameinfo((const struct sockaddr *)ss, len, c->ip, sizeof c->ip, NULL, 0, NI_NUMERICHOST);
    c->next = l->conns;
    c->prev = &l->conns;
    if (c->next)
        c->next->prev = &c->next;
    l->conns = c;
    l->conn_count++;
    return c;
}

static void accept_all(struct listener *l)
{
    for (;;) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof ss;
        int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct conn *c = l->conn_count < CONNS_MAX ? conn_new(l, fd, &ss, len) : NULL;
        if (!c) {
            ks_stat_add(&stat_refused, 1);
            ks_log_limited(5000, KS_LOG_WARN, "api",
                           "syslog connection refused addr=%s connections=%zu", l->addr,
                           l->conn_count);
            close(fd);
            continue;
        }
        ks_stat_add(&stat_conns, 1);
        if (watch(l, fd, c) != KS_OK)
            conn_free(l, c);
    }
}

static ks_err one_message(struct listener *l, struct ks_slice text, const char *ip)
{
    struct ks_syslog_opts o = l->o.opts;
    o.ip = ks_slice_str(ip);
    return ks_syslog_message(&l->in, text, &o);
}

static void complain(struct listener *l, ks_err err, const char *ip)
{
    if (err == KS_OK)
        return;
    ks_stat_add(&stat_errors, 1);
    ks_log_limited(5000, KS_LOG_ERROR, "api", "syslog: %s addr=%s remote=%s", ks_err_text(),
                   l->addr, ip);
}

/* Decodes what is whole; rows point into the buffer until the round is written. */
static size_t decode(struct listener *l, struct conn *c)
{
    struct ks_slice data = ks_slice(c->buf, c->len), text;
    uint64_t before = c->framer.long_count;
    while (ks_syslog_next(&c->framer, &data, &text))
        complain(l, one_message(l, text, c->ip), c->ip);
    if (c->ended && data.len && !c->framer.skip_bytes) { /* the last line needs no end */
        complain(l, one_message(l, data, c->ip), c->ip);
        data.len = 0;
    }
    ks_stat_add(&stat_long, c->framer.long_count - before);
    return data.len;
}

/* Waits for what the handshake waits for. */
static void watch_tls(struct listener *l, struct conn *c)
{
    bool sending = ks_tls_wants_write(c->tls);
    if (sending == c->sending)
        return;
    struct epoll_event ev = {.events = sending ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    c->sending = sending;
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &ev) != 0)
        c->ended = true;
}

/* As read(2); what fails is told and is the end. */
static ssize_t read_tls(struct listener *l, struct conn *c, char *buf, size_t room)
{
    ssize_t n = ks_tls_read(c->tls, buf, room, &c->ended);
    if (n >= 0)
        return n;
    if (errno == EAGAIN) {
        watch_tls(l, c);
        return c->ended ? 0 : -1;
    }
    complain(l, KS_EINVAL, c->ip);
    return 0;
}

/* True when something came or the connection ended. */
static bool receive(struct listener *l, struct conn *c)
{
    size_t limit = l->max_bytes + READ_BYTES;
    size_t room = c->len + READ_BYTES <= limit ? READ_BYTES : limit - c->len;
    if (ks_array_reserve((void **)&c->buf, &c->cap, c->len + room, 1) != KS_OK)
        return false;
    ssize_t n = c->tls ? read_tls(l, c, c->buf + c->len, room) : read(c->fd, c->buf + c->len, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    c->ended |= n <= 0;
    c->len += n > 0 ? (size_t)n : 0;
    return true;
}

/* --- rounds --- */
static void begin_round(struct listener *l)
{
    struct ks_log_ingest *in = &l->in;
    ks_log_ingest_init(in, l->server->app, l->scratch, l->protocol, &l->o.params);
    in->store = l->store;
    in->source = l->addr;
    in->hold = true;
}

/*
 * Writes the round, again and again while the store is full or the disk is: nothing more is read
 * meanwhile. Rows are given up only when the server stops.
 */
static void end_round(struct listener *l)
{
    struct ks_log_ingest *in = &l->in;
    ks_err err;
    while ((err = ks_log_write_held(in)) != KS_OK) {
        struct timespec pause = {.tv_nsec = RETRY_MS * 1000000l};
        ks_log_limited(5000, KS_LOG_WARN, "api", "syslog rows wait: %s rows=%zu addr=%s",
                       ks_err_text(), in->batch->row_count, l->addr);
        if (atomic_load(&l->server->stopping) || err == KS_ECLOSED) {
            ks_stat_add(&stat_shutdown, in->batch->row_count);
            return;
        }
        nanosleep(&pause, NULL);
    }
}

static void touch(struct listener *l, struct conn *c)
{
    if (c->touched || !receive(l, c))
        return;
    c->touched = true;
    c->touched_next = l->touched;
    l->touched = c;
}

static void stream_round(struct listener *l)
{
    begin_round(l);
    for (struct conn *c = l->touched; c; c = c->touched_next) {
        size_t left = decode(l, c);
        c->framer.kept = left;
    }
    end_round(l);
    for (struct conn *c = l->touched, *next; c; c = next) {
        next = c->touched_next;
        c->touched = false;
        size_t left = c->framer.kept;
        if (c->ended) {
            conn_free(l, c);
            continue;
        }
        memmove(c->buf, c->buf + c->len - left, left);
        c->len = left;
        if (!left && c->cap > READ_BYTES) { /* idle connections hold little */
            ks_free(c->buf);
            c->buf = NULL;
            c->cap = 0;
        }
    }
    l->touched = NULL;
}

static void datagram(struct listener *l, size_t i, size_t n, const char *ip)
{
    struct ks_slice data = ks_slice(l->datagrams + i * DATAGRAM_BYTES, n), text;
    ks_stat_add(&stat_udp, 1);
    ks_stat_add(&stat_udp_old, 1);
    if (l->o.encoding != KS_ENC_NONE) {
        ks_buf_reset(&l->unpacked[i]);
        ks_err err = ks_decompress(l->o.encoding, data, UNPACKED_MAX, &l->unpacked[i]);
        if (err != KS_OK) {
            ks_stat_add(&stat_udp_errors, 1);
            complain(l, err, ip);
            return;
        }
        data = ks_buf_view(&l->unpacked[i]);
    }
    while (ks_syslog_next_datagram(&data, &text))
        complain(l, one_message(l, text, ip), ip);
}

static void datagram_round(struct listener *l)
{
    char ips[DATAGRAMS][64];
    begin_round(l);
    for (size_t i = 0; i < DATAGRAMS; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof ss;
        ssize_t n = recvfrom(l->fd, l->datagrams + i * DATAGRAM_BYTES, DATAGRAM_BYTES, 0,
                             (struct sockaddr *)&ss, &len);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                ks_stat_add(&stat_udp_errors, 1);
            break;
        }
        ips[i][0] = 0;
        if (l->o.kind == KS_SYSLOG_UDP && l->o.opts.remote_ip)
            getnameinfo((struct sockaddr *)&ss, len, ips[i], sizeof ips[i], NULL, 0,
                        NI_NUMERICHOST);
        datagram(l, i, (size_t)n, ips[i]);
    }
    end_round(l);
}

static void *listen_thread(void *arg)
{
    struct listener *l = arg;
    struct epoll_event events[EVENTS];
    while (!atomic_load(&l->server->stopping)) {
        int n = epoll_wait(l->epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                continue; /* woken to stop */
            if (events[i].data.ptr != l)
                touch(l, events[i].data.ptr);
            else if (is_stream(l))
                accept_all(l);
            else
                datagram_round(l);
        }
        if (l->touched)
            stream_round(l);
    }
    /* What the kernel has taken already is acknowledged to nobody, but need not be lost. */
    for (struct conn *c = l->conns; c; c = c->next)
        touch(l, c);
    if (l->touched)
        stream_round(l);
    return NULL;
}

/* --- starting and stopping --- */
static void done(struct listener *l)
{
    while (l->conns)
        conn_free(l, l->conns);
    if (l->fd >= 0)
        close(l->fd);
    if (l->addr[0] && l->o.kind > KS_SYSLOG_UDP) /* bound by us */
        unlink(l->o.addr);
    if (l->epoll >= 0)
        close(l->epoll);
    if (l->wake >= 0)
        close(l->wake);
    for (size_t i = 0; i < DATAGRAMS; i++)
        ks_buf_done(&l->unpacked[i]);
    ks_free(l->datagrams);
    ks_log_scratch_free(l->scratch);
}

static ks_err start(struct ks_syslog_server *s, struct listener *l)
{
    static struct ks_log_protocol *const protocols[] = {&protocol_tcp, &protocol_udp,
                                                        &protocol_unix, &protocol_unix};
    const struct ks_log_config *cfg = &s->app->cfg.logs;
    const char *name = l->o.store ? l->o.store : "logs";
    l->server = s;
    l->protocol = protocols[l->o.kind];
    l->max_bytes = cfg->max_line_bytes ? cfg->max_line_bytes : KS_LOG_LINE_BYTES;
    l->store = s->app->logs ? ks_logs_store(s->app->logs, ks_slice_str(name)) : NULL;
    if (!l->store)
        return ks_fail(KS_EINVAL, "syslog on \"%s\": there is no log store \"%s\"", l->o.addr,
                       name);
    for (size_t i = 0; i < DATAGRAMS; i++)
        ks_buf_init(&l->unpacked[i], UNPACKED_MAX);
    KS_TRY(ks_log_scratch_new(&l->scratch));
    if (!is_stream(l) && !(l->datagrams = ks_alloc((size_t)DATAGRAMS * DATAGRAM_BYTES)))
        return KS_ENOMEM;
    KS_TRY(open_listener(l));
    if (pthread_create(&l->thread, NULL, listen_thread, l) != 0)
        return ks_fail(KS_ENOMEM, "cannot start a thread for syslog");
    l->started = true;
    return KS_OK;
}

ks_err ks_syslog_start(struct ks_app *app, const struct ks_syslog_listener *list, size_t count,
                       struct ks_syslog_server **ret)
{
    struct ks_syslog_server *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->app = app;
    s->list = ks_zalloc_array(count ? count : 1, sizeof *s->list);
    ks_err err = s->list ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; err == KS_OK && i < count; i++) {
        s->list[i].o = list[i];
        s->list[i].fd = s->list[i].epoll = s->list[i].wake = -1;
        s->count++;
        err = start(s, &s->list[i]);
    }
    if (err != KS_OK) {
        ks_syslog_stop(s);
        return err;
    }
    *ret = s;
    return KS_OK;
}

void ks_syslog_stop(struct ks_syslog_server *s)
{
    uint64_t one = 1;
    if (!s)
        return;
    atomic_store(&s->stopping, 1);
    for (size_t i = 0; i < s->count; i++)
        if (s->list[i].started && write(s->list[i].wake, &one, sizeof one) < 0)
            ks_log(KS_LOG_ERROR, "api", "syslog: cannot wake a listener");
    for (size_t i = 0; i < s->count; i++) {
        if (s->list[i].started)
            pthread_join(s->list[i].thread, NULL);
        done(&s->list[i]);
    }
    ks_free(s->list);
    ks_free(s);
}

const char *ks_syslog_addr(const struct ks_syslog_server *s, size_t i)
{
    return s && i < s->count ? s->list[i].addr : "";
}
