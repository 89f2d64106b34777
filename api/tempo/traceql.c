#include "api/tempo/traceql.h"

#include <stdio.h>
#include <string.h>

#include "base/cxx/re2.h"
#include "base/num.h"
#include "query/traces/summary.h"

struct parser {
    const char *start, *p, *end;
    struct ks_arena *arena;
    struct ks_traceql *q;
};

static ks_err fail(const struct parser *r, const char *want)
{
    return ks_fail(KS_EPARSE, "invalid TraceQL query: at byte %zu: want %s",
                   (size_t)(r->p - r->start), want);
}

static void blanks(struct parser *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(struct parser *r, const char *text)
{
    size_t n = strlen(text);
    blanks(r);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0)
        return false;
    r->p += n;
    return true;
}

/* --- operands --- */
static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '/' || c == ':' || c == '@' || (unsigned char)c >= 0x80;
}

/* "…" with backslashes or `…`. */
static ks_err quoted(struct parser *r, struct ks_slice *ret)
{
    char q = *r->p++;
    char *out = ks_arena_alloc(r->arena, (size_t)(r->end - r->p) + 1);
    size_t n = 0;
    if (!out)
        return ks_arena_err(r->arena);
    for (; r->p < r->end && *r->p != q; r->p++) {
        char c = *r->p;
        if (c == '\\' && q == '"') {
            if (++r->p == r->end)
                break;
            c = *r->p == 'n' ? '\n' : *r->p == 't' ? '\t' : *r->p;
            /* Of an expression's own escapes the backslash stays. */
            if (c == *r->p && c != '\\' && c != '"')
                out[n++] = '\\';
        }
        out[n++] = c;
    }
    if (r->p == r->end)
        return fail(r, "the end of a quoted text");
    r->p++;
    *ret = ks_slice(out, n);
    return KS_OK;
}

static struct ks_slice word(struct parser *r)
{
    const char *start = r->p;
    while (r->p < r->end && name_char(*r->p))
        r->p++;
    return ks_slice(start, (size_t)(r->p - start));
}

static const struct {
    const char *name;
    enum ks_tq_field field;
} intrinsics[] = {{"name", KS_TQ_NAME},
                  {"span:name", KS_TQ_NAME},
                  {"status", KS_TQ_STATUS},
                  {"span:status", KS_TQ_STATUS},
                  {"statusMessage", KS_TQ_STATUS_MESSAGE},
                  {"span:statusMessage", KS_TQ_STATUS_MESSAGE},
                  {"kind", KS_TQ_KIND},
                  {"span:kind", KS_TQ_KIND},
                  {"duration", KS_TQ_DURATION},
                  {"span:duration", KS_TQ_DURATION},
                  {"traceDuration", KS_TQ_TRACE_DURATION},
                  {"trace:duration", KS_TQ_TRACE_DURATION},
                  {"rootName", KS_TQ_ROOT_NAME},
                  {"trace:rootName", KS_TQ_ROOT_NAME},
                  {"rootServiceName", KS_TQ_ROOT_SERVICE},
                  {"trace:rootService", KS_TQ_ROOT_SERVICE},
                  {"trace:id", KS_TQ_TRACE_ID},
                  {"span:id", KS_TQ_SPAN_ID},
                  {"instrumentation:name", KS_TQ_SCOPE_NAME},
                  {"instrumentation:version", KS_TQ_SCOPE_VERSION}};

static const struct {
    const char *prefix;
    unsigned scopes;
} scopes[] = {{"span.", KS_COND_SPAN},   {"resource.", KS_COND_RESOURCE},
              {"event.", KS_COND_EVENT}, {"link.", KS_COND_LINK},
              {".", KS_COND_ANY},        {"instrumentation.", KS_COND_SCOPE}};

