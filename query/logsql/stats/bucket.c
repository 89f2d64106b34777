/* See bucket.h. */
#include "query/logsql/stats/bucket.h"

#include <math.h>

#include "base/num.h"
#include "base/time.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/value_key.h"

/* Rounds down to a multiple of size, also below zero. */
static int64_t floor_to(int64_t v, int64_t size)
{
    if (size <= 1)
        return v;
    int64_t r = v % size;
    return v - (r < 0 ? r + size : r);
}

static int64_t floor_days(int64_t ns)
{
    return ns / KS_LQ_NS_DAY - (ns % KS_LQ_NS_DAY < 0);
}

int64_t ksi_lq_bucket_time(const struct ks_lq_by *by, int64_t ns)
{
    int64_t offset = (int64_t)by->offset, y, days;
    unsigned m, d;
    if (__builtin_sub_overflow(ns, offset, &ns))
        return ns;
    switch (by->unit) {
    case KS_LQ_BUCKET_NONE:
        break;
    case KS_LQ_BUCKET_SIZE:
        ns = floor_to(ns, (int64_t)by->size);
        break;
    case KS_LQ_BUCKET_WEEK: /* 1970-01-05 was a Monday */
        ns = floor_to(ns - 4 * KS_LQ_NS_DAY, 7 * KS_LQ_NS_DAY) + 4 * KS_LQ_NS_DAY;
        break;
    default:
        ks_civil_from_days(floor_days(ns), &y, &m, &d);
        days = ks_days_from_civil(y, by->unit == KS_LQ_BUCKET_YEAR ? 1 : m, 1);
        ns = days * KS_LQ_NS_DAY;
    }
    return __builtin_add_overflow(ns, offset, &ns) ? INT64_MAX : ns;
}

int64_t ksi_lq_bucket_ns(const struct ks_lq_by *by)
{
    if (by->unit == KS_LQ_BUCKET_WEEK)
        return 7 * KS_LQ_NS_DAY;
    return by->unit == KS_LQ_BUCKET_SIZE && by->size >= 1 && by->size < 4e18 ? (int64_t)by->size
                                                                             : 0;
}

/*
 * floor((v - offset) / size) × size + offset, computed so that 0.1-sized buckets print as 0.3, not
 * 0.30000000000000004: a size with decimals counts in units of its last digit.
 */
static double bucket_number(const struct ks_lq_by *by, double v)
{
    double size = by->size, scale = 1;
    if (!(size > 0) || !isfinite(v))
        return v;
    while (scale < 1e15 &&
           (size * scale != floor(size * scale) || by->offset * scale != floor(by->offset * scale)))
        scale *= 10;
    double units = round(size * scale), offset = round(by->offset * scale);
    return (floor((v * scale - offset) / units) * units + offset) / scale;
}

static ks_err take(struct ks_arena *arena, const char *text, size_t len, struct ks_slice *ret)
{
    *ret = ks_arena_dup(arena, ks_slice(text, len));
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}

ks_err ksi_lq_bucket_text(const struct ks_lq_by *by, struct ks_slice v, struct ks_arena *arena,
                          struct ks_slice *ret)
{
    char out[KS_F64_TEXT_MAX + 64];
    int64_t n;
    uint32_t ip;
    double f;
    *ret = v;
    if (by->unit == KS_LQ_BUCKET_NONE || !v.len ||
        ((v.ptr[0] < '0' || v.ptr[0] > '9') && v.ptr[0] != '-'))
        return KS_OK;
    if (ks_lq_parse_rfc3339(v, &n))
        return take(arena, out, ks_lq_time_format(out, ksi_lq_bucket_time(by, n)), ret);
    if (by->unit != KS_LQ_BUCKET_SIZE)
        return KS_OK;
    int64_t size = (int64_t)by->size, offset = (int64_t)by->offset;
    size_t digits = v.ptr[0] == '-'; /* 007 is a name, not a number */
    if (v.len > digits + 1 && v.ptr[digits] == '0' && v.ptr[digits + 1] != '.')
        return KS_OK;
    if (ks_lq_parse_i64(v, &n) && (double)size == by->size && (double)offset == by->offset)
        return take(arena, out, ks_i64_format(out, floor_to(n - offset, size) + offset), ret);
    if (ks_lq_parse_ipv4(v, &ip)) {
        if (size <= 1)
            return KS_OK;
        ip = (uint32_t)(floor_to((int64_t)ip - offset, size) + offset);
        return take(arena, out, ks_lq_ipv4_format(out, ip), ret);
    }
    bool plain = true; /* 1e3, 0x10 and sizes keep their text, as in VictoriaLogs */
    for (size_t i = 0; i < v.len && plain; i++)
        plain = (v.ptr[i] >= '0' && v.ptr[i] <= '9') || v.ptr[i] == '.' || v.ptr[i] == '_' ||
                v.ptr[i] == '-';
    if (plain && ks_lq_parse_number(v, &f))
        return take(arena, out, ks_lq_f64_format(out, bucket_number(by, f)), ret);
    if (ks_lq_parse_duration(v, &n))
        return take(arena, out, ks_lq_duration_format(out, floor_to(n - offset, size) + offset),
                    ret);
    return KS_OK;
}
