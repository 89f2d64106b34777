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
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "engine/engine.h"
#include "engine/logs/log_store.h"
#include "log_shapes.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { ROWS = 20000, STREAMS = 7, FIELDS = 6, GROUPS = 10 };
#define NOW_MS 1790000000000ll

enum { UNTRIED, TRIED, ACKED, GONE };

struct model {
    uint8_t state[ROWS];
    uint8_t seen[ROWS];
    bool delete_unsure[GROUPS];
    uint32_t next;
};

struct world {
    struct ks_engine *e;
    struct ks_logs *logs;
    struct ks_log_store *s;
};

static uint64_t point_seed;

static void fail(const char *what, uint32_t id)
{
    printf("FAILED seed=%llu row=%u: %s (last error: %s)\n", (unsigned long long)point_seed, id,
           what, ks_err_text());
    fflush(stdout);
    abort();
}

static ks_err open_on(struct ks_simdisk *d, struct world *w)
{
    struct ks_log_store_opts so = {.name = "logs"};
    struct ks_logs_opts lo = {.stores = &so, .store_count = 1, .memory_bytes = 256 << 10};
    ks_err err = ks_logs_new(&lo, &w->logs);
    if (err != KS_OK)
        return err;
    struct ks_signal sig = ks_logs_signal(w->logs);
    struct ks_engine_opts o = {.vfs = ks_simdisk_vfs(d),
                               .dir = "data",
                               .retention_ms = 90 * KS_MS_DAY,
                               .wal_segment_bytes = 256 << 10,
                               .wal_max_replay_bytes = 1 << 20,
                               .memory_bytes = 64 << 20,
                               .min_free_disk_bytes = 1,
                               .shards = 2,
                               .no_background = true,
                               .signals = &sig,
                               .signal_count = 1};
    err = ks_engine_open(&o, &w->e);
    if (err != KS_OK) {
        ks_logs_free(w->logs);
        w->e = NULL;
        return err;
    }
    w->s = ks_logs_store_at(w->logs, 0);
    return KS_OK;
}

static ks_err close_world(struct world *w)
{
    ks_err err = ks_engine_close(w->e);
    ks_logs_free(w->logs);
    w->e = NULL;
    return err;
}

/* --- rows: all of a row follows from its number --- */

static int64_t row_time(uint32_t id)
{
    uint64_t rng = id * 77 + 5;
    return (NOW_MS - 2 * KS_MS_DAY + (int64_t)ks_rng_below(&rng, 3 * KS_MS_DAY)) * 1000000 +
           (id % 2 ? 0 : (int64_t)ks_rng_below(&rng, 1000000));
}

static uint32_t row_stream(uint32_t id)
{
    return (uint32_t)(ks_mix64(id) % STREAMS);
}

/* Field k of a row; k 0 is its number. */
static void row_field(uint32_t id, unsigned k, struct ks_buf *out)
{
    uint64_t rng = id * 131 + k * 7;
    if (k == 0) {
        ks_buf_reset(out);
        ks_buf_u64_dec(out, id);
    } else if (k == 1) {
        ks_buf_reset(out);
        log_message(&rng, out);
    } else {
        log_shape((id / 500 * 3 + k) % LOG_SHAPES, &rng, out);
    }
}

static const char *const names[FIELDS] = {"id", "_msg", "a", "b", "c", "level"};

