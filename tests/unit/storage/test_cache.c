/* The page cache: budget, pins, scan resistance, owners, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "storage/cache.h"
#include "sys/rand.h"

/* An entry that says what it is. */
static struct ks_cache_entry *make(uint64_t owner, uint64_t id, size_t bytes)
{
    struct ks_cache_entry *e = ks_cache_entry_new(bytes);
    assert_non_null(e);
    uint64_t stamp[2] = {owner, id};
    memcpy(ks_cache_entry_data(e), stamp, sizeof stamp);
    return e;
}

static bool is(struct ks_cache_entry *e, uint64_t owner, uint64_t id)
{
    uint64_t stamp[2] = {owner, id};
    return memcmp(ks_cache_entry_data(e), stamp, sizeof stamp) == 0;
}

static void put(struct ks_cache *c, uint64_t owner, uint64_t id, size_t bytes)
{
    ks_cache_entry_unref(ks_cache_put(c, owner, id, make(owner, id, bytes)));
}

static bool has(struct ks_cache *c, uint64_t owner, uint64_t id)
{
    struct ks_cache_entry *e = ks_cache_get(c, owner, id);
    bool found = e != NULL;
    if (e)
        assert_true(is(e, owner, id));
    ks_cache_entry_unref(e);
    return found;
}

static void test_hit_and_miss(void **state)
{
    struct ks_cache *c;
    struct ks_cache_stats st;
    assert_int_equal(ks_cache_new(1 << 20, &c), KS_OK);
    assert_false(has(c, 1, 1));
    put(c, 1, 1, 100);
    put(c, 1, 2, 100);
    put(c, 2, 1, 100);
    assert_true(has(c, 1, 1) && has(c, 1, 2) && has(c, 2, 1));
    assert_false(has(c, 2, 2));
    ks_cache_get_stats(c, &st);
    assert_int_equal(st.hits, 3);
    assert_int_equal(st.misses, 2);
    assert_int_equal(st.entries, 3);
    assert_true(st.bytes >= 300 && st.bytes < 1000);
    /* The first to put a key wins, the second gets it. */
    struct ks_cache_entry *mine = make(9, 9, 64), *got = ks_cache_put(c, 1, 1, mine);
    assert_true(got != mine && is(got, 1, 1));
    ks_cache_entry_unref(got);
    ks_cache_drop_owner(c, 1);
    assert_false(has(c, 1, 1) || has(c, 1, 2));
    assert_true(has(c, 2, 1));
    ks_cache_free(c);
}

static void test_without_a_cache(void **state)
{
    struct ks_cache_entry *e = make(1, 1, 32);
    assert_ptr_equal(ks_cache_put(NULL, 1, 1, e), e);
    ks_cache_entry_unref(e);
    assert_null(ks_cache_get(NULL, 1, 1));
    ks_cache_drop_owner(NULL, 1);
    ks_cache_entry_unref(NULL);
    ks_cache_free(NULL);
}

static void test_budget_holds(void **state)
{
    struct ks_cache *c;
    struct ks_cache_stats st;
    uint64_t rng = 1;
    assert_int_equal(ks_cache_new(1 << 20, &c), KS_OK);
    for (int i = 0; i < 20000; i++) {
        uint64_t id = ks_rng_below(&rng, 500);
        if (!has(c, 1, id))
            put(c, 1, id, 16 + ks_rng_below(&rng, 20000));
        ks_cache_get_stats(c, &st);
        assert_true(st.bytes <= 1 << 20);
    }
    assert_true(st.evictions > 0 && st.entries > 10);
    ks_cache_set_budget(c, 100000);
    ks_cache_get_stats(c, &st);
    assert_true(st.bytes <= 100000);
    ks_cache_set_budget(c, 0);
    ks_cache_get_stats(c, &st);
    assert_int_equal(st.entries, 0);
    put(c, 1, 1, 100);
    assert_false(has(c, 1, 1));
    ks_cache_free(c);
}

