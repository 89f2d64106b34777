/*
 * MetricsQL selectors: name{a="b", c!~"d" or e="f"}, {"quoted name", "label"="v"}, with filter
 * templates ({common, a="b"}). Every list of an `or` without a metric name gets the one the others
 * agree on. Thread role: any.
 */
#include "base/labels.h"
#include "query/promql/syntax/parser_priv.h"

/* The list being read and those already read. */
struct builder {
    struct ksi_list matchers; /* struct ks_matcher */
    struct ksi_list lists;    /* struct ks_selector */
    struct ks_slice name;     /* of the current list */
    struct ks_slice common;   /* the name all named lists agree on so far */
    bool disagree;
};

static ks_err expected(const struct ksi_parser *p, const char *what)
{
    char q[KSI_QUOTE_MAX];
    return ksi_error(p, p->tok.start, "unexpected %s in label filters, expected %s",
                     p->tok.kind == KSI_TOK_EOF ? "end of input" : ksi_quote(q, ksi_text(p)), what);
}

static ks_err add_matcher(struct ksi_parser *p, struct builder *b, const struct ks_matcher *m)
{
    const struct ks_matcher *known = b->matchers.items;
    for (size_t i = 0; i < b->matchers.count; i++) {
        if (known[i].op == m->op && ks_slice_eq(known[i].name, m->name) &&
            ks_slice_eq(known[i].value, m->value))
            return KS_OK;
    }
    return ksi_push(p, &b->matchers, m, sizeof *m);
}

/* The matcher of the metric name goes first. */
static ks_err set_name(struct ksi_parser *p, struct builder *b, struct ks_slice name, uint32_t pos)
{
    char q1[KSI_QUOTE_MAX], q2[KSI_QUOTE_MAX];
    if (b->name.len) {
        if (ks_slice_eq(b->name, name))
            return KS_OK;
        return ksi_error(p, pos, "metric name must not be set twice: %s or %s",
                         ksi_quote(q1, b->name), ksi_quote(q2, name));
    }
    struct ks_matcher m = {KS_NAME_LABEL, name, KS_MATCH_EQ};
    KS_TRY(ksi_push(p, &b->matchers, &m, sizeof m));
    struct ks_matcher *items = b->matchers.items;
    memmove(items + 1, items, (b->matchers.count - 1) * sizeof m);
    items[0] = m;
    b->name = name;
    return KS_OK;
}

static ks_err finish_list(struct ksi_parser *p, struct builder *b)
{
    struct ks_selector list = {b->matchers.items, b->matchers.count};
    KS_TRY(ksi_push(p, &b->lists, &list, sizeof list));
    if (b->name.len) {
        if (b->common.len && !ks_slice_eq(b->common, b->name))
            b->disagree = true;
        b->common = b->name;
    }
    b->matchers = (struct ksi_list){0};
    b->name = (struct ks_slice){0};
    return KS_OK;
}

/* {template}: its matchers, which must be a plain {…} without a name. */
static ks_err add_template(struct ksi_parser *p, struct builder *b, struct ks_slice name,
                           uint32_t pos)
{
    char q[KSI_QUOTE_MAX];
    struct ks_expr *e;
    if (p->dry)
        return KS_OK;
    const struct ksi_template *t = ksi_template_find(p, name);
    if (!t)
        return ksi_error(p, pos, "cannot find WITH template for %s", ksi_quote(q, name));
    KS_TRY(ksi_expand(p, t, NULL, 0, pos, p->prev_end, &e));
    if (e->kind != KS_EXPR_SELECTOR || e->selector.name.len || e->selector.or_count > 1)
        return ksi_error(p, pos, "WITH template %s must be {...} without a name and without \"or\"",
                         ksi_quote(q, name));
    for (size_t i = 0; e->selector.or_count && i < e->selector.or_lists[0].count; i++)
        KS_TRY(add_matcher(p, b, &e->selector.or_lists[0].matchers[i]));
    return KS_OK;
}

/* The name in front of an operator, or alone: a quoted metric name or a template. */
static ks_err filter_name(struct ksi_parser *p, bool *ret_quoted, struct ks_slice *ret)
{
    struct ks_slice text = ksi_text(p);
    *ret_quoted = p->tok.kind == KSI_TOK_STRING;
    if (*ret_quoted) {
        /* Inside quotes both kinds of escapes are met: \" as in strings and \- as in identifiers.
         */
        if (ksi_unquote(p, text, p->tok.start, ret) != KS_OK)
            KS_TRY(ksi_unescape_ident(p, ks_slice(text.ptr + 1, text.len - 2), ret));
        return ksi_advance(p);
    }
    if (p->tok.kind != KSI_TOK_IDENT)
        return expected(p, "a label name");
    KS_TRY(ksi_unescape_ident(p, text, ret));
    return ksi_advance(p);
}

