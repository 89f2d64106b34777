/*
 * One pass over the pattern with an explicit stack of groups. A value on the stack is a union of
 * symbol sequences, where a symbol is a byte or a gap. Concatenation is the cross product
 * (bounded), alternation the union. Whatever is not understood becomes a gap, which only ever lets
 * more texts through, and clears `exact`.
 */
#include "index/regex_analyse.h"

#include <string.h>

typedef uint16_t sym; /* 0..255 a byte */
enum { GAP0 = 256, GAP1 = 257 };
enum { DEPTH_MAX = 32, PRODUCT_MAX = 1024, CLASS_MAX = 16, SYMBOLS_MAX = 4 << 20 };

struct seq {
    sym *v;
    size_t len, cap;
};
struct seqs {
    struct seq *v;
    size_t count, cap;
};
/* What the atom before the cursor is, for the quantifier that may follow. */
enum atom { ATOM_NONE, ATOM_LIST, ATOM_DOT, ATOM_CHAR };

struct frame {
    struct seqs alts, cur;
};
struct parser {
    struct ks_arena *arena;
    const char *p, *end;
    struct frame stack[DEPTH_MAX];
    size_t depth, symbols;
    struct seqs list; /* of an ATOM_LIST */
    enum atom atom;
    bool exact, plain, bail;
    ks_err err;
};

static void give_up(struct parser *ps)
{
    ps->bail = true;
}

static bool seq_push(struct parser *ps, struct seq *s, sym c)
{
    if (c >= GAP0 && s->len && s->v[s->len - 1] >= GAP0) {
        if (c == GAP1 && s->v[s->len - 1] == GAP1)
            ps->exact = false; /* at least two: a gap cannot say that */
        if (c == GAP1)
            s->v[s->len - 1] = GAP1;
        return true;
    }
    if (++ps->symbols > SYMBOLS_MAX) {
        give_up(ps);
        return false;
    }
    ps->err = ks_arena_grow(ps->arena, (void **)&s->v, &s->cap, s->len + 1, sizeof *s->v);
    if (ps->err != KS_OK)
        return false;
    s->v[s->len++] = c;
    return true;
}

static bool seq_append(struct parser *ps, struct seq *s, const struct seq *more)
{
    for (size_t i = 0; i < more->len; i++)
        if (!seq_push(ps, s, more->v[i]))
            return false;
    return true;
}

static struct seq *seqs_new(struct parser *ps, struct seqs *l)
{
    ps->err = ks_arena_grow(ps->arena, (void **)&l->v, &l->cap, l->count + 1, sizeof *l->v);
    if (ps->err != KS_OK)
        return NULL;
    l->v[l->count] = (struct seq){0};
    return &l->v[l->count++];
}

/* The union that holds one sequence: c, or the empty one for c = -1. */
static bool seqs_single(struct parser *ps, struct seqs *ret, int c)
{
    *ret = (struct seqs){0};
    struct seq *s = seqs_new(ps, ret);
    return s && (c < 0 || seq_push(ps, s, (sym)c));
}

static bool concat(struct parser *ps, struct seqs *cur, const struct seqs *tail)
{
    if (tail->count == 1) {
        for (size_t i = 0; i < cur->count; i++)
            if (!seq_append(ps, &cur->v[i], &tail->v[0]))
                return false;
        return true;
    }
    if (cur->count * tail->count > PRODUCT_MAX && !(cur->count == 1 && cur->v[0].len == 0)) {
        ps->exact = false;
        for (size_t i = 0; i < cur->count; i++)
            if (!seq_push(ps, &cur->v[i], GAP0))
                return false;
        return true;
    }
    struct seqs out = {0};
    for (size_t i = 0; i < cur->count; i++)
        for (size_t j = 0; j < tail->count; j++) {
            struct seq *s = seqs_new(ps, &out);
            if (!s || !seq_append(ps, s, &cur->v[i]) || !seq_append(ps, s, &tail->v[j]))
                return false;
        }
    *cur = out;
    return true;
}

static bool append_sym(struct parser *ps, sym c)
{
    struct seqs *cur = &ps->stack[ps->depth].cur;
    for (size_t i = 0; i < cur->count; i++)
        if (!seq_push(ps, &cur->v[i], c))
            return false;
    return true;
}