static bool write_some(struct world *w, struct model *m, uint64_t *rng)
{
    struct ks_log_batch b;
    struct ks_log_write_result res;
    struct ks_buf v;
    uint32_t first = m->next, n = 1 + (uint32_t)ks_rng_below(rng, 120);
    ks_log_batch_init(&b, 64 << 20);
    ks_buf_init(&v, 1 << 20);
    for (; m->next < first + n && m->next < ROWS; m->next++) {
        struct ks_log_field f[FIELDS];
        char tag[16];
        uint32_t stream, id = m->next;
        snprintf(tag, sizeof tag, "s%u", row_stream(id));
        struct ks_label l = {KS_SLICE_LIT("app"), ks_slice_str(tag)};
        struct ks_tenant t = {row_stream(id) % 2, 0};
        if (ks_log_batch_stream(&b, t, &l, 1, &stream) != KS_OK)
            fail("batch", id);
        for (unsigned k = 0; k < FIELDS; k++) {
            row_field(id, k, &v);
            f[k] = (struct ks_log_field){ks_slice_str(names[k]),
                                         ks_arena_dup(&b.arena, ks_buf_view(&v))};
        }
        if (ks_log_batch_row(&b, stream, row_time(id), f, FIELDS) != KS_OK)
            fail("batch", id);
        m->state[id] = TRIED;
    }
    ks_err err = ks_log_store_write(w->s, &b, &res);
    for (uint32_t id = first; err == KS_OK && id < m->next; id++)
        m->state[id] = ACKED;
    ks_buf_done(&v);
    ks_log_batch_done(&b);
    return err == KS_OK;
}

/* --- deleting: all rows of a group (number modulo GROUPS) --- */

static bool in_group(void *arg, struct ks_slice v)
{
    uint64_t id;
    return ks_u64_parse(v, &id) && id % GROUPS == *(uint32_t *)arg;
}

static ks_err pick_group(void *arg, struct ks_log_block *b, uint64_t *bits)
{
    struct ks_log_pred p = {.match = in_group, .arg = arg};
    return ks_log_block_filter(b, KS_SLICE_LIT("id"), &p, bits);
}

static bool delete_some(struct world *w, struct model *m, uint64_t *rng)
{
    uint32_t group = (uint32_t)ks_rng_below(rng, GROUPS);
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    uint64_t rows;
    if (ks_log_store_delete(w->s, &o, pick_group, &group, &rows) != KS_OK) {
        m->delete_unsure[group] = true;
        return false;
    }
    for (uint32_t id = group; id < m->next; id += GROUPS)
        m->state[id] = GONE;
    m->delete_unsure[group] = false;
    return true;
}

/* --- checking --- */

static struct ks_slice value_at(const struct ks_log_column *c, uint32_t row)
{
    return c->kind == KS_COL_CONST    ? c->values[0]
           : c->kind == KS_COL_DICT   ? c->values[c->codes[row]]
           : c->kind == KS_COL_VALUES ? c->values[row]
                                      : ks_slice(NULL, 0);
}

static void check_row(struct model *m, uint32_t id, const struct ks_log_column *cols, uint32_t row,
                      int64_t time_ns, const struct ks_log_stream *s, struct ks_buf *want)
{
    char tag[16];
    if (id >= m->next || m->state[id] == UNTRIED)
        fail("a row that was never written", id);
    if (m->state[id] == GONE)
        fail("a deleted row shows", id);
    if (m->seen[id]++)
        fail("a row twice", id);
    for (unsigned k = 0; k < FIELDS; k++) {
        row_field(id, k, want);
        if (!ks_slice_eq(value_at(&cols[k], row), ks_buf_view(want)))
            fail(names[k], id);
    }
    snprintf(tag, sizeof tag, "s%u", row_stream(id));
    if (time_ns != row_time(id) || s->tenant.account != row_stream(id) % 2 ||
        !ks_slice_is(ks_labels_get(s->tags, KS_SLICE_LIT("app")), tag))
        fail("time or stream", id);
}

static void check_block(struct ks_log_block *b, struct model *m, struct ks_buf *want)
{
    uint32_t rows = ks_log_block_rows(b);
    uint64_t *bits = ks_alloc_array(rows / 64 + 1, 8);
    struct ks_log_column cols[FIELDS];
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    const int64_t *times;
    size_t count;
    bool any;
    memset(bits, 0xff, (rows / 64 + 1) * 8);
    if (ks_log_block_select(b, bits, &any) != KS_OK || ks_log_block_times(b, &times) != KS_OK ||
        ks_log_block_streams(b, &streams, &count, &of_row) != KS_OK)
        fail("reading a block", 0);
    for (unsigned k = 0; k < FIELDS; k++)
        if (ks_log_block_column(b, ks_slice_str(names[k]), &cols[k]) != KS_OK)
            fail("reading a column", k);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t id;
        if (!(bits[i / 64] >> i % 64 & 1))
            continue;
        if (!ks_u64_parse(value_at(&cols[0], i), &id))
            fail("a row without number", i);
        check_row(m, (uint32_t)id, cols, i, times[i], &streams[of_row[i]], want);
    }
    ks_free(bits);
}

