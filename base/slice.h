/* A borrowed run of bytes. Not NUL-terminated; ptr may be NULL only when len is 0. */
#ifndef KS_BASE_SLICE_H
#define KS_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ks_slice {
    const char *ptr;
    size_t len;
};

#define KS_SLICE_LIT(s) ((struct ks_slice){"" s, sizeof(s) - 1})
#define KS_SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : "" /* for "%.*s" */

static inline struct ks_slice ks_slice(const void *ptr, size_t len)
{
    return (struct ks_slice){(const char *)ptr, len};
}

static inline struct ks_slice ks_slice_str(const char *s)
{
    return (struct ks_slice){s, s ? strlen(s) : 0};
}

static inline bool ks_slice_eq(struct ks_slice a, struct ks_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool ks_slice_is(struct ks_slice a, const char *s)
{
    return ks_slice_eq(a, ks_slice_str(s));
}

/* Bytewise order, shorter first on a tie: <0, 0, >0. */
static inline int ks_slice_cmp(struct ks_slice a, struct ks_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool ks_slice_has_prefix(struct ks_slice a, struct ks_slice p)
{
    return a.len >= p.len && (p.len == 0 || memcmp(a.ptr, p.ptr, p.len) == 0);
}

static inline struct ks_slice ks_slice_from(struct ks_slice a, size_t skip)
{
    return ks_slice(skip ? a.ptr + skip : a.ptr, a.len - skip); /* nothing may stand nowhere */
}

/* len bytes from at on, which s has. */
static inline struct ks_slice ks_slice_sub(struct ks_slice s, size_t at, size_t len)
{
    return ks_slice(at ? s.ptr + at : s.ptr, len);
}

/* Cuts the part in front of the first sep off *rest, sep with it. False when nothing is left. */
static inline bool ks_slice_cut(struct ks_slice *rest, char sep, struct ks_slice *ret)
{
    if (!rest->len)
        return false;
    const char *at = memchr(rest->ptr, sep, rest->len);
    size_t n = at ? (size_t)(at - rest->ptr) : rest->len;
    *ret = ks_slice(rest->ptr, n);
    *rest = at ? ks_slice(at + 1, rest->len - n - 1) : ks_slice(rest->ptr + n, 0);
    return true;
}

/* Without ASCII blanks (space, \t, \r, \n) at both ends. */
static inline struct ks_slice ks_slice_trim(struct ks_slice a)
{
    while (a.len && (unsigned char)a.ptr[0] <= ' ')
        a = ks_slice_from(a, 1);
    while (a.len && (unsigned char)a.ptr[a.len - 1] <= ' ')
        a.len--;
    return a;
}

#endif
