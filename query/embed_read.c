/* The embedded library: queries, selects and the walk over their results. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "query/embed_priv.h"
#include "sys/clock.h"

static const size_t default_memory_bytes = (size_t)1 << 30;

struct kofstore_result {
    struct ks_arena arena;
    struct ks_promql_result q;
    int type;
    size_t next;  /* series to come */
    size_t point; /* points of the series at hand already given */
    /* The series at hand. */
    struct ks_slice label_bytes;
    struct ks_tenant tenant;
    kofstore_label *labels;
    size_t label_count, label_cap;
    const int64_t *times; /* NULL: a grid */
    const double *values;
    size_t count;
    /* A select: */
    struct ks_series_set *set;
    struct ks_samples samples;
    struct ks_read_ctx ctx;
    int64_t from_ms, to_ms;
};

kofstore_query_opts ksi_query_opts(const kofstore_query_opts *given)
{
    kofstore_query_opts o = {0};
    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    o.size = sizeof o;
    return o;
}

static kofstore_result *result_new(const kofstore *db)
{
    kofstore_result *r = ks_zalloc(sizeof *r);
    if (r)
        ks_arena_init(&r->arena, db->limits.max_memory_bytes ? db->limits.max_memory_bytes
                                                             : default_memory_bytes);
    return r;
}

void kofstore_result_free(kofstore_result *r)
{
    if (!r)
        return;
    ks_series_set_free(r->set);
    ks_samples_done(&r->samples);
    ks_free(r->labels);
    ks_arena_done(&r->arena);
    ks_free(r);
}

static int64_t deadline(const kofstore_query_opts *o)
{
    return o->timeout_ms > 0 ? ks_mono_ms() + o->timeout_ms : 0;
}

static ks_err run(kofstore *db, const char *query, struct ks_promql_request *req,
                  const kofstore_query_opts *o, kofstore_result *r)
{
    static const int types[] = {[KS_VALUE_SCALAR] = KOFSTORE_SCALAR,
                                [KS_VALUE_STRING] = KOFSTORE_STRING,
                                [KS_VALUE_VECTOR] = KOFSTORE_VECTOR,
                                [KS_VALUE_MATRIX] = KOFSTORE_MATRIX};
    struct ks_tenant tenant = {o->account, o->project};
    if (o->language != KOFSTORE_METRICSQL && o->language != KOFSTORE_PROMQL)
        return ks_fail(KS_EINVAL, "language %d is neither KOFSTORE_METRICSQL nor KOFSTORE_PROMQL",
                       o->language);
    req->dialect = o->language == KOFSTORE_PROMQL ? KS_PROMQL_STRICT : KS_METRICSQL;
    req->tenants = o->all_tenants ? NULL : &tenant;
    req->tenant_count = o->all_tenants ? 0 : 1;
    req->multitenant = o->all_tenants;
    req->lookback_ms = o->lookback_ms;
    req->experimental_functions = o->features & KOFSTORE_EXPERIMENTAL_FUNCTIONS;
    req->duration_expressions = o->features & KOFSTORE_DURATION_EXPRESSIONS;
    req->delayed_name_removal = o->features & KOFSTORE_DELAYED_NAME_REMOVAL;
    req->type_and_unit_labels = o->features & KOFSTORE_TYPE_AND_UNIT_LABELS;
    req->no_cache = true;
    req->round_digits = 100;
    req->now_ms = ks_now_ms();
    req->limits = db->limits;
    req->deadline_mono_ms = deadline(o);
    req->query = ks_arena_dup(&r->arena, ks_slice_str(query)); /* results may point into it */
    if (!req->query.ptr)
        return ks_arena_err(&r->arena);
    KS_TRY(ks_promql_exec(db->engine, req, &r->arena, &r->q));
    r->type = r->q.raw ? KOFSTORE_RAW : types[r->q.type];
    return KS_OK;
}

static int query(kofstore *db, const char *text, struct ks_promql_request *req,
                 const kofstore_query_opts *opts, kofstore_result **ret)
{
    kofstore_query_opts o = ksi_query_opts(opts);
    if (!db || !text || !ret)
        return ksi_code(ks_fail(KS_EINVAL, "an argument is NULL"));
    kofstore_result *r = result_new(db);
    if (!r)
        return KOFSTORE_ENOMEM;
    ks_err err = run(db, text, req, &o, r);
    if (err != KS_OK) {
        kofstore_result_free(r);
        return ksi_code(err);
    }
    *ret = r;
    return KOFSTORE_OK;
}

