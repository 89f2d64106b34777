#include "api/span_metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/app.h"
#include "api/ingest/ingest.h"
#include "api/metadata.h"
#include "api/scratch.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/stats.h"
#include "sys/clock.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"spanmetrics\"}");

enum { DIMS = KS_SPAN_METRICS_DIMENSIONS_MAX, BUCKETS = KS_SPAN_METRICS_BUCKETS, KINDS = 6 };

static const uint32_t bounds_ms[BUCKETS - 1] = {2,   4,   6,    8,    10,   50,   100,   200,
                                                400, 800, 1000, 1400, 2000, 5000, 10000, 15000};
static const char *const bound_texts[BUCKETS] = {"2",    "4",    "6",     "8",     "10",   "50",
                                                 "100",  "200",  "400",   "800",   "1000", "1400",
                                                 "2000", "5000", "10000", "15000", "+Inf"};

/* What spans are counted by. Slices: of the batch while looking up, of the entry afterwards. */
struct key {
    struct ks_tenant tenant;
    uint32_t kind, status;
    bool overflow;
    struct ks_slice service, name, dims[DIMS];
};

struct counts {
    uint64_t calls, buckets[BUCKETS]; /* not cumulative */
    double sum_ms;
};

struct entry {
    struct key key;
    uint64_t hash;
    struct counts c;
    int64_t created_ms, seen_ms;
    bool written;        /* the store knows it */
    struct ks_slice raw; /* raw labels, without name and le */
    char text[];
};

struct ks_span_metrics {
    struct ks_span_metrics_opts opts;
    char prefix[128];
    char dim_text[1024];
    struct ks_slice dims[DIMS];
    size_t dim_count;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    /* Under lock. */
    struct entry **entries;
    size_t count, overflow_count;
    uint32_t *slots; /* entry number + 1 */
    size_t mask;
    uint64_t spans, overflown, lost, written, failed;
    /* The writing thread's. */
    struct ks_scratch scratch;
    struct shot *shots;
    size_t shot_cap;
};

/* An entry as it was when a round began. */
struct shot {
    struct entry *e;
    struct counts c;
    bool ends;
};

