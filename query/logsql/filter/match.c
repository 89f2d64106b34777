/* Matching of texts. See match.h; hints are in match_hints.c. */
#include "query/logsql/filter/match.h"

#include "base/buf.h"
#include "base/cxx/re2.h"
#include "base/hash.h"
#include "query/logsql/filter/match_priv.h"
#include "query/logsql/filter/value.h"

/* --- phrases --- */

ptrdiff_t ksi_lq_find_text(struct ks_slice s, size_t from, struct ks_slice needle)
{
    if (needle.len == 0)
        return (ptrdiff_t)from;
    if (s.len < from + needle.len)
        return -1;
    const char *at = memmem(s.ptr + from, s.len - from, needle.ptr, needle.len);
    return at ? at - s.ptr : -1;
}

static ptrdiff_t find_bounded(struct ks_slice s, size_t from, struct ks_slice p, bool left,
                              bool right)
{
    const size_t begin = from;
    for (;;) {
        ptrdiff_t at = ksi_lq_find_text(s, from, p);
        if (at < 0)
            return -1;
        size_t i = (size_t)at, end = i + p.len;
        /* what stands before `begin` was consumed: it is no neighbour */
        bool ok = !(left && i > begin && ks_lq_word_ends_at(s, i)) &&
                  !(right && end < s.len && ks_lq_word_starts_at(s, end));
        if (ok)
            return at;
        from = i + 1;
        if (left && ks_lq_word_ends_at(s, from)) { /* a start inside a word cannot match */
            while (from < s.len &&
                   !(((unsigned char)s.ptr[from] & 0xc0) != 0x80 && !ks_lq_word_ends_at(s, from)))
                from++;
        }
    }
}

ptrdiff_t ksi_lq_find_phrase(struct ks_slice s, size_t from, struct ks_slice phrase)
{
    return find_bounded(s, from, phrase, ks_lq_word_starts_at(phrase, 0),
                        ks_lq_word_ends_at(phrase, phrase.len));
}

static bool match_phrase(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    if (l->f->text.len == 0)
        return v.len == 0;
    return find_bounded(v, 0, l->f->text, l->starts_word, l->ends_word) >= 0;
}

static bool match_prefix(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    if (l->f->text.len == 0)
        return v.len > 0;
    return find_bounded(v, 0, l->f->text, l->starts_word, false) >= 0;
}

static bool match_substring(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    return ksi_lq_find_text(v, 0, l->f->text) >= 0;
}

static bool match_exact(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    return ks_slice_eq(v, l->f->text);
}

static bool match_exact_prefix(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    return ks_slice_has_prefix(v, l->f->text);
}

static bool match_sequence(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    size_t from = 0;
    for (size_t i = 0; i < l->f->values.count; i++) {
        struct ks_slice p = l->f->values.items[i];
        ptrdiff_t at = ksi_lq_find_phrase(v, from, p);
        if (at < 0)
            return false;
        from = (size_t)at + p.len;
    }
    return true;
}

static bool contains(struct ks_slice v, struct ks_slice phrase)
{
    return phrase.len == 0 || ksi_lq_find_phrase(v, 0, phrase) >= 0;
}

static bool match_contains_any(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    for (size_t i = 0; i < l->f->values.count; i++)
        if (contains(v, l->f->values.items[i]))
            return true;
    return false;
}

static bool match_contains_all(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    for (size_t i = 0; i < l->f->values.count; i++)
        if (!contains(v, l->f->values.items[i]))
            return false;
    return true;
}

/* --- case --- */

/* Lower case of v in stack memory, or on the heap when long. */
struct folded {
    char small[1024];
    struct ks_buf big;
    struct ks_slice s;
};

