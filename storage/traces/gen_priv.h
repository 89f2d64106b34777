/*
 * One generation of a ring: a run of traces in first-seen order with everything their spans need,
 * dictionaries included, so that dropping it is freeing a handful of blocks. Append-only: what has
 * been written never moves or changes, except arrays that grow.
 *
 * Thread role: one writer at a time (the store's mutex), which works on what no reader looks at
 * and publishes it batch by batch; readers hold a reference and look (struct ksi_look). Neither
 * waits for the other's work. Slices into `text` and `recs` stay valid as long as the reference is
 * held, also when nobody looks.
 *
 * A span's record (positions are chunk << 15 | offset; ref = varint: odd: dictionary number << 1;
 * last bits 00: length << 2 and the bytes; 10, of attribute values only: pattern << 2, its decimal
 * numbers as varints, its hexadecimal digits, see gen_text.c):
 *
 *   zigzag(pos - pos of the trace's span before), 0 for the first
 *   u8 kind:3 status:2 events:1 links:1 state:1 | u8 message:1 dropped:1 parent:1 flags:3
 *   [varint kind when 7] [varint status when 3] [varint flags when 7]
 *   varint resource, varint scope, ref name, u64 span id, [u64 parent id]
 *   zigzag(start - base of the generation), zigzag(end - start)
 *   [ref message] [ref state] [varint dropped events, links]
 *   attribute list: varint shape, varint dropped, values
 *   [varint count, events: zigzag(time - start), ref name, list]
 *   [varint count, links: u64 hi, lo, span id, varint flags, ref state, list]
 *
 * Values: texts are refs; booleans a byte; integers zigzag; doubles 8 bytes; empty ones nothing.
 */
#ifndef KS_STORAGE_TRACES_GEN_PRIV_H
#define KS_STORAGE_TRACES_GEN_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "storage/traces/batch.h"
#include "storage/traces/chunk_pool.h"
#include "storage/traces/waited.h"

enum {
    KSI_CHUNK_BITS = 15,
    KSI_CHUNK_BYTES = 1 << KSI_CHUNK_BITS,
    KSI_CHUNK_FIRST = 1 << 10,
    KSI_CHUNKS_MAX = 1 << (32 - KSI_CHUNK_BITS),
    KSI_DICT_MAX = (1 << 24) - 2,
    KSI_BLOOM_LAYERS = 24,
    KSI_NONE = 0xffffffff,
};

struct ksi_chunks {
    char **ptr;
    uint32_t *len; /* bytes in use of all but the one being filled */
    size_t count, cap, len_cap;
    uint32_t cur, used, size; /* the chunk being filled; size 0: none yet */
};

struct ksi_slot {
    struct ks_trace_id id;
    uint64_t min_start_ns, max_end_ns, max_duration_ns;
    uint64_t services; /* one of 64 bits per service, by the hash of its name */
    uint32_t tail;     /* position of the last span */
    uint32_t spans;    /* stored; 0: not seen by readers */
    uint32_t refused;  /* over the limit per trace */
    uint32_t flags;
};
/* KSI_SLOT_LATE: the trace was evicted before, and came again. */
enum { KSI_SLOT_ERROR = 1, KSI_SLOT_PINNED = 2, KSI_SLOT_LATE = 4 };
enum { KSI_SLOT_STORED = KSI_SLOT_PINNED | KSI_SLOT_LATE }; /* what snapshots have of it */

struct ksi_shape {
    uint32_t first, count;
    uint64_t hash;
};
/* A resource or scope, encoded once: pos is in text. */
struct ksi_process {
    uint32_t pos, len;
    uint64_t hash;
    uint64_t service_hash; /* resources: of the service's name; 0: none */
    struct ks_slice service;
    bool has_service;
};
/* The text around the numbers of packed values; pos is in text. */
struct ksi_pattern {
    uint32_t pos, len;
    uint16_t varints, nibble_bytes;
    uint64_t hash;
};
struct ksi_bloom {
    uint64_t *bits;
    uint32_t mask, count, max;
};
struct ksi_op;
struct ksi_tenant;
struct ksi_gen_op {
    uint64_t hash;
    struct ksi_op *op; /* NULL: over the limit of names */
};

