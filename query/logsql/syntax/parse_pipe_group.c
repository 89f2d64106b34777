/* Pipes that sort, group and count: sort, first, last, top, uniq, unroll, facets, field_*. */
#include "query/logsql/syntax/parser_priv.h"

ks_err ksi_lq_sort_keys(struct ksi_lq_parser *p, struct ks_lq_sort_keys *ret)
{
    size_t cap = 0;
    KS_TRY(ksi_lq_expect(p, "("));
    *ret = (struct ks_lq_sort_keys){0};
    for (;;) {
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        struct ks_lq_sort_key k = {0};
        bool asc;
        KS_TRY(ksi_lq_field_name(p, &k.name));
        KS_TRY(ksi_lq_skip(p, "desc", &k.desc));
        if (!k.desc)
            KS_TRY(ksi_lq_skip(p, "asc", &asc));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, k);
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_expect(p, ","));
    }
}

/* `rank [as name]`; the name is "rank" when none is given. */
static ks_err parse_rank(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    static const char *const ends[] = {"limit", "offset", "partition", NULL};
    bool as;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_skip(p, "as", &as));
    *ret = KS_SLICE_LIT("rank");
    if (ksi_lq_is(p, "by"))
        return ksi_lq_unexpected(p, "a name is needed after 'rank'");
    if (!as && (ksi_lq_pipe_end(p) || ksi_lq_is_any(p, ends)))
        return KS_OK;
    return ksi_lq_field_name(p, ret);
}

static ks_err parse_partition(struct ksi_lq_parser *p, struct ks_lq_names *ret)
{
    bool by;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_skip(p, "by", &by));
    KS_TRY(ksi_lq_names_paren(p, ret));
    if (!ret->count)
        return ks_fail(KS_EPARSE, "partition by needs at least one field");
    return KS_OK;
}

static ks_err once(struct ksi_lq_parser *p, bool *seen)
{
    if (*seen)
        return ksi_lq_unexpected(p, "this was given before");
    *seen = true;
    return KS_OK;
}

/* What sort, first and last say of a row's place: `partition by (…)`, `rank [as] name`. */
struct place_options {
    bool partition, rank;
};
static ks_err place_option(struct ksi_lq_parser *p, struct ks_lq_pipe *ret,
                           struct place_options *seen, const char *else_needed)
{
    if (ksi_lq_is(p, "partition")) {
        KS_TRY(once(p, &seen->partition));
        return parse_partition(p, &ret->u.sort.partition_by);
    }
    if (ksi_lq_is(p, "rank")) {
        KS_TRY(once(p, &seen->rank));
        return parse_rank(p, &ret->u.sort.rank);
    }
    return ksi_lq_unexpected(p, else_needed);
}

static ks_err parse_sort(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    struct place_options seen = {0};
    bool taken, offset = false;
    KS_TRY(ksi_lq_skip(p, "by", &taken));
    if (taken || ksi_lq_is(p, "("))
        KS_TRY(ksi_lq_sort_keys(p, &ret->u.sort.by));
    KS_TRY(ksi_lq_skip(p, "desc", &ret->u.sort.desc));
    if (!ret->u.sort.desc)
        KS_TRY(ksi_lq_skip(p, "asc", &taken));
    while (!ksi_lq_pipe_end(p)) {
        if (ksi_lq_is(p, "offset")) {
            KS_TRY(once(p, &offset));
            KS_TRY(ksi_lq_uint_after(p, &ret->u.sort.offset));
        } else if (ksi_lq_is(p, "limit")) {
            KS_TRY(once(p, &ret->u.sort.has_limit));
            KS_TRY(ksi_lq_uint_after(p, &ret->u.sort.limit));
        } else {
            KS_TRY(place_option(p, ret, &seen, "one of limit, offset, partition, rank is needed"));
        }
    }
    if (seen.partition && !ret->u.sort.limit)
        return ks_fail(KS_EPARSE, "sort with 'partition by' needs a limit");
    return KS_OK;
}

