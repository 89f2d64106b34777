/* Power loss on the simulated disk, and damage to the medium. */
#include <string.h>

#include "base/mem.h"
#include "sys/rand.h"
#include "sys/simdisk_priv.h"

struct crash {
    struct ks_simdisk *out;
    uint64_t rng;
    unsigned keep_of_8; /* how many unsynced blocks of 8 survive, about */
};

static bool keeps(struct crash *c)
{
    return ks_rng_below(&c->rng, 8) < c->keep_of_8;
}

/* A block whose sectors are each of the old or the new content. */
static struct ksi_sim_page *torn(struct crash *c, const struct ksi_sim_page *old,
                                 const struct ksi_sim_page *now)
{
    struct ksi_sim_page *p = ks_alloc(sizeof *p);
    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    for (size_t at = 0; at < KSI_SIM_PAGE; at += KSI_SIM_SECTOR) {
        const struct ksi_sim_page *from = ks_rng_next(&c->rng) & 1 ? old : now;
        memcpy(p->bytes + at, from ? from->bytes + at : ksi_sim_zero.bytes + at, KSI_SIM_SECTOR);
    }
    return p;
}

static ks_err crash_page(struct crash *c, struct ksi_sim_node *n, size_t i,
                         struct ksi_sim_page **ret)
{
    uint64_t start = (uint64_t)i * KSI_SIM_PAGE;
    bool last =
        n->last_len && start < n->last_off + n->last_len && start + KSI_SIM_PAGE > n->last_off;
    *ret = NULL;
    if (!n->is_dirty[i]) {
        *ret = ksi_sim_page_ref(n->durable[i]);
    } else if (last && ks_rng_below(&c->rng, 4) == 0) {
        if (!(*ret = torn(c, n->durable[i], n->cur[i])))
            return KS_ENOMEM;
    } else {
        *ret = ksi_sim_page_ref(keeps(c) ? n->cur[i] : n->durable[i]);
    }
    return KS_OK;
}

static uint64_t crash_size(struct crash *c, const struct ksi_sim_node *n)
{
    uint64_t a = n->durable_size, b = n->size;
    if (a == b || !keeps(c))
        return a;
    if (b < a || ks_rng_below(&c->rng, 2))
        return b;
    return a + ks_rng_below(&c->rng, b - a + 1);
}

static ks_err crash_file(struct crash *c, struct ksi_sim_node *n, struct ksi_sim_node *twin)
{
    uint64_t size = crash_size(c, n);
    KS_TRY(ksi_sim_node_grow(twin, size));
    size_t pages = (size_t)((size + KSI_SIM_PAGE - 1) / KSI_SIM_PAGE);
    for (size_t i = 0; i < pages; i++) {
        struct ksi_sim_page *p;
        KS_TRY(crash_page(c, n, i, &p));
        ksi_sim_node_set(twin, i, p);
        twin->durable[i] = ksi_sim_page_ref(p);
    }
    twin->size = size;
    /* What lay behind the end in its last block is not part of the file. */
    if (size % KSI_SIM_PAGE && twin->cur[pages - 1]) {
        twin->size = (uint64_t)pages * KSI_SIM_PAGE;
        KS_TRY(ksi_sim_node_truncate(twin, size));
    }
    ksi_sim_node_sync(twin);
    return KS_OK;
}

/* The node that stands for n after the crash, made on first use with what is durable of it. Depth
 * is the folders'. */
static ks_err twin_of(struct crash *c, struct ksi_sim_node *n, struct ksi_sim_node **ret)
{
    if (!n->twin) {
        struct ksi_sim_node *t = ksi_sim_node_new(c->out, n->is_dir);
        if (!t)
            return KS_ENOMEM;
        ksi_sim_node_ref(t); /* until the end of the crash */
        ksi_sim_node_ref(n);
        n->twin = t;
        if (!n->is_dir)
            KS_TRY(crash_file(c, n, t));
        for (size_t i = 0; i < n->kept.count; i++) {
            struct ksi_sim_node *child;
            KS_TRY(twin_of(c, n->kept.items[i].node, &child));
            KS_TRY(ksi_sim_dir_put(&t->now, n->kept.items[i].name, child));
        }
    }
    *ret = n->twin;
    return KS_OK;
}

/* Redoes one pending operation on the twins. */
static ks_err redo(struct crash *c, const struct ksi_sim_dop *o)
{
    struct ksi_sim_node *dir, *dir2 = NULL, *node;
    KS_TRY(twin_of(c, o->dir, &dir));
    KS_TRY(twin_of(c, o->node, &node));
    if (o->dir2)
        KS_TRY(twin_of(c, o->dir2, &dir2));
    if (o->kind != KSI_SIM_ADD)
        ksi_sim_dir_drop(&dir->now, o->name);
    if (o->kind == KSI_SIM_DEL)
        return KS_OK;
    return o->kind == KSI_SIM_ADD ? ksi_sim_dir_put(&dir->now, o->name, node)
                                  : ksi_sim_dir_put(&dir2->now, o->name2, node);
}

