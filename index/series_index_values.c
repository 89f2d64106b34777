/* The dictionary of a part: values sorted per name, in front-coded pages that are unpacked once and
 * kept up to a budget. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/series_index_priv.h"

/* --- postings ----------------------------------------------------------------------------------
 */

ks_err ksi_post_read_ref(struct ks_reader *r, const struct ks_sindex *x, struct ksi_post_ref *ret)
{
    *ret = (struct ksi_post_ref){0};
    uint64_t count = ks_read_varint(r);
    bool ok = count <= x->base_count;
    ret->count = (uint32_t)count;
    if (ok && count == 1) {
        uint64_t id = ks_read_varint(r);
        ok = id < x->base_count;
        ret->single = (uint32_t)id;
    } else if (ok && count > 1) {
        uint64_t head = ks_read_varint(r);
        ret->len = head >> 1;
        ok = ret->len <= 1 + 10 * count; /* two varints of 32 bits per id at worst */
        if (head & 1) {
            ret->offset = ks_read_varint(r);
            ok = ok && ret->len <= x->post_bytes && ret->offset <= x->post_bytes - ret->len;
        } else {
            ret->inl = ks_read_bytes(r, ret->len);
        }
    }
    return ok && !r->bad ? KS_OK : ksi_sindex_corrupt(x, "reference to postings is malformed");
}

/* Copies bytes of the stream, which may cross pages. */
static ks_err read_stream(struct ks_sindex *x, uint64_t offset, char *out, size_t len)
{
    while (len) {
        struct ks_page page;
        size_t at = offset % KSI_POST_PAGE;
        KS_TRY(ks_part_read(x->part, x->post_pages[offset / KSI_POST_PAGE], &page));
        size_t n = page.raw.len > at ? page.raw.len - at : 0;
        n = n < len ? n : len;
        if (n)
            memcpy(out, page.raw.ptr + at, n);
        ks_page_release(&page);
        if (!n)
            return ksi_sindex_corrupt(x, "postings end early");
        out += n;
        offset += n;
        len -= n;
    }
    return KS_OK;
}

ks_err ksi_post_each(struct ks_sindex *x, const struct ksi_post_ref *ref, ksi_run_fn fn, void *arg)
{
    if (ref->count == 1)
        fn(arg, ref->single, ref->single + 1);
    if (ref->count <= 1)
        return KS_OK;
    if (ref->inl.ptr)
        return ksi_posting_decode(ref->inl, ref->count, x->base_count, fn, arg);
    char *bytes = ks_alloc(ref->len + 1);
    if (!bytes)
        return KS_ENOMEM;
    ks_err err = read_stream(x, ref->offset, bytes, ref->len);
    if (err == KS_OK)
        err = ksi_posting_decode(ks_slice(bytes, ref->len), ref->count, x->base_count, fn, arg);
    ks_free(bytes);
    return err;
}

/* --- pages -------------------------------------------------------------------------------------
 */

uint32_t ksi_sindex_find_name(const struct ks_sindex *x, struct ks_slice name)
{
    uint32_t lo = 0, hi = x->name_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = ks_slice_cmp(x->names[mid].text, name);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return KSI_NONE;
}

uint32_t ksi_vpage_of_rank(const struct ks_sindex *x, uint32_t rank)
{
    uint32_t lo = 0, hi = x->value_page_count - 1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;
        if (x->value_pages[mid].first_rank <= rank)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* Reads the entries twice: with v->text NULL only to measure. Group offsets are not needed for a
 * whole page. */
static ks_err walk_page(const struct ks_sindex *x, struct ks_reader r, struct ksi_vpage *v,
                        size_t *ret_text, size_t *ret_posts)
{
    uint64_t text = 0, posts = 0, prev_len = 0, prev_at = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        uint64_t shared = ks_read_varint(&r);
        struct ks_slice rest = ks_read_lp(&r);
        struct ksi_post_ref ref;
        KS_TRY(ksi_post_read_ref(&r, x, &ref));
        if (r.bad || shared > prev_len || (i % KSI_GROUP == 0 && shared) || !(shared + rest.len) ||
            shared + rest.len > KSI_TEXT_MAX)
            return ksi_sindex_corrupt(x, "page of values is malformed");
        if (v->text) {
            char *to = v->text + text;
            v->text_at[i] = (uint32_t)text;
            memcpy(to, v->text + prev_at, shared);
            if (rest.len)
                memcpy(to + shared, rest.ptr, rest.len);
            if (ref.inl.ptr) {
                memcpy(v->posts + posts, ref.inl.ptr, ref.inl.len);
                ref.inl.ptr = v->posts + posts;
            }
            v->refs[i] = ref;
        }
        prev_at = text;
        prev_len = shared + rest.len;
        text += prev_len;
        posts += ref.inl.len;
        if (text > UINT32_MAX)
            return ksi_sindex_corrupt(x, "page of values is too large");
    }
    if (ks_reader_left(&r))
        return ksi_sindex_corrupt(x, "page of values has bytes to spare");
    if (v->text)
        v->text_at[v->count] = (uint32_t)text;
    *ret_text = text;
    *ret_posts = posts;
    return KS_OK;
}

