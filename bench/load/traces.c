/*
 * Traces: OTLP requests of a small shop's worth of services, sent and asked for. The data is made
 * once for a quarter of the ring and sent again with other trace ids, so that any number of
 * turnovers fits in memory. One line of JSON per measurement.
 *
 * Shape: 24 services of 3 pods, 15 resource attributes, 12 span attributes of which two are unique,
 * 10 spans per trace on average, every tenth with an exception event.
 */
#include <libdeflate.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "bench/load/load.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { SERVICES = 24, PODS = 3, IDS_PER_SPAN = 1, HEAD_MAX = 512 };

struct body {
    char *bytes;
    size_t len;
    uint32_t spans;
    uint32_t *ids; /* where trace ids stand */
};

struct load {
    struct body *bodies;
    size_t count, cap;
    uint64_t rng;
    int batch, gzip, port, pid;
    const char *host;
    /* sending */
    _Atomic size_t next;
    size_t total;
    double rate; /* spans per second, 0: as fast as it goes */
    double begun_us;
    _Atomic uint64_t sent_spans, failed;
    double *waits;
    _Atomic int stop;
};

/* --- protobuf --- */
static void field(struct ks_buf *b, unsigned number, struct ks_slice s)
{
    ks_buf_varint(b, number << 3 | 2);
    ks_buf_lp(b, s);
}

static void attribute(struct ks_buf *b, struct ks_buf *tmp, unsigned number, const char *key,
                      const char *text, int64_t n)
{
    struct ks_buf value;
    ks_buf_init(&value, 4096);
    if (text) {
        field(&value, 1, ks_slice_str(text));
    } else {
        ks_buf_varint(&value, 3 << 3);
        ks_buf_varint(&value, (uint64_t)n);
    }
    ks_buf_reset(tmp);
    field(tmp, 1, ks_slice_str(key));
    field(tmp, 2, ks_buf_view(&value));
    field(b, number, ks_buf_view(tmp));
    ks_buf_done(&value);
}

static void resource(struct ks_buf *out, int service, int pod)
{
    static const char *const fixed[][2] = {{"telemetry.sdk.language", "go"},
                                           {"telemetry.sdk.name", "opentelemetry"},
                                           {"telemetry.sdk.version", "1.28.0"},
                                           {"k8s.namespace.name", "shop"},
                                           {"k8s.cluster.name", "region-1"},
                                           {"cloud.provider", "aws"},
                                           {"cloud.region", "eu-central-1"},
                                           {"os.type", "linux"},
                                           {"host.arch", "amd64"},
                                           {"deployment.environment", "production"}};
    struct ks_buf b, tmp;
    char text[64];
    ks_buf_init(&b, 1 << 20);
    ks_buf_init(&tmp, 1 << 20);
    snprintf(text, sizeof text, "service-%02d", service);
    attribute(&b, &tmp, 1, "service.name", text, 0);
    snprintf(text, sizeof text, "service-%02d-7d9f8b6c5-x%02d%d", service, service * 3 % 97, pod);
    attribute(&b, &tmp, 1, "k8s.pod.name", text, 0);
    snprintf(text, sizeof text, "service-%02d", service);
    attribute(&b, &tmp, 1, "k8s.deployment.name", text, 0);
    snprintf(text, sizeof text, "ip-10-0-%d-%d", service, pod);
    attribute(&b, &tmp, 1, "k8s.node.name", text, 0);
    attribute(&b, &tmp, 1, "service.version", "1.4.2", 0);
    for (size_t i = 0; i < 10; i++)
        attribute(&b, &tmp, 1, fixed[i][0], fixed[i][1], 0);
    field(out, 1, ks_buf_view(&b));
    ks_buf_done(&b);
    ks_buf_done(&tmp);
}

struct draft {
    char bytes[2048];
    size_t len, id_at;
    int process;
};

static void exception(struct ks_buf *b, struct ks_buf *tmp, uint64_t at)
{
    struct ks_buf e;
    ks_buf_init(&e, 4096);
    ks_buf_varint(&e, 1 << 3 | 1);
    ks_buf_u64(&e, at);
    field(&e, 2, KS_SLICE_LIT("exception"));
    attribute(&e, tmp, 3, "exception.type", "java.util.concurrent.TimeoutException", 0);
    attribute(&e, tmp, 3, "exception.message", "deadline exceeded after 2s", 0);
    field(b, 11, ks_buf_view(&e));
    ks_buf_done(&e);
}

