/* See collapse_nums.h. The rules are VictoriaLogs 1.50's, found by asking it. */
#include "query/logsql/text/collapse_nums.h"

#include "base/hex.h"
#include "query/logsql/filter/value.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_hex(char c)
{
    return ks_hex_value(c) >= 0;
}

/* Letters that stand before a number without being its word: h5, v1, 0x12, T10; and '_'. */
static bool may_begin(struct ks_slice s, size_t at)
{
    return at == 0 || memchr("hmsvxTX_", s.ptr[at - 1], 8) || !ks_lq_word_ends_at(s, at);
}
/* Units behind it: 5h, 5ms, 10Z; and '_'. */
static bool may_end(struct ks_slice s, size_t at)
{
    return at == s.len || memchr("hmnsuTZ_", s.ptr[at], 8) || !ks_lq_word_starts_at(s, at);
}

void ksi_lq_collapse_nums(struct ks_slice s, struct ks_buf *out)
{
    size_t from = 0, i = 0;
    while (i < s.len) {
        if (!is_hex(s.ptr[i])) {
            i++;
            continue;
        }
        size_t start = i;
        bool decimal = true;
        for (; i < s.len && is_hex(s.ptr[i]); i++)
            decimal = decimal && is_digit(s.ptr[i]);
        size_t len = i - start;
        if ((!decimal && (len < 4 || len % 2)) || !may_begin(s, start) || !may_end(s, i))
            continue;
        ks_buf_slice(out, ks_slice_sub(s, from, start - from));
        ks_buf_add(out, "<N>", 3);
        from = i;
    }
    ks_buf_slice(out, ks_slice_sub(s, from, s.len - from));
}

static bool has(struct ks_slice s, size_t at, const char *text, size_t *ret_after)
{
    size_t n = strlen(text);
    if (at > s.len || !ks_slice_has_prefix(ks_slice_from(s, at), ks_slice(text, n)))
        return false;
    *ret_after = at + n;
    return true;
}

static bool match_time(struct ks_slice s, size_t at, size_t *ret_after)
{
    if (!has(s, at, "<N>:<N>:<N>", ret_after))
        return false;
    (void)(has(s, *ret_after, ".<N>", ret_after) || has(s, *ret_after, ",<N>", ret_after));
    return true;
}

static bool match_date(struct ks_slice s, size_t at, size_t *ret_after)
{
    return has(s, at, "<N>-<N>-<N>", ret_after) || has(s, at, "<N>/<N>/<N>", ret_after);
}

static bool match_datetime(struct ks_slice s, size_t at, size_t *ret_after)
{
    size_t p;
    if (!match_date(s, at, &p) || p >= s.len || (s.ptr[p] != 'T' && s.ptr[p] != ' ') ||
        !match_time(s, p + 1, &p))
        return false;
    *ret_after = p;
    (void)(has(s, p, "Z", ret_after) || has(s, p, "+<N>:<N>", ret_after) ||
           has(s, p, "-<N>:<N>", ret_after));
    return true;
}

void ksi_lq_collapse_prettify(struct ks_slice s, struct ks_buf *out)
{
    size_t from = 0, i = 0;
    while (i < s.len) {
        const char *name = NULL;
        size_t after = 0;
        if (s.ptr[i] != '<') {
            i++;
            continue;
        }
        if (has(s, i, "<N>-<N>-<N>-<N>-<N>", &after))
            name = "<UUID>";
        else if (has(s, i, "<N>.<N>.<N>.<N>", &after))
            name = "<IP4>";
        else if (match_datetime(s, i, &after))
            name = "<DATETIME>";
        else if (match_date(s, i, &after))
            name = "<DATE>";
        else if (match_time(s, i, &after))
            name = "<TIME>";
        if (!name) {
            i++;
            continue;
        }
        ks_buf_slice(out, ks_slice_sub(s, from, i - from));
        ks_buf_str(out, name);
        from = i = after;
    }
    if (from < s.len)
        ks_buf_slice(out, ks_slice_sub(s, from, s.len - from));
}
