/*
 * Reading a part. An opened part is immutable: any thread may read. The first bytes (header) and
 * the last ones (footer, usually the whole table of contents) are read on open; pages on demand
 * through the cache.
 */
#include "storage/part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/part_priv.h"

enum {
    TAIL_BYTES = 16 << 10,
    RUN_BYTES = 256 << 10, /* neighbours are read in one call up to this */
    RUN_GAP = 4 << 10,     /* reading over a gap this small is cheaper than a second call */
    BATCH_BYTES = 8 << 20, /* stored bytes in memory at once */
    STACK_BYTES = 20 << 10,
};

struct ks_part {
    struct ks_vfs *vfs;
    struct ks_file *file;
    struct ks_cache *cache;
    uint64_t owner; /* in the cache */
    char *path;
    uint64_t bytes, data_end;
    uint8_t uuid[16];
    int64_t created_ms;
    enum ks_part_kind kind;
    struct ksi_toc toc;
};

/* --- opening --- */

static ks_err check_header(struct ks_part *p, const uint8_t *h)
{
    if (memcmp(h, KSI_PART_MAGIC, 8) != 0)
        return ks_fail(KS_ECORRUPT, "not a part file (bad magic at offset 0)");
    if (ks_le64(h + 56) != ks_hash64(h, 56))
        return ks_fail(KS_ECORRUPT, "header checksum mismatch at offset 0");
    unsigned version = ks_le16(h + 8);
    uint32_t unknown = ks_le32(h + 20) & ~KS_PART_INCOMPAT_ALL;
    if (version == 0 || version > KS_PART_VERSION)
        return ks_fail(KS_EUNSUPPORTED,
                       "format version %u; this program reads up to %d: use a newer one", version,
                       KS_PART_VERSION);
    if (unknown)
        return ks_fail(KS_EUNSUPPORTED,
                       "needs features 0x%x that this program does not know: use a newer one",
                       unknown);
    if (ks_le32(h + 12) != KS_PART_HEADER_BYTES)
        return ks_fail(KS_ECORRUPT, "header of %u bytes", ks_le32(h + 12));
    p->kind = (enum ks_part_kind)h[10];
    memcpy(p->uuid, h + 24, 16);
    p->created_ms = (int64_t)ks_le64(h + 40);
    return KS_OK;
}

static ks_err check_footer(struct ks_part *p, const uint8_t *f, struct ks_page_ref *ret_toc)
{
    if (memcmp(f + 40, KSI_FOOTER_MAGIC, 8) != 0)
        return ks_fail(KS_ECORRUPT, "no footer at the end: the file is cut or was never finished");
    if (ks_le64(f + 32) != ks_hash64_seed(f, 32, ksi_page_seed(p->uuid, 0)))
        return ks_fail(KS_ECORRUPT, "footer checksum mismatch");
    struct ks_page_ref toc = ks_page_ref_load(f);
    uint64_t end = p->bytes - KS_PART_FOOTER_BYTES;
    if (ks_le64(f + 24) != p->bytes || toc.offset < KS_PART_HEADER_BYTES || toc.offset > end ||
        toc.stored_bytes != end - toc.offset || toc.stored_bytes <= KS_PAGE_HEADER_BYTES ||
        toc.raw_bytes == 0 || toc.raw_bytes > KSI_TOC_RAW_MAX)
        return ks_fail(KS_ECORRUPT, "footer does not fit the file of %llu bytes",
                       (unsigned long long)p->bytes);
    *ret_toc = toc;
    return KS_OK;
}

