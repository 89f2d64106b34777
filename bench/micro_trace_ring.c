/*
 * The ring of traces alone, no server, no log: CPU time of a write of 512 spans and the most one
 * took, and how long a trace by id takes meanwhile. What a server adds to a pause (sockets'
 * interrupts, others on the machine) is not in here; what the ring itself does is.
 *
 *   micro_trace_ring [batches] [readers]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/traces/ring.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { BATCH = 512, TRACES_PER_BATCH = 50, ATTRS = 10, TIMES_MAX = 1 << 20, READERS_MAX = 8 };
static const struct ks_tenant TENANT = {0, 0};

struct bench {
    struct ks_traces *ring;
    _Atomic uint64_t ids;
    _Atomic bool stop;
};

struct times {
    int64_t *us;
    size_t count;
};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, struct times *t)
{
    if (!t->count)
        return;
    qsort(t->us, t->count, sizeof *t->us, by_value);
    printf("%-28s %8zu times, µs: p50 %lld p99 %lld p999 %lld max %lld\n", what, t->count,
           (long long)t->us[t->count / 2], (long long)t->us[t->count * 99 / 100],
           (long long)t->us[t->count * 999 / 1000], (long long)t->us[t->count - 1]);
}

/* --- spans: some texts common, two of each span its own --- */
struct draft {
    char texts[ATTRS][48];
    struct ks_attr attrs[ATTRS];
    char name[32];
};

static void draft_span(uint64_t *rng, struct draft *d, const struct ks_resource *resources,
                       const struct ks_scope *scope, uint64_t id, struct ks_span *ret)
{
    static const char *const keys[ATTRS] = {"http.method", "http.route", "url.path", "request.id",
                                            "client.ip",   "enduser.id", "scheme",   "protocol",
                                            "agent",       "body.size.n"};
    uint64_t r = ks_rng_next(rng);
    for (int i = 0; i < ATTRS; i++) {
        uint64_t v = i == 2 || i == 3 ? ks_rng_next(rng) : r >> (4 * i) & (i == 5 ? 2047 : 7);
        int n = snprintf(d->texts[i], sizeof d->texts[i], "%s-value-%llx", keys[i],
                         (unsigned long long)v);
        d->attrs[i] = (struct ks_attr){.key = ks_slice_str(keys[i]),
                                       .type = KS_ATTR_STRING,
                                       .text = ks_slice(d->texts[i], (size_t)n)};
    }
    int n = snprintf(d->name, sizeof d->name, "GET /api/v1/resource%u", (unsigned)(r & 7));
    uint64_t start = 1700000000000000000u + id * 1000000;
    *ret = (struct ks_span){.trace_id = {9, id + 1},
                            .span_id = r | 1,
                            .start_ns = start,
                            .end_ns = start + (r & 0xffffff),
                            .name = ks_slice(d->name, (size_t)n),
                            .kind = 2,
                            .attrs = {d->attrs, ATTRS, 0},
                            .resource = &resources[r >> 60],
                            .scope = scope};
}

static void write_all(struct bench *b, size_t batches, struct times *cpu, struct times *wall)
{
    static struct draft drafts[BATCH];
    static char services[16][16];
    struct ks_resource resources[16];
    struct ks_attr service[16];
    struct ks_scope scope = {.name = KS_SLICE_LIT("lib")};
    struct ks_batch batch;
    uint64_t rng = 42;
    for (int i = 0; i < 16; i++) {
        int n = snprintf(services[i], sizeof services[i], "service-%d", i);
        struct ks_slice s = ks_slice(services[i], (size_t)n);
        service[i] = (struct ks_attr){
            .key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING, .text = s};
        resources[i] =
            (struct ks_resource){.service = s, .has_service = true, .attrs = {&service[i], 1, 0}};
    }
    ks_batch_init(&batch);
    for (size_t n = 0; n < batches; n++) {
        struct ks_batch_memo memo = {0};
        struct ks_traces_result res;
        uint64_t first = atomic_load(&b->ids);
        ks_batch_reset(&batch, TENANT);
        for (int i = 0; i < BATCH; i++) {
            struct ks_span s;
            draft_span(&rng, &drafts[i], resources, &scope,
                       first + ks_rng_below(&rng, TRACES_PER_BATCH), &s);
            ks_batch_copy_span(&batch, &s, &memo);
        }
        int64_t c = ks_thread_cpu_us(), w = ks_mono_us();
        if (ks_traces_write(b->ring, &batch, NULL, NULL, &res) != KS_OK)
            abort();
        cpu->us[cpu->count++] = ks_thread_cpu_us() - c;
        wall->us[wall->count++] = ks_mono_us() - w;
        atomic_store(&b->ids, first + TRACES_PER_BATCH);
    }
    ks_batch_done(&batch);
}

