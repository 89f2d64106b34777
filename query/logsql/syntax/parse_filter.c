/* Filters: or, and, not, groups, words and comparisons. Functions are in parse_filter_func.c. */
#include "base/cxx/re2.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

static const struct ks_lq_field msg_field = {{"_msg", 4}, false};

ks_err ksi_lq_filter_new(struct ksi_lq_parser *p, enum ks_lq_filter_kind kind,
                         const struct ks_lq_field *field, struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f = ks_arena_zalloc(p->arena, sizeof *f);
    if (!f)
        return ksi_lq_oom(p);
    f->kind = kind;
    f->field = field ? *field : msg_field;
    *ret = f;
    return KS_OK;
}

static ks_err new_not(struct ksi_lq_parser *p, struct ks_lq_filter *kid, struct ks_lq_filter **ret)
{
    if (kid->kind == KS_LQ_F_NOT) {
        *ret = kid->kids[0];
        return KS_OK;
    }
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_NOT, NULL, &f));
    f->kids = ks_arena_alloc(p->arena, sizeof *f->kids);
    if (!f->kids)
        return ksi_lq_oom(p);
    f->kids[0] = kid;
    f->kid_count = 1;
    *ret = f;
    return KS_OK;
}

/* Nothing may stick to what was just parsed. */
static ks_err expect_gap(const struct ksi_lq_parser *p)
{
    if (p->lx.spaced || ksi_lq_pipe_end(p) || ksi_lq_is(p, ":"))
        return KS_OK;
    return ksi_lq_unexpected(p, "missing blank between filters, or quotes around the text");
}

ks_err ksi_lq_filter_paren(struct ksi_lq_parser *p, struct ks_lq_filter **ret)
{
    KS_TRY(ksi_lq_expect(p, "("));
    KS_TRY(ksi_lq_filter_or(p, NULL, ret));
    return ksi_lq_expect(p, ")");
}

ks_err ksi_lq_if(struct ksi_lq_parser *p, struct ks_lq_filter **ret)
{
    bool taken;
    KS_TRY(ksi_lq_skip(p, "if", &taken));
    if (!taken)
        return KS_OK;
    KS_TRY(ksi_lq_filter_paren(p, ret));
    return ksi_lq_simplify_filter(p, ret);
}

/* --- comparisons --- */

static ks_err check_regexp(struct ksi_lq_parser *p, struct ks_slice re)
{
    char why[200];
    struct ks_re *c = ks_re_new(re.ptr, re.len, KS_RE_DOT_NL, why, sizeof why);
    if (!c)
        return ks_fail(KS_EPARSE, "bad regexp \"%.*s\": %s", KS_SLICE_ARG(re), why);
    ks_re_free(c);
    return KS_OK;
}

/* `.*` and the empty regexp match everything, `.+` what is not empty. */
ks_err ksi_lq_filter_regexp(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                            struct ks_slice re, struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f;
    KS_TRY(check_regexp(p, re));
    enum ks_lq_filter_kind kind = KS_LQ_F_REGEXP;
    if (re.len == 0 || ks_slice_is(re, ".*"))
        kind = KS_LQ_F_ALL;
    else if (ks_slice_is(re, ".+"))
        kind = KS_LQ_F_PREFIX;
    KS_TRY(ksi_lq_filter_new(p, kind, field, &f));
    f->text = kind == KS_LQ_F_REGEXP ? re : ks_slice("", 0);
    *ret = f;
    return KS_OK;
}

static ks_err parse_regexp(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                           struct ks_lq_filter **ret)
{
    struct ks_slice re;
    KS_TRY(ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_STRICT, "a regexp is needed after '~'", &re));
    KS_TRY(expect_gap(p));
    return ksi_lq_filter_regexp(p, field, re, ret);
}

static ks_err parse_exact(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                          struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_EXACT, field, &f));
    if (ksi_lq_is(p, "*")) {
        f->kind = KS_LQ_F_EXACT_PREFIX;
        f->text = ks_slice("", 0);
        KS_TRY(ksi_lq_next(p));
    } else {
        KS_TRY(ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_ANY | KSI_LQ_STRICT,
                               "a value is needed after '='", &f->text));
        if (ksi_lq_is(p, "*") && !p->lx.spaced) {
            f->kind = KS_LQ_F_EXACT_PREFIX;
            KS_TRY(ksi_lq_next(p));
        }
    }
    *ret = f;
    return expect_gap(p);
}

/* The next double in the direction of `to`. */
static double next_toward(double v, double to)
{
    return __builtin_nextafter(v, to);
}

