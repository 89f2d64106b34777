/*
 * WITH templates. A definition keeps where its body stands in the text; a use reads the body again
 * in the scope of the definition, its parameters bound to the arguments' trees. Nothing is
 * substituted as text and no second tree is needed. The work is bounded by the token budget of the
 * lexer, the size of the result by max_nodes. Thread role: any.
 */
#include "query/promql/syntax/parser_priv.h"

/* ---- the templates every query sees ---- */

#define NAME(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define BUILTIN(outer_, name_, params_, body)                                                      \
    {                                                                                              \
        .outer = outer_, .name = NAME(name_), .params = params_,                                   \
        .param_count = sizeof(params_) / sizeof *(params_), .text = NAME(body), .foreign = true,   \
        .body_end = sizeof(body) - 1                                                               \
    }

static struct ks_slice ru_params[] = {NAME("freev"), NAME("maxv")};
static struct ks_slice ttf_params[] = {NAME("freev")};
static struct ks_slice median_params[] = {NAME("q")};
static struct ks_slice alias_params[] = {NAME("q"), NAME("name")};

static const struct ksi_template builtins[] = {
    BUILTIN(NULL, "ru", ru_params,
            "clamp_min(maxv - clamp_min(freev, 0), 0) / clamp_min(maxv, 0) * 100"),
    BUILTIN(&builtins[0], "ttf", ttf_params,
            "smooth_exponential(clamp_max(clamp_max(-freev, 0) / clamp_max(deriv_fast(freev), 0), "
            "365*24*3600), clamp_max(step()/300, 1))"),
    BUILTIN(&builtins[1], "range_median", median_params, "range_quantile(0.5, q)"),
    BUILTIN(&builtins[2], "alias", alias_params, "label_set(q, \"__name__\", name)"),
};

void ksi_default_templates(struct ksi_parser *p)
{
    p->scope = &builtins[sizeof builtins / sizeof *builtins - 1];
}

const struct ksi_template *ksi_template_find(const struct ksi_parser *p, struct ks_slice name)
{
    if (p->dry)
        return NULL;
    for (const struct ksi_template *t = p->scope; t; t = t->outer) {
        if (ks_slice_eq(t->name, name))
            return t;
    }
    return NULL;
}

/* ---- use ---- */

/* The scope a body is read in: that of the definition, and the parameters. */
static ks_err bind(struct ksi_parser *p, const struct ksi_template *t, struct ks_expr **args,
                   const struct ksi_template **ret)
{
    *ret = t->outer;
    for (size_t i = 0; i < t->param_count; i++) {
        struct ksi_template *param = ks_arena_zalloc(p->arena, sizeof *param);
        if (!param)
            return ks_arena_err(p->arena);
        param->outer = *ret;
        param->name = t->params[i];
        param->bound = args[i];
        *ret = param;
    }
    return KS_OK;
}

static ks_err read_body(struct ksi_parser *p, const struct ksi_template *t, struct ks_expr **ret)
{
    uint64_t tokens_left = p->lx.tokens_left;
    p->lx = (struct ksi_lexer){
        .dialect = KS_METRICSQL,
        .text = ks_slice(t->text.ptr, t->body_end),
        .pos = t->body_start,
        .tokens_left = tokens_left,
        .query = p->lx.query,
        .foreign = t->foreign,
        .foreign_pos = p->use_start,
    };
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_mql_expr(p, ret));
    if (p->tok.kind != KSI_TOK_EOF)
        return ksi_error(p, p->tok.start, "unexpected text behind the body of a WITH template");
    return KS_OK;
}

ks_err ksi_expand(struct ksi_parser *p, const struct ksi_template *t, struct ks_expr **args,
                  size_t arg_count, uint32_t start, uint32_t end, struct ks_expr **ret)
{
    char q[KSI_QUOTE_MAX];
    if (t->param_count != arg_count)
        return ksi_error(p, start, "invalid number of args for %s; got %zu; want %zu",
                         ksi_quote(q, t->name), arg_count, t->param_count);
    *ret = t->bound ? t->bound : t->cache ? *t->cache : NULL;
    if (*ret)
        return KS_OK;
    struct ksi_parser saved = *p;
    KS_TRY(ksi_enter(p));
    KS_TRY(bind(p, t, args, &p->scope));
    if (!p->expanding) {
        p->expanding = true;
        p->use_start = start;
        p->use_end = end;
    }
    KS_TRY(read_body(p, t, ret));
    if (t->cache)
        *t->cache = *ret;
    saved.nodes = p->nodes;
    saved.lx.tokens_left = p->lx.tokens_left;
    *p = saved;
    return KS_OK;
}

