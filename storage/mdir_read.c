/* Reading one page of the chunk directory. The page's checksum was verified, yet its bytes are not
 * trusted. */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/mdir_priv.h"

static ks_err bad(const char *what)
{
    return ks_fail(KS_ECORRUPT, "chunk directory: %s", what);
}

static size_t column_rows(const struct ksi_mdir *d, unsigned col)
{
    if (col == KSI_S_CHUNKS)
        return d->series;
    if (col <= KSI_K_OFFSET)
        return ((d->series - 1) >> d->stride_log2) + 1;
    return col <= KSI_C_TIMES ? d->chunks : d->times;
}

ks_err ksi_mdir_parse(struct ks_slice page, struct ksi_mdir *d)
{
    struct ks_reader r = ks_reader(page);
    uint8_t layout = ks_read_u8(&r);
    uint64_t first = ks_read_varint(&r), series = ks_read_varint(&r), chunks = ks_read_varint(&r);
    uint64_t times = ks_read_varint(&r);
    uint8_t stride = ks_read_u8(&r);
    if (r.bad || layout != 1 || first > UINT32_MAX || series == 0 || series > KSI_MDIR_SERIES_MAX ||
        chunks == 0 || chunks > KSI_MDIR_CHUNKS_MAX || times == 0 || times > chunks || stride > 8)
        return bad("bad page head");
    *d = (struct ksi_mdir){.page = (const uint8_t *)page.ptr,
                           .first_ord = (uint32_t)first,
                           .series = (uint32_t)series,
                           .chunks = (uint32_t)chunks,
                           .times = (uint32_t)times,
                           .stride_log2 = stride};
    size_t at = 0;
    for (unsigned i = 0; i < KSI_MDIR_COLS; i++) {
        unsigned width = ks_read_u8(&r);
        if (width > 8)
            return bad("column of more than 8 bytes");
        struct ksi_col *c = &d->cols[i];
        c->width = width;
        c->mask = width == 8 ? UINT64_MAX : (1ull << 8 * width) - 1;
        c->base = (uint64_t)ks_read_zigzag(&r);
        c->p = (const uint8_t *)at; /* an offset until the head's end is known */
        at += column_rows(d, i) * width;
    }
    uint64_t rec = ks_read_varint(&r), blob = ks_read_varint(&r), left = ks_reader_left(&r);
    if (r.bad || at > left || left - at < KSI_MDIR_PAD || rec > left - at - KSI_MDIR_PAD ||
        blob != left - at - KSI_MDIR_PAD - rec)
        return bad("columns do not fit the page");
    for (unsigned i = 0; i < KSI_MDIR_COLS; i++)
        d->cols[i].p = r.p + (size_t)d->cols[i].p;
    d->rec = r.p + at;
    d->rec_end = d->rec + rec;
    d->blob = d->rec_end;
    d->blob_bytes = (size_t)blob;
    return KS_OK;
}

/* --- the walk --- */

struct step {
    uint16_t ctl;
    uint8_t exp;
    uint32_t vbytes, frame, offset; /* where the values are */
    uint32_t values_hash;
    struct ks_slice inline_values;
};

static uint64_t get(const struct ksi_mdir *d, enum ksi_mdir_col col, uint64_t i)
{
    return ksi_col_get(&d->cols[col], i);
}

