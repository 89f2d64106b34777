/*
 * The label index at scale: 20 labels like Kubernetes', 250 metric names, pods that come and go.
 * Prints what a series costs to add, keep and store, and how long questions take, on the live index
 * and on a part. Arguments: series (default 1000000), order of arrival: "target" (default) or
 * "mixed".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "index/live_index.h"
#include "index/matcher_compile.h"
#include "sys/rand.h"

enum { METRICS = 250, BATCH = 2000 };
static const char *path = "/tmp/ks_micro_index.part";

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other work on the machine does not count */
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void check(ks_err err, const char *what)
{
    if (err == KS_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, ks_err_text());
    exit(1);
}

static long rss_bytes(void)
{
    long pages = 0, rss = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &pages, &rss) != 2)
        rss = 0;
    if (f)
        fclose(f);
    return rss * 4096;
}

static void put(struct ks_buf *b, const char *name, const char *fmt, ...) KS_PRINTF(3, 4);
static void put(struct ks_buf *b, const char *name, const char *fmt, ...)
{
    char v[128];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(v, sizeof v, fmt, ap);
    va_end(ap);
    ks_buf_lp(b, ks_slice_str(name));
    ks_buf_lp(b, ks_slice(v, (size_t)n));
}

/* Series `metric` of pod `pod`: 20 labels, 8 of them the pod's own. A tenth of the metrics are
 * buckets of histograms. */
static void labels_of(uint32_t pod, uint32_t metric, struct ks_buf *b)
{
    uint64_t s = pod * 977ull + 13;
    uint32_t id = (uint32_t)ks_rng_next(&s), app = pod % 200, node = pod % 100;
    ks_buf_reset(b);
    put(b, "__name__", "container_metric_%03u_%s", metric >= 225 ? 225 : metric,
        metric >= 225 ? "bucket" : "total");
    put(b, "app", "app-%u", app);
    put(b, "cluster", "prod-eu-1");
    put(b, "container", "main-%u", app % 7);
    put(b, "endpoint", "metrics");
    put(b, "env", "prod");
    put(b, "id", "/kubepods/burstable/pod%08x-%04x", id, pod);
    put(b, "image", "registry.example/team/app-%u:v1.%u", app, pod / 1000);
    put(b, "instance", "10.%u.%u.%u:8080", node / 250, node, pod / 100 % 250);
    put(b, "job", "kubelet-%u", app % 3);
    if (metric >= 225)
        put(b, "le", "%g", 0.005 * (1u << (metric - 225)));
    put(b, "namespace", "ns-%u", app % 40);
    put(b, "node", "node-%u.eu.example", node);
    put(b, "pod", "app-%u-%08x-%05x", app, id, pod * 7919u & 0xfffff);
    put(b, "pod_ip", "10.%u.%u.%u", node / 250, node, pod / 100 % 250);
    put(b, "prometheus", "monitoring/k8s");
    put(b, "region", "eu-1");
    put(b, "replica", "%u", pod % 2);
    put(b, "service", "svc-%u", app);
    put(b, "uid", "%08x-%04x-%08x", id, pod, id * 2654435761u);
    if (metric < 225)
        put(b, "zone", "eu-1%c", 'a' + (int)(node % 3));
}

struct texts {
    struct ks_buf bytes;
    size_t *at;
    uint32_t count;
};

static struct ks_slice text(const struct texts *t, uint32_t i)
{
    return ks_slice(t->bytes.ptr + t->at[i], t->at[i + 1] - t->at[i]);
}

static void make_series(struct texts *t, uint32_t count, bool mixed)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_buf_init(&t->bytes, KS_BUF_UNLIMITED);
    t->at = malloc((count + 1ull) * sizeof *t->at);
    t->count = count;
    uint32_t pods = (count + METRICS - 1) / METRICS;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = mixed ? (uint32_t)((i * 2654435761ull) % count) : i;
        labels_of(k / METRICS % pods, k % METRICS, &b);
        t->at[i] = t->bytes.len;
        ks_buf_slice(&t->bytes, ks_buf_view(&b));
    }
    t->at[count] = t->bytes.len;
    ks_buf_done(&b);
}

static const char *const questions[] = {
    "__name__=container_metric_017_total",
    "__name__=container_metric_017_total,namespace=ns-7",
    "__name__=container_metric_017_total,namespace=ns-7,container=main-3",
    "namespace=ns-7",
    "namespace=ns-7,app=app-7,container=main-0",
    "pod~app-1.*-7a.*",
    "__name__=container_metric_017_total,pod~app-1.*-7a.*",
    "__name__=container_metric_017_total,pod~.*[0-9]a[0-9]f.*",
    "__name__=container_metric_017_total,namespace!ns-7",
    "namespace!ns-7",
    "namespace^ns-.*7",
    "__name__~container_metric_01[0-9]_total,app~app-1|app-2|app-3",
};

