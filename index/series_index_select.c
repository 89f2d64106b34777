/*
 * Questions about sets of rows. Matchers on the metric name choose runs of rows, all others a set
 * of bases; the rows are those of the runs whose base is in the set.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/series_index_priv.h"

/* Answers that took as many rows to look at are kept. */
enum { WALK_KEPT = 512 };

static ks_err no_memory(void)
{
    return ks_fail(KS_ENOMEM, "out of memory for a set of rows");
}

/* --- what an answer is kept under --------------------------------------------------------------
 */

static void key_of_matcher(const struct ks_cmatcher *m, struct ks_buf *key)
{
    ks_buf_byte(key, 'm');
    ks_buf_lp(key, m->name);
    ks_buf_slice(key, m->re->pattern);
}

static void key_of_selector(struct ks_tenant tenant, const struct ks_selector *s,
                            struct ks_buf *key)
{
    ks_buf_byte(key, 's');
    ks_buf_varint(key, tenant.account);
    ks_buf_varint(key, tenant.project);
    for (size_t i = 0; i < s->count; i++) {
        ks_buf_byte(key, (uint8_t)s->matchers[i].op);
        ks_buf_lp(key, s->matchers[i].name);
        ks_buf_lp(key, s->matchers[i].value);
    }
}

/* --- sets of bases ------------------------------------------------------------------------------
 */

static ks_err part_has(void *self, struct ks_slice name, struct ksi_set *ret)
{
    struct ks_sindex *x = self;
    struct ksi_bitmap_sink *sink = ks_alloc(sizeof *sink);
    if (!sink)
        return KS_ENOMEM;
    sink->count = 0;
    sink->bm = roaring_bitmap_create();
    uint32_t id = ksi_sindex_find_name(x, name);
    ks_err err = sink->bm ? KS_OK : no_memory();
    if (err == KS_OK && id != KSI_NONE)
        err = ksi_post_each(x, &x->names[id].has, ksi_bitmap_sink_run, sink);
    if (err == KS_OK) {
        ksi_bitmap_sink_flush(sink);
        *ret = (struct ksi_set){sink->bm, true};
    } else if (sink->bm) {
        roaring_bitmap_free(sink->bm);
    }
    ks_free(sink);
    return err;
}

static ks_err part_in(void *self, const struct ks_cmatcher *m, struct ksi_set *ret)
{
    struct ks_sindex *x = self;
    bool keep = m->re && (m->re->shape == KS_REGEX_SCAN || m->re->literal_count > 1);
    struct ks_buf key;
    ks_buf_init(&key, KSI_RESULT_BYTES_MAX);
    if (keep)
        key_of_matcher(m, &key);
    keep = keep && ks_buf_status(&key) == KS_OK;
    roaring_bitmap_t *bm = keep ? ksi_result_find(x, ks_buf_view(&key)) : NULL;
    ks_err err = KS_OK;
    if (!bm) {
        bm = roaring_bitmap_create();
        uint32_t id = ksi_sindex_find_name(x, m->name);
        err = !bm ? no_memory() : id == KSI_NONE ? KS_OK : ksi_values_bases(x, id, m, bm);
        if (err == KS_OK && keep)
            ksi_result_keep(x, ks_buf_view(&key), bm);
    }
    ks_buf_done(&key);
    if (err == KS_OK)
        *ret = (struct ksi_set){bm, true};
    else if (bm)
        roaring_bitmap_free(bm);
    return err;
}

/* --- runs that the matchers on the metric name leave --------------------------------------------
 */

struct range {
    uint32_t from, to;
};
struct ranges {
    struct range *v;
    size_t count, cap;
};

static ks_err ranges_add(struct ranges *l, uint32_t from, uint32_t to)
{
    if (l->count && l->v[l->count - 1].to == from) {
        l->v[l->count - 1].to = to;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&l->v, &l->cap, l->count + 1, sizeof *l->v));
    l->v[l->count++] = (struct range){from, to};
    return KS_OK;
}

static bool name_passes(enum ks_ask ask, const roaring_bitmap_t *in, uint32_t first_rank,
                        uint32_t code)
{
    bool has = code > 0, is_in = has && in && roaring_bitmap_contains(in, first_rank + code - 1);
    switch (ask) {
    case KS_ASK_ALL:
        return true;
    case KS_ASK_NONE:
        return false;
    case KS_ASK_HAS:
        return has;
    case KS_ASK_HAS_NOT:
        return !has;
    case KS_ASK_IN:
        return is_in;
    case KS_ASK_NOT_IN:
        return !is_in;
    case KS_ASK_HAS_AND_NOT_IN:
        return has && !is_in;
    case KS_ASK_HAS_NOT_OR_IN:
        return !has || is_in;
    }
    return false;
}