/* Moves the pending atom into the current branch. */
static bool flush(struct parser *ps)
{
    enum atom a = ps->atom;
    ps->atom = ATOM_NONE;
    if (a == ATOM_NONE)
        return true;
    if (a == ATOM_LIST)
        return concat(ps, &ps->stack[ps->depth].cur, &ps->list);
    ps->exact = false; /* one character: a gap may be longer */
    return append_sym(ps, GAP1);
}

static bool end_branch(struct parser *ps)
{
    if (!flush(ps))
        return false;
    struct frame *f = &ps->stack[ps->depth];
    for (size_t i = 0; i < f->cur.count; i++) {
        struct seq *s = seqs_new(ps, &f->alts);
        if (!s)
            return false;
        *s = f->cur.v[i];
    }
    return seqs_single(ps, &f->cur, -1);
}

static bool open_group(struct parser *ps)
{
    if (!flush(ps))
        return false;
    ps->p++;
    if (ps->p < ps->end && *ps->p == '?') {
        size_t left = (size_t)(ps->end - ps->p);
        if (left >= 2 && ps->p[1] == ':') {
            ps->p += 2;
        } else if (left >= 4 && memcmp(ps->p, "?P<", 3) == 0) {
            const char *gt = memchr(ps->p, '>', left);
            if (!gt)
                return give_up(ps), false;
            ps->p = gt + 1;
        } else {
            return give_up(ps), false;
        }
    }
    if (ps->depth + 1 >= DEPTH_MAX)
        return give_up(ps), false;
    struct frame *f = &ps->stack[++ps->depth];
    f->alts = (struct seqs){0};
    return seqs_single(ps, &f->cur, -1);
}

static bool close_group(struct parser *ps)
{
    if (ps->depth == 0)
        return give_up(ps), false;
    ps->p++;
    if (!end_branch(ps))
        return false;
    ps->list = ps->stack[ps->depth--].alts;
    ps->atom = ATOM_LIST;
    return true;
}

/* Reads {n}, {n,} or {n,m} at the cursor; false (and no step) when it is none and so a literal
 * brace. */
static bool read_braces(struct parser *ps, unsigned *ret_min)
{
    const char *q = ps->p + 1;
    unsigned min = 0;
    const char *digits = q;
    while (q < ps->end && *q >= '0' && *q <= '9' && q - digits < 5)
        min = min * 10 + (unsigned)(*q++ - '0');
    if (q == digits)
        return false;
    if (q < ps->end && *q == ',') {
        q++;
        while (q < ps->end && *q >= '0' && *q <= '9')
            q++;
    }
    if (q >= ps->end || *q != '}')
        return false;
    *ret_min = min;
    ps->p = q + 1;
    return true;
}

/* Applies a quantifier to the pending atom. `c` is '*', '+', '?' or '{' with its lower bound. */
static bool quantify(struct parser *ps, char c, unsigned min)
{
    if (ps->atom == ATOM_NONE)
        return give_up(ps), false;
    if (ps->p < ps->end && *ps->p == '?')
        ps->p++; /* lazy: the same texts match */
    if (ps->p < ps->end && strchr("*+?", *ps->p))
        return give_up(ps), false;
    enum atom a = ps->atom;
    bool at_least_one = c == '+' || (c == '{' && min > 0);
    if (a == ATOM_LIST && c == '?')
        return seqs_new(ps, &ps->list) != NULL;
    if (a != ATOM_DOT || c == '?' || c == '{')
        ps->exact = false;
    if (a == ATOM_LIST && at_least_one) {
        struct seqs gap;
        return seqs_single(ps, &gap, GAP0) && concat(ps, &ps->list, &gap);
    }
    ps->atom = ATOM_LIST;
    return seqs_single(ps, &ps->list, at_least_one ? GAP1 : GAP0);
}

