/* Rows back to spans: see span_rows.h. Rows are checked as bytes from disk are. */
#include "base/base64.h"
#include "base/num.h"
#include "engine/traces/span_rows_priv.h"
#include "storage/traces/span_fields.h"

/* What a column is of a span. */
enum what {
    W_OTHER, /* told by other fields, or hidden */
    W_TRACE_ID,
    W_SPAN_ID,
    W_PARENT,
    W_NAME,
    W_STATE,
    W_MESSAGE,
    W_KIND,
    W_STATUS,
    W_FLAGS,
    W_START,
    W_END,
    W_DROPPED,
    W_DROPPED_EVENTS,
    W_DROPPED_LINKS,
    W_SCOPE_NAME,
    W_SCOPE_VERSION,
    W_TYPES,
    W_RAW,
    W_RESOURCE_SCHEMA,
    W_SCOPE_SCHEMA,
    W_RESOURCE_ATTR,
    W_SCOPE_ATTR,
    W_SPAN_ATTR,
    W_EVENT_TIME,
    W_EVENT_NAME,
    W_EVENT_DROPPED,
    W_EVENT_ATTR,
    W_LINK_TRACE,
    W_LINK_SPAN,
    W_LINK_STATE,
    W_LINK_DROPPED,
    W_LINK_FLAGS,
    W_LINK_ATTR,
};
struct col {
    enum what what;
    uint32_t index;      /* of the event or link */
    struct ks_slice key; /* of an attribute; in the arena */
    struct ks_log_column values;
};

struct reader {
    struct ks_arena *arena;
    struct col *cols;
    size_t count;
    /* The row at hand: how many attributes each list has, then where the next one goes. */
    uint32_t row, resource, scope, span, *event, *link, events, links;
    struct ks_slice types;
    size_t type;
};

/* --- columns --- */
static const struct {
    const char *name;
    enum what what;
} plain[] = {
    {"trace_id", W_TRACE_ID},
    {"span_id", W_SPAN_ID},
    {"parent_span_id", W_PARENT},
    {"name", W_NAME},
    {"trace_state", W_STATE},
    {"status_message", W_MESSAGE},
    {"kind", W_KIND},
    {"status_code", W_STATUS},
    {"flags", W_FLAGS},
    {"start_time_unix_nano", W_START},
    {"end_time_unix_nano", W_END},
    {"dropped_attributes_count", W_DROPPED},
    {"dropped_events_count", W_DROPPED_EVENTS},
    {"dropped_links_count", W_DROPPED_LINKS},
    {"scope_name", W_SCOPE_NAME},
    {"scope_version", W_SCOPE_VERSION},
    {KSI_ROW_TYPES, W_TYPES},
    {KSI_ROW_RAW, W_RAW},
    {KSI_ROW_RESOURCE_SCHEMA, W_RESOURCE_SCHEMA},
    {KSI_ROW_SCOPE_SCHEMA, W_SCOPE_SCHEMA},
};
/* attr: what follows the prefix is a key. indexed: ":<number>" ends the name. */
static const struct {
    const char *prefix;
    enum what what;
    bool attr, indexed;
} prefixed[] = {
    {"resource_attr:", W_RESOURCE_ATTR, true, false},
    {"scope_attr:", W_SCOPE_ATTR, true, false},
    {"span_attr:", W_SPAN_ATTR, true, false},
    {"event:event_attr:", W_EVENT_ATTR, true, true},
    {"event:event_time_unix_nano", W_EVENT_TIME, false, true},
    {"event:event_name", W_EVENT_NAME, false, true},
    {"event:event_dropped_attributes_count", W_EVENT_DROPPED, false, true},
    {"link:link_attr:", W_LINK_ATTR, true, true},
    {"link:link_trace_id", W_LINK_TRACE, false, true},
    {"link:link_span_id", W_LINK_SPAN, false, true},
    {"link:link_trace_state", W_LINK_STATE, false, true},
    {"link:link_dropped_attributes_count", W_LINK_DROPPED, false, true},
    {"link:link_flags", W_LINK_FLAGS, false, true},
};

enum { PARTS_MAX = 65536 };

static bool take_index(struct ks_slice *name, uint32_t *ret)
{
    size_t at = name->len;
    uint64_t v;
    while (at && name->ptr[at - 1] != ':')
        at--;
    if (!at || !ks_u64_parse(ks_slice_from(*name, at), &v) || v >= PARTS_MAX)
        return false;
    name->len = at - 1;
    *ret = (uint32_t)v;
    return true;
}

