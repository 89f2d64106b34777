/* What the stats functions share: see agg.h. */
#include "query/logsql/stats/agg.h"

ks_err ksi_lq_agg_init(struct ksi_lq_agg *a, const struct ks_lq_func *func)
{
    static const struct ksi_lq_agg_ops *const ops[KS_LQ_FN_COUNT_OF_KINDS] = {
        [KS_LQ_FN_ANY] = &ksi_lq_agg_any,
        [KS_LQ_FN_AVG] = &ksi_lq_agg_avg,
        [KS_LQ_FN_COUNT] = &ksi_lq_agg_count,
        [KS_LQ_FN_COUNT_EMPTY] = &ksi_lq_agg_count_empty,
        [KS_LQ_FN_COUNT_UNIQ] = &ksi_lq_agg_count_uniq,
        [KS_LQ_FN_COUNT_UNIQ_HASH] = &ksi_lq_agg_count_uniq_hash,
        [KS_LQ_FN_FIELD_MAX] = &ksi_lq_agg_field_max,
        [KS_LQ_FN_FIELD_MIN] = &ksi_lq_agg_field_min,
        [KS_LQ_FN_HISTOGRAM] = &ksi_lq_agg_histogram,
        [KS_LQ_FN_JSON_VALUES] = &ksi_lq_agg_json_values,
        [KS_LQ_FN_MAX] = &ksi_lq_agg_max,
        [KS_LQ_FN_MEDIAN] = &ksi_lq_agg_quantile,
        [KS_LQ_FN_MIN] = &ksi_lq_agg_min,
        [KS_LQ_FN_QUANTILE] = &ksi_lq_agg_quantile,
        [KS_LQ_FN_RATE] = &ksi_lq_agg_rate,
        [KS_LQ_FN_RATE_SUM] = &ksi_lq_agg_rate_sum,
        [KS_LQ_FN_ROW_ANY] = &ksi_lq_agg_row_any,
        [KS_LQ_FN_ROW_MAX] = &ksi_lq_agg_row_max,
        [KS_LQ_FN_ROW_MIN] = &ksi_lq_agg_row_min,
        [KS_LQ_FN_STDDEV] = &ksi_lq_agg_stddev,
        [KS_LQ_FN_SUM] = &ksi_lq_agg_sum,
        [KS_LQ_FN_SUM_LEN] = &ksi_lq_agg_sum_len,
        [KS_LQ_FN_UNIQ_VALUES] = &ksi_lq_agg_uniq_values,
        [KS_LQ_FN_VALUES] = &ksi_lq_agg_values,
    };
    a->func = func;
    a->ops = (unsigned)func->kind < KS_LQ_FN_COUNT_OF_KINDS ? ops[func->kind] : NULL;
    return a->ops ? KS_OK : ks_fail(KS_EUNSUPPORTED, "this function is not allowed in stats");
}

ks_err ksi_lq_agg_init_ordered(struct ksi_lq_agg *a, const struct ks_lq_func *func)
{
    if (func->kind != KS_LQ_FN_FIRST && func->kind != KS_LQ_FN_LAST)
        return ksi_lq_agg_init(a, func);
    a->func = func;
    a->ops = func->kind == KS_LQ_FN_FIRST ? &ksi_lq_agg_first : &ksi_lq_agg_last;
    return KS_OK;
}

void ksi_lq_states_init(struct ksi_lq_states *st)
{
    memset(st, 0, sizeof *st);
    ks_arena_init(&st->arena, KS_BUF_UNLIMITED);
}

void ksi_lq_states_done(const struct ksi_lq_agg *a, struct ksi_lq_states *st)
{
    for (uint32_t i = 0; a->ops && a->ops->done && i < st->count; i++)
        a->ops->done(ksi_lq_state(a, st, i));
    ks_free(st->data);
    ks_arena_done(&st->arena);
}

ks_err ksi_lq_states_grow(const struct ksi_lq_agg *a, struct ksi_lq_states *st, uint32_t count)
{
    size_t size = a->ops->size, was = st->cap;
    if (count <= st->count)
        return KS_OK;
    if ((size_t)count * size > st->cap) {
        KS_TRY(ks_array_reserve((void **)&st->data, &st->cap, (size_t)count * size, 1));
        memset(st->data + was, 0, st->cap - was);
    }
    st->count = count;
    return KS_OK;
}

