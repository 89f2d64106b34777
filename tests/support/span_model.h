/* Random spans, and a slow and simple model of the trace ring: tests of traces. */
#ifndef KS_TESTS_SPAN_MODEL_H
#define KS_TESTS_SPAN_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/traces/ring.h"
#include "sys/rand.h"

enum { MS_ATTRS = 4, MS_TRACES_MAX = 4096 };

struct model_span {
    struct ks_span span;
    struct ks_attr attrs[MS_ATTRS], event_attr;
    struct ks_span_event event;
    struct ks_span_link link;
    struct ks_resource resource;
    struct ks_attr resource_attrs[2];
    struct ks_scope scope;
    char texts[8][40];
};
struct model_trace {
    struct ks_trace_id id;
    struct model_span **spans;
    size_t count, cap;
};
struct model {
    struct model_trace *traces; /* oldest first */
    size_t count, cap, max, max_spans;
};

static inline struct ks_slice ms_text(char *to, const char *fmt, unsigned n)
{
    int len = snprintf(to, 40, fmt, n);
    return ks_slice(to, (size_t)len);
}

/* Some attributes are common, some rare, some unique; types vary. */
static inline struct model_span *ms_random(uint64_t *rng, struct ks_trace_id id)
{
    struct model_span *m = ks_zalloc(sizeof *m);
    struct ks_span *s = &m->span;
    unsigned service = (unsigned)ks_rng_below(rng, 5);
    m->resource_attrs[0] = (struct ks_attr){.key = KS_SLICE_LIT("service.name"),
                                            .type = KS_ATTR_STRING,
                                            .text = ms_text(m->texts[0], "service-%u", service)};
    m->resource_attrs[1] =
        (struct ks_attr){.key = KS_SLICE_LIT("pod"),
                         .type = KS_ATTR_STRING,
                         .text = ms_text(m->texts[1], "pod-%u", (unsigned)ks_rng_below(rng, 9))};
    m->resource = (struct ks_resource){.attrs = {m->resource_attrs, 2, 0},
                                       .service = m->resource_attrs[0].text,
                                       .has_service = true,
                                       .schema_url = KS_SLICE_LIT("")};
    m->scope = (struct ks_scope){
        .name = KS_SLICE_LIT("lib"), .version = KS_SLICE_LIT("1"), .schema_url = KS_SLICE_LIT("")};
    m->attrs[0] =
        (struct ks_attr){.key = KS_SLICE_LIT("http.method"),
                         .type = KS_ATTR_STRING,
                         .text = ks_rng_below(rng, 2) ? KS_SLICE_LIT("GET") : KS_SLICE_LIT("POST")};
    m->attrs[1] = (struct ks_attr){.key = KS_SLICE_LIT("code"),
                                   .type = KS_ATTR_INT,
                                   .number = (int64_t)ks_rng_below(rng, 600)};
    m->attrs[2] = (struct ks_attr){
        .key = KS_SLICE_LIT("request.id"),
        .type = KS_ATTR_STRING,
        .text = ms_text(m->texts[2], "r-%u", (unsigned)ks_rng_below(rng, 1000000))};
    m->attrs[3] = ks_rng_below(rng, 2)
                      ? (struct ks_attr){.key = KS_SLICE_LIT("ratio"),
                                         .type = KS_ATTR_DOUBLE,
                                         .real = (double)ks_rng_below(rng, 100) / 8}
                      : (struct ks_attr){.key = KS_SLICE_LIT("flag"),
                                         .type = KS_ATTR_BOOL,
                                         .number = (int64_t)ks_rng_below(rng, 2)};
    uint64_t start = 1700000000000000000u + ks_rng_below(rng, 600) * 1000000000u;
    *s = (struct ks_span){
        .trace_id = id,
        .span_id = ks_rng_next(rng) | 1,
        .parent_id = ks_rng_below(rng, 3) ? ks_rng_next(rng) : 0,
        .start_ns = start,
        .end_ns = start + ks_rng_below(rng, 2000000000),
        .name = ms_text(m->texts[3], "op-%u", (unsigned)ks_rng_below(rng, 12)),
        .state = ks_rng_below(rng, 8) ? KS_SLICE_LIT("") : KS_SLICE_LIT("k=v"),
        .kind = (uint32_t)ks_rng_below(rng, 7),
        .status = (uint32_t)ks_rng_below(rng, 3),
        .flags = (uint32_t)ks_rng_below(rng, 3) * 0x101,
        .attrs = {m->attrs, (uint32_t)ks_rng_below(rng, MS_ATTRS + 1), 0},
        .resource = &m->resource,
        .scope = &m->scope,
    };
    s->status_message = s->status == 2 ? KS_SLICE_LIT("it broke") : KS_SLICE_LIT("");
    if (!ks_rng_below(rng, 4)) {
        m->event_attr = (struct ks_attr){.key = KS_SLICE_LIT("exception.type"),
                                         .type = KS_ATTR_STRING,
                                         .text = KS_SLICE_LIT("E")};
        m->event =
            (struct ks_span_event){start + 5, KS_SLICE_LIT("exception"), {&m->event_attr, 1, 1}};
        s->events = &m->event;
        s->event_count = 1;
        s->dropped_events = (uint32_t)ks_rng_below(rng, 2);
    }
    if (!ks_rng_below(rng, 6)) {
        m->link =
            (struct ks_span_link){.trace_id = {ks_rng_next(rng), 7},
                                  .span_id = 9,
                                  .state = KS_SLICE_LIT(""),
                                  .attrs = {&m->event_attr, m->event_attr.key.len ? 1 : 0, 0}};
        s->links = &m->link;
        s->link_count = 1;
    }
    return m;
}

static inline struct model_trace *model_find(struct model *m, struct ks_trace_id id)
{
    for (size_t i = m->count; i-- > 0;)
        if (ks_trace_id_eq(m->traces[i].id, id))
            return &m->traces[i];
    return NULL;
}

static inline void model_drop_first(struct model *m)
{
    for (size_t i = 0; i < m->traces[0].count; i++)
        ks_free(m->traces[0].spans[i]);
    ks_free(m->traces[0].spans);
    memmove(m->traces, m->traces + 1, --m->count * sizeof *m->traces);
}

/* All new ids of a batch first, then its spans: a batch is one step. */
static inline void model_announce(struct model *m, struct ks_trace_id id)
{
    if (model_find(m, id))
        return;
    if (m->count >= m->max)
        model_drop_first(m);
    if (ks_array_reserve((void **)&m->traces, &m->cap, m->count + 1, sizeof *m->traces) != KS_OK)
        abort();
    m->traces[m->count++] = (struct model_trace){.id = id};
}

static inline void model_add(struct model *m, struct model_span *s)
{
    struct model_trace *t = model_find(m, s->span.trace_id);
    if (!t || t->count >= m->max_spans) {
        ks_free(s);
        return;
    }
    if (ks_array_reserve((void **)&t->spans, &t->cap, t->count + 1, sizeof *t->spans) != KS_OK)
        abort();
    t->spans[t->count++] = s;
}

static inline void model_done(struct model *m)
{
    while (m->count)
        model_drop_first(m);
    ks_free(m->traces);
}

#endif
