#include "retention/rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "index/matcher_compile.h"
#include "storage/codec/fold_samples.h"

/* One selector: what it asks of the labels and what of the tenant. */
struct side {
    struct ks_selector given, labels, tenant;
    struct ks_cselector clabels, ctenant;
};

struct keep_rule {
    struct side match;
    int64_t keep_ms;
};

struct thin_filter {
    unsigned number;
    struct side *matches; /* any of them */
    size_t match_count, match_cap;
    struct ks_downsample_level *levels;
    size_t level_count, level_cap;
    uint64_t hash; /* of the selectors as given */
};

struct ks_rules {
    struct ks_arena arena;
    struct ks_retention_rule *given;
    struct keep_rule *keeps;
    size_t keep_count;
    struct thin_filter *filters; /* in order of number */
    size_t filter_count;
    int64_t smallest_keep_ms, widest_ms;
    bool by_tenant;
};

enum { RULES_MAX_BYTES = 64 << 20 };

/* --- building --- */

static bool is_tenant_name(struct ks_slice name)
{
    return ks_slice_is(name, "vm_account_id") || ks_slice_is(name, "vm_project_id");
}

static ks_err copy_selector(struct ks_rules *r, const struct ks_selector *from,
                            struct ks_selector *ret)
{
    struct ks_matcher *m = ks_arena_array(&r->arena, from->count + 1, sizeof *m);
    if (!m)
        return ks_arena_err(&r->arena);
    for (size_t i = 0; i < from->count; i++) {
        m[i] = (struct ks_matcher){ks_arena_dup(&r->arena, from->matchers[i].name),
                                   ks_arena_dup(&r->arena, from->matchers[i].value),
                                   from->matchers[i].op};
        if (!m[i].name.ptr || !m[i].value.ptr)
            return ks_arena_err(&r->arena);
    }
    *ret = (struct ks_selector){m, from->count};
    return KS_OK;
}

/* sel is owned by the rules already. */
static ks_err make_side(struct ks_rules *r, const struct ks_selector *sel, struct side *ret)
{
    struct ks_matcher *labels = ks_arena_array(&r->arena, sel->count + 1, sizeof *labels);
    struct ks_matcher *tenant = ks_arena_array(&r->arena, sel->count + 1, sizeof *tenant);
    if (!labels || !tenant)
        return ks_arena_err(&r->arena);
    *ret = (struct side){.given = *sel, .labels = {labels, 0}, .tenant = {tenant, 0}};
    for (size_t i = 0; i < sel->count; i++) {
        struct ks_selector *to =
            is_tenant_name(sel->matchers[i].name) ? &ret->tenant : &ret->labels;
        to->matchers[to->count++] = sel->matchers[i];
    }
    r->by_tenant |= ret->tenant.count > 0;
    KS_TRY(ks_cselector_compile(&ret->labels, &ret->clabels));
    ks_err err = ks_cselector_compile(&ret->tenant, &ret->ctenant);
    if (err != KS_OK)
        ks_cselector_done(&ret->clabels);
    return err;
}

static ks_err add_keeps(struct ks_rules *r, const struct ks_retention_rule *keep, size_t count)
{
    r->given = ks_arena_array(&r->arena, count + 1, sizeof *r->given);
    r->keeps = ks_arena_array(&r->arena, count + 1, sizeof *r->keeps);
    if (!r->given || !r->keeps)
        return ks_arena_err(&r->arena);
    for (size_t i = 0; i < count; i++) {
        r->given[i].keep_ms = keep[i].keep_ms;
        KS_TRY(copy_selector(r, &keep[i].selector, &r->given[i].selector));
        r->keeps[i].keep_ms = keep[i].keep_ms;
        KS_TRY(make_side(r, &r->given[i].selector, &r->keeps[i].match));
        r->keep_count++;
        if (keep[i].keep_ms < r->smallest_keep_ms)
            r->smallest_keep_ms = keep[i].keep_ms;
    }
    return KS_OK;
}

static struct thin_filter *filter_of(struct ks_rules *r, unsigned number)
{
    size_t at = 0;
    while (at < r->filter_count && r->filters[at].number < number)
        at++;
    if (at == r->filter_count || r->filters[at].number != number) {
        memmove(r->filters + at + 1, r->filters + at, (r->filter_count - at) * sizeof *r->filters);
        r->filters[at] = (struct thin_filter){.number = number};
        r->filter_count++;
    }
    return &r->filters[at];
}

static uint64_t selector_hash(const struct ks_selector *s)
{
    uint64_t h = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_matcher *m = &s->matchers[i];
        uint64_t part[4] = {h, ks_hash64(m->name.ptr, m->name.len),
                            ks_hash64(m->value.ptr, m->value.len), m->op};
        h = ks_hash64(part, sizeof part);
    }
    return h;
}

static bool same_selector(const struct ks_selector *a, const struct ks_selector *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->matchers[i].op != b->matchers[i].op ||
            !ks_slice_eq(a->matchers[i].name, b->matchers[i].name) ||
            !ks_slice_eq(a->matchers[i].value, b->matchers[i].value))
            return false;
    return true;
}

