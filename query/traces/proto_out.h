/*
 * Writing protobuf in one pass: a nested message is begun, filled and closed, and its length put in
 * front of it then. Defaults are left out. Errors are the buffer's own, sticky.
 */
#ifndef KS_QUERY_TRACES_PROTO_OUT_H
#define KS_QUERY_TRACES_PROTO_OUT_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/num.h"

static inline void ks_pbw_bytes(struct ks_buf *b, unsigned field, struct ks_slice s)
{
    ks_buf_varint(b, field << 3 | 2);
    ks_buf_lp(b, s);
}
static inline void ks_pbw_text(struct ks_buf *b, unsigned field, struct ks_slice s)
{
    if (s.len)
        ks_pbw_bytes(b, field, s);
}
static inline void ks_pbw_varint(struct ks_buf *b, unsigned field, uint64_t v)
{
    if (!v)
        return;
    ks_buf_varint(b, field << 3);
    ks_buf_varint(b, v);
}
static inline void ks_pbw_fixed64(struct ks_buf *b, unsigned field, uint64_t v)
{
    if (!v)
        return;
    ks_buf_varint(b, field << 3 | 1);
    ks_buf_u64(b, v);
}
static inline void ks_pbw_double(struct ks_buf *b, unsigned field, double v)
{
    ks_pbw_fixed64(b, field, ks_f64_bits(v));
}

/* Returns where the message's content begins; for ks_pbw_end. */
static inline size_t ks_pbw_begin(struct ks_buf *b, unsigned field)
{
    ks_buf_varint(b, field << 3 | 2);
    ks_buf_byte(b, 0); /* most lengths fit */
    return b->len;
}
static inline void ks_pbw_end(struct ks_buf *b, size_t begun)
{
    uint8_t head[KS_VARINT_MAX];
    if (ks_buf_status(b) != KS_OK)
        return;
    size_t len = b->len - begun, n = ks_varint_put(head, len);
    if (n > 1) {
        if (!ks_buf_reserve(b, n - 1))
            return;
        memmove(b->ptr + begun + n - 1, b->ptr + begun, len);
        b->len += n - 1;
    }
    memcpy(b->ptr + begun - 1, head, n);
}

/* google.protobuf.Timestamp or Duration: seconds and nanoseconds. */
static inline void ks_pbw_time(struct ks_buf *b, unsigned field, uint64_t ns)
{
    size_t at = ks_pbw_begin(b, field);
    ks_pbw_varint(b, 1, ns / 1000000000);
    ks_pbw_varint(b, 2, ns % 1000000000);
    ks_pbw_end(b, at);
}

#endif
