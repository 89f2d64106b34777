/*
 * What every matching value is known to contain. A hint that is missing costs time; one that is
 * wrong loses rows: when in doubt there is none.
 */
#include "query/logsql/filter/match_priv.h"

#include "base/buf.h"
#include "query/logsql/filter/value.h"

static bool token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

struct hints {
    struct ks_arena *arena;
    struct ks_slice *tokens;
    size_t count, cap;
    struct ks_slice literal, *literals; /* the longest; all of two bytes and more */
    size_t literal_count, literal_cap;
    const struct ks_slice *any; /* one of these, each of two bytes and more */
    size_t any_count;
};
enum { ANY_MAX = 32 };

/* Tokens of a text that stands whole in the value. open_left: a word may go on before it. */
static ks_err add_text(struct hints *h, struct ks_slice s, bool open_left, bool open_right)
{
    if (s.len > h->literal.len)
        h->literal = s;
    if (s.len > 1) {
        if (h->literal_count == h->literal_cap)
            KS_TRY(ks_arena_grow(h->arena, (void **)&h->literals, &h->literal_cap,
                                 h->literal_count + 1, sizeof *h->literals));
        h->literals[h->literal_count++] = s;
    }
    for (size_t i = 0; i < s.len;) {
        size_t from = i;
        while (i < s.len && token_char(s.ptr[i]))
            i++;
        bool cut = (open_left && from == 0) || (open_right && i == s.len);
        if (i > from && !cut) {
            if (h->count == h->cap)
                KS_TRY(ks_arena_grow(h->arena, (void **)&h->tokens, &h->cap, h->count + 1,
                                     sizeof *h->tokens));
            h->tokens[h->count++] = ks_slice_sub(s, from, i - from);
        }
        while (i < s.len && !token_char(s.ptr[i]))
            i++;
    }
    return KS_OK;
}

/* --- regexps --- */

struct scan {
    struct hints *h;
    char *run;
    size_t len;
};

static ks_err end_run(struct scan *s)
{
    struct ks_slice r = ks_slice(s->run, s->len);
    if (s->len) {
        r = ks_arena_dup(s->h->arena, r);
        if (!r.ptr)
            return ks_arena_err(s->h->arena);
        KS_TRY(add_text(s->h, r, true, true));
    }
    s->len = 0;
    return KS_OK;
}

/* Behind the class that begins at re[i] (`[`); re.len when it does not end. */
static size_t skip_class(struct ks_slice re, size_t i)
{
    i++;
    if (i < re.len && re.ptr[i] == '^')
        i++;
    if (i < re.len && re.ptr[i] == ']')
        i++;
    while (i < re.len && re.ptr[i] != ']') {
        if (re.ptr[i] == '\\')
            i++;
        else if (re.ptr[i] == '[' && i + 1 < re.len && re.ptr[i + 1] == ':')
            return re.len; /* [[:alpha:]]: not worth the trouble */
        i++;
    }
    return i < re.len ? i + 1 : re.len;
}

/* A regexp of letters, digits and blanks: it matches where a substring would. */
static bool is_plain(struct ks_slice re)
{
    for (size_t i = 0; i < re.len; i++)
        if (!token_char(re.ptr[i]) && re.ptr[i] != ' ')
            return false;
    return re.len > 0;
}

/* Forms the walks below do not know: flags, names, \Q…\E, [[:alpha:]]. */
static bool is_odd(struct ks_slice re)
{
    for (size_t i = 0; i + 1 < re.len; i++) {
        if (re.ptr[i] == '\\' && re.ptr[i + 1] == 'Q')
            return true;
        if (re.ptr[i] == '[' && re.ptr[i + 1] == ':')
            return true;
        if (re.ptr[i] == '(' && re.ptr[i + 1] == '?' && (i + 2 >= re.len || re.ptr[i + 2] != ':'))
            return true;
    }
    return false;
}

/* Runs of plain characters outside of groups, that no quantifier makes optional. No | outside of
 * groups. */
