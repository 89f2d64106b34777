/*
 * Keeps the newest rows: a list that is cut to the limit when it has doubled. What the cut dropped
 * is older than the threshold, by which the scan ends early. Rows are copied batch by batch; a
 * batch goes when none of its rows is kept.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "query/logsql/exec_priv.h"
#include "query/logsql/filter/value.h"

struct kept_batch {
    struct ks_arena arena;
    struct ks_lq_rows rows;
    size_t live;
    uint64_t charged;
};
struct kept_row {
    int64_t time_ns;
    uint64_t order; /* of arrival: makes the order total */
    struct kept_batch *batch;
    uint32_t row;
};
struct ksi_lq_newest {
    struct ks_lq_stage s;
    pthread_mutex_t lock;
    struct kept_row *rows;
    size_t count, cap;
    uint64_t limit, offset, arrived;
    _Atomic int64_t threshold;
};

static int newer_first(const void *pa, const void *pb)
{
    const struct kept_row *a = pa, *b = pb;
    if (a->time_ns != b->time_ns)
        return a->time_ns > b->time_ns ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static void batch_unref(struct ksi_lq_newest *n, struct kept_batch *b)
{
    if (--b->live)
        return;
    ks_lq_uncharge(n->s.x, b->charged);
    ks_arena_done(&b->arena);
    ks_free(b);
}

static void cut(struct ksi_lq_newest *n)
{
    uint64_t keep = n->limit + n->offset;
    if (n->count)
        qsort(n->rows, n->count, sizeof *n->rows, newer_first);
    if (n->count < keep)
        return;
    while (n->count > keep)
        batch_unref(n, n->rows[--n->count].batch);
    atomic_store_explicit(&n->threshold, keep ? n->rows[keep - 1].time_ns : INT64_MAX,
                          memory_order_relaxed);
}

/* Bits of rows that may be among the newest. */
static ks_err choose(struct ksi_lq_newest *n, const struct ks_lq_rows *rows,
                     const int64_t *times_ns, uint64_t *bits)
{
    int64_t t = atomic_load_explicit(&n->threshold, memory_order_relaxed);
    memset(bits, 0, KS_ROW_WORDS(rows->row_count) * sizeof *bits);
    for (uint32_t i = 0; i < rows->row_count; i++)
        if (times_ns[i] >= t)
            bits[i / 64] |= 1ull << (i % 64);
    return KS_OK;
}

static ks_err times_of(const struct ks_lq_rows *rows, struct ks_arena *arena, const int64_t **ret)
{
    const struct ks_lq_col *c = ks_lq_rows_col(rows, KS_SLICE_LIT("_time"));
    char tmp[KS_LQ_TIME_TEXT_MAX];
    if (c && c->kind == KS_LQ_TIMES) {
        *ret = c->times_ns;
        return KS_OK;
    }
    int64_t *t = ks_arena_array(arena, rows->row_count, sizeof *t);
    if (!t)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < rows->row_count; i++)
        if (!ks_lq_parse_rfc3339(ks_lq_col_text(c, i, tmp), &t[i]))
            t[i] = INT64_MIN;
    *ret = t;
    return KS_OK;
}

/* The chosen rows as a batch of their own. *ret_kept: b is the list's now, and may be gone already:
 * its rows may be cut at once, here or by another worker. */
static ks_err keep_batch(struct ksi_lq_newest *n, const struct ks_lq_rows *rows,
                         struct kept_batch *b, bool *ret_kept)
{
    struct ks_lq_rows dense;
    const int64_t *times;
    uint64_t *bits = ks_arena_array(&b->arena, KS_ROW_WORDS(rows->row_count), sizeof *bits);
    if (!bits)
        return ks_arena_err(&b->arena);
    KS_TRY(times_of(rows, &b->arena, &times));
    KS_TRY(choose(n, rows, times, bits));
    KS_TRY(ks_lq_rows_compact(rows, bits, &b->arena, &dense));
    if (!dense.row_count)
        return KS_OK;
    KS_TRY(ks_lq_rows_copy(&dense, &b->arena, &b->rows));
    KS_TRY(times_of(&b->rows, &b->arena, &times));
    KS_TRY(
        ks_array_reserve((void **)&n->rows, &n->cap, n->count + dense.row_count, sizeof *n->rows));
    KS_TRY(ks_lq_charge(n->s.x, b->arena.used_bytes));
    b->charged = b->arena.used_bytes;
    b->live = dense.row_count;
    *ret_kept = true;
    for (uint32_t i = 0; i < dense.row_count; i++)
        n->rows[n->count++] = (struct kept_row){times[i], n->arrived++, b, i};
    if (n->count >= 2 * (n->limit + n->offset) || n->count - dense.row_count < n->limit + n->offset)
        cut(n);
    return KS_OK;
}

