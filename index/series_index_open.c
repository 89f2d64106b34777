/* Opens a series index: reads and checks the top, which says where everything lies. Pages are
 * checked when they are read. */
#include <string.h>

#include "base/mem.h"
#include "index/series_index_priv.h"

ks_err ksi_sindex_corrupt(const struct ks_sindex *x, const char *what)
{
    return ks_fail(KS_ECORRUPT, "%s: series index: %s", ks_part_path(x->part), what);
}

/* The top's pages in one run of bytes, in the arena. */
static ks_err read_top(struct ks_sindex *x, struct ks_slice *ret)
{
    size_t count, len = 0;
    const struct ks_page_ref *pages = ks_part_section_pages(x->part, KSI_SEC_TOP, &count);
    for (size_t i = 0; i < count; i++)
        len += pages[i].raw_bytes;
    char *p = ks_arena_alloc(&x->arena, len + 1);
    if (!p)
        return ks_arena_err(&x->arena);
    *ret = ks_slice(p, len);
    for (size_t i = 0; i < count; i++) {
        struct ks_page page;
        KS_TRY(ks_part_read(x->part, pages[i], &page));
        memcpy(p, page.raw.ptr, page.raw.len);
        p += page.raw.len;
        ks_page_release(&page);
    }
    return KS_OK;
}

/* A count whose items take at least `each` bytes of what is left: nothing is allocated on a false
 * word. */
static uint32_t read_count(struct ks_reader *r, uint64_t max)
{
    uint64_t v = ks_read_varint(r);
    if (v > max)
        ks_reader_fail(r);
    return r->bad ? 0 : (uint32_t)v;
}

static ks_err take_pages(struct ks_sindex *x)
{
    size_t posts, bases, rows;
    x->post_pages = ks_part_section_pages(x->part, KSI_SEC_POST, &posts);
    x->base_pages = ks_part_section_pages(x->part, KSI_SEC_BASES, &bases);
    x->row_pages = ks_part_section_pages(x->part, KSI_SEC_ROWS, &rows);
    bool ok = bases == (x->base_count + KSI_BASE_PAGE - 1ull) / KSI_BASE_PAGE &&
              rows == (x->row_count + KSI_ROW_PAGE - 1ull) / KSI_ROW_PAGE &&
              posts == (x->post_bytes + KSI_POST_PAGE - 1) / KSI_POST_PAGE;
    for (size_t i = 0; i < posts && ok; i++) {
        uint64_t left = x->post_bytes - i * (uint64_t)KSI_POST_PAGE;
        ok = x->post_pages[i].raw_bytes == (left < KSI_POST_PAGE ? left : KSI_POST_PAGE);
    }
    return ok ? KS_OK : ksi_sindex_corrupt(x, "sections do not fit the counts");
}

static ks_err read_head(struct ks_sindex *x, struct ks_reader *r)
{
    uint64_t version = ks_read_varint(r);
    if (r->bad)
        return ksi_sindex_corrupt(x, "no top");
    if (version != KSI_SINDEX_VERSION)
        return ks_fail(KS_EUNSUPPORTED, "%s: series index of version %llu", ks_part_path(x->part),
                       (unsigned long long)version);
    size_t left = ks_reader_left(r), pages;
    x->row_count = read_count(r, UINT32_MAX - 1);
    x->base_count = read_count(r, x->row_count);
    x->value_count = read_count(r, KSI_NONE - 1);
    x->name_count = read_count(r, left / 3);
    x->tenant_count = read_count(r, left / 3);
    x->run_count = read_count(r, left / 2);
    x->post_bytes = ks_read_varint(r);
    x->value_page_count = read_count(r, left / 2);
    const struct ks_page_ref *refs = ks_part_section_pages(x->part, KSI_SEC_VALUES, &pages);
    if (r->bad || pages != x->value_page_count || x->post_bytes > ks_part_bytes(x->part) * 4096)
        return ksi_sindex_corrupt(x, "head is malformed");
    x->value_pages = ks_arena_array(&x->arena, pages + 1, sizeof *x->value_pages);
    x->vpages = ks_zalloc_array(pages + 1, sizeof *x->vpages);
    x->names = ks_arena_array(&x->arena, x->name_count + 1u, sizeof *x->names);
    x->tenants = ks_arena_array(&x->arena, x->tenant_count + 1u, sizeof *x->tenants);
    x->run_rows = ks_arena_array(&x->arena, x->run_count + 1u, sizeof *x->run_rows);
    x->run_names = ks_arena_array(&x->arena, x->run_count + 1u, sizeof *x->run_names);
    x->zones = ks_zalloc_array(x->row_count / KSI_ROW_GROUP + 1u, sizeof *x->zones);
    if (!x->vpages || !x->zones)
        return KS_ENOMEM;
    if (!x->value_pages || !x->names || !x->tenants || !x->run_rows || !x->run_names)
        return ks_arena_err(&x->arena);
    for (size_t i = 0; i < pages; i++)
        x->value_pages[i].ref = refs[i];
    return take_pages(x);
}

