/*
 * The HTTP/1.1 server. One epoll thread per core reads requests; a finished request waits in a
 * bounded queue ("lane") of its kind and is answered by a worker thread, while its connection is
 * suspended. So slow queries cannot hold up writes, and neither holds up health checks.
 *
 * Life of a request: headers → opts.route() on the network thread picks lane and body limit → body
 * → lane → opts.handle() on a worker → response. A request object belongs to its worker from
 * dequeue until handle() returns.
 *
 * Every queue has a maximum length and waiting time; beyond them the client gets the lane's
 * overload answer. All bodies in flight share one byte budget.
 */
#ifndef KS_API_HTTP_H
#define KS_API_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/labels.h"
#include "base/slice.h"

struct ks_http_server;
struct ks_tls;
struct ks_http_request;

/* DIRECT answers on the network thread: for handlers that never wait. */
/* EXPORT: long streams at their clients' pace, which must not hold the workers of queries. */
enum ks_http_lane {
    KS_LANE_DIRECT,
    KS_LANE_INSERT,
    KS_LANE_SELECT,
    KS_LANE_EXPORT,
    KS_LANE_OPS,
    KS_LANE_COUNT
};

enum ks_http_method { KS_GET, KS_POST, KS_PUT, KS_DELETE, KS_HEAD, KS_OPTIONS, KS_METHOD_OTHER };
#define KS_METHODS_READ ((1u << KS_GET) | (1u << KS_POST) | (1u << KS_HEAD))
#define KS_METHODS_ANY  (~0u)

/* Which set of listeners a request came by: some have routes of their own. */
enum ks_listener {
    KS_LISTEN_MAIN,
    KS_LISTEN_OTLP,
    KS_LISTEN_JAEGER,
    KS_LISTEN_ZIPKIN,
    KS_LISTEN_JAEGER_THRIFT,
    KS_LISTEN_COUNT
};

struct ks_http_arg {
    struct ks_slice name, value;
    bool in_body; /* from a form body, not from the URL */
};
struct ks_http_header {
    struct ks_slice name, value;
};

struct ks_http_response {
    int status;               /* 0 counts as 200 */
    const char *content_type; /* static text; NULL = text/plain; charset=utf-8 */
    struct ks_buf body;
    struct ks_http_header extra[8]; /* static or arena text */
    size_t extra_count;
    bool precompressed; /* leave the body as it is */
};

#define KS_PATH_SEGMENTS_MAX 16

struct ks_route;
struct ks_http_request {
    enum ks_http_method method;
    struct ks_slice path; /* decoded, double slashes collapsed, prefix removed; NUL behind */
    struct ks_http_arg *args;
    size_t arg_count, arg_cap;
    struct ks_http_header *headers;
    size_t header_count, header_cap;
    struct ks_slice body;
    struct ks_slice remote_addr;
    struct ks_arena arena; /* lives as long as the request */

    /* Set by the router. */
    const struct ks_route *route;
    struct ks_slice suffix; /* the path behind tenant and optional "prometheus/" */
    struct ks_slice param;  /* what {name} or * of the route matched */
    struct ks_tenant tenant;
    const char *role;      /* of the listener it came in by; NULL: no limits */
    struct ks_slice store; /* of logs: by path or listener; empty = the default */
    bool multitenant;
    bool strict;       /* Prometheus' dialect and words (see router.h) */
    bool cluster_form; /* /insert|select|delete/<tenant>/…: envelopes carry isPartial */
    enum ks_http_lane lane;
    enum ks_listener listener;
    bool whole;            /* answers in one piece: on the network thread, once known to be short */
    bool tried;            /* first on the network thread: the handler knows what is long */
    size_t max_body_bytes; /* 0 = the server's default */

    struct ks_http_response resp;
    bool may_defer, deferred;   /* see ks_http_defer */
    _Atomic int cancel;         /* set when the client has gone or the server stops */
    int64_t start_mono_us;      /* when the worker took it */
    struct ks_scratch *scratch; /* the worker's reusable buffers */
    void *app;
    void (*flow)(struct ks_http_request *req); /* ks_http_flow; NULL: the answer stays whole */
};

/* How many run at once, how many and how long they may wait, and the answer beyond. */
struct ks_http_lane_opts {
    unsigned threads;
    size_t max_queued;
    int64_t max_wait_ms;
    int overload_status; /* 429 adds Retry-After: 10; so does 503 */
};

struct ks_http_opts {
    const char *const *addrs; /* ":8428", "127.0.0.1:0", "[::1]:80" */
    size_t addr_count;
    const char *const *addr_roles;  /* may be NULL; per address, NULL for all there is (router.h) */
    struct ks_tls *const *addr_tls; /* may be NULL; per address, NULL for plain; api/tls.h */
    unsigned io_threads;            /* per address; 0 = cores */
    size_t max_body_bytes;          /* one body */
    size_t max_inflight_body_bytes; /* all of them */
    size_t max_inflight_answer_bytes; /* of large answers waiting for their clients; 0 = no limit */
    size_t max_arena_bytes;           /* per request */
    int64_t idle_timeout_ms;          /* keep-alive; 0 = 120 s */
    const char *path_prefix;          /* may be NULL */
    bool compress_responses, cors;
    struct ks_http_lane_opts lanes[KS_LANE_COUNT];
    /* Network thread, headers only: sets lane, limits and route; an error or a filled resp.status
     * answers at once. */
    void (*route)(struct ks_http_request *req);
    /* Worker, or the network thread: with DIRECT, when `tried`, and when `whole` and short of late.
     * Then req->scratch is NULL. */
    void (*handle)(struct ks_http_request *req);
    void *app;
    enum ks_listener listener;
};

