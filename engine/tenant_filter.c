/*
 * Reads over all tenants choose among them by filters on vm_account_id and vm_project_id, which are
 * no labels of any series.
 */
#include "base/num.h"
#include "engine/engine_priv.h"
#include "engine/series_set.h"
#include "index/matcher_compile.h"

static bool is_tenant_name(struct ks_slice name)
{
    return ks_slice_is(name, "vm_account_id") || ks_slice_is(name, "vm_project_id");
}

static bool asks_for_tenants(const struct ks_select_opts *o)
{
    for (size_t i = 0; i < o->selector_count; i++)
        for (size_t k = 0; k < o->selectors[i].count; k++)
            if (is_tenant_name(o->selectors[i].matchers[k].name))
                return true;
    return false;
}

/* One selector, taken apart. */
struct side {
    struct ks_selector labels, tenant;
    struct ks_cselector compiled; /* tenant */
};

static ks_err take_apart(const struct ks_selector *s, struct ks_arena *a, struct side *ret)
{
    ret->labels.matchers = ks_arena_array(a, s->count + 1, sizeof *s->matchers);
    ret->tenant.matchers = ks_arena_array(a, s->count + 1, sizeof *s->matchers);
    if (!ret->labels.matchers || !ret->tenant.matchers)
        return ks_arena_err(a);
    for (size_t i = 0; i < s->count; i++) {
        bool tenant = is_tenant_name(s->matchers[i].name);
        struct ks_selector *to = tenant ? &ret->tenant : &ret->labels;
        to->matchers[to->count++] = s->matchers[i];
    }
    return ks_cselector_compile(&ret->tenant, &ret->compiled);
}

static bool wants(const struct side *s, struct ks_tenant t)
{
    for (size_t i = 0; i < s->compiled.count; i++) {
        char text[24];
        bool account = ks_slice_is(s->compiled.items[i].name, "vm_account_id");
        size_t n = ks_u64_format(text, account ? t.account : t.project);
        if (!ks_cmatcher_match(&s->compiled.items[i], ks_slice(text, n)))
            return false;
    }
    return true;
}

static bool same_labels(const struct side *a, const struct side *b)
{
    bool same = a->labels.count == b->labels.count;
    for (size_t i = 0; i < a->labels.count && same; i++) {
        const struct ks_matcher *x = &a->labels.matchers[i], *y = &b->labels.matchers[i];
        same = x->op == y->op && ks_slice_eq(x->name, y->name) && ks_slice_eq(x->value, y->value);
    }
    return same;
}

/* Leaves the tenants some selector wants. Selectors that want different ones can be asked for
 * together only if they ask for the same labels. */
static ks_err choose(const struct side *sides, size_t count, struct ks_tenant *tenants,
                     size_t *tenant_count)
{
    size_t kept = 0;
    bool same = true;
    for (size_t i = 1; i < count; i++)
        same = same && same_labels(&sides[0], &sides[i]);
    for (size_t t = 0; t < *tenant_count; t++) {
        size_t n = 0;
        for (size_t i = 0; i < count; i++)
            n += wants(&sides[i], tenants[t]);
        if (n != 0 && n != count && !same)
            return ks_fail(KS_EINVAL,
                           "filters on vm_account_id and vm_project_id must choose the same "
                           "tenants in every alternative; ask separately");
        if (n)
            tenants[kept++] = tenants[t];
    }
    *tenant_count = kept;
    return KS_OK;
}

ks_err ks_engine_narrow_tenants(struct ks_engine *e, struct ks_select_opts *o, struct ks_arena *a)
{
    if (o->tenants || !asks_for_tenants(o))
        return KS_OK;
    struct ks_tenant *tenants = NULL, *own;
    size_t count, n = o->selector_count, made = 0;
    struct side *sides = ks_arena_zalloc(a, n * sizeof *sides);
    struct ks_selector *labels = ks_arena_array(a, n, sizeof *labels);
    if (!sides || !labels)
        return ks_arena_err(a);
    KS_TRY(ksi_tenants_of(e, o, a, &tenants, &count));
    own = ks_arena_array(a, count + 1, sizeof *own);
    if (!own)
        return ks_arena_err(a);
    if (count)
        memcpy(own, tenants, count * sizeof *own);
    ks_err err = KS_OK;
    for (; made < n && err == KS_OK; made += err == KS_OK) {
        err = take_apart(&o->selectors[made], a, &sides[made]);
        labels[made] = sides[made].labels;
    }
    if (err == KS_OK)
        err = choose(sides, n, own, &count);
    for (size_t i = 0; i < made; i++)
        ks_cselector_done(&sides[i].compiled);
    KS_TRY(err);
    o->tenants = own;
    o->tenant_count = count;
    o->selectors = labels;
    return KS_OK;
}
