/* Inside the embedded library: what its three files share. */
#ifndef KS_QUERY_EMBED_PRIV_H
#define KS_QUERY_EMBED_PRIV_H

#include "engine/engine.h"
#include "include/kofstore.h"
#include "query/promql/promql.h"
#include "query/rule_list.h"

struct kofstore_options {
    struct ks_engine_opts engine; /* texts and rules: below */
    struct ks_rule_list rules;
    struct ks_promql_limits limits;
    unsigned threads;
};

struct kofstore {
    struct ks_engine *engine;
    struct ks_pool *pool;
    struct ks_promql_limits limits;
};

/* The public number of an error. */
int ksi_code(ks_err err);
/* The caller's options over the defaults, as far as its size reaches. */
kofstore_query_opts ksi_query_opts(const kofstore_query_opts *given);

#endif
