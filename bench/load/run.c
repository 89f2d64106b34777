/* bench_load send, query and tiny. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/load/load.h"

struct addr {
    char host[64];
    int port;
};

static struct addr parse_addr(const char *text)
{
    struct addr a = {0};
    if (sscanf(text, "%63[^:]:%d", a.host, &a.port) != 2)
        die("--addr=%s: want HOST:PORT", text);
    return a;
}

static void *need(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

/* --- send --- */

struct sender {
    struct addr addr;
    const char *path, *headers;
    const struct record **records;
    size_t count;
    _Atomic size_t next;
    double *latency_us; /* by record */
    _Atomic uint64_t samples, refused, retries, failed;
};

static void send_one(struct sender *s, struct conn *c, size_t i)
{
    const struct record *r = s->records[i];
    char head[512];
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%sContent-Length: %u\r\n\r\n", s->path,
                     s->addr.host, s->addr.port, s->headers, r->bytes);
    for (int attempt = 0; attempt < 200; attempt++) {
        double begin = now_us();
        int status = conn_call(c, head, (size_t)n, r + 1, r->bytes);
        s->latency_us[i] = now_us() - begin;
        if (status >= 200 && status < 300) {
            atomic_fetch_add(&s->samples, r->samples);
            return;
        }
        if (status >= 400 && status < 500 && status != 429) { /* Prometheus refuses late samples */
            atomic_fetch_add(&s->refused, r->samples);
            if (!r->late)
                fprintf(stderr, "bench_load: status %d: %.*s\n", status, 200, conn_body(c).ptr);
            return;
        }
        atomic_fetch_add(&s->retries, 1);
        usleep(50000);
    }
    atomic_fetch_add(&s->failed, r->samples);
}

static void *send_loop(void *arg)
{
    struct sender *s = arg;
    struct conn c;
    conn_init(&c, s->addr.host, s->addr.port);
    for (size_t i; (i = atomic_fetch_add(&s->next, 1)) < s->count;)
        send_one(s, &c, i);
    conn_done(&c);
    return NULL;
}

static void load_records(struct sender *s, const char *path, uint32_t from, uint32_t to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        die("%s: %s", path, strerror(errno));
    size_t len = (size_t)st.st_size, cap = 0;
    const char *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        die("%s: %s", path, strerror(errno));
    for (size_t at = 0; at + sizeof(struct record) <= len;) {
        const struct record *r = (const struct record *)(const void *)(p + at);
        at += sizeof *r + r->bytes;
        at = (at + 7) / 8 * 8;
        if (r->round < from || r->round > to)
            continue;
        if (ks_array_reserve((void **)&s->records, &cap, s->count + 1, sizeof *s->records) != KS_OK)
            die("out of memory");
        s->records[s->count++] = r;
    }
}

