/* Filters over rows. See cond.h. Trees are at most KS_LQ_MAX_DEPTH deep, so walkers recurse. */
#include "query/logsql/filter/cond.h"

#include "query/logsql/filter/value.h"

struct node {
    const struct ks_lq_filter *f;
    struct node **kids;
    size_t kid_count;
    int cost; /* of a row, about: cheap ones go first */
    struct ksi_lq_leaf leaf;
    struct ksi_lq_stream_match *stream;
};

struct ks_lq_cond {
    struct node *root; /* NULL: every row */
};

/* ---------------------------------------------------------------- making */

static int cost_of(const struct ks_lq_filter *f)
{
    switch (f->kind) {
    case KS_LQ_F_TIME:
    case KS_LQ_F_STREAM:
    case KS_LQ_F_STREAM_ID:
        return 0;
    case KS_LQ_F_DAY_RANGE:
    case KS_LQ_F_WEEK_RANGE:
    case KS_LQ_F_EXACT:
    case KS_LQ_F_EXACT_PREFIX:
    case KS_LQ_F_IN:
        return 1;
    case KS_LQ_F_PHRASE:
    case KS_LQ_F_PREFIX:
    case KS_LQ_F_SUBSTRING:
    case KS_LQ_F_CONTAINS_ALL:
        return 2;
    case KS_LQ_F_ANYCASE_PHRASE:
    case KS_LQ_F_ANYCASE_PREFIX:
    case KS_LQ_F_EQ_FIELD:
    case KS_LQ_F_LE_FIELD:
    case KS_LQ_F_LT_FIELD:
    case KS_LQ_F_JSON_ARRAY_CONTAINS_ANY:
        return 4;
    case KS_LQ_F_REGEXP:
    case KS_LQ_F_PATTERN_MATCH:
    case KS_LQ_F_VALUE_TYPE:
        return 5;
    default:
        return 3;
    }
}

static ks_err make_node(struct ks_arena *arena, const struct ks_lq_filter *f, struct node **ret);

static ks_err make_kids(struct ks_arena *arena, const struct ks_lq_filter *f, struct node *n)
{
    n->kids = ks_arena_zalloc(arena, (f->kid_count + 1) * sizeof *n->kids);
    if (!n->kids)
        return ks_arena_err(arena);
    for (size_t i = 0; i < f->kid_count; i++) {
        struct node *kid;
        KS_TRY(make_node(arena, f->kids[i], &kid));
        n->cost = kid->cost + 1 > n->cost ? kid->cost + 1 : n->cost;
        size_t at = n->kid_count++;
        for (; f->kind == KS_LQ_F_AND && at && n->kids[at - 1]->cost > kid->cost; at--)
            n->kids[at] = n->kids[at - 1];
        n->kids[at] = kid;
    }
    return KS_OK;
}

static ks_err make_node(struct ks_arena *arena, const struct ks_lq_filter *f, struct node **ret)
{
    struct node *n = ks_arena_zalloc(arena, sizeof *n);
    if (!n)
        return ks_arena_err(arena);
    n->f = f;
    *ret = n;
    switch (f->kind) {
    case KS_LQ_F_AND:
    case KS_LQ_F_OR:
    case KS_LQ_F_NOT:
        return make_kids(arena, f, n);
    case KS_LQ_F_STREAM:
        return ksi_lq_stream_match_new(&f->stream, arena, &n->stream);
    default:
        /* of equals the one that does not ask the message first: it mostly asks a dictionary */
        n->cost = 2 * cost_of(f) + (!f->field.name.len || ks_slice_is(f->field.name, "_msg"));
        return ksi_lq_leaf_init(&n->leaf, f, arena);
    }
}

static void node_done(struct node *n)
{
    for (size_t i = 0; i < n->kid_count; i++)
        node_done(n->kids[i]);
    ksi_lq_leaf_done(&n->leaf);
    ksi_lq_stream_match_done(n->stream);
}

ks_err ksi_lq_cond_make(struct ks_arena *arena, const struct ks_lq_filter *f,
                        struct ks_lq_cond **ret)
{
    struct ks_lq_cond *c = ks_arena_zalloc(arena, sizeof *c);
    if (!c)
        return ks_arena_err(arena);
    if (f && f->kind != KS_LQ_F_ALL) {
        ks_err err = make_node(arena, f, &c->root);
        if (err) {
            ks_lq_cond_done(c);
            return err;
        }
    }
    *ret = c;
    return KS_OK;
}