/* First run of [lo, hi) whose name code is ≥ code. */
static uint32_t seek_run(const struct ks_sindex *x, uint32_t lo, uint32_t hi, uint64_t code)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (x->run_names[mid] < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The runs in [*lo, *hi) narrowed to the span of names in the set: one run for an equality. */
static void narrow(const struct ks_sindex *x, const roaring_bitmap_t *in, uint32_t first_rank,
                   uint32_t *lo, uint32_t *hi)
{
    if (roaring_bitmap_is_empty(in)) {
        *hi = *lo;
        return;
    }
    *lo = seek_run(x, *lo, *hi, roaring_bitmap_minimum(in) - first_rank + 1ull);
    *hi = seek_run(x, *lo, *hi, roaring_bitmap_maximum(in) - first_rank + 2ull);
}

/* ms: only those on the metric name. */
static ks_err choose_runs(struct ks_sindex *x, uint32_t tenant, const struct ks_cmatcher *const *ms,
                          size_t count, struct ranges *ret)
{
    roaring_bitmap_t **sets = ks_zalloc_array(count + 1, sizeof *sets);
    if (!sets)
        return KS_ENOMEM;
    uint32_t lo = x->tenants[tenant].first_run, hi = x->tenants[tenant + 1].first_run;
    uint32_t first_rank = x->metric_name == KSI_NONE ? 0 : x->names[x->metric_name].first_rank;
    ks_err err = KS_OK;
    for (size_t i = 0; err == KS_OK && i < count; i++) {
        if (ms[i]->ask < KS_ASK_IN)
            continue;
        sets[i] = roaring_bitmap_create();
        err = sets[i] ? KS_OK : no_memory();
        if (err == KS_OK && x->metric_name != KSI_NONE)
            err = ksi_values_ranks(x, x->metric_name, ms[i], sets[i]);
        if (err == KS_OK && ms[i]->ask == KS_ASK_IN)
            narrow(x, sets[i], first_rank, &lo, &hi);
    }
    for (uint32_t run = lo; err == KS_OK && run < hi; run++) {
        bool pass = true;
        for (size_t i = 0; pass && i < count; i++)
            pass = name_passes(ms[i]->ask, sets[i], first_rank, x->run_names[run]);
        if (pass)
            err = ranges_add(ret, x->run_rows[run], x->run_rows[run + 1]);
    }
    for (size_t i = 0; i < count; i++)
        if (sets[i])
            roaring_bitmap_free(sets[i]);
    ks_free(sets);
    return err;
}

/* --- rows of ranges with a base in a set ---------------------------------------------------------
 */

struct row_filter {
    const roaring_bitmap_t *bases;
    uint64_t *bits; /* the same set, when many rows are to be tested */
    uint32_t *few;  /* the same in order, when most groups of rows can be expected to have none */
    size_t few_count, few_at;
};

/* Whether there is a base of min..max. Groups mostly come with growing bases, so the search goes
 * on where the last one ended. */
static bool meets(struct row_filter *f, uint32_t min, uint32_t max)
{
    size_t lo = f->few_at, hi = f->few_count;
    if (lo && f->few[lo - 1] >= min)
        hi = lo, lo = 0;
    else if (lo == hi || f->few[lo] >= min)
        hi = lo;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->few[mid] < min)
            lo = mid + 1;
        else
            hi = mid;
    }
    f->few_at = lo;
    return lo < f->few_count && f->few[lo] <= max;
}

static bool set_bit(uint32_t id, void *bits)
{
    ((uint64_t *)bits)[id / 64] |= 1ull << id % 64;
    return true;
}

static bool filter_has(const struct row_filter *f, uint32_t base)
{
    return f->bits ? f->bits[base / 64] >> base % 64 & 1 : roaring_bitmap_contains(f->bases, base);
}

static ks_err filter_range(struct ksi_row_walk *w, struct row_filter *f, struct range range,
                           struct ksi_bitmap_sink *sink)
{
    for (uint32_t row = range.from; row < range.to;) {
        uint32_t end = row - row % KSI_ROW_GROUP + KSI_ROW_GROUP, from = row, min, max;
        end = end < range.to ? end : range.to;
        if (f->few && ksi_row_zone(w->x, row, &min, &max) && !meets(f, min, max)) {
            row = end;
            continue;
        }
        KS_TRY(ksi_row_walk_to(w, row));
        for (; row < end; row++) {
            if (filter_has(f, w->ids[row % KSI_ROW_GROUP]))
                continue;
            if (from < row)
                ksi_bitmap_sink_run(sink, from, row);
            from = row + 1;
        }
        if (from < row)
            ksi_bitmap_sink_run(sink, from, row);
    }
    return KS_OK;
}

