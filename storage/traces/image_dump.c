/*
 * A snapshot out of a ring that goes on: of each generation the list of its traces is copied in a
 * moment; everything else does not change.
 */
#include "base/mem.h"
#include "storage/traces/image_priv.h"

enum { SLOTS_SPARE = 64 };

/* A generation as it was in one moment. */
struct capture {
    struct ksi_image_head head;
    struct ks_buf table, slots;
    struct ks_slice *chunks; /* of texts, then of records */
    size_t chunks_cap;
    struct ksi_slot *live;
    size_t live_cap;
};

struct tenant_list {
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

static void add_tenant(void *arg, struct ks_tenant id)
{
    struct tenant_list *l = arg;
    if (l->err == KS_OK)
        l->err = ks_array_reserve((void **)&l->items, &l->cap, l->count + 1, sizeof *l->items);
    if (l->err == KS_OK)
        l->items[l->count++] = id;
}

static void put_u32s(struct ks_buf *b, const uint32_t *v, size_t n)
{
    if (!n || !ks_buf_reserve(b, n * sizeof *v))
        return;
    for (size_t i = 0; i < n; i++)
        ks_put_le32(b->ptr + b->len + 4 * i, v[i]);
    b->len += n * sizeof *v;
}

static void put_processes(struct ks_buf *b, const struct ksi_process *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ks_buf_u32(b, p[i].pos);
        ks_buf_u32(b, p[i].len);
    }
}

static void put_table(const struct ksi_data *g, struct ks_buf *b)
{
    put_u32s(b, g->dict, g->dict_count);
    put_u32s(b, g->keys, g->keys_count);
    for (size_t i = 0; i < g->shapes_count; i++) {
        ks_buf_u32(b, g->shapes[i].first);
        ks_buf_u32(b, g->shapes[i].count);
    }
    put_processes(b, g->resources, g->resources_count);
    put_processes(b, g->scopes, g->scopes_count);
    for (size_t i = 0; i < g->patterns_count; i++) {
        ks_buf_u32(b, g->patterns[i].pos);
        ks_buf_u32(b, g->patterns[i].len);
    }
}

/* A trace of the second ring without spans is still being copied: its number is nobody's. */
static void put_slots(const struct ksi_slot *slots, size_t n, bool kept, struct ks_buf *b)
{
    for (size_t i = 0; i < n; i++) {
        const struct ksi_slot *s = &slots[i];
        bool hidden = kept && !s->spans;
        ks_buf_u64(b, hidden ? 0 : s->id.hi);
        ks_buf_u64(b, hidden ? 0 : s->id.lo);
        ks_buf_u32(b, s->tail);
        ks_buf_u32(b, s->spans);
        ks_buf_u32(b, s->refused);
        ks_buf_u32(b, s->flags & KSI_SLOT_STORED);
        ks_buf_u64(b, 0);
    }
}

static ks_err list_chunks(struct capture *c, const struct ksi_data *g)
{
    const struct ksi_chunks *both[] = {&g->text, &g->recs};
    struct ks_slice *to;
    KS_TRY(ks_array_reserve((void **)&c->chunks, &c->chunks_cap, g->text.count + g->recs.count + 1,
                            sizeof *c->chunks));
    to = c->chunks;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < both[k]->count; i++)
            *to++ = ks_slice(both[k]->ptr[i], ksi_chunk_len(both[k], i));
    return KS_OK;
}

/* All slots and what they lead to as of one moment. */
static ks_err take(struct capture *c, struct ksi_look *l)
{
    size_t n = l->d.slot_count;
    do { /* more may come meanwhile */
        KS_TRY(ks_array_reserve((void **)&c->live, &c->live_cap, n + SLOTS_SPARE, sizeof *c->live));
        n = ksi_look_slots(l, 0, c->live_cap, c->live);
    } while (n < l->d.slot_count && (n = l->d.slot_count));
    return KS_OK;
}