/* Reads a chunk's control and the head of its record; w->rec stands at the aggregates then. */
static bool step_begin(struct ksi_mdir_walk *w, struct step *s)
{
    const struct ksi_mdir *d = w->d;
    s->ctl = (uint16_t)(get(d, KSI_C_CTL_LO, w->chunk) | get(d, KSI_C_CTL_HI, w->chunk) << 8);
    s->exp = (uint8_t)get(d, KSI_C_EXP, w->chunk);
    uint64_t vbytes = get(d, KSI_C_VBYTES, w->chunk);
    w->chunk++;
    if (vbytes > KS_PAGE_RAW_MAX || (s->ctl & (KSI_CTL_CONST | KSI_CTL_INLINE)) == KSI_CTL_CONST)
        return false;
    s->vbytes = (uint32_t)vbytes;
    s->values_hash = s->frame = 0;
    s->inline_values = ks_slice(NULL, 0);
    if (s->ctl & KSI_CTL_INLINE) {
        s->offset = (uint32_t)(w->rec.p - d->page);
        s->inline_values = ks_read_bytes(&w->rec, vbytes);
        return !w->rec.bad;
    }
    if (s->ctl & KSI_CTL_FRAME) {
        w->frames++;
        w->offset = 0;
    }
    s->frame = (uint32_t)(w->frames - 1);
    s->offset = (uint32_t)w->offset;
    s->values_hash = ks_read_u32(&w->rec);
    w->offset += vbytes;
    return !w->rec.bad && w->frames - 1 < KSI_INLINE && w->offset <= KS_PAGE_RAW_MAX;
}

/* Passes the chunks of the series the walk stands at. */
static bool walk_past(struct ksi_mdir_walk *w)
{
    uint64_t n = get(w->d, KSI_S_CHUNKS, w->series);
    if (n > w->d->chunks - w->chunk)
        return false;
    while (n--) {
        struct step st;
        if (!step_begin(w, &st))
            return false;
        ksi_agg_skip(&w->rec, st.ctl, st.exp);
    }
    w->series++;
    return true;
}

/* Stands at the first chunk of series s; ret_chunks: how many it has. Goes on from where it stood
 * when that is near. */
static bool walk_to(struct ksi_mdir_walk *w, uint32_t s, uint64_t *ret_chunks)
{
    const struct ksi_mdir *d = w->d;
    uint32_t k = s >> d->stride_log2;
    if (w->series > s || w->series < k << d->stride_log2) {
        uint64_t rec = get(d, KSI_K_REC, k);
        w->series = k << d->stride_log2;
        w->chunk = get(d, KSI_K_CHUNK, k);
        w->frames = get(d, KSI_K_FRAME, k);
        w->offset = get(d, KSI_K_OFFSET, k);
        if (rec > (uint64_t)(d->rec_end - d->rec) || w->chunk > d->chunks ||
            w->offset > KS_PAGE_RAW_MAX)
            return false;
        w->rec = (struct ks_reader){d->rec + rec, d->rec_end, false};
    }
    while (w->series < s)
        if (!walk_past(w))
            return false;
    *ret_chunks = get(d, KSI_S_CHUNKS, s);
    return *ret_chunks <= d->chunks - w->chunk;
}

void ksi_mdir_walk_init(struct ksi_mdir_walk *w, const struct ksi_mdir *d)
{
    *w = (struct ksi_mdir_walk){.d = d, .series = UINT32_MAX};
}

/* Whether the chunk just begun touches the range, as far as its row of the times table can be
 * believed; damage shows when it is read. */
static bool touches(const struct ksi_mdir *d, uint64_t chunk, int64_t min_ms, int64_t max_ms)
{
    uint64_t row = get(d, KSI_C_TIMES, chunk) + chunk;
    if (row >= d->times)
        return true;
    uint64_t first = get(d, KSI_T_MIN, row);
    return (int64_t)first <= max_ms && (int64_t)(first + get(d, KSI_T_SPAN, row)) >= min_ms;
}