/* Forms of the set that are quick to ask when that pays. */
static ks_err filter_init(const struct ks_sindex *x, uint64_t rows, struct row_filter *f)
{
    if (rows <= x->base_count / 16 || rows <= 256)
        return KS_OK;
    f->bits = ks_zalloc_array(x->base_count / 64 + 1, sizeof *f->bits);
    if (!f->bits)
        return KS_ENOMEM;
    roaring_iterate(f->bases, set_bit, f->bits);
    uint64_t count = roaring_bitmap_get_cardinality(f->bases);
    if (count > x->base_count / 8)
        return KS_OK;
    f->few = ks_alloc_array(count + 1, sizeof *f->few);
    if (!f->few)
        return KS_ENOMEM;
    roaring_bitmap_to_uint32_array(f->bases, f->few);
    f->few_count = count;
    return KS_OK;
}

static ks_err filter_ranges(struct ks_sindex *x, const struct ranges *ranges,
                            const roaring_bitmap_t *bases, roaring_bitmap_t *ret,
                            uint64_t *ret_walked)
{
    struct scratch {
        struct ksi_row_walk walk;
        struct ksi_bitmap_sink sink;
    } *s = ks_alloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    ksi_row_walk_init(&s->walk, x);
    s->sink.bm = ret;
    s->sink.count = 0;
    struct row_filter f = {.bases = bases};
    uint64_t rows = 0;
    for (size_t i = 0; i < ranges->count; i++)
        rows += ranges->v[i].to - ranges->v[i].from;
    *ret_walked = rows;
    ks_err err = filter_init(x, rows, &f);
    for (size_t i = 0; err == KS_OK && i < ranges->count; i++)
        err = filter_range(&s->walk, &f, ranges->v[i], &s->sink);
    ksi_bitmap_sink_flush(&s->sink);
    ksi_row_walk_done(&s->walk);
    ks_free(f.bits);
    ks_free(f.few);
    ks_free(s);
    return err;
}

/* --- select -------------------------------------------------------------------------------------
 */

static ks_err bases_of(struct ks_sindex *x, const struct ks_cmatcher *ms, size_t count,
                       roaring_bitmap_t **ret)
{
    roaring_bitmap_t *all = roaring_bitmap_from_range(0, x->base_count, 1);
    if (!all)
        return no_memory();
    struct ksi_source src = {x, part_has, part_in};
    ks_err err = ksi_index_select(&src, ms, count, all, ret);
    roaring_bitmap_free(all);
    return err;
}

/* Parts the matchers: those on the metric name by pointer, the others moved to the front of `rest`.
 */
static ks_err select_compiled(struct ks_sindex *x, uint32_t tenant, const struct ks_cselector *c,
                              struct ks_cmatcher *rest, const struct ks_cmatcher **on_name,
                              roaring_bitmap_t *ret, uint64_t *ret_walked)
{
    size_t rest_count = 0, name_count = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (ks_slice_eq(c->items[i].name, KS_NAME_LABEL))
            on_name[name_count++] = &c->items[i];
        else
            rest[rest_count++] = c->items[i];
    }
    struct ranges ranges = {0};
    roaring_bitmap_t *bases = NULL;
    ks_err err = choose_runs(x, tenant, on_name, name_count, &ranges);
    if (err == KS_OK && ranges.count)
        err = bases_of(x, rest, rest_count, &bases);
    if (err == KS_OK && bases && !roaring_bitmap_is_empty(bases))
        err = filter_ranges(x, &ranges, bases, ret, ret_walked);
    for (size_t i = 0; err == KS_OK && !bases && i < ranges.count; i++)
        roaring_bitmap_add_range(ret, ranges.v[i].from, ranges.v[i].to);
    if (bases)
        roaring_bitmap_free(bases);
    ks_free(ranges.v);
    return err;
}

static ks_err select_anew(struct ks_sindex *x, uint32_t tenant, const struct ks_selector *s,
                          roaring_bitmap_t *ret, uint64_t *ret_walked)
{
    struct ks_cselector c;
    KS_TRY(ks_cselector_compile(s, &c));
    struct ks_cmatcher *rest = ks_alloc_array(c.count + 1, sizeof *rest);
    const struct ks_cmatcher **on_name = ks_alloc_array(c.count + 1, sizeof *on_name);
    ks_err err = rest && on_name ? select_compiled(x, tenant, &c, rest, on_name, ret, ret_walked)
                                 : KS_ENOMEM;
    ks_free(rest);
    ks_free((void *)on_name);
    ks_cselector_done(&c);
    return err;
}