static ks_err parse_first(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    struct place_options seen = {0};
    bool by = false;
    ret->u.sort.limit = 1;
    if (!ksi_lq_pipe_end(p) && !ksi_lq_is(p, "by") && !ksi_lq_is(p, "(") &&
        !ksi_lq_is(p, "partition") && !ksi_lq_is(p, "rank")) {
        KS_TRY(ksi_lq_uint(p, "a number, by, partition or rank is needed", &ret->u.sort.limit));
        ret->u.sort.has_limit = true;
        if (!ret->u.sort.limit)
            return ks_fail(KS_EPARSE, "first and last need a number above 0");
    }
    while (!ksi_lq_pipe_end(p)) {
        if (ksi_lq_is(p, "by") || ksi_lq_is(p, "(")) {
            bool word;
            KS_TRY(once(p, &by));
            KS_TRY(ksi_lq_skip(p, "by", &word));
            KS_TRY(ksi_lq_sort_keys(p, &ret->u.sort.by));
        } else {
            KS_TRY(place_option(p, ret, &seen, "one of by, partition, rank is needed"));
        }
    }
    return KS_OK;
}

/* `[by] (a, b)` or `[by] a, b` */
static ks_err parse_by_names(struct ksi_lq_parser *p, struct ks_lq_names *ret)
{
    static const char *const taken_words[] = {"hits", "limit", "rank", "with", "filter", NULL};
    bool by;
    struct ks_lq_fields f;
    KS_TRY(ksi_lq_skip(p, "by", &by));
    if (ksi_lq_is(p, "(")) {
        KS_TRY(ksi_lq_names_paren(p, ret));
    } else {
        if (ksi_lq_is_any(p, taken_words))
            return ksi_lq_unexpected(p, "field names are needed");
        KS_TRY(ksi_lq_fields_comma(p, false, &f));
        ret->items = ks_arena_array(p->arena, f.count, sizeof *ret->items);
        if (!ret->items)
            return ksi_lq_oom(p);
        ret->count = f.count;
        for (size_t i = 0; i < f.count; i++)
            ret->items[i] = f.items[i].name;
    }
    if (!ret->count)
        return ks_fail(KS_EPARSE, "at least one field is needed");
    return KS_OK;
}

static bool taken_name(const struct ks_lq_names *names, struct ks_slice s)
{
    for (size_t i = 0; i < names->count; i++)
        if (ks_slice_eq(names->items[i], s))
            return true;
    return false;
}

/* A column name that none of the fields has: "hits", "hitss", … */
static ks_err free_name(struct ksi_lq_parser *p, const char *base, const struct ks_lq_names *names,
                        struct ks_slice *ret)
{
    struct ks_slice s = ks_slice_str(base);
    while (taken_name(names, s)) {
        s = ks_arena_printf(p->arena, "%.*ss", KS_SLICE_ARG(s));
        if (!s.ptr)
            return ksi_lq_oom(p);
    }
    *ret = s;
    return KS_OK;
}

static ks_err parse_top(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool as;
    ret->u.top.limit = 10;
    double first = p->lx.kind == KSI_LQ_WORD ? p->lx.token.ptr[0] : 0;
    if (first >= '0' && first <= '9') {
        KS_TRY(ksi_lq_uint(p, "top needs a number", &ret->u.top.limit));
        ret->u.top.has_limit = true;
    }
    KS_TRY(parse_by_names(p, &ret->u.top.by));
    KS_TRY(free_name(p, "hits", &ret->u.top.by, &ret->u.top.hits));
    while (!ksi_lq_pipe_end(p)) {
        if (ksi_lq_is(p, "hits")) {
            KS_TRY(ksi_lq_next(p));
            KS_TRY(ksi_lq_skip(p, "as", &as));
            KS_TRY(ksi_lq_field_name(p, &ret->u.top.hits));
        } else if (ksi_lq_is(p, "rank")) {
            KS_TRY(ksi_lq_next(p));
            KS_TRY(ksi_lq_skip(p, "as", &as));
            if (!as && (ksi_lq_pipe_end(p) || ksi_lq_is(p, "hits")))
                KS_TRY(free_name(p, "rank", &ret->u.top.by, &ret->u.top.rank));
            else
                KS_TRY(ksi_lq_field_name(p, &ret->u.top.rank));
        } else {
            return ksi_lq_unexpected(p, "hits or rank is needed");
        }
    }
    return KS_OK;
}

static ks_err parse_sub_filter(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    KS_TRY(ksi_lq_next(p));
    return ksi_lq_compound(p, KSI_LQ_ANY | KSI_LQ_COLON, "a text is needed after 'filter'", ret);
}

