/*
 * The label index of one part, written and read as sections of the part's container. Format:
 * docs/format/series-index.md. Rows are ordinals 0..n-1 in ks_series_cmp order. An opened index is
 * immutable and may be used by many threads; results of regular expressions are cached in it.
 */
#ifndef KS_INDEX_SERIES_INDEX_H
#define KS_INDEX_SERIES_INDEX_H

#include <roaring/roaring.h>

#include "base/labels.h"
#include "index/matcher.h"
#include "storage/part.h"

struct ks_sindex_writer;
KS_NODISCARD ks_err ks_sindex_writer_new(struct ks_part_writer *w, struct ks_sindex_writer **ret);
/* Adds the next row; rows come in ks_series_cmp order, all different. label_bytes canonical,
 * borrowed. */
KS_NODISCARD ks_err ks_sindex_add(struct ks_sindex_writer *x, struct ks_tenant tenant,
                                  struct ks_slice label_bytes);
KS_NODISCARD ks_err
ks_sindex_writer_finish(struct ks_sindex_writer *x); /* the handle is gone in any case */
void ks_sindex_writer_abort(struct ks_sindex_writer *x);

struct ks_sindex;
KS_NODISCARD ks_err ks_sindex_open(struct ks_part *p, struct ks_sindex **ret);
void ks_sindex_close(struct ks_sindex *x);
uint32_t ks_sindex_series_count(const struct ks_sindex *x);
/* Appends the canonical label bytes of a row; its tenant. */
KS_NODISCARD ks_err ks_sindex_series(struct ks_sindex *x, uint32_t ord, struct ks_buf *labels,
                                     struct ks_tenant *ret_tenant);
/* Sequential walk over all rows (compaction), cheaper than ks_sindex_series per row. labels is
 * valid until the next call. */
struct ks_sindex_cursor;
KS_NODISCARD ks_err ks_sindex_cursor_new(struct ks_sindex *x, struct ks_sindex_cursor **ret);
KS_NODISCARD ks_err ks_sindex_cursor_next(struct ks_sindex_cursor *c, bool *ret_more,
                                          struct ks_tenant *ret_tenant,
                                          struct ks_slice *ret_labels);
/* The next row given will be `row` (< count); cheap when rows ascend. */
void ks_sindex_cursor_seek(struct ks_sindex_cursor *c, uint32_t row);
void ks_sindex_cursor_free(struct ks_sindex_cursor *c);

/* Rows of a tenant that match any of the selectors (count 0: all rows of the tenant).
 * roaring_bitmap_free the result. */
KS_NODISCARD ks_err ks_sindex_select(struct ks_sindex *x, struct ks_tenant tenant,
                                     const struct ks_selector *selectors, size_t count,
                                     roaring_bitmap_t **ret);
/* Tenants present, each once. false from fn stops. */
typedef bool (*ks_tenant_fn)(void *arg, struct ks_tenant tenant);
KS_NODISCARD ks_err ks_sindex_tenants(struct ks_sindex *x, ks_tenant_fn fn, void *arg);

/*
 * Label names, or values of `name`, that occur in `rows` (NULL: any row of the tenant), with how
 * many rows carry each; counted false: row_count only says that some do, which over all rows of a
 * part of one tenant costs no walk over them. false from fn stops.
 */
typedef bool (*ks_label_fn)(void *arg, struct ks_slice text, uint64_t row_count);
KS_NODISCARD ks_err ks_sindex_label_names(struct ks_sindex *x, struct ks_tenant tenant,
                                          const roaring_bitmap_t *rows, bool counted,
                                          ks_label_fn fn, void *arg);
KS_NODISCARD ks_err ks_sindex_label_values(struct ks_sindex *x, struct ks_tenant tenant,
                                           struct ks_slice name, const roaring_bitmap_t *rows,
                                           bool counted, ks_label_fn fn, void *arg);
uint64_t ks_sindex_stored_bytes(const struct ks_sindex *x);

#endif
