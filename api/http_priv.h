/* Inside of the HTTP server: connection state, lanes, streams. */
#ifndef KS_API_HTTP_PRIV_H
#define KS_API_HTTP_PRIV_H

#include <microhttpd.h>
#include <pthread.h>

#include "api/compress.h"
#include "api/http.h"

enum conn_state { CONN_NEW, CONN_BODY, CONN_QUEUED, CONN_READY, CONN_STREAM };

/* Bytes on their way from a streaming handler to the network thread. */
struct ksi_stream {
    bool active; /* worker: begin was called */
    pthread_mutex_t lock;
    pthread_cond_t space;
    struct ks_buf ready; /* under lock: what the network thread may take */
    size_t taken;        /* under lock: consumed prefix of ready */
    bool ended, failed, client_gone, reader_waits; /* under lock */
    bool flows;                                    /* worker: by ksi_flow, in pieces */
    struct ksi_piece *first, **last, *spares;      /* under lock: to send; sent */
    unsigned spare_count;                          /* under lock */
    struct ks_gzip_stream *gzip;                   /* worker only */
    struct ks_buf packed;                          /* worker only */
};

/* The request first: the server casts back. */
struct ksi_conn {
    struct ks_http_request req;
    struct ks_http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    _Atomic unsigned refs; /* network side 1, worker side 1 */
    enum conn_state state; /* network thread, handed over by suspend/resume */
    bool counted, rejected, truncated;
    size_t reserved_bytes; /* of the body budget */
    size_t answer_bytes;   /* of the answers' budget */
    size_t discarded_bytes;
    struct ks_buf body_buf;
    struct ksi_stream stream;
    int64_t queued_mono_ms;
    uint64_t short_key;                        /* http_short.c; 0 none */
    struct ksi_conn *next;                     /* lane queue */
    struct ksi_conn *watch_next, **watch_prev; /* running selects; under server->watch_lock */
};

/* A worker thread without work. */
struct ksi_idler {
    pthread_cond_t wake;
    bool called;
    struct ksi_idler *next;
};

struct ksi_lane {
    pthread_mutex_t lock;
    struct ksi_idler *idle; /* the one that became idle last first: its memory is still warm */
    struct ksi_conn *head, **tail;
    size_t queued;
    bool stop;
    struct ks_http_lane_opts opts;
    unsigned started, running;
    pthread_t *threads;
    struct ks_http_server *server;
    const char *name;
    _Atomic uint64_t limit_reached, limit_timeout;
};

enum { KSI_SHORT_SLOTS = 4096 };

struct ks_http_server {
    struct ks_http_opts opts;
    struct MHD_Daemon **daemons;
    char (*addrs)[80];
    size_t daemon_count;
    char hostname[256];
    char path_prefix[256];
    struct ksi_lane lanes[KS_LANE_COUNT];
    pthread_mutex_t watch_lock;
    struct ksi_conn *watched;
    bool canceling; /* under watch_lock: the server stops, whoever runs from now on is canceled */
    pthread_t watcher;
    bool watcher_started;
    _Atomic int stopping;
    _Atomic uint64_t shorts[KSI_SHORT_SLOTS]; /* http_short.c */
    _Atomic uint64_t active, body_bytes, answer_bytes, requests, conns, accepts, read_bytes,
        written_bytes, canceled;
};

/* Takes the conn over; KS_EAGAIN when the lane is full (then it was not taken). */
ks_err ksi_lane_submit(struct ksi_lane *l, struct ksi_conn *c);
/* Nobody waits and a worker is free. */
bool ksi_lane_idle(struct ksi_lane *l);
ks_err ksi_lanes_start(struct ks_http_server *s);
void ksi_lanes_stop(struct ks_http_server *s);
void ksi_lanes_free(struct ks_http_server *s);
void ksi_watch_remove(struct ks_http_server *s, struct ksi_conn *c);

void ksi_conn_unref(struct ksi_conn *c);
/* Worker: the answer is complete; wakes the connection. */
void ksi_conn_answer(struct ksi_conn *c);
void ksi_overload(struct ksi_conn *c, int status, const char *why);
/* Worker: compresses resp.body when the client accepts it and it pays. */
void ksi_compress_body(struct ksi_conn *c);
/* Network thread: sends what ksi_conn_answer or stream_begin prepared. */
enum MHD_Result ksi_send(struct ksi_conn *c);
void ksi_stream_init(struct ksi_stream *st);
void ksi_stream_done(struct ksi_stream *st);
void ksi_stream_client_gone(struct ksi_conn *c);
/* A worker that waits for room looks at its cancel flag again. */
void ksi_stream_wake(struct ksi_conn *c);
/* Worker: flushes and ends a stream after the handler returned. */
void ksi_stream_end(struct ksi_conn *c);

/* http_flow.c. Worker: req->flow of requests it runs; the rest of the body, when the handler is
 * done. */
void ksi_flow(struct ks_http_request *req);
void ksi_flow_end(struct ksi_conn *c);
/* Network thread, under the stream's lock: moves at most max bytes out. */
size_t ksi_flow_take(struct ksi_conn *c, char *out, size_t max);
void ksi_flow_done(struct ksi_stream *st);
enum ks_encoding ksi_response_encoding(struct ksi_conn *c);

/* What a request asks, apart from its place in time; 0: it is not to run on the network thread. */
uint64_t ksi_short_key(const struct ksi_conn *c);
bool ksi_is_short(struct ks_http_server *s, uint64_t key);
/* The calling thread's clocks as a request begins, and the µs it took since. */
struct ksi_stopwatch {
    int64_t mono_us, cpu_us;
    long waits;
};
void ksi_stopwatch_start(struct ksi_stopwatch *w, int64_t mono_us);
int64_t ksi_stopwatch_us(const struct ksi_stopwatch *w);
void ksi_short_learn(struct ks_http_server *s, uint64_t key, int64_t us);

/* A listening socket and how it is bound; for other servers of this folder. */
KS_NODISCARD ks_err ksi_http_listen(const char *addr, int *ret_fd, char ret_name[80]);

#endif
