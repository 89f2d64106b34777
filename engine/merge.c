/*
 * Merges run without commit_lock on pinned parts; the result is published only when its inputs are
 * still listed with the tombstones it was made from, else it is thrown away and made again later.
 */
#include "engine/merge.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "compaction/compact.h"
#include "engine/commit.h"
#include "sys/clock.h"

struct merge {
    struct ks_engine *e;
    struct ksi_part_list *l; /* pinned */
    struct ks_compact_candidate *cand;
    size_t *pick;
    size_t count;
    int level;
    struct ks_compact_input *in;
    struct ksi_part **gone;
    struct ks_compact_result result;
    int64_t now_ms;      /* by which the rules are judged */
    uint32_t resolution; /* of the new part */
};

/* Rows that a selector matches, over all tenants of an index. */
struct expired {
    struct ks_sindex *index;
    const struct ks_selector *selector;
    roaring_bitmap_t *bits;
    ks_err err;
};

static bool add_rows(void *arg, struct ks_tenant tenant)
{
    struct expired *x = arg;
    roaring_bitmap_t *rows;
    x->err = ks_sindex_select(x->index, tenant, x->selector, 1, &rows);
    if (x->err != KS_OK)
        return false;
    roaring_bitmap_or_inplace(x->bits, rows);
    roaring_bitmap_free(rows);
    return true;
}

/* Rows of a part whose samples have all outlived their rules, in thousandths. */
static ks_err count_expired(struct ks_engine *e, const struct ksi_part *p, int64_t now_ms,
                            uint32_t *ret)
{
    size_t count;
    const struct ks_retention_rule *rules = ks_rules_retention(e->rules, &count);
    struct expired x = {.bits = roaring_bitmap_create()};
    ks_err err = x.bits ? KS_OK : ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
    for (size_t i = 0; i < count && err == KS_OK; i++) {
        if (p->max_ms >= now_ms - rules[i].keep_ms)
            continue;
        x.index = p->p.index;
        x.selector = &rules[i].selector;
        err = ks_sindex_tenants(p->p.index, add_rows, &x);
        err = err == KS_OK ? x.err : err;
    }
    if (err == KS_OK && p->series)
        *ret = (uint32_t)(roaring_bitmap_get_cardinality(x.bits) * 1000 / p->series);
    roaring_bitmap_free(x.bits);
    return err;
}

/*
 * What retention rules would free of a part; looked up once an hour. Rules that ask for the tenant
 * are left to the merges that come anyway: their rows are not in the index by that name.
 */
static double expired_share(struct ks_engine *e, struct ksi_part *p, int64_t now_ms)
{
    uint32_t permille = 0;
    if (p->max_ms >= now_ms - ks_rules_smallest_keep_ms(e->rules) || ks_rules_by_tenant(e->rules))
        return 0;
    if (now_ms - atomic_load(&p->expired_at_ms) >= KS_MS_HOUR ||
        now_ms < atomic_load(&p->expired_at_ms)) {
        if (count_expired(e, p, now_ms, &permille) != KS_OK)
            return 0; /* a damaged index shows when the part is read or merged */
        atomic_store(&p->expired_permille, permille);
        atomic_store(&p->expired_at_ms, now_ms);
    }
    return atomic_load(&p->expired_permille) / 1000.0;
}

static void describe(struct ks_engine *e, const struct ksi_part_view *v, int64_t now_ms,
                     struct ks_compact_candidate *c)
{
    struct ksi_part *p = v->part;
    *c = (struct ks_compact_candidate){.id = p->id,
                                       .bytes = p->bytes,
                                       .day = p->day,
                                       .created_ms = p->created_ms,
                                       .level = p->level,
                                       .has_deleted = v->tombs != NULL};
    if (v->tombs && p->series)
        c->deleted_share = (double)roaring_bitmap_get_cardinality(v->tombs->rows) / p->series;
    if (!e->rules)
        return;
    double expired = expired_share(e, p, now_ms);
    c->deleted_share = expired > c->deleted_share ? expired : c->deleted_share;
    uint32_t due = ks_rules_day_due(e->rules, p->day, now_ms);
    c->thin_due = due && due != p->resolution;
}

/* For ks_compact_merge: what the rules leave of a series. */
static void judge_series(void *arg, struct ks_tenant tenant, struct ks_slice labels,
                         struct ks_compact_series *ret)
{
    const struct merge *m = arg;
    struct ks_verdict v;
    ks_rules_judge(m->e->rules, tenant, labels, &v);
    ret->keep_from_ms = ks_verdict_keep_from(&v, m->now_ms);
    ret->resolution_ms = ks_verdict_day_resolution(&v, m->gone[0]->day, m->now_ms);
}

static bool still_listed(struct merge *m)
{
    struct ksi_part_list *now = ksi_parts_pin(&m->e->parts);
    size_t found = 0;
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k < now->count; k++)
            found += now->views[k].part == m->l->views[m->pick[i]].part &&
                     now->views[k].tombs == m->l->views[m->pick[i]].tombs;
    ksi_parts_unpin(now);
    return found == m->count;
}

static ks_err publish(struct merge *m, const char *path, uint64_t id)
{
    struct ks_engine *e = m->e;
    const struct ksi_part *first = m->gone[0];
    struct ksi_part *fresh = NULL;
    ks_err err = KS_OK;
    if (!m->result.empty)
        KS_TRY(ksi_part_open(e->vfs, e->cache, path, id, first->day, (uint8_t)m->level,
                             m->resolution, &fresh));
    struct ksi_change c = {
        .gone = m->gone, .gone_count = m->count, .fresh = &fresh, .fresh_count = fresh ? 1 : 0};
    pthread_mutex_lock(&e->commit_lock);
    bool valid = still_listed(m);
    if (valid)
        err = ksi_commit(e, &c);
    pthread_mutex_unlock(&e->commit_lock);
    if ((!valid || err != KS_OK) && fresh)
        ksi_discard(e, &fresh, 1);
    if (valid && err == KS_OK) {
        atomic_fetch_add(&e->merges, 1);
        atomic_fetch_add(&e->merged_rows, m->result.samples_in);
    }
    return err;
}

