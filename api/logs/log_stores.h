/*
 * Which log store a request means. There is always one called "logs"; further ones (KOF's audit)
 * are reached below /store/<name>/ or by a listener of their own.
 */
#ifndef KS_API_LOGS_LOG_STORES_H
#define KS_API_LOGS_LOG_STORES_H

#include "api/http.h"

struct ks_log_store;

#define KS_LOG_STORE_DEFAULT "logs"
/* Not a log store: the spans. /store/traces/select/logsql/… asks them, and so does a listener of
 * role traces or traces/select. */
#define KS_STORE_TRACES "traces"
bool ks_store_is_traces(const struct ks_http_request *req);

/* KS_ENOTFOUND names the store that is not there; KS_EUNSUPPORTED when the program keeps no logs.
 */
KS_NODISCARD ks_err ks_log_store_of(const struct ks_http_request *req, struct ks_log_store **ret);

#endif
