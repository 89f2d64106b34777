/* Questions about sets of series. Answers are collected under the read lock and handed out behind
 * it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/live_index_priv.h"
#include "index/select.h"

/* --- sets --------------------------------------------------------------------------------------
 */

static ks_err set_new(struct ksi_set *ret)
{
    ret->bm = roaring_bitmap_create();
    ret->owned = true;
    return ret->bm ? KS_OK : ks_fail(KS_ENOMEM, "out of memory for a set of series");
}

static ks_err set_of_postings(const struct ksi_postings *p, struct ksi_set *ret)
{
    if (ksi_postings_is_bitmap(p)) {
        *ret = (struct ksi_set){p->bitmap, false};
        return KS_OK;
    }
    KS_TRY(set_new(ret));
    roaring_bitmap_add_many((roaring_bitmap_t *)ret->bm, p->count, ksi_postings_sids(p));
    return KS_OK;
}

static ks_err live_has(void *self, struct ks_slice name, struct ksi_set *ret)
{
    const struct ks_live_index *x = self;
    uint32_t id = ksi_find_name(&x->words, name);
    return id == KSI_NO_ID ? set_new(ret) : set_of_postings(&x->words.names[id].rows, ret);
}

/* Collects postings of many pairs and unites them at once. */
struct gather {
    const roaring_bitmap_t **bitmaps;
    size_t bitmap_count, bitmap_cap;
    uint32_t *sids;
    size_t sid_count, sid_cap;
};

static ks_err gather_add(struct gather *g, const struct ksi_postings *p)
{
    if (ksi_postings_is_bitmap(p)) {
        KS_TRY(ks_array_reserve((void **)&g->bitmaps, &g->bitmap_cap, g->bitmap_count + 1,
                                sizeof *g->bitmaps));
        g->bitmaps[g->bitmap_count++] = p->bitmap;
        return KS_OK;
    }
    KS_TRY(
        ks_array_reserve((void **)&g->sids, &g->sid_cap, g->sid_count + p->count, sizeof *g->sids));
    memcpy(g->sids + g->sid_count, ksi_postings_sids(p), p->count * sizeof *g->sids);
    g->sid_count += p->count;
    return KS_OK;
}

static ks_err gather_finish(struct gather *g, struct ksi_set *ret)
{
    if (g->bitmap_count == 1 && !g->sid_count) {
        *ret = (struct ksi_set){g->bitmaps[0], false};
        return KS_OK;
    }
    if (!g->bitmap_count) {
        KS_TRY(set_new(ret));
    } else {
        ret->bm = roaring_bitmap_or_many(g->bitmap_count, g->bitmaps);
        ret->owned = true;
        if (!ret->bm)
            return ks_fail(KS_ENOMEM, "out of memory for a set of series");
    }
    if (g->sid_count)
        roaring_bitmap_add_many((roaring_bitmap_t *)ret->bm, g->sid_count, g->sids);
    return KS_OK;
}

static ks_err gather_values(const struct ks_live_index *x, uint32_t name,
                            const struct ks_cmatcher *m, struct gather *g)
{
    const struct ksi_name *n = &x->words.names[name];
    if (!m->re || m->re->shape == KS_REGEX_SET) {
        const struct ks_slice *values = m->re ? m->re->literals : &m->value;
        size_t count = m->re ? m->re->literal_count : 1;
        for (size_t i = 0; i < count; i++) {
            uint32_t id = ksi_find_pair(&x->words, name, values[i]);
            if (id != KSI_NO_ID)
                KS_TRY(gather_add(g, &ksi_pair(&x->words, id)->rows));
        }
        return KS_OK;
    }
    KS_ASSERT(m->re->shape != KS_REGEX_SCAN);
    for (size_t i = 0; i < n->pair_count; i++) {
        const struct ksi_pair *p = ksi_pair(&x->words, n->pairs[i]);
        if (ks_regex_match(m->re, ksi_pair_value(p)))
            KS_TRY(gather_add(g, &p->rows));
    }
    return KS_OK;
}

ks_err ksi_unite_pairs(const struct ksi_intern *words, const uint32_t *pairs, size_t count,
                       struct ksi_set *ret)
{
    struct gather g = {0};
    ks_err err = KS_OK;
    for (size_t i = 0; i < count && err == KS_OK; i++) {
        if (i + 8 < count)
            __builtin_prefetch(ksi_pair(words, pairs[i + 8]));
        err = gather_add(&g, &ksi_pair(words, pairs[i])->rows);
    }
    if (err == KS_OK)
        err = gather_finish(&g, ret);
    ks_free(g.bitmaps);
    ks_free(g.sids);
    return err;
}

