/*
 * Writes a part's series index. Rows stream in; names, values and bases are interned as they come
 * (a base costs ~16 bytes plus its difference to the one before, a row 4), and all sections are
 * written at the end, when the order of the values is known. One thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/idlist.h"
#include "index/intern.h"
#include "index/series_index_priv.h"
#include "sys/rand.h"

struct run {
    uint32_t first_row, name; /* pair id, KSI_NO_ID */
};

/* The bases a pair and its name have been in without a gap: their postings get a run at its end. */
struct since {
    uint32_t pair, name;
};

struct ks_sindex_writer {
    struct ks_part_writer *part;
    ks_err failed; /* of an add: nothing may follow but abort */
    struct ksi_intern words;
    uint32_t metric_name; /* name id of "__name__", KSI_NO_ID */
    uint64_t hash_seed;   /* secret, so that nobody can prepare two bases with one hash */
    ks_hash128 *base_hash;
    size_t base_count, base_cap;
    uint32_t *base_table;
    size_t base_mask;
    struct ks_buf base_lists; /* varint count, list */
    uint32_t *list[2];        /* of the base before and this one */
    size_t list_cap[2], list_count;
    struct since *since[2]; /* beside these */
    size_t since_cap[2];
    struct ks_buf base_rest; /* labels of the base before */
    uint32_t *rows;
    size_t row_count, row_cap;
    struct run *runs;
    size_t run_count, run_cap;
    struct ksi_stenant *tenants;
    size_t tenant_count, tenant_cap;
    struct ks_buf prev, rest; /* the row before; this row without its metric name */
    struct ks_series_key prev_key;
    /* finish */
    uint32_t *rank;       /* by pair id: number among its name's values */
    uint32_t *name_order; /* name ids, sorted */
    uint32_t *name_index; /* by name id */
    struct ks_buf top, page, post, scratch;
    uint64_t post_bytes;
};

ks_err ks_sindex_writer_new(struct ks_part_writer *w, struct ks_sindex_writer **ret)
{
    struct ks_sindex_writer *x = ks_zalloc(sizeof *x);
    if (!x)
        return KS_ENOMEM;
    x->part = w;
    x->hash_seed = ks_random_u64();
    x->metric_name = KSI_NO_ID;
    ksi_intern_init(&x->words);
    struct ks_buf *bufs[] = {&x->base_lists, &x->prev, &x->rest,    &x->top,
                             &x->page,       &x->post, &x->scratch, &x->base_rest};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        ks_buf_init(bufs[i], KS_BUF_UNLIMITED);
    *ret = x;
    return KS_OK;
}

void ks_sindex_writer_abort(struct ks_sindex_writer *x)
{
    if (!x)
        return;
    ksi_intern_done(&x->words);
    struct ks_buf *bufs[] = {&x->base_lists, &x->prev, &x->rest,    &x->top,
                             &x->page,       &x->post, &x->scratch, &x->base_rest};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        ks_buf_done(bufs[i]);
    void *arrays[] = {x->base_hash, x->base_table, x->list[0],    x->list[1],
                      x->since[0],  x->since[1],   x->rows,       x->runs,
                      x->tenants,   x->rank,       x->name_order, x->name_index};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        ks_free(arrays[i]);
    ks_free(x);
}

/* --- taking rows -------------------------------------------------------------------------------
 */

static ks_err intern_label(struct ks_sindex_writer *x, struct ks_label l, uint32_t *ret_name,
                           uint32_t *ret_pair)
{
    if (!l.name.len || !l.value.len)
        return ks_fail(KS_EINVAL, "label set is not canonical: empty name or value");
    if (l.name.len > KSI_TEXT_MAX || l.value.len > KSI_TEXT_MAX)
        return ks_fail(KS_ELIMIT, "label name or value longer than %d bytes", KSI_TEXT_MAX);
    KS_TRY(ksi_intern_name(&x->words, l.name, ret_name));
    return ksi_intern_pair(&x->words, *ret_name, l.value, ret_pair);
}

