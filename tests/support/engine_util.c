#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine_util.h"

/* Parses name{a="b",…} into labels or matchers. */
static size_t parse_text(const char *text, struct ks_matcher *out, size_t cap)
{
    size_t n = 0;
    const char *brace = strchr(text, '{');
    size_t name_len = brace ? (size_t)(brace - text) : strlen(text);
    if (name_len)
        out[n++] = (struct ks_matcher){KS_NAME_LABEL, ks_slice(text, name_len), KS_MATCH_EQ};
    for (const char *p = brace ? brace + 1 : ""; *p && *p != '}' && n < cap;) {
        size_t k = strcspn(p, "=!");
        struct ks_slice name = ks_slice(p, k);
        p += k;
        bool neg = *p == '!';
        bool re = p[1] == '~';
        p += neg || re ? 2 : 1;
        const char *end = strchr(p + 1, '"');
        out[n++] = (struct ks_matcher){name, ks_slice(p + 1, (size_t)(end - p - 1)),
                                       re ? (neg ? KS_MATCH_NRE : KS_MATCH_RE)
                                          : (neg ? KS_MATCH_NEQ : KS_MATCH_EQ)};
        p = end + 1;
        p += *p == ',';
    }
    return n;
}

struct ks_selector t_selector(const char *text, struct ks_matcher *room, size_t cap)
{
    return (struct ks_selector){room, parse_text(text, room, cap)};
}

static ks_err resolve(struct ks_write_batch *b, size_t i, struct ks_labels *ret)
{
    struct ks_matcher m[64];
    size_t n = parse_text(b->series[i].raw.ptr, m, 64);
    KS_TRY(ks_arena_grow(b->arena, (void **)&ret->items, &ret->cap, n, sizeof *ret->items));
    for (size_t k = 0; k < n; k++)
        ret->items[ret->count++] = (struct ks_label){m[k].name, m[k].value};
    return KS_OK;
}

void tw_init(struct tw *w)
{
    memset(w, 0, sizeof *w);
    ks_arena_init(&w->arena, 1 << 30);
    w->batch.arena = &w->arena;
    w->batch.resolve = resolve;
}

void tw_done(struct tw *w)
{
    ks_write_batch_done(&w->batch);
    ks_arena_done(&w->arena);
}

void tw_add(struct tw *w, const char *series, int64_t ts, double value)
{
    struct ks_write_batch *b = &w->batch;
    struct ks_slice raw = ks_arena_dup(&w->arena, ks_slice_str(series));
    if (!raw.ptr || ks_write_batch_reserve(b, 1, 1) != KS_OK) {
        w->memory_short = true;
        return;
    }
    struct ks_tenant t = {0, 0};
    b->series[b->series_count++] = (struct ks_write_series){ks_raw_key(t, ks_slice(NULL, 0), raw),
                                                            raw, t, (uint32_t)b->sample_count, 1};
    b->samples[b->sample_count++] = (struct ks_write_sample){ts, value};
}

void tw_add_histogram(struct tw *w, const char *series, int64_t ts, const struct ks_histogram *h)
{
    struct ks_write_batch *b = &w->batch;
    struct ks_slice raw = ks_arena_dup(&w->arena, ks_slice_str(series));
    if (!raw.ptr || ks_write_batch_reserve(b, 1, 0) != KS_OK) {
        w->memory_short = true;
        return;
    }
    struct ks_tenant t = {0, 0};
    b->series[b->series_count++] = (struct ks_write_series){ks_raw_key(t, ks_slice(NULL, 0), raw),
                                                            raw, t, (uint32_t)b->sample_count, 0};
    if (ks_write_batch_histogram(b, ts, h) != KS_OK)
        w->memory_short = true;
}

ks_err tw_write(struct tw *w, struct ks_engine *e, struct ks_write_result *ret)
{
    struct ks_write_result r;
    ks_err err = w->memory_short ? ks_fail(KS_ENOMEM, "no memory for the batch")
                                 : ks_engine_write(e, &w->batch, ret ? ret : &r);
    w->memory_short = false;
    ks_write_batch_reset(&w->batch);
    ks_arena_reset(&w->arena);
    return err;
}

