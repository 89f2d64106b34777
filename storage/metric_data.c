/* Reading the data sections of a metric part. Immutable after open; pages come from the part's
 * cache. */
#include "storage/metric_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/mdir_priv.h"
#include "storage/metric_data_priv.h"

struct section {
    const struct ks_page_ref *pages;
    size_t count;
};

struct ks_mdata {
    struct ks_part *part;
    uint64_t owner; /* for memos */
    struct section dir, values, times;
    struct ksi_mgroup *groups; /* one per page of dir */
    uint32_t series_count;
    uint64_t sample_count, chunk_count;
    int64_t min_ms, max_ms;
};

/* --- opening --- */

static ks_err corrupt(const struct ks_mdata *d, const char *what)
{
    return ks_fail(KS_ECORRUPT, "part %s: section %s: %s", ks_part_path(d->part), KSI_SECTION_INDEX,
                   what);
}

static ks_err decode_groups(struct ks_mdata *d, struct ks_reader *r)
{
    uint64_t ord = 0;
    for (size_t i = 0; i < d->dir.count; i++) {
        uint64_t step = ks_read_varint(r), off = ks_read_varint(r), span = ks_read_varint(r);
        ord += step;
        if (r->bad || step > UINT32_MAX || ord >= d->series_count || (i && !step))
            return corrupt(d, "directory pages out of order");
        struct ksi_mgroup *g = &d->groups[i];
        g->first_ord = (uint32_t)ord;
        g->min_ms = (int64_t)((uint64_t)d->min_ms + off);
        g->max_ms = (int64_t)((uint64_t)g->min_ms + span);
        if (g->min_ms < d->min_ms || g->max_ms < g->min_ms || g->max_ms > d->max_ms)
            return corrupt(d, "time range of a directory page");
    }
    return ks_reader_left(r) ? corrupt(d, "wrong length") : KS_OK;
}

static ks_err decode_index(struct ks_mdata *d, struct ks_slice raw)
{
    struct ks_reader r = ks_reader(raw);
    uint8_t layout = ks_read_u8(&r);
    uint64_t series = ks_read_varint(&r);
    d->chunk_count = ks_read_varint(&r);
    d->sample_count = ks_read_varint(&r);
    d->min_ms = ks_read_zigzag(&r);
    d->max_ms = ks_read_zigzag(&r);
    uint64_t groups = ks_read_varint(&r);
    if (r.bad || series > UINT32_MAX || d->max_ms < d->min_ms)
        return corrupt(d, "damaged");
    if (layout != 1)
        return ks_fail(KS_EUNSUPPORTED,
                       "part %s: directory layout %u is not known: use a newer program",
                       ks_part_path(d->part), layout);
    if (groups != d->dir.count)
        return corrupt(d, "number of directory pages differs");
    d->series_count = (uint32_t)series;
    if (groups && !(d->groups = ks_alloc_array(groups, sizeof *d->groups)))
        return KS_ENOMEM;
    return decode_groups(d, &r);
}

static ks_err load(struct ks_mdata *d)
{
    struct ks_page page;
    size_t count;
    const struct ks_page_ref *refs = ks_part_section_pages(d->part, KSI_SECTION_INDEX, &count);
    if (count != 1)
        return ks_fail(KS_ECORRUPT, "part %s: no metric data in it", ks_part_path(d->part));
    d->dir.pages = ks_part_section_pages(d->part, KSI_SECTION_DIR, &d->dir.count);
    d->values.pages = ks_part_section_pages(d->part, KSI_SECTION_CHUNKS, &d->values.count);
    d->times.pages = ks_part_section_pages(d->part, KSI_SECTION_TIMES, &d->times.count);
    if (d->dir.count >= KSI_INLINE)
        return corrupt(d, "too many directory pages");
    KS_TRY(ks_part_read(d->part, refs[0], &page));
    ks_err err = decode_index(d, page.raw);
    ks_page_release(&page);
    return err;
}

