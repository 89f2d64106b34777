/* Functions that strict PromQL answers differently: labels, order, time stamps, info(). */
#include "base/cxx/re2.h"
#include "query/promql/exec_priv.h"

/* --- labels --- */
static ks_err label_name(const char *what, const char *func, struct ks_slice name)
{
    if (name.len && ksi_utf8_valid(name))
        return KS_OK;
    return ks_fail(KS_EEXEC, "invalid %s label name in %s(): %.*s", what, func, KS_SLICE_ARG(name));
}

static struct ks_slice string_arg(const struct ksi_call *c, size_t i)
{
    return ksi_strip(c->call->args[i])->string;
}

/* A name set anew stays; series that end up alike are an error. */
static ks_err label_done(const struct ksi_call *c, struct ks_slice dst,
                         const struct ks_slice *before, struct ksi_vec *v)
{
    for (size_t i = 0; i < v->count; i++)
        if (ks_slice_eq(dst, KS_NAME_LABEL) && !ks_slice_eq(before[i], v->items[i].labels))
            v->items[i].drop_name = false;
    return ksi_check_labelsets(c->ctx, v);
}

static ks_err edit_labels(const struct ksi_call *c, struct ksi_vec *ret)
{
    bool replace = c->call->func->id == KS_FN_LABEL_REPLACE, mine = true;
    const char *func = c->call->func->name;
    struct ks_slice dst = string_arg(c, 1), regex = replace ? string_arg(c, 4) : ks_slice("", 0);
    if (replace) {
        char msg[128];
        struct ks_re *re =
            ks_re_new(regex.ptr ? regex.ptr : "", regex.len, KS_RE_DOT_NL, msg, sizeof msg);
        if (!re)
            return ks_fail(KS_EEXEC, "invalid regular expression in label_replace(): %.*s",
                           KS_SLICE_ARG(regex));
        ks_re_free(re);
    }
    for (size_t i = 3; !replace && i < c->arg_count; i++)
        KS_TRY(label_name("source", func, string_arg(c, i)));
    KS_TRY(label_name("destination", func, dst));
    const struct ksi_vec *in = &c->args[0];
    struct ks_slice *before = ks_arena_array(c->ctx->q->arena, in->count + 1, sizeof *before);
    if (!before)
        return ks_arena_err(c->ctx->q->arena);
    for (size_t i = 0; i < in->count; i++)
        before[i] = in->items[i].labels;
    KS_TRY(ksi_transform_label(c, ret, &mine));
    return label_done(c, dst, before, ret);
}

/* --- order: of instant queries alone, ranges are sorted by labels --- */
struct order {
    const struct ks_slice *labels;
    size_t label_count;
    bool desc;
};

