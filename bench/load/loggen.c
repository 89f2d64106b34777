/*
 * bench_load genlogs: JSON lines as collectors of a cluster send them. Container logs of several
 * applications with their pod's labels, each from templates of its own; id-heavy lines; audit
 * events, whose object is both flattened and in the message. A pod is a stream.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/load/load.h"
#include "sys/rand.h"

struct loggen {
    struct ks_buf body;
    uint64_t rng;
    int64_t time_ns;
    uint32_t pods, line;
};

static uint32_t pick(struct loggen *g, uint32_t n)
{
    return (uint32_t)(ks_rng_next(&g->rng) >> 33) % n;
}

/* Small numbers often, large ones now and then. */
static uint32_t skewed(struct loggen *g, uint32_t n)
{
    uint32_t a = pick(g, n), b = pick(g, n), c = pick(g, n);
    return a < b ? (a < c ? a : c) : (b < c ? b : c);
}

static void hex_id(struct loggen *g, char *out, int digits)
{
    for (int i = 0; i < digits; i += 8)
        snprintf(out + i, 9, "%08x", (uint32_t)ks_rng_next(&g->rng));
    out[digits] = 0;
}

static void uuid(struct loggen *g, char out[37])
{
    char h[33];
    hex_id(g, h, 32);
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16, h + 20);
}