struct reader {
    struct bench *b;
    struct times by_id;
    uint64_t rng;
};

static void *read_some(void *arg)
{
    struct reader *r = arg;
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    while (!atomic_load(&r->b->stop) && r->by_id.count < TIMES_MAX) {
        struct ks_span *spans;
        struct ks_traces_hold *hold;
        size_t n;
        uint64_t ids = atomic_load(&r->b->ids), back = ks_rng_below(&r->rng, 5000);
        struct ks_trace_id id = {9, ids > back ? ids - back : 1};
        int64_t from = ks_mono_us();
        ks_arena_reset(&arena);
        if (ks_traces_get(r->b->ring, TENANT, id, &arena, &spans, &n, &hold) == KS_OK)
            ks_traces_release(hold);
        r->by_id.us[r->by_id.count++] = ks_mono_us() - from;
        struct ks_trace_query q = {.max_start_ns = UINT64_MAX,
                                   .service = KS_SLICE_LIT("service-3"),
                                   .min_duration_ns = 1u << 30,
                                   .limit = 20};
        struct ks_trace_id *ids_found;
        if (r->by_id.count % 64 == 0 &&
            ks_traces_search(r->b->ring, TENANT, &q, &arena, &ids_found, &n) != KS_OK)
            abort();
    }
    ks_arena_done(&arena);
    return NULL;
}

static struct times times_new(size_t n)
{
    return (struct times){calloc(n, sizeof(int64_t)), 0};
}

int main(int argc, char **argv)
{
    size_t batches = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000;
    unsigned readers = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    struct ks_traces_opts opts = {.max_traces = 100000};
    struct bench b = {0};
    static struct reader r[READERS_MAX];
    pthread_t th[READERS_MAX];
    readers = readers > READERS_MAX ? READERS_MAX : readers;
    if (!batches || batches > TIMES_MAX || ks_traces_new(&opts, &b.ring) != KS_OK)
        return 1;
    struct times cpu = times_new(batches), wall = times_new(batches);
    for (unsigned i = 0; i < readers; i++) {
        r[i] = (struct reader){&b, times_new(TIMES_MAX), i + 1};
        if (pthread_create(&th[i], NULL, read_some, &r[i]) != 0)
            return 1;
    }
    write_all(&b, batches, &cpu, &wall);
    atomic_store(&b.stop, true);
    for (unsigned i = 0; i < readers; i++)
        pthread_join(th[i], NULL);
    print_times("a write of 512, CPU", &cpu);
    print_times("a write of 512, wall", &wall);
    for (unsigned i = 0; i < readers; i++) {
        print_times("a trace by id, wall", &r[i].by_id);
        free(r[i].by_id.us);
    }
    struct ks_traces_stats st;
    ks_traces_get_stats(b.ring, &st);
    printf("longest hold of a write %.3f ms, without waits for a core %.3f ms\n",
           (double)st.pauses.max_us / 1000, (double)st.pauses.max_own_us / 1000);
    free(cpu.us);
    free(wall.us);
    ks_traces_free(b.ring);
    return 0;
}
