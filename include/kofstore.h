/*
 * kofstore: the embedded library. Opens a data folder, takes samples, answers MetricsQL and PromQL,
 * with the engine and the query languages of the server and without HTTP. A folder belongs to one
 * open handle at a time, in this process or any other; the server reads what the library wrote and
 * the other way round.
 *
 * UNITS    Times are int64 milliseconds since 1970-01-01 UTC. Values are IEEE doubles kept bit for
 * bit, NaN payloads included. Texts are UTF-8 with a length where bytes may be zero, else
 * NUL-terminated. ERRORS   Functions return an enum kofstore_code; KOFSTORE_OK is 0.
 * kofstore_errmsg() gives the calling thread's last error as text: what was wrong, where, what to
 * do. It stays valid until the thread's next failing call. MEMORY   What a function lends (`const`
 * pointers) lives as long as its comment says; never free it. What is made by _new, _open, _query
 * and _select is released by its _free or _close. Those take NULL. THREADS  A kofstore handle may
 * be used by any number of threads at once, except that kofstore_close must be the last call.
 * Options, batches and results belong to one thread at a time. ABI      Structs with a `size` first
 * may grow: set it to sizeof; a library that knows fewer members ignores the rest, one that knows
 *          more leaves them at their defaults. Codes keep their numbers. The other structs are
 * frozen.
 *
 *     kofstore *db;
 *     kofstore_label l[] = {KOFSTORE_LABEL("__name__", "temperature"), KOFSTORE_LABEL("room",
 * "kitchen")}; if (kofstore_open("data", NULL, &db) != KOFSTORE_OK) die(kofstore_errmsg());
 *     kofstore_append(db, l, 2, &time_ms, &value, 1);       // durable when it returns
 *     kofstore_query_range(db, "avg_over_time(temperature[5m])", from, to, 60000, NULL, &res);
 *     while (kofstore_result_next(res) == KOFSTORE_OK)
 *         while (kofstore_result_point(res, &t, &v) == KOFSTORE_OK)
 *             …
 */
#ifndef KOFSTORE_H
#define KOFSTORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- codes --- */
enum kofstore_code {
    KOFSTORE_OK = 0,
    KOFSTORE_EINVAL = 1, /* an argument makes no sense */
    KOFSTORE_EPARSE = 2, /* a query, selector or option text */
    KOFSTORE_ENOTFOUND = 3,
    KOFSTORE_EEXIST = 4,
    KOFSTORE_ELIMIT = 5,       /* series, samples, points or memory of a query */
    KOFSTORE_ETOOBIG = 6,      /* input longer than its maximum */
    KOFSTORE_EUNSUPPORTED = 7, /* data of a newer version, a feature this build has not */
    KOFSTORE_EEXEC = 8,        /* the query is well formed but cannot be computed */
    KOFSTORE_EAGAIN = 9,       /* memory pressure: try again later */
    KOFSTORE_ECANCELED = 10,
    KOFSTORE_EIO = 11,
    KOFSTORE_ECORRUPT = 12, /* damaged files; the text names them */
    KOFSTORE_EINTERNAL = 13,
    KOFSTORE_ENOMEM = 14,
    KOFSTORE_ENOSPC = 15,
    KOFSTORE_EREADONLY = 16, /* free disk below storage.minFreeDiskSpaceBytes */
    KOFSTORE_ECLOSED = 17,   /* the write-ahead log failed: reopen */
    KOFSTORE_EBUSY = 18,     /* the folder is open elsewhere */
    KOFSTORE_ETIMEDOUT = 19,
    KOFSTORE_DONE = 100 /* no error: an iterator has no more */
};

const char *kofstore_version(void);
/* Text of this thread's last error, never NULL. */
const char *kofstore_errmsg(void);
/* "ECORRUPT" for a code; static. */
const char *kofstore_errname(int code);

/* --- options --- */
typedef struct kofstore_options kofstore_options;

