/*
 * Stats functions that keep many values: count_uniq, count_uniq_hash, uniq_values, values,
 * json_values, median and quantile (a uniform sample of 10 000).
 */
#include <math.h>
#include <stdlib.h>

#include "query/logsql/stats/agg.h"
#include "sys/rand.h"

/* ---------------------------------------------------------------- sets */

struct set_state {
    struct ksi_keymap set;
    bool full; /* the limit was reached: no more are looked at */
};

static ks_err set_add(const struct ksi_lq_agg *a, struct ksi_lq_states *st, struct set_state *s,
                      struct ks_slice key, uint64_t hash)
{
    uint64_t was = ksi_keymap_bytes(&s->set);
    uint32_t at;
    bool fresh;
    s->set.texts = &st->arena;
    KS_TRY(ksi_keymap_add(&s->set, key, hash, &at, &fresh));
    st->heap_bytes += ksi_keymap_bytes(&s->set) - was;
    s->full = a->func->limit && s->set.count >= a->func->limit;
    return KS_OK;
}

/* The values of a row as one key; empty when all are. For `*` names belong to it. */
static void row_key(const struct ksi_lq_args *args, bool names, uint32_t row, struct ks_buf *key)
{
    bool any = false;
    ks_buf_reset(key);
    for (size_t i = 0; i < args->count; i++) {
        struct ks_slice v = ksi_lq_text(&args->texts[i], row);
        any = any || v.len;
        if (names && !v.len)
            continue;
        if (names)
            ks_buf_lp(key, args->names[i]);
        ks_buf_lp(key, v);
    }
    if (!any)
        ks_buf_reset(key);
}

/* One column: its distinct values are added once each per group. */
static ks_err uniq_column(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                          const struct ksi_lq_update *u, const struct ksi_lq_texts *t, bool hashed)
{
    struct set_state *states = (struct set_state *)(void *)st->data;
    bool shared = t->constant || t->codes;
    uint64_t *hashes = shared ? ks_arena_array(u->arena, t->count, sizeof *hashes) : NULL;
    uint8_t *seen = shared && !u->group_of ? ks_arena_zalloc(u->arena, t->count) : NULL;
    if (shared && !hashes)
        return ks_arena_err(u->arena);
    for (uint32_t i = 0; shared && i < t->count; i++)
        hashes[i] = ksi_keymap_hash(t->values[i]);
    for (uint32_t r = 0; r < u->rows->row_count; r++) {
        uint32_t at = ksi_lq_text_at(t, r);
        struct set_state *s = &states[ksi_lq_group(u, r)];
        if (!t->values[at].len || s->full || !ksi_lq_on(u, r) || (seen && seen[at]))
            continue;
        if (seen)
            seen[at] = 1;
        uint64_t h = shared ? hashes[at] : ksi_keymap_hash(t->values[at]);
        KS_TRY(set_add(a, st, s, hashed ? ks_slice(&h, sizeof h) : t->values[at], h));
    }
    return KS_OK;
}

static ks_err uniq_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                          const struct ksi_lq_update *u, bool hashed)
{
    struct set_state *states = (struct set_state *)(void *)st->data;
    struct ksi_lq_args args;
    struct ks_buf key;
    ks_err err = KS_OK;
    bool all = ksi_lq_args_all(&a->func->args);
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    if (args.count == 1 && !all)
        return uniq_column(a, st, u, &args.texts[0], hashed);
    ks_buf_init(&key, KS_BUF_UNLIMITED);
    for (uint32_t r = 0; r < u->rows->row_count && err == KS_OK; r++) {
        struct set_state *s = &states[ksi_lq_group(u, r)];
        if (s->full || !ksi_lq_on(u, r))
            continue;
        row_key(&args, all, r, &key);
        err = ks_buf_status(&key);
        if (err != KS_OK || !key.len)
            continue;
        uint64_t h = ksi_keymap_hash(ks_buf_view(&key));
        err = set_add(a, st, s, hashed ? ks_slice(&h, sizeof h) : ks_buf_view(&key), h);
    }
    ks_buf_done(&key);
    return err;
}
static ks_err count_uniq_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                const struct ksi_lq_update *u)
{
    return uniq_update(a, st, u, false);
}
static ks_err count_uniq_hash_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                     const struct ksi_lq_update *u)
{
    return uniq_update(a, st, u, true);
}
static ks_err uniq_values_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                 const struct ksi_lq_update *u)
{
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++)
        KS_TRY(uniq_column(a, st, u, &args.texts[i], false));
    return KS_OK;
}

