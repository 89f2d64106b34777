/* /select/logsql/hits: rows per bucket of time, for each group of field values. */
#include <inttypes.h>
#include <stdlib.h>

#include "api/vlogs/vlogs.h"
#include "base/num.h"
#include "query/logsql/filter/value.h"

enum { MAX_FILL = 100000 };

struct point {
    struct ks_slice fields; /* {"a":"b"} */
    int64_t time_ns;
    uint64_t hits;
};
struct points {
    struct point *items;
    size_t count, cap;
};
struct group {
    struct ks_slice fields;
    size_t first, count;
    uint64_t total;
};
struct hits {
    struct ks_vl_ctx c;
    struct ks_slice *names;
    size_t name_count;
    int64_t step_ns, offset_ns;
    struct points points;
    struct group *groups;
    size_t group_count;
};

static int by_group(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;
    int c = ks_slice_cmp(a->fields, b->fields);
    return c ? c : (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
}

static int by_total(const void *pa, const void *pb)
{
    const struct group *a = pa, *b = pb;
    if (a->total != b->total)
        return a->total > b->total ? -1 : 1;
    return ks_slice_cmp(a->fields, b->fields);
}

static ks_err read_names(struct hits *h)
{
    struct ks_http_request *req = h->c.req;
    size_t cap = 0;
    for (size_t i = 0; i < req->arg_count; i++) {
        if (!ks_slice_is(req->args[i].name, "field") || !req->args[i].value.len)
            continue;
        if (h->name_count == cap)
            KS_TRY(ks_arena_grow(&req->arena, (void **)&h->names, &cap, cap + 1, sizeof *h->names));
        h->names[h->name_count++] = req->args[i].value;
    }
    return KS_OK;
}

static ks_err read_step(struct hits *h, struct ks_slice *ret_text)
{
    struct ks_http_request *req = h->c.req;
    *ret_text = ks_http_arg(req, "step");
    if (!ret_text->len)
        return ks_fail(KS_EINVAL, "missing `step` arg");
    KS_TRY(ks_vl_arg_duration_ns(req, "step", 0, &h->step_ns));
    if (h->step_ns <= 0)
        return ks_fail(KS_EINVAL, "step=%.*s has to be above 0", KS_SLICE_ARG(*ret_text));
    return ks_vl_arg_duration_ns(req, "offset", 0, &h->offset_ns);
}

static ks_err add_pipe(struct hits *h)
{
    struct ks_buf b;
    ks_buf_init(&b, 4096);
    for (size_t i = 0; i < h->name_count; i++) {
        ks_buf_str(&b, ", ");
        ks_buf_slice(&b, ks_vl_quote(h->c.req, h->names[i]));
    }
    ks_buf_byte(&b, 0);
    ks_err err = ks_buf_status(&b);
    if (!err)
        err = ks_vl_append(&h->c, ks_http_arg_bool(h->c.req, "ignore_pipes"),
                           " | stats by (_time:%" PRId64 "ns offset %" PRId64
                           "ns%s) count(*) as \"__hits__\"",
                           h->step_ns, h->offset_ns, b.ptr);
    ks_buf_done(&b);
    return err;
}

static ks_err fields_json(struct hits *h, const struct ks_vl_cursor *cur, struct ks_slice *ret)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_buf_byte(&b, '{');
    for (size_t i = 0; i < h->name_count; i++) {
        if (i)
            ks_buf_byte(&b, ',');
        ks_lq_buf_json(&b, h->names[i]);
        ks_buf_byte(&b, ':');
        ks_lq_buf_json(&b, ks_lq_col_text(ks_lq_rows_col(cur->rows, h->names[i]), cur->row, tmp));
    }
    ks_buf_byte(&b, '}');
    *ret = ks_arena_dup(&h->c.req->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return ret->ptr ? KS_OK : ks_arena_err(&h->c.req->arena);
}

static ks_err collect(struct hits *h)
{
    struct ks_vl_table t;
    struct ks_arena *arena = &h->c.req->arena;
    char tmp[KS_LQ_TIME_TEXT_MAX];
    ks_vl_table_init(&t, arena);
    KS_TRY(ks_vl_run(&h->c, 0, 0, &t.s));
    h->points.items = ks_arena_array(arena, t.row_count + 1, sizeof *h->points.items);
    if (!h->points.items)
        return ks_arena_err(arena);
    struct ks_vl_cursor cur = {.t = &t};
    while (ks_vl_next(&cur)) {
        struct point *p = &h->points.items[h->points.count];
        if (!ks_lq_parse_rfc3339(ks_vl_value(&cur, "_time", tmp), &p->time_ns) ||
            !ks_lq_parse_u64(ks_vl_value(&cur, "__hits__", tmp), &p->hits))
            continue;
        KS_TRY(fields_json(h, &cur, &p->fields));
        h->points.count++;
    }
    return KS_OK;
}

static ks_err make_groups(struct hits *h)
{
    struct points *p = &h->points;
    h->group_count = 0;
    h->groups = ks_arena_array(&h->c.req->arena, p->count + 1, sizeof *h->groups);
    if (!h->groups)
        return ks_arena_err(&h->c.req->arena);
    if (p->count)
        qsort(p->items, p->count, sizeof *p->items, by_group);
    size_t k = 0;
    for (size_t i = 0; i < p->count; i++) { /* equal points become one */
        bool same = k && ks_slice_eq(p->items[k - 1].fields, p->items[i].fields);
        if (same && p->items[k - 1].time_ns == p->items[i].time_ns) {
            p->items[k - 1].hits += p->items[i].hits;
        } else {
            if (!same)
                h->groups[h->group_count++] = (struct group){p->items[i].fields, k, 0, 0};
            p->items[k++] = p->items[i];
            h->groups[h->group_count - 1].count++;
        }
        h->groups[h->group_count - 1].total += p->items[i].hits;
    }
    p->count = k;
    return KS_OK;
}

/* All but the largest groups become one with the fields {}. */
static ks_err limit_groups(struct hits *h)
{
    uint64_t limit;
    KS_TRY(ks_vl_arg_uint(h->c.req, "fields_limit", 0, &limit));
    if (!limit || h->group_count <= limit)
        return KS_OK;
    qsort(h->groups, h->group_count, sizeof *h->groups, by_total);
    for (size_t i = limit; i < h->group_count; i++)
        for (size_t k = 0; k < h->groups[i].count; k++)
            h->points.items[h->groups[i].first + k].fields = KS_SLICE_LIT("{}");
    return make_groups(h);
}

static int64_t bucket_of(const struct hits *h, int64_t t)
{
    __int128 x = (__int128)t - h->offset_ns, r = x % h->step_ns;
    x -= r < 0 ? r + h->step_ns : r;
    x += h->offset_ns;
    return x < INT64_MIN ? INT64_MIN : (int64_t)x;
}

/* From where to where empty buckets are filled in. */
static void fill_range(const struct hits *h, int64_t *ret_first, int64_t *ret_last)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t i = 0; i < h->points.count; i++) {
        if (h->points.items[i].time_ns < first)
            first = h->points.items[i].time_ns;
        if (h->points.items[i].time_ns > last)
            last = h->points.items[i].time_ns;
    }
    if (h->c.has_start && bucket_of(h, h->c.min_ns) < first)
        first = bucket_of(h, h->c.min_ns);
    if (h->c.has_end && bucket_of(h, h->c.max_ns) > last)
        last = bucket_of(h, h->c.max_ns);
    *ret_first = first;
    *ret_last = last;
}

