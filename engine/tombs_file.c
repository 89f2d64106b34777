#include "engine/tombs_file.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

/* magic, then runs as varints: rows skipped since the last run, rows in the run - 1; then XXH3-64
 * of all before. */
static const char magic[8] = "KSTOMB1\n";

enum { MAX_BYTES = 1 << 30 };

void ksi_tombs_encode(const roaring_bitmap_t *rows, struct ks_buf *out)
{
    size_t start_len = out->len;
    ks_buf_add(out, magic, sizeof magic);
    uint64_t next = 0, start = 0, len = 0;
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(rows, &it); it.has_value; roaring_advance_uint32_iterator(&it)) {
        if (len && it.current_value == start + len) {
            len++;
            continue;
        }
        if (len) {
            ks_buf_varint(out, start - next);
            ks_buf_varint(out, len - 1);
            next = start + len;
        }
        start = it.current_value;
        len = 1;
    }
    if (len) {
        ks_buf_varint(out, start - next);
        ks_buf_varint(out, len - 1);
    }
    if (ks_buf_status(out) == KS_OK)
        ks_buf_u64(out, ks_hash64(out->ptr + start_len, out->len - start_len));
}

ks_err ksi_tombs_store(struct ks_vfs *vfs, const char *path, const roaring_bitmap_t *rows)
{
    struct ks_buf b;
    ks_buf_init(&b, MAX_BYTES);
    ksi_tombs_encode(rows, &b);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ks_vfs_replace_file(vfs, path, ks_buf_view(&b));
    ks_buf_done(&b);
    return err;
}

ks_err ksi_tombs_parse(struct ks_slice bytes, roaring_bitmap_t **ret)
{
    if (bytes.len < sizeof magic + 8 || memcmp(bytes.ptr, magic, sizeof magic) != 0 ||
        ks_le64(bytes.ptr + bytes.len - 8) != ks_hash64(bytes.ptr, bytes.len - 8))
        return ks_fail(KS_ECORRUPT, "this is no whole list of deleted rows");
    struct ks_reader r =
        ks_reader(ks_slice(bytes.ptr + sizeof magic, bytes.len - sizeof magic - 8));
    roaring_bitmap_t *rows = roaring_bitmap_create();
    if (!rows)
        return ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
    uint64_t at = 0;
    while (ks_reader_left(&r)) {
        uint64_t skip = ks_read_varint(&r), len1 = ks_read_varint(&r);
        if (r.bad || skip > UINT32_MAX || len1 > UINT32_MAX || at + skip + len1 >= UINT32_MAX) {
            roaring_bitmap_free(rows);
            return ks_fail(KS_ECORRUPT, "a run of deleted rows is out of range");
        }
        at += skip;
        roaring_bitmap_add_range(rows, at, at + len1 + 1);
        at += len1 + 1;
    }
    *ret = rows;
    return KS_OK;
}

ks_err ksi_tombs_load(struct ks_vfs *vfs, const char *path, struct ksi_tombs **ret)
{
    char *data;
    size_t len;
    roaring_bitmap_t *rows;
    KS_TRY(ks_vfs_read_file(vfs, path, MAX_BYTES, &data, &len));
    ks_err err = ksi_tombs_parse(ks_slice(data, len), &rows);
    ks_free(data);
    if (err != KS_OK)
        return ks_fail_context(err, "%s", path);
    return ksi_tombs_new(rows, ret);
}
