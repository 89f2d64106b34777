/*
 * Names and values of tags, for a query editor's completion: of the newest traces that fit the
 * query and times, at most -traces.maxTracesPerSearch, so that the cost has a bound; names of
 * services and spans are complete where no query is given.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/tempo/tempo_priv.h"
#include "base/hash.h"
#include "base/num.h"
#include "query/traces/summary.h"
#include "storage/traces/any_value.h"

enum { ITEMS_MAX = 10000, SLOTS = 32768, SCOPES = 5 };

/* A name with the scope it is in, or a value with its type. */
struct item {
    struct ks_slice text;
    unsigned kind;
};
struct items {
    struct ks_arena *arena;
    struct item *list;
    size_t count, cap;
    uint32_t *slots;
};

static ks_err add(struct items *it, struct ks_slice text, unsigned kind)
{
    uint64_t h = ks_hash64(text.ptr, text.len) + kind;
    size_t at = h % SLOTS;
    for (; it->slots[at]; at = (at + 1) % SLOTS) {
        const struct item *x = &it->list[it->slots[at] - 1];
        if (x->kind == kind && ks_slice_eq(x->text, text))
            return KS_OK;
    }
    if (it->count == ITEMS_MAX)
        return KS_OK;
    KS_TRY(ks_arena_grow(it->arena, (void **)&it->list, &it->cap, it->count + 1, sizeof *it->list));
    struct ks_slice copy = ks_arena_dup(it->arena, text);
    if (!copy.ptr)
        return ks_arena_err(it->arena);
    it->list[it->count] = (struct item){copy, kind};
    it->slots[at] = (uint32_t)++it->count;
    return KS_OK;
}

static int by_text(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind)
                              : ks_slice_cmp(x->text, y->text);
}

static ks_err items_init(struct items *it, struct ks_arena *arena)
{
    *it = (struct items){.arena = arena};
    it->slots = ks_arena_zalloc(arena, SLOTS * sizeof *it->slots);
    return it->slots ? KS_OK : ks_arena_err(arena);
}

static void sort(struct items *it)
{
    if (it->count)
        qsort(it->list, it->count, sizeof *it->list, by_text);
}

static size_t newest(const struct ksi_tempo *t)
{
    return ks_app_of(t->req)->cfg.max_traces_per_search;
}

/* --- names --- */
static const char *const scope_names[SCOPES] = {"resource", "span", "event", "link",
                                                "instrumentation"};
static const char *const intrinsics[] = {
    "duration",        "kind",   "name",          "rootName",
    "rootServiceName", "status", "statusMessage", "traceDuration"};
enum { INTRINSICS = sizeof intrinsics / sizeof *intrinsics };

static ks_err add_keys(struct items *it, const struct ks_attrs *attrs, unsigned scope)
{
    for (uint32_t i = 0; i < attrs->count; i++)
        KS_TRY(add(it, attrs->items[i].key, scope));
    return KS_OK;
}

static ks_err keys_of(struct ksi_tempo *t, void *arg, const struct ksi_tempo_hit *h)
{
    struct items *it = arg;
    for (size_t i = 0; i < h->count; i++) {
        const struct ks_span *s = &h->spans[i];
        if (!h->matched[i])
            continue;
        if (!i || s->resource != h->spans[i - 1].resource)
            KS_TRY(add_keys(it, &s->resource->attrs, 0));
        KS_TRY(add_keys(it, &s->attrs, 1));
        for (uint32_t k = 0; k < s->event_count; k++)
            KS_TRY(add_keys(it, &s->events[k].attrs, 2));
        for (uint32_t k = 0; k < s->link_count; k++)
            KS_TRY(add_keys(it, &s->links[k].attrs, 3));
        KS_TRY(add_keys(it, &s->scope->attrs, 4));
    }
    return KS_OK;
}

static ks_err read_keys(struct ksi_tempo *t, struct items *it)
{
    KS_TRY(ksi_tempo_query(t));
    KS_TRY(items_init(it, &t->req->arena));
    KS_TRY(ksi_tempo_each(t, newest(t), keys_of, it));
    sort(it);
    return KS_OK;
}

static ks_err tags(struct ksi_tempo *t)
{
    struct items it;
    struct ks_buf *out = &t->req->resp.body;
    KS_TRY(read_keys(t, &it));
    for (size_t i = 0; i < it.count; i++)
        it.list[i].kind = 0;
    sort(&it);
    t->req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"tagNames\":[");
    for (size_t i = 0, shown = 0; i < it.count; i++) {
        if (i && ks_slice_eq(it.list[i].text, it.list[i - 1].text))
            continue;
        if (shown++)
            ks_buf_byte(out, ',');
        ks_go_json_str(out, it.list[i].text);
    }
    ks_buf_str(out, "],\"metrics\":{\"inspectedBytes\":\"0\"}}");
    return ks_buf_status(out);
}

