#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct ks_arena_block {
    struct ks_arena_block *next;
    size_t size;
    _Alignas(16) char data[];
};

enum { FIRST_BLOCK = 4096, MAX_BLOCK = 1 << 20 };

void ks_arena_init(struct ks_arena *a, size_t cap_bytes)
{
    *a = (struct ks_arena){.cap_bytes = cap_bytes, .block_bytes = FIRST_BLOCK};
}

void ks_arena_done(struct ks_arena *a)
{
    for (struct ks_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        ks_free(b);
    }
    ks_arena_init(a, a->cap_bytes);
}

void ks_arena_reset(struct ks_arena *a)
{
    struct ks_arena_block *keep = a->blocks;
    if (!keep)
        return;
    for (struct ks_arena_block *b = keep->next, *next; b; b = next) {
        next = b->next;
        ks_free(b);
    }
    keep->next = NULL;
    a->used_bytes = keep->size;
    a->pos = keep->data;
    a->end = keep->data + keep->size;
    a->err = KS_OK;
}

void *ks_arena_alloc_slow(struct ks_arena *a, size_t size, size_t align)
{
    size_t want = size + align;
    if (want < size || want > a->cap_bytes || a->used_bytes > a->cap_bytes - want) {
        a->err = ks_fail(KS_ELIMIT, "memory limit of %zu bytes exceeded", a->cap_bytes);
        return NULL;
    }
    size_t block = a->block_bytes;
    if (block > a->cap_bytes - a->used_bytes)
        block = a->cap_bytes - a->used_bytes;
    bool big = want > block / 2 && want > MAX_BLOCK / 4;
    if (block < want || big)
        block = want;
    struct ks_arena_block *b = ks_alloc(sizeof *b + block);
    if (!b) {
        a->err = KS_ENOMEM;
        return NULL;
    }
    b->size = block;
    a->used_bytes += block;
    if (a->block_bytes < MAX_BLOCK)
        a->block_bytes *= 2;
    char *p = b->data + ((size_t)(-(uintptr_t)b->data) & (align - 1));
    if (big && a->blocks) { /* an own block, so the current one keeps its room */
        b->next = a->blocks->next;
        a->blocks->next = b;
        return p;
    }
    b->next = a->blocks;
    a->blocks = b;
    a->pos = p + size;
    a->end = b->data + block;
    return p;
}

void *ks_arena_zalloc(struct ks_arena *a, size_t size)
{
    void *p = ks_arena_alloc(a, size);
    return p ? memset(p, 0, size) : NULL;
}

void *ks_arena_array(struct ks_arena *a, size_t count, size_t elem_size)
{
    size_t total;
    if (__builtin_mul_overflow(count, elem_size, &total))
        total = SIZE_MAX - 64;
    return ks_arena_alloc(a, total);
}

struct ks_slice ks_arena_dup(struct ks_arena *a, struct ks_slice s)
{
    char *p = ks_arena_alloc(a, s.len + 1);
    if (!p)
        return ks_slice(NULL, 0);
    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    return ks_slice(p, s.len);
}

struct ks_slice ks_arena_printf(struct ks_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : ks_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return ks_slice(p, p ? (size_t)n : 0);
}

ks_err ks_arena_grow(struct ks_arena *a, void **array, size_t *cap, size_t need, size_t elem_size)
{
    if (need <= *cap)
        return KS_OK;
    size_t grown = *cap < 8 ? 8 : *cap * 2;
    if (grown < need)
        grown = need;
    void *p = ks_arena_array(a, grown, elem_size);
    if (!p)
        return ks_arena_err(a);
    if (*cap)
        memcpy(p, *array, *cap * elem_size);
    *array = p;
    *cap = grown;
    return KS_OK;
}
