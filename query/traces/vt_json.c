/* A trace as VictoriaTraces' /select/jaeger answers it: every tag is a string. */
#include <stdlib.h>

#include "base/num.h"
#include "query/traces/jaeger_priv.h"
#include "storage/traces/any_value.h"

struct list {
    struct ks_buf *out;
    struct ks_buf text, key;
    bool any;
};

static void put(struct list *l, struct ks_slice key, struct ks_slice value)
{
    ks_buf_str(l->out, l->any ? ",{\"key\":" : "{\"key\":");
    l->any = true;
    ks_go_json_str(l->out, key);
    ks_buf_str(l->out, ",\"type\":\"string\",\"value\":");
    ks_go_json_str(l->out, value.len ? value : KS_SLICE_LIT("-"));
    ks_buf_byte(l->out, '}');
}

static void put_text(struct list *l, const char *key, struct ks_slice value)
{
    if (value.len)
        put(l, ks_slice_str(key), value);
}

/* Maps are flattened: a tag per value, keys joined by dots. */
static void put_map(struct list *l, const struct ks_attr *map)
{
    struct ks_any_iter stack[KS_ANY_DEPTH_MAX];
    size_t ends[KS_ANY_DEPTH_MAX], depth = 0;
    struct ks_attr a;
    stack[0] = ks_any_iter(map->text, KS_ATTR_KVLIST);
    ends[depth++] = l->key.len;
    while (depth) {
        l->key.len = ends[depth - 1];
        if (!ks_any_next(&stack[depth - 1], &a)) {
            depth--;
            continue;
        }
        ks_buf_byte(&l->key, '.');
        ks_buf_slice(&l->key, a.key);
        if (a.type == KS_ATTR_KVLIST && depth < KS_ANY_DEPTH_MAX) {
            stack[depth] = ks_any_iter(a.text, KS_ATTR_KVLIST);
            ends[depth++] = l->key.len;
            continue;
        }
        ks_buf_reset(&l->text);
        ks_attr_text(&a, &l->text);
        put(l, ks_buf_view(&l->key), ks_buf_view(&l->text));
    }
}

static void put_attr(struct list *l, const char *prefix, const struct ks_attr *a)
{
    ks_buf_reset(&l->key);
    ks_buf_str(&l->key, prefix);
    ks_buf_slice(&l->key, a->key);
    if (a->type == KS_ATTR_KVLIST) {
        put_map(l, a);
        return;
    }
    ks_buf_reset(&l->text);
    ks_attr_text(a, &l->text);
    put(l, ks_buf_view(&l->key), ks_buf_view(&l->text));
}

static void put_attrs(struct list *l, const char *prefix, const struct ks_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++)
        put_attr(l, prefix, &attrs->items[i]);
}

static void tags(const struct ks_span *s, struct list *l)
{
    static const char *const errors[] = {"unset", "false", "true"};
    l->any = false;
    ks_buf_str(l->out, ",\"tags\":[");
    put_text(l, "otel.scope.name", s->scope->name);
    put_text(l, "otel.scope.version", s->scope->version);
    put_attrs(l, "scope_attr:", &s->scope->attrs);
    if (s->kind)
        put(l, KS_SLICE_LIT("span.kind"), ks_slice_str(ks_span_kind_name(s->kind)));
    put_attrs(l, "", &s->attrs);
    put(l, KS_SLICE_LIT("error"), ks_slice_str(errors[s->status < 3 ? s->status : 0]));
    put_text(l, "otel.status_description", s->status_message);
    put_text(l, "w3c.tracestate", s->state);
    ks_buf_byte(l->out, ']');
}

static void logs(const struct ks_span *s, struct list *l)
{
    ks_buf_str(l->out, ",\"logs\":[");
    for (uint32_t i = 0; i < s->event_count; i++) {
        ks_buf_str(l->out, i ? ",{\"timestamp\":" : "{\"timestamp\":");
        ks_buf_u64_dec(l->out, s->events[i].time_ns / 1000);
        ks_buf_str(l->out, ",\"fields\":[");
        l->any = false;
        put_text(l, "event", s->events[i].name);
        put_attrs(l, "", &s->events[i].attrs);
        ks_buf_str(l->out, "]}");
    }
    ks_buf_byte(l->out, ']');
}