static ks_err regexp_hints(struct hints *h, struct ks_slice re)
{
    struct scan s = {h, ks_arena_alloc(h->arena, re.len), 0};
    size_t depth = 0;
    if (!s.run)
        return ks_arena_err(h->arena);
    for (size_t i = 0; i < re.len;) {
        char c = re.ptr[i];
        if (c == '[') {
            KS_TRY(end_run(&s));
            i = skip_class(re, i);
            continue;
        }
        if (c == '(' || c == ')') {
            KS_TRY(end_run(&s));
            depth += c == '(' ? 1 : (size_t)-1;
        } else if (c == '?' || c == '*' || c == '{') {
            if (s.len) /* the last character may be absent */
                while (--s.len && ((unsigned char)s.run[s.len] & 0xc0) == 0x80)
                    ;
            KS_TRY(end_run(&s));
            while (c == '{' && i < re.len && re.ptr[i] != '}')
                i++;
        } else if (c == '\\') {
            if (++i >= re.len || token_char(re.ptr[i]) || depth)
                KS_TRY(end_run(&s));
            else
                s.run[s.len++] = re.ptr[i];
            if (i < re.len && (re.ptr[i] == 'x' || re.ptr[i] == 'p' || re.ptr[i] == 'P' ||
                               (re.ptr[i] >= '0' && re.ptr[i] <= '9'))) {
                s.len = 0;
                return KS_OK; /* forms with arguments: stop here */
            }
        } else if (c == '.' || c == '^' || c == '$' || c == '+') {
            KS_TRY(end_run(&s));
        } else if (!depth) {
            s.run[s.len++] = c;
        }
        i++;
    }
    return end_run(&s);
}

/* Behind the alternative that begins at re[i]: at a | outside of groups, or the end. */
static size_t alternative_end(struct ks_slice re, size_t i)
{
    size_t depth = 0;
    while (i < re.len && (re.ptr[i] != '|' || depth)) {
        if (re.ptr[i] == '[') {
            i = skip_class(re, i);
            continue;
        }
        if (re.ptr[i] == '\\')
            i++;
        else if (re.ptr[i] == '(')
            depth++;
        else if (re.ptr[i] == ')' && depth)
            depth--;
        i++;
    }
    return i < re.len ? i : re.len;
}

/* a|b: the longest text of each alternative; nothing when one has none. */
static ks_err any_of_hints(struct hints *h, struct ks_slice re)
{
    size_t count = 0, cap = 0;
    struct ks_slice *any = NULL;
    for (size_t i = 0; i <= re.len;) {
        size_t end = alternative_end(re, i);
        struct hints one = {.arena = h->arena};
        if (end > i)
            KS_TRY(regexp_hints(&one, ks_slice_sub(re, i, end - i)));
        if (one.literal.len < 2 || count == ANY_MAX)
            return KS_OK;
        KS_TRY(ks_arena_grow(h->arena, (void **)&any, &cap, count + 1, sizeof *any));
        any[count++] = one.literal;
        i = end + 1;
    }
    h->any = any;
    h->any_count = count;
    return KS_OK;
}

/* --- patterns --- */

