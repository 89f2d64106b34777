/*
 * The part of TraceQL that selects spans: spanset filters joined by && and ||.
 *
 *   { resource.service.name = "shop" && span.http.status_code >= 500 && duration > 100ms }
 *   { status = error } && { kind = client && name =~ "GET .*" }
 *
 * Operands: intrinsics (name, status, statusMessage, kind, duration, traceDuration, rootName,
 * rootServiceName, and their span: and trace: forms), attributes with scope (span. resource. event.
 * link. instrumentation.) or without (.x), against texts, numbers, durations, booleans, status and
 * kind names, nil; = != > >= < <= =~ !~ (whole values); && || ! and parentheses. Hints (with(),
 * select()) are read over. Structural operators, aggregates and metrics are refused by name.
 *
 * A comparison with an attribute that a span does not have is false, whatever the operator, but for
 * nil. One thread; memory from the arena given, expressions freed by ks_traceql_done.
 */
#ifndef KS_API_TEMPO_TRACEQL_H
#define KS_API_TEMPO_TRACEQL_H

#include "api/jaeger/jaeger.h"

enum { KS_TQ_CMPS_MAX = 64, KS_TQ_ITEMS_MAX = 256, KS_TQ_SETS_MAX = 16 };

enum ks_tq_field {
    KS_TQ_ATTR,
    KS_TQ_NAME,
    KS_TQ_STATUS,
    KS_TQ_STATUS_MESSAGE,
    KS_TQ_KIND,
    KS_TQ_DURATION,
    KS_TQ_TRACE_DURATION,
    KS_TQ_ROOT_NAME,
    KS_TQ_ROOT_SERVICE,
    KS_TQ_TRACE_ID,
    KS_TQ_SPAN_ID,
    KS_TQ_SCOPE_NAME,
    KS_TQ_SCOPE_VERSION
};
enum ks_tq_op { KS_TQ_EQ, KS_TQ_NE, KS_TQ_GT, KS_TQ_GE, KS_TQ_LT, KS_TQ_LE, KS_TQ_RE, KS_TQ_NRE };
enum ks_tq_type { KS_TQ_TEXT, KS_TQ_NUMBER, KS_TQ_BOOL, KS_TQ_NIL };

struct ks_re;
struct ks_tq_cmp {
    enum ks_tq_field field;
    unsigned scopes; /* enum ks_cond_scope, of KS_TQ_ATTR */
    struct ks_slice key;
    enum ks_tq_op op;
    enum ks_tq_type type;
    struct ks_slice text;
    double number; /* durations in ns, status and kind as OTLP numbers */
    struct ks_re *re;
};
/* Postfix. */
enum ks_tq_kind { KS_TQ_CMP, KS_TQ_TRUE, KS_TQ_AND, KS_TQ_OR, KS_TQ_NOT, KS_TQ_SET };
struct ks_tq_item {
    enum ks_tq_kind kind;
    unsigned at; /* of the comparison or the spanset */
};
struct ks_traceql {
    struct ks_tq_cmp cmps[KS_TQ_CMPS_MAX];
    size_t cmp_count;
    struct ks_tq_item items[KS_TQ_ITEMS_MAX]; /* of all spansets, one behind the other */
    size_t item_count;
    struct {
        size_t first, count;
    } sets[KS_TQ_SETS_MAX];
    size_t set_count;
    struct ks_tq_item top[2 * KS_TQ_SETS_MAX];
    size_t top_count;
};

/* KS_EPARSE names the byte; KS_EUNSUPPORTED what is TraceQL but not done here. */
KS_NODISCARD ks_err ks_traceql_parse(struct ks_slice text, struct ks_arena *arena,
                                     struct ks_traceql *ret);
void ks_traceql_done(struct ks_traceql *q);

/* What of it the ring can look for itself; *ret_exact: nothing else is asked. */
KS_NODISCARD ks_err ks_traceql_hints(const struct ks_traceql *q, struct ks_trace_params *p,
                                     bool *ret_exact);

struct ks_trace_summary;
/* Whether a trace fits; matched[i] becomes true for the spans of the sets that do. */
bool ks_traceql_matches(const struct ks_traceql *q, const struct ks_span *spans, size_t count,
                        const struct ks_trace_summary *m, bool *matched);

#endif
