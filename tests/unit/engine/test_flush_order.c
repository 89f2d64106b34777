/* The order of many series is that of ks_series_cmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine/flush_order.h"

enum { SERIES = 3000 };

static uint64_t rng = 7;
static uint32_t draw(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33) % n;
}

static void put(struct ks_buf *b, const char *name, uint32_t kinds, uint32_t absent_in)
{
    static const char *const odd[] = {"", "a", "\x80\xff", "zz", "Z"};
    if (absent_in && draw(absent_in) == 0)
        return;
    char text[64];
    int n = snprintf(text, sizeof text, "%s%u", odd[draw(5)], draw(kinds));
    ks_buf_lp(b, ks_slice_str(name));
    ks_buf_lp(b, ks_slice(text, (size_t)n));
}

/* Random sets in canonical order, names before and behind the leading ones among them. */
static void fill(struct ks_buf *texts, struct ks_slice *sets, uint32_t kinds)
{
    size_t ends[SERIES];
    ks_buf_reset(texts);
    for (int i = 0; i < SERIES; i++) {
        put(texts, "A", 3, 2);
        put(texts, "__name__", kinds, 9);
        put(texts, "a", 4, 2);
        put(texts, "instance", kinds * 20, 5);
        put(texts, "job", kinds, 3);
        put(texts, "jobs", 2, 2);
        put(texts, "z", 50, 4);
        ends[i] = texts->len;
    }
    for (int i = 0; i < SERIES; i++)
        sets[i] = ks_slice(texts->ptr + (i ? ends[i - 1] : 0), ends[i] - (i ? ends[i - 1] : 0));
}

static void test_order(void **state)
{
    static struct ks_slice sets[SERIES];
    static struct ks_tenant tenants[SERIES];
    static struct ks_series_key keys[SERIES];
    static uint32_t order[SERIES], seen[SERIES];
    struct ks_buf texts;
    ks_buf_init(&texts, 64 << 20);
    for (uint32_t round = 0; round < 12; round++) {
        fill(&texts, sets, round % 4 ? 1 + draw(300) : 1);
        for (int i = 0; i < SERIES; i++) {
            tenants[i] = (struct ks_tenant){draw(3) << (draw(2) * 20), draw(2)};
            keys[i] = ks_series_key_of(tenants[i], sets[i]);
            seen[i] = 0;
        }
        uint32_t count = round < 2 ? round : SERIES;
        assert_int_equal(ksi_order_series(keys, count, order), KS_OK);
        for (uint32_t i = 0; i < count; i++) {
            assert_in_range(order[i], 0, count - 1);
            assert_int_equal(seen[order[i]]++, 0);
            if (i)
                assert_true(ks_series_cmp(tenants[order[i - 1]], sets[order[i - 1]],
                                          tenants[order[i]], sets[order[i]]) <= 0);
        }
    }
    ks_buf_done(&texts);
}

static int plain_cmp(struct ks_slice a, struct ks_slice b)
{
    static const char *const first[] = {"__name__", "job", "instance"};
    for (int i = 0; i < 3; i++) {
        struct ks_slice name = ks_slice_str(first[i]);
        int c = ks_slice_cmp(ks_labels_get(a, name), ks_labels_get(b, name));
        if (c)
            return c;
    }
    return ks_slice_cmp(a, b);
}

static void test_keys(void **state)
{
    static struct ks_slice sets[SERIES];
    struct ks_buf texts;
    struct ks_tenant t = {1, 2};
    ks_buf_init(&texts, 64 << 20);
    fill(&texts, sets, 5);
    for (int i = 1; i < SERIES; i++) {
        int c = ks_series_cmp(t, sets[i - 1], t, sets[i]), want = plain_cmp(sets[i - 1], sets[i]);
        assert_int_equal((c > 0) - (c < 0), (want > 0) - (want < 0));
    }
    ks_buf_done(&texts);
}

static void test_no_memory(void **state)
{
    static struct ks_slice sets[SERIES];
    static struct ks_series_key keys[SERIES];
    static uint32_t order[SERIES];
    struct ks_buf texts;
    ks_buf_init(&texts, 64 << 20);
    fill(&texts, sets, 50);
    for (int i = 0; i < SERIES; i++)
        keys[i] = ks_series_key_of((struct ks_tenant){0, 0}, sets[i]);
    for (uint64_t n = 1;; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = ksi_order_series(keys, SERIES, order);
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        if (!hit) {
            assert_int_equal(err, KS_OK);
            break;
        }
        assert_int_equal(err, KS_ENOMEM);
    }
    ks_buf_done(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