static ks_err field(struct parser *r, struct ks_tq_cmp *c)
{
    const char *at = r->p;
    struct ks_slice w = word(r);
    for (size_t i = 0; i < sizeof intrinsics / sizeof *intrinsics; i++)
        if (ks_slice_is(w, intrinsics[i].name)) {
            c->field = intrinsics[i].field;
            return KS_OK;
        }
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        size_t n = strlen(scopes[i].prefix);
        if (w.len < n || memcmp(w.ptr, scopes[i].prefix, n) != 0)
            continue;
        c->field = KS_TQ_ATTR;
        c->scopes = scopes[i].scopes;
        c->key = ks_slice_from(w, n);
        if (!c->key.len && r->p < r->end && *r->p == '"')
            KS_TRY(quoted(r, &c->key));
        if (c->key.len)
            return KS_OK;
    }
    r->p = at;
    return w.len ? ks_fail(KS_EUNSUPPORTED,
                           "TraceQL: \"%.*s\" is not supported; want .attribute, span.…, "
                           "resource.…, event.…, link.… or an intrinsic of spans",
                           KS_SLICE_ARG(w))
                 : fail(r, "a field");
}

/* status and kind by name, true, false, nil, numbers, durations. */
static ks_err bare_value(struct parser *r, struct ks_tq_cmp *c)
{
    static const char *const statuses[] = {"unset", "ok", "error"};
    bool minus = take(r, "-");
    struct ks_slice w = word(r);
    int64_t ns;
    double v;
    c->type = KS_TQ_NUMBER;
    for (uint32_t i = 0; i < 3 && c->field == KS_TQ_STATUS; i++)
        if (ks_slice_is(w, statuses[i])) {
            c->number = i;
            return KS_OK;
        }
    for (uint32_t i = 0; i < 6 && c->field == KS_TQ_KIND; i++)
        if (ks_slice_is(w, i ? ks_span_kind_name(i) : "unspecified")) {
            c->number = i;
            return KS_OK;
        }
    if (ks_slice_is(w, "true") || ks_slice_is(w, "false")) {
        c->type = KS_TQ_BOOL;
        c->number = ks_slice_is(w, "true");
        return KS_OK;
    }
    if (ks_slice_is(w, "nil")) {
        c->type = KS_TQ_NIL;
        return c->op <= KS_TQ_NE ? KS_OK : fail(r, "= or != with nil");
    }
    if (w.len && ks_f64_parse(w, &v))
        c->number = minus ? -v : v;
    else if (w.len && w.ptr[0] >= '0' && w.ptr[0] <= '9' && ks_go_duration_ns(w, &ns))
        c->number = (double)(minus ? -ns : ns);
    else
        return fail(r, "a value: a quoted text, a number, a duration, true, false, nil, or the "
                       "name of a status or kind");
    return KS_OK;
}

static ks_err comparison(struct parser *r, struct ks_tq_cmp *c)
{
    static const struct {
        const char *text;
        enum ks_tq_op op;
    } ops[] = {{"=~", KS_TQ_RE}, {"!~", KS_TQ_NRE}, {"!=", KS_TQ_NE}, {">=", KS_TQ_GE},
               {"<=", KS_TQ_LE}, {"=", KS_TQ_EQ},   {">", KS_TQ_GT},  {"<", KS_TQ_LT}};
    size_t i = 0, n = sizeof ops / sizeof *ops;
    char why[160];
    KS_TRY(field(r, c));
    while (i < n && !take(r, ops[i].text))
        i++;
    if (i == n) { /* an attribute that is true */
        c->op = KS_TQ_EQ;
        c->type = KS_TQ_BOOL;
        c->number = 1;
        return KS_OK;
    }
    c->op = ops[i].op;
    blanks(r);
    if (r->p < r->end && (*r->p == '"' || *r->p == '`')) {
        KS_TRY(quoted(r, &c->text));
        c->type = KS_TQ_TEXT;
    } else {
        KS_TRY(bare_value(r, c));
    }
    if (c->op < KS_TQ_RE)
        return KS_OK;
    if (c->type != KS_TQ_TEXT)
        return fail(r, "a quoted expression behind =~ and !~");
    c->re = ks_re_new(c->text.ptr, c->text.len, KS_RE_DOT_NL, why, sizeof why);
    return c->re ? KS_OK : ks_fail(KS_EPARSE, "TraceQL: bad regular expression: %s", why);
}

