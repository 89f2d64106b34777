#include "api/logs/log_json.h"

#include "base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { NAME_MAX = KS_LOG_NAME_MAX, LEVELS_MAX = NAME_MAX + 4, DEPTH_MAX = 300 };

static ks_err wrong(struct ks_log_json *j, const char *what)
{
    j->wrong = what;
    return KS_EPARSE;
}

ks_err ks_log_json_fail(const struct ks_log_json *j, const char *start)
{
    return ks_fail(KS_EPARSE, "cannot parse JSON: %s at byte %zu",
                   j->wrong ? j->wrong : "malformed", (size_t)(j->p - start));
}

void ks_log_json_blanks(struct ks_log_json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\r' || *j->p == '\n'))
        j->p++;
}

bool ks_log_json_take(struct ks_log_json *j, char c)
{
    if (KS_UNLIKELY(j->p == j->end || *j->p != c)) {
        ks_log_json_blanks(j);
        if (j->p == j->end || *j->p != c)
            return false;
    }
    j->p++;
    return true;
}

char ks_log_json_peek(struct ks_log_json *j)
{
    if (j->p < j->end && (unsigned char)*j->p > ' ')
        return *j->p;
    ks_log_json_blanks(j);
    return j->p < j->end ? *j->p : 0;
}