static void references(const struct ksi_jaeger_span *j, struct ks_buf *out)
{
    ks_buf_str(out, ",\"references\":[");
    for (size_t i = 0; i < j->ref_count; i++) {
        ks_buf_str(out, i ? ",{\"refType\":\"" : "{\"refType\":\"");
        ks_buf_str(out, j->refs[i].child_of ? "CHILD_OF" : "FOLLOWS_FROM");
        ks_buf_str(out, "\",\"spanID\":\"");
        ks_jaeger_span_id(out, j->refs[i].span_id);
        ks_buf_str(out, "\",\"traceID\":\"");
        ks_jaeger_trace_id(out, j->refs[i].trace_id, false);
        ks_buf_str(out, "\"}");
    }
    ks_buf_byte(out, ']');
}

static void span(const struct ksi_jaeger_span *j, size_t process, struct list *l)
{
    const struct ks_span *s = j->s;
    struct ks_buf *out = l->out;
    ks_buf_str(out, "{\"duration\":");
    ks_buf_u64_dec(out, ks_span_duration_ns(s) / 1000);
    logs(s, l);
    ks_buf_str(out, ",\"operationName\":");
    ks_go_json_str(out, s->name);
    ks_buf_str(out, ",\"processID\":\"p");
    ks_buf_u64_dec(out, process);
    ks_buf_byte(out, '"');
    references(j, out);
    ks_buf_str(out, ",\"spanID\":\"");
    ks_jaeger_span_id(out, s->span_id);
    ks_buf_str(out, "\",\"startTime\":");
    ks_buf_u64_dec(out, s->start_ns / 1000);
    tags(s, l);
    ks_buf_str(out, ",\"traceID\":\"");
    ks_jaeger_trace_id(out, s->trace_id, false);
    ks_buf_str(out, "\",\"warnings\":null}");
}

static ks_err process(const struct ks_resource *r, struct ks_arena *arena, struct list *l)
{
    struct ks_attrs sorted;
    KS_TRY(ksi_sorted_attrs(&r->attrs, arena, &sorted));
    ks_buf_str(l->out, "{\"serviceName\":");
    ks_go_json_str(l->out, r->service);
    ks_buf_str(l->out, ",\"tags\":[");
    l->any = false;
    for (uint32_t i = 0; i < sorted.count; i++)
        if (!ks_slice_is(sorted.items[i].key, "service.name"))
            put_attr(l, "", &sorted.items[i]);
    ks_buf_str(l->out, "]}");
    return KS_OK;
}

static ks_err trace(const struct ksi_jaeger_trace *t, struct ks_jaeger_processes *p,
                    struct ks_arena *arena, struct list *l)
{
    size_t *of = ks_arena_array(arena, t->count + 1, sizeof *of), used = 0;
    size_t *order = ks_arena_array(arena, t->count + 1, sizeof *order);
    if (!of || !order)
        return ks_arena_err(arena);
    for (size_t i = 0; i < t->count; i++) {
        of[i] = ksi_process_number(p, t->spans[i].s->resource, arena);
        if (!of[i])
            return ks_arena_err(arena);
        bool known = false;
        for (size_t k = used; k-- > 0 && !known;)
            known = order[k] == of[i];
        if (!known)
            order[used++] = of[i];
    }
    ksi_sort_processes(order, used);
    ks_buf_str(l->out, "{\"processes\":{");
    for (size_t i = 0; i < used; i++) {
        ks_buf_str(l->out, i ? ",\"p" : "\"p");
        ks_buf_u64_dec(l->out, order[i]);
        ks_buf_str(l->out, "\":");
        KS_TRY(process(p->items[order[i] - 1], arena, l));
    }
    ks_buf_str(l->out, "},\"spans\":[");
    for (size_t i = 0; i < t->count; i++) {
        if (i)
            ks_buf_byte(l->out, ',');
        span(&t->spans[i], of[i], l);
    }
    ks_buf_str(l->out, "],\"traceID\":\"");
    ks_jaeger_trace_id(l->out, t->spans[0].s->trace_id, false);
    ks_buf_str(l->out, "\",\"warnings\":null}");
    return ks_buf_status(l->out);
}

ks_err ksi_vt_trace(const struct ksi_jaeger_trace *t, struct ks_jaeger_processes *p,
                    struct ks_arena *arena, struct ks_buf *out)
{
    struct list l = {.out = out};
    ks_buf_init(&l.text, out->max);
    ks_buf_init(&l.key, out->max);
    ks_err err = trace(t, p, arena, &l);
    if (err == KS_OK)
        err = ks_buf_status(&l.text);
    ks_buf_done(&l.text);
    ks_buf_done(&l.key);
    return err;
}
