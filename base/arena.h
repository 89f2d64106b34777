/*
 * Bump allocator with a byte cap, released whole. One owner thread. An allocation over the cap
 * gives NULL and sets the thread's error (KS_ELIMIT text names the cap); ks_arena_err() tells which
 * error it was.
 */
#ifndef KS_BASE_ARENA_H
#define KS_BASE_ARENA_H

#include <stddef.h>

#include "base/err.h"
#include "base/slice.h"

struct ks_arena_block;
struct ks_arena {
    struct ks_arena_block *blocks; /* newest first */
    char *pos, *end;
    size_t used_bytes, cap_bytes, block_bytes;
    ks_err err; /* sticky: KS_OK, KS_ENOMEM or KS_ELIMIT */
};

void ks_arena_init(struct ks_arena *a, size_t cap_bytes);
void ks_arena_done(struct ks_arena *a);
void ks_arena_reset(struct ks_arena *a); /* frees all but one block */

void *ks_arena_alloc_slow(struct ks_arena *a, size_t size, size_t align);

/* 16-byte aligned, not zeroed. */
static inline void *ks_arena_alloc(struct ks_arena *a, size_t size)
{
    size_t pad = (size_t)(-(uintptr_t)a->pos & 15);
    if (KS_LIKELY((size_t)(a->end - a->pos) >= pad && (size_t)(a->end - a->pos) - pad >= size)) {
        void *p = a->pos + pad;
        a->pos += pad + size;
        return p;
    }
    return ks_arena_alloc_slow(a, size, 16);
}

void *ks_arena_zalloc(struct ks_arena *a, size_t size);
void *ks_arena_array(struct ks_arena *a, size_t count,
                     size_t elem_size); /* overflow-checked, not zeroed */
/* A copy with a NUL behind (not counted). ptr is NULL on failure. */
struct ks_slice ks_arena_dup(struct ks_arena *a, struct ks_slice s);
struct ks_slice ks_arena_printf(struct ks_arena *a, const char *fmt, ...) KS_PRINTF(2, 3);
/* Doubles an array living in the arena (the old copy stays as waste until release). */
KS_NODISCARD ks_err ks_arena_grow(struct ks_arena *a, void **array, size_t *cap, size_t need,
                                  size_t elem_size);

static inline ks_err ks_arena_err(const struct ks_arena *a)
{
    return a->err == KS_OK ? KS_ENOMEM : a->err;
}

#endif
