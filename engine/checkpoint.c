/*
 * Checkpoints: the head as a file. Format: docs/format/checkpoint.md. The part container with kind
 * KS_PART_CHECKPOINT; per shard two sections of independent pages: "labels-N" (series: sid, tenant,
 * label bytes) and "state-N" (open chunks and late samples by local id), and the property "cut-N":
 * the first LSN of the shard's records that the state does not contain.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/head_hist.h"
#include "storage/part.h"

enum { PAGE_SOFT = 512 << 10 };
#define HISTOGRAMS "histograms"

struct ksi_checkpoint {
    struct ks_part_writer *w;
    struct ks_buf page;
};

static ks_err put_page(struct ks_part_writer *w, const char *section, struct ks_buf *page)
{
    struct ks_page_ref ref;
    KS_TRY(ks_buf_status(page));
    if (!page->len)
        return KS_OK;
    ks_err err = ks_part_page(w, section, ks_buf_view(page), KS_PAGE_ZSTD, &ref);
    ks_buf_reset(page);
    return err;
}

ks_err ksi_checkpoint_freeze(struct ksi_shard *s, struct ks_buf *state, struct ks_buf *locals)
{
    for (uint32_t local = 0; local < s->local_end; local++) {
        if (!ksi_series_at(s, local)->slab)
            continue;
        ks_buf_varint(state, local);
        ksi_series_save(s, local, state);
        ks_buf_add(locals, &local, sizeof local);
    }
    KS_TRY(ks_buf_status(locals));
    return ks_buf_status(state);
}

ks_err ksi_checkpoint_freeze_histograms(struct ksi_shard *s, struct ks_buf *out)
{
    for (uint32_t local = 0; local < s->hist_cap; local++) {
        const struct ksi_hist *x = ksi_hist_at(s, local);
        if (!x)
            continue;
        ks_buf_varint(out, local);
        ksi_hist_save(x, out);
    }
    return ks_buf_status(out);
}

/* Cuts the frozen state into pages between series. */
static ks_err put_state(struct ks_part_writer *w, const char *section, struct ks_slice state,
                        size_t *ret_pages)
{
    /* A page boundary needs no alignment to series when loading concatenates; pages stay below the
     * container's limit. */
    struct ks_page_ref ref;
    *ret_pages = 0;
    for (size_t at = 0; at < state.len; at += PAGE_SOFT, ++*ret_pages) {
        size_t n = state.len - at < PAGE_SOFT ? state.len - at : PAGE_SOFT;
        KS_TRY(ks_part_page(w, section, ks_slice_sub(state, at, n), KS_PAGE_ZSTD, &ref));
    }
    return KS_OK;
}

/*
 * The series in use when the state was frozen, and no others: none of them is dropped while the
 * commit lock is held, and one made since then is in the log behind the cut, or was taken back and
 * its id means another series by now.
 */
static ks_err put_labels(struct ks_engine *e, struct ks_part_writer *w, const char *section,
                         uint32_t shard, struct ks_slice locals, struct ks_buf *page,
                         struct ks_buf *labels)
{
    for (size_t at = 0; at < locals.len; at += sizeof(uint32_t)) {
        uint32_t local;
        memcpy(&local, locals.ptr + at, sizeof local);
        uint32_t sid = ksi_sid_of(e->shard_count, shard, local);
        struct ks_tenant tenant;
        ks_buf_reset(labels);
        KS_TRY(ks_live_index_labels(e->live, sid, labels, &tenant));
        KS_TRY(ks_buf_status(labels));
        ks_buf_varint(page, sid);
        ks_buf_varint(page, tenant.account);
        ks_buf_varint(page, tenant.project);
        ks_buf_lp(page, ks_buf_view(labels));
        if (page->len >= PAGE_SOFT)
            KS_TRY(put_page(w, section, page));
    }
    return put_page(w, section, page);
}

ks_err ksi_checkpoint_put(struct ks_engine *e, struct ks_part_writer *w, uint32_t shard, ks_lsn cut,
                          struct ks_slice locals, struct ks_slice state)
{
    char name[32];
    uint8_t cut_bytes[8];
    struct ks_buf page, labels;
    ks_buf_init(&page, 64 << 20);
    ks_buf_init(&labels, 16 << 20);
    snprintf(name, sizeof name, "labels-%u", shard);
    ks_err err = put_labels(e, w, name, shard, locals, &page, &labels);
    snprintf(name, sizeof name, "state-%u", shard);
    size_t pages;
    if (err == KS_OK)
        err = put_state(w, name, state, &pages);
    snprintf(name, sizeof name, "cut-%u", shard);
    ks_put_le64(cut_bytes, cut);
    if (err == KS_OK)
        err = ks_part_prop(w, name, ks_slice(cut_bytes, sizeof cut_bytes));
    ks_buf_done(&page);
    ks_buf_done(&labels);
    return err;
}