int kofstore_options_new(kofstore_options **ret);
void kofstore_options_free(kofstore_options *o);
/*
 * Sets an option by the name and in the text form it has as a flag of the server:
 *
 *   retentionPeriod 31d · futureRetention 2d · retentionFilter {a="b"}:7d (again for more) ·
 * downsampling.period 30d:5m (again for more) · dedup.minScrapeInterval 0s · wal.sync
 * commit|interval|os · wal.repair false · memory.allowedBytes (60 % of the limit) ·
 *   storage.minFreeDiskSpaceBytes 100MB · storage.maxDiskSpaceUsageBytes 0 · storage.maxSeries 0 ·
 * storage.shards (by cores) · flushInterval 30m · search.maxUniqueTimeseries (by memory) ·
 * search.maxSamplesPerQuery 1000000000 · search.maxMemoryPerQuery (a quarter of
 * memory.allowedBytes)
 *
 * and of its own:  threads (by cores), background true|false (false: merges and flushes only by
 * kofstore_tick), logLevel ERROR|WARN|INFO|DEBUG (lines on stderr; process-wide; default ERROR).
 *
 * Errors    KOFSTORE_EINVAL unknown name or bad value | KOFSTORE_EPARSE a selector.
 */
int kofstore_options_set(kofstore_options *o, const char *name, const char *value);

/* --- opening --- */
typedef struct kofstore kofstore;

/* Makes the folder when absent; recovers what a crash left. options NULL: defaults; they may be
 * freed afterwards. */
int kofstore_open(const char *path, const kofstore_options *options, kofstore **ret);
/* Writes what is in memory to parts and closes. The handle is gone in any case; results and selects
 * must be freed before. */
int kofstore_close(kofstore *db);
/* Memory to parts: a restart has nothing to replay, and a copy of the folder needs no log. */
int kofstore_flush(kofstore *db);
/* One round of background work, for background=false. */
int kofstore_tick(kofstore *db);
/* A consistent copy as hard links in PATH/snapshots/<name>, itself a data folder. name gets at most
 * 64 bytes with the NUL. */
int kofstore_snapshot(kofstore *db, char name[64]);

/* --- writing --- */
/* Frozen. The metric name is the label "__name__". Empty values are the same as no label; of equal
 * names the last counts. */
typedef struct kofstore_label {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
} kofstore_label;
#define KOFSTORE_LABEL(n, v)                                                                       \
    {                                                                                              \
        (n), sizeof(n) - 1, (v), sizeof(v) - 1                                                     \
    } /* string literals */

typedef struct kofstore_write_info {
    size_t size;                       /* sizeof(kofstore_write_info) */
    uint64_t stored, too_old, too_new; /* samples; those outside retention are dropped */
    uint64_t series_created, series_refused;
} kofstore_write_info;

/* Samples of many series to be written together: one commit of the log for all. */
typedef struct kofstore_batch kofstore_batch;
int kofstore_batch_new(kofstore_batch **ret);
void kofstore_batch_free(kofstore_batch *b);
void kofstore_batch_reset(kofstore_batch *b);
/* Tenant of the series that follow; 0, 0 at first. */
void kofstore_batch_tenant(kofstore_batch *b, uint32_t account, uint32_t project);
/* Begins a series; the labels are copied. KOFSTORE_EINVAL: no label has both name and value, or one
 * is over 64 KiB. */
int kofstore_batch_series(kofstore_batch *b, const kofstore_label *labels, size_t count);
/* Adds samples to the series begun last, in any order of time. Of equal times the larger value
 * stays. */
int kofstore_batch_samples(kofstore_batch *b, const int64_t *times_ms, const double *values,
                           size_t count);
/*
 * Writes the batch; on KOFSTORE_OK it is durable (by wal.sync) and visible, and the batch is empty
 * again. On an error nothing is acknowledged and the batch is unchanged: writing it again is
 * harmless. info may be NULL.
 *
 * Errors    KOFSTORE_EREADONLY, KOFSTORE_ENOSPC, KOFSTORE_ECLOSED, KOFSTORE_EAGAIN.
 */
int kofstore_write(kofstore *db, kofstore_batch *b, kofstore_write_info *info);
/* One series at once, tenant 0:0. For more than a few samples per second use a batch: each call
 * waits for the disk. */
int kofstore_append(kofstore *db, const kofstore_label *labels, size_t count,
                    const int64_t *times_ms, const double *values, size_t samples);
/* Hides everything stored so far of the series that a selector like foo{a="b"} matches. series may
 * be NULL. */
int kofstore_delete(kofstore *db, const char *selector, uint32_t account, uint32_t project,
                    uint64_t *series);

