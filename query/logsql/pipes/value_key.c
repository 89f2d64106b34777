/* Sort keys and unix times: see value_key.h. */
#include "query/logsql/pipes/value_key.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "query/logsql/filter/value.h"

/* Nanoseconds per unit of a unix time of this size. */
static int64_t unix_scale(double v)
{
    double a = fabs(v);
    return a < 4294967296.0         ? 1000000000
           : a < 4294967296.0 * 1e3 ? 1000000
           : a < 4294967296.0 * 1e6 ? 1000
                                    : 1;
}

bool ks_lq_parse_unix(struct ks_slice s, int64_t *ret_ns)
{
    int64_t n;
    double f;
    if (ks_lq_parse_i64(s, &n))
        return !__builtin_mul_overflow(n, unix_scale((double)n), ret_ns);
    struct ks_slice whole = s;
    const char *dot = s.len ? memchr(s.ptr, '.', s.len) : NULL;
    if (dot)
        whole.len = (size_t)(dot - s.ptr);
    if (dot && ks_lq_parse_i64(whole, &n)) { /* exact: a double has too few digits */
        int64_t scale = unix_scale((double)n), part = 0, unit = scale;
        for (size_t i = whole.len + 1; i < s.len; i++) {
            if (s.ptr[i] < '0' || s.ptr[i] > '9')
                goto scientific;
            unit /= 10;
            part += unit * (s.ptr[i] - '0');
        }
        if (whole.len + 1 == s.len || __builtin_mul_overflow(n, scale, &n))
            return false;
        return !__builtin_add_overflow(n, s.ptr[0] == '-' ? -part : part, ret_ns);
    }
scientific:
    if (!s.len || (s.ptr[0] != '-' && (s.ptr[0] < '0' || s.ptr[0] > '9')) || !ks_f64_parse(s, &f) ||
        !isfinite(f))
        return false;
    f *= (double)unix_scale(f);
    if (!(fabs(f) < 9.2e18))
        return false;
    *ret_ns = (int64_t)f;
    return true;
}

struct ks_lq_key ks_lq_key(struct ks_slice text)
{
    struct ks_lq_key k = {.text = text};
    if (!text.len)
        return k;
    unsigned char c = (unsigned char)text.ptr[0];
    if ((c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && (c | 32) != 'i')
        return k;
    if (ks_lq_parse_i64(text, &k.i)) {
        k.flags = KS_LQ_KEY_INT | KS_LQ_KEY_NUM | (k.i >= 0 ? KS_LQ_KEY_UINT : 0);
        k.f = (double)k.i;
    } else if (ks_lq_parse_u64(text, &k.u)) {
        k.flags = KS_LQ_KEY_UINT | KS_LQ_KEY_NUM;
        k.f = (double)k.u;
    } else if (ks_lq_parse_rfc3339(text, &k.i)) {
        k.flags = KS_LQ_KEY_TIME;
    } else if (ks_lq_parse_number(text, &k.f) && !isnan(k.f)) {
        k.flags = KS_LQ_KEY_NUM;
    }
    return k;
}

int ks_lq_key_cmp(const struct ks_lq_key *a, const struct ks_lq_key *b)
{
    uint8_t both = a->flags & b->flags;
    if (both & (KS_LQ_KEY_INT | KS_LQ_KEY_TIME)) {
        if (a->i != b->i)
            return a->i < b->i ? -1 : 1;
    } else if (both & KS_LQ_KEY_UINT) {
        if (a->u != b->u)
            return a->u < b->u ? -1 : 1;
    } else if (both & KS_LQ_KEY_NUM) {
        if (a->f != b->f)
            return a->f < b->f ? -1 : 1;
    } else {
        return ks_lq_natural_compare(a->text, b->text);
    }
    return 0;
}