/* The order within a name is what searches rely on. */
static bool is_sorted(const struct ks_sindex *x, uint32_t page, const struct ksi_vpage *v)
{
    uint32_t rank = x->value_pages[page].first_rank, name = 0, hi = x->name_count;
    while (name + 1 < hi) {
        uint32_t mid = name + (hi - name) / 2;
        if (x->names[mid].first_rank <= rank)
            name = mid;
        else
            hi = mid;
    }
    struct ks_slice prev = {NULL, 0};
    for (uint32_t i = 0; i < v->count; i++, rank++) {
        struct ks_slice s = ks_slice(v->text + v->text_at[i], v->text_at[i + 1] - v->text_at[i]);
        bool starts = rank == x->names[name].first_rank + x->names[name].value_count;
        name += starts;
        if (i && !starts && ks_slice_cmp(prev, s) >= 0)
            return false;
        prev = s;
    }
    struct ks_slice first = ks_slice(v->text, v->text_at[1]);
    return ks_slice_eq(first, x->value_pages[page].first);
}

static ks_err unpack(struct ks_sindex *x, uint32_t page, struct ks_slice raw,
                     struct ksi_vpage **ret)
{
    struct ks_reader r = ks_reader(raw);
    struct ksi_vpage probe = {.count = ks_read_u32(&r)};
    uint64_t groups = (probe.count + (uint64_t)KSI_GROUP - 1) / KSI_GROUP;
    ks_read_bytes(&r, groups * 4);
    if (r.bad || probe.count != x->value_pages[page].count)
        return ksi_sindex_corrupt(x, "page of values has a wrong count");
    size_t text, posts;
    KS_TRY(walk_page(x, r, &probe, &text, &posts));
    size_t refs = probe.count * sizeof(struct ksi_post_ref),
           ats = (probe.count + 1u) * sizeof(uint32_t);
    size_t bytes = sizeof probe + refs + ats + text + posts;
    struct ksi_vpage *v = ks_alloc(bytes + 1);
    if (!v)
        return KS_ENOMEM;
    *v = probe;
    v->bytes = bytes;
    v->refs = (struct ksi_post_ref *)(v + 1);
    v->text_at = (uint32_t *)((char *)v->refs + refs);
    v->text = (char *)v->text_at + ats;
    v->posts = v->text + text;
    ks_err err = walk_page(x, r, v, &text, &posts);
    if (err == KS_OK && !is_sorted(x, page, v))
        err = ksi_sindex_corrupt(x, "values are not in order");
    if (err != KS_OK) {
        ks_free(v);
        return err;
    }
    *ret = v;
    return KS_OK;
}

ks_err ksi_vpage_get(struct ks_sindex *x, uint32_t page, struct ksi_vpage **ret)
{
    /* Acquire pairs with the exchange below: who sees the pointer sees the page. */
    struct ksi_vpage *v = atomic_load_explicit(&x->vpages[page], memory_order_acquire),
                     *none = NULL;
    if (v) {
        *ret = v;
        return KS_OK;
    }
    struct ks_page raw;
    KS_TRY(ks_part_read(x->part, x->value_pages[page].ref, &raw));
    ks_err err = unpack(x, page, raw.raw, &v);
    ks_page_release(&raw);
    KS_TRY(err);
    size_t bytes = atomic_fetch_add_explicit(&x->vpage_bytes, v->bytes, memory_order_relaxed);
    v->kept = bytes + v->bytes <= KSI_VPAGE_BUDGET;
    if (!v->kept || !atomic_compare_exchange_strong_explicit(
                        &x->vpages[page], &none, v, memory_order_acq_rel, memory_order_acquire)) {
        atomic_fetch_sub_explicit(&x->vpage_bytes, v->bytes, memory_order_relaxed);
        if (v->kept) { /* another thread was first */
            ks_free(v);
            v = none;
        }
    }
    *ret = v;
    return KS_OK;
}

void ksi_vpage_put(struct ksi_vpage *v)
{
    if (v && !v->kept)
        ks_free(v);
}

static struct ks_slice text_of(const struct ksi_vpage *v, uint32_t i)
{
    return ks_slice(v->text + v->text_at[i], v->text_at[i + 1] - v->text_at[i]);
}

/* --- walking -----------------------------------------------------------------------------------
 */

