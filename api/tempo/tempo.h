/* The read side of Grafana Tempo's HTTP API over the trace store, under /select/tempo/api/. */
#ifndef KS_API_TEMPO_TEMPO_H
#define KS_API_TEMPO_TEMPO_H

#include "api/http.h"

ks_err ks_tempo_echo(struct ks_http_request *req);
ks_err ks_tempo_search(struct ks_http_request *req);
ks_err ks_tempo_trace(struct ks_http_request *req);     /* traces/<id>: the bare trace */
ks_err ks_tempo_trace_v2(struct ks_http_request *req);  /* v2/traces/<id>: in an envelope */
ks_err ks_tempo_tags(struct ks_http_request *req);      /* search/tags */
ks_err ks_tempo_tags_v2(struct ks_http_request *req);   /* v2/search/tags, by scope */
ks_err ks_tempo_values(struct ks_http_request *req);    /* search/tag/<tag>/values */
ks_err ks_tempo_values_v2(struct ks_http_request *req); /* with types */

#endif