static ks_err load_toc(struct ks_part *p, struct ks_page_ref ref, const uint8_t *stored,
                       uint64_t want_hash)
{
    if (ks_le64(stored) != want_hash)
        return ks_fail(KS_ECORRUPT, "table of contents is not the footer's");
    void *raw = ks_alloc(ref.raw_bytes);
    if (!raw)
        return KS_ENOMEM;
    ks_err err = ksi_page_unpack(p->uuid, ref, stored, raw);
    if (err == KS_ECORRUPT)
        (void)ks_fail_context(err, "table of contents at offset %llu",
                              (unsigned long long)ref.offset);
    if (err == KS_OK)
        err = ksi_toc_decode(ks_slice(raw, ref.raw_bytes), ref.offset, &p->toc);
    ks_free(raw);
    return err;
}

/* `tail` holds the file's last `n` bytes. */
static ks_err load_tail(struct ks_part *p, const uint8_t *tail, size_t n)
{
    struct ks_page_ref ref;
    const uint8_t *footer = tail + n - KS_PART_FOOTER_BYTES;
    KS_TRY(check_footer(p, footer, &ref));
    p->data_end = ref.offset;
    size_t have = n - KS_PART_FOOTER_BYTES;
    if (ref.stored_bytes <= have)
        return load_toc(p, ref, footer - ref.stored_bytes, ks_le64(footer + 16));
    uint8_t *stored = ks_alloc(ref.stored_bytes);
    if (!stored)
        return KS_ENOMEM;
    ks_err err = ks_read_exact(p->file, ref.offset, stored, ref.stored_bytes);
    if (err == KS_OK)
        err = load_toc(p, ref, stored, ks_le64(footer + 16));
    ks_free(stored);
    return err;
}

static ks_err load(struct ks_part *p)
{
    uint8_t header[KS_PART_HEADER_BYTES], tail[TAIL_BYTES];
    KS_TRY(ks_file_size(p->file, &p->bytes));
    if (p->bytes < KS_PART_HEADER_BYTES + KS_PART_FOOTER_BYTES)
        return ks_fail(KS_ECORRUPT, "only %llu bytes long: no part file",
                       (unsigned long long)p->bytes);
    KS_TRY(ks_read_exact(p->file, 0, header, sizeof header));
    KS_TRY(check_header(p, header));
    size_t n = p->bytes < TAIL_BYTES ? (size_t)p->bytes : TAIL_BYTES;
    KS_TRY(ks_read_exact(p->file, p->bytes - n, tail, n));
    return load_tail(p, tail, n);
}

ks_err ks_part_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                    struct ks_part **ret)
{
    struct ks_part *p = ks_zalloc(sizeof *p);
    if (!p || !(p->path = ks_strdup(path))) {
        ks_free(p);
        return KS_ENOMEM;
    }
    p->vfs = vfs;
    p->cache = cache;
    p->owner = ks_cache_owner_new();
    ks_err err = ks_open(vfs, path, KS_OPEN_READ, &p->file);
    if (err == KS_OK) {
        err = load(p);
        if (err == KS_ECORRUPT || err == KS_EUNSUPPORTED)
            (void)ks_fail_context(err, "part %s", path);
    }
    if (err != KS_OK) {
        ks_part_close(p);
        return err;
    }
    *ret = p;
    return KS_OK;
}

void ks_part_close(struct ks_part *p)
{
    if (!p)
        return;
    ks_cache_drop_owner(p->cache, p->owner);
    if (p->file)
        ks_close(p->file);
    ksi_toc_done(&p->toc);
    ks_free(p->path);
    ks_free(p);
}

/* --- what the table of contents says --- */

enum ks_part_kind ks_part_get_kind(const struct ks_part *p)
{
    return p->kind;
}

const char *ks_part_path(const struct ks_part *p)
{
    return p->path;
}

uint64_t ks_part_bytes(const struct ks_part *p)
{
    return p->bytes;
}

void ks_part_uuid(const struct ks_part *p, uint8_t out[16])
{
    memcpy(out, p->uuid, 16);
}

int64_t ks_part_created_ms(const struct ks_part *p)
{
    return p->created_ms;
}

struct ks_cache *ks_part_cache(const struct ks_part *p)
{
    return p->cache;
}

