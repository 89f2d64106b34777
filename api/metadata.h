/*
 * Types, help texts and units of metrics as clients announced them. Kept in memory only, bounded by
 * bytes: a full store takes no new names (they are counted). Any thread.
 */
#ifndef KS_API_METADATA_H
#define KS_API_METADATA_H

#include "base/err.h"
#include "base/labels.h"

/* Remote write's enumeration. */
enum ks_metric_type {
    KS_TYPE_UNKNOWN,
    KS_TYPE_COUNTER,
    KS_TYPE_GAUGE,
    KS_TYPE_HISTOGRAM,
    KS_TYPE_GAUGEHISTOGRAM,
    KS_TYPE_SUMMARY,
    KS_TYPE_INFO,
    KS_TYPE_STATESET,
};
const char *ks_metric_type_name(unsigned type);

struct ks_metadata {
    struct ks_tenant tenant;
    unsigned type;
    struct ks_slice name, help, unit;
};

struct ks_metadata_store;
KS_NODISCARD ks_err ks_metadata_new(size_t max_bytes, struct ks_metadata_store **ret);
void ks_metadata_free(struct ks_metadata_store *s);
/* Adds or replaces; copies the text. Cheap when nothing changed. Over the limit it does nothing. */
void ks_metadata_put(struct ks_metadata_store *s, const struct ks_metadata *m);
/* Calls fn for each (under the store's lock: fn must not call back); name empty = all. false stops.
 */
typedef bool (*ks_metadata_fn)(void *arg, const struct ks_metadata *m);
void ks_metadata_each(struct ks_metadata_store *s, struct ks_slice name, ks_metadata_fn fn,
                      void *arg);
/* One name of one tenant: fn is called at most once. */
void ks_metadata_lookup(struct ks_metadata_store *s, struct ks_tenant tenant, struct ks_slice name,
                        ks_metadata_fn fn, void *arg);
void ks_metadata_size(struct ks_metadata_store *s, size_t *ret_bytes, size_t *ret_max);

#endif
