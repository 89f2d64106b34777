/* Label names and values over head and parts: gathered into one table, given out once each in
 * order. Without counts the head's series are not walked: three of each word are looked at. */
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

/* --- order --- */

/* Sort key: eight bytes behind what all texts share. */
struct order {
    uint64_t key;
    uint32_t word;
};

static int by_text(const void *pa, const void *pb, void *arg)
{
    const struct order *a = pa, *b = pb;
    const struct word *items = arg;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return ks_slice_cmp(items[a->word].text, items[b->word].text);
}

static size_t common_prefix(const struct words *w)
{
    struct ks_slice first = w->items[0].text;
    size_t n = first.len;
    for (size_t i = 1; i < w->count && n; i++) {
        struct ks_slice s = w->items[i].text;
        size_t k = 0;
        n = s.len < n ? s.len : n;
        while (k < n && s.ptr[k] == first.ptr[k])
            k++;
        n = k;
    }
    return n;
}

/* The order of the words, in their arena. */
static ks_err sort_words(struct words *w, struct order **ret)
{
    struct order *o = ks_arena_array(&w->arena, w->count + 1, sizeof *o);
    size_t skip = w->count ? common_prefix(w) : 0;
    if (!o)
        return ks_arena_err(&w->arena);
    for (size_t i = 0; i < w->count; i++) {
        struct ks_slice rest = ks_slice_from(w->items[i].text, skip);
        uint64_t key = 0;
        for (size_t k = 0; k < 8; k++)
            key = key << 8 | (k < rest.len ? (uint8_t)rest.ptr[k] : 0);
        o[i] = (struct order){key, (uint32_t)i};
    }
    if (w->count)
        qsort_r(o, w->count, sizeof *o, by_text, w->items);
    *ret = o;
    return KS_OK;
}

/* --- the head --- */

/* name NULL: label names. With counts, or of the series some selectors chose. */
static ks_err gather_matching(struct ks_engine *e, const struct ks_select_opts *o,
                              struct ks_tenant tenant, const struct ks_slice *name, struct words *w)
{
    roaring_bitmap_t *rows;
    struct ks_live_words found = {0};
    KS_TRY(ksi_head_matching(e, o, tenant, &rows));
    ks_err err = KS_OK;
    if (roaring_bitmap_is_empty(rows))
        ;
    else if (!o->no_counts)
        err = name ? ks_live_index_label_values(e->live, tenant, *name, rows, take_word, w)
                   : ks_live_index_label_names(e->live, tenant, rows, take_word, w);
    else
        err = ks_live_index_words(e->live, tenant, name, rows, &found);
    for (size_t i = 0; i < found.count && err == KS_OK; i++)
        err = words_put(w, ks_live_word_text(&found, i), 1);
    ks_live_words_done(&found);
    roaring_bitmap_free(rows);
    return err == KS_OK ? w->err : err;
}

/*
 * Words none of whose first few series holds samples of the range: whether another one does is
 * seen by asking for the series of these words alone.
 */
static ks_err gather_undecided(struct ks_engine *e, const struct ks_select_opts *o,
                               struct ks_tenant tenant, const struct ks_slice *name,
                               const struct ks_live_words *found, const uint32_t *words,
                               size_t count, struct words *w)
{
    size_t n = 0;
    struct ks_selector *list = ks_alloc_array(count + 1, sizeof *list);
    struct ks_matcher *ms = ks_alloc_array(count + 1, sizeof *ms);
    for (size_t i = 0; list && ms && i < count; i++) {
        struct ks_slice text = ks_live_word_text(found, words[i]);
        if (!found->v[words[i]].more)
            continue;
        ms[n] = name ? (struct ks_matcher){*name, text, KS_MATCH_EQ}
                     : (struct ks_matcher){text, ks_slice("", 0), KS_MATCH_NEQ};
        list[n] = (struct ks_selector){&ms[n], 1};
        n++;
    }
    struct ks_select_opts narrow = *o;
    narrow.selectors = list;
    narrow.selector_count = n;
    ks_err err = !list || !ms ? KS_ENOMEM
                 : n          ? gather_matching(e, &narrow, tenant, name, w)
                              : KS_OK;
    ks_free(list);
    ks_free(ms);
    return err;
}

/* Of words[0..n): those whose k-th series holds samples are taken; the others stay, to the front.
 */
static ks_err take_alive(struct ks_engine *e, const struct ks_select_opts *o,
                         const struct ks_live_words *found, unsigned k, uint32_t *words,
                         uint32_t *sids, size_t *n, struct words *w)
{
    size_t left = 0;
    for (size_t i = 0; i < *n; i++) {
        const struct ks_live_word *x = &found->v[words[i]];
        sids[i] = k < x->sid_count ? x->sids[k] : KSI_NO_SID;
    }
    ksi_head_mark_silent(e, o, sids, *n);
    for (size_t i = 0; i < *n; i++) {
        if (sids[i] == KSI_NO_SID)
            words[left++] = words[i];
        else
            KS_TRY(words_put(w, ks_live_word_text(found, words[i]), 1));
    }
    *n = left;
    return KS_OK;
}

/* All words of a tenant, no counts: a word counts as soon as one of its series holds samples. */
static ks_err gather_words(struct ks_engine *e, const struct ks_select_opts *o,
                           struct ks_tenant tenant, const struct ks_slice *name, struct words *w)
{
    struct ks_live_words found;
    KS_TRY(ks_live_index_words(e->live, tenant, name, NULL, &found));
    size_t n = found.count;
    uint32_t *words = ks_alloc_array(n + 1, sizeof *words);
    uint32_t *sids = ks_alloc_array(n + 1, sizeof *sids);
    ks_err err = words && sids ? KS_OK : KS_ENOMEM;
    for (uint32_t i = 0; words && i < n; i++)
        words[i] = i;
    for (unsigned k = 0; k < KS_LIVE_WORD_SIDS && err == KS_OK && n; k++)
        err = take_alive(e, o, &found, k, words, sids, &n, w);
    if (err == KS_OK && n)
        err = gather_undecided(e, o, tenant, name, &found, words, n, w);
    ks_free(words);
    ks_free(sids);
    ks_live_words_done(&found);
    return err;
}

static ks_err gather_head(struct ks_engine *e, const struct ks_select_opts *o,
                          struct ks_tenant tenant, const struct ks_slice *name, struct words *w)
{
    return o->no_counts && !o->selector_count ? gather_words(e, o, tenant, name, w)
                                              : gather_matching(e, o, tenant, name, w);
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
            err = name ? ks_sindex_label_values(v->part->p.index, tenant, *name, rows,
                                                !o->no_counts, take_word, w)
                       : ks_sindex_label_names(v->part->p.index, tenant, rows, !o->no_counts,
                                               take_word, w);
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
    struct order *order = NULL;
    if (err == KS_OK)
        err = sort_words(&w, &order);
    for (size_t i = 0; err == KS_OK && i < w.count; i++)
        if (!fn(arg, w.items[order[i].word].text, w.items[order[i].word].rows))
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
