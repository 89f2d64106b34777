/* Digits, characters and JSON's \u against what the C library and utf8proc make of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "sys/rand.h"

static void test_digits(void **state)
{
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = ks_rng_next(&seed) >> ks_rng_below(&seed, 64), got;
        char want[17], out[17] = {0}, upper[17];
        size_t n = (size_t)snprintf(want, sizeof want, "%llx", (unsigned long long)v);
        snprintf(upper, sizeof upper, "%llX", (unsigned long long)v);
        ks_hex_put(out, v, n);
        assert_string_equal(out, want);
        assert_true(ks_hex_parse(want, n, &got) && got == v);
        assert_true(ks_hex_parse(upper, n, &got) && got == v);
        size_t at = ks_rng_below(&seed, n);
        want[at] = "g/:@`G\xe1\x11"[i % 8];
        assert_false(ks_hex_parse(want, n, &got));
    }
    char two[6];
    ks_hex_put_bytes(two, KS_SLICE_LIT("\x00\x7f\xff"));
    assert_memory_equal(two, "007fff", 6);
    assert_int_equal(ks_hex_upper(0xab), 'B');
}

static void test_characters(void **state)
{
    for (int32_t r = 0; r <= 0x10ffff; r++) {
        char got[4];
        utf8proc_uint8_t want[4];
        size_t n = ks_utf8_put(got, (uint32_t)r);
        if (ks_is_surrogate(r))
            continue;
        assert_int_equal(n, utf8proc_encode_char(r, want));
        assert_memory_equal(got, want, n);
    }
}

static void test_json_u(void **state)
{
    static const struct {
        const char *text;
        int32_t rune;
        size_t used;
    } cases[] = {
        {"0041x", 'A', 4},
        {"00e9", 0xe9, 4},
        {"FFFD", 0xfffd, 4},
        {"d83d\\ude00", 0x1f600, 10},
        {"D83D\\uDE00!", 0x1f600, 10},
        {"d83d", 0xd83d, 4},
        {"d83d\\u0041", 0xd83d, 4},
        {"d83d\\ude0", 0xd83d, 4},
        {"d83d\\nde00", 0xd83d, 4},
        {"de00\\ud83d", 0xde00, 4},
        {"d83d\\udg00", 0xd83d, 4},
        {"dbff\\udfff", 0x10ffff, 10},
        {"12", -1, 0},
        {"", -1, 0},
        {"00g1", -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used = 0;
        const char *t = cases[i].text;
        assert_int_equal(ks_json_u(t, t + strlen(t), &used), cases[i].rune);
        assert_int_equal(used, cases[i].used);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_json_u),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