ks_err ks_lq_cond_new(struct ks_lq_exec *x, const struct ks_lq_filter *f, struct ks_lq_cond **ret)
{
    return ksi_lq_cond_make(x->arena, f, ret);
}

void ks_lq_cond_done(struct ks_lq_cond *c)
{
    if (c && c->root)
        node_done(c->root);
}

bool ksi_lq_cond_is_all(const struct ks_lq_cond *c)
{
    return c->root == NULL;
}

/* ---------------------------------------------------------------- columns */

static void keep_if(uint64_t *bits, uint32_t row, bool ok)
{
    if (!ok)
        bits[row / 64] &= ~(1ull << (row % 64));
}

static void clear_all(uint64_t *bits, uint32_t rows)
{
    memset(bits, 0, KS_ROW_WORDS(rows) * sizeof *bits);
}

#define EACH_ROW(rows, bits, row)                                                                  \
    for (uint32_t w_ = 0; w_ < KS_ROW_WORDS(rows); w_++)                                           \
        for (uint64_t b_ = (bits)[w_], row = 0;                                                    \
             b_ && (row = w_ * 64 + (uint32_t)__builtin_ctzll(b_), true); b_ &= b_ - 1)

static ks_err filter_dict(const struct ks_lq_col *c, uint32_t rows, const struct ks_log_pred *pred,
                          struct ks_arena *scratch, uint64_t *bits)
{
    uint8_t *known = ks_arena_zalloc(scratch, c->value_count + 1);
    if (!known)
        return ks_arena_err(scratch);
    EACH_ROW(rows, bits, row)
    {
        uint32_t code = c->codes[row];
        if (!known[code])
            known[code] = pred->match(pred->arg, c->values[code]) ? 1 : 2;
        keep_if(bits, (uint32_t)row, known[code] == 1);
    }
    return KS_OK;
}

static ks_err filter_col(const struct ks_lq_col *c, uint32_t rows, const struct ks_log_pred *pred,
                         struct ks_arena *scratch, uint64_t *bits)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    if (c->kind == KS_LQ_CONST) {
        if (!pred->match(pred->arg, c->values[0]))
            clear_all(bits, rows);
        return KS_OK;
    }
    if (c->kind == KS_LQ_DICT)
        return filter_dict(c, rows, pred, scratch, bits);
    EACH_ROW(rows, bits, row)
    {
        struct ks_slice v = ks_lq_col_text(c, (uint32_t)row, tmp);
        keep_if(bits, (uint32_t)row, pred->match(pred->arg, v));
    }
    return KS_OK;
}

static bool is_special(struct ks_slice name)
{
    return ks_slice_is(name, "_time") || ks_slice_is(name, "_stream") ||
           ks_slice_is(name, "_stream_id");
}

static ks_err eval_named(const struct node *n, struct ksi_lq_view *v, struct ks_slice name,
                         uint64_t *bits)
{
    const struct ks_log_pred *pred = &n->leaf.pred;
    if (v->filter && !is_special(name))
        return v->filter(v, name, pred, bits);
    struct ks_lq_col c;
    bool found;
    KS_TRY(v->column(v, name, bits, &c, &found));
    if (found)
        return filter_col(&c, v->row_count, pred, v->scratch, bits);
    if (!pred->match_empty)
        clear_all(bits, v->row_count);
    return KS_OK;
}

static ks_err new_bits(struct ksi_lq_view *v, const uint64_t *from, uint64_t **ret)
{
    size_t n = KS_ROW_WORDS(v->row_count);
    uint64_t *b = ks_arena_array(v->scratch, n + 1, sizeof *b);
    if (!b)
        return ks_arena_err(v->scratch);
    if (from)
        memcpy(b, from, n * sizeof *b);
    else
        memset(b, 0, n * sizeof *b);
    *ret = b;
    return KS_OK;
}

