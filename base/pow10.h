/* Powers of ten that are exact: as int64 (10^0 … 10^18) and as double (10^0 … 10^22). */
#ifndef KS_BASE_POW10_H
#define KS_BASE_POW10_H

#include <stdint.h>

enum { KS_POW10_I64_MAX = 18, KS_POW10_F64_MAX = 22 };

extern const int64_t ks_pow10_i64[KS_POW10_I64_MAX + 1];
extern const double ks_pow10_f64[KS_POW10_F64_MAX + 1];

#endif