static const struct ksi_section *find(const struct ks_part *p, const char *name)
{
    return ksi_toc_section((struct ksi_toc *)&p->toc, ks_slice_str(name), false);
}

const struct ks_page_ref *ks_part_section_pages(const struct ks_part *p, const char *name,
                                                size_t *ret_count)
{
    const struct ksi_section *s = find(p, name);
    *ret_count = s ? s->count : 0;
    return s ? s->pages : NULL;
}

uint64_t ks_part_section_bytes(const struct ks_part *p, const char *name)
{
    const struct ksi_section *s = find(p, name);
    return s ? s->stored_bytes : 0;
}

bool ks_part_get_prop(const struct ks_part *p, const char *key, struct ks_slice *ret)
{
    for (size_t i = 0; i < p->toc.prop_count; i++)
        if (strcmp(p->toc.props[i].key, key) == 0) {
            *ret = p->toc.props[i].value;
            return true;
        }
    return false;
}

const char *ks_part_section_name(const struct ks_part *p, size_t i)
{
    return i < p->toc.section_count ? p->toc.sections[i].name : NULL;
}

/* --- pages --- */

static ks_err check_ref(const struct ks_part *p, struct ks_page_ref ref)
{
    if (ref.offset < KS_PART_HEADER_BYTES || ref.offset > p->data_end ||
        ref.stored_bytes > p->data_end - ref.offset || ref.stored_bytes <= KS_PAGE_HEADER_BYTES ||
        ref.raw_bytes == 0 || ref.raw_bytes > KS_PAGE_RAW_MAX)
        return ks_fail(KS_ECORRUPT, "part %s: reference to %u bytes at offset %llu lies outside",
                       p->path, ref.stored_bytes, (unsigned long long)ref.offset);
    return KS_OK;
}

static ks_err page_from(struct ks_part *p, struct ks_page_ref ref, struct ks_cache_entry *e,
                        struct ks_page *ret)
{
    if (ks_cache_entry_bytes(e) != ref.raw_bytes) {
        ks_cache_entry_unref(e);
        return ks_fail(KS_ECORRUPT, "part %s: two references to offset %llu disagree", p->path,
                       (unsigned long long)ref.offset);
    }
    *ret = (struct ks_page){ks_slice(ks_cache_entry_data(e), ref.raw_bytes), e};
    return KS_OK;
}

/* Unpacks stored bytes into a fresh entry and offers it to the cache (NULL: the caller alone gets
 * it). */
static ks_err admit(struct ks_part *p, struct ks_cache *cache, struct ks_page_ref ref,
                    const uint8_t *stored, struct ks_page *ret)
{
    struct ks_cache_entry *e = ks_cache_entry_new(ref.raw_bytes);
    if (!e)
        return KS_ENOMEM;
    ks_err err = ksi_page_unpack(p->uuid, ref, stored, ks_cache_entry_data(e));
    if (err != KS_OK) {
        ks_cache_entry_unref(e);
        if (err == KS_ECORRUPT)
            (void)ks_fail_context(err, "part %s: page at offset %llu", p->path,
                                  (unsigned long long)ref.offset);
        return err;
    }
    return page_from(p, ref, ks_cache_put(cache, p->owner, ref.offset, e), ret);
}

static ks_err read_fresh(struct ks_part *p, struct ks_cache *cache, struct ks_page_ref ref,
                         struct ks_page *ret)
{
    uint8_t small[STACK_BYTES], *stored = small;
    if (ref.stored_bytes > sizeof small && !(stored = ks_alloc(ref.stored_bytes)))
        return KS_ENOMEM;
    ks_err err = ks_read_exact(p->file, ref.offset, stored, ref.stored_bytes);
    if (err == KS_OK)
        err = admit(p, cache, ref, stored, ret);
    if (stored != small)
        ks_free(stored);
    return err;
}

