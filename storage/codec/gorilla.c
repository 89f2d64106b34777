/*
 * The open chunk (gorilla.h). Format: docs/format/chunk.md, "Open chunk". Tokens, low bit first:
 *
 *   0                       delta as before; XOR in the current window
 *   1 0                     delta as before; XOR in a new window
 *   1 1 0                   a run: 2 bits of class, then run - 1 in {0, 3, 7, 16} bits
 *   1 1 1                   another delta: 2 bits of class, zigzag(delta of delta) in {6, 12, 20,
 * 64} bits, then 0 same value | 1 0 XOR in the current window | 1 1 XOR in a new window
 *
 * A new window is 6 bits of leading zeros, 6 bits of significant bits - 1. All arithmetic is modulo
 * 2^64, so any pair of timestamps has a delta.
 */
#include "storage/codec/gorilla.h"

#include <string.h>

#include "base/bytes.h"
#include "storage/codec/bits_priv.h"
#include "storage/codec/pack_priv.h"
#include "storage/codec/xor_priv.h"

#define FIRST_BITS  128 /* the first sample is stored raw */
#define SAMPLE_BITS 168 /* no later sample needs more, the run before it included */

_Static_assert(sizeof(struct ks_gorilla) <= 40, "the head keeps millions of these");
_Static_assert(SAMPLE_BITS / 8 + 1 <= KS_GORILLA_APPEND_MAX, "promise of the header");

static const uint8_t run_bits[4] = {0, 3, 7, 16};
static const uint8_t dod_bits[4] = {6, 12, 20, 64};

static void put_run(struct ksi_bitw *w, unsigned run)
{
    unsigned r = run - 1;
    unsigned class = (r >= 1) + (r >= 8) + (r >= 128);
    ksi_put_bits(w, 3 | class << 3 | r << 5, 5 + run_bits[class]);
}

/* Writes the tokens of one sample that breaks the run. */
static void put_sample(struct ks_gorilla *g, struct ksi_bitw *w, uint64_t dod, uint64_t xor)
{
    if (g->run)
        put_run(w, g->run);
    if (dod == 0) { /* then xor ≠ 0, else the run went on */
        ksi_put_xor(w, xor, &g->lead, &g->sig,
                    (struct ksi_xor_tokens){
                        0, 1, 1, 2});
        return;
    }
    uint64_t z = ks_zigzag((int64_t)dod);
    unsigned bits = ksi_bit_width(z);
    unsigned class = (bits > 6) + (bits > 12) + (bits > 20);
    ksi_put_bits(w, 7 | class << 3, 5);
    ksi_put_bits64(w, z, dod_bits[class]);
    if (xor)
        ksi_put_xor(w, xor, &g->lead, &g->sig,
                    (struct ksi_xor_tokens){
                        1, 2, 3, 2});
    else
        ksi_put_bits(w, 0, 1);
}

static bool append_first(struct ks_gorilla *g, uint8_t *buf, size_t cap, int64_t ts, uint64_t bits)
{
    if (cap < FIRST_BITS / 8)
        return false;
    ks_put_le64(buf, (uint64_t)ts);
    ks_put_le64(buf + 8, bits);
    *g = (struct ks_gorilla){.last_ts = ts, .last_bits = bits, .bit_len = FIRST_BITS, .count = 1};
    return true;
}

/* The at-th sample breaks the run. */
static inline void note_fall(struct ks_gorilla *g, double from, double to, unsigned at)
{
    if (to >= from || g->fell4 == KS_GORILLA_UNSURE)
        return;
    bool told = to < from && to >= 0 && at <= 4 * (KS_GORILLA_UNSURE - 1);
    g->fell4 = told ? (uint8_t)((at + 3) / 4) : KS_GORILLA_UNSURE;
}

