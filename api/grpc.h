/*
 * A small gRPC server over nghttp2: methods by path, each bytes in → bytes out. For OTLP's Export
 * calls and Jaeger's query service; TLS ends in a proxy.
 *
 * One network thread owns sockets and HTTP/2 sessions; a call that is complete is run by a worker
 * thread, and its answer goes back through the network thread. Requests are one message (gzip,
 * deflate, zstd or plain), answers any number of them.
 *
 * Bounds: connections, streams per connection, bytes of one message as sent and unpacked, bytes of
 * all requests in flight, calls that wait. Over the last two a call gets UNAVAILABLE with a
 * RetryInfo, which tells clients to come again; a message that is too large RESOURCE_EXHAUSTED
 * without one, which tells them not to.
 */
#ifndef KS_API_GRPC_H
#define KS_API_GRPC_H

#include <stdatomic.h>

#include "api/otlp/otlp.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/labels.h"

struct ks_grpc_server;

enum { KS_GRPC_HEADERS_MAX = 32 };

struct ks_grpc_call {
    struct ks_slice path, request; /* the message, unpacked */
    struct ks_label headers[KS_GRPC_HEADERS_MAX];
    size_t header_count;
    struct ks_tenant tenant; /* from account-id/accountid and projectid headers */
    struct ks_arena arena;
    void *app;
    struct ks_buf out;      /* framed messages: ks_grpc_reply */
    _Atomic int cancel;     /* the client has gone */
    int64_t deadline_us;    /* of ks_mono_us, from grpc-timeout; 0: none */
    enum ks_grpc_code code; /* a method may set it: the status of the error it returns */
};
/*
 * Worker thread. Replies with ks_grpc_reply, any number of times. An error becomes its grpc-status
 * (ks_grpc_code_of) with the error's text.
 */
typedef ks_err (*ks_grpc_fn)(struct ks_grpc_call *call);

struct ks_grpc_method {
    const char *path; /* "/package.Service/Method" */
    ks_grpc_fn fn;
};

struct ks_grpc_opts {
    const char *const *addrs; /* ":4317" */
    size_t addr_count;
    const struct ks_grpc_method *methods; /* static */
    size_t method_count;
    unsigned workers;          /* 0 = 2 per core, at least 4 */
    size_t max_message_bytes;  /* 0 = 64 MiB; as sent and unpacked */
    size_t max_inflight_bytes; /* 0 = 256 MiB */
    size_t max_queued;         /* 0 = 1024 */
    unsigned max_connections;  /* 0 = 1024 */
    int64_t idle_timeout_ms;   /* 0 = 10 min */
    /* False: UNAUTHENTICATED. value: of the authorization header. May be NULL. */
    bool (*authorised)(void *app, struct ks_slice value);
    void *app;
};

KS_NODISCARD ks_err ks_grpc_start(const struct ks_grpc_opts *opts, struct ks_grpc_server **ret);
/* No new calls; running ones get grace_ms. */
void ks_grpc_stop(struct ks_grpc_server *s, int64_t grace_ms);
const char *ks_grpc_addr(const struct ks_grpc_server *s, size_t i);

/* Appends one message to the answer. */
void ks_grpc_reply(struct ks_grpc_call *call, struct ks_slice message);
struct ks_slice ks_grpc_header(const struct ks_grpc_call *call, const char *lower_name);

struct ks_grpc_stats {
    uint64_t connections, calls_total, errors_total, refused_total, queued, inflight_bytes;
};
void ks_grpc_get_stats(struct ks_grpc_server *s, struct ks_grpc_stats *ret);

/*
 * Takes the message out of a request body: 5 bytes of head, then the bytes, which may be packed.
 * For the server and its fuzzer. Errors: KS_EPARSE, KS_ETOOBIG, KS_EUNSUPPORTED, KS_ENOMEM.
 */
KS_NODISCARD ks_err ks_grpc_unframe(struct ks_slice body, struct ks_slice encoding, size_t max,
                                    struct ks_buf *scratch, struct ks_slice *ret);

#endif