/* NaN last, whichever way. */
static int cmp_value(const struct ksi_series *a, const struct ksi_series *b, const void *arg)
{
    const struct order *o = arg;
    double x = a->values[0], y = b->values[0];
    if (isnan(x) || isnan(y))
        return (int)isnan(x) - (int)isnan(y);
    int c = (x > y) - (x < y);
    return o->desc ? -c : c;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The run at the front: digits or other bytes. */
static struct ks_slice chunk(struct ks_slice *s)
{
    size_t n = 1;
    while (n < s->len && digit(s->ptr[n]) == digit(s->ptr[0]))
        n++;
    struct ks_slice c = ks_slice(s->ptr, n);
    *s = ks_slice_from(*s, n);
    return c;
}

static int cmp_digits(struct ks_slice a, struct ks_slice b)
{
    while (a.len > 1 && a.ptr[0] == '0')
        a = ks_slice_from(a, 1);
    while (b.len > 1 && b.ptr[0] == '0')
        b = ks_slice_from(b, 1);
    return a.len != b.len ? (a.len < b.len ? -1 : 1) : ks_slice_cmp(a, b);
}

/* Natural order: runs of digits compare as numbers; a number is below a text. */
static int cmp_natural(struct ks_slice a, struct ks_slice b)
{
    while (a.len && b.len) {
        struct ks_slice x = chunk(&a), y = chunk(&b);
        bool both = digit(x.ptr[0]) && digit(y.ptr[0]);
        int c = both ? cmp_digits(x, y) : ks_slice_cmp(x, y);
        if (!c && both)
            c = (x.len > y.len) - (x.len < y.len);
        if (c)
            return c;
    }
    return (a.len > 0) - (b.len > 0);
}

static int cmp_by_labels(const struct ksi_series *a, const struct ksi_series *b, const void *arg)
{
    const struct order *o = arg;
    for (size_t i = 0; i < o->label_count; i++) {
        int c = cmp_natural(ks_labels_get(a->labels, o->labels[i]),
                            ks_labels_get(b->labels, o->labels[i]));
        if (c)
            return o->desc ? -c : c;
    }
    int c = ksi_cmp_labels(a, b, NULL);
    return o->desc ? -c : c;
}

static ks_err sort_series(const struct ksi_call *c, struct ksi_vec *ret)
{
    enum ks_promql_func_id id = c->call->func->id;
    struct order o = {.desc = id == KS_FN_SORT_DESC || id == KS_FN_SORT_BY_LABEL_DESC};
    struct ksi_query *q = c->ctx->q;
    *ret = c->args[0];
    ksi_vec_drop_empty(c->ctx, ret);
    if (q->req->range || c->ctx->points != 1)
        return KS_OK;
    if (id == KS_FN_SORT || id == KS_FN_SORT_DESC)
        return ksi_vec_sort(q, ret, cmp_value, &o);
    struct ks_slice *labels = ks_arena_array(q->arena, c->arg_count + 1, sizeof *labels);
    if (!labels)
        return ks_arena_err(q->arena);
    for (size_t i = 1; i < c->arg_count; i++)
        labels[o.label_count++] = string_arg(c, i);
    o.labels = labels;
    return ksi_vec_sort(q, ret, cmp_by_labels, &o);
}

ks_err ksi_matches(const struct ks_matcher *m, struct ks_slice value, bool *ret)
{
    if (m->op == KS_MATCH_EQ || m->op == KS_MATCH_NEQ) {
        *ret = ks_slice_eq(m->value, value) == (m->op == KS_MATCH_EQ);
        return KS_OK;
    }
    char msg[128];
    struct ks_re *re =
        ks_re_new(m->value.ptr ? m->value.ptr : "", m->value.len, KS_RE_DOT_NL, msg, sizeof msg);
    if (!re)
        return ks_fail(KS_EEXEC, "invalid regular expression \"%.*s\": %s", KS_SLICE_ARG(m->value),
                       msg);
    struct ks_re_group g;
    bool hit = ks_re_search(re, value.ptr ? value.ptr : "", value.len, 0, true, &g, 1);
    *ret = hit == (m->op == KS_MATCH_RE);
    ks_re_free(re);
    return KS_OK;
}

/* --- info --- */
static const struct ks_slice identifying[] = {{"instance", 8}, {"job", 3}};

struct info {
    const struct ksi_call *c;
    const struct ks_selector *want; /* matchers of the second argument; NULL: none */
    struct ksi_vec *base, series;
    struct ksi_groups groups; /* info series by name and identifying labels */
    size_t *chosen;           /* per group at this point */
    bool *ignored;            /* base series that are info series themselves */
    struct ksi_map out_map;
    struct ksi_vec out;
};

static bool is_name(const struct ks_matcher *m)
{
    return ks_slice_eq(m->name, KS_NAME_LABEL);
}

static bool wanted(const struct info *n, struct ks_slice label)
{
    size_t data = 0;
    for (size_t i = 0; n->want && i < n->want->count; i++) {
        if (is_name(&n->want->matchers[i]))
            continue;
        data++;
        if (ks_slice_eq(n->want->matchers[i].name, label))
            return true;
    }
    return data == 0;
}

/* The info series the base may join: __name__ and label matchers as given, identifying labels as
 * the base has them. */
static ks_err select_info(struct info *n)
{
    struct ksi_query *q = n->c->ctx->q;
    size_t count = n->want ? n->want->count : 0, used = 0;
    struct ks_matcher *m = ks_arena_zalloc(q->arena, (count + 1) * sizeof *m);
    if (!m)
        return ks_arena_err(q->arena);
    bool named = false;
    for (size_t i = 0; i < count; i++) {
        m[used++] = n->want->matchers[i];
        named = named || is_name(&n->want->matchers[i]);
    }
    if (!named)
        m[used++] = (struct ks_matcher){
            .name = KS_NAME_LABEL, .value = KS_SLICE_LIT("target_info"), .op = KS_MATCH_EQ};
    struct ks_selector list = {m, used};
    struct ks_expr e = {.kind = KS_EXPR_SELECTOR, .type = KS_TYPE_VECTOR};
    e.selector = (struct ks_expr_selector){.or_lists = &list, .or_count = 1};
    return ksi_eval_info_times(n->c->ctx, &e, &n->series);
}

static ks_err mark_ignored(struct info *n)
{
    struct ksi_query *q = n->c->ctx->q;
    n->ignored = ks_arena_zalloc(q->arena, (n->base->count + 1) * sizeof *n->ignored);
    if (!n->ignored)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < n->base->count; i++) {
        struct ks_slice name = ks_labels_get(n->base->items[i].labels, KS_NAME_LABEL);
        bool named = false;
        for (size_t k = 0; n->want && k < n->want->count; k++) {
            const struct ks_matcher *m = &n->want->matchers[k];
            bool hit = false;
            if (!is_name(m))
                continue;
            named = true;
            KS_TRY(ksi_matches(m, name, &hit));
            n->ignored[i] |= hit;
        }
        if (!named && !n->want)
            n->ignored[i] = ks_slice_is(name, "target_info");
    }
    return KS_OK;
}

