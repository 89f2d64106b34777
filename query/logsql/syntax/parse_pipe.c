/* Pipes by name, and those whose form is short. Text pipes are in parse_pipe_text.c, grouping and
 * sorting ones in parse_pipe_group.c, stats in parse_stats.c. */
#include <math.h>

#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

static const char *const names[] = {
#define X(name, ID) #name,
    KS_LQ_PIPE_TABLE(X)
#undef X
};

const char *ks_lq_pipe_name(enum ks_lq_pipe_kind kind)
{
    return names[kind];
}

static const struct {
    const char *name;
    enum ks_lq_pipe_kind kind;
} aliases[] = {
    {"cp", KS_LQ_P_COPY},      {"mv", KS_LQ_P_RENAME},   {"del", KS_LQ_P_DELETE},
    {"rm", KS_LQ_P_DELETE},    {"drop", KS_LQ_P_DELETE}, {"keep", KS_LQ_P_FIELDS},
    {"where", KS_LQ_P_FILTER}, {"head", KS_LQ_P_LIMIT},  {"skip", KS_LQ_P_OFFSET},
    {"eval", KS_LQ_P_MATH},    {"order", KS_LQ_P_SORT},
};

static bool equal_fold(struct ks_slice s, const char *name)
{
    return s.len == strlen(name) && strncasecmp(s.ptr, name, s.len) == 0;
}

static bool find_pipe(struct ks_slice word, enum ks_lq_pipe_kind *ret)
{
    for (int i = 0; i < KS_LQ_P_COUNT_OF_KINDS; i++)
        if (equal_fold(word, names[i])) {
            *ret = (enum ks_lq_pipe_kind)i;
            return true;
        }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (equal_fold(word, aliases[i].name)) {
            *ret = aliases[i].kind;
            return true;
        }
    return false;
}

bool ksi_lq_is_pipe_name(struct ks_slice word)
{
    enum ks_lq_pipe_kind kind;
    return find_pipe(word, &kind);
}

/* copy a as b, c* as d* */
static ks_err parse_move(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    size_t from_cap = 0, to_cap = 0, count = 0;
    for (;;) {
        struct ks_lq_field from, to;
        bool as;
        KS_TRY(ksi_lq_field(p, true, &from));
        KS_TRY(ksi_lq_skip(p, "as", &as));
        KS_TRY(ksi_lq_field(p, true, &to));
        KSI_LQ_PUSH(p, ret->u.move.from, count, from_cap, from);
        KSI_LQ_PUSH(p, ret->u.move.to, ret->u.move.count, to_cap, to);
        count = ret->u.move.count;
        if (!ksi_lq_is(p, ","))
            return KS_OK;
        KS_TRY(ksi_lq_next(p));
    }
}

static ks_err parse_filter_pipe(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    ret->kind = KS_LQ_P_FILTER;
    KS_TRY(ksi_lq_filter_or(p, NULL, &ret->cond));
    return ksi_lq_simplify_filter(p, &ret->cond);
}

static ks_err parse_count(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    if (ret->kind == KS_LQ_P_LIMIT && ksi_lq_pipe_end(p)) {
        ret->u.count.n = 10;
        return KS_OK;
    }
    KS_TRY(ksi_lq_uint(p, "the pipe needs a number", &ret->u.count.n));
    if (ret->u.count.n == 0 &&
        (ret->kind == KS_LQ_P_GENERATE_SEQUENCE || ret->kind == KS_LQ_P_SAMPLE))
        return ks_fail(KS_EPARSE, "%s needs a number above 0", names[ret->kind]);
    return KS_OK;
}