static void fold_init(struct folded *f, struct ks_slice v)
{
    ks_buf_init(&f->big, v.len * 3 + 64);
    size_t i = 0;
    if (v.len <= sizeof f->small) {
        for (; i < v.len && (unsigned char)v.ptr[i] < 128; i++) {
            char c = v.ptr[i];
            f->small[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
        f->s = ks_slice(f->small, v.len);
    }
    if (i == v.len)
        return;
    ks_lq_lower(&f->big, v);
    f->s = ks_buf_view(&f->big);
}

static void fold_done(struct folded *f)
{
    ks_buf_done(&f->big);
}

static bool match_anycase(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    bool prefix = l->f->kind == KS_LQ_F_ANYCASE_PREFIX;
    if (l->folded.len == 0)
        return prefix ? v.len > 0 : v.len == 0;
    if (v.len == 0)
        return false;
    struct folded f;
    fold_init(&f, v);
    bool ok = find_bounded(f.s, 0, l->folded, l->starts_word, !prefix && l->ends_word) >= 0;
    fold_done(&f);
    return ok;
}

static bool same_fold(struct ks_slice a, struct ks_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char x = a.ptr[i], y = b.ptr[i];
        if (x >= 'A' && x <= 'Z')
            x += 32;
        if (y >= 'A' && y <= 'Z')
            y += 32;
        if (x != y)
            return false;
    }
    return true;
}

/* Is the word as given, all lower, all upper, or Capitalised? */
static bool common_word(struct ks_slice w, struct ks_slice given)
{
    if (ks_slice_eq(w, given))
        return true;
    bool lower = true, upper = true, title = true;
    for (size_t i = 0; i < w.len; i++) {
        bool is_up = w.ptr[i] >= 'A' && w.ptr[i] <= 'Z',
             is_low = w.ptr[i] >= 'a' && w.ptr[i] <= 'z';
        lower &= !is_up;
        upper &= !is_low;
        title &= i ? !is_up : !is_low;
    }
    return lower || upper || title;
}

static bool common_case(struct ks_slice v, struct ks_slice phrase)
{
    if (!same_fold(v, phrase))
        return false;
    size_t a = 0, b = 0;
    struct ks_slice x, y;
    while (ks_lq_next_word(v, &a, &x) && ks_lq_next_word(phrase, &b, &y))
        if (!common_word(x, y))
            return false;
    return true;
}

static bool match_equals_common(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    for (size_t i = 0; i < l->f->values.count; i++)
        if (common_case(v, l->f->values.items[i]))
            return true;
    return false;
}

static bool contains_common(struct ks_slice v, struct ks_slice phrase)
{
    bool left = ks_lq_word_starts_at(phrase, 0), right = ks_lq_word_ends_at(phrase, phrase.len);
    if (phrase.len == 0)
        return true;
    for (size_t i = 0; i + phrase.len <= v.len; i++) {
        if (left && i && ks_lq_word_ends_at(v, i))
            continue;
        if (right && i + phrase.len < v.len && ks_lq_word_starts_at(v, i + phrase.len))
            continue;
        if (common_case(ks_slice_sub(v, i, phrase.len), phrase))
            return true;
    }
    return false;
}

static bool match_contains_common(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    for (size_t i = 0; i < l->f->values.count; i++)
        if (contains_common(v, l->f->values.items[i]))
            return true;
    return false;
}

/* --- sets, numbers, addresses --- */

struct ksi_lq_set {
    struct ks_slice *slots;
    size_t mask;
    bool has_empty;
};

ks_err ksi_lq_set_new(struct ks_arena *arena, const struct ks_slice *items, size_t count,
                      struct ksi_lq_set **ret)
{
    size_t cap = 16;
    while (cap < count * 2)
        cap *= 2;
    struct ksi_lq_set *s = ks_arena_zalloc(arena, sizeof *s);
    if (!s)
        return ks_arena_err(arena);
    s->slots = ks_arena_zalloc(arena, cap * sizeof *s->slots);
    if (!s->slots)
        return ks_arena_err(arena);
    s->mask = cap - 1;
    for (size_t i = 0; i < count; i++) {
        if (!items[i].len) {
            s->has_empty = true;
            continue;
        }
        size_t at = ks_hash64(items[i].ptr, items[i].len) & s->mask;
        while (s->slots[at].len && !ks_slice_eq(s->slots[at], items[i]))
            at = (at + 1) & s->mask;
        s->slots[at] = items[i];
    }
    *ret = s;
    return KS_OK;
}

bool ksi_lq_set_has(const struct ksi_lq_set *s, struct ks_slice v)
{
    if (!v.len)
        return s->has_empty;
    size_t at = ks_hash64(v.ptr, v.len) & s->mask;
    while (s->slots[at].len) {
        if (ks_slice_eq(s->slots[at], v))
            return true;
        at = (at + 1) & s->mask;
    }
    return false;
}

static bool match_in(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    return ksi_lq_set_has(l->set, v);
}

static bool match_range(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    double d;
    return ks_lq_parse_any_number(v, &d) && d >= l->f->min && d <= l->f->max;
}

static bool match_string_range(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    return ks_slice_cmp(v, l->f->min_text) >= 0 &&
           (l->f->max_open || ks_slice_cmp(v, l->f->max_text) < 0);
}

static bool match_ipv4(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    uint32_t ip;
    return ks_lq_parse_ipv4(v, &ip) && ip >= l->f->min_ip && ip <= l->f->max_ip;
}

static bool match_ipv6(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    uint8_t ip[16];
    return ks_lq_parse_ipv6(v, ip) && memcmp(ip, l->f->min_ip6, 16) >= 0 &&
           memcmp(ip, l->f->max_ip6, 16) <= 0;
}

static bool match_len(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    if (v.len < l->f->min_len)
        return false;
    uint64_t n = ks_lq_rune_count(v);
    return n >= l->f->min_len && n <= l->f->max_len;
}

static bool match_regexp(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    struct ks_slice must = l->pred.literal;
    if (v.len < must.len || (must.len && !memmem(v.ptr, v.len, must.ptr, must.len)))
        return false;
    if (l->pred.substring) /* the regexp is that text */
        return true;
    return ks_re_search(l->re, v.ptr ? v.ptr : "", v.len, 0, 0, NULL, 0);
}

/* --- JSON arrays --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The end of the JSON string that begins at s[i]; 0 when it has none. */
static size_t string_end(struct ks_slice s, size_t i)
{
    for (i++; i < s.len; i++) {
        if (s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == '"')
            return i + 1;
    }
    return 0;
}

/* One element of an array at s[i], raw: its end, 0 when broken. */
static size_t element_end(struct ks_slice s, size_t i)
{
    size_t depth = 0;
    if (s.ptr[i] == '"')
        return string_end(s, i);
    for (; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"') {
            i = string_end(s, i);
            if (!i)
                return 0;
            i--;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            if (!depth)
                return i;
            depth--;
        } else if (c == ',' && !depth) {
            return i;
        }
    }
    return 0;
}