static ks_err filter(struct ksi_parser *p, struct builder *b)
{
    struct ks_slice name;
    bool quoted;
    uint32_t pos = p->tok.start;
    struct ks_matcher m;
    KS_TRY(filter_name(p, &quoted, &name));
    switch (p->tok.kind) {
    case KSI_TOK_ASSIGN:
        m.op = KS_MATCH_EQ;
        break;
    case KSI_TOK_NE:
        m.op = KS_MATCH_NEQ;
        break;
    case KSI_TOK_RE:
        m.op = KS_MATCH_RE;
        break;
    case KSI_TOK_NRE:
        m.op = KS_MATCH_NRE;
        break;
    default:
        if (p->tok.kind != KSI_TOK_COMMA && p->tok.kind != KSI_TOK_RBRACE && !ksi_at_word(p, "or"))
            return expected(p, "\"=\", \"!=\", \"=~\", \"!~\", \",\", \"or\" or \"}\"");
        if (!quoted || ksi_template_find(p, name))
            return add_template(p, b, name, pos);
        return set_name(p, b, name, pos);
    }
    KS_TRY(ksi_advance(p));
    m.name = name;
    KS_TRY(ksi_mql_string(p, &m.value));
    if (!p->dry)
        KS_TRY(ksi_check_matcher(p, &m, pos));
    /* VictoriaMetrics reads !~".*" as "has no such label", where the letter of the expression would
     * match nothing at all. */
    if (m.op == KS_MATCH_NRE && ks_slice_is(m.value, ".*") && !p->opts->no_fold)
        m.value = KS_SLICE_LIT(".+");
    if (m.op == KS_MATCH_EQ && ks_slice_eq(name, KS_NAME_LABEL) && m.value.len)
        return set_name(p, b, m.value, pos);
    return add_matcher(p, b, &m);
}

/* Filters up to "or" or the brace. */
static ks_err filter_list(struct ksi_parser *p, struct builder *b)
{
    for (;;) {
        KS_TRY(filter(p, b));
        if (p->tok.kind == KSI_TOK_COMMA) {
            KS_TRY(ksi_advance(p));
            if (p->tok.kind == KSI_TOK_RBRACE)
                return KS_OK;
        } else if (p->tok.kind == KSI_TOK_RBRACE || ksi_at_word(p, "or")) {
            return KS_OK;
        } else {
            return expected(p, "\",\", \"or\" or \"}\"");
        }
    }
}

static ks_err braces(struct ksi_parser *p, struct builder *b, struct ks_slice name,
                     uint32_t name_pos)
{
    KS_TRY(ksi_advance(p));
    if (p->tok.kind == KSI_TOK_RBRACE) {
        if (name.len) {
            KS_TRY(set_name(p, b, name, name_pos));
            KS_TRY(finish_list(p, b));
        }
        return ksi_advance(p);
    }
    for (;;) {
        if (name.len)
            KS_TRY(set_name(p, b, name, name_pos));
        KS_TRY(filter_list(p, b));
        KS_TRY(finish_list(p, b));
        bool last = p->tok.kind == KSI_TOK_RBRACE;
        KS_TRY(ksi_advance(p));
        if (last)
            return KS_OK;
    }
}

static bool mentions_name(const struct ks_selector *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (ks_slice_eq(s->matchers[i].name, KS_NAME_LABEL))
            return true;
    }
    return false;
}

static bool begins_with_name(const struct ks_selector *s, struct ks_slice name)
{
    return s->count && s->matchers[0].op == KS_MATCH_EQ &&
           ks_slice_eq(s->matchers[0].name, KS_NAME_LABEL) &&
           ks_slice_eq(s->matchers[0].value, name);
}

/* Gives lists without any filter on the name the common one; the selector's name when all lists
 * have it then. */
static ks_err spread_name(struct ksi_parser *p, struct builder *b, struct ks_slice *ret)
{
    struct ks_selector *lists = b->lists.items;
    bool all = true;
    *ret = (struct ks_slice){0};
    if (!b->common.len || b->disagree)
        return KS_OK;
    for (size_t i = 0; i < b->lists.count; i++) {
        if (!mentions_name(&lists[i])) {
            struct ks_matcher *m = ks_arena_array(p->arena, lists[i].count + 1, sizeof *m);
            if (!m)
                return ks_arena_err(p->arena);
            m[0] = (struct ks_matcher){KS_NAME_LABEL, b->common, KS_MATCH_EQ};
            if (lists[i].count)
                memcpy(m + 1, lists[i].matchers, lists[i].count * sizeof *m);
            lists[i] = (struct ks_selector){m, lists[i].count + 1};
        }
        all &= begins_with_name(&lists[i], b->common);
    }
    if (all)
        *ret = b->common;
    return KS_OK;
}

ks_err ksi_mql_selector(struct ksi_parser *p, struct ks_expr **ret)
{
    struct builder b = {0};
    struct ks_slice name = {0};
    struct ks_expr *e;
    uint32_t start = p->tok.start;
    if (p->tok.kind == KSI_TOK_IDENT) {
        KS_TRY(ksi_unescape_ident(p, ksi_text(p), &name));
        KS_TRY(ksi_advance(p));
    }
    if (p->tok.kind == KSI_TOK_LBRACE) {
        KS_TRY(braces(p, &b, name, start));
    } else {
        KS_TRY(set_name(p, &b, name, start));
        KS_TRY(finish_list(p, &b));
    }
    KS_TRY(spread_name(p, &b, &name));
    KS_TRY(ksi_node(p, KS_EXPR_SELECTOR, start, p->prev_end, &e));
    e->selector = (struct ks_expr_selector){b.lists.items, b.lists.count, name};
    e->type = KS_TYPE_VECTOR;
    return ksi_expand_selector(p, e, ret);
}
