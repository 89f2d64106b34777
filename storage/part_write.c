/*
 * Writing a part: pages are packed into one buffer that goes to path.tmp in writes of at least 256
 * KiB; finish makes the file durable and gives it its name. The first error is kept: everything
 * after it fails alike, so a caller may check late.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/part_priv.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { WRITE_BYTES = 256 << 10 };

struct ks_part_writer {
    struct ks_vfs *vfs;
    struct ks_file *file;
    char *path, *tmp;
    uint8_t uuid[16];
    struct ksi_packer *packer;
    struct ksi_toc toc;
    struct ks_buf pending; /* packed, not yet written */
    uint64_t written;      /* bytes of the file before `pending` */
    enum ks_part_kind kind;
    int64_t created_ms;
    uint32_t incompat;
    ks_err err;
};

static ks_err broken(struct ks_part_writer *w, ks_err err)
{
    if (w->err == KS_OK)
        w->err = err;
    return err;
}

static void writer_free(struct ks_part_writer *w, bool remove_tmp)
{
    if (w->file)
        ks_close(w->file);
    if (remove_tmp)
        (void)w->vfs->ops->unlink(w->vfs, w->tmp);
    ksi_packer_free(w->packer);
    ksi_toc_done(&w->toc);
    ks_buf_done(&w->pending);
    ks_free(w->path);
    ks_free(w->tmp);
    ks_free(w);
}

/* KS_VERSION "1.2.3" as major << 16 | minor << 8 | patch. */
static uint32_t writer_version(void)
{
    unsigned major = 0, minor = 0, patch = 0;
    (void)sscanf(KS_VERSION, "%u.%u.%u", &major, &minor, &patch);
    return major << 16 | (minor & 255) << 8 | (patch & 255);
}

static void make_header(const struct ks_part_writer *w, uint8_t h[KS_PART_HEADER_BYTES])
{
    memset(h, 0, KS_PART_HEADER_BYTES);
    memcpy(h, KSI_PART_MAGIC, 8);
    ks_put_le16(h + 8, KS_PART_VERSION);
    h[10] = (uint8_t)w->kind;
    ks_put_le32(h + 12, KS_PART_HEADER_BYTES);
    ks_put_le32(h + 16, KS_PART_COMPAT_ALL);
    ks_put_le32(h + 20, w->incompat);
    memcpy(h + 24, w->uuid, 16);
    ks_put_le64(h + 40, (uint64_t)w->created_ms);
    ks_put_le32(h + 48, writer_version());
    ks_put_le64(h + 56, ks_hash64(h, 56));
}

/* The header again, with the features that came to light while writing. */
static ks_err put_features(struct ks_part_writer *w)
{
    uint8_t h[KS_PART_HEADER_BYTES];
    if (!w->incompat)
        return KS_OK;
    make_header(w, h);
    if (w->written)
        return ks_write_at(w->file, 0, h, sizeof h);
    memcpy(w->pending.ptr, h, sizeof h);
    return KS_OK;
}

ks_err ks_part_writer_new(struct ks_vfs *vfs, const char *path, enum ks_part_kind kind,
                          struct ks_part_writer **ret)
{
    struct ks_part_writer *w = ks_zalloc(sizeof *w);
    if (!w)
        return KS_ENOMEM;
    w->vfs = vfs;
    ks_buf_init(&w->pending, KSI_TOC_RAW_MAX + (16 << 20));
    ks_random_bytes(w->uuid, sizeof w->uuid);
    w->kind = kind;
    w->created_ms = ks_now_ms();
    size_t len = strlen(path);
    bool made = false;
    ks_err err = KS_OK;
    if (!(w->path = ks_strdup(path)) || !(w->tmp = ks_alloc(len + 5)) ||
        !(w->packer = ksi_packer_new()) || !ks_buf_reserve(&w->pending, 2 * WRITE_BYTES))
        err = KS_ENOMEM;
    if (err == KS_OK) {
        memcpy(w->tmp, path, len);
        memcpy(w->tmp + len, ".tmp", 5);
        uint8_t h[KS_PART_HEADER_BYTES];
        make_header(w, h);
        ks_buf_add(&w->pending, h, sizeof h);
        err = ks_open(vfs, w->tmp, KS_OPEN_CREATE | KS_OPEN_TRUNC, &w->file);
        made = true; /* even when it failed the name may be there */
    }
    if (err != KS_OK) {
        writer_free(w, made);
        return err;
    }
    *ret = w;
    return KS_OK;
}

static ks_err flush(struct ks_part_writer *w)
{
    if (!w->pending.len)
        return KS_OK;
    ks_err err = ks_write_at(w->file, w->written, w->pending.ptr, w->pending.len);
    if (err != KS_OK)
        return broken(w, err);
    w->written += w->pending.len;
    ks_buf_reset(&w->pending);
    return KS_OK;
}

static ks_err append_page(struct ks_part_writer *w, struct ks_slice raw, enum ks_page_codec codec,
                          struct ks_page_ref *ret)
{
    uint64_t at = w->written + w->pending.len;
    ks_err err = ksi_page_pack(w->packer, w->uuid, at, raw, codec, &w->pending);
    if (err != KS_OK)
        return broken(w, err);
    *ret =
        (struct ks_page_ref){at, (uint32_t)(w->written + w->pending.len - at), (uint32_t)raw.len};
    return w->pending.len >= WRITE_BYTES ? flush(w) : KS_OK;
}

