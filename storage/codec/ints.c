/* Integer columns (ints_priv.h; docs/format/chunk.md, "Integer columns"). */
#include "storage/codec/ints_priv.h"

/* A form whose bulk is this many bits wider than another's is not worth exact planning. */
#define MARGIN 1

static inline int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* d[i] = x[i + 1] - x[i]; true when all are equal. In place is fine. n ≥ 1. */
KS_CLONES static bool differences(const int64_t *x, size_t n, int64_t *d)
{
    uint64_t diff = 0, first = n > 1 ? (uint64_t)minus(x[1], x[0]) : 0;
    for (size_t i = 0; i + 1 < n; i++) {
        int64_t v = minus(x[i + 1], x[i]);
        diff |= (uint64_t)v ^ first;
        d[i] = v;
    }
    return diff == 0;
}

static void consider(struct ksi_ints *best, uint8_t kind, const struct ksi_pfor *p, size_t head,
                     bool flag)
{
    size_t bytes = head + (flag ? ksi_pfor_flagged_bytes(p) : p->bytes);
    if (bytes >= best->bytes)
        return;
    *best = (struct ksi_ints){kind, *p, bytes};
    best->pfor.flag = flag;
}

void ksi_ints_plan(const int64_t *x, int64_t *t, size_t n, bool flag, struct ksi_ints *ret)
{
    struct ksi_pfor p;
    bool arithmetic = differences(x, n, t);
    size_t head = ksi_zigzag_bytes(x[0]);
    *ret = (struct ksi_ints){.bytes = SIZE_MAX};
    if (arithmetic && !flag) {
        bool constant = n == 1 || t[0] == 0;
        ret->kind = constant ? KSI_CONST : KSI_DCONST;
        ret->bytes = head + (constant ? 0 : ksi_zigzag_bytes(t[0]));
        return;
    }
    struct ksi_sample plain, delta, delta2;
    ksi_pfor_sample(x, n, &plain);
    ksi_pfor_sample(t, n > 1 ? n - 1 : 1, &delta);
    if (n < 2 || plain.width <= delta.width + MARGIN) {
        ksi_pfor_plan(x, n, &plain, &p);
        consider(ret, KSI_FOR, &p, 0, flag);
    }
    if (n < 2)
        return;
    if (ret->bytes == SIZE_MAX || delta.width <= plain.width + MARGIN) {
        ksi_pfor_plan(t, n - 1, &delta, &p);
        consider(ret, KSI_DELTA, &p, head, flag);
    }
    if (n < 3)
        return;
    head += ksi_zigzag_bytes(t[0]);
    differences(t, n - 1, t);
    ksi_pfor_sample(t, n - 2, &delta2);
    if (delta2.width <= delta.width && delta2.width <= plain.width) {
        ksi_pfor_plan(t, n - 2, &delta2, &p);
        consider(ret, KSI_DELTA2, &p, head, flag);
    }
}

void ksi_ints_put(int64_t *x, size_t n, const struct ksi_ints *plan, struct ks_buf *out)
{
    switch (plan->kind) {
    case KSI_CONST:
        ks_buf_zigzag(out, x[0]);
        break;
    case KSI_DCONST:
        ks_buf_zigzag(out, x[0]);
        ks_buf_zigzag(out, minus(x[1], x[0]));
        break;
    case KSI_FOR:
        ksi_pfor_put(x, n, &plan->pfor, out);
        break;
    case KSI_DELTA:
        ks_buf_zigzag(out, x[0]);
        differences(x, n, x);
        ksi_pfor_put(x, n - 1, &plan->pfor, out);
        break;
    case KSI_DELTA2:
        ks_buf_zigzag(out, x[0]);
        differences(x, n, x);
        ks_buf_zigzag(out, x[0]);
        differences(x, n - 1, x);
        ksi_pfor_put(x, n - 2, &plan->pfor, out);
        break;
    }
}

/* x holds what PFOR left to do: its values are shifted, raised and added up in one pass. */
static bool get_delta(struct ks_reader *r, size_t n, int64_t *x, bool *ret_flag)
{
    uint64_t v = (uint64_t)ks_read_zigzag(r), base, *u = (uint64_t *)x;
    unsigned shift;
    if (n < 2 || !ksi_pfor_get_raw(r, n - 1, x + 1, &base, &shift, ret_flag))
        return false;
    u[0] = v;
    for (size_t i = 1; i < n && shift; i++)
        u[i] = v += (u[i] << shift) + base;
    for (size_t i = 1; i < n && !shift; i++)
        u[i] = v += u[i] + base;
    return true;
}

static bool get_delta2(struct ks_reader *r, size_t n, int64_t *x, bool *ret_flag)
{
    uint64_t v = (uint64_t)ks_read_zigzag(r), d = (uint64_t)ks_read_zigzag(r), base;
    uint64_t *u = (uint64_t *)x;
    unsigned shift;
    if (n < 3 || !ksi_pfor_get_raw(r, n - 2, x + 2, &base, &shift, ret_flag))
        return false;
    u[0] = v;
    u[1] = v += d;
    for (size_t i = 2; i < n; i++) {
        d += (u[i] << shift) + base;
        u[i] = v += d;
    }
    return true;
}

bool ksi_ints_get(struct ks_reader *r, unsigned kind, size_t n, int64_t *ret, bool *ret_flag)
{
    int64_t v, d = 0;
    if (ret_flag)
        *ret_flag = false;
    switch (kind) {
    case KSI_CONST:
    case KSI_DCONST:
        v = ks_read_zigzag(r);
        if (kind == KSI_DCONST)
            d = ks_read_zigzag(r);
        if (r->bad)
            return false;
        for (size_t i = 0; i < n; i++)
            ret[i] = (int64_t)((uint64_t)v + (uint64_t)d * i);
        return true;
    case KSI_FOR:
        return ksi_pfor_get(r, n, ret, ret_flag);
    case KSI_DELTA:
        return get_delta(r, n, ret, ret_flag);
    case KSI_DELTA2:
        return get_delta2(r, n, ret, ret_flag);
    }
    return false;
}
