/* Which of the two query languages a text is written in; they share one AST and one engine. */
#ifndef KS_QUERY_PROMQL_DIALECT_H
#define KS_QUERY_PROMQL_DIALECT_H

enum ks_dialect { KS_METRICSQL, KS_PROMQL_STRICT };

#endif
