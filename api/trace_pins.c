#include "api/trace_pins.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/traces/trace_store.h"
#include "query/traces/jaeger.h"
#include "sys/clock.h"

enum { TICK_MS = 1000, SEEN = 4096, BUCKET_MINUTES = 10 };

struct pin {
    struct ks_tenant tenant;
    struct ks_trace_id id;
    int64_t since_mono_ms;
};

struct ks_trace_pins {
    struct ks_trace_pins_opts opts;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    /* Under lock. */
    struct pin *waiting;
    size_t count;
    uint64_t seen[SEEN]; /* hashes of what was asked for lately: a trace of many rows costs once */
    uint64_t asked[KS_PIN_SOURCES], full, unknown, over_rate, set;
    /* The ticking thread's. */
    struct pin *round;
    uint64_t *lost;
    double tokens;
    int64_t filled_mono_ms;
};

bool ks_pin_id_text(struct ks_slice s, struct ks_trace_id *ret)
{
    return s.len == 32 && ks_jaeger_parse_trace_id(s, ret) && !ks_trace_id_zero(*ret);
}

bool ks_pin_id_name(struct ks_slice name)
{
    static const char text[] = "traceid";
    size_t k = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (i == 5 && name.len == 8 && (c == '_' || c == '.'))
            continue;
        if (k == sizeof text - 1 || (c | 32) != text[k])
            return false;
        k++;
    }
    return k == sizeof text - 1;
}

bool ks_trace_pins_wanted(const struct ks_trace_pins *p, enum ks_pin_source from)
{
    return p && p->opts.from[from];
}

static uint64_t hash_of(const struct pin *pin)
{
    return ks_hash64(pin, offsetof(struct pin, since_mono_ms));
}

/* Under the lock. */
static void add_one(struct ks_trace_pins *p, const struct pin *pin)
{
    uint64_t h = hash_of(pin), *seen = &p->seen[h % SEEN];
    if (*seen == h)
        return;
    if (p->count == KS_PINS_WAITING_MAX) {
        p->full++;
        return;
    }
    *seen = h;
    p->waiting[p->count++] = *pin;
}

void ks_trace_pins_add(struct ks_trace_pins *p, enum ks_pin_source from, struct ks_tenant tenant,
                       const struct ks_trace_id *ids, size_t count)
{
    if (!ks_trace_pins_wanted(p, from) || !count)
        return;
    int64_t now = ks_mono_ms();
    pthread_mutex_lock(&p->lock);
    p->asked[from] += count;
    for (size_t i = 0; i < count; i++) {
        struct pin pin = {tenant, ids[i], now};
        add_one(p, &pin);
    }
    pthread_mutex_unlock(&p->lock);
}

/* --- setting them --- */
static void refill(struct ks_trace_pins *p, int64_t now)
{
    double max = (double)p->opts.per_minute * BUCKET_MINUTES;
    p->tokens += (double)(now - p->filled_mono_ms) * p->opts.per_minute / 60000;
    p->tokens = p->tokens > max ? max : p->tokens;
    p->filled_mono_ms = now;
}

