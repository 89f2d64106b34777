/*
 * Inside the evaluator: the values that flow between nodes of the syntax tree, and helpers over
 * them.
 *
 * A vector is an array of series; each has canonical label bytes and one value per grid point.
 * Values live in the query's arena and belong to the vector's holder, who may change them in place:
 * every evaluation makes fresh ones. Labels are immutable and may be shared or point into a pinned
 * series set, which lives until the query ends.
 *
 * MetricsQL: any NaN is "no point". Strict: KS_ABSENT_BITS is, other NaNs are values. A point of a
 * strict query may be a native histogram: a NaN of KS_HISTOGRAM_BITS that names one of the query's
 * table. So vectors and grids need not know of them: whoever moves a value moves the histogram, and
 * histograms are immutable once they have a name.
 * A string is a series without points whose metric name is the text.
 *
 * Thread: one per query; eval_rollup.c alone spreads work and says how.
 */
#ifndef KS_QUERY_PROMQL_EXEC_PRIV_H
#define KS_QUERY_PROMQL_EXEC_PRIV_H

#include <math.h>

#include "base/bytes.h"
#include "base/histogram.h"
#include "base/num.h"
#include "query/promql/source.h"
#include "query/promql/syntax/ast.h"

struct ksi_series {
    struct ks_slice labels;
    struct ks_tenant tenant;
    double *values; /* ctx->points of them */
    bool drop_name; /* strict: the name goes when the query ends, if names are removed late */
};

struct ksi_vec {
    struct ksi_series *items;
    size_t count, cap;
};

struct ksi_pinned {
    struct ksi_pinned *next;
    struct ks_source_set *set;
};

/* A table from bytes to dense numbers in order of first appearance. */
struct ksi_map {
    uint32_t *slots; /* number + 1 */
    size_t slot_count;
    struct ks_slice *keys;
    uint64_t *hashes;
    size_t count, cap;
};

/* Warnings or infos of strict queries, each text once. */
struct ksi_annotations {
    struct ks_slice *items;
    size_t count, cap, omitted;
    struct ksi_map seen;
};

/* One query as a whole. */
struct ksi_query {
    const struct ks_promql_request *req;
    const struct ks_query_source *src;
    struct ks_arena *arena;
    struct ks_read_ctx read;
    struct ksi_pinned *pinned;
    struct ksi_reuse *reuses;         /* eval_cached.c */
    struct ks_promql_trace *trace_at; /* the step under way */
    bool strict;
    uint64_t series_fetched;
    uint64_t max_points, max_subquery_points, max_series;
    size_t max_memory_bytes;
    struct ksi_annotations warnings, infos;
    const struct ks_histogram **hists; /* those that points name; float ones */
    size_t hist_count, hist_cap;
};

/* The grid a node is evaluated on, and what narrows its selectors. */
struct ksi_ctx {
    struct ksi_query *q;
    int64_t start_ms, end_ms, step_ms;
    size_t points;
    uint64_t max_points;
    /* Label filters found on the other side of a binary operator; ANDed to the selectors below. */
    const struct ks_matcher *push;
    size_t push_count;
};

static inline int64_t ksi_time(const struct ksi_ctx *ctx, size_t i)
{
    return ctx->start_ms + (int64_t)i * ctx->step_ms;
}
static inline double ksi_absent(void)
{
    return ks_f64_from_bits(KS_ABSENT_BITS);
}
static inline bool ksi_is_absent(const struct ksi_query *q, double v)
{
    return q->strict ? ks_f64_bits(v) == KS_ABSENT_BITS : isnan(v);
}

static inline bool ksi_is_hist(double v)
{
    return (ks_f64_bits(v) & ~(uint64_t)UINT32_MAX) == KS_HISTOGRAM_BITS;
}
/* NULL: a number, or no point. */
static inline const struct ks_histogram *ksi_hist(const struct ksi_query *q, double v)
{
    uint32_t n = (uint32_t)ks_f64_bits(v);
    return ksi_is_hist(v) && n < q->hist_count ? q->hists[n] : NULL;
}
/* A point that names h, which lives in the query's arena. */
KS_NODISCARD ks_err ksi_hist_point(struct ksi_query *q, const struct ks_histogram *h, double *ret);
/* The same for a copy of h. */
KS_NODISCARD ks_err ksi_hist_keep(struct ksi_query *q, const struct ks_histogram *h, double *ret);
/* Point v, a histogram, times factor or divided by it; compact: without empty buckets. */
KS_NODISCARD ks_err ksi_hist_scale(struct ksi_query *q, double v, double factor, bool divide,
                                   double *ret);
