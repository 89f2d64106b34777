/* Files and folders of the simulated disk. The disk's lock is held by the caller. */
#include <string.h>

#include "base/mem.h"
#include "sys/simdisk_priv.h"

struct ksi_sim_page ksi_sim_zero;

struct ksi_sim_page *ksi_sim_page_ref(struct ksi_sim_page *p)
{
    if (p && p != &ksi_sim_zero)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void ksi_sim_page_unref(struct ksi_sim_page *p)
{
    if (p && p != &ksi_sim_zero &&
        atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        ks_free(p);
}

struct ksi_sim_node *ksi_sim_node_new(struct ks_simdisk *d, bool is_dir)
{
    struct ksi_sim_node *n = ks_zalloc(sizeof *n);
    if (n) {
        n->disk = d;
        n->is_dir = is_dir;
    }
    return n;
}

void ksi_sim_node_ref(struct ksi_sim_node *n)
{
    n->refs++;
}

void ksi_sim_node_unref(struct ksi_sim_node *n)
{
    if (!n || --n->refs > 0)
        return;
    for (size_t i = 0; i < n->pages; i++) {
        ksi_sim_node_set(n, i, NULL);
        ksi_sim_page_unref(n->durable[i]);
    }
    ksi_sim_dir_done(&n->now);
    ksi_sim_dir_done(&n->kept);
    ks_free(n->cur);
    ks_free(n->durable);
    ks_free(n->is_dirty);
    ks_free(n->dirty);
    ks_free(n);
}

ks_err ksi_sim_node_grow(struct ksi_sim_node *n, uint64_t size)
{
    size_t need = (size_t)((size + KSI_SIM_PAGE - 1) / KSI_SIM_PAGE), old = n->pages;
    if (need <= old)
        return KS_OK;
    size_t cap = need > 2 * old ? need : 2 * old;
    void *cur = ks_realloc(n->cur, cap * sizeof *n->cur);
    if (!cur)
        return KS_ENOMEM;
    n->cur = cur;
    void *durable = ks_realloc(n->durable, cap * sizeof *n->durable);
    if (!durable)
        return KS_ENOMEM;
    n->durable = durable;
    void *dirty = ks_realloc(n->is_dirty, cap);
    if (!dirty)
        return KS_ENOMEM;
    n->is_dirty = dirty;
    memset(n->cur + old, 0, (cap - old) * sizeof *n->cur);
    memset(n->durable + old, 0, (cap - old) * sizeof *n->durable);
    memset(n->is_dirty + old, 0, cap - old);
    n->pages = cap;
    return KS_OK;
}

void ksi_sim_node_set(struct ksi_sim_node *n, size_t page, struct ksi_sim_page *p)
{
    n->disk->used_pages += (p != NULL) - (n->cur[page] != NULL);
    ksi_sim_page_unref(n->cur[page]);
    n->cur[page] = p;
}

ks_err ksi_sim_node_mark(struct ksi_sim_node *n, size_t page)
{
    if (n->is_dirty[page])
        return KS_OK;
    KS_TRY(
        ks_array_reserve((void **)&n->dirty, &n->dirty_cap, n->dirty_count + 1, sizeof *n->dirty));
    n->dirty[n->dirty_count++] = (uint32_t)page;
    n->is_dirty[page] = 1;
    return KS_OK;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Writes within one page. */
static ks_err write_page(struct ksi_sim_node *n, size_t page, size_t at, const uint8_t *buf,
                         size_t len)
{
    struct ks_simdisk *d = n->disk;
    struct ksi_sim_page *old = n->cur[page], *p = old;
    if (!old && d->limit_pages && d->used_pages >= d->limit_pages)
        return ks_fail(KS_ENOSPC, "the simulated disk is full");
    KS_TRY(ksi_sim_node_mark(n, page));
    if (len == KSI_SIM_PAGE && all_zero(buf, len)) {
        ksi_sim_node_set(n, page, &ksi_sim_zero);
        return KS_OK;
    }
    if (!old || old == &ksi_sim_zero ||
        atomic_load_explicit(&old->refs, memory_order_acquire) > 1) {
        p = ks_alloc(sizeof *p);
        if (!p)
            return KS_ENOMEM;
        atomic_init(&p->refs, 1);
        if (len < KSI_SIM_PAGE)
            memcpy(p->bytes, old ? old->bytes : ksi_sim_zero.bytes, KSI_SIM_PAGE);
        ksi_sim_node_set(n, page, p);
    }
    memcpy(p->bytes + at, buf, len);
    return KS_OK;
}

ks_err ksi_sim_node_write(struct ksi_sim_node *n, uint64_t off, const void *buf, size_t len)
{
    KS_TRY(ksi_sim_node_grow(n, off + len));
    n->last_off = off;
    n->last_len = len;
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)((off + done) % KSI_SIM_PAGE), room = KSI_SIM_PAGE - at;
        size_t part = len - done < room ? len - done : room;
        KS_TRY(write_page(n, (size_t)((off + done) / KSI_SIM_PAGE), at, (const uint8_t *)buf + done,
                          part));
        done += part;
        if (off + done > n->size)
            n->size = off + done;
    }
    return KS_OK;
}

void ksi_sim_node_read(const struct ksi_sim_node *n, uint64_t off, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)((off + done) % KSI_SIM_PAGE), room = KSI_SIM_PAGE - at;
        size_t part = len - done < room ? len - done : room,
               page = (size_t)((off + done) / KSI_SIM_PAGE);
        const struct ksi_sim_page *p =
            page < n->pages && n->cur[page] ? n->cur[page] : &ksi_sim_zero;
        memcpy((uint8_t *)buf + done, p->bytes + at, part);
        done += part;
    }
}