static ks_err string_bound(struct ksi_lq_parser *p, struct ks_lq_filter *f, bool greater,
                           bool equal, struct ks_slice value)
{
    /* x + "\0" is the smallest text above x */
    struct ks_slice above = value;
    if (greater != equal) {
        char *t = ks_arena_alloc(p->arena, value.len + 1);
        if (!t)
            return ksi_lq_oom(p);
        if (value.len)
            memcpy(t, value.ptr, value.len);
        t[value.len] = 0;
        above = ks_slice(t, value.len + 1);
    }
    f->kind = KS_LQ_F_STRING_RANGE;
    if (greater) {
        f->min_text = equal ? value : above;
        f->max_open = true;
    } else {
        f->min_text = ks_slice("", 0);
        f->max_text = equal ? above : value;
    }
    return KS_OK;
}

static ks_err parse_compare(struct ksi_lq_parser *p, const struct ks_lq_field *field, char op,
                            bool equal, struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f;
    struct ks_slice v;
    double num;
    bool greater = op == '>';
    bool quoted = p->lx.kind == KSI_LQ_QUOTED;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_RANGE, field, &f));
    KS_TRY(ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_ANY | KSI_LQ_SIGN | KSI_LQ_STRICT,
                           "a value is needed after the comparison", &v));
    KS_TRY(expect_gap(p));
    struct ks_buf b;
    ks_buf_init(&b, v.len * 4 + 16);
    ks_buf_byte(&b, (uint8_t)op);
    if (equal)
        ks_buf_byte(&b, '=');
    if (ks_lq_parse_any_number(v, &num)) {
        f->min = greater ? (equal ? num : next_toward(num, __builtin_inf())) : -__builtin_inf();
        f->max = greater ? __builtin_inf() : (equal ? num : next_toward(num, -__builtin_inf()));
        uint32_t ip;
        if (quoted && (memchr(v.ptr, ':', v.len) || ks_lq_parse_ipv4(v, &ip)))
            ks_lq_print_token(v, &b);
        else
            ks_buf_slice(&b, v);
    } else {
        ks_lq_print_token(v, &b);
    }
    ks_err err = ks_buf_status(&b);
    if (!err)
        err = ksi_lq_dup(p, ks_buf_view(&b), &f->shown);
    ks_buf_done(&b);
    KS_TRY(err);
    if (!ks_lq_parse_any_number(v, &num))
        KS_TRY(string_bound(p, f, greater, equal, v));
    *ret = f;
    return KS_OK;
}

static bool is_operator(const struct ksi_lq_parser *p)
{
    static const char *const ops[] = {"=", "!=", "~", "!~", "<", "<=", ">", ">=", NULL};
    return ksi_lq_is_any(p, ops);
}

/* =x !=x ~re !~re <x <=x >x >=x */
static ks_err parse_operator(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                             struct ks_lq_filter **ret)
{
    struct ks_slice op = p->lx.token;
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_next(p));
    if (!field && p->lx.spaced)
        return ksi_lq_unexpected(
            p, "a comparison needs 'field:' before it, and no blank behind it without a field");
    bool negate = op.ptr[0] == '!';
    char c = negate ? op.ptr[1] : op.ptr[0];
    if (c == '=')
        KS_TRY(parse_exact(p, field, &f));
    else if (c == '~')
        KS_TRY(parse_regexp(p, field, &f));
    else
        KS_TRY(parse_compare(p, field, c, op.len == 2, &f));
    if (negate)
        return new_not(p, f, ret);
    *ret = f;
    return KS_OK;
}

/* --- words --- */

/* `*`, `*text*`, `field:*` */
static ks_err parse_star(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                         struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_next(p));
    if (!p->lx.spaced && !ksi_lq_pipe_end(p) && !ksi_lq_is(p, ":")) {
        KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_SUBSTRING, field, &f));
        KS_TRY(ksi_lq_compound(p, KSI_LQ_ANY | (field ? KSI_LQ_COLON : 0),
                               "a text is needed between the stars", &f->text));
        if (p->lx.spaced || !ksi_lq_is(p, "*"))
            return ksi_lq_unexpected(p, "missing '*' at the end of *text*");
        KS_TRY(ksi_lq_next(p));
        *ret = f;
        return expect_gap(p);
    }
    KS_TRY(ksi_lq_filter_new(p, field ? KS_LQ_F_PREFIX : KS_LQ_F_ALL, field, &f));
    f->text = ks_slice("", 0);
    *ret = f;
    return KS_OK;
}

static bool needs_parens(struct ks_slice word)
{
    return ks_slice_is(word, "in") || ks_slice_is(word, "contains_any") ||
           ks_slice_is(word, "contains_all");
}

