/*
 * Requests known to be short. Handing a request to a worker and its answer back costs two thread
 * switches, more than a small query itself. So what a request took is remembered by what it asks
 * (path and arguments but the times, and how long its time range is), and one whose last runs were
 * all short runs on the network thread while its lane is idle. Dashboards and alert rules ask the
 * same things for ever. Time a run lost to other processes, while it wanted to run, is not its own
 * and is left out: on a crowded machine small queries stay small.
 *
 * Only for routes that answer in one piece. A wrong guess holds up the other connections of one
 * network thread once: then it is known better. Any thread; the table is a cache, races lose a
 * measurement at worst.
 */
#include <string.h>
#include <sys/resource.h>

#include "api/http_priv.h"
#include "base/hash.h"
#include "base/num.h"
#include "sys/clock.h"

/* What still counts as short, in µs, and what is held as "unknown". */
enum { SHORT_US = 300, KEY_SHIFT = 24 };
#define US_MASK (((uint64_t)1 << KEY_SHIFT) - 1)

struct key {
    uint64_t hash;
    double start_s, end_s;
    bool ok;
};

static void add_text(struct key *k, struct ks_slice s)
{
    k->hash = ks_hash64_seed(s.ptr, s.len, k->hash);
}

static bool is_time(struct ks_slice value, double *ret)
{
    return ks_f64_parse(value, ret);
}

/* Times move from call to call; how far apart they are does not, and decides about the cost. */
static void add_arg(struct key *k, struct ks_slice name, struct ks_slice value)
{
    double ignored;
    if (ks_slice_is(name, "time"))
        k->ok = k->ok && is_time(value, &ignored);
    else if (ks_slice_is(name, "start"))
        k->ok = k->ok && is_time(value, &k->start_s);
    else if (ks_slice_is(name, "end"))
        k->ok = k->ok && is_time(value, &k->end_s);
    else if (!ks_slice_is(name, "_")) { /* against browsers' caches */
        add_text(k, name);
        add_text(k, value);
    }
}

/* A form body as sent: equal questions have equal bytes. */
static void add_form(struct key *k, struct ks_slice text)
{
    for (struct ks_slice pair; ks_slice_cut(&text, '&', &pair);) {
        const char *eq = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
        struct ks_slice name = ks_slice(pair.ptr, eq ? (size_t)(eq - pair.ptr) : pair.len);
        add_arg(k, name, eq ? ks_slice_from(pair, name.len + 1) : ks_slice("", 0));
    }
}

uint64_t ksi_short_key(const struct ksi_conn *c)
{
    const struct ks_http_request *req = &c->req;
    struct key k = {.ok = req->whole && req->method <= KS_POST};
    if (!k.ok || req->body.len > 16 << 10)
        return 0;
    add_text(&k, req->path);
    add_text(&k, ks_http_header(req, "AccountID"));
    add_text(&k, ks_http_header(req, "ProjectID"));
    for (size_t i = 0; i < req->arg_count; i++)
        add_arg(&k, req->args[i].name, req->args[i].value);
    add_form(&k, req->body);
    double range_s = k.end_s - k.start_s;
    add_text(&k, ks_slice(&range_s, sizeof range_s));
    return k.ok ? k.hash | (uint64_t)1 << 63 : 0;
}

static int64_t us_of(struct timeval t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_usec;
}

/* CPU time of this thread; how often it gave the processor up to wait for something. */
static int64_t thread_cpu_us(long *ret_waits)
{
    struct rusage u = {0};
    (void)getrusage(RUSAGE_THREAD, &u); /* only a bad address makes it fail */
    *ret_waits = u.ru_nvcsw;
    return us_of(u.ru_utime) + us_of(u.ru_stime);
}

void ksi_stopwatch_start(struct ksi_stopwatch *w, int64_t mono_us)
{
    w->mono_us = mono_us;
    w->cpu_us = thread_cpu_us(&w->waits);
}

int64_t ksi_stopwatch_us(const struct ksi_stopwatch *w)
{
    int64_t us = ks_mono_us() - w->mono_us;
    if (us <= SHORT_US)
        return us;
    long waits;
    int64_t cpu_us = thread_cpu_us(&waits) - w->cpu_us;
    return waits == w->waits && cpu_us < us ? cpu_us : us;
}

static _Atomic uint64_t *slot_of(struct ks_http_server *s, uint64_t key)
{
    return &s->shorts[key % KSI_SHORT_SLOTS];
}

bool ksi_is_short(struct ks_http_server *s, uint64_t key)
{
    uint64_t x = atomic_load_explicit(slot_of(s, key), memory_order_relaxed);
    return key && x >> KEY_SHIFT == key >> KEY_SHIFT && (x & US_MASK) <= SHORT_US;
}

void ksi_short_learn(struct ks_http_server *s, uint64_t key, int64_t us)
{
    if (!key)
        return;
    _Atomic uint64_t *slot = slot_of(s, key);
    uint64_t x = atomic_load_explicit(slot, memory_order_relaxed), known = x & US_MASK;
    uint64_t now = us < 0 ? 0 : (uint64_t)us > US_MASK ? US_MASK : (uint64_t)us;
    /* The longest of late, forgotten by a quarter with each shorter one. */
    if (x >> KEY_SHIFT == key >> KEY_SHIFT && now < known)
        now = known - (known - now + 3) / 4;
    atomic_store_explicit(slot, key >> KEY_SHIFT << KEY_SHIFT | now, memory_order_relaxed);
}
