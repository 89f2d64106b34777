/* Reads records of a generation. The bytes are this process's own: no bounds to check. */
#include "storage/traces/gen_priv.h"

static const uint32_t common_flags[7] = {0, 1, 0x101, 0x301, 0x100, 0x300, 0x201};

void ksi_record_read(const struct ksi_data *g, uint32_t pos, struct ksi_record *ret)
{
    const uint8_t *p = ksi_chunks_at(&g->recs, pos);
    int64_t back = ksi_zigzag(&p);
    ret->pos = pos;
    ret->prev = back ? (uint32_t)((int64_t)pos - back) : KSI_NONE;
    ret->bits1 = *p++;
    ret->bits2 = *p++;
    ret->kind = ret->bits1 & 7;
    ret->status = ret->bits1 >> 3 & 3;
    unsigned flags = ret->bits2 >> 3 & 7;
    if (ret->kind == 7)
        ret->kind = (uint32_t)ksi_varint(&p);
    if (ret->status == 3)
        ret->status = (uint32_t)ksi_varint(&p);
    ret->flags = flags == 7 ? (uint32_t)ksi_varint(&p) : common_flags[flags];
    ret->resource = (uint32_t)ksi_varint(&p);
    ret->scope = (uint32_t)ksi_varint(&p);
    ret->name = ksi_ref(g, &p);
    ret->span_id = ks_le64(p);
    p += 8;
    ret->parent_id = 0;
    if (ret->bits2 & 4) {
        ret->parent_id = ks_le64(p);
        p += 8;
    }
    ret->start_ns = g->base_ns + (uint64_t)ksi_zigzag(&p);
    ret->end_ns = ret->start_ns + (uint64_t)ksi_zigzag(&p);
    ret->rest = p;
}

uint32_t ksi_record_call(const struct ksi_data *g, uint32_t pos, uint64_t *ret_span,
                         uint64_t *ret_parent, uint32_t *ret_resource)
{
    const uint8_t *p = ksi_chunks_at(&g->recs, pos);
    int64_t back = ksi_zigzag(&p);
    uint8_t bits1 = *p++, bits2 = *p++;
    if ((bits1 & 7) == 7)
        (void)ksi_varint(&p);
    if ((bits1 >> 3 & 3) == 3)
        (void)ksi_varint(&p);
    if ((bits2 >> 3 & 7) == 7)
        (void)ksi_varint(&p);
    *ret_resource = (uint32_t)ksi_varint(&p);
    (void)ksi_varint(&p);
    ksi_skip_ref(g, &p);
    *ret_span = ks_le64(p);
    *ret_parent = bits2 & 4 ? ks_le64(p + 8) : 0;
    return back ? (uint32_t)((int64_t)pos - back) : KSI_NONE;
}

static ks_err read_value(const struct ksi_data *g, const uint8_t **p, uint32_t key,
                         struct ks_arena *arena, struct ks_attr *ret)
{
    *ret = (struct ks_attr){.key = ksi_dict_text(g, key >> 3), .type = key & 7};
    switch (ret->type) {
    case KS_ATTR_EMPTY:
        return KS_OK;
    case KS_ATTR_BOOL:
        ret->number = *(*p)++;
        return KS_OK;
    case KS_ATTR_INT:
        ret->number = ksi_zigzag(p);
        return KS_OK;
    case KS_ATTR_DOUBLE:
        ret->real = ks_f64_from_bits(ks_le64(*p));
        *p += 8;
        return KS_OK;
    default:
        return ksi_value_view(g, p, arena, &ret->text);
    }
}

static ks_err read_set(const struct ksi_data *g, const uint8_t **p, struct ks_arena *arena,
                       struct ks_attrs *ret)
{
    const struct ksi_shape *sh = &g->shapes[ksi_varint(p)];
    uint32_t dropped = (uint32_t)ksi_varint(p);
    struct ks_attr *items = ks_arena_array(arena, sh->count ? sh->count : 1, sizeof *items);
    if (!items)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < sh->count; i++)
        KS_TRY(read_value(g, p, g->keys[sh->first + i], arena, &items[i]));
    *ret = (struct ks_attrs){items, sh->count, dropped};
    return KS_OK;
}

ks_err ksi_resource_view(const struct ksi_data *g, uint32_t number, struct ks_arena *arena,
                         struct ks_resource *ret)
{
    const struct ksi_process *r = &g->resources[number];
    const uint8_t *p = ksi_chunks_at(&g->text, r->pos);
    ret->schema_url = ksi_ref(g, &p);
    ret->service = r->service;
    ret->has_service = r->has_service;
    return read_set(g, &p, arena, &ret->attrs);
}