static void draft_span(struct load *l, struct draft *d, const char id[16], uint64_t span,
                       uint64_t parent, uint64_t start, int service)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    struct ks_buf b, tmp;
    char text[128];
    ks_buf_init(&b, sizeof d->bytes);
    ks_buf_init(&tmp, 4096);
    uint64_t r = ks_rng_next(&l->rng), duration = 200000 + ks_rng_below(&l->rng, 80000000);
    int op = (int)(r % 8);
    field(&b, 1, ks_slice(id, 16));
    d->id_at = 2;
    field(&b, 2, ks_slice(&span, 8));
    if (parent)
        field(&b, 4, ks_slice(&parent, 8));
    snprintf(text, sizeof text, "%s /api/v1/resource%d", methods[op & 3], op);
    field(&b, 5, ks_slice_str(text));
    ks_buf_varint(&b, 6 << 3);
    ks_buf_varint(&b, parent ? 3 - (r >> 8 & 1) : 2);
    ks_buf_varint(&b, 7 << 3 | 1);
    ks_buf_u64(&b, start);
    ks_buf_varint(&b, 8 << 3 | 1);
    ks_buf_u64(&b, start + duration);
    attribute(&b, &tmp, 9, "http.request.method", methods[op & 3], 0);
    attribute(&b, &tmp, 9, "http.response.status_code", NULL, r % 50 ? 200 : 500);
    snprintf(text, sizeof text, "/api/v1/resource%d", op);
    attribute(&b, &tmp, 9, "http.route", text, 0);
    snprintf(text, sizeof text, "/api/v1/resource%d/%llu", op, (unsigned long long)(r >> 20));
    attribute(&b, &tmp, 9, "url.path", text, 0);
    snprintf(text, sizeof text, "req-%016llx", (unsigned long long)ks_rng_next(&l->rng));
    attribute(&b, &tmp, 9, "request.id", text, 0);
    snprintf(text, sizeof text, "10.0.%d.%d", service, (int)(r >> 12 & 63));
    attribute(&b, &tmp, 9, "client.address", text, 0);
    attribute(&b, &tmp, 9, "server.port", NULL, 8080);
    attribute(&b, &tmp, 9, "network.protocol.version", "1.1", 0);
    attribute(&b, &tmp, 9, "url.scheme", "http", 0);
    snprintf(text, sizeof text, "user-%d", (int)(r >> 16 & 2047));
    attribute(&b, &tmp, 9, "enduser.id", text, 0);
    attribute(&b, &tmp, 9, "http.response.body.size", NULL, (int64_t)(r >> 32 & 8191));
    snprintf(text, sizeof text,
             "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/1%d.0.0.0 Safari",
             (int)(r >> 5 & 15));
    attribute(&b, &tmp, 9, "user_agent.original", text, 0);
    if (r % 10 == 0)
        exception(&b, &tmp, start + 1000);
    if (r % 50 == 0) {
        const char status[] = {0x18, 2};
        field(&b, 15, ks_slice(status, 2));
    }
    d->len = b.len;
    memcpy(d->bytes, b.ptr, b.len);
    d->process = service * PODS + (int)(r >> 40) % PODS;
    if (d->process < 0)
        d->process = 0;
    ks_buf_done(&b);
    ks_buf_done(&tmp);
}