static void test_pinned_stays(void **state)
{
    struct ks_cache *c;
    assert_int_equal(ks_cache_new(100000, &c), KS_OK);
    struct ks_cache_entry *pins[20];
    for (uint64_t i = 0; i < 20; i++)
        pins[i] = ks_cache_put(c, 7, i, make(7, i, 9000)); /* more than the budget */
    for (uint64_t i = 0; i < 1000; i++)
        put(c, 8, i, 5000);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(is(pins[i], 7, i));
    /* Too large for the cache: used, not kept. */
    struct ks_cache_entry *big = ks_cache_put(c, 9, 1, make(9, 1, 80000));
    assert_true(is(big, 9, 1));
    assert_false(has(c, 9, 1));
    ks_cache_entry_unref(big);
    ks_cache_drop_owner(c, 7);
    assert_true(is(pins[3], 7, 3));
    ks_cache_free(c); /* pins outlive even the cache */
    for (uint64_t i = 0; i < 20; i++) {
        assert_true(is(pins[i], 7, i));
        ks_cache_entry_unref(pins[i]);
    }
}

/* What is used again and again survives one pass over much more data than fits. */
static void test_scan_resistance(void **state)
{
    struct ks_cache *c;
    assert_int_equal(ks_cache_new(1 << 20, &c), KS_OK);
    for (int round = 0; round < 4; round++)
        for (uint64_t id = 0; id < 50; id++)
            if (!has(c, 1, id))
                put(c, 1, id, 8000);
    for (uint64_t id = 0; id < 2000; id++)
        put(c, 2, id, 8000);
    unsigned kept = 0;
    for (uint64_t id = 0; id < 50; id++)
        kept += has(c, 1, id);
    assert_true(kept >= 45);
    ks_cache_free(c);
}

struct job {
    struct ks_cache *c;
    uint64_t seed;
    int wrong;
};

static void *hammer(void *arg)
{
    struct job *j = arg;
    uint64_t rng = j->seed;
    for (int i = 0; i < 40000; i++) {
        uint64_t owner = 1 + ks_rng_below(&rng, 3), id = ks_rng_below(&rng, 300);
        struct ks_cache_entry *e = ks_cache_get(j->c, owner, id);
        if (!e)
            e = ks_cache_put(j->c, owner, id, make(owner, id, 16 + ks_rng_below(&rng, 3000)));
        j->wrong += !is(e, owner, id);
        ks_cache_entry_unref(e);
        if (i % 5000 == 0)
            ks_cache_drop_owner(j->c, owner);
        if (i % 7000 == 0)
            ks_cache_set_budget(j->c, 100000 + ks_rng_below(&rng, 400000));
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct ks_cache *c;
    pthread_t threads[4];
    struct job jobs[4];
    assert_int_equal(ks_cache_new(300000, &c), KS_OK);
    for (uint64_t i = 0; i < 4; i++) {
        jobs[i] = (struct job){c, i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
    }
    ks_cache_free(c);
}

static void test_allocation_failures(void **state)
{
    struct ks_cache *c;
    for (uint64_t n = 1; n < 40; n++) {
        assert_int_equal(ks_cache_new(1 << 20, &c), KS_OK);
        ks_mem_fail_after(n, 0);
        for (uint64_t id = 0; id < 200; id++) {
            struct ks_cache_entry *e = ks_cache_entry_new(16);
            ks_cache_entry_unref(e ? ks_cache_put(c, 1, id, e) : NULL);
        }
        ks_mem_fail_after(0, 0);
        ks_cache_free(c);
    }
    ks_mem_fail_after(1, 0);
    assert_int_equal(ks_cache_new(1 << 20, &c), KS_ENOMEM);
    ks_mem_fail_after(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hit_and_miss),        cmocka_unit_test(test_without_a_cache),
        cmocka_unit_test(test_budget_holds),        cmocka_unit_test(test_pinned_stays),
        cmocka_unit_test(test_scan_resistance),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