static ks_err merge_picked(struct merge *m)
{
    struct ks_engine *e = m->e;
    char path[4096];
    m->in = ks_zalloc_array(m->count, sizeof *m->in);
    m->gone = ks_zalloc_array(m->count, sizeof *m->gone);
    if (!m->in || !m->gone)
        return KS_ENOMEM;
    for (size_t i = 0; i < m->count; i++) {
        const struct ksi_part_view *v = &m->l->views[m->pick[i]];
        m->in[i] = (struct ks_compact_input){&v->part->p, v->tombs ? v->tombs->rows : NULL};
        m->gone[i] = v->part;
    }
    pthread_mutex_lock(&e->commit_lock);
    uint64_t id = e->manifest.next_id++;
    pthread_mutex_unlock(&e->commit_lock);
    KS_TRY(ksi_part_path(e, m->gone[0]->day, id, true, path));
    m->now_ms = ks_now_ms();
    m->resolution = ks_rules_day_due(e->rules, m->gone[0]->day, m->now_ms);
    struct ks_compact_opts o = {.vfs = e->vfs,
                                .path = path,
                                .level = m->level,
                                .dedup_interval_ms = e->opts.dedup_interval_ms,
                                .series = e->rules ? judge_series : NULL,
                                .arg = m,
                                .stop = &e->stop_work};
    atomic_fetch_add(&e->active_merges, 1);
    ks_err err = ks_compact_merge(&o, m->in, m->count, &m->result);
    atomic_fetch_sub(&e->active_merges, 1);
    for (size_t i = 0; i < m->count; i++)
        ksi_part_suspect(m->gone[i], err);
    return err == KS_OK ? publish(m, path, id) : err;
}

/* Inputs stay until the result is published: a merge that the disk has no room for would only fill
 * it for the writers. */
static ks_err check_room(struct merge *m, bool asked)
{
    struct ks_engine *e = m->e;
    uint64_t need = e->opts.min_free_disk_bytes, have = atomic_load(&e->free_disk_bytes);
    for (size_t i = 0; i < m->count; i++)
        need += m->l->views[m->pick[i]].part->bytes;
    if (!have || need <= have)
        return KS_OK;
    m->count = 0;
    if (asked)
        return ks_fail(KS_ENOSPC, "a merge needs %llu bytes of free disk, there are %llu",
                       (unsigned long long)need, (unsigned long long)have);
    ks_log_limited(60000, KS_LOG_WARN, "engine",
                   "parts are not merged: that needs %llu bytes of free disk, there are %llu",
                   (unsigned long long)need, (unsigned long long)have);
    return KS_OK;
}

/* One merge by the policy among parts of days the prefix names; *ret_done tells whether there was
 * one. */
static ks_err merge_one(struct ks_engine *e, const struct ks_compact_policy *policy,
                        const char *day_prefix, bool *ret_done)
{
    struct merge m = {.e = e, .l = ksi_parts_pin(&e->parts)};
    size_t n = 0, *view_of = ks_alloc_array(m.l->count, sizeof *view_of);
    m.cand = ks_alloc_array(m.l->count, sizeof *m.cand);
    m.pick = ks_alloc_array(m.l->count, sizeof *m.pick);
    ks_err err = m.cand && m.pick && view_of ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < m.l->count && err == KS_OK; i++) {
        char day[16];
        int64_t y;
        unsigned mo, d;
        ks_civil_from_days(m.l->views[i].part->day, &y, &mo, &d);
        snprintf(day, sizeof day, "%04u_%02u_%02u", (unsigned)y % 10000, mo, d);
        if (day_prefix && strncmp(day, day_prefix, strlen(day_prefix)) != 0)
            continue;
        view_of[n] = i;
        describe(e, &m.l->views[i], policy->now_ms, &m.cand[n++]);
    }
    if (err == KS_OK)
        m.count = ks_compact_pick(m.cand, n, policy, m.pick, &m.level);
    for (size_t i = 0; i < m.count; i++)
        m.pick[i] = view_of[m.pick[i]];
    if (err == KS_OK && m.count)
        err = check_room(&m, policy->force);
    if (err != KS_OK)
        m.count = 0;
    *ret_done = m.count > 0;
    if (m.count)
        err = merge_picked(&m);
    ks_free(view_of);
    ks_free(m.cand);
    ks_free(m.pick);
    ks_free(m.in);
    ks_free(m.gone);
    ksi_parts_unpin(m.l);
    return err;
}

static struct ks_compact_policy policy_now(bool force)
{
    return (struct ks_compact_policy){.now_ms = ks_now_ms(), .force = force};
}

ks_err ksi_merge_step(struct ks_engine *e)
{
    struct ks_compact_policy p = policy_now(false);
    bool done;
    return merge_one(e, &p, NULL, &done);
}

ks_err ks_engine_merge(struct ks_engine *e, const char *day_prefix)
{
    struct ks_compact_policy p = policy_now(true);
    bool more = true;
    KS_TRY(ks_engine_flush(e));
    while (more) {
        bool any = false;
        ks_err err = merge_one(e, &p, day_prefix, &more);
        if (err == KS_ECORRUPT)
            KS_TRY(ksi_quarantine_suspects(e, &any));
        if (err != KS_OK && !any)
            return err;
        more |= any;
    }
    return KS_OK;
}
