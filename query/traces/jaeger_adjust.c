/*
 * Jaeger's query-time adjusters, in its order: span ids shared by client and server, attribute
 * order, clock skew (off, it only warns), addresses given as numbers, references to nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "query/traces/jaeger_priv.h"

struct ids { /* span ids of a trace: the first span that has it + 1 */
    uint32_t *slots;
    size_t mask;
};

ks_err ksi_jaeger_warn(struct ksi_jaeger_span *s, struct ks_arena *arena, struct ks_slice text)
{
    struct ks_slice copy = ks_arena_dup(arena, text);
    const char **grown = ks_arena_array(arena, s->warning_count + 1, sizeof *grown);
    if (!copy.ptr || !grown)
        return ks_arena_err(arena);
    if (s->warning_count)
        memcpy(grown, s->warnings, s->warning_count * sizeof *grown);
    grown[s->warning_count++] = copy.ptr;
    s->warnings = grown;
    return KS_OK;
}

static uint32_t *ids_at(const struct ids *ids, const struct ksi_jaeger_trace *t, uint64_t id)
{
    size_t i = ks_mix64(id) & ids->mask;
    while (ids->slots[i] && t->spans[ids->slots[i] - 1].id != id)
        i = (i + 1) & ids->mask;
    return &ids->slots[i];
}

static ks_err ids_make(const struct ksi_jaeger_trace *t, struct ks_arena *arena, struct ids *ret)
{
    size_t n = 16;
    while (n < t->count * 4)
        n *= 2;
    ret->slots = ks_arena_zalloc(arena, n * sizeof *ret->slots);
    ret->mask = n - 1;
    if (!ret->slots)
        return ks_arena_err(arena);
    for (size_t i = 0; i < t->count; i++) {
        uint32_t *at = ids_at(ret, t, t->spans[i].id);
        if (!*at)
            *at = (uint32_t)i + 1;
    }
    return KS_OK;
}

/* --- span ids that a client and its server share, as Zipkin's libraries send them --- */
static void set_parent(struct ksi_jaeger_span *s, uint64_t parent)
{
    size_t at = 0;
    while (at < s->ref_count && !(s->refs[at].span_id == s->parent && s->parent &&
                                  ks_trace_id_eq(s->refs[at].trace_id, s->s->trace_id)))
        at++;
    if (at == s->ref_count) { /* no parent so far: room was left for one */
        memmove(s->refs + 1, s->refs, s->ref_count * sizeof *s->refs);
        s->ref_count++;
        at = 0;
    }
    s->refs[at] = (struct ksi_jaeger_ref){s->s->trace_id, parent, true};
    s->parent = parent;
}

struct change {
    uint64_t from, to;
};

static ks_err unshare_ids(struct ksi_jaeger_trace *t, struct ks_arena *arena)
{
    struct ids ids;
    struct change *changes = ks_arena_array(arena, t->count + 1, sizeof *changes);
    bool *client = ks_arena_zalloc(arena, t->count + 1);
    size_t n = 0;
    uint64_t next = 1;
    if (!changes || !client)
        return ks_arena_err(arena);
    KS_TRY(ids_make(t, arena, &ids));
    for (size_t i = 0; i < t->count; i++)
        if (t->spans[i].s->kind == KS_KIND_CLIENT)
            client[*ids_at(&ids, t, t->spans[i].id) - 1] = true;
    for (size_t i = 0; i < t->count; i++) {
        struct ksi_jaeger_span *s = &t->spans[i];
        if (s->s->kind != KS_KIND_SERVER)
            continue;
        uint32_t first = *ids_at(&ids, t, s->id);
        if (!first || !client[first - 1] || &t->spans[first - 1] == s)
            continue;
        while (*ids_at(&ids, t, next))
            next++;
        changes[n++] = (struct change){s->id, next};
        set_parent(s, s->id);
        s->id = next++;
    }
    /* Children of the server. Few spans change, most traces have none. */
    for (size_t i = 0; n && i < t->count; i++)
        for (size_t k = n; k-- > 0;)
            if (t->spans[i].parent == changes[k].from && t->spans[i].id != changes[k].to) {
                set_parent(&t->spans[i], changes[k].to);
                break;
            }
    return KS_OK;
}

/* --- order of attributes --- */
static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct ks_span_event *)a)->name,
                        ((const struct ks_span_event *)b)->name);
}

static ks_err sort_events(struct ksi_jaeger_span *s, enum ks_jaeger_profile profile,
                          struct ks_arena *arena)
{
    struct ks_span_event *e = ks_arena_array(arena, s->s->event_count + (size_t)1, sizeof *e);
    if (!e)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < s->s->event_count; i++) {
        e[i] = s->s->events[i];
        KS_TRY(ksi_sorted_attrs(&e[i].attrs, arena, &e[i].attrs));
    }
    if (profile == KS_JAEGER_2)
        qsort(e, s->s->event_count, sizeof *e, by_name);
    s->events = e;
    return KS_OK;
}

