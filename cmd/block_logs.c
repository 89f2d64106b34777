#include "cmd/block_logs.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "engine/logs/log_batch.h"
#include "index/matcher_compile.h"
#include "query/logsql/filter/value.h"
#include "query/promql/promql.h"
#include "storage/logs/log_part.h"

static struct ks_vfs *vfs(void)
{
    return ks_vfs_posix();
}

bool ks_block_is_log(const char *path)
{
    struct ks_part *p;
    if (ks_part_open(vfs(), path, NULL, &p) != KS_OK)
        return false;
    bool is = ks_part_get_kind(p) == KS_PART_LOGS;
    ks_part_close(p);
    return is;
}

static void print_time(const char *before, int64_t ns)
{
    char text[40];
    size_t n = ks_lq_time_format(text, ns);
    printf("%s%.*s", before, (int)n, text);
}

ks_err ks_block_logs_line(const char *path, int level)
{
    struct ks_lpart *p;
    int64_t min_ns, max_ns;
    KS_TRY(ks_lpart_open(vfs(), path, NULL, &p));
    ks_lpart_range(p, &min_ns, &max_ns);
    printf("%s\tlevel=%d bytes=%llu streams=%zu rows=%llu", path, level,
           (unsigned long long)ks_part_bytes(ks_lpart_file(p)), ks_lpart_stream_count(p),
           (unsigned long long)ks_lpart_rows(p));
    print_time(" from=", min_ns);
    print_time(" to=", max_ns);
    ks_lpart_close(p);
    return KS_OK;
}

/* --- columns of all blocks --- */

struct column {
    struct ks_slice name; /* of the part */
    uint64_t blocks, rows, constants, dictionaries;
};

static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct column *)a)->name, ((const struct column *)b)->name);
}

static bool is_set(const struct ks_log_column *c, uint32_t row)
{
    return c->kind == KS_COL_CONST    ? c->values[0].len
           : c->kind == KS_COL_DICT   ? c->values[c->codes[row]].len
           : c->kind == KS_COL_VALUES ? c->values[row].len
                                      : false;
}

static ks_err count_column(struct ks_lblock *b, struct ks_slice name, uint32_t rows,
                           struct column *to)
{
    struct ks_log_column c;
    KS_TRY(ks_lblock_column(b, name, NULL, &c));
    to->blocks++;
    to->constants += c.kind == KS_COL_CONST;
    to->dictionaries += c.kind == KS_COL_DICT;
    for (uint32_t i = 0; i < rows; i++)
        to->rows += is_set(&c, i);
    return KS_OK;
}

static ks_err count_block(struct ks_lpart *p, struct ks_lblock *b, size_t i, struct ks_arena *a,
                          struct column **all, size_t *count, size_t *cap)
{
    const struct ks_slice *names;
    KS_TRY(ks_lblock_open(b, p, i));
    size_t n = ks_lblock_names(b, &names);
    for (size_t k = 0; k < n; k++) {
        struct column *at = NULL;
        for (size_t c = 0; c < *count && !at; c++)
            at = ks_slice_eq((*all)[c].name, names[k]) ? &(*all)[c] : NULL;
        if (!at) {
            KS_TRY(ks_array_reserve((void **)all, cap, *count + 1, sizeof **all));
            at = &(*all)[(*count)++];
            *at = (struct column){.name = ks_arena_dup(a, names[k])};
            if (!at->name.ptr)
                return ks_arena_err(a);
        }
        KS_TRY(count_column(b, names[k], ks_lpart_block(p, i)->rows, at));
    }
    return KS_OK;
}

static ks_err print_columns(struct ks_lpart *p)
{
    struct ks_arena arena;
    struct column *all = NULL;
    size_t count = 0, cap = 0;
    struct ks_lblock *b;
    KS_TRY(ks_lblock_new(&b));
    ks_arena_init(&arena, 256 << 20);
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_lpart_block_count(p) && err == KS_OK; i++)
        err = count_block(p, b, i, &arena, &all, &count, &cap);
    if (count)
        qsort(all, count, sizeof *all, by_name);
    for (size_t i = 0; i < count; i++)
        printf("column %.*s: rows=%llu blocks=%llu constant=%llu dictionary=%llu\n",
               KS_SLICE_ARG(all[i].name), (unsigned long long)all[i].rows,
               (unsigned long long)all[i].blocks, (unsigned long long)all[i].constants,
               (unsigned long long)all[i].dictionaries);
    ks_free(all);
    ks_lblock_free(b);
    ks_arena_done(&arena);
    return err;
}

