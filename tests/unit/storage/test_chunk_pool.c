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

/* One block of each size asked for lately is ready; none is handed out twice. */
static void test_blocks(void **state)
{
    enum { KIB = 1 << 10, SIZES = 7 };
    static const size_t sizes[SIZES] = {16 * KIB,  32 * KIB, 48 * KIB,  64 * KIB,
                                        100 * KIB, 1 << 20,  2048 * KIB};
    struct ksi_pool *p = ksi_pool_new(CHUNK);
    char *held[100], seen[2];
    size_t bytes[100], n = 0;
    uint64_t rng = 11;
    char *a = ksi_pool_block(p, 64 * KIB);
    memset(a, 1, 64 * KIB);
    ksi_pool_block_free(p, a, 64 * KIB);
    assert_ptr_equal(ksi_pool_block(p, 64 * KIB), a);
    ksi_pool_prepare(p);
    char *b = ksi_pool_block(p, 64 * KIB);
    assert_ptr_not_equal(b, a);
    ksi_pool_block_free(p, a, 64 * KIB);
    ksi_pool_block_free(p, b, 64 * KIB);
    for (int step = 0; step < 20000; step++) {
        if (ks_rng_below(&rng, 16) == 0)
            ksi_pool_prepare(p);
        if (n < 100 && ks_rng_below(&rng, 100) < 55) {
            bytes[n] = sizes[ks_rng_below(&rng, SIZES)];
            held[n] = ksi_pool_block(p, bytes[n]);
            assert_non_null(held[n]);
            held[n][0] = (char)n;
            held[n][bytes[n] - 1] = (char)~n;
            n++;
        } else if (n) {
            n--; /* the last one: its place in the list is what it was marked with */
            seen[0] = (char)n;
            seen[1] = (char)~n;
            assert_memory_equal(&held[n][0], &seen[0], 1);
            assert_memory_equal(&held[n][bytes[n] - 1], &seen[1], 1);
            ksi_pool_block_free(p, held[n], bytes[n]);
        }
    }
    while (n) {
        n--;
        ksi_pool_block_free(p, held[n], bytes[n]);
    }
    ksi_pool_block_free(p, NULL, 64 * KIB);
    ksi_pool_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prepare),
                                       cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
