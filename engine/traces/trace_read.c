/*
 * Ring and history read as one, and the history made whole when it is turned on.
 *
 * The history has everything that was acknowledged while it was on, within its retention; the ring
 * has the newest traces, and spans that are too old or too new for any day. A span that is in both
 * is shown once, as the ring has it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/traces/history.h"
#include "engine/traces/trace_store_priv.h"
#include "storage/traces/span_equal.h"
#include "sys/vfs.h"

enum { PATH_BYTES = 4096, FEW_SPANS = 64 };

/* --- traces --- */
static ks_err both(struct ks_span *a, size_t na, const struct ks_span *b, size_t nb,
                   struct ks_arena *arena, struct ks_span **ret, size_t *ret_count)
{
    struct ks_span *all = ks_arena_array(arena, na + nb + 1, sizeof *all);
    size_t n = na;
    if (!all)
        return ks_arena_err(arena);
    if (na)
        memcpy(all, a, na * sizeof *a);
    for (size_t i = 0; i < nb; i++) {
        bool known = false;
        for (size_t k = 0; k < na && !known; k++)
            known = a[k].span_id == b[i].span_id && ks_spans_equal(&a[k], &b[i]);
        if (!known)
            all[n++] = b[i];
    }
    *ret = all;
    *ret_count = n;
    return KS_OK;
}

static int by_start(const void *pa, const void *pb)
{
    const struct ks_span *a = pa, *b = pb;
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    return (a->span_id > b->span_id) - (a->span_id < b->span_id);
}

ks_err ks_trace_store_get(struct ks_trace_store *s, struct ks_tenant tenant, struct ks_trace_id id,
                          bool found, struct ks_arena *arena, struct ks_span **ret_spans,
                          size_t *ret_count, struct ks_traces_hold **ret_hold)
{
    struct ksi_history *h = ksi_trace_store_history(s);
    struct ks_span *old = NULL;
    size_t n = 0;
    *ret_hold = NULL;
    ks_err err =
        ks_traces_get(ks_trace_store_ring(s), tenant, id, arena, ret_spans, ret_count, ret_hold);
    if (!h || (err != KS_OK && err != KS_ENOTFOUND))
        return err;
    if (err == KS_OK && found &&
        ks_traces_whole(ks_trace_store_ring(s), tenant, id, ksi_history_since_ns(h)))
        return KS_OK;
    if (err == KS_ENOTFOUND)
        *ret_count = 0;
    err = ksi_history_get(h, tenant, &id, 1, arena, &old, &n);
    if (err == KS_OK && !*ret_count && !n)
        return ks_fail(KS_ENOTFOUND, "trace not found");
    if (err == KS_OK && n > 1)
        qsort(old, n, sizeof *old, by_start); /* arrival is not known any more */
    if (err == KS_OK)
        err = both(*ret_spans, *ret_count, old, n, arena, ret_spans, ret_count);
    if (err != KS_OK && *ret_hold) {
        ks_traces_release(*ret_hold);
        *ret_hold = NULL;
    }
    return err;
}

bool ks_trace_store_at_hand(struct ks_trace_store *s, struct ks_tenant tenant,
                            struct ks_trace_id id)
{
    return !ksi_trace_store_history(s) &&
           ks_traces_count_spans(ks_trace_store_ring(s), tenant, id) <= FEW_SPANS;
}

ks_err ks_trace_store_search(struct ks_trace_store *s, struct ks_tenant tenant,
                             const struct ks_trace_query *q, struct ks_arena *arena,
                             struct ks_trace_id **ret_ids, size_t *ret_count)
{
    struct ksi_history *h = ksi_trace_store_history(s);
    struct ks_trace_id *ids, *old, *all;
    size_t n, more;
    KS_TRY(ks_traces_search(ks_trace_store_ring(s), tenant, q, arena, &ids, &n));
    *ret_ids = ids;
    *ret_count = n;
    if (!h || n >= q->limit)
        return KS_OK;
    struct ks_trace_query rest = *q;
    rest.limit = q->limit - n;
    KS_TRY(ksi_history_search(h, tenant, &rest, ids, n, arena, &old, &more));
    if (!(all = ks_arena_array(arena, n + more + 1, sizeof *all)))
        return ks_arena_err(arena);
    if (n)
        memcpy(all, ids, n * sizeof *ids);
    if (more)
        memcpy(all + n, old, more * sizeof *old);
    *ret_ids = all;
    *ret_count = n + more;
    return KS_OK;
}

ks_err ks_trace_store_heads(struct ks_trace_store *s, struct ks_tenant tenant,
                            const struct ks_trace_query *q, ks_span_head_fn fn, void *arg)
{
    struct ksi_history *h = ksi_trace_store_history(s);
    if (h) /* the ring's are among them */
        return ksi_history_heads(h, tenant, q, fn, arg);
    return ks_traces_heads(ks_trace_store_ring(s), tenant, q, fn, arg);
}