static void check(struct world *w, struct model *m)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    struct ks_log_scan *scan;
    struct ks_log_block *b;
    struct ks_buf want;
    ks_buf_init(&want, 1 << 20);
    memset(m->seen, 0, sizeof m->seen);
    if (ks_log_store_scan(w->s, &o, &scan) != KS_OK || ks_log_block_new(&b) != KS_OK)
        fail("scan", 0);
    for (size_t i = 0; i < ks_log_scan_count(scan); i++) {
        if (ks_log_block_open(b, scan, i) != KS_OK)
            fail("opening a block", (uint32_t)i);
        check_block(b, m, &want);
    }
    for (uint32_t id = 0; id < m->next; id++)
        if (m->state[id] == ACKED && !m->seen[id] && !m->delete_unsure[id % GROUPS])
            fail("an acknowledged row is lost", id);
    /* What was found is there for good now. */
    for (uint32_t id = 0; id < m->next; id++)
        m->state[id] = m->seen[id] ? ACKED : GONE;
    memset(m->delete_unsure, 0, sizeof m->delete_unsure);
    ks_log_block_free(b);
    ks_log_scan_free(scan);
    ks_buf_done(&want);
}

/* --- a point --- */

static bool step(struct ks_simdisk *d, struct world *w, struct model *m, uint64_t *rng)
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
        return delete_some(w, m, rng);
    case 5:
        return ks_engine_flush(w->e) == KS_OK;
    case 6: {
        ks_err err = close_world(w);
        return err == KS_OK && open_on(d, w) == KS_OK;
    }
    default:
        return write_some(w, m, rng);
    }
}

static void run_steps(struct ks_simdisk *d, struct world *w, struct model *m, uint64_t *rng,
                      unsigned n)
{
    while (n-- && step(d, w, m, rng))
        ;
}

static void run_point(uint64_t seed)
{
    static struct model m;
    struct ks_simdisk *d, *after;
    struct world w = {0};
    uint64_t rng = seed;
    point_seed = seed;
    memset(&m, 0, sizeof m);
    if (ks_simdisk_new(&d) != KS_OK || open_on(d, &w) != KS_OK)
        fail("start", 0);
    run_steps(d, &w, &m, &rng, (unsigned)ks_rng_below(&rng, 12));
    ks_simdisk_stop_at(d, 1 + ks_rng_below(&rng, 250));
    if (w.e)
        run_steps(d, &w, &m, &rng, 60);
    if (ks_simdisk_crash(d, ks_rng_next(&rng), &after) != KS_OK)
        fail("crash", 0);
    if (w.e)
        (void)!close_world(&w);
    ks_simdisk_free(d);
    if (open_on(after, &w) != KS_OK)
        fail("opening after the power loss", 0);
    check(&w, &m);
    run_steps(after, &w, &m, &rng, 10);
    if (!w.e)
        fail("going on", 0);
    check(&w, &m);
    if (close_world(&w) != KS_OK || open_on(after, &w) != KS_OK)
        fail("opening again", 0);
    check(&w, &m);
    (void)!close_world(&w);
    ks_simdisk_free(after);
}

int main(int argc, char **argv)
{
    unsigned long long points = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : ks_random_u64();
    ks_log_set_level(KS_LOG_ERROR);
    ks_clock_freeze_ms(NOW_MS);
    printf("logs_sim: %llu points from seed %llu\n", points, (unsigned long long)seed);
    for (unsigned long long i = 0; i < points; i++)
        run_point(points == 1 ? seed : ks_mix64(seed + i));
    printf("logs_sim: all good\n");
    return 0;
}
