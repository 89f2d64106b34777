/*
 * Times in which a core ran nothing of ours: a thread of real-time priority on each core wakes
 * every millisecond and notes how late it was. Nothing in the guest may keep it from its core for
 * longer than moments, so what it sees is the machine below: a virtual core that was put off, an
 * interrupt that took long. Costs half a percent of each core. Needs the right to real-time
 * priority.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/load.h"

enum { PERIOD_NS = 1000000, CORES_MAX = 64, GAPS_MAX = 4096 };

struct gap {
    double from_us, to_us; /* unix */
};

struct watch {
    pthread_t thread;
    int core;
    bool refused;
    struct gap longer[GAPS_MAX]; /* than 1 ms: the last ones */
    unsigned wakes, over_1ms, over_5ms;
    double max_us;
};

struct core_gaps {
    _Atomic int stop;
    int cores;
    struct watch watches[CORES_MAX];
};

static struct core_gaps gaps;

static bool take_core(int core)
{
    const struct sched_param first = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0 &&
           pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0;
}

static void note(struct watch *w, double late_us)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double unix_us = (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
    w->wakes++;
    if (late_us > 1000)
        w->longer[w->over_1ms++ % GAPS_MAX] = (struct gap){unix_us - late_us, unix_us};
    w->over_5ms += late_us > 5000;
    w->max_us = late_us > w->max_us ? late_us : w->max_us;
}

static void *watch_core(void *arg)
{
    struct watch *w = arg;
    struct timespec due;
    w->refused = !take_core(w->core);
    clock_gettime(CLOCK_MONOTONIC, &due);
    while (!w->refused && !atomic_load(&gaps.stop)) {
        due.tv_nsec += PERIOD_NS;
        if (due.tv_nsec >= 1000000000) {
            due.tv_nsec -= 1000000000;
            due.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double late_us =
            (double)(now.tv_sec - due.tv_sec) * 1e6 + (double)(now.tv_nsec - due.tv_nsec) / 1e3;
        note(w, late_us);
        if (late_us > PERIOD_NS / 1e3)
            due = now; /* one gap counts once */
    }
    return NULL;
}

void core_gaps_start(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    gaps.cores = n > CORES_MAX ? CORES_MAX : (int)n;
    for (int i = 0; i < gaps.cores; i++) {
        gaps.watches[i].core = i;
        if (pthread_create(&gaps.watches[i].thread, NULL, watch_core, &gaps.watches[i]) != 0)
            die("cannot start a thread");
    }
}

double core_gaps_within(double from_us, double to_us)
{
    double most = 0;
    for (int i = 0; i < gaps.cores; i++) {
        const struct watch *w = &gaps.watches[i];
        double sum = 0;
        for (unsigned k = 0; k < w->over_1ms && k < GAPS_MAX; k++) {
            double from = w->longer[k].from_us, to = w->longer[k].to_us;
            from = from > from_us ? from : from_us;
            to = to < to_us ? to : to_us;
            sum += to > from ? to - from : 0;
        }
        most = sum > most ? sum : most;
    }
    return most;
}

void core_gaps_report(void)
{
    struct watch sum = {0};
    atomic_store(&gaps.stop, 1);
    for (int i = 0; i < gaps.cores; i++) {
        const struct watch *w = &gaps.watches[i];
        pthread_join(w->thread, NULL);
        sum.refused |= w->refused;
        sum.wakes += w->wakes;
        sum.over_1ms += w->over_1ms;
        sum.over_5ms += w->over_5ms;
        sum.max_us = w->max_us > sum.max_us ? w->max_us : sum.max_us;
    }
    if (sum.refused)
        printf("{\"stage\":\"gaps of cores\",\"error\":\"no right to real-time priority\"}\n");
    else
        printf("{\"stage\":\"gaps of cores\",\"wakes\":%u,\"over_1ms\":%u,\"over_5ms\":%u,"
               "\"max_ms\":%.1f}\n",
               sum.wakes, sum.over_1ms, sum.over_5ms, sum.max_us / 1000);
    fflush(stdout);
}
