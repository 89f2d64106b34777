/*
 * Doubles as integers and back: v = i / 10^e, bit for bit. Division is correctly rounded, so every
 * decimal of up to 15 digits is found; what is not exact is an exception. Plain IEEE operations in
 * a fixed order, compiled without contraction, and where a quotient is had by other means it is
 * proven to be the correctly rounded one: the same on every CPU.
 */
#ifndef KS_STORAGE_CODEC_DECIMAL_PRIV_H
#define KS_STORAGE_CODEC_DECIMAL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KSI_EXPONENT_MAX  18
#define KSI_EXPONENT_BITS 31 /* not a decimal: the integer is the double's bits */

/* An exponent that fits nearly all of a sample of v; -1 when these are no short decimals. */
int ksi_decimal_exponent(const double *v, size_t n);
/* The smallest exponent that is exact for v; -1 when there is none. */
int ksi_decimal_exponent_of(double v);

/*
 * Converts; where v[i] is not exact, x[i] repeats a neighbour and i goes to bad[]. Returns the
 * number of these; over max_bad it stops early and returns max_bad + 1.
 */
size_t ksi_decimal_to_ints(const double *v, size_t n, int exponent, int64_t *x, uint16_t *bad,
                           size_t max_bad);
/* Integers to doubles where they lie: ret holds int64 bits before, doubles after. */
void ksi_decimal_from_ints(double *ret, size_t n, int exponent);

#endif
