/* Filters written as functions: in(…), range[…], i(…), … */
#include <math.h>
#include <stdio.h>

#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser_priv.h"

enum { ARG = KSI_LQ_COLON | KSI_LQ_ANY | KSI_LQ_SIGN };

/* `a, b, c)`: what stands behind the opening parenthesis. */
static ks_err arg_list(struct ksi_lq_parser *p, struct ks_lq_names *ret)
{
    size_t cap = 0;
    *ret = (struct ks_lq_names){0};
    if (ksi_lq_is(p, ")"))
        return ksi_lq_next(p);
    for (;;) {
        struct ks_slice s;
        KS_TRY(ksi_lq_compound(p, ARG, "a value is needed", &s));
        KSI_LQ_PUSH(p, ret->items, ret->count, cap, s);
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_expect(p, ","));
        if (ksi_lq_is(p, ")") && ret->count)
            return ksi_lq_next(p);
    }
}

/* Exactly n arguments and no comma behind the last. */
static ks_err fixed_args(struct ksi_lq_parser *p, size_t n, const char *close, struct ks_slice *out)
{
    KS_TRY(ksi_lq_next(p)); /* the parenthesis */
    for (size_t i = 0; i < n; i++) {
        KS_TRY(ksi_lq_compound(p, ARG, "an argument is needed", &out[i]));
        if (i + 1 < n)
            KS_TRY(ksi_lq_expect(p, ","));
    }
    if (close)
        return ksi_lq_expect(p, close);
    return KS_OK;
}

/* The one column a subquery gives. */
static bool result_column(const struct ks_lq_query *q, struct ks_slice *ret)
{
    if (!q->pipe_count)
        return false;
    const struct ks_lq_pipe *last = &q->pipes[q->pipe_count - 1];
    switch (last->kind) {
    case KS_LQ_P_FIELDS:
        if (last->u.fields.count != 1 || last->u.fields.items[0].prefix)
            return false;
        *ret = last->u.fields.items[0].name;
        return true;
    case KS_LQ_P_UNIQ:
        if (last->u.uniq.by.count != 1)
            return false;
        *ret = last->u.uniq.by.items[0];
        return true;
    case KS_LQ_P_FIELD_VALUES:
        *ret = last->u.uniq.by.items[0];
        return true;
    case KS_LQ_P_FIELD_NAMES:
        *ret = last->u.map.to;
        return true;
    default:
        return false;
    }
}

/* Behind the name: `(a,b)`, `(*)`, `(query)`. */
ks_err ksi_lq_in_values(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ksi_lq_lexer saved = p->lx;
    unsigned depth = p->depth;
    KS_TRY(ksi_lq_next(p));
    if (ksi_lq_is(p, "*")) {
        KS_TRY(ksi_lq_next(p));
        if (ksi_lq_is(p, ")")) {
            f->kind = KS_LQ_F_ALL;
            return ksi_lq_next(p);
        }
        p->lx = saved;
        KS_TRY(ksi_lq_next(p));
    }
    ks_err err = arg_list(p, &f->values);
    if (err != KS_EPARSE)
        return err;
    size_t failed_at = p->lx.at;
    p->lx = saved;
    p->depth = depth;
    KS_TRY(ksi_lq_enter(p));
    KS_TRY(ksi_lq_query_paren(p, &f->sub));
    ksi_lq_leave(p);
    f->values = (struct ks_lq_names){0};
    if (!result_column(f->sub, &f->sub_column))
        return ks_fail(KS_EPARSE,
                       "the subquery at position %zu has to end with a pipe that leaves one "
                       "column, such as `fields x` or `uniq by (x)`",
                       failed_at);
    return KS_OK;
}

static ks_err func_values(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    KS_TRY(ksi_lq_next(p));
    return arg_list(p, &f->values);
}

static ks_err func_text(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    return fixed_args(p, 1, ")", &f->text);
}

/* exact(x), exact(x*), i(x), i(x*): kind + 1 is the prefix form. */
static ks_err func_prefixable(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    KS_TRY(ksi_lq_next(p));
    f->text = ks_slice("", 0);
    if (!ksi_lq_is(p, "*"))
        KS_TRY(ksi_lq_compound(p, ARG, "a value is needed", &f->text));
    if (ksi_lq_is(p, "*") && (!p->lx.spaced || !f->text.len)) {
        f->kind++;
        KS_TRY(ksi_lq_next(p));
    }
    return ksi_lq_expect(p, ")");
}

static ks_err func_other_field(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    KS_TRY(fixed_args(p, 1, ")", &f->text));
    if (f->field.prefix) { /* no set of fields here: the star is part of the name */
        struct ks_slice n = ks_arena_printf(p->arena, "%.*s*", KS_SLICE_ARG(f->field.name));
        if (!n.ptr)
            return ksi_lq_oom(p);
        f->field = (struct ks_lq_field){n, false};
    }
    if (!f->text.len)
        f->text = KS_SLICE_LIT("_msg");
    return KS_OK;
}

