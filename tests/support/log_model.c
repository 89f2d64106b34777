#include "log_model.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "log_shapes.h"
#include "sys/rand.h"

/* --- the store --- */

ks_err log_world_open(struct ks_simdisk *d, struct log_world *w)
{
    struct ks_matcher is_last = {KS_SLICE_LIT("app"), KS_SLICE_LIT("s6"), KS_MATCH_EQ};
    struct ks_selector sel = {&is_last, 1};
    struct ks_log_retention_rule rule = {&sel, 1, KS_MS_DAY * 1000000};
    struct ks_log_store_opts so = {.name = "logs", .rules = &rule, .rule_count = 1};
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

ks_err log_world_close(struct log_world *w)
{
    if (!w->e)
        return KS_OK;
    ks_err err = ks_engine_close(w->e);
    ks_logs_free(w->logs);
    w->e = NULL;
    return err;
}

/* --- rows: all of a row follows from its number --- */

static int64_t row_time(uint32_t id)
{
    uint64_t rng = id * 77 + 5;
    return (LM_NOW_MS - 2 * KS_MS_DAY + (int64_t)ks_rng_below(&rng, 3 * KS_MS_DAY)) * 1000000 +
           (id % 2 ? 0 : (int64_t)ks_rng_below(&rng, 1000000));
}

static uint32_t row_stream(uint32_t id)
{
    return (uint32_t)(ks_mix64(id) % LM_STREAMS);
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

static const char *const names[LM_FIELDS] = {"id", "_msg", "a", "b", "c", "level"};

static ks_err add_row(struct ks_log_batch *b, uint32_t id, struct ks_buf *v)
{
    struct ks_log_field f[LM_FIELDS];
    char tag[16];
    uint32_t stream;
    snprintf(tag, sizeof tag, "s%u", row_stream(id));
    struct ks_label l = {KS_SLICE_LIT("app"), ks_slice_str(tag)};
    struct ks_tenant t = {row_stream(id) % 2, 0};
    KS_TRY(ks_log_batch_stream(b, t, &l, 1, &stream));
    for (unsigned k = 0; k < LM_FIELDS; k++) {
        row_field(id, k, v);
        KS_TRY(ks_buf_status(v));
        f[k] =
            (struct ks_log_field){ks_slice_str(names[k]), ks_arena_dup(&b->arena, ks_buf_view(v))};
        if (!f[k].value.ptr)
            return KS_ENOMEM;
    }
    return ks_log_batch_row(b, stream, row_time(id), f, LM_FIELDS);
}

ks_err log_model_write(struct log_model *m, struct log_world *w, uint64_t *rng, uint32_t most)
{
    struct ks_log_batch b;
    struct ks_log_write_result res;
    struct ks_buf v;
    uint32_t first = m->next, n = 1 + (uint32_t)ks_rng_below(rng, most);
    ks_err err = KS_OK;
    ks_log_batch_init(&b, 64 << 20);
    ks_buf_init(&v, 1 << 20);
    for (; err == KS_OK && m->next < first + n && m->next < LM_ROWS; m->next++) {
        m->state[m->next] = LM_TRIED;
        err = add_row(&b, m->next, &v);
    }
    if (err == KS_OK)
        err = ks_log_store_write(w->s, &b, &res);
    for (uint32_t id = first; err == KS_OK && id < m->next; id++)
        m->state[id] = LM_ACKED;
    ks_buf_done(&v);
    ks_log_batch_done(&b);
    return err;
}

/* --- deleting: all rows of a group (number modulo LM_GROUPS) --- */

static bool in_group(void *arg, struct ks_slice v)
{
    uint64_t id;
    return ks_u64_parse(v, &id) && id % LM_GROUPS == *(uint32_t *)arg;
}

static ks_err pick_group(void *arg, struct ks_log_block *b, uint64_t *bits)
{
    struct ks_log_pred p = {.match = in_group, .arg = arg};
    return ks_log_block_filter(b, KS_SLICE_LIT("id"), &p, bits);
}

ks_err log_model_delete(struct log_model *m, struct log_world *w, uint32_t group)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    uint64_t rows;
    m->delete_unsure[group] = true;
    KS_TRY(ks_log_store_delete(w->s, &o, pick_group, &group, &rows));
    for (uint32_t id = group; id < m->next; id += LM_GROUPS)
        m->state[id] = LM_GONE;
    m->delete_unsure[group] = false;
    return KS_OK;
}

/* --- checking --- */

/* Rows of one stream live a day by a rule. */
static bool has_expired(uint32_t id)
{
    return row_stream(id) == LM_STREAMS - 1 && row_time(id) < (LM_NOW_MS - KS_MS_DAY) * 1000000;
}

static void check_row(struct log_model *m, uint32_t id, const struct ks_log_column *cols,
                      uint32_t row, int64_t time_ns, const struct ks_log_stream *s,
                      struct ks_buf *want)
{
    char tag[16];
    if (id >= m->next || m->state[id] == LM_UNTRIED)
        m->fail("a row that was never written", id);
    if (m->state[id] == LM_GONE)
        m->fail("a deleted row shows", id);
    if (has_expired(id))
        m->fail("an expired row shows", id);
    if (m->seen[id]++)
        m->fail("a row twice", id);
    for (unsigned k = 0; k < LM_FIELDS; k++) {
        row_field(id, k, want);
        if (!ks_slice_eq(ks_log_column_at(&cols[k], row), ks_buf_view(want)))
            m->fail(names[k], id);
    }
    snprintf(tag, sizeof tag, "s%u", row_stream(id));
    if (time_ns != row_time(id) || s->tenant.account != row_stream(id) % 2 ||
        !ks_slice_is(ks_labels_get(s->tags, KS_SLICE_LIT("app")), tag))
        m->fail("time or stream", id);
}

static ks_err check_columns(struct ks_log_block *b, struct log_model *m, const uint64_t *bits,
                            struct ks_buf *want)
{
    struct ks_log_column cols[LM_FIELDS];
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    const int64_t *times;
    size_t count;
    KS_TRY(ks_log_block_times(b, &times));
    KS_TRY(ks_log_block_streams(b, &streams, &count, &of_row));
    for (unsigned k = 0; k < LM_FIELDS; k++)
        KS_TRY(ks_log_block_column(b, ks_slice_str(names[k]), &cols[k]));
    for (uint32_t i = 0; i < ks_log_block_rows(b); i++) {
        uint64_t id;
        if (!(bits[i / 64] >> i % 64 & 1))
            continue;
        if (!ks_u64_parse(ks_log_column_at(&cols[0], i), &id))
            m->fail("a row without number", i);
        check_row(m, (uint32_t)id, cols, i, times[i], &streams[of_row[i]], want);
    }
    return KS_OK;
}

static ks_err check_block(struct ks_log_block *b, struct log_model *m, struct ks_buf *want)
{
    uint32_t rows = ks_log_block_rows(b);
    uint64_t *bits = ks_alloc_array(rows / 64 + 1, 8);
    bool any;
    if (!bits)
        return KS_ENOMEM;
    memset(bits, 0xff, (rows / 64 + 1) * 8);
    ks_err err = ks_log_block_select(b, bits, &any);
    if (err == KS_OK)
        err = check_columns(b, m, bits, want);
    ks_free(bits);
    return err;
}

static ks_err look(struct log_model *m, struct log_world *w, struct ks_buf *want)
{
    struct ks_log_scan_opts o = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    struct ks_log_scan *scan;
    struct ks_log_block *b = NULL;
    memset(m->seen, 0, sizeof m->seen);
    KS_TRY(ks_log_store_scan(w->s, &o, &scan));
    ks_err err = ks_log_block_new(&b);
    for (size_t i = 0; i < ks_log_scan_count(scan) && err == KS_OK; i++) {
        err = ks_log_block_open(b, scan, i);
        if (err == KS_OK)
            err = check_block(b, m, want);
    }
    ks_log_block_free(b);
    ks_log_scan_free(scan);
    return err;
}

ks_err log_model_check(struct log_model *m, struct log_world *w)
{
    struct ks_buf want;
    ks_buf_init(&want, 1 << 20);
    ks_err err = ks_buf_reserve(&want, 1 << 18)
                     ? KS_OK
                     : KS_ENOMEM; /* what a fault takes is the store's, not ours */
    if (err == KS_OK)
        err = look(m, w, &want);
    ks_buf_done(&want);
    KS_TRY(err);
    for (uint32_t id = 0; id < m->next; id++)
        if (m->state[id] == LM_ACKED && !m->seen[id] && !has_expired(id) &&
            !m->delete_unsure[id % LM_GROUPS])
            m->fail("an acknowledged row is lost", id);
    /* What was found is there for good now. */
    for (uint32_t id = 0; id < m->next; id++)
        m->state[id] = m->seen[id] ? LM_ACKED : LM_GONE;
    memset(m->delete_unsure, 0, sizeof m->delete_unsure);
    return KS_OK;
}
