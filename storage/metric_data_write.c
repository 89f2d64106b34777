/*
 * Writing the data sections of a metric part. Memory: two frames, the open directory page and the
 * window of timestamp columns; nothing grows with the part but one small record per directory page.
 */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/mdir_priv.h"
#include "storage/metric_data_priv.h"

enum {
    FRAME_BYTES = 16 << 10,
    WINDOW_BYTES =
        8 << 20, /* of timestamp columns remembered for sharing; when full, it starts anew */
    WINDOW_COLUMNS = 32 << 10,
    WINDOW_SLOTS = 64 << 10, /* a power of two */
};

/* A timestamp column met before. */
struct seen {
    struct ksi_mdir_times row;
    uint64_t hash, pos;        /* its bytes in the window */
    uint32_t group, group_row; /* where the open directory page has it, if it does */
};

struct frame {
    const char *section;
    struct ks_buf bytes;
    uint32_t written; /* frames written so far = index of the open one */
};

struct ks_mdata_writer {
    struct ks_part_writer *part;
    enum ks_page_codec codec;
    ks_err err;
    struct frame values, times;
    uint32_t frames_begun, frame_offset; /* of values: the state of a walk */
    struct ksi_mdir_builder dir;
    struct ksi_mgroup *groups;
    size_t group_count, group_cap;
    struct ks_buf window;
    struct seen *seen; /* grows to WINDOW_COLUMNS */
    size_t seen_count, seen_cap;
    uint32_t *slots; /* index + 1 into seen */
    uint64_t sample_count, chunk_count;
    int64_t min_ms, max_ms;
    uint32_t last_ord; /* of the chunk added last, and its first time */
    int64_t last_min_ms;
};

static ks_err broken(struct ks_mdata_writer *m, ks_err err)
{
    if (m->err == KS_OK)
        m->err = err;
    return err;
}

ks_err ks_mdata_writer_new(struct ks_part_writer *part, int level, struct ks_mdata_writer **ret)
{
    struct ks_mdata_writer *m = ks_zalloc(sizeof *m);
    if (!m || !(m->slots = ks_zalloc_array(WINDOW_SLOTS, sizeof *m->slots))) {
        ks_free(m);
        return KS_ENOMEM;
    }
    m->part = part;
    m->codec = level > 0 ? KS_PAGE_ZSTD : KS_PAGE_LZ4;
    m->values.section = KSI_SECTION_CHUNKS;
    m->times.section = KSI_SECTION_TIMES;
    ks_buf_init(&m->values.bytes, KS_PAGE_RAW_MAX);
    ks_buf_init(&m->times.bytes, KS_PAGE_RAW_MAX);
    ks_buf_init(&m->window, 2 * WINDOW_BYTES);
    ksi_mdir_builder_init(&m->dir);
    m->min_ms = INT64_MAX;
    m->max_ms = INT64_MIN;
    *ret = m;
    return KS_OK;
}

void ks_mdata_writer_abort(struct ks_mdata_writer *m)
{
    if (!m)
        return;
    ksi_mdir_builder_done(&m->dir);
    ks_buf_done(&m->values.bytes);
    ks_buf_done(&m->times.bytes);
    ks_buf_done(&m->window);
    ks_free(m->groups);
    ks_free(m->seen);
    ks_free(m->slots);
    ks_free(m);
}

/* --- frames --- */

static ks_err frame_flush(struct ks_mdata_writer *m, struct frame *f)
{
    if (!f->bytes.len)
        return KS_OK;
    KS_TRY(ks_part_page(m->part, f->section, ks_buf_view(&f->bytes), m->codec, NULL));
    ks_buf_reset(&f->bytes);
    if (++f->written >= KSI_INLINE - 1)
        return ks_fail(KS_ELIMIT, "too many frames in one part");
    return KS_OK;
}

/* Puts bytes (not empty) into the open frame or the next; ret_offset 0 means that it is the first
 * of a frame. */