static ks_err show(struct ksi_lq_parser *p, struct ks_lq_filter *f, const char *name, char open,
                   const struct ks_slice *args, char close)
{
    f->shown = ks_arena_printf(p->arena, "%s%c%.*s, %.*s%c", name, open, KS_SLICE_ARG(args[0]),
                               KS_SLICE_ARG(args[1]), close);
    return f->shown.ptr ? KS_OK : ksi_lq_oom(p);
}

static ks_err func_range(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a[2];
    char open = p->lx.token.ptr[0];
    KS_TRY(fixed_args(p, 2, NULL, a));
    if (!ksi_lq_is(p, ")") && !ksi_lq_is(p, "]"))
        return ksi_lq_unexpected(p, "missing ')' or ']' of the range");
    char close = p->lx.token.ptr[0];
    KS_TRY(ksi_lq_next(p));
    if (!ks_lq_parse_any_number(a[0], &f->min) || !ks_lq_parse_any_number(a[1], &f->max))
        return ks_fail(KS_EPARSE, "range(%.*s, %.*s) needs two numbers", KS_SLICE_ARG(a[0]),
                       KS_SLICE_ARG(a[1]));
    if (open == '(')
        f->min = nextafter(f->min, INFINITY);
    if (close == ')')
        f->max = nextafter(f->max, -INFINITY);
    return show(p, f, "range", open, a, close);
}

static bool is_inf(struct ks_slice s)
{
    if (s.len && s.ptr[0] == '+')
        s = ks_slice_from(s, 1);
    return s.len == 3 && strncasecmp(s.ptr, "inf", 3) == 0;
}

static bool parse_len(struct ks_slice s, uint64_t *ret)
{
    double v;
    if (is_inf(s)) {
        *ret = UINT64_MAX;
        return true;
    }
    if (ks_lq_parse_u64(s, ret))
        return true;
    if (!ks_lq_parse_number(s, &v) || !(v >= 0) || v >= 1.8e19 || v != floor(v))
        return false;
    *ret = (uint64_t)v;
    return true;
}

static ks_err func_len_range(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a[2];
    KS_TRY(fixed_args(p, 2, ")", a));
    if (!parse_len(a[0], &f->min_len) || !parse_len(a[1], &f->max_len))
        return ks_fail(KS_EPARSE, "len_range(%.*s, %.*s) needs two whole numbers",
                       KS_SLICE_ARG(a[0]), KS_SLICE_ARG(a[1]));
    return show(p, f, "len_range", '(', a, ')');
}

static ks_err func_string_range(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a[2];
    KS_TRY(fixed_args(p, 2, ")", a));
    f->min_text = a[0];
    f->max_text = a[1];
    return KS_OK;
}

/* "text/bits" */
static bool split_mask(struct ks_slice s, struct ks_slice *ret_ip, uint64_t *ret_bits)
{
    const char *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;
    if (!slash)
        return false;
    *ret_ip = ks_slice(s.ptr, (size_t)(slash - s.ptr));
    return ks_lq_parse_u64(ks_slice_from(s, ret_ip->len + 1), ret_bits);
}

/* One or two arguments up to the parenthesis. */
static ks_err one_or_two(struct ksi_lq_parser *p, struct ks_slice a[2], size_t *ret_count)
{
    struct ks_lq_names l;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(arg_list(p, &l));
    if (l.count != 1 && l.count != 2)
        return ks_fail(KS_EPARSE, "an address range needs one or two arguments; got %zu", l.count);
    a[0] = l.items[0];
    a[1] = l.items[l.count - 1];
    *ret_count = l.count;
    return KS_OK;
}

static ks_err func_ipv4_range(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a[2], ip;
    size_t n;
    uint64_t bits;
    KS_TRY(one_or_two(p, a, &n));
    bool ok;
    if (n == 1 && split_mask(a[0], &ip, &bits)) {
        ok = ks_lq_parse_ipv4(ip, &f->min_ip) && bits <= 32;
        uint32_t host = !ok || bits == 32 ? 0 : UINT32_MAX >> bits;
        f->min_ip &= ~host;
        f->max_ip = f->min_ip | host;
    } else {
        ok = ks_lq_parse_ipv4(a[0], &f->min_ip) && ks_lq_parse_ipv4(a[1], &f->max_ip);
    }
    if (!ok)
        return ks_fail(KS_EPARSE, "ipv4_range: \"%.*s\" is no IPv4 address or net",
                       KS_SLICE_ARG(a[0]));
    return KS_OK;
}