static ks_err set_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    struct set_state *d = dst, *s = src;
    if (d->set.count < s->set.count) {
        struct set_state was = *d;
        *d = *s;
        *s = was;
    }
    for (uint32_t i = 0; i < s->set.count && !d->full; i++)
        KS_TRY(set_add(a, st, d, s->set.entries[i].key, s->set.entries[i].hash));
    return KS_OK;
}
static ks_err set_count_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    uint64_t n = ((struct set_state *)state)->set.count;
    ks_buf_printf(out, "%llu",
                  (unsigned long long)(a->func->limit && n > a->func->limit ? a->func->limit : n));
    return KS_OK;
}
static void set_done(void *state)
{
    ksi_keymap_done(&((struct set_state *)state)->set);
}

static int key_cmp(const void *a, const void *b)
{
    const struct ks_lq_key *x = a, *y = b;
    int c = ks_lq_key_cmp(x, y);
    return c ? c : ks_slice_cmp(x->text, y->text);
}

static void json_item(struct ks_buf *out, size_t i, struct ks_slice v)
{
    if (i)
        ks_buf_byte(out, ',');
    ks_lq_buf_json(out, v);
}

static ks_err uniq_values_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct ksi_keymap *m = &((struct set_state *)state)->set;
    struct ks_lq_key *keys = ks_alloc_array(m->count + 1u, sizeof *keys);
    if (!keys)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < m->count; i++)
        keys[i] = ks_lq_key(m->entries[i].key);
    qsort(keys, m->count, sizeof *keys, key_cmp);
    ks_buf_byte(out, '[');
    for (uint32_t i = 0; i < m->count && (!a->func->limit || i < a->func->limit); i++)
        json_item(out, i, keys[i].text);
    ks_buf_byte(out, ']');
    ks_free(keys);
    return KS_OK;
}

const struct ksi_lq_agg_ops ksi_lq_agg_count_uniq = {sizeof(struct set_state), count_uniq_update,
                                                     set_merge, set_count_result, set_done};
const struct ksi_lq_agg_ops ksi_lq_agg_count_uniq_hash = {
    sizeof(struct set_state), count_uniq_hash_update, set_merge, set_count_result, set_done};
const struct ksi_lq_agg_ops ksi_lq_agg_uniq_values = {sizeof(struct set_state), uniq_values_update,
                                                      set_merge, uniq_values_result, set_done};

/* ---------------------------------------------------------------- lists */

struct list_state {
    struct ks_slice *items;
    size_t count, cap;
    uint64_t seen; /* quantile: of which items are a sample */
    uint64_t rng;
};

static ks_err list_add(struct ksi_lq_states *st, struct list_state *s, struct ks_slice text)
{
    size_t was = s->cap;
    KS_TRY(ks_array_reserve((void **)&s->items, &s->cap, s->count + 1, sizeof *s->items));
    st->heap_bytes += (s->cap - was) * sizeof *s->items;
    s->items[s->count++] = text;
    return KS_OK;
}
static ks_err list_add_copy(struct ksi_lq_states *st, struct list_state *s, struct ks_slice v)
{
    struct ks_slice text;
    KS_TRY(ksi_lq_take(&st->arena, v, &text));
    return list_add(st, s, text);
}

