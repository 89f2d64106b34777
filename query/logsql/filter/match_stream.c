/* {label="value",…} against the labels of a stream. Label regexps match the whole value. */
#include "base/cxx/re2.h"
#include "base/labels.h"
#include "query/logsql/filter/match.h"

struct tag {
    const struct ks_lq_tag_filter *f;
    struct ks_re *re;
    struct ksi_lq_set *set;
};
struct ksi_lq_stream_match {
    const struct ks_lq_stream_filter *f;
    struct tag *tags; /* of all ORs, one after the other */
    size_t count;
};

ks_err ksi_lq_stream_match_new(const struct ks_lq_stream_filter *f, struct ks_arena *arena,
                               struct ksi_lq_stream_match **ret)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < f->count; i++)
        n += f->ors[i].count;
    struct ksi_lq_stream_match *m = ks_arena_zalloc(arena, sizeof *m);
    struct tag *tags = ks_arena_zalloc(arena, (n + 1) * sizeof *tags);
    if (!m || !tags)
        return ks_arena_err(arena);
    *m = (struct ksi_lq_stream_match){f, tags, 0};
    for (size_t i = 0; i < f->count; i++)
        for (size_t j = 0; j < f->ors[i].count; j++, k++) {
            const struct ks_lq_tag_filter *t = &f->ors[i].items[j];
            char why[200];
            tags[k].f = t;
            m->count = k + 1;
            if (t->op == KS_LQ_TAG_RE || t->op == KS_LQ_TAG_NRE) {
                tags[k].re = ks_re_new(t->value.ptr ? t->value.ptr : "", t->value.len, KS_RE_DOT_NL,
                                       why, sizeof why);
                if (!tags[k].re) {
                    ksi_lq_stream_match_done(m);
                    return ks_fail(KS_EPARSE, "bad regexp \"%.*s\" of a label: %s",
                                   KS_SLICE_ARG(t->value), why);
                }
            } else if (t->op == KS_LQ_TAG_IN || t->op == KS_LQ_TAG_NOT_IN) {
                KS_TRY(ksi_lq_set_new(arena, t->values.items, t->values.count, &tags[k].set));
            }
        }
    *ret = m;
    return KS_OK;
}

void ksi_lq_stream_match_done(struct ksi_lq_stream_match *m)
{
    for (size_t i = 0; m && i < m->count; i++) {
        ks_re_free(m->tags[i].re);
        m->tags[i].re = NULL;
    }
}

static bool tag_matches(const struct tag *t, struct ks_slice v)
{
    switch (t->f->op) {
    case KS_LQ_TAG_EQ:
        return ks_slice_eq(v, t->f->value);
    case KS_LQ_TAG_NE:
        return !ks_slice_eq(v, t->f->value);
    case KS_LQ_TAG_RE:
        return ks_re_full_match(t->re, v.ptr ? v.ptr : "", v.len);
    case KS_LQ_TAG_NRE:
        return !ks_re_full_match(t->re, v.ptr ? v.ptr : "", v.len);
    case KS_LQ_TAG_IN:
        return ksi_lq_set_has(t->set, v);
    case KS_LQ_TAG_NOT_IN:
        return !ksi_lq_set_has(t->set, v);
    }
    return false;
}

typedef struct ks_slice (*get_fn)(const void *arg, struct ks_slice name);

static bool match_with(const struct ksi_lq_stream_match *m, get_fn get, const void *arg)
{
    const struct tag *t = m->tags;
    for (size_t i = 0; i < m->f->count; i++) {
        size_t n = m->f->ors[i].count, k = 0;
        while (k < n && tag_matches(&t[k], get(arg, t[k].f->name)))
            k++;
        if (k == n)
            return true;
        t += n;
    }
    return m->f->count == 0;
}

static struct ks_slice get_label(const void *arg, struct ks_slice name)
{
    return ks_labels_get(*(const struct ks_slice *)arg, name);
}

bool ksi_lq_stream_match(const struct ksi_lq_stream_match *m, struct ks_slice tags)
{
    return match_with(m, get_label, &tags);
}

/* --- the printed form --- */

struct text_tags {
    struct ks_slice names[64], values[64];
    size_t count;
    char buf[4096];
    size_t used;
};

/* {name="value",…}: false when it is no such text or does not fit. */
static bool read_tags(struct ks_slice s, struct text_tags *t)
{
    size_t i = 1;
    t->count = t->used = 0;
    if (s.len < 2 || s.ptr[0] != '{' || s.ptr[s.len - 1] != '}' || s.len > sizeof t->buf)
        return false;
    while (i < s.len - 1) {
        size_t from = i;
        while (i < s.len && s.ptr[i] != '=')
            i++;
        if (i + 1 >= s.len || s.ptr[i + 1] != '"' || t->count == 64)
            return false;
        t->names[t->count] = ks_slice_sub(s, from, i - from);
        char *v = t->buf + t->used;
        size_t n = 0;
        for (i += 2; i < s.len && s.ptr[i] != '"'; i++) {
            if (s.ptr[i] == '\\' && i + 1 < s.len) {
                char c = s.ptr[++i];
                v[n++] = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
            } else {
                v[n++] = s.ptr[i];
            }
        }
        t->values[t->count++] = ks_slice(v, n);
        t->used += n;
        i++;
        if (i < s.len && s.ptr[i] == ',')
            i++;
    }
    return true;
}

static struct ks_slice get_text(const void *arg, struct ks_slice name)
{
    const struct text_tags *t = arg;
    for (size_t i = 0; i < t->count; i++)
        if (ks_slice_eq(t->names[i], name))
            return t->values[i];
    return ks_slice("", 0);
}

bool ksi_lq_stream_match_text(const struct ksi_lq_stream_match *m, struct ks_slice text)
{
    struct text_tags t;
    if (!read_tags(text, &t))
        return false;
    return match_with(m, get_text, &t);
}
