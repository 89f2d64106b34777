/*
 * Answers that leave while they are written. A large answer kept whole costs its bytes of fresh
 * memory, page by page, and its client waits for the last one before it gets the first. So its
 * writer hands over what it has in pieces (ks_http_flow), and pieces that were sent are used again.
 *
 * Other than a stream it never waits for its client: workers of queries are few, and a slow reader
 * must hold none. What is not taken yet counts against the budget of answers; an answer that
 * exceeds it is cut, as its status has been sent already.
 *
 * Workers push, the network thread takes, under the stream's lock.
 */
#include "api/http_priv.h"
#include "base/mem.h"

enum { SPARES_MAX = 4, PIECE_ROOM = 2 * KS_HTTP_FLOW_BYTES };

struct ksi_piece {
    struct ks_buf buf;
    size_t taken;
    struct ksi_piece *next;
};

static void piece_free(struct ksi_piece *p)
{
    while (p) {
        struct ksi_piece *next = p->next;
        ks_buf_done(&p->buf);
        ks_free(p);
        p = next;
    }
}

void ksi_flow_done(struct ksi_stream *st)
{
    piece_free(st->first);
    piece_free(st->spares);
}

/* Takes n bytes out of the common budget. Under the stream's lock. */
static bool reserve(struct ksi_conn *c, size_t n)
{
    struct ks_http_server *s = c->server;
    size_t max = s->opts.max_inflight_answer_bytes;
    if (atomic_fetch_add(&s->answer_bytes, n) + n > max && max) {
        atomic_fetch_sub(&s->answer_bytes, n);
        return false;
    }
    c->answer_bytes += n;
    return true;
}

/* An empty piece: one that was sent, or a new one. */
static struct ksi_piece *piece_get(struct ksi_stream *st, size_t max)
{
    pthread_mutex_lock(&st->lock);
    struct ksi_piece *p = st->spares;
    if (p) {
        st->spares = p->next;
        st->spare_count--;
    }
    pthread_mutex_unlock(&st->lock);
    if (p)
        return p;
    p = ks_zalloc(sizeof *p);
    if (p)
        ks_buf_init(&p->buf, max);
    return p;
}

/* Moves the body into a piece and queues it; the body becomes an empty one. */
static void push(struct ksi_conn *c, bool end)
{
    struct ksi_stream *st = &c->stream;
    struct ks_buf *body = &c->req.resp.body;
    bool sound = ks_buf_status(body) == KS_OK;
    struct ksi_piece *p = piece_get(st, body->max);
    if (p) {
        struct ks_buf full = *body;
        *body = p->buf;
        p->buf = full;
        p->taken = 0;
        p->next = NULL;
        ks_buf_reset(body);
    }
    pthread_mutex_lock(&st->lock);
    bool ok = sound && p && !st->failed && !st->client_gone && reserve(c, p->buf.len);
    if (ok) {
        *st->last = p;
        st->last = &p->next;
    } else if (p) {
        piece_free(p);
    }
    st->failed |= !ok;
    st->ended |= end || st->failed;
    bool wake = st->reader_waits && !st->client_gone;
    if (wake) {
        st->reader_waits = false;
        MHD_resume_connection(c->mhd);
    }
    pthread_mutex_unlock(&st->lock);
    if (!p)
        ks_buf_reset(body); /* the answer is cut anyway */
    else if (!end)
        (void)ks_buf_reserve(body, PIECE_ROOM); /* what fails is in the buffer's status */
}

void ksi_flow(struct ks_http_request *req)
{
    struct ksi_conn *c = (struct ksi_conn *)req;
    if (!c->stream.active) {
        if (req->resp.extra_count) { /* sending them takes the request's arena, which is in use */
            req->flow = NULL;
            return;
        }
        c->stream.flows = true;
        if (ks_http_stream_begin(req) != KS_OK) {
            c->stream.flows = false;
            req->flow = NULL;
            return;
        }
    }
    push(c, false);
}

void ksi_flow_end(struct ksi_conn *c)
{
    push(c, true);
}

/* Under the stream's lock. */
static void sent(struct ksi_conn *c, struct ksi_piece *p)
{
    struct ksi_stream *st = &c->stream;
    atomic_fetch_sub(&c->server->answer_bytes, p->buf.len);
    c->answer_bytes -= p->buf.len;
    if (st->spare_count < SPARES_MAX && p->buf.cap <= 2 * PIECE_ROOM) {
        p->next = st->spares;
        st->spares = p;
        st->spare_count++;
    } else {
        p->next = NULL;
        piece_free(p);
    }
}

size_t ksi_flow_take(struct ksi_conn *c, char *out, size_t max)
{
    struct ksi_stream *st = &c->stream;
    size_t n = 0;
    while (st->first && n < max) {
        struct ksi_piece *p = st->first;
        size_t left = p->buf.len - p->taken, k = left < max - n ? left : max - n;
        memcpy(out + n, p->buf.ptr + p->taken, k);
        n += k;
        p->taken += k;
        if (k < left)
            break;
        st->first = p->next;
        if (!st->first)
            st->last = &st->first;
        sent(c, p);
    }
    return n;
}
