/*
 * Metric parts from hostile bytes. The first byte chooses: '0' a whole file, opened, verified and
 * read through; '1' a table of contents; '2' a page of the chunk directory. Checksums of whole
 * files are made right first, or nothing behind them would ever be reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "storage/mdir_priv.h"
#include "storage/metric_data.h"
#include "storage/part_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- one file in memory --- */

static uint8_t *file_bytes;
static size_t file_size;

static ks_err mem_open(struct ks_vfs *v, const char *path, int flags, struct ks_file **ret)
{
    static struct ks_file file;
    file.vfs = v;
    *ret = &file;
    return KS_OK;
}

static void mem_close(struct ks_file *f)
{
}

static ks_err mem_read_at(struct ks_file *f, uint64_t off, void *buf, size_t len, size_t *ret_n)
{
    size_t left = off < file_size ? file_size - (size_t)off : 0;
    *ret_n = len < left ? len : left;
    if (*ret_n)
        memcpy(buf, file_bytes + off, *ret_n);
    return KS_OK;
}

static ks_err mem_size(struct ks_file *f, uint64_t *ret)
{
    *ret = file_size;
    return KS_OK;
}

static const struct ks_vfs_ops mem_ops = {
    .open = mem_open, .close = mem_close, .read_at = mem_read_at, .size = mem_size};
static struct ks_vfs mem_vfs = {&mem_ops};

/* --- checksums made right --- */

static void fix_page(const uint8_t *uuid, uint64_t offset, uint64_t stored)
{
    if (stored <= KS_PAGE_HEADER_BYTES || stored > file_size || offset > file_size - stored)
        return;
    uint8_t *p = file_bytes + offset;
    ks_put_le64(p, ks_hash64_seed(p + 8, (size_t)stored - 8, ksi_page_seed(uuid, offset)));
}

static void fix_file(void)
{
    if (file_size < KS_PART_HEADER_BYTES + KS_PART_FOOTER_BYTES)
        return;
    uint8_t *h = file_bytes, *f = file_bytes + file_size - KS_PART_FOOTER_BYTES;
    const uint8_t *uuid = h + 24;
    memcpy(h, KSI_PART_MAGIC, 8);
    ks_put_le64(h + 56, ks_hash64(h, 56));
    struct ks_page_ref toc = ks_page_ref_load(f);
    fix_page(uuid, toc.offset, toc.stored_bytes);
    if (toc.offset < file_size)
        ks_put_le64(f + 16, toc.offset + 8 <= file_size ? ks_le64(file_bytes + toc.offset) : 0);
    ks_put_le64(f + 24, file_size);
    ks_put_le64(f + 32, ks_hash64_seed(f, 32, ksi_page_seed(uuid, 0)));
    memcpy(f + 40, KSI_FOOTER_MAGIC, 8);
    struct ks_part *p;
    if (ks_part_open(&mem_vfs, "fuzz", NULL, &p) != KS_OK)
        return;
    for (size_t i = 0, n; ks_part_section_name(p, i); i++) {
        const struct ks_page_ref *refs = ks_part_section_pages(p, ks_part_section_name(p, i), &n);
        for (size_t k = 0; k < n; k++)
            fix_page(uuid, refs[k].offset, refs[k].stored_bytes);
    }
    ks_part_close(p);
}

/* --- readers --- */

static void decode_refs(struct ks_mdata *d, struct ks_chunk_ref *refs, size_t count)
{
    static int64_t times[KS_CHUNK_SAMPLES_MAX];
    static double values[KS_CHUNK_SAMPLES_MAX];
    struct ks_times_memo memo = {0};
    for (size_t i = 0; i < count && i < 64; i++) {
        struct ks_part_page pages[2];
        size_t n;
        if (ks_mdata_pages(d, &refs[i], pages, &n) == KS_OK)
            (void)!ks_part_prefetch_pages(pages, n);
    }
    for (size_t i = 0; i < count && i < 64; i++) {
        struct ks_page tp, vp;
        struct ks_slice t, v;
        (void)!ks_mdata_decode(d, &refs[i], i % 2 ? &memo : NULL, times, values);
        if (ks_mdata_raw(d, &refs[i], &tp, &t, &vp, &v) == KS_OK) {
            ks_page_release(&tp);
            ks_page_release(&vp);
        }
    }
    ks_times_memo_done(&memo);
}

static void read_data(struct ks_part *p)
{
    struct ks_mdata *d;
    struct ks_mdata_cursor *c = NULL;
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0;
    if (ks_mdata_open(p, &d) != KS_OK)
        return;
    if (ks_mdata_cursor_new(d, &c) == KS_OK)
        for (uint32_t ord = 0; ord < 300; ord++) {
            size_t count = 0;
            if (ks_mdata_cursor_chunks(c, ord, INT64_MIN, INT64_MAX, &refs, &count, &cap) == KS_OK)
                decode_refs(d, refs, count);
        }
    ks_mdata_cursor_free(c);
    ks_free(refs);
    ks_mdata_close(d);
}

static void whole_file(const uint8_t *data, size_t size)
{
    struct ks_part *p;
    struct ks_cache *cache = NULL;
    file_bytes = malloc(size + 1);
    file_size = size;
    memcpy(file_bytes, data, size);
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed)
            fix_file();
        if (ks_cache_new(1 << 16, &cache) != KS_OK)
            break;
        if (ks_part_open(&mem_vfs, "fuzz", cache, &p) == KS_OK) {
            (void)!ks_part_verify(p, NULL, NULL);
            read_data(p);
            ks_part_close(p);
        }
        ks_cache_free(cache);
    }
    free(file_bytes);
}

static void toc(struct ks_slice raw)
{
    struct ksi_toc t, again;
    if (ksi_toc_decode(raw, 1 << 20, &t) != KS_OK)
        return;
    struct ks_buf b;
    ks_buf_init(&b, KSI_TOC_RAW_MAX);
    ksi_toc_encode(&t, &b);
    KS_ASSERT(ks_buf_status(&b) == KS_OK &&
              ksi_toc_decode(ks_buf_view(&b), 1 << 20, &again) == KS_OK);
    KS_ASSERT(again.section_count == t.section_count && again.prop_count == t.prop_count);
    ksi_toc_done(&again);
    ksi_toc_done(&t);
    ks_buf_done(&b);
}

/* What one walk over all series finds, single lookups find too. */
static void directory(struct ks_slice raw)
{
    struct ksi_mdir d;
    struct ksi_mdir_walk all, one;
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0;
    if (ksi_mdir_parse(raw, &d) != KS_OK)
        return;
    ksi_mdir_walk_init(&all, &d);
    for (uint32_t s = 0; s < d.series; s++) {
        size_t a = 0, b = 0;
        ksi_mdir_walk_init(&one, &d);
        (void)!ksi_mdir_chunks(&all, 0, d.first_ord + s, INT64_MIN, INT64_MAX, &refs, &a, &cap);
        (void)!ksi_mdir_chunks(&one, 0, d.first_ord + s, 0, INT64_MAX, &refs, &b, &cap);
    }
    ks_free(refs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct ks_slice rest = ks_slice(data + 1, size - 1);
    if (data[0] == '0')
        whole_file(data + 1, size - 1);
    else if (data[0] == '1')
        toc(rest);
    else
        directory(rest);
    return 0;
}