static const struct {
    const char *name, *re;
} placeholders[] = {
    {"<N>", "(?:[0-9]+|[0-9a-fA-F]{4,})"},
    {"<UUID>", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    {"<IP4>", "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}"},
    {"<TIME>", "[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"},
    {"<DATE>", "[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}"},
    {"<DATETIME>", "[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"
                   "(?:Z|[+-][0-9]{2}:?[0-9]{2})?"},
    {"<W>", "(?:[\\pL\\p{Nd}_]+|\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`)"},
};

ks_err ksi_lq_pattern_regexp(struct ks_slice pattern, enum ks_lq_pattern_mode mode,
                             struct ks_arena *arena, struct ks_slice *ret)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    if (mode == KS_LQ_PATTERN_FULL || mode == KS_LQ_PATTERN_PREFIX)
        ks_buf_str(&b, "\\A");
    for (size_t i = 0; i < pattern.len;) {
        size_t k = 0, n = sizeof placeholders / sizeof *placeholders;
        while (k < n &&
               !ks_slice_has_prefix(ks_slice_from(pattern, i), ks_slice_str(placeholders[k].name)))
            k++;
        if (k < n) {
            ks_buf_str(&b, placeholders[k].re);
            i += strlen(placeholders[k].name);
            continue;
        }
        char c = pattern.ptr[i++];
        if ((unsigned char)c < 128 && !token_char(c) && c != ' ' && c >= 0x20)
            ks_buf_byte(&b, '\\');
        ks_buf_byte(&b, (uint8_t)c);
    }
    if (mode == KS_LQ_PATTERN_FULL || mode == KS_LQ_PATTERN_SUFFIX)
        ks_buf_str(&b, "\\z");
    ks_err err = ks_buf_status(&b);
    *ret = err ? ks_slice("", 0) : ks_arena_dup(arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return err ? err : ret->ptr ? KS_OK : ks_arena_err(arena);
}

/* --- all kinds --- */

static ks_err value_hints(struct hints *h, const struct ks_lq_filter *f)
{
    for (size_t i = 0; i < f->values.count; i++)
        KS_TRY(add_text(h, f->values.items[i], false, false));
    return KS_OK;
}

/* One of the values stands whole in each text that matches. */
static ks_err any_value_hints(struct hints *h, const struct ks_lq_filter *f)
{
    if (f->values.count > ANY_MAX)
        return KS_OK;
    for (size_t i = 0; i < f->values.count; i++)
        if (f->values.items[i].len < 2)
            return KS_OK;
    h->any = f->values.items;
    h->any_count = f->values.count;
    return KS_OK;
}

static ks_err collect(struct hints *h, struct ksi_lq_leaf *l)
{
    const struct ks_lq_filter *f = l->f;
    switch (f->kind) {
    case KS_LQ_F_PHRASE:
        l->pred.only_empty = f->text.len == 0;
        l->pred.phrase = true; /* the literal is the whole phrase */
        return add_text(h, f->text, false, false);
    case KS_LQ_F_PREFIX:
        l->pred.not_empty = f->text.len == 0;
        l->pred.prefix = true;
        return add_text(h, f->text, false, true);
    case KS_LQ_F_EXACT_PREFIX:
        return add_text(h, f->text, false, true);
    case KS_LQ_F_SUBSTRING:
        l->pred.substring = true;
        return add_text(h, f->text, true, true);
    case KS_LQ_F_EXACT:
        l->pred.only_empty = f->text.len == 0;
        l->pred.exact = &f->text;
        l->pred.exact_count = 1;
        return add_text(h, f->text, false, false);
    case KS_LQ_F_SEQUENCE:
    case KS_LQ_F_CONTAINS_ALL:
        return value_hints(h, f);
    case KS_LQ_F_IN:
    case KS_LQ_F_CONTAINS_ANY:
        if (f->kind == KS_LQ_F_IN) {
            l->pred.exact = f->values.items;
            l->pred.exact_count = f->values.count;
        }
        return f->values.count == 1 ? value_hints(h, f) : any_value_hints(h, f);
    case KS_LQ_F_RANGE:
        l->pred.has_range = true;
        l->pred.range_min = f->min;
        l->pred.range_max = f->max;
        return KS_OK;
    case KS_LQ_F_REGEXP:
        if (is_plain(f->text)) {
            l->pred.substring = true;
            return add_text(h, f->text, true, true);
        }
        if (!f->text.len || is_odd(f->text))
            return KS_OK;
        if (alternative_end(f->text, 0) < f->text.len)
            return any_of_hints(h, f->text);
        return regexp_hints(h, f->text);
    default:
        return KS_OK;
    }
}

/* Kinds whose texts begin where no word goes on. */
static bool starts_bounded(enum ks_lq_filter_kind kind)
{
    switch (kind) {
    case KS_LQ_F_PHRASE:
    case KS_LQ_F_PREFIX:
    case KS_LQ_F_EXACT:
    case KS_LQ_F_EXACT_PREFIX:
    case KS_LQ_F_SEQUENCE:
    case KS_LQ_F_IN:
    case KS_LQ_F_CONTAINS_ANY:
    case KS_LQ_F_CONTAINS_ALL:
        return true;
    default:
        return false;
    }
}

ks_err ksi_lq_hints(struct ksi_lq_leaf *l, struct ks_arena *arena)
{
    struct hints h = {.arena = arena};
    KS_TRY(collect(&h, l));
    l->pred.tokens = h.tokens;
    l->pred.token_count = h.count;
    l->pred.literal = h.literal;
    l->pred.literals = h.literals;
    l->pred.literal_count = h.literal_count;
    l->pred.bounded_start = starts_bounded(l->f->kind);
    l->pred.bounded_end =
        l->pred.bounded_start && l->f->kind != KS_LQ_F_PREFIX && l->f->kind != KS_LQ_F_EXACT_PREFIX;
    l->pred.any = h.any;
    l->pred.any_count = h.any_count;
    if (!h.literal_count && h.literal.len) { /* of one byte each */
        l->pred.literals = &l->pred.literal;
        l->pred.literal_count = 1;
    }
    return KS_OK;
}
