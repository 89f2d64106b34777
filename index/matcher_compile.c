/* Compiled expressions, their cache, and the normal form of matchers. */
#include "index/matcher_compile.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cxx/re2.h"
#include "base/mem.h"

/* Past this many globs one pass of RE2 over the text is cheaper than trying them all. */
enum { GLOBS_MAX = 16, REGEX_BYTES_MAX = 64 << 20, PATTERN_BYTES_MAX = 1 << 20 };

/* 4-way sets, least recently used goes. A pattern is kept whole: equal hashes do not confuse. */
enum { CACHE_SETS = 128, CACHE_WAYS = 4, CACHE_PATTERN_MAX = 64 << 10 };
static struct {
    pthread_mutex_t mutex;
    uint64_t tick;
    struct cache_slot {
        struct ks_regex *re;
        uint64_t hash, used;
    } slots[CACHE_SETS][CACHE_WAYS];
} cache = {.mutex = PTHREAD_MUTEX_INITIALIZER};
static _Atomic uint64_t next_id = 1;

static int cmp_slices(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

static struct ks_slice common_prefix(struct ks_slice a, struct ks_slice b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.ptr[n] == b.ptr[n])
        n++;
    return ks_slice(a.ptr, n);
}

/* Splits the plan into literals and globs with gaps. */
static ks_err take_plan(struct ks_regex *re, struct ksi_regex_plan *plan)
{
    re->literals = ks_arena_array(&re->arena, plan->count, sizeof *re->literals);
    if (!re->literals)
        return ks_arena_err(&re->arena);
    re->globs = plan->globs;
    for (size_t i = 0; i < plan->count; i++) {
        struct ksi_glob *g = &plan->globs[i];
        if (g->lit_count > 1)
            re->globs[re->glob_count++] = *g;
        else if (g->lits[0].len)
            re->literals[re->literal_count++] = g->lits[0];
        else
            re->matches_empty = true;
    }
    qsort(re->literals, re->literal_count, sizeof *re->literals, cmp_slices);
    size_t n = 0;
    for (size_t i = 0; i < re->literal_count; i++)
        if (n == 0 || !ks_slice_eq(re->literals[n - 1], re->literals[i]))
            re->literals[n++] = re->literals[i];
    re->literal_count = n;
    return KS_OK;
}

static void choose_shape(struct ks_regex *re, bool exact)
{
    re->shape = KS_REGEX_SCAN;
    if (re->glob_count)
        re->prefix = re->globs[0].lits[0];
    for (size_t i = 0; i < re->glob_count; i++) {
        const struct ksi_glob *g = &re->globs[i];
        re->prefix = common_prefix(re->prefix, g->lits[0]);
        bool open = g->lit_count == 2 && !g->lits[0].len && !g->lits[1].len;
        if (!open)
            continue;
        if (!exact) {
            re->glob_count = 0; /* lets everything through: no filter */
            re->prefix = ks_slice(NULL, 0);
            return;
        }
        if (!g->gap_min[0]) {
            re->shape = KS_REGEX_ANY;
            return;
        }
        re->shape = KS_REGEX_NONEMPTY;
    }
    if (exact && !re->glob_count)
        re->shape = KS_REGEX_SET;
}

/* Without `exact` a literal of the plan is a candidate only; RE2 must confirm it. */
static ks_err confirm_literals(struct ks_regex *re)
{
    size_t n = 0;
    for (size_t i = 0; i < re->literal_count; i++)
        if (ks_re_full_match(re->re, re->literals[i].ptr, re->literals[i].len))
            re->literals[n++] = re->literals[i];
    re->literal_count = n;
    re->matches_empty = ks_re_full_match(re->re, "", 0);
    return KS_OK;
}

static ks_err compile(struct ks_slice pattern, struct ks_regex *re)
{
    if (pattern.len > PATTERN_BYTES_MAX)
        return ks_fail(KS_ELIMIT, "regular expression of %zu bytes is longer than %d", pattern.len,
                       PATTERN_BYTES_MAX);
    re->pattern = ks_arena_dup(&re->arena, pattern);
    if (!re->pattern.ptr)
        return ks_arena_err(&re->arena);
    struct ksi_regex_plan plan;
    KS_TRY(ksi_regex_analyse(re->pattern, &re->arena, &plan));
    if (!plan.plain) {
        char why[256];
        re->re = ks_re_new(pattern.ptr, pattern.len, KS_RE_DOT_NL, why, sizeof why);
        if (!re->re)
            return ks_fail(KS_EPARSE, "bad regular expression \"%.*s\": %s",
                           (int)(pattern.len > 200 ? 200 : pattern.len), pattern.ptr, why);
    }
    KS_TRY(take_plan(re, &plan));
    if (!plan.exact)
        KS_TRY(confirm_literals(re));
    choose_shape(re, plan.exact);
    if (plan.exact && re->glob_count <= GLOBS_MAX) {
        ks_re_free(re->re);
        re->re = NULL;
    } else if (re->glob_count > GLOBS_MAX) {
        re->glob_count = 0; /* re stays: the prefix and RE2 decide */
    }
    for (size_t i = 0; i < re->glob_count && plan.exact && !re->matches_empty; i++)
        re->matches_empty = ksi_glob_match(&re->globs[i], ks_slice("", 0));
    if (re->re)
        re->matches_empty = ks_re_full_match(re->re, "", 0);
    return KS_OK;
}

