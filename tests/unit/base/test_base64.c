/* Base64 read back: RFC 4648's vectors, every length, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/base64.h"
#include "sys/rand.h"

static void test_vectors(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"Zg==", "f"},
                                           {"Zm8=", "fo"},
                                           {"Zm9v", "foo"},
                                           {"Zm9vYg==", "foob"},
                                           {"Zm9vYmE", "fooba"},
                                           {"Zm9vYmFy", "foobar"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct ks_buf b;
        ks_buf_init(&b, 1 << 10);
        assert_true(ks_base64_decode(ks_slice_str(pairs[i][0]), &b));
        assert_true(ks_slice_eq(ks_buf_view(&b), ks_slice_str(pairs[i][1])));
        ks_buf_done(&b);
    }
}

static void test_round_trip(void **state)
{
    uint64_t rng = 1;
    for (size_t n = 0; n < 200; n++) {
        uint8_t bytes[200];
        struct ks_buf text, back;
        ks_buf_init(&text, 1 << 10);
        ks_buf_init(&back, 1 << 10);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)ks_rng_next(&rng);
        ks_base64_encode(ks_slice(bytes, n), &text);
        assert_true(ks_base64_decode(ks_buf_view(&text), &back));
        assert_int_equal(back.len, n);
        assert_true(!n || memcmp(back.ptr, bytes, n) == 0);
        ks_buf_done(&text);
        ks_buf_done(&back);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "Z", "Zg=", "=", "====", "Zm9v=", "Z===", "Zh==", "Zm9=", "Zm 9", "Zm_v", "Zm9vZ"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ks_buf b;
        ks_buf_init(&b, 1 << 10);
        ks_buf_str(&b, "kept");
        assert_false(ks_base64_decode(ks_slice_str(bad[i]), &b));
        assert_int_equal(b.len, 4);
        ks_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
