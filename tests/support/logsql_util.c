#include "logsql_util.h"

#include <stdarg.h>
#include <stdlib.h>

#include "query/logsql/syntax/parser.h"

void logsql_add(struct ks_lq_mem *m, int64_t time_ns, const char *stream, ...)
{
    struct ks_log_field fields[32];
    size_t n = 0;
    struct ks_buf tags;
    va_list ap;
    va_start(ap, stream);
    for (const char *name; (name = va_arg(ap, const char *)) && n < 32; n++)
        fields[n] =
            (struct ks_log_field){ks_slice_str(name), ks_slice_str(va_arg(ap, const char *))};
    va_end(ap);
    ks_buf_init(&tags, 4096);
    const char *eq = strchr(stream, '=');
    if (eq) {
        struct ks_label l = {ks_slice(stream, (size_t)(eq - stream)), ks_slice_str(eq + 1)};
        struct ks_labels list = {&l, 1, 1};
        ks_labels_encode(&list, &tags);
    }
    KS_ASSERT(ks_lq_mem_add(m, (struct ks_tenant){0, 0}, time_ns, ks_buf_view(&tags), fields, n) ==
              KS_OK);
    ks_buf_done(&tags);
}

struct lines {
    struct ks_lq_stage s;
    struct ks_buf text;
};

static ks_err push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct lines *l = (struct lines *)s;
    uint32_t order[256], n = rows->col_count < 256 ? rows->col_count : 256;
    char tmp[KS_LQ_TIME_TEXT_MAX];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at && ks_slice_cmp(rows->cols[order[at - 1]].name, rows->cols[i].name) > 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (uint32_t r = 0; r < rows->row_count; r++) {
        bool first = true;
        for (uint32_t i = 0; i < n; i++) {
            struct ks_slice v = ks_lq_col_text(&rows->cols[order[i]], r, tmp);
            if (!v.len)
                continue;
            if (!first)
                ks_buf_byte(&l->text, ' ');
            first = false;
            ks_buf_slice(&l->text, rows->cols[order[i]].name);
            ks_buf_byte(&l->text, '=');
            ks_buf_slice(&l->text, v);
        }
        ks_buf_byte(&l->text, '\n');
    }
    return ks_buf_status(&l->text);
}

static const struct ks_lq_stage_ops ops = {.name = "lines", .push = push};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct ks_buf *text, struct ks_buf *out)
{
    char *lines[10000];
    size_t n = 0;
    ks_buf_byte(text, 0);
    for (char *p = strtok(text->ptr, "\n"); p && n < 10000; p = strtok(NULL, "\n"))
        lines[n++] = p;
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++) {
        ks_buf_str(out, lines[i]);
        ks_buf_byte(out, '\n');
    }
}

ks_err logsql_run(struct ks_lq_mem *m, const char *query, const struct ks_lq_request *opts,
                  bool sorted, struct ks_buf *out)
{
    struct ks_lq_source src = ks_lq_source_mem(m);
    return logsql_run_source(&src, query, opts, sorted, out);
}

ks_err logsql_run_source(const struct ks_lq_source *src, const char *query,
                         const struct ks_lq_request *opts, bool sorted, struct ks_buf *out)
{
    static const struct ks_tenant tenant = {0, 0};
    struct ks_arena arena;
    struct ks_lq_query *q;
    struct ks_lq_counters counters = {0};
    struct lines l = {.s = {.ops = &ops}};
    ks_arena_init(&arena, 64 << 20);
    ks_buf_init(&l.text, 64 << 20);
    ks_err err = ks_lq_parse(ks_slice_str(query), 1700000000000000000, &arena, &q);
    struct ks_lq_request req = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
    if (opts)
        req = *opts;
    req.query = err ? NULL : q;
    req.source = src;
    req.tenants = &tenant;
    req.tenant_count = 1;
    if (!err)
        err = ks_lq_run(&req, &l.s, &counters);
    if (!err && sorted)
        sort_lines(&l.text, out);
    else if (!err)
        ks_buf_slice(out, ks_buf_view(&l.text));
    ks_buf_done(&l.text);
    ks_arena_done(&arena);
    return err;
}