/* --- strings --- */
/* The first quote or backslash at or after p, or end. */
static inline const char *find_special(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        unsigned m = (unsigned)_mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (m)
            return p + __builtin_ctz(m);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* Behind the string whose opening quote was read; NULL when it does not end. */
static const char *string_close(const char *p, const char *end, bool *ret_escapes)
{
    *ret_escapes = false;
    for (;;) {
        p = find_special(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p;
        *ret_escapes = true;
        if (end - p < 2)
            return NULL;
        p += 2;
    }
}

/* \uXXXX behind the u; what cannot be decoded stays as text. */
static const char *unicode(const char *p, const char *end, char **o)
{
    size_t used;
    int32_t c = ks_json_u(p, end, &used);
    if (c >= 0 && !ks_is_surrogate(c)) {
        *o += ks_utf8_put(*o, (uint32_t)c);
        return p + used;
    }
    *(*o)++ = '\\';
    *(*o)++ = 'u';
    return p;
}

/* [p, end) is the inside of a string with escapes; the result is never longer. */
static ks_err unescape(struct ks_arena *arena, const char *p, const char *end, struct ks_slice *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *out = ks_arena_alloc(arena, (size_t)(end - p)), *o = out;
    if (!out)
        return ks_arena_err(arena);
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((slash ? slash : end) - p);
        memcpy(o, p, n);
        o += n;
        p += n;
        if (p == end)
            break;
        char c = p[1]; /* an escape has two bytes: string_close() saw to it */
        const char *known = c ? memchr(from, c, sizeof from - 1) : NULL;
        p += 2;
        if (known) {
            *o++ = to[known - from];
        } else if (c == 'u') {
            p = unicode(p, end, &o);
        } else {
            *o++ = '\\';
            *o++ = c;
        }
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

/* The opening quote was read. */
static inline ks_err string_rest(struct ks_log_json *j, struct ks_slice *ret)
{
    bool escapes;
    const char *start = j->p, *close = string_close(start, j->end, &escapes);
    if (KS_UNLIKELY(!close))
        return wrong(j, "a string without end");
    j->p = close + 1;
    if (KS_UNLIKELY(escapes))
        return unescape(j->arena, start, close, ret);
    *ret = ks_slice(start, (size_t)(close - start));
    return KS_OK;
}

ks_err ks_log_json_string(struct ks_log_json *j, struct ks_slice *ret)
{
    return ks_log_json_take(j, '"') ? string_rest(j, ret) : wrong(j, "want a string");
}

/* --- other scalars --- */
static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static size_t word_length(const struct ks_log_json *j, const char *word)
{
    size_t n = strlen(word), i = 0;
    if ((size_t)(j->end - j->p) < n)
        return 0;
    while (i < n && (j->p[i] | 32) == word[i])
        i++;
    return i == n ? n : 0;
}

/* A number, true, false or null as its text. */
static ks_err bare(struct ks_log_json *j, struct ks_slice *ret)
{
    static const char *const exact[] = {"true", "false", "null"};
    static const char *const numbers[] = {"infinity", "inf", "nan"};
    const char *start = j->p;
    size_t left = (size_t)(j->end - j->p), n = 0;
    bool digit = false;
    for (size_t i = 0; i < 3 && !n; i++)
        if (left >= strlen(exact[i]) && memcmp(start, exact[i], strlen(exact[i])) == 0)
            n = strlen(exact[i]);
    if (n) {
        *ret = ks_slice(start, n);
        j->p += n;
        return KS_OK;
    }
    while (j->p < j->end && is_number_byte(*j->p))
        digit |= *j->p++ <= '9' && j->p[-1] >= '0';
    if (!digit) {
        j->p = start + (left && (*start == '-' || *start == '+'));
        for (size_t i = 0; i < 3 && !n; i++)
            n = word_length(j, numbers[i]);
        if (!n) {
            j->p = start;
            return wrong(j, "want a value");
        }
        j->p += n;
    }
    *ret = ks_slice(start, (size_t)(j->p - start));
    return KS_OK;
}

/* --- values as text --- */
struct walk {
    unsigned depth;
    bool object[DEPTH_MAX + 1];
    bool blanks; /* some between the parts */
};

static void step_blanks(struct ks_log_json *j, struct walk *w)
{
    const char *before = j->p;
    ks_log_json_blanks(j);
    w->blanks |= j->p != before;
}

/* Steps over a string, quotes included. */
static bool step_string(struct ks_log_json *j)
{
    bool escapes;
    if (j->p == j->end || *j->p != '"')
        return false;
    const char *close = string_close(j->p + 1, j->end, &escapes);
    if (!close)
        return false;
    j->p = close + 1;
    return true;
}

/* Inside of an object: "key" : */
static ks_err step_key(struct ks_log_json *j, struct walk *w)
{
    step_blanks(j, w);
    if (!step_string(j))
        return wrong(j, "want a key");
    step_blanks(j, w);
    if (j->p == j->end || *j->p != ':')
        return wrong(j, "want a colon");
    j->p++;
    return KS_OK;
}

/* Behind a value: closes what ends here; *ret_more: another value follows. */
static ks_err step_behind(struct ks_log_json *j, struct walk *w, bool *ret_more)
{
    *ret_more = false;
    while (w->depth) {
        step_blanks(j, w);
        char c = j->p < j->end ? *j->p : 0;
        bool object = w->object[w->depth];
        if (c == ',') {
            j->p++;
            *ret_more = true;
            return object ? step_key(j, w) : KS_OK;
        }
        if (c != (object ? '}' : ']'))
            return wrong(j, object ? "want a comma or }" : "want a comma or ]");
        j->p++;
        w->depth--;
    }
    return KS_OK;
}

/* One value, or the opening of one. */
static ks_err step_value(struct ks_log_json *j, struct walk *w, bool *ret_more)
{
    struct ks_slice s;
    step_blanks(j, w);
    char c = j->p < j->end ? *j->p : 0;
    if (c == '{' || c == '[') {
        if (w->depth == DEPTH_MAX)
            return wrong(j, "nested too deeply");
        w->object[++w->depth] = c == '{';
        j->p++;
        step_blanks(j, w);
        if (j->p < j->end && *j->p == (c == '{' ? '}' : ']')) {
            j->p++;
            w->depth--;
            return step_behind(j, w, ret_more);
        }
        *ret_more = true;
        return c == '{' ? step_key(j, w) : KS_OK;
    }
    if (c == '"') {
        if (!step_string(j))
            return wrong(j, "a string without end");
    } else {
        KS_TRY(bare(j, &s));
    }
    return step_behind(j, w, ret_more);
}

static ks_err without_blanks(struct ks_arena *arena, struct ks_slice *text)
{
    const char *p = text->ptr, *end = p + text->len;
    char *out = ks_arena_alloc(arena, text->len), *o = out;
    bool escapes;
    if (!out)
        return ks_arena_err(arena);
    while (p < end) {
        if (*p == '"') {
            const char *close = string_close(p + 1, end, &escapes) + 1; /* seen before */
            memcpy(o, p, (size_t)(close - p));
            o += close - p;
            p = close;
        } else {
            if ((unsigned char)*p > ' ')
                *o++ = *p;
            p++;
        }
    }
    *text = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

ks_err ks_log_json_text(struct ks_log_json *j, struct ks_slice *ret)
{
    struct walk w; /* its stack is filled as far as it is used */
    bool more = true;
    w.depth = 0;
    w.blanks = false;
    ks_log_json_blanks(j);
    const char *start = j->p;
    while (more)
        KS_TRY(step_value(j, &w, &more));
    *ret = ks_slice(start, (size_t)(j->p - start));
    return w.blanks ? without_blanks(j->arena, ret) : KS_OK;
}

ks_err ks_log_json_value(struct ks_log_json *j, struct ks_slice *ret)
{
    char c = ks_log_json_peek(j);
    if (c == '"') {
        j->p++;
        return string_rest(j, ret);
    }
    if (c == '{' || c == '[')
        return ks_log_json_text(j, ret);
    KS_TRY(bare(j, ret));
    if (ks_slice_is(*ret, "null"))
        *ret = ks_slice("", 0);
    return KS_OK;
}

/* --- objects as fields --- */
struct level {
    struct ks_slice prefix; /* "a.b." */
    const char *start;      /* its { */
    size_t mark;            /* fields before it */
};

static ks_err join(struct ks_arena *arena, struct ks_slice a, struct ks_slice b, bool dot,
                   struct ks_slice *ret)
{
    char *out = ks_arena_alloc(arena, a.len + b.len + 1);
    if (!out)
        return ks_arena_err(arena);
    if (a.len)
        memcpy(out, a.ptr, a.len);
    if (b.len)
        memcpy(out + a.len, b.ptr, b.len);
    out[a.len + b.len] = '.';
    *ret = ks_slice(out, a.len + b.len + dot);
    return KS_OK;
}

/* The object of this level as one field: its names are too long. */
static ks_err collapse(struct ks_log_json *j, struct ks_log_ingest *in, const struct level *l)
{
    struct ks_slice text, name = l->prefix;
    ks_log_rewind(in, l->mark);
    j->p = l->start;
    KS_TRY(ks_log_json_text(j, &text));
    if (name.len && name.ptr[name.len - 1] == '.')
        name.len--;
    return ks_log_add(in, name.len ? name : KS_SLICE_LIT("_msg"), text);
}

struct flatten {
    struct ks_log_json *j;
    struct ks_log_ingest *in;
    size_t depth;
    struct level levels[LEVELS_MAX];
};

static ks_err enter(struct flatten *f, struct ks_slice prefix)
{
    struct ks_log_json *j = f->j;
    if (f->depth == LEVELS_MAX)
        return wrong(j, "nested too deeply");
    f->levels[f->depth++] = (struct level){prefix, j->p, f->in->field_count};
    j->p++;
    return KS_OK;
}

/* The full name of a key of this level. */
static inline ks_err full_name(struct flatten *f, struct ks_slice key, struct ks_slice *ret)
{
    const struct level *l = &f->levels[f->depth - 1];
    if (KS_LIKELY(!l->prefix.len)) {
        *ret = key.len ? key : KS_SLICE_LIT("_msg");
        return KS_OK;
    }
    return join(f->j->arena, l->prefix, key, false, ret);
}

/* The value of a key: a field, or an object that is entered. */
static inline ks_err member(struct flatten *f, struct ks_slice key)
{
    struct ks_log_json *j = f->j;
    const struct ks_log_names *preserve = &f->in->params->preserve;
    const struct level *l = &f->levels[f->depth - 1];
    struct ks_slice name, value;
    char c = ks_log_json_peek(j);
    if (KS_LIKELY(c == '"')) {
        j->p++;
        KS_TRY(string_rest(j, &value));
    } else if (c == '{') {
        struct ks_slice prefix;
        if (KS_UNLIKELY(preserve->count)) {
            KS_TRY(full_name(f, key, &name));
            if (ks_log_names_match(preserve, name)) {
                KS_TRY(ks_log_json_text(j, &value));
                return ks_log_add(f->in, name, value);
            }
        }
        KS_TRY(join(j->arena, l->prefix, key, true, &prefix));
        return enter(f, prefix);
    } else {
        KS_TRY(c == '[' ? ks_log_json_text(j, &value) : bare(j, &value));
        if (c == 'n' && value.len == 4)
            return KS_OK;
    }
    KS_TRY(full_name(f, key, &name));
    return ks_log_add(f->in, name, value);
}

/* Behind a member: leaves the objects that end here. *ret_more: another key follows. */
static inline ks_err behind(struct flatten *f)
{
    struct ks_log_json *j = f->j;
    while (f->depth) {
        if (ks_log_json_take(j, ','))
            return KS_OK;
        if (!ks_log_json_take(j, '}'))
            return wrong(j, "want a comma or }");
        f->depth--;
    }
    return KS_OK;
}

static ks_err flatten(struct flatten *f)
{
    struct ks_log_json *j = f->j;
    struct ks_slice key;
    while (f->depth) {
        struct level *l = &f->levels[f->depth - 1];
        if (j->p == l->start + 1 && ks_log_json_take(j, '}')) {
            f->depth--;
            KS_TRY(behind(f));
            continue;
        }
        if (!ks_log_json_take(j, '"'))
            return wrong(j, "want a key");
        KS_TRY(string_rest(j, &key));
        if (!ks_log_json_take(j, ':'))
            return wrong(j, "want a colon");
        if (KS_UNLIKELY(l->prefix.len + key.len > NAME_MAX)) {
            f->depth--;
            KS_TRY(collapse(j, f->in, l));
            KS_TRY(behind(f));
            continue;
        }
        size_t depth = f->depth;
        KS_TRY(member(f, key));
        if (f->depth == depth)
            KS_TRY(behind(f));
    }
    return KS_OK;
}

ks_err ks_log_json_object_as(struct ks_log_json *j, struct ks_log_ingest *in,
                             struct ks_slice prefix)
{
    struct flatten f;
    f.j = j;
    f.in = in;
    f.depth = 0;
    if (ks_log_json_peek(j) != '{')
        return wrong(j, "want an object");
    KS_TRY(enter(&f, prefix));
    return flatten(&f);
}

ks_err ks_log_json_object(struct ks_log_json *j, struct ks_log_ingest *in)
{
    return ks_log_json_object_as(j, in, ks_slice("", 0));
}

ks_err ks_log_json_line(struct ks_slice text, struct ks_log_ingest *in, struct ks_arena *arena)
{
    struct ks_log_json j = {text.ptr, text.ptr + text.len, arena, NULL};
    ks_err err = ks_log_json_object(&j, in);
    if (err == KS_OK && ks_log_json_peek(&j))
        err = wrong(&j, "text behind the object");
    else if (err == KS_OK && j.p != j.end) /* a NUL byte */
        err = wrong(&j, "text behind the object");
    return err == KS_EPARSE && j.wrong ? ks_log_json_fail(&j, text.ptr) : err;
}
