/*
 * VictoriaMetrics' histogram buckets ("vmrange"): 18 per decade from 1e-9 to 1e18, one below and
 * one above: in queries and in our own metrics. Pure functions.
 */
#ifndef KS_BASE_VMRANGE_H
#define KS_BASE_VMRANGE_H

#include <stddef.h>

enum {
    KS_VMRANGE_LOWER = 0,           /* 0...1.000e-09 */
    KS_VMRANGE_UPPER = 1 + 27 * 18, /* 1.000e+18...+Inf */
    KS_VMRANGE_COUNT,
    KS_VMRANGE_TEXT_MAX = 32,
};

/* The bucket of v, left-open, right-closed; -1 when v is negative or NaN and not counted. */
int ks_vmrange_of(double v);
/* "1.000e+00...1.136e+00"; returns the length (no NUL). */
size_t ks_vmrange_text(int bucket, char out[KS_VMRANGE_TEXT_MAX]);

#endif
