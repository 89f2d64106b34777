// extern "C" doors to <charconv>: shortest round-trip printing and exact parsing of doubles.
#include <charconv>
#include <cstddef>

#include "base/cxx/charconv.h"

extern "C" size_t ks_cxx_f64_shortest(char *out, size_t size, double v, int scientific)
{
    auto r = std::to_chars(out, out + size, v,
                           scientific ? std::chars_format::scientific : std::chars_format::fixed);
    return r.ec == std::errc() ? static_cast<size_t>(r.ptr - out) : 0;
}

extern "C" size_t ks_cxx_f64_parse(const char *p, size_t len, double *out)
{
    double v = 0;
    auto r = std::from_chars(p, p + len, v);
    if (r.ec == std::errc::invalid_argument)
        return 0;
    if (r.ec == std::errc::result_out_of_range) {
        // Overflow or underflow: the caller gets what strtod would give (it has the sign and the
        // magnitude).
        *out = v;
        return static_cast<size_t>(r.ptr - p) | KS_CXX_F64_RANGE;
    }
    *out = v;
    return static_cast<size_t>(r.ptr - p);
}
