/* One HTTP/2 connection of the gRPC server: frames, headers, bodies, answers. Network thread. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/compress.h"
#include "api/grpc_priv.h"
#include "base/base64.h"
#include "base/bytes.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"
#include "sys/clock.h"

enum {
    STREAMS_MAX = 128,
    WINDOW_BYTES = 1 << 20,
    CONN_WINDOW_BYTES = 16 << 20,
    HEADER_BYTES_MAX = 8 << 10,
    ARENA_BYTES = 64 << 20,
    ANSWER_BYTES_MAX = 256 << 20,
    READ_BYTES = 64 << 10,
    RETRY_SECONDS = 5
};

/* --- messages --- */
ks_err ks_grpc_unframe(struct ks_slice body, struct ks_slice encoding, size_t max,
                       struct ks_buf *scratch, struct ks_slice *ret)
{
    if (body.len < 5)
        return ks_fail(KS_EPARSE, "the request has no message");
    uint32_t len = ks_be32(body.ptr + 1);
    bool packed = body.ptr[0] != 0;
    if (len != body.len - 5)
        return ks_fail(KS_EPARSE, "want one message of %zu bytes, its head says %u", body.len - 5,
                       len);
    *ret = ks_slice_from(body, 5);
    if (!packed)
        return KS_OK;
    enum ks_encoding enc = ks_encoding_of(encoding);
    if (enc == KS_ENC_NONE || enc == KS_ENC_UNKNOWN)
        return ks_fail(KS_EUNSUPPORTED, "grpc-encoding \"%.*s\": want gzip, deflate or zstd",
                       KS_SLICE_ARG(encoding));
    ks_buf_reset(scratch);
    KS_TRY(ks_decompress(enc, *ret, max, scratch));
    *ret = ks_buf_view(scratch);
    return KS_OK;
}

void ks_grpc_reply(struct ks_grpc_call *call, struct ks_slice message)
{
    char head[5] = {0};
    ks_put_be32(head + 1, (uint32_t)message.len);
    ks_buf_add(&call->out, head, sizeof head);
    ks_buf_slice(&call->out, message);
}

struct ks_slice ks_grpc_header(const struct ks_grpc_call *call, const char *lower_name)
{
    for (size_t i = 0; i < call->header_count; i++)
        if (ks_slice_is(call->headers[i].name, lower_name))
            return call->headers[i].value;
    return ks_slice("", 0);
}

/* --- streams --- */
void ksi_grpc_stream_free(struct ksi_grpc_stream *st)
{
    atomic_fetch_sub(&st->conn->server->inflight, st->reserved);
    ks_buf_done(&st->body);
    ks_buf_done(&st->unpacked);
    ks_buf_done(&st->call.out);
    ks_arena_done(&st->call.arena);
    ks_free(st);
}

static struct ksi_grpc_stream *stream_new(struct ksi_grpc_conn *c, int32_t id)
{
    struct ksi_grpc_stream *st = ks_zalloc(sizeof *st);
    if (!st)
        return NULL;
    st->conn = c;
    st->id = id;
    ks_buf_init(&st->body, c->server->opts.max_message_bytes + 5);
    ks_buf_init(&st->unpacked, c->server->opts.max_message_bytes + 1);
    ks_buf_init(&st->call.out, ANSWER_BYTES_MAX);
    ks_arena_init(&st->call.arena, ARENA_BYTES);
    st->call.app = c->server->opts.app;
    st->list_next = c->streams;
    st->list_prev = &c->streams;
    if (c->streams)
        c->streams->list_prev = &st->list_next;
    c->streams = st;
    return st;
}

static void unlist(struct ksi_grpc_stream *st)
{
    *st->list_prev = st->list_next;
    if (st->list_next)
        st->list_next->list_prev = st->list_prev;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct ksi_grpc_stream *st = stream_new(arg, frame->hd.stream_id);
    if (!st)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, st);
}