static ks_err newest_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct ksi_lq_newest *n = (struct ksi_lq_newest *)s;
    struct kept_batch *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    ks_arena_init(&b->arena, KS_BUF_UNLIMITED);
    pthread_mutex_lock(&n->lock);
    bool kept = false;
    ks_err err = keep_batch(n, rows, b, &kept);
    pthread_mutex_unlock(&n->lock);
    if (!kept) {
        ks_arena_done(&b->arena);
        ks_free(b);
    }
    return err;
}

static ks_err newest_finish(struct ks_lq_stage *s)
{
    struct ksi_lq_newest *n = (struct ksi_lq_newest *)s;
    struct ks_arena scratch;
    ks_err err = KS_OK;
    ks_arena_init(&scratch, KS_BUF_UNLIMITED);
    cut(n);
    for (size_t i = n->offset; i < n->count && !err; i++) {
        struct ks_lq_rows one;
        ks_arena_reset(&scratch);
        err = ks_lq_rows_slice(&n->rows[i].batch->rows, n->rows[i].row, 1, &scratch, &one);
        if (!err)
            err = ks_lq_push(s->next, 0, &one);
    }
    ks_arena_done(&scratch);
    return err;
}

static void newest_free(struct ks_lq_stage *s)
{
    struct ksi_lq_newest *n = (struct ksi_lq_newest *)s;
    while (n->count)
        batch_unref(n, n->rows[--n->count].batch);
    ks_free(n->rows);
    pthread_mutex_destroy(&n->lock);
    ks_free(n);
}

static const struct ks_lq_stage_ops newest_ops = {
    .name = "newest", .push = newest_push, .finish = newest_finish, .free = newest_free};

ks_err ksi_lq_newest_new(struct ks_lq_exec *x, uint64_t limit, uint64_t offset,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_newest *n = ks_zalloc(sizeof *n);
    if (!n)
        return KS_ENOMEM;
    if (limit > UINT32_MAX)
        limit = UINT32_MAX;
    n->s = (struct ks_lq_stage){.ops = &newest_ops, .x = x, .next = next};
    n->limit = limit;
    n->offset = offset > UINT32_MAX ? UINT32_MAX : offset;
    n->threshold = INT64_MIN;
    pthread_mutex_init(&n->lock, NULL);
    *ret = &n->s;
    return KS_OK;
}

int64_t ksi_lq_newest_threshold(struct ksi_lq_newest *n)
{
    return atomic_load_explicit(&n->threshold, memory_order_relaxed);
}

/* The k-th largest of n values (k from 1), by Hoare's selection; reorders them. */
static int64_t kth_largest(int64_t *v, size_t n, size_t k)
{
    size_t lo = 0, hi = n - 1, want = k - 1;
    while (lo < hi) {
        int64_t pivot = v[lo + (hi - lo) / 2];
        size_t i = lo, j = hi;
        for (;;) {
            while (v[i] > pivot)
                i++;
            while (v[j] < pivot)
                j--;
            if (i >= j)
                break;
            int64_t t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
        /* [lo, j] ≥ pivot ≥ [j + 1, hi], or one equal value between them */
        if (want <= j && j < hi)
            hi = j;
        else if (want > j)
            lo = j + 1;
        else
            hi--;
    }
    return v[want];
}

ks_err ksi_lq_newest_prune(struct ksi_lq_newest *n, const int64_t *times_ns, uint32_t rows,
                           struct ks_arena *scratch, uint64_t *bits)
{
    uint64_t keep = n->limit + n->offset;
    int64_t from = ksi_lq_newest_threshold(n);
    size_t count = 0;
    int64_t off = n->s.x->query->options.time_offset_ns;
    int64_t *t = ks_arena_array(scratch, rows, sizeof *t);
    if (!t)
        return ks_arena_err(scratch);
    for (uint32_t i = 0; i < rows; i++)
        if (ks_lq_bit(bits, i))
            t[count++] = (int64_t)((uint64_t)times_ns[i] + (uint64_t)off);
    if (count > keep && keep) {
        int64_t kth = kth_largest(t, count, keep);
        if (kth > from)
            from = kth;
    }
    for (uint32_t i = 0; i < rows; i++)
        if (ks_lq_bit(bits, i) && (int64_t)((uint64_t)times_ns[i] + (uint64_t)off) < from)
            bits[i / 64] &= ~(1ull << (i % 64));
    return KS_OK;
}