/* One section for all shards, as sections are few; the property tells a shard's pages. */
ks_err ksi_checkpoint_put_histograms(struct ks_part_writer *w, uint32_t shard,
                                     struct ks_slice state, size_t *first_page)
{
    char name[32];
    uint8_t range[16];
    size_t pages;
    if (!state.len)
        return KS_OK;
    KS_TRY(put_state(w, HISTOGRAMS, state, &pages));
    ks_put_le64(range, *first_page);
    ks_put_le64(range + 8, pages);
    *first_page += pages;
    ks_part_incompat(w, KS_PART_INCOMPAT_HISTOGRAMS);
    snprintf(name, sizeof name, "histograms-%u", shard);
    return ks_part_prop(w, name, ks_slice(range, sizeof range));
}

/* --- loading --- */

ks_err ksi_checkpoint_load_labels(struct ks_engine *e, struct ksi_shard *s, struct ks_slice raw)
{
    struct ks_reader r = ks_reader(raw);
    struct ks_live_add *adds = NULL;
    size_t count = 0, cap = 0;
    ks_err err = KS_OK;
    while (ks_reader_left(&r) && err == KS_OK) {
        uint64_t sid = ks_read_varint(&r), account = ks_read_varint(&r),
                 project = ks_read_varint(&r);
        struct ks_slice labels = ks_read_lp(&r);
        if (r.bad || sid >= UINT32_MAX || account > UINT32_MAX || project > UINT32_MAX)
            err = ks_fail(KS_ECORRUPT, "series list of the checkpoint is malformed");
        if (err == KS_OK)
            err = ks_array_reserve((void **)&adds, &cap, count + 1, sizeof *adds);
        if (err == KS_OK)
            adds[count++] =
                (struct ks_live_add){(uint32_t)sid, {(uint32_t)account, (uint32_t)project}, labels};
    }
    if (err == KS_OK)
        err = ksi_restore_series(e, s, adds, count);
    ks_free(adds);
    return err;
}

ks_err ksi_checkpoint_load_state(struct ksi_shard *s, struct ks_slice raw)
{
    struct ks_reader r = ks_reader(raw);
    uint64_t next = 0;
    while (ks_reader_left(&r)) {
        uint64_t local = ks_read_varint(&r);
        if (!r.bad && local < next)
            return ks_fail(KS_ECORRUPT, "series of the checkpoint are out of order");
        next = local + 1;
        /* Checkpoints of early versions name series without state; never the reverse. */
        if (r.bad || local >= s->local_end || !ksi_series_at(s, (uint32_t)local)->slab)
            return ks_fail(KS_ECORRUPT, "the checkpoint holds data of an unknown series");
        KS_TRY(ksi_series_load(s, (uint32_t)local, &r));
    }
    return KS_OK;
}

ks_err ksi_checkpoint_load_histograms(struct ksi_shard *s, struct ks_slice raw)
{
    struct ks_reader r = ks_reader(raw);
    uint64_t next = 0;
    while (ks_reader_left(&r)) {
        uint64_t local = ks_read_varint(&r);
        if (!r.bad && local < next)
            return ks_fail(KS_ECORRUPT, "histograms of the checkpoint are out of order");
        next = local + 1;
        if (r.bad || local >= s->local_end || !ksi_series_at(s, (uint32_t)local)->slab)
            return ks_fail(KS_ECORRUPT, "the checkpoint holds histograms of an unknown series");
        KS_TRY(ksi_hist_load(s, (uint32_t)local, &r));
    }
    return KS_OK;
}

/* Pages that were cut anywhere, as the one text they are. */
static ks_err read_pages(struct ks_part *p, const struct ks_page_ref *refs, size_t count,
                         struct ks_buf *out)
{
    struct ks_page page;
    for (size_t i = 0; i < count; i++) {
        KS_TRY(ks_part_read(p, refs[i], &page));
        ks_buf_slice(out, page.raw);
        ks_page_release(&page);
        KS_TRY(ks_buf_status(out));
    }
    return KS_OK;
}

static ks_err load_histograms(struct ksi_shard *s, struct ks_part *p, uint32_t shard,
                              struct ks_buf *all)
{
    char name[32];
    struct ks_slice range;
    size_t count;
    snprintf(name, sizeof name, "histograms-%u", shard);
    if (!ks_part_get_prop(p, name, &range))
        return KS_OK;
    const struct ks_page_ref *refs = ks_part_section_pages(p, HISTOGRAMS, &count);
    uint64_t first = range.len == 16 ? ks_le64(range.ptr) : UINT64_MAX;
    uint64_t pages = range.len == 16 ? ks_le64(range.ptr + 8) : 0;
    if (first > count || pages > count - first)
        return ks_fail(KS_ECORRUPT, "%s lacks histograms of shard %u", ks_part_path(p), shard);
    ks_buf_reset(all);
    KS_TRY(read_pages(p, refs + first, pages, all));
    return ksi_checkpoint_load_histograms(s, ks_buf_view(all));
}

