/*
 * Finding traces. Generations newest first, traces newest first, spans until one fits. What cannot
 * match is left out early: generations whose dictionary lacks a key, or that never saw a value;
 * traces without the service or outside of the times; spans by resource, name and shape, each
 * judged once per generation.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/any_value.h"
#include "storage/traces/ring_priv.h"
#include "sys/clock.h"
#include "sys/thread.h"

enum { CONDS_MAX = 32, KNOWN = 1 };

struct cond {
    const struct ks_trace_cond *c;
    struct ks_attr_match match;
    uint64_t key_hash, value_hash;
};

struct plan {
    const struct ks_trace_query *q;
    struct cond conds[CONDS_MAX];
    size_t count;
    uint64_t service_hash, operation_hash;
    uint32_t wanted; /* a bit per condition that must be found */
    uint32_t banned; /* a bit per condition that must not */
};

/* A plan in one generation. */
struct scan {
    const struct plan *p;
    const struct ksi_data *g;
    uint32_t keys[CONDS_MAX]; /* dictionary number or KSI_NONE */
    /* Per resource and scope: KNOWN << 63 | fits << 62 | conditions found. Per shape: KNOWN << 63 |
     * conditions whose key it has. */
    uint64_t *resources, *scopes, *shapes;
    size_t resource_cap, scope_cap, shape_cap;
};
#define IS_KNOWN ((uint64_t)1 << 63)
#define FITS     ((uint64_t)1 << 62)

static ks_err make_plan(const struct ks_trace_query *q, struct plan *p)
{
    *p = (struct plan){.q = q, .count = q->cond_count};
    if (q->cond_count > CONDS_MAX)
        return ks_fail(KS_EINVAL, "more than %d conditions in a search of traces", CONDS_MAX);
    p->service_hash = ksi_text_hash(q->service);
    p->operation_hash = ksi_text_hash(q->operation);
    for (size_t i = 0; i < p->count; i++) {
        const struct ks_trace_cond *c = &q->conds[i];
        p->conds[i] = (struct cond){c, ks_attr_match_of(c->value), ksi_text_hash(c->key),
                                    ksi_text_hash(c->value)};
        if (c->negate)
            p->banned |= 1u << i;
        else
            p->wanted |= 1u << i;
    }
    return KS_OK;
}

/* --- judging parts of a span --- */
static bool field_is_error(uint32_t status, struct ks_slice value)
{
    return ks_slice_is(value, status == KS_STATUS_ERROR ? "true"
                              : status == KS_STATUS_OK  ? "false"
                                                        : "unset") ||
           (status == KS_STATUS_UNSET && ks_slice_is(value, "false"));
}

static bool number_or_name(const struct cond *c, uint32_t n, const char *const *names, size_t count)
{
    return (c->match.is_int && c->match.number == (int64_t)n) ||
           (n < count && ks_slice_is(c->c->value, names[n]));
}

static bool field_is(const struct cond *c, const struct ks_span *s)
{
    static const char *const kinds[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    static const char *const statuses[] = {"unset", "ok", "error"};
    struct ks_slice v = c->c->value;
    switch (c->c->field) {
    case KS_FIELD_NAME:
        return ks_slice_eq(s->name, v);
    case KS_FIELD_KIND:
        return number_or_name(c, s->kind, kinds, 6);
    case KS_FIELD_STATUS:
        return number_or_name(c, s->status, statuses, 3);
    case KS_FIELD_ERROR:
        return field_is_error(s->status, v);
    case KS_FIELD_STATUS_MESSAGE:
        return ks_slice_eq(s->status_message, v);
    case KS_FIELD_STATE:
        return ks_slice_eq(s->state, v);
    case KS_FIELD_SCOPE_NAME:
        return ks_slice_eq(s->scope->name, v);
    case KS_FIELD_SCOPE_VERSION:
        return ks_slice_eq(s->scope->version, v);
    }
    return false;
}

static bool attrs_have(const struct cond *c, const struct ks_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++)
        if (ks_slice_eq(attrs->items[i].key, c->c->key) && ks_attr_is(&attrs->items[i], &c->match))
            return true;
    return false;
}