/* prefix*:filter: some field with that prefix matches. */
static ks_err eval_prefixed(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    const struct ks_slice *names;
    size_t count, words = KS_ROW_WORDS(v->row_count);
    uint64_t *left, *found, *one;
    KS_TRY(v->names(v, &names, &count));
    KS_TRY(new_bits(v, bits, &left));
    KS_TRY(new_bits(v, NULL, &found));
    KS_TRY(new_bits(v, NULL, &one));
    for (size_t i = 0; i < count; i++) {
        if (!ks_slice_has_prefix(names[i], n->f->field.name))
            continue;
        memcpy(one, left, words * sizeof *one);
        KS_TRY(eval_named(n, v, names[i], one));
        for (size_t w = 0; w < words; w++) {
            found[w] |= one[w];
            left[w] &= ~one[w];
        }
    }
    memcpy(bits, found, words * sizeof *bits);
    return KS_OK;
}

/* ---------------------------------------------------------------- time and streams */

static int64_t floor_mod(int64_t a, int64_t m)
{
    int64_t r = a % m;
    return r < 0 ? r + m : r;
}

static bool time_matches(const struct ks_lq_filter *f, int64_t t)
{
    const int64_t day = 86400000000000ll;
    int64_t v;
    if (f->kind == KS_LQ_F_TIME)
        return t >= f->min_ns && t <= f->max_ns;
    if (__builtin_add_overflow(t, f->offset_ns, &t))
        return false;
    if (f->kind == KS_LQ_F_DAY_RANGE) {
        v = floor_mod(t, day);
    } else { /* 1970-01-01 was a Thursday */
        if (f->max_ns < 0)
            return false;
        int64_t days = (t - floor_mod(t, day)) / day;
        v = floor_mod(days + 4, 7);
    }
    return f->min_ns <= f->max_ns ? v >= f->min_ns && v <= f->max_ns
                                  : v >= f->min_ns || v <= f->max_ns;
}

static ks_err eval_time(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    const int64_t *times = NULL;
    struct ks_lq_col c;
    bool found;
    if (v->times) {
        KS_TRY(v->times(v, &times));
    } else {
        KS_TRY(v->column(v, KS_SLICE_LIT("_time"), bits, &c, &found));
        if (!found) {
            clear_all(bits, v->row_count);
            return KS_OK;
        }
        if (c.kind == KS_LQ_TIMES)
            times = c.times_ns;
    }
    char tmp[KS_LQ_TIME_TEXT_MAX];
    EACH_ROW(v->row_count, bits, row)
    {
        int64_t t = 0;
        bool ok = times != NULL;
        if (ok)
            t = times[row];
        else
            ok = ks_lq_parse_rfc3339(ks_lq_col_text(&c, (uint32_t)row, tmp), &t);
        keep_if(bits, (uint32_t)row, ok && time_matches(n->f, t));
    }
    return KS_OK;
}

static bool match_stream_text(void *arg, struct ks_slice v)
{
    return ksi_lq_stream_match_text(arg, v);
}

static bool stream_matches(const struct node *n, const struct ks_log_stream *s)
{
    if (n->stream)
        return ksi_lq_stream_match(n->stream, s->tags);
    char id[KS_STREAM_ID_TEXT];
    ks_stream_id_print(s->id, id);
    return ksi_lq_leaf_match(&n->leaf, ks_slice(id, sizeof id));
}

static ks_err eval_stream(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    size_t count;
    if (!v->streams) {
        struct ks_log_pred pred = {.match = match_stream_text, .arg = n->stream};
        struct ks_lq_col c;
        bool found;
        if (!n->stream)
            return eval_named(n, v, KS_SLICE_LIT("_stream_id"), bits);
        KS_TRY(v->column(v, KS_SLICE_LIT("_stream"), bits, &c, &found));
        if (found)
            return filter_col(&c, v->row_count, &pred, v->scratch, bits);
        clear_all(bits, v->row_count);
        return KS_OK;
    }
    KS_TRY(v->streams(v, &streams, &count, &of_row));
    uint8_t *known = ks_arena_zalloc(v->scratch, count + 1);
    if (!known)
        return ks_arena_err(v->scratch);
    EACH_ROW(v->row_count, bits, row)
    {
        uint32_t s = of_row[row];
        if (!known[s])
            known[s] = stream_matches(n, &streams[s]) ? 1 : 2;
        keep_if(bits, (uint32_t)row, known[s] == 1);
    }
    return KS_OK;
}

