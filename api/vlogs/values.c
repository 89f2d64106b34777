/* Lists of values with their hits: field_names, field_values, streams, stream_*, facets. */
#include <inttypes.h>
#include <stdlib.h>

#include "api/logs/logs.h"
#include "api/vlogs/wire.h"
#include "base/num.h"
#include "query/logsql/filter/value.h"

struct value {
    struct ks_slice text;
    uint64_t hits;
};
struct value_list {
    struct value *items;
    size_t count, cap;
};

static int by_hits(const void *pa, const void *pb)
{
    const struct value *a = pa, *b = pb;
    if (a->hits != b->hits)
        return a->hits > b->hits ? -1 : 1;
    return ks_lq_natural_compare(a->text, b->text);
}

static int by_text(const void *pa, const void *pb)
{
    return ks_slice_cmp(((const struct value *)pa)->text, ((const struct value *)pb)->text);
}

static ks_err add(struct ks_arena *arena, struct value_list *l, struct ks_slice text, uint64_t hits)
{
    if (l->count == l->cap)
        KS_TRY(ks_arena_grow(arena, (void **)&l->items, &l->cap, l->count + 1, sizeof *l->items));
    l->items[l->count++] = (struct value){text, hits};
    return KS_OK;
}

/* Equal texts become one. */
static void merge(struct value_list *l)
{
    size_t k = 0;
    if (!l->count)
        return;
    qsort(l->items, l->count, sizeof *l->items, by_text);
    for (size_t i = 1; i < l->count; i++) {
        if (ks_slice_eq(l->items[i].text, l->items[k].text))
            l->items[k].hits += l->items[i].hits;
        else
            l->items[++k] = l->items[i];
    }
    l->count = k + 1;
}

static ks_err write_wire(struct ks_vl_ctx *c, const struct value_list *l, bool cut)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (size_t i = 0; i < l->count; i++)
        ks_vl_wire_value(&b, l->items[i].text, cut ? 0 : l->items[i].hits);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ks_vl_wire_values(c, l->count, ks_buf_view(&b));
    ks_buf_done(&b);
    return err;
}

static ks_err write_list(struct ks_vl_ctx *c, struct value_list *l, uint64_t limit)
{
    struct ks_http_request *req = c->req;
    struct ks_buf *out = &req->resp.body;
    bool cut = limit && l->count > limit;
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, by_hits);
    if (cut)
        l->count = limit;
    if (c->wire)
        return write_wire(c, l, cut);
    req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"values\":[");
    for (size_t i = 0; i < l->count; i++) {
        ks_buf_str(out, i ? ",{\"value\":" : "{\"value\":");
        ks_lq_buf_json(out, l->items[i].text);
        ks_buf_str(out, ",\"hits\":");
        ks_buf_u64_dec(out, cut ? 0 : l->items[i].hits); /* they would not be whole */
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "]}");
    return KS_OK;
}

static uint64_t number(struct ks_slice s)
{
    uint64_t v;
    return ks_lq_parse_u64(s, &v) ? v : 0;
}

/* Rows of two columns, collected. */
static ks_err collect(struct ks_vl_ctx *c, struct ks_slice name, struct ks_slice hits,
                      struct value_list *ret)
{
    struct ks_vl_table t;
    char tmp[KS_LQ_TIME_TEXT_MAX];
    ks_vl_table_init(&t, &c->req->arena);
    KS_TRY(ks_vl_run(c, 0, 0, &t.s));
    struct ks_vl_cursor cur = {.t = &t};
    while (ks_vl_next(&cur)) {
        const struct ks_lq_col *v = ks_lq_rows_col(cur.rows, name),
                               *h = ks_lq_rows_col(cur.rows, hits);
        struct ks_slice text = ks_arena_dup(&c->req->arena, ks_lq_col_text(v, cur.row, tmp));
        if (!text.ptr)
            return ks_arena_err(&c->req->arena);
        KS_TRY(add(&c->req->arena, ret, text, number(ks_lq_col_text(h, cur.row, tmp))));
    }
    return KS_OK;
}

