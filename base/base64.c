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
