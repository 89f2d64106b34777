#include "api/ingest/json_reader.h"

#include "base/utf8.h"

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

/* A \u escape with its surrogate partner; a lone one becomes U+FFFD. */
static bool unicode(struct ks_json *j, char **o)
{
    size_t used;
    int32_t c = ks_json_u(j->p, j->end, &used);
    if (c < 0)
        return false;
    j->p += used;
    *o += ks_utf8_put(*o, ks_is_surrogate(c) ? 0xfffd : (uint32_t)c);
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