static ks_err judge(struct ks_slice name, struct ks_arena *arena, struct col *c)
{
    c->what = W_OTHER;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (ks_slice_is(name, plain[i].name))
            c->what = plain[i].what;
    for (size_t i = 0; i < sizeof prefixed / sizeof *prefixed; i++) {
        struct ks_slice p = ks_slice_str(prefixed[i].prefix), rest = name;
        if (!ks_slice_has_prefix(name, p))
            continue;
        if (prefixed[i].indexed && !take_index(&rest, &c->index))
            return ks_fail(KS_ECORRUPT, "a span's row has the field \"%.*s\"", KS_SLICE_ARG(name));
        if (prefixed[i].attr && rest.len < p.len)
            continue;
        if (!prefixed[i].attr && rest.len != p.len)
            continue;
        c->what = prefixed[i].what;
        if (!prefixed[i].attr)
            return KS_OK;
        c->key = ks_arena_dup(arena, ks_slice_from(rest, p.len));
        return c->key.ptr ? KS_OK : ks_arena_err(arena);
    }
    return KS_OK;
}

static ks_err open_columns(struct reader *r, struct ks_log_block *b, const uint64_t *bits)
{
    const struct ks_slice *names;
    size_t n;
    KS_TRY(ks_log_block_names(b, &names, &n));
    r->cols = ks_arena_zalloc(r->arena, (n + 1) * sizeof *r->cols);
    if (!r->cols)
        return ks_arena_err(r->arena);
    for (size_t i = 0; i < n; i++) {
        struct col *c = &r->cols[r->count];
        KS_TRY(judge(names[i], r->arena, c));
        if (c->what == W_OTHER)
            continue;
        KS_TRY(ks_log_block_column_rows(b, names[i], bits, &c->values));
        r->count++;
    }
    return KS_OK;
}

/* --- values --- */
static ks_err bad(const char *what)
{
    return ks_fail(KS_ECORRUPT, "a span's row: bad %s", what);
}

static ks_err keep(struct reader *r, struct ks_slice v, struct ks_slice *ret)
{
    *ret = ks_arena_dup(r->arena, v);
    return ret->ptr ? KS_OK : ks_arena_err(r->arena);
}

static ks_err number(struct ks_slice v, uint64_t max, uint64_t *ret)
{
    return ks_u64_parse(v, ret) && *ret <= max ? KS_OK : bad("number");
}

static ks_err number32(struct ks_slice v, uint32_t *ret)
{
    uint64_t n;
    KS_TRY(number(v, UINT32_MAX, &n));
    *ret = (uint32_t)n;
    return KS_OK;
}

static ks_err span_id(struct ks_slice v, uint64_t *ret)
{
    char text[32];
    struct ks_trace_id id;
    if (v.len != 16)
        return bad("span id");
    memset(text, '0', 16);
    memcpy(text + 16, v.ptr, 16);
    if (!ks_trace_id_of_text(ks_slice(text, 32), &id))
        return bad("span id");
    *ret = id.lo;
    return KS_OK;
}

static ks_err bytes_of(struct reader *r, struct ks_slice v, struct ks_slice *ret)
{
    struct ks_buf b;
    *ret = ks_slice("", 0);
    if (ks_slice_is(v, "-"))
        return KS_OK;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_err err = ks_base64_decode(v, &b) ? ks_buf_status(&b) : bad("base64");
    if (err == KS_OK)
        err = keep(r, ks_buf_view(&b), ret);
    ks_buf_done(&b);
    return err;
}

static ks_err attr_of(struct reader *r, const struct col *c, struct ks_slice v, struct ks_attr *ret)
{
    char type = KSI_ROW_STRING;
    if (r->types.len) {
        if (r->type >= r->types.len)
            return bad("list of types");
        type = r->types.ptr[r->type++];
    }
    *ret = (struct ks_attr){.key = c->key, .type = KS_ATTR_STRING};
    switch (type) {
    case KSI_ROW_STRING:
        return keep(r, v, &ret->text);
    case KSI_ROW_STRING_EMPTY:
        ret->text = ks_slice("", 0);
        return KS_OK;
    case KSI_ROW_UNSET:
        ret->type = KS_ATTR_EMPTY;
        return KS_OK;
    case KSI_ROW_BOOL:
        ret->type = KS_ATTR_BOOL;
        ret->number = ks_slice_is(v, "true");
        return KS_OK;
    case KSI_ROW_INT:
        ret->type = KS_ATTR_INT;
        return ks_i64_parse(v, &ret->number) ? KS_OK : bad("integer");
    case KSI_ROW_DOUBLE:
        ret->type = KS_ATTR_DOUBLE;
        return ks_f64_parse(v, &ret->real) ? KS_OK : bad("number");
    case KSI_ROW_BYTES:
        ret->type = KS_ATTR_BYTES;
        return bytes_of(r, v, &ret->text);
    default:
        return bad("type");
    }
}