/* What took a walk over many rows is kept for the next time. */
static ks_err select_one(struct ks_sindex *x, uint32_t tenant, const struct ks_selector *s,
                         roaring_bitmap_t **ret)
{
    uint64_t walked = 0;
    struct ks_buf key;
    ks_buf_init(&key, KSI_RESULT_BYTES_MAX);
    key_of_selector(x->tenants[tenant].tenant, s, &key);
    bool keyed = ks_buf_status(&key) == KS_OK;
    roaring_bitmap_t *rows = keyed ? ksi_result_find(x, ks_buf_view(&key)) : NULL;
    ks_err err = KS_OK;
    if (!rows) {
        rows = roaring_bitmap_create();
        err = rows ? select_anew(x, tenant, s, rows, &walked) : no_memory();
        if (err == KS_OK && keyed && walked >= WALK_KEPT)
            ksi_result_keep(x, ks_buf_view(&key), rows);
    }
    ks_buf_done(&key);
    if (err == KS_OK)
        *ret = rows;
    else if (rows)
        roaring_bitmap_free(rows);
    return err;
}

/* *set: NULL or what was found so far. Takes over more. */
static void unite(roaring_bitmap_t **set, roaring_bitmap_t *more)
{
    if (!*set) {
        *set = more;
        return;
    }
    roaring_bitmap_or_inplace(*set, more);
    roaring_bitmap_free(more);
}

ks_err ks_sindex_select(struct ks_sindex *x, struct ks_tenant tenant,
                        const struct ks_selector *selectors, size_t count, roaring_bitmap_t **ret)
{
    uint32_t t = ksi_sindex_find_tenant(x, tenant);
    roaring_bitmap_t *out = NULL, *rows;
    ks_err err = KS_OK;
    for (size_t i = 0; i < count && err == KS_OK; i++) {
        struct ks_cselector c;
        if (t != KSI_NONE) {
            err = select_one(x, t, &selectors[i], &rows);
            if (err == KS_OK)
                unite(&out, rows);
        } else { /* a bad expression is an error even where there is nothing to match */
            err = ks_cselector_compile(&selectors[i], &c);
            if (err == KS_OK)
                ks_cselector_done(&c);
        }
    }
    if (err == KS_OK && !out && !(out = roaring_bitmap_create()))
        err = no_memory();
    if (err == KS_OK && t != KSI_NONE && !count)
        roaring_bitmap_add_range(out, x->tenants[t].first_row, x->tenants[t + 1].first_row);
    if (err == KS_OK)
        *ret = out;
    else if (out)
        roaring_bitmap_free(out);
    return err;
}

ks_err ks_sindex_tenants(struct ks_sindex *x, ks_tenant_fn fn, void *arg)
{
    for (uint32_t i = 0; i < x->tenant_count; i++)
        if (!fn(arg, x->tenants[i].tenant))
            break;
    return KS_OK;
}

/* --- names and values --- */

/* How many of the rows in question each base has. */
struct weights {
    struct ks_sindex *x;
    uint32_t *v;
    uint64_t sum; /* of the posting under way */
};

static void add_weights(void *arg, uint32_t from, uint32_t to)
{
    struct weights *w = arg;
    for (uint32_t b = from; b < to; b++)
        w->sum += w->v[b];
}

static ks_err weigh_rows(struct weights *w, struct range range, const roaring_bitmap_t *rows)
{
    struct ksi_row_walk walk;
    ksi_row_walk_init(&walk, w->x);
    ks_err err = KS_OK;
    if (!rows) {
        for (uint32_t row = range.from; err == KS_OK && row < range.to; row++) {
            err = ksi_row_walk_to(&walk, row);
            if (err == KS_OK)
                w->v[walk.ids[row % KSI_ROW_GROUP]]++;
        }
    } else {
        roaring_uint32_iterator_t it;
        roaring_init_iterator(rows, &it);
        bool more = roaring_move_uint32_iterator_equalorlarger(&it, range.from);
        for (; err == KS_OK && more && it.current_value < range.to;
             more = roaring_advance_uint32_iterator(&it)) {
            err = ksi_row_walk_to(&walk, it.current_value);
            if (err == KS_OK)
                w->v[walk.ids[it.current_value % KSI_ROW_GROUP]]++;
        }
    }
    ksi_row_walk_done(&walk);
    return err;
}

