/*
 * A growable byte buffer, born with its maximum. Errors are sticky: after a failed append
 * (KS_ENOMEM, KS_ETOOBIG) all further appends do nothing, and ks_buf_status() tells; so writers of
 * long texts check once at the end.
 */
#ifndef KS_BASE_BUF_H
#define KS_BASE_BUF_H

#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/slice.h"

struct ks_buf {
    char *ptr;
    size_t len, cap, max;
    ks_err err;
};

#define KS_BUF_UNLIMITED ((size_t)1 << 40)

void ks_buf_init(struct ks_buf *b, size_t max);
void ks_buf_done(struct ks_buf *b);
void ks_buf_reset(struct ks_buf *b); /* keeps the memory, clears len and the error */

/* Makes room for n more bytes; false on error. On true, ptr+len .. ptr+len+n may be written, then
 * len advanced. */
bool ks_buf_reserve_slow(struct ks_buf *b, size_t n);
static inline bool ks_buf_reserve(struct ks_buf *b, size_t n)
{
    if (KS_LIKELY(b->err == KS_OK && b->cap - b->len >= n))
        return true;
    return ks_buf_reserve_slow(b, n);
}

static inline void ks_buf_add(struct ks_buf *b, const void *p, size_t n)
{
    if (n && ks_buf_reserve(b, n)) {
        memcpy(b->ptr + b->len, p, n);
        b->len += n;
    }
}

static inline void ks_buf_byte(struct ks_buf *b, uint8_t c)
{
    if (ks_buf_reserve(b, 1))
        b->ptr[b->len++] = (char)c;
}

static inline void ks_buf_slice(struct ks_buf *b, struct ks_slice s)
{
    ks_buf_add(b, s.ptr, s.len);
}

static inline void ks_buf_str(struct ks_buf *b, const char *s)
{
    ks_buf_add(b, s, strlen(s));
}

void ks_buf_printf(struct ks_buf *b, const char *fmt, ...) KS_PRINTF(2, 3);

/* Little-endian integers and LEB128 varints. */
static inline void ks_buf_u16(struct ks_buf *b, uint16_t v)
{
    ks_buf_add(b, &v, 2);
}
static inline void ks_buf_u32(struct ks_buf *b, uint32_t v)
{
    ks_buf_add(b, &v, 4);
}
static inline void ks_buf_u64(struct ks_buf *b, uint64_t v)
{
    ks_buf_add(b, &v, 8);
}
void ks_buf_varint(struct ks_buf *b, uint64_t v);
void ks_buf_zigzag(struct ks_buf *b, int64_t v);
/* varint length, then the bytes. */
void ks_buf_lp(struct ks_buf *b, struct ks_slice s);

/* JSON string with quotes; invalid UTF-8 bytes are written as U+FFFD. */
void ks_buf_json_str(struct ks_buf *b, struct ks_slice s);

static inline struct ks_slice ks_buf_view(const struct ks_buf *b)
{
    return ks_slice(b->ptr, b->len);
}

KS_NODISCARD static inline ks_err ks_buf_status(const struct ks_buf *b)
{
    return b->err;
}

#endif