static ks_err values_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                            const struct ksi_lq_update *u)
{
    struct list_state *states = (struct list_state *)(void *)st->data;
    uint64_t limit = a->func->limit ? a->func->limit : UINT64_MAX;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++) {
        for (uint32_t r = 0; r < u->rows->row_count; r++) {
            struct ks_slice v = ksi_lq_text(&args.texts[i], r);
            struct list_state *s = &states[ksi_lq_group(u, r)];
            if (ksi_lq_on(u, r) && s->count < limit && (v.len || !args.matched[i]))
                KS_TRY(list_add_copy(st, s, v));
        }
    }
    return KS_OK;
}
static ks_err values_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                           void *src)
{
    struct list_state *d = dst, *s = src;
    uint64_t limit = a->func->limit ? a->func->limit : UINT64_MAX;
    for (size_t i = 0; i < s->count && d->count < limit; i++)
        KS_TRY(list_add(st, d, s->items[i]));
    return KS_OK;
}
static ks_err values_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct list_state *s = state;
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < s->count; i++)
        json_item(out, i, s->items[i]);
    ks_buf_byte(out, ']');
    return KS_OK;
}
static void list_done(void *state)
{
    ks_free(((struct list_state *)state)->items);
}
const struct ksi_lq_agg_ops ksi_lq_agg_values = {sizeof(struct list_state), values_update,
                                                 values_merge, values_result, list_done};

/* ---------------------------------------------------------------- json_values */

/* An item is the sort keys' texts, each behind its length, then the row's JSON. */
static ks_err json_item_text(const struct ksi_lq_agg *a, const struct ksi_lq_texts *by,
                             const struct ksi_lq_args *args, uint32_t row, struct ks_buf *b)
{
    ks_buf_reset(b);
    for (size_t i = 0; i < a->func->sort.count; i++)
        ks_buf_lp(b, ksi_lq_text(&by[i], row));
    ksi_lq_row_json(args, row, b);
    return ks_buf_status(b);
}

static int json_cmp(const void *a, const void *b, void *arg)
{
    const struct ks_lq_sort_keys *by = arg;
    struct ks_reader x = ks_reader(*(const struct ks_slice *)a);
    struct ks_reader y = ks_reader(*(const struct ks_slice *)b);
    for (size_t i = 0; i < by->count; i++) {
        int c = ks_lq_compare(ks_read_lp(&x), ks_read_lp(&y));
        if (c)
            return by->items[i].desc ? -c : c;
    }
    return 0;
}

/* Sorted by the keys and cut to the limit, when there are both. */
static void json_prune(const struct ksi_lq_agg *a, struct list_state *s, bool final)
{
    uint64_t limit = a->func->limit;
    if (!a->func->sort.count) {
        s->count = limit && s->count > limit ? limit : s->count;
        return;
    }
    if (!s->count || (!final && (!limit || s->count < 2 * limit + 64)))
        return;
    qsort_r(s->items, s->count, sizeof *s->items, json_cmp, (void *)&a->func->sort);
    if (limit && s->count > limit)
        s->count = limit;
}

static ks_err json_values_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                 const struct ksi_lq_update *u)
{
    struct list_state *states = (struct list_state *)(void *)st->data;
    size_t keys = a->func->sort.count;
    struct ksi_lq_texts *by = ks_arena_array(u->arena, keys + 1, sizeof *by);
    struct ksi_lq_args args;
    struct ks_buf b;
    ks_err err = KS_OK;
    if (!by)
        return ks_arena_err(u->arena);
    for (size_t i = 0; i < keys; i++)
        KS_TRY(ksi_lq_texts_named(u->rows, a->func->sort.items[i].name, u->arena, &by[i]));
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    ksi_lq_args_by_name(&args);
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint32_t r = 0; r < u->rows->row_count && err == KS_OK; r++) {
        struct list_state *s = &states[ksi_lq_group(u, r)];
        if (!ksi_lq_on(u, r) || (!keys && a->func->limit && s->count >= a->func->limit))
            continue;
        err = json_item_text(a, by, &args, r, &b);
        if (err == KS_OK)
            err = list_add_copy(st, s, ks_buf_view(&b));
        json_prune(a, s, false);
    }
    ks_buf_done(&b);
    return err;
}
static ks_err json_values_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                                void *src)
{
    struct list_state *d = dst, *s = src;
    for (size_t i = 0; i < s->count; i++)
        KS_TRY(list_add(st, d, s->items[i]));
    json_prune(a, d, false);
    return KS_OK;
}
static ks_err json_values_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct list_state *s = state;
    json_prune(a, s, true);
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < s->count; i++) {
        struct ks_reader r = ks_reader(s->items[i]);
        for (size_t k = 0; k < a->func->sort.count; k++)
            (void)ks_read_lp(&r);
        if (i)
            ks_buf_byte(out, ',');
        ks_buf_add(out, r.p, ks_reader_left(&r));
    }
    ks_buf_byte(out, ']');
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_json_values = {sizeof(struct list_state), json_values_update,
                                                      json_values_merge, json_values_result,
                                                      list_done};

