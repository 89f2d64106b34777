#include "storage/traces/span_fields.h"

#include "base/hex.h"
#include "base/num.h"
#include "storage/traces/any_value.h"

/* --- texts --- */
void ks_trace_id_text(struct ks_trace_id id, char out[32])
{
    ks_hex_put(out, id.hi, 16);
    ks_hex_put(out + 16, id.lo, 16);
}

void ks_span_id_text(uint64_t id, char out[16])
{
    ks_hex_put(out, id, 16);
}

static bool unhex(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        char c = s[i];
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                            : 16;
        if (d > 15)
            return false;
        v = v << 4 | d;
    }
    *ret = v;
    return true;
}

bool ks_trace_id_of_text(struct ks_slice s, struct ks_trace_id *ret)
{
    return s.len == 32 && unhex(s.ptr, &ret->hi) && unhex(s.ptr + 16, &ret->lo);
}

static ks_err text_of(struct ks_arena *arena, const char *p, size_t n, struct ks_slice *ret)
{
    *ret = ks_arena_dup(arena, ks_slice(p, n));
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}

static ks_err id_text(struct ks_arena *arena, uint64_t id, struct ks_slice *ret)
{
    char text[16];
    *ret = ks_slice("", 0);
    if (!id)
        return KS_OK;
    ks_hex_put(text, id, 16);
    return text_of(arena, text, sizeof text, ret);
}

static ks_err trace_text(struct ks_arena *arena, struct ks_trace_id id, struct ks_slice *ret)
{
    char text[32];
    ks_trace_id_text(id, text);
    return text_of(arena, text, sizeof text, ret);
}

static ks_err number_text(struct ks_arena *arena, uint64_t v, struct ks_slice *ret)
{
    static const char digits[] = "0123456789";
    char text[24];
    if (v < 10) {
        *ret = ks_slice(digits + v, 1);
        return KS_OK;
    }
    return text_of(arena, text, ks_u64_format(text, v), ret);
}

/* Not for maps. */
static ks_err attr_text(const struct ks_attr *a, struct ks_arena *arena, struct ks_slice *ret)
{
    char digits[24];
    struct ks_buf b;
    switch (a->type) {
    case KS_ATTR_EMPTY:
        *ret = KS_SLICE_LIT("-");
        return KS_OK;
    case KS_ATTR_STRING:
        *ret = a->text.len ? a->text : KS_SLICE_LIT("-");
        return KS_OK;
    case KS_ATTR_BOOL:
        *ret = a->number ? KS_SLICE_LIT("true") : KS_SLICE_LIT("false");
        return KS_OK;
    case KS_ATTR_INT:
        return text_of(arena, digits, ks_i64_format(digits, a->number), ret);
    default:
        break;
    }
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_attr_text(a, &b);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK && !b.len)
        *ret = KS_SLICE_LIT("-");
    else if (err == KS_OK)
        err = text_of(arena, b.ptr, b.len, ret);
    ks_buf_done(&b);
    return err;
}

/* --- attribute lists --- */
/* The leaves of an attribute: itself, or the values in a map under keys joined by dots. */
struct leaves {
    struct ks_any_iter stack[KS_ANY_DEPTH_MAX];
    size_t ends[KS_ANY_DEPTH_MAX], depth;
    struct ks_buf key;
    bool plain; /* no map: given once */
    struct ks_attr attr;
};

static void leaves_init(struct leaves *l, const struct ks_attr *a)
{
    ks_buf_init(&l->key, KS_BUF_UNLIMITED);
    l->depth = 0;
    l->plain = a->type != KS_ATTR_KVLIST;
    l->attr = *a;
    if (l->plain)
        return;
    ks_buf_slice(&l->key, a->key);
    l->stack[0] = ks_any_iter(a->text, KS_ATTR_KVLIST);
    l->ends[l->depth++] = l->key.len;
}