bool ks_gorilla_append(struct ks_gorilla *g, uint8_t *buf, size_t cap_bytes, int64_t ts,
                       uint64_t value_bits)
{
    if (KS_UNLIKELY(g->count == 0))
        return append_first(g, buf, cap_bytes, ts, value_bits);
    if (KS_UNLIKELY(g->count == KS_GORILLA_COUNT_MAX))
        return false;
    uint64_t delta = (uint64_t)ts - (uint64_t)g->last_ts;
    uint64_t dod = delta - g->prev_delta, xor = value_bits ^ g->last_bits;
    if ((dod | xor) == 0) {
        g->last_ts = ts;
        g->run++;
        g->count++;
        return true;
    }
    size_t at = g->bit_len >> 3;
    if (KS_LIKELY(at + KS_GORILLA_APPEND_MAX + 8 <= cap_bytes)) {
        struct ksi_bitw w = {buf + at, 0, g->bit_len & 7};
        w.acc = buf[at] & ksi_mask(w.fill);
        put_sample(g, &w, dod, xor);
        g->bit_len = (uint32_t)(w.p - buf) * 8 + w.fill;
    } else { /* near the end: write aside, then see whether it fits */
        uint8_t tmp[KS_GORILLA_APPEND_MAX + 8];
        struct ks_gorilla next = *g;
        struct ksi_bitw w = {tmp, 0, g->bit_len & 7};
        if (w.fill)
            w.acc = buf[at] & ksi_mask(w.fill);
        put_sample(&next, &w, dod, xor);
        size_t used = (size_t)(w.p - tmp) + (w.fill != 0);
        if (at + used > cap_bytes)
            return false;
        memcpy(buf + at, tmp, used);
        next.bit_len = (uint32_t)(at + (size_t)(w.p - tmp)) * 8 + w.fill;
        *g = next;
    }
    g->count++;
    if (xor)
        note_fall(g, ks_f64_from_bits(g->last_bits), ks_f64_from_bits(value_bits), g->count);
    g->last_ts = ts;
    g->last_bits = value_bits;
    g->prev_delta = delta;
    g->run = 0;
    return true;
}

void ks_gorilla_note_falls(struct ks_gorilla *g, const double *values)
{
    g->fell4 = 0;
    for (unsigned i = 2; i <= g->count; i++)
        if (ks_f64_bits(values[i - 1]) != ks_f64_bits(values[i - 2]))
            note_fall(g, values[i - 2], values[i - 1], i);
}

/* Reads where the decoder stands, and what the encoder knew at that place. */
struct cursor {
    const uint8_t *buf;
    size_t len, pos;
    uint64_t ts, bits, delta;
    unsigned lead, sig;
};

/* x holds the stream from a window, if fresh, or from the XOR itself. No branch on fresh: it is
 * hard to predict. */
static inline __attribute__((always_inline)) bool get_xor(struct cursor *c, uint64_t x, bool fresh)
{
    unsigned lead = x & 63, sig = (x >> 6 & 63) + 1;
    c->lead = fresh ? lead : c->lead;
    c->sig = fresh ? sig : c->sig;
    c->pos += fresh ? KSI_XOR_WINDOW_BITS : 0;
    if (KS_UNLIKELY(c->sig == 0 || c->lead + c->sig > 64))
        return false;
    c->bits ^= ksi_get_bits(c->buf, c->len, c->pos, c->sig) << (64 - c->lead - c->sig);
    c->pos += c->sig;
    return true;
}

static inline __attribute__((always_inline)) bool get_delta_token(struct cursor *c, uint64_t x)
{
    unsigned n = dod_bits[x >> 3 & 3];
    uint64_t z = n == 64 ? ksi_get_bits(c->buf, c->len, c->pos + 5, 64) : x >> 5 & ksi_mask(n);
    c->delta += (uint64_t)ks_unzigzag(z);
    c->ts += c->delta;
    c->pos += 5 + n;
    x = ksi_peek_bits(c->buf, c->len, c->pos);
    if (!(x & 1)) {
        c->pos++;
        return true;
    }
    c->pos += 2;
    return get_xor(c, x >> 2, x & 2);
}

/* What of a chunk is wanted. */
struct range {
    int64_t min_ms, max_ms;
};

/* Writes `run` samples, delta apart, all with the value v. */
static inline void fill_run(struct cursor *k, size_t run, double v, int64_t *ts, double *values)
{
    uint64_t t = k->ts, d = k->delta;
    size_t i = 0;
    for (; i + 4 <= run; i += 4) {
        ts[i] = (int64_t)(t + d);
        ts[i + 1] = (int64_t)(t + 2 * d);
        ts[i + 2] = (int64_t)(t + 3 * d);
        ts[i + 3] = (int64_t)(t += 4 * d);
        values[i] = values[i + 1] = values[i + 2] = values[i + 3] = v;
    }
    for (; i < run; i++) {
        ts[i] = (int64_t)(t += d);
        values[i] = v;
    }
    k->ts = t;
}

/* The same of a range, behind the time t: samples before it are passed over, those behind it are
 * not written. Returns how many were. Times ascend. */