/* Open addressing: number + 1, 0 empty. */
struct ksi_table {
    uint32_t *slots;
    size_t mask, count;
};

/*
 * What readers walk. The writer works on the generation's own and publishes a copy when a batch is
 * stored; a reader takes a copy of that one. Arrays are only appended to, and one that has grown
 * leaves the old one readable until nobody looks (ksi_gen_retire).
 */
#define KSI_DATA                                                                                   \
    uint64_t first_seq, base_ns;                                                                   \
    uint64_t lsn; /* of the last log record whose spans are all here */                            \
    uint64_t spans;                                                                                \
    size_t slot_count;                                                                             \
    struct ksi_chunks text, recs;                                                                  \
    uint32_t *dict; /* positions in text: varint length, bytes */                                  \
    size_t dict_count;                                                                             \
    /* tag << 24 | number + 1; old: the smaller one that entries are still taken over from */      \
    uint32_t *dict_table, *dict_old;                                                               \
    size_t dict_mask, dict_old_mask;                                                               \
    uint32_t *keys; /* of shapes: dictionary number << 3 | type */                                 \
    size_t keys_count;                                                                             \
    struct ksi_shape *shapes;                                                                      \
    size_t shapes_count;                                                                           \
    struct ksi_process *resources, *scopes;                                                        \
    size_t resources_count, scopes_count;                                                          \
    struct ksi_pattern *patterns;                                                                  \
    size_t patterns_count;                                                                         \
    /* Of names and other texts without a key, and of key and value of every attribute. */         \
    struct ksi_bloom bloom[KSI_BLOOM_LAYERS];                                                      \
    unsigned bloom_count;                                                                          \
    bool has_bytes; /* some value is of type BYTES: what it is searched by is not in bloom */

struct ksi_data {
    KSI_DATA
};

struct ksi_retired {
    void *ptr;
    size_t bytes;
};

struct ksi_gen {
    _Atomic uint32_t refs;
    union { /* the writer's */
        struct ksi_data d;
        struct {
            KSI_DATA
        };
    };
    /* Guards pub, slots below pub.slot_count, and slots itself. Held for moments only. */
    pthread_mutex_t lock;
    struct ksi_data pub;
    uint64_t version;         /* of pub */
    _Atomic uint32_t lookers; /* up under lock */
    struct ksi_slot *slots;
    size_t slot_cap, slot_max;
    uint64_t snap_lsn; /* as loaded from a snapshot: records up to it are here already */
    struct ksi_pool *pool;
    struct ksi_retired *retired; /* the writer's, until the last reader of them is gone */
    size_t retired_count, retired_cap;
    size_t dict_cap, dict_old_at, keys_cap, shapes_cap, resources_cap, scopes_cap, patterns_cap;
    struct ksi_table shape_table, resource_table, scope_table, pattern_table;
    size_t bloom_hint;      /* about how many there will be: the generation before had so many */
    bool follows;           /* one that had all the traces it takes */
    struct ksi_gen_op *ops; /* open addressing by hash */
    size_t ops_count, ops_mask;
    _Atomic uint64_t bytes;
    uint64_t counted_bytes;    /* the writer's: what the store's sum holds of this */
    struct ksi_gen *next_dead; /* dropped: in the store's list of those to be freed */
    struct ksi_tenant *dead_of;
    /* Dependency edges as last computed, and for what: deps.c. */
    pthread_mutex_t edges_lock;
    struct ksi_edges *edges;
};