static void write_series(struct hits *h, const struct group *g, int64_t first, int64_t last,
                         bool values)
{
    struct ks_buf *out = &h->c.req->resp.body;
    const struct point *p = &h->points.items[g->first];
    bool fill = ((__int128)last - first) / h->step_ns < MAX_FILL;
    size_t k = 0, n = 0;
    ks_buf_byte(out, '[');
    for (int64_t t = first; fill ? t <= last : k < g->count;) {
        bool here = k < g->count && (!fill || p[k].time_ns <= t);
        int64_t at = here ? p[k].time_ns : t;
        if (n++)
            ks_buf_byte(out, ',');
        if (values) {
            ks_buf_u64_dec(out, here ? p[k].hits : 0);
        } else {
            char text[40];
            ks_buf_byte(out, '"');
            ks_buf_add(out, text, ks_lq_time_format(text, at));
            ks_buf_byte(out, '"');
        }
        k += here;
        if (fill && (!here || at >= t) && __builtin_add_overflow(t, h->step_ns, &t))
            break;
    }
    ks_buf_byte(out, ']');
}

static void write_answer(struct hits *h)
{
    struct ks_buf *out = &h->c.req->resp.body;
    int64_t first, last;
    fill_range(h, &first, &last);
    h->c.req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"hits\":[");
    for (size_t i = 0; i < h->group_count; i++) {
        ks_buf_str(out, i ? ",{\"fields\":" : "{\"fields\":");
        ks_buf_slice(out, h->groups[i].fields);
        ks_buf_str(out, ",\"timestamps\":");
        write_series(h, &h->groups[i], first, last, false);
        ks_buf_str(out, ",\"values\":");
        write_series(h, &h->groups[i], first, last, true);
        ks_buf_str(out, ",\"total\":");
        ks_buf_u64_dec(out, h->groups[i].total);
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "]}");
}

static ks_err hits(struct ks_http_request *req)
{
    struct hits h = {0};
    struct ks_slice step;
    KS_TRY(ks_vl_begin(req, true, &h.c));
    KS_TRY(read_step(&h, &step));
    KS_TRY(read_names(&h));
    KS_TRY(add_pipe(&h));
    KS_TRY(collect(&h));
    KS_TRY(make_groups(&h));
    KS_TRY(limit_groups(&h));
    write_answer(&h);
    return ks_buf_status(&req->resp.body);
}

ks_err ks_vl_hits(struct ks_http_request *req)
{
    return ks_vl_answer(req, hits(req));
}