/* ---------------------------------------------------------------- two columns, types */

static bool fields_match(enum ks_lq_filter_kind kind, struct ks_slice a, struct ks_slice b)
{
    if (kind == KS_LQ_F_EQ_FIELD)
        return ks_slice_eq(a, b);
    int c = ks_lq_compare(a, b);
    return kind == KS_LQ_F_LE_FIELD ? c <= 0 : c < 0;
}

static ks_err eval_two_fields(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    struct ks_lq_col a, b;
    bool has_a, has_b;
    char ta[KS_LQ_TIME_TEXT_MAX], tb[KS_LQ_TIME_TEXT_MAX];
    KS_TRY(v->column(v, n->f->field.name, bits, &a, &has_a));
    KS_TRY(v->column(v, n->f->text, bits, &b, &has_b));
    EACH_ROW(v->row_count, bits, row)
    {
        struct ks_slice x = ks_lq_col_text(has_a ? &a : NULL, (uint32_t)row, ta);
        struct ks_slice y = ks_lq_col_text(has_b ? &b : NULL, (uint32_t)row, tb);
        keep_if(bits, (uint32_t)row, fields_match(n->f->kind, x, y));
    }
    return KS_OK;
}

static ks_err eval_value_type(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    struct ks_lq_col c;
    bool found;
    uint64_t *all;
    KS_TRY(new_bits(v, NULL, &all));
    if (v->selected)
        memcpy(all, v->selected, KS_ROW_WORDS(v->row_count) * sizeof *all);
    else
        ks_lq_bits_fill(all, v->row_count);
    KS_TRY(v->column(v, n->f->field.name, all, &c, &found));
    const char *type = found ? ksi_lq_value_type(&c, v->row_count, all) : "";
    if (!ks_slice_is(n->f->text, type) || !*type)
        clear_all(bits, v->row_count);
    return KS_OK;
}

/* ---------------------------------------------------------------- trees */

static ks_err eval(const struct node *n, struct ksi_lq_view *v, uint64_t *bits);

static ks_err eval_and(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    for (size_t i = 0; i < n->kid_count; i++) {
        if (!ksi_lq_bits_any(bits, v->row_count))
            return KS_OK;
        KS_TRY(eval(n->kids[i], v, bits));
    }
    return KS_OK;
}

static ks_err eval_or(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    size_t words = KS_ROW_WORDS(v->row_count);
    uint64_t *left, *one;
    KS_TRY(new_bits(v, bits, &left));
    KS_TRY(new_bits(v, NULL, &one));
    memset(bits, 0, words * sizeof *bits);
    for (size_t i = 0; i < n->kid_count && ksi_lq_bits_any(left, v->row_count); i++) {
        memcpy(one, left, words * sizeof *one);
        KS_TRY(eval(n->kids[i], v, one));
        for (size_t w = 0; w < words; w++) {
            bits[w] |= one[w];
            left[w] &= ~one[w];
        }
    }
    return KS_OK;
}

static ks_err eval_not(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    uint64_t *one;
    KS_TRY(new_bits(v, bits, &one));
    KS_TRY(eval(n->kids[0], v, one));
    for (size_t w = 0; w < KS_ROW_WORDS(v->row_count); w++)
        bits[w] &= ~one[w];
    return KS_OK;
}

static ks_err eval(const struct node *n, struct ksi_lq_view *v, uint64_t *bits)
{
    switch (n->f->kind) {
    case KS_LQ_F_ALL:
        return KS_OK;
    case KS_LQ_F_AND:
        return eval_and(n, v, bits);
    case KS_LQ_F_OR:
        return eval_or(n, v, bits);
    case KS_LQ_F_NOT:
        return eval_not(n, v, bits);
    case KS_LQ_F_TIME:
    case KS_LQ_F_DAY_RANGE:
    case KS_LQ_F_WEEK_RANGE:
        return eval_time(n, v, bits);
    case KS_LQ_F_STREAM:
    case KS_LQ_F_STREAM_ID:
        return eval_stream(n, v, bits);
    case KS_LQ_F_EQ_FIELD:
    case KS_LQ_F_LE_FIELD:
    case KS_LQ_F_LT_FIELD:
        return eval_two_fields(n, v, bits);
    case KS_LQ_F_VALUE_TYPE:
        return eval_value_type(n, v, bits);
    default:
        if (n->f->field.prefix)
            return eval_prefixed(n, v, bits);
        return eval_named(n, v, n->f->field.name, bits);
    }
}