/* A reader's look at a generation it has a reference to: gen_look.c. */
struct ksi_look {
    struct ksi_gen *g;
    uint64_t version;
    struct ksi_data d;
};
void ksi_look_begin(struct ksi_look *l, struct ksi_gen *g);
void ksi_look_end(struct ksi_look *l);
/* Copies up to n slots from the first on, and what their spans need to l->d; how many there are. */
enum { KSI_SLOTS_PER_LOOK = 64 };
size_t ksi_look_slots(struct ksi_look *l, size_t first, size_t n, struct ksi_slot *out);
/* Readers may see what the writer has done. */
void ksi_gen_publish(struct ksi_gen *g);
/* The same, with slots [0, n) of the writer's in the place of those with these numbers. */
struct ksi_place;
void ksi_gen_publish_places(struct ksi_gen *g, const struct ksi_place *places, size_t n);
/* An array that readers may have a copy of the address of. */
KS_NODISCARD ks_err ksi_gen_retire_room(struct ksi_gen *g);
void ksi_gen_retire(struct ksi_gen *g, void *ptr, size_t bytes);

/* --- gen.c --- */
struct ksi_gen *ksi_gen_new(struct ksi_pool *pool, uint64_t first_seq, uint64_t base_ns,
                            size_t slot_max);
struct ksi_gen *ksi_gen_ref(struct ksi_gen *g);
void ksi_gen_unref(struct ksi_gen *g);
/* Room for a slot more; NULL without memory. */
struct ksi_slot *ksi_gen_slot_add(struct ksi_gen *g, struct ks_trace_id id);

/* n bytes in one piece; *ret_pos their position. NULL: no memory or the generation is full. */
char *ksi_chunks_alloc(struct ksi_gen *g, struct ksi_chunks *c, size_t n, uint32_t *ret_pos);
static inline const uint8_t *ksi_chunks_at(const struct ksi_chunks *c, uint32_t pos)
{
    return (const uint8_t *)c->ptr[pos >> KSI_CHUNK_BITS] + (pos & (KSI_CHUNK_BYTES - 1));
}

static inline uint32_t ksi_chunk_len(const struct ksi_chunks *c, size_t i)
{
    return c->size && i == c->cur ? c->used : c->len[i];
}
/* A chunk as it was in another process, full from now on. */
KS_NODISCARD ks_err ksi_chunk_load(struct ksi_gen *g, struct ksi_chunks *c, struct ks_slice bytes,
                                   bool pooled);
/* The table of a dictionary whose texts are there; hashes: of each. */
KS_NODISCARD ks_err ksi_dict_index(struct ksi_gen *g, const uint64_t *hashes);

uint32_t ksi_dict_find(const struct ksi_data *g, struct ks_slice s, uint64_t hash);
uint32_t ksi_dict_put(struct ksi_gen *g, struct ks_slice s, uint64_t hash);
struct ks_slice ksi_dict_text(const struct ksi_data *g, uint32_t number);

bool ksi_bloom_has(const struct ksi_data *g, uint64_t hash);
size_t ksi_bloom_count(const struct ksi_data *g);
/* True when it was there already. */
bool ksi_bloom_add(struct ksi_gen *g, uint64_t hash);
static inline uint64_t ksi_int_hash(uint64_t v)
{
    return ks_mix64(v + 0x9e3779b97f4a7c15u);
}
static inline uint64_t ksi_bool_hash(bool v)
{
    return v ? 0x8f14e45fceea167au : 0x45c48cce2e2d7fbdu;
}
static inline uint64_t ksi_real_hash(uint64_t bits)
{
    return ks_mix64(bits + 0xd1b54a32d192ed03u);
}
/* Of a key and a value's hash. */
static inline uint64_t ksi_pair_hash(uint64_t key, uint64_t value)
{
    return ks_mix64(key ^ (value << 23 | value >> 41));
}
static inline uint64_t ksi_text_hash(struct ks_slice s)
{
    return ks_hash64_seed(s.ptr, s.len, ks_trace_seed());
}
static inline uint64_t ksi_service_bit(uint64_t service_hash)
{
    return (uint64_t)1 << (service_hash >> 58);
}
KS_NODISCARD ks_err ksi_table_grow(struct ksi_gen *g, struct ksi_table *t);
static inline bool ksi_table_roomy(const struct ksi_table *t)
{
    return t->slots && (t->count + 1) * 4 <= (t->mask + 1) * 3;
}
static inline void ksi_table_put(struct ksi_table *t, uint64_t hash, uint32_t number)
{
    size_t i = hash & t->mask;
    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = number + 1;
}
/* Array growth that the generation's bytes follow. */
KS_NODISCARD ks_err ksi_gen_reserve(struct ksi_gen *g, void **array, size_t *cap, size_t need,
                                    size_t elem);

