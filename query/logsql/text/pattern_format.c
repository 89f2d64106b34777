/* The options of format: see pattern.h. */
#include <utf8proc.h>

#include "base/base64.h"
#include "base/hex.h"
#include "base/num.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/value_key.h"
#include "query/logsql/text/pattern.h"

bool ksi_lq_format_opt(struct ks_slice name, enum ksi_lq_format_opt *ret)
{
    static const struct {
        const char *name;
        enum ksi_lq_format_opt opt;
    } opts[] = {
        {"", KSI_LQ_FMT_PLAIN},
        {"plain", KSI_LQ_FMT_PLAIN},
        {"q", KSI_LQ_FMT_Q},
        {"uc", KSI_LQ_FMT_UC},
        {"lc", KSI_LQ_FMT_LC},
        {"time", KSI_LQ_FMT_TIME},
        {"duration", KSI_LQ_FMT_DURATION},
        {"duration_seconds", KSI_LQ_FMT_DURATION_SECONDS},
        {"ipv4", KSI_LQ_FMT_IPV4},
        {"hexencode", KSI_LQ_FMT_HEXENCODE},
        {"hexdecode", KSI_LQ_FMT_HEXDECODE},
        {"hexnumencode", KSI_LQ_FMT_HEXNUMENCODE},
        {"hexnumdecode", KSI_LQ_FMT_HEXNUMDECODE},
        {"base64encode", KSI_LQ_FMT_BASE64ENCODE},
        {"base64decode", KSI_LQ_FMT_BASE64DECODE},
        {"urlencode", KSI_LQ_FMT_URLENCODE},
        {"urldecode", KSI_LQ_FMT_URLDECODE},
    };
    for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) {
        if (ks_slice_is(name, opts[i].name)) {
            *ret = opts[i].opt;
            return true;
        }
    }
    return false;
}

static void upper(struct ks_slice s, struct ks_buf *out)
{
    while (s.len) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)s.ptr, (utf8proc_ssize_t)s.len, &c);
        if (n <= 0) {
            ks_buf_byte(out, (uint8_t)s.ptr[0]);
            s = ks_slice_from(s, 1);
            continue;
        }
        if (ks_buf_reserve(out, 4))
            out->len += (size_t)utf8proc_encode_char(utf8proc_toupper(c),
                                                     (utf8proc_uint8_t *)out->ptr + out->len);
        s = ks_slice_from(s, (size_t)n);
    }
}

static void hex_encode(struct ks_slice v, struct ks_buf *out)
{
    for (size_t i = 0; i < v.len; i++) {
        ks_buf_byte(out, (uint8_t)ks_hex_upper((unsigned char)v.ptr[i] >> 4));
        ks_buf_byte(out, (uint8_t)ks_hex_upper((unsigned char)v.ptr[i]));
    }
}

/* Pair by pair; pairs that are no hex and the odd byte at the end stay as they are. */
static void hex_decode(struct ks_slice v, struct ks_buf *out)
{
    size_t i = 0;
    for (; i + 1 < v.len; i += 2) {
        int hi = ks_hex_value(v.ptr[i]), lo = ks_hex_value(v.ptr[i + 1]);
        if (hi >= 0 && lo >= 0)
            ks_buf_byte(out, (uint8_t)(hi << 4 | lo));
        else
            ks_buf_slice(out, ks_slice_sub(v, i, 2));
    }
    ks_buf_slice(out, ks_slice_sub(v, i, v.len - i));
}

static bool hex_number(struct ks_slice v, struct ks_buf *out)
{
    uint64_t n = 0;
    if (v.len > 16 || !ks_hex_parse(v.ptr, v.len, &n))
        return false;
    ks_buf_u64_dec(out, n);
    return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool base64_decode(struct ks_slice v, struct ks_buf *out)
{
    size_t from = out->len;
    if (v.len % 4)
        return false;
    for (size_t i = 0; i < v.len; i += 4) {
        uint32_t w = 0;
        size_t pad = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = v.ptr[i + k];
            const char *d = c && c != '=' ? memchr(base64_digits, c, 64) : NULL;
            bool end = c == '=' && i + 4 == v.len && k >= 2;
            if ((!d && !end) || (d && pad)) {
                out->len = from;
                return false;
            }
            pad += end;
            w = w << 6 | (d ? (uint32_t)(d - base64_digits) : 0);
        }
        for (size_t k = 0; k < 3 - pad; k++)
            ks_buf_byte(out, (uint8_t)(w >> (16 - 8 * k)));
    }
    return true;
}

