/*
 * Scans: what a query may read, pinned at one moment, and what it says of streams.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/logs/log_commit.h"
#include "engine/logs/logs_priv.h"
#include "sys/clock.h"

/* --- streams --- */

struct ksi_judged {
    struct ks_stream_id id;
    bool used;
    struct ksi_verdict verdict;
};

static struct ksi_judged *judged_slot(struct ksi_judged *table, size_t cap, struct ks_stream_id id)
{
    size_t at = (id.lo ^ ks_mix64(ks_tenant_key(id.tenant))) & (cap - 1);
    while (table[at].used && (table[at].id.lo != id.lo || table[at].id.hi != id.hi ||
                              !ks_tenant_eq(table[at].id.tenant, id.tenant)))
        at = (at + 1) & (cap - 1);
    return &table[at];
}

static ks_err grow_judged(struct ks_log_scan *s)
{
    size_t cap = s->judged_cap ? s->judged_cap * 2 : 256;
    struct ksi_judged *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->judged_cap; i++)
        if (s->judged[i].used)
            *judged_slot(table, cap, s->judged[i].id) = s->judged[i];
    ks_free(s->judged);
    s->judged = table;
    s->judged_cap = cap;
    return KS_OK;
}

static bool has_tenant(const struct ks_log_scan *s, struct ks_tenant t)
{
    if (!s->opts.tenants)
        return true;
    for (size_t i = 0; i < s->opts.tenant_count; i++)
        if (ks_tenant_eq(s->opts.tenants[i], t))
            return true;
    return false;
}

static struct ksi_verdict judge(struct ks_log_scan *s, const struct ks_log_stream *stream)
{
    struct ksi_verdict v = {.from_ns = INT64_MIN};
    if (!has_tenant(s, stream->tenant) ||
        (s->opts.stream && !s->opts.stream(s->opts.stream_arg, stream)))
        return v;
    v.allowed = true;
    if (s->store->rules) {
        struct ks_verdict r;
        ks_rules_judge(s->store->rules, stream->tenant, stream->tags, &r);
        int64_t keep_ms = r.keep_ms == INT64_MAX ? s->store->opts.retention_ms : r.keep_ms;
        v.from_ns = keep_ms >= s->now_ms ? INT64_MIN : (s->now_ms - keep_ms) * KSI_NS_MS;
    }
    return v;
}

ks_err ksi_scan_judge(struct ks_log_scan *s, const struct ks_log_stream *stream,
                      struct ksi_verdict *ret)
{
    if (!s->opts.stream && !s->store->rules) {
        *ret = (struct ksi_verdict){has_tenant(s, stream->tenant), INT64_MIN};
        return KS_OK;
    }
    ks_err err = KS_OK;
    pthread_mutex_lock(&s->judge_lock);
    if (s->judged_count * 2 >= s->judged_cap)
        err = grow_judged(s);
    if (err == KS_OK) {
        struct ksi_judged *j = judged_slot(s->judged, s->judged_cap, stream->id);
        if (!j->used) {
            *j = (struct ksi_judged){stream->id, true, judge(s, stream)};
            s->judged_count++;
        }
        *ret = j->verdict;
    }
    pthread_mutex_unlock(&s->judge_lock);
    return err;
}

/* --- making --- */

static ks_err scan_new(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                       struct ks_log_scan **ret)
{
    struct ks_log_scan *scan = ks_zalloc(sizeof *scan);
    if (!scan)
        return KS_ENOMEM;
    scan->store = s;
    scan->opts = *opts;
    scan->now_ms = ks_now_ms();
    pthread_mutex_init(&scan->judge_lock, NULL);
    if (opts->tenants) {
        scan->tenants = ks_memdup(opts->tenants, opts->tenant_count * sizeof *opts->tenants);
        if (!scan->tenants) {
            ks_log_scan_free(scan);
            return KS_ENOMEM;
        }
        scan->opts.tenants = scan->tenants;
    }
    /* What the store's retention has let go of does not show again while its day still stands. */
    int64_t first = ksi_log_first_day(s) * KSI_NS_DAY;
    if (scan->opts.min_ns < first)
        scan->opts.min_ns = first;
    *ret = scan;
    return KS_OK;
}