static ks_err frame_add(struct ks_mdata_writer *m, struct frame *f, struct ks_slice bytes,
                        uint32_t *ret_offset)
{
    if (f->bytes.len + bytes.len > FRAME_BYTES)
        KS_TRY(frame_flush(m, f));
    *ret_offset = (uint32_t)f->bytes.len;
    ks_buf_slice(&f->bytes, bytes);
    return ks_buf_status(&f->bytes);
}

/* --- timestamps --- */

static bool row_matches(const struct ksi_mdir_times *a, const struct ksi_mdir_times *b)
{
    return a->min_ms == b->min_ms && a->max_ms == b->max_ms && a->count == b->count &&
           a->bytes == b->bytes && a->encoding == b->encoding;
}

static uint32_t *slot_of(struct ks_mdata_writer *m, uint64_t hash, const struct ksi_mdir_times *row,
                         struct ks_slice bytes)
{
    for (uint64_t i = hash;; i++) {
        uint32_t *slot = &m->slots[i & (WINDOW_SLOTS - 1)];
        const struct seen *s = *slot ? &m->seen[*slot - 1] : NULL;
        if (!s || (s->hash == hash && row_matches(&s->row, row) &&
                   (bytes.len == 0 || memcmp(m->window.ptr + s->pos, bytes.ptr, bytes.len) == 0)))
            return slot;
    }
}

static void window_reset(struct ks_mdata_writer *m)
{
    memset(m->slots, 0, WINDOW_SLOTS * sizeof *m->slots);
    m->seen_count = 0;
    ks_buf_reset(&m->window);
}

/* Stores the bytes of a column met for the first time, unless small enough for the directory
 * itself. */
static ks_err place_times(struct ks_mdata_writer *m, struct ks_slice bytes,
                          struct ksi_mdir_times *row)
{
    if (bytes.len <= KSI_INLINE_TIMES_MAX)
        return KS_OK;
    KS_TRY(frame_add(m, &m->times, bytes, &row->offset));
    row->frame = m->times.written + 1;
    row->hash = ksi_times_hash(row->count, row->encoding, bytes);
    return KS_OK;
}

static ks_err remember(struct ks_mdata_writer *m, uint64_t hash, struct ks_slice bytes,
                       struct ksi_mdir_times *row, struct seen **ret)
{
    if (m->seen_count == WINDOW_COLUMNS || m->window.len + bytes.len > WINDOW_BYTES)
        window_reset(m);
    KS_TRY(ks_array_reserve((void **)&m->seen, &m->seen_cap, m->seen_count + 1, sizeof *m->seen));
    uint64_t pos = m->window.len;
    ks_buf_slice(&m->window, bytes);
    KS_TRY(ks_buf_status(&m->window));
    KS_TRY(place_times(m, bytes, row));
    *slot_of(m, hash, row, bytes) = (uint32_t)m->seen_count + 1;
    *ret = &m->seen[m->seen_count++];
    **ret = (struct seen){.row = *row, .hash = hash, .pos = pos, .group = UINT32_MAX};
    return KS_OK;
}

/* The row of the open directory page's times table that stands for this column. */
static ks_err times_row(struct ks_mdata_writer *m, const struct ks_chunk_meta *meta,
                        struct ks_slice bytes, uint32_t *ret_row)
{
    struct ksi_mdir_times row = {.min_ms = meta->min_ms,
                                 .max_ms = meta->max_ms,
                                 .count = meta->sample_count,
                                 .bytes = (uint32_t)bytes.len,
                                 .encoding = meta->times_encoding};
    uint64_t hash =
        ks_hash64_seed(bytes.ptr, bytes.len, (uint64_t)meta->min_ms ^ meta->times_encoding);
    uint32_t slot = *slot_of(m, hash, &row, bytes);
    struct seen *s = slot ? &m->seen[slot - 1] : NULL;
    if (!s)
        KS_TRY(remember(m, hash, bytes, &row, &s));
    if (s->group == m->group_count) {
        *ret_row = s->group_row;
        return KS_OK;
    }
    struct ksi_mdir_builder *d = &m->dir;
    KS_TRY(
        ks_array_reserve((void **)&d->times, &d->times_cap, d->times_count + 1, sizeof *d->times));
    struct ksi_mdir_times *t = &d->times[d->times_count];
    *t = s->row;
    if (!t->frame) {
        t->offset = (uint32_t)d->blob.len;
        ks_buf_slice(&d->blob, bytes);
        KS_TRY(ks_buf_status(&d->blob));
    }
    s->group = (uint32_t)m->group_count;
    *ret_row = s->group_row = (uint32_t)d->times_count++;
    return KS_OK;
}