static bool cond_found(const struct cond *c, const struct ks_span *s)
{
    unsigned scopes = c->c->scopes;
    if (scopes & KS_COND_FIELD)
        return field_is(c, s);
    if ((scopes & KS_COND_SPAN) && attrs_have(c, &s->attrs))
        return true;
    if ((scopes & KS_COND_RESOURCE) && attrs_have(c, &s->resource->attrs))
        return true;
    if ((scopes & KS_COND_SCOPE) && attrs_have(c, &s->scope->attrs))
        return true;
    for (uint32_t i = 0; (scopes & KS_COND_EVENT) && i < s->event_count; i++)
        if (attrs_have(c, &s->events[i].attrs))
            return true;
    for (uint32_t i = 0; (scopes & KS_COND_LINK) && i < s->link_count; i++)
        if (attrs_have(c, &s->links[i].attrs))
            return true;
    return false;
}

static bool times_fit(const struct ks_trace_query *q, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t duration = end_ns > start_ns ? end_ns - start_ns : 0;
    uint64_t at = q->by_end ? end_ns : start_ns;
    return at >= q->min_start_ns && at <= q->max_start_ns && duration >= q->min_duration_ns &&
           (!q->max_duration_ns || duration <= q->max_duration_ns);
}

bool ks_trace_query_matches(const struct ks_trace_query *q, const struct ks_span *s)
{
    struct plan p;
    if (make_plan(q, &p) != KS_OK || !times_fit(q, s->start_ns, s->end_ns) ||
        (q->service.len && !ks_slice_eq(q->service, s->resource->service)) ||
        (q->operation.len && !ks_slice_eq(q->operation, s->name)))
        return false;
    for (size_t i = 0; i < p.count; i++)
        if (cond_found(&p.conds[i], s) == p.conds[i].c->negate)
            return false;
    return true;
}

/* --- in a generation --- */
/* Conditions that some attribute of the list at *p fulfils; *p moves behind it. */
static uint32_t list_finds(struct scan *s, const uint8_t **p, unsigned scope)
{
    const struct ksi_data *g = s->g;
    uint32_t number = (uint32_t)ksi_varint(p), found = 0;
    const struct ksi_shape *sh = &g->shapes[number];
    uint64_t mask = number < s->shape_cap ? s->shapes[number] : 0;
    (void)ksi_varint(p);
    if (!(mask & IS_KNOWN)) {
        mask = IS_KNOWN;
        for (uint32_t i = 0; i < sh->count; i++)
            for (size_t c = 0; c < s->p->count; c++)
                if (s->keys[c] == g->keys[sh->first + i] >> 3)
                    mask |= (uint64_t)1 << c;
        if (number < s->shape_cap)
            s->shapes[number] = mask;
    }
    char scratch[KSI_UNPACKED_MAX];
    for (uint32_t i = 0; i < sh->count; i++) {
        uint32_t key = g->keys[sh->first + i];
        bool asked = false;
        for (uint32_t left = (uint32_t)mask; left && !asked; left &= left - 1)
            asked = s->keys[__builtin_ctz(left)] == key >> 3;
        if (!asked) {
            ksi_skip_value(g, p, key & 7);
            continue;
        }
        struct ks_attr a = {.type = key & 7};
        const uint8_t *at = *p;
        ksi_skip_value(g, p, key & 7);
        if (ks_attr_is_text(a.type))
            a.text = ksi_value_text(g, &at, scratch);
        else if (a.type == KS_ATTR_DOUBLE)
            a.real = ks_f64_from_bits(ks_le64(at));
        else if (a.type == KS_ATTR_INT)
            a.number = ksi_zigzag(&at);
        else if (a.type == KS_ATTR_BOOL)
            a.number = *at;
        for (uint32_t left = (uint32_t)mask; left; left &= left - 1) {
            unsigned c = (unsigned)__builtin_ctz(left);
            if (s->keys[c] == key >> 3 && (s->p->conds[c].c->scopes & scope) &&
                ks_attr_is(&a, &s->p->conds[c].match))
                found |= 1u << c;
        }
    }
    return found;
}

