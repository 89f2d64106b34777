/* Includes are intersected smallest first, excludes taken away last; cheap lookups go before scans
 * of values. */
#include "index/select.h"

#include <stdlib.h>

#include "base/mem.h"

struct plan {
    struct ksi_set *includes, *excludes;
    uint64_t *sizes;
    size_t include_count, exclude_count;
    bool empty;
};

static bool needs_scan(const struct ks_cmatcher *m)
{
    bool asks_values = m->ask >= KS_ASK_IN;
    return asks_values && m->re && m->re->shape == KS_REGEX_SCAN;
}

/* HAS without IN: what the two kinds need whose expression also matches "". */
static ks_err has_and_not_in(const struct ksi_source *src, const struct ks_cmatcher *m,
                             struct ksi_set *ret)
{
    struct ksi_set has, in;
    KS_TRY(src->has(src->self, m->name, &has));
    ks_err err = src->in(src->self, m, &in);
    if (err == KS_OK) {
        ret->bm = roaring_bitmap_andnot(has.bm, in.bm);
        ret->owned = true;
        ksi_set_done(&in);
        if (!ret->bm)
            err = ks_fail(KS_ENOMEM, "out of memory for a set of rows");
    }
    ksi_set_done(&has);
    return err;
}

static ks_err ask(const struct ksi_source *src, const struct ks_cmatcher *m, struct plan *p)
{
    struct ksi_set s = {0};
    bool include = true;
    switch (m->ask) {
    case KS_ASK_ALL:
        return KS_OK;
    case KS_ASK_NONE:
        p->empty = true;
        return KS_OK;
    case KS_ASK_HAS_NOT:
        include = false;
        /* fallthrough */
    case KS_ASK_HAS:
        KS_TRY(src->has(src->self, m->name, &s));
        break;
    case KS_ASK_NOT_IN:
        include = false;
        /* fallthrough */
    case KS_ASK_IN:
        KS_TRY(src->in(src->self, m, &s));
        break;
    case KS_ASK_HAS_NOT_OR_IN:
        include = false;
        /* fallthrough */
    case KS_ASK_HAS_AND_NOT_IN:
        KS_TRY(has_and_not_in(src, m, &s));
        break;
    }
    uint64_t size = roaring_bitmap_get_cardinality(s.bm);
    if (include) {
        p->empty = size == 0;
        p->sizes[p->include_count] = size;
        p->includes[p->include_count++] = s;
    } else if (size) {
        p->excludes[p->exclude_count++] = s;
    } else {
        ksi_set_done(&s);
    }
    return KS_OK;
}

static roaring_bitmap_t *combine(struct plan *p, const roaring_bitmap_t *universe)
{
    roaring_bitmap_t *out = NULL;
    if (p->include_count == 0)
        out = roaring_bitmap_copy(universe);
    for (size_t done = 0; done < p->include_count; done++) {
        size_t best = done;
        for (size_t i = done + 1; i < p->include_count; i++)
            if (p->sizes[i] < p->sizes[best])
                best = i;
        struct ksi_set s = p->includes[best];
        p->includes[best] = p->includes[done];
        p->includes[done] = s;
        p->sizes[best] = p->sizes[done];
        if (done == 0 && p->include_count > 1)
            continue;
        if (p->include_count == 1)
            out = roaring_bitmap_copy(s.bm);
        else if (done == 1)
            out = roaring_bitmap_and(p->includes[0].bm, s.bm);
        else if (!roaring_bitmap_is_empty(out))
            roaring_bitmap_and_inplace(out, s.bm);
        if (!out)
            return NULL;
    }
    for (size_t i = 0; i < p->exclude_count && out && !roaring_bitmap_is_empty(out); i++)
        roaring_bitmap_andnot_inplace(out, p->excludes[i].bm);
    return out;
}

ks_err ksi_index_select(const struct ksi_source *src, const struct ks_cmatcher *ms, size_t count,
                        const roaring_bitmap_t *universe, roaring_bitmap_t **ret)
{
    struct plan p = {0};
    size_t n = count ? count : 1;
    struct ksi_set *sets = ks_zalloc_array(2 * n, sizeof *sets);
    p.sizes = ks_alloc_array(n, sizeof *p.sizes);
    ks_err err = sets && p.sizes ? KS_OK : KS_ENOMEM;
    p.includes = sets;
    p.excludes = sets ? sets + n : NULL;
    for (int scans = 0; scans <= 1; scans++)
        for (size_t i = 0; err == KS_OK && i < count && !p.empty; i++)
            if (needs_scan(&ms[i]) == (bool)scans)
                err = ask(src, &ms[i], &p);
    if (err == KS_OK) {
        bool all = !p.empty && !p.include_count && !p.exclude_count;
        roaring_bitmap_t *out = all       ? NULL
                                : p.empty ? roaring_bitmap_create()
                                          : combine(&p, universe);
        if (!all && !out)
            err = ks_fail(KS_ENOMEM, "out of memory for a set of rows");
        *ret = out;
    }
    for (size_t i = 0; i < p.include_count; i++)
        ksi_set_done(&p.includes[i]);
    for (size_t i = 0; i < p.exclude_count; i++)
        ksi_set_done(&p.excludes[i]);
    ks_free(p.sizes);
    ks_free(sets);
    return err;
}
