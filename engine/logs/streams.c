/* Streams, tenants and numbers of a store, without reading rows where that can be avoided. */
#include <string.h>

#include "base/mem.h"
#include "engine/logs/log_commit.h"
#include "engine/logs/logs_priv.h"

/* Streams met so far, by id. */
struct counted {
    struct ks_stream_id id;
    struct ks_log_stream stream; /* tags in the arena */
    uint64_t rows;
};

struct streams {
    struct ks_arena arena;
    struct counted *items;
    size_t count, cap;
    uint32_t *table;
    size_t table_cap;
};

static ks_err streams_grow(struct streams *t)
{
    size_t cap = t->table_cap ? t->table_cap * 2 : 256;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < t->count; i++) {
        size_t at = t->items[i].id.lo & (cap - 1);
        while (table[at])
            at = (at + 1) & (cap - 1);
        table[at] = (uint32_t)i + 1;
    }
    ks_free(t->table);
    t->table = table;
    t->table_cap = cap;
    return KS_OK;
}

static ks_err streams_add(struct streams *t, const struct ks_log_stream *s, uint64_t rows)
{
    if (t->count * 2 >= t->table_cap)
        KS_TRY(streams_grow(t));
    size_t at = s->id.lo & (t->table_cap - 1);
    for (; t->table[at]; at = (at + 1) & (t->table_cap - 1)) {
        struct counted *c = &t->items[t->table[at] - 1];
        if (c->id.lo == s->id.lo && ks_tenant_eq(c->stream.tenant, s->tenant) &&
            ks_slice_eq(c->stream.tags, s->tags)) {
            c->rows += rows;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&t->items, &t->cap, t->count + 1, sizeof *t->items));
    struct ks_slice tags = ks_arena_dup(&t->arena, s->tags);
    if (!tags.ptr)
        return ks_arena_err(&t->arena);
    t->items[t->count++] = (struct counted){s->id, {s->tenant, tags, s->id}, rows};
    t->table[at] = (uint32_t)t->count;
    return KS_OK;
}

/* Streams of a segment: exact, the heads of its rows are walked. */
static ks_err add_segment(struct streams *t, struct ks_log_scan *scan, size_t block)
{
    const struct ksi_segment_view *v = &scan->views[scan->blocks[block].index];
    const struct ksi_frame *f = v->first;
    uint64_t *rows = NULL;
    size_t cap = 0;
    ks_err err = KS_OK;
    for (uint32_t i = 0; i < v->frame_count && err == KS_OK;
         i++, f = i < v->frame_count ? f->next : NULL) {
        err = ks_array_reserve((void **)&rows, &cap, f->stream_count, sizeof *rows);
        if (err != KS_OK)
            break;
        memset(rows, 0, f->stream_count * sizeof *rows);
        struct ksi_row_iter it = ksi_rows(f);
        for (uint32_t k = 0; k < f->row_count; k++) {
            ksi_row_head(&it, f, k);
            rows[it.stream] += it.time_ns >= scan->opts.min_ns && it.time_ns <= scan->opts.max_ns;
        }
        for (uint32_t k = 0; k < f->stream_count && err == KS_OK; k++)
            if (rows[k])
                err = streams_add(t, &f->streams[k], rows[k]);
    }
    ks_free(rows);
    return err;
}

static ks_err collect(struct streams *t, struct ks_log_scan *scan)
{
    for (size_t i = 0; i < scan->block_count; i++)
        if (scan->blocks[i].part == KSI_NO_PART)
            KS_TRY(add_segment(t, scan, i));
    for (size_t i = 0; i < scan->list->count; i++) {
        const struct ksi_lpart *p = scan->list->views[i].part;
        if (p->min_ns > scan->opts.max_ns || p->max_ns < scan->opts.min_ns)
            continue;
        for (size_t k = 0; k < ks_lpart_stream_count(p->p); k++) {
            struct ks_log_stream s = ksi_lpart_stream(p, k);
            KS_TRY(streams_add(t, &s, ks_lpart_stream(p->p, k)->rows));
        }
    }
    return KS_OK;
}

static ks_err tell(struct streams *t, struct ks_log_scan *scan, ks_log_stream_fn fn, void *arg)
{
    for (size_t i = 0; i < t->count; i++) {
        struct ksi_verdict v;
        KS_TRY(ksi_scan_judge(scan, &t->items[i].stream, &v));
        if (v.allowed && !fn(arg, &t->items[i].stream, t->items[i].rows))
            break;
    }
    return KS_OK;
}

