/* See json_text.h. */
#include "query/logsql/text/json_text.h"

#include "base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct reader {
    const char *p, *end;
};

static void blanks(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

/* The first quote, backslash or control character; end when there is none. */
static const char *special_char(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'), low = _mm_set1_epi8(0x1f);
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, back));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(x, low), x));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return p;
}

/* Over a string, the quote is next; its text between the quotes. */
static bool raw_string(struct reader *r, struct ks_slice *ret)
{
    const char *from = ++r->p;
    for (;;) {
        r->p = special_char(r->p, r->end);
        if (r->p == r->end || (unsigned char)*r->p < 0x20)
            return false;
        if (*r->p == '"')
            break;
        if (r->end - r->p < 2) /* a backslash at the end */
            return false;
        r->p += 2;
    }
    *ret = ks_slice(from, (size_t)(r->p - from));
    r->p++;
    return true;
}

static bool word(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(r->end - r->p) < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((r->p[i] | 32) != text[i])
            return false;
    r->p += n;
    return true;
}

/* Over a number; signs, exponents, inf and nan, as the peer takes them. */
static bool number(struct reader *r)
{
    const char *from = r->p;
    bool digit = false;
    if (r->p < r->end && (*r->p == '-' || *r->p == '+'))
        r->p++;
    if (word(r, "nan") || word(r, "inf"))
        return true;
    for (; r->p < r->end; r->p++) {
        char c = *r->p;
        if (c >= '0' && c <= '9')
            digit = true;
        else if (!(c == '.' || (c | 32) == 'e' ||
                   ((c == '-' || c == '+') && r->p > from && (r->p[-1] | 32) == 'e')))
            break;
    }
    return digit;
}

/* Over a value that is no container. */
static bool scalar(struct reader *r)
{
    struct ks_slice s;
    if (r->p == r->end)
        return false;
    switch (*r->p) {
    case '"':
        return raw_string(r, &s);
    case 't':
        return word(r, "true");
    case 'f':
        return word(r, "false");
    case 'n':
        return word(r, "null") || word(r, "nan");
    default:
        return number(r);
    }
}

static bool key(struct reader *r, struct ks_slice *ret)
{
    blanks(r);
    if (r->p == r->end || *r->p != '"' || !raw_string(r, ret))
        return false;
    blanks(r);
    if (r->p == r->end || *r->p != ':')
        return false;
    r->p++;
    blanks(r);
    return true;
}

/* Over any value, which lies in `base` containers. The kind of each open container is one bit, so
 * depth costs no stack. */
