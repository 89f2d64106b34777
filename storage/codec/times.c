/*
 * Timestamp columns (chunk.h; docs/format/chunk.md, "Timestamp columns"): integer columns, and a
 * grid: the nominal times of a regular scrape, with missed scrapes named, and what each sample is
 * off by. Jitter costs its own width there; deltas would pay it twice and deltas of deltas three
 * times.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/codec/chunk.h"
#include "storage/codec/ints_priv.h"

#define GAPS_MAX    32 /* more, and deltas are the better form */
#define STEP_MAX    (INT64_C(1) << 40)
#define STEP_SAMPLE 31

struct grid {
    int64_t step;
    size_t gaps;
    uint16_t at[GAPS_MAX]; /* index of the first sample behind the gap */
    int64_t extra[GAPS_MAX];
    struct ksi_pfor pfor;
    size_t bytes;
};

/* The median distance of a sample of neighbours. */
static int64_t usual_step(const int64_t *ts, size_t n)
{
    int64_t s[STEP_SAMPLE] = {0};
    size_t m = n - 1 < STEP_SAMPLE ? n - 1 : STEP_SAMPLE;
    for (size_t i = 0; i < m; i++) {
        size_t at = i * (n - 1) / m, j = i;
        int64_t d = (int64_t)((uint64_t)ts[at + 1] - (uint64_t)ts[at]);
        for (; j && s[j - 1] > d; j--)
            s[j] = s[j - 1];
        s[j] = d;
    }
    return s[m / 2];
}

/* Fills the gaps and t with what each sample is off the grid by; false when this is no grid. */
static bool fit_grid(const int64_t *ts, size_t n, int64_t *t, struct grid *g)
{
    uint64_t nominal = (uint64_t)ts[0];
    g->gaps = 0;
    t[0] = 0;
    for (size_t i = 1; i < n; i++) {
        int64_t d = (int64_t)((uint64_t)ts[i] - (uint64_t)ts[i - 1]);
        nominal += (uint64_t)g->step;
        if (d > g->step + g->step / 2) {
            if (g->gaps == GAPS_MAX)
                return false;
            int64_t extra = (d - g->step / 2 - 1) / g->step;
            if (extra) {
                g->at[g->gaps] = (uint16_t)i;
                g->extra[g->gaps++] = extra;
                nominal += (uint64_t)extra * (uint64_t)g->step;
            }
        }
        t[i] = (int64_t)((uint64_t)ts[i] - nominal);
    }
    return true;
}

/* The step that leaves no trend: the one that leads from the first sample to the last. */
static int64_t refined_step(const int64_t *ts, size_t n, const struct grid *g)
{
    int64_t steps = (int64_t)n - 1, span;
    for (size_t i = 0; i < g->gaps; i++)
        if (__builtin_add_overflow(steps, g->extra[i], &steps))
            return g->step;
    if (__builtin_sub_overflow(ts[n - 1], ts[0], &span) || span > INT64_MAX - steps)
        return g->step;
    return (span + steps / 2) / steps;
}

static void grid_bytes(const int64_t *ts, const int64_t *t, size_t n, struct grid *g)
{
    struct ksi_sample sample;
    ksi_pfor_sample(t, n, &sample);
    ksi_pfor_plan(t, n, &sample, &g->pfor);
    g->bytes = ksi_zigzag_bytes(ts[0]) + ksi_varint_bytes((uint64_t)g->step) +
               ksi_varint_bytes(g->gaps) + g->pfor.bytes;
    for (size_t i = 0; i < g->gaps; i++)
        g->bytes += ksi_varint_bytes((uint64_t)(g->at[i] - (i ? g->at[i - 1] : 0))) +
                    ksi_varint_bytes((uint64_t)g->extra[i]);
}

/* The better of two steps; false when no grid fits. */
static bool plan_grid(const int64_t *ts, int64_t *t, size_t n, struct grid *ret)
{
    ret->step = usual_step(ts, n);
    if (ret->step <= 0 || ret->step > STEP_MAX || !fit_grid(ts, n, t, ret))
        return false;
    grid_bytes(ts, t, n, ret);
    struct grid other = {.step = refined_step(ts, n, ret)};
    if (other.step != ret->step && other.step > 0 && other.step <= STEP_MAX &&
        fit_grid(ts, n, t, &other)) {
        grid_bytes(ts, t, n, &other);
        if (other.bytes < ret->bytes)
            *ret = other;
    }
    return true;
}

