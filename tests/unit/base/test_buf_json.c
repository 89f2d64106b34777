/* JSON strings: what needs an escape gets it wherever it stands, all else is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { LEN_MAX = 40 };

/* By the byte, ASCII only. */
static size_t naive(const char *s, size_t n, char *out)
{
    size_t to = 0;
    out[to++] = '"';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            to += (size_t)sprintf(out + to, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            to += (size_t)sprintf(out + to, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20)
            to += (size_t)sprintf(out + to, "\\u%04x", c);
        else
            out[to++] = (char)c;
    }
    out[to++] = '"';
    return to;
}

static void check(const char *s, size_t n)
{
    char expected[6 * LEN_MAX + 16];
    struct ks_buf b;
    ks_buf_init(&b, 4096);
    ks_buf_json_str(&b, ks_slice(s, n));
    assert_int_equal(ks_buf_status(&b), KS_OK);
    assert_int_equal(b.len, naive(s, n, expected));
    assert_memory_equal(b.ptr, expected, b.len);
    ks_buf_done(&b);
}

/* Every ASCII byte at every place of every length, on a text that ends where memory of ours does.
 */
static void test_every_byte_everywhere(void **state)
{
    for (size_t n = 0; n <= LEN_MAX; n++) {
        char *s = malloc(n + !n);
        memset(s, 'a', n + !n);
        check(s, n);
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 0x80; c++) {
                s[at] = (char)c;
                check(s, n);
                s[at] = (char)(' ' + at);
            }
        free(s);
    }
}

static void is(const char *text, const char *json)
{
    struct ks_buf b;
    ks_buf_init(&b, 4096);
    ks_buf_json_str(&b, ks_slice_str(text));
    assert_int_equal(b.len, strlen(json));
    assert_memory_equal(b.ptr, json, b.len);
    ks_buf_done(&b);
}

static void test_utf8(void **state)
{
    is("\xc3\xa9", "\"\xc3\xa9\"");
    is("abcdefgh\xe2\x82\xac", "\"abcdefgh\xe2\x82\xac\"");
    is("abcdefg\xf0\x9f\x98\x80 \"", "\"abcdefg\xf0\x9f\x98\x80 \\\"\"");
    is("\xff", "\"\xef\xbf\xbd\"");
    is("abcdefgh\x80", "\"abcdefgh\xef\xbf\xbd\"");
    is("\xc3", "\"\xef\xbf\xbd\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_byte_everywhere),
                                       cmocka_unit_test(test_utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
