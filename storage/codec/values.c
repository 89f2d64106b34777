/*
 * Choosing and writing the encoding of a value column (chunk.h; docs/format/chunk.md, "Value
 * columns").
 *
 * Candidates are planned with exact byte counts and the smallest wins, the earlier one on a tie:
 * integers by decimal exponent, integers of the double's bits, runs, RD, XOR, raw. Costly
 * candidates are only planned when the cheap ones did badly.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/codec/chunk.h"
#include "storage/codec/rd_priv.h"
#include "storage/codec/values_priv.h"
#include "storage/codec/xor_priv.h"

#define NO_DOMAIN (-1)

struct plan {
    uint8_t encoding;
    uint16_t exceptions;
    struct ksi_ints ints;
    struct ksi_rd rd;
    size_t bytes;
};

/* Work space for n values; a run column needs a second one of n / RUN_MIN. */
struct scratch {
    int64_t *x, *t;
    uint16_t *bad;
    size_t bad_count;
    int domain; /* what x holds: an exponent, KSI_EXPONENT_BITS or NO_DOMAIN */
};

#define RUN_MIN 3 /* mean length from which runs are planned */

static size_t max_exceptions(size_t n)
{
    return n / 16 + 1;
}

static bool load_domain(const double *v, size_t n, int domain, struct scratch *s)
{
    if (s->domain == domain)
        return true;
    s->domain = NO_DOMAIN;
    s->bad_count = 0;
    if (domain == KSI_EXPONENT_BITS)
        memcpy(s->x, v, n * sizeof *v);
    else
        s->bad_count = ksi_decimal_to_ints(v, n, domain, s->x, s->bad, max_exceptions(n));
    if (s->bad_count > max_exceptions(n))
        return false;
    s->domain = domain;
    return true;
}

static bool same_exceptions(const double *v, const struct scratch *s)
{
    for (size_t i = 1; i < s->bad_count; i++)
        if (ks_f64_bits(v[s->bad[i]]) != ks_f64_bits(v[s->bad[0]]))
            return false;
    return true;
}

static size_t exceptions_bytes(const double *v, size_t n, const struct scratch *s)
{
    size_t k = s->bad_count;
    if (k == 0)
        return 0;
    return ksi_varint_bytes(k << 1) + ksi_packed_bytes(k, ksi_bit_width(n - 1)) +
           8 * (same_exceptions(v, s) ? 1 : k);
}

static void plan_domain(const double *v, size_t n, int domain, struct scratch *s, struct plan *best)
{
    struct ksi_ints ints;
    if (!load_domain(v, n, domain, s))
        return;
    ksi_ints_plan(s->x, s->t, n, s->bad_count != 0, &ints);
    size_t bytes = ints.bytes + exceptions_bytes(v, n, s);
    if (bytes >= best->bytes)
        return;
    *best = (struct plan){.encoding = ksi_encoding(ints.kind, (unsigned)domain),
                          .exceptions = (uint16_t)s->bad_count,
                          .ints = ints,
                          .bytes = bytes};
}

/* A larger exponent when the sample overlooked values with more digits. */
static void plan_decimal(const double *v, size_t n, struct scratch *s, struct plan *best)
{
    int e = ksi_decimal_exponent(v, n);
    for (int tries = 0; e >= 0 && tries < 3; tries++) {
        if (load_domain(v, n, e, s) && s->bad_count <= 2) {
            plan_domain(v, n, e, s, best);
            return;
        }
        int up = e;
        for (size_t i = 0; i < s->bad_count && i < max_exceptions(n) && i < 4; i++) {
            int need = ksi_decimal_exponent_of(v[s->bad[i]]);
            up = need > up ? need : up;
        }
        if (s->domain == e)
            plan_domain(v, n, e, s, best);
        if (up == e)
            return;
        e = up;
    }
}

static void plan_numbers(const double *v, size_t n, struct scratch *s, struct plan *best)
{
    plan_decimal(v, n, s, best);
    if (best->bytes > n * 3)
        plan_domain(v, n, KSI_EXPONENT_BITS, s, best);
    if (best->bytes > n * 4) {
        struct ksi_rd rd;
        ksi_rd_plan(v, n, &rd);
        if (rd.bytes < best->bytes)
            *best = (struct plan){
                .encoding = ksi_encoding(KSI_SPECIAL, KSI_RD), .rd = rd, .bytes = rd.bytes};
        size_t xor = ksi_xor_bytes(v, n);
        if (xor < best->bytes)
            *best = (struct plan){.encoding = ksi_encoding(KSI_SPECIAL, KSI_XOR), .bytes = xor};
    }
}

static void put_exceptions(const double *v, size_t n, const struct scratch *s, struct ks_buf *out)
{
    size_t k = s->bad_count, values = same_exceptions(v, s) ? 1 : k;
    unsigned pos_bits = ksi_bit_width(n - 1);
    ks_buf_varint(out, k << 1 | (values == 1 ? KSI_SAME_EXCEPTION : 0));
    if (!ks_buf_reserve(out, ksi_packed_bytes(k, pos_bits) + KSI_PACK_SLACK))
        return;
    uint8_t *start = (uint8_t *)out->ptr + out->len;
    for (size_t i = 0; i < k; i++)
        s->t[i] = s->bad[i];
    out->len += (size_t)(ksi_pack(start, (const uint64_t *)s->t, k, pos_bits) - start);
    for (size_t i = 0; i < values; i++)
        ks_buf_u64(out, ks_f64_bits(v[s->bad[i]]));
}