ks_err ks_part_read(struct ks_part *p, struct ks_page_ref ref, struct ks_page *ret)
{
    struct ks_cache_entry *e = ks_cache_get(p->cache, p->owner, ref.offset);
    if (KS_LIKELY(e != NULL))
        return page_from(p, ref, e, ret);
    KS_TRY(check_ref(p, ref));
    return read_fresh(p, p->cache, ref, ret);
}

void ks_page_release(struct ks_page *page)
{
    ks_cache_entry_unref(page->pin);
    *page = (struct ks_page){0};
}

/* --- batches --- */

/* A page still to be read. */
struct want {
    struct ks_part *part;
    struct ks_page_ref ref;
    struct ks_page *page;
    const uint8_t *stored; /* in the batch's buffer */
};

static int by_offset(const void *a, const void *b)
{
    const struct want *x = a, *y = b;
    if (x->part != y->part)
        return (x->part > y->part) - (x->part < y->part);
    return (x->ref.offset > y->ref.offset) - (x->ref.offset < y->ref.offset);
}

/* Reads w[0..ret) as neighbouring runs into one buffer of at most BATCH_BYTES (more for a single
 * page). */
struct batch {
    struct ks_read_req *reqs;
    size_t req_count, req_cap;
    size_t bytes;
};

static size_t plan(const struct want *w, size_t count, struct batch *b, ks_err *err)
{
    uint64_t end = 0;
    size_t i = 0;
    b->req_count = b->bytes = 0;
    for (; i < count; i++) {
        uint64_t off = w[i].ref.offset, stop = off + w[i].ref.stored_bytes;
        struct ks_read_req *last = b->req_count ? &b->reqs[b->req_count - 1] : NULL;
        uint64_t run_end = stop > end ? stop : end;
        if (last && w[i].part == w[i - 1].part && off <= end + RUN_GAP &&
            run_end - last->off <= RUN_BYTES) {
            b->bytes += run_end - end;
            last->len = run_end - last->off;
        } else {
            if (b->bytes && b->bytes + w[i].ref.stored_bytes > BATCH_BYTES)
                break;
            *err =
                ks_array_reserve((void **)&b->reqs, &b->req_cap, b->req_count + 1, sizeof *b->reqs);
            if (*err != KS_OK)
                return 0;
            b->reqs[b->req_count++] = (struct ks_read_req){
                .file = w[i].part->file, .off = off, .len = w[i].ref.stored_bytes};
            b->bytes += w[i].ref.stored_bytes;
            run_end = stop;
        }
        end = run_end;
    }
    return i;
}

static bool holds(const struct ks_read_req *r, const struct want *w)
{
    return r->file == w->part->file && w->ref.offset >= r->off &&
           w->ref.offset + w->ref.stored_bytes <= r->off + r->len;
}

static ks_err read_batch(struct want *w, size_t count, const struct batch *b, uint8_t *buf)
{
    for (size_t i = 0, at = 0; i < b->req_count; at += b->reqs[i++].len)
        b->reqs[i].buf = buf + at;
    KS_TRY(ks_vfs_read_many(w->part->vfs, b->reqs, b->req_count));
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        while (!holds(&b->reqs[k], &w[i]))
            k++;
        KS_TRY(admit(w[i].part, w[i].part->cache, w[i].ref,
                     (uint8_t *)b->reqs[k].buf + (w[i].ref.offset - b->reqs[k].off), w[i].page));
    }
    return KS_OK;
}

/* One vfs. */
static ks_err read_wants(struct want *w, size_t count)
{
    struct batch b = {0};
    ks_err err = KS_OK;
    qsort(w, count, sizeof *w, by_offset);
    while (count && err == KS_OK) {
        size_t n = plan(w, count, &b, &err);
        uint8_t *buf = err == KS_OK ? ks_alloc(b.bytes) : NULL;
        if (buf)
            err = read_batch(w, n, &b, buf);
        else
            err = KS_ENOMEM;
        ks_free(buf);
        w += n;
        count -= n;
    }
    ks_free(b.reqs);
    return err;
}

