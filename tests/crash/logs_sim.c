/*
 * Simulated power loss against a log store.
 *
 *   logs_sim POINTS [SEED]
 *
 * Each point runs a seeded workload (writes, flushes, merges, deletes, retention, reopenings) on a
 * simulated disk until the power goes at a random call, takes a state that the loss could leave,
 * opens it and checks: every acknowledged row is there once, byte for byte, no row is there that
 * was never written or twice, deletes that were acknowledged hold. Then it writes on and reopens
 * once more. A failing point prints its seed; give it as SEED with POINTS 1 to see it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "log_model.h"
#include "sys/clock.h"
#include "sys/rand.h"

static uint64_t point_seed;

static void fail(const char *what, uint32_t id)
{
    printf("FAILED seed=%llu row=%u: %s (last error: %s)\n", (unsigned long long)point_seed, id,
           what, ks_err_text());
    fflush(stdout);
    abort();
}

static void check(struct log_world *w, struct log_model *m)
{
    if (log_model_check(m, w) != KS_OK)
        fail("reading", 0);
}

/* --- a point --- */

static bool step(struct ks_simdisk *d, struct log_world *w, struct log_model *m, uint64_t *rng)
{
    switch (ks_rng_below(rng, 16)) {
    case 0:
    case 1:
        return ks_log_store_flush(w->s) == KS_OK;
    case 2:
        return ks_log_store_merge(w->s, "") == KS_OK;
    case 3:
        return ks_engine_tick(w->e) == KS_OK;
    case 4:
        return log_model_delete(m, w, (uint32_t)ks_rng_below(rng, LM_GROUPS)) == KS_OK;
    case 5:
        return ks_engine_flush(w->e) == KS_OK;
    case 6: {
        ks_err err = log_world_close(w);
        return err == KS_OK && log_world_open(d, w) == KS_OK;
    }
    default:
        return log_model_write(m, w, rng, 120) == KS_OK;
    }
}

static void run_steps(struct ks_simdisk *d, struct log_world *w, struct log_model *m, uint64_t *rng,
                      unsigned n)
{
    while (n-- && step(d, w, m, rng))
        ;
}

static void run_point(uint64_t seed)
{
    static struct log_model m;
    struct ks_simdisk *d, *after;
    struct log_world w = {0};
    uint64_t rng = seed;
    point_seed = seed;
    memset(&m, 0, sizeof m);
    m.fail = fail;
    if (ks_simdisk_new(&d) != KS_OK || log_world_open(d, &w) != KS_OK)
        fail("start", 0);
    run_steps(d, &w, &m, &rng, (unsigned)ks_rng_below(&rng, 12));
    ks_simdisk_stop_at(d, 1 + ks_rng_below(&rng, 250));
    if (w.e)
        run_steps(d, &w, &m, &rng, 60);
    if (ks_simdisk_crash(d, ks_rng_next(&rng), &after) != KS_OK)
        fail("crash", 0);
    if (w.e)
        (void)!log_world_close(&w);
    ks_simdisk_free(d);
    if (log_world_open(after, &w) != KS_OK)
        fail("opening after the power loss", 0);
    check(&w, &m);
    run_steps(after, &w, &m, &rng, 10);
    if (!w.e)
        fail("going on", 0);
    check(&w, &m);
    if (log_world_close(&w) != KS_OK || log_world_open(after, &w) != KS_OK)
        fail("opening again", 0);
    check(&w, &m);
    (void)!log_world_close(&w);
    ks_simdisk_free(after);
}

int main(int argc, char **argv)
{
    unsigned long long points = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : ks_random_u64();
    ks_log_set_level(KS_LOG_ERROR);
    ks_clock_freeze_ms(LM_NOW_MS);
    printf("logs_sim: %llu points from seed %llu\n", points, (unsigned long long)seed);
    for (unsigned long long i = 0; i < points; i++)
        run_point(points == 1 ? seed : ks_mix64(seed + i));
    printf("logs_sim: all good\n");
    return 0;
}