static void time_text(int64_t ns, char out[40])
{
    time_t s = (time_t)(ns / 1000000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%09dZ", (int)(ns % 1000000000));
}

/* --- messages --- */
static void web(struct loggen *g, char *m, size_t size, const char **level)
{
    static const char *const methods[] = {"GET", "GET", "GET", "POST", "PUT", "DELETE"};
    static const char *const paths[] = {"/api/v1/users/%u",       "/api/v1/orders/%u/items",
                                        "/static/app.%u.js",      "/healthz?n=%u",
                                        "/api/v2/search?page=%u", "/login?attempt=%u"};
    static const unsigned codes[] = {200, 200, 200, 200, 200, 201, 204, 301, 404, 500, 503};
    static const char *const agents[] = {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
                                         "curl/7.88.1", "kube-probe/1.29", "Go-http-client/1.1",
                                         "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"};
    char path[64];
    unsigned code = codes[pick(g, 11)];
    snprintf(path, sizeof path, paths[pick(g, 6)], skewed(g, 50000));
    snprintf(m, size, "10.%u.%u.%u - - \\\"%s %s HTTP/1.1\\\" %u %u \\\"-\\\" \\\"%s\\\" %u.%03u",
             pick(g, 8), pick(g, 256), pick(g, 256), methods[pick(g, 6)], path, code,
             skewed(g, 90000), agents[pick(g, 5)], skewed(g, 3), pick(g, 1000));
    *level = code >= 500 ? "error" : code >= 400 ? "warn" : "info";
}

static void service(struct loggen *g, char *m, size_t size, const char **level)
{
    static const char *const words[] = {"payment", "invoice", "shipment", "refund", "basket"};
    char id[33];
    hex_id(g, id, 16);
    *level = "info";
    switch (pick(g, 6)) {
    case 0:
        snprintf(m, size, "processed %s %s in %u.%02ums attempt=%u", words[pick(g, 5)], id,
                 skewed(g, 900), pick(g, 100), 1 + skewed(g, 4));
        return;
    case 1:
        snprintf(m, size, "cache miss for key user:%u:profile, loading from postgres",
                 pick(g, 90000));
        *level = "debug";
        return;
    case 2:
        snprintf(m, size, "retrying %s %s after error: context deadline exceeded (attempt %u of 5)",
                 words[pick(g, 5)], id, 1 + pick(g, 5));
        *level = "warn";
        return;
    case 3:
        snprintf(m, size, "connection to db-%u.internal:5432 established in %ums, pool size %u",
                 pick(g, 6), skewed(g, 200), 5 + pick(g, 40));
        return;
    case 4:
        snprintf(m, size, "failed to reserve stock: item %u has %u left, %u requested",
                 pick(g, 5000), skewed(g, 10), 10 + pick(g, 20));
        *level = "error";
        return;
    default:
        snprintf(m, size, "request finished method=GetCart status=OK duration=%u.%03us bytes=%u",
                 skewed(g, 3), pick(g, 1000), skewed(g, 20000));
    }
}

static void java(struct loggen *g, char *m, size_t size, const char **level)
{
    static const char *const classes[] = {"OrderService", "UserRepository", "KafkaConsumer"};
    const char *c = classes[pick(g, 3)];
    if (pick(g, 12) == 0) {
        snprintf(m, size,
                 "java.lang.IllegalStateException: no partition for key %u\\n\\tat "
                 "com.shop.%s.handle(%s."
                 "java:%u)\\n\\tat com.shop.Dispatcher.run(Dispatcher.java:88)\\n\\tat "
                 "java.base/java.lang.Thread.run(Thread.java:840)",
                 pick(g, 100000), c, c, 40 + pick(g, 6));
        *level = "error";
        return;
    }
    snprintf(m, size, "[pool-%u-thread-%u] c.s.%s - consumed offset %u of topic orders-%u lag %u",
             pick(g, 4), pick(g, 16), c, g->line * 3 + pick(g, 3), pick(g, 12), skewed(g, 500));
    *level = "info";
}

static void ids(struct loggen *g, char *m, size_t size, const char **level)
{
    char trace[33], span[17], u[37];
    hex_id(g, trace, 32);
    hex_id(g, span, 16);
    uuid(g, u);
    snprintf(m, size, "span end trace_id=%s span_id=%s user=%s duration_us=%u", trace, span, u,
             skewed(g, 900000));
    *level = "info";
}

typedef void (*message_fn)(struct loggen *g, char *m, size_t size, const char **level);
static const struct app {
    const char *name, *namespace_name;
    message_fn message;
    unsigned share;
} apps[] = {{"ingress-nginx", "ingress", web, 35},
            {"cart", "shop", service, 30},
            {"orders", "shop", java, 20},
            {"tracer", "observability", ids, 10}};

static void container_line(struct loggen *g, const struct app *a, uint32_t app)
{
    char m[1024], time[40];
    const char *level;
    /* A pod's name tells its application; pods speak unevenly. */
    uint32_t pod = skewed(g, g->pods);
    a->message(g, m, sizeof m, &level);
    time_text(g->time_ns, time);
    ks_buf_printf(
        &g->body,
        "{\"_time\":\"%s\",\"_msg\":\"%s\",\"level\":\"%s\",\"stream\":\"%s\",\"kubernetes\":{"
        "\"namespace_name\":\"%s\",\"pod_name\":\"%s-%05x-%04x\",\"container_name\":\"%s\","
        "\"host\":\"node-%u\",\"labels\":{\"app\":\"%s\",\"version\":\"v1.%u\"}}}\n",
        time, m, level, level[0] == 'e' ? "stderr" : "stdout", a->namespace_name, a->name,
        (pod * 2654435761u) >> 12, (pod * 40503u + app) & 0xffff, a->name, pod % 24, a->name,
        pod % 7);
}

static void audit_line(struct loggen *g)
{
    static const char *const verbs[] = {"get", "list", "watch", "update", "patch", "create"};
    static const char *const things[] = {"pods", "configmaps", "secrets", "leases", "endpoints"};
    char time[40], id[37], event[1024], text[2048];
    uuid(g, id);
    time_text(g->time_ns, time);
    snprintf(
        event, sizeof event,
        "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":"
        "\"%s\",\"stage\":\"ResponseComplete\",\"verb\":\"%s\",\"user\":{\"username\":"
        "\"system:serviceaccount:kube-system:sa-%u\",\"groups\":[\"system:serviceaccounts\","
        "\"system:authenticated\"]},\"sourceIPs\":[\"10.0.%u.%u\"],\"objectRef\":{\"resource\":\"%"
        "s\","
        "\"namespace\":\"ns-%u\",\"name\":\"obj-%u\",\"apiVersion\":\"v1\"},\"responseStatus\":{"
        "\"code\":%u},\"requestReceivedTimestamp\":\"%s\",\"annotations\":{"
        "\"authorization.k8s.io/decision\":\"allow\"}}",
        id, verbs[pick(g, 6)], skewed(g, 40), pick(g, 4), pick(g, 250), things[pick(g, 5)],
        skewed(g, 60), skewed(g, 900), pick(g, 20) ? 200 : 404, time);
    size_t n = 0;
    for (const char *p = event; *p && n < sizeof text - 2; p++) {
        if (*p == '"')
            text[n++] = '\\';
        text[n++] = *p;
    }
    text[n] = 0;
    ks_buf_printf(&g->body,
                  "{\"_time\":\"%s\",\"_msg\":\"%s\",\"log_type\":\"k8s_audit\",\"kubernetes\":{"
                  "\"namespace_name\":\"kube-system\",\"pod_name\":\"audit-%u\",\"container_name\":"
                  "\"audit\"},\"audit\":%s}\n",
                  time, text, pick(g, 3), event);
}

static void one_line(struct loggen *g)
{
    uint32_t r = pick(g, 100), app = 0;
    for (; app < 4; app++) {
        if (r < apps[app].share) {
            container_line(g, &apps[app], app);
            return;
        }
        r -= apps[app].share;
    }
    audit_line(g);
}

int load_genlogs(int argc, char **argv)
{
    struct loggen g = {.rng = (uint64_t)arg_num(argc, argv, "seed", 1) ^ 0x6c6f6773,
                       .time_ns = (int64_t)arg_num(argc, argv, "start-ms", 0) * 1000000,
                       .pods = (uint32_t)arg_num(argc, argv, "pods", 200)};
    uint64_t lines = (uint64_t)arg_num(argc, argv, "lines", 100000), bytes = 0;
    uint32_t batch = (uint32_t)arg_num(argc, argv, "batch", 1000);
    int64_t step_ns =
        (int64_t)(arg_num(argc, argv, "span-ms", 3600000) * 1e6 / (double)(lines ? lines : 1));
    FILE *out = fopen(arg_str(argc, argv, "out", NULL), "wb");
    if (!out || !g.pods)
        die("cannot write the data file");
    ks_buf_init(&g.body, KS_BUF_UNLIMITED);
    for (uint32_t round = 0; g.line < lines; round++) {
        struct record rec = {0, 0, round, 0};
        static const char zeros[8];
        ks_buf_reset(&g.body);
        for (; rec.samples < batch && g.line < lines; g.line++, rec.samples++) {
            one_line(&g);
            g.time_ns +=
                step_ns / 2 +
                (int64_t)pick(&g, (uint32_t)(step_ns < 1000000000 ? step_ns : 1000000000) + 1);
        }
        rec.bytes = (uint32_t)g.body.len;
        bytes += g.body.len;
        size_t pad = (8 - (sizeof rec + g.body.len) % 8) % 8;
        if (g.body.err != KS_OK || fwrite(&rec, sizeof rec, 1, out) != 1 ||
            fwrite(g.body.ptr, g.body.len, 1, out) != 1 || fwrite(zeros, 1, pad, out) != pad)
            die("cannot write the data file");
    }
    if (fclose(out) != 0)
        die("cannot write the data file");
    printf("{\"lines\": %u, \"bytes\": %llu, \"end_ms\": %lld}\n", g.line,
           (unsigned long long)bytes, (long long)(g.time_ns / 1000000));
    ks_buf_done(&g.body);
    return 0;
}