static struct ks_regex *cache_find(struct ks_slice pattern, uint64_t hash)
{
    struct cache_slot *set = cache.slots[hash % CACHE_SETS];
    for (int i = 0; i < CACHE_WAYS; i++)
        if (set[i].re && set[i].hash == hash && ks_slice_eq(set[i].re->pattern, pattern)) {
            set[i].used = ++cache.tick;
            return ks_regex_ref(set[i].re);
        }
    return NULL;
}

/* Returns the expression pushed out, for the caller to release outside the lock. */
static struct ks_regex *cache_put(struct ks_regex *re, uint64_t hash)
{
    struct cache_slot *set = cache.slots[hash % CACHE_SETS], *victim = &set[0];
    for (int i = 0; i < CACHE_WAYS; i++) {
        if (set[i].re && set[i].hash == hash && ks_slice_eq(set[i].re->pattern, re->pattern))
            return NULL; /* another thread was first */
        if (!set[i].re || (victim->re && set[i].used < victim->used))
            victim = &set[i];
    }
    struct ks_regex *out = victim->re;
    *victim = (struct cache_slot){ks_regex_ref(re), hash, ++cache.tick};
    return out;
}

ks_err ks_regex_get(struct ks_slice pattern, struct ks_regex **ret)
{
    uint64_t hash = ks_hash64(pattern.ptr, pattern.len);
    pthread_mutex_lock(&cache.mutex);
    struct ks_regex *re = cache_find(pattern, hash);
    pthread_mutex_unlock(&cache.mutex);
    if (re) {
        *ret = re;
        return KS_OK;
    }
    re = ks_zalloc(sizeof *re);
    if (!re)
        return KS_ENOMEM;
    re->refs = 1;
    re->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    ks_arena_init(&re->arena, REGEX_BYTES_MAX);
    ks_err err = compile(pattern, re);
    if (err != KS_OK) {
        ks_regex_unref(re);
        return err;
    }
    if (pattern.len <= CACHE_PATTERN_MAX) {
        pthread_mutex_lock(&cache.mutex);
        struct ks_regex *out = cache_put(re, hash);
        pthread_mutex_unlock(&cache.mutex);
        ks_regex_unref(out);
    }
    *ret = re;
    return KS_OK;
}

struct ks_regex *ks_regex_ref(struct ks_regex *re)
{
    atomic_fetch_add_explicit(&re->refs, 1, memory_order_relaxed);
    return re;
}

void ks_regex_unref(struct ks_regex *re)
{
    /* Release pairs with the acquire of whoever drops the last one. */
    if (!re || atomic_fetch_sub_explicit(&re->refs, 1, memory_order_acq_rel) != 1)
        return;
    ks_re_free(re->re);
    ks_arena_done(&re->arena);
    ks_free(re);
}

void ks_regex_cache_clear(void)
{
    pthread_mutex_lock(&cache.mutex);
    for (int s = 0; s < CACHE_SETS; s++)
        for (int i = 0; i < CACHE_WAYS; i++) {
            ks_regex_unref(cache.slots[s][i].re);
            cache.slots[s][i] = (struct cache_slot){0};
        }
    pthread_mutex_unlock(&cache.mutex);
}

static bool is_ascii(struct ks_slice s)
{
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8)
        if (ks_le64(s.ptr + i) & 0x8080808080808080u)
            return false;
    for (; i < s.len; i++)
        if (s.ptr[i] & 0x80)
            return false;
    return true;
}

static bool is_utf8(struct ks_slice s)
{
    while (s.len) {
        size_t n = ksi_utf8_len(s);
        if (!n)
            return false;
        s = ks_slice_from(s, n);
    }
    return true;
}

static bool match_valid(const struct ks_regex *re, struct ks_slice text)
{
    if (re->literal_count &&
        bsearch(&text, re->literals, re->literal_count, sizeof *re->literals, cmp_slices))
        return true;
    if (re->shape == KS_REGEX_SET || !ks_slice_has_prefix(text, re->prefix))
        return false;
    bool passes = re->glob_count == 0;
    for (size_t i = 0; i < re->glob_count && !passes; i++)
        passes = ksi_glob_match(&re->globs[i], text);
    return passes && (!re->re || ks_re_full_match(re->re, text.ptr, text.len));
}

/*
 * Every byte that is no UTF-8 is read as U+FFFD. Texts that could outgrow the stack are rare among
 * the rare: they take the heap, and without memory match nothing.
 */
