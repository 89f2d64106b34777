/*
 * Simulated power loss against the whole engine.
 *
 *   engine_sim POINTS [SEED]
 *
 * Each point runs a seeded workload (writes, late samples, flushes, merges, deletes, reopenings) on
 * a simulated disk until the power goes at a random call, takes a state that the loss could leave,
 * opens it and checks: every acknowledged sample is there with its exact bits, nothing is there
 * that was never written, deletes that were acknowledged hold. Then it writes on and reopens once
 * more. A failing point prints its seed; give it as SEED with POINTS 1 to see it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/time.h"
#include "engine/engine.h"
#include "engine_util.h"
#include "histogram_shapes.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { SERIES = 12, SLOTS = 4000, STEP_MS = 15000 };

/* What the test knows of one (series, time): values tried, and whether one was acknowledged last.
 */
struct cell {
    uint64_t tried[2];
    uint8_t tries;
    bool acked;
};

struct model {
    struct cell cells[SERIES][SLOTS];
    bool deleted_unsure[SERIES]; /* a delete failed half way: absence proves nothing */
    int64_t start_ms;
    uint32_t next_slot;
};

static const char *const dir = "data";
static uint64_t point_seed;

static void fail(const char *what, uint32_t series, uint32_t slot)
{
    printf("FAILED seed=%llu series=%u slot=%u: %s (last error: %s)\n",
           (unsigned long long)point_seed, series, slot, what, ks_err_text());
    fflush(stdout);
    abort();
}

static void series_name(char *out, size_t size, uint32_t s)
{
    snprintf(out, size, "m%u{job=\"j%u\",instance=\"i%u\",pod=\"p-%u\"}", s % 3, s % 2, s % 4, s);
}

/* Every sixth series has native histograms, which the bits of a value stand for: the value is their
 * sum. */
static bool has_histograms(uint32_t s)
{
    return s % 6 == 5;
}

static struct ks_histogram histogram_of(struct ks_arena *a, uint32_t s, uint32_t slot,
                                        uint64_t bits)
{
    struct ks_histogram h = shape_counter(a, 6 + slot / 64 % 5, slot, s > 6);
    h.sum = ks_f64_from_bits(bits);
    return h;
}

static ks_err open_on(struct ks_simdisk *d, struct ks_engine **ret)
{
    struct ks_engine_opts o = {.vfs = ks_simdisk_vfs(d),
                               .dir = dir,
                               .retention_ms = 90 * KS_MS_DAY,
                               .wal_segment_bytes = 64 << 10,
                               .wal_max_replay_bytes = 1 << 20,
                               .memory_bytes = 64 << 20,
                               .min_free_disk_bytes = 1,
                               .shards = 4,
                               .no_background = true};
    return ks_engine_open(&o, ret);
}

/* Writes a few samples of every series; some late, some of one time twice. */
static bool write_some(struct ks_engine *e, struct model *m, uint64_t *rng)
{
    struct tw w;
    struct {
        uint32_t series, slot;
    } put[256];
    size_t n = 0;
    char name[128];
    tw_init(&w);
    uint32_t steps = 1 + (uint32_t)ks_rng_below(rng, 8);
    for (uint32_t k = 0; k < steps && m->next_slot < SLOTS; k++, m->next_slot++) {
        for (uint32_t s = 0; s < SERIES && n < 256; s++) {
            uint32_t slot = m->next_slot;
            if (ks_rng_below(rng, 4) == 0)
                continue;
            if (slot > 50 && ks_rng_below(rng, 12) == 0)
                slot -= (uint32_t)ks_rng_below(rng, 50);
            struct cell *c = &m->cells[s][slot];
            uint64_t bits = s % 3 == 0 ? ks_f64_bits((double)slot)
                                       : ks_f64_bits((double)ks_rng_below(rng, 1000) / 8);
            if (c->tries == 2)
                continue;
            c->tried[c->tries++] = bits;
            c->acked = false;
            series_name(name, sizeof name, s);
            int64_t ts = m->start_ms + (int64_t)slot * STEP_MS;
            if (has_histograms(s)) {
                struct ks_histogram h = histogram_of(&w.arena, s, slot, bits);
                tw_add_histogram(&w, name, ts, &h);
            } else {
                tw_add(&w, name, ts, ks_f64_from_bits(bits));
            }
            put[n].series = s;
            put[n++].slot = slot;
        }
    }
    ks_err err = tw_write(&w, e, NULL);
    tw_done(&w);
    for (size_t i = 0; err == KS_OK && i < n; i++)
        m->cells[put[i].series][put[i].slot].acked = true;
    return err == KS_OK;
}