/* A batch of drafts as one request, grouped by process. */
static void finish_body(struct load *l, const struct draft *d, size_t n)
{
    struct ks_buf out, group, spans;
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    ks_buf_init(&group, KS_BUF_UNLIMITED);
    ks_buf_init(&spans, KS_BUF_UNLIMITED);
    if (ks_array_reserve((void **)&l->bodies, &l->cap, l->count + 1, sizeof *l->bodies) != KS_OK)
        die("out of memory");
    struct body *b = &l->bodies[l->count++];
    b->ids = malloc(n * sizeof *b->ids);
    b->spans = 0;
    for (int p = 0; p < SERVICES * PODS; p++) {
        uint32_t in_group[4096], count = 0;
        ks_buf_reset(&spans);
        field(&spans, 1,
              KS_SLICE_LIT("\x0a\x17io.opentelemetry.shop-1\x12\x05"
                           "1.4.2"));
        for (size_t i = 0; i < n; i++)
            if (d[i].process == p) {
                ks_buf_varint(&spans, 2 << 3 | 2);
                ks_buf_varint(&spans, d[i].len);
                in_group[count++] = (uint32_t)(spans.len + d[i].id_at);
                ks_buf_add(&spans, d[i].bytes, d[i].len);
            }
        if (!count)
            continue;
        ks_buf_reset(&group);
        resource(&group, p / PODS, p % PODS);
        field(&group, 2, ks_buf_view(&spans));
        size_t spans_at = group.len - spans.len;
        field(&out, 1, ks_buf_view(&group));
        for (uint32_t i = 0; i < count; i++)
            b->ids[b->spans++] = (uint32_t)(out.len - group.len + spans_at + in_group[i]);
    }
    b->bytes = out.ptr;
    b->len = out.len;
    ks_buf_done(&group);
    ks_buf_done(&spans);
}

static void make_bodies(struct load *l, size_t traces)
{
    struct draft *d = malloc((size_t)l->batch * sizeof *d);
    size_t n = 0;
    uint64_t start = (uint64_t)ks_now_ns() - 60000000000ull;
    for (size_t t = 0; t < traces; t++) {
        char id[16];
        uint64_t ids[20], spans = 1 + ks_rng_below(&l->rng, 19), a = ks_rng_next(&l->rng),
                          b = t + 1;
        memcpy(id, &a, 8);
        memcpy(id + 8, &b, 8);
        for (uint64_t i = 0; i < spans; i++) {
            ids[i] = ks_rng_next(&l->rng) | 1;
            draft_span(l, &d[n++], id, ids[i], i ? ids[ks_rng_below(&l->rng, i)] : 0,
                       start + t * 500000 + i * 1000000, (int)ks_rng_below(&l->rng, SERVICES));
            if (n == (size_t)l->batch) {
                finish_body(l, d, n);
                n = 0;
            }
        }
    }
    if (n)
        finish_body(l, d, n);
    free(d);
}

/* --- sending --- */
static void set_ids(struct body *b, uint64_t round, char *copy)
{
    memcpy(copy, b->bytes, b->len);
    for (uint32_t i = 0; i < b->spans; i++) {
        uint64_t v = ks_le64(copy + b->ids[i]) ^ round * 0x9e3779b97f4a7c15u;
        ks_put_le64(copy + b->ids[i], v);
    }
}

static void *sender(void *arg)
{
    struct load *l = arg;
    struct conn c;
    struct libdeflate_compressor *z = l->gzip ? libdeflate_alloc_compressor(1) : NULL;
    size_t max = 0;
    for (size_t i = 0; i < l->count; i++)
        max = l->bodies[i].len > max ? l->bodies[i].len : max;
    char *copy = malloc(max), *packed = malloc(2 * max + 64), head[HEAD_MAX];
    conn_init(&c, l->host, l->port);
    for (;;) {
        size_t at = atomic_fetch_add(&l->next, 1);
        if (at >= l->total || atomic_load(&l->stop))
            break;
        struct body *b = &l->bodies[at % l->count];
        set_ids(b, at / l->count, copy);
        size_t len = z ? libdeflate_gzip_compress(z, copy, b->len, packed, 2 * max + 64) : b->len;
        int n = snprintf(head, sizeof head,
                         "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: "
                         "application/x-protobuf\r\n%sContent-Length: %zu\r\n\r\n",
                         z ? "Content-Encoding: gzip\r\n" : "", len);
        if (l->rate > 0) {
            double due = l->begun_us + (double)at * l->batch / l->rate * 1e6;
            while (now_us() < due && !atomic_load(&l->stop))
                usleep(200);
        }
        double from = now_us();
        if (conn_call(&c, head, (size_t)n, z ? packed : copy, len) != 200)
            atomic_fetch_add(&l->failed, 1);
        l->waits[at] = now_us() - from;
        atomic_fetch_add(&l->sent_spans, b->spans);
    }
    conn_done(&c);
    free(copy);
    free(packed);
    if (z)
        libdeflate_free_compressor(z);
    return NULL;
}