ks_err ks_log_store_streams(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                            ks_log_stream_fn fn, void *arg)
{
    struct streams t = {0};
    struct ks_log_scan *scan;
    KS_TRY(ks_log_store_scan(s, opts, &scan));
    ks_arena_init(&t.arena, (size_t)1 << 30);
    ks_err err = collect(&t, scan);
    if (err == KS_OK)
        err = tell(&t, scan, fn, arg);
    ks_arena_done(&t.arena);
    ks_free(t.items);
    ks_free(t.table);
    ks_log_scan_free(scan);
    return err;
}

/* --- tenants --- */

struct tenants {
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

static bool note_tenant(void *arg, const struct ks_log_stream *s, uint64_t rows)
{
    struct tenants *t = arg;
    for (size_t i = t->count; i-- > 0;)
        if (ks_tenant_eq(t->items[i], s->tenant))
            return true;
    t->err = ks_array_reserve((void **)&t->items, &t->cap, t->count + 1, sizeof *t->items);
    if (t->err != KS_OK)
        return false;
    t->items[t->count++] = s->tenant;
    return true;
}

ks_err ks_log_store_tenants(struct ks_log_store *s, int64_t min_ns, int64_t max_ns, ks_tenant_fn fn,
                            void *arg)
{
    struct tenants t = {0};
    struct ks_log_scan_opts o = {.min_ns = min_ns, .max_ns = max_ns};
    ks_err err = ks_log_store_streams(s, &o, note_tenant, &t);
    err = err == KS_OK ? t.err : err;
    for (size_t i = 0; i < t.count && err == KS_OK; i++)
        if (!fn(arg, t.items[i]))
            break;
    ks_free(t.items);
    return err;
}

/* --- numbers --- */

static void add_memory(struct ks_log_store *s, struct ks_log_store_stats *r)
{
    for (size_t i = 0; i < s->seg_count; i++) {
        if (!s->segs[i]->row_count)
            continue;
        r->min_ns = s->segs[i]->min_ns < r->min_ns ? s->segs[i]->min_ns : r->min_ns;
        r->max_ns = s->segs[i]->max_ns > r->max_ns ? s->segs[i]->max_ns : r->max_ns;
    }
}

static void add_parts(struct ks_log_store *s, struct ks_log_store_stats *r)
{
    struct ksi_lpart_list *l = ksi_log_pin(s);
    int64_t *days = ks_alloc_array(l->count + 1, sizeof *days);
    for (size_t i = 0; i < l->count; i++) {
        const struct ksi_lpart *p = l->views[i].part;
        r->part_rows += p->rows;
        r->part_count++;
        r->block_count += ks_lpart_block_count(p->p);
        r->text_bytes += ks_lpart_text_bytes(p->p);
        r->index_bytes += ks_lpart_index_bytes(p->p);
        r->data_bytes += p->bytes - ks_lpart_index_bytes(p->p);
        r->min_ns = p->min_ns < r->min_ns ? p->min_ns : r->min_ns;
        r->max_ns = p->max_ns > r->max_ns ? p->max_ns : r->max_ns;
        bool seen = false;
        for (size_t k = 0; days && k < r->day_count && !seen; k++)
            seen = days[k] == p->day;
        if (days && !seen)
            days[r->day_count++] = p->day;
    }
    ks_free(days);
    ksi_lparts_unpin(l);
}

void ks_log_store_get_stats(struct ks_log_store *s, struct ks_log_store_stats *ret)
{
    struct ks_log_store_stats r = {.min_ns = INT64_MAX, .max_ns = INT64_MIN};
    r.rows_stored_total = atomic_load(&s->rows_stored);
    r.rows_too_old_total = atomic_load(&s->rows_too_old);
    r.rows_too_new_total = atomic_load(&s->rows_too_new);
    r.streams_created_total = atomic_load(&s->streams_created);
    r.memory_rows = atomic_load(&s->memory_rows);
    r.memory_bytes = atomic_load(&s->memory_bytes);
    r.merges_total = atomic_load(&s->merges);
    r.merged_rows_total = atomic_load(&s->merged_rows);
    r.active_merges = atomic_load(&s->active_merges);
    r.flushes_total = atomic_load(&s->flushes);
    r.quarantined_parts = atomic_load(&s->quarantined);
    pthread_mutex_lock(&s->lock);
    add_memory(s, &r);
    pthread_mutex_unlock(&s->lock);
    add_parts(s, &r);
    *ret = r;
}
