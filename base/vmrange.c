#include "base/vmrange.h"

#include <math.h>
#include <stdio.h>

#define PER_DECADE 18
#define DECADES    27
#define MIN_EXP10  (-9)

/* log10 by way of log2, as Go computes it: powers of ten must fall on the same side of a bound as
 * with the peer. */
static double log10_like_peer(double v)
{
    int exp;
    double frac = frexp(v, &exp);
    double log2 = frac == 0.5 ? exp - 1 : log(frac) * (1 / M_LN2) + exp;
    return log2 * (M_LN2 / M_LN10);
}

int ks_vmrange_of(double v)
{
    if (!(v >= 0))
        return -1;
    if (v == 0)
        return KS_VMRANGE_LOWER;
    if (isinf(v))
        return KS_VMRANGE_UPPER;
    double at = (log10_like_peer(v) - MIN_EXP10) * PER_DECADE;
    if (at < 0)
        return KS_VMRANGE_LOWER;
    if (at >= PER_DECADE * DECADES)
        return KS_VMRANGE_UPPER;
    int i = (int)at;
    if (at == i && i > 0)
        i--;
    return 1 + i;
}

size_t ks_vmrange_text(int bucket, char out[KS_VMRANGE_TEXT_MAX])
{
    int n;
    if (bucket <= KS_VMRANGE_LOWER) {
        n = snprintf(out, KS_VMRANGE_TEXT_MAX, "0...%.3e", 1e-9);
    } else if (bucket >= KS_VMRANGE_UPPER) {
        n = snprintf(out, KS_VMRANGE_TEXT_MAX, "%.3e...+Inf", 1e18);
    } else {
        double from = 1e-9, factor = pow(10, 1.0 / PER_DECADE);
        for (int i = 1; i < bucket; i++)
            from *= factor;
        n = snprintf(out, KS_VMRANGE_TEXT_MAX, "%.3e...%.3e", from, from * factor);
    }
    return (size_t)n;
}
