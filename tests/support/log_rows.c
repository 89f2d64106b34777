#include "log_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

static void ok(ks_err err, const char *what)
{
    if (err == KS_OK)
        return;
    fprintf(stderr, "%s: %s: %s (%s)\n", what, ks_err_name(err), ks_err_text(), ks_err_place());
    abort();
}

static size_t split(const char *text, char sep, struct ks_label *out, size_t max)
{
    size_t n = 0;
    while (*text) {
        size_t len = strcspn(text, (char[]){sep, 0});
        const char *eq = memchr(text, '=', len);
        if (!eq || n == max)
            abort();
        out[n++] = (struct ks_label){ks_slice(text, (size_t)(eq - text)),
                                     ks_slice(eq + 1, len - (size_t)(eq - text) - 1)};
        text += len + (text[len] != 0);
    }
    return n;
}

void log_row(struct ks_log_batch *b, struct ks_tenant tenant, const char *tags, int64_t time_ns,
             const char *fields)
{
    struct ks_label l[64];
    struct ks_log_field f[64];
    uint32_t stream;
    size_t n = split(tags, ',', l, 64);
    ok(ks_log_batch_stream(b, tenant, l, n, &stream), "stream");
    n = split(fields, '|', l, 64);
    for (size_t i = 0; i < n; i++)
        f[i] = (struct ks_log_field){l[i].name, l[i].value};
    ok(ks_log_batch_row(b, stream, time_ns, f, n), "row");
}

struct lines {
    char **items;
    size_t count, cap;
};

static bool is_odd(void *arg, struct ks_slice v)
{
    return ks_hash64(v.ptr, v.len) & 1;
}

/* A third of the rows by column_rows() and by filter() against column(). */
static void cross_check(struct ks_log_block *b, struct ks_slice name, const uint64_t *selected,
                        const struct ks_slice *want)
{
    uint32_t rows = ks_log_block_rows(b);
    size_t words = KS_ROW_WORDS(rows);
    uint64_t *some = ks_zalloc_array(words + 1, 8), *odd = ks_zalloc_array(words + 1, 8);
    for (uint32_t i = 0; i < rows; i++)
        if ((selected[i / 64] >> i % 64 & 1) && ks_mix64(i + rows) % 3 == 0)
            some[i / 64] |= 1ull << i % 64;
    memcpy(odd, some, words * 8);
    struct ks_log_column c;
    ok(ks_log_block_column_rows(b, name, some, &c), "column_rows");
    for (uint32_t i = 0; i < rows; i++)
        if ((some[i / 64] >> i % 64 & 1) && !ks_slice_eq(ks_log_column_at(&c, i), want[i]))
            abort();
    struct ks_log_pred p = {.match = is_odd, .match_empty = is_odd(NULL, ks_slice(NULL, 0))};
    ok(ks_log_block_filter(b, name, &p, odd), "filter");
    for (uint32_t i = 0; i < rows; i++) {
        bool expect = (some[i / 64] >> i % 64 & 1) && is_odd(NULL, want[i]);
        if ((odd[i / 64] >> i % 64 & 1) != expect)
            abort();
    }
    ks_free(some);
    ks_free(odd);
}

static void dump_block(struct ks_log_block *b, struct lines *out)
{
    uint32_t rows = ks_log_block_rows(b);
    size_t words = KS_ROW_WORDS(rows), names, streams;
    uint64_t *bits = ks_alloc_array(words + 1, 8);
    const struct ks_slice *name;
    const struct ks_log_stream *stream;
    const uint32_t *of_row;
    const int64_t *times;
    bool any;
    memset(bits, 0xff, words * 8);
    ok(ks_log_block_select(b, bits, &any), "select");
    if (!any) {
        ks_free(bits);
        return;
    }
    ok(ks_log_block_times(b, &times), "times");
    ok(ks_log_block_streams(b, &stream, &streams, &of_row), "streams");
    ok(ks_log_block_names(b, &name, &names), "names");
    struct ks_buf *text = ks_alloc_array(rows, sizeof *text);
    struct ks_slice *want = ks_alloc_array(rows, sizeof *want);
    for (uint32_t i = 0; i < rows; i++) {
        const struct ks_log_stream *s = &stream[of_row[i]];
        ks_buf_init(&text[i], KS_BUF_UNLIMITED);
        ks_buf_printf(&text[i], "%u:%u ", s->tenant.account, s->tenant.project);
        ks_stream_print(s->tags, &text[i]);
        ks_buf_printf(&text[i], " %lld", (long long)times[i]);
    }
    for (size_t k = 0; k < names; k++) {
        struct ks_log_column c;
        if (k && ks_slice_cmp(name[k - 1], name[k]) >= 0)
            abort();
        ok(ks_log_block_column(b, name[k], &c), "column");
        for (uint32_t i = 0; i < rows; i++) {
            want[i] = ks_log_column_at(&c, i);
            if (!want[i].len)
                continue;
            ks_buf_printf(&text[i], " %.*s=", KS_SLICE_ARG(name[k]));
            ks_buf_json_str(&text[i], want[i]);
        }
        cross_check(b, name[k], bits, want);
    }
    for (uint32_t i = 0; i < rows; i++) {
        ks_buf_byte(&text[i], 0);
        ok(ks_buf_status(&text[i]), "text");
        if (bits[i / 64] >> i % 64 & 1) {
            ok(ks_array_reserve((void **)&out->items, &out->cap, out->count + 1, sizeof(char *)),
               "lines");
            out->items[out->count++] = text[i].ptr;
        } else {
            ks_buf_done(&text[i]);
        }
    }
    ks_free(text);
    ks_free(want);
    ks_free(bits);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void log_dump_scan(struct ks_log_scan *scan, struct ks_buf *out)
{
    struct lines l = {0};
    struct ks_log_block *b;
    ok(ks_log_block_new(&b), "block");
    for (size_t i = 0; i < ks_log_scan_count(scan); i++) {
        struct ks_log_block_meta m = ks_log_scan_meta(scan, i);
        if (i && ks_log_scan_meta(scan, i - 1).max_ns < m.max_ns)
            abort();
        ok(ks_log_block_open(b, scan, i), "open block");
        if (m.row_count != ks_log_block_rows(b))
            abort();
        dump_block(b, &l);
    }
    if (l.count)
        qsort(l.items, l.count, sizeof(char *), by_text);
    for (size_t i = 0; i < l.count; i++) {
        ks_buf_str(out, l.items[i]);
        ks_buf_byte(out, '\n');
        ks_free(l.items[i]);
    }
    ks_free(l.items);
    ks_log_block_free(b);
}

void log_dump(struct ks_log_store *s, const struct ks_log_scan_opts *opts, struct ks_buf *out)
{
    struct ks_log_scan *scan;
    ok(ks_log_store_scan(s, opts, &scan), "scan");
    log_dump_scan(scan, out);
    ks_log_scan_free(scan);
}
