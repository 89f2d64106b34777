/*
 * Hostile bytes in the sections of a series index. The container's hashes would stop nearly every
 * change, so the input is a list of sections' raw pages ("u8 section, u24 length, bytes") that is
 * put into a fresh container and opened from there: whatever opens must answer every question
 * without a fault, with KS_OK or an error.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index/matcher_compile.h"
#include "index/series_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const sections[] = {"sidx.top", "sidx.values", "sidx.post", "sidx.bases",
                                       "sidx.rows"};

static char path[64];

static void remove_file(void)
{
    unlink(path);
}

static bool build(const uint8_t *data, size_t size)
{
    struct ks_part_writer *w;
    if (!path[0]) {
        snprintf(path, sizeof path, "/tmp/ks_fuzz_sidx_%d", (int)getpid());
        atexit(remove_file);
    }
    if (ks_part_writer_new(ks_vfs_posix(), path, KS_PART_METRICS, &w) != KS_OK)
        return false;
    struct ks_reader r = ks_reader(ks_slice((const char *)data, size));
    ks_err err = KS_OK;
    while (err == KS_OK && ks_reader_left(&r) > 4) {
        uint32_t head = ks_read_u32(&r);
        size_t len = head >> 8, left = ks_reader_left(&r);
        struct ks_slice raw = ks_read_bytes(&r, len < left ? len : left);
        struct ks_page_ref ref;
        if (raw.len)
            err = ks_part_page(w, sections[(head & 0xff) % 5], raw, KS_PAGE_RAW, &ref);
    }
    uint64_t bytes;
    if (err != KS_OK) {
        ks_part_writer_abort(w);
        return false;
    }
    return ks_part_writer_finish(w, &bytes) == KS_OK;
}

static bool on_label(void *arg, struct ks_slice s, uint64_t n)
{
    volatile char sink = 0;
    for (size_t i = 0; i < s.len; i++)
        sink ^= s.ptr[i];
    (void)sink;
    return ++*(int *)arg < 1000;
}

static bool on_tenant(void *arg, struct ks_tenant t)
{
    *(struct ks_tenant *)arg = t;
    return true;
}

static void select_some(struct ks_sindex *x, struct ks_tenant t)
{
    static const struct ks_matcher ms[] = {
        {KS_SLICE_LIT("__name__"), KS_SLICE_LIT("m.*"), KS_MATCH_RE},
        {KS_SLICE_LIT("pod"), KS_SLICE_LIT("app-1.*"), KS_MATCH_RE},
        {KS_SLICE_LIT("job"), KS_SLICE_LIT(""), KS_MATCH_NEQ},
        {KS_SLICE_LIT("le"), KS_SLICE_LIT("1|2|"), KS_MATCH_NRE},
        {KS_SLICE_LIT("zone"), KS_SLICE_LIT("a"), KS_MATCH_NEQ},
    };
    for (size_t from = 0; from < 5; from++)
        for (size_t n = 1; from + n <= 5; n++) {
            struct ks_selector s = {(struct ks_matcher *)&ms[from], n};
            roaring_bitmap_t *rows = NULL;
            if (ks_sindex_select(x, t, &s, 1, &rows) == KS_OK)
                roaring_bitmap_free(rows);
        }
}

static void use(struct ks_sindex *x)
{
    struct ks_tenant t = {0, 0};
    (void)!ks_sindex_tenants(x, on_tenant, &t);
    select_some(x, t);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < 300 && i < ks_sindex_series_count(x); i++) {
        struct ks_tenant got;
        ks_buf_reset(&b);
        (void)!ks_sindex_series(x, i, &b, &got);
    }
    ks_buf_done(&b);
    struct ks_sindex_cursor *c;
    if (ks_sindex_cursor_new(x, &c) == KS_OK) {
        bool more = true;
        struct ks_slice labels;
        struct ks_tenant got;
        for (int i = 0; i < 10000 && more; i++)
            if (ks_sindex_cursor_next(c, &more, &got, &labels) != KS_OK)
                break;
        ks_sindex_cursor_free(c);
    }
    int calls = 0;
    (void)!ks_sindex_label_names(x, t, NULL, true, on_label, &calls);
    (void)!ks_sindex_label_values(x, t, KS_SLICE_LIT("pod"), NULL, false, on_label, &calls);
    (void)!ks_sindex_label_values(x, t, KS_NAME_LABEL, NULL, true, on_label, &calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 64 << 10 || !build(data, size))
        return 0;
    struct ks_part *p;
    struct ks_sindex *x;
    if (ks_part_open(ks_vfs_posix(), path, NULL, &p) != KS_OK)
        return 0;
    if (ks_sindex_open(p, &x) == KS_OK) {
        use(x);
        ks_sindex_close(x);
    }
    ks_part_close(p);
    return 0;
}