static void send_rounds(struct load *l, size_t from_round, size_t rounds, int conns, pthread_t *th)
{
    atomic_store(&l->next, from_round * l->count);
    l->total = (from_round + rounds) * l->count;
    l->waits = calloc(l->total, sizeof *l->waits);
    l->begun_us =
        now_us() - (l->rate > 0 ? (double)(from_round * l->count) * l->batch / l->rate * 1e6 : 0);
    atomic_store(&l->sent_spans, 0);
    for (int i = 0; i < conns; i++)
        if (pthread_create(&th[i], NULL, sender, l) != 0)
            die("cannot start a thread");
}

static size_t resident(int pid)
{
    char path[64], line[256];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %zu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib << 10;
}

/* --- asking --- */
/* The id of a trace in a request sent lately: nobody asks for what is long gone. */
static void recent_path(struct load *l, uint64_t back, char path[512])
{
    size_t sent = atomic_load(&l->next), at = sent > back + 8 ? sent - back - 8 : 0;
    const struct body *b = &l->bodies[at % l->count];
    uint64_t round = at / l->count;
    uint64_t hi = __builtin_bswap64(ks_le64(b->bytes + b->ids[0]) ^ round * 0x9e3779b97f4a7c15u);
    uint64_t lo = ks_be64(b->bytes + b->ids[0] + 8);
    snprintf(path, 512, "/select/jaeger/api/traces/%016llx%016llx", (unsigned long long)hi,
             (unsigned long long)lo);
}

/* path NULL: another one of the newest thousand requests' traces each time. */
static void ask(struct load *l, const char *name, const char *path, int times)
{
    double *us = calloc((size_t)times, sizeof *us);
    char head[1024], recent[512];
    struct conn c;
    size_t bytes = 0;
    int status = 0, found = 0;
    conn_init(&c, l->host, l->port);
    for (int i = 0; i < times; i++) {
        if (!path)
            recent_path(l, ks_rng_below(&l->rng, 1000), recent);
        int n =
            snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path ? path : recent);
        double from = now_us();
        status = conn_call(&c, head, (size_t)n, NULL, 0);
        us[i] = now_us() - from;
        bytes = conn_body(&c).len;
        found += status == 200;
        usleep(2000);
    }
    conn_done(&c);
    double p50 = percentile(us, (size_t)times, 0.5), p99 = percentile(us, (size_t)times, 0.99);
    printf("{\"query\":\"%s\",\"status\":%d,\"found\":%d,\"bytes\":%zu,\"p50_ms\":%.2f,"
           "\"p99_ms\":%.2f}\n",
           name, status, found, bytes, p50 / 1000, p99 / 1000);
    fflush(stdout);
    free(us);
}

static void ask_all(struct load *l)
{
    ask(l, "services", "/select/jaeger/api/services", 200);
    ask(l, "operations", "/select/jaeger/api/services/service-03/operations", 200);
    ask(l, "service, 20 hits", "/select/jaeger/api/traces?service=service-03&limit=20", 300);
    ask(l, "service + common tag",
        "/select/jaeger/api/traces?service=service-03&limit=20&tags=%7B%22http.response.status_code"
        "%22%3A%22500%22%7D",
        200);
    ask(l, "rare tag",
        "/select/jaeger/api/traces?service=service-03&limit=20&tags=%7B%22request.id%22%3A%22req-"
        "nowhere%22%7D",
        200);
    ask(l, "value under another key",
        "/select/jaeger/api/traces?service=service-03&limit=20&tags=%7B%22http.route%22%3A%22GET"
        "%22%7D",
        50);
    ask(l, "long traces, none", "/select/jaeger/api/traces?service=service-03&minDuration=10m",
        100);
    ask(l, "by id", NULL, 500);
    ask(l, "by id, missing", "/select/jaeger/api/traces/00000000000000000000000000000abc", 300);
    ask(l, "dependencies", "/select/jaeger/api/dependencies?lookback=86400000", 50);
}

static void report_send(struct load *l, const char *what, double us, double cpu, size_t from)
{
    double spans = (double)atomic_load(&l->sent_spans);
    double worst = percentile(l->waits + from, l->total - from, 1);
    printf("{\"stage\":\"%s\",\"spans\":%.0f,\"failed\":%llu,\"spans_per_s\":%.0f,"
           "\"spans_per_cpu_s\":%.0f,\"worst_ms\":%.1f,\"p99_ms\":%.1f,\"rss_mib\":%.1f}\n",
           what, spans, (unsigned long long)atomic_load(&l->failed), spans / us * 1e6,
           cpu > 0 ? spans / cpu * 1e6 : 0, worst / 1000,
           percentile(l->waits + from, l->total - from, 0.99) / 1000,
           (double)resident(l->pid) / 1048576);
    fflush(stdout);
}

