/*
 * Stats functions that keep one value or one row: min, max, any, row_any, row_min, row_max,
 * field_min, field_max.
 *
 * min and max compare by type but give the text as it was. A column named without a star takes part
 * in rows that lack it with "" (as the peer does); one found by a star does not.
 */
#include "query/logsql/stats/agg.h"

struct extreme_state {
    struct ks_lq_key key;    /* text in the states' arena, or NULL with TIME: made when needed */
    struct ks_slice payload; /* the row or field kept beside */
    bool has;
    char *text; /* holds key.text */
    size_t cap;
};

/* A copy of v in the state's own text. */
static ks_err keep_text(struct ksi_lq_states *st, struct extreme_state *s, struct ks_slice v)
{
    size_t was = s->cap;
    if (v.len > s->cap) {
        KS_TRY(ks_array_reserve((void **)&s->text, &s->cap, v.len, 1));
        st->heap_bytes += s->cap - was;
    }
    if (v.len)
        memcpy(s->text, v.ptr, v.len);
    s->key.text = ks_slice(s->text ? s->text : "", v.len);
    return KS_OK;
}

static bool better(const struct ks_lq_key *now, const struct extreme_state *s, bool max)
{
    if (!s->has)
        return true;
    int c = ks_lq_key_cmp(now, &s->key);
    return max ? c > 0 : c < 0;
}

static ks_err replace(struct ksi_lq_states *st, struct extreme_state *s,
                      const struct ks_lq_key *now)
{
    s->key = *now;
    s->has = true;
    return keep_text(st, s, now->text);
}

static ks_err keys_of(const struct ksi_lq_texts *t, struct ks_arena *arena, struct ks_lq_key **ret)
{
    struct ks_lq_key *keys = ks_arena_array(arena, t->count, sizeof *keys);
    if (!keys)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < t->count; i++)
        keys[i] = ks_lq_key(t->values[i]);
    *ret = keys;
    return KS_OK;
}

static ks_err extreme_column(struct ksi_lq_states *st, const struct ksi_lq_update *u,
                             const struct ksi_lq_texts *t, bool matched, bool max)
{
    struct extreme_state *states = (struct extreme_state *)(void *)st->data;
    struct ks_lq_key *keys;
    KS_TRY(keys_of(t, u->arena, &keys));
    for (uint32_t r = 0; r < u->rows->row_count; r++) {
        const struct ks_lq_key *k = &keys[ksi_lq_text_at(t, r)];
        struct extreme_state *s = &states[ksi_lq_group(u, r)];
        if (!ksi_lq_on(u, r) || (matched && !k->text.len))
            continue;
        if (better(k, s, max))
            KS_TRY(replace(st, s, k));
        if (t->constant && !u->group_of && !u->bits)
            break; /* all the same */
    }
    return KS_OK;
}

/* A column of times: compared as integers, printed only when one wins. */
static ks_err extreme_times(struct ksi_lq_states *st, const struct ksi_lq_update *u,
                            const int64_t *times_ns, bool max)
{
    struct extreme_state *states = (struct extreme_state *)(void *)st->data;
    for (uint32_t r = 0; r < u->rows->row_count; r++) {
        struct extreme_state *s = &states[ksi_lq_group(u, r)];
        char text[KS_LQ_TIME_TEXT_MAX];
        if (!ksi_lq_on(u, r))
            continue;
        if (s->has && (s->key.flags & KS_LQ_KEY_TIME) &&
            (max ? times_ns[r] <= s->key.i : times_ns[r] >= s->key.i))
            continue;
        struct ks_lq_key k = {.text = ks_slice(text, ks_lq_time_format(text, times_ns[r])),
                              .i = times_ns[r],
                              .flags = KS_LQ_KEY_TIME};
        if (better(&k, s, max))
            KS_TRY(replace(st, s, &k));
    }
    return KS_OK;
}