/* --- expressions: an operator stack, so that depth costs no recursion --- */
static ks_err emit(struct parser *r, enum ks_tq_kind kind, size_t at)
{
    struct ks_traceql *q = r->q;
    if (q->item_count == KS_TQ_ITEMS_MAX)
        return ks_fail(KS_ELIMIT, "TraceQL: the query is too long");
    q->items[q->item_count++] = (struct ks_tq_item){kind, (unsigned)at};
    return KS_OK;
}

struct ops {
    char stack[KS_TQ_ITEMS_MAX]; /* & | ! ( */
    size_t count;
};

/* What binds at least as tightly as op comes first. */
static ks_err reduce(struct parser *r, struct ops *o, char op)
{
    static const char order[] = "(|&!";
    while (o->count) {
        char top = o->stack[o->count - 1];
        if (top == '(' || strchr(order, top) < strchr(order, op))
            break;
        o->count--;
        KS_TRY(emit(r, top == '&' ? KS_TQ_AND : top == '|' ? KS_TQ_OR : KS_TQ_NOT, 0));
    }
    return KS_OK;
}

static ks_err push(struct ops *o, char op)
{
    if (o->count == sizeof o->stack)
        return ks_fail(KS_ELIMIT, "TraceQL: the query is nested too deeply");
    o->stack[o->count++] = op;
    return KS_OK;
}

static ks_err operand(struct parser *r, struct ops *o)
{
    struct ks_traceql *q = r->q;
    blanks(r);
    while (r->p < r->end && (*r->p == '!' || *r->p == '(')) {
        KS_TRY(push(o, *r->p++));
        blanks(r);
    }
    if (q->cmp_count == KS_TQ_CMPS_MAX)
        return ks_fail(KS_ELIMIT, "TraceQL: more than %d comparisons", KS_TQ_CMPS_MAX);
    if (take(r, "true"))
        return emit(r, KS_TQ_TRUE, 0);
    struct ks_tq_cmp *c = &q->cmps[q->cmp_count++];
    *c = (struct ks_tq_cmp){0};
    KS_TRY(comparison(r, c));
    return emit(r, KS_TQ_CMP, q->cmp_count - 1);
}

/* Behind an opening brace, to the closing one. */
static ks_err spanset(struct parser *r)
{
    struct ks_traceql *q = r->q;
    struct ops o = {.count = 0};
    if (q->set_count == KS_TQ_SETS_MAX)
        return ks_fail(KS_ELIMIT, "TraceQL: more than %d spansets", KS_TQ_SETS_MAX);
    q->sets[q->set_count].first = q->item_count;
    if (take(r, "}")) {
        KS_TRY(emit(r, KS_TQ_TRUE, 0));
    } else {
        for (;;) {
            KS_TRY(operand(r, &o));
            while (take(r, ")")) {
                KS_TRY(reduce(r, &o, '|'));
                if (!o.count)
                    return fail(r, "no closing parenthesis here");
                o.count--;
            }
            char op = take(r, "&&") ? '&' : take(r, "||") ? '|' : 0;
            KS_TRY(reduce(r, &o, op ? op : '|'));
            if (!op)
                break;
            KS_TRY(push(&o, op));
        }
        if (o.count)
            return fail(r, "a closing parenthesis");
        if (!take(r, "}"))
            return fail(r, "&&, || or }");
    }
    q->sets[q->set_count].count = q->item_count - q->sets[q->set_count].first;
    q->set_count++;
    return KS_OK;
}

