#include "api/ingest/json_reader.h"

enum { DEPTH_MAX = 64 };

void ks_json_blanks(struct ks_json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\r' || *j->p == '\n'))
        j->p++;
}

bool ks_json_expect(struct ks_json *j, char c)
{
    ks_json_blanks(j);
    if (j->p == j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

static bool hex4(struct ks_json *j, uint32_t *ret)
{
    if (j->end - j->p < 4)
        return false;
    *ret = 0;
    for (int i = 0; i < 4; i++) {
        char c = *j->p++;
        int d = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            return false;
        *ret = *ret << 4 | (uint32_t)d;
    }
    return true;
}

static char *put_utf8(char *o, uint32_t c)
{
    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *o++ = (char)(0xe0 | c >> 12);
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    } else {
        *o++ = (char)(0xf0 | c >> 18);
        *o++ = (char)(0x80 | (c >> 12 & 63));
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    }
    return o;
}

/* A \u escape with its surrogate partner; a lone one becomes U+FFFD. */
static bool unicode(struct ks_json *j, char **o)
{
    uint32_t c, low;
    if (!hex4(j, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
        const char *back = j->p;
        j->p += 2;
        if (!hex4(j, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            j->p = back;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    *o = put_utf8(*o, c);
    return true;
}

/* A string: borrowed when it has no escapes, else decoded into the arena (never longer than its
 * source). */
bool ks_json_string(struct ks_json *j, struct ks_slice *ret)
{
    if (!ks_json_expect(j, '"'))
        return false;
    const char *start = j->p;
    while (j->p < j->end && *j->p != '"' && *j->p != '\\')
        j->p++;
    if (j->p == j->end)
        return false;
    if (*j->p == '"') {
        *ret = ks_slice(start, (size_t)(j->p++ - start));
        return true;
    }
    const char *close = j->p;
    for (; close < j->end && *close != '"'; close++)
        if (*close == '\\' && ++close == j->end)
            return false;
    char *out = ks_arena_alloc(j->arena, (size_t)(close - start) + 4), *o = out;
    if (!out)
        return false;
    memcpy(o, start, (size_t)(j->p - start));
    o += j->p - start;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    while (j->p < j->end && *j->p != '"') {
        if (*j->p != '\\') {
            *o++ = *j->p++;
            continue;
        }
        if (++j->p == j->end)
            return false;
        char c = *j->p++;
        const char *known = c ? strchr(from, c) : NULL;
        if (known)
            *o++ = to[known - from];
        else if (c != 'u' || !unicode(j, &o))
            return false;
    }
    if (j->p == j->end)
        return false;
    j->p++;
    *ret = ks_slice(out, (size_t)(o - out));
    return true;
}

/* Steps over any value of an unknown key. */
bool ks_json_skip(struct ks_json *j)
{
    int depth = 0;
    do {
        struct ks_slice s;
        ks_json_blanks(j);
        if (j->p == j->end)
            return false;
        char c = *j->p;
        if (c == '"') {
            if (!ks_json_string(j, &s))
                return false;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return false;
            j->p++;
        } else if (c == '}' || c == ']') {
            if (--depth < 0)
                return false;
            j->p++;
        } else if (c == ',' || c == ':') {
            if (!depth)
                return false;
            j->p++;
        } else {
            const char *start = j->p;
            while (j->p < j->end && !strchr(",:]}[{\" \t\r\n", *j->p))
                j->p++;
            if (j->p == start)
                return false;
        }
    } while (depth);
    return true;
}