static ks_err capture(struct capture *c, struct ksi_look *l, uint64_t lsn)
{
    struct ksi_image_head *h = &c->head;
    const struct ksi_data *g = &l->d;
    ks_buf_reset(&c->table);
    ks_buf_reset(&c->slots);
    KS_TRY(take(c, l));
    h->first_seq = g->first_seq;
    h->base_ns = g->base_ns;
    h->lsn = g->lsn > lsn ? g->lsn : lsn;
    h->has_bytes = g->has_bytes;
    h->slots = g->slot_count;
    h->dict = g->dict_count;
    h->keys = g->keys_count;
    h->shapes = g->shapes_count;
    h->resources = g->resources_count;
    h->scopes = g->scopes_count;
    h->patterns = g->patterns_count;
    h->text_chunks = g->text.count;
    h->rec_chunks = g->recs.count;
    put_table(g, &c->table);
    put_slots(c->live, g->slot_count, h->kept, &c->slots);
    KS_TRY(ks_buf_status(&c->table));
    KS_TRY(ks_buf_status(&c->slots));
    return list_chunks(c, g);
}

static ks_err emit_head(const struct ksi_image_head *h, const struct ks_traces_dump *d)
{
    char bytes[KSI_IMAGE_HEAD_MAX];
    struct ks_buf b = {.ptr = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    const uint64_t counts[] = {h->slots,  h->dict,     h->keys,        h->shapes,    h->resources,
                               h->scopes, h->patterns, h->text_chunks, h->rec_chunks};
    ks_buf_u32(&b, h->tenant.account);
    ks_buf_u32(&b, h->tenant.project);
    ks_buf_byte(&b, (uint8_t)(h->kept | h->has_bytes << 1));
    ks_buf_u64(&b, h->first_seq);
    ks_buf_u64(&b, h->first_live);
    ks_buf_u64(&b, h->lsn);
    ks_buf_u64(&b, h->base_ns);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        ks_buf_varint(&b, counts[i]);
    return d->item(d->arg, KS_TRIMAGE_HEAD, ks_buf_view(&b));
}

static ks_err dump_gen(struct capture *c, struct ksi_gen *g, uint64_t lsn,
                       const struct ks_traces_dump *d)
{
    struct ksi_look l;
    ksi_look_begin(&l, g);
    ks_err err = capture(c, &l, lsn);
    ksi_look_end(&l);
    KS_TRY(err);
    KS_TRY(emit_head(&c->head, d));
    for (size_t i = 0; i < c->head.text_chunks + c->head.rec_chunks; i++)
        KS_TRY(d->item(d->arg, i < c->head.text_chunks ? KS_TRIMAGE_TEXT : KS_TRIMAGE_RECORDS,
                       c->chunks[i]));
    KS_TRY(d->item(d->arg, KS_TRIMAGE_TABLE, ks_buf_view(&c->table)));
    return d->item(d->arg, KS_TRIMAGE_SLOTS, ks_buf_view(&c->slots));
}

/* One ring of a tenant, oldest generation first. Each is let go once it is written, so that what
 * the ring evicts meanwhile is free for what comes. */
static ks_err dump_ring(struct ks_traces *t, struct capture *c, uint64_t lsn,
                        const struct ks_traces_dump *d)
{
    struct ksi_view v;
    KS_TRY(ksi_view_take(t, c->head.tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = v.count; i-- > 0 && err == KS_OK;) {
        c->head.first_live = v.first_live[i];
        if (v.is_kept[i] == c->head.kept)
            err = dump_gen(c, v.gens[i], lsn, d);
        ksi_gen_unref(v.gens[i]);
        v.gens[i] = NULL;
    }
    ksi_view_release(&v);
    return err;
}

ks_err ks_traces_dump(struct ks_traces *t, const struct ks_traces_dump *d)
{
    struct capture c = {0};
    struct tenant_list list = {0};
    uint64_t lsn = ks_traces_lsn(t);
    ks_buf_init(&c.table, KS_BUF_UNLIMITED);
    ks_buf_init(&c.slots, KS_BUF_UNLIMITED);
    ks_traces_tenants(t, add_tenant, &list);
    ks_err err = list.err;
    /* A trace that moves meanwhile is in both rings rather than in neither. */
    for (unsigned kept = 0; kept < 2; kept++)
        for (size_t i = 0; i < list.count && err == KS_OK; i++) {
            c.head.tenant = list.items[i];
            c.head.kept = kept != 0;
            err = dump_ring(t, &c, lsn, d);
        }
    ks_buf_done(&c.table);
    ks_buf_done(&c.slots);
    ks_free(c.chunks);
    ks_free(c.live);
    ks_free(list.items);
    return err;
}