static double stage(struct load *l, const char *what, size_t from, size_t rounds, int conns)
{
    pthread_t th[64];
    double cpu = cpu_us(l->pid), begun = now_us();
    send_rounds(l, from, rounds, conns, th);
    for (int i = 0; i < conns; i++)
        pthread_join(th[i], NULL);
    double spans = (double)atomic_load(&l->sent_spans), took = now_us() - begun;
    report_send(l, what, took, cpu_us(l->pid) - cpu, from * l->count);
    free(l->waits);
    return spans / took * 1e6;
}

static double metric(struct ks_slice text, const char *name)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = memmem(text.ptr, text.len, line, strlen(line));
    return at ? strtod(at + strlen(line), NULL) : 0;
}

/* The longest time a write was held in the ring, and what of it the machine withheld a core. */
static void report_longest(struct load *l)
{
    static const char head[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    struct conn c;
    conn_init(&c, l->host, l->port);
    if (conn_call(&c, head, sizeof head - 1, NULL, 0) == 200) {
        struct ks_slice m = conn_body(&c);
        double us = 1e6 * metric(m, "kofstore_traces_insert_pause_max_seconds");
        double end = 1e6 * metric(m, "kofstore_traces_insert_pause_max_timestamp_seconds");
        printf("{\"stage\":\"longest hold\",\"ms\":%.1f,\"core_withheld_ms\":%.1f}\n", us / 1000,
               core_gaps_within(end - us, end) / 1000);
    }
    conn_done(&c);
}

int load_traces(int argc, char **argv)
{
    struct load l = {.rng = 42, .host = "127.0.0.1"};
    size_t traces = (size_t)arg_num(argc, argv, "traces", 100000), quarter = traces / 4;
    size_t turns = (size_t)arg_num(argc, argv, "turns", 3);
    int conns = (int)arg_num(argc, argv, "conns", 4);
    l.port = (int)arg_num(argc, argv, "port", 8428);
    l.pid = (int)arg_num(argc, argv, "pid", 0);
    l.batch = (int)arg_num(argc, argv, "batch", 512);
    if (conns > 64 || l.batch > 4096)
        die("at most 64 connections and batches of 4096 spans");
    make_bodies(&l, quarter);
    size_t bytes = 0, spans = 0;
    for (size_t i = 0; i < l.count; i++) {
        bytes += l.bodies[i].len;
        spans += l.bodies[i].spans;
    }
    printf("{\"stage\":\"data\",\"bytes_per_span\":%.0f}\n", (double)bytes / (double)spans);
    bool control = arg_num(argc, argv, "control", 0) > 0;
    if (control)
        core_gaps_start();
    double top = stage(&l, "first fill", 0, 4, conns);
    if (turns > 1)
        top = stage(&l, "turnovers", 4, 4 * (turns - 1), conns);
    printf("{\"stage\":\"memory\",\"live_spans\":%zu,\"rss_bytes_per_span\":%.1f}\n", spans * 4,
           (double)resident(l.pid) / (double)(spans * 4));
    size_t from = 4 * turns;
    l.gzip = 1;
    stage(&l, "gzip", from, 2, conns);
    from += 2;
    l.gzip = 0;
    ask_all(&l);
    /* Again while half of what it can take comes in. */
    pthread_t th[64];
    double cpu = cpu_us(l.pid), begun = now_us();
    l.rate = top / 2;
    send_rounds(&l, from, 400, 2, th);
    printf("{\"stage\":\"asking at half load\",\"spans_per_s\":%.0f}\n", l.rate);
    ask_all(&l);
    atomic_store(&l.stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(th[i], NULL);
    l.total = atomic_load(&l.next) - 2;
    report_send(&l, "half load", now_us() - begun, cpu_us(l.pid) - cpu, from * l.count);
    if (control) {
        core_gaps_report();
        report_longest(&l);
    }
    return 0;
}
