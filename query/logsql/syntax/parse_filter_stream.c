/* {label="value",…} and _stream_id:… */
#include "base/cxx/re2.h"
#include "engine/logs/log_batch.h"
#include "query/logsql/syntax/parser_priv.h"

static ks_err tag_values(struct ksi_lq_parser *p, struct ks_lq_names *ret)
{
    size_t cap = 0;
    *ret = (struct ks_lq_names){0};
    KS_TRY(ksi_lq_expect(p, "("));
    for (;;) {
        struct ks_slice s;
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_ANY, "a label value is needed", &s));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, s);
        if (!ksi_lq_is(p, ")"))
            KS_TRY(ksi_lq_expect(p, ","));
    }
}

static ks_err check_regexp(struct ks_slice re)
{
    char why[200];
    struct ks_re *c = ks_re_new(re.ptr, re.len, KS_RE_DOT_NL, why, sizeof why);
    if (!c)
        return ks_fail(KS_EPARSE, "bad regexp \"%.*s\" of a label: %s", KS_SLICE_ARG(re), why);
    ks_re_free(c);
    return KS_OK;
}

static ks_err parse_tag(struct ksi_lq_parser *p, struct ks_lq_tag_filter *ret)
{
    static const struct {
        const char *text;
        enum ks_lq_tag_op op;
    } ops[] = {{"=", KS_LQ_TAG_EQ},   {"!=", KS_LQ_TAG_NE}, {"=~", KS_LQ_TAG_RE},
               {"!~", KS_LQ_TAG_NRE}, {"in", KS_LQ_TAG_IN}, {"not_in", KS_LQ_TAG_NOT_IN}};
    KS_TRY(ksi_lq_compound(p, KSI_LQ_ANY | KSI_LQ_COLON, "a label name is needed", &ret->name));
    size_t i = 0;
    while (i < sizeof ops / sizeof *ops && !ksi_lq_is(p, ops[i].text))
        i++;
    if (i == sizeof ops / sizeof *ops)
        return ksi_lq_unexpected(p, "one of = != =~ !~ in not_in is needed after a label name");
    ret->op = ops[i].op;
    KS_TRY(ksi_lq_next(p));
    if (ret->op == KS_LQ_TAG_IN || ret->op == KS_LQ_TAG_NOT_IN)
        return tag_values(p, &ret->values);
    KS_TRY(ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_ANY | KSI_LQ_SIGN, "a label value is needed",
                           &ret->value));
    if (ret->op == KS_LQ_TAG_RE || ret->op == KS_LQ_TAG_NRE)
        return check_regexp(ret->value);
    return KS_OK;
}

/* One AND list, up to `or` or `}`. */
static ks_err parse_tags(struct ksi_lq_parser *p, struct ks_lq_tag_filter **ret, size_t *ret_count)
{
    struct ks_lq_tag_filter *items = NULL;
    size_t count = 0, cap = 0;
    while (!ksi_lq_is(p, "}")) {
        struct ks_lq_tag_filter t = {0};
        KS_TRY(parse_tag(p, &t));
        KSI_LQ_PUSH(p, items, count, cap, t);
        if (ksi_lq_is(p, "or") || ksi_lq_is(p, "}"))
            break;
        KS_TRY(ksi_lq_expect(p, ","));
    }
    *ret = items;
    *ret_count = count;
    return KS_OK;
}

ks_err ksi_lq_filter_stream(struct ksi_lq_parser *p, struct ks_lq_filter **ret)
{
    static const struct ks_lq_field stream = {{"_stream", 7}, false};
    struct ks_lq_filter *f;
    size_t cap = 0;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_STREAM, &stream, &f));
    if (!ksi_lq_is(p, "{"))
        return ksi_lq_unexpected(p, "a stream filter {label=\"value\",…} is needed");
    KS_TRY(ksi_lq_next(p));
    for (;;) {
        if (f->stream.count == cap)
            KS_TRY(ks_arena_grow(p->arena, (void **)&f->stream.ors, &cap, cap + 1,
                                 sizeof *f->stream.ors));
        struct ks_lq_tag_filter *items;
        size_t n;
        KS_TRY(parse_tags(p, &items, &n));
        if (n == 0 && f->stream.count)
            return ksi_lq_unexpected(p, "a label filter is needed after 'or'");
        f->stream.ors[f->stream.count].items = items;
        f->stream.ors[f->stream.count++].count = n;
        if (!ksi_lq_is(p, "or"))
            break;
        KS_TRY(ksi_lq_next(p));
    }
    *ret = f;
    return ksi_lq_expect(p, "}");
}

ks_err ksi_lq_filter_stream_id(struct ksi_lq_parser *p, struct ks_lq_filter **ret)
{
    static const struct ks_lq_field id_field = {{"_stream_id", 10}, false};
    struct ks_lq_filter *f;
    struct ks_stream_id id;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_STREAM_ID, &id_field, &f));
    if (ksi_lq_is(p, "in")) {
        KS_TRY(ksi_lq_next(p));
        if (!ksi_lq_is(p, "("))
            return ksi_lq_unexpected(p, "missing '(' after _stream_id:in");
        KS_TRY(ksi_lq_in_values(p, f));
    } else {
        f->values.items = ks_arena_zalloc(p->arena, sizeof *f->values.items);
        if (!f->values.items)
            return ksi_lq_oom(p);
        KS_TRY(ksi_lq_compound(p, 0, "a stream id is needed", &f->values.items[0]));
        f->values.count = 1;
    }
    for (size_t i = 0; i < f->values.count; i++)
        if (!ks_stream_id_parse(f->values.items[i], &id))
            return ks_fail(KS_EPARSE, "\"%.*s\" is no stream id: 48 hex digits are needed",
                           KS_SLICE_ARG(f->values.items[i]));
    *ret = f;
    return KS_OK;
}