/* --- one row --- */
static bool is_event(enum what w)
{
    return w >= W_EVENT_TIME && w <= W_EVENT_ATTR;
}

static bool is_link(enum what w)
{
    return w >= W_LINK_TRACE && w <= W_LINK_ATTR;
}

/* How long each list of the row is. */
static ks_err measure(struct reader *r)
{
    r->resource = r->scope = r->span = r->events = r->links = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct col *c = &r->cols[i];
        if (!ks_log_column_at(&c->values, r->row).len)
            continue;
        if (is_event(c->what) && c->index >= r->events)
            r->events = c->index + 1;
        else if (is_link(c->what) && c->index >= r->links)
            r->links = c->index + 1;
    }
    r->event = ks_arena_zalloc(r->arena, (r->events + 1) * sizeof *r->event);
    r->link = ks_arena_zalloc(r->arena, (r->links + 1) * sizeof *r->link);
    if (!r->event || !r->link)
        return ks_arena_err(r->arena);
    for (size_t i = 0; i < r->count; i++) {
        const struct col *c = &r->cols[i];
        if (!ks_log_column_at(&c->values, r->row).len)
            continue;
        r->resource += c->what == W_RESOURCE_ATTR;
        r->scope += c->what == W_SCOPE_ATTR;
        r->span += c->what == W_SPAN_ATTR;
        if (c->what == W_EVENT_ATTR)
            r->event[c->index]++;
        if (c->what == W_LINK_ATTR)
            r->link[c->index]++;
    }
    return KS_OK;
}

/* A span under construction: everything may still be written. */
struct open_span {
    struct ks_span *s;
    struct ks_resource *resource;
    struct ks_scope *scope;
    struct ks_span_event *events;
    struct ks_span_link *links;
};

static ks_err room(struct reader *r, uint32_t *count, struct ks_attrs *ret)
{
    struct ks_attr *items = ks_arena_array(r->arena, *count + 1u, sizeof *items);
    *ret = (struct ks_attrs){items, 0, 0};
    *count = 0;
    return items ? KS_OK : ks_arena_err(r->arena);
}

static ks_err open_span(struct reader *r, struct ks_span *s, struct open_span *o)
{
    *s = (struct ks_span){.event_count = r->events, .link_count = r->links};
    o->s = s;
    o->resource = ks_arena_zalloc(r->arena, sizeof *o->resource);
    o->scope = ks_arena_zalloc(r->arena, sizeof *o->scope);
    o->events = ks_arena_zalloc(r->arena, (r->events + 1) * sizeof *o->events);
    o->links = ks_arena_zalloc(r->arena, (r->links + 1) * sizeof *o->links);
    if (!o->resource || !o->scope || !o->events || !o->links)
        return ks_arena_err(r->arena);
    s->resource = o->resource;
    s->scope = o->scope;
    s->events = o->events;
    s->links = o->links;
    KS_TRY(room(r, &r->resource, &o->resource->attrs));
    KS_TRY(room(r, &r->scope, &o->scope->attrs));
    KS_TRY(room(r, &r->span, &s->attrs));
    for (uint32_t i = 0; i < r->events; i++)
        KS_TRY(room(r, &r->event[i], &o->events[i].attrs));
    for (uint32_t i = 0; i < r->links; i++)
        KS_TRY(room(r, &r->link[i], &o->links[i].attrs));
    return KS_OK;
}

static ks_err add_attr(struct reader *r, const struct col *c, struct ks_slice v,
                       struct ks_attrs *list)
{
    KS_TRY(attr_of(r, c, v, (struct ks_attr *)(uintptr_t)&list->items[list->count]));
    list->count++;
    return KS_OK;
}

static ks_err set_head(struct reader *r, const struct col *c, struct ks_slice v,
                       struct open_span *o)
{
    struct ks_span *s = o->s;
    switch (c->what) {
    case W_TRACE_ID:
        return ks_trace_id_of_text(v, &s->trace_id) ? KS_OK : bad("trace id");
    case W_SPAN_ID:
        return span_id(v, &s->span_id);
    case W_PARENT:
        return span_id(v, &s->parent_id);
    case W_NAME:
        return keep(r, v, &s->name);
    case W_STATE:
        return keep(r, v, &s->state);
    case W_MESSAGE:
        return keep(r, v, &s->status_message);
    case W_KIND:
        return number32(v, &s->kind);
    case W_STATUS:
        return number32(v, &s->status);
    case W_FLAGS:
        return number32(v, &s->flags);
    case W_START:
        return number(v, UINT64_MAX, &s->start_ns);
    case W_END:
        return number(v, UINT64_MAX, &s->end_ns);
    case W_DROPPED:
        return number32(v, &s->attrs.dropped);
    case W_DROPPED_EVENTS:
        return number32(v, &s->dropped_events);
    case W_DROPPED_LINKS:
        return number32(v, &s->dropped_links);
    case W_SCOPE_NAME:
        return keep(r, v, &o->scope->name);
    case W_SCOPE_VERSION:
        return keep(r, v, &o->scope->version);
    case W_RESOURCE_SCHEMA:
        return keep(r, v, &o->resource->schema_url);
    case W_SCOPE_SCHEMA:
        return keep(r, v, &o->scope->schema_url);
    default:
        return KS_OK;
    }
}

