/* The store's insides: ring.c (writing), ring_evict.c, ring_index.c, ring_load.c (replay,
 * snapshots), ring_read.c, search.c, names.c, edges.c. */
#ifndef KS_STORAGE_TRACES_RING_PRIV_H
#define KS_STORAGE_TRACES_RING_PRIV_H

#include "storage/traces/gen_priv.h"
#include "storage/traces/ring.h"

/* --- names of services and operations of a tenant: names.c --- */
struct ksi_service;
struct ksi_op {
    struct ksi_service *service;
    struct ksi_op *next; /* in the service's bucket */
    uint64_t hash;
    uint32_t refs; /* generations that saw it */
    uint32_t kind, len;
    char name[];
};
struct ksi_service {
    struct ksi_service *next; /* in the bucket */
    uint64_t hash;
    struct ksi_op **buckets;
    size_t mask, ops;
    uint32_t len;
    char name[];
};
struct ksi_names {
    pthread_mutex_t lock;
    struct ksi_service **buckets;
    size_t mask, services, ops;
};
void ksi_names_init(struct ksi_names *n);
void ksi_names_done(struct ksi_names *n);
/* One more generation has seen the operation; NULL: over max or no memory. */
struct ksi_op *ksi_names_add(struct ksi_names *n, struct ks_slice service, uint64_t service_hash,
                             struct ks_slice name, uint64_t name_hash, uint32_t kind, size_t max);
/* Counts the operation for the generation, if it is new there. False: over max. */
struct ksi_op_key {
    struct ks_slice service;
    uint64_t service_hash;
    struct ks_slice name;
    uint64_t name_hash;
    uint32_t kind;
};
bool ksi_note_op(struct ksi_tenant *tn, struct ksi_gen *g, const struct ksi_op_key *k, size_t max);
void ksi_names_drop(struct ksi_names *n, struct ksi_op *op);

/* --- rings --- */
/* Of ids: seq & 0x7fffffff | 0x80000000; 0 empty. See ring_index.c. */
struct ksi_index {
    uint32_t *slots, *old; /* old: NULL, or the smaller one that entries move from */
    size_t mask, old_mask;
    size_t old_at; /* the first place not yet taken over */
    size_t count;
};
struct ksi_ring {
    struct ksi_gen **gens; /* oldest first */
    size_t gen_count, gen_cap;
    uint64_t first_seq, next_seq; /* live traces: [first, next) */
    struct ksi_index index;
    uint32_t max_traces;
    size_t slot_max;
};

/* Ids evicted lately: bloom filters taking turns. */
struct ksi_evicted {
    uint64_t *bits[3]; /* filled, asked, and the next one, which is being cleared */
    uint32_t mask, count, max, cleared;
};

struct ksi_tenant {
    _Atomic uint32_t refs;
    struct ks_tenant id;
    struct ksi_ring rings[2]; /* main, kept */
    struct ksi_names names;
    struct ksi_evicted evicted;
    struct ksi_move *move; /* the writer's: the oldest trace is on its way to the second ring */
    uint64_t bytes;        /* of its generations: the writer's */
};

/* Where a batch's trace is. */
struct ksi_place {
    struct ksi_gen *gen; /* NULL: nowhere, its spans are dropped */
    uint32_t slot;
    bool done, late;
    bool hidden;          /* work is the caller's, and nobody sees it yet */
    struct ksi_slot work; /* the slot as it will be once the batch is stored */
};

/*
 * writer: taken by whoever changes anything, for all of a write. lock: what readers walk (tenants,
 * lists of generations, indices); the writer takes it for the moments in which it changes that, and
 * reads without it. Order: writer, lock, a generation's lock, names. Loading and replay hold both
 * all the while (exclusive).
 */
struct ks_traces {
    struct ks_traces_opts opts;
    pthread_mutex_t writer, lock;
    bool exclusive;    /* the writer's: it has the lock already */
    size_t moves_left; /* the writer's: spans this write may still copy to second rings */
    struct ksi_tenant **tenants;
    size_t tenant_count, tenant_cap;
    struct ksi_table tenant_table;
    uint64_t seed;
    struct ksi_pool *pool;
    _Atomic uint64_t bytes; /* of all generations */
    uint64_t lsn;
    struct ksi_mapping mapping, kept_mapping;
    struct ksi_place places[KS_BATCH_SPANS_MAX];
    struct ksi_place *many_places; /* a log record of more traces than that */
    size_t many_cap;
    struct ks_batch kept_batch;
    struct ks_arena kept_arena;
    struct ks_traces_stats stats;
    uint64_t names_refused;           /* the writer's */
    uint64_t settled_spans;           /* spans_total when all edges were made last */
    struct ksi_gen *dead, *dead_tail; /* dropped, not yet freed */
};