static ks_err grow_base_table(struct ks_sindex_writer *x)
{
    size_t size = x->base_table ? x->base_mask + 1 : 0;
    if (x->base_count + 1 <= size / 4 * 3)
        return KS_OK;
    size_t want = size ? size * 2 : 1024;
    uint32_t *t = ks_alloc_array(want, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    memset(t, 0xff, want * sizeof *t);
    for (uint32_t b = 0; b < x->base_count; b++) {
        size_t i = x->base_hash[b].lo & (want - 1);
        while (t[i] != KSI_NO_ID)
            i = (i + 1) & (want - 1);
        t[i] = b;
    }
    ks_free(x->base_table);
    x->base_table = t;
    x->base_mask = want - 1;
    return KS_OK;
}

static ks_err close_run(struct ksi_postings *p, uint32_t from, uint32_t to)
{
    KS_TRY(ksi_postings_reserve(p, to - from));
    ksi_postings_add(p, from, to);
    return KS_OK;
}

/* The labels of the base before, walked beside those of the new one: most are the same, and need
 * neither be found again nor noted in their postings one by one. */
struct beside {
    struct ks_labels_iter it;
    struct ks_label l;
    size_t at;
    bool more;
    const uint32_t *list;
    const struct since *since;
};

static void beside_next(struct beside *b)
{
    b->more = ks_labels_next(&b->it, &b->l);
    b->at++;
}

/* The base `id` has not the label the walk stands at, or (name_stays) with another value. */
static ks_err leave(struct ks_sindex_writer *x, const struct beside *b, uint32_t id,
                    bool name_stays)
{
    struct ksi_pair *pair = ksi_pair(&x->words, b->list[b->at]);
    KS_TRY(close_run(&pair->rows, b->since[b->at].pair, id));
    return name_stays ? KS_OK
                      : close_run(&x->words.names[pair->name].rows, b->since[b->at].name, id);
}

/* The pair of a label of base `id`, and since when it and its name have been there. */
static ks_err take_label(struct ks_sindex_writer *x, struct beside *b, struct ks_label l,
                         uint32_t id, uint32_t *ret_pair, struct since *ret_since)
{
    int order = 1;
    uint32_t name;
    while (b->more && (order = ks_slice_cmp(b->l.name, l.name)) < 0) {
        KS_TRY(leave(x, b, id, false));
        beside_next(b);
    }
    *ret_since = (struct since){id, id};
    if (!b->more || order > 0)
        return intern_label(x, l, &name, ret_pair);
    ret_since->name = b->since[b->at].name;
    if (ks_slice_eq(b->l.value, l.value)) {
        ret_since->pair = b->since[b->at].pair;
        *ret_pair = b->list[b->at];
    } else {
        if (!l.value.len || l.value.len > KSI_TEXT_MAX)
            return intern_label(x, l, &name, ret_pair); /* says what is wrong */
        KS_TRY(leave(x, b, id, true));
        name = ksi_pair(&x->words, b->list[b->at])->name;
        KS_TRY(ksi_intern_pair(&x->words, name, l.value, ret_pair));
    }
    beside_next(b);
    return KS_OK;
}

static struct beside beside(const struct ks_sindex_writer *x, int which)
{
    struct beside b = {.it = ks_labels_iter(ks_buf_view(&x->base_rest)),
                       .list = x->list[which],
                       .since = x->since[which]};
    b.more = ks_labels_next(&b.it, &b.l);
    return b;
}

static ks_err leave_rest(struct ks_sindex_writer *x, struct beside *b, uint32_t id)
{
    for (; b->more; beside_next(b))
        KS_TRY(leave(x, b, id, false));
    return KS_OK;
}

/* Interns the labels of a new base. */
static ks_err new_base(struct ks_sindex_writer *x, struct ks_slice rest, ks_hash128 hash)
{
    uint32_t id = (uint32_t)x->base_count;
    int which = (int)(id & 1);
    size_t n = 0;
    struct beside b = beside(x, !which);
    struct ks_labels_iter it = ks_labels_iter(rest);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        KS_TRY(ks_array_reserve((void **)&x->list[which], &x->list_cap[which], n + 1,
                                sizeof(uint32_t)));
        KS_TRY(ks_array_reserve((void **)&x->since[which], &x->since_cap[which], n + 1,
                                sizeof *x->since[which]));
        KS_TRY(take_label(x, &b, l, id, &x->list[which][n], &x->since[which][n]));
        n++;
    }
    KS_TRY(leave_rest(x, &b, id));
    ks_buf_reset(&x->base_rest);
    ks_buf_slice(&x->base_rest, rest);
    KS_TRY(ks_buf_status(&x->base_rest));
    ks_buf_varint(&x->base_lists, n);
    ksi_idlist_encode(x->list[!which], x->list_count, x->list[which], n, &x->base_lists);
    x->list_count = n;
    KS_TRY(ks_buf_status(&x->base_lists));
    KS_TRY(ks_array_reserve((void **)&x->base_hash, &x->base_cap, x->base_count + 1,
                            sizeof *x->base_hash));
    x->base_hash[x->base_count++] = hash;
    return KS_OK;
}