static bool ignore_pipes(const struct ks_http_request *req)
{
    return ks_http_arg_bool(req, "ignore_pipes");
}

/* ` filter "x"` of the argument, or nothing. */
static const char *sub_filter(struct ks_http_request *req)
{
    struct ks_slice f = ks_http_arg(req, "filter");
    if (!f.len)
        return "";
    struct ks_slice q = ks_vl_quote(req, f);
    struct ks_slice s = ks_arena_printf(&req->arena, " filter %.*s", KS_SLICE_ARG(q));
    return s.ptr ? s.ptr : "";
}

static ks_err values_of(struct ks_http_request *req, struct ks_slice field)
{
    struct ks_vl_ctx c;
    struct value_list l = {0};
    uint64_t limit;
    KS_TRY(ks_vl_begin(req, true, &c));
    KS_TRY(ks_vl_arg_uint(req, "limit", 0, &limit));
    struct ks_slice name = ks_vl_quote(req, field);
    KS_TRY(ks_vl_append(&c, ignore_pipes(req), " | field_values %.*s%s", KS_SLICE_ARG(name),
                        sub_filter(req)));
    const struct ks_lq_pipe *p = &c.query->pipes[c.query->pipe_count - 1];
    KS_TRY(collect(&c, p->u.uniq.by.items[0], p->u.uniq.hits, &l));
    return write_list(&c, &l, limit);
}

ks_err ks_vl_field_values(struct ks_http_request *req)
{
    struct ks_slice field = ks_http_arg(req, "field");
    ks_err err = field.len ? values_of(req, field) : ks_fail(KS_EINVAL, "missing `field` arg");
    return ks_vl_answer(req, err);
}

ks_err ks_vl_streams(struct ks_http_request *req)
{
    return ks_vl_answer(req, values_of(req, KS_SLICE_LIT("_stream")));
}

ks_err ks_vl_stream_ids(struct ks_http_request *req)
{
    return ks_vl_answer(req, values_of(req, KS_SLICE_LIT("_stream_id")));
}

static ks_err field_names(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct value_list l = {0};
    uint64_t limit;
    KS_TRY(ks_vl_begin(req, true, &c));
    KS_TRY(ks_vl_arg_uint(req, "limit", 0, &limit));
    KS_TRY(ks_vl_append(&c, ignore_pipes(req), " | field_names%s", sub_filter(req)));
    KS_TRY(collect(&c, KS_SLICE_LIT("name"), KS_SLICE_LIT("hits"), &l));
    return write_list(&c, &l, limit);
}

ks_err ks_vl_field_names(struct ks_http_request *req)
{
    return ks_vl_answer(req, field_names(req));
}

/* --- labels of streams --- */

static bool contains(struct ks_slice s, struct ks_slice part)
{
    return part.len == 0 || (s.len >= part.len && memmem(s.ptr, s.len, part.ptr, part.len) != NULL);
}

/* {a="b",c="d"}: names, or the values of one name. */
static ks_err add_labels(struct ks_arena *arena, struct ks_slice stream, const struct ks_slice *of,
                         uint64_t hits, struct ks_slice part, struct value_list *ret)
{
    if (stream.len < 2)
        return KS_OK;
    struct ks_slice s = ks_slice(stream.ptr + 1, stream.len - 2);
    while (s.len) {
        const char *eq = memchr(s.ptr, '=', s.len);
        struct ks_slice value;
        size_t used;
        if (!eq)
            return KS_OK;
        struct ks_slice name = ks_slice(s.ptr, (size_t)(eq - s.ptr));
        s = ks_slice_from(s, name.len + 1);
        KS_TRY(ks_go_unquote(arena, s, &value, &used));
        if (!of && contains(name, part))
            KS_TRY(add(arena, ret, name, hits));
        else if (of && ks_slice_eq(*of, name) && contains(value, part))
            KS_TRY(add(arena, ret, value, hits));
        s = ks_slice_from(s, used);
        if (s.len)
            s = ks_slice_from(s, 1);
    }
    return KS_OK;
}

