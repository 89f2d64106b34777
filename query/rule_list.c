#include "query/rule_list.h"

#include "query/promql/promql.h"
#include "retention/rule_text.h"

enum { RULE_LIST_MAX_BYTES = 64 << 20 };

void ks_rule_list_init(struct ks_rule_list *l)
{
    *l = (struct ks_rule_list){0};
    ks_arena_init(&l->arena, RULE_LIST_MAX_BYTES);
}

void ks_rule_list_done(struct ks_rule_list *l)
{
    ks_arena_done(&l->arena);
    *l = (struct ks_rule_list){0};
}

/* AND-lists of a filter; an empty text is one list that matches everything. */
static ks_err selectors_of(struct ks_rule_list *l, struct ks_slice filter, struct ks_selector **ret,
                           size_t *ret_count)
{
    static struct ks_matcher none;
    if (filter.len)
        return ks_promql_parse_selector(filter, &l->arena, ret, ret_count);
    if (!(*ret = ks_arena_zalloc(&l->arena, sizeof **ret)))
        return ks_arena_err(&l->arena);
    (*ret)->matchers = &none;
    *ret_count = 1;
    return KS_OK;
}

static ks_err add_retention(struct ks_rule_list *l, struct ks_slice text, int64_t period_ms)
{
    struct ks_slice filter;
    struct ks_selector *sel;
    size_t count;
    int64_t keep_ms;
    KS_TRY(ks_retention_text_parse(text, &filter, &keep_ms));
    if (keep_ms > period_ms)
        return ks_fail(KS_EINVAL, "the retention is longer than -retentionPeriod");
    KS_TRY(selectors_of(l, filter, &sel, &count));
    KS_TRY(ks_arena_grow(&l->arena, (void **)&l->keep, &l->keep_cap, l->keep_count + count,
                         sizeof *l->keep));
    for (size_t i = 0; i < count; i++)
        l->keep[l->keep_count++] = (struct ks_retention_rule){sel[i], keep_ms};
    return KS_OK;
}

ks_err ks_rule_list_retention(struct ks_rule_list *l, const char *text, int64_t period_ms)
{
    struct ks_slice copy = ks_arena_dup(&l->arena, ks_slice_str(text));
    ks_err err = copy.ptr ? add_retention(l, copy, period_ms) : ks_arena_err(&l->arena);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "retention filter \"%s\"", text);
}

static ks_err number_of(struct ks_rule_list *l, struct ks_slice filter, unsigned *ret)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        if (ks_slice_eq(l->filters[i], filter)) {
            *ret = (unsigned)i;
            return KS_OK;
        }
    }
    KS_TRY(ks_arena_grow(&l->arena, (void **)&l->filters, &l->filter_cap, l->filter_count + 1,
                         sizeof *l->filters));
    *ret = (unsigned)l->filter_count;
    l->filters[l->filter_count++] = filter;
    return KS_OK;
}

static ks_err add_downsample(struct ks_rule_list *l, struct ks_slice text)
{
    struct ks_slice filter;
    struct ks_selector *sel;
    size_t count;
    struct ks_downsample_rule rule = {0};
    KS_TRY(ks_downsample_text_parse(text, &filter, &rule.after_ms, &rule.resolution_ms));
    KS_TRY(selectors_of(l, filter, &sel, &count));
    KS_TRY(number_of(l, filter, &rule.filter));
    KS_TRY(ks_arena_grow(&l->arena, (void **)&l->thin, &l->thin_cap, l->thin_count + count,
                         sizeof *l->thin));
    for (size_t i = 0; i < count; i++) {
        rule.selector = sel[i];
        l->thin[l->thin_count++] = rule;
    }
    return KS_OK;
}

ks_err ks_rule_list_downsample(struct ks_rule_list *l, const char *text)
{
    struct ks_slice copy = ks_arena_dup(&l->arena, ks_slice_str(text));
    ks_err err = copy.ptr ? add_downsample(l, copy) : ks_arena_err(&l->arena);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "downsampling \"%s\"", text);
}