/* ---- selectors that are named like a template ---- */

static bool is_name_only(const struct ks_expr_selector *s)
{
    for (size_t i = 0; i < s->or_count; i++) {
        if (s->or_lists[i].count > 1)
            return false;
    }
    return s->name.len > 0;
}

static bool same_matcher(const struct ks_matcher *a, const struct ks_matcher *b)
{
    return a->op == b->op && ks_slice_eq(a->name, b->name) && ks_slice_eq(a->value, b->value);
}

/* base's matchers, then those of extra behind its first, which is the template's name. */
static ks_err merge_list(struct ksi_parser *p, const struct ks_selector *base,
                         const struct ks_selector *extra, struct ks_selector *ret)
{
    struct ks_matcher *m = ks_arena_array(p->arena, base->count + extra->count + 1, sizeof *m);
    size_t n = base->count;
    if (!m)
        return ks_arena_err(p->arena);
    if (n)
        memcpy(m, base->matchers, n * sizeof *m);
    for (size_t i = 1; i < extra->count; i++) {
        size_t k = 0;
        while (k < n && !same_matcher(&m[k], &extra->matchers[i]))
            k++;
        if (k == n)
            m[n++] = extra->matchers[i];
    }
    *ret = (struct ks_selector){m, n};
    return KS_OK;
}

/* t's lists and the user's filters in one selector; only one of the two sides may have an `or`. */
static ks_err merge(struct ksi_parser *p, const struct ks_expr *sel, const struct ks_expr *tmpl,
                    struct ks_expr **ret)
{
    static const struct ks_selector empty = {NULL, 0};
    const struct ks_expr_selector *own = &sel->selector, *t = &tmpl->selector;
    const struct ks_selector *base = t->or_count ? t->or_lists : &empty;
    size_t base_count = t->or_count ? t->or_count : 1;
    char q[KSI_QUOTE_MAX];
    if (base_count > 1 && own->or_count > 1)
        return ksi_error(p, sel->start, "WITH template %s must not contain \"or\" here",
                         ksi_quote(q, own->name));
    size_t count = base_count > own->or_count ? base_count : own->or_count;
    struct ks_selector *lists = ks_arena_array(p->arena, count, sizeof *lists);
    if (!lists)
        return ks_arena_err(p->arena);
    for (size_t i = 0; i < count; i++) {
        KS_TRY(merge_list(p, &base[base_count > 1 ? i : 0],
                          &own->or_lists[own->or_count > 1 ? i : 0], &lists[i]));
    }
    KS_TRY(ksi_node(p, KS_EXPR_SELECTOR, sel->start, sel->end, ret));
    (*ret)->selector = (struct ks_expr_selector){lists, count, t->name};
    return KS_OK;
}

ks_err ksi_expand_selector(struct ksi_parser *p, struct ks_expr *sel, struct ks_expr **ret)
{
    *ret = sel;
    if (p->dry || !sel->selector.name.len)
        return KS_OK;
    const struct ksi_template *t = ksi_template_find(p, sel->selector.name);
    /* A function template shares its name with a metric without harm. */
    if (!t || t->param_count)
        return KS_OK;
    struct ks_expr *e, *inner;
    char q[KSI_QUOTE_MAX];
    KS_TRY(ksi_expand(p, t, NULL, 0, sel->start, sel->end, &e));
    *ret = e;
    if (is_name_only(&sel->selector))
        return KS_OK;
    inner = e->kind == KS_EXPR_ROLLUP ? e->rollup.expr : e;
    if (inner->kind != KS_EXPR_SELECTOR)
        return ksi_error(p, sel->start, "filters cannot be added to %s: it is no metric",
                         ksi_quote(q, sel->selector.name));
    KS_TRY(merge(p, sel, inner, ret));
    if (e->kind != KS_EXPR_ROLLUP)
        return KS_OK;
    struct ks_expr *rollup;
    KS_TRY(ksi_node(p, KS_EXPR_ROLLUP, sel->start, sel->end, &rollup));
    rollup->rollup = e->rollup;
    rollup->rollup.expr = *ret;
    KS_TRY(ksi_adopt(p, rollup, *ret));
    if (e->rollup.at_expr)
        KS_TRY(ksi_adopt(p, rollup, e->rollup.at_expr));
    *ret = rollup;
    return KS_OK;
}