/* The key of the attribute given is valid until the next call. */
static bool leaves_next(struct leaves *l, struct ks_attr *ret)
{
    struct ks_attr a;
    if (l->plain) {
        *ret = l->attr;
        l->plain = false;
        return true;
    }
    while (l->depth) {
        l->key.len = l->ends[l->depth - 1];
        if (!ks_any_next(&l->stack[l->depth - 1], &a)) {
            l->depth--;
            continue;
        }
        ks_buf_byte(&l->key, '.');
        ks_buf_slice(&l->key, a.key);
        if (a.type == KS_ATTR_KVLIST && l->depth < KS_ANY_DEPTH_MAX) {
            l->stack[l->depth] = ks_any_iter(a.text, KS_ATTR_KVLIST);
            l->ends[l->depth++] = l->key.len;
            continue;
        }
        *ret = a;
        ret->key = ks_buf_view(&l->key);
        return true;
    }
    return false;
}

static ks_err leaves_done(struct leaves *l)
{
    ks_err err = ks_buf_status(&l->key);
    ks_buf_done(&l->key);
    return err;
}

struct out {
    ks_span_field_fn fn;
    void *arg;
    struct ks_arena *arena;
};

static ks_err put(const struct out *o, struct ks_slice name, struct ks_slice value)
{
    return value.len ? o->fn(o->arg, name, value, NULL) : KS_OK;
}

static ks_err put_number(const struct out *o, const char *name, uint64_t v)
{
    struct ks_slice text;
    KS_TRY(number_text(o->arena, v, &text));
    return put(o, ks_slice_str(name), text);
}

/* prefix + key + suffix */
static ks_err joined(struct ks_arena *arena, const char *prefix, struct ks_slice key,
                     struct ks_slice suffix, struct ks_slice *ret)
{
    size_t n = strlen(prefix);
    char *p = ks_arena_alloc(arena, n + key.len + suffix.len + 1);
    if (!p)
        return ks_arena_err(arena);
    memcpy(p, prefix, n);
    if (key.len)
        memcpy(p + n, key.ptr, key.len);
    if (suffix.len)
        memcpy(p + n + key.len, suffix.ptr, suffix.len);
    *ret = ks_slice(p, n + key.len + suffix.len);
    return KS_OK;
}

static ks_err put_attrs(const struct out *o, const char *prefix, const struct ks_attrs *attrs,
                        struct ks_slice suffix)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        struct leaves l;
        struct ks_attr a;
        ks_err err = KS_OK;
        leaves_init(&l, &attrs->items[i]);
        while (err == KS_OK && leaves_next(&l, &a)) {
            struct ks_slice name, value;
            err = joined(o->arena, prefix, a.key, suffix, &name);
            if (err == KS_OK)
                err = attr_text(&a, o->arena, &value);
            if (err == KS_OK)
                err = o->fn(o->arg, name, value, &attrs->items[i]);
        }
        ks_err done = leaves_done(&l);
        KS_TRY(err == KS_OK ? done : err);
    }
    return KS_OK;
}

/* --- all fields --- */
static ks_err put_part(const struct out *o, const char *name, struct ks_slice suffix,
                       struct ks_slice value)
{
    struct ks_slice full;
    if (!value.len)
        return KS_OK;
    KS_TRY(joined(o->arena, name, ks_slice("", 0), suffix, &full));
    return put(o, full, value);
}

static ks_err put_part_number(const struct out *o, const char *name, struct ks_slice suffix,
                              uint64_t v)
{
    struct ks_slice text;
    KS_TRY(number_text(o->arena, v, &text));
    return put_part(o, name, suffix, text);
}

static ks_err put_events(const struct out *o, const struct ks_span *s)
{
    for (uint32_t i = 0; i < s->event_count; i++) {
        const struct ks_span_event *e = &s->events[i];
        struct ks_slice at = ks_arena_printf(o->arena, ":%u", i);
        if (!at.ptr)
            return ks_arena_err(o->arena);
        KS_TRY(put_part_number(o, "event:event_time_unix_nano", at, e->time_ns));
        KS_TRY(put_part(o, "event:event_name", at, e->name));
        KS_TRY(put_part_number(o, "event:event_dropped_attributes_count", at, e->attrs.dropped));
        KS_TRY(put_attrs(o, "event:event_attr:", &e->attrs, at));
    }
    return KS_OK;
}