bool ksi_lq_args_all(const struct ks_lq_fields *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].prefix && !f->items[i].name.len)
            return true;
    return f->count == 0;
}

static ks_err add_arg(struct ksi_lq_args *a, const struct ks_lq_rows *rows,
                      const struct ks_lq_col *col, struct ks_slice name, bool matched,
                      struct ks_arena *arena)
{
    for (size_t i = 0; i < a->count; i++)
        if (ks_slice_eq(a->names[i], name))
            return KS_OK;
    KS_TRY(ksi_lq_texts(col, rows->row_count, arena, &a->texts[a->count]));
    a->cols[a->count] = col;
    a->names[a->count] = name;
    a->matched[a->count++] = matched;
    return KS_OK;
}

ks_err ksi_lq_args(const struct ks_lq_fields *f, const struct ks_lq_rows *rows,
                   struct ks_arena *arena, struct ksi_lq_args *ret)
{
    static const struct ks_lq_field star = {{"", 0}, true};
    struct ks_lq_fields all = {(struct ks_lq_field *)&star, 1};
    if (ksi_lq_args_all(f))
        f = &all;
    size_t max = f->count + rows->col_count;
    ret->texts = ks_arena_array(arena, max, sizeof *ret->texts);
    ret->cols = ks_arena_array(arena, max, sizeof *ret->cols);
    ret->names = ks_arena_array(arena, max, sizeof *ret->names);
    ret->matched = ks_arena_array(arena, max, sizeof *ret->matched);
    ret->count = 0;
    if (!ret->texts || !ret->cols || !ret->names || !ret->matched)
        return ks_arena_err(arena);
    for (size_t i = 0; i < f->count; i++) {
        const struct ks_lq_field *field = &f->items[i];
        if (!field->prefix) {
            KS_TRY(
                add_arg(ret, rows, ks_lq_rows_col(rows, field->name), field->name, false, arena));
            continue;
        }
        for (uint32_t k = 0; k < rows->col_count; k++)
            if (ksi_lq_field_match(field, rows->cols[k].name))
                KS_TRY(add_arg(ret, rows, &rows->cols[k], rows->cols[k].name, true, arena));
    }
    return KS_OK;
}

void ksi_lq_args_by_name(struct ksi_lq_args *a)
{
    for (size_t i = 1; i < a->count; i++) { /* few, and mostly in order */
        for (size_t k = i; k > 0 && ks_slice_cmp(a->names[k - 1], a->names[k]) > 0; k--) {
            struct ksi_lq_texts t = a->texts[k];
            const struct ks_lq_col *col = a->cols[k];
            struct ks_slice name = a->names[k];
            bool matched = a->matched[k];
            a->texts[k] = a->texts[k - 1];
            a->cols[k] = a->cols[k - 1];
            a->names[k] = a->names[k - 1];
            a->matched[k] = a->matched[k - 1];
            a->texts[k - 1] = t;
            a->cols[k - 1] = col;
            a->names[k - 1] = name;
            a->matched[k - 1] = matched;
        }
    }
}

void ksi_lq_row_json(const struct ksi_lq_args *args, uint32_t row, struct ks_buf *out)
{
    bool any = false;
    ks_buf_byte(out, '{');
    for (size_t i = 0; i < args->count; i++) {
        struct ks_slice v = ksi_lq_text(&args->texts[i], row);
        if (!v.len)
            continue;
        if (any)
            ks_buf_byte(out, ',');
        any = true;
        ks_lq_buf_json(out, args->names[i]);
        ks_buf_byte(out, ':');
        ks_lq_buf_json(out, v);
    }
    ks_buf_byte(out, '}');
}

ksi_lq_hand_out ksi_lq_agg_hand_out(const struct ksi_lq_agg *a)
{
    switch (a->func->kind) {
    case KS_LQ_FN_COUNT:
    case KS_LQ_FN_COUNT_EMPTY:
    case KS_LQ_FN_RATE:
    case KS_LQ_FN_SUM_LEN:
        return ksi_lq_hand_out_count;
    case KS_LQ_FN_SUM:
    case KS_LQ_FN_RATE_SUM:
        return ksi_lq_hand_out_sum;
    case KS_LQ_FN_AVG:
        return ksi_lq_hand_out_avg;
    case KS_LQ_FN_MIN:
    case KS_LQ_FN_MAX:
        return ksi_lq_hand_out_extreme;
    default:
        return NULL;
    }
}
