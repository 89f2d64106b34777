/*
 * The additive lagged Fibonacci generator of Go's math/rand, so that rand(seed) gives the peer's
 * numbers: x[n] = x[n-607] + x[n-273] mod 2^64. Its seeding mixes in the state the generator
 * reaches after 7.8e12 steps from a fixed start; instead of carrying that table we jump there: x^N
 * modulo the recurrence's polynomial, once per process. Normal and exponential numbers by the
 * ziggurat of Marsaglia and Tsang (2000), tables computed by their formulas.
 */
#include <pthread.h>

#include "query/promql/exec_priv.h"

enum { LEN = 607, TAP = 273 };

struct ksi_gorand {
    uint64_t vec[LEN];
    int tap, feed;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t cooked[LEN];
static uint32_t kn[128], ke[256];
static float wn[128], fn[128], we[256], fe[256];

/* Lehmer's minimal standard generator, by Schrage's method. */
static int32_t seed_step(int32_t x)
{
    x = 48271 * (x % 44488) - 3399 * (x / 44488);
    return x < 0 ? x + INT32_MAX : x;
}

static void seed_state(int32_t x, unsigned high, unsigned mid, const uint64_t *mix, uint64_t *vec)
{
    for (int i = -20; i < LEN; i++) {
        x = seed_step(x);
        if (i < 0)
            continue;
        uint64_t u = (uint64_t)x << high;
        x = seed_step(x);
        u ^= (uint64_t)x << mid;
        x = seed_step(x);
        u ^= (uint64_t)x;
        vec[i] = mix ? u ^ mix[i] : u;
    }
}

/* a := a·a mod x^607 - x^334 - 1, coefficients mod 2^64; then times x when asked. */
static void square(uint64_t *a, bool times_x)
{
    uint64_t t[2 * LEN + 1] = {0};
    for (int i = 0; i < LEN; i++)
        for (int k = 0; a[i] && k < LEN; k++)
            t[i + k + times_x] += a[i] * a[k];
    for (int i = 2 * LEN; i >= LEN; i--) {
        t[i - LEN] += t[i];
        t[i - LEN + (LEN - TAP)] += t[i];
    }
    memcpy(a, t, LEN * sizeof *a);
}

static void cook(void)
{
    const uint64_t steps = 7800000000000u;
    uint64_t first[LEN], seq[2 * LEN], r[LEN] = {1};
    seed_state(1, 20, 10, NULL, first);
    /* seq[k] is x[k - 606]; the ring holds x[n] at 334 - n. */
    for (int k = 0; k < LEN; k++)
        seq[k] = first[((LEN - TAP) - (k - (LEN - 1)) + 2 * LEN) % LEN];
    for (int k = LEN; k < 2 * LEN; k++)
        seq[k] = seq[k - LEN] + seq[k - TAP];
    for (int bit = 63; bit >= 0; bit--)
        square(r, steps >> bit & 1);
    for (int k = 0; k < LEN; k++) {
        uint64_t x = 0;
        for (int j = 0; j < LEN; j++)
            x += r[j] * seq[j + k];
        int64_t n = (int64_t)(steps % LEN) + k - (LEN - 1); /* x[steps + k - 606] */
        cooked[(((LEN - TAP) - n) % LEN + LEN) % LEN] = x;
    }
}

static void tables(void)
{
    double d = 3.442619855899, t = d, v = 9.91256303526217e-3, q = v / exp(-.5 * d * d),
           m = 2147483648.0;
    kn[0] = (uint32_t)(d / q * m);
    kn[1] = 0;
    wn[0] = (float)(q / m);
    wn[127] = (float)(d / m);
    fn[0] = 1;
    fn[127] = (float)exp(-.5 * d * d);
    for (int i = 126; i >= 1; i--) {
        d = sqrt(-2 * log(v / d + exp(-.5 * d * d)));
        kn[i + 1] = (uint32_t)(d / t * m);
        t = d;
        fn[i] = (float)exp(-.5 * d * d);
        wn[i] = (float)(d / m);
    }
    d = t = 7.69711747013104972;
    v = 3.949659822581572e-3;
    q = v / exp(-d);
    m = 4294967296.0;
    ke[0] = (uint32_t)(d / q * m);
    ke[1] = 0;
    we[0] = (float)(q / m);
    we[255] = (float)(d / m);
    fe[0] = 1;
    fe[255] = (float)exp(-d);
    for (int i = 254; i >= 1; i--) {
        d = -log(v / d + exp(-d));
        ke[i + 1] = (uint32_t)(d / t * m);
        t = d;
        fe[i] = (float)exp(-d);
        we[i] = (float)(d / m);
    }
}

static void init(void)
{
    cook();
    tables();
}

ks_err ksi_gorand_new(struct ks_arena *arena, int64_t seed, struct ksi_gorand **ret)
{
    pthread_once(&once, init);
    struct ksi_gorand *r = ks_arena_alloc(arena, sizeof *r);
    if (!r)
        return ks_arena_err(arena);
    seed %= INT32_MAX;
    if (seed < 0)
        seed += INT32_MAX;
    if (seed == 0)
        seed = 89482311;
    r->tap = 0;
    r->feed = LEN - TAP;
    seed_state((int32_t)seed, 40, 20, cooked, r->vec);
    *ret = r;
    return KS_OK;
}

static uint64_t next(struct ksi_gorand *r)
{
    if (--r->tap < 0)
        r->tap += LEN;
    if (--r->feed < 0)
        r->feed += LEN;
    return r->vec[r->feed] += r->vec[r->tap];
}

static uint32_t next32(struct ksi_gorand *r)
{
    return (uint32_t)((next(r) & INT64_MAX) >> 31);
}

double ksi_gorand_float(struct ksi_gorand *r)
{
    double f;
    do /* rounding may give 1 */
        f = (double)(next(r) & INT64_MAX) / 0x1p63;
    while (f == 1);
    return f;
}

double ksi_gorand_normal(struct ksi_gorand *r)
{
    const double tail = 3.442619855899;
    for (;;) {
        int32_t j = (int32_t)next32(r);
        unsigned i = (unsigned)j & 0x7f;
        double x = (double)j * (double)wn[i];
        if ((j < 0 ? 0u - (uint32_t)j : (uint32_t)j) < kn[i])
            return x;
        if (i == 0) {
            double y;
            do {
                x = -log(ksi_gorand_float(r)) * (1.0 / tail);
                y = -log(ksi_gorand_float(r));
            } while (y + y < x * x);
            return j > 0 ? tail + x : -tail - x;
        }
        if (fn[i] + (float)ksi_gorand_float(r) * (fn[i - 1] - fn[i]) < (float)exp(-.5 * x * x))
            return x;
    }
}

double ksi_gorand_exp(struct ksi_gorand *r)
{
    for (;;) {
        uint32_t j = next32(r);
        unsigned i = j & 0xff;
        double x = (double)j * (double)we[i];
        if (j < ke[i])
            return x;
        if (i == 0)
            return 7.69711747013104972 - log(ksi_gorand_float(r));
        if (fe[i] + (float)ksi_gorand_float(r) * (fe[i - 1] - fe[i]) < (float)exp(-x))
            return x;
    }
}
