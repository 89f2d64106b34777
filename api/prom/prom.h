/*
 * What the query handlers share: tenants, the filters a proxy imposes, deadlines and limits, and
 * the JSON envelopes.
 *
 * Filters as access control. Every extra_label is ANDed. extra_filters values form one OR-list per
 * origin (URL or form body) and spelling (extra_filters or extra_filters[]), and these lists are
 * ANDed. With one list that is VictoriaMetrics' rule; a client that adds a list of its own can only
 * narrow what its proxy allowed. (There, all lists are one OR, so it can widen it.)
 */
#ifndef KS_API_PROM_PROM_H
#define KS_API_PROM_PROM_H

#include "api/app.h"
#include "query/promql/promql.h"

struct ks_prom_ctx {
    struct ks_http_request *req;
    struct ks_app *app;
    struct ks_selector *filters; /* OR of AND-lists; count 0 = no restriction */
    size_t filter_count;
    struct ks_read_ctx read;
    int64_t now_ms;
    bool strict;
};

/* Reads tenant, filters and deadline. max_duration_ms bounds the timeout argument. */
KS_NODISCARD ks_err ks_prom_begin(struct ks_http_request *req, int64_t max_duration_ms,
                                  struct ks_prom_ctx *ret);
/* match[] selectors ANDed with the filters, into sel->selectors. Without match[]: the filters
 * alone, or KS_EINVAL if required. */
KS_NODISCARD ks_err ks_prom_matchers(struct ks_prom_ctx *ctx, bool required,
                                     struct ks_select_opts *sel);
/* The same for selectors from elsewhere. */
KS_NODISCARD ks_err ks_prom_and_filters(struct ks_prom_ctx *ctx, const struct ks_selector *list,
                                        size_t count, struct ks_select_opts *sel);
/* start and end with VictoriaMetrics' defaults: end − default_range and now. */
KS_NODISCARD ks_err ks_prom_time_range(struct ks_prom_ctx *ctx, int64_t default_range_ms,
                                       int64_t *ret_start, int64_t *ret_end);
/* Prometheus' times: seconds, also negative ones, or RFC 3339. A missing one is the fallback
 * (INT64_MIN: an error). */
KS_NODISCARD ks_err ks_prom_strict_time(const struct ks_prom_ctx *ctx, const char *name,
                                        int64_t fallback, int64_t *ret);
/* Tenants, read context and time range of a select. */
KS_NODISCARD ks_err ks_prom_select_opts(struct ks_prom_ctx *ctx, int64_t start_ms, int64_t end_ms,
                                        bool match_required, struct ks_select_opts *ret);

/* --- JSON --- */
/* {"status":"success","isPartial":false,"data": — the cluster form alone has isPartial. */
void ks_prom_json_begin(struct ks_http_request *req);
/* ,"trace":{…} if the request asked for it: what the handler did so far, with the steps of a query
 * below; NULL: none. */
void ks_prom_json_trace(struct ks_http_request *req, const struct ks_promql_trace *steps);
/* The label object of a series; a multitenant answer adds vm_account_id and vm_project_id. */
void ks_prom_json_labels(struct ks_buf *out, struct ks_slice label_bytes,
                         const struct ks_tenant *tenant);
/* [1700000000.123,"1.5"] */
void ks_prom_json_point(struct ks_buf *out, int64_t time_ms, double value);
/* The same as Prometheus writes numbers. */
void ks_prom_json_strict_point(struct ks_buf *out, int64_t time_ms, double value);
/* [1700000000.123,{"count":"4",…}] */
void ks_prom_json_histogram(struct ks_buf *out, int64_t time_ms, const struct ks_histogram *h);

ks_err ks_prom_query(struct ks_http_request *req);
ks_err ks_prom_query_range(struct ks_http_request *req);
ks_err ks_prom_series(struct ks_http_request *req);
ks_err ks_prom_series_count(struct ks_http_request *req);
ks_err ks_prom_labels(struct ks_http_request *req);
ks_err ks_prom_label_values(struct ks_http_request *req);
ks_err ks_prom_export(struct ks_http_request *req);
ks_err ks_prom_export_native(struct ks_http_request *req);
ks_err ks_prom_export_csv(struct ks_http_request *req);
ks_err ks_prom_federate(struct ks_http_request *req);
ks_err ks_prom_metadata(struct ks_http_request *req);
ks_err ks_prom_exemplars(struct ks_http_request *req);
ks_err ks_prom_status_tsdb(struct ks_http_request *req);
ks_err ks_prom_format_query(struct ks_http_request *req);
ks_err ks_prom_parse_query(struct ks_http_request *req);
ks_err ks_prom_expand_with_exprs(struct ks_http_request *req);
ks_err ks_prom_prettify_query(struct ks_http_request *req);
ks_err ks_prom_delete_series(struct ks_http_request *req);
ks_err ks_prom_tenants(struct ks_http_request *req);
ks_err ks_prom_metric_names_stats(struct ks_http_request *req);
ks_err ks_prom_metric_names_stats_reset(struct ks_http_request *req);

#endif