/* ---- definition ---- */

static ks_err expected(const struct ksi_parser *p, const char *what)
{
    char q[KSI_QUOTE_MAX];
    return ksi_error(p, p->tok.start, "WITH: unexpected %s, expected %s",
                     p->tok.kind == KSI_TOK_EOF ? "end of input" : ksi_quote(q, ksi_text(p)), what);
}

static ks_err parameters(struct ksi_parser *p, struct ksi_template *t)
{
    struct ksi_list names = {0};
    char q[KSI_QUOTE_MAX];
    KS_TRY(ksi_advance(p));
    while (p->tok.kind != KSI_TOK_RPAREN) {
        struct ks_slice name;
        if (p->tok.kind != KSI_TOK_IDENT)
            return expected(p, "the name of a parameter");
        KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
        const struct ks_slice *known = names.items;
        for (size_t i = 0; i < names.count; i++) {
            if (ks_slice_eq(known[i], name))
                return ksi_error(p, p->tok.start, "duplicate parameter %s of %s",
                                 ksi_quote(q, name), "a WITH template");
        }
        KS_TRY(ksi_push(p, &names, &name, sizeof name));
        KS_TRY(ksi_advance(p));
        if (p->tok.kind == KSI_TOK_COMMA)
            KS_TRY(ksi_advance(p));
        else if (p->tok.kind != KSI_TOK_RPAREN)
            return expected(p, "\",\" or \")\"");
    }
    t->params = names.items;
    t->param_count = names.count;
    return ksi_advance(p);
}

/* name = expr or name(params) = expr; the body is read for its syntax alone. */
static ks_err definition(struct ksi_parser *p, const struct ksi_template *before)
{
    char q[KSI_QUOTE_MAX];
    struct ks_expr *ignored;
    struct ksi_template *t = ks_arena_zalloc(p->arena, sizeof *t);
    if (!t)
        return ks_arena_err(p->arena);
    if (p->tok.kind != KSI_TOK_IDENT)
        return expected(p, "a name");
    KS_TRY(ksi_unescape_ident(p, ksi_text(p), &t->name));
    for (const struct ksi_template *o = p->scope; o != before; o = o->outer) {
        if (ks_slice_eq(o->name, t->name))
            return ksi_error(p, p->tok.start, "duplicate WITH template %s", ksi_quote(q, t->name));
    }
    KS_TRY(ksi_advance(p));
    if (p->tok.kind == KSI_TOK_LPAREN)
        KS_TRY(parameters(p, t));
    if (p->tok.kind != KSI_TOK_ASSIGN)
        return expected(p, "\"=\"");
    KS_TRY(ksi_advance(p));
    t->text = p->lx.text;
    t->foreign = p->lx.foreign;
    t->body_start = p->tok.start;
    bool was_dry = p->dry;
    p->dry = true;
    KS_TRY(ksi_mql_expr(p, &ignored));
    p->dry = was_dry;
    t->body_end = p->prev_end;
    if (t->param_count == 0) {
        t->cache = ks_arena_zalloc(p->arena, sizeof *t->cache);
        if (!t->cache)
            return ks_arena_err(p->arena);
    }
    t->outer = p->scope;
    p->scope = t;
    return KS_OK;
}

ks_err ksi_mql_with(struct ksi_parser *p, struct ks_expr **ret)
{
    const struct ksi_template *before = p->scope;
    KS_TRY(ksi_enter(p));
    KS_TRY(ksi_advance(p));
    do {
        KS_TRY(ksi_advance(p));
        if (p->tok.kind == KSI_TOK_RPAREN)
            break;
        KS_TRY(definition(p, before));
    } while (p->tok.kind == KSI_TOK_COMMA);
    if (p->tok.kind != KSI_TOK_RPAREN)
        return expected(p, "\",\" or \")\"");
    KS_TRY(ksi_advance(p));
    KS_TRY(ksi_mql_expr(p, ret));
    p->scope = before;
    ksi_leave(p);
    return KS_OK;
}