static ks_err live_in(void *self, const struct ks_cmatcher *m, struct ksi_set *ret)
{
    struct ks_live_index *x = self;
    struct gather g = {0};
    uint32_t name = ksi_find_name(&x->words, m->name);
    if (name != KSI_NO_ID && m->re && m->re->shape == KS_REGEX_SCAN)
        return ksi_live_matches_rows(&x->matches, &x->words, name, m->re, ret);
    ks_err err = name == KSI_NO_ID ? KS_OK : gather_values(x, name, m, &g);
    if (err == KS_OK)
        err = gather_finish(&g, ret);
    ks_free(g.bitmaps);
    ks_free(g.sids);
    return err;
}

/* --- select ------------------------------------------------------------------------------------
 */

static ks_err select_one(struct ks_live_index *x, const roaring_bitmap_t *tenant_rows,
                         const struct ks_selector *s, roaring_bitmap_t **ret)
{
    struct ks_cselector c;
    KS_TRY(ks_cselector_compile(s, &c));
    struct ksi_source src = {x, live_has, live_in};
    roaring_bitmap_t *rows = NULL;
    ks_err err = ksi_index_select(&src, c.items, c.count, tenant_rows, &rows);
    ks_cselector_done(&c);
    KS_TRY(err);
    if (!rows) {
        rows = roaring_bitmap_copy(tenant_rows);
        if (!rows)
            return ks_fail(KS_ENOMEM, "out of memory for a set of series");
    } else if (x->tenants.name_live > 1 || roaring_bitmap_is_empty(tenant_rows)) {
        roaring_bitmap_and_inplace(rows, tenant_rows);
    }
    *ret = rows;
    return KS_OK;
}

static ks_err select_locked(struct ks_live_index *x, struct ks_tenant tenant,
                            const struct ks_selector *selectors, size_t count,
                            roaring_bitmap_t **ret)
{
    struct ksi_set all;
    uint32_t t = ksi_live_find_tenant(x, tenant);
    if (t == KSI_NO_ID)
        KS_TRY(set_new(&all));
    else
        KS_TRY(set_of_postings(&x->tenants.names[t].rows, &all));
    ks_err err = KS_OK;
    roaring_bitmap_t *out = NULL;
    struct ks_selector everything = {0};
    for (size_t i = 0; err == KS_OK && i < (count ? count : 1); i++) {
        roaring_bitmap_t *rows = NULL;
        err = select_one(x, all.bm, count ? &selectors[i] : &everything, &rows);
        if (err != KS_OK)
            break;
        if (out) {
            roaring_bitmap_or_inplace(out, rows);
            roaring_bitmap_free(rows);
        } else {
            out = rows;
        }
    }
    ksi_set_done(&all);
    if (err == KS_OK)
        *ret = out;
    else if (out)
        roaring_bitmap_free(out);
    return err;
}

ks_err ks_live_index_select(struct ks_live_index *x, struct ks_tenant tenant,
                            const struct ks_selector *selectors, size_t count,
                            roaring_bitmap_t **ret)
{
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = select_locked(x, tenant, selectors, count, ret);
    pthread_rwlock_unlock(&x->lock);
    return err;
}

/* --- tenants, names, values --------------------------------------------------------------------
 */

ks_err ks_live_index_tenants(struct ks_live_index *x, ks_tenant_fn fn, void *arg)
{
    struct ks_tenant *list = NULL;
    size_t count = 0, cap = 0;
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = ks_array_reserve((void **)&list, &cap, x->tenants.name_count + 1, sizeof *list);
    for (size_t i = 0; err == KS_OK && i < x->tenants.name_count; i++) {
        uint64_t key = ks_le64(x->tenants.names[i].text);
        if (x->tenants.names[i].rows.count)
            list[count++] = (struct ks_tenant){(uint32_t)(key >> 32), (uint32_t)key};
    }
    pthread_rwlock_unlock(&x->lock);
    for (size_t i = 0; err == KS_OK && i < count; i++)
        if (!fn(arg, list[i]))
            break;
    ks_free(list);
    return err;
}