static ks_err sort_attributes(struct ksi_jaeger_trace *t, enum ks_jaeger_profile profile,
                              struct ks_arena *arena)
{
    for (size_t i = 0; i < t->count; i++) {
        struct ksi_jaeger_span *s = &t->spans[i];
        if (profile == KS_JAEGER_2)
            KS_TRY(ksi_sorted_attrs(&s->attrs, arena, &s->attrs));
        if (s->s->event_count)
            KS_TRY(sort_events(s, profile, arena));
        /* Spans of one process share its sorted form. */
        bool same = i && t->spans[i - 1].s->resource == s->s->resource;
        struct ks_resource *r = same ? NULL : ks_arena_alloc(arena, sizeof *r);
        if (same) {
            s->process = t->spans[i - 1].process;
            continue;
        }
        if (!r)
            return ks_arena_err(arena);
        *r = *s->s->resource;
        KS_TRY(ksi_sorted_attrs(&s->s->resource->attrs, arena, &r->attrs));
        s->process = r;
    }
    return KS_OK;
}

/* --- clock skew: not corrected (the default), but told --- */
static struct ks_slice text_attr(const struct ks_resource *r, const char *key)
{
    for (uint32_t i = 0; i < r->attrs.count; i++)
        if (ks_slice_is(r->attrs.items[i].key, key)) {
            const struct ks_attr *a = &r->attrs.items[i];
            if (a->type == KS_ATTR_STRING)
                return a->text;
        }
    return ks_slice("", 0);
}

static struct ks_slice host_key(const struct ks_resource *r, enum ks_jaeger_profile profile)
{
    struct ks_slice s = text_attr(r, profile == KS_JAEGER_1 ? "ip" : "host.id");
    if (!s.len && profile != KS_JAEGER_1)
        s = text_attr(r, "host.ip");
    if (!s.len && profile != KS_JAEGER_1)
        s = text_attr(r, "host.name");
    return s;
}

static uint64_t duration(const struct ks_span *s)
{
    return ks_span_duration_ns(s);
}

static int64_t skew_of(const struct ks_span *child, const struct ks_span *parent)
{
    uint64_t cd = duration(child), pd = duration(parent);
    if (cd > pd)
        return child->start_ns < parent->start_ns ? (int64_t)(parent->start_ns - child->start_ns)
                                                  : 0;
    if (child->start_ns >= parent->start_ns && child->start_ns + cd <= parent->start_ns + pd)
        return 0;
    return (int64_t)(parent->start_ns + (pd - cd) / 2 - child->start_ns);
}

/* A Go duration: 1h2m3.5s, 1.5ms, 2µs, 7ns. */
static void go_duration(char out[48], int64_t ns)
{
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    const char *sign = ns < 0 ? "-" : "";
    char frac[24];
    unsigned digits = u < 1000 ? 0 : u < 1000000 ? 3 : u < 1000000000 ? 6 : 9;
    uint64_t unit = digits == 0 ? 1 : digits == 3 ? 1000 : digits == 6 ? 1000000 : 1000000000;
    int n = snprintf(frac, sizeof frac, ".%0*llu", (int)digits, (unsigned long long)(u % unit));
    while (n > 1 && frac[n - 1] == '0')
        frac[--n] = 0;
    if (!digits || n == 1)
        frac[0] = 0;
    uint64_t whole = u / unit;
    if (digits < 9)
        snprintf(out, 48, "%s%llu%s%s", sign, (unsigned long long)whole, frac,
                 digits == 0   ? (u ? "ns" : "s")
                 : digits == 3 ? "µs"
                               : "ms");
    else if (whole >= 3600)
        snprintf(out, 48, "%s%lluh%llum%llu%ss", sign, (unsigned long long)(whole / 3600),
                 (unsigned long long)(whole / 60 % 60), (unsigned long long)(whole % 60), frac);
    else if (whole >= 60)
        snprintf(out, 48, "%s%llum%llu%ss", sign, (unsigned long long)(whole / 60),
                 (unsigned long long)(whole % 60), frac);
    else
        snprintf(out, 48, "%s%llu%ss", sign, (unsigned long long)whole, frac);
}

/* What a node's children inherit. */
struct skew {
    struct ks_slice host;
    int64_t delta;
};

static ks_err warn_skew(struct ksi_jaeger_span *s, int64_t delta, struct ks_arena *arena)
{
    char text[128], d[48];
    if (!delta)
        return KS_OK;
    go_duration(d, delta);
    int n = snprintf(text, sizeof text,
                     "clock skew adjustment disabled; not applying calculated delta of %s", d);
    return ksi_jaeger_warn(s, arena, ks_slice(text, (size_t)n));
}

struct tree {
    uint32_t *first_child, *next; /* number + 1 */
    struct skew *skews;
    uint32_t *stack;
};