static ks_err tags_v2(struct ksi_tempo *t)
{
    struct items it;
    struct ks_buf *out = &t->req->resp.body;
    struct ks_slice only = ks_http_arg(t->req, "scope");
    bool any = !only.len || ks_slice_is(only, "all") || ks_slice_is(only, "none"), first = true;
    KS_TRY(read_keys(t, &it));
    t->req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"scopes\":[");
    for (unsigned s = 0; s <= SCOPES; s++) {
        bool intrinsic = s == SCOPES;
        const char *name = intrinsic ? "intrinsic" : scope_names[s];
        if (!any && !ks_slice_is(only, name))
            continue;
        ks_buf_printf(out, "%s{\"name\":\"%s\",\"tags\":[", first ? "" : ",", name);
        first = false;
        for (size_t i = 0; intrinsic && i < INTRINSICS; i++)
            ks_buf_printf(out, "%s\"%s\"", i ? "," : "", intrinsics[i]);
        for (size_t i = 0, shown = 0; i < it.count; i++) {
            if (it.list[i].kind != s)
                continue;
            if (shown++)
                ks_buf_byte(out, ',');
            ks_go_json_str(out, it.list[i].text);
        }
        ks_buf_str(out, "]}");
    }
    ks_buf_str(out, "],\"metrics\":{\"inspectedBytes\":\"0\"}}");
    return ks_buf_status(out);
}

/* --- values --- */
enum { V_STRING, V_INT, V_FLOAT, V_BOOL, V_KEYWORD };
static const char *const type_names[] = {"string", "int", "float", "bool", "keyword"};

struct values {
    struct items it;
    struct ks_slice key;
    unsigned scopes; /* enum ks_cond_scope; 0: a field of the span */
    char field;      /* n ame, s tatus, k ind, m essage, r oot name, R oot service */
    struct ks_buf text;
};

static ks_err add_attr(struct values *v, const struct ks_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        unsigned type = a->type == KS_ATTR_INT      ? V_INT
                        : a->type == KS_ATTR_DOUBLE ? V_FLOAT
                        : a->type == KS_ATTR_BOOL   ? V_BOOL
                                                    : V_STRING;
        if (!ks_slice_eq(a->key, v->key) || a->type == KS_ATTR_EMPTY)
            continue;
        ks_buf_reset(&v->text);
        ks_attr_text(a, &v->text);
        KS_TRY(ks_buf_status(&v->text));
        KS_TRY(add(&v->it, ks_buf_view(&v->text), type));
    }
    return KS_OK;
}

static ks_err add_attrs(struct values *v, const struct ks_span *s, bool new_resource)
{
    if ((v->scopes & KS_COND_RESOURCE) && new_resource)
        KS_TRY(add_attr(v, &s->resource->attrs));
    if (v->scopes & KS_COND_SPAN)
        KS_TRY(add_attr(v, &s->attrs));
    if (v->scopes & KS_COND_SCOPE)
        KS_TRY(add_attr(v, &s->scope->attrs));
    for (uint32_t k = 0; (v->scopes & KS_COND_EVENT) && k < s->event_count; k++)
        KS_TRY(add_attr(v, &s->events[k].attrs));
    for (uint32_t k = 0; (v->scopes & KS_COND_LINK) && k < s->link_count; k++)
        KS_TRY(add_attr(v, &s->links[k].attrs));
    return KS_OK;
}

static ks_err values_of(struct ksi_tempo *t, void *arg, const struct ksi_tempo_hit *h)
{
    struct values *v = arg;
    const struct ks_span *root = h->summary->root;
    if (v->field == 'r' || v->field == 'R')
        return root ? add(&v->it, v->field == 'r' ? root->name : root->resource->service, V_STRING)
                    : KS_OK;
    for (size_t i = 0; i < h->count; i++) {
        const struct ks_span *s = &h->spans[i];
        if (!h->matched[i])
            continue;
        if (v->field == 'n')
            KS_TRY(add(&v->it, s->name, V_STRING));
        else if (v->field == 'm' && s->status_message.len)
            KS_TRY(add(&v->it, s->status_message, V_STRING));
        else if (v->scopes)
            KS_TRY(add_attrs(v, s, !i || s->resource != h->spans[i - 1].resource));
    }
    return KS_OK;
}