/* Whether the list may hold anything asked for; the first list of a record only. */
static uint64_t resource_state(struct scan *s, uint32_t number)
{
    if (number < s->resource_cap && (s->resources[number] & IS_KNOWN))
        return s->resources[number];
    const struct ksi_process *r = &s->g->resources[number];
    const uint8_t *p = ksi_chunks_at(&s->g->text, r->pos);
    uint64_t state = IS_KNOWN;
    if (!s->p->q->service.len ||
        (r->service_hash == s->p->service_hash && ks_slice_eq(r->service, s->p->q->service)))
        state |= FITS;
    ksi_skip_ref(s->g, &p);
    state |= list_finds(s, &p, KS_COND_RESOURCE);
    if (number < s->resource_cap)
        s->resources[number] = state;
    return state;
}

static uint64_t scope_state(struct scan *s, uint32_t number)
{
    if (number < s->scope_cap && (s->scopes[number] & IS_KNOWN))
        return s->scopes[number];
    const uint8_t *p = ksi_chunks_at(&s->g->text, s->g->scopes[number].pos);
    struct ks_scope sc = {.name = ksi_ref(s->g, &p)};
    sc.version = ksi_ref(s->g, &p);
    ksi_skip_ref(s->g, &p);
    uint64_t state = IS_KNOWN | list_finds(s, &p, KS_COND_SCOPE);
    struct ks_span span = {.scope = &sc};
    for (size_t i = 0; i < s->p->count; i++) {
        const struct ks_trace_cond *c = s->p->conds[i].c;
        if ((c->scopes & KS_COND_FIELD) &&
            (c->field == KS_FIELD_SCOPE_NAME || c->field == KS_FIELD_SCOPE_VERSION) &&
            field_is(&s->p->conds[i], &span))
            state |= (uint64_t)1 << i;
    }
    if (number < s->scope_cap)
        s->scopes[number] = state;
    return state;
}

/* Conditions on fields that the record's head decides. */
static uint32_t head_finds(const struct scan *s, const struct ksi_record *r, const uint8_t **p)
{
    struct ks_span span = {.name = r->name, .kind = r->kind, .status = r->status};
    uint32_t found = 0;
    if (r->bits2 & 1)
        span.status_message = ksi_ref(s->g, p);
    if (r->bits1 & 0x80)
        span.state = ksi_ref(s->g, p);
    if (r->bits2 & 2) {
        (void)ksi_varint(p);
        (void)ksi_varint(p);
    }
    for (size_t i = 0; i < s->p->count; i++) {
        const struct ks_trace_cond *c = s->p->conds[i].c;
        if ((c->scopes & KS_COND_FIELD) && c->field != KS_FIELD_SCOPE_NAME &&
            c->field != KS_FIELD_SCOPE_VERSION && field_is(&s->p->conds[i], &span))
            found |= 1u << i;
    }
    return found;
}

static uint32_t parts_find(struct scan *s, const struct ksi_record *r, const uint8_t *p)
{
    uint32_t found = 0;
    if (r->bits1 & 0x20)
        for (uint64_t n = ksi_varint(&p); n; n--) {
            (void)ksi_varint(&p);
            ksi_skip_ref(s->g, &p);
            found |= list_finds(s, &p, KS_COND_EVENT);
        }
    if (r->bits1 & 0x40)
        for (uint64_t n = ksi_varint(&p); n; n--) {
            p += 24;
            (void)ksi_varint(&p);
            ksi_skip_ref(s->g, &p);
            found |= list_finds(s, &p, KS_COND_LINK);
        }
    return found;
}