static ks_err parse_context(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool any = false;
    ret->u.context.window_ns = 3600ll * 1000000000;
    ret->u.context.window_text = ks_slice("", 0);
    while (!ksi_lq_pipe_end(p)) {
        if (ksi_lq_is(p, "before")) {
            KS_TRY(ksi_lq_uint_after(p, &ret->u.context.before));
        } else if (ksi_lq_is(p, "after")) {
            KS_TRY(ksi_lq_uint_after(p, &ret->u.context.after));
        } else if (ksi_lq_is(p, "time_window")) {
            KS_TRY(ksi_lq_next(p));
            KS_TRY(ksi_lq_duration(p, "a duration is needed after 'time_window'",
                                   &ret->u.context.window_ns, &ret->u.context.window_text));
            if (ret->u.context.window_ns <= 0)
                return ks_fail(KS_EPARSE, "time_window has to be above 0");
            continue;
        } else {
            return ksi_lq_unexpected(p, "before, after or time_window is needed");
        }
        any = true;
    }
    if (!any)
        return ksi_lq_unexpected(p, "stream_context needs 'before N' or 'after N'");
    return KS_OK;
}

static ks_err parse_time_add(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool at;
    KS_TRY(ksi_lq_duration(p, "time_add needs a duration", &ret->u.time_add.add_ns,
                           &ret->u.time_add.text));
    ret->u.time_add.at = KS_SLICE_LIT("_time");
    KS_TRY(ksi_lq_skip(p, "at", &at));
    return at ? ksi_lq_field_name(p, &ret->u.time_add.at) : KS_OK;
}

/* --- rows of text --- */

static ks_err parse_row(struct ksi_lq_parser *p, struct ks_lq_literal_row *ret)
{
    size_t cap = 0;
    KS_TRY(ksi_lq_expect(p, "{"));
    while (!ksi_lq_is(p, "}")) {
        struct ks_lq_literal_field f;
        bool comma;
        KS_TRY(ksi_lq_compound(p, KSI_LQ_ANY, "a field name is needed", &f.name));
        if (!ksi_lq_is(p, "=") && !ksi_lq_is(p, ":"))
            return ksi_lq_unexpected(p, "'=' or ':' is needed after a field name");
        KS_TRY(ksi_lq_next(p));
        KS_TRY(ksi_lq_compound(p, KSI_LQ_ANY | KSI_LQ_COLON | KSI_LQ_SIGN, "a value is needed",
                               &f.value));
        if (!f.name.len)
            f.name = KS_SLICE_LIT("_msg");
        KSI_LQ_PUSH(p, ret->fields, ret->count, cap, f);
        KS_TRY(ksi_lq_skip(p, ",", &comma));
    }
    return ksi_lq_next(p);
}

static ks_err parse_rows(struct ksi_lq_parser *p, struct ks_lq_literal_rows *ret)
{
    size_t cap = 0;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_expect(p, "("));
    while (!ksi_lq_is(p, ")")) {
        struct ks_lq_literal_row row = {0};
        KS_TRY(parse_row(p, &row));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, row);
        if (!ksi_lq_is(p, ")"))
            KS_TRY(ksi_lq_expect(p, ","));
    }
    return ksi_lq_next(p);
}

static ks_err parse_join(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool taken;
    if (ksi_lq_is(p, "by") || ksi_lq_is(p, "on"))
        KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_names_paren(p, &ret->u.join.by));
    if (!ret->u.join.by.count)
        return ks_fail(KS_EPARSE, "join needs at least one field");
    if (ksi_lq_is(p, "rows"))
        KS_TRY(parse_rows(p, &ret->u.join.rows));
    else
        KS_TRY(ksi_lq_query_paren(p, &ret->u.join.sub));
    KS_TRY(ksi_lq_skip(p, "inner", &ret->u.join.inner));
    KS_TRY(ksi_lq_skip(p, "prefix", &taken));
    if (taken)
        KS_TRY(
            ksi_lq_compound(p, KSI_LQ_ANY, "a text is needed after 'prefix'", &ret->u.join.prefix));
    return KS_OK;
}

static ks_err parse_union(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    if (ksi_lq_is(p, "rows"))
        return parse_rows(p, &ret->u.unite.rows);
    return ksi_lq_query_paren(p, &ret->u.unite.sub);
}