static bool parse_u32(struct ks_slice s, uint32_t *ret)
{
    uint64_t v;
    if (!ks_u64_parse(s, &v) || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* grpc-timeout: up to 8 digits and a unit. What is not of that form is no limit. */
static int64_t deadline_of(struct ks_slice v)
{
    static const char units[] = "numSMH";
    static const int64_t us[] = {0, 1, 1000, 1000000, 60000000, 3600000000};
    uint64_t n;
    const char *unit = v.len > 1 && v.len < 10 ? memchr(units, v.ptr[v.len - 1], 6) : NULL;
    if (!unit || !ks_u64_parse(ks_slice(v.ptr, v.len - 1), &n))
        return 0;
    return ks_mono_us() + (*unit == 'n' ? (int64_t)n / 1000 : (int64_t)n * us[unit - units]);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct ksi_grpc_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!st || st->queued)
        return 0;
    struct ks_grpc_call *call = &st->call;
    struct ks_slice n = ks_slice(name, name_len), v = ks_slice(value, value_len);
    if (ks_slice_is(n, "content-type")) {
        st->has_type = true;
        st->not_grpc = !ks_slice_has_prefix(v, KS_SLICE_LIT("application/grpc"));
    }
    if (call->header_count == KS_GRPC_HEADERS_MAX)
        return 0;
    struct ks_label *h = &call->headers[call->header_count];
    *h = (struct ks_label){ks_arena_dup(&call->arena, n), ks_arena_dup(&call->arena, v)};
    if (!h->name.ptr || !h->value.ptr)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    call->header_count++;
    if (ks_slice_is(n, ":path"))
        call->path = h->value;
    if (ks_slice_is(n, "grpc-timeout"))
        call->deadline_us = deadline_of(v);
    if (ks_slice_is(n, "accountid") && !parse_u32(v, &call->tenant.account))
        st->refused = true;
    if (ks_slice_is(n, "projectid") && !parse_u32(v, &call->tenant.project))
        st->refused = true;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct ksi_grpc_stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (!st || st->too_large || st->queued)
        return 0;
    if (st->body.len + len > st->conn->server->opts.max_message_bytes + 5) {
        st->too_large = true;
        ks_buf_done(&st->body);
        ks_buf_init(&st->body, 5);
        return 0;
    }
    struct ks_grpc_server *s = st->conn->server;
    st->reserved += len;
    if (atomic_fetch_add(&s->inflight, len) + len > s->opts.max_inflight_bytes) {
        st->retry = true; /* answered when the request ends */
        return 0;
    }
    ks_buf_add(&st->body, data, len);
    return 0;
}

/* --- answers --- */
static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct ksi_grpc_stream *st = source->ptr;
    size_t n = st->call.out.len - st->sent;
    n = n < len ? n : len;
    if (n)
        memcpy(buf, st->call.out.ptr + st->sent, n);
    st->sent += n;
    if (st->sent == st->call.out.len) {
        char code[12];
        size_t digits = ks_u64_format(code, st->code);
        nghttp2_nv trailer[] = {{(uint8_t *)"grpc-status", (uint8_t *)code, 11, digits, 0}};
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, trailer, 1) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

/* grpc-message: what is not printable ASCII is percent-encoded. */
static size_t percent_encode(const char *in, char *out, size_t max)
{
    size_t n = 0;
    for (; *in && n + 4 < max; in++) {
        unsigned char c = (unsigned char)*in;
        if (c >= 0x20 && c < 0x7f && c != '%') {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = ks_hex_upper(c >> 4);
            out[n++] = ks_hex_upper(c);
        }
    }
    return n;
}

/* google.rpc.Status with a RetryInfo, base64 without padding. */
static void retry_details(const struct ksi_grpc_stream *st, struct ks_buf *out)
{
    static const char url[] = "type.googleapis.com/google.rpc.RetryInfo";
    const char info[] = {0x0a, 0x02, 0x08, RETRY_SECONDS}; /* retry_delay { seconds } */
    struct ks_buf any, status;
    ks_buf_init(&any, 256);
    ks_buf_init(&status, 1024);
    ks_buf_byte(&any, 0x0a);
    ks_buf_lp(&any, ks_slice(url, sizeof url - 1));
    ks_buf_byte(&any, 0x12);
    ks_buf_lp(&any, ks_slice(info, sizeof info));
    ks_otlp_status(&status, false, st->code, ks_slice_str(st->message));
    ks_buf_byte(&status, 0x1a);
    ks_buf_lp(&status, ks_buf_view(&any));
    ks_base64_encode(ks_buf_view(&status), out);
    while (out->len && out->ptr[out->len - 1] == '=')
        out->len--;
    ks_buf_done(&any);
    ks_buf_done(&status);
}

#define NV(name, text, len)                                                                        \
    (nghttp2_nv)                                                                                   \
    {                                                                                              \
        (uint8_t *)(name), (uint8_t *)(text), sizeof(name) - 1, (len), 0                           \
    }

/* Errors are headers alone. */
static int submit_error(struct ksi_grpc_stream *st)
{
    char code[12], message[3 * sizeof st->message + 8];
    size_t code_len = ks_u64_format(code, st->code);
    size_t message_len = percent_encode(st->message, message, sizeof message);
    struct ks_buf details;
    ks_buf_init(&details, 4096);
    nghttp2_nv nv[5] = {NV(":status", "200", 3), NV("content-type", "application/grpc", 16),
                        NV("grpc-status", code, code_len),
                        NV("grpc-message", message, message_len)};
    size_t n = 4;
    if (st->retry) {
        retry_details(st, &details);
        nv[n++] = NV("grpc-status-details-bin", details.ptr, details.len);
    }
    int rc = nghttp2_submit_response(st->conn->session, st->id, nv, n, NULL);
    ks_buf_done(&details);
    return rc;
}

void ksi_grpc_conn_answer(struct ksi_grpc_stream *st)
{
    struct ksi_grpc_conn *c = st->conn;
    int rc;
    st->done = true;
    if (st->not_grpc) {
        nghttp2_nv nv[] = {NV(":status", "415", 3)};
        rc = nghttp2_submit_response(c->session, st->id, nv, 1, NULL);
    } else if (st->code != KS_GRPC_OK) {
        atomic_fetch_add(&c->server->errors, 1);
        rc = submit_error(st);
    } else {
        nghttp2_nv nv[] = {NV(":status", "200", 3), NV("content-type", "application/grpc", 16)};
        nghttp2_data_provider body = {{.ptr = st}, read_answer};
        rc = nghttp2_submit_response(c->session, st->id, nv, 2, &body);
    }
    if (rc != 0)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, st->id,
                                        NGHTTP2_INTERNAL_ERROR);
}

