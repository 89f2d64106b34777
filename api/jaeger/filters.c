/* extra_filters and extra_stream_filters on traces: see jaeger.h for what is understood. */
#include "api/ingest/json_reader.h"
#include "api/jaeger/jaeger.h"

bool ks_trace_field_cond(struct ks_slice field, struct ks_trace_cond *ret)
{
    static const struct {
        const char *prefix;
        unsigned scope;
    } prefixes[] = {{"resource_attr:", KS_COND_RESOURCE},
                    {"span_attr:", KS_COND_SPAN},
                    {"scope_attr:", KS_COND_SCOPE}};
    static const struct {
        const char *name;
        enum ks_cond_field field;
    } fields[] = {{"name", KS_FIELD_NAME},
                  {"kind", KS_FIELD_KIND},
                  {"status_code", KS_FIELD_STATUS},
                  {"status_message", KS_FIELD_STATUS_MESSAGE},
                  {"trace_state", KS_FIELD_STATE},
                  {"scope_name", KS_FIELD_SCOPE_NAME},
                  {"scope_version", KS_FIELD_SCOPE_VERSION}};
    for (size_t i = 0; i < 3; i++)
        if (ks_slice_has_prefix(field, ks_slice_str(prefixes[i].prefix))) {
            ret->scopes = prefixes[i].scope;
            ret->key = ks_slice_from(field, strlen(prefixes[i].prefix));
            return true;
        }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (ks_slice_is(field, fields[i].name)) {
            ret->scopes = KS_COND_FIELD;
            ret->field = fields[i].field;
            return true;
        }
    return false;
}

struct parser {
    const char *p, *end, *start;
    struct ks_arena *arena;
};

static void blanks(struct parser *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(struct parser *r, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0)
        return false;
    r->p += n;
    return true;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '/' || (unsigned char)c >= 0x80;
}

/* A keyword of its own, in any case. */
static bool keyword(struct parser *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || (r->p + n < r->end && word_char(r->p[n])))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((r->p[i] | 32) != word[i])
            return false;
    r->p += n;
    return true;
}

/* "…" with backslashes, `…` and '…', or a bare word. */
static bool text(struct parser *r, struct ks_slice *ret)
{
    blanks(r);
    if (r->p == r->end)
        return false;
    char q = *r->p;
    if (q == '`') {
        const char *close = memchr(r->p + 1, '`', (size_t)(r->end - r->p - 1));
        if (!close)
            return false;
        *ret = ks_slice(r->p + 1, (size_t)(close - r->p - 1));
        r->p = close + 1;
        return true;
    }
    if (q == '"' || q == '\'') {
        char *out = ks_arena_alloc(r->arena, (size_t)(r->end - r->p) + 1);
        size_t n = 0;
        if (!out)
            return false;
        for (r->p++; r->p < r->end && *r->p != q; r->p++) {
            if (*r->p == '\\') {
                if (++r->p == r->end || (*r->p != '\\' && *r->p != q && *r->p != '"'))
                    return false; /* other escapes are not needed, and not guessed */
            }
            out[n++] = *r->p;
        }
        if (r->p == r->end)
            return false;
        r->p++;
        *ret = ks_slice(out, n);
        return true;
    }
    const char *start = r->p;
    while (r->p < r->end && word_char(*r->p))
        r->p++;
    *ret = ks_slice(start, (size_t)(r->p - start));
    return ret->len > 0;
}

static ks_err add(struct ks_trace_params *p, struct ks_slice field, struct ks_slice value,
                  bool negate)
{
    struct ks_trace_cond c = {.value = value, .negate = negate};
    if (!ks_trace_field_cond(field, &c))
        return ks_fail(KS_EINVAL,
                       "extra_filters: field \"%.*s\" cannot be filtered on; want resource_attr:…, "
                       "span_attr:…, scope_attr:…, name, kind, status_code, …",
                       KS_SLICE_ARG(field));
    if (p->q.cond_count == KS_TRACE_CONDS_MAX)
        return ks_fail(KS_EINVAL, "extra_filters: more than %d conditions", KS_TRACE_CONDS_MAX);
    p->conds[p->q.cond_count++] = c;
    return KS_OK;
}

