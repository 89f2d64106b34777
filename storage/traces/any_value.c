#include "storage/traces/any_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"

enum { SORT_MAX = 256 };

/* --- protobuf --- */
static bool varint(const uint8_t **pp, const uint8_t *end, uint64_t *ret)
{
    struct ks_reader r = {*pp, end, false};
    *ret = ks_read_varint(&r);
    *pp = r.p;
    return !r.bad;
}

/* One field: its key, and number or bytes; false at the end or when malformed (*ok). */
static bool field(const uint8_t **pp, const uint8_t *end, uint64_t *key, uint64_t *number,
                  struct ks_slice *bytes, bool *ok)
{
    const uint8_t *p = *pp;
    uint64_t len = 0;
    *ok = true;
    if (p == end)
        return false;
    *ok = varint(&p, end, key) && *key >> 3;
    if (*ok && (*key & 7) == 0) {
        *ok = varint(&p, end, number);
    } else if (*ok && (*key & 7) == 2) {
        *ok = varint(&p, end, &len) && len <= (uint64_t)(end - p);
        *bytes = ks_slice(p, *ok ? (size_t)len : 0);
        p += *ok ? len : 0;
    } else if (*ok) {
        size_t width = (*key & 7) == 1 ? 8 : 4;
        *ok = ((*key & 7) == 1 || (*key & 7) == 5) && (size_t)(end - p) >= width;
        *number = 0;
        if (*ok) {
            memcpy(number, p, width);
            p += width;
        }
    }
    *pp = p;
    return *ok;
}

bool ks_any_read(struct ks_slice message, struct ks_attr *ret)
{
    const uint8_t *p = (const uint8_t *)message.ptr, *end = p + message.len;
    uint64_t key, number = 0;
    struct ks_slice bytes = {0};
    bool ok = true;
    struct ks_slice name = ret->key;
    *ret = (struct ks_attr){.key = name};
    while (message.len && field(&p, end, &key, &number, &bytes, &ok)) {
        static const struct {
            uint8_t key, type;
        } kinds[] = {{1 << 3 | 2, KS_ATTR_STRING}, {2 << 3, KS_ATTR_BOOL},
                     {3 << 3, KS_ATTR_INT},        {4 << 3 | 1, KS_ATTR_DOUBLE},
                     {5 << 3 | 2, KS_ATTR_ARRAY},  {6 << 3 | 2, KS_ATTR_KVLIST},
                     {7 << 3 | 2, KS_ATTR_BYTES}};
        for (size_t i = 0; i < 7; i++)
            if (kinds[i].key == key) {
                ret->type = kinds[i].type;
                ret->text = bytes;
                ret->number = ret->type == KS_ATTR_BOOL ? number != 0 : (int64_t)number;
                ret->real = ks_f64_from_bits(number);
            }
    }
    return ok;
}

struct ks_any_iter ks_any_iter(struct ks_slice bytes, enum ks_attr_type type)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    return (struct ks_any_iter){p, p ? p + bytes.len : p, type};
}

/* A KeyValue message. */
static bool read_pair(struct ks_slice message, struct ks_attr *ret)
{
    const uint8_t *p = (const uint8_t *)message.ptr, *end = p + message.len;
    uint64_t key, number;
    struct ks_slice bytes, value = {"", 0};
    bool ok = true;
    ret->key = ks_slice("", 0);
    while (message.len && field(&p, end, &key, &number, &bytes, &ok)) {
        if (key == (1 << 3 | 2))
            ret->key = bytes;
        else if (key == (2 << 3 | 2))
            value = bytes;
    }
    return ok && ks_any_read(value, ret);
}

/* As ks_any_next, but tells malformed from the end. */
static bool next(struct ks_any_iter *it, struct ks_attr *ret, bool *ok)
{
    uint64_t key, number;
    struct ks_slice bytes;
    while (field(&it->p, it->end, &key, &number, &bytes, ok)) {
        if (key != (1 << 3 | 2))
            continue;
        ret->key = ks_slice("", 0);
        *ok = it->type == KS_ATTR_KVLIST ? read_pair(bytes, ret) : ks_any_read(bytes, ret);
        return *ok;
    }
    return false;
}

bool ks_any_next(struct ks_any_iter *it, struct ks_attr *ret)
{
    bool ok;
    return next(it, ret, &ok);
}