static ks_err put_links(const struct out *o, const struct ks_span *s)
{
    for (uint32_t i = 0; i < s->link_count; i++) {
        const struct ks_span_link *l = &s->links[i];
        struct ks_slice at = ks_arena_printf(o->arena, ":%u", i), id;
        if (!at.ptr)
            return ks_arena_err(o->arena);
        KS_TRY(trace_text(o->arena, l->trace_id, &id));
        KS_TRY(put_part(o, "link:link_trace_id", at, id));
        KS_TRY(id_text(o->arena, l->span_id, &id));
        KS_TRY(put_part(o, "link:link_span_id", at, id));
        KS_TRY(put_part(o, "link:link_trace_state", at, l->state));
        KS_TRY(put_part_number(o, "link:link_dropped_attributes_count", at, l->attrs.dropped));
        KS_TRY(put_part_number(o, "link:link_flags", at, l->flags));
        KS_TRY(put_attrs(o, "link:link_attr:", &l->attrs, at));
    }
    return KS_OK;
}

static ks_err put_head(const struct out *o, const struct ks_span *s)
{
    struct ks_slice text;
    KS_TRY(id_text(o->arena, s->span_id, &text));
    KS_TRY(put(o, KS_SLICE_LIT("span_id"), text));
    KS_TRY(put(o, KS_SLICE_LIT("trace_state"), s->state));
    KS_TRY(id_text(o->arena, s->parent_id, &text));
    KS_TRY(put(o, KS_SLICE_LIT("parent_span_id"), text));
    KS_TRY(put_number(o, "flags", s->flags));
    KS_TRY(put(o, KS_SLICE_LIT("name"), s->name));
    KS_TRY(put_number(o, "kind", s->kind));
    KS_TRY(put_number(o, "start_time_unix_nano", s->start_ns));
    KS_TRY(put_number(o, "end_time_unix_nano", s->end_ns));
    KS_TRY(put_number(o, "duration", ks_span_duration_ns(s)));
    KS_TRY(put_number(o, "dropped_attributes_count", s->attrs.dropped));
    KS_TRY(put_number(o, "dropped_events_count", s->dropped_events));
    KS_TRY(put_number(o, "dropped_links_count", s->dropped_links));
    KS_TRY(put(o, KS_SLICE_LIT("status_message"), s->status_message));
    return put_number(o, "status_code", s->status);
}

ks_err ks_span_fields(const struct ks_span *s, struct ks_arena *arena, ks_span_field_fn fn,
                      void *arg)
{
    struct out o = {fn, arg, arena};
    struct ks_slice none = ks_slice("", 0), id;
    KS_TRY(put_attrs(&o, "resource_attr:", &s->resource->attrs, none));
    KS_TRY(put(&o, KS_SLICE_LIT("scope_name"), s->scope->name));
    KS_TRY(put(&o, KS_SLICE_LIT("scope_version"), s->scope->version));
    KS_TRY(put_attrs(&o, "scope_attr:", &s->scope->attrs, none));
    KS_TRY(put_head(&o, s));
    KS_TRY(put_attrs(&o, "span_attr:", &s->attrs, none));
    KS_TRY(put_events(&o, s));
    KS_TRY(put_links(&o, s));
    KS_TRY(put(&o, KS_SLICE_LIT("_msg"), KS_SLICE_LIT("-")));
    KS_TRY(trace_text(arena, s->trace_id, &id));
    return put(&o, KS_SLICE_LIT("trace_id"), id);
}

