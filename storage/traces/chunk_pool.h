/*
 * Chunks of generations: cut from slabs of a mebibyte that are handed on from a generation that
 * goes to the next. The heap would add a page to each chunk and hold what was freed back for a
 * while; a turning ring needs neither.
 *
 * Blocks are the few larger things every generation has one of (its table of traces, its bloom
 * filter): of each size asked for lately one is kept ready.
 *
 * Any thread may call anything: a generation's last reader frees it. A slab whose chunks are all
 * free is given back when a sixteenth of the pool is.
 */
#ifndef KS_STORAGE_TRACES_CHUNK_POOL_H
#define KS_STORAGE_TRACES_CHUNK_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct ksi_pool;

/* With one reference. NULL: no memory. */
struct ksi_pool *ksi_pool_new(size_t chunk_bytes);
struct ksi_pool *ksi_pool_ref(struct ksi_pool *p);
/* The last one frees it; all chunks are back by then. */
void ksi_pool_unref(struct ksi_pool *p);

/* Sees to it that some chunks are free and a block of each size is there, with pages that were
 * touched: fresh memory may take the kernel long to give, which is better done before a lock is
 * held than under it. */
void ksi_pool_prepare(struct ksi_pool *p);
char *ksi_pool_alloc(struct ksi_pool *p);
/* False: not one of the pool's. */
bool ksi_pool_free(struct ksi_pool *p, void *chunk);
/* A block of so many bytes, of any content. NULL: no memory. */
void *ksi_pool_block(struct ksi_pool *p, size_t bytes);
void ksi_pool_block_free(struct ksi_pool *p, void *block, size_t bytes);
/* Bytes of all slabs; of those, free. */
size_t ksi_pool_bytes(struct ksi_pool *p);
size_t ksi_pool_free_bytes(struct ksi_pool *p);

#endif