static bool element_matches(const struct ksi_lq_leaf *l, struct ks_slice e)
{
    bool string = e.len >= 2 && e.ptr[0] == '"';
    if (string)
        e = ks_slice(e.ptr + 1, e.len - 2);
    for (size_t i = 0; i < l->f->values.count; i++)
        if (ks_slice_eq(e, string ? l->escaped[i] : l->f->values.items[i]))
            return true;
    return false;
}

static bool match_json_array(void *arg, struct ks_slice v)
{
    const struct ksi_lq_leaf *l = arg;
    v = ks_slice_trim(v);
    if (v.len < 2 || v.ptr[0] != '[' || v.ptr[v.len - 1] != ']')
        return false;
    for (size_t i = 1; i < v.len;) {
        while (i < v.len && is_blank(v.ptr[i]))
            i++;
        if (i >= v.len || v.ptr[i] == ']')
            return false;
        size_t end = element_end(v, i);
        if (!end)
            return false;
        if (element_matches(l, ks_slice_trim(ks_slice_sub(v, i, end - i))))
            return true;
        i = end;
        while (i < v.len && is_blank(v.ptr[i]))
            i++;
        if (i >= v.len || v.ptr[i] != ',')
            return false;
        i++;
    }
    return false;
}

static ks_err escape_values(struct ksi_lq_leaf *l, struct ks_arena *arena)
{
    size_t n = l->f->values.count;
    l->escaped = ks_arena_array(arena, n + 1, sizeof *l->escaped);
    if (!l->escaped)
        return ks_arena_err(arena);
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (size_t i = 0; i < n; i++) {
        ks_buf_reset(&b);
        struct ks_slice v = l->f->values.items[i];
        for (size_t k = 0; k < v.len; k++) {
            static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
            const char *at = v.ptr[k] ? strchr(from, v.ptr[k]) : NULL;
            if (at)
                ks_buf_byte(&b, '\\');
            ks_buf_byte(&b, (uint8_t)(at ? to[at - from] : v.ptr[k]));
        }
        l->escaped[i] = ks_arena_dup(arena, ks_buf_view(&b));
        if (!l->escaped[i].ptr) {
            ks_buf_done(&b);
            return ks_arena_err(arena);
        }
    }
    ks_buf_done(&b);
    return KS_OK;
}

/* --- making a leaf --- */

