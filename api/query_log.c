#include "api/query_log.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "sys/clock.h"

/* One finished query. The text is cut: it is for people. */
enum { TEXT_MAX = 1024 };
struct record {
    char *text;
    size_t len, cap;
    struct ks_tenant tenant;
    bool multitenant;
    int64_t range_s, ended_ms;
    uint64_t duration_us, memory_bytes;
};

struct ks_query_log {
    pthread_mutex_t lock;
    struct ks_query_entry *active;
    uint64_t next_id;
    struct record *ring;
    size_t keep, head, count;
    _Atomic uint64_t slow;
};

ks_err ks_query_log_new(size_t keep_count, struct ks_query_log **ret)
{
    struct ks_query_log *q = ks_zalloc(sizeof *q);
    if (!q)
        return KS_ENOMEM;
    q->keep = keep_count ? keep_count : 1;
    q->next_id = (uint64_t)ks_now_ms() << 16;
    if (!(q->ring = ks_zalloc_array(q->keep, sizeof *q->ring))) {
        ks_free(q);
        return KS_ENOMEM;
    }
    pthread_mutex_init(&q->lock, NULL);
    *ret = q;
    return KS_OK;
}

void ks_query_log_free(struct ks_query_log *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->keep; i++)
        ks_free(q->ring[i].text);
    ks_free(q->ring);
    pthread_mutex_destroy(&q->lock);
    ks_free(q);
}

void ks_query_begin(struct ks_query_log *q, struct ks_query_entry *e)
{
    e->begun_mono_us = ks_mono_us();
    pthread_mutex_lock(&q->lock);
    e->id = ++q->next_id;
    e->next = q->active;
    if (e->next)
        e->next->prev = &e->next;
    e->prev = &q->active;
    q->active = e;
    pthread_mutex_unlock(&q->lock);
}

/* Under the lock. */
static void remember(struct ks_query_log *q, const struct ks_query_entry *e, uint64_t us,
                     uint64_t memory)
{
    size_t i = (q->head + q->count) % q->keep;
    if (q->count == q->keep)
        q->head = (q->head + 1) % q->keep;
    else
        q->count++;
    struct record *r = &q->ring[i];
    r->len = 0;
    size_t len = e->query.len < TEXT_MAX ? e->query.len : TEXT_MAX;
    if (ks_array_reserve((void **)&r->text, &r->cap, len ? len : 1, 1) == KS_OK) {
        memcpy(r->text, len ? e->query.ptr : "", len);
        r->len = len;
    }
    r->tenant = e->tenant;
    r->multitenant = e->multitenant;
    r->range_s = (e->end_ms - e->start_ms) / 1000;
    r->ended_ms = ks_now_ms();
    r->duration_us = us;
    r->memory_bytes = memory;
}

void ks_query_end(struct ks_query_log *q, struct ks_query_entry *e, uint64_t memory_bytes,
                  int64_t slow_ms)
{
    uint64_t us = (uint64_t)(ks_mono_us() - e->begun_mono_us);
    pthread_mutex_lock(&q->lock);
    *e->prev = e->next;
    if (e->next)
        e->next->prev = e->prev;
    remember(q, e, us, memory_bytes);
    pthread_mutex_unlock(&q->lock);
    if (slow_ms > 0 && us / 1000 >= (uint64_t)slow_ms) {
        atomic_fetch_add(&q->slow, 1);
        struct ks_slice text = e->query;
        if (text.len > 512)
            text.len = 512;
        ks_log_limited(1000, KS_LOG_WARN, "api",
                       "slow query duration_s=%.3f start=%lld end=%lld step_ms=%lld tenant=%u:%u "
                       "remote=%.*s query=%.*s",
                       (double)us / 1e6, (long long)e->start_ms, (long long)e->end_ms,
                       (long long)e->step_ms, e->tenant.account, e->tenant.project,
                       KS_SLICE_ARG(e->remote_addr), KS_SLICE_ARG(text));
    }
}

void ks_query_log_active_json(struct ks_query_log *q, const struct ks_tenant *tenant,
                              struct ks_buf *out)
{
    const char *sep = "";
    int64_t now = ks_mono_us();
    ks_buf_byte(out, '[');
    pthread_mutex_lock(&q->lock);
    for (struct ks_query_entry *e = q->active; e; e = e->next) {
        if (tenant && !ks_tenant_eq(*tenant, e->tenant))
            continue;
        ks_buf_printf(out, "%s{\"duration\":\"%.3fs\",\"id\":\"%016llX\",\"remote_addr\":", sep,
                      (double)(now - e->begun_mono_us) / 1e6, (unsigned long long)e->id);
        ks_buf_json_str(out, e->remote_addr);
        ks_buf_printf(out,
                      ",\"account_id\":\"%u\",\"project_id\":\"%u\",\"query\":", e->tenant.account,
                      e->tenant.project);
        ks_buf_json_str(out, e->query);
        ks_buf_printf(out, ",\"start\":%lld,\"end\":%lld,\"step\":%lld,\"is_multitenant\":%s}",
                      (long long)e->start_ms, (long long)e->end_ms, (long long)e->step_ms,
                      e->multitenant ? "true" : "false");
        sep = ",";
    }
    pthread_mutex_unlock(&q->lock);
    ks_buf_byte(out, ']');
}

uint64_t ks_query_log_slow_count(struct ks_query_log *q)
{
    return atomic_load(&q->slow);
}