static void url_encode(struct ks_slice v, struct ks_buf *out)
{
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
                     c == '_' || c == '.' || c == '~';
        if (plain || c == ' ') {
            ks_buf_byte(out, plain ? c : '+');
        } else {
            ks_buf_byte(out, '%');
            ks_buf_byte(out, (uint8_t)ks_hex_upper(c >> 4));
            ks_buf_byte(out, (uint8_t)ks_hex_upper(c));
        }
    }
}

static bool url_decode(struct ks_slice v, struct ks_buf *out)
{
    size_t from = out->len;
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] == '+') {
            ks_buf_byte(out, ' ');
        } else if (v.ptr[i] != '%') {
            ks_buf_byte(out, (uint8_t)v.ptr[i]);
        } else if (i + 2 < v.len && ks_hex_value(v.ptr[i + 1]) >= 0 &&
                   ks_hex_value(v.ptr[i + 2]) >= 0) {
            ks_buf_byte(out,
                        (uint8_t)(ks_hex_value(v.ptr[i + 1]) << 4 | ks_hex_value(v.ptr[i + 2])));
            i += 2;
        } else {
            out->len = from;
            return false;
        }
    }
    return true;
}

/* A plain integer with an optional sign, no zeros in front: what duration and ipv4 are made of. */
static bool whole(struct ks_slice v, int64_t *ret)
{
    if (v.len > 1 && v.ptr[0] == '0')
        return false;
    return ks_lq_parse_i64(v, ret);
}

/* The forms made of numbers; false when v does not fit. */
static bool format_number(enum ksi_lq_format_opt opt, struct ks_slice v, struct ks_buf *out)
{
    int64_t n;
    uint64_t u;
    if (!ks_buf_reserve(out, KS_F64_TEXT_MAX + 64))
        return true;
    char *end = out->ptr + out->len;
    switch (opt) {
    case KSI_LQ_FMT_TIME:
        if (!ks_lq_parse_unix(v, &n))
            return false;
        out->len += ks_lq_time_format(end, n);
        return true;
    case KSI_LQ_FMT_DURATION:
        if (!whole(v, &n))
            return false;
        out->len += ks_lq_duration_format(end, n);
        return true;
    case KSI_LQ_FMT_DURATION_SECONDS:
        if (!ks_lq_parse_duration(v, &n))
            return false;
        out->len += ks_lq_f64_format(end, (double)n / 1e9);
        return true;
    case KSI_LQ_FMT_IPV4:
        if (!whole(v, &n) || n < 0 || n > UINT32_MAX)
            return false;
        out->len += ks_lq_ipv4_format(end, (uint32_t)n);
        return true;
    case KSI_LQ_FMT_HEXNUMENCODE:
        if ((v.len > 1 && v.ptr[0] == '0') || !ks_lq_parse_u64(v, &u))
            return false;
        for (int shift = 60; shift >= 0; shift -= 4)
            ks_buf_byte(out, (uint8_t)ks_hex_upper((unsigned)(u >> shift)));
        return true;
    default:
        return false;
    }
}

static bool format_text(enum ksi_lq_format_opt opt, struct ks_slice v, struct ks_buf *out)
{
    switch (opt) {
    case KSI_LQ_FMT_Q:
        ks_lq_buf_json(out, v);
        return true;
    case KSI_LQ_FMT_UC:
        upper(v, out);
        return true;
    case KSI_LQ_FMT_LC:
        ks_lq_lower(out, v);
        return true;
    case KSI_LQ_FMT_HEXENCODE:
        hex_encode(v, out);
        return true;
    case KSI_LQ_FMT_HEXDECODE:
        hex_decode(v, out);
        return true;
    case KSI_LQ_FMT_HEXNUMDECODE:
        return hex_number(v, out);
    case KSI_LQ_FMT_BASE64ENCODE:
        ks_base64_encode(v, out);
        return true;
    case KSI_LQ_FMT_BASE64DECODE:
        return base64_decode(v, out);
    case KSI_LQ_FMT_URLENCODE:
        url_encode(v, out);
        return true;
    case KSI_LQ_FMT_URLDECODE:
        return url_decode(v, out);
    default:
        return format_number(opt, v, out);
    }
}

void ksi_lq_format_value(enum ksi_lq_format_opt opt, struct ks_slice v, struct ks_buf *out)
{
    if (opt == KSI_LQ_FMT_PLAIN || !format_text(opt, v, out))
        ks_buf_slice(out, v);
}
