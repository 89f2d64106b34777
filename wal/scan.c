#include "wal/scan_priv.h"

#include <string.h>

#include "base/mem.h"

enum { WINDOW_BYTES = KS_WAL_FRAME_MAX + (1u << 20) };

ks_err ksi_wal_scan_open(struct ks_vfs *vfs, const char *path, struct ksi_wal_scan *ret)
{
    struct ksi_wal_scan s = {0};
    uint8_t block[KSI_WAL_BLOCK];
    KS_TRY(ks_open(vfs, path, KS_OPEN_READ, &s.file));
    ks_err err = ks_file_size(s.file, &s.file_bytes);
    if (err == KS_OK)
        err = ks_read_exact(s.file, 0, block, sizeof block);
    if (err == KS_OK)
        err = ksi_wal_header_decode(block, &s.header);
    if (err != KS_OK) {
        ks_close(s.file);
        return err;
    }
    s.seed = ksi_wal_seed(&s.header);
    /* A file cut short is read to where it ends; the frames missing there are found missing. */
    if (s.file_bytes > s.header.segment_bytes)
        s.file_bytes = s.header.segment_bytes;
    *ret = s;
    return KS_OK;
}

void ksi_wal_scan_close(struct ksi_wal_scan *s)
{
    ks_close(s->file);
    ks_free(s->win);
    s->file = NULL;
    s->win = NULL;
}

/* Sets *ret to len bytes at off, valid until the next peek; NULL when the file ends before. len ≤ a
 * frame. */
static ks_err peek(struct ksi_wal_scan *s, uint64_t off, size_t len, const uint8_t **ret)
{
    *ret = NULL;
    if (off > s->file_bytes || len > s->file_bytes - off)
        return KS_OK;
    if (off < s->win_off || off + len > s->win_off + s->win_len) {
        if (!s->win && !(s->win = ks_aligned_alloc(KSI_WAL_BLOCK, WINDOW_BYTES)))
            return KS_ENOMEM;
        uint64_t start = off & ~(uint64_t)(KSI_WAL_BLOCK - 1);
        uint64_t left = s->file_bytes - start;
        size_t n = 0, want = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        s->win_len = 0;
        KS_TRY(ks_read_at(s->file, start, s->win, want, &n));
        s->win_off = start;
        s->win_len = n;
        if (off + len > start + n)
            return KS_OK;
    }
    *ret = s->win + (off - s->win_off);
    return KS_OK;
}

/* Reads the frame at off; *ret_why is NULL when it is valid, else what is wrong. */
static ks_err read_frame(struct ksi_wal_scan *s, uint64_t off, uint64_t limit, ks_lsn lsn,
                         struct ks_wal_record *ret, const char **ret_why)
{
    const uint8_t *p;
    struct ksi_wal_frame f;
    *ret_why = "the commit ends inside a frame";
    if (limit - off < KSI_WAL_FRAME_HEAD)
        return KS_OK;
    KS_TRY(peek(s, off, KSI_WAL_FRAME_HEAD, &p));
    if (!p)
        return KS_OK;
    ksi_wal_frame_decode(p, &f);
    if (f.len > KS_WAL_FRAME_MAX || f.len > limit - off - KSI_WAL_FRAME_HEAD || f.flags != 0) {
        *ret_why = "a frame's head is invalid";
        return KS_OK;
    }
    KS_TRY(peek(s, off, KSI_WAL_FRAME_HEAD + f.len, &p));
    if (!p)
        return KS_OK;
    if (!ksi_wal_frame_valid(p, p + KSI_WAL_FRAME_HEAD, f.len, s->seed)) {
        *ret_why = "a frame fails its hash";
        return KS_OK;
    }
    if (f.lsn != lsn) {
        *ret_why = "a frame is out of sequence";
        return KS_OK;
    }
    *ret_why = NULL;
    *ret = (struct ks_wal_record){f.lsn, f.type, f.shard, ks_slice(p + KSI_WAL_FRAME_HEAD, f.len)};
    return KS_OK;
}

/* Looks at every block from `from` on for commits of this segment: the proof of damage and the
 * highest LSN. */
static ks_err look_beyond(struct ksi_wal_scan *s, uint64_t from, struct ksi_wal_end *end)
{
    for (uint64_t off = from; off < s->file_bytes; off += KSI_WAL_BLOCK) {
        const uint8_t *p;
        struct ksi_wal_commit c;
        KS_TRY(peek(s, off, KSI_WAL_COMMIT_BYTES, &p));
        if (!p)
            break;
        if (!ksi_wal_commit_decode(p, off, s->header.segment_bytes, s->seed, &c))
            continue;
        if (c.durable_lsn >= end->next_lsn)
            end->damaged = true;
        ks_lsn last = c.first_lsn + c.frames - 1;
        if (last > end->highest_lsn)
            end->highest_lsn = last;
    }
    return KS_OK;
}

/* Visits the frames of the commit at off; end->why says what stopped it early, NULL when nothing
 * did. */
static ks_err visit_commit(struct ksi_wal_scan *s, uint64_t off, const struct ksi_wal_commit *c,
                           ks_lsn stop_lsn, const struct ksi_wal_visitor *v,
                           struct ksi_wal_end *end)
{
    uint64_t at = off + KSI_WAL_COMMIT_BYTES, limit = off + c->write_bytes;
    for (uint32_t i = 0; i < c->frames; i++) {
        struct ks_wal_record rec;
        if (stop_lsn && end->next_lsn >= stop_lsn)
            return KS_OK;
        end->off = at;
        KS_TRY(read_frame(s, at, limit, end->next_lsn, &rec, &end->why));
        if (end->why) {
            end->torn = true;
            return KS_OK;
        }
        if (v->frame)
            KS_TRY(v->frame(v->arg, &rec));
        at += KSI_WAL_FRAME_HEAD + rec.payload.len;
        end->next_lsn++;
    }
    end->off = end->used_bytes = limit;
    return KS_OK;
}

ks_err ksi_wal_scan_run(struct ksi_wal_scan *s, ks_lsn stop_lsn, const struct ksi_wal_visitor *v,
                        struct ksi_wal_end *end)
{
    uint64_t off = KSI_WAL_BLOCK;
    *end = (struct ksi_wal_end){.next_lsn = s->header.first_lsn, .off = off, .used_bytes = off};
    while (off + KSI_WAL_BLOCK <= s->header.segment_bytes) {
        const uint8_t *p;
        struct ksi_wal_commit c;
        if (stop_lsn && end->next_lsn >= stop_lsn)
            break;
        KS_TRY(peek(s, off, KSI_WAL_COMMIT_BYTES, &p));
        end->off = off;
        if (!p)
            end->why = "the file ends";
        else if (!ksi_wal_commit_decode(p, off, s->header.segment_bytes, s->seed, &c))
            end->why = "no commit begins here";
        else if (c.first_lsn != end->next_lsn)
            end->why = "a commit is out of sequence";
        if (!end->why) {
            if (v->commit)
                v->commit(v->arg, &c, off);
            KS_TRY(visit_commit(s, off, &c, stop_lsn, v, end));
        }
        if (end->why)
            break;
        off += c.write_bytes;
    }
    end->highest_lsn = end->next_lsn - 1;
    if (!end->why || stop_lsn)
        return KS_OK;
    /* From the failing commit on: its own head cannot prove anything about its own frames. */
    return look_beyond(s, off, end);
}