/* --- keys --- */
/* Cut between characters. */
static struct ks_slice cut(struct ks_slice s)
{
    size_t n = KS_SPAN_METRICS_NAME_MAX;
    if (s.len <= n)
        return s;
    while (n && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return ks_slice(s.ptr, n);
}

static uint64_t hash_text(uint64_t h, struct ks_slice s)
{
    return ks_mix64(h ^ ks_hash64(s.ptr, s.len)) + s.len;
}

/* Of tenant, service and dimensions; the rest is mixed in per span. */
static uint64_t hash_resource(const struct ks_span_metrics *m, const struct key *k)
{
    uint64_t h = hash_text(ks_mix64(ks_tenant_key(k->tenant)), k->service);
    for (size_t i = 0; i < m->dim_count; i++)
        h = hash_text(h, k->dims[i]);
    return h;
}

static bool same_key(const struct ks_span_metrics *m, const struct key *a, const struct key *b)
{
    if (!ks_tenant_eq(a->tenant, b->tenant) || a->kind != b->kind || a->status != b->status ||
        a->overflow != b->overflow || !ks_slice_eq(a->name, b->name) ||
        !ks_slice_eq(a->service, b->service))
        return false;
    for (size_t i = 0; i < m->dim_count; i++)
        if (!ks_slice_eq(a->dims[i], b->dims[i]))
            return false;
    return true;
}

/* --- entries --- */
static char *keep(char *at, struct ks_slice *s)
{
    if (s->len)
        memcpy(at, s->ptr, s->len);
    *s = ks_slice(at, s->len);
    return at + s->len;
}

/* The label names that Prometheus' rules make of attribute names. */
static void label_name(struct ks_slice attribute, char out[128], struct ks_slice *ret)
{
    size_t n = attribute.len < 127 ? attribute.len : 127;
    for (size_t i = 0; i < n; i++) {
        char c = attribute.ptr[i], low = (char)(c | 32);
        bool fine = (low >= 'a' && low <= 'z') || c == '_' || (i && c >= '0' && c <= '9');
        out[i] = fine ? c : '_';
    }
    *ret = ks_slice(out, n);
}

static ks_err make_raw(const struct ks_span_metrics *m, const struct key *k, struct ks_buf *out)
{
    static const char *const kinds[KINDS] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                             "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                             "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    static const char *const statuses[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK",
                                           "STATUS_CODE_ERROR"};
    struct ks_label labels[5 + DIMS];
    char names[DIMS][128];
    size_t n = 0;
    labels[n++] = (struct ks_label){KS_SLICE_LIT("service_name"), k->service};
    if (k->overflow) {
        labels[n++] = (struct ks_label){KS_SLICE_LIT("otel_metric_overflow"), KS_SLICE_LIT("true")};
    } else {
        labels[n++] = (struct ks_label){KS_SLICE_LIT("span_name"), k->name};
        labels[n++] = (struct ks_label){KS_SLICE_LIT("span_kind"), ks_slice_str(kinds[k->kind])};
        labels[n++] =
            (struct ks_label){KS_SLICE_LIT("status_code"), ks_slice_str(statuses[k->status])};
    }
    for (size_t i = 0; i < m->dim_count; i++) {
        struct ks_slice name;
        label_name(m->dims[i], names[i], &name);
        labels[n++] = (struct ks_label){name, k->dims[i]};
    }
    for (size_t i = 0; i < n; i++) {
        size_t size = ks_raw_label_size(labels[i].name.len, labels[i].value.len);
        if (!labels[i].value.len || !ks_buf_reserve(out, size))
            continue;
        ks_raw_label_put(out->ptr + out->len, labels[i].name, labels[i].value);
        out->len += size;
    }
    return ks_buf_status(out);
}

static struct entry *entry_new(const struct ks_span_metrics *m, const struct key *k, uint64_t hash)
{
    struct ks_buf raw;
    size_t n = k->service.len + k->name.len;
    for (size_t i = 0; i < m->dim_count; i++)
        n += k->dims[i].len;
    ks_buf_init(&raw, 64 << 10);
    struct entry *e = make_raw(m, k, &raw) == KS_OK ? ks_zalloc(sizeof *e + n + raw.len) : NULL;
    if (e) {
        char *at = e->text;
        e->key = *k;
        e->hash = hash;
        e->created_ms = ks_now_ms();
        at = keep(at, &e->key.service);
        at = keep(at, &e->key.name);
        for (size_t i = 0; i < m->dim_count; i++)
            at = keep(at, &e->key.dims[i]);
        e->raw = ks_buf_view(&raw);
        keep(at, &e->raw);
    }
    ks_buf_done(&raw);
    return e;
}

static void put_slot(struct ks_span_metrics *m, uint64_t hash, uint32_t number)
{
    size_t i = hash & m->mask;
    while (m->slots[i])
        i = (i + 1) & m->mask;
    m->slots[i] = number;
}

/* NULL: there is none and none may be made. */
static struct entry *find(struct ks_span_metrics *m, const struct key *k, uint64_t hash)
{
    size_t i = hash & m->mask;
    for (; m->slots[i]; i = (i + 1) & m->mask) {
        struct entry *e = m->entries[m->slots[i] - 1];
        if (e->hash == hash && same_key(m, &e->key, k))
            return e;
    }
    size_t max = m->opts.max_series, spare = max / 8 + 8;
    if (k->overflow ? m->overflow_count >= spare : m->count - m->overflow_count >= max)
        return NULL;
    struct entry *e = entry_new(m, k, hash);
    if (!e)
        return NULL;
    m->entries[m->count++] = e;
    m->overflow_count += k->overflow;
    put_slot(m, hash, (uint32_t)m->count);
    return e;
}

/* --- counting --- */
static void resource_key(const struct ks_span_metrics *m, const struct ks_batch *b,
                         const struct ks_batch_resource *r, struct key *k)
{
    const struct ks_batch_shape *shape = &b->shapes[r->set.shape];
    *k = (struct key){.tenant = b->tenant};
    if (r->service)
        k->service = cut(ks_batch_text(b, r->service - 1));
    for (uint32_t i = 0; m->dim_count && i < shape->count; i++) {
        uint32_t key = b->keys[shape->first + i];
        if ((key & 7) != KS_ATTR_STRING)
            continue;
        for (size_t d = 0; d < m->dim_count; d++)
            if (ks_slice_eq(m->dims[d], ks_batch_text(b, key >> 3)))
                k->dims[d] = cut(ks_batch_text(b, (uint32_t)b->values[r->set.first + i]));
    }
}

static void count_span(struct counts *c, const struct ks_batch_span *s)
{
    double ms = s->end_ns > s->start_ns ? (double)(s->end_ns - s->start_ns) / 1e6 : 0;
    size_t i = 0;
    while (i < BUCKETS - 1 && ms > bounds_ms[i])
        i++;
    c->calls++;
    c->buckets[i]++;
    c->sum_ms += ms;
}

static void add_span(struct ks_span_metrics *m, const struct ks_batch *b, struct key *k,
                     uint64_t resource_hash, const struct ks_batch_span *s, int64_t now_ms)
{
    k->kind = s->kind < KINDS ? s->kind : 0;
    k->status = s->status <= KS_STATUS_ERROR ? s->status : KS_STATUS_UNSET;
    k->name = cut(ks_batch_text(b, s->name));
    k->overflow = false;
    /* The batch has hashed its texts; a name that was cut is so by its whole. */
    uint64_t h = ks_mix64(resource_hash ^ b->strings[s->name].hash) + (k->kind << 2 | k->status);
    struct entry *e = find(m, k, h);
    m->spans++;
    if (!e) {
        m->overflown++;
        k->overflow = true;
        k->kind = k->status = 0;
        k->name = ks_slice("", 0);
        e = find(m, k, ks_mix64(resource_hash + 1));
    }
    if (!e) {
        m->lost++;
        return;
    }
    count_span(&e->c, s);
    e->seen_ms = now_ms;
}

void ks_span_metrics_add(struct ks_span_metrics *m, const struct ks_batch *b)
{
    struct key k;
    uint32_t resource = UINT32_MAX;
    uint64_t hash = 0;
    if (!m || !b->spans_count)
        return;
    int64_t now_ms = ks_now_ms();
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < b->spans_count; i++) {
        const struct ks_batch_span *s = &b->spans[i];
        if (s->resource != resource) {
            resource = s->resource;
            resource_key(m, b, &b->resources[resource], &k);
            hash = hash_resource(m, &k);
        }
        add_span(m, b, &k, hash, s, now_ms);
    }
    pthread_mutex_unlock(&m->lock);
}

