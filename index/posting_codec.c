#include "index/posting_codec.h"

#include <stdlib.h>

#include "base/mem.h"

enum { FORM_IDS = 0, FORM_RUNS = 1 };

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

struct encoder {
    struct ks_buf *ids, *runs;
    uint64_t next; /* one past the last id seen */
    uint64_t run_from, run_to;
    bool open;
    uint64_t runs_end;
};

static void close_run(struct encoder *e)
{
    if (!e->open)
        return;
    ks_buf_varint(e->runs, e->run_from - e->runs_end);
    ks_buf_varint(e->runs, e->run_to - e->run_from - 1);
    e->runs_end = e->run_to + 1; /* the next run cannot touch this one */
    e->open = false;
}

static bool encode_id(uint32_t id, void *arg)
{
    struct encoder *e = arg;
    ks_buf_varint(e->ids, id - e->next);
    if (!e->open || id != e->run_to) {
        close_run(e);
        e->run_from = id;
        e->open = true;
    }
    e->run_to = e->next = id + 1ull;
    return true;
}

ks_err ksi_posting_encode(const struct ksi_postings *p, struct ks_buf *scratch, struct ks_buf *out)
{
    size_t start = out->len;
    ks_buf_reset(scratch);
    ks_buf_byte(out, FORM_IDS);
    ks_buf_byte(scratch, FORM_RUNS);
    struct encoder e = {.ids = out, .runs = scratch};
    if (ksi_postings_is_bitmap(p)) {
        roaring_iterate(p->bitmap, encode_id, &e);
    } else {
        uint32_t ids[KSI_POSTINGS_ARRAY_MAX];
        memcpy(ids, ksi_postings_sids(p), p->count * sizeof *ids);
        qsort(ids, p->count, sizeof *ids, cmp_u32);
        for (uint32_t i = 0; i < p->count; i++)
            encode_id(ids[i], &e);
    }
    close_run(&e);
    KS_TRY(ks_buf_status(out));
    KS_TRY(ks_buf_status(scratch));
    if (scratch->len < out->len - start) {
        out->len = start;
        ks_buf_slice(out, ks_buf_view(scratch));
    }
    return ks_buf_status(out);
}

static ks_err damaged(void)
{
    return ks_fail(KS_ECORRUPT, "series index: postings are malformed");
}

ks_err ksi_posting_decode(struct ks_slice bytes, uint32_t count, uint32_t limit, ksi_run_fn fn,
                          void *arg)
{
    struct ks_reader r = ks_reader(bytes);
    uint8_t form = ks_read_u8(&r);
    uint64_t next = 0, seen = 0;
    if (r.bad || form > FORM_RUNS)
        return damaged();
    while (seen < count) {
        uint64_t gap = ks_read_varint(&r);
        uint64_t more = form == FORM_RUNS ? ks_read_varint(&r) : 0;
        if (r.bad || next > limit || gap >= limit - next || more >= limit - next - gap ||
            more >= count - seen)
            return damaged();
        uint64_t from = next + gap, to = from + more + 1;
        fn(arg, (uint32_t)from, (uint32_t)to);
        seen += to - from;
        next = to + (form == FORM_RUNS);
    }
    return ks_reader_left(&r) ? damaged() : KS_OK;
}

void ksi_bitmap_sink_flush(struct ksi_bitmap_sink *s)
{
    roaring_bitmap_add_many(s->bm, s->count, s->ids);
    s->count = 0;
}

void ksi_bitmap_sink_run(void *sink, uint32_t from, uint32_t to)
{
    struct ksi_bitmap_sink *s = sink;
    if (to - from > 8) {
        roaring_bitmap_add_range(s->bm, from, to);
        return;
    }
    for (uint32_t i = from; i < to; i++) {
        s->ids[s->count++] = i;
        if (s->count == sizeof s->ids / sizeof *s->ids)
            ksi_bitmap_sink_flush(s);
    }
}
