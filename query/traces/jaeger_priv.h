/* Between the model (jaeger_model.c) and its JSON. */
#ifndef KS_QUERY_TRACES_JAEGER_PRIV_H
#define KS_QUERY_TRACES_JAEGER_PRIV_H

#include "query/traces/jaeger.h"

struct ksi_jaeger_ref {
    struct ks_trace_id trace_id;
    uint64_t span_id;
    bool child_of;
};
struct ksi_jaeger_span {
    const struct ks_span *s;
    uint64_t id, parent;
    struct ksi_jaeger_ref *refs;
    size_t ref_count;
    const char **warnings;
    size_t warning_count;
    struct ks_attrs attrs;              /* in the profile's order */
    const struct ks_span_event *events; /* likewise */
    const struct ks_resource *process;
};
struct ksi_jaeger_trace {
    struct ksi_jaeger_span *spans;
    size_t count;
};

/* The model, adjusted unless raw. */
KS_NODISCARD ks_err ksi_jaeger_model(enum ks_jaeger_profile profile, bool raw,
                                     const struct ks_span *spans, size_t count,
                                     struct ks_arena *arena, struct ksi_jaeger_trace *ret);
/* A warning with the text kept by the arena. */
KS_NODISCARD ks_err ksi_jaeger_warn(struct ksi_jaeger_span *s, struct ks_arena *arena,
                                    struct ks_slice text);
KS_NODISCARD ks_err ksi_jaeger_adjust(struct ksi_jaeger_trace *t, enum ks_jaeger_profile profile,
                                      struct ks_arena *arena);
/* A list's attributes by key. */
KS_NODISCARD ks_err ksi_sorted_attrs(const struct ks_attrs *a, struct ks_arena *arena,
                                     struct ks_attrs *ret);
/* Equal, in the same order. */
bool ksi_same_attrs(const struct ks_attrs *a, const struct ks_attrs *b);
ks_err ksi_vt_trace(const struct ksi_jaeger_trace *t, struct ks_jaeger_processes *p,
                    struct ks_arena *arena, struct ks_buf *out);
/* The number of a process, from 1; a new one is added. 0: no memory. */
size_t ksi_process_number(struct ks_jaeger_processes *p, const struct ks_resource *r,
                          struct ks_arena *arena);
/* Numbers of processes in the order of their names: p1, p10, p2. */
void ksi_sort_processes(size_t *numbers, size_t count);

#endif