int kofstore_query(kofstore *db, const char *text, int64_t time_ms, const kofstore_query_opts *opts,
                   kofstore_result **ret)
{
    struct ks_promql_request req = {
        .start_ms = time_ms, .end_ms = time_ms, .step_ms = 5 * KS_MS_MINUTE};
    return query(db, text, &req, opts, ret);
}

int kofstore_query_range(kofstore *db, const char *text, int64_t from_ms, int64_t to_ms,
                         int64_t step_ms, const kofstore_query_opts *opts, kofstore_result **ret)
{
    struct ks_promql_request req = {
        .range = true, .start_ms = from_ms, .end_ms = to_ms, .step_ms = step_ms};
    return query(db, text, &req, opts, ret);
}

/* --- selects --- */

/* A selector text as select options; tenant is the caller's room. */
static ks_err read_selector(const char *text, const kofstore_query_opts *o, struct ks_arena *arena,
                            struct ks_tenant *tenant, struct ks_select_opts *ret)
{
    struct ks_selector *sel;
    struct ks_slice copy = ks_arena_dup(arena, ks_slice_str(text));
    if (!copy.ptr)
        return ks_arena_err(arena);
    KS_TRY(ks_promql_parse_selector(copy, arena, &sel, &ret->selector_count));
    ret->selectors = sel;
    *tenant = (struct ks_tenant){o->account, o->project};
    ret->tenants = o->all_tenants ? NULL : tenant;
    ret->tenant_count = o->all_tenants ? 0 : 1;
    return KS_OK;
}

static ks_err start_select(kofstore *db, const char *selector, const kofstore_query_opts *o,
                           kofstore_result *r)
{
    struct ks_tenant tenant;
    struct ks_select_opts s = {.min_ms = r->from_ms, .max_ms = r->to_ms, .ctx = &r->ctx};
    KS_TRY(read_selector(selector, o, &r->arena, &tenant, &s));
    r->ctx.deadline_mono_ms = deadline(o);
    r->ctx.max_series = db->limits.max_series;
    r->ctx.max_bytes = db->limits.max_memory_bytes;
    r->ctx.max_samples = db->limits.max_samples;
    r->type = KOFSTORE_RAW;
    return ks_engine_select(db->engine, &s, &r->set);
}

int kofstore_select(kofstore *db, const char *selector, int64_t from_ms, int64_t to_ms,
                    const kofstore_query_opts *opts, kofstore_result **ret)
{
    kofstore_query_opts o = ksi_query_opts(opts);
    if (!db || !selector || !ret)
        return ksi_code(ks_fail(KS_EINVAL, "an argument is NULL"));
    kofstore_result *r = result_new(db);
    if (!r)
        return KOFSTORE_ENOMEM;
    r->from_ms = from_ms;
    r->to_ms = to_ms;
    ks_err err = start_select(db, selector, &o, r);
    if (err != KS_OK) {
        kofstore_result_free(r);
        return ksi_code(err);
    }
    *ret = r;
    return KOFSTORE_OK;
}

int kofstore_delete(kofstore *db, const char *selector, uint32_t account, uint32_t project,
                    uint64_t *series)
{
    struct ks_arena arena;
    struct ks_tenant tenant;
    struct ks_select_opts s = {0};
    kofstore_query_opts o = {.account = account, .project = project};
    uint64_t touched = 0;
    if (!db || !selector)
        return ksi_code(ks_fail(KS_EINVAL, "an argument is NULL"));
    ks_arena_init(&arena, 1 << 20);
    ks_err err = read_selector(selector, &o, &arena, &tenant, &s);
    if (err == KS_OK)
        err = ks_engine_delete(db->engine, &s, &touched);
    ks_arena_done(&arena);
    if (err == KS_OK && series)
        *series = touched;
    return ksi_code(err);
}

struct text_call {
    kofstore_text_fn fn;
    void *arg;
};

static bool give_text(void *arg, struct ks_slice text, uint64_t rows)
{
    struct text_call *c = arg;
    (void)rows;
    return c->fn(c->arg, text.ptr, text.len) != 0;
}