KS_NODISCARD ks_err ks_http_start(const struct ks_http_opts *opts, struct ks_http_server **ret);
/* Stops accepting, lets running requests finish for grace_ms, then cancels them, and frees the
 * server. */
void ks_http_stop(struct ks_http_server *s, int64_t grace_ms);
/* "127.0.0.1:39641" as bound; valid while the server lives. */
const char *ks_http_addr(const struct ks_http_server *s, size_t i);
const char *ks_http_scheme(const struct ks_http_server *s, size_t i); /* "http" or "https" */

struct ks_http_lane_stats {
    uint64_t current, capacity, queued, limit_reached_total, limit_timeout_total;
};
void ks_http_lane_get_stats(struct ks_http_server *s, enum ks_http_lane lane,
                            struct ks_http_lane_stats *ret);
struct ks_http_conn_stats {
    uint64_t conns, accepts_total, requests_total, body_bytes_inflight, read_bytes_total,
        written_bytes_total;
    uint64_t canceled_total;
};
void ks_http_get_conn_stats(struct ks_http_server *s, struct ks_http_conn_stats *ret);

/* --- reading a request --- */
/* Header value by name (any case), empty when absent. */
struct ks_slice ks_http_header(const struct ks_http_request *req, const char *name);
/* First value of an argument: form body before URL; ptr NULL when absent. */
struct ks_slice ks_http_arg(const struct ks_http_request *req, const char *name);
/* Adds the form body's arguments (Content-Type application/x-www-form-urlencoded). Once per
 * request. */
KS_NODISCARD ks_err ks_http_parse_form(struct ks_http_request *req);
/* VictoriaMetrics' reading of booleans: "", 0, f, false, no are false. */
bool ks_http_arg_bool(const struct ks_http_request *req, const char *name);
/* Absent or empty gives fallback. Errors name the argument. */
KS_NODISCARD ks_err ks_http_arg_time_ms(const struct ks_http_request *req, const char *name,
                                        int64_t fallback, int64_t *ret_ms);
KS_NODISCARD ks_err ks_http_arg_duration_ms(const struct ks_http_request *req, const char *name,
                                            int64_t fallback, int64_t *ret_ms);
KS_NODISCARD ks_err ks_http_arg_i64(const struct ks_http_request *req, const char *name,
                                    int64_t fallback, int64_t *ret);

/* Parses "a=b&c=d" (percent and plus decoding) onto req->args. Malformed escapes are kept as they
 * are. */
KS_NODISCARD ks_err ks_http_parse_args(struct ks_http_request *req, struct ks_slice text,
                                       bool in_body);
/* Sets path and URL args from a raw request target. For the server, tests and the fuzzer. */
KS_NODISCARD ks_err ks_http_parse_target(struct ks_http_request *req, const char *target,
                                         const char *path_prefix);
void ks_http_request_init(struct ks_http_request *req, size_t max_arena_bytes);
void ks_http_request_done(struct ks_http_request *req);

/* --- answering --- */
void ks_http_add_header(struct ks_http_request *req, const char *name, struct ks_slice value);
/* A plain-text answer; replaces what the body held. */
void ks_http_text(struct ks_http_request *req, int status, const char *fmt, ...) KS_PRINTF(3, 4);

/*
 * Streaming: begin sends status and headers, write hands over bytes (waiting while the client is
 * slow), and the end comes when the handler returns. The server compresses. After begin, resp.body
 * is not used. KS_ECANCELED: the client has gone.
 */
KS_NODISCARD ks_err ks_http_stream_begin(struct ks_http_request *req);
KS_NODISCARD ks_err ks_http_stream_write(struct ks_http_request *req, struct ks_slice bytes);
/* Marks the stream as broken: the text is appended, then the connection is cut so that the client
 * sees the failure. */
void ks_http_stream_fail(struct ks_http_request *req, const char *text);
bool ks_http_streaming(const struct ks_http_request *req);

/*
 * A handler of a `tried` request sees that there is much to do, and has answered nothing yet. True:
 * it returns KS_OK, and is called again on a worker. False: it runs on one.
 */
static inline bool ks_http_defer(struct ks_http_request *req)
{
    req->deferred = req->may_defer;
    return req->deferred;
}

enum { KS_HTTP_FLOW_BYTES = 256 << 10 };
/*
 * For writers of answers that may be large, now and then while they add to resp.body, status and
 * headers being final: sends what it holds, once that is much, and empties it (api/http_flow.c). No
 * more errors can be answered then. Never waits for the client.
 */
static inline void ks_http_flow(struct ks_http_request *req)
{
    if (req->resp.body.len >= KS_HTTP_FLOW_BYTES && req->flow)
        req->flow(req);
}

#endif
