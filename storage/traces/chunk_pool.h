/*
 * Chunks of generations: cut from slabs of a mebibyte that are handed on from a generation that
 * goes to the next. The heap would add a page to each chunk and hold what was freed back for a
 * while; a turning ring needs neither.
 *
 * Any thread may call anything: a generation's last reader frees it. A slab whose chunks are all
 * free is given back when a quarter of the pool is.
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

/* Sees to it that some chunks are free, with pages that were touched: fresh memory may take the
 * kernel long to give, which is better done before a lock is held than under it. */
void ksi_pool_prepare(struct ksi_pool *p);
char *ksi_pool_alloc(struct ksi_pool *p);
/* False: not one of the pool's. */
bool ksi_pool_free(struct ksi_pool *p, void *chunk);
/* Bytes of all slabs. */
size_t ksi_pool_bytes(struct ksi_pool *p);

#endif
