#include "bench/load/data.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/rand.h"

enum { NODE_PODS = 12, LABELS_MAX = 40 };
enum target_kind { TARGET_NODE, TARGET_CADVISOR, TARGET_KUBE_STATE, TARGET_APISERVER, TARGET_POD };

struct pair {
    const char *name, *value;
};

/* Labels under construction: those of the target, then those of a metric, taken back by restoring
 * `count`. */
struct label_set {
    struct pair l[LABELS_MAX];
    int count;
    char text[8192];
    size_t used;
};

struct metric {
    const char *name;
    enum shape shape;
    const char *label, *values; /* one series per word of values */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t s = a * 0x9e3779b97f4a7c15u ^ b;
    return ks_rng_next(&s);
}

static void reserve(void **p, size_t *cap, size_t need, size_t size)
{
    if (ks_array_reserve(p, cap, need, size) != KS_OK) {
        fprintf(stderr, "bench_load: out of memory\n");
        exit(1);
    }
}

__attribute__((format(printf, 3, 4))) static void put(struct label_set *s, const char *name,
                                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *at = s->text + s->used;
    int n = vsnprintf(at, sizeof s->text - s->used, fmt, ap);
    va_end(ap);
    if (n < 0 || s->used + (size_t)n + 1 > sizeof s->text || s->count == LABELS_MAX) {
        fprintf(stderr, "bench_load: too many labels\n");
        exit(1);
    }
    s->used += (size_t)n + 1;
    s->l[s->count++] = (struct pair){name, at};
}

static char *put_len(char *p, size_t n)
{
    for (; n >= 0x80; n >>= 7)
        *p++ = (char)(n | 0x80);
    *p++ = (char)n;
    return p;
}