static ks_err func_ipv6_range(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a[2], ip;
    size_t n;
    uint64_t bits;
    KS_TRY(one_or_two(p, a, &n));
    bool ok;
    if (n == 1 && split_mask(a[0], &ip, &bits)) {
        ok = ks_lq_parse_ipv6(ip, f->min_ip6) && bits <= 128;
        if (ok && ip.len && memchr(ip.ptr, '.', ip.len) && !memchr(ip.ptr, ':', ip.len)) {
            ok = bits <= 32;
            bits += 96;
        }
        for (unsigned i = 0; ok && i < 16; i++) {
            unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? (unsigned)(bits - 8 * i) : 0;
            uint8_t host = (uint8_t)(0xffu >> keep);
            f->min_ip6[i] &= (uint8_t)~host;
            f->max_ip6[i] = f->min_ip6[i] | host;
        }
    } else {
        ok = ks_lq_parse_ipv6(a[0], f->min_ip6) && ks_lq_parse_ipv6(a[1], f->max_ip6);
    }
    if (!ok)
        return ks_fail(KS_EPARSE, "ipv6_range: \"%.*s\" is no IPv6 address or net",
                       KS_SLICE_ARG(a[0]));
    return KS_OK;
}

struct func {
    const char *name;
    enum ks_lq_filter_kind kind;
    ks_err (*parse)(struct ksi_lq_parser *p, struct ks_lq_filter *f);
    int extra; /* pattern mode */
};
static const struct func funcs[] = {
    {"contains_all", KS_LQ_F_CONTAINS_ALL, ksi_lq_in_values, 0},
    {"contains_any", KS_LQ_F_CONTAINS_ANY, ksi_lq_in_values, 0},
    {"contains_common_case", KS_LQ_F_CONTAINS_COMMON_CASE, func_values, 0},
    {"eq_field", KS_LQ_F_EQ_FIELD, func_other_field, 0},
    {"equals_common_case", KS_LQ_F_EQUALS_COMMON_CASE, func_values, 0},
    {"exact", KS_LQ_F_EXACT, func_prefixable, 0},
    {"i", KS_LQ_F_ANYCASE_PHRASE, func_prefixable, 0},
    {"in", KS_LQ_F_IN, ksi_lq_in_values, 0},
    {"ipv4_range", KS_LQ_F_IPV4_RANGE, func_ipv4_range, 0},
    {"ipv6_range", KS_LQ_F_IPV6_RANGE, func_ipv6_range, 0},
    {"json_array_contains_any", KS_LQ_F_JSON_ARRAY_CONTAINS_ANY, func_values, 0},
    {"le_field", KS_LQ_F_LE_FIELD, func_other_field, 0},
    {"len_range", KS_LQ_F_LEN_RANGE, func_len_range, 0},
    {"lt_field", KS_LQ_F_LT_FIELD, func_other_field, 0},
    {"pattern_match", KS_LQ_F_PATTERN_MATCH, func_text, KS_LQ_PATTERN_ANY},
    {"pattern_match_full", KS_LQ_F_PATTERN_MATCH, func_text, KS_LQ_PATTERN_FULL},
    {"pattern_match_prefix", KS_LQ_F_PATTERN_MATCH, func_text, KS_LQ_PATTERN_PREFIX},
    {"pattern_match_suffix", KS_LQ_F_PATTERN_MATCH, func_text, KS_LQ_PATTERN_SUFFIX},
    {"range", KS_LQ_F_RANGE, func_range, 0},
    {"re", KS_LQ_F_REGEXP, func_text, 0},
    {"seq", KS_LQ_F_SEQUENCE, func_values, 0},
    {"string_range", KS_LQ_F_STRING_RANGE, func_string_range, 0},
    {"value_type", KS_LQ_F_VALUE_TYPE, func_text, 0},
};

bool ksi_lq_is_filter_func(struct ks_slice word)
{
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++)
        if (word.len == strlen(funcs[i].name) &&
            strncasecmp(word.ptr, funcs[i].name, word.len) == 0)
            return true;
    return false;
}

const char *ksi_lq_filter_func_name(const struct ks_lq_filter *f)
{
    int extra = f->kind == KS_LQ_F_PATTERN_MATCH ? (int)f->pattern_mode : 0;
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++)
        if (funcs[i].kind == f->kind && funcs[i].extra == extra)
            return funcs[i].name;
    return NULL;
}

ks_err ksi_lq_filter_func(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                          struct ks_lq_filter **ret)
{
    const struct func *fn = NULL;
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs && !fn; i++)
        if (ksi_lq_is(p, funcs[i].name))
            fn = &funcs[i];
    if (!fn)
        return KS_OK;
    struct ksi_lq_lexer saved = p->lx;
    KS_TRY(ksi_lq_next(p));
    if (!ksi_lq_is(p, "(") && !(fn->kind == KS_LQ_F_RANGE && ksi_lq_is(p, "["))) {
        p->lx = saved;
        return KS_OK;
    }
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_filter_new(p, fn->kind, field, &f));
    f->pattern_mode = (enum ks_lq_pattern_mode)fn->extra;
    KS_TRY(fn->parse(p, f));
    if (fn->kind == KS_LQ_F_REGEXP)
        return ksi_lq_filter_regexp(p, field, f->text, ret);
    *ret = f;
    return KS_OK;
}