/* field:="value" behind an optional negation; *ok false when it is something else. */
static ks_err term(struct parser *r, struct ks_trace_params *p, bool *ok)
{
    struct ks_slice field, value;
    bool negate = false;
    blanks(r);
    while (take(r, "!") || keyword(r, "not") || (r->p < r->end && *r->p == '-' && take(r, "-"))) {
        negate = !negate;
        blanks(r);
    }
    *ok = text(r, &field);
    blanks(r);
    *ok = *ok && take(r, ":");
    blanks(r);
    if (*ok && take(r, "!")) {
        negate = !negate;
        blanks(r);
    }
    if (*ok && take(r, "in(")) {
        *ok = text(r, &value);
        blanks(r);
        *ok = *ok && take(r, ")");
    } else {
        *ok = *ok && take(r, "=") && !take(r, "~") && text(r, &value);
        *ok = *ok && !(r->p < r->end && *r->p == '*');
    }
    return *ok ? add(p, field, value, negate) : KS_OK;
}

static ks_err object(struct parser *r, struct ks_trace_params *p, bool *ok)
{
    struct ks_json j = {r->p, r->end, r->arena};
    struct ks_slice name, value;
    bool first = true;
    *ok = ks_json_expect(&j, '{');
    while (*ok && !ks_json_expect(&j, '}')) {
        *ok = (first || ks_json_expect(&j, ',')) && ks_json_string(&j, &name) &&
              ks_json_expect(&j, ':') && ks_json_string(&j, &value);
        first = false;
        if (*ok)
            KS_TRY(add(p, name, value, false));
    }
    r->p = j.p;
    return KS_OK;
}

/* A label's name: bare with colons and dots as {resource_attr:service.name="x"} has it, or quoted.
 */
static bool label(struct parser *r, struct ks_slice *ret)
{
    blanks(r);
    if (r->p < r->end && (*r->p == '"' || *r->p == '`' || *r->p == '\''))
        return text(r, ret);
    const char *start = r->p;
    while (r->p < r->end && (word_char(*r->p) || *r->p == ':'))
        r->p++;
    *ret = ks_slice(start, (size_t)(r->p - start));
    return ret->len > 0;
}

/* {name="value",other!="value"} behind an optional _stream: */
static ks_err selector(struct parser *r, struct ks_trace_params *p, bool *ok)
{
    *ok = take(r, "{");
    blanks(r);
    while (*ok && !take(r, "}")) {
        struct ks_slice name, value;
        *ok = label(r, &name);
        blanks(r);
        bool negate = *ok && take(r, "!");
        *ok = *ok && take(r, "=") && !take(r, "~") && text(r, &value);
        blanks(r);
        *ok = *ok && (take(r, ",") || (r->p < r->end && *r->p == '}'));
        if (*ok && !ks_slice_is(name, "name") && !ks_slice_is(name, "resource_attr:service.name"))
            return ks_fail(KS_EINVAL,
                           "extra_stream_filters: no stream of spans has the label \"%.*s\"; want "
                           "name or resource_attr:service.name",
                           KS_SLICE_ARG(name));
        if (*ok)
            KS_TRY(add(p, name, value, negate));
        blanks(r);
    }
    return KS_OK;
}

/* {"name":"value"} is JSON, {name="value"} and {"name"="value"} are not. */
static bool is_json(const struct parser *r)
{
    const char *p = r->p + 1;
    while (p < r->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    if (p < r->end && *p == '}')
        return true;
    if (p == r->end || *p != '"')
        return false;
    for (p++; p < r->end && *p != '"'; p++)
        p += *p == '\\';
    for (p++; p < r->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'); p++)
        ;
    return p < r->end && *p == ':';
}

/* One part of a list joined by AND. */
static ks_err part(struct parser *r, struct ks_trace_params *p, bool *ok)
{
    const char *start = r->p;
    if (take(r, "_stream")) {
        blanks(r);
        if (!take(r, ":"))
            r->p = start;
        blanks(r);
    }
    if (r->p < r->end && *r->p == '{')
        return selector(r, p, ok);
    r->p = start;
    return term(r, p, ok);
}

ks_err ks_trace_filter_parse(struct ks_slice s, struct ks_arena *arena, struct ks_trace_params *p)
{
    struct parser r = {s.ptr, s.ptr + s.len, s.ptr, arena};
    bool ok = true;
    blanks(&r);
    if (r.p == r.end)
        return KS_OK;
    if (*r.p == '{' && is_json(&r)) {
        KS_TRY(object(&r, p, &ok));
    } else {
        do {
            KS_TRY(part(&r, p, &ok));
            blanks(&r);
        } while (ok && r.p < r.end && (keyword(&r, "and"), true));
    }
    blanks(&r);
    if (!ok || r.p != r.end)
        return ks_fail(KS_EINVAL,
                       "extra_filters: cannot use \"%.*s\" on traces (stopped at byte %zu); want "
                       "field:=\"value\", joined by AND",
                       KS_SLICE_ARG(s), (size_t)(r.p - r.start));
    return KS_OK;
}
