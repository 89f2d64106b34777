#include "tests/support/index_model.h"

#include <stdio.h>
#include <string.h>

#include "base/cxx/re2.h"
#include "base/mem.h"
#include "sys/rand.h"

void kst_model_init(struct kst_model *m, size_t count)
{
    m->v = ks_zalloc_array(count, sizeof *m->v);
    m->count = count;
    for (size_t i = 0; i < count; i++)
        ks_buf_init(&m->v[i].labels, 1 << 20);
}

void kst_model_done(struct kst_model *m)
{
    for (size_t i = 0; i < m->count; i++)
        ks_buf_done(&m->v[i].labels);
    ks_free(m->v);
}

struct ks_tenant kst_random_tenant(uint64_t *seed)
{
    uint32_t r = (uint32_t)ks_rng_below(seed, 8);
    return r < 6 ? (struct ks_tenant){0, 0} : (struct ks_tenant){r, 7};
}

static const char *const names[] = {"__name__",  "app", "instance", "job", "le",
                                    "n\xc3\xa9", "pod", "x",        "zone"};
enum { NAMES = sizeof names / sizeof *names };

static void random_value(uint64_t *seed, size_t name, struct ks_buf *out)
{
    ks_buf_reset(out);
    unsigned r = (unsigned)ks_rng_below(seed, name == 6 ? 200 : 12);
    switch (ks_rng_below(seed, 8)) {
    case 0:
        ks_buf_printf(out, "%u", r);
        break;
    case 1:
        ks_buf_printf(out, "foo-%c", 'a' + (int)(r % 5));
        break;
    case 2:
        ks_buf_printf(out, "foo-bar-%u", r);
        break;
    case 3:
        ks_buf_printf(out, "a\nb%u", r % 3);
        break;
    case 4:
        ks_buf_printf(out, "\xc3\xa9t\xc3\xa9%u", r % 4);
        break;
    case 5:
        ks_buf_str(out, r % 2 ? "bad\xff" : "bad\xc3");
        break;
    default:
        ks_buf_printf(out, "app-%u-7a%x", r, r * 2654435761u);
    }
}

void kst_random_labels(uint64_t *seed, struct ks_buf *out)
{
    struct ks_buf value;
    ks_buf_init(&value, 4096);
    for (size_t i = 0; i < NAMES; i++) {
        if (ks_rng_below(seed, 10) >= (i == 0 ? 9u : 6u))
            continue;
        random_value(seed, i, &value);
        ks_buf_lp(out, ks_slice_str(names[i]));
        ks_buf_lp(out, ks_buf_view(&value));
    }
    ks_buf_done(&value);
}

static const char *const patterns[] = {
    "",
    ".*",
    ".+",
    "foo-a|foo-b",
    "foo.*",
    ".*bar.*",
    "app-1.*-7a.*",
    "foo-[ab]",
    "[0-9]+",
    "\\d",
    "(?i)FOO-A",
    "a.b1",
    "(foo|app)-.*",
    "",
    "foo-a?",
    "|foo-a",
    "(1|2|3)?",
    "foo-(a|b|)",
    "1|",
    "[^0-9].*",
    "app-\\d+-.*",
    "bad.",
    "bad.*",
    "\xc3\xa9.*",
    ".t..",
    "()",
    "a{0}",
    "foo-a{1,2}",
    "^foo-a$",
    "^1|2$",
    "(a|f).*(r-1|-b)",
    ".*.+",
    ".+.+",
    "foo\\-a",
    "x*",
    "(foo-|)bar-?",
    "app-.+-7a.*|1|2|foo-c",
    ".*-.*-.*",
    "a\\nb.",
    ".{3}",
    ".{0,5}",
};

void kst_random_question(uint64_t *seed, struct kst_question *q)
{
    memset(q, 0, sizeof *q);
    struct ks_buf value;
    ks_buf_init(&value, 64);
    q->count = ks_rng_below(seed, 4) ? 1 : ks_rng_below(seed, KST_MODEL_SELECTORS + 1);
    for (size_t s = 0; s < q->count; s++) {
        q->selectors[s].matchers = q->matchers[s];
        q->selectors[s].count = ks_rng_below(seed, KST_MODEL_MATCHERS + 1);
        for (size_t i = 0; i < q->selectors[s].count; i++) {
            struct ks_matcher *m = &q->matchers[s][i];
            size_t name = ks_rng_below(seed, NAMES + 1);
            m->name = ks_slice_str(name < NAMES ? names[name] : "absent");
            m->op = (enum ks_match_op)ks_rng_below(seed, 4);
            if (m->op >= KS_MATCH_RE) {
                m->value =
                    ks_slice_str(patterns[ks_rng_below(seed, sizeof patterns / sizeof *patterns)]);
                continue;
            }
            random_value(seed, name, &value);
            size_t len = ks_rng_below(seed, 5) && value.len < 64 ? value.len : 0;
            memcpy(q->texts[s][i], value.ptr, len);
            m->value = ks_slice(q->texts[s][i], len);
        }
    }
    ks_buf_done(&value);
}

