#include "tests/support/memory_source.h"

#include "base/cxx/re2.h"
#include "base/mem.h"

struct ks_source_set {
    struct memory_source *m;
    size_t *items;
    size_t count;
};

size_t memory_source_add(struct memory_source *m, const char *const *labels)
{
    struct ks_label items[32];
    struct ks_labels l = {items, 0, 32};
    for (; labels[0]; labels += 2)
        items[l.count++] = (struct ks_label){ks_slice_str(labels[0]), ks_slice_str(labels[1])};
    ks_labels_canonicalise(&l);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 16);
    ks_labels_encode(&l, &b);
    if (ks_array_reserve((void **)&m->series, &m->cap, m->count + 1, sizeof *m->series) != KS_OK)
        return 0;
    m->series[m->count] =
        (struct memory_series){.labels = ks_slice(ks_memdup(b.ptr ? b.ptr : "", b.len), b.len)};
    ks_buf_done(&b);
    return m->count++;
}

void memory_source_sample(struct memory_source *m, size_t series, int64_t ms, double value)
{
    struct memory_series *s = &m->series[series];
    size_t cap = s->cap;
    if (ks_array_reserve((void **)&s->times, &cap, s->count + 1, sizeof *s->times) != KS_OK ||
        ks_array_reserve((void **)&s->values, &s->cap, s->count + 1, sizeof *s->values) != KS_OK)
        return;
    s->times[s->count] = ms;
    s->values[s->count++] = value;
}

void memory_source_done(struct memory_source *m)
{
    for (size_t i = 0; i < m->count; i++) {
        ks_free((void *)m->series[i].labels.ptr);
        ks_free(m->series[i].times);
        ks_free(m->series[i].values);
    }
    ks_free(m->series);
    *m = (struct memory_source){0};
}

static ks_err one_matches(const struct ks_matcher *m, struct ks_slice labels, bool *ret)
{
    struct ks_slice v = ks_labels_get(labels, m->name);
    if (m->op == KS_MATCH_EQ || m->op == KS_MATCH_NEQ) {
        *ret = ks_slice_eq(v, m->value) == (m->op == KS_MATCH_EQ);
        return KS_OK;
    }
    char err[128];
    struct ks_re *re =
        ks_re_new(m->value.ptr ? m->value.ptr : "", m->value.len, KS_RE_DOT_NL, err, sizeof err);
    if (!re)
        return ks_fail(KS_EINVAL, "cannot compile regexp: %s", err);
    *ret = (ks_re_full_match(re, v.ptr ? v.ptr : "", v.len) != 0) == (m->op == KS_MATCH_RE);
    ks_re_free(re);
    return KS_OK;
}

static ks_err matches(const struct ks_select_opts *o, struct ks_slice labels, bool *ret)
{
    *ret = o->selector_count == 0;
    for (size_t i = 0; i < o->selector_count && !*ret; i++) {
        bool all = true;
        for (size_t k = 0; k < o->selectors[i].count && all; k++)
            KS_TRY(one_matches(&o->selectors[i].matchers[k], labels, &all));
        *ret = all;
    }
    return KS_OK;
}

static ks_err mem_select(void *arg, const struct ks_select_opts *o, struct ks_source_set **ret)
{
    struct memory_source *m = arg;
    struct ks_source_set *set = ks_zalloc(sizeof *set);
    size_t cap = 0;
    ks_err err = set ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < m->count && err == KS_OK; i++) {
        bool in = false, any = false;
        err = matches(o, m->series[i].labels, &in);
        for (size_t k = 0; in && k < m->series[i].count && !any; k++)
            any = m->series[i].times[k] >= o->min_ms && m->series[i].times[k] <= o->max_ms;
        if (err == KS_OK && any)
            err = ks_array_reserve((void **)&set->items, &cap, set->count + 1, sizeof *set->items);
        if (err == KS_OK && any)
            set->items[set->count++] = i;
    }
    if (err != KS_OK) {
        if (set)
            ks_free(set->items);
        ks_free(set);
        return err;
    }
    set->m = m;
    *ret = set;
    return KS_OK;
}

static void mem_free(struct ks_source_set *set)
{
    if (!set)
        return;
    ks_free(set->items);
    ks_free(set);
}
static size_t mem_count(const struct ks_source_set *set)
{
    return set->count;
}
static struct ks_slice mem_labels(const struct ks_source_set *set, size_t i)
{
    struct ks_slice labels = set->m->series[set->items[i]].labels;
    return labels.ptr ? labels : ks_slice("", 0);
}
static struct ks_tenant mem_tenant(const struct ks_source_set *set, size_t i)
{
    return set->m->series[set->items[i]].tenant;
}
static ks_err mem_read(struct ks_source_set *set, size_t i, int64_t min_ms, int64_t max_ms,
                       struct ks_samples *out)
{
    const struct memory_series *s = &set->m->series[set->items[i]];
    size_t cap = out->cap;
    KS_TRY(ks_array_reserve((void **)&out->times, &cap, s->count + 1, sizeof *out->times));
    KS_TRY(ks_array_reserve((void **)&out->values, &out->cap, s->count + 1, sizeof *out->values));
    out->count = 0;
    for (size_t k = 0; k < s->count; k++)
        if (s->times[k] >= min_ms && s->times[k] <= max_ms) {
            out->times[out->count] = s->times[k];
            out->values[out->count++] = s->values[k];
        }
    return KS_OK;
}

struct ks_query_source memory_source_view(struct memory_source *m)
{
    return (struct ks_query_source){.arg = m,
                                    .select = mem_select,
                                    .set_free = mem_free,
                                    .count = mem_count,
                                    .labels = mem_labels,
                                    .tenant = mem_tenant,
                                    .read = mem_read};
}