int kofstore_label_values(kofstore *db, const char *label, int64_t from_ms, int64_t to_ms,
                          const kofstore_query_opts *opts, kofstore_text_fn fn, void *arg)
{
    kofstore_query_opts o = ksi_query_opts(opts);
    struct ks_tenant tenant = {o.account, o.project};
    struct ks_read_ctx ctx = {.deadline_mono_ms = deadline(&o)};
    struct ks_select_opts s = {.tenants = o.all_tenants ? NULL : &tenant,
                               .tenant_count = o.all_tenants ? 0 : 1,
                               .min_ms = from_ms,
                               .max_ms = to_ms,
                               .ctx = &ctx};
    struct text_call c = {fn, arg};
    return ksi_code(ks_engine_label_values(db->engine, &s, ks_slice_str(label), give_text, &c));
}

/* --- walking --- */

int kofstore_result_type(const kofstore_result *r)
{
    return r->type;
}

size_t kofstore_result_series_count(const kofstore_result *r)
{
    return r->set ? ks_series_set_count(r->set) : r->q.series_count;
}

const char *kofstore_result_text(const kofstore_result *r)
{
    return r->q.text.ptr ? r->q.text.ptr : "";
}

const char *kofstore_result_warning(const kofstore_result *r, size_t i)
{
    return i < r->q.warning_count ? ks_arena_dup((struct ks_arena *)&r->arena, r->q.warnings[i]).ptr
                                  : NULL;
}

static ks_err take_labels(kofstore_result *r)
{
    struct ks_labels_iter it = ks_labels_iter(r->label_bytes);
    struct ks_label l;
    r->label_count = 0;
    while (ks_labels_next(&it, &l)) {
        KS_TRY(ks_array_reserve((void **)&r->labels, &r->label_cap, r->label_count + 1,
                                sizeof *r->labels));
        r->labels[r->label_count++] =
            (kofstore_label){l.name.ptr, l.name.len, l.value.ptr, l.value.len};
    }
    return KS_OK;
}

static ks_err take_series(kofstore_result *r, size_t i)
{
    r->point = 0;
    if (r->set) {
        KS_TRY(ks_series_read(r->set, i, r->from_ms, r->to_ms, &r->samples));
        KS_TRY(ks_series_set_labels(r->set, i, &r->label_bytes));
        r->tenant = ks_series_set_tenant(r->set, i);
        r->times = r->samples.times;
        r->values = r->samples.values;
        r->count = r->samples.count;
    } else {
        const struct ks_promql_series *s = &r->q.series[i];
        r->label_bytes = s->labels;
        r->tenant = s->tenant;
        r->times = s->times;
        r->values = s->values;
        r->count = s->count;
    }
    return take_labels(r);
}

int kofstore_result_next(kofstore_result *r)
{
    for (;;) {
        if (r->next >= kofstore_result_series_count(r)) {
            r->count = r->label_count = 0;
            return KOFSTORE_DONE;
        }
        ks_err err = take_series(r, r->next++);
        if (err != KS_OK)
            return ksi_code(err);
        if (!r->set || r->count) /* a selected series may have no sample in just this range */
            return KOFSTORE_OK;
    }
}

int kofstore_result_labels(const kofstore_result *r, const kofstore_label **ret, size_t *ret_count)
{
    *ret = r->labels;
    *ret_count = r->label_count;
    return KOFSTORE_OK;
}

void kofstore_result_tenant(const kofstore_result *r, uint32_t *account, uint32_t *project)
{
    *account = r->tenant.account;
    *project = r->tenant.project;
}

/* Grids have holes; native histograms have no place here. */
static bool is_number(const kofstore_result *r, size_t i)
{
    double v = r->values[i];
    return (r->times || ks_f64_bits(v) != KS_ABSENT_BITS) &&
           (r->set || !ks_promql_histogram(&r->q, v));
}

int kofstore_result_point(kofstore_result *r, int64_t *time_ms, double *value)
{
    while (r->point < r->count && !is_number(r, r->point))
        r->point++;
    if (r->point >= r->count)
        return KOFSTORE_DONE;
    *time_ms = r->times ? r->times[r->point] : r->q.start_ms + (int64_t)r->point * r->q.step_ms;
    *value = r->values[r->point++];
    return KOFSTORE_OK;
}