/* The page of a name's values where `from` would stand: the last that begins at or before it. */
static uint32_t seek_page(const struct ks_sindex *x, const struct ksi_sname *n,
                          struct ks_slice from)
{
    uint32_t lo = ksi_vpage_of_rank(x, n->first_rank);
    uint32_t hi = ksi_vpage_of_rank(x, n->first_rank + n->value_count - 1);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;
        if (ks_slice_cmp(x->value_pages[mid].first, from) <= 0)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* First position in [lo, hi) of the page with a text ≥ from. */
static uint32_t seek_in_page(const struct ksi_vpage *v, uint32_t lo, uint32_t hi,
                             struct ks_slice from)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (ks_slice_cmp(text_of(v, mid), from) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

ks_err ksi_values_each(struct ks_sindex *x, uint32_t name, struct ks_slice from, ksi_value_fn fn,
                       void *arg)
{
    const struct ksi_sname *n = &x->names[name];
    uint64_t end = (uint64_t)n->first_rank + n->value_count;
    bool more = true, first = true;
    for (uint32_t page = seek_page(x, n, from); more && page < x->value_page_count;
         page++, first = false) {
        const struct ksi_value_page *p = &x->value_pages[page];
        if (p->first_rank >= end)
            break;
        struct ksi_vpage *v;
        KS_TRY(ksi_vpage_get(x, page, &v));
        uint32_t lo = n->first_rank > p->first_rank ? n->first_rank - p->first_rank : 0;
        uint32_t hi = end - p->first_rank < v->count ? (uint32_t)(end - p->first_rank) : v->count;
        if (first && from.len)
            lo = seek_in_page(v, lo, hi, from);
        ks_err err = KS_OK;
        for (uint32_t i = lo; more && i < hi; i++)
            more = fn(arg, p->first_rank + i, text_of(v, i), &v->refs[i], &err);
        ksi_vpage_put(v);
        KS_TRY(err);
    }
    return KS_OK;
}

/* --- the set IN of a matcher -------------------------------------------------------------------
 */

struct collect {
    struct ks_sindex *x;
    const struct ks_regex *re;
    struct ks_slice want; /* re NULL: this one */
    struct ksi_bitmap_sink sink;
    bool ranks;
};

static ks_err take(struct collect *c, uint32_t rank, const struct ksi_post_ref *ref)
{
    if (!c->ranks)
        return ksi_post_each(c->x, ref, ksi_bitmap_sink_run, &c->sink);
    ksi_bitmap_sink_run(&c->sink, rank, rank + 1);
    return KS_OK;
}

static bool on_exact(void *arg, uint32_t rank, struct ks_slice text, const struct ksi_post_ref *ref,
                     ks_err *err)
{
    struct collect *c = arg;
    if (ks_slice_eq(text, c->want))
        *err = take(c, rank, ref);
    return false;
}

static bool on_scan(void *arg, uint32_t rank, struct ks_slice text, const struct ksi_post_ref *ref,
                    ks_err *err)
{
    struct collect *c = arg;
    if (!ks_slice_has_prefix(text, c->re->prefix))
        return false; /* sorted: past the prefix */
    if (ks_regex_match(c->re, text))
        *err = take(c, rank, ref);
    return *err == KS_OK;
}

static ks_err collect(struct collect *c, uint32_t name, const struct ks_cmatcher *m)
{
    struct ks_regex *re = m->re;
    size_t count = re ? re->literal_count : 1;
    for (size_t i = 0; i < count; i++) {
        c->want = re ? re->literals[i] : m->value;
        if (re && re->shape == KS_REGEX_SCAN && ks_slice_has_prefix(c->want, re->prefix))
            continue; /* the scan meets it */
        KS_TRY(ksi_values_each(c->x, name, c->want, on_exact, c));
    }
    if (re && re->shape == KS_REGEX_SCAN) {
        c->re = re;
        KS_TRY(ksi_values_each(c->x, name, re->prefix, on_scan, c));
    }
    return KS_OK;
}

static ks_err collect_in(struct ks_sindex *x, uint32_t name, const struct ks_cmatcher *m,
                         bool ranks, roaring_bitmap_t *ret)
{
    struct collect *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->x = x;
    c->sink.bm = ret;
    c->ranks = ranks;
    ks_err err = collect(c, name, m);
    ksi_bitmap_sink_flush(&c->sink);
    ks_free(c);
    return err;
}

ks_err ksi_values_ranks(struct ks_sindex *x, uint32_t name, const struct ks_cmatcher *m,
                        roaring_bitmap_t *ret)
{
    return collect_in(x, name, m, true, ret);
}

ks_err ksi_values_bases(struct ks_sindex *x, uint32_t name, const struct ks_cmatcher *m,
                        roaring_bitmap_t *ret)
{
    return collect_in(x, name, m, false, ret);
}
