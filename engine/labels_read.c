/* Label names and values over head and parts: gathered into one table, given out once each in
 * order. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/series_set.h"

struct word {
    struct ks_slice text;
    uint64_t rows;
};

/* Distinct texts with counts, in an arena. */
struct words {
    struct ks_arena arena;
    struct word *items;
    size_t count, cap;
    uint32_t *table;
    size_t mask;
    ks_err err;
};

static ks_err words_grow(struct words *w)
{
    size_t n = w->table ? (w->mask + 1) * 2 : 1024;
    uint32_t *t = ks_zalloc_array(n, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    for (size_t i = 0; i < w->count; i++) {
        size_t at = ks_hash64(w->items[i].text.ptr, w->items[i].text.len) & (n - 1);
        while (t[at])
            at = (at + 1) & (n - 1);
        t[at] = (uint32_t)i + 1;
    }
    ks_free(w->table);
    w->table = t;
    w->mask = n - 1;
    return KS_OK;
}

static ks_err words_put(struct words *w, struct ks_slice text, uint64_t rows)
{
    if (!w->table || w->count * 2 >= w->mask)
        KS_TRY(words_grow(w));
    size_t at = ks_hash64(text.ptr, text.len) & w->mask;
    for (; w->table[at]; at = (at + 1) & w->mask) {
        struct word *x = &w->items[w->table[at] - 1];
        if (ks_slice_eq(x->text, text)) {
            x->rows = x->rows > rows ? x->rows : rows;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&w->items, &w->cap, w->count + 1, sizeof *w->items));
    struct ks_slice copy = ks_arena_dup(&w->arena, text);
    if (!copy.ptr)
        return ks_arena_err(&w->arena);
    w->items[w->count++] = (struct word){copy, rows};
    w->table[at] = (uint32_t)w->count;
    return KS_OK;
}

static bool take_word(void *arg, struct ks_slice text, uint64_t rows)
{
    struct words *w = arg;
    w->err = words_put(w, text, rows);
    return w->err == KS_OK;
}

static int by_text(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct word *)a)->text, ((const struct word *)b)->text);
}

/* name NULL: label names. */
static ks_err gather_head(struct ks_engine *e, const struct ks_select_opts *o,
                          struct ks_tenant tenant, const struct ks_slice *name, struct words *w)
{
    roaring_bitmap_t *rows;
    KS_TRY(ksi_head_matching(e, o, tenant, &rows));
    ks_err err = KS_OK;
    if (!roaring_bitmap_is_empty(rows))
        err = name ? ks_live_index_label_values(e->live, tenant, *name, rows, take_word, w)
                   : ks_live_index_label_names(e->live, tenant, rows, take_word, w);
    roaring_bitmap_free(rows);
    return err == KS_OK ? w->err : err;
}

static ks_err gather_parts(const struct ks_select_opts *o, struct ks_tenant tenant,
                           const struct ks_slice *name, struct ksi_part_list *parts,
                           struct words *w)
{
    ks_err err = KS_OK;
    for (size_t i = 0; i < parts->count && err == KS_OK && w->err == KS_OK; i++) {
        const struct ksi_part_view *v = &parts->views[i];
        if (v->part->min_ms > o->max_ms || v->part->max_ms < o->min_ms)
            continue;
        KS_TRY(ks_read_ctx_check(o->ctx));
        bool all = !o->selector_count && !v->tombs;
        roaring_bitmap_t *rows = NULL;
        if (!all)
            KS_TRY(ksi_part_matching(v, o, tenant, &rows));
        if (all || !roaring_bitmap_is_empty(rows))
            err = name ? ks_sindex_label_values(v->part->p.index, tenant, *name, rows, take_word, w)
                       : ks_sindex_label_names(v->part->p.index, tenant, rows, take_word, w);
        if (rows)
            roaring_bitmap_free(rows);
    }
    return err == KS_OK ? w->err : err;
}

static ks_err label_words(struct ks_engine *e, const struct ks_select_opts *opts,
                          const struct ks_slice *name, ks_label_fn fn, void *arg)
{
    struct words w = {0};
    struct ks_tenant *tenants;
    size_t count = 0;
    struct ks_select_opts o = *opts;
    if (o.min_ms < ks_engine_min_time_ms(e))
        o.min_ms = ks_engine_min_time_ms(e);
    if (o.min_ms > o.max_ms)
        return KS_OK;
    ks_arena_init(&w.arena, (size_t)4 << 30);
    ks_err err = ksi_tenants_of(e, &o, &w.arena, &tenants, &count);
    /* The head first, then the list of parts: what leaves the head in between is in a part of that
     * list. */
    for (size_t t = 0; t < count && err == KS_OK; t++)
        err = gather_head(e, &o, tenants[t], name, &w);
    struct ksi_part_list *parts = ksi_parts_pin(&e->parts);
    for (size_t t = 0; t < count && err == KS_OK; t++)
        err = gather_parts(&o, tenants[t], name, parts, &w);
    ksi_parts_unpin(parts);
    if (err == KS_OK && w.count)
        qsort(w.items, w.count, sizeof *w.items, by_text);
    for (size_t i = 0; err == KS_OK && i < w.count; i++)
        if (!fn(arg, w.items[i].text, w.items[i].rows))
            break;
    ks_free(w.items);
    ks_free(w.table);
    ks_arena_done(&w.arena);
    return err;
}

ks_err ks_engine_label_names(struct ks_engine *e, const struct ks_select_opts *opts, ks_label_fn fn,
                             void *arg)
{
    return label_words(e, opts, NULL, fn, arg);
}

ks_err ks_engine_label_values(struct ks_engine *e, const struct ks_select_opts *opts,
                              struct ks_slice name, ks_label_fn fn, void *arg)
{
    return label_words(e, opts, &name, fn, arg);
}
