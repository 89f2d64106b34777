/*
 * Hostile log segments. The first byte chooses: even: the rest is a segment file as it is; odd: the
 * rest is a recipe for commits and frames with valid hashes and hostile fields, which get behind
 * the checksums. Either is read by recovery (strict and salvaging), by the dump, and after a
 * salvage the log must open and hold what was salvaged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "sys/simdisk.h"
#include "wal/format_priv.h"
#include "wal/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECIPE_BYTES = 64 << 10, PATH = 64 };

static void must(ks_err err)
{
    if (err != KS_OK) {
        fprintf(stderr, "unexpected: %s\n", ks_err_text());
        abort();
    }
}

static ks_err count_record(void *arg, const struct ks_wal_record *rec)
{
    uint64_t *sum = arg;
    sum[0]++;
    for (size_t i = 0; i < rec->payload.len; i++)
        sum[1] += (uint8_t)rec->payload.ptr[i];
    if (rec->lsn <= sum[2])
        abort();
    sum[2] = rec->lsn;
    return KS_OK;
}

static ks_err dump_frame(void *arg, const struct ks_wal_record *rec, uint64_t offset)
{
    return count_record(arg, rec);
}

/* Commits and frames by recipe: hashes are right, all else is as the input says. Returns the file's
 * length. */
static size_t cook(struct ks_slice in, uint8_t *out)
{
    struct ks_reader r = ks_reader(in);
    struct ksi_wal_header h = {.epoch = 7, .salt = 9, .segment_bytes = RECIPE_BYTES};
    h.first_lsn = 1 + ks_read_u8(&r);
    h.prev_end_lsn = h.first_lsn - ks_read_u8(&r) % h.first_lsn;
    memset(out, 0, RECIPE_BYTES);
    ksi_wal_header_encode(&h, out);
    uint64_t seed = ksi_wal_seed(&h), off = KSI_WAL_BLOCK;
    ks_lsn lsn = h.first_lsn;
    while (ks_reader_left(&r) && off + KSI_WAL_BLOCK <= RECIPE_BYTES) {
        struct ksi_wal_commit c = {.first_lsn = lsn, .write_bytes = KSI_WAL_BLOCK};
        uint8_t odd = ks_read_u8(&r);
        c.frames = ks_read_u8(&r);
        c.durable_lsn = lsn - 1;
        if (odd & 1)
            c.first_lsn += ks_read_u8(&r);
        if (odd & 2)
            c.write_bytes = ks_read_u32(&r);
        if (odd & 4)
            c.durable_lsn = ks_read_u64(&r);
        if (odd & 8)
            c.frames = ks_read_u32(&r);
        ksi_wal_commit_encode(&c, off + (odd & 16 ? KSI_WAL_BLOCK : 0), seed, out + off);
        size_t at = KSI_WAL_COMMIT_BYTES;
        for (uint32_t i = 0; i < (c.frames & 63) && ks_reader_left(&r); i++) {
            uint8_t len = ks_read_u8(&r), odd2 = ks_read_u8(&r);
            struct ks_slice payload =
                ks_read_bytes(&r, len < ks_reader_left(&r) ? len : ks_reader_left(&r));
            if (at + KSI_WAL_FRAME_HEAD + payload.len > KSI_WAL_BLOCK)
                break;
            struct ksi_wal_frame f = {
                .type = odd2, .flags = odd2 == 255, .lsn = lsn++ + (odd2 == 254)};
            ksi_wal_frame_encode(&f, payload, seed, out + off + at);
            if (odd2 == 253)
                ks_put_le32(out + off + at, ks_le32(out) * 3);
            at += KSI_WAL_FRAME_HEAD + payload.len;
        }
        off += KSI_WAL_BLOCK;
    }
    return RECIPE_BYTES;
}

static void check_folder(struct ks_simdisk *d)
{
    struct ks_wal_opts o = {.vfs = ks_simdisk_vfs(d),
                            .dir = "w",
                            .segment_bytes = 64 << 10,
                            .buffer_bytes = 16 << 10,
                            .no_thread = true};
    struct ks_wal_inspector in = {.frame = dump_frame};
    uint64_t dumped[3] = {0}, strict[3] = {0}, salvaged[3] = {0}, again[3] = {0};
    enum ks_wal_state state;
    struct ks_wal *wal;
    in.arg = dumped;
    ks_err dump_err = ks_wal_inspect(o.vfs, "w", &in, &state);
    ks_err err = ks_wal_open(&o, 0, count_record, strict, &wal);
    if (err == KS_OK) {
        if (dump_err != KS_OK || dumped[0] != strict[0] || dumped[1] != strict[1])
            abort();
        must(ks_wal_close(wal));
    }
    if (err == KS_OK || err == KS_EUNSUPPORTED)
        return;
    o.repair = true;
    must(ks_wal_open(&o, 0, count_record, salvaged, &wal));
    ks_lsn lsn;
    if (ks_wal_next_lsn(wal) < (uint64_t)1 << 62) {
        must(ks_wal_append(wal, 1, 1, KS_SLICE_LIT("x"), &lsn));
        must(ks_wal_close(wal));
        o.repair = false;
        must(ks_wal_open(&o, 0, count_record, again, &wal));
        if (again[0] != salvaged[0] + 1)
            abort();
    }
    must(ks_wal_close(wal));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t cooked[RECIPE_BYTES];
    if (size < 1 || size > 256 << 10)
        return 0;
    uint64_t epoch = size > 49 ? ks_le64(data + 41) : 1;
    const uint8_t *bytes = data + 1;
    size_t len = size - 1;
    if (data[0] & 1) {
        len = cook(ks_slice(data + 1, size - 1), cooked);
        bytes = cooked;
        epoch = 7;
    }
    char path[PATH];
    struct ks_simdisk *d;
    struct ks_file *f;
    snprintf(path, sizeof path, "w/wal-%016llx.seg", (unsigned long long)(epoch >> 8 ? 1 : epoch));
    must(ks_simdisk_new(&d));
    struct ks_vfs *v = ks_simdisk_vfs(d);
    must(ks_vfs_mkdirs(v, "w"));
    must(ks_open(v, path, KS_OPEN_CREATE, &f));
    must(ks_write_at(f, 0, bytes, len));
    ks_close(f);
    check_folder(d);
    ks_simdisk_free(d);
    return 0;
}