void kst_question_print(const struct kst_question *q)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    for (size_t s = 0; s < q->count; s++) {
        fprintf(stderr, "{");
        for (size_t i = 0; i < q->selectors[s].count; i++) {
            const struct ks_matcher *m = &q->matchers[s][i];
            fprintf(stderr, "%.*s%s\"%.*s\",", KS_SLICE_ARG(m->name), ops[m->op],
                    KS_SLICE_ARG(m->value));
        }
        fprintf(stderr, "} ");
    }
    fprintf(stderr, "\n");
}

/* Go's reading of bytes that are no UTF-8, written as plainly as can be. */
static void repair(struct ks_slice s, struct ks_buf *out)
{
    while (s.len) {
        struct ks_re *one = ks_re_new(".", 1, KS_RE_DOT_NL, NULL, 0);
        size_t n = 1;
        while (n <= 4 && n <= s.len && !ks_re_full_match(one, s.ptr, n))
            n++;
        ks_re_free(one);
        bool valid = n <= 4 && n <= s.len;
        ks_buf_slice(out, valid ? ks_slice(s.ptr, n) : KS_SLICE_LIT("\xef\xbf\xbd"));
        s = ks_slice_from(s, valid ? n : 1);
    }
}

static bool regex_matches(struct ks_slice pattern, struct ks_slice value)
{
    char why[128];
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    bool high = false;
    for (size_t i = 0; i < value.len; i++)
        high |= (value.ptr[i] & 0x80) != 0;
    if (high) {
        repair(value, &b);
        value = ks_buf_view(&b);
    }
    struct ks_re *re = ks_re_new(pattern.ptr, pattern.len, KS_RE_DOT_NL, why, sizeof why);
    bool yes = ks_re_full_match(re, value.ptr ? value.ptr : "", value.len);
    ks_re_free(re);
    ks_buf_done(&b);
    return yes;
}

bool kst_matches(const struct ks_selector *s, struct ks_slice label_bytes)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_matcher *m = &s->matchers[i];
        struct ks_slice v = ks_labels_get(label_bytes, m->name);
        bool regex = m->op == KS_MATCH_RE || m->op == KS_MATCH_NRE;
        bool negative = m->op == KS_MATCH_NEQ || m->op == KS_MATCH_NRE;
        bool yes = regex ? regex_matches(m->value, v) : ks_slice_eq(v, m->value);
        if (yes == negative)
            return false;
    }
    return true;
}

roaring_bitmap_t *kst_model_select(const struct kst_model *m, struct ks_tenant tenant,
                                   const struct ks_selector *selectors, size_t count)
{
    roaring_bitmap_t *out = roaring_bitmap_create();
    for (size_t i = 0; i < m->count; i++) {
        if (!m->v[i].used || !ks_tenant_eq(m->v[i].tenant, tenant))
            continue;
        bool yes = count == 0;
        for (size_t s = 0; s < count && !yes; s++)
            yes = kst_matches(&selectors[s], ks_buf_view(&m->v[i].labels));
        if (yes)
            roaring_bitmap_add(out, (uint32_t)i);
    }
    return out;
}

uint64_t kst_model_count(const struct kst_model *m, struct ks_tenant tenant,
                         const roaring_bitmap_t *rows, struct ks_slice name,
                         const struct ks_slice *value)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct kst_series *s = &m->v[i];
        if (!s->used || !ks_tenant_eq(s->tenant, tenant) ||
            (rows && !roaring_bitmap_contains(rows, (uint32_t)i)))
            continue;
        struct ks_slice v = ks_labels_get(ks_buf_view(&s->labels), name);
        n += value ? v.len && ks_slice_eq(v, *value) : v.len > 0;
    }
    return n;
}

bool kst_on_label(void *heard, struct ks_slice text, uint64_t row_count)
{
    struct kst_heard *h = heard;
    uint64_t want = h->name.len ? kst_model_count(h->m, h->tenant, h->rows, h->name, &text)
                                : kst_model_count(h->m, h->tenant, h->rows, text, NULL);
    KS_ASSERT(row_count == want && row_count > 0);
    KS_ASSERT(!h->calls || ks_slice_cmp(ks_slice(h->last, h->last_len), text) < 0);
    KS_ASSERT(text.len <= sizeof h->last);
    memcpy(h->last, text.ptr, text.len);
    h->last_len = text.len;
    h->sum += row_count;
    h->calls++;
    return true;
}
