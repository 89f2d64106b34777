#include "engine/past.h"

#include "engine/engine_priv.h"

static int64_t slot_of(int64_t ms)
{
    return ms / KSI_PAST_SLOT_MS - (ms % KSI_PAST_SLOT_MS < 0);
}

static uint64_t *slot_at(struct ksi_past *p, int64_t slot)
{
    return &p->slots[(uint64_t)slot % KSI_PAST_SLOTS];
}

void ksi_past_init(struct ksi_past *p)
{
    atomic_init(&p->watched_ms, INT64_MIN);
    pthread_mutex_init(&p->lock, NULL);
    p->version = 1;
}

void ksi_past_done(struct ksi_past *p)
{
    pthread_mutex_destroy(&p->lock);
}

void ksi_past_note_batch(struct ksi_past *p, const struct ks_write_batch *batch, int64_t oldest_ms)
{
    int64_t watched = atomic_load(&p->watched_ms), last = INT64_MIN;
    if (oldest_ms > watched)
        return;
    pthread_mutex_lock(&p->lock);
    uint64_t version = ++p->version;
    for (size_t i = 0; i < batch->histogram_count; i++)
        if (batch->histograms[i].time_ms <= watched)
            *slot_at(p, slot_of(batch->histograms[i].time_ms)) = version;
    for (size_t i = 0; i < batch->series_count; i++) {
        const struct ks_write_series *x = &batch->series[i];
        for (uint32_t k = 0; k < x->sample_count; k++) {
            int64_t t = batch->samples[x->first_sample + k].time_ms, slot = slot_of(t);
            if (t > watched || slot == last)
                continue;
            *slot_at(p, slot) = version;
            last = slot;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void ksi_past_note_all(struct ksi_past *p)
{
    pthread_mutex_lock(&p->lock);
    p->all_time = ++p->version;
    pthread_mutex_unlock(&p->lock);
}

uint64_t ks_engine_past_watch(struct ks_engine *e, int64_t until_ms)
{
    struct ksi_past *p = &e->past;
    pthread_mutex_lock(&p->lock);
    if (until_ms > atomic_load(&p->watched_ms))
        atomic_store(&p->watched_ms, until_ms);
    uint64_t version = p->version;
    pthread_mutex_unlock(&p->lock);
    return version;
}

int64_t ks_engine_past_changed(struct ks_engine *e, uint64_t since, int64_t min_ms, int64_t max_ms)
{
    struct ksi_past *p = &e->past;
    int64_t first = slot_of(min_ms), last = slot_of(max_ms), found = INT64_MAX;
    if (max_ms < min_ms)
        return INT64_MAX;
    pthread_mutex_lock(&p->lock);
    if (p->all_time > since)
        found = INT64_MIN;
    else if (p->version > since) {
        /* Slots repeat: past one round there is nothing new to see, and no telling where. */
        if (last - first >= KSI_PAST_SLOTS) {
            for (size_t i = 0; i < KSI_PAST_SLOTS && found == INT64_MAX; i++)
                found = p->slots[i] > since ? INT64_MIN : INT64_MAX;
        } else {
            for (; first <= last && found == INT64_MAX; first++)
                if (*slot_at(p, first) > since)
                    found = first * KSI_PAST_SLOT_MS;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}
