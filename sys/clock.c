#include "sys/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t frozen_ms;

static int64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t ks_now_ns(void)
{
    int64_t f = atomic_load_explicit(&frozen_ms, memory_order_relaxed);
    return f ? f * 1000000 : read_ns(CLOCK_REALTIME);
}

int64_t ks_now_ms(void)
{
    return ks_now_ns() / 1000000;
}

int64_t ks_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t ks_mono_us(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t ks_thread_cpu_us(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
}

void ks_clock_freeze_ms(int64_t ms)
{
    atomic_store(&frozen_ms, ms);
}