static ks_err parse_uniq(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool with;
    KS_TRY(parse_by_names(p, &ret->u.uniq.by));
    KS_TRY(free_name(p, "hits", &ret->u.uniq.by, &ret->u.uniq.hits));
    if (ksi_lq_is(p, "filter")) {
        if (ret->u.uniq.by.count != 1)
            return ks_fail(KS_EPARSE, "uniq with 'filter' works on one field only");
        KS_TRY(parse_sub_filter(p, &ret->u.uniq.filter));
    }
    KS_TRY(ksi_lq_skip(p, "with", &with));
    if (with)
        KS_TRY(ksi_lq_expect(p, "hits"));
    else
        KS_TRY(ksi_lq_skip(p, "hits", &with));
    ret->u.uniq.with_hits = with;
    if (ksi_lq_is(p, "limit"))
        return ksi_lq_uint_after(p, &ret->u.uniq.limit);
    return KS_OK;
}

static ks_err parse_field_values(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    ret->u.uniq.by.items = ks_arena_alloc(p->arena, sizeof *ret->u.uniq.by.items);
    if (!ret->u.uniq.by.items)
        return ksi_lq_oom(p);
    ret->u.uniq.by.count = 1;
    KS_TRY(ksi_lq_field_name(p, &ret->u.uniq.by.items[0]));
    KS_TRY(free_name(p, "hits", &ret->u.uniq.by, &ret->u.uniq.hits));
    ret->u.uniq.with_hits = true;
    if (ksi_lq_is(p, "filter"))
        KS_TRY(parse_sub_filter(p, &ret->u.uniq.filter));
    if (ksi_lq_is(p, "limit"))
        return ksi_lq_uint_after(p, &ret->u.uniq.limit);
    return KS_OK;
}

static ks_err parse_field_names(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    ret->u.map.to = KS_SLICE_LIT("name");
    if (ksi_lq_is(p, "filter")) {
        KS_TRY(parse_sub_filter(p, &ret->u.map.arg));
        ret->u.map.has_arg = true;
    }
    if (ksi_lq_is(p, "("))
        return ksi_lq_unexpected(p, "field_names takes no list");
    return ksi_lq_as(p, &ret->u.map.to);
}

static ks_err parse_facets(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    ret->u.facets.limit = 10;
    ret->u.facets.max_values_per_field = 1000;
    ret->u.facets.max_value_len = 128;
    char first = p->lx.kind == KSI_LQ_WORD ? p->lx.token.ptr[0] : 0;
    if (first >= '0' && first <= '9')
        KS_TRY(ksi_lq_uint(p, "facets needs a number", &ret->u.facets.limit));
    while (!ksi_lq_pipe_end(p)) {
        if (ksi_lq_is(p, "max_values_per_field")) {
            KS_TRY(ksi_lq_uint_after(p, &ret->u.facets.max_values_per_field));
        } else if (ksi_lq_is(p, "max_value_len")) {
            KS_TRY(ksi_lq_uint_after(p, &ret->u.facets.max_value_len));
        } else if (ksi_lq_is(p, "keep_const_fields")) {
            ret->u.facets.keep_const_fields = true;
            KS_TRY(ksi_lq_next(p));
        } else {
            return ksi_lq_unexpected(
                p, "one of max_values_per_field, max_value_len, keep_const_fields is needed");
        }
    }
    return KS_OK;
}

static ks_err parse_unroll(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    KS_TRY(ksi_lq_if(p, &ret->cond));
    return parse_by_names(p, &ret->u.unroll.by);
}

ks_err ksi_lq_pipe_group(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    switch (ret->kind) {
    case KS_LQ_P_SORT:
        return parse_sort(p, ret);
    case KS_LQ_P_FIRST:
    case KS_LQ_P_LAST:
        return parse_first(p, ret);
    case KS_LQ_P_TOP:
        return parse_top(p, ret);
    case KS_LQ_P_UNIQ:
        return parse_uniq(p, ret);
    case KS_LQ_P_FIELD_VALUES:
        return parse_field_values(p, ret);
    case KS_LQ_P_FIELD_NAMES:
        return parse_field_names(p, ret);
    case KS_LQ_P_FACETS:
        return parse_facets(p, ret);
    case KS_LQ_P_UNROLL:
        return parse_unroll(p, ret);
    default:
        return ksi_lq_unexpected(p, "this pipe cannot be read");
    }
}
