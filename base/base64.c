#include "base/base64.h"

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void ks_base64_encode(struct ks_slice bytes, struct ks_buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v =
            (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};
        ks_buf_add(out, four, 4);
    }
}

bool ks_base64_decode(struct ks_slice text, struct ks_buf *out)
{
    size_t before = out->len, len = text.len;
    uint32_t bits = 0;
    unsigned have = 0;
    while (len && text.ptr[len - 1] == '=' && text.len - len < 2 && text.len % 4 == 0)
        len--;
    for (size_t i = 0; i < len; i++) {
        int d = digit(text.ptr[i]);
        if (d < 0) {
            out->len = before;
            return false;
        }
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            ks_buf_byte(out, (uint8_t)(bits >> have));
            bits &= (1u << have) - 1;
        }
    }
    if (have == 6 || bits || out->err != KS_OK) {
        out->len = before;
        return false;
    }
    return true;
}