/* | select(…), with(…): what they ask for is not needed for the answer. */
static ks_err hints(struct parser *r)
{
    for (;;) {
        bool pipe = take(r, "|");
        blanks(r);
        if (!pipe && r->p == r->end)
            return KS_OK;
        if (take(r, pipe ? "select" : "with")) {
            const char *close = memchr(r->p, ')', (size_t)(r->end - r->p));
            if (!take(r, "(") || !close)
                return fail(r, "(…)");
            r->p = close + 1;
            continue;
        }
        return ks_fail(KS_EUNSUPPORTED,
                       "TraceQL: \"%.*s\" is not supported: only spanset filters joined by && and "
                       "|| are",
                       (int)(r->end - r->p < 40 ? r->end - r->p : 40), r->p);
    }
}

static ks_err parse(struct parser *r)
{
    struct ks_traceql *q = r->q;
    size_t pending_or = 0;
    bool pending_and = false;
    blanks(r);
    if (r->p == r->end) {
        q->sets[0].count = 1;
        q->set_count = 1;
        q->top[q->top_count++] = (struct ks_tq_item){KS_TQ_SET, 0};
        return emit(r, KS_TQ_TRUE, 0);
    }
    for (;;) {
        if (!take(r, "{"))
            return fail(r, "{");
        KS_TRY(spanset(r));
        q->top[q->top_count++] = (struct ks_tq_item){KS_TQ_SET, (unsigned)q->set_count - 1};
        if (pending_and)
            q->top[q->top_count++] = (struct ks_tq_item){KS_TQ_AND, 0};
        pending_and = take(r, "&&");
        if (pending_and)
            continue;
        if (!take(r, "||"))
            break;
        pending_or++;
    }
    while (pending_or--)
        q->top[q->top_count++] = (struct ks_tq_item){KS_TQ_OR, 0};
    return hints(r);
}

ks_err ks_traceql_parse(struct ks_slice text, struct ks_arena *arena, struct ks_traceql *ret)
{
    struct parser r = {text.ptr, text.ptr, text.ptr + text.len, arena, ret};
    memset(ret, 0, sizeof *ret);
    ks_err err = parse(&r);
    if (err != KS_OK)
        ks_traceql_done(ret);
    return err;
}

void ks_traceql_done(struct ks_traceql *q)
{
    for (size_t i = 0; i < q->cmp_count; i++) {
        ks_re_free(q->cmps[i].re);
        q->cmps[i].re = NULL;
    }
}

/* --- what the ring finds by itself --- */
/* A comparison all matching spans fulfil; true: nothing of it is left to check. */
static bool hint(const struct ks_tq_cmp *c, struct ks_trace_params *p)
{
    struct ks_trace_cond cond = {.scopes = KS_COND_FIELD, .value = c->text};
    if (c->field == KS_TQ_DURATION && c->type == KS_TQ_NUMBER && c->number >= 0 &&
        c->number < 9e18) {
        if (c->op == KS_TQ_GE || c->op == KS_TQ_GT)
            p->q.min_duration_ns = (uint64_t)c->number;
        return false;
    }
    if (c->op != KS_TQ_EQ || c->type != KS_TQ_TEXT || p->q.cond_count == KS_TRACE_CONDS_MAX)
        return false;
    bool exact = true;
    if (c->field == KS_TQ_ATTR && c->scopes == KS_COND_RESOURCE && !p->q.service.len &&
        c->text.len && ks_slice_is(c->key, "service.name")) {
        p->q.service = c->text;
        return true;
    }
    if (c->field == KS_TQ_ATTR) {
        cond.scopes = c->scopes;
        cond.key = c->key;
        exact = false; /* the ring compares texts: a number reads as "7" too */
    } else if (c->field == KS_TQ_NAME) {
        cond.field = KS_FIELD_NAME;
    } else {
        return false;
    }
    p->conds[p->q.cond_count++] = cond;
    return exact;
}