static ks_err stream_labels(struct ks_http_request *req, const struct ks_slice *of)
{
    struct ks_vl_ctx c;
    struct value_list streams = {0}, l = {0};
    uint64_t limit;
    KS_TRY(ks_vl_begin(req, true, &c));
    KS_TRY(ks_vl_arg_uint(req, "limit", 0, &limit));
    KS_TRY(ks_vl_append(&c, ignore_pipes(req), " | field_values _stream"));
    KS_TRY(collect(&c, KS_SLICE_LIT("_stream"), KS_SLICE_LIT("hits"), &streams));
    for (size_t i = 0; i < streams.count; i++)
        KS_TRY(add_labels(&req->arena, streams.items[i].text, of, streams.items[i].hits,
                          ks_http_arg(req, "filter"), &l));
    merge(&l);
    return write_list(&c, &l, limit);
}

ks_err ks_vl_stream_field_names(struct ks_http_request *req)
{
    return ks_vl_answer(req, stream_labels(req, NULL));
}

ks_err ks_vl_stream_field_values(struct ks_http_request *req)
{
    struct ks_slice field = ks_http_arg(req, "field");
    ks_err err = field.len ? stream_labels(req, &field) : ks_fail(KS_EINVAL, "missing `field` arg");
    return ks_vl_answer(req, err);
}

/* --- facets --- */

static ks_err facets(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct ks_vl_table t;
    uint64_t limit, max_values, max_len;
    char tmp[KS_LQ_TIME_TEXT_MAX];
    KS_TRY(ks_vl_begin(req, true, &c));
    KS_TRY(ks_vl_arg_uint(req, "limit", 10, &limit));
    KS_TRY(ks_vl_arg_uint(req, "max_values_per_field", 1000, &max_values));
    KS_TRY(ks_vl_arg_uint(req, "max_value_len", 128, &max_len));
    KS_TRY(ks_vl_append(&c, ignore_pipes(req),
                        " | facets %" PRIu64 " max_values_per_field %" PRIu64
                        " max_value_len %" PRIu64 "%s",
                        limit ? limit : 10, max_values ? max_values : 1000, max_len ? max_len : 128,
                        ks_http_arg_bool(req, "keep_const_fields") ? " keep_const_fields" : ""));
    ks_vl_table_init(&t, &req->arena);
    KS_TRY(ks_vl_run(&c, 0, 0, &t.s));
    struct ks_buf *out = &req->resp.body;
    struct ks_vl_cursor cur = {.t = &t};
    struct ks_slice last = {NULL, 0};
    bool open = false;
    req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"facets\":[");
    while (ks_vl_next(&cur)) {
        struct ks_slice name = ks_vl_value(&cur, "field_name", tmp);
        if (!open || !ks_slice_eq(name, last)) {
            ks_buf_str(out, open ? "]},{\"field_name\":" : "{\"field_name\":");
            ks_lq_buf_json(out, name);
            ks_buf_str(out, ",\"values\":[");
            open = true;
            last = name;
        } else {
            ks_buf_byte(out, ',');
        }
        ks_buf_str(out, "{\"field_value\":");
        ks_lq_buf_json(out, ks_vl_value(&cur, "field_value", tmp));
        ks_buf_str(out, ",\"hits\":");
        ks_buf_u64_dec(out, number(ks_vl_value(&cur, "hits", tmp)));
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, open ? "]}]}" : "]}");
    return ks_buf_status(out);
}

ks_err ks_vl_facets(struct ks_http_request *req)
{
    return ks_vl_answer(req, facets(req));
}
