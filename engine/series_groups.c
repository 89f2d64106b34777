/*
 * Grouping the series of a set. What a label means for the grouping is decided once per shape of
 * series; each series is then told by the numbers of the words that count. Only of a new group the
 * text is written, and groups of both generations a set may have meet by their text.
 */
#include <string.h>

#include "base/mem.h"
#include "engine/series_set.h"

/* Places of a shape that make the key. */
struct plan {
    uint32_t count;
    uint16_t at[];
};

struct group {
    const uint32_t *words; /* name, value, …; the first one tells the generation */
    uint32_t count, no;
};

struct grouping {
    const struct ks_series_set *s;
    const struct ks_group_by *by;
    struct ks_arena *arena;
    const struct plan **plans[2]; /* by shape */
    size_t plan_cap[2];
    uint32_t *words; /* of the series at hand */
    size_t word_cap;
    /* By words, and by text: hash's upper half << 32 | index + 1. */
    uint64_t *table, *text_table;
    size_t mask, text_mask;
    struct group *groups;
    size_t group_count, group_cap;
    struct ks_series_groups *ret;
    size_t key_cap;
    struct ks_buf text;
};

static bool counts(const struct ks_group_by *by, struct ks_slice name)
{
    bool listed = false;
    if (by->drop_name && ks_slice_eq(name, KS_NAME_LABEL))
        return false;
    for (size_t i = 0; i < by->count && !listed; i++)
        listed = ks_slice_eq(by->names[i], name);
    return listed == by->keep;
}

static ks_err make_plan(struct grouping *g, const struct ksi_dict *d, uint32_t shape,
                        const struct plan **ret)
{
    const struct ksi_shape *s = ksi_dict_shape_at(d, shape);
    struct plan *p = ks_arena_alloc(g->arena, sizeof *p + s->count * sizeof *p->at);
    if (!p)
        return ks_arena_err(g->arena);
    if (s->count > UINT16_MAX)
        return ks_fail(KS_ELIMIT, "a series of %u labels cannot be grouped", s->count);
    p->count = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (counts(g->by, ksi_dict_text(d, s->names[i])))
            p->at[p->count++] = (uint16_t)i;
    size_t need = 1 + 2 * (size_t)p->count;
    if (need > g->word_cap)
        KS_TRY(ks_array_reserve((void **)&g->words, &g->word_cap, need, sizeof *g->words));
    *ret = p;
    return KS_OK;
}

static ks_err plan_of(struct grouping *g, const struct ksi_dict *d, const struct ksi_ident *i,
                      const struct plan **ret)
{
    const struct plan ***plans = &g->plans[i->own];
    size_t *cap = &g->plan_cap[i->own], old = *cap;
    if (KS_UNLIKELY(i->shape >= old)) {
        KS_TRY(ks_array_reserve((void **)plans, cap, i->shape + (size_t)1, sizeof **plans));
        memset((void *)(*plans + old), 0, (*cap - old) * sizeof **plans);
    }
    const struct plan **p = &(*plans)[i->shape];
    if (KS_UNLIKELY(!*p))
        KS_TRY(make_plan(g, d, i->shape, p));
    *ret = *p;
    return KS_OK;
}