static ks_err base_of(struct ks_sindex_writer *x, struct ks_slice rest, uint32_t *ret)
{
    KS_TRY(grow_base_table(x));
    ks_hash128 h = ks_hash128_of(rest.ptr ? rest.ptr : "", rest.len, x->hash_seed);
    size_t i = h.lo & x->base_mask;
    for (; x->base_table[i] != KSI_NO_ID; i = (i + 1) & x->base_mask)
        if (ks_hash128_eq(x->base_hash[x->base_table[i]], h)) {
            *ret = x->base_table[i];
            return KS_OK;
        }
    *ret = x->base_table[i] = (uint32_t)x->base_count;
    return new_base(x, rest, h);
}

/* Splits the labels into metric name and rest; checks their form. */
static ks_err split_row(struct ks_sindex_writer *x, struct ks_slice bytes,
                        struct ks_label *ret_metric)
{
    struct ks_reader r = ks_reader(bytes);
    struct ks_slice prev = {NULL, 0};
    ret_metric->value = ks_slice(NULL, 0);
    ks_buf_reset(&x->rest);
    const char *from = (const char *)r.p; /* of what is not in the rest yet */
    while (ks_reader_left(&r)) {
        const char *start = (const char *)r.p;
        struct ks_label l;
        l.name = ks_read_lp(&r);
        l.value = ks_read_lp(&r);
        if (r.bad || !l.name.len || !l.value.len || (prev.ptr && ks_slice_cmp(prev, l.name) >= 0))
            return ks_fail(KS_EINVAL, "label set is not canonical");
        prev = l.name;
        if (!ks_slice_eq(l.name, KS_NAME_LABEL))
            continue;
        *ret_metric = l;
        ks_buf_add(&x->rest, from, (size_t)(start - from));
        from = (const char *)r.p;
    }
    ks_buf_add(&x->rest, from, (size_t)((const char *)r.p - from));
    return ks_buf_status(&x->rest);
}

static ks_err start_run(struct ks_sindex_writer *x, struct ks_tenant tenant, struct ks_label metric)
{
    bool first = x->tenant_count == 0;
    struct ksi_stenant *last = first ? NULL : &x->tenants[x->tenant_count - 1];
    bool new_tenant = first || !ks_tenant_eq(last->tenant, tenant);
    uint32_t name, pair = KSI_NO_ID;
    if (metric.value.len) {
        KS_TRY(intern_label(x, metric, &name, &pair));
        x->metric_name = name;
    }
    if (!new_tenant && x->runs[x->run_count - 1].name == pair)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&x->runs, &x->run_cap, x->run_count + 1, sizeof *x->runs));
    if (new_tenant) {
        KS_TRY(ks_array_reserve((void **)&x->tenants, &x->tenant_cap, x->tenant_count + 1,
                                sizeof *x->tenants));
        x->tenants[x->tenant_count++] =
            (struct ksi_stenant){tenant, (uint32_t)x->row_count, (uint32_t)x->run_count};
    }
    x->runs[x->run_count++] = (struct run){(uint32_t)x->row_count, pair};
    return KS_OK;
}

/* Remembers the row just added, its bytes copied. */
static ks_err keep_row(struct ks_sindex_writer *x, const struct ks_series_key *key)
{
    ks_buf_reset(&x->prev);
    ks_buf_slice(&x->prev, key->labels);
    KS_TRY(ks_buf_status(&x->prev));
    x->prev_key = *key;
    x->prev_key.labels = ks_buf_view(&x->prev);
    for (size_t i = 0; i < 3; i++)
        if (key->first[i].len)
            x->prev_key.first[i].ptr = x->prev.ptr + (key->first[i].ptr - key->labels.ptr);
    return KS_OK;
}

