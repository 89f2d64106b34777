/* The simulated disk's insides: simnode.c (pages, files, folders), simdisk.c (the vfs), simcrash.c
 * (power loss, damage). */
#ifndef KS_SYS_SIMDISK_PRIV_H
#define KS_SYS_SIMDISK_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "sys/simdisk.h"

enum { KSI_SIM_PAGE = 4096, KSI_SIM_SECTOR = 512, KSI_SIM_KINDS = 9 };

/* Shared between disks, copied on write. NULL stands for a hole; ksi_sim_zero for a block of zeros
 * really written. */
struct ksi_sim_page {
    _Atomic uint32_t refs;
    uint8_t bytes[KSI_SIM_PAGE];
};
extern struct ksi_sim_page ksi_sim_zero;

struct ksi_sim_entry {
    char *name;
    struct ksi_sim_node *node;
};
struct ksi_sim_dir {
    struct ksi_sim_entry *items;
    size_t count, cap;
};

/* A file or folder. refs: entries (both states), pending operations and handles. */
struct ksi_sim_node {
    struct ks_simdisk *disk;
    uint32_t refs;
    bool is_dir, locked;
    /* file */
    uint64_t size, durable_size;
    struct ksi_sim_page **cur, **durable; /* pages entries each */
    uint8_t *is_dirty;                    /* per page: written since the last sync */
    size_t pages;
    uint32_t *dirty;
    size_t dirty_count, dirty_cap;
    uint64_t last_off, last_len; /* the last unsynced write, which may be torn */
    /* folder */
    struct ksi_sim_dir now, kept;
    struct ksi_sim_node *twin; /* in the crash state under construction */
};

enum ksi_sim_dop_kind { KSI_SIM_ADD, KSI_SIM_DEL, KSI_SIM_MOVE };
/* A folder operation not yet durable. ADD, DEL use dir and name; MOVE goes to dir2, name2. */
struct ksi_sim_dop {
    enum ksi_sim_dop_kind kind;
    struct ksi_sim_node *dir, *dir2, *node;
    char *name, *name2;
};

struct ks_simdisk {
    struct ks_vfs base;
    pthread_mutex_t lock;
    struct ksi_sim_node *root;
    struct ksi_sim_dop *log;
    size_t log_count, log_cap;
    uint64_t calls[KSI_SIM_KINDS], changes, stop_at;
    bool stopped, refuse_direct, fault_sticky, fault_hit;
    unsigned fault_mask;
    uint64_t fault_in;
    ks_err fault_err;
    uint64_t limit_pages, used_pages;
    size_t handles;
};

struct ksi_sim_node *ksi_sim_node_new(struct ks_simdisk *d, bool is_dir); /* refs 0 */
void ksi_sim_node_ref(struct ksi_sim_node *n);
void ksi_sim_node_unref(struct ksi_sim_node *n); /* frees it at 0 */

/* Pages. set takes over the caller's reference. */
struct ksi_sim_page *ksi_sim_page_ref(struct ksi_sim_page *p);
void ksi_sim_page_unref(struct ksi_sim_page *p);
KS_NODISCARD ks_err ksi_sim_node_grow(struct ksi_sim_node *n, uint64_t size); /* the page arrays */
void ksi_sim_node_set(struct ksi_sim_node *n, size_t page, struct ksi_sim_page *p);
KS_NODISCARD ks_err ksi_sim_node_mark(struct ksi_sim_node *n, size_t page);
KS_NODISCARD ks_err ksi_sim_node_write(struct ksi_sim_node *n, uint64_t off, const void *buf,
                                       size_t len);
void ksi_sim_node_read(const struct ksi_sim_node *n, uint64_t off, void *buf, size_t len);
KS_NODISCARD ks_err ksi_sim_node_truncate(struct ksi_sim_node *n, uint64_t size);
void ksi_sim_node_sync(struct ksi_sim_node *n);
void ksi_sim_node_forget(
    struct ksi_sim_node *n); /* a failed sync: dirty blocks will never be written */

/* Folders. find: NULL when absent. put replaces; drop is fine when absent. */
struct ksi_sim_node *ksi_sim_dir_find(const struct ksi_sim_dir *dir, const char *name, size_t len);
KS_NODISCARD ks_err ksi_sim_dir_put(struct ksi_sim_dir *dir, const char *name,
                                    struct ksi_sim_node *node);
void ksi_sim_dir_drop(struct ksi_sim_dir *dir, const char *name);
void ksi_sim_dir_done(struct ksi_sim_dir *dir);

/* Finds what path names; *ret_dir and ret_name (256 bytes) are its folder and last part; *ret_node
 * NULL when absent. */
KS_NODISCARD ks_err ksi_sim_walk(struct ks_simdisk *d, const char *path,
                                 struct ksi_sim_node **ret_dir, char *ret_name,
                                 struct ksi_sim_node **ret_node);

#endif