static bool match_none(void *arg, struct ks_slice v)
{
    return false;
}

static ks_text_fn match_of(enum ks_lq_filter_kind kind)
{
    switch (kind) {
    case KS_LQ_F_PHRASE:
        return match_phrase;
    case KS_LQ_F_PREFIX:
        return match_prefix;
    case KS_LQ_F_SUBSTRING:
        return match_substring;
    case KS_LQ_F_EXACT:
        return match_exact;
    case KS_LQ_F_EXACT_PREFIX:
        return match_exact_prefix;
    case KS_LQ_F_ANYCASE_PHRASE:
    case KS_LQ_F_ANYCASE_PREFIX:
        return match_anycase;
    case KS_LQ_F_REGEXP:
    case KS_LQ_F_PATTERN_MATCH:
        return match_regexp;
    case KS_LQ_F_SEQUENCE:
        return match_sequence;
    case KS_LQ_F_IN:
    case KS_LQ_F_STREAM_ID:
        return match_in;
    case KS_LQ_F_CONTAINS_ANY:
        return match_contains_any;
    case KS_LQ_F_CONTAINS_ALL:
        return match_contains_all;
    case KS_LQ_F_RANGE:
        return match_range;
    case KS_LQ_F_STRING_RANGE:
        return match_string_range;
    case KS_LQ_F_IPV4_RANGE:
        return match_ipv4;
    case KS_LQ_F_IPV6_RANGE:
        return match_ipv6;
    case KS_LQ_F_LEN_RANGE:
        return match_len;
    case KS_LQ_F_EQUALS_COMMON_CASE:
        return match_equals_common;
    case KS_LQ_F_CONTAINS_COMMON_CASE:
        return match_contains_common;
    case KS_LQ_F_JSON_ARRAY_CONTAINS_ANY:
        return match_json_array;
    default:
        return match_none;
    }
}

static ks_err compile(struct ksi_lq_leaf *l, struct ks_slice re)
{
    char why[200];
    l->re = ks_re_new(re.ptr ? re.ptr : "", re.len, KS_RE_DOT_NL, why, sizeof why);
    if (!l->re)
        return ks_fail(KS_EPARSE, "bad regexp \"%.*s\": %s", KS_SLICE_ARG(re), why);
    return KS_OK;
}

static ks_err fold_text(struct ksi_lq_leaf *l, struct ks_arena *arena)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_lq_lower(&b, l->f->text);
    l->folded = ks_arena_dup(arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return l->folded.ptr ? KS_OK : ks_arena_err(arena);
}

static ks_err prepare(struct ksi_lq_leaf *l, struct ks_arena *arena)
{
    const struct ks_lq_filter *f = l->f;
    struct ks_slice text = f->text;
    switch (f->kind) {
    case KS_LQ_F_ANYCASE_PHRASE:
    case KS_LQ_F_ANYCASE_PREFIX:
        KS_TRY(fold_text(l, arena));
        text = l->folded;
        break;
    case KS_LQ_F_REGEXP:
        return compile(l, f->text);
    case KS_LQ_F_PATTERN_MATCH: {
        struct ks_slice re;
        KS_TRY(ksi_lq_pattern_regexp(f->text, f->pattern_mode, arena, &re));
        return compile(l, re);
    }
    case KS_LQ_F_IN:
    case KS_LQ_F_STREAM_ID:
        return ksi_lq_set_new(arena, f->values.items, f->values.count, &l->set);
    case KS_LQ_F_JSON_ARRAY_CONTAINS_ANY:
        return escape_values(l, arena);
    default:
        break;
    }
    l->starts_word = ks_lq_word_starts_at(text, 0);
    l->ends_word = ks_lq_word_ends_at(text, text.len);
    return KS_OK;
}

ks_err ksi_lq_leaf_init(struct ksi_lq_leaf *l, const struct ks_lq_filter *f, struct ks_arena *arena)
{
    *l = (struct ksi_lq_leaf){.f = f};
    KS_TRY(prepare(l, arena));
    l->pred.match = match_of(f->kind);
    l->pred.arg = l;
    l->pred.match_empty = l->pred.match(l, ks_slice("", 0));
    return ksi_lq_hints(l, arena);
}

void ksi_lq_leaf_done(struct ksi_lq_leaf *l)
{
    ks_re_free(l->re);
    l->re = NULL;
}