ks_err ks_traceql_hints(const struct ks_traceql *q, struct ks_trace_params *p, bool *ret_exact)
{
    *ret_exact = q->set_count == 1 && q->sets[0].count == 1 && q->items[0].kind == KS_TQ_TRUE;
    if (q->set_count != 1)
        return KS_OK;
    for (size_t i = 0; i < q->item_count; i++)
        if (q->items[i].kind != KS_TQ_CMP && q->items[i].kind != KS_TQ_AND)
            return KS_OK;
    bool exact = true;
    for (size_t i = 0; i < q->cmp_count; i++)
        exact &= hint(&q->cmps[i], p);
    *ret_exact |= q->cmp_count && exact;
    return KS_OK;
}

/* --- matching --- */
struct value {
    bool there;
    enum ks_tq_type type;
    struct ks_slice text;
    double number;
};

static struct value text_value(struct ks_slice s)
{
    return (struct value){true, KS_TQ_TEXT, s, 0};
}
static struct value number_value(double v)
{
    return (struct value){true, KS_TQ_NUMBER, {"", 0}, v};
}

static bool attr_of(const struct ks_attrs *attrs, struct ks_slice key, struct value *ret)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        if (!ks_slice_eq(a->key, key))
            continue;
        if (a->type == KS_ATTR_STRING)
            *ret = text_value(a->text);
        else if (a->type == KS_ATTR_INT)
            *ret = number_value((double)a->number);
        else if (a->type == KS_ATTR_DOUBLE)
            *ret = number_value(a->real);
        else if (a->type == KS_ATTR_BOOL)
            *ret = (struct value){true, KS_TQ_BOOL, {"", 0}, a->number != 0};
        else
            *ret = (struct value){true, KS_TQ_NIL, {"", 0}, 0};
        return true;
    }
    return false;
}

static bool compare(const struct ks_tq_cmp *c, const struct value *v)
{
    int d;
    if (c->type == KS_TQ_NIL)
        return v->there == (c->op == KS_TQ_NE);
    if (!v->there)
        return false;
    if (c->re) {
        bool hit = v->type == KS_TQ_TEXT &&
                   ks_re_full_match(c->re, v->text.ptr ? v->text.ptr : "", v->text.len) == 1;
        return v->type == KS_TQ_TEXT && hit == (c->op == KS_TQ_RE);
    }
    if (v->type != c->type)
        return false;
    if (c->type == KS_TQ_TEXT)
        d = ks_slice_cmp(v->text, c->text);
    else
        d = (v->number > c->number) - (v->number < c->number);
    switch (c->op) {
    case KS_TQ_EQ:
        return d == 0;
    case KS_TQ_NE:
        return d != 0;
    case KS_TQ_GT:
        return d > 0;
    case KS_TQ_GE:
        return d >= 0;
    case KS_TQ_LT:
        return d < 0;
    default:
        return d <= 0;
    }
}

/* Events and links are many: one that fits is enough. */
static bool any_part(const struct ks_tq_cmp *c, const struct ks_span *s)
{
    struct value v;
    for (uint32_t i = 0; (c->scopes & KS_COND_EVENT) && i < s->event_count; i++)
        if (attr_of(&s->events[i].attrs, c->key, &v) && compare(c, &v))
            return true;
    for (uint32_t i = 0; (c->scopes & KS_COND_LINK) && i < s->link_count; i++)
        if (attr_of(&s->links[i].attrs, c->key, &v) && compare(c, &v))
            return true;
    return false;
}

