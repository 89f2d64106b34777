/*
 * What to merge next. The rules are in compact.h; here is how they are found. Within a day parts
 * are looked at smallest first, so that a merge takes many small ones rather than few big ones;
 * every choice either lessens the number of parts or clears the mark that led to it, which is why
 * repeated picking ends. Pure functions.
 */
#include <stdlib.h>

#include "base/time.h"
#include "compaction/compact.h"

enum {
    L0_FANIN = 4,
    L1_FANIN = 8,
    FANIN_MAX = 64,
    SETTLE_MS = 3600000,
    QUIET_MS = 12 * 3600000,
    SIZE_SPREAD = 4
};
static const uint64_t default_max_bytes = (uint64_t)32 << 30;
static const double alone_l2_share = 0.1, alone_share = 0.3;

struct scan {
    const struct ks_compact_candidate *list;
    size_t count;
    const struct ks_compact_policy *p;
    uint64_t max_bytes;
    size_t *pick;
};

/* Puts index i into pick[0..n), ascending by size; ties by index. */
static void insert(const struct scan *s, size_t n, size_t i)
{
    while (n && s->list[s->pick[n - 1]].bytes > s->list[i].bytes) {
        s->pick[n] = s->pick[n - 1];
        n--;
    }
    s->pick[n] = i;
}

/* All parts of a day up to a level, smallest first, as far as the size goes. */
static size_t collect(const struct scan *s, int64_t day, int min_level, int max_level)
{
    size_t n = 0, kept = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->list[i].day == day && s->list[i].level >= min_level && s->list[i].level <= max_level)
            insert(s, n++, i);
    while (kept < n && kept < FANIN_MAX && bytes + s->list[s->pick[kept]].bytes <= s->max_bytes)
        bytes += s->list[s->pick[kept++]].bytes;
    return kept;
}

/* Of the parts picked, ascending by size, the first run of at least `fanin` that are of about one
 * size. */
static size_t similar(const struct scan *s, size_t n, size_t fanin)
{
    for (size_t from = 0; from + fanin <= n; from++) {
        uint64_t least = s->list[s->pick[from]].bytes + 1;
        size_t to = from;
        while (to < n && s->list[s->pick[to]].bytes / SIZE_SPREAD <= least)
            to++;
        if (to - from < fanin)
            continue;
        for (size_t i = from; i < to; i++)
            s->pick[i - from] = s->pick[i];
        return to - from;
    }
    return 0;
}

/* The first part of its day in the list stands for the day. */
static bool first_of_day(const struct scan *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (s->list[k].day == s->list[i].day)
            return false;
    return true;
}

/* --- a finished day --- */

struct day {
    size_t lower, upper; /* parts below L2; of L2 */
    uint64_t lower_bytes, upper_bytes;
    int64_t newest_ms; /* when the youngest part below L2 was made */
};

static struct day look_at(const struct scan *s, int64_t number)
{
    struct day d = {.newest_ms = INT64_MIN};
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_compact_candidate *c = &s->list[i];
        if (c->day != number)
            continue;
        if (c->level >= 2) {
            d.upper++;
            d.upper_bytes += c->bytes;
            continue;
        }
        d.lower++;
        d.lower_bytes += c->bytes;
        d.newest_ms = c->created_ms > d.newest_ms ? c->created_ms : d.newest_ms;
    }
    return d;
}

static size_t count_below(const struct scan *s, size_t n)
{
    size_t below = 0;
    for (size_t i = 0; i < n; i++)
        below += s->list[s->pick[i]].level < 2;
    return below;
}

static size_t pick_finished(const struct scan *s, int64_t number, int *ret_level)
{
    struct day d = look_at(s, number);
    int64_t now = s->p->now_ms;
    if (!d.lower || (number + 1) * KS_MS_DAY + SETTLE_MS > now || d.newest_ms + SETTLE_MS > now)
        return 0;
    bool quiet = d.newest_ms + QUIET_MS <= now;
    bool join = !d.upper || d.lower_bytes >= d.upper_bytes / 2 ||
                (quiet && d.lower_bytes >= d.upper_bytes / 16);
    size_t n = collect(s, number, 0, join ? 2 : 1);
    *ret_level = join ? 2 : 1;
    if (!join) /* what came late waits as one part */
        return n > 1 ? n : 0;
    if (n > 1 && count_below(s, n))
        return n;
    return collect(s, number, 0, 1); /* full parts above: these go up by themselves */
}

static size_t pick_forced(const struct scan *s, size_t i)
{
    size_t n = collect(s, s->list[i].day, 0, 9);
    if (n > 1)
        return n;
    for (size_t k = 0; k < s->count; k++) {
        const struct ks_compact_candidate *c = &s->list[k];
        if (c->day == s->list[i].day &&
            (c->level < 2 || c->has_deleted || c->deleted_share > 0 || c->thin_due)) {
            s->pick[0] = k;
            return 1;
        }
    }
    return 0;
}

static size_t pick_alone(const struct scan *s, int *ret_level)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_compact_candidate *c = &s->list[i];
        bool last = c->level >= 2;
        if ((last && c->thin_due) || c->deleted_share > (last ? alone_l2_share : alone_share)) {
            s->pick[0] = i;
            *ret_level = last ? 2 : 1;
            return 1;
        }
    }
    return 0;
}

size_t ks_compact_pick(const struct ks_compact_candidate *list, size_t count,
                       const struct ks_compact_policy *policy, size_t *pick, int *ret_level)
{
    struct scan s = {list, count, policy,
                     policy->max_part_bytes ? policy->max_part_bytes : default_max_bytes, pick};
    size_t n = 0;
    /* Newest days first: they are asked for most. */
    for (size_t i = count; i-- > 0 && !policy->force;) {
        if (!first_of_day(&s, i))
            continue;
        *ret_level = 1;
        n = collect(&s, list[i].day, 0, 0);
        if (n >= L0_FANIN)
            return n;
        n = similar(&s, collect(&s, list[i].day, 1, 1), L1_FANIN);
        if (n)
            return n;
    }
    for (size_t i = 0; i < count; i++) {
        if (!first_of_day(&s, i))
            continue;
        *ret_level = 2;
        n = policy->force ? pick_forced(&s, i) : pick_finished(&s, list[i].day, ret_level);
        if (n)
            return n;
    }
    return policy->force ? 0 : pick_alone(&s, ret_level);
}