static ks_err add_row(struct ks_sindex_writer *x, struct ks_tenant tenant,
                      struct ks_slice label_bytes)
{
    struct ks_label metric;
    KS_TRY(split_row(x, label_bytes, &metric));
    if (x->row_count >= UINT32_MAX - 1)
        return ks_fail(KS_ELIMIT, "too many series in one part");
    struct ks_series_key key = ks_series_key_of(tenant, label_bytes);
    if (x->row_count && ks_series_key_cmp(&x->prev_key, &key) >= 0)
        return ks_fail(KS_EINVAL, "series %zu is not in order", x->row_count);
    uint32_t base;
    KS_TRY(start_run(x, tenant, metric));
    KS_TRY(base_of(x, ks_buf_view(&x->rest), &base));
    KS_TRY(ks_array_reserve((void **)&x->rows, &x->row_cap, x->row_count + 1, sizeof *x->rows));
    x->rows[x->row_count++] = base;
    return keep_row(x, &key);
}

ks_err ks_sindex_add(struct ks_sindex_writer *x, struct ks_tenant tenant,
                     struct ks_slice label_bytes)
{
    if (x->failed == KS_OK)
        x->failed = add_row(x, tenant, label_bytes);
    return x->failed;
}

/* --- names, values, postings -------------------------------------------------------------------
 */

static int cmp_names(const void *a, const void *b, void *arg)
{
    const struct ksi_intern *w = arg;
    return ks_slice_cmp(ksi_name_text(&w->names[*(const uint32_t *)a]),
                        ksi_name_text(&w->names[*(const uint32_t *)b]));
}
static int cmp_pairs(const void *a, const void *b, void *arg)
{
    const struct ksi_intern *w = arg;
    return ks_slice_cmp(ksi_pair_value(ksi_pair(w, *(const uint32_t *)a)),
                        ksi_pair_value(ksi_pair(w, *(const uint32_t *)b)));
}

static ks_err sort_words(struct ks_sindex_writer *x)
{
    size_t names = x->words.name_count;
    x->name_order = ks_alloc_array(names, sizeof(uint32_t));
    x->name_index = ks_alloc_array(names, sizeof(uint32_t));
    x->rank = ks_alloc_array(x->words.pair_end, sizeof(uint32_t));
    if (!x->name_order || !x->name_index || !x->rank)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < names; i++)
        x->name_order[i] = i;
    qsort_r(x->name_order, names, sizeof(uint32_t), cmp_names, &x->words);
    for (uint32_t i = 0; i < names; i++) {
        x->name_index[x->name_order[i]] = i;
        struct ksi_name *n = &x->words.names[x->name_order[i]];
        qsort_r(n->pairs, n->pair_count, sizeof(uint32_t), cmp_pairs, &x->words);
        for (uint32_t k = 0; k < n->pair_count; k++)
            x->rank[n->pairs[k]] = k;
    }
    return KS_OK;
}

/* Moves whole pages of the postings' stream out; `all` the rest too. */
static ks_err flush_post(struct ks_sindex_writer *x, bool all)
{
    size_t done = 0;
    while (x->post.len - done >= KSI_POST_PAGE || (all && x->post.len > done)) {
        size_t n = x->post.len - done < KSI_POST_PAGE ? x->post.len - done : KSI_POST_PAGE;
        struct ks_page_ref ref;
        KS_TRY(ks_part_page(x->part, KSI_SEC_POST, ks_slice(x->post.ptr + done, n), KS_PAGE_ZSTD,
                            &ref));
        done += n;
    }
    x->post.len -= done;
    if (done)
        memmove(x->post.ptr, x->post.ptr + done, x->post.len);
    return KS_OK;
}

/* varint count; the one id; or varint length << 1 | in the stream, then the bytes or their varint
 * offset. */
