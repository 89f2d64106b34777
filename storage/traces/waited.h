/* Locks taken during a write of spans: how long it waited for them is part of what the ring itself
 * held it for (ring.c). */
#ifndef KS_STORAGE_TRACES_WAITED_H
#define KS_STORAGE_TRACES_WAITED_H

#include <pthread.h>
#include <stdint.h>

#include "sys/clock.h"

/* The calling thread's waits so far. */
extern _Thread_local int64_t ksi_waited_us;

static inline void ksi_mutex_lock(pthread_mutex_t *m)
{
    if (pthread_mutex_trylock(m) == 0)
        return;
    int64_t from_us = ks_mono_us();
    pthread_mutex_lock(m);
    ksi_waited_us += ks_mono_us() - from_us;
}

#endif