void ks_log_scan_free(struct ks_log_scan *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->view_count; i++)
        ksi_segment_unref(s->views[i].seg);
    ksi_lparts_unpin(s->list);
    pthread_mutex_destroy(&s->judge_lock);
    ks_free(s->views);
    ks_free(s->blocks);
    ks_free(s->judged);
    ks_free(s->tenants);
    ks_free(s);
}

static bool in_range(const struct ks_log_scan *s, int64_t min_ns, int64_t max_ns)
{
    return min_ns <= s->opts.max_ns && max_ns >= s->opts.min_ns;
}

static ks_err add_block(struct ks_log_scan *s, struct ksi_scan_block b)
{
    KS_TRY(ks_array_reserve((void **)&s->blocks, &s->block_cap, s->block_count + 1, sizeof b));
    s->blocks[s->block_count++] = b;
    return KS_OK;
}

/* Pins a segment and makes it a block. */
static ks_err add_segment(struct ks_log_scan *s, struct ksi_segment *seg, uint32_t skip,
                          uint32_t end)
{
    struct ksi_segment_view v = ksi_segment_pin(seg);
    s->views[s->view_count++] = v;
    return add_block(s, (struct ksi_scan_block){.part = KSI_NO_PART,
                                                .index = (uint32_t)s->view_count - 1,
                                                .min_ns = v.min_ns,
                                                .max_ns = v.max_ns,
                                                .rows = v.row_count,
                                                .bytes = v.text_bytes,
                                                .skip = skip,
                                                .end = end < v.row_count ? end : v.row_count});
}

static int newest_first(const void *a, const void *b)
{
    const struct ksi_scan_block *x = a, *y = b;
    if (x->max_ns != y->max_ns)
        return x->max_ns > y->max_ns ? -1 : 1;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Which streams of a part the scan wants; NULL: it does not choose. */
static ks_err wanted_streams(struct ks_log_scan *s, const struct ksi_lpart *p, uint8_t **ret)
{
    *ret = NULL;
    if (!s->opts.tenants && !s->opts.stream)
        return KS_OK;
    size_t n = ks_lpart_stream_count(p->p);
    uint8_t *want = ks_alloc(n + 1);
    ks_err err = want ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        struct ksi_verdict v = {0};
        struct ks_log_stream stream = ksi_lpart_stream(p, i);
        err = ksi_scan_judge(s, &stream, &v);
        want[i] = v.allowed;
    }
    if (err == KS_OK)
        *ret = want;
    else
        ks_free(want);
    return err;
}

static ks_err add_part(struct ks_log_scan *s, uint32_t number)
{
    const struct ksi_lpart *p = s->list->views[number].part;
    uint8_t *want;
    if (!in_range(s, p->min_ns, p->max_ns))
        return KS_OK;
    KS_TRY(ks_read_ctx_check(s->opts.ctx));
    KS_TRY(wanted_streams(s, p, &want));
    ks_err err = KS_OK;
    size_t n = ks_lpart_block_count(p->p);
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        const struct ks_lpart_block *b = ks_lpart_block(p->p, i);
        bool any = !want, all = !s->store->rules;
        for (uint32_t k = b->first_stream; want && k <= b->last_stream; k++) {
            any |= want[k];
            all &= want[k];
        }
        if (any && in_range(s, b->min_ns, b->max_ns))
            err = add_block(s, (struct ksi_scan_block){.part = number,
                                                       .index = (uint32_t)i,
                                                       .min_ns = b->min_ns,
                                                       .max_ns = b->max_ns,
                                                       .rows = b->rows,
                                                       .bytes = b->text_bytes,
                                                       .end = b->rows,
                                                       .all_streams = all});
    }
    ks_free(want);
    return err;
}