static void put_grid(const int64_t *ts, int64_t *t, size_t n, struct grid *g, struct ks_buf *out)
{
    fit_grid(ts, n, t, g);
    ks_buf_zigzag(out, ts[0]);
    ks_buf_varint(out, (uint64_t)g->step);
    ks_buf_varint(out, g->gaps);
    for (size_t i = 0; i < g->gaps; i++) {
        ks_buf_varint(out, (uint64_t)(g->at[i] - (i ? g->at[i - 1] : 0)));
        ks_buf_varint(out, (uint64_t)g->extra[i]);
    }
    ksi_pfor_put(t, n, &g->pfor, out);
}

/* room: 2 arrays of n int64. */
static void encode_times(const int64_t *ts, size_t n, int64_t *room, struct ks_buf *out,
                         uint8_t *ret_encoding)
{
    struct ksi_ints plan;
    struct grid grid;
    size_t before = out->len, bytes;
    ksi_ints_plan(ts, room, n, false, &plan);
    bytes = plan.bytes;
    *ret_encoding = plan.kind;
    if (plan.kind > KSI_DCONST && plan_grid(ts, room, n, &grid) && grid.bytes < bytes) {
        bytes = grid.bytes;
        *ret_encoding = KSI_GRID;
        put_grid(ts, room, n, &grid, out);
    } else {
        memcpy(room, ts, n * sizeof *ts);
        ksi_ints_put(room, n, &plan, out);
    }
    KS_ASSERT(out->err != KS_OK || out->len - before == bytes);
}

ks_err ks_times_encode(const int64_t *ts, size_t n, struct ks_buf *out, uint8_t *ret_encoding)
{
    if (n == 0 || n > KS_CHUNK_SAMPLES_MAX)
        return ks_fail(KS_EINVAL, "a chunk of %zu timestamps", n);
    if (n <= KS_CHUNK_STACK_MAX) {
        int64_t room[KS_CHUNK_STACK_MAX];
        encode_times(ts, n, room, out, ret_encoding);
        return ks_buf_status(out);
    }
    int64_t *room = ks_alloc_array(n, sizeof *room);
    if (!room)
        return KS_ENOMEM;
    encode_times(ts, n, room, out, ret_encoding);
    ks_free(room);
    return ks_buf_status(out);
}

static bool get_grid(struct ks_reader *r, size_t n, int64_t *ret)
{
    uint64_t nominal = (uint64_t)ks_read_zigzag(r), step = ks_read_varint(r);
    uint64_t gaps = ks_read_varint(r), at = 0;
    uint16_t where[GAPS_MAX + 1];
    uint64_t extra[GAPS_MAX];
    if (r->bad || step == 0 || gaps > GAPS_MAX)
        return false;
    for (size_t i = 0; i < gaps; i++) {
        uint64_t d = ks_read_varint(r);
        extra[i] = ks_read_varint(r);
        if (d == 0 || d >= n - at)
            return false;
        where[i] = (uint16_t)(at += d);
    }
    if (!ksi_pfor_get(r, n, ret, NULL))
        return false;
    size_t i = 0;
    for (size_t g = 0; g <= gaps; g++) {
        size_t end = g < gaps ? where[g] : n, start = i;
        for (; i < end; i++)
            ret[i] = (int64_t)((uint64_t)ret[i] + nominal + step * (uint64_t)(i - start));
        if (g < gaps)
            nominal += step * ((uint64_t)(end - start) + extra[g]);
    }
    return true;
}

ks_err ks_times_decode(struct ks_slice bytes, uint8_t encoding, size_t n, int64_t *ret)
{
    if (n == 0 || n > KS_CHUNK_SAMPLES_MAX)
        return ks_fail(KS_ECORRUPT, "a chunk of %zu timestamps", n);
    struct ks_reader r = ks_reader(bytes);
    bool ok =
        encoding == KSI_GRID ? get_grid(&r, n, ret) : ksi_ints_get(&r, encoding, n, ret, NULL);
    if (!ok || r.bad || ks_reader_left(&r))
        return ks_fail(KS_ECORRUPT, "malformed time column: encoding %u, %zu samples in %zu bytes",
                       encoding, n, bytes.len);
    return KS_OK;
}

const char *ks_times_encoding_name(uint8_t encoding)
{
    static const char *const names[] = {"unknown", "const",  "dconst", "for",
                                        "delta",   "delta2", "grid"};
    return encoding < sizeof names / sizeof *names ? names[encoding] : "unknown";
}
