#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t fail_in = 0; /* 0 = off; counts down to the failing call */
static _Atomic int fail_sticky, fail_hit;
static _Atomic int faults_used; /* from the first armed failure on */

static int should_fail(void)
{
    if (KS_LIKELY(atomic_load_explicit(&fail_in, memory_order_relaxed) == 0))
        return 0;
    int64_t left = atomic_fetch_sub(&fail_in, 1);
    if (left > 1)
        return 0;
    if (left == 1 || atomic_load(&fail_sticky)) {
        atomic_store(&fail_hit, 1);
        if (!atomic_load(&fail_sticky))
            atomic_store(&fail_in, 0);
        else
            atomic_store(&fail_in, 1);
        return 1;
    }
    return 0;
}

/* Where failures are tested, memory that nobody has written holds no zeros by luck. */
static void *soiled(void *p, size_t size)
{
    if (KS_UNLIKELY(atomic_load_explicit(&faults_used, memory_order_relaxed)) && p)
        memset(p, 0xa5, size);
    return p;
}

static void *checked(void *p, size_t size)
{
    if (KS_UNLIKELY(!p))
        (void)ks_fail(KS_ENOMEM, "cannot allocate %zu bytes", size);
    return p;
}

void *ks_alloc(size_t size)
{
    return checked(should_fail() ? NULL : soiled(malloc(size ? size : 1), size), size);
}

void *ks_zalloc(size_t size)
{
    return checked(should_fail() ? NULL : calloc(1, size ? size : 1), size);
}

void *ks_realloc(void *p, size_t size)
{
    return checked(should_fail() ? NULL : realloc(p, size ? size : 1), size);
}

void *ks_aligned_alloc(size_t align, size_t size)
{
    void *p = NULL;
    if (should_fail() || posix_memalign(&p, align, size ? size : 1) != 0)
        p = NULL;
    return checked(soiled(p, size), size);
}

void ks_free(void *p)
{
    free(p);
}

char *ks_strdup(const char *s)
{
    return ks_memdup(s, strlen(s));
}

void *ks_memdup(const void *p, size_t len)
{
    char *copy = ks_alloc(len + 1);
    if (copy) {
        if (len)
            memcpy(copy, p, len);
        copy[len] = 0;
    }
    return copy;
}

void *ks_alloc_array(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return checked(NULL, SIZE_MAX);
    return ks_alloc(total);
}

void *ks_zalloc_array(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return checked(NULL, SIZE_MAX);
    return ks_zalloc(total);
}

ks_err ks_array_reserve(void **array, size_t *cap, size_t need, size_t elem_size)
{
    if (need <= *cap)
        return KS_OK;
    size_t grown = *cap < 8 ? 8 : *cap * 2;
    if (grown < need)
        grown = need;
    size_t total;
    if (__builtin_mul_overflow(grown, elem_size, &total))
        return ks_fail(KS_ENOMEM, "array of %zu elements is too large", grown);
    void *p = ks_realloc(*array, total);
    if (!p)
        return KS_ENOMEM;
    *array = p;
    *cap = grown;
    return KS_OK;
}

void ks_mem_fail_after(uint64_t n, int sticky)
{
    atomic_store(&fail_hit, 0);
    if (n)
        atomic_store(&faults_used, 1);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_in, (int64_t)n);
}

int ks_mem_fail_hit(void)
{
    return atomic_load(&fail_hit);
}
