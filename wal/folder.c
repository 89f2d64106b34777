#include "wal/folder_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wal/scan_priv.h"
#include "wal/wal_priv.h"

static bool parse_name(const char *name, const char *kind, uint64_t *ret)
{
    size_t n = strlen(kind);
    if (strncmp(name, kind, n) != 0 || strlen(name) != n + 16 + 4 ||
        strspn(name + n, "0123456789abcdef") != 16 || strcmp(name + n + 16, ".seg") != 0)
        return false;
    *ret = strtoull(name + n, NULL, 16);
    return true;
}

static ks_err push_id(uint64_t **ids, size_t *count, size_t *cap, uint64_t id)
{
    KS_TRY(ks_array_reserve((void **)ids, cap, *count + 1, sizeof **ids));
    (*ids)[(*count)++] = id;
    return KS_OK;
}

static ks_err push_junk(struct ksi_wal_folder *f, const char *name)
{
    size_t len = strlen(name) + 1;
    KS_TRY(ks_array_reserve((void **)&f->junk, &f->junk_cap, f->junk_len + len, 1));
    memcpy(f->junk + f->junk_len, name, len);
    f->junk_len += len;
    return KS_OK;
}

static ks_err push_segment(struct ksi_wal_folder *f, uint64_t id)
{
    KS_TRY(ks_array_reserve((void **)&f->seg, &f->cap, f->count + 1, sizeof *f->seg));
    f->seg[f->count++] = (struct ksi_wal_found){.id = id};
    return KS_OK;
}

/* Names that are none of ours stay untouched. */
static bool on_entry(void *arg, const char *name, bool is_dir)
{
    struct ksi_wal_folder *f = arg;
    uint64_t id = 0;
    size_t len = strlen(name);
    if (is_dir)
        return true;
    if (parse_name(name, "wal-", &id))
        f->err = push_segment(f, id);
    else if (parse_name(name, "spare-", &id))
        f->err = push_id(&f->spare_ids, &f->spare_count, &f->spare_cap, id);
    else if (parse_name(name, "damaged-", &id))
        f->err = push_id(&f->damaged_ids, &f->damaged_count, &f->damaged_cap, id);
    else if (len > 4 && strcmp(name + len - 4, ".tmp") == 0)
        f->err = push_junk(f, name);
    if (id > f->max_id)
        f->max_id = id;
    return f->err == KS_OK;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct ksi_wal_found *)a)->id, y = ((const struct ksi_wal_found *)b)->id;
    return (x > y) - (x < y);
}

static ks_err read_header(struct ks_vfs *vfs, const char *dir, struct ksi_wal_found *f)
{
    char path[KSI_WAL_PATH_MAX];
    KS_TRY(ksi_wal_path(dir, "wal", f->id, "seg", path));
    struct ksi_wal_scan s;
    ks_err err = ksi_wal_scan_open(vfs, path, &s);
    if (err == KS_OK) {
        f->header = s.header;
        f->file_bytes = s.file_bytes;
        f->readable = s.header.epoch == f->id;
        if (!f->readable)
            err = ks_fail(KS_ECORRUPT, "the segment header names epoch %" PRIu64, s.header.epoch);
        ksi_wal_scan_close(&s);
    }
    if (err == KS_ECORRUPT) {
        snprintf(f->why, sizeof f->why, "%s", ks_err_text());
        return KS_OK;
    }
    return err;
}

ks_err ksi_wal_folder_add_spare(struct ksi_wal_folder *f, uint64_t id)
{
    return push_id(&f->spare_ids, &f->spare_count, &f->spare_cap, id);
}

ks_err ksi_wal_folder_read(struct ks_vfs *vfs, const char *path, struct ksi_wal_folder *ret)
{
    *ret = (struct ksi_wal_folder){0};
    KS_TRY(vfs->ops->list(vfs, path, on_entry, ret));
    KS_TRY(ret->err);
    if (ret->count)
        qsort(ret->seg, ret->count, sizeof *ret->seg, by_id);
    for (size_t i = 0; i < ret->count; i++)
        KS_TRY(read_header(vfs, path, &ret->seg[i]));
    return KS_OK;
}

void ksi_wal_folder_done(struct ksi_wal_folder *f)
{
    ks_free(f->seg);
    ks_free(f->spare_ids);
    ks_free(f->damaged_ids);
    ks_free(f->junk);
}
