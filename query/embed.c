/* The embedded library: opening, options, writing. The public contract is include/kofstore.h. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "query/embed_priv.h"
#include "sys/pool.h"

enum { BATCH_MAX_BYTES = 1 << 30, LABEL_TEXT_MAX = 64 << 10, LABELS_MAX = 1024, QUEUE_MAX = 1024 };

/* --- codes --- */

int ksi_code(ks_err err)
{
    static const int codes[KS_ERR_COUNT] = {
#define X(name, status, text) [KS_##name] = KOFSTORE_##name,
        KS_ERR_TABLE(X)
#undef X
    };
    return codes[err];
}

const char *kofstore_version(void)
{
    return KS_VERSION;
}

const char *kofstore_errmsg(void)
{
    return ks_err_text();
}

const char *kofstore_errname(int code)
{
    if (code == KOFSTORE_DONE)
        return "DONE";
    for (int i = 0; i < KS_ERR_COUNT; i++)
        if (ksi_code((ks_err)i) == code)
            return ks_err_name((ks_err)i);
    return "unknown";
}

/* --- options --- */

/* A library does not talk unless it is told to. */
static void quieten(void)
{
    static _Atomic bool done;
    if (!atomic_exchange(&done, true))
        ks_log_set_level(KS_LOG_ERROR);
}

int kofstore_options_new(kofstore_options **ret)
{
    quieten();
    kofstore_options *o = ks_zalloc(sizeof *o);
    if (!o)
        return KOFSTORE_ENOMEM;
    ks_rule_list_init(&o->rules);
    o->engine.retention_ms = 31 * KS_MS_DAY;
    *ret = o;
    return KOFSTORE_OK;
}

void kofstore_options_free(kofstore_options *o)
{
    if (!o)
        return;
    ks_rule_list_done(&o->rules);
    ks_free(o);
}

enum option_kind {
    OPT_RETENTION,
    OPT_DURATION,
    OPT_BYTES,
    OPT_COUNT,
    OPT_COUNT32,
    OPT_BOOL,
    OPT_SIZE
};

static const struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
} options[] = {
#define AT(member) offsetof(struct kofstore_options, member)
    {"retentionPeriod", OPT_RETENTION, AT(engine.retention_ms)},
    {"futureRetention", OPT_DURATION, AT(engine.future_retention_ms)},
    {"dedup.minScrapeInterval", OPT_DURATION, AT(engine.dedup_interval_ms)},
    {"flushInterval", OPT_DURATION, AT(engine.flush_interval_ms)},
    {"wal.repair", OPT_BOOL, AT(engine.wal_repair)},
    {"memory.allowedBytes", OPT_BYTES, AT(engine.memory_bytes)},
    {"storage.minFreeDiskSpaceBytes", OPT_BYTES, AT(engine.min_free_disk_bytes)},
    {"storage.maxDiskSpaceUsageBytes", OPT_BYTES, AT(engine.max_disk_bytes)},
    {"storage.maxSeries", OPT_COUNT32, AT(engine.max_series)},
    {"storage.shards", OPT_COUNT32, AT(engine.shards)},
    {"threads", OPT_COUNT32, AT(threads)},
    {"search.maxUniqueTimeseries", OPT_COUNT, AT(limits.max_series)},
    {"search.maxSamplesPerQuery", OPT_COUNT, AT(limits.max_samples)},
    {"search.maxMemoryPerQuery", OPT_SIZE, AT(limits.max_memory_bytes)},
#undef AT
};

static ks_err parse_bool(const char *value, bool *ret)
{
    *ret = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    return *ret || strcmp(value, "false") == 0 || strcmp(value, "0") == 0
               ? KS_OK
               : ks_fail(KS_EINVAL, "want true or false");
}

/* Stores a number of any kind where the table says. */
static ks_err set_number(kofstore_options *o, const struct option *x, const char *value)
{
    char *at = (char *)o + x->offset;
    struct ks_slice text = ks_slice_str(value);
    int64_t n = 0;
    bool ok = true;
    switch (x->kind) {
    case OPT_RETENTION:
        KS_TRY(ks_retention_parse_ms(text, &n));
        break;
    case OPT_DURATION:
        KS_TRY(ks_duration_parse_ms(text, &n));
        break;
    case OPT_BYTES:
    case OPT_SIZE:
        KS_TRY(ks_bytes_parse(text, &n));
        break;
    case OPT_COUNT:
    case OPT_COUNT32:
        ok = ks_i64_parse(text, &n) && (x->kind == OPT_COUNT || n <= UINT32_MAX);
        break;
    case OPT_BOOL:
        return parse_bool(value, (bool *)at);
    }
    if (!ok || n < 0)
        return ks_fail(KS_EINVAL, "want a number that is not negative");
    if (x->kind == OPT_COUNT32) {
        uint32_t small = (uint32_t)n;
        memcpy(at, &small, sizeof small);
    } else {
        memcpy(at, &n, sizeof n);
    }
    return KS_OK;
}