/* The row of the times table of a chunk: everything of the reference that follows from it. */
static bool times_of(const struct ksi_mdir *d, uint64_t chunk, uint32_t group,
                     struct ks_chunk_ref *ret, uint32_t *ret_hash)
{
    uint64_t row = get(d, KSI_C_TIMES, chunk) + chunk;
    if (row >= d->times)
        return false;
    uint64_t count = get(d, KSI_T_COUNT, row), bytes = get(d, KSI_T_BYTES, row),
             frame = get(d, KSI_T_FRAME, row);
    uint64_t offset = get(d, KSI_T_OFFSET, row), span = get(d, KSI_T_SPAN, row);
    ret->meta.min_ms = (int64_t)get(d, KSI_T_MIN, row);
    ret->meta.max_ms = (int64_t)((uint64_t)ret->meta.min_ms + span);
    if (count == 0 || count > KS_CHUNK_SAMPLES_MAX || bytes > KS_PAGE_RAW_MAX ||
        offset > KS_PAGE_RAW_MAX || frame > KSI_INLINE || ret->meta.max_ms < ret->meta.min_ms)
        return false;
    ret->meta.sample_count = (uint32_t)count;
    ret->meta.times_encoding = (uint8_t)get(d, KSI_T_ENC, row);
    ret->times_bytes = (uint32_t)bytes;
    if (frame) {
        ret->times_frame = (uint32_t)frame - 1;
        ret->times_offset = (uint32_t)offset;
        *ret_hash = (uint32_t)get(d, KSI_T_HASH, row);
        return true;
    }
    if (offset > d->blob_bytes || bytes > d->blob_bytes - offset)
        return false;
    ret->times_frame = KSI_INLINE | group;
    ret->times_offset = (uint32_t)(d->blob - d->page + offset);
    *ret_hash = ksi_times_hash((uint32_t)count, ret->meta.times_encoding,
                               ks_slice(d->blob + offset, bytes));
    return true;
}

static bool step_end(struct ksi_mdir_walk *w, const struct step *s, uint32_t group,
                     struct ks_chunk_ref *ret)
{
    const struct ksi_mdir *d = w->d;
    uint64_t chunk = w->chunk - 1;
    uint32_t times_hash = 0, values_hash = s->values_hash;
    double constant = 0;
    if (!times_of(d, chunk, group, ret, &times_hash))
        return false;
    uint64_t kind = get(d, KSI_C_KIND, chunk);
    if (kind > KS_CHUNK_HISTOGRAM)
        return false;
    ret->meta.kind = (uint8_t)kind;
    ret->meta.resolution = (uint8_t)get(d, KSI_C_RES, chunk);
    ret->meta.values_encoding = (uint8_t)get(d, KSI_C_VENC, chunk);
    ret->values_bytes = s->vbytes;
    ret->values_offset = s->offset;
    ret->values_frame = s->ctl & KSI_CTL_INLINE ? KSI_INLINE | group : s->frame;
    if (s->ctl & KSI_CTL_CONST &&
        !ks_values_constant(s->inline_values, ret->meta.values_encoding, &constant))
        return false;
    if (s->ctl & KSI_CTL_INLINE)
        values_hash = ksi_values_hash(ret->meta.values_encoding, s->inline_values);
    ret->meta.content_hash = ksi_content_hash(times_hash, values_hash);
    ksi_agg_decode(&w->rec, s->ctl, s->exp, ret->meta.sample_count, constant, &ret->meta.agg);
    return !w->rec.bad && ret->meta.agg.count <= ret->meta.sample_count;
}

static ks_err walk_failed(struct ksi_mdir_walk *w, const char *what)
{
    w->series = UINT32_MAX;
    return bad(what);
}

ks_err ksi_mdir_chunks(struct ksi_mdir_walk *w, uint32_t group, uint32_t ord, int64_t min_ms,
                       int64_t max_ms, struct ks_chunk_ref **refs, size_t *count, size_t *cap)
{
    const struct ksi_mdir *d = w->d;
    uint64_t n;
    if (ord < d->first_ord || ord - d->first_ord >= d->series)
        return KS_OK;
    if (!walk_to(w, ord - d->first_ord, &n))
        return walk_failed(w, "skip point lies outside");
    if (*count + n > *cap)
        KS_TRY(ks_array_reserve((void **)refs, cap, *count + n, sizeof **refs));
    while (n--) {
        struct step s;
        struct ks_chunk_ref *ref = *refs + *count;
        bool sound = step_begin(w, &s);
        if (sound && !touches(d, w->chunk - 1, min_ms, max_ms)) {
            ksi_agg_skip(&w->rec, s.ctl, s.exp);
            continue;
        }
        if (!sound || !step_end(w, &s, group, ref))
            return walk_failed(w, "damaged entry");
        if (ref->meta.min_ms <= max_ms && ref->meta.max_ms >= min_ms)
            ++*count;
    }
    w->series++;
    return KS_OK;
}