ks_err ksi_lq_cond_eval_view(const struct ks_lq_cond *c, struct ksi_lq_view *v, uint64_t *bits)
{
    return c->root ? eval(c->root, v, bits) : KS_OK;
}

static bool is_named(const struct node *n)
{
    switch (n->f->kind) {
    case KS_LQ_F_ALL:
    case KS_LQ_F_AND:
    case KS_LQ_F_OR:
    case KS_LQ_F_NOT:
    case KS_LQ_F_TIME:
    case KS_LQ_F_DAY_RANGE:
    case KS_LQ_F_WEEK_RANGE:
    case KS_LQ_F_STREAM:
    case KS_LQ_F_STREAM_ID:
    case KS_LQ_F_EQ_FIELD:
    case KS_LQ_F_LE_FIELD:
    case KS_LQ_F_LT_FIELD:
    case KS_LQ_F_VALUE_TYPE:
        return false;
    default:
        return !n->f->field.prefix && !is_special(n->f->field.name);
    }
}

static ks_err leaves(const struct node *n, ksi_lq_leaf_fn fn, void *arg)
{
    if (is_named(n))
        return fn(arg, n->f->field.name, &n->leaf.pred);
    for (size_t i = 0; n->f->kind == KS_LQ_F_AND && i < n->kid_count; i++)
        KS_TRY(leaves(n->kids[i], fn, arg));
    return KS_OK;
}

ks_err ksi_lq_cond_leaves(const struct ks_lq_cond *c, ksi_lq_leaf_fn fn, void *arg)
{
    return c->root ? leaves(c->root, fn, arg) : KS_OK;
}

static bool eval_one_stream(const struct node *n, const struct ks_log_stream *s)
{
    switch (n->f->kind) {
    case KS_LQ_F_AND:
    case KS_LQ_F_OR:
        for (size_t i = 0; i < n->kid_count; i++)
            if (eval_one_stream(n->kids[i], s) == (n->f->kind == KS_LQ_F_OR))
                return n->f->kind == KS_LQ_F_OR;
        return n->f->kind == KS_LQ_F_AND;
    case KS_LQ_F_NOT:
        return !eval_one_stream(n->kids[0], s);
    default:
        return stream_matches(n, s);
    }
}

bool ksi_lq_cond_stream(const struct ks_lq_cond *c, const struct ks_log_stream *s)
{
    return !c->root || eval_one_stream(c->root, s);
}

/* ---------------------------------------------------------------- batches */

static ks_err rows_column(struct ksi_lq_view *v, struct ks_slice name, const uint64_t *bits,
                          struct ks_lq_col *ret, bool *ret_found)
{
    const struct ks_lq_col *c = ks_lq_rows_col(v->self, name);
    *ret_found = c != NULL;
    if (c)
        *ret = *c;
    return KS_OK;
}

static ks_err rows_names(struct ksi_lq_view *v, const struct ks_slice **ret, size_t *ret_count)
{
    const struct ks_lq_rows *rows = v->self;
    struct ks_slice *names = ks_arena_array(v->scratch, rows->col_count + 1u, sizeof *names);
    if (!names)
        return ks_arena_err(v->scratch);
    for (uint32_t i = 0; i < rows->col_count; i++)
        names[i] = rows->cols[i].name;
    *ret = names;
    *ret_count = rows->col_count;
    return KS_OK;
}

struct ksi_lq_view ksi_lq_view_of_rows(const struct ks_lq_rows *rows, struct ks_arena *scratch)
{
    return (struct ksi_lq_view){.row_count = rows->row_count,
                                .scratch = scratch,
                                .self = (void *)(uintptr_t)rows,
                                .column = rows_column,
                                .names = rows_names};
}

ks_err ks_lq_cond_eval(const struct ks_lq_cond *c, const struct ks_lq_rows *rows,
                       struct ks_arena *scratch, uint64_t *bits)
{
    struct ksi_lq_view v = ksi_lq_view_of_rows(rows, scratch);
    return ksi_lq_cond_eval_view(c, &v, bits);
}