ks_err ks_mdata_open(struct ks_part *p, struct ks_mdata **ret)
{
    struct ks_mdata *d = ks_zalloc(sizeof *d);
    if (!d)
        return KS_ENOMEM;
    d->part = p;
    d->owner = ks_cache_owner_new();
    ks_err err = load(d);
    if (err != KS_OK) {
        ks_mdata_close(d);
        return err;
    }
    *ret = d;
    return KS_OK;
}

void ks_mdata_close(struct ks_mdata *d)
{
    if (!d)
        return;
    ks_free(d->groups);
    ks_free(d);
}

uint32_t ks_mdata_series_count(const struct ks_mdata *d)
{
    return d->series_count;
}

uint64_t ks_mdata_sample_count(const struct ks_mdata *d)
{
    return d->sample_count;
}

uint64_t ks_mdata_chunk_count(const struct ks_mdata *d)
{
    return d->chunk_count;
}

void ks_mdata_time_range(const struct ks_mdata *d, int64_t *ret_min_ms, int64_t *ret_max_ms)
{
    *ret_min_ms = d->min_ms;
    *ret_max_ms = d->max_ms;
}

/* --- the directory --- */

/* The last page that begins at or before ord; false when there is none. */
static bool group_of(const struct ks_mdata *d, uint32_t ord, uint32_t *ret)
{
    size_t lo = 0, hi = d->dir.count;
    /* Pages are full but for few, so the guess is nearly always right. */
    size_t guess = ord / KSI_MDIR_SERIES_MAX;
    if (guess < hi && d->groups[guess].first_ord <= ord) {
        if (guess + 1 == hi || d->groups[guess + 1].first_ord > ord) {
            *ret = (uint32_t)guess;
            return true;
        }
        lo = guess + 1;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->groups[mid].first_ord <= ord)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = (uint32_t)lo - 1;
    return lo != 0;
}

static ks_err in_page(const struct ks_mdata *d, const char *section, size_t page, ks_err err)
{
    return err == KS_ECORRUPT ? ks_fail_context(err, "part %s: section %s: page %zu",
                                                ks_part_path(d->part), section, page)
                              : err;
}

struct ks_mdata_cursor {
    struct ks_mdata *d;
    struct ks_page page; /* pinned while group is set */
    uint32_t group;
    struct ksi_mdir dir;
    struct ksi_mdir_walk walk;
};

enum { NO_GROUP = UINT32_MAX };

static void cursor_leave(struct ks_mdata_cursor *c)
{
    ks_page_release(&c->page);
    c->group = NO_GROUP;
}

static ks_err cursor_enter(struct ks_mdata_cursor *c, uint32_t group)
{
    cursor_leave(c);
    KS_TRY(ks_part_read(c->d->part, c->d->dir.pages[group], &c->page));
    ks_err err = ksi_mdir_parse(c->page.raw, &c->dir);
    if (err != KS_OK) {
        ks_page_release(&c->page);
        return in_page(c->d, KSI_SECTION_DIR, group, err);
    }
    ksi_mdir_walk_init(&c->walk, &c->dir);
    c->group = group;
    return KS_OK;
}

ks_err ks_mdata_cursor_chunks(struct ks_mdata_cursor *c, uint32_t ord, int64_t min_ms,
                              int64_t max_ms, struct ks_chunk_ref **refs, size_t *count,
                              size_t *cap)
{
    const struct ks_mdata *d = c->d;
    uint32_t g;
    if (!group_of(d, ord, &g) || d->groups[g].min_ms > max_ms || d->groups[g].max_ms < min_ms)
        return KS_OK;
    if (c->group != g)
        KS_TRY(cursor_enter(c, g));
    size_t before = *count;
    ks_err err = ksi_mdir_chunks(&c->walk, g, ord, min_ms, max_ms, refs, count, cap);
    if (err != KS_OK)
        *count = before;
    return in_page(d, KSI_SECTION_DIR, g, err);
}

ks_err ks_mdata_cursor_new(struct ks_mdata *d, struct ks_mdata_cursor **ret)
{
    struct ks_mdata_cursor *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->d = d;
    c->group = NO_GROUP;
    *ret = c;
    return KS_OK;
}

void ks_mdata_cursor_free(struct ks_mdata_cursor *c)
{
    if (!c)
        return;
    cursor_leave(c);
    ks_free(c);
}

