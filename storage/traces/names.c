/* Services and operations of a tenant, counted by the generations that saw them. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

enum { BUCKETS_MIN = 16 };

void ksi_names_init(struct ksi_names *n)
{
    memset(n, 0, sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
}

static void service_free(struct ksi_service *s)
{
    for (size_t i = 0; s->buckets && i <= s->mask; i++)
        for (struct ksi_op *o = s->buckets[i], *next; o; o = next) {
            next = o->next;
            ks_free(o);
        }
    ks_free(s->buckets);
    ks_free(s);
}

void ksi_names_done(struct ksi_names *n)
{
    for (size_t i = 0; n->buckets && i <= n->mask; i++)
        for (struct ksi_service *s = n->buckets[i], *next; s; s = next) {
            next = s->next;
            service_free(s);
        }
    ks_free(n->buckets);
    pthread_mutex_destroy(&n->lock);
}

static bool services_grow(struct ksi_names *n)
{
    size_t size = n->buckets ? (n->mask + 1) * 2 : BUCKETS_MIN;
    struct ksi_service **b = ks_zalloc_array(size, sizeof(void *));
    if (!b)
        return n->buckets != NULL;
    for (size_t i = 0; n->buckets && i <= n->mask; i++)
        for (struct ksi_service *s = n->buckets[i], *next; s; s = next) {
            next = s->next;
            s->next = b[s->hash & (size - 1)];
            b[s->hash & (size - 1)] = s;
        }
    ks_free(n->buckets);
    n->buckets = b;
    n->mask = size - 1;
    return true;
}

static bool ops_grow(struct ksi_service *s)
{
    size_t size = s->buckets ? (s->mask + 1) * 2 : BUCKETS_MIN;
    struct ksi_op **b = ks_zalloc_array(size, sizeof(void *));
    if (!b)
        return s->buckets != NULL;
    for (size_t i = 0; s->buckets && i <= s->mask; i++)
        for (struct ksi_op *o = s->buckets[i], *next; o; o = next) {
            next = o->next;
            o->next = b[o->hash & (size - 1)];
            b[o->hash & (size - 1)] = o;
        }
    ks_free(s->buckets);
    s->buckets = b;
    s->mask = size - 1;
    return true;
}

static struct ksi_service *find_service(const struct ksi_names *n, struct ks_slice name,
                                        uint64_t hash)
{
    for (struct ksi_service *s = n->buckets ? n->buckets[hash & n->mask] : NULL; s; s = s->next)
        if (s->hash == hash && ks_slice_eq(ks_slice(s->name, s->len), name))
            return s;
    return NULL;
}

static struct ksi_service *add_service(struct ksi_names *n, struct ks_slice name, uint64_t hash)
{
    struct ksi_service *s = find_service(n, name, hash);
    if (s)
        return s;
    if ((!n->buckets || n->services > n->mask) && !services_grow(n))
        return NULL;
    s = ks_zalloc(sizeof *s + name.len);
    if (!s)
        return NULL;
    s->hash = hash;
    s->len = (uint32_t)name.len;
    memcpy(s->name, name.ptr, name.len);
    s->next = n->buckets[hash & n->mask];
    n->buckets[hash & n->mask] = s;
    n->services++;
    return s;
}

static void remove_service(struct ksi_names *n, struct ksi_service *s)
{
    struct ksi_service **at = &n->buckets[s->hash & n->mask];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    n->services--;
    service_free(s);
}

static struct ksi_op *add_op(struct ksi_names *n, struct ksi_service *s, struct ks_slice name,
                             uint64_t hash, uint32_t kind, size_t max)
{
    for (struct ksi_op *o = s->buckets ? s->buckets[hash & s->mask] : NULL; o; o = o->next)
        if (o->hash == hash && o->kind == kind && ks_slice_eq(ks_slice(o->name, o->len), name)) {
            o->refs++;
            return o;
        }
    if (n->ops >= max || ((!s->buckets || s->ops > s->mask) && !ops_grow(s)))
        return NULL;
    struct ksi_op *o = ks_zalloc(sizeof *o + name.len);
    if (!o)
        return NULL;
    o->service = s;
    o->hash = hash;
    o->refs = 1;
    o->kind = kind;
    o->len = (uint32_t)name.len;
    memcpy(o->name, name.ptr, name.len);
    o->next = s->buckets[hash & s->mask];
    s->buckets[hash & s->mask] = o;
    s->ops++;
    n->ops++;
    return o;
}

struct ksi_op *ksi_names_add(struct ksi_names *n, struct ks_slice service, uint64_t service_hash,
                             struct ks_slice name, uint64_t name_hash, uint32_t kind, size_t max)
{
    struct ksi_op *o = NULL;
    ksi_mutex_lock(&n->lock);
    struct ksi_service *s = add_service(n, service, service_hash);
    if (s)
        o = add_op(n, s, name, name_hash + kind, kind, max);
    if (s && !s->ops)
        remove_service(n, s);
    pthread_mutex_unlock(&n->lock);
    return o;
}

void ksi_names_drop(struct ksi_names *n, struct ksi_op *op)
{
    pthread_mutex_lock(&n->lock);
    if (--op->refs == 0) {
        struct ksi_service *s = op->service;
        struct ksi_op **at = &s->buckets[op->hash & s->mask];
        while (*at != op)
            at = &(*at)->next;
        *at = op->next;
        ks_free(op);
        n->ops--;
        if (--s->ops == 0)
            remove_service(n, s);
    }
    pthread_mutex_unlock(&n->lock);
}

/* --- reading --- */
static int by_text(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

static int by_op(const void *a, const void *b)
{
    const struct ks_operation *x = a, *y = b;
    int c = ks_slice_cmp(x->name, y->name);
    return c ? c : (x->kind > y->kind) - (x->kind < y->kind);
}

static struct ksi_tenant *tenant_ref(struct ks_traces *t, struct ks_tenant id)
{
    pthread_mutex_lock(&t->lock);
    struct ksi_tenant *tn = ksi_tenant_find(t, id);
    if (tn)
        atomic_fetch_add(&tn->refs, 1);
    pthread_mutex_unlock(&t->lock);
    return tn;
}

static ks_err list_services(struct ksi_names *n, struct ks_arena *arena, struct ks_slice **ret,
                            size_t *ret_count)
{
    struct ks_slice *out = ks_arena_array(arena, n->services + 1, sizeof *out);
    size_t count = 0;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; n->buckets && i <= n->mask; i++)
        for (struct ksi_service *s = n->buckets[i]; s; s = s->next) {
            out[count] = ks_arena_dup(arena, ks_slice(s->name, s->len));
            if (!out[count++].ptr)
                return ks_arena_err(arena);
        }
    *ret = out;
    *ret_count = count;
    return KS_OK;
}

