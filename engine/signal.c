/* Runs the signals beside the metrics: loading, replay dispatch, background work, letting go of the
 * log. */
#include "engine/signal.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/engine_priv.h"
#include "engine/records.h"

ks_err ksi_signals_init(struct ks_engine *e, const struct ks_signal *signals, size_t count)
{
    KS_ASSERT(count <= KS_SIGNALS_MAX);
    for (size_t i = 0; i < count; i++) {
        KS_ASSERT(signals[i].type_first > KSI_REC_METRICS_LAST);
        e->signals[i] = signals[i];
    }
    e->signal_count = count;
    return KS_OK;
}

ks_err ksi_signals_load(struct ks_engine *e, ks_lsn *from)
{
    for (size_t i = 0; i < e->signal_count; i++) {
        ks_lsn wanted = KS_LSN_NONE;
        ks_err err = e->signals[i].load(e->signals[i].self, e, &wanted);
        if (err != KS_OK)
            return ks_fail_context(err, "%s", e->signals[i].name);
        *from = wanted < *from ? wanted : *from;
    }
    return KS_OK;
}

ks_err ksi_signals_replay(struct ks_engine *e, const struct ks_wal_record *rec)
{
    for (size_t i = 0; i < e->signal_count; i++) {
        const struct ks_signal *s = &e->signals[i];
        if (rec->type < s->type_first || rec->type > s->type_last)
            continue;
        ks_err err = s->replay(s->self, rec);
        return err == KS_OK ? KS_OK
                            : ks_fail_context(err, "%s: log record %llu", s->name,
                                              (unsigned long long)rec->lsn);
    }
    return ks_fail(KS_EUNSUPPORTED,
                   "log record %llu has type %u, which nothing opened here knows: open the folder "
                   "with the server that wrote it, or a newer one",
                   (unsigned long long)rec->lsn, rec->type);
}

ks_err ksi_signals_start(struct ks_engine *e)
{
    for (size_t i = 0; i < e->signal_count; i++) {
        ks_err err = e->signals[i].start(e->signals[i].self);
        if (err != KS_OK)
            return ks_fail_context(err, "%s", e->signals[i].name);
    }
    return KS_OK;
}

/* Keeps the first error and its text while the others get their turn too. */
struct first_error {
    ks_err err;
    char text[KS_ERR_TEXT_MAX];
};

static void note(struct first_error *f, const struct ks_signal *s, ks_err err)
{
    if (err == KS_OK || f->err != KS_OK)
        return;
    snprintf(f->text, sizeof f->text, "%s: %s", s->name, ks_err_text());
    f->err = err;
}

static ks_err tell(const struct first_error *f)
{
    return f->err == KS_OK ? KS_OK : ks_fail(f->err, "%s", f->text);
}

ks_err ksi_signals_flush(struct ks_engine *e)
{
    struct first_error first = {0};
    for (size_t i = 0; i < e->signal_count; i++)
        note(&first, &e->signals[i], e->signals[i].flush(e->signals[i].self));
    return tell(&first);
}

ks_err ksi_signals_tick(struct ks_engine *e)
{
    struct first_error first = {0};
    for (size_t i = 0; i < e->signal_count; i++) {
        const struct ks_signal *s = &e->signals[i];
        if (s->tick)
            note(&first, s, s->tick(s->self));
        if (!atomic_load(&e->read_only) &&
            ks_wal_bytes_since(e->wal, s->needs(s->self)) > e->opts.wal_max_replay_bytes / 4 * 3)
            note(&first, s, s->flush(s->self));
    }
    return tell(&first);
}

ks_err ksi_signals_merge(struct ks_engine *e)
{
    struct first_error first = {0};
    for (size_t i = 0; i < e->signal_count; i++)
        if (e->signals[i].merge)
            note(&first, &e->signals[i], e->signals[i].merge(e->signals[i].self));
    return tell(&first);
}

ks_err ksi_signals_snapshot(struct ks_engine *e, const char *dir)
{
    for (size_t i = 0; i < e->signal_count; i++)
        if (e->signals[i].snapshot)
            KS_TRY(e->signals[i].snapshot(e->signals[i].self, dir));
    return KS_OK;
}

void ksi_signals_stop(struct ks_engine *e)
{
    for (size_t i = 0; i < e->signal_count; i++)
        if (e->signals[i].stop)
            e->signals[i].stop(e->signals[i].self);
}

void ksi_signals_close(struct ks_engine *e)
{
    for (size_t i = 0; i < e->signal_count; i++)
        if (e->signals[i].close)
            e->signals[i].close(e->signals[i].self);
}

void ksi_release_log(struct ks_engine *e)
{
    ks_lsn lowest = e->checkpoint_lsn;
    for (size_t i = 0; i < e->signal_count; i++) {
        ks_lsn needs = e->signals[i].needs(e->signals[i].self);
        lowest = needs < lowest ? needs : lowest;
    }
    /* Failing to recycle log segments costs space, not data; a closed log shows at the next write.
     */
    (void)!ks_wal_release(e->wal, lowest);
}

struct ks_wal *ks_engine_wal(struct ks_engine *e)
{
    return e->wal;
}

struct ks_vfs *ks_engine_vfs(struct ks_engine *e)
{
    return e->vfs;
}

struct ks_cache *ks_engine_cache(struct ks_engine *e)
{
    return e->cache;
}

const char *ks_engine_dir(struct ks_engine *e)
{
    return e->dir;
}

bool ks_engine_read_only(struct ks_engine *e)
{
    return atomic_load(&e->read_only);
}

bool ks_engine_stopping(struct ks_engine *e)
{
    return atomic_load(&e->stop_work);
}

bool ks_engine_has_background(struct ks_engine *e)
{
    return !e->opts.no_background;
}