ks_err ksi_sim_node_truncate(struct ksi_sim_node *n, uint64_t size)
{
    KS_TRY(ksi_sim_node_grow(n, size));
    if (size < n->size) {
        size_t first = (size_t)((size + KSI_SIM_PAGE - 1) / KSI_SIM_PAGE),
               tail = (size_t)(size % KSI_SIM_PAGE);
        if (tail && n->cur[first - 1])
            KS_TRY(write_page(n, first - 1, tail, ksi_sim_zero.bytes, KSI_SIM_PAGE - tail));
        for (size_t i = first; i < n->pages; i++) {
            if (n->cur[i])
                KS_TRY(ksi_sim_node_mark(n, i));
            ksi_sim_node_set(n, i, NULL);
        }
    }
    n->size = size;
    return KS_OK;
}

void ksi_sim_node_sync(struct ksi_sim_node *n)
{
    for (size_t k = 0; k < n->dirty_count; k++) {
        size_t i = n->dirty[k];
        if (n->durable[i] != n->cur[i]) {
            ksi_sim_page_unref(n->durable[i]);
            n->durable[i] = ksi_sim_page_ref(n->cur[i]);
        }
    }
    n->durable_size = n->size;
    ksi_sim_node_forget(n);
}

void ksi_sim_node_forget(struct ksi_sim_node *n)
{
    for (size_t k = 0; k < n->dirty_count; k++)
        n->is_dirty[n->dirty[k]] = 0;
    n->dirty_count = 0;
    n->last_len = 0;
}

static struct ksi_sim_entry *find_entry(const struct ksi_sim_dir *dir, const char *name, size_t len)
{
    for (size_t i = 0; i < dir->count; i++)
        if (strncmp(dir->items[i].name, name, len) == 0 && dir->items[i].name[len] == 0)
            return &dir->items[i];
    return NULL;
}

struct ksi_sim_node *ksi_sim_dir_find(const struct ksi_sim_dir *dir, const char *name, size_t len)
{
    struct ksi_sim_entry *e = find_entry(dir, name, len);
    return e ? e->node : NULL;
}

ks_err ksi_sim_dir_put(struct ksi_sim_dir *dir, const char *name, struct ksi_sim_node *node)
{
    struct ksi_sim_entry *e = find_entry(dir, name, strlen(name));
    if (!e) {
        KS_TRY(
            ks_array_reserve((void **)&dir->items, &dir->cap, dir->count + 1, sizeof *dir->items));
        char *copy = ks_strdup(name);
        if (!copy)
            return KS_ENOMEM;
        e = &dir->items[dir->count++];
        *e = (struct ksi_sim_entry){copy, NULL};
    }
    ksi_sim_node_ref(node);
    ksi_sim_node_unref(e->node);
    e->node = node;
    return KS_OK;
}

void ksi_sim_dir_drop(struct ksi_sim_dir *dir, const char *name)
{
    struct ksi_sim_entry *e = find_entry(dir, name, strlen(name));
    if (!e)
        return;
    struct ksi_sim_entry gone = *e;
    *e = dir->items[--dir->count];
    ks_free(gone.name);
    ksi_sim_node_unref(gone.node);
}

void ksi_sim_dir_done(struct ksi_sim_dir *dir)
{
    for (size_t i = 0; i < dir->count; i++) {
        ks_free(dir->items[i].name);
        ksi_sim_node_unref(dir->items[i].node);
    }
    ks_free(dir->items);
    *dir = (struct ksi_sim_dir){0};
}

ks_err ksi_sim_walk(struct ks_simdisk *d, const char *path, struct ksi_sim_node **ret_dir,
                    char *ret_name, struct ksi_sim_node **ret_node)
{
    struct ksi_sim_node *dir = d->root, *node = d->root;
    ret_name[0] = 0;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n && !(n == 1 && *p == '.')) {
            if (!node)
                return ks_fail(KS_ENOTFOUND, "cannot find %s: no such folder", path);
            if (!node->is_dir || n > 255)
                return ks_fail(KS_EIO, "cannot walk %s: not a folder", path);
            dir = node;
            memcpy(ret_name, p, n);
            ret_name[n] = 0;
            node = ksi_sim_dir_find(&dir->now, p, n);
        }
        p += n;
        p += strspn(p, "/");
    }
    *ret_dir = dir;
    *ret_node = node;
    return KS_OK;
}
