/*
 * Facts and lookup of functions. Names are looked up in an open-addressed table of ids that is
 * filled once; no name is both a function and an aggregate within one dialect. Thread role: any.
 */
#include "query/promql/syntax/functions.h"

#include <pthread.h>
#include <string.h>

enum { M = 1, P = 2, E = 6, MP = 3, ME = 7 };

const struct ks_promql_func ks_promql_funcs[KS_FN_COUNT] = {
#define X(fid, fname, fkind, dialects, keeps, rollup, min, max, types, ret)                        \
    [KS_FN_##fid] = {.id = KS_FN_##fid,                                                            \
                     .name = fname,                                                                \
                     .kind = KS_FUNC_##fkind,                                                      \
                     .in_metricsql = ((dialects)&1) != 0,                                          \
                     .in_promql = ((dialects)&2) != 0,                                             \
                     .experimental = ((dialects)&4) != 0,                                          \
                     .keeps_name = keeps,                                                          \
                     .rollup_arg = rollup,                                                         \
                     .min_args = min,                                                              \
                     .max_args = max,                                                              \
                     .strict_args = types,                                                         \
                     .strict_ret = ret},
    KS_PROMQL_FUNCS(X)
#undef X
};

#define NAME_MAX_LEN 40
#define SLOTS        1024u /* power of two, > 4 × KS_FN_COUNT */
_Static_assert(KS_FN_COUNT * 4 <= SLOTS, "the name table would be too full");

static uint16_t slots[SLOTS]; /* id + 1, 0 = free */
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static uint32_t name_hash(const char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h ^ h >> 15;
}

static void fill_slots(void)
{
    for (unsigned id = 0; id < KS_FN_COUNT; id++) {
        const char *name = ks_promql_funcs[id].name;
        uint32_t i = name_hash(name, strlen(name)) & (SLOTS - 1);
        while (slots[i])
            i = (i + 1) & (SLOTS - 1);
        slots[i] = (uint16_t)(id + 1);
    }
}

static bool in_dialect(const struct ks_promql_func *f, enum ks_dialect dialect)
{
    return dialect == KS_METRICSQL ? f->in_metricsql : f->in_promql;
}

const struct ks_promql_func *ks_promql_func_find(enum ks_dialect dialect, struct ks_slice name)
{
    char lower[NAME_MAX_LEN];
    if (name.len == 0 || name.len > sizeof lower)
        return NULL;
    bool folded = false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool upper = c >= 'A' && c <= 'Z';
        lower[i] = upper ? (char)(c + 32) : c;
        folded |= upper;
    }
    pthread_once(&slots_once, fill_slots);
    for (uint32_t i = name_hash(lower, name.len) & (SLOTS - 1); slots[i];
         i = (i + 1) & (SLOTS - 1)) {
        const struct ks_promql_func *f = &ks_promql_funcs[slots[i] - 1];
        if (!in_dialect(f, dialect) || strlen(f->name) != name.len ||
            memcmp(f->name, lower, name.len) != 0)
            continue;
        bool any_case = dialect == KS_METRICSQL || f->kind == KS_FUNC_AGGREGATE;
        return folded && !any_case ? NULL : f;
    }
    return NULL;
}