static bool skip_value(struct reader *r, unsigned base)
{
    uint64_t objects[KSI_JSON_DEPTH_MAX / 64 + 1];
    unsigned depth = 0;
    struct ks_slice s;
    for (;;) {
        blanks(r);
        if (r->p == r->end)
            return false;
        char open = *r->p;
        if (open == '{' || open == '[') {
            if (base + depth == KSI_JSON_DEPTH_MAX)
                return false;
            uint64_t bit = 1ull << depth % 64;
            objects[depth / 64] =
                open == '{' ? objects[depth / 64] | bit : objects[depth / 64] & ~bit;
            r->p++;
            blanks(r);
            if (r->p == r->end)
                return false;
            depth++;
            if (*r->p != (open == '{' ? '}' : ']')) {
                if (open == '{' && !key(r, &s))
                    return false;
                continue; /* to the first value */
            }
        } else if (!scalar(r)) {
            return false;
        }
        for (;;) { /* behind a value, or before the end of an empty container */
            if (depth == 0)
                return true;
            bool object = objects[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
            blanks(r);
            if (r->p == r->end)
                return false;
            if (*r->p == (object ? '}' : ']')) {
                r->p++;
                depth--;
                continue;
            }
            if (*r->p++ != ',' || (object && !key(r, &s)))
                return false;
            break;
        }
    }
}

/* The whole text is one value of the kind that begins with `open`. */
static bool valid_document(struct ks_slice text, char open)
{
    if (!text.len || text.ptr[0] != open)
        return false;
    struct reader r = {text.ptr, text.ptr + text.len};
    if (!skip_value(&r, 0))
        return false;
    blanks(&r);
    return r.p == r.end;
}

/* ---------------------------------------------------------------- texts */

/* A \u escape at s[i] ('u'): bytes written, 0 when it stays as it is (lone surrogates do). */
static size_t unicode_escape(struct ks_slice s, size_t i, char *out, size_t *ret_used)
{
    size_t n;
    int32_t c = ks_json_u(s.ptr + i + 1, s.ptr + s.len, &n);
    if (c < 0 || ks_is_surrogate(c))
        return 0;
    *ret_used = n + 1;
    return ks_utf8_put(out, (uint32_t)c);
}

static ks_err decode_string(struct ks_slice raw, struct ks_arena *arena, struct ks_slice *ret)
{
    if (!raw.len || !memchr(raw.ptr, '\\', raw.len)) {
        *ret = raw;
        return KS_OK;
    }
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *out = ks_arena_alloc(arena, raw.len); /* no escape is shorter than what it stands for */
    size_t n = 0;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.ptr[i] != '\\' || i + 1 == raw.len) {
            out[n++] = raw.ptr[i];
            continue;
        }
        size_t used = 0,
               len = raw.ptr[i + 1] == 'u' ? unicode_escape(raw, i + 1, out + n, &used) : 0;
        const char *known = len ? NULL : memchr(from, raw.ptr[i + 1], sizeof from - 1);
        if (len) {
            n += len;
            i += used;
        } else if (known) {
            out[n++] = to[known - from];
            i++;
        } else {
            out[n++] = '\\';
            out[n++] = raw.ptr[++i];
        }
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

/* Valid JSON without the blanks between tokens. */
static ks_err compact(struct ks_slice json, struct ks_arena *arena, struct ks_slice *ret)
{
    bool blank = false;
    for (size_t i = 0; i < json.len && !blank; i++)
        blank = (unsigned char)json.ptr[i] <= ' ';
    *ret = json;
    if (!blank)
        return KS_OK;
    char *out = ks_arena_alloc(arena, json.len);
    size_t n = 0;
    if (!out)
        return ks_arena_err(arena);
    bool quoted = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (!quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            continue;
        out[n++] = c;
        if (quoted && c == '\\' && i + 1 < json.len)
            out[n++] = json.ptr[++i];
        else if (c == '"')
            quoted = !quoted;
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

/* A value that stays whole: strings decoded, others as JSON. */
static ks_err value_text(struct ks_slice raw, struct ks_arena *arena, struct ks_slice *ret)
{
    if (raw.ptr[0] == '"')
        return decode_string(ks_slice(raw.ptr + 1, raw.len - 2), arena, ret);
    return raw.ptr[0] == '{' || raw.ptr[0] == '[' ? compact(raw, arena, ret) : (*ret = raw, KS_OK);
}

/* ---------------------------------------------------------------- flattening */

static ks_err join_name(struct ks_arena *arena, struct ks_slice prefix, struct ks_slice name,
                        struct ks_slice *ret)
{
    char *p = ks_arena_alloc(arena, prefix.len + name.len + 1);
    if (!p)
        return ks_arena_err(arena);
    memcpy(p, prefix.ptr, prefix.len);
    p[prefix.len] = '.';
    memcpy(p + prefix.len + 1, name.ptr, name.len);
    *ret = ks_slice(p, prefix.len + 1 + name.len);
    return KS_OK;
}

/* Does a key of this object make too long a name? The reader is behind its '{'. */
static bool names_too_long(struct reader r, size_t prefix_len)
{
    struct ks_slice name;
    for (;;) {
        if (!key(&r, &name))
            return false; /* empty */
        if (prefix_len + 1 + name.len > KSI_JSON_NAME_MAX)
            return true;
        (void)skip_value(&r, 0);
        blanks(&r);
        if (r.p == r.end || *r.p++ != ',')
            return false;
    }
}

struct flatten {
    struct reader r;
    struct ks_arena *arena;
    const struct ks_lq_fields *preserve, *wanted;
    struct ksi_json_fields *out;
    struct ks_slice prefix[KSI_JSON_DEPTH_MAX];
    unsigned depth; /* open objects; prefix[depth - 1] is the name of the innermost */
};

static bool stays_json(const struct flatten *f, struct ks_slice name)
{
    for (size_t i = 0; f->preserve && i < f->preserve->count; i++) {
        const struct ks_lq_field *p = &f->preserve->items[i];
        if (p->prefix ? ks_slice_has_prefix(name, p->name) : ks_slice_eq(name, p->name))
            return true;
    }
    struct reader inner = f->r;
    inner.p++;
    return names_too_long(inner, name.len);
}

enum want { WANT_NOT, WANT_BELOW, WANT_IT };

/* Whether a field of that name, or one below it, is asked for. prefix NULL: at the top. */
static enum want is_wanted(const struct ks_lq_fields *wanted, const struct ks_slice *prefix,
                           struct ks_slice name)
{
    enum want best = WANT_NOT;
    size_t head = prefix ? prefix->len + 1 : 0, len = head + name.len;
    if (!wanted || !wanted->count)
        return WANT_IT;
    for (size_t i = 0; i < wanted->count && best != WANT_IT; i++) {
        const struct ks_lq_field *w = &wanted->items[i];
        size_t n = w->name.len < len ? w->name.len : len; /* of both */
        size_t first = n < head ? n : head;
        if (prefix && ((first && memcmp(w->name.ptr, prefix->ptr, first - (first == head))) ||
                       (first == head && w->name.ptr[head - 1] != '.')))
            continue;
        if (n > head && memcmp(w->name.ptr + head, name.ptr, n - head))
            continue;
        if (w->prefix ? w->name.len <= len : w->name.len == len)
            best = WANT_IT;
        else if (w->name.len > len && w->name.ptr[len] == '.')
            best = WANT_BELOW;
    }
    return best;
}

static ks_err add_member(struct flatten *f, struct ks_slice name, struct ks_slice raw)
{
    struct ks_slice value;
    if (ks_slice_is(raw, "null"))
        return KS_OK;
    KS_TRY(value_text(raw, f->arena, &value));
    KS_TRY(ks_arena_grow(f->arena, (void **)&f->out->items, &f->out->cap, f->out->count + 1,
                         sizeof *f->out->items));
    f->out->items[f->out->count++] = (struct ksi_json_field){name, value};
    return KS_OK;
}

/* One member behind its key: opens an object or appends a field. */
static ks_err flatten_member(struct flatten *f, struct ks_slice raw_name, bool *ret_opened,
                             bool *ret_ok)
{
    const struct ks_slice *prefix = f->depth > 1 ? &f->prefix[f->depth - 1] : NULL;
    struct ks_slice name;
    const char *from = f->r.p;
    *ret_opened = false;
    KS_TRY(decode_string(raw_name, f->arena, &name));
    if (!prefix && !name.len)
        name = KS_SLICE_LIT("_msg");
    bool object = from < f->r.end && *from == '{';
    enum want want = is_wanted(f->wanted, prefix, name);
    if (want == WANT_NOT || (want == WANT_BELOW && !object)) {
        *ret_ok = skip_value(&f->r, f->depth);
        return KS_OK;
    }
    if (prefix)
        KS_TRY(join_name(f->arena, *prefix, name, &name));
    if (object && f->depth < KSI_JSON_DEPTH_MAX && !stays_json(f, name)) {
        f->r.p++;
        f->prefix[f->depth++] = name;
        *ret_opened = true;
        return KS_OK;
    }
    *ret_ok = skip_value(&f->r, f->depth);
    return *ret_ok && want == WANT_IT ? add_member(f, name, ks_slice(from, (size_t)(f->r.p - from)))
                                      : KS_OK;
}

/* Members from behind the first '{' to behind its end; *ret_ok: they are JSON. */
static ks_err flatten_members(struct flatten *f, bool *ret_ok)
{
    bool behind_value = false, behind_comma = false, opened;
    while (f->depth && *ret_ok) {
        struct ks_slice name;
        blanks(&f->r);
        if (f->r.p < f->r.end && *f->r.p == '}' && !behind_comma) {
            f->depth--;
            f->r.p++;
            behind_value = true;
            continue;
        }
        if (behind_value) {
            *ret_ok = f->r.p < f->r.end && *f->r.p++ == ',';
            behind_value = false;
            behind_comma = true;
            continue;
        }
        *ret_ok = key(&f->r, &name);
        if (!*ret_ok)
            break;
        KS_TRY(flatten_member(f, name, &opened, ret_ok));
        behind_value = !opened;
        behind_comma = false;
    }
    return KS_OK;
}

ks_err ksi_json_flatten(struct ks_slice text, const struct ks_lq_fields *preserve,
                        const struct ks_lq_fields *wanted, struct ks_arena *arena,
                        struct ksi_json_fields *out, bool *ret_ok)
{
    size_t before = out->count;
    struct flatten f;
    *ret_ok = text.len && text.ptr[0] == '{';
    if (!*ret_ok)
        return KS_OK;
    f.r = (struct reader){text.ptr + 1, text.ptr + text.len};
    f.arena = arena;
    f.preserve = preserve;
    f.wanted = wanted;
    f.out = out;
    f.depth = 1;
    KS_TRY(flatten_members(&f, ret_ok));
    blanks(&f.r);
    *ret_ok = *ret_ok && f.r.p == f.r.end;
    if (!*ret_ok)
        out->count = before;
    return KS_OK;
}

ks_err ksi_json_items(struct ks_slice text, struct ks_arena *arena, struct ks_slice **ret_items,
                      size_t *ret_count, bool *ret_ok)
{
    struct ks_slice *items = NULL;
    size_t count = 0, cap = 0;
    *ret_ok = valid_document(text, '[');
    if (!*ret_ok)
        return KS_OK;
    struct reader r = {text.ptr + 1, text.ptr + text.len};
    for (;;) {
        blanks(&r);
        if (r.p == r.end || *r.p == ']')
            break;
        if (*r.p == ',') {
            r.p++;
            continue;
        }
        const char *from = r.p;
        (void)skip_value(&r, 0);
        if (ret_items) {
            KS_TRY(ks_arena_grow(arena, (void **)&items, &cap, count + 1, sizeof *items));
            KS_TRY(value_text(ks_slice(from, (size_t)(r.p - from)), arena, &items[count]));
        }
        count++;
    }
    if (ret_items)
        *ret_items = items;
    *ret_count = count;
    return KS_OK;
}