static void fail(struct ksi_grpc_stream *st, enum ks_grpc_code code, const char *text)
{
    st->code = code;
    snprintf(st->message, sizeof st->message, "%s", text);
}

/* The request is in: judge what needs no worker, hand over the rest. */
static void complete(struct ksi_grpc_stream *st)
{
    struct ks_grpc_server *s = st->conn->server;
    atomic_fetch_add(&s->calls, 1);
    if (!st->has_type)
        st->not_grpc = true;
    if (st->too_large)
        fail(st, KS_GRPC_RESOURCE_EXHAUSTED, "the message is larger than the server takes");
    else if (st->retry || ks_buf_status(&st->body) != KS_OK)
        fail(st, KS_GRPC_UNAVAILABLE, "too many request bytes in flight; try again");
    else if (st->refused)
        fail(st, KS_GRPC_INVALID_ARGUMENT, "accountid and projectid must be numbers below 2^32");
    else if (s->opts.authorised &&
             !s->opts.authorised(s->opts.app, ks_grpc_header(&st->call, "authorization")))
        fail(st, KS_GRPC_UNAUTHENTICATED, "unauthorized");
    if (st->not_grpc || st->code != KS_GRPC_OK || !ksi_grpc_submit(st))
        ksi_grpc_conn_answer(st);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
                (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS);
    struct ksi_grpc_stream *st =
        ends ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    if (st && !st->queued && !st->done)
        complete(st);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct ksi_grpc_stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (!st)
        return 0;
    unlist(st);
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (st->queued && !st->done) { /* at work: whoever brings the answer frees it */
        atomic_store(&st->call.cancel, 1);
        st->id = -1;
        return 0;
    }
    ksi_grpc_stream_free(st);
    return 0;
}

