#include "api/ops/self_scrape.h"

#include <pthread.h>
#include <time.h>

#include "api/ingest/import.h"
#include "api/ops/ops.h"
#include "api/scratch.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stats.h"
#include "sys/clock.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"self_scrape\"}");

struct ks_self_scrape {
    struct ks_app *app;
    int64_t interval_ms;
    struct ks_label labels[2];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
};

static void scrape(struct ks_self_scrape *s, struct ks_scratch *scratch, struct ks_buf *text)
{
    struct ks_ingest in;
    uint64_t bad = 0;
    ks_buf_reset(text);
    ks_err err = ks_ops_metrics_text(s->app, text);
    if (err == KS_OK) {
        ks_ingest_begin_local(s->app, scratch, &stat_rows, &in);
        in.extra = s->labels;
        in.extra_count = 2;
        in.extra_bytes = KS_SLICE_LIT("self-scrape");
        ks_buf_str(text, "up 1\n");
        err = ks_buf_status(text);
        if (err == KS_OK)
            err = ks_import_text(&in, ks_buf_view(text), in.now_ms, NULL, 0, &bad);
        if (err == KS_OK)
            err = ks_ingest_end(&in);
    }
    if (err != KS_OK)
        ks_log_limited(60000, KS_LOG_WARN, "api", "self-scrape failed: %s", ks_err_text());
}

static void *run(void *arg)
{
    struct ks_self_scrape *s = arg;
    struct ks_scratch scratch;
    struct ks_buf text;
    ks_scratch_init(&scratch);
    ks_buf_init(&text, 16 << 20);
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        pthread_mutex_unlock(&s->lock);
        scrape(s, &scratch, &text);
        /* On multiples of the interval, as a scraper would. */
        int64_t next = (ks_now_ms() / s->interval_ms + 1) * s->interval_ms;
        struct timespec until = {next / 1000, next % 1000 * 1000000};
        pthread_mutex_lock(&s->lock);
        if (!s->stop)
            pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
    ks_buf_done(&text);
    ks_scratch_done(&scratch);
    return NULL;
}

ks_err ks_self_scrape_start(struct ks_app *app, int64_t interval_ms, const char *job,
                            const char *instance, struct ks_self_scrape **ret)
{
    struct ks_self_scrape *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->app = app;
    s->interval_ms = interval_ms > 0 ? interval_ms : 15000;
    s->labels[0] = (struct ks_label){KS_SLICE_LIT("job"), ks_slice_str(job)};
    s->labels[1] = (struct ks_label){KS_SLICE_LIT("instance"), ks_slice_str(instance)};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        ks_free(s);
        return ks_fail(KS_ENOMEM, "cannot start the self-scrape thread");
    }
    pthread_setname_np(s->thread, "self-scrape");
    *ret = s;
    return KS_OK;
}

void ks_self_scrape_stop(struct ks_self_scrape *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    ks_free(s);
}
