#include "engine/l1.h"

#include "base/mem.h"

enum { FIRST_SLOTS = 4096 };

static struct l1_slot *slots_new(size_t n)
{
    struct l1_slot *s = ks_alloc_array(n, sizeof *s);
    for (size_t i = 0; s && i < n; i++)
        s[i].sid = KS_NO_SID;
    return s;
}

ks_err ksi_l1_init(struct ks_l1 *t)
{
    *t = (struct ks_l1){.mask = FIRST_SLOTS - 1, .limit = FIRST_SLOTS / 4 * 3};
    if (!(t->slots = slots_new(FIRST_SLOTS)))
        return KS_ENOMEM;
    pthread_rwlock_init(&t->lock, NULL);
    return KS_OK;
}

void ksi_l1_done(struct ks_l1 *t)
{
    if (!t->slots)
        return;
    ks_free(t->slots);
    t->slots = NULL;
    pthread_rwlock_destroy(&t->lock);
}

void ksi_l1_lookup(struct ks_l1 *t, const void *keys, size_t stride, size_t count, uint32_t *sids)
{
    enum { AHEAD = 8 };
    pthread_rwlock_rdlock(&t->lock);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            const ks_hash128 *next = (const void *)((const char *)keys + (i + AHEAD) * stride);
            __builtin_prefetch(&t->slots[next->lo & t->mask]);
        }
        const ks_hash128 *k = (const void *)((const char *)keys + i * stride);
        size_t at = k->lo & t->mask;
        while (t->slots[at].sid != KS_NO_SID && !ks_hash128_eq(t->slots[at].key, *k))
            at = (at + 1) & t->mask;
        sids[i] = t->slots[at].sid;
    }
    pthread_rwlock_unlock(&t->lock);
}

/* Puts an entry into a table with room; an existing key gets the new sid. */
static void put(struct ks_l1 *t, ks_hash128 key, uint32_t sid)
{
    size_t at = key.lo & t->mask;
    while (t->slots[at].sid != KS_NO_SID && !ks_hash128_eq(t->slots[at].key, key))
        at = (at + 1) & t->mask;
    t->count += t->slots[at].sid == KS_NO_SID;
    t->slots[at].key = key;
    t->slots[at].sid = sid;
}

/* Rebuilds with n slots, leaving out what dead() names. False when memory is short: the table stays
 * as it was. */
static bool rebuild(struct ks_l1 *t, size_t n, bool (*dead)(void *arg, uint32_t sid), void *arg)
{
    struct l1_slot *old = t->slots, *fresh = slots_new(n);
    size_t old_n = t->mask + 1;
    if (!fresh)
        return false;
    t->slots = fresh;
    t->mask = n - 1;
    t->limit = n / 4 * 3;
    t->count = 0;
    for (size_t i = 0; i < old_n; i++)
        if (old[i].sid != KS_NO_SID && !(dead && dead(arg, old[i].sid)))
            put(t, old[i].key, old[i].sid);
    ks_free(old);
    return true;
}

void ksi_l1_add(struct ks_l1 *t, const struct l1_add *adds, size_t count,
                bool (*valid)(void *arg, uint32_t sid), void *arg)
{
    pthread_rwlock_wrlock(&t->lock);
    for (size_t i = 0; i < count; i++) {
        if (t->count >= t->limit && !rebuild(t, (t->mask + 1) * 2, NULL, NULL))
            break;
        if (valid(arg, adds[i].sid))
            put(t, adds[i].key, adds[i].sid);
    }
    pthread_rwlock_unlock(&t->lock);
}

void ksi_l1_purge(struct ks_l1 *t, bool (*dead)(void *arg, uint32_t sid), void *arg)
{
    pthread_rwlock_wrlock(&t->lock);
    size_t live = 0;
    for (size_t i = 0; i <= t->mask; i++)
        live += t->slots[i].sid != KS_NO_SID && !dead(arg, t->slots[i].sid);
    size_t n = FIRST_SLOTS;
    while (n / 2 < live)
        n *= 2;
    if (n > t->mask + 1)
        n = t->mask + 1;
    if (!rebuild(t, n, dead, arg)) {
        /* No memory to rebuild: forget everything, in place. Entries come back as series are
         * written again. */
        for (size_t i = 0; i <= t->mask; i++)
            t->slots[i].sid = KS_NO_SID;
        t->count = 0;
    }
    pthread_rwlock_unlock(&t->lock);
}

size_t ksi_l1_bytes(struct ks_l1 *t)
{
    pthread_rwlock_rdlock(&t->lock);
    size_t n = (t->mask + 1) * sizeof *t->slots;
    pthread_rwlock_unlock(&t->lock);
    return n;
}
