/* See source_logs.h: the functions of a log store under the names of a source. */
#include "query/logsql/source_logs.h"

/* The handle of a block is the store's own object. */
static struct ks_log_block *log_block(struct ks_lq_block *b)
{
    return (struct ks_log_block *)b;
}

static ks_err store_scan(void *self, const struct ks_log_scan_opts *opts, void **ret_scan)
{
    struct ks_log_scan *s;
    KS_TRY(ks_log_store_scan(self, opts, &s));
    *ret_scan = s;
    return KS_OK;
}

static ks_err arrivals_scan(void *self, const struct ks_log_scan_opts *opts, void **ret_scan)
{
    struct ks_lq_arrivals *a = self;
    struct ks_log_scan *s;
    uint64_t first;
    ks_err err = ks_log_store_scan_arrivals(a->store, opts, a->from, a->to, &first, &s);
    if (err == KS_ENOTFOUND) /* some have left memory already: what is left is better than none */
        err = ks_log_store_scan_arrivals(a->store, opts, first, a->to, &first, &s);
    KS_TRY(err);
    *ret_scan = s;
    return KS_OK;
}

static void scan_free(void *self, void *scan)
{
    ks_log_scan_free(scan);
}

static size_t block_count(void *scan)
{
    return ks_log_scan_count(scan);
}

static struct ks_log_block_meta block_meta(void *scan, size_t i)
{
    return ks_log_scan_meta(scan, i);
}

static ks_err block_new(void *self, struct ks_lq_block **ret)
{
    struct ks_log_block *b;
    KS_TRY(ks_log_block_new(&b));
    *ret = (struct ks_lq_block *)b;
    return KS_OK;
}

static void block_free(struct ks_lq_block *b)
{
    ks_log_block_free(log_block(b));
}

static ks_err block_open(struct ks_lq_block *b, void *scan, size_t i)
{
    return ks_log_block_open(log_block(b), scan, i);
}

static uint32_t block_rows(struct ks_lq_block *b)
{
    return ks_log_block_rows(log_block(b));
}

static ks_err block_select(struct ks_lq_block *b, uint64_t *bits, bool *ret_any)
{
    return ks_log_block_select(log_block(b), bits, ret_any);
}

static ks_err block_times(struct ks_lq_block *b, const int64_t **ret_ns)
{
    return ks_log_block_times(log_block(b), ret_ns);
}

static ks_err block_streams(struct ks_lq_block *b, const struct ks_log_stream **ret,
                            size_t *ret_count, const uint32_t **ret_of_row)
{
    return ks_log_block_streams(log_block(b), ret, ret_count, ret_of_row);
}

static ks_err block_names(struct ks_lq_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    return ks_log_block_names(log_block(b), ret, ret_count);
}

static ks_err block_column(struct ks_lq_block *b, struct ks_slice name,
                           const uint64_t *bits_or_null, struct ks_log_column *ret)
{
    if (bits_or_null)
        return ks_log_block_column_rows(log_block(b), name, bits_or_null, ret);
    return ks_log_block_column(log_block(b), name, ret);
}

static ks_err block_filter(struct ks_lq_block *b, struct ks_slice name,
                           const struct ks_log_pred *pred, uint64_t *bits)
{
    return ks_log_block_filter(log_block(b), name, pred, bits);
}

static const struct ks_lq_source base = {
    .scan_free = scan_free,
    .block_count = block_count,
    .block_meta = block_meta,
    .block_new = block_new,
    .block_free = block_free,
    .block_open = block_open,
    .rows = block_rows,
    .select = block_select,
    .times = block_times,
    .streams = block_streams,
    .names = block_names,
    .column = block_column,
    .filter = block_filter,
};

struct ks_lq_source ks_lq_source_logs(struct ks_log_store *s)
{
    struct ks_lq_source r = base;
    r.self = s;
    r.scan = store_scan;
    return r;
}

struct ks_lq_source ks_lq_source_arrivals(struct ks_lq_arrivals *arrivals)
{
    struct ks_lq_source r = base;
    r.self = arrivals;
    r.scan = arrivals_scan;
    return r;
}
