#include "index/live_matches.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

/* What is kept of one expression at most: beyond that it is found anew each time. */
enum { PAIRS_MAX = 128 << 10, ROWS_BYTES_MAX = 1 << 20 };

static void matched_done(struct ksi_matched *x)
{
    ks_free(x->pairs);
    if (x->rows)
        roaring_bitmap_free(x->rows);
    *x = (struct ksi_matched){0};
}

void ksi_live_matches_init(struct ksi_live_matches *m)
{
    memset(m->slots, 0, sizeof m->slots);
    pthread_mutex_init(&m->lock, NULL);
}

void ksi_live_matches_done(struct ksi_live_matches *m)
{
    for (int i = 0; i < KSI_MATCH_SLOTS; i++)
        matched_done(&m->slots[i]);
    pthread_mutex_destroy(&m->lock);
}

static struct ksi_matched *slot_of(struct ksi_live_matches *m, const struct ks_regex *re,
                                   uint32_t name)
{
    return &m->slots[ks_mix64(re->id << 24 ^ name) % KSI_MATCH_SLOTS];
}

/* Takes what is known of the expression out of the table, if it still holds. */
static void take(struct ksi_live_matches *m, const struct ksi_name *n, const struct ks_regex *re,
                 uint32_t name, struct ksi_matched *ret)
{
    struct ksi_matched *slot = slot_of(m, re, name);
    *ret = (struct ksi_matched){.re_id = re->id, .name = name, .dropped = n->dropped};
    pthread_mutex_lock(&m->lock);
    if (slot->re_id == re->id && slot->name == name) {
        struct ksi_matched x = *slot;
        *slot = (struct ksi_matched){0};
        if (x.dropped == n->dropped)
            *ret = x;
        else
            matched_done(&x);
    }
    pthread_mutex_unlock(&m->lock);
}

static void put(struct ksi_live_matches *m, const struct ks_regex *re, struct ksi_matched *x)
{
    if (x->rows && roaring_bitmap_portable_size_in_bytes(x->rows) > ROWS_BYTES_MAX) {
        roaring_bitmap_free(x->rows);
        x->rows = NULL;
    }
    if (x->pair_count > PAIRS_MAX) {
        matched_done(x);
        return;
    }
    struct ksi_matched *slot = slot_of(m, re, x->name), old;
    pthread_mutex_lock(&m->lock);
    old = *slot;
    *slot = *x;
    pthread_mutex_unlock(&m->lock);
    matched_done(&old);
}

static ks_err test_new(struct ksi_matched *x, const struct ksi_intern *words,
                       const struct ksi_name *n, const struct ks_regex *re)
{
    size_t before = x->pair_count;
    for (; x->seen < n->pair_count; x->seen++) {
        uint32_t id = n->pairs[x->seen];
        if (x->seen + 8 < n->pair_count)
            __builtin_prefetch(ksi_pair(words, n->pairs[x->seen + 8]));
        if (!ks_regex_match(re, ksi_pair_value(ksi_pair(words, id))))
            continue;
        KS_TRY(ks_array_reserve((void **)&x->pairs, &x->pair_cap, x->pair_count + 1,
                                sizeof *x->pairs));
        x->pairs[x->pair_count++] = id;
    }
    if (x->rows && (x->pair_count != before || x->changed != n->changed)) {
        roaring_bitmap_free(x->rows);
        x->rows = NULL;
    }
    return KS_OK;
}

static ks_err find_rows(struct ksi_matched *x, const struct ksi_intern *words,
                        const struct ksi_name *n, const struct ks_regex *re, struct ksi_set *ret)
{
    KS_TRY(test_new(x, words, n, re));
    if (!x->rows) {
        struct ksi_set all;
        KS_TRY(ksi_unite_pairs(words, x->pairs, x->pair_count, &all));
        x->rows = all.owned ? (roaring_bitmap_t *)all.bm : roaring_bitmap_copy(all.bm);
        if (!x->rows)
            return ks_fail(KS_ENOMEM, "out of memory for a set of series");
        x->changed = n->changed;
    }
    *ret = (struct ksi_set){roaring_bitmap_copy(x->rows), true};
    return ret->bm ? KS_OK : ks_fail(KS_ENOMEM, "out of memory for a set of series");
}

ks_err ksi_live_matches_rows(struct ksi_live_matches *m, const struct ksi_intern *words,
                             uint32_t name, const struct ks_regex *re, struct ksi_set *ret)
{
    const struct ksi_name *n = &words->names[name];
    struct ksi_matched x;
    take(m, n, re, name, &x);
    ks_err err = find_rows(&x, words, n, re, ret);
    if (err == KS_OK)
        put(m, re, &x);
    else
        matched_done(&x);
    return err;
}