/* Texts with counts, copied out so that they outlive the lock. */
struct answer {
    size_t offset, len; /* in texts */
    uint64_t row_count;
};
struct answers {
    struct ks_buf texts;
    struct answer *v;
    size_t count, cap;
};

static ks_err answers_add(struct answers *a, struct ks_slice text, uint64_t row_count)
{
    KS_TRY(ks_array_reserve((void **)&a->v, &a->cap, a->count + 1, sizeof *a->v));
    a->v[a->count++] = (struct answer){a->texts.len, text.len, row_count};
    ks_buf_slice(&a->texts, text);
    return ks_buf_status(&a->texts);
}

static int cmp_answers(const void *a, const void *b, void *texts)
{
    const struct answer *x = a, *y = b;
    const char *t = texts;
    return ks_slice_cmp(ks_slice(t + x->offset, x->len), ks_slice(t + y->offset, y->len));
}

/* Hands the answers out in ascending order and frees them. */
static ks_err answers_give(struct answers *a, ks_err err, ks_label_fn fn, void *arg)
{
    if (err == KS_OK && a->count) {
        qsort_r(a->v, a->count, sizeof *a->v, cmp_answers, a->texts.ptr);
        for (size_t i = 0; i < a->count; i++)
            if (!fn(arg, ks_slice(a->texts.ptr + a->v[i].offset, a->v[i].len), a->v[i].row_count))
                break;
    }
    ks_free(a->v);
    ks_buf_done(&a->texts);
    return err;
}

/* The rows to look at: `sids` within the tenant. *ret_all: every series of the index is meant, no
 * test needed. */
static ks_err rows_in_question(const struct ks_live_index *x, struct ks_tenant tenant,
                               const roaring_bitmap_t *sids, struct ksi_set *ret, bool *ret_all)
{
    uint32_t t = ksi_live_find_tenant(x, tenant);
    if (t == KSI_NO_ID)
        return set_new(ret);
    KS_TRY(set_of_postings(&x->tenants.names[t].rows, ret));
    *ret_all = !sids && x->tenants.name_live == 1;
    if (!sids)
        return KS_OK;
    struct ksi_set both = {roaring_bitmap_and(ret->bm, sids), true};
    ksi_set_done(ret);
    *ret = both;
    return both.bm ? KS_OK : ks_fail(KS_ENOMEM, "out of memory for a set of series");
}

static uint64_t rows_in(const struct ksi_postings *p, const struct ksi_set *rows, bool all)
{
    return all ? p->count : ksi_postings_overlap(p, rows->bm);
}

ks_err ks_live_index_label_names(struct ks_live_index *x, struct ks_tenant tenant,
                                 const roaring_bitmap_t *sids, ks_label_fn fn, void *arg)
{
    struct answers a = {0};
    ks_buf_init(&a.texts, KS_BUF_UNLIMITED);
    struct ksi_set rows = {0};
    bool all = false;
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = rows_in_question(x, tenant, sids, &rows, &all);
    for (size_t i = 0; err == KS_OK && i < x->words.name_count; i++) {
        const struct ksi_name *n = &x->words.names[i];
        uint64_t count = n->used ? rows_in(&n->rows, &rows, all) : 0;
        if (count)
            err = answers_add(&a, ksi_name_text(n), count);
    }
    ksi_set_done(&rows);
    pthread_rwlock_unlock(&x->lock);
    return answers_give(&a, err, fn, arg);
}

ks_err ks_live_index_label_values(struct ks_live_index *x, struct ks_tenant tenant,
                                  struct ks_slice name, const roaring_bitmap_t *sids,
                                  ks_label_fn fn, void *arg)
{
    struct answers a = {0};
    ks_buf_init(&a.texts, KS_BUF_UNLIMITED);
    struct ksi_set rows = {0};
    bool all = false;
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = rows_in_question(x, tenant, sids, &rows, &all);
    uint32_t id = ksi_find_name(&x->words, name);
    size_t pair_count = id == KSI_NO_ID ? 0 : x->words.names[id].pair_count;
    for (size_t i = 0; err == KS_OK && i < pair_count; i++) {
        const struct ksi_pair *p = ksi_pair(&x->words, x->words.names[id].pairs[i]);
        uint64_t count = rows_in(&p->rows, &rows, all);
        if (count)
            err = answers_add(&a, ksi_pair_value(p), count);
    }
    ksi_set_done(&rows);
    pthread_rwlock_unlock(&x->lock);
    return answers_give(&a, err, fn, arg);
}