ks_err ks_block_logs_info(const char *path)
{
    struct ks_lpart *p;
    uint8_t uuid[16];
    int64_t min_ns, max_ns;
    const char *name;
    KS_TRY(ks_lpart_open(vfs(), path, NULL, &p));
    struct ks_part *file = ks_lpart_file(p);
    ks_part_uuid(file, uuid);
    printf("file: %s\nkind: logs\nuuid: ", path);
    for (int i = 0; i < 16; i++)
        printf("%02x", uuid[i]);
    ks_lpart_range(p, &min_ns, &max_ns);
    print_time("\ncreated: ", ks_part_created_ms(file) * 1000000);
    print_time("\nfrom: ", min_ns);
    print_time("\nto: ", max_ns);
    uint64_t bytes = ks_part_bytes(file), text = ks_lpart_text_bytes(p), rows = ks_lpart_rows(p);
    printf("\nbytes: %llu\nstreams: %zu\nblocks: %zu\nrows: %llu\ntext_bytes: %llu\n"
           "bytes_per_row: %.3f\nratio: %.2f\n",
           (unsigned long long)bytes, ks_lpart_stream_count(p), ks_lpart_block_count(p),
           (unsigned long long)rows, (unsigned long long)text,
           rows ? (double)bytes / (double)rows : 0, bytes ? (double)text / (double)bytes : 0);
    for (size_t i = 0; (name = ks_part_section_name(file, i)); i++) {
        size_t pages;
        ks_part_section_pages(file, name, &pages);
        printf("section %s: pages=%zu bytes=%llu\n", name, pages,
               (unsigned long long)ks_part_section_bytes(file, name));
    }
    ks_err err = print_columns(p);
    ks_lpart_close(p);
    return err;
}

/* --- export --- */

struct export
{
    FILE *out;
    struct ks_lpart *part;
    struct ks_lblock *block;
    struct ks_arena arena;
    struct ks_cselector *selectors;
    size_t selector_count;
    struct ks_log_column *columns;
    struct ks_slice *names;
    size_t column_count, column_cap, name_cap;
    struct ks_buf text, head, stream;
    uint64_t damaged;
};

static bool wanted(const struct export *x, const struct ks_lpart_stream *s)
{
    for (size_t i = 0; i < x->selector_count; i++)
        if (ks_cselector_match(&x->selectors[i], s->tags))
            return true;
    return !x->selector_count;
}

static void damaged(struct export *x, size_t block, struct ks_slice column)
{
    x->damaged++;
    fprintf(stderr, "block %zu%s%.*s: %s\n", block, column.len ? ", column " : "",
            KS_SLICE_ARG(column), ks_err_text());
}

/* What all rows of a stream begin with behind their time. */
static void stream_head(struct export *x, const struct ks_lpart_stream *s)
{
    char id[KS_STREAM_ID_TEXT];
    ks_buf_reset(&x->head);
    ks_buf_reset(&x->stream);
    ks_stream_print(s->tags, &x->stream);
    ks_stream_id_print(ks_stream_id_of(s->tenant, s->tags), id);
    ks_buf_str(&x->head, ",\"_stream\":");
    ks_buf_json_str(&x->head, ks_buf_view(&x->stream));
    ks_buf_printf(&x->head, ",\"_stream_id\":\"%.*s\"", KS_STREAM_ID_TEXT, id);
    if (s->tenant.account || s->tenant.project)
        ks_buf_printf(&x->head, ",\"vl_account_id\":\"%u\",\"vl_project_id\":\"%u\"",
                      s->tenant.account, s->tenant.project);
}

static void put_row(struct export *x, int64_t ns, uint32_t row)
{
    char time[40];
    size_t n = ks_lq_time_format(time, ns);
    ks_buf_printf(&x->text, "{\"_time\":\"%.*s\"", (int)n, time);
    ks_buf_slice(&x->text, ks_buf_view(&x->head));
    for (size_t i = 0; i < x->column_count; i++) {
        const struct ks_log_column *c = &x->columns[i];
        if (!is_set(c, row))
            continue;
        ks_buf_byte(&x->text, ',');
        ks_buf_json_str(&x->text, x->names[i]);
        ks_buf_byte(&x->text, ':');
        ks_buf_json_str(&x->text, c->kind == KS_COL_CONST  ? c->values[0]
                                  : c->kind == KS_COL_DICT ? c->values[c->codes[row]]
                                                           : c->values[row]);
    }
    ks_buf_str(&x->text, "}\n");
}