static ks_err put_posting(struct ks_sindex_writer *x, const struct ksi_postings *p,
                          struct ks_buf *out)
{
    ks_buf_varint(out, p->count);
    if (p->count == 1)
        ks_buf_varint(out, ksi_postings_is_bitmap(p) ? roaring_bitmap_minimum(p->bitmap)
                                                     : ksi_postings_sids(p)[0]);
    if (p->count <= 1)
        return ks_buf_status(out);
    size_t start = x->post.len;
    KS_TRY(ksi_posting_encode(p, &x->scratch, &x->post));
    size_t len = x->post.len - start;
    bool stream = len > KSI_POST_INLINE;
    ks_buf_varint(out, (uint64_t)len << 1 | stream);
    if (!stream) {
        ks_buf_add(out, x->post.ptr + start, len);
        x->post.len = start;
        return ks_buf_status(out);
    }
    ks_buf_varint(out, x->post_bytes);
    x->post_bytes += len;
    KS_TRY(ks_buf_status(out));
    return flush_post(x, false);
}

/* One page of front-coded values under construction. */
struct value_page {
    struct ks_buf bytes, heads; /* entries; group offsets */
    uint32_t count;
    struct ks_slice first, prev;
    uint32_t pages;
};

static ks_err close_value_page(struct ks_sindex_writer *x, struct value_page *p)
{
    if (!p->count)
        return KS_OK;
    ks_buf_varint(&x->top, p->count);
    ks_buf_lp(&x->top, p->first);
    ks_buf_reset(&x->page);
    ks_buf_u32(&x->page, p->count);
    ks_buf_slice(&x->page, ks_buf_view(&p->heads));
    ks_buf_slice(&x->page, ks_buf_view(&p->bytes));
    KS_TRY(ks_buf_status(&p->bytes));
    KS_TRY(ks_buf_status(&p->heads));
    KS_TRY(ks_buf_status(&x->page));
    struct ks_page_ref ref;
    KS_TRY(ks_part_page(x->part, KSI_SEC_VALUES, ks_buf_view(&x->page), KS_PAGE_ZSTD, &ref));
    ks_buf_reset(&p->bytes);
    ks_buf_reset(&p->heads);
    p->count = 0;
    p->pages++;
    return KS_OK;
}

static ks_err add_value(struct ks_sindex_writer *x, struct value_page *p,
                        const struct ksi_pair *pair)
{
    struct ks_slice v = ksi_pair_value(pair);
    if (p->bytes.len + p->heads.len >= KSI_VALUE_PAGE)
        KS_TRY(close_value_page(x, p));
    if (!p->count)
        p->first = v;
    size_t shared = 0;
    if (p->count % KSI_GROUP == 0)
        ks_buf_u32(&p->heads, (uint32_t)p->bytes.len);
    else
        while (shared < v.len && shared < p->prev.len && v.ptr[shared] == p->prev.ptr[shared])
            shared++;
    ks_buf_varint(&p->bytes, shared);
    ks_buf_lp(&p->bytes, ks_slice_from(v, shared));
    p->prev = v;
    p->count++;
    return put_posting(x, &pair->rows, &p->bytes);
}

static ks_err write_values(struct ks_sindex_writer *x, struct value_page *p)
{
    for (size_t i = 0; i < x->words.name_count; i++) {
        const struct ksi_name *n = &x->words.names[x->name_order[i]];
        for (size_t k = 0; k < n->pair_count; k++)
            KS_TRY(add_value(x, p, ksi_pair(&x->words, n->pairs[k])));
    }
    return close_value_page(x, p);
}

static ks_err write_names(struct ks_sindex_writer *x)
{
    for (size_t i = 0; i < x->words.name_count; i++) {
        const struct ksi_name *n = &x->words.names[x->name_order[i]];
        ks_buf_lp(&x->top, ksi_name_text(n));
        ks_buf_varint(&x->top, n->pair_count);
        KS_TRY(put_posting(x, &n->rows, &x->top));
    }
    return ks_buf_status(&x->top);
}

/* --- bases -------------------------------------------------------------------------------------
 */

struct column {
    uint32_t codes[KSI_BASE_PAGE]; /* 0 absent, else value number + 1 */
    uint32_t used;                 /* page stamp */
};

static unsigned bits_of(uint32_t v)
{
    return v ? 32 - (unsigned)__builtin_clz(v) : 0;
}

