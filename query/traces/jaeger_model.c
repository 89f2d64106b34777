/* Jaeger's model of a trace and the adjusters it runs before answering. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/num.h"
#include "query/traces/jaeger_priv.h"
#include "storage/traces/any_value.h"

const char *ks_span_kind_name(uint32_t kind)
{
    static const char *const names[] = {"", "internal", "server", "client", "producer", "consumer"};
    return kind < 6 ? names[kind] : "";
}

/* --- ids --- */
static void hex(struct ks_buf *out, uint64_t v)
{
    char text[16];
    ks_hex_put(text, v, 16);
    ks_buf_add(out, text, 16);
}

void ks_jaeger_trace_id(struct ks_buf *out, struct ks_trace_id id, bool may_be_short)
{
    if (id.hi || !may_be_short)
        hex(out, id.hi);
    hex(out, id.lo);
}

void ks_jaeger_span_id(struct ks_buf *out, uint64_t id)
{
    hex(out, id);
}

bool ks_jaeger_parse_trace_id(struct ks_slice s, struct ks_trace_id *ret)
{
    struct ks_trace_id id = {0};
    if (!s.len || s.len > 32)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        int d = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            return false;
        id.hi = id.hi << 4 | id.lo >> 60;
        id.lo = id.lo << 4 | (unsigned)d;
    }
    *ret = id;
    return true;
}

/* --- building --- */
static int by_key(const void *a, const void *b)
{
    return ks_slice_cmp((*(const struct ks_attr *const *)a)->key,
                        (*(const struct ks_attr *const *)b)->key);
}

ks_err ksi_sorted_attrs(const struct ks_attrs *a, struct ks_arena *arena, struct ks_attrs *ret)
{
    const struct ks_attr **order = ks_arena_array(arena, a->count + (size_t)1, sizeof(void *));
    struct ks_attr *items = ks_arena_array(arena, a->count + (size_t)1, sizeof *items);
    if (!order || !items)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < a->count; i++)
        order[i] = &a->items[i];
    qsort(order, a->count, sizeof(void *), by_key);
    for (uint32_t i = 0; i < a->count; i++)
        items[i] = *order[i];
    *ret = (struct ks_attrs){items, a->count, a->dropped};
    return KS_OK;
}

static bool link_is_child_of(const struct ks_span_link *l)
{
    for (uint32_t i = 0; i < l->attrs.count; i++)
        if (ks_slice_is(l->attrs.items[i].key, "opentracing.ref_type"))
            return l->attrs.items[i].type == KS_ATTR_STRING &&
                   ks_slice_is(l->attrs.items[i].text, "child_of");
    return false;
}

/* The parent first; a link equal to it only says of which type it is. */
static ks_err make_refs(struct ksi_jaeger_span *j, struct ks_arena *arena)
{
    const struct ks_span *s = j->s;
    j->refs = ks_arena_array(arena, s->link_count + (size_t)2, sizeof *j->refs);
    if (!j->refs)
        return ks_arena_err(arena);
    if (s->parent_id)
        j->refs[j->ref_count++] = (struct ksi_jaeger_ref){s->trace_id, s->parent_id, true};
    for (uint32_t i = 0; i < s->link_count; i++) {
        const struct ks_span_link *l = &s->links[i];
        bool child_of = link_is_child_of(l);
        if (s->parent_id && l->span_id == s->parent_id && ks_trace_id_eq(l->trace_id, s->trace_id))
            j->refs[0].child_of = child_of;
        else
            j->refs[j->ref_count++] = (struct ksi_jaeger_ref){l->trace_id, l->span_id, child_of};
    }
    return KS_OK;
}

ks_err ksi_jaeger_model(enum ks_jaeger_profile profile, bool raw, const struct ks_span *spans,
                        size_t count, struct ks_arena *arena, struct ksi_jaeger_trace *ret)
{
    ret->spans = ks_arena_zalloc(arena, (count + 1) * sizeof *ret->spans);
    if (!ret->spans)
        return ks_arena_err(arena);
    ret->count = count;
    for (size_t i = 0; i < count; i++) {
        struct ksi_jaeger_span *j = &ret->spans[i];
        j->s = &spans[i];
        j->id = spans[i].span_id;
        j->parent = spans[i].parent_id;
        j->attrs = spans[i].attrs;
        j->events = spans[i].events;
        j->process = spans[i].resource;
        KS_TRY(make_refs(j, arena));
    }
    return raw || profile == KS_JAEGER_VT ? KS_OK : ksi_jaeger_adjust(ret, profile, arena);
}

enum { NEAR = 1024 }; /* processes looked at: a trace of more has some of them twice */

bool ksi_same_attrs(const struct ks_attrs *a, const struct ks_attrs *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct ks_attr *x = &a->items[i], *y = &b->items[i];
        if (x->type != y->type || !ks_slice_eq(x->key, y->key) || !ks_slice_eq(x->text, y->text) ||
            x->number != y->number || x->real != y->real)
            return false;
    }
    return true;
}

static bool resources_equal(const struct ks_resource *a, const struct ks_resource *b)
{
    return a == b || ksi_same_attrs(&a->attrs, &b->attrs);
}

size_t ksi_process_number(struct ks_jaeger_processes *p, const struct ks_resource *r,
                          struct ks_arena *arena)
{
    for (size_t i = p->count; i-- > 0 && p->count - i <= NEAR;)
        if (resources_equal(p->items[i], r))
            return i + 1;
    if (ks_arena_grow(arena, (void **)&p->items, &p->cap, p->count + 1, sizeof *p->items) != KS_OK)
        return 0;
    p->items[p->count++] = r;
    return p->count;
}

static int by_text(const void *a, const void *b)
{
    char x[24], y[24];
    x[ks_u64_format(x, *(const size_t *)a)] = 0;
    y[ks_u64_format(y, *(const size_t *)b)] = 0;
    return strcmp(x, y);
}

void ksi_sort_processes(size_t *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, by_text);
}
