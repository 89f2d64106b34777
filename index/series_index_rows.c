/* From a row to its labels, one by one and in sequence. */
#include <string.h>

#include "base/mem.h"
#include "index/series_index_priv.h"

/* --- row → base --------------------------------------------------------------------------------
 */

void ksi_row_walk_init(struct ksi_row_walk *w, struct ks_sindex *x)
{
    w->x = x;
    w->page = (struct ks_page){0};
    w->page_no = w->group = KSI_NONE;
}

void ksi_row_walk_done(struct ksi_row_walk *w)
{
    if (w->page_no != KSI_NONE)
        ks_page_release(&w->page);
    w->page_no = w->group = KSI_NONE;
}

/*
 * Differences of one byte each, eight at a time while there are such: neighbours of one metric are
 * mostly the next targets. Returns how many of the n were decoded; *base runs on from the one
 * before.
 */
static uint32_t decode_small(struct ks_reader *r, uint32_t n, uint64_t *base, uint32_t *ids)
{
    uint32_t i = 0;
    for (; i + 8 <= n && ks_reader_left(r) >= 8; i += 8) {
        uint64_t eight = ks_le64(r->p);
        if (eight & 0x8080808080808080u)
            break;
        for (int k = 0; k < 8; k++) {
            uint64_t byte = eight >> 8 * k & 0xff;
            *base += (uint64_t)ks_unzigzag(byte);
            ids[i + (uint32_t)k] = (uint32_t)*base;
        }
        r->p += 8;
    }
    return i;
}

/* Whether they are all of them bases. Notes the zone. */
static bool check_group(const struct ks_sindex *x, uint32_t group, const uint32_t *ids, uint32_t n)
{
    uint32_t min = ids[0], max = ids[0];
    for (uint32_t i = 1; i < n; i++) {
        min = ids[i] < min ? ids[i] : min;
        max = ids[i] > max ? ids[i] : max;
    }
    if (max >= x->base_count)
        return false;
    atomic_store_explicit(&x->zones[group], (max + 1ull) << 32 | min, memory_order_relaxed);
    return true;
}

bool ksi_row_zone(const struct ks_sindex *x, uint32_t row, uint32_t *ret_min, uint32_t *ret_max)
{
    uint64_t zone = atomic_load_explicit(&x->zones[row / KSI_ROW_GROUP], memory_order_relaxed);
    *ret_min = (uint32_t)zone;
    *ret_max = (uint32_t)(zone >> 32) - 1;
    return zone != 0;
}

static ks_err decode_group(struct ksi_row_walk *w, uint32_t group)
{
    const struct ks_sindex *x = w->x;
    struct ks_slice raw = w->page.raw;
    uint32_t page_row = w->page_no * KSI_ROW_PAGE, left = x->row_count - page_row;
    uint32_t rows = left < KSI_ROW_PAGE ? left : KSI_ROW_PAGE;
    size_t heads = 2ull * ((rows + KSI_ROW_GROUP - 1) / KSI_ROW_GROUP);
    w->group = KSI_NONE;
    if (raw.len < heads)
        return ksi_sindex_corrupt(x, "page of rows is too short");
    size_t at = heads + ks_le16(raw.ptr + 2ull * group);
    if (at > raw.len)
        return ksi_sindex_corrupt(x, "group of rows lies outside its page");
    struct ks_reader r = ks_reader(ks_slice_from(raw, at));
    uint32_t n = rows - group * KSI_ROW_GROUP;
    n = n < KSI_ROW_GROUP ? n : KSI_ROW_GROUP;
    uint64_t base = ks_read_varint(&r);
    uint64_t worst = base;
    w->ids[0] = (uint32_t)base;
    for (uint32_t i = 1; i < n; i++) {
        i += decode_small(&r, n - i, &base, w->ids + i);
        if (i == n)
            break;
        base += (uint64_t)ks_read_zigzag(&r);
        w->ids[i] = (uint32_t)base;
        worst |= base;
    }
    group += page_row / KSI_ROW_GROUP;
    if (r.bad || worst > UINT32_MAX || !check_group(x, group, w->ids, n))
        return ksi_sindex_corrupt(x, "row without a label set");
    w->group = group;
    return KS_OK;
}