/* --- top queries --- */
struct group {
    struct record r;
    uint64_t count, sum_us, sum_bytes;
};

static int by_key(const void *pa, const void *pb)
{
    const struct group *a = pa, *b = pb;
    int c = ks_slice_cmp(ks_slice(a->r.text, a->r.len), ks_slice(b->r.text, b->r.len));
    if (c)
        return c;
    uint64_t ka = ks_tenant_key(a->r.tenant), kb = ks_tenant_key(b->r.tenant);
    if (ka != kb)
        return ka < kb ? -1 : 1;
    return (a->r.range_s > b->r.range_s) - (a->r.range_s < b->r.range_s);
}

#define DESCENDING(name, expr)                                                                     \
    static int name(const void *pa, const void *pb)                                                \
    {                                                                                              \
        const struct group *g = pa;                                                                \
        double a = (expr);                                                                         \
        g = pb;                                                                                    \
        double b = (expr);                                                                         \
        return (a < b) - (a > b);                                                                  \
    }
DESCENDING(by_count, (double)g->count)
DESCENDING(by_avg, (double)g->sum_us / (double)g->count)
DESCENDING(by_sum, (double)g->sum_us)
DESCENDING(by_memory, (double)g->sum_bytes / (double)g->count)

/* Copies the young records of the tenant and folds equal queries. Under the lock; texts are
 * borrowed from the ring. */
static size_t collect(struct ks_query_log *q, const struct ks_tenant *tenant, int64_t lifetime_ms,
                      struct group *g)
{
    int64_t oldest = ks_now_ms() - lifetime_ms;
    size_t n = 0, m = 0;
    for (size_t i = 0; i < q->count; i++) {
        const struct record *r = &q->ring[(q->head + i) % q->keep];
        if (r->ended_ms >= oldest && (!tenant || ks_tenant_eq(*tenant, r->tenant)))
            g[n++] = (struct group){*r, 1, r->duration_us, r->memory_bytes};
    }
    qsort(g, n, sizeof *g, by_key);
    for (size_t i = 0; i < n; i++) {
        if (m && by_key(&g[m - 1], &g[i]) == 0) {
            g[m - 1].count++;
            g[m - 1].sum_us += g[i].sum_us;
            g[m - 1].sum_bytes += g[i].sum_bytes;
        } else {
            g[m++] = g[i];
        }
    }
    return m;
}

static void write_group(struct ks_buf *out, const struct group *g, const char *measure)
{
    ks_buf_printf(out, "{\"accountID\":%u,\"projectID\":%u,\"query\":", g->r.tenant.account,
                  g->r.tenant.project);
    ks_buf_json_str(out, ks_slice(g->r.text, g->r.len));
    ks_buf_printf(out, ",\"timeRangeSeconds\":%lld", (long long)g->r.range_s);
    if (strcmp(measure, "sumDurationSeconds") == 0)
        ks_buf_printf(out, ",\"sumDurationSeconds\":%.3f", (double)g->sum_us / 1e6);
    else if (strcmp(measure, "avgMemoryBytes") == 0)
        ks_buf_printf(out, ",\"avgMemoryBytes\":%llu",
                      (unsigned long long)(g->sum_bytes / g->count));
    else if (strcmp(measure, "avgDurationSeconds") == 0)
        ks_buf_printf(out, ",\"avgDurationSeconds\":%.3f",
                      (double)g->sum_us / 1e6 / (double)g->count);
    ks_buf_printf(out, ",\"count\":%llu,\"multiTenant\":%s}", (unsigned long long)g->count,
                  g->r.multitenant ? "true" : "false");
}

void ks_query_log_top_json(struct ks_query_log *q, const struct ks_tenant *tenant, size_t top,
                           int64_t lifetime_ms, struct ks_buf *out)
{
    static const struct {
        const char *key, *measure;
        int (*order)(const void *, const void *);
    } lists[] = {{"topByCount", "count", by_count},
                 {"topByAvgDuration", "avgDurationSeconds", by_avg},
                 {"topBySumDuration", "sumDurationSeconds", by_sum},
                 {"topByAvgMemoryUsage", "avgMemoryBytes", by_memory}};
    ks_buf_printf(out,
                  "{\"topN\":\"%zu\",\"maxLifetime\":\"%lldm%llds\",\"search.queryStats."
                  "lastQueriesCount\":%zu,",
                  top, (long long)(lifetime_ms / 60000), (long long)(lifetime_ms / 1000 % 60),
                  q->keep);
    ks_buf_str(out, "\"search.queryStats.minQueryDuration\":\"0s\",\"search.queryStats."
                    "minQueryMemoryUsage\":\"0\"");
    struct group *g = ks_alloc_array(q->keep, sizeof *g);
    pthread_mutex_lock(&q->lock);
    size_t n = g ? collect(q, tenant, lifetime_ms, g) : 0;
    for (size_t l = 0; l < 4; l++) {
        if (n)
            qsort(g, n, sizeof *g, lists[l].order);
        ks_buf_printf(out, ",\"%s\":[", lists[l].key);
        for (size_t i = 0; i < n && i < top; i++) {
            if (i)
                ks_buf_byte(out, ',');
            write_group(out, &g[i], lists[l].measure);
        }
        ks_buf_byte(out, ']');
    }
    pthread_mutex_unlock(&q->lock);
    ks_buf_byte(out, '}');
    ks_free(g);
}