/* Writes a planned column that is not RUNS. */
static void put_plan(const double *v, size_t n, const struct plan *p, struct scratch *s,
                     struct ks_buf *out)
{
    unsigned kind = p->encoding & 7, upper = p->encoding >> 3;
    size_t before = out->len;
    if (kind != KSI_SPECIAL) {
        KS_ASSERT(load_domain(v, n, (int)upper, s));
        ksi_ints_put(s->x, n, &p->ints, out);
        s->domain = NO_DOMAIN;
        if (p->exceptions)
            put_exceptions(v, n, s, out);
    } else if (upper == KSI_RD) {
        ksi_rd_put(v, s->t, n, &p->rd, out);
    } else if (upper == KSI_XOR) {
        ksi_xor_put(v, n, p->bytes, out);
    } else {
        ks_buf_add(out, v, n * sizeof *v);
    }
    KS_ASSERT(out->err != KS_OK || out->len - before == p->bytes);
}

static size_t count_runs(const double *v, size_t n)
{
    size_t runs = 1;
    for (size_t i = 1; i < n; i++)
        runs += ks_f64_bits(v[i]) != ks_f64_bits(v[i - 1]);
    return runs;
}

/* The first value and length - 1 of every run. */
static void split_runs(const double *v, size_t n, double *ret_values, int64_t *ret_lengths)
{
    size_t k = 0, start = 0;
    for (size_t i = 1; i <= n; i++) {
        if (i < n && ks_f64_bits(v[i]) == ks_f64_bits(v[start]))
            continue;
        ret_values[k] = v[start];
        ret_lengths[k++] = (int64_t)(i - start - 1);
        start = i;
    }
}

/* Encodes as runs when that beats `limit` bytes. run_values, lengths: room for `runs`. Returns
 * whether it did. */
static bool try_runs(const double *v, size_t n, size_t runs, double *run_values, int64_t *lengths,
                     struct scratch *s, size_t limit, struct ks_buf *out)
{
    struct plan inner = {.encoding = ksi_encoding(KSI_SPECIAL, KSI_RAW), .bytes = runs * 8};
    struct ksi_sample sample;
    struct ksi_pfor p;
    split_runs(v, n, run_values, lengths);
    plan_numbers(run_values, runs, s, &inner);
    ksi_pfor_sample(lengths, runs, &sample);
    ksi_pfor_plan(lengths, runs, &sample, &p);
    size_t bytes =
        ksi_varint_bytes(runs) + 1 + ksi_varint_bytes(inner.bytes) + inner.bytes + p.bytes;
    if (bytes >= limit)
        return false;
    ks_buf_varint(out, runs);
    ks_buf_byte(out, inner.encoding);
    ks_buf_varint(out, inner.bytes);
    put_plan(run_values, runs, &inner, s, out);
    ksi_pfor_put(lengths, runs, &p, out);
    return true;
}

static void encode_constant(const double *v, struct ks_buf *out, uint8_t *ret_encoding)
{
    int e = ksi_decimal_exponent_of(v[0]);
    int64_t x;
    uint16_t bad;
    if (e >= 0 && ksi_decimal_to_ints(v, 1, e, &x, &bad, 0) == 0) {
        *ret_encoding = ksi_encoding(KSI_CONST, (unsigned)e);
        ks_buf_zigzag(out, x);
        return;
    }
    *ret_encoding = ksi_encoding(KSI_CONST, KSI_EXPONENT_BITS);
    ks_buf_u64(out, ks_f64_bits(v[0]));
}

/* room: 4 arrays of n int64 and one of n uint16. */
static void encode_column(const double *v, size_t n, size_t runs, int64_t *room, struct ks_buf *out,
                          uint8_t *ret_encoding)
{
    struct scratch s = {room, room + n, (uint16_t *)(room + 4 * n), 0, NO_DOMAIN};
    struct plan best = {.encoding = ksi_encoding(KSI_SPECIAL, KSI_RAW), .bytes = n * 8};
    plan_numbers(v, n, &s, &best);
    if (runs <= n / RUN_MIN) {
        struct scratch inner = {room + 2 * n, room + 3 * n, s.bad, 0, NO_DOMAIN};
        if (try_runs(v, n, runs, (double *)(inner.x + runs), inner.t + runs, &inner, best.bytes,
                     out)) {
            *ret_encoding = ksi_encoding(KSI_SPECIAL, KSI_RUNS);
            return;
        }
        s.domain = NO_DOMAIN; /* the exceptions' room was shared */
    }
    *ret_encoding = best.encoding;
    put_plan(v, n, &best, &s, out);
}

ks_err ks_values_encode(const double *v, size_t n, struct ks_buf *out, uint8_t *ret_encoding)
{
    if (n == 0 || n > KS_CHUNK_SAMPLES_MAX)
        return ks_fail(KS_EINVAL, "a chunk of %zu values", n);
    size_t runs = count_runs(v, n);
    if (runs == 1) {
        encode_constant(v, out, ret_encoding);
    } else if (n <= KS_CHUNK_STACK_MAX) {
        int64_t room[KS_CHUNK_STACK_MAX * 4 + KS_CHUNK_STACK_MAX / 4];
        encode_column(v, n, runs, room, out, ret_encoding);
    } else {
        int64_t *room = ks_alloc_array(n, 4 * sizeof *room + sizeof(uint16_t) + 1);
        if (!room)
            return KS_ENOMEM;
        encode_column(v, n, runs, room, out, ret_encoding);
        ks_free(room);
    }
    return ks_buf_status(out);
}