static ks_err set_sync(kofstore_options *o, const char *value)
{
    static const char *const names[] = {"commit", "interval", "os"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(value, names[i]) == 0) {
            o->engine.wal_sync = (enum ks_wal_sync)i;
            return KS_OK;
        }
    }
    return ks_fail(KS_EINVAL, "want commit, interval or os");
}

static ks_err set_log_level(const char *value)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(value, names[i]) == 0) {
            ks_log_set_level((enum ks_log_level)i);
            return KS_OK;
        }
    }
    return ks_fail(KS_EINVAL, "want DEBUG, INFO, WARN or ERROR");
}

static ks_err set_option(kofstore_options *o, const char *name, const char *value)
{
    bool background;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0)
            return set_number(o, &options[i], value);
    if (strcmp(name, "wal.sync") == 0)
        return set_sync(o, value);
    if (strcmp(name, "retentionFilter") == 0)
        return ks_rule_list_retention(&o->rules, value, INT64_MAX);
    if (strcmp(name, "downsampling.period") == 0)
        return ks_rule_list_downsample(&o->rules, value);
    if (strcmp(name, "logLevel") == 0)
        return set_log_level(value);
    if (strcmp(name, "background") == 0) {
        KS_TRY(parse_bool(value, &background));
        o->engine.no_background = !background;
        return KS_OK;
    }
    return ks_fail(KS_EINVAL, "there is no such option; see kofstore_options_set in kofstore.h");
}

int kofstore_options_set(kofstore_options *o, const char *name, const char *value)
{
    if (!o || !name || !value)
        return ksi_code(ks_fail(KS_EINVAL, "an argument is NULL"));
    ks_err err = set_option(o, name, value);
    return ksi_code(err == KS_OK ? err : ks_fail_context(err, "option %s=%s", name, value));
}

/* --- opening --- */

static ks_err open_with(const char *path, const kofstore_options *o, kofstore *db)
{
    struct ks_engine_opts e = o->engine;
    KS_TRY(ks_pool_new("kofstore", o->threads ? o->threads : ks_cpu_count(), QUEUE_MAX, &db->pool));
    e.dir = path;
    e.pool = db->pool;
    e.retention_rules = o->rules.keep;
    e.retention_rule_count = o->rules.keep_count;
    e.downsample_rules = o->rules.thin;
    e.downsample_rule_count = o->rules.thin_count;
    db->limits = o->limits;
    if (!db->limits.max_memory_bytes && e.memory_bytes)
        db->limits.max_memory_bytes = e.memory_bytes / 4;
    return ks_engine_open(&e, &db->engine);
}

int kofstore_open(const char *path, const kofstore_options *given, kofstore **ret)
{
    kofstore_options *defaults = NULL;
    if (!path || !ret)
        return ksi_code(ks_fail(KS_EINVAL, "an argument is NULL"));
    kofstore *db = ks_zalloc(sizeof *db);
    if (!db)
        return KOFSTORE_ENOMEM;
    quieten();
    int code = given ? KOFSTORE_OK : kofstore_options_new(&defaults);
    if (code == KOFSTORE_OK)
        code = ksi_code(open_with(path, given ? given : defaults, db));
    kofstore_options_free(defaults);
    if (code != KOFSTORE_OK) {
        ks_pool_free(db->pool);
        ks_free(db);
        return code;
    }
    *ret = db;
    return KOFSTORE_OK;
}

int kofstore_close(kofstore *db)
{
    if (!db)
        return KOFSTORE_OK;
    ks_err err = ks_engine_close(db->engine);
    ks_pool_free(db->pool);
    ks_free(db);
    return ksi_code(err);
}

int kofstore_flush(kofstore *db)
{
    return ksi_code(ks_engine_flush(db->engine));
}

int kofstore_tick(kofstore *db)
{
    return ksi_code(ks_engine_tick(db->engine));
}

int kofstore_snapshot(kofstore *db, char name[64])
{
    return ksi_code(ks_engine_snapshot_create(db->engine, name));
}

/* --- writing --- */

struct kofstore_batch {
    struct ks_write_batch w;
    struct ks_arena texts;   /* the series' labels */
    struct ks_arena scratch; /* of one write */
    struct ks_buf raw;
    struct ks_tenant tenant;
};

/* Labels lie in the batch as varint-prefixed pairs, in the caller's order. */
static ks_err resolve(struct ks_write_batch *b, size_t i, struct ks_labels *ret)
{
    struct ks_labels_iter it = ks_labels_iter(b->series[i].raw);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        KS_TRY(ks_arena_grow(b->arena, (void **)&ret->items, &ret->cap, ret->count + 1,
                             sizeof *ret->items));
        ret->items[ret->count++] = l;
    }
    return KS_OK;
}