/* --- one field --- */
enum head_field {
    F_MSG,
    F_TRACE_ID,
    F_SPAN_ID,
    F_PARENT,
    F_FLAGS,
    F_NAME,
    F_KIND,
    F_START,
    F_END,
    F_DURATION,
    F_STATUS,
    F_SCOPE_NAME,
    F_SCOPE_VERSION,
    F_STATE,
    F_DROPPED_ATTRS,
    F_DROPPED_EVENTS,
    F_DROPPED_LINKS,
    F_MESSAGE,
    F_COUNT
};
static const struct {
    const char *name;
    enum ks_span_field_part part;
} plain[F_COUNT] = {
    [F_MSG] = {"_msg", KS_SPAN_PART_HEAD},
    [F_TRACE_ID] = {"trace_id", KS_SPAN_PART_HEAD},
    [F_SPAN_ID] = {"span_id", KS_SPAN_PART_HEAD},
    [F_PARENT] = {"parent_span_id", KS_SPAN_PART_HEAD},
    [F_FLAGS] = {"flags", KS_SPAN_PART_HEAD},
    [F_NAME] = {"name", KS_SPAN_PART_HEAD},
    [F_KIND] = {"kind", KS_SPAN_PART_HEAD},
    [F_START] = {"start_time_unix_nano", KS_SPAN_PART_HEAD},
    [F_END] = {"end_time_unix_nano", KS_SPAN_PART_HEAD},
    [F_DURATION] = {"duration", KS_SPAN_PART_HEAD},
    [F_STATUS] = {"status_code", KS_SPAN_PART_HEAD},
    [F_SCOPE_NAME] = {"scope_name", KS_SPAN_PART_SCOPE},
    [F_SCOPE_VERSION] = {"scope_version", KS_SPAN_PART_SCOPE},
    [F_STATE] = {"trace_state", KS_SPAN_PART_REST},
    [F_DROPPED_ATTRS] = {"dropped_attributes_count", KS_SPAN_PART_REST},
    [F_DROPPED_EVENTS] = {"dropped_events_count", KS_SPAN_PART_REST},
    [F_DROPPED_LINKS] = {"dropped_links_count", KS_SPAN_PART_REST},
    [F_MESSAGE] = {"status_message", KS_SPAN_PART_REST},
};

static enum head_field find_plain(struct ks_slice name)
{
    int i = 0;
    while (i < F_COUNT && !ks_slice_is(name, plain[i].name))
        i++;
    return (enum head_field)i;
}

static bool strip(struct ks_slice *s, const char *prefix)
{
    if (!ks_slice_has_prefix(*s, ks_slice_str(prefix)))
        return false;
    *s = ks_slice_from(*s, strlen(prefix));
    return true;
}

enum ks_span_field_part ks_span_field_part(struct ks_slice name)
{
    enum head_field f = find_plain(name);
    if (f < F_COUNT)
        return plain[f].part;
    if (strip(&name, "resource_attr:"))
        return KS_SPAN_PART_RESOURCE;
    if (strip(&name, "scope_attr:"))
        return KS_SPAN_PART_SCOPE;
    if (strip(&name, "span_attr:") || strip(&name, "event:") || strip(&name, "link:"))
        return KS_SPAN_PART_REST;
    return KS_SPAN_PART_NONE;
}

static ks_err plain_field(const struct ks_span *s, enum head_field f, struct ks_arena *arena,
                          struct ks_slice *ret)
{
    switch (f) {
    case F_MSG:
        *ret = KS_SLICE_LIT("-");
        return KS_OK;
    case F_TRACE_ID:
        return trace_text(arena, s->trace_id, ret);
    case F_SPAN_ID:
        return id_text(arena, s->span_id, ret);
    case F_PARENT:
        return id_text(arena, s->parent_id, ret);
    case F_FLAGS:
        return number_text(arena, s->flags, ret);
    case F_NAME:
        *ret = s->name;
        return KS_OK;
    case F_KIND:
        return number_text(arena, s->kind, ret);
    case F_START:
        return number_text(arena, s->start_ns, ret);
    case F_END:
        return number_text(arena, s->end_ns, ret);
    case F_DURATION:
        return number_text(arena, ks_span_duration_ns(s), ret);
    case F_STATUS:
        return number_text(arena, s->status, ret);
    case F_SCOPE_NAME:
        *ret = s->scope->name;
        return KS_OK;
    case F_SCOPE_VERSION:
        *ret = s->scope->version;
        return KS_OK;
    case F_STATE:
        *ret = s->state;
        return KS_OK;
    case F_DROPPED_ATTRS:
        return number_text(arena, s->attrs.dropped, ret);
    case F_DROPPED_EVENTS:
        return number_text(arena, s->dropped_events, ret);
    case F_DROPPED_LINKS:
        return number_text(arena, s->dropped_links, ret);
    case F_MESSAGE:
        *ret = s->status_message;
        return KS_OK;
    case F_COUNT:
        break;
    }
    return KS_OK;
}