/* The tag of …/tag/<tag>/values. */
static ks_err tag_of(struct ksi_tempo *t, bool v2, struct values *v)
{
    static const struct {
        const char *name;
        char field;
    } fields[] = {{"name", 'n'},          {"status", 's'},           {"kind", 'k'},
                  {"statusMessage", 'm'}, {"rootName", 'r'},         {"rootServiceName", 'R'},
                  {"root.name", 'r'},     {"root.service.name", 'R'}};
    static const struct {
        const char *prefix;
        unsigned scopes;
    } prefixes[] = {{"span.", KS_COND_SPAN},   {"resource.", KS_COND_RESOURCE},
                    {"event.", KS_COND_EVENT}, {"link.", KS_COND_LINK},
                    {".", KS_COND_ANY},        {"instrumentation.", KS_COND_SCOPE}};
    struct ks_slice tag = t->req->param, tail = KS_SLICE_LIT("/values");
    if (tag.len <= tail.len || !ks_slice_eq(ks_slice_from(tag, tag.len - tail.len), tail))
        return ks_fail(KS_ENOTFOUND, "want tag/<name>/values");
    tag.len -= tail.len;
    v->key = tag;
    v->scopes = KS_COND_ANY;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (ks_slice_is(tag, fields[i].name)) {
            v->field = fields[i].field;
            v->scopes = 0;
            return KS_OK;
        }
    for (size_t i = 0; v2 && i < sizeof prefixes / sizeof *prefixes; i++)
        if (ks_slice_has_prefix(tag, ks_slice_str(prefixes[i].prefix))) {
            v->key = ks_slice_from(tag, strlen(prefixes[i].prefix));
            v->scopes = prefixes[i].scopes;
            return KS_OK;
        }
    return KS_OK;
}

/* Names the store keeps anyway are complete and cost nothing. */
static ks_err kept_names(struct ksi_tempo *t, struct values *v, bool *ret_done)
{
    static const char *const statuses[] = {"error", "ok", "unset"};
    bool services = v->scopes && (v->scopes & KS_COND_RESOURCE) &&
                    ks_slice_is(v->key, "service.name") && !ks_http_arg(t->req, "q").len;
    struct ks_operation *list;
    size_t count;
    *ret_done = services || v->field == 's' || v->field == 'k';
    for (size_t i = 0; v->field == 's' && i < 3; i++)
        KS_TRY(add(&v->it, ks_slice_str(statuses[i]), V_KEYWORD));
    for (uint32_t i = 0; v->field == 'k' && i < 6; i++)
        KS_TRY(add(&v->it, ks_slice_str(i ? ks_span_kind_name(i) : "unspecified"), V_KEYWORD));
    if (!services)
        return KS_OK;
    KS_TRY(ks_trace_names(t->store, t->tenant, &t->p, true, ks_slice("", 0), &t->req->arena, &list,
                          &count));
    for (size_t i = 0; i < count; i++)
        if (list[i].name.len)
            KS_TRY(add(&v->it, list[i].name, V_STRING));
    return KS_OK;
}

static ks_err read_values(struct ksi_tempo *t, bool v2, struct values *v)
{
    bool done;
    KS_TRY(tag_of(t, v2, v));
    KS_TRY(items_init(&v->it, &t->req->arena));
    KS_TRY(kept_names(t, v, &done));
    if (!done) {
        KS_TRY(ksi_tempo_query(t));
        KS_TRY(ksi_tempo_each(t, newest(t), values_of, v));
    }
    sort(&v->it);
    return KS_OK;
}

static ks_err values(struct ksi_tempo *t, bool v2)
{
    struct values v = {0};
    struct ks_buf *out = &t->req->resp.body;
    ks_buf_init(&v.text, 1 << 20);
    ks_err err = read_values(t, v2, &v);
    ks_buf_done(&v.text);
    KS_TRY(err);
    t->req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"tagValues\":[");
    for (size_t i = 0; i < v.it.count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        if (v2)
            ks_buf_printf(out, "{\"type\":\"%s\",\"value\":", type_names[v.it.list[i].kind]);
        ks_go_json_str(out, v.it.list[i].text);
        if (v2)
            ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "],\"metrics\":{\"inspectedBytes\":\"0\"}}");
    return ks_buf_status(out);
}

static ks_err values_v1(struct ksi_tempo *t)
{
    return values(t, false);
}
static ks_err values_v2(struct ksi_tempo *t)
{
    return values(t, true);
}

ks_err ks_tempo_tags(struct ks_http_request *req)
{
    return ksi_tempo_run(req, tags);
}
ks_err ks_tempo_tags_v2(struct ks_http_request *req)
{
    return ksi_tempo_run(req, tags_v2);
}
ks_err ks_tempo_values(struct ks_http_request *req)
{
    return ksi_tempo_run(req, values_v1);
}
ks_err ks_tempo_values_v2(struct ks_http_request *req)
{
    return ksi_tempo_run(req, values_v2);
}