static bool record_fits(struct scan *s, uint32_t pos, uint32_t *ret_prev)
{
    const struct ks_trace_query *q = s->p->q;
    struct ksi_record r;
    ksi_record_read(s->g, pos, &r);
    *ret_prev = r.prev;
    uint64_t resource = resource_state(s, r.resource);
    if (!(resource & FITS) || !times_fit(q, r.start_ns, r.end_ns) ||
        (q->operation.len && !ks_slice_eq(q->operation, r.name)))
        return false;
    if (!s->p->count)
        return true;
    const uint8_t *p = r.rest;
    uint32_t found = (uint32_t)resource | (uint32_t)scope_state(s, r.scope) | head_finds(s, &r, &p);
    if ((found & s->p->banned) || (found & s->p->wanted) != s->p->wanted || s->p->banned) {
        found |= list_finds(s, &p, KS_COND_SPAN);
        found |= parts_find(s, &r, p);
    }
    return (found & s->p->wanted) == s->p->wanted && !(found & s->p->banned);
}

static bool slot_may_fit(const struct scan *s, const struct ksi_slot *slot)
{
    const struct ks_trace_query *q = s->p->q;
    return slot->spans && slot->min_start_ns <= q->max_start_ns &&
           slot->max_end_ns >= q->min_start_ns && slot->max_duration_ns >= q->min_duration_ns &&
           (!q->service.len || (slot->services & ksi_service_bit(s->p->service_hash)));
}

static bool pair_may_be(const struct ksi_data *g, const struct cond *c, uint64_t value)
{
    return ksi_bloom_has(g, ksi_pair_hash(c->key_hash, value));
}

/* Whether the value searched for can be in the generation with its key at all. */
static bool value_may_be(const struct ksi_data *g, const struct cond *c)
{
    struct ks_slice v = c->c->value;
    const struct ks_attr_match *m = &c->match;
    if (!v.len || v.ptr[0] == '[' || v.ptr[0] == '{' || g->has_bytes)
        return true;
    if (pair_may_be(g, c, c->value_hash) ||
        (m->is_int && pair_may_be(g, c, ksi_int_hash((uint64_t)m->number))) ||
        (m->is_bool && pair_may_be(g, c, ksi_bool_hash(m->number != 0))))
        return true;
    if (!m->is_real)
        return false;
    if (m->real == 0) /* also with the other sign */
        return pair_may_be(g, c, ksi_real_hash(ks_f64_bits(0.0))) ||
               pair_may_be(g, c, ksi_real_hash(ks_f64_bits(-0.0)));
    return m->real != m->real || pair_may_be(g, c, ksi_real_hash(ks_f64_bits(m->real)));
}

/* Of a text without a key: names. */
static bool text_may_be(const struct ksi_data *g, struct ks_slice text, uint64_t hash)
{
    return !text.len || ksi_dict_find(g, text, hash) != KSI_NONE || ksi_bloom_has(g, hash);
}

static bool gen_may_fit(struct scan *s)
{
    const struct ksi_data *g = s->g;
    for (size_t i = 0; i < s->p->count; i++) {
        const struct cond *c = &s->p->conds[i];
        s->keys[i] = KSI_NONE;
        if (!(c->c->scopes & KS_COND_FIELD)) {
            s->keys[i] = ksi_dict_find(g, c->c->key, c->key_hash);
            if (!c->c->negate && (s->keys[i] == KSI_NONE || !value_may_be(g, c)))
                return false;
        } else if (c->c->field == KS_FIELD_NAME && !c->c->negate &&
                   !text_may_be(g, c->c->value, c->value_hash)) {
            return false;
        }
    }
    return text_may_be(g, s->p->q->operation, s->p->operation_hash);
}