static size_t parse(char *s, struct ks_matcher *m)
{
    size_t n = 0;
    for (char *tok = strtok(s, ","); tok; tok = strtok(NULL, ",")) {
        char *op = strpbrk(tok, "=!~^");
        m[n].op = *op == '='   ? KS_MATCH_EQ
                  : *op == '!' ? KS_MATCH_NEQ
                  : *op == '~' ? KS_MATCH_RE
                               : KS_MATCH_NRE;
        m[n].name = ks_slice(tok, (size_t)(op - tok));
        m[n++].value = ks_slice_str(op + 1);
    }
    return n;
}

typedef ks_err select_fn(void *x, const struct ks_selector *s, roaring_bitmap_t **ret);

static ks_err live_select(void *x, const struct ks_selector *s, roaring_bitmap_t **ret)
{
    return ks_live_index_select(x, (struct ks_tenant){0, 0}, s, 1, ret);
}
static ks_err part_select(void *x, const struct ks_selector *s, roaring_bitmap_t **ret)
{
    return ks_sindex_select(x, (struct ks_tenant){0, 0}, s, 1, ret);
}

static void ask(const char *where, select_fn *select, void *x)
{
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        char copy[256];
        struct ks_matcher m[8];
        snprintf(copy, sizeof copy, "%s", questions[i]);
        struct ks_selector s = {m, parse(copy, m)};
        double first = 0, best = 1e18;
        uint64_t rows = 0;
        for (int k = 0; k < 7; k++) {
            roaring_bitmap_t *bm;
            double t = now_us();
            check(select(x, &s, &bm), "select");
            t = now_us() - t;
            rows = roaring_bitmap_get_cardinality(bm);
            roaring_bitmap_free(bm);
            first = k ? first : t;
            best = t < best ? t : best;
        }
        printf("%s select %-62s %8llu rows  first %9.1f us  best %9.1f us\n", where, questions[i],
               (unsigned long long)rows, first, best);
    }
}

static bool count_label(void *arg, struct ks_slice s, uint64_t n)
{
    ++*(uint64_t *)arg;
    return true;
}

static void bench_live(const struct texts *t)
{
    struct ks_live_index *x;
    struct ks_live_add adds[BATCH];
    long before = rss_bytes();
    check(ks_live_index_new(&x), "new");
    double start = now_us();
    for (uint32_t i = 0; i < t->count;) {
        size_t n = 0;
        for (; n < BATCH && i < t->count; i++)
            adds[n++] = (struct ks_live_add){i, {0, 0}, text(t, i)};
        check(ks_live_index_add(x, adds, n), "add");
    }
    double us = now_us() - start;
    struct ks_live_index_stats st;
    ks_live_index_get_stats(x, &st);
    printf("live add %.0f ns/series, %.1f B/series by own count, %.1f by RSS; %llu pairs\n",
           us * 1e3 / t->count, (double)st.bytes / t->count,
           (double)(rss_bytes() - before) / t->count, (unsigned long long)st.pairs);
    start = now_us();
    for (uint32_t i = 0; i < t->count; i += 10)
        if (!ks_live_index_equals(x, i, (struct ks_tenant){0, 0}, text(t, i)))
            check(KS_EINTERNAL, "equals");
    printf("live equals %.0f ns\n", (now_us() - start) * 1e4 / t->count);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    start = now_us();
    for (uint32_t i = 0; i < t->count; i += 10) {
        struct ks_tenant tenant;
        ks_buf_reset(&b);
        check(ks_live_index_labels(x, i, &b, &tenant), "labels");
    }
    printf("live labels %.0f ns\n", (now_us() - start) * 1e4 / t->count);
    ask("live", live_select, x);
    uint64_t values = 0;
    start = now_us();
    check(ks_live_index_label_values(x, (struct ks_tenant){0, 0}, KS_SLICE_LIT("pod"), NULL,
                                     count_label, &values),
          "values");
    printf("live values of pod: %llu in %.0f us\n", (unsigned long long)values, now_us() - start);
    uint32_t gone[BATCH];
    start = now_us();
    uint32_t removed = 0;
    for (uint32_t i = 0; i < t->count / 10;) {
        size_t n = 0;
        for (; n < BATCH && i < t->count / 10; i++, removed++)
            gone[n++] = i;
        check(ks_live_index_remove(x, gone, n), "remove");
    }
    printf("live remove %.0f ns/series\n", (now_us() - start) * 1e3 / removed);
    start = now_us();
    for (uint32_t i = 0; i < removed; i++) {
        adds[0] = (struct ks_live_add){i, {0, 0}, text(t, i)};
        check(ks_live_index_add(x, adds, 1), "add one");
    }
    printf("live add one by one %.0f ns/series\n", (now_us() - start) * 1e3 / removed);
    ks_buf_done(&b);
    ks_live_index_free(x);
}