static ks_err flush(struct export *x, size_t above)
{
    KS_TRY(ks_buf_status(&x->text));
    if (x->text.len <= above)
        return KS_OK;
    if (fwrite(x->text.ptr, 1, x->text.len, x->out) != x->text.len)
        return ks_fail(KS_EIO, "cannot write the output");
    ks_buf_reset(&x->text);
    return KS_OK;
}

static ks_err load_columns(struct export *x, size_t block)
{
    const struct ks_slice *names;
    size_t n = ks_lblock_names(x->block, &names);
    KS_TRY(ks_array_reserve((void **)&x->columns, &x->column_cap, n, sizeof *x->columns));
    KS_TRY(ks_array_reserve((void **)&x->names, &x->name_cap, n, sizeof *x->names));
    x->column_count = 0;
    for (size_t i = 0; i < n; i++) {
        ks_err err = ks_lblock_column(x->block, names[i], NULL, &x->columns[x->column_count]);
        if (err == KS_OK)
            x->names[x->column_count++] = names[i];
        else if (err == KS_ECORRUPT)
            damaged(x, block, names[i]);
        else
            return err;
    }
    return KS_OK;
}

static ks_err export_rows(struct export *x, size_t i, const int64_t *times)
{
    const struct ks_lblock_run *runs;
    size_t n = ks_lblock_runs(x->block, &runs);
    for (size_t r = 0; r < n; r++) {
        const struct ks_lpart_stream *s = ks_lpart_stream(x->part, runs[r].stream);
        uint32_t end = r + 1 < n ? runs[r + 1].first_row : ks_lpart_block(x->part, i)->rows;
        if (!wanted(x, s))
            continue;
        stream_head(x, s);
        for (uint32_t row = runs[r].first_row; row < end; row++) {
            put_row(x, times[row], row);
            KS_TRY(flush(x, 1 << 20));
        }
    }
    return KS_OK;
}

static ks_err export_block(struct export *x, size_t i)
{
    const int64_t *times = NULL;
    ks_err err = ks_lblock_open(x->block, x->part, i);
    if (err == KS_OK)
        err = ks_lblock_times(x->block, &times);
    if (err == KS_OK)
        err = load_columns(x, i);
    if (err == KS_ECORRUPT) {
        damaged(x, i, ks_slice("", 0));
        return KS_OK;
    }
    KS_TRY(err);
    return export_rows(x, i, times);
}

static ks_err setup(struct export *x, const char *path, const char *selector)
{
    struct ks_selector *list = NULL;
    size_t count = 0;
    if (selector)
        KS_TRY(ks_promql_parse_selector(ks_slice_str(selector), &x->arena, &list, &count));
    x->selectors = ks_arena_array(&x->arena, count + 1, sizeof *x->selectors);
    if (!x->selectors)
        return ks_arena_err(&x->arena);
    for (size_t i = 0; i < count; i++) {
        KS_TRY(ks_cselector_compile(&list[i], &x->selectors[i]));
        x->selector_count++;
    }
    KS_TRY(ks_lblock_new(&x->block));
    return ks_lpart_open(vfs(), path, NULL, &x->part);
}

ks_err ks_block_logs_export(const char *path, const char *selector, const char *format, FILE *out)
{
    struct export x = {.out = out};
    if (strcmp(format, "jsonl") != 0)
        return ks_fail(KS_EINVAL, "-format=%s: log parts are exported as jsonl", format);
    ks_arena_init(&x.arena, 64 << 20);
    ks_buf_init(&x.text, 64 << 20);
    ks_buf_init(&x.head, 16 << 20);
    ks_buf_init(&x.stream, 16 << 20);
    ks_err err = setup(&x, path, selector);
    for (size_t i = 0; err == KS_OK && i < ks_lpart_block_count(x.part); i++)
        err = export_block(&x, i);
    if (err == KS_OK)
        err = flush(&x, 0);
    if (err == KS_OK && fflush(out) != 0)
        err = ks_fail(KS_EIO, "cannot write the output");
    if (err == KS_OK && x.damaged)
        err = ks_fail(KS_ECORRUPT, "%s: %llu blocks or columns are damaged and left out", path,
                      (unsigned long long)x.damaged);
    ks_lblock_free(x.block);
    ks_lpart_close(x.part);
    for (size_t i = 0; i < x.selector_count; i++)
        ks_cselector_done(&x.selectors[i]);
    ks_free(x.columns);
    ks_free(x.names);
    ks_buf_done(&x.text);
    ks_buf_done(&x.head);
    ks_buf_done(&x.stream);
    ks_arena_done(&x.arena);
    return err;
}