/* --- writing --- */
static ks_err begin(struct ks_span_metrics *m, struct ks_ingest *in, const struct entry *e,
                    const char *suffix, const char *le)
{
    char name[192];
    int len = snprintf(name, sizeof name, "%s_%s", m->prefix, suffix);
    struct ks_slice le_text = ks_slice_str(le);
    size_t size = e->raw.len + ks_raw_label_size(8, (size_t)len) +
                  (le_text.len ? ks_raw_label_size(2, le_text.len) : 0);
    char *out = ks_arena_alloc(in->arena, size), *o = out;
    if (!out)
        return ks_arena_err(in->arena);
    memcpy(o, e->raw.ptr, e->raw.len);
    o += e->raw.len;
    if (le_text.len)
        o = ks_raw_label_put(o, KS_SLICE_LIT("le"), le_text);
    o = ks_raw_label_put(o, KS_NAME_LABEL, ks_slice(name, (size_t)len));
    return ks_ingest_series(in, ks_slice(out, (size_t)(o - out)));
}

struct writing {
    struct ks_span_metrics *m;
    struct ks_ingest in;
    int64_t now_ms;
};

static ks_err put(struct writing *w, const struct shot *s, const char *suffix, const char *le,
                  double v)
{
    const struct entry *e = s->e;
    KS_TRY(begin(w->m, &w->in, e, suffix, le));
    if (!e->written)
        KS_TRY(
            ks_ingest_sample(&w->in, e->created_ms < w->now_ms ? e->created_ms : w->now_ms - 1, 0));
    return ks_ingest_sample(&w->in, w->now_ms, s->ends ? ks_stale_nan() : v);
}

static ks_err put_entry(struct writing *w, const struct shot *s)
{
    uint64_t running = 0;
    if (!s->e->written && s->ends)
        return KS_OK;
    w->in.tenant = s->e->key.tenant;
    KS_TRY(put(w, s, "calls_total", "", (double)s->c.calls));
    for (size_t i = 0; i < BUCKETS; i++) {
        running += s->c.buckets[i];
        KS_TRY(put(w, s, "duration_milliseconds_bucket", bound_texts[i], (double)running));
    }
    KS_TRY(put(w, s, "duration_milliseconds_sum", "", s->c.sum_ms));
    KS_TRY(put(w, s, "duration_milliseconds_count", "", (double)s->c.calls));
    return ks_ingest_flush_if_big(&w->in);
}