/* --- names --- */
struct names {
    struct ks_operation *items;
    size_t count, cap;
    struct ks_arena *arena;
};

static ks_err note(void *arg, struct ks_slice name)
{
    struct names *n = arg;
    KS_TRY(ks_arena_grow(n->arena, (void **)&n->items, &n->cap, n->count + 1, sizeof *n->items));
    struct ks_slice copy = ks_arena_dup(n->arena, name);
    n->items[n->count++] = (struct ks_operation){copy, 0};
    return copy.ptr ? KS_OK : ks_arena_err(n->arena);
}

static int by_name(const void *pa, const void *pb)
{
    const struct ks_operation *a = pa, *b = pb;
    int c = ks_slice_cmp(a->name, b->name);
    return c ? c : (a->kind > b->kind) - (a->kind < b->kind);
}

/* Sorted; a name of the history, kind 0, only where no other kind of it is known. */
static void settle(struct names *n, size_t known)
{
    size_t k = 0;
    if (known)
        qsort(n->items, known, sizeof *n->items, by_name);
    for (size_t i = known; i < n->count; i++) {
        size_t lo = 0, hi = known;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (ks_slice_cmp(n->items[mid].name, n->items[i].name) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo == known || !ks_slice_eq(n->items[lo].name, n->items[i].name))
            n->items[known + k++] = n->items[i];
    }
    n->count = known + k;
    if (n->count)
        qsort(n->items, n->count, sizeof *n->items, by_name);
    k = 0;
    for (size_t i = 0; i < n->count; i++)
        if (!k || by_name(&n->items[k - 1], &n->items[i]) != 0)
            n->items[k++] = n->items[i];
    n->count = k;
}

ks_err ks_trace_store_operations(struct ks_trace_store *s, struct ks_tenant tenant,
                                 struct ks_slice service, struct ks_arena *arena,
                                 struct ks_operation **ret, size_t *ret_count)
{
    struct ksi_history *h = ksi_trace_store_history(s);
    struct ks_operation *ring;
    struct names n = {.arena = arena};
    size_t known;
    KS_TRY(ks_traces_operations(ks_trace_store_ring(s), tenant, service, arena, &ring, &known));
    *ret = ring;
    *ret_count = known;
    if (!h || !service.len)
        return KS_OK;
    KS_TRY(ks_arena_grow(arena, (void **)&n.items, &n.cap, known + 16, sizeof *n.items));
    if (known)
        memcpy(n.items, ring, known * sizeof *ring);
    n.count = known;
    KS_TRY(ksi_history_names(h, tenant, service, note, &n));
    settle(&n, known);
    *ret = n.items;
    *ret_count = n.count;
    return KS_OK;
}

ks_err ks_trace_store_services(struct ks_trace_store *s, struct ks_tenant tenant,
                               struct ks_arena *arena, struct ks_slice **ret, size_t *ret_count)
{
    struct ksi_history *h = ksi_trace_store_history(s);
    struct names n = {.arena = arena};
    KS_TRY(ks_traces_services(ks_trace_store_ring(s), tenant, arena, ret, ret_count));
    if (!h)
        return KS_OK;
    for (size_t i = 0; i < *ret_count; i++)
        KS_TRY(note(&n, (*ret)[i]));
    KS_TRY(ksi_history_names(h, tenant, ks_slice("", 0), note, &n));
    settle(&n, 0);
    struct ks_slice *names = ks_arena_array(arena, n.count + 1, sizeof *names);
    if (!names)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n.count; i++)
        names[i] = n.items[i].name;
    *ret = names;
    *ret_count = n.count;
    return KS_OK;
}

/* --- turning it on --- */
/*
 * A file says that the history has all the ring has. It goes when the server runs without a
 * history, so that what came meanwhile is brought over the next time.
 */
struct filling {
    struct ksi_history *h;
    bool empty; /* when it began: nothing needs to be looked for */
    struct ks_tenant tenant;
    struct ks_batch batch;
    struct ks_batch_memo memo;
    struct ks_arena arena, lookup;
    uint64_t written;
};

static bool there(const struct ks_span *s, const struct ks_span *old, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ks_spans_equal(s, &old[i]))
            return true;
    return false;
}

static ks_err flush_batch(struct filling *f)
{
    KS_TRY(f->batch.err);
    if (f->batch.spans_count)
        KS_TRY(ksi_history_write(f->h, &f->batch));
    f->written += f->batch.spans_count;
    ks_batch_reset(&f->batch, f->tenant);
    f->memo = (struct ks_batch_memo){0};
    return KS_OK;
}