/* --- connections --- */
ks_err ksi_grpc_conn_new(struct ks_grpc_server *s, int fd, struct ksi_grpc_conn **ret)
{
    struct ksi_grpc_conn *c = ks_zalloc(sizeof *c);
    nghttp2_session_callbacks *cb;
    if (!c)
        return KS_ENOMEM;
    c->server = s;
    c->fd = fd;
    c->seen_mono_ms = ks_mono_ms();
    atomic_store(&c->refs, 1);
    if (nghttp2_session_callbacks_new(&cb) != 0) {
        ks_free(c);
        return KS_ENOMEM;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    int rc = nghttp2_session_server_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    if (rc != 0) {
        ks_free(c);
        return ks_fail(KS_ENOMEM, "nghttp2: %s", nghttp2_strerror(rc));
    }
    nghttp2_settings_entry iv[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX},
    };
    (void)nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 3);
    (void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                CONN_WINDOW_BYTES);
    *ret = c;
    return KS_OK;
}

/* Calls at work lose their connection: their answers are thrown away. */
void ksi_grpc_conn_close(struct ksi_grpc_conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    for (struct ksi_grpc_stream *st = c->streams, *next; st; st = next) {
        next = st->list_next;
        if (st->queued && !st->done) {
            atomic_store(&st->call.cancel, 1);
            st->id = -1;
        } else {
            ksi_grpc_stream_free(st);
        }
    }
    c->streams = NULL;
    nghttp2_session_del(c->session); /* no callback sees the streams any more */
    c->session = NULL;
    close(c->fd);
    c->fd = -1;
    ksi_grpc_conn_unref(c);
}

void ksi_grpc_conn_unref(struct ksi_grpc_conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1)
        ks_free(c);
}

static bool flush(struct ksi_grpc_conn *c)
{
    for (;;) {
        if (!c->out_len) {
            ssize_t n = nghttp2_session_mem_send(c->session, &c->out);
            if (n < 0)
                return false;
            if (n == 0)
                return true;
            c->out_len = (size_t)n;
        }
        ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (sent < 0) {
            c->want_write = errno == EAGAIN || errno == EWOULDBLOCK;
            return c->want_write || errno == EINTR;
        }
        c->out += sent;
        c->out_len -= (size_t)sent;
        c->want_write = c->out_len != 0;
    }
}

static bool receive(struct ksi_grpc_conn *c)
{
    static _Thread_local uint8_t buf[READ_BYTES];
    /* A few reads, then the others get their turn. */
    for (int round = 0; round < 8; round++) {
        ssize_t n = recv(c->fd, buf, sizeof buf, 0);
        if (n == 0)
            return false;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        c->seen_mono_ms = ks_mono_ms();
        if (nghttp2_session_mem_recv(c->session, buf, (size_t)n) != n)
            return false;
        if ((size_t)n < sizeof buf)
            return true;
    }
    return true;
}

bool ksi_grpc_conn_io(struct ksi_grpc_conn *c, bool readable)
{
    if (readable && !receive(c)) {
        (void)flush(c); /* a GOAWAY that tells why */
        return false;
    }
    return flush(c) && (nghttp2_session_want_read(c->session) ||
                        nghttp2_session_want_write(c->session) || c->out_len);
}
