/* first(x) and last(x) of running_stats and total_stats: rows come in order, one worker. */
#include "query/logsql/stats/agg.h"

struct first_state {
    uint64_t seen;
    struct ks_slice text;
};

static ks_err first_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                           const struct ksi_lq_update *u)
{
    struct first_state *states = (struct first_state *)(void *)st->data;
    struct ksi_lq_args args;
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (uint32_t r = 0; r < u->rows->row_count && args.count; r++) {
        struct first_state *s = &states[ksi_lq_group(u, r)];
        if (ksi_lq_on(u, r) && s->seen++ == a->func->offset)
            KS_TRY(ksi_lq_take(&st->arena, ksi_lq_text(&args.texts[0], r), &s->text));
    }
    return KS_OK;
}
static ks_err first_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    ks_buf_slice(out, ((struct first_state *)state)->text);
    return KS_OK;
}

struct last_item {
    char *text;
    size_t len, cap;
};
struct last_state { /* a ring of the last offset + 1 values */
    struct last_item *ring;
    uint64_t seen;
    size_t size, cap;
};
enum { LAST_OFFSET_MAX = 100000 };

static ks_err last_take(struct ksi_lq_states *st, struct last_state *s, uint64_t size,
                        struct ks_slice v)
{
    size_t at = (size_t)(s->seen % size);
    if (at >= s->size) {
        size_t was = s->cap;
        KS_TRY(ks_array_reserve((void **)&s->ring, &s->cap, at + 1, sizeof *s->ring));
        st->heap_bytes += (s->cap - was) * sizeof *s->ring;
        memset(&s->ring[at], 0, sizeof s->ring[at]);
        s->size = at + 1;
    }
    struct last_item *i = &s->ring[at];
    size_t was = i->cap;
    if (v.len > i->cap)
        KS_TRY(ks_array_reserve((void **)&i->text, &i->cap, v.len, 1));
    st->heap_bytes += i->cap - was;
    if (v.len)
        memcpy(i->text, v.ptr, v.len);
    i->len = v.len;
    s->seen++;
    return KS_OK;
}

static ks_err last_update(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                          const struct ksi_lq_update *u)
{
    struct last_state *states = (struct last_state *)(void *)st->data;
    struct ksi_lq_args args;
    if (a->func->offset > LAST_OFFSET_MAX)
        return ks_fail(KS_ELIMIT, "last: the offset is over %d", LAST_OFFSET_MAX);
    KS_TRY(ksi_lq_args(&a->func->args, u->rows, u->arena, &args));
    for (uint32_t r = 0; r < u->rows->row_count && args.count; r++)
        if (ksi_lq_on(u, r))
            KS_TRY(last_take(st, &states[ksi_lq_group(u, r)], a->func->offset + 1,
                             ksi_lq_text(&args.texts[0], r)));
    return KS_OK;
}
static ks_err last_result(const struct ksi_lq_agg *a, void *state, struct ks_buf *out)
{
    const struct last_state *s = state;
    if (s->seen <= a->func->offset)
        return KS_OK;
    const struct last_item *i =
        &s->ring[(size_t)((s->seen - 1 - a->func->offset) % (a->func->offset + 1))];
    ks_buf_add(out, i->text, i->len);
    return KS_OK;
}
static void last_done(void *state)
{
    struct last_state *s = state;
    for (size_t i = 0; i < s->size; i++)
        ks_free(s->ring[i].text);
    ks_free(s->ring);
}

static ks_err no_merge(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src)
{
    return ks_fail(KS_EINTERNAL, "ordered functions have one worker");
}
const struct ksi_lq_agg_ops ksi_lq_agg_first = {sizeof(struct first_state), first_update, no_merge,
                                                first_result, NULL};
const struct ksi_lq_agg_ops ksi_lq_agg_last = {sizeof(struct last_state), last_update, no_merge,
                                               last_result, last_done};