/* What survived is durable. */
static ks_err settle(struct ksi_sim_node *dir)
{
    for (size_t i = 0; i < dir->now.count; i++) {
        KS_TRY(ksi_sim_dir_put(&dir->kept, dir->now.items[i].name, dir->now.items[i].node));
        if (dir->now.items[i].node->is_dir)
            KS_TRY(settle(dir->now.items[i].node));
    }
    return KS_OK;
}

/* Cuts the ties between the nodes of a disk and their twins; both sides of a tie hold a reference.
 */
static void untie(struct ksi_sim_node *n)
{
    struct ksi_sim_node *t = n->twin;
    if (!t)
        return;
    n->twin = NULL;
    for (size_t i = 0; i < n->kept.count; i++)
        untie(n->kept.items[i].node);
    ksi_sim_node_unref(t);
    ksi_sim_node_unref(n);
}

static size_t surviving_prefix(struct crash *c, size_t count)
{
    if (count == 0)
        return 0;
    uint64_t r = ks_rng_below(&c->rng, 4);
    return r == 0 ? 0 : r == 1 ? count : (size_t)ks_rng_below(&c->rng, count + 1);
}

static ks_err crash(struct crash *c, struct ks_simdisk *d)
{
    struct ksi_sim_node *root;
    KS_TRY(twin_of(c, d->root, &root));
    size_t n = surviving_prefix(c, d->log_count);
    for (size_t i = 0; i < n; i++)
        KS_TRY(redo(c, &d->log[i]));
    ksi_sim_node_unref(c->out->root);
    c->out->root = root;
    ksi_sim_node_ref(root);
    return settle(root);
}

ks_err ks_simdisk_crash(struct ks_simdisk *d, uint64_t seed, struct ks_simdisk **ret)
{
    struct crash c = {.rng = seed};
    KS_TRY(ks_simdisk_new(&c.out));
    c.keep_of_8 = (unsigned)ks_rng_below(&c.rng, 5) * 2;
    pthread_mutex_lock(&d->lock);
    c.out->refuse_direct = d->refuse_direct;
    c.out->limit_pages = d->limit_pages;
    ks_err err = crash(&c, d);
    untie(d->root);
    for (size_t i = 0; i < d->log_count; i++) {
        untie(d->log[i].dir);
        untie(d->log[i].node);
        if (d->log[i].dir2)
            untie(d->log[i].dir2);
    }
    pthread_mutex_unlock(&d->lock);
    if (err != KS_OK) {
        ks_simdisk_free(c.out);
        return err;
    }
    *ret = c.out;
    return KS_OK;
}

static ks_err find_file(struct ks_simdisk *d, const char *path, struct ksi_sim_node **ret)
{
    struct ksi_sim_node *dir, *node;
    char name[256];
    KS_TRY(ksi_sim_walk(d, path, &dir, name, &node));
    if (!node || node->is_dir)
        return ks_fail(KS_ENOTFOUND, "no file %s", path);
    *ret = node;
    return KS_OK;
}

/* The medium changes under the file: everything before is taken as durable first. */
static ks_err poke(struct ks_simdisk *d, const char *path, uint64_t off, const uint8_t *bytes,
                   size_t len, bool xor)
{
    struct ksi_sim_node *n;
    KS_TRY(find_file(d, path, &n));
    if (off > n->size || len > n->size - off)
        return ks_fail(KS_EINVAL, "%s has %llu bytes only", path, (unsigned long long)n->size);
    ksi_sim_node_sync(n);
    for (size_t i = 0; i < len; i++) {
        uint8_t b = 0;
        if (xor)
            ksi_sim_node_read(n, off + i, &b, 1);
        b ^= bytes[i];
        KS_TRY(ksi_sim_node_write(n, off + i, &b, 1));
    }
    ksi_sim_node_sync(n);
    return KS_OK;
}

ks_err ks_simdisk_poke(struct ks_simdisk *d, const char *path, uint64_t off, const void *bytes,
                       size_t len)
{
    pthread_mutex_lock(&d->lock);
    ks_err err = poke(d, path, off, bytes, len, false);
    pthread_mutex_unlock(&d->lock);
    return err;
}

ks_err ks_simdisk_flip(struct ks_simdisk *d, const char *path, uint64_t bit)
{
    uint8_t mask = (uint8_t)(1 << bit % 8);
    pthread_mutex_lock(&d->lock);
    ks_err err = poke(d, path, bit / 8, &mask, 1, true);
    pthread_mutex_unlock(&d->lock);
    return err;
}

ks_err ks_simdisk_cut(struct ks_simdisk *d, const char *path, uint64_t size)
{
    struct ksi_sim_node *n;
    pthread_mutex_lock(&d->lock);
    ks_err err = find_file(d, path, &n);
    if (err == KS_OK && size < n->size)
        err = ksi_sim_node_truncate(n, size);
    if (err == KS_OK)
        ksi_sim_node_sync(n);
    pthread_mutex_unlock(&d->lock);
    return err;
}
