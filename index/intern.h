/*
 * Label names and label pairs of the live index, each stored once and known by a dense u32. A pair
 * owns its value's text (from size classes of a slab, so texts of gone pairs are used again) and
 * its postings; a name owns the list of its pairs. One writer.
 */
#ifndef KS_INDEX_INTERN_H
#define KS_INDEX_INTERN_H

#include "base/slice.h"
#include "index/postings.h"

struct ksi_pair {
    char *value;
    uint32_t value_len, name, hash;
    uint32_t name_slot; /* where the name lists it */
    struct ksi_postings rows;
    uint32_t pending; /* sids the batch under way will add */
    uint32_t next_free;
};

struct ksi_name {
    char *text;
    uint32_t len, hash;
    struct ksi_postings rows;
    uint32_t *pairs;
    size_t pair_count, pair_cap;
    uint32_t pending;
    bool used;
    /* Stamps: when a pair was last dropped (or the name made), when its pairs' postings changed. */
    uint64_t dropped, changed;
};

struct ksi_table { /* open addressing over ids; KSI_NO_ID is empty */
    uint32_t *slots;
    size_t mask, count;
};

enum { KSI_SEGMENT = 4096, KSI_SLAB_CLASSES = 32 };
#define KSI_NO_ID UINT32_MAX

struct ksi_intern {
    struct ksi_pair **segments; /* of KSI_SEGMENT: pairs never move */
    size_t segment_count, segment_cap;
    uint32_t pair_end, pair_live, free_pair;
    struct ksi_table pair_table;
    struct ksi_name *names;
    size_t name_count, name_cap, name_live;
    struct ksi_table name_table;
    void *slab_free[KSI_SLAB_CLASSES]; /* class k: texts of 8 (k+1) bytes */
    void *slab_chunks;
    char *slab_pos, *slab_end;
    size_t bytes;   /* all heap but postings */
    uint64_t stamp; /* the last given */
};

static inline struct ksi_pair *ksi_pair(const struct ksi_intern *x, uint32_t id)
{
    return &x->segments[id / KSI_SEGMENT][id % KSI_SEGMENT];
}
static inline struct ks_slice ksi_pair_value(const struct ksi_pair *p)
{
    return ks_slice(p->value, p->value_len);
}
static inline struct ks_slice ksi_name_text(const struct ksi_name *n)
{
    return ks_slice(n->text, n->len);
}

/* The postings of a pair of the name have changed. */
static inline void ksi_intern_touch(struct ksi_intern *x, uint32_t name)
{
    x->names[name].changed = ++x->stamp;
}

void ksi_intern_init(struct ksi_intern *x);
void ksi_intern_done(struct ksi_intern *x);
/* The ids, made when new. A failure leaves nothing behind: a pair that cannot be made takes its
 * name without pairs along. KS_ELIMIT past 2^30 ids. */
KS_NODISCARD ks_err ksi_intern_name(struct ksi_intern *x, struct ks_slice name, uint32_t *ret_name);
KS_NODISCARD ks_err ksi_intern_pair(struct ksi_intern *x, uint32_t name, struct ks_slice value,
                                    uint32_t *ret_pair);
uint32_t ksi_find_name(const struct ksi_intern *x, struct ks_slice name); /* KSI_NO_ID */
uint32_t ksi_find_pair(const struct ksi_intern *x, uint32_t name, struct ks_slice value);
/* Forgets a pair without series, and its name when that was the last pair. */
void ksi_intern_drop(struct ksi_intern *x, uint32_t pair);

#endif