static ks_err read_value_pages(struct ks_sindex *x, struct ks_reader *r)
{
    uint64_t rank = 0;
    for (uint32_t i = 0; i < x->value_page_count; i++) {
        struct ksi_value_page *p = &x->value_pages[i];
        p->first_rank = (uint32_t)rank;
        p->count = read_count(r, x->value_count - rank);
        p->first = ks_read_lp(r);
        rank += p->count;
        if (r->bad || !p->count)
            return ksi_sindex_corrupt(x, "list of value pages is malformed");
    }
    return rank == x->value_count ? KS_OK : ksi_sindex_corrupt(x, "values are missing");
}

static ks_err read_names(struct ks_sindex *x, struct ks_reader *r)
{
    uint64_t rank = 0;
    x->metric_name = KSI_NONE;
    for (uint32_t i = 0; i < x->name_count; i++) {
        struct ksi_sname *n = &x->names[i];
        n->text = ks_read_lp(r);
        n->first_rank = (uint32_t)rank;
        n->value_count = read_count(r, x->value_count - rank);
        KS_TRY(ksi_post_read_ref(r, x, &n->has));
        rank += n->value_count;
        bool ordered = i == 0 || ks_slice_cmp(x->names[i - 1].text, n->text) < 0;
        if (r->bad || !n->text.len || !n->value_count || !ordered)
            return ksi_sindex_corrupt(x, "label names are malformed");
        if (ks_slice_eq(n->text, KS_NAME_LABEL))
            x->metric_name = i;
    }
    return rank == x->value_count ? KS_OK : ksi_sindex_corrupt(x, "values without a name");
}

static ks_err read_tenants(struct ks_sindex *x, struct ks_reader *r)
{
    uint64_t run = 0;
    for (uint32_t i = 0; i < x->tenant_count; i++) {
        struct ksi_stenant *t = &x->tenants[i];
        t->tenant.account = read_count(r, UINT32_MAX);
        t->tenant.project = read_count(r, UINT32_MAX);
        t->first_run = (uint32_t)run;
        uint32_t runs = read_count(r, x->run_count - run);
        run += runs;
        bool ordered = i == 0 || ks_tenant_key(t[-1].tenant) < ks_tenant_key(t->tenant);
        if (r->bad || !runs || !ordered)
            return ksi_sindex_corrupt(x, "tenants are malformed");
    }
    x->tenants[x->tenant_count] = (struct ksi_stenant){{0, 0}, x->row_count, x->run_count};
    return run == x->run_count ? KS_OK : ksi_sindex_corrupt(x, "rows without a tenant");
}

static ks_err read_runs(struct ks_sindex *x, struct ks_reader *r)
{
    uint64_t row = 0;
    uint32_t metrics = x->metric_name == KSI_NONE ? 0 : x->names[x->metric_name].value_count;
    for (uint32_t i = 0, t = 0; i < x->run_count; i++) {
        bool first = x->tenants[t].first_run == i;
        if (first)
            x->tenants[t++].first_row = (uint32_t)row;
        x->run_names[i] = read_count(r, metrics);
        x->run_rows[i] = (uint32_t)row;
        uint32_t rows = read_count(r, x->row_count - row);
        row += rows;
        if (r->bad || !rows || (!first && x->run_names[i - 1] >= x->run_names[i]))
            return ksi_sindex_corrupt(x, "runs of metric names are malformed");
    }
    x->run_rows[x->run_count] = x->row_count;
    if (row != x->row_count || ks_reader_left(r))
        return ksi_sindex_corrupt(x, "runs do not cover the rows");
    return KS_OK;
}

static ks_err load(struct ks_sindex *x)
{
    struct ks_slice top;
    KS_TRY(read_top(x, &top));
    struct ks_reader r = ks_reader(top);
    KS_TRY(read_head(x, &r));
    KS_TRY(read_value_pages(x, &r));
    KS_TRY(read_names(x, &r));
    KS_TRY(read_tenants(x, &r));
    return read_runs(x, &r);
}

ks_err ks_sindex_open(struct ks_part *p, struct ks_sindex **ret)
{
    struct ks_sindex *x = ks_zalloc(sizeof *x);
    if (!x)
        return KS_ENOMEM;
    x->part = p;
    ks_arena_init(&x->arena, KS_BUF_UNLIMITED);
    pthread_mutex_init(&x->results_mutex, NULL);
    ks_err err = load(x);
    if (err != KS_OK) {
        ks_sindex_close(x);
        return err;
    }
    *ret = x;
    return KS_OK;
}

void ks_sindex_close(struct ks_sindex *x)
{
    if (!x)
        return;
    for (uint32_t i = 0; x->vpages && i < x->value_page_count; i++)
        ks_free(atomic_load_explicit(&x->vpages[i], memory_order_acquire));
    ks_free(x->vpages);
    ks_free(x->zones);
    ksi_results_done(x);
    pthread_mutex_destroy(&x->results_mutex);
    ks_arena_done(&x->arena);
    ks_free(x);
}

uint32_t ks_sindex_series_count(const struct ks_sindex *x)
{
    return x->row_count;
}

uint64_t ks_sindex_stored_bytes(const struct ks_sindex *x)
{
    static const char *const sections[] = {KSI_SEC_TOP, KSI_SEC_VALUES, KSI_SEC_POST, KSI_SEC_BASES,
                                           KSI_SEC_ROWS};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        bytes += ks_part_section_bytes(x->part, sections[i]);
    return bytes;
}