static bool match_repaired(const struct ks_regex *re, struct ks_slice text)
{
    char room[16 << 10], *copy = room;
    size_t len = 0;
    if (text.len > sizeof room / 3 && !(copy = ks_alloc_array(text.len, 3)))
        return false;
    while (text.len) {
        size_t n = ksi_utf8_len(text);
        memcpy(copy + len, n ? text.ptr : "\xef\xbf\xbd", n ? n : 3);
        len += n ? n : 3;
        text = ks_slice_from(text, n ? n : 1);
    }
    bool yes = match_valid(re, ks_slice(copy, len));
    if (copy != room)
        ks_free(copy);
    return yes;
}

bool ks_regex_match(const struct ks_regex *re, struct ks_slice text)
{
    if (!text.len)
        return re->matches_empty;
    if (re->shape == KS_REGEX_ANY || re->shape == KS_REGEX_NONEMPTY)
        return true;
    if (is_ascii(text) || is_utf8(text))
        return match_valid(re, text);
    return match_repaired(re, text);
}

static ks_err compile_regex(const struct ks_matcher *m, struct ks_cmatcher *c)
{
    bool negative = m->op == KS_MATCH_NRE;
    KS_TRY(ks_regex_get(m->value, &c->re));
    const struct ks_regex *re = c->re;
    if (re->shape == KS_REGEX_ANY || (re->shape == KS_REGEX_NONEMPTY && re->matches_empty))
        c->ask = negative ? KS_ASK_NONE : KS_ASK_ALL;
    else if (re->shape == KS_REGEX_NONEMPTY)
        c->ask = negative ? KS_ASK_HAS_NOT : KS_ASK_HAS;
    else if (re->shape == KS_REGEX_SET && !re->literal_count)
        c->ask = negative ? KS_ASK_HAS : KS_ASK_HAS_NOT; /* only "" */
    else if (re->matches_empty)
        c->ask = negative ? KS_ASK_HAS_AND_NOT_IN : KS_ASK_HAS_NOT_OR_IN;
    else
        c->ask = negative ? KS_ASK_NOT_IN : KS_ASK_IN;
    return KS_OK;
}

static ks_err compile_matcher(const struct ks_matcher *m, struct ks_cmatcher *c)
{
    *c = (struct ks_cmatcher){.name = m->name, .value = m->value};
    switch (m->op) {
    case KS_MATCH_EQ:
        c->ask = m->value.len ? KS_ASK_IN : KS_ASK_HAS_NOT;
        return KS_OK;
    case KS_MATCH_NEQ:
        c->ask = m->value.len ? KS_ASK_NOT_IN : KS_ASK_HAS;
        return KS_OK;
    case KS_MATCH_RE:
    case KS_MATCH_NRE:
        return compile_regex(m, c);
    }
    return ks_fail(KS_EINVAL, "unknown match operator %d", (int)m->op);
}

ks_err ks_cselector_compile(const struct ks_selector *s, struct ks_cselector *ret)
{
    struct ks_cselector c = {0};
    c.items = ks_zalloc_array(s->count ? s->count : 1, sizeof *c.items);
    if (!c.items)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->count; i++) {
        c.count = i + 1;
        ks_err err = compile_matcher(&s->matchers[i], &c.items[i]);
        if (err != KS_OK) {
            ks_cselector_done(&c);
            return err;
        }
    }
    *ret = c;
    return KS_OK;
}

void ks_cselector_done(struct ks_cselector *s)
{
    for (size_t i = 0; i < s->count; i++)
        ks_regex_unref(s->items[i].re);
    ks_free(s->items);
    *s = (struct ks_cselector){0};
}

bool ks_cmatcher_in(const struct ks_cmatcher *m, struct ks_slice value)
{
    return m->re ? ks_regex_match(m->re, value) : ks_slice_eq(m->value, value);
}

bool ks_cmatcher_match(const struct ks_cmatcher *m, struct ks_slice value)
{
    switch (m->ask) {
    case KS_ASK_ALL:
        return true;
    case KS_ASK_NONE:
        return false;
    case KS_ASK_HAS:
        return value.len > 0;
    case KS_ASK_HAS_NOT:
        return value.len == 0;
    case KS_ASK_IN:
        return value.len && ks_cmatcher_in(m, value);
    case KS_ASK_NOT_IN:
        return !value.len || !ks_cmatcher_in(m, value);
    case KS_ASK_HAS_AND_NOT_IN:
        return value.len && !ks_cmatcher_in(m, value);
    case KS_ASK_HAS_NOT_OR_IN:
        return !value.len || ks_cmatcher_in(m, value);
    }
    return false;
}

bool ks_cselector_match(const struct ks_cselector *s, struct ks_slice label_bytes)
{
    for (size_t i = 0; i < s->count; i++)
        if (!ks_cmatcher_match(&s->items[i], ks_labels_get(label_bytes, s->items[i].name)))
            return false;
    return true;
}