ks_err ks_mdata_chunks(struct ks_mdata *d, uint32_t ord, int64_t min_ms, int64_t max_ms,
                       struct ks_chunk_ref **refs, size_t *count, size_t *cap)
{
    struct ks_mdata_cursor c;
    c.d = d;
    c.page = (struct ks_page){0};
    c.group = NO_GROUP;
    ks_err err = ks_mdata_cursor_chunks(&c, ord, min_ms, max_ms, refs, count, cap);
    ks_page_release(&c.page);
    return err;
}

/* --- payloads --- */

static ks_err page_of(const struct ks_mdata *d, const struct section *s, uint32_t frame,
                      struct ks_page_ref *ret)
{
    if (frame & KSI_INLINE) {
        frame &= ~KSI_INLINE;
        s = &d->dir;
    }
    if (frame >= s->count)
        return ks_fail(KS_ECORRUPT, "part %s: a chunk refers to frame %u of %zu",
                       ks_part_path(d->part), frame, s->count);
    *ret = s->pages[frame];
    return KS_OK;
}

static ks_err payload(struct ks_mdata *d, const struct section *s, uint32_t frame, uint32_t offset,
                      uint32_t bytes, struct ks_page *ret_page, struct ks_slice *ret)
{
    struct ks_page_ref ref;
    KS_TRY(page_of(d, s, frame, &ref));
    if (offset > ref.raw_bytes || bytes > ref.raw_bytes - offset)
        return ks_fail(KS_ECORRUPT, "part %s: a chunk of %u bytes does not fit its frame",
                       ks_part_path(d->part), bytes);
    KS_TRY(ks_part_read(d->part, ref, ret_page));
    *ret = ks_slice_sub(ret_page->raw, offset, bytes);
    return KS_OK;
}

ks_err ks_mdata_raw(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                    struct ks_page *ret_times_page, struct ks_slice *ret_times,
                    struct ks_page *ret_values_page, struct ks_slice *ret_values)
{
    struct ks_page times;
    KS_TRY(payload(d, &d->times, ref->times_frame, ref->times_offset, ref->times_bytes, &times,
                   ret_times));
    ks_err err = payload(d, &d->values, ref->values_frame, ref->values_offset, ref->values_bytes,
                         ret_values_page, ret_values);
    if (err != KS_OK) {
        ks_page_release(&times);
        return err;
    }
    *ret_times_page = times;
    return KS_OK;
}

static ks_err in_chunk(const struct ks_mdata *d, const char *section, uint32_t frame,
                       uint32_t offset, ks_err err)
{
    if (err != KS_ECORRUPT)
        return err;
    return ks_fail_context(err, "part %s: section %s: page %u offset %u", ks_part_path(d->part),
                           frame & KSI_INLINE ? KSI_SECTION_DIR : section, frame & ~KSI_INLINE,
                           offset);
}

static ks_err decode_times(struct ks_mdata *d, const struct ks_chunk_ref *ref, int64_t *ret)
{
    struct ks_page page;
    struct ks_slice bytes;
    KS_TRY(payload(d, &d->times, ref->times_frame, ref->times_offset, ref->times_bytes, &page,
                   &bytes));
    ks_err err = ks_times_decode(bytes, ref->meta.times_encoding, ref->meta.sample_count, ret);
    ks_page_release(&page);
    return in_chunk(d, KSI_SECTION_TIMES, ref->times_frame, ref->times_offset, err);
}

static bool memo_hit(const struct ks_mdata *d, const struct ks_chunk_ref *ref,
                     const struct ks_times_memo *m)
{
    return m->owner == d->owner && m->offset == ref->times_offset && m->frame == ref->times_frame &&
           m->count == ref->meta.sample_count;
}