ks_err tw_put(struct ks_engine *e, const char *series, int64_t ts, double value)
{
    struct tw w;
    tw_init(&w);
    tw_add(&w, series, ts, value);
    ks_err err = tw_write(&w, e, NULL);
    tw_done(&w);
    return err;
}

ks_err t_select(struct ks_engine *e, const char *selector, int64_t min_ms, int64_t max_ms,
                struct ks_series_set **ret)
{
    struct ks_matcher room[16];
    struct ks_selector sel = t_selector(selector, room, 16);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {.tenants = &tenant,
                               .tenant_count = 1,
                               .selectors = &sel,
                               .selector_count = 1,
                               .min_ms = min_ms,
                               .max_ms = max_ms};
    return ks_engine_select(e, &o, ret);
}

static struct ks_series_set *select_text(struct ks_engine *e, const char *selector, int64_t min_ms,
                                         int64_t max_ms)
{
    struct ks_series_set *set = NULL;
    ks_err err = t_select(e, selector, min_ms, max_ms, &set);
    if (err != KS_OK)
        print_error("select: %s\n", ks_err_text());
    assert_int_equal(err, KS_OK);
    return set;
}

size_t t_read(struct ks_engine *e, const char *selector, int64_t min_ms, int64_t max_ms,
              int64_t *ts, double *values, size_t cap)
{
    struct ks_series_set *set = select_text(e, selector, min_ms, max_ms);
    struct ks_samples s = {0};
    assert_true(ks_series_set_count(set) <= 1);
    size_t n = 0;
    if (ks_series_set_count(set)) {
        ks_err err = ks_series_read(set, 0, min_ms, max_ms, &s);
        if (err != KS_OK)
            print_error("read: %s\n", ks_err_text());
        assert_int_equal(err, KS_OK);
        n = s.count;
        assert_true(n <= cap);
        if (n) {
            memcpy(ts, s.times, n * sizeof *ts);
            memcpy(values, s.values, n * sizeof *values);
        }
    }
    ks_samples_done(&s);
    ks_series_set_free(set);
    return n;
}

struct ks_histogram_run t_read_histograms(struct ks_engine *e, const char *selector, int64_t min_ms,
                                          int64_t max_ms, struct ks_arena *arena)
{
    struct ks_series_set *set = select_text(e, selector, min_ms, max_ms);
    struct ks_histogram_run r = {0};
    assert_true(ks_series_set_count(set) <= 1);
    if (ks_series_set_count(set)) {
        ks_err err = ks_series_read_histograms(set, 0, min_ms, max_ms, arena, &r);
        if (err != KS_OK)
            print_error("read: %s\n", ks_err_text());
        assert_int_equal(err, KS_OK);
        assert_true(r.count == 0 || ks_series_has_histograms(set, 0));
    }
    ks_series_set_free(set);
    return r;
}

size_t t_count(struct ks_engine *e, const char *selector, int64_t min_ms, int64_t max_ms)
{
    struct ks_series_set *set = select_text(e, selector, min_ms, max_ms);
    size_t n = ks_series_set_count(set);
    ks_series_set_free(set);
    return n;
}

bool t_add_word(void *words, struct ks_slice word, uint64_t rows)
{
    struct t_words *w = words;
    size_t n = strlen(w->text);
    snprintf(w->text + n, sizeof w->text - n, "%.*s ", KS_SLICE_ARG(word));
    return true;
}

struct ks_engine_opts t_opts(const char *dir)
{
    return (struct ks_engine_opts){.dir = dir,
                                   .no_background = true,
                                   .retention_ms = 100 * KS_MS_DAY,
                                   .wal_segment_bytes = 4 << 20,
                                   .min_free_disk_bytes = 1};
}

struct ks_engine *t_open(const struct ks_engine_opts *opts)
{
    struct ks_engine *e = NULL;
    ks_err err = ks_engine_open(opts, &e);
    if (err != KS_OK)
        print_error("open: %s\n", ks_err_text());
    assert_int_equal(err, KS_OK);
    return e;
}