static uint64_t rows_between(const roaring_bitmap_t *rows, uint32_t from, uint32_t to)
{
    return rows ? roaring_bitmap_range_cardinality(rows, from, to) : to - from;
}

/* All rows of the only tenant, not to be counted: every name and value of the part occurs in them.
 */
static bool all_occur(const struct ks_sindex *x, const roaring_bitmap_t *rows, bool counted)
{
    return !counted && !rows && x->tenant_count == 1;
}

/* ret->v stays NULL where no weighing is needed. */
static ks_err weights_new(struct ks_sindex *x, uint32_t tenant, const roaring_bitmap_t *rows,
                          bool counted, struct weights *ret)
{
    *ret = (struct weights){.x = x};
    if (all_occur(x, rows, counted))
        return KS_OK;
    ret->v = ks_zalloc_array(x->base_count + 1u, sizeof *ret->v);
    if (!ret->v)
        return KS_ENOMEM;
    struct range range = {x->tenants[tenant].first_row, x->tenants[tenant + 1].first_row};
    ks_err err = weigh_rows(ret, range, rows);
    if (err != KS_OK)
        ks_free(ret->v);
    return err;
}

ks_err ks_sindex_label_names(struct ks_sindex *x, struct ks_tenant tenant,
                             const roaring_bitmap_t *rows, bool counted, ks_label_fn fn, void *arg)
{
    uint32_t t = ksi_sindex_find_tenant(x, tenant);
    if (t == KSI_NONE)
        return KS_OK;
    struct weights w;
    KS_TRY(weights_new(x, t, rows, counted, &w));
    ks_err err = KS_OK;
    for (uint32_t i = 0; err == KS_OK && i < x->name_count; i++) {
        w.sum = !w.v;
        if (!w.v) {
            ; /* occurs */
        } else if (i == x->metric_name) {
            for (uint32_t run = x->tenants[t].first_run; run < x->tenants[t + 1].first_run; run++)
                if (x->run_names[run])
                    w.sum += rows_between(rows, x->run_rows[run], x->run_rows[run + 1]);
        } else {
            err = ksi_post_each(x, &x->names[i].has, add_weights, &w);
        }
        if (err == KS_OK && w.sum && !fn(arg, x->names[i].text, w.sum))
            break;
    }
    ks_free(w.v);
    return err;
}

struct values_call {
    struct weights w;
    const roaring_bitmap_t *rows;
    uint32_t run, run_end; /* metric names: runs still to come */
    uint32_t first_rank;
    ks_label_fn fn;
    void *arg;
};

static bool on_value(void *arg, uint32_t rank, struct ks_slice text, const struct ksi_post_ref *ref,
                     ks_err *err)
{
    struct values_call *c = arg;
    c->w.sum = !c->w.v;
    if (c->w.v)
        *err = ksi_post_each(c->w.x, ref, add_weights, &c->w);
    return *err == KS_OK && (!c->w.sum || c->fn(c->arg, text, c->w.sum));
}

/* Names and runs ascend together. */
static bool on_metric_name(void *arg, uint32_t rank, struct ks_slice text,
                           const struct ksi_post_ref *ref, ks_err *err)
{
    struct values_call *c = arg;
    const struct ks_sindex *x = c->w.x;
    uint32_t code = rank - c->first_rank + 1;
    while (c->run < c->run_end && x->run_names[c->run] < code)
        c->run++;
    if (c->run == c->run_end)
        return false;
    uint64_t rows = x->run_names[c->run] == code
                        ? rows_between(c->rows, x->run_rows[c->run], x->run_rows[c->run + 1])
                        : 0;
    return !rows || c->fn(c->arg, text, rows);
}

ks_err ks_sindex_label_values(struct ks_sindex *x, struct ks_tenant tenant, struct ks_slice name,
                              const roaring_bitmap_t *rows, bool counted, ks_label_fn fn, void *arg)
{
    uint32_t t = ksi_sindex_find_tenant(x, tenant), id = ksi_sindex_find_name(x, name);
    if (t == KSI_NONE || id == KSI_NONE)
        return KS_OK;
    struct values_call c = {.w = {.x = x},
                            .rows = rows,
                            .run = x->tenants[t].first_run,
                            .run_end = x->tenants[t + 1].first_run,
                            .first_rank = x->names[id].first_rank,
                            .fn = fn,
                            .arg = arg};
    if (id == x->metric_name)
        return ksi_values_each(x, id, ks_slice("", 0), on_metric_name, &c);
    KS_TRY(weights_new(x, t, rows, counted, &c.w));
    ks_err err = ksi_values_each(x, id, ks_slice("", 0), on_value, &c);
    ks_free(c.w.v);
    return err;
}