static size_t fill_run_range(uint64_t t, uint64_t delta, size_t run, double v,
                             const struct range *r, int64_t *ts, double *values)
{
    uint64_t last = t + run * delta, min = (uint64_t)r->min_ms, max = (uint64_t)r->max_ms;
    size_t skip = 0, over = 0;
    struct cursor k = {.ts = t, .delta = delta};
    if ((int64_t)t < r->min_ms) {
        uint64_t before = (min - t - 1) / delta;
        skip = before < run ? before : run;
        k.ts += skip * delta;
    }
    if ((int64_t)last > r->max_ms) {
        uint64_t in = (int64_t)k.ts <= r->max_ms ? (max - k.ts) / delta : 0;
        over = in < run - skip ? run - skip - in : 0;
    }
    fill_run(&k, run - skip - over, v, ts, values);
    return run - skip - over;
}

/* Decodes up to n samples from the stream; returns how many before the first malformed token. */
static size_t decode_stream(struct cursor *c, size_t n, int64_t *ts, double *values)
{
    struct cursor k = *c; /* in registers */
    size_t i = 0;
    while (i < n) {
        uint64_t x = ksi_peek_bits(k.buf, k.len, k.pos);
        if ((x & 3) != 3) {
            bool fresh = x & 1;
            k.pos += 1 + fresh;
            k.ts += k.delta;
            if (!get_xor(&k, x >> 2, fresh))
                break;
        } else if (x & 4) {
            if (!get_delta_token(&k, x))
                break;
        } else {
            unsigned bits = run_bits[x >> 3 & 3];
            size_t run = (x >> 5 & ksi_mask(bits)) + 1;
            if (KS_UNLIKELY(run > n - i))
                break;
            k.pos += 5 + bits;
            fill_run(&k, run, ks_f64_from_bits(k.bits), ts + i, values + i);
            i += run;
            continue;
        }
        ts[i] = (int64_t)k.ts;
        values[i] = ks_f64_from_bits(k.bits);
        i++;
    }
    *c = k;
    return i;
}

/* --- a range of a chunk of our own ---
 *
 * Tokens need not be checked, and bytes behind the end can be read. */

static inline uint64_t peek(const uint8_t *buf, size_t pos)
{
    return ks_le64(buf + (pos >> 3)) >> (pos & 7);
}

static inline uint64_t low_bits(uint64_t x, unsigned n) /* n 0..63 */
{
    return x & (((uint64_t)1 << n) - 1);
}

/*
 * The rest of a token that begins another delta; *ret_x: the stream behind it, 30 bits at least.
 * How long a token is decides where the next one lies: sizes are guessed by branches, so that the
 * chain from token to token does not wait for its loads.
 */
static inline __attribute__((always_inline)) uint64_t own_delta(const uint8_t *buf, size_t *pos,
                                                                uint64_t *x)
{
    uint64_t z;
    if (KS_LIKELY(!(*x & 3 << 3))) {
        z = low_bits(*x >> 5, 6);
        *x >>= 11;
        *pos += 11;
    } else if (!(*x & 2 << 3)) {
        z = low_bits(*x >> 5, 12);
        *x >>= 17;
        *pos += 17;
    } else if (!(*x & 1 << 3)) {
        z = low_bits(*x >> 5, 20);
        *x >>= 25;
        *pos += 25;
    } else {
        z = ksi_get_bits(buf, SIZE_MAX, *pos + 5, 64);
        *pos += 69;
        *x = peek(buf, *pos);
    }
    return (uint64_t)ks_unzigzag(z);
}

/*
 * Decodes the next n samples, up to the first behind the range; *ret_written: how many of the range
 * were stored. Returns how many were decoded.
 *
 * What it works on is in locals whose address nobody has: in memory, each sample would wait for the
 * stores of the one before. Whether a value is in a new window is like a coin toss, so there is no
 * branch on it; whether it is the same as before is often guessed right.
 */