bool ks_any_check(struct ks_slice bytes, enum ks_attr_type type)
{
    struct ks_any_iter stack[KS_ANY_DEPTH_MAX];
    size_t depth = 0;
    stack[depth++] = ks_any_iter(bytes, type);
    while (depth) {
        struct ks_attr a;
        bool ok;
        if (!next(&stack[depth - 1], &a, &ok)) {
            if (!ok)
                return false;
            depth--;
        } else if (a.type == KS_ATTR_ARRAY || a.type == KS_ATTR_KVLIST) {
            if (depth == KS_ANY_DEPTH_MAX)
                return false;
            stack[depth++] = ks_any_iter(a.text, a.type);
        }
    }
    return true;
}

/* --- JSON as Go has it --- */
/* The length of a valid UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90);
    return bad ? 0 : n;
}

static inline bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

static void escape(struct ks_buf *out, unsigned char c)
{
    char u[6] = {'\\', 'u', '0', '0', ks_hex_digit(c >> 4), ks_hex_digit(c)};
    const char *named = c == '"'    ? "\\\""
                        : c == '\\' ? "\\\\"
                        : c == '\n' ? "\\n"
                        : c == '\r' ? "\\r"
                        : c == '\t' ? "\\t"
                        : c == '\b' ? "\\b"
                        : c == '\f' ? "\\f"
                                    : NULL;
    if (named)
        ks_buf_add(out, named, 2);
    else
        ks_buf_add(out, u, 6);
}

void ks_go_json_str(struct ks_buf *out, struct ks_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr, *end = s.len ? p + s.len : p;
    ks_buf_byte(out, '"');
    while (s.len && p < end) {
        const unsigned char *run = p;
        while (p < end && plain(*p))
            p++;
        ks_buf_add(out, run, (size_t)(p - run));
        if (p == end)
            break;
        size_t n = utf8_len(p, (size_t)(end - p));
        if (*p < 0x80) {
            if (*p == 0x7f)
                ks_buf_byte(out, 0x7f);
            else
                escape(out, *p);
            p++;
        } else if (!n) {
            ks_buf_str(out, "\\ufffd");
            p++;
        } else {
            bool separator = n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8;
            if (separator)
                ks_buf_str(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
            else
                ks_buf_add(out, p, n);
            p += n;
        }
    }
    ks_buf_byte(out, '"');
}

void ks_go_json_f64(struct ks_buf *out, double v)
{
    double a = fabs(v);
    char text[KS_F64_TEXT_MAX];
    if (!isfinite(v)) {
        ks_buf_str(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    if (a != 0 && a < 1e-6) { /* 1e-7, not 1e-07 */
        size_t n = ks_f64_format(text, v);
        char *e = memchr(text, 'e', n);
        if (e && e + 4 == text + n && e[1] == '-' && e[2] == '0') {
            e[2] = e[3];
            n--;
        }
        ks_buf_add(out, text, n);
        return;
    }
    size_t n = a < 1e21 ? ks_f64_format_fixed(text, v) : ks_f64_format(text, v);
    ks_buf_add(out, text, n);
}

static void scalar_json(const struct ks_attr *a, struct ks_buf *out)
{
    switch (a->type) {
    case KS_ATTR_STRING:
        ks_go_json_str(out, a->text);
        break;
    case KS_ATTR_BOOL:
        ks_buf_str(out, a->number ? "true" : "false");
        break;
    case KS_ATTR_INT:
        ks_buf_i64_dec(out, a->number);
        break;
    case KS_ATTR_DOUBLE:
        ks_go_json_f64(out, a->real);
        break;
    case KS_ATTR_BYTES:
        ks_buf_byte(out, '"');
        ks_base64_encode(a->text, out);
        ks_buf_byte(out, '"');
        break;
    default:
        ks_buf_str(out, "null");
    }
}

static int by_key(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct ks_attr *)a)->key, ((const struct ks_attr *)b)->key);
}

/* One level of the walk: what is left of a list, or of a map whose keys were sorted. */
struct level {
    struct ks_any_iter it;
    struct ks_attr *sorted; /* NULL: in order */
    size_t count, at;
    bool is_map, first;
};