static bool attr_fits(const struct ks_tq_cmp *c, const struct ks_span *s)
{
    struct value v = {0};
    bool found = ((c->scopes & KS_COND_SPAN) && attr_of(&s->attrs, c->key, &v)) ||
                 ((c->scopes & KS_COND_RESOURCE) && attr_of(&s->resource->attrs, c->key, &v)) ||
                 ((c->scopes & KS_COND_SCOPE) && attr_of(&s->scope->attrs, c->key, &v));
    if (found || !(c->scopes & (KS_COND_EVENT | KS_COND_LINK)))
        return compare(c, &v);
    if (c->type != KS_TQ_NIL)
        return any_part(c, s);
    struct ks_tq_cmp there = *c;
    there.op = KS_TQ_NE;
    return any_part(&there, s) == (c->op == KS_TQ_NE);
}

static bool cmp_fits(const struct ks_tq_cmp *c, const struct ks_span *s,
                     const struct ks_trace_summary *m)
{
    char id[33];
    struct value v = {0};
    switch (c->field) {
    case KS_TQ_ATTR:
        return attr_fits(c, s);
    case KS_TQ_NAME:
        v = text_value(s->name);
        break;
    case KS_TQ_STATUS:
        v = number_value(s->status);
        break;
    case KS_TQ_STATUS_MESSAGE:
        v = text_value(s->status_message);
        break;
    case KS_TQ_KIND:
        v = number_value(s->kind);
        break;
    case KS_TQ_DURATION:
        v = number_value((double)ks_span_duration_ns(s));
        break;
    case KS_TQ_TRACE_DURATION:
        v = number_value((double)(m->max_end_ns - m->min_start_ns));
        break;
    case KS_TQ_ROOT_NAME:
        if (m->root)
            v = text_value(m->root->name);
        break;
    case KS_TQ_ROOT_SERVICE:
        if (m->root)
            v = text_value(m->root->resource->service);
        break;
    case KS_TQ_TRACE_ID:
        snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)s->trace_id.hi,
                 (unsigned long long)s->trace_id.lo);
        v = text_value(ks_slice(id, 32));
        break;
    case KS_TQ_SPAN_ID:
        snprintf(id, sizeof id, "%016llx", (unsigned long long)s->span_id);
        v = text_value(ks_slice(id, 16));
        break;
    case KS_TQ_SCOPE_NAME:
        v = text_value(s->scope->name);
        break;
    case KS_TQ_SCOPE_VERSION:
        v = text_value(s->scope->version);
        break;
    }
    return compare(c, &v);
}

static bool span_fits(const struct ks_traceql *q, size_t set, const struct ks_span *s,
                      const struct ks_trace_summary *m)
{
    bool stack[KS_TQ_ITEMS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < q->sets[set].count; i++) {
        const struct ks_tq_item *it = &q->items[q->sets[set].first + i];
        if (it->kind == KS_TQ_CMP) {
            stack[n++] = cmp_fits(&q->cmps[it->at], s, m);
        } else if (it->kind == KS_TQ_TRUE) {
            stack[n++] = true;
        } else if (it->kind == KS_TQ_NOT) {
            stack[n - 1] = !stack[n - 1];
        } else {
            n--;
            stack[n - 1] =
                it->kind == KS_TQ_AND ? stack[n - 1] && stack[n] : stack[n - 1] || stack[n];
        }
    }
    return stack[0];
}

bool ks_traceql_matches(const struct ks_traceql *q, const struct ks_span *spans, size_t count,
                        const struct ks_trace_summary *m, bool *matched)
{
    bool stack[2 * KS_TQ_SETS_MAX];
    size_t n = 0;
    memset(matched, 0, count * sizeof *matched);
    for (size_t i = 0; i < q->top_count; i++) {
        if (q->top[i].kind == KS_TQ_SET) {
            bool any = false;
            for (size_t k = 0; k < count; k++)
                if (span_fits(q, q->top[i].at, &spans[k], m))
                    any = matched[k] = true;
            stack[n++] = any;
        } else {
            n--;
            stack[n - 1] =
                q->top[i].kind == KS_TQ_AND ? stack[n - 1] && stack[n] : stack[n - 1] || stack[n];
        }
    }
    return stack[0];
}