static KS_CLONES size_t decode_range(struct cursor *c, size_t n, const struct range *range,
                                     int64_t *ts, double *values, size_t *ret_written)
{
    const uint8_t *buf = c->buf;
    size_t pos = c->pos, i = 0, at = 0;
    uint64_t t = c->ts, bits = c->bits, delta = c->delta;
    uint64_t lead = c->lead, sig = c->sig;
    const int64_t min_ms = range->min_ms, max_ms = range->max_ms;
    while (i < n) {
        uint64_t x = peek(buf, pos), fresh;
        if ((x & 3) != 3) {
            fresh = x & 1;
            pos += 1 + fresh;
        } else if (x & 4) {
            delta += own_delta(buf, &pos, &x);
            if (!(x & 1)) {
                pos++;
                goto same;
            }
            fresh = x >> 1 & 1;
            pos += 2;
        } else {
            unsigned len = run_bits[x >> 3 & 3];
            size_t run = (x >> 5 & ksi_mask(len)) + 1;
            pos += 5 + len;
            i += run;
            at +=
                fill_run_range(t, delta, run, ks_f64_from_bits(bits), range, ts + at, values + at);
            t += run * delta;
            continue;
        }
        uint64_t window = -fresh;
        lead ^= (lead ^ (x >> 2 & 63)) & window;
        sig ^= (sig ^ ((x >> 8 & 63) + 1)) & window;
        pos += KSI_XOR_WINDOW_BITS & window;
        uint64_t v = peek(buf, pos);
        if (KS_UNLIKELY(sig > 57))
            v = low_bits(v, 32) | peek(buf, pos + 32) << 32;
        bits ^= v << (-sig & 63) >> lead;
        pos += sig;
    same:
        t += delta;
        if ((int64_t)t > max_ms)
            break;
        ts[at] = (int64_t)t;
        values[at] = ks_f64_from_bits(bits);
        at += (int64_t)t >= min_ms;
        i++;
    }
    *c = (struct cursor){buf, c->len, pos, t, bits, delta, (unsigned)lead, (unsigned)sig};
    *ret_written = at;
    return i;
}

static void begin(const uint8_t *buf, size_t len, struct cursor *c)
{
    *c = (struct cursor){.buf = buf, .len = len, .pos = FIRST_BITS};
    c->ts = ks_le64(buf);
    c->bits = ks_le64(buf + 8);
}

/* The whole chunk; false when malformed. Never reads behind len or writes behind g->count. */
static bool decode_all(const struct ks_gorilla *g, const uint8_t *buf, size_t len, int64_t *ts,
                       double *values, struct cursor *c)
{
    size_t stored = (size_t)g->count - g->run;
    begin(buf, len, c);
    ts[0] = (int64_t)c->ts;
    values[0] = ks_f64_from_bits(c->bits);
    if (decode_stream(c, stored - 1, ts + 1, values + 1) != stored - 1)
        return false;
    fill_run(c, g->run, values[stored - 1], ts + stored, values + stored);
    return c->pos == g->bit_len;
}

size_t ks_gorilla_decode(const struct ks_gorilla *g, const uint8_t *buf, int64_t *ret_ts,
                         double *ret_values)
{
    struct cursor c;
    if (g->count == 0)
        return 0;
    KS_ASSERT(decode_all(g, buf, ks_gorilla_bytes(g), ret_ts, ret_values, &c));
    return g->count;
}

struct ks_gorilla_place ks_gorilla_begin(const uint8_t *buf)
{
    return (struct ks_gorilla_place){
        .ts = ks_le64(buf), .bits = ks_le64(buf + 8), .pos = FIRST_BITS, .count = 1};
}

struct ks_gorilla_place ks_gorilla_end(const struct ks_gorilla *g)
{
    KS_ASSERT(g->count && !g->run);
    return (struct ks_gorilla_place){.ts = (uint64_t)g->last_ts,
                                     .bits = g->last_bits,
                                     .delta = g->prev_delta,
                                     .pos = g->bit_len,
                                     .count = g->count,
                                     .lead = g->lead,
                                     .sig = g->sig};
}

/* bytes: from byte p->pos / 8 on. */
static struct cursor cursor_at(const struct ks_gorilla_place *p, const uint8_t *bytes)
{
    return (struct cursor){.buf = bytes,
                           .len = SIZE_MAX,
                           .pos = p->pos & 7,
                           .ts = p->ts,
                           .bits = p->bits,
                           .delta = p->delta,
                           .lead = p->lead,
                           .sig = p->sig};
}

void ks_gorilla_pass(const struct ks_gorilla *g, const uint8_t *buf, size_t n,
                     struct ks_gorilla_place *place)
{
    const struct range nothing = {INT64_MAX, INT64_MAX};
    size_t left = (size_t)g->count - g->run - place->count, written;
    int64_t ts;
    double value;
    struct cursor c = cursor_at(place, buf + place->pos / 8);
    size_t passed = decode_range(&c, n < left ? n : left, &nothing, &ts, &value, &written);
    *place = (struct ks_gorilla_place){.ts = c.ts,
                                       .bits = c.bits,
                                       .delta = c.delta,
                                       .pos = place->pos / 8 * 8 + (uint32_t)c.pos,
                                       .count = (uint16_t)(place->count + passed),
                                       .lead = (uint8_t)c.lead,
                                       .sig = (uint8_t)c.sig};
}