static void open_level(struct level *l, const struct ks_attr *a, struct ks_buf *out)
{
    struct ks_attr e;
    *l = (struct level){
        .it = ks_any_iter(a->text, a->type), .is_map = a->type == KS_ATTR_KVLIST, .first = true};
    ks_buf_byte(out, l->is_map ? '{' : '[');
    if (!l->is_map)
        return;
    struct ks_any_iter it = l->it;
    size_t n = 0;
    while (n <= SORT_MAX && ks_any_next(&it, &e))
        n++;
    l->sorted = n && n <= SORT_MAX ? ks_alloc_array(n, sizeof e) : NULL;
    if (!l->sorted)
        return; /* huge maps and those without memory stay in the order they came */
    while (l->count < n && ks_any_next(&l->it, &e))
        l->sorted[l->count++] = e;
    qsort(l->sorted, l->count, sizeof e, by_key);
}

static bool level_next(struct level *l, struct ks_attr *ret)
{
    if (!l->sorted)
        return ks_any_next(&l->it, ret);
    if (l->at == l->count)
        return false;
    *ret = l->sorted[l->at++];
    return true;
}

void ks_any_json(const struct ks_attr *a, struct ks_buf *out)
{
    struct level stack[KS_ANY_DEPTH_MAX + 1];
    size_t depth = 0;
    if (a->type != KS_ATTR_ARRAY && a->type != KS_ATTR_KVLIST) {
        scalar_json(a, out);
        return;
    }
    open_level(&stack[depth++], a, out);
    while (depth) {
        struct level *l = &stack[depth - 1];
        struct ks_attr e;
        if (!level_next(l, &e)) {
            ks_buf_byte(out, l->is_map ? '}' : ']');
            ks_free(l->sorted);
            depth--;
            continue;
        }
        if (!l->first)
            ks_buf_byte(out, ',');
        l->first = false;
        if (l->is_map) {
            ks_go_json_str(out, e.key);
            ks_buf_byte(out, ':');
        }
        if ((e.type == KS_ATTR_ARRAY || e.type == KS_ATTR_KVLIST) && depth < KS_ANY_DEPTH_MAX)
            open_level(&stack[depth++], &e, out);
        else
            scalar_json(&e, out);
    }
}

void ks_attr_text(const struct ks_attr *a, struct ks_buf *out)
{
    switch (a->type) {
    case KS_ATTR_EMPTY:
        break;
    case KS_ATTR_STRING:
        ks_buf_slice(out, a->text);
        break;
    case KS_ATTR_BYTES:
        ks_base64_encode(a->text, out);
        break;
    case KS_ATTR_DOUBLE:
        if (isfinite(a->real))
            ks_go_json_f64(out, a->real);
        else
            ks_buf_str(out, isnan(a->real) ? "NaN" : a->real > 0 ? "+Inf" : "-Inf");
        break;
    default:
        ks_any_json(a, out);
    }
}

/* --- comparing with a text --- */
struct ks_attr_match ks_attr_match_of(struct ks_slice text)
{
    struct ks_attr_match m = {.text = text};
    m.is_int = ks_i64_parse(text, &m.number);
    m.is_real = ks_f64_parse(text, &m.real);
    m.is_bool = ks_slice_is(text, "true") || ks_slice_is(text, "false");
    if (m.is_bool)
        m.number = text.len == 4;
    return m;
}

static bool long_text_is(const struct ks_attr *a, struct ks_slice text)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_attr_text(a, &b);
    bool same = ks_buf_status(&b) == KS_OK && ks_slice_eq(ks_buf_view(&b), text);
    ks_buf_done(&b);
    return same;
}

static bool hex_is(struct ks_slice bytes, struct ks_slice text)
{
    if (text.len != 2 * bytes.len)
        return false;
    for (size_t i = 0; i < bytes.len; i++) {
        char two[3];
        snprintf(two, sizeof two, "%02x", (unsigned char)bytes.ptr[i]);
        if (memcmp(two, text.ptr + 2 * i, 2) != 0)
            return false;
    }
    return true;
}

bool ks_attr_is(const struct ks_attr *a, const struct ks_attr_match *m)
{
    switch (a->type) {
    case KS_ATTR_EMPTY:
        return m->text.len == 0;
    case KS_ATTR_STRING:
        return ks_slice_eq(a->text, m->text);
    case KS_ATTR_BOOL:
        return m->is_bool && m->number == a->number;
    case KS_ATTR_INT:
        return m->is_int && m->number == a->number;
    case KS_ATTR_DOUBLE:
        return m->is_real && (m->real == a->real || (isnan(m->real) && isnan(a->real)));
    case KS_ATTR_BYTES:
        return hex_is(a->text, m->text) || long_text_is(a, m->text);
    default:
        return m->text.len && (m->text.ptr[0] == '[' || m->text.ptr[0] == '{') &&
               long_text_is(a, m->text);
    }
}
