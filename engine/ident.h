/*
 * Identities of series that queries met, so that a select neither builds nor compares labels again.
 * A row of a part and a series of the head remember the number of their identity; the same series
 * found in several sources has the same number. An identity is numbers of words
 * (engine/ident_dict.h): a fifth of the labels' text, and what groupings compare.
 *
 * Identities live in generations. A select pins the current one; when a generation has used up its
 * budget it takes no more, the next select begins a new one, and the old goes with its last pin.
 * Whether an identity is in a generation never changes from no to yes after that generation is
 * full: inside one select a series is known either always or never. What a full one does not know a
 * select keeps in a generation of its own.
 *
 * Any thread. Pins cost a mutex; finding the identity of a known row costs an atomic load.
 */
#ifndef KS_ENGINE_IDENT_H
#define KS_ENGINE_IDENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/labels.h"
#include "engine/ident_dict.h"

/* Immutable. */
struct ksi_ident {
    struct ks_tenant tenant;
    uint64_t fp_lo;
    uint32_t no;      /* dense, from 0, of its generation */
    uint32_t own : 1; /* of a select's own generation */
    uint32_t shape : 31;
    uint32_t values[]; /* words, one for each name of the shape */
};

struct ksi_idents; /* a generation */
struct ksi_ident_cache {
    pthread_mutex_t lock; /* of all below, and of every ksi_part's rows pointer */
    struct ksi_idents *current;
    uint64_t next_no;
    size_t budget_bytes;
};

void ksi_ident_cache_init(struct ksi_ident_cache *c, size_t budget_bytes);
void ksi_ident_cache_done(struct ksi_ident_cache *c);
/* The current generation; NULL without memory: then nothing is remembered. */
struct ksi_idents *ksi_idents_pin(struct ksi_ident_cache *c);
void ksi_idents_unpin(struct ksi_idents *g);
uint64_t ksi_idents_no(const struct ksi_idents *g); /* ascending from 1, never used again */
/* Counts memory others keep because of the generation. False: full, do without. */
bool ksi_idents_charge(struct ksi_idents *g, size_t bytes);

/* A generation of one select, without a budget. NULL without memory. */
struct ksi_idents *ksi_idents_own(void);
/* How many identities there are; more may come at any time. */
uint32_t ksi_idents_count(const struct ksi_idents *g);
const struct ksi_dict *ksi_idents_dict(const struct ksi_idents *g);
/* By number, which came by way of a release or a lock from whoever interned it. */
const struct ksi_ident *ksi_idents_at(const struct ksi_idents *g, uint32_t no);

/* Label bytes of an identity of the generation, appended. */
void ksi_ident_labels(const struct ksi_idents *g, const struct ksi_ident *i, struct ks_buf *out);

/* The identity, remembered if there is room; NULL when there is none. */
const struct ksi_ident *ksi_ident_intern(struct ksi_idents *g, ks_hash128 fp,
                                         struct ks_tenant tenant, struct ks_slice labels);

/* Identities by row of one part. */
struct ksi_rows;
struct ksi_part;
/* Those of the generation, with a reference; NULL when it has none and cannot. */
struct ksi_rows *ksi_rows_of(struct ksi_idents *g, struct ksi_part *p);
void ksi_rows_unref(struct ksi_rows *r);
/* The number + 1; 0: not known. */
uint32_t ksi_rows_get(const struct ksi_rows *r, uint32_t row);
void ksi_rows_put(struct ksi_rows *r, struct ksi_idents *g, uint32_t row, uint32_t no);

#endif