static ks_err add_thin(struct ks_rules *r, const struct ks_downsample_rule *rule)
{
    struct thin_filter *f = filter_of(r, rule->filter);
    bool known = false;
    for (size_t i = 0; i < f->level_count; i++)
        known |= f->levels[i].after_ms == rule->after_ms &&
                 f->levels[i].resolution_ms == rule->resolution_ms;
    if (!known && rule->resolution_ms > 0) {
        KS_TRY(ks_arena_grow(&r->arena, (void **)&f->levels, &f->level_cap, f->level_count + 1,
                             sizeof *f->levels));
        f->levels[f->level_count++] =
            (struct ks_downsample_level){rule->after_ms, rule->resolution_ms};
        if (rule->resolution_ms > r->widest_ms)
            r->widest_ms = rule->resolution_ms;
    }
    for (size_t i = 0; i < f->match_count; i++)
        if (same_selector(&f->matches[i].given, &rule->selector))
            return KS_OK;
    struct ks_selector kept;
    KS_TRY(copy_selector(r, &rule->selector, &kept));
    KS_TRY(ks_arena_grow(&r->arena, (void **)&f->matches, &f->match_cap, f->match_count + 1,
                         sizeof *f->matches));
    KS_TRY(make_side(r, &kept, &f->matches[f->match_count]));
    f->match_count++;
    uint64_t both[2] = {f->hash, selector_hash(&kept)};
    f->hash = ks_hash64(both, sizeof both);
    return KS_OK;
}

static int by_after(const void *pa, const void *pb)
{
    const struct ks_downsample_level *a = pa, *b = pb;
    return (a->after_ms > b->after_ms) - (a->after_ms < b->after_ms);
}

static ks_err check_levels(const struct thin_filter *f, int64_t dedup_ms)
{
    for (size_t i = 0; i < f->level_count; i++) {
        int64_t finer = i ? f->levels[i - 1].resolution_ms : dedup_ms > 1 ? dedup_ms : 1;
        if (i && f->levels[i].after_ms == f->levels[i - 1].after_ms)
            return ks_fail(KS_EINVAL,
                           "downsampling: two intervals for the same offset of one filter");
        if (f->levels[i].resolution_ms % finer)
            return ks_fail(KS_EINVAL,
                           "downsampling: interval %lld ms is no multiple of %lld ms, the %s; each "
                           "interval must be a "
                           "multiple of the one before it and of -dedup.minScrapeInterval",
                           (long long)f->levels[i].resolution_ms, (long long)finer,
                           i ? "interval of the smaller offset" : "dedup interval");
    }
    return KS_OK;
}

static ks_err add_thins(struct ks_rules *r, const struct ks_downsample_rule *thin, size_t count,
                        int64_t dedup_ms)
{
    r->filters = ks_arena_array(&r->arena, count + 1, sizeof *r->filters);
    if (!r->filters)
        return ks_arena_err(&r->arena);
    for (size_t i = 0; i < count; i++)
        KS_TRY(add_thin(r, &thin[i]));
    for (size_t i = 0; i < r->filter_count; i++) {
        if (r->filters[i].level_count)
            qsort(r->filters[i].levels, r->filters[i].level_count, sizeof *r->filters[i].levels,
                  by_after);
        KS_TRY(check_levels(&r->filters[i], dedup_ms));
    }
    return KS_OK;
}

ks_err ks_rules_new(const struct ks_retention_rule *keep, size_t keep_count,
                    const struct ks_downsample_rule *thin, size_t thin_count, int64_t dedup_ms,
                    struct ks_rules **ret)
{
    *ret = NULL;
    if (!keep_count && !thin_count)
        return KS_OK;
    struct ks_rules *r = ks_zalloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    ks_arena_init(&r->arena, RULES_MAX_BYTES);
    r->smallest_keep_ms = INT64_MAX;
    ks_err err = add_keeps(r, keep, keep_count);
    if (err == KS_OK)
        err = add_thins(r, thin, thin_count, dedup_ms);
    if (err != KS_OK) {
        ks_rules_free(r);
        return err;
    }
    *ret = r;
    return KS_OK;
}

static void side_done(struct side *s)
{
    ks_cselector_done(&s->clabels);
    ks_cselector_done(&s->ctenant);
}

void ks_rules_free(struct ks_rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->keep_count; i++)
        side_done(&r->keeps[i].match);
    for (size_t i = 0; i < r->filter_count; i++)
        for (size_t k = 0; k < r->filters[i].match_count; k++)
            side_done(&r->filters[i].matches[k]);
    ks_arena_done(&r->arena);
    ks_free(r);
}

/* --- asking --- */

static bool matches(const struct side *s, struct ks_tenant tenant, struct ks_slice labels)
{
    for (size_t i = 0; i < s->ctenant.count; i++) {
        char text[24];
        bool account = ks_slice_is(s->ctenant.items[i].name, "vm_account_id");
        size_t n = ks_u64_format(text, account ? tenant.account : tenant.project);
        if (!ks_cmatcher_match(&s->ctenant.items[i], ks_slice(text, n)))
            return false;
    }
    return ks_cselector_match(&s->clabels, labels);
}