int kofstore_batch_new(kofstore_batch **ret)
{
    kofstore_batch *b = ks_zalloc(sizeof *b);
    if (!b)
        return KOFSTORE_ENOMEM;
    ks_arena_init(&b->texts, BATCH_MAX_BYTES);
    ks_arena_init(&b->scratch, BATCH_MAX_BYTES);
    ks_buf_init(&b->raw, (size_t)2 * LABELS_MAX * LABEL_TEXT_MAX);
    b->w.arena = &b->scratch;
    b->w.resolve = resolve;
    *ret = b;
    return KOFSTORE_OK;
}

void kofstore_batch_free(kofstore_batch *b)
{
    if (!b)
        return;
    ks_write_batch_done(&b->w);
    ks_arena_done(&b->texts);
    ks_arena_done(&b->scratch);
    ks_buf_done(&b->raw);
    ks_free(b);
}

void kofstore_batch_reset(kofstore_batch *b)
{
    ks_write_batch_reset(&b->w);
    ks_arena_reset(&b->texts);
    ks_arena_reset(&b->scratch);
}

void kofstore_batch_tenant(kofstore_batch *b, uint32_t account, uint32_t project)
{
    b->tenant = (struct ks_tenant){account, project};
}

static ks_err add_series(kofstore_batch *b, const kofstore_label *labels, size_t count)
{
    bool any = false;
    ks_buf_reset(&b->raw);
    if (count > LABELS_MAX)
        return ks_fail(KS_EINVAL, "a series has more than %d labels", LABELS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (labels[i].name_len > LABEL_TEXT_MAX || labels[i].value_len > LABEL_TEXT_MAX)
            return ks_fail(KS_EINVAL, "label %zu is longer than %d bytes", i, LABEL_TEXT_MAX);
        any |= labels[i].name_len && labels[i].value_len;
        ks_buf_lp(&b->raw, ks_slice(labels[i].name, labels[i].name_len));
        ks_buf_lp(&b->raw, ks_slice(labels[i].value, labels[i].value_len));
    }
    if (!any)
        return ks_fail(KS_EINVAL, "a series needs at least one label with a name and a value");
    KS_TRY(ks_buf_status(&b->raw));
    KS_TRY(ks_write_batch_reserve(&b->w, 1, 0));
    struct ks_slice raw = ks_arena_dup(&b->texts, ks_buf_view(&b->raw));
    if (!raw.ptr)
        return ks_arena_err(&b->texts);
    b->w.series[b->w.series_count++] = (struct ks_write_series){
        .raw_key = ks_raw_key(b->tenant, KS_SLICE_LIT("embedded"), raw),
        .raw = raw,
        .tenant = b->tenant,
        .first_sample = (uint32_t)b->w.sample_count,
    };
    return KS_OK;
}

int kofstore_batch_series(kofstore_batch *b, const kofstore_label *labels, size_t count)
{
    return ksi_code(add_series(b, labels, count));
}

static ks_err add_samples(kofstore_batch *b, const int64_t *times, const double *values,
                          size_t count)
{
    if (!b->w.series_count)
        return ks_fail(KS_EINVAL, "samples before the first series of the batch");
    if (count > UINT32_MAX - b->w.sample_count)
        return ks_fail(KS_ETOOBIG, "a batch holds at most %u samples", UINT32_MAX);
    KS_TRY(ks_write_batch_reserve(&b->w, 0, count));
    for (size_t i = 0; i < count; i++)
        b->w.samples[b->w.sample_count++] = (struct ks_write_sample){times[i], values[i]};
    b->w.series[b->w.series_count - 1].sample_count += (uint32_t)count;
    return KS_OK;
}

int kofstore_batch_samples(kofstore_batch *b, const int64_t *times_ms, const double *values,
                           size_t count)
{
    return ksi_code(add_samples(b, times_ms, values, count));
}

int kofstore_write(kofstore *db, kofstore_batch *b, kofstore_write_info *info)
{
    struct ks_write_result r = {0};
    ks_err err = ks_engine_write(db->engine, &b->w, &r);
    ks_arena_reset(&b->scratch);
    if (err != KS_OK)
        return ksi_code(err);
    if (info) {
        kofstore_write_info out = {info->size, r.stored,         r.too_old,
                                   r.too_new,  r.series_created, r.series_refused};
        memcpy(info, &out, info->size < sizeof out ? info->size : sizeof out);
    }
    kofstore_batch_reset(b);
    return KOFSTORE_OK;
}

int kofstore_append(kofstore *db, const kofstore_label *labels, size_t count,
                    const int64_t *times_ms, const double *values, size_t samples)
{
    kofstore_batch *b;
    int code = kofstore_batch_new(&b);
    if (code != KOFSTORE_OK)
        return code;
    code = kofstore_batch_series(b, labels, count);
    if (code == KOFSTORE_OK)
        code = kofstore_batch_samples(b, times_ms, values, samples);
    if (code == KOFSTORE_OK)
        code = kofstore_write(db, b, NULL);
    kofstore_batch_free(b);
    return code;
}