size_t ksi_utf8_len(struct ks_slice s)
{
    if (!s.len)
        return 0;
    const uint8_t *b = (const uint8_t *)s.ptr;
    if (b[0] < 0x80)
        return 1;
    size_t n = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4 || s.len < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xf0 && b[1] < 0x90);
    bool outside = (b[0] == 0xed && b[1] > 0x9f) || (b[0] == 0xf4 && b[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

static bool literal(struct parser *ps, const char *s, size_t len)
{
    /* U+FFFD stands for any invalid byte in a text, so it is no literal. */
    if (len == 3 && memcmp(s, "\xef\xbf\xbd", 3) == 0)
        return give_up(ps), false;
    if (!flush(ps) || !seqs_single(ps, &ps->list, -1))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!seq_push(ps, &ps->list.v[0], (uint8_t)s[i]))
            return false;
    ps->atom = ATOM_LIST;
    return true;
}

static bool literal_char(struct parser *ps)
{
    size_t n = ksi_utf8_len(ks_slice(ps->p, (size_t)(ps->end - ps->p)));
    if (!n)
        return give_up(ps), false;
    ps->p += n;
    return literal(ps, ps->p - n, n);
}

static bool set_atom(struct parser *ps, enum atom a)
{
    if (!flush(ps))
        return false;
    ps->atom = a;
    return true;
}

static bool escape(struct parser *ps)
{
    if (ps->end - ps->p < 2)
        return give_up(ps), false;
    unsigned char c = (unsigned char)ps->p[1];
    ps->p += 2;
    if (strchr("dwsDWS", c) && c)
        return set_atom(ps, ATOM_CHAR);
    static const char from[] = "ntrfva", to[] = "\n\t\r\f\v\a";
    const char *at = c ? strchr(from, c) : NULL;
    if (at)
        return literal(ps, &to[at - from], 1);
    bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alnum || c >= 0x80 || c < ' ')
        return give_up(ps), false;
    return literal(ps, ps->p - 1, 1);
}

/* Collects the members of a small ASCII class. ret_count 0: too big or too clever, some one
 * character. */
static bool class_members(struct parser *ps, char *members, size_t *ret_count)
{
    const char *q = ps->p + 1;
    bool simple = !(q < ps->end && *q == '^');
    if (!simple)
        q++;
    size_t n = 0;
    for (bool first = true;; first = false) {
        if (q >= ps->end || (q + 1 < ps->end && q[0] == '[' && q[1] == ':'))
            return give_up(ps), false;
        if (*q == ']' && !first)
            break;
        unsigned char lo = (unsigned char)*q++;
        if (lo == '\\') {
            if (q >= ps->end)
                return give_up(ps), false;
            lo = (unsigned char)*q++;
            simple = simple && lo < 0x80 && lo > ' ' && !strchr("0123456789", lo) &&
                     !((lo | 32) >= 'a' && (lo | 32) <= 'z');
        }
        unsigned char hi = lo;
        if (q + 1 < ps->end && q[0] == '-' && q[1] != ']') {
            hi = (unsigned char)q[1];
            simple = simple && hi != '\\' && hi != '[';
            q += hi == '\\' ? 1 : 2;
        }
        simple = simple && lo < 0x80 && hi < 0x80 && lo <= hi && n + (hi - lo) + 1u <= CLASS_MAX;
        for (unsigned c = lo; simple && c <= hi; c++)
            members[n++] = (char)c;
    }
    ps->p = q + 1;
    *ret_count = simple ? n : 0;
    return true;
}

static bool class_atom(struct parser *ps)
{
    char members[CLASS_MAX];
    size_t n;
    if (!flush(ps) || !class_members(ps, members, &n))
        return false;
    if (!n) {
        ps->atom = ATOM_CHAR;
        return true;
    }
    ps->list = (struct seqs){0};
    for (size_t i = 0; i < n; i++) {
        struct seq *s = seqs_new(ps, &ps->list);
        if (!s || !seq_push(ps, s, (uint8_t)members[i]))
            return false;
    }
    ps->atom = ATOM_LIST;
    return true;
}

/* '^' in front and '$' behind a branch of the whole expression say nothing new. Elsewhere: an
 * assertion, unknown. */
static bool anchor(struct parser *ps)
{
    const struct seqs *cur = &ps->stack[ps->depth].cur;
    char c = *ps->p++;
    bool last = ps->p == ps->end || *ps->p == '|';
    bool first = ps->atom == ATOM_NONE && cur->count == 1 && cur->v[0].len == 0;
    if (ps->depth == 0 && (c == '^' ? first : last) && !(ps->p < ps->end && strchr("*+?{", *ps->p)))
        return true;
    ps->exact = false;
    if (!flush(ps) || !seqs_single(ps, &ps->list, GAP0))
        return false;
    ps->atom = ATOM_LIST;
    return true;
}