static void describe(struct ks_span_metrics *m, struct ks_tenant tenant)
{
    char calls[192], duration[192];
    int n = snprintf(calls, sizeof calls, "%s_calls_total", m->prefix);
    int k = snprintf(duration, sizeof duration, "%s_duration_milliseconds", m->prefix);
    struct ks_metadata a = {tenant, KS_TYPE_COUNTER, ks_slice(calls, (size_t)n),
                            KS_SLICE_LIT("spans"), ks_slice("", 0)};
    struct ks_metadata b = {tenant, KS_TYPE_HISTOGRAM, ks_slice(duration, (size_t)k),
                            KS_SLICE_LIT("durations of spans"), KS_SLICE_LIT("ms")};
    ks_metadata_put(m->opts.app->metadata, &a);
    ks_metadata_put(m->opts.app->metadata, &b);
}

static ks_err put_all(struct writing *w, size_t n)
{
    struct ks_span_metrics *m = w->m;
    for (size_t i = 0; i < n; i++) {
        KS_TRY(put_entry(w, &m->shots[i]));
        if (m->opts.app->metadata &&
            (!i || !ks_tenant_eq(m->shots[i].e->key.tenant, m->shots[i - 1].e->key.tenant)))
            describe(m, m->shots[i].e->key.tenant);
    }
    return ks_ingest_end(&w->in);
}

/* Copies what is to be written: only this thread takes entries away, so they stay. */
static ks_err take_shots(struct ks_span_metrics *m, int64_t now_ms, size_t *ret)
{
    pthread_mutex_lock(&m->lock);
    size_t n = m->count;
    ks_err err = ks_array_reserve((void **)&m->shots, &m->shot_cap, n + 1, sizeof *m->shots);
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        struct entry *e = m->entries[i];
        m->shots[i] = (struct shot){e, e->c, now_ms - e->seen_ms > KS_SPAN_METRICS_IDLE_MS};
    }
    pthread_mutex_unlock(&m->lock);
    *ret = n;
    return err;
}

/* What was counted before the end is not counted again. */
static void begin_anew(struct entry *e, const struct counts *before)
{
    e->created_ms = e->seen_ms;
    e->c.calls -= before->calls;
    e->c.sum_ms -= before->sum_ms;
    for (size_t i = 0; i < BUCKETS; i++)
        e->c.buckets[i] -= before->buckets[i];
}

/* Entries that ended go, unless spans came meanwhile: those begin anew. */
static void drop_ended(struct ks_span_metrics *m, size_t n)
{
    size_t kept = 0;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        m->shots[i].e->written = !m->shots[i].ends;
        any |= m->shots[i].ends;
    }
    if (!any)
        return;
    for (size_t i = 0; i < m->count; i++) {
        struct entry *e = m->entries[i];
        bool ended = i < n && m->shots[i].ends;
        if (ended && e->c.calls == m->shots[i].c.calls) {
            m->overflow_count -= e->key.overflow;
            ks_free(e);
            continue;
        }
        if (ended)
            begin_anew(e, &m->shots[i].c);
        m->entries[kept++] = e;
    }
    m->count = kept;
    memset(m->slots, 0, (m->mask + 1) * sizeof *m->slots);
    for (size_t i = 0; i < kept; i++)
        put_slot(m, m->entries[i]->hash, (uint32_t)i + 1);
}

ks_err ks_span_metrics_write(struct ks_span_metrics *m, int64_t now_ms)
{
    struct writing w = {.m = m, .now_ms = now_ms};
    size_t n;
    ks_err err = take_shots(m, now_ms, &n);
    if (err == KS_OK && n) {
        ks_ingest_begin_local(m->opts.app, &m->scratch, &stat_rows, &w.in);
        err = put_all(&w, n);
        ks_scratch_trim(&m->scratch);
    }
    pthread_mutex_lock(&m->lock);
    if (err == KS_OK)
        drop_ended(m, n);
    m->written += err == KS_OK;
    m->failed += err != KS_OK;
    pthread_mutex_unlock(&m->lock);
    return err;
}

