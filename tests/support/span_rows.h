/* A model span as a row, written down naively: the oracle of LogsQL over spans. */
#ifndef KS_TESTS_SPAN_ROWS_H
#define KS_TESTS_SPAN_ROWS_H

#include <stdio.h>

#include "query/logsql/source_mem.h"
#include "span_model.h"

struct span_row {
    struct ks_log_field fields[64];
    char names[64][64], values[64][48];
    size_t count;
};

static inline void sr_put(struct span_row *r, struct ks_slice value, const char *prefix,
                          struct ks_slice key, const char *suffix)
{
    KS_ASSERT(r->count < 64);
    int n = snprintf(r->names[r->count], 64, "%s%.*s%s", prefix, KS_SLICE_ARG(key), suffix);
    r->fields[r->count].name = ks_slice(r->names[r->count], (size_t)n);
    n = snprintf(r->values[r->count], 48, "%.*s", KS_SLICE_ARG(value));
    r->fields[r->count].value = ks_slice(r->values[r->count], (size_t)n);
    r->count++;
}

static inline void sr_num(struct span_row *r, const char *name, unsigned long long v)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", v);
    sr_put(r, ks_slice_str(text), name, ks_slice_str(""), "");
}

static inline void sr_attrs(struct span_row *r, const char *prefix, const struct ks_attrs *attrs,
                            const char *suffix)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        char text[32];
        struct ks_slice v = a->text;
        if (a->type == KS_ATTR_INT)
            v = ks_slice(text, (size_t)sprintf(text, "%lld", (long long)a->number));
        else if (a->type == KS_ATTR_DOUBLE)
            v = ks_slice(text, (size_t)sprintf(text, "%.12g", a->real));
        else if (a->type == KS_ATTR_BOOL)
            v = ks_slice_str(a->number ? "true" : "false");
        sr_put(r, v, prefix, a->key, suffix);
    }
}

static inline void sr_hex(struct span_row *r, const char *name, int digits, uint64_t hi,
                          uint64_t lo)
{
    char text[40];
    if (digits == 32)
        snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)hi,
                 (unsigned long long)lo);
    else
        snprintf(text, sizeof text, "%016llx", (unsigned long long)lo);
    sr_put(r, digits == 16 && !lo ? ks_slice_str("") : ks_slice_str(text), name, ks_slice_str(""),
           "");
}

static inline void sr_of(struct span_row *r, const struct ks_span *s)
{
    struct ks_slice none = ks_slice_str("");
    r->count = 0;
    sr_put(r, KS_SLICE_LIT("-"), "_msg", none, "");
    sr_hex(r, "trace_id", 32, s->trace_id.hi, s->trace_id.lo);
    sr_hex(r, "span_id", 16, 0, s->span_id);
    sr_hex(r, "parent_span_id", 16, 0, s->parent_id);
    sr_put(r, s->name, "name", none, "");
    sr_put(r, s->state, "trace_state", none, "");
    sr_put(r, s->status_message, "status_message", none, "");
    sr_put(r, s->scope->name, "scope_name", none, "");
    sr_put(r, s->scope->version, "scope_version", none, "");
    sr_num(r, "kind", s->kind);
    sr_num(r, "flags", s->flags);
    sr_num(r, "status_code", s->status);
    sr_num(r, "start_time_unix_nano", s->start_ns);
    sr_num(r, "end_time_unix_nano", s->end_ns);
    sr_num(r, "duration", s->end_ns - s->start_ns);
    sr_num(r, "dropped_attributes_count", s->attrs.dropped);
    sr_num(r, "dropped_events_count", s->dropped_events);
    sr_num(r, "dropped_links_count", s->dropped_links);
    sr_attrs(r, "resource_attr:", &s->resource->attrs, "");
    sr_attrs(r, "span_attr:", &s->attrs, "");
    if (s->event_count) {
        sr_num(r, "event:event_time_unix_nano:0", s->events->time_ns);
        sr_put(r, s->events->name, "event:event_name:0", none, "");
        sr_num(r, "event:event_dropped_attributes_count:0", s->events->attrs.dropped);
        sr_attrs(r, "event:event_attr:", &s->events->attrs, ":0");
    }
    if (s->link_count) {
        sr_hex(r, "link:link_trace_id:0", 32, s->links->trace_id.hi, s->links->trace_id.lo);
        sr_hex(r, "link:link_span_id:0", 16, 0, s->links->span_id);
        sr_num(r, "link:link_dropped_attributes_count:0", s->links->attrs.dropped);
        sr_num(r, "link:link_flags:0", s->links->flags);
        sr_attrs(r, "link:link_attr:", &s->links->attrs, ":0");
    }
}