/* Of info series with equal identity the youngest sample counts; equally young ones are an error.
 */
static ks_err choose_info(struct info *n, const struct ksi_vec *times, size_t k)
{
    for (size_t g = 0; g < n->groups.count; g++) {
        n->chosen[g] = SIZE_MAX;
        for (size_t m = n->groups.first[g]; m < n->groups.first[g + 1]; m++) {
            size_t i = n->groups.members[m], have = n->chosen[g];
            double t = times->items[i].values[k];
            if (ksi_is_absent(n->c->ctx->q, t))
                continue;
            if (have == SIZE_MAX || times->items[have].values[k] < t) {
                n->chosen[g] = i;
            } else if (times->items[have].values[k] == t) {
                struct ks_slice name = ks_labels_get(times->items[i].labels, KS_NAME_LABEL);
                return ks_fail(KS_EEXEC, "found duplicate series for info metric %.*s",
                               KS_SLICE_ARG(name));
            }
        }
    }
    return KS_OK;
}

/* Adds the data labels of one info series to *labels. */
static ks_err add_labels(struct info *n, struct ks_slice base, struct ks_slice from,
                         struct ks_slice *labels, struct ks_slice *added)
{
    struct ksi_query *q = n->c->ctx->q;
    struct ks_labels_iter it = ks_labels_iter(from);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL) || !wanted(n, l.name))
            continue;
        struct ks_slice have = ks_labels_get(*added, l.name);
        if (have.len && !ks_slice_eq(have, l.value))
            return ks_fail(KS_EEXEC, "conflicting label: %.*s", KS_SLICE_ARG(l.name));
        if (ks_labels_get(base, l.name).len)
            continue;
        KS_TRY(ksi_labels_set(q, added, l.name, l.value));
        KS_TRY(ksi_labels_set(q, labels, l.name, l.value));
    }
    return KS_OK;
}

static ks_err may_be_bare(struct info *n, bool *ret)
{
    *ret = true;
    for (size_t k = 0; n->want && k < n->want->count && *ret; k++)
        if (!is_name(&n->want->matchers[k]))
            KS_TRY(ksi_matches(&n->want->matchers[k], ks_slice("", 0), ret));
    return KS_OK;
}

static ks_err emit_point(struct info *n, const struct ksi_series *base, struct ks_slice labels,
                         size_t k)
{
    struct ksi_query *q = n->c->ctx->q;
    size_t at;
    bool added;
    KS_TRY(ksi_map_put(q->arena, &n->out_map, labels, true, &at, &added));
    if (added) {
        struct ksi_series s = {.labels = labels,
                               .values = ksi_grid(n->c->ctx, ksi_absent()),
                               .drop_name = base->drop_name};
        if (!s.values)
            return ks_arena_err(q->arena);
        KS_TRY(ksi_vec_push(q, &n->out, s));
    }
    double *x = &n->out.items[at].values[k];
    if (!ksi_is_absent(q, *x))
        return ks_fail(KS_EEXEC, "vector cannot contain metrics with the same labelset");
    *x = base->values[k];
    return KS_OK;
}

/* Which groups a base series belongs to: same identifying labels, any info name. */
static ks_err combine_point(struct info *n, size_t i, size_t k)
{
    struct ksi_query *q = n->c->ctx->q;
    const struct ksi_series *base = &n->base->items[i];
    struct ks_slice labels = base->labels, added = ks_slice("", 0);
    if (ksi_is_absent(q, base->values[k]))
        return KS_OK;
    if (n->ignored[i])
        return emit_point(n, base, labels, k);
    for (size_t g = 0; g < n->groups.count; g++) {
        if (n->chosen[g] == SIZE_MAX)
            continue;
        struct ks_slice from = n->series.items[n->chosen[g]].labels;
        bool same = true, any = false;
        for (size_t x = 0; x < 2; x++) {
            struct ks_slice mine = ks_labels_get(base->labels, identifying[x]);
            same = same && ks_slice_eq(ks_labels_get(from, identifying[x]), mine);
            any = any || mine.len > 0;
        }
        if (same && any)
            KS_TRY(add_labels(n, base->labels, from, &labels, &added));
    }
    bool bare = true;
    if (!added.len)
        KS_TRY(may_be_bare(n, &bare));
    return bare ? emit_point(n, base, labels, k) : KS_OK;
}