static ks_err parse_word(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                         struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f;
    bool quoted = p->lx.kind == KSI_LQ_QUOTED;
    unsigned flags = KSI_LQ_STRICT | (field ? KSI_LQ_COLON | KSI_LQ_ANY : 0);
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_PHRASE, field, &f));
    KS_TRY(ksi_lq_compound(p, flags, "a word or a filter is needed", &f->text));
    if (ksi_lq_is(p, "*") && !p->lx.spaced) {
        f->kind = KS_LQ_F_PREFIX;
        KS_TRY(ksi_lq_next(p));
    } else if (!quoted && needs_parens(f->text) && (field || !ksi_lq_is(p, ":"))) {
        return ksi_lq_unexpected(p, "missing '(' after in, contains_any or contains_all");
    }
    *ret = f;
    return expect_gap(p);
}

static ks_err parse_item(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                         struct ks_lq_filter **ret);

/* Behind `name:`. */
static ks_err parse_field_value(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                                struct ks_lq_filter **ret)
{
    if (!field->prefix) {
        if (ks_slice_is(field->name, "_time"))
            return ksi_lq_filter_time(p, ret);
        if (ks_slice_is(field->name, "_stream_id"))
            return ksi_lq_filter_stream_id(p, ret);
        if (ks_slice_is(field->name, "_stream"))
            return ksi_lq_filter_stream(p, ret);
    }
    return parse_item(p, field, ret);
}

/* A word at the top may turn out to be a field's name. */
static ks_err parse_generic(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                            struct ks_lq_filter **ret)
{
    struct ks_lq_filter *f = NULL;
    if (is_operator(p))
        return parse_operator(p, field, ret);
    if (ksi_lq_is(p, "{") && !field)
        return ksi_lq_filter_stream(p, ret);
    if (p->lx.kind == KSI_LQ_WORD) {
        KS_TRY(ksi_lq_filter_func(p, field, &f));
        if (f) {
            *ret = f;
            return KS_OK;
        }
    }
    if (ksi_lq_is(p, "*"))
        KS_TRY(parse_star(p, field, &f));
    else
        KS_TRY(parse_word(p, field, &f));
    if (field || !ksi_lq_is(p, ":")) {
        *ret = f;
        return KS_OK;
    }
    if (f->kind == KS_LQ_F_SUBSTRING)
        return ksi_lq_unexpected(p, "a field name cannot begin with '*'");
    struct ks_lq_field name = {f->text, f->kind != KS_LQ_F_PHRASE};
    if (name.name.len == 0 && !name.prefix)
        name.name = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_next(p));
    return parse_field_value(p, &name, ret);
}

static ks_err parse_item(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                         struct ks_lq_filter **ret)
{
    bool negate = false;
    while (ksi_lq_is(p, "!") || ksi_lq_is(p, "-") || ksi_lq_is(p, "not")) {
        negate = !negate;
        KS_TRY(ksi_lq_next(p));
    }
    struct ks_lq_filter *f;
    if (ksi_lq_is(p, "(")) {
        KS_TRY(ksi_lq_enter(p));
        KS_TRY(ksi_lq_next(p));
        KS_TRY(ksi_lq_filter_or(p, field, &f));
        KS_TRY(ksi_lq_expect(p, ")"));
        ksi_lq_leave(p);
    } else {
        KS_TRY(ksi_lq_enter(p));
        KS_TRY(parse_generic(p, field, &f));
        ksi_lq_leave(p);
    }
    if (negate)
        return new_not(p, f, ret);
    *ret = f;
    return KS_OK;
}

struct kid_list {
    struct ks_lq_filter **items;
    size_t count, cap;
};

static ks_err close_list(struct ksi_lq_parser *p, enum ks_lq_filter_kind kind,
                         const struct kid_list *l, struct ks_lq_filter **ret)
{
    if (l->count == 1) {
        *ret = l->items[0];
        return KS_OK;
    }
    KS_TRY(ksi_lq_filter_new(p, kind, NULL, ret));
    (*ret)->kids = l->items;
    (*ret)->kid_count = l->count;
    return KS_OK;
}

static ks_err parse_and(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                        struct ks_lq_filter **ret)
{
    struct kid_list l = {0};
    for (;;) {
        struct ks_lq_filter *f;
        bool taken;
        KS_TRY(parse_item(p, field, &f));
        KSI_LQ_PUSH(p, l.items, l.count, l.cap, f);
        if (ksi_lq_pipe_end(p) || ksi_lq_is(p, "or"))
            return close_list(p, KS_LQ_F_AND, &l, ret);
        KS_TRY(ksi_lq_skip(p, "and", &taken));
    }
}

ks_err ksi_lq_filter_or(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                        struct ks_lq_filter **ret)
{
    struct kid_list l = {0};
    for (;;) {
        struct ks_lq_filter *f;
        KS_TRY(parse_and(p, field, &f));
        KSI_LQ_PUSH(p, l.items, l.count, l.cap, f);
        if (!ksi_lq_is(p, "or"))
            return close_list(p, KS_LQ_F_OR, &l, ret);
        KS_TRY(ksi_lq_next(p));
    }
}
