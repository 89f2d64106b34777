/* Collects an answer and sends it in steps; a short answer goes out whole, with its length. For
 * exports. */
#ifndef KS_API_PROM_SINK_H
#define KS_API_PROM_SINK_H

#include "api/http.h"

enum { KS_SINK_STEP_BYTES = 256 << 10 };

struct ks_sink {
    struct ks_http_request *req;
    struct ks_buf *out; /* the response's body */
};

/* Sends what has come together when it is much; with `all` whatever there is. */
KS_NODISCARD static inline ks_err ks_sink_drain(struct ks_sink *s, bool all)
{
    KS_TRY(ks_buf_status(s->out));
    if (s->out->len < KS_SINK_STEP_BYTES && !(all && ks_http_streaming(s->req)))
        return KS_OK;
    if (!ks_http_streaming(s->req))
        KS_TRY(ks_http_stream_begin(s->req));
    KS_TRY(ks_http_stream_write(s->req, ks_buf_view(s->out)));
    ks_buf_reset(s->out);
    return KS_OK;
}

#endif