static ks_err extreme_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                             const struct ksi_lq_update *u, bool max)
{
    const struct ks_lq_fields *f = &a->func->args;
    if (f->count == 1 && !f->items[0].prefix) {
        const struct ks_lq_col *col = ks_lq_rows_col(u->rows, f->items[0].name);
        if (col && col->kind == KS_LQ_TIMES)
            return extreme_times(st, u, col->times_ns, max);
    }
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(f, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++)
        KS_TRY(extreme_column(st, u, &args.texts[i], args.matched[i], max));
    return KS_OK;
}
static ks_err min_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                         const struct ksi_lq_update *u)
{
    return extreme_update(a, st, u, false);
}
static ks_err max_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                         const struct ksi_lq_update *u)
{
    return extreme_update(a, st, u, true);
}

/* src's winner moves over; what dst held is freed with src. */
static void take_over(struct extreme_state *dst, struct extreme_state *src)
{
    struct extreme_state was = *dst;
    *dst = *src;
    *src = was;
}
static ks_err extreme_merge(void *dst, void *src, bool max)
{
    struct extreme_state *d = dst, *s = src;
    if (s->has && better(&s->key, d, max))
        take_over(d, s);
    return KS_OK;
}
static ks_err min_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    return extreme_merge(dst, src, false);
}
static ks_err max_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    return extreme_merge(dst, src, true);
}
static ks_err extreme_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct extreme_state *s = state;
    ks_buf_slice(out, s->key.text);
    return KS_OK;
}
static void extreme_done(void *state)
{
    ks_free(((struct extreme_state *)state)->text);
}
void ksi_lq_hand_out_extreme(const void *state, struct ks_buf *out)
{
    const struct extreme_state *s = state;
    ks_buf_byte(out, s->has);
    if (s->has) {
        ks_buf_varint(out, s->key.text.len);
        ks_buf_slice(out, s->key.text);
    }
}
const struct ksi_lq_agg_ops ksi_lq_agg_min = {sizeof(struct extreme_state), min_update, min_merge,
                                              extreme_result, extreme_done};
const struct ksi_lq_agg_ops ksi_lq_agg_max = {sizeof(struct extreme_state), max_update, max_merge,
                                              extreme_result, extreme_done};

/* ---------------------------------------------------------------- any */

static ks_err any_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                         const struct ksi_lq_update *u)
{
    struct extreme_state *states = (struct extreme_state *)(void *)st->data;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (size_t i = 0; i < args.count; i++) {
        for (uint32_t r = 0; r < u->rows->row_count; r++) {
            struct extreme_state *s = &states[ksi_lq_group(u, r)];
            struct ks_slice v = ksi_lq_text(&args.texts[i], r);
            if (s->has || !v.len || !ksi_lq_on(u, r))
                continue;
            KS_TRY(keep_text(st, s, v));
            s->has = true;
        }
    }
    return KS_OK;
}
static ks_err any_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    struct extreme_state *d = dst, *s = src;
    if (!d->has && s->has)
        take_over(d, s);
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_any = {sizeof(struct extreme_state), any_update, any_merge,
                                              extreme_result, extreme_done};

/* ---------------------------------------------------------------- rows */

/* The payload of a row as JSON, or one field of it. */
static ks_err keep_payload(struct ksi_lq_states *st, struct extreme_state *s,
                           const struct ksi_lq_args *args, uint32_t row, bool json)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    if (json)
        ksi_lq_row_json(args, row, &b);
    else if (args->count)
        ks_buf_slice(&b, ksi_lq_text(&args->texts[0], row));
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ksi_lq_take(&st->arena, ks_buf_view(&b), &s->payload);
    ks_buf_done(&b);
    return err;
}

