/*
 * value_type(…): the physical type VictoriaLogs would give the values of a column. It is a property
 * of how values happen to be stored together; kept for queries written against it.
 */
#include "query/logsql/filter/cond.h"
#include "query/logsql/filter/value.h"

struct seen {
    struct ks_slice values[9];
    size_t count, bytes;
    bool dict; /* at most 8 values of 256 bytes in sum */
    bool u, i, f, ip, iso;
    uint64_t max;
    bool any;
};

static void look_dict(struct seen *s, struct ks_slice v)
{
    for (size_t i = 0; i < s->count; i++)
        if (ks_slice_eq(s->values[i], v))
            return;
    s->bytes += v.len;
    if (s->count == 8 || s->bytes > 256) {
        s->dict = false;
        return;
    }
    s->values[s->count++] = v;
}

static bool is_iso8601(struct ks_slice v)
{
    int64_t ns;
    return v.len == 24 && v.ptr[23] == 'Z' && v.ptr[10] == 'T' && ks_lq_parse_rfc3339(v, &ns);
}

static void look(struct seen *s, struct ks_slice v)
{
    uint64_t u;
    int64_t i;
    double d;
    uint32_t ip;
    s->any = true;
    if (s->dict)
        look_dict(s, v);
    if (s->u) {
        s->u = ks_lq_parse_u64(v, &u);
        if (s->u && u > s->max)
            s->max = u;
    }
    s->i = s->i && ks_lq_parse_i64(v, &i);
    s->f = s->f && ks_lq_parse_float(v, &d);
    s->ip = s->ip && ks_lq_parse_ipv4(v, &ip);
    s->iso = s->iso && is_iso8601(v);
}

const char *ksi_lq_value_type(const struct ks_lq_col *col, uint32_t row_count,
                              const uint64_t *selected)
{
    struct seen s = {.dict = true, .u = true, .i = true, .f = true, .ip = true, .iso = true};
    char tmp[KS_LQ_TIME_TEXT_MAX];
    for (uint32_t row = 0; row < row_count; row++)
        if (!selected || ks_lq_bit(selected, row))
            look(&s, ks_lq_col_text(col, row, tmp));
    if (!s.any || (s.dict && s.count == 1 && !s.values[0].len))
        return "";
    if (s.dict)
        return s.count == 1 ? "const" : "dict";
    if (s.u)
        return s.max < 1u << 8       ? "uint8"
               : s.max < 1u << 16    ? "uint16"
               : s.max <= UINT32_MAX ? "uint32"
                                     : "uint64";
    if (s.i)
        return "int64";
    if (s.f)
        return "float64";
    if (s.ip)
        return "ipv4";
    return s.iso ? "iso8601" : "string";
}