ks_err ks_part_page(struct ks_part_writer *w, const char *section, struct ks_slice raw,
                    enum ks_page_codec codec, struct ks_page_ref *ret)
{
    if (w->err != KS_OK)
        return w->err;
    size_t name_len = strlen(section);
    if (raw.len == 0 || raw.len > KS_PAGE_RAW_MAX || name_len == 0 ||
        name_len > KS_SECTION_NAME_MAX)
        return broken(w, ks_fail(KS_EINVAL, "page of %zu bytes for section \"%s\" of %s", raw.len,
                                 section, w->path));
    struct ksi_section *s = ksi_toc_section(&w->toc, ks_slice(section, name_len), true);
    if (!s)
        return broken(w, KS_ENOMEM);
    if (w->toc.section_count > KSI_SECTIONS_MAX)
        return broken(w,
                      ks_fail(KS_ELIMIT, "more than %d sections in %s", KSI_SECTIONS_MAX, w->path));
    ks_err err = ks_array_reserve((void **)&s->pages, &s->cap, s->count + 1, sizeof *s->pages);
    if (err != KS_OK)
        return broken(w, err);
    KS_TRY(append_page(w, raw, codec, &s->pages[s->count]));
    if (ret)
        *ret = s->pages[s->count];
    s->stored_bytes += s->pages[s->count].stored_bytes;
    s->count++;
    return KS_OK;
}

ks_err ks_part_prop(struct ks_part_writer *w, const char *key, struct ks_slice value)
{
    if (w->err != KS_OK)
        return w->err;
    size_t len = strlen(key);
    if (len == 0 || len > KSI_PROP_KEY_MAX || w->toc.prop_count >= KSI_PROPS_MAX ||
        value.len > 1 << 20)
        return broken(
            w, ks_fail(KS_EINVAL, "property \"%s\" of %zu bytes in %s", key, value.len, w->path));
    for (size_t i = 0; i < w->toc.prop_count; i++)
        if (strcmp(w->toc.props[i].key, key) == 0)
            return broken(w, ks_fail(KS_EEXIST, "property \"%s\" set twice in %s", key, w->path));
    ks_err err = ksi_toc_add_prop(&w->toc, ks_slice(key, len), value);
    return err == KS_OK ? KS_OK : broken(w, err);
}

void ks_part_incompat(struct ks_part_writer *w, uint32_t bits)
{
    w->incompat |= bits;
}

uint64_t ks_part_writer_bytes(const struct ks_part_writer *w)
{
    return w->written + w->pending.len;
}

/* TOC and footer into the buffer. */
static ks_err put_tail(struct ks_part_writer *w)
{
    struct ks_buf raw;
    struct ks_page_ref toc;
    ks_buf_init(&raw, KSI_TOC_RAW_MAX);
    ksi_toc_encode(&w->toc, &raw);
    ks_err err = ks_buf_status(&raw);
    uint64_t at = ks_part_writer_bytes(w);
    uint64_t hash = 0;
    if (err == KS_OK)
        err = ksi_page_pack(w->packer, w->uuid, at, ks_buf_view(&raw), KS_PAGE_ZSTD, &w->pending);
    if (err == KS_OK) {
        toc = (struct ks_page_ref){at, (uint32_t)(ks_part_writer_bytes(w) - at), (uint32_t)raw.len};
        hash = ks_le64(w->pending.ptr + (at - w->written));
        uint8_t f[KS_PART_FOOTER_BYTES];
        ks_page_ref_save(f, toc);
        ks_put_le64(f + 16, hash);
        ks_put_le64(f + 24, ks_part_writer_bytes(w) + KS_PART_FOOTER_BYTES);
        ks_put_le64(f + 32, ks_hash64_seed(f, 32, ksi_page_seed(w->uuid, 0)));
        memcpy(f + 40, KSI_FOOTER_MAGIC, 8);
        ks_buf_add(&w->pending, f, sizeof f);
        err = ks_buf_status(&w->pending);
    }
    ks_buf_done(&raw);
    return err;
}

ks_err ks_part_writer_finish(struct ks_part_writer *w, uint64_t *ret_bytes)
{
    ks_err err = w->err;
    if (err == KS_OK)
        err = put_tail(w);
    if (err == KS_OK)
        err = put_features(w);
    if (err == KS_OK)
        err = flush(w);
    if (err == KS_OK)
        err = ks_sync(w->file);
    uint64_t bytes = w->written;
    if (err != KS_OK) {
        writer_free(w, true);
        return err;
    }
    ks_close(w->file);
    w->file = NULL;
    err = w->vfs->ops->rename(w->vfs, w->tmp, w->path);
    if (err != KS_OK) {
        writer_free(w, true);
        return err;
    }
    /* Whether the name survives a crash is unknown without this; the caller must not list the part
     * then. */
    err = ks_vfs_sync_parent(w->vfs, w->path);
    if (err != KS_OK)
        (void)w->vfs->ops->unlink(w->vfs, w->path);
    else if (ret_bytes)
        *ret_bytes = bytes;
    writer_free(w, false);
    return err;
}

void ks_part_writer_abort(struct ks_part_writer *w)
{
    if (w)
        writer_free(w, true);
}
