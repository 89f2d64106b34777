/* C++ <charconv> for C; see base/num.h for the functions meant for use. */
#ifndef KS_BASE_CXX_CHARCONV_H
#define KS_BASE_CXX_CHARCONV_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KS_CXX_F64_RANGE ((size_t)1 << 40)

/* Shortest digits that read back the same; bytes written, 0 when size is too small. */
size_t ks_cxx_f64_shortest(char *out, size_t size, double v, int scientific);
/* Bytes used, 0 when p is no number; the KS_CXX_F64_RANGE bit is added when it is too large or too
 * small. */
size_t ks_cxx_f64_parse(const char *p, size_t len, double *out);

#ifdef __cplusplus
}
#endif
#endif