/* --- the directory --- */

static ks_err group_flush(struct ks_mdata_writer *m)
{
    struct ksi_mdir_builder *d = &m->dir;
    if (!d->chunk_count)
        return KS_OK;
    KS_TRY(ksi_mdir_encode(d));
    if (d->page.len > KS_PAGE_RAW_MAX)
        return ks_fail(KS_ELIMIT, "series %u..%u have too many chunks for one part", d->first_ord,
                       d->last_ord);
    KS_TRY(ks_part_page(m->part, KSI_SECTION_DIR, ks_buf_view(&d->page), KS_PAGE_ZSTD, NULL));
    KS_TRY(ks_array_reserve((void **)&m->groups, &m->group_cap, m->group_count + 1,
                            sizeof *m->groups));
    m->groups[m->group_count++] = (struct ksi_mgroup){d->first_ord, d->min_ms, d->max_ms};
    ksi_mdir_reset(d);
    return KS_OK;
}

/* Makes the open directory page the one for `ord`. */
static ks_err group_for(struct ks_mdata_writer *m, uint32_t ord, const struct ks_chunk_meta *meta)
{
    struct ksi_mdir_builder *d = &m->dir;
    if (m->chunk_count &&
        (ord < m->last_ord || (ord == m->last_ord && meta->min_ms < m->last_min_ms)))
        return ks_fail(KS_EINVAL, "chunks of series %u added out of order", ord);
    bool full = ord - d->first_ord >= KSI_MDIR_SERIES_MAX ||
                (ord != d->last_ord && d->chunk_count >= KSI_MDIR_CHUNKS_SOFT);
    if (d->chunk_count && full)
        KS_TRY(group_flush(m));
    if (d->chunk_count >= KSI_MDIR_CHUNKS_MAX)
        return ks_fail(KS_ELIMIT, "series %u has more than %d chunks in one part", ord,
                       KSI_MDIR_CHUNKS_MAX);
    if (!d->chunk_count) {
        d->first_ord = ord;
        d->min_ms = INT64_MAX;
        d->max_ms = INT64_MIN;
    }
    d->last_ord = ord;
    return KS_OK;
}

static ks_err add_values(struct ks_mdata_writer *m, const struct ks_chunk_meta *meta,
                         struct ks_slice values, struct ksi_mdir_chunk *c)
{
    struct ks_buf *rec = &m->dir.rec;
    bool is_inline = values.len <= KSI_INLINE_VALUES_MAX, is_const = false;
    double v = 0;
    c->rec_pos = rec->len;
    c->frame = m->frames_begun;
    c->frame_offset = m->frame_offset;
    if (is_inline) {
        ks_buf_slice(rec, values);
        is_const = ks_values_constant(values, meta->values_encoding, &v);
        c->ctl |= KSI_CTL_INLINE;
    } else {
        uint32_t offset;
        KS_TRY(frame_add(m, &m->values, values, &offset));
        ks_buf_u32(rec, ksi_values_hash(meta->values_encoding, values));
        if (offset == 0) {
            c->ctl |= KSI_CTL_FRAME;
            m->frames_begun++;
        }
        m->frame_offset = offset + (uint32_t)values.len;
    }
    c->ctl |= ksi_agg_encode(&meta->agg, meta->sample_count, is_const, v, rec, &c->exp);
    return ks_buf_status(rec);
}

