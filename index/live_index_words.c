/*
 * Which label names and values there are, without counting: a few series of each are given along,
 * so that the caller can see whether one of them is of interest without walking all postings. Of
 * few series the words are read off the series.
 */
#include <string.h>

#include "base/mem.h"
#include "index/live_index_priv.h"

/* Sids of a posting tried against the tenant before it is left to the caller as "more". */
enum { TRIES = 64 };

static ks_err words_add(struct ks_live_words *w, struct ks_slice text, struct ks_live_word **ret)
{
    KS_TRY(ks_array_reserve((void **)&w->v, &w->cap, w->count + 1, sizeof *w->v));
    *ret = &w->v[w->count++];
    **ret = (struct ks_live_word){.offset = w->texts.len, .len = (uint32_t)text.len};
    ks_buf_slice(&w->texts, text);
    return ks_buf_status(&w->texts);
}

/* rows NULL: all. Nothing found and no more: the word is not the tenant's. */
static void find_sids(const struct ksi_postings *p, const roaring_bitmap_t *rows,
                      struct ks_live_word *w)
{
    uint32_t tried = 0;
    if (!ksi_postings_is_bitmap(p)) {
        const uint32_t *sids = ksi_postings_sids(p);
        for (; tried < p->count && w->sid_count < KS_LIVE_WORD_SIDS; tried++)
            if (!rows || roaring_bitmap_contains(rows, sids[tried]))
                w->sids[w->sid_count++] = sids[tried];
        w->more = tried < p->count;
        return;
    }
    roaring_uint32_iterator_t it;
    roaring_init_iterator(p->bitmap, &it);
    for (; it.has_value && tried < TRIES && w->sid_count < KS_LIVE_WORD_SIDS; tried++) {
        if (!rows || roaring_bitmap_contains(rows, it.current_value))
            w->sids[w->sid_count++] = it.current_value;
        roaring_advance_uint32_iterator(&it);
    }
    w->more = it.has_value;
}

struct asked {
    struct ks_live_index *x;
    const roaring_bitmap_t *tenant_rows; /* NULL: all series are the tenant's */
    const roaring_bitmap_t *rows;        /* NULL: any of the tenant */
    struct ks_live_words *out;
};

static ks_err ask(const struct asked *a, const struct ksi_postings *p, struct ks_slice text)
{
    struct ks_live_word *w;
    if (!p->count || (a->rows && !ksi_postings_meet(p, a->rows)))
        return KS_OK;
    KS_TRY(words_add(a->out, text, &w));
    if (!a->rows)
        find_sids(p, a->tenant_rows, w);
    if (!a->rows && !w->sid_count && !w->more) {
        a->out->texts.len = w->offset;
        a->out->count--;
    }
    return KS_OK;
}

/* Reads the words off the series: fewer of those than words. */
static ks_err ask_series(const struct asked *a, uint32_t name)
{
    struct ksi_intern *words = &a->x->words;
    size_t bits = name == KSI_NO_ID ? words->name_count : words->names[name].pair_count;
    uint64_t *seen = ks_zalloc_array(bits / 64 + 1, sizeof *seen);
    struct ksi_live_one one;
    struct ks_live_word *w;
    roaring_uint32_iterator_t it;
    ks_err err = seen ? KS_OK : KS_ENOMEM;
    for (roaring_init_iterator(a->rows, &it); it.has_value && err == KS_OK;
         roaring_advance_uint32_iterator(&it)) {
        err = ksi_live_read_one(a->x, it.current_value, &one);
        if (err == KS_ENOTFOUND) { /* gone meanwhile */
            err = KS_OK;
            continue;
        }
        for (uint32_t i = 0; i < one.count && err == KS_OK; i++) {
            const struct ksi_pair *p = ksi_pair(words, one.ids[i]);
            uint32_t at = name == KSI_NO_ID ? p->name : p->name_slot;
            if ((name != KSI_NO_ID && p->name != name) || seen[at / 64] >> at % 64 & 1)
                continue;
            seen[at / 64] |= 1ull << at % 64;
            err = words_add(
                a->out,
                name == KSI_NO_ID ? ksi_name_text(&words->names[p->name]) : ksi_pair_value(p), &w);
        }
        ks_free(one.heap);
    }
    ks_free(seen);
    return err;
}

static ks_err ask_names(const struct asked *a)
{
    const struct ksi_intern *words = &a->x->words;
    ks_err err = KS_OK;
    for (size_t i = 0; i < words->name_count && err == KS_OK; i++)
        if (words->names[i].used)
            err = ask(a, &words->names[i].rows, ksi_name_text(&words->names[i]));
    return err;
}

static ks_err ask_values(const struct asked *a, const struct ksi_name *n)
{
    ks_err err = KS_OK;
    for (size_t i = 0; i < n->pair_count && err == KS_OK; i++) {
        const struct ksi_pair *p = ksi_pair(&a->x->words, n->pairs[i]);
        if (i + 8 < n->pair_count)
            __builtin_prefetch(ksi_pair(&a->x->words, n->pairs[i + 8]));
        err = ask(a, &p->rows, ksi_pair_value(p));
    }
    return err;
}

static ks_err words_locked(struct asked *a, struct ks_tenant tenant, const struct ks_slice *name)
{
    const struct ksi_intern *words = &a->x->words;
    uint32_t t = ksi_live_find_tenant(a->x, tenant);
    uint32_t id = name ? ksi_find_name(words, *name) : KSI_NO_ID;
    if (t == KSI_NO_ID || (name && id == KSI_NO_ID))
        return KS_OK;
    size_t word_count = name ? words->names[id].pair_count : words->name_count;
    enum { SERIES_COST = 8 }; /* reading a series, in tests of a word */
    if (a->rows && roaring_bitmap_get_cardinality(a->rows) * SERIES_COST < word_count)
        return ask_series(a, id);
    const struct ksi_postings *mine = &a->x->tenants.names[t].rows;
    roaring_bitmap_t *few = NULL;
    if (a->x->tenants.name_live > 1) {
        if (!ksi_postings_is_bitmap(mine)) {
            few = roaring_bitmap_of_ptr(mine->count, ksi_postings_sids(mine));
            if (!few)
                return ks_fail(KS_ENOMEM, "out of memory for a set of series");
        }
        a->tenant_rows = few ? few : mine->bitmap;
    }
    ks_err err = name ? ask_values(a, &words->names[id]) : ask_names(a);
    if (few)
        roaring_bitmap_free(few);
    return err;
}

ks_err ks_live_index_words(struct ks_live_index *x, struct ks_tenant tenant,
                           const struct ks_slice *name, const roaring_bitmap_t *sids,
                           struct ks_live_words *ret)
{
    struct asked a = {.x = x, .rows = sids, .out = ret};
    *ret = (struct ks_live_words){0};
    ks_buf_init(&ret->texts, KS_BUF_UNLIMITED);
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = words_locked(&a, tenant, name);
    pthread_rwlock_unlock(&x->lock);
    if (err != KS_OK)
        ks_live_words_done(ret);
    return err;
}

void ks_live_words_done(struct ks_live_words *w)
{
    ks_free(w->v);
    ks_buf_done(&w->texts);
    *w = (struct ks_live_words){0};
}