size_t ks_gorilla_decode_range(const struct ks_gorilla *g, const struct ks_gorilla_place *place,
                               const uint8_t *bytes, int64_t min_ms, int64_t max_ms,
                               int64_t *ret_ts, double *ret_values)
{
    struct range range = {min_ms, max_ms};
    if (g->count == 0 || g->last_ts < min_ms)
        return 0;
    size_t todo = (size_t)g->count - g->run - place->count, at = 0, written;
    struct cursor c = cursor_at(place, bytes);
    if ((int64_t)c.ts > max_ms)
        return 0;
    ret_ts[0] = (int64_t)c.ts;
    ret_values[0] = ks_f64_from_bits(c.bits);
    at = (int64_t)c.ts >= min_ms;
    size_t n = decode_range(&c, todo, &range, ret_ts + at, ret_values + at, &written);
    at += written;
    KS_ASSERT(n == todo ? place->pos / 8 * 8 + c.pos == g->bit_len : (int64_t)c.ts > max_ms);
    if (n == todo && (int64_t)c.ts <= max_ms)
        at += fill_run_range(c.ts, c.delta, g->run, ks_f64_from_bits(c.bits), &range, ret_ts + at,
                             ret_values + at);
    return at;
}

/* What no appending can lead to. */
static bool state_possible(const struct ks_gorilla *g)
{
    if (g->count == 0)
        return !(g->last_ts || g->last_bits || g->prev_delta || g->bit_len || g->run || g->lead ||
                 g->sig);
    return g->run < g->count && g->bit_len >= FIRST_BITS && g->lead + g->sig <= 64 &&
           g->bit_len - FIRST_BITS <= (uint32_t)SAMPLE_BITS * (uint32_t)(g->count - 1) &&
           (g->count > 1 || (g->bit_len == FIRST_BITS && !g->prev_delta && !g->sig && !g->lead));
}

ks_err ks_gorilla_decode_checked(const struct ks_gorilla *g, struct ks_slice bytes, int64_t *ret_ts,
                                 double *ret_values)
{
    struct cursor c;
    if (!state_possible(g) || bytes.len != ks_gorilla_bytes(g))
        return ks_fail(KS_ECORRUPT, "open chunk: impossible state (%u samples, %zu bytes)",
                       g->count, bytes.len);
    if (g->count == 0)
        return KS_OK;
    if (!decode_all(g, (const uint8_t *)bytes.ptr, bytes.len, ret_ts, ret_values, &c))
        return ks_fail(KS_ECORRUPT, "open chunk: malformed stream of %u samples", g->count);
    bool ascending = true;
    for (size_t i = 1; i < g->count; i++)
        ascending &= ret_ts[i] > ret_ts[i - 1];
    if (!ascending || c.ts != (uint64_t)g->last_ts || c.bits != g->last_bits ||
        c.delta != g->prev_delta || c.lead != g->lead || c.sig != g->sig)
        return ks_fail(KS_ECORRUPT, "open chunk: stream and state of %u samples disagree",
                       g->count);
    unsigned tail = g->bit_len & 7;
    if (tail && (uint8_t)bytes.ptr[bytes.len - 1] >> tail)
        return ks_fail(KS_ECORRUPT, "open chunk: bits behind the end");
    return KS_OK;
}

void ks_gorilla_save(const struct ks_gorilla *g, uint8_t *out)
{
    ks_put_le64(out, (uint64_t)g->last_ts);
    ks_put_le64(out + 8, g->last_bits);
    ks_put_le64(out + 16, g->prev_delta);
    ks_put_le32(out + 24, g->bit_len);
    ks_put_le16(out + 28, g->count);
    ks_put_le16(out + 30, g->run);
    out[32] = g->lead;
    out[33] = g->sig;
}

ks_err ks_gorilla_load(struct ks_slice bytes, struct ks_gorilla *ret)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    if (bytes.len < KS_GORILLA_STATE_BYTES)
        return ks_fail(KS_ECORRUPT, "open chunk: state of %zu bytes", bytes.len);
    struct ks_gorilla g = {
        .last_ts = (int64_t)ks_le64(p),
        .last_bits = ks_le64(p + 8),
        .prev_delta = ks_le64(p + 16),
        .bit_len = ks_le32(p + 24),
        .count = ks_le16(p + 28),
        .run = ks_le16(p + 30),
        .lead = p[32],
        .sig = p[33],
    };
    if (!state_possible(&g))
        return ks_fail(KS_ECORRUPT, "open chunk: impossible state of %u samples", g.count);
    *ret = g;
    return KS_OK;
}