static char *put_field(char *p, char key, const char *s, size_t n)
{
    *p++ = key;
    p = put_len(p, n);
    memcpy(p, s, n);
    return p + n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

/* Appends the set's labels, sorted by name as clients send them, as fields 1 of a TimeSeries. */
static uint32_t encode_labels(struct gen_data *d, const struct label_set *s, const char *metric)
{
    struct pair l[LABELS_MAX + 1];
    memcpy(l, s->l, sizeof(struct pair) * (size_t)s->count);
    l[s->count] = (struct pair){"__name__", metric};
    qsort(l, (size_t)s->count + 1, sizeof *l, by_name);
    reserve((void **)&d->labels, &d->labels_cap, d->labels_bytes + sizeof s->text + 1024, 1);
    char *start = d->labels + d->labels_bytes, *p = start;
    for (int i = 0; i <= s->count; i++) {
        size_t name = strlen(l[i].name), value = strlen(l[i].value);
        *p++ = 0x0a;
        p = put_len(p, name + value + 4 + (name > 127) + (value > 127));
        p = put_field(p, 0x0a, l[i].name, name);
        p = put_field(p, 0x12, l[i].value, value);
    }
    d->labels_bytes += (size_t)(p - start);
    return (uint32_t)(p - start);
}

static double first_value(enum shape shape, uint64_t *rng)
{
    switch (shape) {
    case SHAPE_CONST:
        return ks_rng_below(rng, 3) ? (double)ks_rng_below(rng, 2)
                                    : (double)(ks_rng_below(rng, 1 << 20) << 12);
    case SHAPE_COUNTER:
        return (double)ks_rng_below(rng, 1000000);
    case SHAPE_CPU2:
        return (double)ks_rng_below(rng, 100000000) / 100;
    case SHAPE_CPU9:
        return (double)ks_rng_below(rng, 100000000000) / 1e9;
    case SHAPE_BYTES:
        return (double)(ks_rng_below(rng, 1 << 18) << 12);
    case SHAPE_INT:
        return (double)ks_rng_below(rng, 200);
    case SHAPE_GAUGE2:
        return (double)ks_rng_below(rng, 10000) / 100;
    case SHAPE_DOUBLE:
        return ks_rng_double(rng);
    default:
        return 0;
    }
}

/* One series with the labels of `s`. Series beyond the wanted number are not made. */
static struct gen_series *emit(struct gen_data *d, const struct label_set *s, const char *metric,
                               enum shape shape)
{
    static struct gen_series none;
    if (d->series_count == d->series_max)
        return &none;
    reserve((void **)&d->series, &d->series_cap, d->series_count + 1, sizeof *d->series);
    struct gen_series *x = &d->series[d->series_count];
    *x = (struct gen_series){.labels_at = d->labels_bytes,
                             .shape = (uint8_t)shape,
                             .rng = mix(d->seed, d->series_count)};
    x->labels_bytes = encode_labels(d, s, metric);
    x->value = first_value(shape, &x->rng);
    x->scale = (double)(1 + ks_rng_below(&x->rng, 1u << ks_rng_below(&x->rng, 14)));
    x->idle = shape == SHAPE_CONST || (shape != SHAPE_TIME && ks_rng_below(&x->rng, 100) < 38);
    d->series_count++;
    return x;
}

static void emit_all(struct gen_data *d, struct label_set *s, const struct metric *m, size_t count)
{
    for (; count--; m++) {
        int keep = s->count;
        size_t keep_used = s->used;
        char words[512];
        snprintf(words, sizeof words, "%s", m->values ? m->values : "");
        char *save = NULL, *w = strtok_r(words, " ", &save);
        do {
            if (m->label)
                put(s, m->label, "%s", w);
            emit(d, s, m->name, m->shape);
            s->count = keep, s->used = keep_used;
            w = strtok_r(NULL, " ", &save);
        } while (w);
    }
}

/* A classic histogram: buckets that grow together, sum and count. */
static void emit_histogram(struct gen_data *d, struct label_set *s, const char *name,
                           const double *bounds, int count)
{
    char full[3][96];
    snprintf(full[0], sizeof full[0], "%s_bucket", name);
    snprintf(full[1], sizeof full[1], "%s_sum", name);
    snprintf(full[2], sizeof full[2], "%s_count", name);
    uint64_t rng = mix(d->seed ^ 0x68697374, d->series_count);
    int idle = ks_rng_below(&rng, 100) < 45;
    double scale = (double)(1 + ks_rng_below(&rng, 400));
    for (int i = 0; i < count + 3; i++) {
        int keep = s->count;
        size_t keep_used = s->used;
        if (i < count)
            put(s, "le", "%g", bounds[i]);
        else if (i == count)
            put(s, "le", "+Inf");
        struct gen_series *x =
            emit(d, s, full[i <= count ? 0 : i - count], i == count + 1 ? SHAPE_SUM : SHAPE_BUCKET);
        x->bucket = (uint8_t)(i < count ? i : count);
        x->bucket_count = (uint8_t)(count + 1);
        x->rng = rng, x->idle = (uint8_t)idle, x->scale = scale, x->value = 0;
        s->count = keep, s->used = keep_used;
    }
}

/* --- the targets --- */

#define NELEM(a) (sizeof(a) / sizeof *(a))

static const char *const apps[] = {
    "payments", "ledger",  "search",       "catalog",      "checkout",    "gateway", "identity",
    "mailer",   "reports", "cert-manager", "external-dns", "flux-source", "kcm",     "sveltos"};

static const char *app_of(uint32_t pod)
{
    return apps[pod * 2654435761u % NELEM(apps)];
}

static void put_pod(struct label_set *s, const struct gen_target *t, uint32_t pod)
{
    uint64_t h = mix(pod, t->generation);
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    char tail[6] = "";
    for (int i = 0; i < 5; i++, h /= 27)
        tail[i] = alphabet[h % 27];
    put(s, "pod", "%s-%u-%08llx-%s", app_of(pod), pod % 97,
        (unsigned long long)(mix(pod % 97, t->generation) & 0xffffffff), tail);
}

static void put_common(struct label_set *s, const struct gen_target *t, const char *job, int port)
{
    put(s, "cluster", "region-%c", 'a' + (char)(t->node / 40 % 8));
    put(s, "clusterNamespace", "kcm-system");
    put(s, "tenant", "%s", t->node / 40 % 8 < 2 ? "PLATFORM" : "team-blue");
    put(s, "job", "%s", job);
    put(s, "instance", "10.%u.%u.%u:%d", 16 + t->node / 40 % 8, t->node / 250, t->node % 250, port);
    put(s, "node", "ip-10-0-%u-%u.eu-central-1.compute.internal", t->node / 250, t->node % 250);
}

static void build_node(struct gen_data *d, struct gen_target *t)
{
    static const char modes[] = "idle iowait irq nice softirq steal system user";
    static const struct metric per_disk[] = {
        {"node_disk_reads_completed_total", SHAPE_COUNTER, 0, 0},
        {"node_disk_writes_completed_total", SHAPE_COUNTER, 0, 0},
        {"node_disk_read_bytes_total", SHAPE_COUNTER, 0, 0},
        {"node_disk_written_bytes_total", SHAPE_COUNTER, 0, 0},
        {"node_disk_io_time_seconds_total", SHAPE_CPU2, 0, 0},
        {"node_disk_io_now", SHAPE_INT, 0, 0}};
    static const struct metric per_nic[] = {
        {"node_network_receive_bytes_total", SHAPE_COUNTER, 0, 0},
        {"node_network_transmit_bytes_total", SHAPE_COUNTER, 0, 0},
        {"node_network_receive_packets_total", SHAPE_COUNTER, 0, 0},
        {"node_network_receive_errs_total", SHAPE_CONST, 0, 0},
        {"node_network_up", SHAPE_CONST, 0, 0},
        {"node_network_mtu_bytes", SHAPE_CONST, 0, 0}};
    static const struct metric rest[] = {
        {"node_load1", SHAPE_GAUGE2, 0, 0},
        {"node_load5", SHAPE_GAUGE2, 0, 0},
        {"node_filesystem_avail_bytes", SHAPE_BYTES, "mountpoint",
         "/ /boot /var /run /home /var/lib/kubelet"},
        {"node_filesystem_size_bytes", SHAPE_CONST, "mountpoint",
         "/ /boot /var /run /home /var/lib/kubelet"},
        {"node_filesystem_files_free", SHAPE_INT, "mountpoint",
         "/ /boot /var /run /home /var/lib/kubelet"},
        {"node_memory_MemAvailable_bytes", SHAPE_BYTES, 0, 0},
        {"node_memory_MemFree_bytes", SHAPE_BYTES, 0, 0},
        {"node_memory_MemTotal_bytes", SHAPE_CONST, 0, 0},
        {"node_memory_Cached_bytes", SHAPE_BYTES, 0, 0},
        {"node_vmstat_pgfault", SHAPE_COUNTER, 0, 0},
        {"node_vmstat_pgmajfault", SHAPE_COUNTER, 0, 0},
        {"node_context_switches_total", SHAPE_COUNTER, 0, 0},
        {"node_boot_time_seconds", SHAPE_CONST, 0, 0},
        {"node_time_seconds", SHAPE_TIME, 0, 0},
        {"node_hwmon_temp_celsius", SHAPE_GAUGE2, "sensor", "temp1 temp2 temp3 temp4"},
        {"node_pressure_cpu_waiting_seconds_total", SHAPE_CPU9, 0, 0},
        {"node_scrape_collector_duration_seconds", SHAPE_DOUBLE, "collector",
         "cpu disk netdev meminfo filesystem stat"}};
    struct label_set s = {0};
    put_common(&s, t, "node-exporter", 9100);
    put(&s, "nodename", "ip-10-0-%u-%u", t->node / 250, t->node % 250);
    put(&s, "namespace", "kof");
    put(&s, "container", "node-exporter");
    put(&s, "endpoint", "metrics");
    put(&s, "service", "kof-collectors-prometheus-node-exporter");
    put(&s, "pod", "kof-collectors-prometheus-node-exporter-%05x",
        (unsigned)(mix(t->node, 7) & 0xfffff));
    put(&s, "app_kubernetes_io_name", "prometheus-node-exporter");
    put(&s, "helm_sh_chart", "prometheus-node-exporter-4.45.2");
    int keep = s.count;
    size_t used = s.used;
    for (int cpu = 0; cpu < 16; cpu++, s.count = keep, s.used = used) {
        struct metric m = {"node_cpu_seconds_total", SHAPE_CPU2, "mode", modes};
        put(&s, "cpu", "%d", cpu);
        emit_all(d, &s, &m, 1);
    }
    for (int i = 0; i < 3; i++, s.count = keep, s.used = used) {
        put(&s, "device", "nvme%dn1", i);
        emit_all(d, &s, per_disk, NELEM(per_disk));
    }
    for (int i = 0; i < 6; i++, s.count = keep, s.used = used) {
        put(&s, "device", i ? "cali%05x" : "eth%x",
            i ? (unsigned)(mix(t->node, (uint64_t)i) & 0xfffff) : 0);
        emit_all(d, &s, per_nic, NELEM(per_nic));
    }
    emit_all(d, &s, rest, NELEM(rest));
}

static void build_cadvisor(struct gen_data *d, struct gen_target *t)
{
    static const struct metric per_container[] = {
        {"container_cpu_usage_seconds_total", SHAPE_CPU9, 0, 0},
        {"container_cpu_user_seconds_total", SHAPE_CPU9, 0, 0},
        {"container_cpu_system_seconds_total", SHAPE_CPU9, 0, 0},
        {"container_cpu_cfs_periods_total", SHAPE_COUNTER, 0, 0},
        {"container_cpu_cfs_throttled_periods_total", SHAPE_COUNTER, 0, 0},
        {"container_memory_working_set_bytes", SHAPE_BYTES, 0, 0},
        {"container_memory_rss", SHAPE_BYTES, 0, 0},
        {"container_memory_cache", SHAPE_BYTES, 0, 0},
        {"container_memory_usage_bytes", SHAPE_BYTES, 0, 0},
        {"container_memory_max_usage_bytes", SHAPE_CONST, 0, 0},
        {"container_memory_swap", SHAPE_CONST, 0, 0},
        {"container_memory_failcnt", SHAPE_CONST, 0, 0},
        {"container_oom_events_total", SHAPE_CONST, 0, 0},
        {"container_spec_cpu_period", SHAPE_CONST, 0, 0},
        {"container_spec_cpu_quota", SHAPE_CONST, 0, 0},
        {"container_spec_cpu_shares", SHAPE_CONST, 0, 0},
        {"container_spec_memory_limit_bytes", SHAPE_CONST, 0, 0},
        {"container_start_time_seconds", SHAPE_CONST, 0, 0},
        {"container_last_seen", SHAPE_TIME, 0, 0},
        {"container_threads", SHAPE_INT, 0, 0},
        {"container_processes", SHAPE_INT, 0, 0},
        {"container_file_descriptors", SHAPE_INT, 0, 0},
        {"container_sockets", SHAPE_INT, 0, 0},
        {"container_fs_reads_bytes_total", SHAPE_COUNTER, "device", "/dev/nvme0n1"},
        {"container_fs_writes_bytes_total", SHAPE_COUNTER, "device", "/dev/nvme0n1"},
        {"container_memory_failures_total", SHAPE_COUNTER, "failure_type", "pgfault pgmajfault"}};
    static const struct metric per_pod[] = {
        {"container_network_receive_bytes_total", SHAPE_COUNTER, "interface", "eth0"},
        {"container_network_transmit_bytes_total", SHAPE_COUNTER, "interface", "eth0"},
        {"container_network_receive_packets_total", SHAPE_COUNTER, "interface", "eth0"},
        {"container_network_receive_errors_total", SHAPE_CONST, "interface", "eth0"}};
    for (uint32_t pod = t->pod; pod < t->pod + NODE_PODS; pod++) {
        struct label_set s = {0};
        put_common(&s, t, "kubelet", 10250);
        put(&s, "endpoint", "https-metrics");
        put(&s, "metrics_path", "/metrics/cadvisor");
        put(&s, "service", "kubelet");
        put(&s, "namespace", "%s", app_of(pod));
        put_pod(&s, t, pod);
        uint64_t uid = mix(pod, t->generation + 77u);
        put(&s, "id",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%016llx.slice",
            (unsigned long long)uid);
        put(&s, "beta_kubernetes_io_arch", "amd64");
        put(&s, "topology_kubernetes_io_zone", "eu-central-1%c", 'a' + (char)(t->node % 3));
        emit_all(d, &s, per_pod, NELEM(per_pod));
        int keep = s.count;
        size_t used = s.used;
        for (uint32_t c = 0; c < 1 + pod % 2; c++, s.count = keep, s.used = used) {
            put(&s, "container", "%s", c ? "istio-proxy" : app_of(pod));
            put(&s, "image", "registry.example.com/%s/%s:v1.%u.%u", c ? "istio" : "apps",
                c ? "proxyv2" : app_of(pod), pod % 7, t->generation);
            put(&s, "name", "%016llx%016llx", (unsigned long long)mix(uid, c),
                (unsigned long long)mix(uid, c + 9));
            emit_all(d, &s, per_container, NELEM(per_container));
        }
    }
}

static void build_kube_state(struct gen_data *d, struct gen_target *t)
{
    static const struct metric per_pod[] = {
        {"kube_pod_info", SHAPE_CONST, "host_ip", "10.0.0.1"},
        {"kube_pod_status_phase", SHAPE_CONST, "phase", "Pending Running Succeeded Failed Unknown"},
        {"kube_pod_status_ready", SHAPE_CONST, "condition", "true false unknown"},
        {"kube_pod_container_status_restarts_total", SHAPE_COUNTER, "container", "main"},
        {"kube_pod_container_status_ready", SHAPE_CONST, "container", "main"},
        {"kube_pod_container_resource_requests", SHAPE_CONST, "resource", "cpu memory"},
        {"kube_pod_container_resource_limits", SHAPE_CONST, "resource", "cpu memory"},
        {"kube_pod_start_time", SHAPE_CONST, 0, 0},
        {"kube_pod_owner", SHAPE_CONST, "owner_kind", "ReplicaSet"}};
    for (uint32_t pod = t->pod; pod < t->pod + NODE_PODS; pod++) {
        struct label_set s = {0};
        put_common(&s, t, "kube-state-metrics", 8080);
        put(&s, "endpoint", "http");
        put(&s, "service", "kof-collectors-kube-state-metrics");
        put(&s, "namespace", "%s", app_of(pod));
        put_pod(&s, t, pod);
        put(&s, "uid", "%08x-0000-4000-8000-%012llx", pod,
            (unsigned long long)(mix(pod, t->generation) >> 16));
        put(&s, "app_kubernetes_io_name", "kube-state-metrics");
        put(&s, "app_kubernetes_io_version", "2.15.0");
        put(&s, "helm_sh_chart", "kube-state-metrics-5.31.0");
        emit_all(d, &s, per_pod, NELEM(per_pod));
    }
}

static void build_apiserver(struct gen_data *d, struct gen_target *t)
{
    static const double le[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2,
                                3,     4,     5,    6,   8,   10,  15,  20,  30, 45,   60};
    static const char *const resources[] = {"pods", "nodes", "leases", "configmaps", "secrets"};
    static const char *const verbs[] = {"GET", "LIST", "WATCH", "PUT"};
    struct label_set s = {0};
    put_common(&s, t, "apiserver", 6443);
    put(&s, "endpoint", "https");
    put(&s, "namespace", "default");
    put(&s, "service", "kubernetes");
    put(&s, "component", "apiserver");
    put(&s, "version", "v1");
    put(&s, "group", "core.k8s.io");
    put(&s, "scope", "namespace");
    put(&s, "subresource", "status");
    int keep = s.count;
    size_t used = s.used;
    for (size_t i = 0; i < 8; i++, s.count = keep, s.used = used) {
        put(&s, "resource", "%s", resources[(i + t->node) % NELEM(resources)]);
        put(&s, "verb", "%s", verbs[i / 2]);
        emit_histogram(d, &s,
                       i % 2 ? "apiserver_request_duration_seconds"
                             : "apiserver_request_sli_duration_seconds",
                       le, (int)NELEM(le));
    }
}

static void build_pod(struct gen_data *d, struct gen_target *t)
{
    static const double le[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
    static const struct metric common[] = {
        {"go_goroutines", SHAPE_INT, 0, 0},
        {"go_threads", SHAPE_INT, 0, 0},
        {"go_info", SHAPE_CONST, "goversion", "go1.24.5"},
        {"go_gc_duration_seconds", SHAPE_DOUBLE, "quantile", "0 0.25 0.5 0.75 1"},
        {"go_memstats_alloc_bytes", SHAPE_BYTES, 0, 0},
        {"go_memstats_alloc_bytes_total", SHAPE_COUNTER, 0, 0},
        {"go_memstats_heap_inuse_bytes", SHAPE_BYTES, 0, 0},
        {"go_memstats_heap_objects", SHAPE_INT, 0, 0},
        {"go_memstats_sys_bytes", SHAPE_CONST, 0, 0},
        {"go_memstats_mallocs_total", SHAPE_COUNTER, 0, 0},
        {"go_memstats_last_gc_time_seconds", SHAPE_DOUBLE, 0, 0},
        {"process_cpu_seconds_total", SHAPE_CPU2, 0, 0},
        {"process_resident_memory_bytes", SHAPE_BYTES, 0, 0},
        {"process_open_fds", SHAPE_INT, 0, 0},
        {"process_max_fds", SHAPE_CONST, 0, 0},
        {"process_start_time_seconds", SHAPE_CONST, 0, 0},
        {"http_requests_total", SHAPE_COUNTER, "code", "200 201 301 400 404 500 503"},
        {"http_requests_in_flight", SHAPE_INT, 0, 0},
        {"queue_wait_ratio", SHAPE_GAUGE2, "queue", "default high low"}};
    static const char *const handlers[] = {"/", "/api/v1/orders", "/api/v1/users/{id}", "/healthz",
                                           "/metrics"};
    struct label_set s = {0};
    put_common(&s, t, "kubernetes-pods", 8080);
    put(&s, "namespace", "%s", app_of(t->pod));
    put_pod(&s, t, t->pod);
    put(&s, "app_kubernetes_io_name", "%s", app_of(t->pod));
    put(&s, "app_kubernetes_io_instance", "%s-%u", app_of(t->pod), t->pod % 97);
    put(&s, "app_kubernetes_io_version", "v1.%u.%u", t->pod % 7, t->generation);
    put(&s, "app_kubernetes_io_part_of", "platform");
    put(&s, "app_kubernetes_io_managed_by", "Helm");
    put(&s, "helm_sh_chart", "%s-1.%u.0", app_of(t->pod), t->pod % 7);
    put(&s, "pod_template_hash", "%08llx",
        (unsigned long long)(mix(t->pod % 97, t->generation) & 0xffffffff));
    emit_all(d, &s, common, NELEM(common));
    int keep = s.count;
    size_t used = s.used;
    for (size_t i = 0; i < NELEM(handlers); i++, s.count = keep, s.used = used) {
        put(&s, "handler", "%s", handlers[i]);
        put(&s, "method", i % 2 ? "POST" : "GET");
        emit_histogram(d, &s, "http_request_duration_seconds", le, (int)NELEM(le));
    }
}

static void build(struct gen_data *d, struct gen_target *t)
{
    static void (*const kinds[])(struct gen_data *, struct gen_target *) = {
        build_node, build_cadvisor, build_kube_state, build_apiserver, build_pod};
    t->first = (uint32_t)d->series_count;
    kinds[t->kind](d, t);
    t->count = (uint32_t)d->series_count - t->first;
}

static void add_target(struct gen_data *d, enum target_kind kind, uint32_t node, uint32_t pod)
{
    if (d->series_count == d->series_max)
        return;
    reserve((void **)&d->targets, &d->target_cap, d->target_count + 1, sizeof *d->targets);
    struct gen_target *t = &d->targets[d->target_count];
    *t = (struct gen_target){.kind = (uint8_t)kind, .node = node, .pod = pod};
    t->phase_ms = (uint32_t)(mix(d->seed ^ 0x7068, d->target_count) % 14000);
    d->target_count++;
    build(d, t);
}

void gen_data_init(struct gen_data *d, size_t series_count, uint64_t seed)
{
    *d = (struct gen_data){.seed = seed, .series_max = series_count};
    for (uint32_t node = 0; d->series_count < series_count; node++) {
        uint32_t pod = node * NODE_PODS;
        add_target(d, TARGET_NODE, node, pod);
        add_target(d, TARGET_CADVISOR, node, pod);
        add_target(d, TARGET_KUBE_STATE, node, pod);
        add_target(d, TARGET_APISERVER, node, pod);
        for (uint32_t i = 0; i < NODE_PODS; i++)
            add_target(d, TARGET_POD, node, pod + i);
    }
}

void gen_data_done(struct gen_data *d)
{
    ks_free(d->labels);
    ks_free(d->series);
    ks_free(d->targets);
}

int gen_has_pods(const struct gen_target *t)
{
    return t->kind == TARGET_CADVISOR || t->kind == TARGET_KUBE_STATE || t->kind == TARGET_POD;
}

int gen_churn(struct gen_data *d, struct gen_target *t)
{
    if (!gen_has_pods(t))
        return 0;
    /* Rebuilt in place: the generation alone differs, so it has as many series as before. */
    size_t count = d->series_count, max = d->series_max;
    uint32_t first = t->first;
    d->series_count = first, d->series_max = first + t->count;
    t->generation++;
    build(d, t);
    d->series_count = count, d->series_max = max;
    return 1;
}

/* --- values --- */

/* Observations of this scrape; every series of a histogram draws the same. */
static double observations(struct gen_series *s)
{
    return (double)ks_rng_below(&s->rng, (uint64_t)s->scale + 1);
}

static double next_bucket(struct gen_series *s)
{
    double n = observations(s), seen = ks_rng_double(&s->rng);
    double share = s->bucket + 1 >= s->bucket_count
                       ? 1
                       : 1 - 1 / (1 + 0.7 * (s->bucket + 1) * (s->bucket + 1) * (0.5 + seen));
    if (s->shape == SHAPE_SUM)
        return s->value += n * (0.02 + 0.3 * seen);
    double more = share >= 1 ? n : (double)(uint64_t)(n * share);
    return s->value += more;
}

double gen_next(struct gen_series *s, int64_t time_ms)
{
    if (s->shape == SHAPE_TIME)
        return (double)(time_ms / 1000);
    if (s->idle)
        return s->value;
    if (s->shape == SHAPE_BUCKET || s->shape == SHAPE_SUM)
        return next_bucket(s);
    uint64_t r = ks_rng_next(&s->rng);
    double part = (double)(r >> 40) * 0x1p-24;
    switch ((enum shape)s->shape) {
    case SHAPE_COUNTER:
        return s->value += r & 3 ? (double)(uint64_t)(part * 2 * s->scale) : 0;
    case SHAPE_CPU2:
        return s->value = (double)(uint64_t)(s->value * 100 + part * 1500 + 0.5) / 100;
    case SHAPE_CPU9:
        return s->value = (double)(uint64_t)(s->value * 1e9 + part * 4e9 + 0.5) / 1e9;
    case SHAPE_BYTES:
        s->value += r & 3 ? ((double)(uint64_t)(part * 512) - 256) * 4096 : 0;
        return s->value = s->value < 0 ? 4096 : s->value;
    case SHAPE_INT:
        s->value += (double)(r % 7) - 3;
        return s->value = s->value < 0 ? 1 : s->value;
    case SHAPE_GAUGE2:
        return s->value = (double)(uint64_t)(part * 10000) / 100;
    case SHAPE_DOUBLE:
        return s->value = s->value * 0.98 + part * 0.02;
    default:
        return s->value;
    }
}