static ks_err times_by_memo(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                            struct ks_times_memo *m, int64_t *ret)
{
    if (!memo_hit(d, ref, m)) {
        if (!m->times && !(m->times = ks_alloc_array(KS_CHUNK_SAMPLES_MAX, sizeof *m->times)))
            return KS_ENOMEM;
        m->owner = 0; /* a failed decode leaves garbage */
        KS_TRY(decode_times(d, ref, m->times));
        m->owner = d->owner;
        m->frame = ref->times_frame;
        m->offset = ref->times_offset;
        m->count = ref->meta.sample_count;
    }
    memcpy(ret, m->times, ref->meta.sample_count * sizeof *ret);
    return KS_OK;
}

/* Pinned frames by a hash; page released: none. Few reads do without. */
enum { PINS = 256 /* × 16 KiB */, PINS_PAY = 64 };
struct ksi_pins {
    uint32_t reads, count, turn;
    struct ksi_pin {
        uint64_t owner;
        uint32_t frame;
        struct ks_page page;
    } v[];
};

static ks_err pins_ready(struct ks_times_memo *m)
{
    if (m->pins && (m->pins->count || ++m->pins->reads < PINS_PAY))
        return KS_OK;
    uint32_t count = m->pins ? PINS : 0;
    struct ksi_pins *p = ks_zalloc(sizeof *p + count * sizeof *p->v);
    if (!p)
        return KS_ENOMEM;
    p->count = count;
    ks_free(m->pins);
    m->pins = p;
    return KS_OK;
}

/* Either of two places; the other is taken next. */
static struct ksi_pin *pin_set(const struct ks_mdata *d, uint32_t frame, struct ksi_pins *p)
{
    return &p->v[ks_mix64(frame ^ d->owner << 32) % (PINS / 2) * 2];
}

static const struct ksi_pin *find_pin(const struct ks_mdata *d, uint32_t frame,
                                      const struct ks_times_memo *m)
{
    if (!m || !m->pins || !m->pins->count)
        return NULL;
    const struct ksi_pin *p = pin_set(d, frame, m->pins);
    for (int i = 0; i < 2; i++)
        if (p[i].page.pin && p[i].owner == d->owner && p[i].frame == frame)
            return &p[i];
    return NULL;
}

static struct ksi_pin *pin_for(const struct ks_mdata *d, uint32_t frame, struct ksi_pins *pins)
{
    struct ksi_pin *p = pin_set(d, frame, pins);
    if (!p->page.pin)
        return p;
    return &p[p[1].page.pin ? pins->turn++ & 1 : 1];
}

static ks_err values_in(const struct ks_mdata *d, const struct ks_chunk_ref *ref,
                        const struct ks_page *page, struct ks_slice *ret)
{
    uint32_t offset = ref->values_offset, bytes = ref->values_bytes;
    if (offset > page->raw.len || bytes > page->raw.len - offset)
        return ks_fail(KS_ECORRUPT, "part %s: a chunk of %u bytes does not fit its frame",
                       ks_part_path(d->part), bytes);
    *ret = ks_slice_sub(page->raw, offset, bytes);
    return KS_OK;
}

/* The bytes of the chunk's values, in a page that the memo pins; without pins in *ret_page. */
static ks_err values_by_memo(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                             struct ks_times_memo *m, struct ks_page *ret_page,
                             struct ks_slice *ret)
{
    KS_TRY(pins_ready(m));
    const struct ksi_pin *hit = find_pin(d, ref->values_frame, m);
    if (hit)
        return values_in(d, ref, &hit->page, ret);
    struct ksi_pin *p = m->pins->count ? pin_for(d, ref->values_frame, m->pins) : NULL;
    struct ks_page page;
    KS_TRY(payload(d, &d->values, ref->values_frame, ref->values_offset, ref->values_bytes, &page,
                   ret));
    if (!p) {
        *ret_page = page;
        return KS_OK;
    }
    ks_page_release(&p->page);
    *p = (struct ksi_pin){d->owner, ref->values_frame, page};
    return KS_OK;
}

struct ks_times_key ks_mdata_times_key(const struct ks_mdata *d, const struct ks_chunk_ref *ref)
{
    return (struct ks_times_key){d->owner, ref->times_frame, ref->times_offset,
                                 ref->meta.sample_count};
}

ks_err ks_mdata_decode_times(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                             struct ks_times_memo *memo, int64_t *ret)
{
    return memo ? times_by_memo(d, ref, memo, ret) : decode_times(d, ref, ret);
}

