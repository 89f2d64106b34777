/*
 * What a client may say about its rows: VictoriaLogs' arguments and VL-* headers, read once per
 * request. An argument wins over its header. Slices live as long as the request.
 */
#ifndef KS_API_LOGS_LOG_PARAMS_H
#define KS_API_LOGS_LOG_PARAMS_H

#include "api/http.h"
#include "engine/logs/log_batch.h"

/* Field names; as a filter an item that ends in * stands for all names with that prefix. */
struct ks_log_names {
    const struct ks_slice *items;
    size_t count;
};

struct ks_log_params {
    struct ks_tenant tenant;
    struct ks_log_names time_fields; /* the first that is there counts; default _time */
    struct ks_log_names msg_fields;  /* the first with a value becomes _msg */
    struct ks_log_names stream_fields;
    struct ks_log_names ignore, decolorize, preserve;
    const struct ks_log_field *extra; /* override the client's fields of these names */
    size_t extra_count;
    bool time_fields_set;
    bool debug; /* rows are logged, not stored */
};

/* KS_EINVAL names the argument. */
KS_NODISCARD ks_err ks_log_params_read(struct ks_http_request *req, struct ks_log_params *ret);
/* Names of a flag, where the client named none. */
KS_NODISCARD ks_err ks_log_params_default(struct ks_http_request *req, struct ks_log_names *names,
                                          const char *list);
/* "a,b,c": blanks around items are kept, empty items left out. */
KS_NODISCARD ks_err ks_log_names_parse(struct ks_arena *arena, struct ks_slice text,
                                       struct ks_log_names *ret);
/* "a=b,c=d" */
KS_NODISCARD ks_err ks_log_extra_parse(struct ks_arena *arena, struct ks_slice text,
                                       struct ks_log_params *ret);
/* "7" or "7:3". */
KS_NODISCARD ks_err ks_log_tenant_parse(struct ks_slice text, struct ks_tenant *ret);
/* An argument, else the header, else empty. */
struct ks_slice ks_log_arg(const struct ks_http_request *req, const char *arg, const char *header);
/* As Go reads booleans; KS_EINVAL for anything else. Absent leaves *ret. */
KS_NODISCARD ks_err ks_log_arg_bool(const struct ks_http_request *req, const char *arg,
                                    const char *header, bool *ret);

/* Ascending: stream fields, so that their tags come canonical. Of names made by ks_log_names_parse.
 */
void ks_log_names_sort(struct ks_log_names *names);
bool ks_log_names_have(const struct ks_log_names *names, struct ks_slice name);
/* With prefix* items. */
bool ks_log_names_match(const struct ks_log_names *names, struct ks_slice name);

#endif