static ks_err walk(struct ksi_jaeger_trace *t, struct tree *tr, uint32_t root,
                   enum ks_jaeger_profile profile, struct ks_arena *arena)
{
    size_t depth = 0;
    tr->skews[root] = (struct skew){{"", 0}, 0};
    tr->stack[depth++] = root;
    while (depth) {
        uint32_t at = tr->stack[--depth];
        for (uint32_t c = tr->first_child[at]; c; c = tr->next[c - 1]) {
            struct ksi_jaeger_span *child = &t->spans[c - 1];
            struct ks_slice host = host_key(child->s->resource, profile);
            tr->skews[c - 1] = tr->skews[at];
            if (!host.len || !ks_slice_eq(host, tr->skews[at].host))
                tr->skews[c - 1] = (struct skew){host, skew_of(child->s, t->spans[at].s)};
            KS_TRY(warn_skew(child, tr->skews[c - 1].delta, arena));
            tr->stack[depth++] = c - 1;
        }
    }
    return KS_OK;
}

static ks_err warn_of_skew(struct ksi_jaeger_trace *t, enum ks_jaeger_profile profile,
                           struct ks_arena *arena)
{
    static const char twice[] = "duplicate span IDs; skipping clock skew adjustment";
    struct ids ids;
    struct tree tr = {ks_arena_zalloc(arena, (t->count + 1) * 4),
                      ks_arena_zalloc(arena, (t->count + 1) * 4),
                      ks_arena_array(arena, t->count + 1, sizeof *tr.skews),
                      ks_arena_array(arena, t->count + 1, 4)};
    bool *is_root = ks_arena_zalloc(arena, t->count + 1);
    if (!tr.first_child || !tr.next || !tr.skews || !tr.stack || !is_root)
        return ks_arena_err(arena);
    KS_TRY(ids_make(t, arena, &ids));
    for (uint32_t i = 0; i < t->count; i++) {
        struct ksi_jaeger_span *s = &t->spans[i];
        if (*ids_at(&ids, t, s->id) != i + 1) {
            KS_TRY(ksi_jaeger_warn(s, arena, ks_slice(twice, sizeof twice - 1)));
            continue;
        }
        uint32_t parent = s->parent ? *ids_at(&ids, t, s->parent) : 0;
        is_root[i] = !parent || parent == i + 1;
        if (s->parent && !parent) {
            char text[96];
            int n = snprintf(text, sizeof text,
                             "invalid parent span IDs=%016llx; skipping clock skew adjustment",
                             (unsigned long long)s->parent);
            KS_TRY(ksi_jaeger_warn(s, arena, ks_slice(text, (size_t)n)));
        } else if (!is_root[i]) {
            tr.next[i] = tr.first_child[parent - 1];
            tr.first_child[parent - 1] = i + 1;
        }
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (is_root[i])
            KS_TRY(walk(t, &tr, i, profile, arena));
    return KS_OK;
}

/* --- small ones --- */
static ks_err dotted_addresses(struct ks_attrs *attrs, struct ks_arena *arena)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        if (a->type != KS_ATTR_INT ||
            !(ks_slice_is(a->key, "ip") || ks_slice_is(a->key, "peer.ipv4")))
            continue;
        struct ks_attr *copy = ks_arena_array(arena, attrs->count, sizeof *copy);
        if (!copy)
            return ks_arena_err(arena);
        memcpy(copy, attrs->items, attrs->count * sizeof *copy);
        uint32_t v = (uint32_t)a->number;
        copy[i].type = KS_ATTR_STRING;
        copy[i].text =
            ks_arena_printf(arena, "%u.%u.%u.%u", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
        attrs->items = copy;
    }
    return KS_OK;
}

static ks_err drop_void_refs(struct ksi_jaeger_span *s, struct ks_arena *arena)
{
    static const char text[] = "Invalid span reference removed: trace ID is zero";
    size_t kept = 0;
    for (size_t i = 0; i < s->ref_count; i++) {
        if (ks_trace_id_zero(s->refs[i].trace_id))
            KS_TRY(ksi_jaeger_warn(s, arena, ks_slice(text, sizeof text - 1)));
        else
            s->refs[kept++] = s->refs[i];
    }
    s->ref_count = kept;
    return KS_OK;
}

ks_err ksi_jaeger_adjust(struct ksi_jaeger_trace *t, enum ks_jaeger_profile profile,
                         struct ks_arena *arena)
{
    KS_TRY(unshare_ids(t, arena));
    KS_TRY(sort_attributes(t, profile, arena));
    KS_TRY(warn_of_skew(t, profile, arena));
    for (size_t i = 0; i < t->count; i++) {
        KS_TRY(dotted_addresses(&t->spans[i].attrs, arena));
        KS_TRY(drop_void_refs(&t->spans[i], arena));
    }
    return KS_OK;
}
