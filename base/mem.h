/*
 * The one door to the heap. Every allocation of the project goes through here so that tests can
 * make the n-th one fail (ks_mem_fail_after) and count what is live. Destructors take NULL.
 */
#ifndef KS_BASE_MEM_H
#define KS_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* NULL on failure (the thread's error text is set: a caller may return KS_ENOMEM at once). size 0
 * gives a unique pointer. */
void *ks_alloc(size_t size);
void *ks_zalloc(size_t size);
void *ks_realloc(void *p, size_t size);
void *ks_aligned_alloc(size_t align, size_t size); /* release with ks_free */
void ks_free(void *p);
char *ks_strdup(const char *s);
void *ks_memdup(const void *p, size_t len); /* adds a NUL behind */

/* count × size with overflow check. */
void *ks_alloc_array(size_t count, size_t size);
void *ks_zalloc_array(size_t count, size_t size);
/* Grows *array to hold at least need elements (doubling); KS_ENOMEM leaves it as it was. */
KS_NODISCARD ks_err ks_array_reserve(void **array, size_t *cap, size_t need, size_t elem_size);

/*
 * Test seam: the n-th allocation from now (1 = the next) fails, and with `sticky` all after it. n =
 * 0 turns it off. Process-wide, atomic; costs one relaxed load per
 * allocation. From the first use on fresh memory is filled with rubbish.
 */
void ks_mem_fail_after(uint64_t n, int sticky);
/* True once the armed failure has been delivered. */
int ks_mem_fail_hit(void);

#endif