static bool slot_fits(struct scan *s, const struct ksi_slot *slot)
{
    if (!slot_may_fit(s, slot))
        return false;
    for (uint32_t pos = slot->tail; pos != KSI_NONE;)
        if (record_fits(s, pos, &pos))
            return true;
    return false;
}

static ks_err scan_init(struct scan *s)
{
    s->resource_cap = s->g->resources_count;
    s->scope_cap = s->g->scopes_count;
    s->shape_cap = s->g->shapes_count;
    size_t n = s->resource_cap + s->scope_cap + s->shape_cap;
    s->resources = ks_zalloc_array(n + 1, sizeof *s->resources);
    if (!s->resources)
        return KS_ENOMEM;
    s->scopes = s->resources + s->resource_cap;
    s->shapes = s->scopes + s->scope_cap;
    return KS_OK;
}

struct found {
    struct ks_trace_id *ids;
    size_t count, cap, limit;
    bool kept; /* a second ring: a trace may have come to it since it was found in the first */
};

/* Between pieces of the work. */
static ks_err go_on(const struct ks_trace_query *q)
{
    ks_thread_breathe();
    if (q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
        return ks_fail(KS_ECANCELED, "the client has gone");
    if (q->deadline_us && ks_mono_us() > q->deadline_us)
        return ks_fail(KS_ETIMEDOUT, "the search took longer than -search.maxQueryDuration");
    return KS_OK;
}

static ks_err add_found(struct found *found, struct ks_trace_id id)
{
    for (size_t i = 0; found->kept && i < found->count; i++)
        if (ks_trace_id_eq(found->ids[i], id))
            return KS_OK;
    KS_TRY(
        ks_array_reserve((void **)&found->ids, &found->cap, found->count + 1, sizeof *found->ids));
    found->ids[found->count++] = id;
    return KS_OK;
}

/* Newest first. */
static ks_err scan_slots(struct scan *s, struct ksi_look *l, uint64_t first_live,
                         struct found *found)
{
    struct ksi_slot slots[KSI_SLOTS_PER_LOOK];
    size_t low = first_live > l->d.first_seq ? (size_t)(first_live - l->d.first_seq) : 0;
    for (size_t end = l->d.slot_count, from; end > low && found->count < found->limit; end = from) {
        from = end > low + KSI_SLOTS_PER_LOOK ? end - KSI_SLOTS_PER_LOOK : low;
        for (size_t i = ksi_look_slots(l, from, end - from, slots); i-- > 0;) {
            if (found->count < found->limit && slot_fits(s, &slots[i]))
                KS_TRY(add_found(found, slots[i].id));
        }
        KS_TRY(go_on(s->p->q));
    }
    return KS_OK;
}

static ks_err scan_gen(const struct plan *p, struct ksi_gen *g, uint64_t first_live,
                       struct found *found)
{
    struct ksi_look l;
    struct scan s = {.p = p, .g = &l.d};
    ks_err err = KS_OK;
    ksi_look_begin(&l, g);
    if (gen_may_fit(&s)) {
        err = scan_init(&s);
        if (err == KS_OK)
            err = scan_slots(&s, &l, first_live, found);
    }
    ksi_look_end(&l);
    ks_free(s.resources);
    return err;
}

ks_err ks_traces_search(struct ks_traces *t, struct ks_tenant tenant,
                        const struct ks_trace_query *q, struct ks_arena *arena,
                        struct ks_trace_id **ret_ids, size_t *ret_count)
{
    struct plan p;
    struct ksi_view v;
    struct found found = {.limit = q->limit};
    KS_TRY(make_plan(q, &p));
    KS_TRY(ksi_view_take(t, tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = 0; i < v.count && err == KS_OK && found.count < found.limit; i++) {
        found.kept = v.is_kept[i];
        err = scan_gen(&p, v.gens[i], v.first_live[i], &found);
    }
    ksi_view_release(&v);
    *ret_count = found.count;
    *ret_ids = ks_arena_array(arena, found.count + 1, sizeof **ret_ids);
    if (err == KS_OK && !*ret_ids)
        err = ks_arena_err(arena);
    if (err == KS_OK && found.count)
        memcpy(*ret_ids, found.ids, found.count * sizeof *found.ids);
    ks_free(found.ids);
    return err;
}

/* --- heads of all spans that fit --- */
static ks_err heads_in_slot(struct scan *s, const struct ksi_slot *slot, ks_span_head_fn fn,
                            void *arg)
{
    if (!slot_may_fit(s, slot))
        return KS_OK;
    for (uint32_t pos = slot->tail, prev; pos != KSI_NONE; pos = prev) {
        struct ksi_record r;
        if (!record_fits(s, pos, &prev))
            continue;
        ksi_record_read(s->g, pos, &r);
        struct ks_span_head h = {
            s->g->resources[r.resource].service, r.name, r.kind, r.status, r.start_ns, r.end_ns};
        KS_TRY(fn(arg, &h));
    }
    return KS_OK;
}

static ks_err heads_in_slots(struct scan *s, struct ksi_look *l, size_t at, ks_span_head_fn fn,
                             void *arg)
{
    struct ksi_slot slots[KSI_SLOTS_PER_LOOK];
    KS_TRY(scan_init(s));
    for (size_t n; (n = ksi_look_slots(l, at, KSI_SLOTS_PER_LOOK, slots)); at += n) {
        for (size_t i = 0; i < n; i++)
            KS_TRY(heads_in_slot(s, &slots[i], fn, arg));
        KS_TRY(go_on(s->p->q));
    }
    return KS_OK;
}

static ks_err heads_in_gen(const struct plan *p, struct ksi_gen *g, uint64_t first_live,
                           ks_span_head_fn fn, void *arg)
{
    struct ksi_look l;
    struct scan s = {.p = p, .g = &l.d};
    size_t at = first_live > g->first_seq ? (size_t)(first_live - g->first_seq) : 0;
    ksi_look_begin(&l, g);
    ks_err err = gen_may_fit(&s) ? heads_in_slots(&s, &l, at, fn, arg) : KS_OK;
    ksi_look_end(&l);
    ks_free(s.resources);
    return err;
}

ks_err ks_traces_heads(struct ks_traces *t, struct ks_tenant tenant, const struct ks_trace_query *q,
                       ks_span_head_fn fn, void *arg)
{
    struct plan p;
    struct ksi_view v;
    KS_TRY(make_plan(q, &p));
    KS_TRY(ksi_view_take(t, tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = 0; i < v.count && err == KS_OK; i++)
        err = heads_in_gen(&p, v.gens[i], v.first_live[i], fn, arg);
    ksi_view_release(&v);
    return err;
}

/* --- for others that walk a generation --- */
struct ksi_filter {
    struct plan plan;
    struct scan scan;
};

ks_err ksi_filter_new(const struct ks_trace_query *q, const struct ksi_data *d,
                      struct ksi_filter **ret)
{
    struct ksi_filter *f = ks_zalloc(sizeof *f);
    *ret = NULL;
    if (!f)
        return KS_ENOMEM;
    ks_err err = make_plan(q, &f->plan);
    f->scan = (struct scan){.p = &f->plan, .g = d};
    bool may = err == KS_OK && gen_may_fit(&f->scan);
    if (may)
        err = scan_init(&f->scan);
    if (may && err == KS_OK)
        *ret = f;
    else
        ksi_filter_free(f);
    return err;
}

void ksi_filter_free(struct ksi_filter *f)
{
    if (f)
        ks_free(f->scan.resources);
    ks_free(f);
}

bool ksi_filter_fits(struct ksi_filter *f, uint32_t pos)
{
    uint32_t prev;
    return record_fits(&f->scan, pos, &prev);
}