static bool delete_one(struct ks_engine *e, struct model *m, uint64_t *rng)
{
    struct ks_matcher room[8];
    uint32_t s = (uint32_t)ks_rng_below(rng, SERIES);
    char name[128];
    series_name(name, sizeof name, s);
    struct ks_selector sel = t_selector(name, room, 8);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {
        .tenants = &tenant, .tenant_count = 1, .selectors = &sel, .selector_count = 1};
    uint64_t touched;
    if (ks_engine_delete(e, &o, &touched) != KS_OK) {
        m->deleted_unsure[s] = true;
        return false;
    }
    memset(m->cells[s], 0, sizeof m->cells[s]);
    return true;
}

/* Sums of the histograms, each of which must be whole. */
static size_t read_sums(struct ks_engine *e, const char *name, const struct model *m, uint32_t s,
                        int64_t *ts, double *v)
{
    struct ks_arena a;
    ks_arena_init(&a, 1 << 30);
    struct ks_histogram_run r =
        t_read_histograms(e, name, m->start_ms, m->start_ms + (int64_t)SLOTS * STEP_MS, &a);
    for (size_t i = 0; i < r.count; i++) {
        uint32_t slot = (uint32_t)((r.times[i] - m->start_ms) / STEP_MS);
        struct ks_histogram want = histogram_of(&a, s, slot, ks_f64_bits(r.items[i].sum));
        if (!ks_histogram_identical(&want, &r.items[i]))
            fail("a histogram was invented", s, slot);
        ts[i] = r.times[i];
        v[i] = r.items[i].sum;
    }
    ks_arena_done(&a);
    return r.count;
}

static void check(struct ks_engine *e, const struct model *m)
{
    static int64_t ts[SLOTS];
    static double v[SLOTS];
    char name[128];
    for (uint32_t s = 0; s < SERIES; s++) {
        series_name(name, sizeof name, s);
        size_t n = has_histograms(s) ? read_sums(e, name, m, s, ts, v)
                                     : t_read(e, name, m->start_ms,
                                              m->start_ms + (int64_t)SLOTS * STEP_MS, ts, v, SLOTS);
        size_t at = 0;
        for (uint32_t slot = 0; slot < m->next_slot; slot++) {
            const struct cell *c = &m->cells[s][slot];
            bool here = at < n && ts[at] == m->start_ms + (int64_t)slot * STEP_MS;
            if (!here) {
                if (c->acked && !m->deleted_unsure[s])
                    fail("an acknowledged sample is lost", s, slot);
                continue;
            }
            uint64_t bits = ks_f64_bits(v[at++]);
            bool known =
                (c->tries > 0 && bits == c->tried[0]) || (c->tries > 1 && bits == c->tried[1]);
            if (!known)
                fail("a sample was invented", s, slot);
            /* Of two acknowledged values the larger shows. */
            if (c->acked && c->tries == 2 && ks_f64_from_bits(bits) < ks_f64_from_bits(c->tried[1]))
                fail("an acknowledged larger value is lost", s, slot);
        }
        if (at != n)
            fail("a sample was invented", s, (uint32_t)at);
    }
}