/* Memory and the list of parts at one moment. */
static ks_err pin(struct ks_log_scan *s, bool memory)
{
    struct ks_log_store *st = s->store;
    ks_err err = KS_OK;
    pthread_mutex_lock(&st->lock);
    s->list = st->list;
    atomic_fetch_add(&s->list->refs, 1);
    if (memory)
        err = (s->views = ks_alloc_array(st->seg_count + 1, sizeof *s->views)) ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; memory && i < st->seg_count && err == KS_OK; i++)
        if (st->segs[i]->row_count && in_range(s, st->segs[i]->min_ns, st->segs[i]->max_ns))
            err = add_segment(s, st->segs[i], 0, UINT32_MAX);
    pthread_mutex_unlock(&st->lock);
    return err;
}

static ks_err scan_make(struct ks_log_store *st, const struct ks_log_scan_opts *opts, bool memory,
                        struct ks_log_scan **ret)
{
    struct ks_log_scan *s;
    KS_TRY(scan_new(st, opts, &s));
    ks_err err = pin(s, memory);
    for (size_t i = 0; err == KS_OK && i < s->list->count; i++)
        err = add_part(s, (uint32_t)i);
    if (err != KS_OK) {
        ks_log_scan_free(s);
        return err;
    }
    if (s->block_count)
        qsort(s->blocks, s->block_count, sizeof *s->blocks, newest_first);
    *ret = s;
    return KS_OK;
}

ks_err ks_log_store_scan(struct ks_log_store *st, const struct ks_log_scan_opts *opts,
                         struct ks_log_scan **ret)
{
    return scan_make(st, opts, true, ret);
}

ks_err ksi_scan_parts(struct ks_log_store *st, const struct ks_log_scan_opts *opts,
                      struct ks_log_scan **ret)
{
    return scan_make(st, opts, false, ret);
}

/* --- by arrival --- */

/* Adds what [from, to) covers of a segment. Under lock. */
static ks_err add_arrivals(struct ks_log_scan *s, struct ksi_segment *seg, uint64_t from,
                           uint64_t to)
{
    uint64_t first = seg->first_arrival, end = first + seg->row_count;
    if (end <= from || first >= to)
        return KS_OK;
    return add_segment(s, seg, from > first ? (uint32_t)(from - first) : 0,
                       to < end ? (uint32_t)(to - first) : UINT32_MAX);
}

ks_err ks_log_store_scan_arrivals(struct ks_log_store *st, const struct ks_log_scan_opts *opts,
                                  uint64_t from, uint64_t to, uint64_t *ret_first,
                                  struct ks_log_scan **ret)
{
    struct ks_log_scan *s;
    KS_TRY(scan_new(st, opts, &s));
    pthread_mutex_lock(&st->lock);
    uint64_t first = st->retired_count ? st->retired[0]->first_arrival
                     : st->seg_count   ? st->segs[0]->first_arrival
                                       : st->arrival;
    *ret_first = first > from ? first : from;
    ks_err err = KS_OK;
    if (first > from)
        err = ks_fail(KS_ENOTFOUND, "rows %llu to %llu have left memory", (unsigned long long)from,
                      (unsigned long long)first);
    s->list = st->list;
    atomic_fetch_add(&s->list->refs, 1);
    if (err == KS_OK)
        err = (s->views = ks_alloc_array(st->seg_count + st->retired_count + 1, sizeof *s->views))
                  ? KS_OK
                  : KS_ENOMEM;
    for (size_t i = 0; i < st->retired_count && err == KS_OK; i++)
        err = add_arrivals(s, st->retired[i], from, to);
    for (size_t i = 0; i < st->seg_count && err == KS_OK; i++)
        err = add_arrivals(s, st->segs[i], from, to);
    pthread_mutex_unlock(&st->lock);
    if (err != KS_OK) {
        ks_log_scan_free(s);
        return err;
    }
    if (s->block_count)
        qsort(s->blocks, s->block_count, sizeof *s->blocks, newest_first);
    *ret = s;
    return KS_OK;
}

size_t ks_log_scan_count(const struct ks_log_scan *s)
{
    return s->block_count;
}

struct ks_log_block_meta ks_log_scan_meta(const struct ks_log_scan *s, size_t i)
{
    const struct ksi_scan_block *b = &s->blocks[i];
    return (struct ks_log_block_meta){b->min_ns, b->max_ns, b->rows, b->bytes};
}