ks_err ks_part_read_many(struct ks_part *p, const struct ks_page_ref *refs, size_t count,
                         struct ks_page *ret)
{
    struct want *w = NULL;
    size_t missing = 0;
    ks_err err = KS_OK;
    if (count)
        memset(ret, 0, count * sizeof *ret);
    for (size_t i = 0; i < count && err == KS_OK; i++) {
        struct ks_cache_entry *e = ks_cache_get(p->cache, p->owner, refs[i].offset);
        if (e) {
            err = page_from(p, refs[i], e, &ret[i]);
            continue;
        }
        err = check_ref(p, refs[i]);
        if (err == KS_OK && !w && !(w = ks_alloc_array(count - i, sizeof *w)))
            err = KS_ENOMEM;
        if (err == KS_OK)
            w[missing++] = (struct want){.part = p, .ref = refs[i], .page = &ret[i]};
    }
    if (err == KS_OK && missing)
        err = read_wants(w, missing);
    ks_free(w);
    if (err != KS_OK)
        for (size_t i = 0; i < count; i++)
            ks_page_release(&ret[i]);
    return err;
}

bool ks_part_at_hand(struct ks_part *p, struct ks_page_ref ref)
{
    struct ks_cache_entry *e = ks_cache_get(p->cache, p->owner, ref.offset);
    ks_cache_entry_unref(e);
    return e || !p->cache;
}

static int by_part(const void *a, const void *b)
{
    const struct ks_part_page *x = a, *y = b;
    if (x->part != y->part)
        return (x->part > y->part) - (x->part < y->part);
    return (x->ref.offset > y->ref.offset) - (x->ref.offset < y->ref.offset);
}

static ks_err prefetch_some(const struct ks_part_page *pages, size_t count, struct want *w,
                            struct ks_page *read)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct ks_part *p = pages[i].part;
        if (ks_part_at_hand(p, pages[i].ref))
            continue;
        KS_TRY(check_ref(p, pages[i].ref));
        read[n] = (struct ks_page){0};
        w[n] = (struct want){.part = p, .ref = pages[i].ref, .page = &read[n]};
        n++;
    }
    ks_err err = n > 0 ? read_wants(w, n) : KS_OK;
    for (size_t i = 0; i < n; i++)
        ks_page_release(&read[i]);
    return err;
}

ks_err ks_part_prefetch_pages(struct ks_part_page *pages, size_t count)
{
    enum { AT_ONCE = 256 };
    struct want w[AT_ONCE];
    struct ks_page read[AT_ONCE];
    size_t unique = 0;
    if (count)
        qsort(pages, count, sizeof *pages, by_part);
    for (size_t i = 0; i < count; i++)
        if (!unique || by_part(&pages[i], &pages[unique - 1]))
            pages[unique++] = pages[i];
    for (size_t i = 0; i < unique; i += AT_ONCE)
        KS_TRY(prefetch_some(pages + i, unique - i < AT_ONCE ? unique - i : AT_ONCE, w, read));
    return KS_OK;
}

/* --- verification --- */

ks_err ks_part_verify(struct ks_part *p, ks_part_damage_fn fn, void *arg)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < p->toc.section_count; i++) {
        const struct ksi_section *s = &p->toc.sections[i];
        for (size_t k = 0; k < s->count; k++) {
            struct ks_page page;
            ks_err err = read_fresh(p, NULL, s->pages[k],
                                    &page); /* a scrub must not push out what queries use */
            if (err == KS_OK) {
                ks_page_release(&page);
                continue;
            }
            if (err == KS_ENOMEM)
                return err;
            bad++;
            if (fn)
                fn(arg, s->name, s->pages[k], ks_err_text());
        }
    }
    if (bad)
        return ks_fail(KS_ECORRUPT, "part %s: %llu damaged pages", p->path,
                       (unsigned long long)bad);
    return KS_OK;
}
