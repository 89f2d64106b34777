/* Small things the parser's files share: names, lists, counts. See parser_priv.h. */
#include <stdio.h>

#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser_priv.h"

ks_err ksi_lq_oom(struct ksi_lq_parser *p)
{
    return ks_arena_err(p->arena);
}

ks_err ksi_lq_dup(struct ksi_lq_parser *p, struct ks_slice s, struct ks_slice *ret)
{
    struct ks_slice d = ks_arena_dup(p->arena, s);
    if (!d.ptr)
        return ks_arena_err(p->arena);
    *ret = d;
    return KS_OK;
}

static struct ks_slice canonical_name(struct ks_slice s)
{
    return s.len ? s : KS_SLICE_LIT("_msg");
}

ks_err ksi_lq_field(struct ksi_lq_parser *p, bool allow_prefix, struct ks_lq_field *ret)
{
    struct ks_lq_field f = {0};
    if (ksi_lq_is(p, "*")) {
        if (!allow_prefix)
            return ksi_lq_unexpected(p, "a field name without '*' is needed");
        KS_TRY(ksi_lq_next(p));
        if (!p->lx.spaced && (p->lx.kind == KSI_LQ_WORD || p->lx.kind == KSI_LQ_QUOTED))
            return ksi_lq_unexpected(p, "missing ',' after '*'");
        *ret = (struct ks_lq_field){ks_slice("", 0), true};
        return KS_OK;
    }
    KS_TRY(ksi_lq_compound(p, 0, "missing field name", &f.name));
    if (ksi_lq_is(p, "*") && !p->lx.spaced) {
        if (!allow_prefix)
            return ksi_lq_unexpected(p, "a field name without '*' is needed");
        KS_TRY(ksi_lq_next(p));
        f.prefix = true;
    } else {
        f.name = canonical_name(f.name);
    }
    *ret = f;
    return KS_OK;
}

ks_err ksi_lq_field_name(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    struct ks_lq_field f;
    KS_TRY(ksi_lq_field(p, false, &f));
    *ret = f.name;
    return KS_OK;
}

ks_err ksi_lq_fields_paren(struct ksi_lq_parser *p, bool allow_prefix, struct ks_lq_fields *ret)
{
    size_t cap = 0;
    *ret = (struct ks_lq_fields){0};
    KS_TRY(ksi_lq_expect(p, "("));
    for (;;) {
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        struct ks_lq_field f;
        KS_TRY(ksi_lq_field(p, allow_prefix, &f));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, f);
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_expect(p, ","));
    }
}

ks_err ksi_lq_fields_comma(struct ksi_lq_parser *p, bool allow_prefix, struct ks_lq_fields *ret)
{
    size_t cap = 0;
    *ret = (struct ks_lq_fields){0};
    for (;;) {
        struct ks_lq_field f;
        KS_TRY(ksi_lq_field(p, allow_prefix, &f));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, f);
        if (!ksi_lq_is(p, ","))
            return KS_OK;
        KS_TRY(ksi_lq_next(p));
    }
}

ks_err ksi_lq_names_paren(struct ksi_lq_parser *p, struct ks_lq_names *ret)
{
    struct ks_lq_fields f;
    KS_TRY(ksi_lq_fields_paren(p, false, &f));
    ret->count = f.count;
    ret->items = ks_arena_array(p->arena, f.count + 1, sizeof *ret->items);
    if (!ret->items)
        return ksi_lq_oom(p);
    for (size_t i = 0; i < f.count; i++)
        ret->items[i] = f.items[i].name;
    return KS_OK;
}

ks_err ksi_lq_uint(struct ksi_lq_parser *p, const char *what, uint64_t *ret)
{
    struct ks_slice s;
    double v;
    uint64_t u;
    size_t at = p->lx.at;
    KS_TRY(ksi_lq_compound(p, KSI_LQ_SIGN, what, &s));
    if (ks_lq_parse_u64(s, &u)) {
        *ret = u;
        return KS_OK;
    }
    if (!ks_lq_parse_number(s, &v) || !(v >= 0) || v > 1.8e19 || v != (double)(uint64_t)v)
        return ks_fail(KS_EPARSE, "%s: \"%.*s\" at position %zu is no whole number from 0 on", what,
                       KS_SLICE_ARG(s), at);
    *ret = (uint64_t)v;
    return KS_OK;
}

ks_err ksi_lq_uint_after(struct ksi_lq_parser *p, uint64_t *ret)
{
    char what[64];
    snprintf(what, sizeof what, "a number is needed after '%.*s'", KS_SLICE_ARG(p->lx.token));
    KS_TRY(ksi_lq_next(p));
    return ksi_lq_uint(p, what, ret);
}

ks_err ksi_lq_duration(struct ksi_lq_parser *p, const char *what, int64_t *ret_ns,
                       struct ks_slice *ret_text)
{
    size_t at = p->lx.at;
    KS_TRY(ksi_lq_compound(p, KSI_LQ_SIGN, what, ret_text));
    if (!ks_lq_parse_duration(*ret_text, ret_ns))
        return ks_fail(KS_EPARSE, "%s: \"%.*s\" at position %zu is no duration", what,
                       KS_SLICE_ARG(*ret_text), at);
    return KS_OK;
}

ks_err ksi_lq_as(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    bool as;
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (!as && ksi_lq_pipe_end(p))
        return KS_OK;
    return ksi_lq_field_name(p, ret);
}
