/* The pool of chunks: each is handed out once, what is prepared is used, what is empty is given
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "storage/traces/chunk_pool.h"
#include "sys/rand.h"

enum { CHUNK = 16 << 10, SLAB = 1 << 20, PER_SLAB = SLAB / CHUNK, MAX = 1000 };

static void test_prepare(void **state)
{
    struct ksi_pool *p = ksi_pool_new(CHUNK);
    assert_non_null(p);
    ksi_pool_prepare(p);
    assert_int_equal(ksi_pool_bytes(p), SLAB);
    ksi_pool_prepare(p); /* there is enough */
    assert_int_equal(ksi_pool_bytes(p), SLAB);
    char *first = ksi_pool_alloc(p);
    assert_non_null(first);
    assert_int_equal(ksi_pool_bytes(p), SLAB);
    ksi_pool_prepare(p); /* less than a slab is free */
    assert_int_equal(ksi_pool_bytes(p), 2 * SLAB);
    assert_true(ksi_pool_free(p, first));
    ksi_pool_unref(p);
}

/* Chunks come and go at random, each filled with a pattern of its own. */
static void test_random(void **state)
{
    struct ksi_pool *p = ksi_pool_new(CHUNK);
    uint64_t rng = 7;
    char *held[MAX];
    size_t n = 0;
    for (int step = 0; step < 20000; step++) {
        if (ks_rng_below(&rng, 64) == 0)
            ksi_pool_prepare(p);
        bool more = ks_rng_below(&rng, 100) < (step / 4000 % 2 ? 30 : 70);
        if (more && n < MAX) {
            held[n] = ksi_pool_alloc(p);
            assert_non_null(held[n]);
            uint64_t own = (uint64_t)(uintptr_t)held[n] ^ 0x9e3779b97f4a7c15u;
            memcpy(held[n], &own, sizeof own);
            memcpy(held[n] + CHUNK - sizeof own, &own, sizeof own);
            n++;
        } else if (n) {
            size_t i = ks_rng_below(&rng, n);
            uint64_t own = (uint64_t)(uintptr_t)held[i] ^ 0x9e3779b97f4a7c15u;
            assert_memory_equal(held[i], &own, sizeof own);
            assert_memory_equal(held[i] + CHUNK - sizeof own, &own, sizeof own);
            assert_true(ksi_pool_free(p, held[i]));
            held[i] = held[--n];
        }
        assert_true(ksi_pool_bytes(p) >= n * CHUNK);
    }
    char elsewhere;
    assert_false(ksi_pool_free(p, &elsewhere));
    while (n)
        assert_true(ksi_pool_free(p, held[--n]));
    assert_true(ksi_pool_bytes(p) <= 3 * SLAB); /* some are kept for the next ones */
    ksi_pool_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prepare),
                                       cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