/* Runs the workload; stops at the first error. Returns whether the engine is still fine. */
static bool run(struct ks_simdisk *d, struct model *m, uint64_t *rng, unsigned rounds)
{
    struct ks_engine *e = NULL;
    if (open_on(d, &e) != KS_OK)
        return false;
    bool good = true;
    for (unsigned i = 0; i < rounds && good; i++) {
        switch (ks_rng_below(rng, 24)) {
        case 0:
        case 1:
            good = ks_engine_flush(e) == KS_OK;
            break;
        case 2:
            good = ks_engine_merge(e, "") == KS_OK;
            break;
        case 3:
            good = ks_engine_tick(e) == KS_OK;
            break;
        case 4:
            good = delete_one(e, m, rng);
            break;
        case 5:
            good = ks_engine_close(e) == KS_OK;
            e = NULL;
            if (!good || open_on(d, &e) != KS_OK)
                return false;
            break;
        default:
            good = write_some(e, m, rng);
        }
    }
    (void)ks_engine_close(e);
    return good;
}

static uint64_t count_calls(uint64_t seed, unsigned rounds)
{
    struct ks_simdisk *d;
    struct model *m = calloc(1, sizeof *m);
    uint64_t rng = seed;
    m->start_ms = ks_now_ms() / STEP_MS * STEP_MS - KS_MS_DAY - 6 * KS_MS_HOUR;
    if (ks_simdisk_new(&d) != KS_OK || !run(d, m, &rng, rounds)) {
        point_seed = seed;
        fail("the workload fails without any fault", 0, 0);
    }
    uint64_t calls = ks_simdisk_calls(d, KS_SIM_CHANGES);
    ks_simdisk_free(d);
    free(m);
    return calls;
}

static void one_point(uint64_t seed, uint64_t calls, uint64_t workload_seed, unsigned rounds)
{
    struct ks_simdisk *d, *after;
    struct model *m = calloc(1, sizeof *m);
    struct ks_engine *e;
    uint64_t rng = workload_seed, pick = seed;
    point_seed = seed;
    m->start_ms = ks_now_ms() / STEP_MS * STEP_MS - KS_MS_DAY - 6 * KS_MS_HOUR;
    if (ks_simdisk_new(&d) != KS_OK)
        abort();
    ks_simdisk_stop_at(d, 1 + ks_rng_below(&pick, calls));
    (void)run(d, m, &rng, rounds);
    if (ks_simdisk_crash(d, ks_rng_next(&pick), &after) != KS_OK)
        abort();
    ks_simdisk_free(d);
    if (open_on(after, &e) != KS_OK)
        fail("cannot open after the crash", 0, 0);
    check(e, m);
    for (int i = 0; i < 3; i++)
        if (!write_some(e, m, &pick))
            fail("cannot write after the crash", 0, 0);
    if (ks_rng_below(&pick, 2) && ks_engine_merge(e, "") != KS_OK)
        fail("cannot merge after the crash", 0, 0);
    check(e, m);
    if (ks_engine_close(e) != KS_OK || open_on(after, &e) != KS_OK)
        fail("cannot reopen after the crash", 0, 0);
    check(e, m);
    (void)ks_engine_close(e);
    ks_simdisk_free(after);
    free(m);
}

int main(int argc, char **argv)
{
    unsigned long points = argc > 1 ? strtoul(argv[1], NULL, 0) : 300;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)ks_now_ms();
    enum { ROUNDS = 60, PER_WORKLOAD = 100 };
    ks_log_set_level(KS_LOG_ERROR + 1);
    printf("engine_sim points=%lu seed=%llu\n", points, (unsigned long long)seed);
    uint64_t calls = 0, workload = UINT64_MAX;
    for (unsigned long i = 0; i < points; i++) {
        if ((seed + i) / PER_WORKLOAD != workload) {
            workload = (seed + i) / PER_WORKLOAD;
            calls = count_calls(workload, ROUNDS);
        }
        one_point(seed + i, calls, workload, ROUNDS);
    }
    printf("%lu crash points passed\n", points);
    return 0;
}