static ks_err parse_set_stream(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    KS_TRY(ksi_lq_if(p, &ret->cond));
    return ksi_lq_fields_comma(p, false, &ret->u.fields);
}

static ks_err parse_list(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    return ksi_lq_fields_comma(p, true, &ret->u.fields);
}

static ks_err parse_nothing(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    return KS_OK;
}

static const struct {
    enum ks_lq_pipe_kind kind;
    ks_err (*parse)(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);
} short_forms[] = {
    {KS_LQ_P_BLOCK_STATS, parse_nothing},
    {KS_LQ_P_COPY, parse_move},
    {KS_LQ_P_DELETE, parse_list},
    {KS_LQ_P_DROP_EMPTY_FIELDS, parse_nothing},
    {KS_LQ_P_FIELDS, parse_list},
    {KS_LQ_P_FILTER, parse_filter_pipe},
    {KS_LQ_P_GENERATE_SEQUENCE, parse_count},
    {KS_LQ_P_JOIN, parse_join},
    {KS_LQ_P_LIMIT, parse_count},
    {KS_LQ_P_MATH, ksi_lq_pipe_math},
    {KS_LQ_P_OFFSET, parse_count},
    {KS_LQ_P_QUERY_STATS, parse_nothing},
    {KS_LQ_P_RENAME, parse_move},
    {KS_LQ_P_RUNNING_STATS, ksi_lq_pipe_stats},
    {KS_LQ_P_SAMPLE, parse_count},
    {KS_LQ_P_SET_STREAM_FIELDS, parse_set_stream},
    {KS_LQ_P_STATS, ksi_lq_pipe_stats},
    {KS_LQ_P_STREAM_CONTEXT, parse_context},
    {KS_LQ_P_TIME_ADD, parse_time_add},
    {KS_LQ_P_TOTAL_STATS, ksi_lq_pipe_stats},
    {KS_LQ_P_UNION, parse_union},
};

static ks_err parse_by_kind(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    for (size_t i = 0; i < sizeof short_forms / sizeof *short_forms; i++)
        if (short_forms[i].kind == ret->kind)
            return short_forms[i].parse(p, ret);
    switch (ret->kind) {
    case KS_LQ_P_FACETS:
    case KS_LQ_P_FIELD_NAMES:
    case KS_LQ_P_FIELD_VALUES:
    case KS_LQ_P_FIRST:
    case KS_LQ_P_LAST:
    case KS_LQ_P_SORT:
    case KS_LQ_P_TOP:
    case KS_LQ_P_UNIQ:
    case KS_LQ_P_UNROLL:
        return ksi_lq_pipe_group(p, ret);
    default:
        return ksi_lq_pipe_text(p, ret);
    }
}

ks_err ksi_lq_pipe(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    struct ksi_lq_lexer saved = p->lx;
    if (p->lx.kind != KSI_LQ_WORD)
        return parse_filter_pipe(p, ret);
    if (find_pipe(p->lx.token, &ret->kind)) {
        KS_TRY(ksi_lq_next(p));
        if (!p->lx.spaced && !ksi_lq_pipe_end(p) && !ksi_lq_is(p, "(") &&
            p->lx.kind != KSI_LQ_QUOTED)
            return ksi_lq_unexpected(p, "missing blank after the name of the pipe");
        return parse_by_kind(p, ret);
    }
    if (ksi_lq_is(p, "stats_remote")) {
        KS_TRY(ksi_lq_next(p));
        ret->kind = KS_LQ_P_STATS;
        ret->u.stats.remote = true;
        return ksi_lq_pipe_stats(p, ret);
    }
    if (ksi_lq_is(p, "by") || ksi_lq_is_func_name(p->lx.token)) {
        ret->kind = KS_LQ_P_STATS;
        return ksi_lq_pipe_stats(p, ret);
    }
    p->lx = saved;
    return parse_filter_pipe(p, ret);
}
