#include "ingest_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/exemplars.h"
#include "api/metadata.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "test_rows");

enum { LABELS = 4096 };

static void broken(const char *what)
{
    fprintf(stderr, "ingest: %s\n", what);
    abort();
}

static void put_labels(struct ks_buf *out, struct ks_slice raw)
{
    static struct ks_label room[LABELS];
    struct ks_labels l = {room, 0, LABELS};
    struct ks_reader r = ks_reader(raw);
    bool bad = false;
    while (l.count < LABELS && ks_raw_label_next(&r, &room[l.count], &bad))
        l.count++;
    if (bad)
        broken("malformed raw labels");
    ks_labels_canonicalise(&l);
    const char *sep = "{";
    for (size_t i = 0; i < l.count; i++)
        if (ks_slice_eq(room[i].name, KS_NAME_LABEL))
            ks_buf_slice(out, room[i].value);
    for (size_t i = 0; i < l.count; i++) {
        if (ks_slice_eq(room[i].name, KS_NAME_LABEL))
            continue;
        ks_buf_printf(out, "%s%.*s=\"%.*s\"", sep, KS_SLICE_ARG(room[i].name),
                      KS_SLICE_ARG(room[i].value));
        sep = ",";
    }
    if (*sep == ',')
        ks_buf_byte(out, '}');
}

static void put_batch(struct ks_buf *out, const struct ks_write_batch *b)
{
    for (size_t i = 0; i < b->series_count; i++) {
        const struct ks_write_series *s = &b->series[i];
        if (s->first_sample > b->sample_count ||
            s->sample_count > b->sample_count - s->first_sample)
            broken("samples outside of the batch");
        for (size_t k = 0; k < s->sample_count; k++) {
            const struct ks_write_sample *x = &b->samples[s->first_sample + k];
            put_labels(out, s->raw);
            ks_buf_byte(out, ' ');
            if (ks_is_stale_nan(x->value))
                ks_buf_str(out, "stale");
            else
                ks_buf_f64(out, x->value);
            ks_buf_printf(out, " %lld\n", (long long)x->time_ms);
        }
    }
}

ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret)
{
    struct ti *t = (struct ti *)e;
    *ret = (struct ks_write_result){.stored = b->sample_count + b->histogram_count};
    for (size_t i = 0; i < b->series_count; i++) {
        struct ks_labels l = {0};
        ks_err err = b->resolve(b, i, &l);
        if (err != KS_OK && !t->labels_may_fail)
            broken(ks_err_text());
        if (err != KS_OK)
            return err;
        ks_labels_canonicalise(&l);
    }
    t->text.len = t->written_bytes;
    put_batch(&t->text, b);
    t->written_bytes = t->text.len;
    return KS_OK;
}

const char *ti_text(struct ti *t)
{
    t->text.len = t->written_bytes;
    put_batch(&t->text, t->in.batch);
    ks_buf_byte(&t->text, 0);
    return t->text.ptr;
}

void ti_init(struct ti *t, int64_t now_ms)
{
    *t = (struct ti){.app.engine = (struct ks_engine *)t};
    t->app.cfg.import_max_line_bytes = 10 << 20;
    t->app.cfg.max_labels_per_series = 60;
    ks_scratch_init(&t->scratch);
    ks_buf_init(&t->text, KS_BUF_UNLIMITED);
    if (ks_metadata_new(1 << 20, &t->app.metadata) != KS_OK ||
        ks_exemplars_new(16, 64 << 10, &t->app.exemplars) != KS_OK)
        broken(ks_err_text());
    ks_ingest_begin_local(&t->app, &t->scratch, &stat_rows, &t->in);
    t->in.now_ms = now_ms;
}

void ti_done(struct ti *t)
{
    ks_metadata_free(t->app.metadata);
    ks_exemplars_free(t->app.exemplars);
    ks_scratch_done(&t->scratch);
    ks_buf_done(&t->text);
}

void ti_reset(struct ti *t)
{
    int64_t now = t->in.now_ms;
    ks_scratch_trim(&t->scratch);
    ks_ingest_begin_local(&t->app, &t->scratch, &stat_rows, &t->in);
    t->in.now_ms = now;
    t->written_bytes = 0;
}