ks_err ks_traces_services(struct ks_traces *t, struct ks_tenant tenant, struct ks_arena *arena,
                          struct ks_slice **ret, size_t *ret_count)
{
    struct ksi_tenant *tn = tenant_ref(t, tenant);
    *ret = NULL;
    *ret_count = 0;
    if (!tn)
        return KS_OK;
    pthread_mutex_lock(&tn->names.lock);
    ks_err err = list_services(&tn->names, arena, ret, ret_count);
    pthread_mutex_unlock(&tn->names.lock);
    ksi_tenant_unref(tn);
    if (err == KS_OK)
        qsort(*ret, *ret_count, sizeof **ret, by_text);
    return err;
}

static ks_err list_ops(struct ksi_service *s, struct ks_arena *arena, struct ks_operation **ret,
                       size_t *ret_count)
{
    struct ks_operation *out = ks_arena_array(arena, s->ops + 1, sizeof *out);
    size_t count = 0;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; s->buckets && i <= s->mask; i++)
        for (struct ksi_op *o = s->buckets[i]; o; o = o->next) {
            out[count].kind = o->kind;
            out[count].name = ks_arena_dup(arena, ks_slice(o->name, o->len));
            if (!out[count++].name.ptr)
                return ks_arena_err(arena);
        }
    *ret = out;
    *ret_count = count;
    return KS_OK;
}

ks_err ks_traces_operations(struct ks_traces *t, struct ks_tenant tenant, struct ks_slice service,
                            struct ks_arena *arena, struct ks_operation **ret, size_t *ret_count)
{
    struct ksi_tenant *tn = tenant_ref(t, tenant);
    ks_err err = KS_OK;
    *ret = NULL;
    *ret_count = 0;
    if (!tn)
        return KS_OK;
    pthread_mutex_lock(&tn->names.lock);
    struct ksi_service *s = find_service(&tn->names, service, ksi_text_hash(service));
    if (s)
        err = list_ops(s, arena, ret, ret_count);
    pthread_mutex_unlock(&tn->names.lock);
    ksi_tenant_unref(tn);
    if (err == KS_OK && *ret_count)
        qsort(*ret, *ret_count, sizeof **ret, by_op);
    return err;
}
