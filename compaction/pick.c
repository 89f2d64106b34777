/*
 * What to merge next. Within a day: four or more L0 parts make an L1, four or more L1 parts another L1; a day that is over is made one L2
 * part. Parts with many deleted rows are rewritten alone. Days are taken newest first, cheap merges before dear ones.
 */
#include "base/time.h"
#include "compaction/compact.h"

enum { FANIN_MIN = 4, FANIN_MAX = 16, SETTLE_MS = 3600000 };
static const uint64_t default_max_bytes = (uint64_t)32 << 30;

struct group {
    int64_t day;
    int level; /* of the inputs; -1: any */
    size_t count;
    uint64_t bytes;
};

static bool in_group(const struct ks_compact_candidate *c, const struct group *g)
{
    return c->day == g->day && (g->level < 0 || c->level == g->level);
}

/* Collects at most FANIN_MAX parts of the group, smallest sum first by their order in the list. */
static size_t collect(const struct ks_compact_candidate *list, size_t count, struct group *g, uint64_t max_bytes,
                      size_t *pick)
{
    size_t n = 0;
    g->bytes = 0;
    for (size_t i = 0; i < count && n < FANIN_MAX; i++) {
        if (!in_group(&list[i], g) || g->bytes + list[i].bytes > max_bytes)
            continue;
        g->bytes += list[i].bytes;
        pick[n++] = i;
    }
    return n;
}

/* A finished day with more than one part, or one that never reached the last level. */
static bool day_due(const struct ks_compact_candidate *list, size_t count, int64_t day)
{
    size_t parts = 0, below = 0;
    for (size_t i = 0; i < count; i++) {
        parts += list[i].day == day;
        below += list[i].day == day && list[i].level < 2;
    }
    return parts > 1 && below > 0;
}

static size_t pick_level(const struct ks_compact_candidate *list, size_t count, int level, uint64_t max_bytes,
                         size_t *pick)
{
    for (size_t i = count; i-- > 0;) {
        struct group g = {.day = list[i].day, .level = level};
        if (list[i].level != level)
            continue;
        size_t n = collect(list, count, &g, max_bytes, pick);
        if (n >= FANIN_MIN)
            return n;
    }
    return 0;
}

static size_t pick_day(const struct ks_compact_candidate *list, size_t count, const struct ks_compact_policy *p,
                       uint64_t max_bytes, size_t *pick)
{
    for (size_t i = 0; i < count; i++) {
        bool over = (list[i].day + 1) * KS_MS_DAY + SETTLE_MS < p->now_ms;
        struct group g = {.day = list[i].day, .level = -1};
        if (!p->force && (!over || !day_due(list, count, list[i].day)))
            continue;
        size_t n = collect(list, count, &g, max_bytes, pick);
        if (n > 1 || (n == 1 && p->force && (list[pick[0]].level < 2 || list[pick[0]].has_deleted)))
            return n;
    }
    return 0;
}

size_t ks_compact_pick(const struct ks_compact_candidate *list, size_t count, const struct ks_compact_policy *policy,
                       size_t *pick, int *ret_level)
{
    uint64_t max_bytes = policy->max_part_bytes ? policy->max_part_bytes : default_max_bytes;
    size_t n = 0;
    if (!policy->force) {
        *ret_level = 1;
        if ((n = pick_level(list, count, 0, max_bytes, pick)) || (n = pick_level(list, count, 1, max_bytes / 8, pick)))
            return n;
    }
    *ret_level = 2;
    if ((n = pick_day(list, count, policy, max_bytes, pick)))
        return n;
    for (size_t i = 0; i < count && !policy->force; i++) {
        if (list[i].deleted_share > 0.3) {
            pick[0] = i;
            *ret_level = list[i].level > 1 ? 2 : 1;
            return 1;
        }
    }
    return 0;
}