/* ---------------------------------------------------------------- quantile */

enum { SAMPLES_MAX = 10000 };

/* Algorithm R: every value seen so far is in the sample with the same chance. */
static ks_err sample_add(struct ksi_lq_states *st, struct list_state *s, struct ks_slice v)
{
    s->seen++;
    if (s->count < SAMPLES_MAX)
        return list_add_copy(st, s, v);
    uint64_t at = ks_rng_below(&s->rng, s->seen);
    return at < SAMPLES_MAX ? ksi_lq_take(&st->arena, v, &s->items[at]) : KS_OK;
}

static ks_err quantile_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                              const struct ksi_lq_update *u)
{
    struct list_state *states = (struct list_state *)(void *)st->data;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++) {
        for (uint32_t r = 0; r < u->rows->row_count; r++) {
            struct ks_slice v = ksi_lq_text(&args.texts[i], r);
            if (ksi_lq_on(u, r) && (v.len || !args.matched[i]))
                KS_TRY(sample_add(st, &states[ksi_lq_group(u, r)], v));
        }
    }
    return KS_OK;
}

/* Two samples into one: each place is drawn from either side by what it stands for. */
static ks_err quantile_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst,
                             void *src)
{
    struct list_state *d = dst, *s = src;
    uint64_t total = d->seen + s->seen;
    if (d->count + s->count <= SAMPLES_MAX) {
        for (size_t i = 0; i < s->count; i++)
            KS_TRY(list_add(st, d, s->items[i]));
        d->seen = total;
        return KS_OK;
    }
    uint64_t left_d = d->seen, left_s = s->seen;
    size_t nd = d->count, ns = s->count, n = 0;
    struct ks_slice *out = ks_alloc_array(SAMPLES_MAX, sizeof *out);
    if (!out)
        return KS_ENOMEM;
    while (n < SAMPLES_MAX && (nd || ns)) {
        bool from_d = nd && (!ns || ks_rng_below(&d->rng, left_d + left_s) < left_d);
        struct list_state *l = from_d ? d : s;
        size_t *left = from_d ? &nd : &ns;
        uint64_t *weight = from_d ? &left_d : &left_s;
        size_t at = (size_t)ks_rng_below(&d->rng, *left);
        out[n++] = l->items[at];
        l->items[at] = l->items[--*left];
        *weight -= *weight > 1;
    }
    st->heap_bytes += SAMPLES_MAX * sizeof *out;
    ks_free(d->items);
    d->items = out;
    d->cap = SAMPLES_MAX;
    d->count = n;
    d->seen = total;
    return KS_OK;
}

static ks_err quantile_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct list_state *s = state;
    double phi = a->func->kind == KS_LQ_FN_MEDIAN ? 0.5 : a->func->phi;
    if (!s->count)
        return KS_OK;
    struct ks_lq_key *keys = ks_alloc_array(s->count, sizeof *keys);
    if (!keys)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->count; i++)
        keys[i] = ks_lq_key(s->items[i]);
    qsort(keys, s->count, sizeof *keys, key_cmp);
    double at = floor(phi * (double)s->count);
    size_t i = !(at > 0) ? 0 : at >= (double)s->count ? s->count - 1 : (size_t)at;
    ks_buf_slice(out, keys[i].text);
    ks_free(keys);
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_quantile = {sizeof(struct list_state), quantile_update,
                                                   quantile_merge, quantile_result, list_done};