static ks_err add(struct ks_mdata_writer *m, uint32_t ord, const struct ks_chunk_meta *meta,
                  struct ks_slice times, struct ks_slice values)
{
    struct ksi_mdir_builder *d = &m->dir;
    if (meta->sample_count == 0 || meta->sample_count > KS_CHUNK_SAMPLES_MAX ||
        meta->max_ms < meta->min_ms || meta->agg.count > meta->sample_count ||
        meta->kind > KS_CHUNK_HISTOGRAM || times.len > KS_PAGE_RAW_MAX ||
        values.len > KS_PAGE_RAW_MAX)
        return ks_fail(KS_EINVAL, "chunk of series %u: %u samples, %zu + %zu bytes", ord,
                       meta->sample_count, times.len, values.len);
    KS_TRY(group_for(m, ord, meta));
    KS_TRY(ks_array_reserve((void **)&d->chunks, &d->chunk_cap, d->chunk_count + 1,
                            sizeof *d->chunks));
    struct ksi_mdir_chunk *c = &d->chunks[d->chunk_count];
    *c = (struct ksi_mdir_chunk){.vbytes = (uint32_t)values.len,
                                 .series = ord - d->first_ord,
                                 .venc = meta->values_encoding,
                                 .kind = meta->kind,
                                 .resolution = meta->resolution};
    KS_TRY(times_row(m, meta, times, &c->times_row));
    KS_TRY(add_values(m, meta, values, c));
    if (meta->kind != KS_CHUNK_F64)
        ks_part_incompat(m->part, KS_PART_INCOMPAT_HISTOGRAMS);
    d->chunk_count++;
    m->last_ord = ord;
    m->last_min_ms = meta->min_ms;
    d->min_ms = meta->min_ms < d->min_ms ? meta->min_ms : d->min_ms;
    d->max_ms = meta->max_ms > d->max_ms ? meta->max_ms : d->max_ms;
    m->min_ms = meta->min_ms < m->min_ms ? meta->min_ms : m->min_ms;
    m->max_ms = meta->max_ms > m->max_ms ? meta->max_ms : m->max_ms;
    m->sample_count += meta->sample_count;
    m->chunk_count++;
    return KS_OK;
}

ks_err ks_mdata_add(struct ks_mdata_writer *m, uint32_t ord, const struct ks_chunk_meta *meta,
                    struct ks_slice times, struct ks_slice values)
{
    if (m->err != KS_OK)
        return m->err;
    ks_err err = add(m, ord, meta, times, values);
    return err == KS_OK ? KS_OK : broken(m, err);
}

/* --- the end --- */

static ks_err put_index(struct ks_mdata_writer *m, uint32_t series_count)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_PAGE_RAW_MAX);
    if (!m->chunk_count)
        m->min_ms = m->max_ms = 0;
    ks_buf_byte(&b, 1);
    ks_buf_varint(&b, series_count);
    ks_buf_varint(&b, m->chunk_count);
    ks_buf_varint(&b, m->sample_count);
    ks_buf_zigzag(&b, m->min_ms);
    ks_buf_zigzag(&b, m->max_ms);
    ks_buf_varint(&b, m->group_count);
    uint32_t ord = 0;
    for (size_t i = 0; i < m->group_count; i++) {
        const struct ksi_mgroup *g = &m->groups[i];
        ks_buf_varint(&b, g->first_ord - ord);
        ks_buf_varint(&b, (uint64_t)g->min_ms - (uint64_t)m->min_ms);
        ks_buf_varint(&b, (uint64_t)g->max_ms - (uint64_t)g->min_ms);
        ord = g->first_ord;
    }
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ks_part_page(m->part, KSI_SECTION_INDEX, ks_buf_view(&b), KS_PAGE_ZSTD, NULL);
    ks_buf_done(&b);
    return err;
}

static ks_err finish(struct ks_mdata_writer *m, uint32_t series_count)
{
    KS_TRY(m->err);
    if (m->chunk_count && m->last_ord >= series_count)
        return ks_fail(KS_EINVAL, "series %u added to a part of %u", m->last_ord, series_count);
    KS_TRY(frame_flush(m, &m->values));
    KS_TRY(frame_flush(m, &m->times));
    KS_TRY(group_flush(m));
    return put_index(m, series_count);
}

ks_err ks_mdata_writer_finish(struct ks_mdata_writer *m, uint32_t series_count)
{
    ks_err err = finish(m, series_count);
    ks_mdata_writer_abort(m);
    return err;
}