static ks_err load_shard(struct ks_engine *e, struct ks_part *p, uint32_t shard, ks_lsn *ret_cut)
{
    struct ksi_shard *s = &e->shards[shard];
    char name[32];
    size_t count;
    struct ks_page page;
    struct ks_slice cut;
    snprintf(name, sizeof name, "cut-%u", shard);
    if (!ks_part_get_prop(p, name, &cut) || cut.len != 8)
        return ks_fail(KS_ECORRUPT, "%s lacks shard %u", ks_part_path(p), shard);
    *ret_cut = ks_le64(cut.ptr);
    snprintf(name, sizeof name, "labels-%u", shard);
    const struct ks_page_ref *refs = ks_part_section_pages(p, name, &count);
    for (size_t i = 0; i < count; i++) {
        KS_TRY(ks_part_read(p, refs[i], &page));
        ks_err err = ksi_checkpoint_load_labels(e, s, page.raw);
        ks_page_release(&page);
        KS_TRY(err);
    }
    snprintf(name, sizeof name, "state-%u", shard);
    refs = ks_part_section_pages(p, name, &count);
    struct ks_buf all;
    ks_buf_init(&all, (size_t)8 << 30);
    ks_err err = read_pages(p, refs, count, &all);
    if (err == KS_OK)
        err = ksi_checkpoint_load_state(s, ks_buf_view(&all));
    if (err == KS_OK)
        err = load_histograms(s, p, shard, &all);
    ks_buf_done(&all);
    return err;
}

struct load_job {
    struct ks_engine *e;
    struct ks_part *p;
    ks_lsn *cuts;
    ks_err *errs;
    char (*texts)[KS_ERR_TEXT_MAX];
};

static void load_one(void *arg, size_t i)
{
    struct load_job *j = arg;
    j->errs[i] = load_shard(j->e, j->p, (uint32_t)i, &j->cuts[i]);
    if (j->errs[i] != KS_OK)
        snprintf(j->texts[i], KS_ERR_TEXT_MAX, "%s", ks_err_text());
}

/* What the shards came to: the first error, or with wal_repair a word in the log and on with what
 * could be read. */
static ks_err judge(struct ks_engine *e, const char *path, const struct load_job *j)
{
    for (uint32_t i = 0; i < e->shard_count; i++) {
        if (j->errs[i] == KS_OK)
            continue;
        if (j->errs[i] != KS_ECORRUPT)
            return ks_fail(j->errs[i], "%s: %s", path, j->texts[i]);
        if (!e->opts.wal_repair)
            return ks_fail(
                KS_ECORRUPT,
                "%s: %s; to start with what can be read of it, start once with -wal.repair", path,
                j->texts[i]);
        ks_log(KS_LOG_ERROR, "engine",
               "shard %u of the checkpoint is damaged; what stood behind the damage is lost: %s", i,
               j->texts[i]);
    }
    return KS_OK;
}

static ks_err load_all(struct ks_engine *e, struct ks_part *p, const char *path, ks_lsn *cuts)
{
    struct load_job j = {.e = e, .p = p, .cuts = cuts};
    j.errs = ks_zalloc_array(e->shard_count, sizeof *j.errs);
    j.texts = ks_zalloc_array(e->shard_count, sizeof *j.texts);
    ks_err err = j.errs && j.texts ? KS_OK : KS_ENOMEM;
    if (err == KS_OK)
        ks_pool_for(e->opts.pool, e->shard_count, load_one, &j);
    if (err == KS_OK)
        err = judge(e, path, &j);
    ks_free(j.errs);
    ks_free(j.texts);
    return err;
}

ks_err ksi_checkpoint_load(struct ks_engine *e, const char *path, ks_lsn *cuts)
{
    struct ks_part *p;
    ks_err err = ks_part_open(e->vfs, path, NULL, &p);
    if (err == KS_OK) {
        err = load_all(e, p, path, cuts);
        ks_part_close(p);
        return err;
    }
    if (err != KS_ECORRUPT && err != KS_ENOTFOUND)
        return err;
    if (!e->opts.wal_repair)
        return ks_fail_context(err, "the checkpoint cannot be read; to start without it, start "
                                    "once with -wal.repair (samples "
                                    "not yet in parts are lost)");
    ks_log(KS_LOG_ERROR, "engine",
           "the checkpoint cannot be read; samples that were only in it are lost: %s",
           ks_err_text());
    return KS_OK;
}
