/* Inside of the gRPC server: connections (grpc_conn.c) and threads (grpc.c). */
#ifndef KS_API_GRPC_PRIV_H
#define KS_API_GRPC_PRIV_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>

#include "api/grpc.h"

/* A call from its first header to its last byte. */
struct ksi_grpc_stream {
    struct ks_grpc_call call; /* first: the server casts back */
    struct ksi_grpc_conn *conn;
    int32_t id;
    struct ks_buf body, unpacked;
    size_t reserved; /* of the bytes in flight */
    bool too_large, refused, queued, not_grpc, has_type, done;
    enum ks_grpc_code code;
    char message[256];
    bool retry;
    size_t sent;                                    /* of call.out */
    struct ksi_grpc_stream *next;                   /* in the queue or the list of answers */
    struct ksi_grpc_stream *list_next, **list_prev; /* of the connection's */
};

struct ksi_grpc_conn {
    struct ks_grpc_server *server;
    int fd;
    nghttp2_session *session;
    _Atomic unsigned refs; /* network side, and one per call at work */
    bool dead, want_write;
    int64_t seen_mono_ms;
    struct ksi_grpc_stream *streams;
    struct ksi_grpc_conn *next, **prev;
    const uint8_t *out; /* what nghttp2 wants sent, not yet taken by the socket */
    size_t out_len;
};

struct ks_grpc_server {
    struct ks_grpc_opts opts;
    struct ks_grpc_method *methods;
    int *listen_fds;
    char (*addrs)[80];
    size_t listen_count;
    int epoll, wake; /* wake: an eventfd */
    pthread_t io;
    bool io_started;
    pthread_t *workers;
    unsigned worker_count;
    struct ksi_grpc_conn *conns;
    unsigned conn_count;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct ksi_grpc_stream *queue, **queue_tail; /* under lock */
    struct ksi_grpc_stream *answers;             /* under lock: back to the network thread */
    size_t queued;
    bool stop_workers;
    _Atomic int stopping;
    _Atomic uint64_t inflight, running, calls, errors, refused, conn_stat;
};

/* grpc_conn.c; network thread. */
ks_err ksi_grpc_conn_new(struct ks_grpc_server *s, int fd, struct ksi_grpc_conn **ret);
void ksi_grpc_conn_unref(struct ksi_grpc_conn *c);
/* Reads and writes what the socket allows; false: the connection is over. */
bool ksi_grpc_conn_io(struct ksi_grpc_conn *c, bool readable);
/* Submits the answer of a call that is done. */
void ksi_grpc_conn_answer(struct ksi_grpc_stream *st);
void ksi_grpc_stream_free(struct ksi_grpc_stream *st);
void ksi_grpc_conn_close(struct ksi_grpc_conn *c);

/* grpc.c */
/* The request is complete: to the workers, or refused at once (then false; the answer is set). */
bool ksi_grpc_submit(struct ksi_grpc_stream *st);

#endif