/* Stored NaNs that look like marks of ours become plain ones. */
void ksi_plain_nans(double *v, size_t n);

/* --- exec_vec.c: vectors and grids --- */
KS_NODISCARD ks_err ksi_vec_push(struct ksi_query *q, struct ksi_vec *v, struct ksi_series s);
KS_NODISCARD ks_err ksi_vec_append(struct ksi_query *q, struct ksi_vec *v,
                                   const struct ksi_vec *more);
double *ksi_grid(const struct ksi_ctx *ctx, double fill); /* NULL: the arena is full */
double *ksi_grid_dup(const struct ksi_ctx *ctx, const double *values);
KS_NODISCARD ks_err ksi_vec_number(const struct ksi_ctx *ctx, double v, struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_vec_string(const struct ksi_ctx *ctx, struct ks_slice s,
                                   struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_vec_time(const struct ksi_ctx *ctx, struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_vec_copy(const struct ksi_ctx *ctx, const struct ksi_vec *v,
                                 struct ksi_vec *ret);
/* Drops series without a point. */
void ksi_vec_drop_empty(const struct ksi_ctx *ctx, struct ksi_vec *v);
bool ksi_series_empty(const struct ksi_ctx *ctx, const struct ksi_series *s);
/* A single series without labels. */
static inline bool ksi_vec_is_scalar(const struct ksi_vec *v)
{
    return v->count == 1 && v->items[0].labels.len == 0;
}
typedef int (*ksi_series_cmp)(const struct ksi_series *a, const struct ksi_series *b,
                              const void *arg);
/* Stable. */
KS_NODISCARD ks_err ksi_vec_sort(struct ksi_query *q, struct ksi_vec *v, ksi_series_cmp cmp,
                                 const void *arg);
/* By metric name, then label by label. */
int ksi_cmp_name(const struct ksi_series *a, const struct ksi_series *b, const void *arg);
/* Sorts doubles ascending; no NaN. */
void ksi_sort_values(double *v, size_t n);
/* Prometheus' quantile of n sorted values; in rollup_order.c. */
double ksi_quantile_sorted(double phi, const double *v, size_t n);
/* Copies the values that are not NaN to out, returns how many. */
size_t ksi_compact(const double *v, size_t n, double *out);

/* --- exec_labels.c: label bytes --- */
enum ksi_filter_mode { KSI_KEEP, KSI_DROP };
struct ksi_label_filter {
    const struct ks_slice *names;
    size_t count;
    enum ksi_filter_mode mode;
    bool drop_name; /* the metric name goes whatever the list says */
};
/* Writes the labels that stay to out (room for bytes.len); the length. */
size_t ksi_labels_filter(struct ks_slice bytes, const struct ksi_label_filter *f, char *out);
/* All of these give NULL ptr with ks_arena_err() when the arena is full; an empty set has len 0 and
 * a valid ptr. */
KS_NODISCARD ks_err ksi_labels_filtered(struct ksi_query *q, struct ks_slice bytes,
                                        const struct ksi_label_filter *f, struct ks_slice *ret);
KS_NODISCARD ks_err ksi_labels_drop_name(struct ksi_query *q, struct ks_slice *labels);
KS_NODISCARD ks_err ksi_labels_remove(struct ksi_query *q, struct ks_slice *labels,
                                      struct ks_slice name);
/* Empty value: removes the label. */
KS_NODISCARD ks_err ksi_labels_set(struct ksi_query *q, struct ks_slice *labels,
                                   struct ks_slice name, struct ks_slice value);
/* {a="b", c="d"} for messages; `name` also writes the metric name in front. In the arena. */
struct ks_slice ksi_labels_text(struct ksi_query *q, struct ks_slice labels, bool name);

/* Finds key or adds it; a new key is copied to the arena when copy is set. *added may be NULL. */
KS_NODISCARD ks_err ksi_map_put(struct ks_arena *arena, struct ksi_map *m, struct ks_slice key,
                                bool copy, size_t *ret, bool *added);
bool ksi_map_get(const struct ksi_map *m, struct ks_slice key, size_t *ret);

/* Groups of series by filtered labels: group g has members[first[g]] … members[first[g+1]-1]. */
struct ksi_groups {
    struct ksi_map map;
    size_t count;
    size_t *first;
    size_t *members; /* indexes into the vector */
};
/* max_groups 0: no limit; series of groups beyond it are left out. */
KS_NODISCARD ks_err ksi_group(struct ksi_query *q, const struct ksi_vec *v,
                              const struct ksi_label_filter *f, size_t max_groups,
                              struct ksi_groups *ret);

/* --- trace.c --- */
/* A step of the query begins and ends; all NULL and nothing without trace=1. */
struct ks_promql_trace *ksi_trace_begin(struct ksi_query *q, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void ksi_trace_end(struct ksi_query *q, struct ks_promql_trace *t, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* --- eval.c --- */
KS_NODISCARD ks_err ksi_eval(const struct ksi_ctx *ctx, const struct ks_expr *e,
                             struct ksi_vec *ret);
/* The same node on another grid. Checks the number of points. */
KS_NODISCARD ks_err ksi_ctx_make(struct ksi_query *q, int64_t start_ms, int64_t end_ms,
                                 int64_t step_ms, uint64_t max_points, struct ksi_ctx *ret);
KS_NODISCARD ks_err ksi_arg_scalar(const struct ksi_vec *v, size_t arg, const double **ret);
KS_NODISCARD ks_err ksi_arg_string(const struct ksi_ctx *ctx, const struct ksi_vec *v, size_t arg,
                                   struct ks_slice *ret);
KS_NODISCARD ks_err ksi_arg_int(const struct ksi_vec *v, size_t arg, int64_t *ret);
KS_NODISCARD ks_err ksi_want_args(size_t got, size_t want);
/* A union node: (a, b), () or union(…); a single pair of brackets is none. */
bool ksi_is_union(const struct ks_expr *e);
/* The expression inside redundant brackets. */
const struct ks_expr *ksi_strip(const struct ks_expr *e);

/* --- eval_rollup.c --- */
KS_NODISCARD ks_err ksi_eval_rollup_call(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                         struct ksi_vec *ret);
/* SELECTOR or ROLLUP outside of a rollup function: default_rollup. */
KS_NODISCARD ks_err ksi_eval_default_rollup(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                            struct ksi_vec *ret);
/* The one series absent() and absent_over_time() give: labels of the = filters of a plain selector.
 */
KS_NODISCARD ks_err ksi_vec_absent(const struct ksi_ctx *ctx, const struct ks_expr *arg,
                                   struct ksi_vec *ret);
/* foo[5m] at an instant: samples as stored; false when the expression is none. */
bool ksi_is_raw(const struct ksi_query *q, const struct ks_expr *e);
KS_NODISCARD ks_err ksi_eval_raw(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                 struct ks_promql_result *ret);
/* --- eval_cached.c --- */
void ksi_reuse_done(struct ksi_query *q);

/* --- eval_select.c --- */
/* MetricsQL's {}. */
static inline bool ksi_selects_nothing(const struct ks_expr_selector *s)
{
    return s->or_count == 0 || (s->or_count == 1 && s->or_lists[0].count == 0);
}
KS_NODISCARD ks_err ksi_selectors_of(const struct ksi_ctx *ctx, const struct ks_expr_selector *sel,
                                     struct ks_selector **ret, size_t *ret_count);
/* Series selected by a selector node in the range of `want`, whose need is told as well; pinned
 * until the query ends. */
KS_NODISCARD ks_err ksi_eval_select(const struct ksi_ctx *ctx, const struct ks_expr_selector *sel,
                                    const struct ks_select_opts *want, struct ks_source_set **ret);
/* Label bytes of a selected series, with tenant labels when the query asks for them. */
KS_NODISCARD ks_err ksi_set_labels(struct ksi_query *q, const struct ks_source_set *set, size_t i,
                                   struct ks_slice *ret);

/* --- eval_aggr.c --- */
KS_NODISCARD ks_err ksi_eval_aggregate(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                       struct ksi_vec *ret);
struct ksi_label_filter ksi_aggr_filter(const struct ks_expr_aggregate *a);

/* Accumulates series of one group point by point. */
struct ksi_acc {
    double *values;
    double *lost;   /* sums: what rounding lost; NULL otherwise */
    double *counts; /* avg, geomean; NULL otherwise */
};
bool ksi_acc_supports(enum ks_promql_func_id func);
KS_NODISCARD ks_err ksi_acc_new(struct ks_arena *arena, enum ks_promql_func_id func, size_t points,
                                struct ksi_acc *ret);
void ksi_acc_add(enum ks_promql_func_id func, struct ksi_acc *a, const double *v, size_t points);
void ksi_acc_merge(enum ks_promql_func_id func, struct ksi_acc *a, const struct ksi_acc *b,
                   size_t points);
void ksi_acc_finish(enum ks_promql_func_id func, struct ksi_acc *a, size_t points);

/* Pushes the aggregate down to the reading of series; *ret_done false: it does not apply. */
KS_NODISCARD ks_err ksi_try_rollup_aggregate(const struct ksi_ctx *ctx,
                                             const struct ks_expr_aggregate *a, struct ksi_vec *ret,
                                             bool *ret_done);
/* aggr_point.c: whole groups, one value per point. aggr_rank.c: those that choose series. */
KS_NODISCARD ks_err ksi_aggr_point(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                                   struct ksi_vec *args, struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_aggr_rank(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                                  struct ksi_vec *args, struct ksi_vec *ret, bool *ret_mine);
/* aggr_topk.c: series may lose values. The parameter k as a number of members. */
KS_NODISCARD ks_err ksi_topk(const struct ksi_ctx *ctx, struct ksi_series *series, size_t count,
                             const double *k, bool bottom, struct ksi_vec *ret);
size_t ksi_int_k(double k, size_t max);

/* --- eval_binary.c, binary_set.c --- */
KS_NODISCARD ks_err ksi_eval_binary(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                    struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_binary_set(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                                   struct ksi_vec *l, struct ksi_vec *r, struct ksi_vec *ret);
struct ksi_label_filter ksi_match_filter(const struct ks_expr_binary *b);
/* A scalar whatever the data: numbers, time(), scalar(…) and arithmetic of them. */
bool ksi_is_scalar_expr(const struct ks_expr *e);
/* binary_push.c: may filters found on one side narrow the other; adds those of `first` to ret; lets
 * outer ones through. */
bool ksi_may_push(const struct ks_expr_binary *b);
KS_NODISCARD ks_err ksi_push_filters(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                                     const struct ksi_vec *first, struct ksi_ctx *ret);
KS_NODISCARD ks_err ksi_push_through(const struct ksi_ctx *outer, const struct ks_expr_binary *b,
                                     struct ksi_ctx *ret);

/* --- transforms --- */
struct ksi_call {
    const struct ksi_ctx *ctx;
    const struct ks_expr_call *call;
    struct ksi_vec *args;
    size_t arg_count;
};
KS_NODISCARD ks_err ksi_eval_transform(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                       struct ksi_vec *ret);
/* Each answers for its own functions and sets *mine false for others. */
typedef ks_err (*ksi_transform_fn)(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_math(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_source(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_label(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_label_filter(const struct ksi_call *c, struct ksi_vec *ret,
                                               bool *mine);
KS_NODISCARD ks_err ksi_transform_histogram(const struct ksi_call *c, struct ksi_vec *ret,
                                            bool *mine);
KS_NODISCARD ks_err ksi_transform_range(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_sort(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
/* Metric names go unless the function or the query keeps them. */
KS_NODISCARD ks_err ksi_drop_names(const struct ksi_call *c, struct ksi_vec *v);
/* Series with vmrange buckets become cumulative le buckets; those without either label go. */
KS_NODISCARD ks_err ksi_vmrange_to_le(const struct ksi_ctx *ctx, struct ksi_vec *v,
                                      struct ksi_vec *ret);
/* Adds src's points to dst unless they overlap too much. */
bool ksi_merge_disjoint(const struct ksi_ctx *ctx, double *dst, const double *src);
/* %g as Go prints it. */
struct ks_slice ksi_f64_text(struct ksi_query *q, double v);
struct ks_slice ksi_f64_text_fixed(struct ksi_query *q, double v);

/* --- strict*.c: strict PromQL --- */
/* The name, type and unit go: at once, or marked to go at the end. MetricsQL: the name alone, at
 * once. */
KS_NODISCARD ks_err ksi_drop_metric(struct ksi_query *q, struct ksi_series *s);
KS_NODISCARD ks_err ksi_drop_metrics(struct ksi_query *q, struct ksi_vec *v);
KS_NODISCARD ks_err ksi_strict_drop_labels(struct ksi_query *q, struct ks_slice *labels);
/* Both drop series without points. Series with equal labels: an error, or one series unless they
 * meet at a point. */
KS_NODISCARD ks_err ksi_check_labelsets(const struct ksi_ctx *ctx, struct ksi_vec *v);
KS_NODISCARD ks_err ksi_merge_labelsets(const struct ksi_ctx *ctx, struct ksi_vec *v);
/* The query's result: names that were to go late go. */
KS_NODISCARD ks_err ksi_strict_finish(const struct ksi_ctx *ctx, struct ksi_vec *v);
/* Prometheus' order: label by label, names before values. */
int ksi_cmp_labels(const struct ksi_series *a, const struct ksi_series *b, const void *arg);
/* {__name__="a", b="c"} as Prometheus writes it in messages. */
struct ks_slice ksi_labels_text_strict(struct ksi_query *q, struct ks_slice labels);
KS_NODISCARD ks_err ksi_matches(const struct ks_matcher *m, struct ks_slice value, bool *ret);
bool ksi_utf8_valid(struct ks_slice s);
/* As Go's %q, in the arena. */
struct ks_slice ksi_go_quoted(struct ksi_query *q, struct ks_slice s);
/* Annotations, placed at an expression of the query. */
KS_NODISCARD ks_err ksi_warn(struct ksi_query *q, const struct ks_expr *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
KS_NODISCARD ks_err ksi_inform(struct ksi_query *q, const struct ks_expr *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What the arithmetic of histograms noted (histogram_math.h), about the metric `name`. */
KS_NODISCARD ks_err ksi_hist_notes(struct ksi_query *q, const struct ks_expr *at, unsigned notes,
                                   struct ks_slice name);
KS_NODISCARD ks_err ksi_warn_quantile(struct ksi_query *q, const struct ks_expr *at, double phi);
/* Adds the line about annotations left out. */
KS_NODISCARD ks_err ksi_annotations_close(struct ksi_query *q, struct ksi_annotations *a,
                                          const char *kind);
/* strict_binary_hist.c: an operator with a histogram on one side at least. *ret is no point and
 * *ret_note tells why when the types or the buckets do not go together. */
struct ksi_binary_note {
    enum { KSI_NOTE_NONE, KSI_NOTE_TYPES, KSI_NOTE_BUCKETS } kind;
    const char *left, *right; /* KSI_NOTE_TYPES: "float" or "histogram" */
};
KS_NODISCARD ks_err ksi_hist_binary(struct ksi_query *q, const struct ks_expr_binary *b, double x,
                                    double y, double *ret, struct ksi_binary_note *ret_note);
KS_NODISCARD ks_err ksi_binary_annotate(struct ksi_query *q, const struct ks_expr *e,
                                        const struct ksi_binary_note *note);
KS_NODISCARD ks_err ksi_strict_binary(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                      struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_strict_aggregate(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                         struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_strict_timestamp(const struct ksi_ctx *ctx, const struct ks_expr *arg,
                                         struct ksi_vec *ret);
KS_NODISCARD ks_err ksi_strict_histogram(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
KS_NODISCARD ks_err ksi_transform_strict(const struct ksi_call *c, struct ksi_vec *ret, bool *mine);
/* eval_rollup.c: time stamps of a selector's samples, metric names kept. */
KS_NODISCARD ks_err ksi_eval_info_times(const struct ksi_ctx *ctx, const struct ks_expr *selector,
                                        struct ksi_vec *ret);
/* eval_rollup.c: the points of expr[5m:1m] at one instant. */
KS_NODISCARD ks_err ksi_eval_subquery(const struct ksi_ctx *ctx, const struct ks_expr *e,
                                      struct ksi_ctx *ret_grid, struct ksi_vec *ret);

/* Go's math/rand for one seed: rand() must repeat what the peer gives. */
struct ksi_gorand;
KS_NODISCARD ks_err ksi_gorand_new(struct ks_arena *arena, int64_t seed, struct ksi_gorand **ret);
double ksi_gorand_float(struct ksi_gorand *r);
double ksi_gorand_normal(struct ksi_gorand *r);
double ksi_gorand_exp(struct ksi_gorand *r);

#endif