static ks_err row_any_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                             const struct ksi_lq_update *u)
{
    struct extreme_state *states = (struct extreme_state *)(void *)st->data;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    ksi_lq_args_by_name(&args);
    for (uint32_t r = 0; r < u->rows->row_count; r++) {
        struct extreme_state *s = &states[ksi_lq_group(u, r)];
        if (s->has || !ksi_lq_on(u, r))
            continue;
        KS_TRY(keep_payload(st, s, &args, r, true));
        s->has = true;
    }
    return KS_OK;
}

/* The row whose first argument is the extreme; its other arguments (none: all) are kept. */
static ks_err row_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                         const struct ksi_lq_update *u, bool max, bool json)
{
    struct extreme_state *states = (struct extreme_state *)(void *)st->data;
    struct ks_lq_fields rest = {a->func->args.items + 1, a->func->args.count - 1};
    struct ksi_lq_texts by;
    struct ksi_lq_args args;
    struct ks_lq_key *keys;
    uint32_t rows = u->rows->row_count, *winner;
    if (!a->func->args.count)
        return ks_fail(KS_EPARSE, "row_min and row_max need a field");
    KS_TRY(ksi_lq_texts_named(u->rows, a->func->args.items[0].name, u->arena, &by));
    KS_TRY(keys_of(&by, u->arena, &keys));
    KS_TRY(ksi_lq_args(&rest, u->rows, u->arena, &args));
    if (json)
        ksi_lq_args_by_name(&args);
    /* The batch's winners first, so that a row is printed once per group and batch. */
    winner = ks_arena_array(u->arena, st->count + 1u, sizeof *winner);
    if (!winner)
        return ks_arena_err(u->arena);
    for (uint32_t r = 0; r < rows; r++)
        winner[ksi_lq_group(u, r)] = UINT32_MAX;
    for (uint32_t r = 0; r < rows; r++) {
        const struct ks_lq_key *k = &keys[ksi_lq_text_at(&by, r)];
        uint32_t g = ksi_lq_group(u, r);
        if (!k->text.len || !ksi_lq_on(u, r) || !better(k, &states[g], max))
            continue;
        KS_TRY(replace(st, &states[g], k));
        winner[g] = r;
    }
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t g = ksi_lq_group(u, r);
        if (winner[g] == r)
            KS_TRY(keep_payload(st, &states[g], &args, r, json));
    }
    return KS_OK;
}
static ks_err row_min_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                             const struct ksi_lq_update *u)
{
    return row_update(a, st, u, false, true);
}
static ks_err row_max_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                             const struct ksi_lq_update *u)
{
    return row_update(a, st, u, true, true);
}
static ks_err field_min_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                               const struct ksi_lq_update *u)
{
    return row_update(a, st, u, false, false);
}
static ks_err field_max_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                               const struct ksi_lq_update *u)
{
    return row_update(a, st, u, true, false);
}
static ks_err row_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    struct extreme_state *s = state;
    ks_buf_slice(out, s->has ? s->payload : KS_SLICE_LIT("{}"));
    return KS_OK;
}
static ks_err field_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    ks_buf_slice(out, ((struct extreme_state *)state)->payload);
    return KS_OK;
}
const struct ksi_lq_agg_ops ksi_lq_agg_row_any = {sizeof(struct extreme_state), row_any_update,
                                                  any_merge, row_result, extreme_done};
const struct ksi_lq_agg_ops ksi_lq_agg_row_min = {sizeof(struct extreme_state), row_min_update,
                                                  min_merge, row_result, extreme_done};
const struct ksi_lq_agg_ops ksi_lq_agg_row_max = {sizeof(struct extreme_state), row_max_update,
                                                  max_merge, row_result, extreme_done};
const struct ksi_lq_agg_ops ksi_lq_agg_field_min = {sizeof(struct extreme_state), field_min_update,
                                                    min_merge, field_result, extreme_done};
const struct ksi_lq_agg_ops ksi_lq_agg_field_max = {sizeof(struct extreme_state), field_max_update,
                                                    max_merge, field_result, extreme_done};