static void write_now(struct ks_span_metrics *m)
{
    if (ks_span_metrics_write(m, ks_now_ms()) != KS_OK)
        ks_log_limited(60000, KS_LOG_WARN, "api", "metrics of spans: %s", ks_err_text());
}

static void *run(void *arg)
{
    struct ks_span_metrics *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        /* On multiples of the interval, as a scraper would. */
        int64_t next = (ks_now_ms() / m->opts.interval_ms + 1) * m->opts.interval_ms;
        struct timespec until = {next / 1000, next % 1000 * 1000000};
        if (pthread_cond_timedwait(&m->wake, &m->lock, &until) == 0 && !m->stop)
            continue;
        pthread_mutex_unlock(&m->lock);
        write_now(m);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* --- life --- */
static ks_err read_dimensions(struct ks_span_metrics *m)
{
    const char *text = m->opts.dimensions ? m->opts.dimensions : "";
    size_t len = strlen(text);
    if (len >= sizeof m->dim_text)
        return ks_fail(KS_EINVAL, "dimensions of span metrics: the list is too long");
    memcpy(m->dim_text, text, len + 1);
    struct ks_slice rest = ks_slice(m->dim_text, len);
    for (struct ks_slice one; ks_slice_cut(&rest, ',', &one);) {
        one = ks_slice_trim(one);
        if (!one.len)
            continue;
        if (m->dim_count == DIMS)
            return ks_fail(KS_EINVAL, "dimensions of span metrics: want at most %d", DIMS);
        m->dims[m->dim_count++] = one;
    }
    return KS_OK;
}

static ks_err start(struct ks_span_metrics *m)
{
    size_t entries = m->opts.max_series + m->opts.max_series / 8 + 8, slots = 64;
    if (!m->opts.max_series || m->opts.max_series > 1 << 24)
        return ks_fail(KS_EINVAL, "span metrics: want 1 to 2^24 combinations");
    KS_TRY(read_dimensions(m));
    while (slots < entries * 2)
        slots *= 2;
    m->mask = slots - 1;
    m->entries = ks_alloc_array(entries, sizeof *m->entries);
    m->slots = ks_zalloc_array(slots, sizeof *m->slots);
    if (!m->entries || !m->slots)
        return KS_ENOMEM;
    if (m->opts.interval_ms < 0)
        return KS_OK;
    if (!m->opts.interval_ms)
        m->opts.interval_ms = 15000;
    if (pthread_create(&m->thread, NULL, run, m) != 0)
        return ks_fail(KS_EAGAIN, "cannot start the thread of span metrics");
    pthread_setname_np(m->thread, "span-metrics");
    m->has_thread = true;
    return KS_OK;
}

ks_err ks_span_metrics_new(const struct ks_span_metrics_opts *opts, struct ks_span_metrics **ret)
{
    struct ks_span_metrics *m = ks_zalloc(sizeof *m);
    if (!m)
        return KS_ENOMEM;
    m->opts = *opts;
    snprintf(m->prefix, sizeof m->prefix, "%s",
             opts->prefix && *opts->prefix ? opts->prefix : "traces_span_metrics");
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->wake, NULL);
    ks_scratch_init(&m->scratch);
    ks_err err = start(m);
    if (err == KS_OK)
        *ret = m;
    else
        ks_span_metrics_free(m);
    return err;
}

void ks_span_metrics_free(struct ks_span_metrics *m)
{
    if (!m)
        return;
    if (m->has_thread) {
        pthread_mutex_lock(&m->lock);
        m->stop = true;
        pthread_cond_signal(&m->wake);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
        write_now(m);
    }
    for (size_t i = 0; i < m->count; i++)
        ks_free(m->entries[i]);
    ks_free(m->entries);
    ks_free(m->slots);
    ks_free(m->shots);
    ks_scratch_done(&m->scratch);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    ks_free(m);
}

void ks_span_metrics_stats(struct ks_span_metrics *m, struct ks_buf *out)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"kofstore_spanmetrics_combinations", m->count},
        {"kofstore_spanmetrics_max_combinations", m->opts.max_series},
        {"kofstore_spanmetrics_spans_total", m->spans},
        {"kofstore_spanmetrics_overflow_spans_total", m->overflown},
        {"kofstore_spanmetrics_lost_spans_total", m->lost},
        {"kofstore_spanmetrics_writes_total", m->written},
        {"kofstore_spanmetrics_write_errors_total", m->failed},
    };
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
}
