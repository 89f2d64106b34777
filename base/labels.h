/*
 * A label set in its one canonical form: names ascending bytewise and unique, no empty names or
 * values, the metric name as label "__name__".
 *
 * Encoded ("label bytes"): for each label varint name length, name, varint value length, value. No
 * count in front: the bytes end where the slice ends. Equal sets have equal bytes, so bytes are
 * hashed and compared as identity.
 */
#ifndef KS_BASE_LABELS_H
#define KS_BASE_LABELS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/slice.h"

struct ks_label {
    struct ks_slice name, value;
};

struct ks_tenant {
    uint32_t account, project;
};
static inline bool ks_tenant_eq(struct ks_tenant a, struct ks_tenant b)
{
    return a.account == b.account && a.project == b.project;
}
static inline uint64_t ks_tenant_key(struct ks_tenant t)
{
    return (uint64_t)t.account << 32 | t.project;
}

/* A label set as an array; slices are borrowed. */
struct ks_labels {
    struct ks_label *items;
    size_t count, cap;
};

/*
 * Sorts by name, drops empty names and values; of equal names the one that came last wins. In
 * place, allocation-free.
 */
void ks_labels_canonicalise(struct ks_labels *l);
/* Appends the label bytes of a canonical set. */
void ks_labels_encode(const struct ks_labels *l, struct ks_buf *out);
/* Decodes trusted or hostile label bytes into an arena array; KS_ECORRUPT unless canonical in form.
 */
KS_NODISCARD ks_err ks_labels_decode(struct ks_slice bytes, struct ks_arena *arena,
                                     struct ks_labels *ret);

/* Walks label bytes: false at the end. For bytes known to be valid. */
struct ks_labels_iter {
    struct ks_reader r;
};
static inline struct ks_labels_iter ks_labels_iter(struct ks_slice bytes)
{
    return (struct ks_labels_iter){ks_reader(bytes)};
}
static inline bool ks_labels_next(struct ks_labels_iter *it, struct ks_label *ret)
{
    if (it->r.p == it->r.end)
        return false;
    ret->name = ks_read_lp(&it->r);
    ret->value = ks_read_lp(&it->r);
    return !it->r.bad;
}

/* The value of a label, empty when absent. */
struct ks_slice ks_labels_get(struct ks_slice bytes, struct ks_slice name);

/* Identity of a series on every node: XXH3-128 over tenant and label bytes with a fixed seed. */
ks_hash128 ks_series_fp(struct ks_tenant tenant, struct ks_slice label_bytes);

/*
 * The order of series in parts: tenant, __name__, job, instance, then the label bytes. Neighbours
 * in this order tend to be twins, which the chunk frames and postings profit from.
 */
int ks_series_cmp(struct ks_tenant ta, struct ks_slice a, struct ks_tenant tb, struct ks_slice b);

/* What that order looks at, taken out of canonical label bytes once, for who compares a series
 * often. Borrows the bytes. */
struct ks_series_key {
    uint64_t tenant;
    struct ks_slice first[3]; /* values of __name__, job, instance; empty when absent */
    struct ks_slice labels;
};
struct ks_series_key ks_series_key_of(struct ks_tenant tenant, struct ks_slice label_bytes);
int ks_series_key_cmp(const struct ks_series_key *a, const struct ks_series_key *b);

#define KS_NAME_LABEL KS_SLICE_LIT("__name__")

#endif