/* What the history has of the traces of these spans. */
static ks_err look_up(struct filling *f, const struct ks_traces_heads *heads, struct ks_span **ret,
                      size_t *ret_count)
{
    struct ks_trace_id *ids = ks_arena_array(&f->lookup, heads->count + 1, sizeof *ids);
    size_t n = 0;
    *ret_count = 0;
    if (f->empty)
        return KS_OK;
    if (!ids)
        return ks_arena_err(&f->lookup);
    for (size_t i = 0; i < heads->count; i++) /* spans of a trace stand together */
        if (!n || !ks_trace_id_eq(ids[n - 1], heads->spans[i].trace_id))
            ids[n++] = heads->spans[i].trace_id;
    return ksi_history_get(f->h, f->tenant, ids, n, &f->lookup, ret, ret_count);
}

/* Texts live as long as the scan and the arena: the batch is written before they go. */
static ks_err fill_piece(struct filling *f, struct ks_traces_scan *scan, size_t i)
{
    struct ks_traces_heads heads;
    struct ks_span *old = NULL;
    size_t n;
    ks_arena_reset(&f->arena);
    ks_arena_reset(&f->lookup);
    KS_TRY(ks_traces_scan_heads(scan, i, &f->arena, &heads));
    KS_TRY(ks_traces_scan_fill(scan, i, &heads, NULL, &f->arena));
    KS_TRY(look_up(f, &heads, &old, &n));
    for (size_t k = 0; k < heads.count; k++) {
        if (there(&heads.spans[k], old, n))
            continue;
        ks_batch_copy_span(&f->batch, &heads.spans[k], &f->memo);
        if (ks_batch_full(&f->batch))
            KS_TRY(flush_batch(f));
    }
    return flush_batch(f);
}

static ks_err fill_tenant(struct filling *f, struct ks_traces *ring)
{
    struct ks_traces_scan *scan;
    ks_batch_reset(&f->batch, f->tenant);
    f->memo = (struct ks_batch_memo){0};
    KS_TRY(ks_traces_scan_open(ring, f->tenant, KS_BATCH_SPANS_MAX, &scan));
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_traces_scan_count(scan) && err == KS_OK; i++)
        err = fill_piece(f, scan, i);
    ks_traces_scan_close(scan);
    return err;
}

struct tenants {
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

static void note_tenant(void *arg, struct ks_tenant tenant)
{
    struct tenants *t = arg;
    if (t->err == KS_OK)
        t->err = ks_array_reserve((void **)&t->items, &t->cap, t->count + 1, sizeof *t->items);
    if (t->err == KS_OK)
        t->items[t->count++] = tenant;
}

static ks_err fill(struct ks_trace_store *s, uint64_t *ret_written)
{
    struct ks_traces *ring = ks_trace_store_ring(s);
    struct filling f = {.h = ksi_trace_store_history(s)};
    f.empty = ksi_history_empty(f.h);
    struct tenants all = {0};
    ks_traces_tenants(ring, note_tenant, &all);
    ks_batch_init(&f.batch);
    ks_arena_init(&f.arena, 256 << 20);
    ks_arena_init(&f.lookup, 256 << 20);
    ks_err err = all.err;
    for (size_t i = 0; i < all.count && err == KS_OK; i++) {
        f.tenant = all.items[i];
        err = fill_tenant(&f, ring);
    }
    ks_batch_done(&f.batch);
    ks_arena_done(&f.arena);
    ks_arena_done(&f.lookup);
    ks_free(all.items);
    *ret_written = f.written;
    return err;
}

ks_err ks_trace_store_fill_history(struct ks_trace_store *s)
{
    struct ks_engine *e = ksi_trace_store_engine(s);
    struct ks_vfs *vfs = ks_engine_vfs(e);
    char path[PATH_BYTES], *bytes;
    size_t n;
    uint64_t written;
    if ((size_t)snprintf(path, sizeof path, "%s/traces/history.whole", ks_engine_dir(e)) >=
        sizeof path)
        return ks_fail(KS_EINVAL, "the data folder's name is too long");
    if (!ksi_trace_store_history(s)) {
        ks_err err = vfs->ops->unlink(vfs, path);
        return err == KS_ENOTFOUND ? KS_OK : err;
    }
    ksi_history_started(ksi_trace_store_history(s));
    if (ks_vfs_read_file(vfs, path, 64, &bytes, &n) == KS_OK) {
        ks_free(bytes);
        return KS_OK;
    }
    KS_TRY(fill(s, &written));
    if (written)
        ks_log(KS_LOG_INFO, "engine", "spans of the ring that are now kept for days: %llu",
               (unsigned long long)written);
    snprintf(path, sizeof path, "%s/traces", ks_engine_dir(e));
    KS_TRY(ks_vfs_mkdirs(vfs, path));
    snprintf(path, sizeof path, "%s/traces/history.whole", ks_engine_dir(e));
    return ks_vfs_replace_file(vfs, path, KS_SLICE_LIT("1\n"));
}