static ks_err in_map(const struct ks_attr *map, struct ks_slice key, struct ks_arena *arena,
                     struct ks_slice *ret)
{
    struct leaves l;
    struct ks_attr a;
    ks_err err = KS_OK;
    leaves_init(&l, map);
    while (err == KS_OK && leaves_next(&l, &a))
        if (ks_slice_eq(a.key, key))
            err = attr_text(&a, arena, ret);
    ks_err done = leaves_done(&l);
    return err == KS_OK ? done : err;
}

static ks_err in_attrs(const struct ks_attrs *attrs, struct ks_slice key, struct ks_arena *arena,
                       struct ks_slice *ret)
{
    for (uint32_t i = attrs->count; i-- > 0 && !ret->len;) {
        const struct ks_attr *a = &attrs->items[i];
        if (a->type != KS_ATTR_KVLIST) {
            if (ks_slice_eq(a->key, key))
                KS_TRY(attr_text(a, arena, ret));
        } else if (key.len > a->key.len && ks_slice_has_prefix(key, a->key) &&
                   key.ptr[a->key.len] == '.') {
            KS_TRY(in_map(a, key, arena, ret));
        }
    }
    return KS_OK;
}

/* …:<number> at the end, as ks_span_fields writes it. */
static bool take_index(struct ks_slice *name, uint32_t *ret)
{
    size_t at = name->len;
    uint64_t v;
    while (at && name->ptr[at - 1] != ':')
        at--;
    struct ks_slice digits = ks_slice(name->ptr + at, name->len - at);
    if (!at || !digits.len || (digits.len > 1 && digits.ptr[0] == '0') ||
        !ks_u64_parse(digits, &v) || v > UINT32_MAX)
        return false;
    name->len = at - 1;
    *ret = (uint32_t)v;
    return true;
}

static ks_err event_field(const struct ks_span *s, struct ks_slice name, struct ks_arena *arena,
                          struct ks_slice *ret)
{
    uint32_t i;
    if (!take_index(&name, &i) || i >= s->event_count)
        return KS_OK;
    const struct ks_span_event *e = &s->events[i];
    if (strip(&name, "event_attr:"))
        return in_attrs(&e->attrs, name, arena, ret);
    if (ks_slice_is(name, "event_time_unix_nano"))
        return number_text(arena, e->time_ns, ret);
    if (ks_slice_is(name, "event_dropped_attributes_count"))
        return number_text(arena, e->attrs.dropped, ret);
    if (ks_slice_is(name, "event_name"))
        *ret = e->name;
    return KS_OK;
}

static ks_err link_field(const struct ks_span *s, struct ks_slice name, struct ks_arena *arena,
                         struct ks_slice *ret)
{
    uint32_t i;
    if (!take_index(&name, &i) || i >= s->link_count)
        return KS_OK;
    const struct ks_span_link *l = &s->links[i];
    if (strip(&name, "link_attr:"))
        return in_attrs(&l->attrs, name, arena, ret);
    if (ks_slice_is(name, "link_trace_id"))
        return trace_text(arena, l->trace_id, ret);
    if (ks_slice_is(name, "link_span_id"))
        return id_text(arena, l->span_id, ret);
    if (ks_slice_is(name, "link_dropped_attributes_count"))
        return number_text(arena, l->attrs.dropped, ret);
    if (ks_slice_is(name, "link_flags"))
        return number_text(arena, l->flags, ret);
    if (ks_slice_is(name, "link_trace_state"))
        *ret = l->state;
    return KS_OK;
}

ks_err ks_span_field(const struct ks_span *s, struct ks_slice name, struct ks_arena *arena,
                     struct ks_slice *ret)
{
    enum head_field f = find_plain(name);
    *ret = ks_slice("", 0);
    if (f < F_COUNT)
        return plain_field(s, f, arena, ret);
    if (strip(&name, "span_attr:"))
        return in_attrs(&s->attrs, name, arena, ret);
    if (strip(&name, "resource_attr:"))
        return in_attrs(&s->resource->attrs, name, arena, ret);
    if (strip(&name, "scope_attr:"))
        return in_attrs(&s->scope->attrs, name, arena, ret);
    if (strip(&name, "event:"))
        return event_field(s, name, arena, ret);
    if (strip(&name, "link:"))
        return link_field(s, name, arena, ret);
    return KS_OK;
}