/* --- gen_write.c --- */
struct ksi_known {
    uint32_t number; /* in the dictionary + 1; 0 not known, KSI_NONE in the record */
    uint32_t key;    /* the string + 1 it was last noted with */
};
enum { KSI_RECENT = 256 };
/* What a batch's numbers are in the generation at hand; reused from batch to batch. */
struct ksi_mapping {
    struct ksi_known *strings;
    uint64_t recent[KSI_RECENT];           /* hashes that are in the bloom filter for certain */
    uint32_t *shapes, *resources, *scopes; /* number + 1; 0 not known */
    size_t strings_cap, shapes_cap, resources_cap, scopes_cap;
    struct ks_buf record;
};
void ksi_mapping_init(struct ksi_mapping *m);
void ksi_mapping_done(struct ksi_mapping *m);
KS_NODISCARD ks_err ksi_mapping_begin(struct ksi_mapping *m, const struct ks_batch *b);
/* Appends span i of the batch to the slot. Under the write lock. */
KS_NODISCARD ks_err ksi_gen_append(struct ksi_gen *g, struct ksi_mapping *m,
                                   const struct ks_batch *b, size_t i, struct ksi_slot *slot);
/* What the slot remembers of a span. */
void ksi_slot_note(const struct ksi_gen *g, struct ksi_slot *slot, uint32_t resource,
                   uint64_t start_ns, uint64_t end_ns, uint32_t status);
/* The batch's resource in the generation. */
KS_NODISCARD ks_err ksi_gen_resource(struct ksi_gen *g, struct ksi_mapping *m,
                                     const struct ks_batch *b, uint32_t resource, uint32_t *ret);

/* --- texts: gen_text.c --- */
enum { KSI_PACKED_MAX = 255, KSI_UNPACKED_MAX = 512 };
/* The dictionary number of a text that must have one. */
KS_NODISCARD ks_err ksi_intern(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                               uint32_t string, uint32_t *ret);
/* Puts the hash in the bloom filter; true when it was there. */
bool ksi_note(struct ksi_gen *g, struct ksi_mapping *m, uint64_t hash);
/* Append a ref to m->record: of a text by itself, of the value of the attribute `key` (a string of
 * the batch). */
void ksi_put_text(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                  uint32_t string);
void ksi_put_value(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b, uint32_t key,
                   uint32_t string);
/* A pattern whose text is at pos already; it must be valid. */
KS_NODISCARD ks_err ksi_pattern_load(struct ksi_gen *g, uint32_t pos, uint32_t len);
bool ksi_pattern_valid(struct ks_slice text);
struct ks_slice ksi_unpack_value(const struct ksi_data *g, uint32_t number, const uint8_t **p,
                                 char scratch[KSI_UNPACKED_MAX]);
/* A value's text, in the arena when it was packed. */
KS_NODISCARD ks_err ksi_value_view(const struct ksi_data *g, const uint8_t **p,
                                   struct ks_arena *arena, struct ks_slice *ret);