static ks_err set_part(struct reader *r, const struct col *c, struct ks_slice v,
                       struct open_span *o)
{
    struct ks_span_event *e = is_event(c->what) ? &o->events[c->index] : NULL;
    struct ks_span_link *l = is_link(c->what) ? &o->links[c->index] : NULL;
    switch (c->what) {
    case W_RESOURCE_ATTR:
        return add_attr(r, c, v, &o->resource->attrs);
    case W_SCOPE_ATTR:
        return add_attr(r, c, v, &o->scope->attrs);
    case W_SPAN_ATTR:
        return add_attr(r, c, v, &o->s->attrs);
    case W_EVENT_TIME:
        return number(v, UINT64_MAX, &e->time_ns);
    case W_EVENT_NAME:
        return keep(r, v, &e->name);
    case W_EVENT_DROPPED:
        return number32(v, &e->attrs.dropped);
    case W_EVENT_ATTR:
        return add_attr(r, c, v, &e->attrs);
    case W_LINK_TRACE:
        return ks_trace_id_of_text(v, &l->trace_id) ? KS_OK : bad("trace id");
    case W_LINK_SPAN:
        return span_id(v, &l->span_id);
    case W_LINK_STATE:
        return keep(r, v, &l->state);
    case W_LINK_DROPPED:
        return number32(v, &l->attrs.dropped);
    case W_LINK_FLAGS:
        return number32(v, &l->flags);
    case W_LINK_ATTR:
        return add_attr(r, c, v, &l->attrs);
    default:
        return set_head(r, c, v, o);
    }
}

static void find_service(struct ks_resource *res)
{
    for (uint32_t i = 0; i < res->attrs.count; i++) {
        const struct ks_attr *a = &res->attrs.items[i];
        if (!ks_slice_is(a->key, "service.name") || a->type != KS_ATTR_STRING)
            continue;
        res->service = a->text;
        res->has_service = true;
    }
}

/* The whole span as it was sent. */
static ks_err read_raw(struct reader *r, struct ks_slice bytes, struct ks_span *ret)
{
    struct ks_batch b;
    struct ks_slice copy;
    KS_TRY(keep(r, bytes, &copy));
    ks_batch_init(&b);
    ks_err err = ks_batch_decode(copy, &b);
    if (err == KS_OK && b.spans_count != 1)
        err = bad("whole span");
    if (err == KS_OK)
        err = ks_batch_view(&b, 0, r->arena, ret);
    ks_batch_done(&b);
    return err;
}

static ks_err read_row(struct reader *r, struct ks_span *ret)
{
    struct open_span o;
    r->types = ks_slice("", 0);
    r->type = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct ks_slice v = ks_log_column_at(&r->cols[i].values, r->row);
        if (r->cols[i].what == W_RAW && v.len)
            return read_raw(r, v, ret);
        if (r->cols[i].what == W_TYPES)
            r->types = v;
    }
    KS_TRY(measure(r));
    KS_TRY(open_span(r, ret, &o));
    for (size_t i = 0; i < r->count; i++) {
        struct ks_slice v = ks_log_column_at(&r->cols[i].values, r->row);
        if (v.len)
            KS_TRY(set_part(r, &r->cols[i], v, &o));
    }
    find_service(o.resource);
    return r->type == r->types.len ? KS_OK : bad("list of types");
}

ks_err ks_span_rows_read(struct ks_log_block *b, const uint64_t *bits, struct ks_arena *arena,
                         struct ks_span **ret, size_t *ret_count)
{
    struct reader r = {.arena = arena};
    uint32_t rows = ks_log_block_rows(b);
    size_t n = 0, k = 0;
    for (uint32_t w = 0; w < KS_ROW_WORDS(rows); w++)
        n += (size_t)__builtin_popcountll(bits[w]);
    struct ks_span *spans = ks_arena_array(arena, n + 1, sizeof *spans);
    if (!spans)
        return ks_arena_err(arena);
    KS_TRY(open_columns(&r, b, bits));
    for (r.row = 0; r.row < rows; r.row++)
        if (bits[r.row / 64] >> (r.row % 64) & 1)
            KS_TRY(read_row(&r, &spans[k++]));
    *ret = spans;
    *ret_count = k;
    return KS_OK;
}