static ks_err table_room(uint64_t **table, size_t *mask, size_t count)
{
    size_t old = *table ? *mask + 1 : 0, n = old ? old * 4 : 64;
    if ((count + 1) * 2 <= old)
        return KS_OK;
    uint64_t *t = ks_zalloc_array(n, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    for (size_t i = 0; i < old; i++) {
        if (!(*table)[i])
            continue;
        size_t at = ((*table)[i] >> 32) & (n - 1);
        while (t[at])
            at = (at + 1) & (n - 1);
        t[at] = (*table)[i];
    }
    ks_free(*table);
    *table = t;
    *mask = n - 1;
    return KS_OK;
}

/* The group with this text, made when new. */
static ks_err group_of_text(struct grouping *g, struct ks_slice text, uint32_t *ret)
{
    struct ks_series_groups *r = g->ret;
    KS_TRY(table_room(&g->text_table, &g->text_mask, r->count));
    uint64_t tag = ks_hash64(text.ptr, text.len) >> 32;
    size_t at = tag & g->text_mask;
    for (; g->text_table[at]; at = (at + 1) & g->text_mask) {
        uint32_t no = (uint32_t)g->text_table[at] - 1;
        if (g->text_table[at] >> 32 == tag && ks_slice_eq(r->keys[no], text)) {
            *ret = no;
            return KS_OK;
        }
    }
    KS_TRY(ks_arena_grow(g->arena, (void **)&r->keys, &g->key_cap, r->count + 1, sizeof *r->keys));
    struct ks_slice copy = ks_arena_dup(g->arena, text);
    if (!copy.ptr)
        return ks_arena_err(g->arena);
    r->keys[r->count] = copy;
    *ret = (uint32_t)r->count++;
    g->text_table[at] = tag << 32 | r->count;
    return KS_OK;
}

static ks_err group_new(struct grouping *g, const struct ksi_dict *d, uint32_t count, uint32_t *ret)
{
    ks_buf_reset(&g->text);
    for (uint32_t k = 1; k < count; k++)
        ks_buf_lp(&g->text, ksi_dict_text(d, g->words[k]));
    KS_TRY(ks_buf_status(&g->text));
    KS_TRY(group_of_text(g, ks_buf_view(&g->text), ret));
    KS_TRY(ks_arena_grow(g->arena, (void **)&g->groups, &g->group_cap, g->group_count + 1,
                         sizeof *g->groups));
    uint32_t *words = ks_arena_array(g->arena, count, sizeof *words);
    if (!words)
        return ks_arena_err(g->arena);
    memcpy(words, g->words, count * sizeof *words);
    g->groups[g->group_count++] = (struct group){words, count, *ret};
    return KS_OK;
}

static ks_err group_of(struct grouping *g, const struct ksi_ident *i, uint32_t *ret)
{
    const struct ksi_dict *d = ksi_idents_dict(ksi_set_idents(g->s, i));
    const struct ksi_shape *shape = ksi_dict_shape_at(d, i->shape);
    const struct plan *p;
    KS_TRY(plan_of(g, d, i, &p));
    uint32_t count = 1;
    uint64_t hash = i->own;
    g->words[0] = i->own;
    for (uint32_t k = 0; k < p->count; k++) {
        uint32_t name = shape->names[p->at[k]], value = i->values[p->at[k]];
        g->words[count++] = name;
        g->words[count++] = value;
        hash = ks_mix64(hash ^ ((uint64_t)name << 32 | value));
    }
    KS_TRY(table_room(&g->table, &g->mask, g->group_count));
    uint64_t tag = hash >> 32;
    size_t at = tag & g->mask;
    for (; g->table[at]; at = (at + 1) & g->mask) {
        const struct group *x = &g->groups[(uint32_t)g->table[at] - 1];
        if (g->table[at] >> 32 == tag && x->count == count &&
            memcmp(x->words, g->words, count * sizeof *g->words) == 0) {
            *ret = x->no;
            return KS_OK;
        }
    }
    KS_TRY(group_new(g, d, count, ret));
    g->table[at] = tag << 32 | g->group_count;
    return KS_OK;
}

ks_err ks_series_set_groups(const struct ks_series_set *s, const struct ks_group_by *by,
                            struct ks_arena *a, struct ks_series_groups *ret)
{
    enum { AHEAD = 8, CHECK_EVERY = 65536 };
    struct grouping g = {.s = s, .by = by, .arena = a, .ret = ret};
    *ret = (struct ks_series_groups){.of = ks_arena_array(a, s->series_count + 1, sizeof *ret->of)};
    if (!ret->of)
        return ks_arena_err(a);
    ks_buf_init(&g.text, KS_BUF_UNLIMITED);
    ks_err err = ks_array_reserve((void **)&g.words, &g.word_cap, 64, sizeof *g.words);
    for (size_t i = 0; i < s->series_count && err == KS_OK; i++) {
        if (i + AHEAD < s->series_count)
            __builtin_prefetch(s->series[i + AHEAD].ident);
        err = group_of(&g, s->series[i].ident, &ret->of[i]);
        if (err == KS_OK && i % CHECK_EVERY == CHECK_EVERY - 1)
            err = ks_read_ctx_check(s->ctx);
    }
    ks_free((void *)g.plans[0]);
    ks_free((void *)g.plans[1]);
    ks_free(g.words);
    ks_free(g.table);
    ks_free(g.text_table);
    ks_buf_done(&g.text);
    return err;
}
