/*
 * Answers of a part's index kept from question to question: the bases an expression matches, and
 * the rows of a selector that took long to find. A part never changes, so neither does an answer;
 * what is deleted is taken out by the caller. Sets of four by the hash of what was asked, the least
 * recently used goes; all parts share one budget. Any thread.
 */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/series_index_priv.h"

static _Atomic size_t kept_bytes; /* of all parts; relaxed: a limit, no more */

static struct ksi_result *set_of(struct ks_sindex *x, uint64_t hash)
{
    return x->results[hash % KSI_RESULT_SETS];
}

static bool is_it(const struct ksi_result *r, uint64_t hash, struct ks_slice key)
{
    return r->set && r->hash == hash && ks_slice_eq(r->key, key);
}

roaring_bitmap_t *ksi_result_find(struct ks_sindex *x, struct ks_slice key)
{
    roaring_bitmap_t *out = NULL;
    uint64_t hash = ks_hash64(key.ptr, key.len);
    struct ksi_result *set = set_of(x, hash);
    pthread_mutex_lock(&x->results_mutex);
    for (int i = 0; i < KSI_RESULT_WAYS && !out; i++)
        if (is_it(&set[i], hash, key)) {
            set[i].used = ++x->results_tick;
            out = roaring_bitmap_copy(set[i].set);
        }
    pthread_mutex_unlock(&x->results_mutex);
    return out;
}

static void result_done(struct ksi_result *r)
{
    if (!r->set)
        return;
    atomic_fetch_sub_explicit(&kept_bytes, r->bytes, memory_order_relaxed);
    roaring_bitmap_free(r->set);
    ks_free((void *)r->key.ptr);
    *r = (struct ksi_result){0};
}

/* Puts r in the place of the same question, of none, or of the one that was not asked for longest.
 * *r: what was there. */
static void exchange(struct ks_sindex *x, struct ksi_result *r)
{
    struct ksi_result *set = set_of(x, r->hash), *to = &set[0];
    pthread_mutex_lock(&x->results_mutex);
    for (int i = 1; i < KSI_RESULT_WAYS; i++)
        if (!set[i].set || (to->set && set[i].used < to->used))
            to = &set[i];
    for (int i = 0; i < KSI_RESULT_WAYS; i++)
        if (is_it(&set[i], r->hash, r->key))
            to = &set[i]; /* another thread was first */
    struct ksi_result old = *to;
    r->used = ++x->results_tick;
    *to = *r;
    pthread_mutex_unlock(&x->results_mutex);
    *r = old;
}

void ksi_result_keep(struct ks_sindex *x, struct ks_slice key, const roaring_bitmap_t *set)
{
    size_t bytes = roaring_bitmap_portable_size_in_bytes(set) + key.len + sizeof(roaring_bitmap_t);
    if (bytes > KSI_RESULT_BYTES_MAX)
        return;
    size_t before = atomic_fetch_add_explicit(&kept_bytes, bytes, memory_order_relaxed);
    char *text = before + bytes <= KSI_RESULTS_BYTES ? ks_alloc(key.len + 1) : NULL;
    roaring_bitmap_t *copy = text ? roaring_bitmap_copy(set) : NULL;
    if (!copy) {
        ks_free(text);
        atomic_fetch_sub_explicit(&kept_bytes, bytes, memory_order_relaxed);
        return;
    }
    memcpy(text, key.ptr, key.len);
    struct ksi_result r = {.key = ks_slice(text, key.len),
                           .hash = ks_hash64(key.ptr, key.len),
                           .bytes = bytes,
                           .set = copy};
    exchange(x, &r);
    result_done(&r);
}

void ksi_results_done(struct ks_sindex *x)
{
    for (int s = 0; s < KSI_RESULT_SETS; s++)
        for (int i = 0; i < KSI_RESULT_WAYS; i++)
            result_done(&x->results[s][i]);
}