int load_send(int argc, char **argv)
{
    struct sender s = {.addr = parse_addr(arg_str(argc, argv, "addr", NULL)),
                       .path = arg_str(argc, argv, "path", "/api/v1/write"),
                       .headers =
                           "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                           "X-Prometheus-Remote-Write-Version: 0.1.0\r\n"};
    if (arg_num(argc, argv, "plain", 0) != 0)
        s.headers = "Content-Type: application/stream+json\r\n";
    load_records(&s, arg_str(argc, argv, "file", NULL), (uint32_t)arg_num(argc, argv, "from", 0),
                 (uint32_t)arg_num(argc, argv, "to", 4e9));
    int pid = (int)arg_num(argc, argv, "pid", 0), conns = (int)arg_num(argc, argv, "conns", 2);
    s.latency_us = need(ks_zalloc_array(s.count + 1, sizeof *s.latency_us));
    pthread_t threads[256];
    if (conns < 1 || conns > 256)
        die("--conns: want 1 to 256");
    double begin = now_us(), cpu = cpu_us(pid);
    for (int i = 0; i < conns; i++)
        if (pthread_create(&threads[i], NULL, send_loop, &s) != 0)
            die("no thread");
    for (int i = 0; i < conns; i++)
        pthread_join(threads[i], NULL);
    double wall = now_us() - begin;
    cpu = cpu_us(pid) - cpu;
    printf("{\"requests\": %zu, \"samples\": %llu, \"refused\": %llu, \"failed\": %llu, "
           "\"retries\": %llu, \"wall_s\": %.3f, "
           "\"cpu_s\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
           s.count, (unsigned long long)s.samples, (unsigned long long)s.refused,
           (unsigned long long)s.failed, (unsigned long long)s.retries, wall / 1e6, cpu / 1e6,
           percentile(s.latency_us, s.count, 0.5) / 1e3,
           percentile(s.latency_us, s.count, 0.99) / 1e3,
           percentile(s.latency_us, s.count, 1) / 1e3);
    ks_free(s.latency_us);
    ks_free(s.records);
    return s.failed != 0;
}

/* --- queries --- */

struct paths {
    char *text;
    char **lines;
    size_t count;
};

static struct paths read_paths(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die("%s: %s", path, strerror(errno));
    struct paths r = {0};
    size_t cap = 0, line_cap = 0, len = 0, n;
    do {
        if (ks_array_reserve((void **)&r.text, &cap, len + 65536, 1) != KS_OK)
            die("out of memory");
        n = fread(r.text + len, 1, 65000, f);
        len += n;
    } while (n);
    fclose(f);
    r.text[len] = 0;
    char *save = NULL;
    for (char *l = strtok_r(r.text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        if (ks_array_reserve((void **)&r.lines, &line_cap, r.count + 1, sizeof *r.lines) != KS_OK)
            die("out of memory");
        r.lines[r.count++] = l;
    }
    return r;
}

static int get(struct conn *c, const char *path)
{
    size_t cap = strlen(path) + 128;
    char *head = need(ks_alloc(cap));
    int n = snprintf(head, cap, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", path, c->host, c->port);
    int status = conn_call(c, head, (size_t)n, NULL, 0);
    ks_free(head);
    return status;
}

static void save_body(const struct conn *c, const char *dir, size_t i)
{
    char name[4096];
    snprintf(name, sizeof name, "%s/%zu", dir, i);
    FILE *f = fopen(name, "wb");
    if (!f)
        die("%s: %s", name, strerror(errno));
    struct ks_slice b = conn_body(c);
    fwrite(b.ptr, 1, b.len, f);
    fclose(f);
}

/* How one question is asked again and again. */
struct again {
    size_t max, turns;
    double budget_us;
    double *us;   /* room for the calls of a turn */
    size_t calls; /* made */
};

/* One turn on a connection of its own; the median time of its calls. */
static double ask_turn(struct again *a, const struct addr *to, const char *path)
{
    struct conn c;
    size_t n = 0, most = a->max / a->turns + 1;
    conn_init(&c, to->host, to->port);
    for (double begin = now_us(); n < most && (!n || now_us() - begin < a->budget_us / a->turns);) {
        double t0 = now_us();
        get(&c, path);
        a->us[n++] = now_us() - t0;
    }
    conn_done(&c);
    a->calls += n;
    return percentile(a->us, n, 0.5);
}

/*
 * In turns: whether client and server find themselves on one core or on two, one of which has to be
 * woken, lasts as long as nothing disturbs them and makes 0.06 ms. The mean of the turns' medians.
 */
static double ask_again(struct again *a, const struct addr *to, const char *path)
{
    double sum = 0;
    a->calls = 0;
    for (size_t i = 0; i < a->turns; i++) {
        sum += ask_turn(a, to, path);
        usleep(1000);
    }
    return sum / (double)a->turns;
}

/* For each path: the first call's time, then repeats for the budget: time, mean CPU of the server.
 */
int load_query(int argc, char **argv)
{
    struct addr a = parse_addr(arg_str(argc, argv, "addr", NULL));
    struct paths p = read_paths(arg_str(argc, argv, "paths", NULL));
    const char *dir = arg_str(argc, argv, "save", "");
    int pid = (int)arg_num(argc, argv, "pid", 0);
    struct again again = {.max = (size_t)arg_num(argc, argv, "max", 50),
                          .turns = (size_t)arg_num(argc, argv, "turns", 8),
                          .budget_us = arg_num(argc, argv, "budget-ms", 300) * 1e3};
    if (!again.turns)
        die("--turns=0: want at least 1");
    again.us = need(ks_alloc_array(again.max / again.turns + 1, sizeof *again.us));
    struct conn c;
    conn_init(&c, a.host, a.port);
    for (size_t i = 0; i < p.count; i++) {
        double cpu0 = cpu_us(pid), t0 = now_us(), us = 0, cpu = 0;
        int status = get(&c, p.lines[i]);
        double first = now_us() - t0, first_cpu = cpu_us(pid) - cpu0;
        size_t bytes = conn_body(&c).len;
        if (status && *dir)
            save_body(&c, dir, i);
        again.calls = 0;
        cpu0 = cpu_us(pid);
        if (status == 200 && again.max)
            us = ask_again(&again, &a, p.lines[i]);
        if (again.calls)
            cpu = (cpu_us(pid) - cpu0) / (double)again.calls;
        printf("{\"status\": %d, \"bytes\": %zu, \"first_ms\": %.3f, \"first_cpu_ms\": %.3f, "
               "\"ms\": %.3f, \"cpu_ms\": %.3f, "
               "\"runs\": %zu}\n",
               status, bytes, first / 1e3, first_cpu / 1e3, us / 1e3, cpu / 1e3, again.calls);
        fflush(stdout);
    }
    ks_free(again.us);
    conn_done(&c);
    ks_free(p.text);
    ks_free(p.lines);
    return 0;
}

/* --- a steady rate of small queries --- */

struct ticker {
    struct addr addr;
    struct paths paths;
    double begin_us, gap_us;
    size_t count;
    _Atomic size_t next, failed;
    double *latency_us;
};

/* Latency counts from the moment a query was due, so a stalled server is not excused. */
static void *tick_loop(void *arg)
{
    struct ticker *t = arg;
    struct conn c;
    conn_init(&c, t->addr.host, t->addr.port);
    for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->count;) {
        double due = t->begin_us + (double)i * t->gap_us, wait = due - now_us();
        if (wait > 0)
            usleep((useconds_t)wait);
        if (get(&c, t->paths.lines[i % t->paths.count]) != 200)
            atomic_fetch_add(&t->failed, 1);
        t->latency_us[i] = now_us() - due;
    }
    conn_done(&c);
    return NULL;
}

int load_tiny(int argc, char **argv)
{
    double rate = arg_num(argc, argv, "rate", 200);
    struct ticker t = {.addr = parse_addr(arg_str(argc, argv, "addr", NULL)),
                       .paths = read_paths(arg_str(argc, argv, "paths", NULL)),
                       .gap_us = 1e6 / rate,
                       .count = (size_t)(rate * arg_num(argc, argv, "seconds", 10))};
    t.latency_us = need(ks_zalloc_array(t.count + 1, sizeof *t.latency_us));
    t.begin_us = now_us() + 1000;
    enum { CONNS = 16 };
    pthread_t threads[CONNS];
    for (int i = 0; i < CONNS; i++)
        if (pthread_create(&threads[i], NULL, tick_loop, &t) != 0)
            die("no thread");
    for (int i = 0; i < CONNS; i++)
        pthread_join(threads[i], NULL);
    printf("{\"queries\": %zu, \"failed\": %zu, \"p50_ms\": %.2f, \"p90_ms\": %.2f, \"p99_ms\": "
           "%.2f, \"max_ms\": %.2f}\n",
           t.count, (size_t)t.failed, percentile(t.latency_us, t.count, 0.5) / 1e3,
           percentile(t.latency_us, t.count, 0.9) / 1e3,
           percentile(t.latency_us, t.count, 0.99) / 1e3,
           percentile(t.latency_us, t.count, 1) / 1e3);
    ks_free(t.latency_us);
    ks_free(t.paths.text);
    ks_free(t.paths.lines);
    return 0;
}
