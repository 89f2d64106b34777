/* Answering: bodies, compression, headers and streams. */
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "api/http_priv.h"

/* Below this compression saves no packet. */
enum { COMPRESS_MIN_BYTES = 1024, STREAM_READY_MAX = 1 << 20, STREAM_GZIP_STEP = 256 << 10 };

void ks_http_add_header(struct ks_http_request *req, const char *name, struct ks_slice value)
{
    struct ks_http_response *r = &req->resp;
    if (r->extra_count < sizeof r->extra / sizeof *r->extra)
        r->extra[r->extra_count++] = (struct ks_http_header){ks_slice_str(name), value};
}

void ks_http_text(struct ks_http_request *req, int status, const char *fmt, ...)
{
    char text[KS_ERR_TEXT_MAX + 256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    req->resp.status = status;
    req->resp.content_type = NULL;
    ks_buf_reset(&req->resp.body);
    ks_buf_add(&req->resp.body, text, (size_t)n);
}

/* Whether a list like "gzip, deflate;q=0" names the coding without forbidding it. */
static bool accepts(struct ks_slice list, const char *coding)
{
    size_t want = strlen(coding);
    for (struct ks_slice item; ks_slice_cut(&list, ',', &item);) {
        const char *semi = memchr(item.ptr, ';', item.len);
        struct ks_slice name =
            ks_slice_trim(ks_slice(item.ptr, semi ? (size_t)(semi - item.ptr) : item.len));
        if (name.len != want || strncasecmp(name.ptr, coding, want) != 0)
            continue;
        struct ks_slice q = semi ? ks_slice_trim(ks_slice_from(item, (size_t)(semi - item.ptr) + 1))
                                 : ks_slice("", 0);
        return !(ks_slice_is(q, "q=0") || ks_slice_is(q, "q=0.0") || ks_slice_is(q, "q=0.00") ||
                 ks_slice_is(q, "q=0.000"));
    }
    return false;
}

enum ks_encoding ksi_response_encoding(struct ksi_conn *c)
{
    if (!c->server->opts.compress_responses || c->req.resp.precompressed)
        return KS_ENC_NONE;
    struct ks_slice list = ks_http_header(&c->req, "Accept-Encoding");
    return accepts(list, "gzip") ? KS_ENC_GZIP : accepts(list, "zstd") ? KS_ENC_ZSTD : KS_ENC_NONE;
}

void ksi_compress_body(struct ksi_conn *c)
{
    struct ks_http_response *r = &c->req.resp;
    enum ks_encoding e = ksi_response_encoding(c);
    if (e == KS_ENC_NONE || r->body.len < COMPRESS_MIN_BYTES)
        return;
    struct ks_buf out;
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    if (ks_compress(e, ks_buf_view(&r->body), &out) != KS_OK) {
        ks_buf_done(&out); /* no memory for the copy: plain bytes serve as well */
        return;
    }
    ks_buf_done(&r->body);
    r->body = out;
    ks_http_add_header(&c->req, "Content-Encoding", ks_slice_str(ks_encoding_name(e)));
}

void ksi_overload(struct ksi_conn *c, int status, const char *why)
{
    ks_http_text(&c->req, status, "%s\n", why);
    ks_http_add_header(&c->req, "Retry-After", KS_SLICE_LIT("10"));
}

/* --- streams --- */
void ksi_stream_init(struct ksi_stream *st)
{
    pthread_mutex_init(&st->lock, NULL);
    pthread_cond_init(&st->space, NULL);
    st->last = &st->first;
    ks_buf_init(&st->ready, 64 << 20);
    ks_buf_init(&st->packed, 64 << 20);
}

void ksi_stream_done(struct ksi_stream *st)
{
    ks_gzip_stream_free(st->gzip);
    ksi_flow_done(st);
    ks_buf_done(&st->ready);
    ks_buf_done(&st->packed);
    pthread_cond_destroy(&st->space);
    pthread_mutex_destroy(&st->lock);
}

static struct ksi_conn *conn_of(const struct ks_http_request *req)
{
    return (struct ksi_conn *)req;
}

bool ks_http_streaming(const struct ks_http_request *req)
{
    return conn_of(req)->stream.active;
}

ks_err ks_http_stream_begin(struct ks_http_request *req)
{
    struct ksi_conn *c = conn_of(req);
    KS_ASSERT(!c->stream.active);
    if (ksi_response_encoding(c) == KS_ENC_GZIP) {
        KS_TRY(ks_gzip_stream_new(&c->stream.gzip));
        ks_http_add_header(req, "Content-Encoding", KS_SLICE_LIT("gzip"));
    }
    c->stream.active = true;
    c->state = CONN_STREAM;
    MHD_resume_connection(c->mhd);
    return KS_OK;
}

/* Hands bytes to the network thread; waits while it has plenty. */
static ks_err stream_push(struct ksi_conn *c, struct ks_slice bytes, bool end)
{
    struct ksi_stream *st = &c->stream;
    pthread_mutex_lock(&st->lock);
    while (st->ready.len - st->taken >= STREAM_READY_MAX && !st->client_gone && !end &&
           !atomic_load(&c->req.cancel))
        pthread_cond_wait(&st->space, &st->lock);
    if (st->taken == st->ready.len) {
        ks_buf_reset(&st->ready);
        st->taken = 0;
    }
    ks_buf_slice(&st->ready, bytes);
    ks_err err = ks_buf_status(&st->ready);
    if (err != KS_OK)
        st->failed = true;
    st->ended = end || err != KS_OK;
    if (st->client_gone)
        err = ks_fail(KS_ECANCELED, "the client has closed the connection");
    else if (err == KS_OK && !end && atomic_load(&c->req.cancel))
        err = ks_fail(KS_ECANCELED, "the request was canceled");
    bool wake = st->reader_waits && !st->client_gone;
    if (wake)
        st->reader_waits = false;
    if (wake)
        MHD_resume_connection(c->mhd);
    pthread_mutex_unlock(&st->lock);
    return err;
}

ks_err ks_http_stream_write(struct ks_http_request *req, struct ks_slice bytes)
{
    struct ksi_conn *c = conn_of(req);
    while (bytes.len) {
        size_t step = bytes.len < STREAM_GZIP_STEP ? bytes.len : STREAM_GZIP_STEP;
        struct ks_slice piece = ks_slice(bytes.ptr, step);
        bytes = ks_slice_from(bytes, step);
        if (c->stream.gzip) {
            ks_buf_reset(&c->stream.packed);
            KS_TRY(ks_gzip_stream_write(c->stream.gzip, piece, false, &c->stream.packed));
            piece = ks_buf_view(&c->stream.packed);
        }
        KS_TRY(stream_push(c, piece, false));
    }
    return KS_OK;
}

void ks_http_stream_fail(struct ks_http_request *req, const char *text)
{
    struct ksi_conn *c = conn_of(req);
    if (!c->stream.flows)
        (void)!ks_http_stream_write(
            req, ks_slice_str(text)); /* the cut connection tells the client anyway */
    pthread_mutex_lock(&c->stream.lock);
    c->stream.failed = true;
    pthread_mutex_unlock(&c->stream.lock);
}

void ksi_stream_end(struct ksi_conn *c)
{
    ks_buf_reset(&c->stream.packed);
    ks_err err = KS_OK;
    if (c->stream.gzip)
        err = ks_gzip_stream_write(c->stream.gzip, ks_slice("", 0), true, &c->stream.packed);
    if (err != KS_OK) {
        pthread_mutex_lock(&c->stream.lock);
        c->stream.failed = true;
        pthread_mutex_unlock(&c->stream.lock);
    }
    err = stream_push(c, ks_buf_view(&c->stream.packed), true);
    (void)err; /* the client has gone: nobody to tell */
}

void ksi_stream_client_gone(struct ksi_conn *c)
{
    pthread_mutex_lock(&c->stream.lock);
    c->stream.client_gone = true;
    pthread_cond_broadcast(&c->stream.space);
    pthread_mutex_unlock(&c->stream.lock);
}

void ksi_stream_wake(struct ksi_conn *c)
{
    pthread_mutex_lock(&c->stream.lock);
    pthread_cond_broadcast(&c->stream.space);
    pthread_mutex_unlock(&c->stream.lock);
}

/* Network thread: takes ready bytes, or suspends the connection until there are some. */
static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct ksi_conn *c = cls;
    struct ksi_stream *st = &c->stream;
    ssize_t n = 0;
    pthread_mutex_lock(&st->lock);
    size_t have = st->ready.len - st->taken;
    if (st->first) {
        n = (ssize_t)ksi_flow_take(c, buf, max);
    } else if (have) {
        n = (ssize_t)(have < max ? have : max);
        memcpy(buf, st->ready.ptr + st->taken, (size_t)n);
        st->taken += (size_t)n;
        pthread_cond_signal(&st->space);
    } else if (st->failed && st->ended) {
        /* The library marks the connection for closing but looks at it again only when something
         * happens on its socket, or after the idle timeout: let it happen. */
        (void)shutdown(c->fd, SHUT_RDWR); /* what was sent arrives; it may be closed already */
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (st->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        st->reader_waits = true;
        MHD_suspend_connection(c->mhd);
    }
    pthread_mutex_unlock(&st->lock);
    if (n > 0)
        atomic_fetch_add_explicit(&c->server->written_bytes, (uint64_t)n, memory_order_relaxed);
    return n;
}

/* --- sending --- */
static void add_headers(struct ksi_conn *c, struct MHD_Response *m)
{
    const struct ks_http_response *r = &c->req.resp;
    if (r->status != 204 || r->content_type)
        MHD_add_response_header(m, "Content-Type",
                                r->content_type ? r->content_type : "text/plain; charset=utf-8");
    MHD_add_response_header(m, "Vary", "Accept-Encoding");
    MHD_add_response_header(m, "X-Server-Hostname", c->server->hostname);
    if (c->server->opts.cors)
        MHD_add_response_header(m, "Access-Control-Allow-Origin", "*");
    for (size_t i = 0; i < r->extra_count; i++) {
        struct ks_slice v = ks_arena_dup(&c->req.arena, r->extra[i].value);
        if (v.ptr)
            MHD_add_response_header(m, r->extra[i].name.ptr, v.ptr);
    }
    if (c->truncated || atomic_load(&c->server->stopping))
        MHD_add_response_header(m, "Connection", "close");
}

enum MHD_Result ksi_send(struct ksi_conn *c)
{
    struct ks_http_response *r = &c->req.resp;
    struct MHD_Response *m;
    if (c->state == CONN_STREAM) {
        m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 65536, stream_read, c, NULL);
    } else {
        if (ks_buf_status(&r->body) != KS_OK) {
            ks_buf_reset(&r->body);
            ks_http_text(&c->req, 503, "out of memory while writing the response\n");
        }
        m = MHD_create_response_from_buffer(r->body.len, r->body.len ? r->body.ptr : (void *)"",
                                            MHD_RESPMEM_PERSISTENT);
        atomic_fetch_add_explicit(&c->server->written_bytes, r->body.len, memory_order_relaxed);
    }
    if (!m)
        return MHD_NO;
    add_headers(c, m);
    enum MHD_Result ok = MHD_queue_response(c->mhd, (unsigned)(r->status ? r->status : 200), m);
    MHD_destroy_response(m);
    return ok;
}
