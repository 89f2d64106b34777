/* Order, words, case and JSON text of values. See value.h. */
#include <utf8proc.h>

#include "query/logsql/filter/value.h"

#include "base/hex.h"

/* ---------------------------------------------------------------- words */

static bool ascii_word(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool rune_word(int32_t r)
{
    if (r < 0)
        return false;
    if (r < 128)
        return ascii_word((unsigned char)r);
    switch (utf8proc_category(r)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
        return true;
    default:
        return false;
    }
}

/* The rune at s[i]; -1 for a byte that is no UTF-8. Its length, at least 1. */
static size_t rune_at(struct ks_slice s, size_t i, int32_t *ret)
{
    unsigned char c = (unsigned char)s.ptr[i];
    if (c < 128) {
        *ret = c;
        return 1;
    }
    utf8proc_int32_t r;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s.ptr + i, (utf8proc_ssize_t)(s.len - i), &r);
    if (n <= 0) {
        *ret = -1;
        return 1;
    }
    *ret = r;
    return (size_t)n;
}

bool ks_lq_word_starts_at(struct ks_slice s, size_t i)
{
    int32_t r;
    if (i >= s.len)
        return false;
    rune_at(s, i, &r);
    return rune_word(r);
}

bool ks_lq_word_ends_at(struct ks_slice s, size_t i)
{
    int32_t r;
    if (i == 0 || i > s.len)
        return false;
    size_t at = i - 1;
    if ((unsigned char)s.ptr[at] < 128)
        return ascii_word((unsigned char)s.ptr[at]);
    for (int k = 0; k < 3 && at > 0 && ((unsigned char)s.ptr[at] & 0xc0) == 0x80; k++)
        at--;
    size_t n = rune_at(ks_slice(s.ptr, i), at, &r);
    return at + n == i && rune_word(r);
}

bool ks_lq_next_word(struct ks_slice s, size_t *pos, struct ks_slice *ret)
{
    size_t i = *pos, n;
    int32_t r;
    while (i < s.len) {
        n = rune_at(s, i, &r);
        if (rune_word(r))
            break;
        i += n;
    }
    size_t from = i;
    while (i < s.len) {
        n = rune_at(s, i, &r);
        if (!rune_word(r))
            break;
        i += n;
    }
    *pos = i;
    *ret = ks_slice_sub(s, from, i - from);
    return i > from;
}

void ks_lq_lower(struct ks_buf *out, struct ks_slice s)
{
    if (!ks_buf_reserve(out, s.len))
        return;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < 128) {
            ks_buf_byte(out, c >= 'A' && c <= 'Z' ? c + 32 : c);
            i++;
            continue;
        }
        int32_t r;
        size_t n = rune_at(s, i, &r);
        if (r < 0) {
            ks_buf_byte(out, c);
        } else {
            utf8proc_uint8_t enc[4];
            utf8proc_ssize_t k = utf8proc_encode_char(utf8proc_tolower(r), enc);
            ks_buf_add(out, enc, (size_t)k);
        }
        i += n;
    }
}

size_t ks_lq_rune_count(struct ks_slice s)
{
    size_t n = 0;
    int32_t r;
    for (size_t i = 0; i < s.len; n++)
        i += rune_at(s, i, &r);
    return n;
}

/* ---------------------------------------------------------------- JSON */

static bool json_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '\'';
}

static void json_escape(struct ks_buf *b, unsigned char c)
{
    char out[6] = {'\\', 'u', '0', '0', ks_hex_digit(c >> 4), ks_hex_digit(c)};
    size_t n = 2;
    switch (c) {
    case '"':
    case '\\':
        out[1] = (char)c;
        break;
    case '\n':
        out[1] = 'n';
        break;
    case '\r':
        out[1] = 'r';
        break;
    case '\t':
        out[1] = 't';
        break;
    case '\b':
        out[1] = 'b';
        break;
    case '\f':
        out[1] = 'f';
        break;
    default:
        n = 6;
    }
    ks_buf_add(b, out, n);
}

void ks_lq_buf_json(struct ks_buf *b, struct ks_slice s)
{
    ks_buf_byte(b, '"');
    for (size_t i = 0; i < s.len;) {
        size_t from = i;
        while (i < s.len && json_plain((unsigned char)s.ptr[i]))
            i++;
        ks_buf_slice(b, ks_slice_sub(s, from, i - from));
        if (i < s.len)
            json_escape(b, (unsigned char)s.ptr[i++]);
    }
    ks_buf_byte(b, '"');
}

/* ---------------------------------------------------------------- order */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct ks_slice take_run(struct ks_slice *s, bool digits)
{
    size_t n = 0;
    while (n < s->len && is_digit(s->ptr[n]) == digits)
        n++;
    struct ks_slice run = ks_slice(s->ptr, n);
    *s = ks_slice_from(*s, n);
    return run;
}

/* By value, whatever their length; of equal values the shorter text first. */
static int digits_compare(struct ks_slice a, struct ks_slice b)
{
    size_t len_a = a.len, len_b = b.len;
    while (a.len && a.ptr[0] == '0')
        a = ks_slice_from(a, 1);
    while (b.len && b.ptr[0] == '0')
        b = ks_slice_from(b, 1);
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    int c = ks_slice_cmp(a, b);
    return c ? c : (len_a > len_b) - (len_a < len_b);
}

/* Run by run, the one without digits first: "a1" is before "a 1" as "a" is before "a ". */
int ks_lq_natural_compare(struct ks_slice a, struct ks_slice b)
{
    bool digits = false;
    while (a.len && b.len) {
        struct ks_slice x = take_run(&a, digits), y = take_run(&b, digits);
        int c = digits ? digits_compare(x, y) : ks_slice_cmp(x, y);
        if (c)
            return c < 0 ? -1 : 1;
        digits = !digits;
    }
    return (a.len > 0) - (b.len > 0);
}

/* Can the text begin a number, a duration, a size or a time? A cheap no for most texts. */
static bool may_be_number(struct ks_slice s)
{
    if (s.len == 0)
        return false;
    char c = s.ptr[0];
    return is_digit(c) || c == '-' || c == '+' || c == '.' || (c | 0x20) == 'i' ||
           (c | 0x20) == 'n';
}

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

int ks_lq_compare(struct ks_slice a, struct ks_slice b)
{
    if (ks_slice_eq(a, b))
        return 0;
    if (may_be_number(a) && may_be_number(b)) {
        int64_t ia, ib;
        if (ks_lq_parse_i64(a, &ia) && ks_lq_parse_i64(b, &ib))
            return ORDER(ia, ib);
        uint64_t ua, ub;
        if (ks_lq_parse_u64(a, &ua) && ks_lq_parse_u64(b, &ub))
            return ORDER(ua, ub);
        if (ks_lq_parse_rfc3339(a, &ia) && ks_lq_parse_rfc3339(b, &ib))
            return ORDER(ia, ib);
        double da, db;
        if (ks_lq_parse_number(a, &da) && ks_lq_parse_number(b, &db))
            return ORDER(da, db);
    }
    return ks_lq_natural_compare(a, b);
}