ks_err ks_mdata_decode(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                       struct ks_times_memo *memo, int64_t *ret_times, double *ret_values)
{
    KS_TRY(ks_mdata_decode_times(d, ref, memo, ret_times));
    return ks_mdata_decode_values(d, ref, memo, ret_values);
}

ks_err ks_mdata_decode_values(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                              struct ks_times_memo *memo, double *ret_values)
{
    struct ks_page page = {0};
    struct ks_slice bytes;
    if (ref->meta.kind != KS_CHUNK_F64)
        return ks_fail(KS_EINVAL, "a chunk of histograms holds no numbers");
    const struct ks_chunk_agg *a = &ref->meta.agg;
    if (ks_values_all_equal(ref->meta.values_encoding) && a->count == ref->meta.sample_count) {
        ks_values_fill(a->first, a->count, ret_values); /* the directory says it all */
        return KS_OK;
    }
    KS_TRY(memo ? values_by_memo(d, ref, memo, &page, &bytes)
                : payload(d, &d->values, ref->values_frame, ref->values_offset, ref->values_bytes,
                          &page, &bytes));
    ks_err err =
        ks_values_decode(bytes, ref->meta.values_encoding, ref->meta.sample_count, ret_values);
    ks_page_release(&page);
    return in_chunk(d, KSI_SECTION_CHUNKS, ref->values_frame, ref->values_offset, err);
}

ks_err ks_mdata_decode_histograms(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                  struct ks_times_memo *memo, struct ks_arena *arena,
                                  int64_t *ret_times, struct ks_histogram *ret)
{
    struct ks_page page;
    struct ks_slice bytes;
    if (ref->meta.kind != KS_CHUNK_HISTOGRAM || ref->meta.sample_count > KS_HISTOGRAM_CHUNK_MAX)
        return in_chunk(d, KSI_SECTION_CHUNKS, ref->values_frame, ref->values_offset,
                        ks_fail(KS_ECORRUPT, "not a chunk of histograms"));
    KS_TRY(memo ? times_by_memo(d, ref, memo, ret_times) : decode_times(d, ref, ret_times));
    KS_TRY(payload(d, &d->values, ref->values_frame, ref->values_offset, ref->values_bytes, &page,
                   &bytes));
    ks_err err = ks_histograms_decode(bytes, ref->meta.sample_count, arena, ret);
    ks_page_release(&page);
    return in_chunk(d, KSI_SECTION_CHUNKS, ref->values_frame, ref->values_offset, err);
}

void ks_times_memo_done(struct ks_times_memo *m)
{
    ks_free(m->times);
    for (uint32_t i = 0; m->pins && i < m->pins->count; i++)
        ks_page_release(&m->pins->v[i].page);
    ks_free(m->pins);
    *m = (struct ks_times_memo){0};
}

/* --- prefetch --- */

/* The directory alone tells all values. */
static bool needs_no_page(const struct ks_chunk_ref *ref)
{
    return ref->values_frame & KSI_INLINE || (ks_values_all_equal(ref->meta.values_encoding) &&
                                              ref->meta.agg.count == ref->meta.sample_count);
}

ks_err ks_mdata_pages(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                      struct ks_part_page ret[2], size_t *ret_count)
{
    size_t n = 0;
    if (!(ref->times_frame & KSI_INLINE)) {
        KS_TRY(page_of(d, &d->times, ref->times_frame, &ret[n].ref));
        ret[n++].part = d->part;
    }
    if (!needs_no_page(ref)) {
        KS_TRY(page_of(d, &d->values, ref->values_frame, &ret[n].ref));
        ret[n++].part = d->part;
    }
    *ret_count = n;
    return KS_OK;
}

bool ks_mdata_at_hand(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                      const struct ks_times_memo *memo)
{
    struct ks_page_ref page;
    if (needs_no_page(ref) || find_pin(d, ref->values_frame, memo))
        return true;
    return page_of(d, &d->values, ref->values_frame, &page) != KS_OK ||
           ks_part_at_hand(d->part, page);
}
