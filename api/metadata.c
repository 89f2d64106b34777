#include "api/metadata.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { BUCKETS = 16384, TEXT_MAX = 16 << 10 };

struct entry {
    struct entry *next;
    uint64_t hash;
    size_t bytes;
    struct ks_metadata m; /* text behind the entry */
};

struct ks_metadata_store {
    pthread_rwlock_t lock;
    size_t bytes, max_bytes;
    struct entry *buckets[BUCKETS];
};

const char *ks_metric_type_name(unsigned type)
{
    static const char *const names[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};
    return type < sizeof names / sizeof *names ? names[type] : "unknown";
}

ks_err ks_metadata_new(size_t max_bytes, struct ks_metadata_store **ret)
{
    struct ks_metadata_store *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    pthread_rwlock_init(&s->lock, NULL);
    s->max_bytes = max_bytes;
    *ret = s;
    return KS_OK;
}

void ks_metadata_free(struct ks_metadata_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->next;
            ks_free(e);
        }
    pthread_rwlock_destroy(&s->lock);
    ks_free(s);
}

static struct entry **find(struct ks_metadata_store *s, uint64_t hash, const struct ks_metadata *m)
{
    struct entry **pp = &s->buckets[hash % BUCKETS];
    while (*pp && !((*pp)->hash == hash && ks_tenant_eq((*pp)->m.tenant, m->tenant) &&
                    ks_slice_eq((*pp)->m.name, m->name)))
        pp = &(*pp)->next;
    return pp;
}

static bool same(const struct ks_metadata *a, const struct ks_metadata *b)
{
    return a->type == b->type && ks_slice_eq(a->help, b->help) && ks_slice_eq(a->unit, b->unit);
}

static struct ks_slice put_text(char **pp, struct ks_slice s)
{
    struct ks_slice out = ks_slice(*pp, s.len);
    if (s.len)
        memcpy(*pp, s.ptr, s.len);
    *pp += s.len;
    return out;
}

static struct entry *make(const struct ks_metadata *m, uint64_t hash)
{
    size_t bytes = sizeof(struct entry) + m->name.len + m->help.len + m->unit.len;
    struct entry *e = ks_zalloc(bytes);
    if (!e)
        return NULL;
    char *p = (char *)(e + 1);
    e->hash = hash;
    e->bytes = bytes;
    e->m = *m;
    e->m.name = put_text(&p, m->name);
    e->m.help = put_text(&p, m->help);
    e->m.unit = put_text(&p, m->unit);
    return e;
}

void ks_metadata_put(struct ks_metadata_store *s, const struct ks_metadata *m)
{
    if (!s || !m->name.len || m->name.len + m->help.len + m->unit.len > TEXT_MAX)
        return;
    uint64_t hash = ks_hash64_seed(m->name.ptr, m->name.len, ks_tenant_key(m->tenant));
    pthread_rwlock_rdlock(&s->lock);
    struct entry *known = *find(s, hash, m);
    bool done = known && same(&known->m, m);
    pthread_rwlock_unlock(&s->lock);
    if (done)
        return;
    struct entry *e = make(m, hash);
    if (!e)
        return;
    pthread_rwlock_wrlock(&s->lock);
    struct entry **pp = find(s, hash, m), *old = *pp;
    if (s->bytes - (old ? old->bytes : 0) + e->bytes <= s->max_bytes) {
        e->next = old ? old->next : NULL;
        s->bytes += e->bytes - (old ? old->bytes : 0);
        *pp = e;
        e = old;
    }
    pthread_rwlock_unlock(&s->lock);
    ks_free(e); /* the one that lost its place */
}

static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp((*(struct entry *const *)a)->m.name, (*(struct entry *const *)b)->m.name);
}

void ks_metadata_each(struct ks_metadata_store *s, struct ks_slice name, ks_metadata_fn fn,
                      void *arg)
{
    pthread_rwlock_rdlock(&s->lock);
    struct entry **list = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = s->buckets[i]; e; e = e->next) {
            if (name.len && !ks_slice_eq(e->m.name, name))
                continue;
            if (ks_array_reserve((void **)&list, &cap, n + 1, sizeof *list) == KS_OK)
                list[n++] = e;
        }
    if (n)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n && fn(arg, &list[i]->m); i++)
        ;
    ks_free(list);
    pthread_rwlock_unlock(&s->lock);
}

void ks_metadata_lookup(struct ks_metadata_store *s, struct ks_tenant tenant, struct ks_slice name,
                        ks_metadata_fn fn, void *arg)
{
    struct ks_metadata key = {.tenant = tenant, .name = name};
    uint64_t hash = ks_hash64_seed(name.ptr, name.len, ks_tenant_key(tenant));
    pthread_rwlock_rdlock(&s->lock);
    struct entry *e = *find(s, hash, &key);
    if (e)
        fn(arg, &e->m);
    pthread_rwlock_unlock(&s->lock);
}

void ks_metadata_size(struct ks_metadata_store *s, size_t *ret_bytes, size_t *ret_max)
{
    pthread_rwlock_rdlock(&s->lock);
    *ret_bytes = s->bytes;
    *ret_max = s->max_bytes;
    pthread_rwlock_unlock(&s->lock);
}