static inline void sr_add(struct ks_lq_mem *m, struct span_row *r, const struct ks_span *s)
{
    struct ks_label labels[2] = {
        {KS_SLICE_LIT("name"), s->name},
        {KS_SLICE_LIT("resource_attr:service.name"), s->resource->service}};
    struct ks_labels list = {labels, 2, 2};
    struct ks_buf tags;
    ks_buf_init(&tags, 4096);
    ks_labels_encode(&list, &tags);
    sr_of(r, s);
    KS_ASSERT(ks_lq_mem_add(m, (struct ks_tenant){0, 0}, (int64_t)s->end_ns, ks_buf_view(&tags),
                            r->fields, r->count) == KS_OK);
    ks_buf_done(&tags);
}

/* A filter, and pipes behind it; what they give does not depend on the order of rows. */
static inline void sr_leaf(uint64_t *rng, struct ks_buf *out)
{
    static const char *const leaves[] = {
        "*",
        "GET",
        "`span_attr:http.method`:=GET",
        "`span_attr:http.method`:\"POST\"",
        "-`span_attr:http.method`:*",
        "`span_attr:code`:>300",
        "`span_attr:code`:range(100, 250]",
        "`span_attr:ratio`:>=2.5",
        "`span_attr:flag`:=true",
        "`span_attr:request.id`:~\"r-[0-9]+7$\"",
        "duration:>1s",
        "duration:<300ms",
        "name:op-3",
        "name:in(op-1, op-2, op-11, nothing)",
        "{name=\"op-5\"}",
        "{resource_attr:service.name=~\"service-[12]\"}",
        "{name!=\"op-4\",resource_attr:service.name=\"service-0\"}",
        "`resource_attr:pod`:=pod-3",
        "`resource_attr:pod`:~\"pod-[5-9]\"",
        "`resource_attr:missing`:\"\"",
        "\"resource_attr:\"*:pod-7",
        "\"event:\"*:exception",
        "`event:event_attr:exception.type:0`:=E",
        "`event:event_name:1`:*",
        "`link:link_span_id:0`:=0000000000000009",
        "status_code:=2",
        "status_message:broke",
        "kind:in(2,3)",
        "flags:>0",
        "parent_span_id:*",
        "parent_span_id:\"\"",
        "trace_state:\"k=v\"",
        "scope_name:=lib",
        "_msg:=\"-\"",
        "start_time_unix_nano:<1700000300000000000",
        "_time:[1700000100, 1700000250)",
        "dropped_events_count:=1",
        "nowhere:*",
        "-nowhere:*",
    };
    ks_buf_str(out, leaves[ks_rng_below(rng, sizeof leaves / sizeof *leaves)]);
}

static inline void sr_filter(uint64_t *rng, struct ks_buf *out)
{
    size_t n = 1 + ks_rng_below(rng, 3);
    for (size_t i = 0; i < n; i++) {
        bool group = !ks_rng_below(rng, 3);
        if (i)
            ks_buf_str(out, " ");
        if (group)
            ks_buf_str(out, ks_rng_below(rng, 3) ? "(" : "!(");
        sr_leaf(rng, out);
        if (group) {
            ks_buf_str(out, ks_rng_below(rng, 3) ? " or " : " ");
            sr_leaf(rng, out);
            ks_buf_str(out, ")");
        }
    }
}

static inline void sr_pipes(uint64_t *rng, struct ks_buf *out)
{
    static const char *const pipes[] = {
        "",
        "",
        " | fields trace_id, span_id, _time",
        " | fields _stream, name, `resource_attr:pod`, `span_attr:code`",
        " | fields span_id, `event:event_name:0`, missing",
        " | uniq by (`resource_attr:service.name`) with hits",
        " | stats by (name, `resource_attr:pod`) count() n, sum(duration) d, max(`span_attr:code`) "
        "m",
        " | stats by (_time:1m) count() n, count_uniq(trace_id) t",
        " | field_names",
        " | field_values `span_attr:http.method`",
        " | delete `span_attr:code`, _stream_id | fields span_id, `span_attr:*`",
        " | stats count() n, count(`event:event_name:0`) e, count(`span_attr:*`) a",
        " | filter `span_attr:code`:<200 | fields span_id, kind, status_code, flags",
        " | top 5 by (status_code)",
    };
    ks_buf_str(out, pipes[ks_rng_below(rng, sizeof pipes / sizeof *pipes)]);
}

#endif