ks_err ksi_scope_view(const struct ksi_data *g, uint32_t number, struct ks_arena *arena,
                      struct ks_scope *ret)
{
    const uint8_t *p = ksi_chunks_at(&g->text, g->scopes[number].pos);
    ret->name = ksi_ref(g, &p);
    ret->version = ksi_ref(g, &p);
    ret->schema_url = ksi_ref(g, &p);
    return read_set(g, &p, arena, &ret->attrs);
}

ks_err ksi_view_memo_init(struct ksi_view_memo *m, const struct ksi_data *g, struct ks_arena *arena)
{
    m->resources = ks_arena_zalloc(arena, (g->resources_count + 1) * sizeof *m->resources);
    m->scopes = ks_arena_zalloc(arena, (g->scopes_count + 1) * sizeof *m->scopes);
    return m->resources && m->scopes ? KS_OK : ks_arena_err(arena);
}

static ks_err view_process(const struct ksi_data *g, const struct ksi_record *r,
                           struct ksi_view_memo *memo, struct ks_arena *arena)
{
    if (!memo->resources[r->resource]) {
        struct ks_resource *v = ks_arena_zalloc(arena, sizeof *v);
        if (!v)
            return ks_arena_err(arena);
        KS_TRY(ksi_resource_view(g, r->resource, arena, v));
        memo->resources[r->resource] = v;
    }
    if (!memo->scopes[r->scope]) {
        struct ks_scope *v = ks_arena_zalloc(arena, sizeof *v);
        if (!v)
            return ks_arena_err(arena);
        KS_TRY(ksi_scope_view(g, r->scope, arena, v));
        memo->scopes[r->scope] = v;
    }
    return KS_OK;
}

static ks_err view_events(const struct ksi_data *g, const uint8_t **p, struct ks_arena *arena,
                          struct ks_span *ret)
{
    uint32_t n = (uint32_t)ksi_varint(p);
    struct ks_span_event *e = ks_arena_array(arena, n ? n : 1, sizeof *e);
    if (!e)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        e[i].time_ns = ret->start_ns + (uint64_t)ksi_zigzag(p);
        e[i].name = ksi_ref(g, p);
        KS_TRY(read_set(g, p, arena, &e[i].attrs));
    }
    ret->events = e;
    ret->event_count = n;
    return KS_OK;
}

static ks_err view_links(const struct ksi_data *g, const uint8_t **p, struct ks_arena *arena,
                         struct ks_span *ret)
{
    uint32_t n = (uint32_t)ksi_varint(p);
    struct ks_span_link *l = ks_arena_array(arena, n ? n : 1, sizeof *l);
    if (!l)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        l[i].trace_id = (struct ks_trace_id){ks_le64(*p), ks_le64(*p + 8)};
        l[i].span_id = ks_le64(*p + 16);
        *p += 24;
        l[i].flags = (uint32_t)ksi_varint(p);
        l[i].state = ksi_ref(g, p);
        KS_TRY(read_set(g, p, arena, &l[i].attrs));
    }
    ret->links = l;
    ret->link_count = n;
    return KS_OK;
}

ks_err ksi_span_view(const struct ksi_data *g, const struct ksi_slot *slot,
                     const struct ksi_record *r, struct ksi_view_memo *memo, struct ks_arena *arena,
                     struct ks_span *ret)
{
    const uint8_t *p = r->rest;
    KS_TRY(view_process(g, r, memo, arena));
    *ret = (struct ks_span){
        .trace_id = slot->id,
        .span_id = r->span_id,
        .parent_id = r->parent_id,
        .start_ns = r->start_ns,
        .end_ns = r->end_ns,
        .name = r->name,
        .kind = r->kind,
        .status = r->status,
        .flags = r->flags,
        .resource = memo->resources[r->resource],
        .scope = memo->scopes[r->scope],
    };
    if (r->bits2 & 1)
        ret->status_message = ksi_ref(g, &p);
    if (r->bits1 & 0x80)
        ret->state = ksi_ref(g, &p);
    if (r->bits2 & 2) {
        ret->dropped_events = (uint32_t)ksi_varint(&p);
        ret->dropped_links = (uint32_t)ksi_varint(&p);
    }
    KS_TRY(read_set(g, &p, arena, &ret->attrs));
    if (r->bits1 & 0x20)
        KS_TRY(view_events(g, &p, arena, ret));
    if (r->bits1 & 0x40)
        KS_TRY(view_links(g, &p, arena, ret));
    return KS_OK;
}