static void put_column(struct ks_buf *heads, struct ks_buf *data, const uint32_t *codes,
                       uint32_t count, uint32_t name_gap)
{
    uint32_t min = UINT32_MAX, max = 0;
    for (uint32_t i = 0; i < count; i++) {
        min = codes[i] < min ? codes[i] : min;
        max = codes[i] > max ? codes[i] : max;
    }
    unsigned width = bits_of(max - min);
    ks_buf_varint(heads, name_gap);
    ks_buf_varint(heads, min);
    ks_buf_byte(heads, (uint8_t)width);
    uint64_t acc = 0;
    unsigned fill = 0;
    for (uint32_t i = 0; i < count && width; i++) {
        acc |= (uint64_t)(codes[i] - min) << fill;
        for (fill += width; fill >= 8; fill -= 8, acc >>= 8)
            ks_buf_byte(data, (uint8_t)acc);
    }
    if (fill)
        ks_buf_byte(data, (uint8_t)acc);
}

/* varint bases, varint columns, their heads, their bits, padding. */
static ks_err put_base_page(struct ks_sindex_writer *x, struct column *cols, uint32_t stamp,
                            uint32_t count)
{
    struct ks_buf data;
    ks_buf_init(&data, KS_BUF_UNLIMITED);
    ks_buf_reset(&x->scratch);
    uint32_t columns = 0, prev = 0;
    for (uint32_t i = 0; i < x->words.name_count; i++) {
        if (cols[i].used != stamp)
            continue;
        put_column(&x->scratch, &data, cols[i].codes, count, columns ? i - prev - 1 : i);
        prev = i;
        columns++;
    }
    ks_buf_reset(&x->page);
    ks_buf_varint(&x->page, count);
    ks_buf_varint(&x->page, columns);
    ks_buf_slice(&x->page, ks_buf_view(&x->scratch));
    ks_buf_slice(&x->page, ks_buf_view(&data));
    ks_buf_add(&x->page, "\0\0\0\0\0\0\0", KSI_BASE_PAD);
    ks_err err = ks_buf_status(&x->scratch);
    if (err == KS_OK)
        err = ks_buf_status(&data);
    ks_buf_done(&data);
    KS_TRY(err);
    KS_TRY(ks_buf_status(&x->page));
    struct ks_page_ref ref;
    return ks_part_page(x->part, KSI_SEC_BASES, ks_buf_view(&x->page), KS_PAGE_ZSTD, &ref);
}

static ks_err write_base_pages(struct ks_sindex_writer *x, struct column *cols)
{
    struct ks_reader r = ks_reader(ks_buf_view(&x->base_lists));
    size_t prev_count = 0;
    for (uint32_t b = 0; b < x->base_count; b++) {
        uint32_t slot = b % KSI_BASE_PAGE, stamp = b / KSI_BASE_PAGE + 1;
        size_t n = ks_read_varint(&r);
        uint32_t *cur = x->list[b & 1];
        ksi_idlist_decode(&r, x->list[!(b & 1)], prev_count, cur, n);
        prev_count = n;
        for (size_t i = 0; i < n; i++) {
            struct column *c = &cols[x->name_index[ksi_pair(&x->words, cur[i])->name]];
            if (c->used != stamp) {
                memset(c->codes, 0, sizeof c->codes);
                c->used = stamp;
            }
            c->codes[slot] = x->rank[cur[i]] + 1;
        }
        if (slot + 1 == KSI_BASE_PAGE || b + 1 == x->base_count)
            KS_TRY(put_base_page(x, cols, stamp, slot + 1));
    }
    return KS_OK;
}

static ks_err write_bases(struct ks_sindex_writer *x)
{
    struct column *cols = ks_zalloc_array(x->words.name_count + 1, sizeof *cols);
    if (!cols)
        return KS_ENOMEM;
    /* Both list buffers saw every length, but each only its own half. */
    ks_err err = KS_OK;
    for (int i = 0; i < 2 && err == KS_OK; i++)
        err = ks_array_reserve((void **)&x->list[i], &x->list_cap[i], x->list_cap[!i] + 1,
                               sizeof(uint32_t));
    if (err == KS_OK)
        err = write_base_pages(x, cols);
    ks_free(cols);
    return err;
}

/* --- rows and top ------------------------------------------------------------------------------
 */