enum { KSI_MAIN, KSI_KEPT };
#define KSI_SEQ_KEPT UINT64_MAX /* in the log: the trace is in the second ring */

struct ksi_tenant *ksi_tenant_find(struct ks_traces *t, struct ks_tenant id);
KS_NODISCARD ks_err ksi_tenant_get(struct ks_traces *t, struct ks_tenant id,
                                   struct ksi_tenant **ret);
void ksi_tenant_unref(struct ksi_tenant *tn);
/* A live trace's number, 0 when it is not there. */
uint64_t ksi_ring_find(const struct ks_traces *t, const struct ksi_ring *r, struct ks_trace_id id);
/* The generation and slot of a live number. */
struct ksi_gen *ksi_ring_gen(const struct ksi_ring *r, uint64_t seq, uint32_t *ret_slot);
KS_NODISCARD ks_err ksi_ring_add(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                                 struct ks_trace_id id, uint64_t start_ns, uint64_t *ret_seq);
KS_NODISCARD ks_err ksi_ring_index(struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id,
                                   uint64_t seq);
void ksi_ring_evict_to(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                       uint64_t seq);
KS_NODISCARD ks_err ksi_ring_open_gen(struct ks_traces *t, struct ksi_tenant *tn,
                                      struct ksi_ring *r, uint64_t first_seq, uint64_t base_ns);
/* Stores the spans whose places are set. */
KS_NODISCARD ks_err ksi_store(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b,
                              struct ksi_place *places, uint64_t lsn, struct ks_traces_result *ret);
void ksi_keep_bytes(struct ks_traces *t);

/* --- ring_index.c --- */
/* Takes the id of a live number out. */
void ksi_ring_unindex(struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id, uint64_t seq);
void ksi_index_done(struct ksi_index *x);
void ksi_evicted_note(struct ks_traces *t, struct ksi_tenant *tn, struct ks_trace_id id);
bool ksi_evicted_has(const struct ks_traces *t, const struct ksi_tenant *tn, struct ks_trace_id id);

/* --- ring_evict.c --- */
enum { KSI_MOVED_PER_WRITE = 1024 };
/* Makes room for a trace more, within the spans this write may move; what is left over is for the
 * next writes. */
void ksi_make_room(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r);

/* --- ring_move.c --- */
/* Copies some spans of the oldest trace, whose slot is s. False: there are more. */
bool ksi_move_some(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                   const struct ksi_slot *s);
/* The copy is to be seen; the store's lock held. False: there is none. */
bool ksi_move_finish(struct ksi_tenant *tn);
void ksi_move_free(struct ksi_move *m);
void ksi_follow_bytes(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g);
void ksi_gen_drop_names(struct ksi_tenant *tn, struct ksi_gen *g);
void ksi_reap(struct ks_traces *t, size_t max);
void ksi_reap_some(struct ks_traces *t);

/* The writer changes what readers walk. */
static inline void ksi_lock(struct ks_traces *t)
{
    if (!t->exclusive)
        ksi_mutex_lock(&t->lock);
}
static inline void ksi_unlock(struct ks_traces *t)
{
    if (!t->exclusive)
        pthread_mutex_unlock(&t->lock);
}

/* For whoever changes anything but by a write; leaving frees some of what is gone. */
static inline void ksi_writer_enter(struct ks_traces *t)
{
    pthread_mutex_lock(&t->writer);
    pthread_mutex_lock(&t->lock);
    t->exclusive = true;
    t->moves_left = SIZE_MAX;
}
static inline void ksi_writer_leave(struct ks_traces *t)
{
    t->exclusive = false;
    pthread_mutex_unlock(&t->lock);
    pthread_mutex_unlock(&t->writer);
    ksi_reap_some(t);
}

/* A query in a generation looked at: search.c. NULL in *ret: nothing there can fit. */
struct ksi_filter;
KS_NODISCARD ks_err ksi_filter_new(const struct ks_trace_query *q, const struct ksi_data *d,
                                   struct ksi_filter **ret);
void ksi_filter_free(struct ksi_filter *f);
bool ksi_filter_fits(struct ksi_filter *f, uint32_t pos);

/* A list of generations with references, newest first, and the oldest live number. */
struct ksi_view {
    struct ksi_gen **gens;
    uint64_t *first_live;
    bool *is_kept;
    size_t count;
};
KS_NODISCARD ks_err ksi_view_take(struct ks_traces *t, struct ks_tenant tenant,
                                  struct ksi_view *ret);
void ksi_view_release(struct ksi_view *v);

#endif