/* --- reading --- */
enum { KOFSTORE_METRICSQL = 0, KOFSTORE_PROMQL = 1 };

/* What Prometheus has behind --enable-feature, for KOFSTORE_PROMQL. */
enum {
    KOFSTORE_EXPERIMENTAL_FUNCTIONS = 1, /* promql-experimental-functions */
    KOFSTORE_DURATION_EXPRESSIONS = 2,   /* promql-duration-expr */
    KOFSTORE_DELAYED_NAME_REMOVAL = 4,   /* promql-delayed-name-removal */
    KOFSTORE_TYPE_AND_UNIT_LABELS = 8    /* type-and-unit-labels */
};

typedef struct kofstore_query_opts {
    size_t size;  /* sizeof(kofstore_query_opts) */
    int language; /* KOFSTORE_METRICSQL (as VictoriaMetrics answers) or KOFSTORE_PROMQL (as
                     Prometheus answers) */
    uint32_t account, project;
    int all_tenants;     /* nonzero: every tenant; series carry vm_account_id and vm_project_id */
    int64_t timeout_ms;  /* 0: none */
    int64_t lookback_ms; /* how old the last sample may be; 0: the language's default */
    unsigned features;   /* KOFSTORE_EXPERIMENTAL_FUNCTIONS … ored together */
} kofstore_query_opts;

typedef struct kofstore_result kofstore_result;
enum {
    KOFSTORE_VECTOR = 1,
    KOFSTORE_MATRIX = 2,
    KOFSTORE_SCALAR = 3,
    KOFSTORE_STRING = 4,
    KOFSTORE_RAW = 5
};

/* One value per series at time_ms; a bare range selector (foo[5m]) gives the samples as stored.
 * opts may be NULL. */
int kofstore_query(kofstore *db, const char *query, int64_t time_ms,
                   const kofstore_query_opts *opts, kofstore_result **ret);
/* Values at from_ms, from_ms + step_ms, … ≤ to_ms: exactly that grid, nothing is aligned. step_ms >
 * 0. */
int kofstore_query_range(kofstore *db, const char *query, int64_t from_ms, int64_t to_ms,
                         int64_t step_ms, const kofstore_query_opts *opts, kofstore_result **ret);
/*
 * The samples of the matching series in [from_ms, to_ms] as stored, ascending in time. Series are
 * read one by one as the result is walked; what is written meanwhile does not show. The result pins
 * files: free it before long.
 */
int kofstore_select(kofstore *db, const char *selector, int64_t from_ms, int64_t to_ms,
                    const kofstore_query_opts *opts, kofstore_result **ret);

int kofstore_result_type(const kofstore_result *r); /* KOFSTORE_VECTOR … */
size_t kofstore_result_series_count(const kofstore_result *r);
/* KOFSTORE_STRING: the text; else "". Lives with the result. */
const char *kofstore_result_text(const kofstore_result *r);
/* Annotations of PromQL; NULL at the end. Live with the result. */
const char *kofstore_result_warning(const kofstore_result *r, size_t i);

/* Steps to the next series (the first at first): KOFSTORE_OK, KOFSTORE_DONE, or an error of
 * reading. A scalar is one series. */
int kofstore_result_next(kofstore_result *r);
/* Labels of the series at hand, ascending by name; valid until the next kofstore_result_next. */
int kofstore_result_labels(const kofstore_result *r, const kofstore_label **ret, size_t *ret_count);
void kofstore_result_tenant(const kofstore_result *r, uint32_t *account, uint32_t *project);
/* Steps to the next point of the series at hand: KOFSTORE_OK or KOFSTORE_DONE. Grid points without
 * a value are left out, and those that are native histograms: histogram_count() and the like make
 * numbers of them. */
int kofstore_result_point(kofstore_result *r, int64_t *time_ms, double *value);
void kofstore_result_free(kofstore_result *r);

/* Values of a label over series with samples in the range, ascending. Return nonzero from fn to go
 * on. */
typedef int (*kofstore_text_fn)(void *arg, const char *text, size_t len);
int kofstore_label_values(kofstore *db, const char *label, int64_t from_ms, int64_t to_ms,
                          const kofstore_query_opts *opts, kofstore_text_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