static bool step(struct parser *ps)
{
    char c = *ps->p;
    unsigned min = 0;
    if (strchr("\\.+*?()[]{}^$", c) || !c)
        ps->plain = false;
    switch (c) {
    case '|':
        ps->p++;
        return end_branch(ps);
    case '(':
        return open_group(ps);
    case ')':
        return close_group(ps);
    case '{':
        return read_braces(ps, &min) ? quantify(ps, '{', min) : literal_char(ps);
    case '*':
    case '+':
    case '?':
        ps->p++;
        return quantify(ps, c, 0);
    case '.':
        ps->p++;
        return set_atom(ps, ATOM_DOT);
    case '[':
        return class_atom(ps);
    case '\\':
        return escape(ps);
    case '^':
    case '$':
        return anchor(ps);
    default:
        return literal_char(ps);
    }
}

static bool build_glob(struct parser *ps, const struct seq *s, struct ksi_glob *g)
{
    size_t gaps = 0;
    for (size_t i = 0; i < s->len; i++)
        gaps += s->v[i] >= GAP0;
    g->lit_count = gaps + 1;
    g->lits = ks_arena_array(ps->arena, gaps + 1, sizeof *g->lits);
    g->gap_min = ks_arena_array(ps->arena, gaps + 1, 1);
    char *text = ks_arena_alloc(ps->arena, s->len + 1);
    if (!g->lits || !g->gap_min || !text) {
        ps->err = ks_arena_err(ps->arena);
        return false;
    }
    size_t k = 0;
    g->lits[0] = ks_slice(text, 0);
    for (size_t i = 0; i < s->len; i++) {
        if (s->v[i] < GAP0) {
            *text++ = (char)s->v[i];
            g->lits[k].len++;
            continue;
        }
        g->gap_min[k] = s->v[i] == GAP1;
        g->lits[++k] = ks_slice(text, 0);
    }
    return true;
}

static ks_err build_plan(struct parser *ps, const struct seqs *all, struct ksi_regex_plan *ret)
{
    ret->globs = ks_arena_array(ps->arena, all->count, sizeof *ret->globs);
    if (!ret->globs)
        return ks_arena_err(ps->arena);
    for (size_t i = 0; i < all->count; i++)
        if (!build_glob(ps, &all->v[i], &ret->globs[i]))
            return ps->err;
    ret->count = all->count;
    ret->exact = ps->exact;
    ret->plain = ps->plain;
    return KS_OK;
}

ks_err ksi_regex_analyse(struct ks_slice pattern, struct ks_arena *arena,
                         struct ksi_regex_plan *ret)
{
    struct parser *ps = ks_arena_zalloc(arena, sizeof *ps);
    if (!ps)
        return ks_arena_err(arena);
    ps->arena = arena;
    ps->p = pattern.ptr;
    ps->end = pattern.len ? pattern.ptr + pattern.len : pattern.ptr;
    ps->exact = ps->plain = true;
    bool ok = seqs_single(ps, &ps->stack[0].cur, -1);
    while (ok && ps->p < ps->end)
        ok = step(ps);
    if (ok && ps->depth)
        give_up(ps);
    ok = ok && !ps->bail && end_branch(ps);
    if (ps->err != KS_OK)
        return ps->err;
    struct seqs all = ps->stack[0].alts;
    if (!ok) { /* any text may match */
        ps->exact = ps->plain = false;
        if (!seqs_single(ps, &all, GAP0))
            return ps->err == KS_OK ? KS_ENOMEM : ps->err;
    }
    return build_plan(ps, &all, ret);
}

bool ksi_glob_match(const struct ksi_glob *g, struct ks_slice text)
{
    struct ks_slice first = g->lits[0], last = g->lits[g->lit_count - 1];
    if (g->lit_count == 1)
        return ks_slice_eq(text, first);
    if (!ks_slice_has_prefix(text, first) || text.len < first.len + last.len)
        return false;
    size_t end = text.len - last.len; /* where the last literal begins */
    if (last.len && memcmp(text.ptr + end, last.ptr, last.len) != 0)
        return false;
    size_t pos = first.len;
    for (size_t i = 1; i + 1 < g->lit_count; i++) {
        struct ks_slice lit = g->lits[i];
        pos += g->gap_min[i - 1];
        if (pos > end)
            return false;
        const char *at = memmem(text.ptr + pos, end - pos, lit.ptr, lit.len);
        if (!at)
            return false;
        pos = (size_t)(at - text.ptr) + lit.len;
    }
    return pos + g->gap_min[g->lit_count - 2] <= end;
}