ks_err ksi_row_walk_to(struct ksi_row_walk *w, uint32_t row)
{
    if (w->group == row / KSI_ROW_GROUP)
        return KS_OK;
    uint32_t page_no = row / KSI_ROW_PAGE;
    if (w->page_no != page_no) {
        ksi_row_walk_done(w);
        KS_TRY(ks_part_read(w->x->part, w->x->row_pages[page_no], &w->page));
        w->page_no = page_no;
    }
    return decode_group(w, row % KSI_ROW_PAGE / KSI_ROW_GROUP);
}

uint32_t ksi_sindex_run_of(const struct ks_sindex *x, uint32_t row)
{
    uint32_t lo = 0, hi = x->run_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (x->run_rows[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

uint32_t ksi_sindex_tenant_of(const struct ks_sindex *x, uint32_t row)
{
    uint32_t lo = 0, hi = x->tenant_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (x->tenants[mid].first_row <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

uint32_t ksi_sindex_find_tenant(const struct ks_sindex *x, struct ks_tenant tenant)
{
    uint32_t lo = 0, hi = x->tenant_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (ks_tenant_eq(x->tenants[mid].tenant, tenant))
            return mid;
        if (ks_tenant_key(x->tenants[mid].tenant) < ks_tenant_key(tenant))
            lo = mid + 1;
        else
            hi = mid;
    }
    return KSI_NONE;
}

/* --- base → labels -----------------------------------------------------------------------------
 */

/* The last value page used, so that neighbours need not look it up. */
struct value_memo {
    struct ksi_vpage *page;
    uint32_t page_no;
};

static void value_memo_done(struct value_memo *m)
{
    ksi_vpage_put(m->page);
    m->page = NULL;
}

static ks_err put_label(struct ks_sindex *x, struct value_memo *m, uint32_t name, uint32_t number,
                        struct ks_buf *out)
{
    const struct ksi_sname *n = &x->names[name];
    if (number >= n->value_count)
        return ksi_sindex_corrupt(x, "row with an unknown value");
    uint32_t rank = n->first_rank + number, page = ksi_vpage_of_rank(x, rank);
    if (!m->page || m->page_no != page) {
        value_memo_done(m);
        KS_TRY(ksi_vpage_get(x, page, &m->page));
        m->page_no = page;
    }
    uint32_t i = rank - x->value_pages[page].first_rank;
    ks_buf_lp(out, n->text);
    ks_buf_lp(out, ks_slice(m->page->text + m->page->text_at[i],
                            m->page->text_at[i + 1] - m->page->text_at[i]));
    return KS_OK;
}

static uint64_t load_bits(const char *data, uint64_t bit, unsigned width)
{
    return ks_le64(data + bit / 8) >> (bit % 8) & ((1ull << width) - 1);
}

/*
 * Appends a base's labels. *ret_split: where the metric name belongs, relative to the first byte
 * appended.
 */
static ks_err put_base(struct ks_sindex *x, struct ks_slice raw, uint32_t slot,
                       struct value_memo *memo, struct ks_buf *out, size_t *ret_split)
{
    struct ks_reader r = ks_reader(raw);
    uint64_t count = ks_read_varint(&r), columns = ks_read_varint(&r), width_sum = 0;
    if (r.bad || slot >= count || count > KSI_BASE_PAGE || columns > x->name_count)
        return ksi_sindex_corrupt(x, "page of label sets is malformed");
    struct ks_reader heads = r;
    for (uint64_t i = 0; i < columns; i++) {
        ks_read_varint(&r);
        ks_read_varint(&r);
        unsigned width = ks_read_u8(&r);
        width_sum += (width * count + 7) / 8;
        if (width > 32)
            ks_reader_fail(&r);
    }
    if (r.bad || ks_reader_left(&r) != width_sum + KSI_BASE_PAD)
        return ksi_sindex_corrupt(x, "columns of label sets do not fit their page");
    const char *data = (const char *)r.p;
    size_t start = out->len;
    *ret_split = SIZE_MAX;
    uint64_t name = 0;
    for (uint64_t i = 0; i < columns; i++) {
        uint64_t gap = ks_read_varint(&heads);
        name += gap + (i > 0);
        uint64_t code = ks_read_varint(&heads);
        unsigned width = ks_read_u8(&heads);
        if (gap >= x->name_count || name >= x->name_count || name == x->metric_name)
            return ksi_sindex_corrupt(x, "label set with an unknown name");
        if (width)
            code += load_bits(data, slot * width, width);
        data += (width * count + 7) / 8;
        if (*ret_split == SIZE_MAX && x->metric_name != KSI_NONE && name > x->metric_name)
            *ret_split = out->len - start;
        if (code > UINT32_MAX)
            return ksi_sindex_corrupt(x, "label set with an unknown value");
        if (code)
            KS_TRY(put_label(x, memo, (uint32_t)name, (uint32_t)code - 1, out));
    }
    if (*ret_split == SIZE_MAX)
        *ret_split = out->len - start;
    return ks_buf_status(out);
}

/* Puts the metric name of a run into labels appended from `start` on. */
static ks_err insert_metric(struct ks_sindex *x, struct value_memo *memo, uint32_t run,
                            struct ks_buf *scratch, struct ks_buf *out, size_t at)
{
    ks_buf_reset(scratch);
    if (!x->run_names[run])
        return KS_OK;
    KS_TRY(put_label(x, memo, x->metric_name, x->run_names[run] - 1, scratch));
    KS_TRY(ks_buf_status(scratch));
    if (!ks_buf_reserve(out, scratch->len))
        return ks_buf_status(out);
    memmove(out->ptr + at + scratch->len, out->ptr + at, out->len - at);
    memcpy(out->ptr + at, scratch->ptr, scratch->len);
    out->len += scratch->len;
    return KS_OK;
}

ks_err ks_sindex_series(struct ks_sindex *x, uint32_t ord, struct ks_buf *labels,
                        struct ks_tenant *ret_tenant)
{
    if (ord >= x->row_count)
        return ks_fail(KS_ENOTFOUND, "%s: no series %u", ks_part_path(x->part), ord);
    struct ksi_row_walk w;
    ksi_row_walk_init(&w, x);
    ks_err err = ksi_row_walk_to(&w, ord);
    uint32_t base = err == KS_OK ? w.ids[ord % KSI_ROW_GROUP] : 0;
    ksi_row_walk_done(&w);
    KS_TRY(err);
    struct ks_page page;
    KS_TRY(ks_part_read(x->part, x->base_pages[base / KSI_BASE_PAGE], &page));
    struct value_memo memo = {0};
    struct ks_buf scratch;
    ks_buf_init(&scratch, KS_BUF_UNLIMITED);
    size_t start = labels->len, split = 0;
    err = put_base(x, page.raw, base % KSI_BASE_PAGE, &memo, labels, &split);
    if (err == KS_OK)
        err = insert_metric(x, &memo, ksi_sindex_run_of(x, ord), &scratch, labels, start + split);
    ks_page_release(&page);
    value_memo_done(&memo);
    ks_buf_done(&scratch);
    if (err != KS_OK) {
        if (labels->err == KS_OK)
            labels->len = start;
        return err;
    }
    *ret_tenant = x->tenants[ksi_sindex_tenant_of(x, ord)].tenant;
    return KS_OK;
}

/* --- cursor ------------------------------------------------------------------------------------
 */

/* Label sets met before are kept up to this, when rows come back to them often enough. */
enum { CURSOR_MEMO_BYTES = 32 << 20 };

struct known_base {
    uint32_t at, len, split; /* len 0: not known (or empty, which is cheap to find again) */
};
struct ks_sindex_cursor {
    struct ks_sindex *x;
    uint32_t row, run, tenant;
    struct ksi_row_walk walk;
    struct ks_page base_page;
    uint32_t base_page_no;
    struct value_memo memo, metric_memo;
    struct ks_buf labels, scratch, known_bytes;
    struct known_base *known; /* by base; NULL when not worth it */
};

ks_err ks_sindex_cursor_new(struct ks_sindex *x, struct ks_sindex_cursor **ret)
{
    struct ks_sindex_cursor *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->x = x;
    c->base_page_no = KSI_NONE;
    ksi_row_walk_init(&c->walk, x);
    ks_buf_init(&c->labels, KS_BUF_UNLIMITED);
    ks_buf_init(&c->scratch, KS_BUF_UNLIMITED);
    ks_buf_init(&c->known_bytes, CURSOR_MEMO_BYTES);
    if (x->row_count / 4 >= x->base_count) {
        c->known = ks_zalloc_array(x->base_count + 1u, sizeof *c->known);
        if (!c->known) {
            ks_sindex_cursor_free(c);
            return KS_ENOMEM;
        }
    }
    *ret = c;
    return KS_OK;
}

void ks_sindex_cursor_free(struct ks_sindex_cursor *c)
{
    if (!c)
        return;
    ksi_row_walk_done(&c->walk);
    if (c->base_page_no != KSI_NONE)
        ks_page_release(&c->base_page);
    value_memo_done(&c->memo);
    value_memo_done(&c->metric_memo);
    ks_buf_done(&c->labels);
    ks_buf_done(&c->scratch);
    ks_buf_done(&c->known_bytes);
    ks_free(c->known);
    ks_free(c);
}

static ks_err cursor_base(struct ks_sindex_cursor *c, uint32_t base, size_t *ret_split)
{
    struct known_base *k = c->known ? &c->known[base] : NULL;
    if (k && k->len) {
        ks_buf_add(&c->labels, c->known_bytes.ptr + k->at, k->len);
        *ret_split = k->split;
        return ks_buf_status(&c->labels);
    }
    uint32_t page_no = base / KSI_BASE_PAGE;
    if (c->base_page_no != page_no) {
        if (c->base_page_no != KSI_NONE)
            ks_page_release(&c->base_page);
        c->base_page_no = KSI_NONE;
        KS_TRY(ks_part_read(c->x->part, c->x->base_pages[page_no], &c->base_page));
        c->base_page_no = page_no;
    }
    KS_TRY(put_base(c->x, c->base_page.raw, base % KSI_BASE_PAGE, &c->memo, &c->labels, ret_split));
    size_t at = c->known_bytes.len, len = c->labels.len;
    if (k && CURSOR_MEMO_BYTES - at >= len) {
        ks_buf_slice(&c->known_bytes, ks_buf_view(&c->labels));
        if (ks_buf_status(&c->known_bytes) == KS_OK)
            *k = (struct known_base){(uint32_t)at, (uint32_t)len, (uint32_t)*ret_split};
    }
    return KS_OK;
}

void ks_sindex_cursor_seek(struct ks_sindex_cursor *c, uint32_t row)
{
    c->row = row;
    if (row >= c->x->row_count)
        return;
    c->run = ksi_sindex_run_of(c->x, row);
    c->tenant = ksi_sindex_tenant_of(c->x, row);
}

ks_err ks_sindex_cursor_next(struct ks_sindex_cursor *c, bool *ret_more,
                             struct ks_tenant *ret_tenant, struct ks_slice *ret_labels)
{
    struct ks_sindex *x = c->x;
    if (c->row == x->row_count) {
        *ret_more = false;
        return KS_OK;
    }
    while (x->run_rows[c->run + 1] <= c->row)
        c->run++;
    while (x->tenants[c->tenant + 1].first_row <= c->row)
        c->tenant++;
    KS_TRY(ksi_row_walk_to(&c->walk, c->row));
    size_t split = 0;
    ks_buf_reset(&c->labels);
    KS_TRY(cursor_base(c, c->walk.ids[c->row % KSI_ROW_GROUP], &split));
    KS_TRY(insert_metric(x, &c->metric_memo, c->run, &c->scratch, &c->labels, split));
    c->row++;
    *ret_more = true;
    *ret_tenant = x->tenants[c->tenant].tenant;
    *ret_labels = ks_buf_view(&c->labels);
    return KS_OK;
}