/* --- reading a record: gen_read.c --- */
struct ksi_record {
    uint32_t pos, prev; /* prev KSI_NONE: the first */
    uint32_t kind, status, flags, resource, scope;
    uint64_t span_id, parent_id, start_ns, end_ns;
    struct ks_slice name;
    uint8_t bits1, bits2;
    const uint8_t *rest; /* behind end - start */
};
void ksi_record_read(const struct ksi_data *g, uint32_t pos, struct ksi_record *ret);
/* What edges need of a record; returns the position of the span before. */
uint32_t ksi_record_call(const struct ksi_data *g, uint32_t pos, uint64_t *ret_span,
                         uint64_t *ret_parent, uint32_t *ret_resource);
/* A span in full. resources and scopes are decoded once per memo. */
struct ksi_view_memo {
    const struct ks_resource **resources;
    const struct ks_scope **scopes;
};
KS_NODISCARD ks_err ksi_view_memo_init(struct ksi_view_memo *m, const struct ksi_data *g,
                                       struct ks_arena *arena);
KS_NODISCARD ks_err ksi_span_view(const struct ksi_data *g, const struct ksi_slot *slot,
                                  const struct ksi_record *r, struct ksi_view_memo *memo,
                                  struct ks_arena *arena, struct ks_span *ret);
KS_NODISCARD ks_err ksi_resource_view(const struct ksi_data *g, uint32_t number,
                                      struct ks_arena *arena, struct ks_resource *ret);
KS_NODISCARD ks_err ksi_scope_view(const struct ksi_data *g, uint32_t number,
                                   struct ks_arena *arena, struct ks_scope *ret);

/* Raw reads of bytes this process wrote. */
static inline uint64_t ksi_varint(const uint8_t **p)
{
    uint64_t v = *(*p)++;
    if (KS_LIKELY(v < 0x80))
        return v;
    v &= 0x7f;
    for (unsigned shift = 7;; shift += 7) {
        uint64_t c = *(*p)++;
        v |= (c & 0x7f) << shift;
        if (c < 0x80)
            return v;
    }
}
static inline int64_t ksi_zigzag(const uint8_t **p)
{
    return ks_unzigzag(ksi_varint(p));
}
/* A text by itself. */
static inline struct ks_slice ksi_ref(const struct ksi_data *g, const uint8_t **p)
{
    uint64_t v = ksi_varint(p);
    if (v & 1)
        return ksi_dict_text(g, (uint32_t)(v >> 1));
    struct ks_slice s = ks_slice(*p, (size_t)(v >> 2));
    *p += v >> 2;
    return s;
}
/* A value's text, in scratch when it was packed. */
static inline struct ks_slice ksi_value_text(const struct ksi_data *g, const uint8_t **p,
                                             char scratch[KSI_UNPACKED_MAX])
{
    const uint8_t *at = *p;
    uint64_t v = ksi_varint(&at);
    if ((v & 3) != 2)
        return ksi_ref(g, p);
    *p = at;
    return ksi_unpack_value(g, (uint32_t)(v >> 2), p, scratch);
}
static inline void ksi_skip_ref(const struct ksi_data *g, const uint8_t **p)
{
    uint64_t v = ksi_varint(p);
    if (v & 1)
        return;
    if (!(v & 2)) {
        *p += v >> 2;
        return;
    }
    const struct ksi_pattern *pt = &g->patterns[v >> 2];
    for (unsigned i = 0; i < pt->varints; i++)
        (void)ksi_varint(p);
    *p += pt->nibble_bytes;
}
static inline void ksi_skip_value(const struct ksi_data *g, const uint8_t **p, unsigned type)
{
    switch (type) {
    case KS_ATTR_EMPTY:
        break;
    case KS_ATTR_BOOL:
        ++*p;
        break;
    case KS_ATTR_INT:
        (void)ksi_varint(p);
        break;
    case KS_ATTR_DOUBLE:
        *p += 8;
        break;
    default:
        ksi_skip_ref(g, p);
    }
}

#endif