static ks_err info(const struct ksi_call *c, struct ksi_vec *ret)
{
    static const struct ks_slice key[] = {{"__name__", 8}, {"instance", 8}, {"job", 3}};
    const struct ksi_label_filter f = {.names = key, .count = 3, .mode = KSI_KEEP};
    struct ksi_query *q = c->ctx->q;
    struct info n = {.c = c, .base = &c->args[0]};
    ksi_vec_drop_empty(c->ctx, n.base);
    if (c->arg_count > 1 && ksi_strip(c->call->args[1])->kind == KS_EXPR_SELECTOR)
        n.want = &ksi_strip(c->call->args[1])->selector.or_lists[0];
    KS_TRY(mark_ignored(&n));
    KS_TRY(select_info(&n));
    KS_TRY(ksi_group(q, &n.series, &f, 0, &n.groups));
    n.chosen = ks_arena_array(q->arena, n.groups.count + 1, sizeof *n.chosen);
    if (!n.chosen)
        return ks_arena_err(q->arena);
    for (size_t k = 0; k < c->ctx->points; k++) {
        KS_TRY(choose_info(&n, &n.series, k));
        for (size_t i = 0; i < n.base->count; i++)
            KS_TRY(combine_point(&n, i, k));
    }
    *ret = n.out;
    return KS_OK;
}

/* --- dispatch --- */
/* Most functions look at numbers alone: histograms are no points to them. */
static bool takes_histograms(enum ks_promql_func_id id)
{
    switch (id) {
    case KS_FN_LABEL_REPLACE:
    case KS_FN_LABEL_JOIN:
    case KS_FN_SORT_BY_LABEL:
    case KS_FN_SORT_BY_LABEL_DESC:
    case KS_FN_INFO:
    case KS_FN_ABSENT:
    case KS_FN_HISTOGRAM_AVG:
    case KS_FN_HISTOGRAM_COUNT:
    case KS_FN_HISTOGRAM_FRACTION:
    case KS_FN_HISTOGRAM_QUANTILE:
    case KS_FN_HISTOGRAM_STDDEV:
    case KS_FN_HISTOGRAM_STDVAR:
    case KS_FN_HISTOGRAM_SUM:
        return true;
    default:
        return false;
    }
}

static void numbers_only(const struct ksi_call *c)
{
    for (size_t a = 0; a < c->arg_count; a++)
        for (size_t i = 0; i < c->args[a].count; i++)
            for (size_t k = 0; k < c->ctx->points; k++)
                if (ksi_is_hist(c->args[a].items[i].values[k]))
                    c->args[a].items[i].values[k] = ksi_absent();
}

ks_err ksi_transform_strict(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    if (c->ctx->q->hist_count && !takes_histograms(c->call->func->id))
        numbers_only(c);
    switch (c->call->func->id) {
    case KS_FN_LABEL_REPLACE:
    case KS_FN_LABEL_JOIN:
        return edit_labels(c, ret);
    case KS_FN_SORT:
    case KS_FN_SORT_DESC:
    case KS_FN_SORT_BY_LABEL:
    case KS_FN_SORT_BY_LABEL_DESC:
        return sort_series(c, ret);
    case KS_FN_INFO:
        return info(c, ret);
    default:
        return ksi_strict_histogram(c, ret, mine);
    }
}

/* timestamp() of anything but a selector: the time of the evaluation where there is a value. */
ks_err ksi_strict_timestamp(const struct ksi_ctx *ctx, const struct ks_expr *arg,
                            struct ksi_vec *ret)
{
    KS_TRY(ksi_eval(ctx, arg, ret));
    for (size_t i = 0; i < ret->count; i++)
        for (size_t k = 0; k < ctx->points; k++)
            if (!ksi_is_absent(ctx->q, ret->items[i].values[k]))
                ret->items[i].values[k] = (double)ksi_time(ctx, k) / 1e3;
    KS_TRY(ksi_drop_metrics(ctx->q, ret));
    return ksi_merge_labelsets(ctx, ret);
}