static ks_err write_rows(struct ks_sindex_writer *x)
{
    for (size_t from = 0; from < x->row_count; from += KSI_ROW_PAGE) {
        size_t n = x->row_count - from < KSI_ROW_PAGE ? x->row_count - from : KSI_ROW_PAGE;
        ks_buf_reset(&x->page);
        ks_buf_reset(&x->scratch);
        for (size_t i = 0; i < n; i++) {
            uint32_t b = x->rows[from + i];
            if (i % KSI_ROW_GROUP == 0) {
                ks_buf_u16(&x->page, (uint16_t)x->scratch.len);
                ks_buf_varint(&x->scratch, b);
            } else {
                ks_buf_zigzag(&x->scratch, (int64_t)b - x->rows[from + i - 1]);
            }
        }
        ks_buf_slice(&x->page, ks_buf_view(&x->scratch));
        KS_TRY(ks_buf_status(&x->scratch));
        KS_TRY(ks_buf_status(&x->page));
        struct ks_page_ref ref;
        KS_TRY(ks_part_page(x->part, KSI_SEC_ROWS, ks_buf_view(&x->page), KS_PAGE_ZSTD, &ref));
    }
    return KS_OK;
}

static void put_tenants(struct ks_sindex_writer *x)
{
    for (size_t i = 0; i < x->tenant_count; i++) {
        const struct ksi_stenant *t = &x->tenants[i];
        size_t end = i + 1 < x->tenant_count ? x->tenants[i + 1].first_run : x->run_count;
        ks_buf_varint(&x->top, t->tenant.account);
        ks_buf_varint(&x->top, t->tenant.project);
        ks_buf_varint(&x->top, end - t->first_run);
    }
    for (size_t i = 0; i < x->run_count; i++) {
        const struct run *r = &x->runs[i];
        size_t end = i + 1 < x->run_count ? x->runs[i + 1].first_row : x->row_count;
        ks_buf_varint(&x->top, r->name == KSI_NO_ID ? 0 : x->rank[r->name] + 1u);
        ks_buf_varint(&x->top, end - r->first_row);
    }
}

static ks_err write_top(struct ks_sindex_writer *x, const struct value_page *values)
{
    put_tenants(x);
    ks_buf_reset(&x->page);
    uint64_t head[] = {KSI_SINDEX_VERSION, x->row_count,        x->base_count,
                       x->words.pair_live, x->words.name_count, x->tenant_count,
                       x->run_count,       x->post_bytes,       values->pages};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        ks_buf_varint(&x->page, head[i]);
    ks_buf_slice(&x->page, ks_buf_view(&x->top));
    KS_TRY(ks_buf_status(&x->top));
    KS_TRY(ks_buf_status(&x->page));
    for (size_t at = 0; at < x->page.len; at += KSI_TOP_PAGE) {
        size_t n = x->page.len - at < KSI_TOP_PAGE ? x->page.len - at : KSI_TOP_PAGE;
        struct ks_page_ref ref;
        KS_TRY(
            ks_part_page(x->part, KSI_SEC_TOP, ks_slice(x->page.ptr + at, n), KS_PAGE_ZSTD, &ref));
    }
    return KS_OK;
}

static ks_err write_all(struct ks_sindex_writer *x, struct value_page *values)
{
    struct beside last = beside(x, !(x->base_count & 1));
    KS_TRY(leave_rest(x, &last, (uint32_t)x->base_count));
    KS_TRY(sort_words(x));
    KS_TRY(write_values(x, values)); /* fills the top with the pages' first values … */
    KS_TRY(write_names(x));          /* … then the names */
    KS_TRY(flush_post(x, true));
    KS_TRY(write_bases(x));
    KS_TRY(write_rows(x));
    return write_top(x, values);
}

ks_err ks_sindex_writer_finish(struct ks_sindex_writer *x)
{
    struct value_page values = {0};
    ks_buf_init(&values.bytes, KS_BUF_UNLIMITED);
    ks_buf_init(&values.heads, KS_BUF_UNLIMITED);
    ks_err err = x->failed == KS_OK ? write_all(x, &values) : x->failed;
    ks_buf_done(&values.bytes);
    ks_buf_done(&values.heads);
    ks_sindex_writer_abort(x);
    return err;
}
