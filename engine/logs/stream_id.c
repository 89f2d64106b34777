/*
 * The id and the text of a stream, as VictoriaLogs has them, since clients keep ids: XXH64 of the
 * tags marshalled as a varint count, then each name and value with a varint length in front; the
 * second half is the hash of the same bytes with "magic!" behind them.
 */
#include <string.h>

#include "base/mem.h"
#include "engine/logs/log_batch.h"

static size_t tag_count(struct ks_slice tags)
{
    struct ks_labels_iter it = ks_labels_iter(tags);
    struct ks_label l;
    size_t n = 0;
    while (ks_labels_next(&it, &l))
        n++;
    return n;
}

struct ks_stream_id ks_stream_id_of(struct ks_tenant tenant, struct ks_slice tags)
{
    static const char suffix[6] = {'m', 'a', 'g', 'i', 'c', '!'};
    char small[1024], *p = small;
    /* Label bytes are the peer's marshalling but for the count in front. */
    if (tags.len + KS_VARINT_MAX + sizeof suffix > sizeof small) {
        p = ks_alloc(tags.len + KS_VARINT_MAX + sizeof suffix);
        KS_ASSERT(p); /* tags are bounded by a batch's scratch: 1 MiB */
    }
    size_t n = ks_varint_put((uint8_t *)p, tag_count(tags));
    if (tags.len)
        memcpy(p + n, tags.ptr, tags.len);
    n += tags.len;
    memcpy(p + n, suffix, sizeof suffix);
    struct ks_stream_id id = {tenant, ks_xxh64(p, n), ks_xxh64(p, n + sizeof suffix)};
    if (p != small)
        ks_free(p);
    return id;
}

/* The length of the UTF-8 sequence at p, 0 when it is none. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (p[0] >= 0xf5 || (p[0] >= 0x80 && p[0] < 0xc2) || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

/* As Go's strconv.Quote: control characters and bytes that are no UTF-8 are escaped. */
static void quote(struct ks_slice s, struct ks_buf *out)
{
    static const char escaped[] = "\a\b\f\n\r\t\v\\\"", letters[] = "abfnrtv\\\"";
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len;) {
        const uint8_t *p = (const uint8_t *)s.ptr + i;
        const char *at = *p ? strchr(escaped, *p) : NULL;
        size_t n = utf8_len(p, s.len - i);
        if (at) {
            ks_buf_byte(out, '\\');
            ks_buf_byte(out, (uint8_t)letters[at - escaped]);
        } else if (*p < ' ' || *p == 0x7f || !n) {
            ks_buf_printf(out, "\\x%02x", *p);
        } else {
            ks_buf_add(out, p, n);
        }
        i += n ? n : 1;
    }
    ks_buf_byte(out, '"');
}

void ks_stream_print(struct ks_slice tags, struct ks_buf *out)
{
    struct ks_labels_iter it = ks_labels_iter(tags);
    struct ks_label l;
    bool first = true;
    ks_buf_byte(out, '{');
    while (ks_labels_next(&it, &l)) {
        if (!first)
            ks_buf_byte(out, ',');
        first = false;
        ks_buf_slice(out, l.name);
        ks_buf_byte(out, '=');
        quote(l.value, out);
    }
    ks_buf_byte(out, '}');
}

static void put_hex(uint64_t v, unsigned digits, char *out)
{
    for (unsigned i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[v >> (4 * (digits - 1 - i)) & 15];
}

void ks_stream_id_print(struct ks_stream_id id, char out[KS_STREAM_ID_TEXT])
{
    put_hex(id.tenant.account, 8, out);
    put_hex(id.tenant.project, 8, out + 8);
    put_hex(id.hi, 16, out + 16);
    put_hex(id.lo, 16, out + 32);
}

static bool get_hex(const char *p, unsigned digits, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < digits; i++) {
        int c = p[i] | 0x20;
        if (p[i] >= '0' && p[i] <= '9')
            v = v << 4 | (uint64_t)(p[i] - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

bool ks_stream_id_parse(struct ks_slice text, struct ks_stream_id *ret)
{
    uint64_t account, project, hi, lo;
    if (text.len != KS_STREAM_ID_TEXT || !get_hex(text.ptr, 8, &account) ||
        !get_hex(text.ptr + 8, 8, &project) || !get_hex(text.ptr + 16, 16, &hi) ||
        !get_hex(text.ptr + 32, 16, &lo))
        return false;
    *ret = (struct ks_stream_id){{(uint32_t)account, (uint32_t)project}, hi, lo};
    return true;
}
