/* Ties container, series index and chunk data of a metric part together. Rows and ordinals are the
 * same numbers in both. */
#include "index/metric_part.h"

#include "base/mem.h"

ks_err ks_mpart_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                     struct ks_mpart *ret)
{
    struct ks_mpart p = {0};
    KS_TRY(ks_part_open(vfs, path, cache, &p.file));
    ks_err err = KS_OK;
    if (ks_part_get_kind(p.file) != KS_PART_METRICS)
        err = ks_fail(KS_ECORRUPT, "%s: not a metric part", path);
    if (err == KS_OK)
        err = ks_sindex_open(p.file, &p.index);
    if (err == KS_OK)
        err = ks_mdata_open(p.file, &p.data);
    if (err == KS_OK && ks_sindex_series_count(p.index) != ks_mdata_series_count(p.data))
        err = ks_fail(KS_ECORRUPT, "%s: index has %u series, data %u", path,
                      ks_sindex_series_count(p.index), ks_mdata_series_count(p.data));
    if (err != KS_OK) {
        ks_mpart_close(&p);
        return err;
    }
    *ret = p;
    return KS_OK;
}

void ks_mpart_close(struct ks_mpart *p)
{
    ks_mdata_close(p->data);
    ks_sindex_close(p->index);
    ks_part_close(p->file);
    *p = (struct ks_mpart){0};
}

struct ks_mpart_writer {
    struct ks_part_writer *file;
    struct ks_sindex_writer *index;
    struct ks_mdata_writer *data;
    uint32_t series_count;
};

ks_err ks_mpart_writer_new(struct ks_vfs *vfs, const char *path, int level,
                           struct ks_mpart_writer **ret)
{
    struct ks_mpart_writer *w = ks_zalloc(sizeof *w);
    if (!w)
        return KS_ENOMEM;
    ks_err err = ks_part_writer_new(vfs, path, KS_PART_METRICS, &w->file);
    if (err == KS_OK)
        err = ks_sindex_writer_new(w->file, &w->index);
    if (err == KS_OK)
        err = ks_mdata_writer_new(w->file, level, &w->data);
    if (err == KS_OK) {
        uint8_t text = (uint8_t)level;
        err = ks_part_prop(w->file, "level", ks_slice(&text, 1));
    }
    if (err != KS_OK) {
        ks_mpart_writer_abort(w);
        return err;
    }
    *ret = w;
    return KS_OK;
}

ks_err ks_mpart_add_series(struct ks_mpart_writer *w, struct ks_tenant tenant,
                           struct ks_slice label_bytes)
{
    KS_TRY(ks_sindex_add(w->index, tenant, label_bytes));
    w->series_count++;
    return KS_OK;
}

ks_err ks_mpart_add_chunk(struct ks_mpart_writer *w, const struct ks_chunk_meta *meta,
                          struct ks_slice times, struct ks_slice values)
{
    KS_ASSERT(w->series_count > 0);
    return ks_mdata_add(w->data, w->series_count - 1, meta, times, values);
}

ks_err ks_mpart_writer_finish(struct ks_mpart_writer *w, uint64_t *ret_bytes)
{
    ks_err err = ks_mdata_writer_finish(w->data, w->series_count);
    w->data = NULL;
    if (err == KS_OK) {
        err = ks_sindex_writer_finish(w->index);
        w->index = NULL;
    }
    if (err == KS_OK) {
        err = ks_part_writer_finish(w->file, ret_bytes);
        w->file = NULL;
    }
    ks_mpart_writer_abort(w);
    return err;
}

void ks_mpart_writer_abort(struct ks_mpart_writer *w)
{
    if (!w)
        return;
    ks_mdata_writer_abort(w->data);
    ks_sindex_writer_abort(w->index);
    ks_part_writer_abort(w->file);
    ks_free(w);
}