void ks_trace_pins_tick(struct ks_trace_pins *p, int64_t now)
{
    uint64_t set = 0, unknown = 0, over = 0;
    size_t kept = 0, lost = 0;
    ks_lsn lsn = 0;
    refill(p, now);
    pthread_mutex_lock(&p->lock);
    size_t n = p->count;
    if (n)
        memcpy(p->round, p->waiting, n * sizeof *p->round);
    p->count = 0;
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        struct pin *pin = &p->round[i];
        if (p->tokens < 1) {
            over++;
            p->lost[lost++] = hash_of(pin);
        } else if (ks_trace_pin(p->opts.store, pin->tenant, pin->id, &lsn)) {
            p->tokens -= 1;
            set++;
        } else if (now - pin->since_mono_ms < KS_PIN_WAIT_MS) {
            p->round[kept++] = *pin;
        } else {
            unknown++;
            p->lost[lost++] = hash_of(pin);
        }
    }
    if (ks_trace_store_commit(p->opts.store, lsn) != KS_OK)
        ks_log_limited(60000, KS_LOG_WARN, "api", "pins of traces: %s", ks_err_text());
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < lost; i++) /* may be asked for again */
        if (p->seen[p->lost[i] % SEEN] == p->lost[i])
            p->seen[p->lost[i] % SEEN] = 0;
    p->set += set;
    p->unknown += unknown;
    p->over_rate += over;
    /* What came meanwhile stays behind what waits already. */
    size_t room = KS_PINS_WAITING_MAX - p->count;
    if (kept > room) {
        p->full += kept - room;
        kept = room;
    }
    if (kept) {
        memmove(p->waiting + kept, p->waiting, p->count * sizeof *p->waiting);
        memcpy(p->waiting, p->round, kept * sizeof *p->waiting);
        p->count += kept;
    }
    pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
    struct ks_trace_pins *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        int64_t next = ks_mono_ms() + p->opts.tick_ms;
        struct timespec until = {next / 1000, next % 1000 * 1000000};
        pthread_cond_timedwait(&p->wake, &p->lock, &until);
        pthread_mutex_unlock(&p->lock);
        ks_trace_pins_tick(p, ks_mono_ms());
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    ks_trace_pins_tick(p, ks_mono_ms()); /* what came during the last round */
    return NULL;
}

static ks_err start(struct ks_trace_pins *p)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (p->opts.tick_ms < 0)
        return KS_OK;
    if (!p->opts.tick_ms)
        p->opts.tick_ms = TICK_MS;
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        return ks_fail(KS_EAGAIN, "cannot start the thread that pins traces");
    pthread_setname_np(p->thread, "ks-pins");
    p->has_thread = true;
    return KS_OK;
}

ks_err ks_trace_pins_new(const struct ks_trace_pins_opts *opts, struct ks_trace_pins **ret)
{
    struct ks_trace_pins *p = ks_zalloc(sizeof *p);
    if (!p)
        return KS_ENOMEM;
    p->opts = *opts;
    p->opts.per_minute = opts->per_minute ? opts->per_minute : 1;
    p->tokens = (double)p->opts.per_minute * BUCKET_MINUTES;
    p->filled_mono_ms = ks_mono_ms();
    p->waiting = ks_alloc_array(KS_PINS_WAITING_MAX, sizeof *p->waiting);
    p->round = ks_alloc_array(KS_PINS_WAITING_MAX, sizeof *p->round);
    p->lost = ks_alloc_array(KS_PINS_WAITING_MAX, sizeof *p->lost);
    pthread_mutex_init(&p->lock, NULL);
    ks_err err = p->waiting && p->round && p->lost ? start(p) : KS_ENOMEM;
    if (err == KS_OK) {
        *ret = p;
        return KS_OK;
    }
    ks_free(p->waiting);
    ks_free(p->round);
    ks_free(p->lost);
    ks_free(p);
    return err;
}

void ks_trace_pins_free(struct ks_trace_pins *p)
{
    if (!p)
        return;
    if (p->has_thread) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    ks_free(p->waiting);
    ks_free(p->round);
    ks_free(p->lost);
    ks_free(p);
}

void ks_trace_pins_metrics(struct ks_trace_pins *p, struct ks_buf *out)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"kofstore_traces_pins_asked_total{source=\"exemplars\"}", p->asked[KS_PIN_EXEMPLAR]},
        {"kofstore_traces_pins_asked_total{source=\"logs\"}", p->asked[KS_PIN_LOG]},
        {"kofstore_traces_pins_dropped_total{reason=\"queue\"}", p->full},
        {"kofstore_traces_pins_dropped_total{reason=\"rate\"}", p->over_rate},
        {"kofstore_traces_pins_dropped_total{reason=\"unknown\"}", p->unknown},
        {"kofstore_traces_pins_set_total", p->set},
        {"kofstore_traces_pins_waiting", p->count},
    };
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
}