static const struct texts *sort_texts;
static int cmp_rows(const void *a, const void *b)
{
    struct ks_tenant t = {0, 0};
    return ks_series_cmp(t, text(sort_texts, *(const uint32_t *)a), t,
                         text(sort_texts, *(const uint32_t *)b));
}

static void write_part(const struct texts *t)
{
    uint32_t *order = malloc(t->count * sizeof *order);
    for (uint32_t i = 0; i < t->count; i++)
        order[i] = i;
    sort_texts = t;
    qsort(order, t->count, sizeof *order, cmp_rows);
    struct ks_part_writer *w;
    struct ks_sindex_writer *x;
    uint64_t bytes;
    double start = now_us();
    check(ks_part_writer_new(ks_vfs_posix(), path, KS_PART_METRICS, &w), "part");
    check(ks_sindex_writer_new(w, &x), "writer");
    for (uint32_t i = 0; i < t->count; i++)
        check(ks_sindex_add(x, (struct ks_tenant){0, 0}, text(t, order[i])), "add row");
    double added = now_us();
    check(ks_sindex_writer_finish(x), "finish");
    check(ks_part_writer_finish(w, &bytes), "finish part");
    printf("part write %.0f ns/series (add) + %.0f (finish)\n", (added - start) * 1e3 / t->count,
           (now_us() - added) * 1e3 / t->count);
    free(order);
}

static void bench_part(const struct texts *t)
{
    struct ks_cache *cache;
    struct ks_part *p;
    struct ks_sindex *x;
    write_part(t);
    check(ks_cache_new(256 << 20, &cache), "cache");
    double start = now_us();
    check(ks_part_open(ks_vfs_posix(), path, cache, &p), "open part");
    double mid = now_us();
    check(ks_sindex_open(p, &x), "open");
    printf("part open: container %.0f us, index %.0f us\n", mid - start, now_us() - mid);
    printf("part stored %.2f B/series:", (double)ks_sindex_stored_bytes(x) / t->count);
    for (size_t i = 0; ks_part_section_name(p, i); i++)
        printf(" %s %.2f", ks_part_section_name(p, i),
               (double)ks_part_section_bytes(p, ks_part_section_name(p, i)) / t->count);
    printf("\n");
    ask("part", part_select, x);
    uint64_t values = 0;
    start = now_us();
    check(ks_sindex_label_values(x, (struct ks_tenant){0, 0}, KS_SLICE_LIT("pod"), NULL, true,
                                 count_label, &values),
          "values");
    printf("part values of pod: %llu in %.0f us\n", (unsigned long long)values, now_us() - start);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    start = now_us();
    for (uint32_t i = 0; i < 100000; i++) {
        struct ks_tenant tenant;
        ks_buf_reset(&b);
        check(ks_sindex_series(x, (uint32_t)(i * 2654435761ull % t->count), &b, &tenant), "series");
    }
    printf("part series at random %.0f ns\n", (now_us() - start) / 100);
    struct ks_sindex_cursor *c;
    check(ks_sindex_cursor_new(x, &c), "cursor");
    start = now_us();
    for (bool more = true; more;) {
        struct ks_tenant tenant;
        struct ks_slice labels;
        check(ks_sindex_cursor_next(c, &more, &tenant, &labels), "next");
    }
    printf("part cursor %.0f ns/series\n", (now_us() - start) * 1e3 / t->count);
    ks_sindex_cursor_free(c);
    ks_buf_done(&b);
    ks_sindex_close(x);
    ks_part_close(p);
    ks_cache_free(cache);
    remove(path);
}

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    struct texts t;
    make_series(&t, count, argc > 2 && strcmp(argv[2], "mixed") == 0);
    printf("%u series, %.0f label bytes each\n", count, (double)t.bytes.len / count);
    bench_live(&t);
    bench_part(&t);
    ks_buf_done(&t.bytes);
    free(t.at);
    return 0;
}