void ks_rules_judge(const struct ks_rules *r, struct ks_tenant tenant, struct ks_slice labels,
                    struct ks_verdict *ret)
{
    *ret = (struct ks_verdict){.keep_ms = INT64_MAX};
    if (!r)
        return;
    for (size_t i = 0; i < r->keep_count; i++)
        if (r->keeps[i].keep_ms < ret->keep_ms && matches(&r->keeps[i].match, tenant, labels))
            ret->keep_ms = r->keeps[i].keep_ms;
    for (size_t i = 0; i < r->filter_count; i++) {
        for (size_t k = 0; k < r->filters[i].match_count; k++) {
            if (!matches(&r->filters[i].matches[k], tenant, labels))
                continue;
            ret->levels = r->filters[i].levels;
            ret->level_count = r->filters[i].level_count;
            return;
        }
    }
}

int64_t ks_verdict_keep_from(const struct ks_verdict *v, int64_t now_ms)
{
    return v->keep_ms == INT64_MAX ? INT64_MIN : now_ms - v->keep_ms;
}

/* The end of the last whole slot that is old enough for a level. */
static int64_t reach_of(const struct ks_downsample_level *l, int64_t now_ms)
{
    int64_t old = now_ms - l->after_ms;
    return old < 0 ? -1 : old / l->resolution_ms * l->resolution_ms;
}

size_t ks_verdict_thin(const struct ks_verdict *v, int64_t now_ms, int64_t *times, double *values,
                       size_t count)
{
    size_t done = 0, out = 0;
    for (size_t i = v->level_count; i-- > 0;) {
        size_t end = ks_samples_lower_bound(times, count, reach_of(&v->levels[i], now_ms) + 1);
        if (end <= done)
            continue;
        size_t n =
            ks_samples_dedup(times + done, values + done, end - done, v->levels[i].resolution_ms);
        if (out != done) {
            memmove(times + out, times + done, n * sizeof *times);
            memmove(values + out, values + done, n * sizeof *values);
        }
        out += n;
        done = end;
    }
    if (out != done) {
        memmove(times + out, times + done, (count - done) * sizeof *times);
        memmove(values + out, values + done, (count - done) * sizeof *values);
    }
    return out + count - done;
}

bool ks_verdict_thins(const struct ks_verdict *v, int64_t now_ms, int64_t min_ms)
{
    for (size_t i = 0; i < v->level_count; i++)
        if (min_ms <= reach_of(&v->levels[i], now_ms))
            return true;
    return false;
}

static int64_t day_resolution(const struct ks_downsample_level *levels, size_t count, int64_t day,
                              int64_t now_ms)
{
    int64_t end = (day + 1) * KS_MS_DAY;
    for (size_t i = count; i-- > 0;) {
        /* An interval that does not divide the day has a slot that reaches into the next one. */
        int64_t over = KS_MS_DAY % levels[i].resolution_ms ? levels[i].resolution_ms : 0;
        if (end + over + levels[i].after_ms <= now_ms)
            return levels[i].resolution_ms;
    }
    return 0;
}

int64_t ks_verdict_day_resolution(const struct ks_verdict *v, int64_t day, int64_t now_ms)
{
    return day_resolution(v->levels, v->level_count, day, now_ms);
}

uint32_t ks_rules_day_due(const struct ks_rules *r, int64_t day, int64_t now_ms)
{
    uint64_t h = 0;
    bool any = false;
    for (size_t i = 0; r && i < r->filter_count; i++) {
        int64_t res = day_resolution(r->filters[i].levels, r->filters[i].level_count, day, now_ms);
        uint64_t part[3] = {h, r->filters[i].hash, (uint64_t)res};
        any |= res > 0;
        h = ks_hash64(part, sizeof part);
    }
    uint32_t id = (uint32_t)(h ^ h >> 32);
    return !any ? 0 : id ? id : 1;
}

int64_t ks_rules_widest_ms(const struct ks_rules *r)
{
    return r ? r->widest_ms : 0;
}

int64_t ks_rules_smallest_keep_ms(const struct ks_rules *r)
{
    return r ? r->smallest_keep_ms : INT64_MAX;
}

int64_t ks_rules_youngest_ms(const struct ks_rules *r)
{
    int64_t youngest = ks_rules_smallest_keep_ms(r);
    for (size_t i = 0; r && i < r->filter_count; i++)
        for (size_t k = 0; k < r->filters[i].level_count; k++)
            if (r->filters[i].levels[k].after_ms < youngest)
                youngest = r->filters[i].levels[k].after_ms;
    return youngest;
}

const struct ks_retention_rule *ks_rules_retention(const struct ks_rules *r, size_t *ret_count)
{
    *ret_count = r ? r->keep_count : 0;
    return r ? r->given : NULL;
}

bool ks_rules_by_tenant(const struct ks_rules *r)
{
    return r && r->by_tenant;
}
