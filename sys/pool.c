#include "sys/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/thread.h"

struct job {
    ks_job_fn fn;
    void *arg;
};

struct ks_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *ring;
    size_t head, queued, max;
    bool stop;
    unsigned threads;
    pthread_t ids[];
};

static void *worker(void *arg)
{
    struct ks_pool *p = arg;
    ks_thread_short_turns();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->queued && !p->stop)
            pthread_cond_wait(&p->wake, &p->lock);
        if (!p->queued)
            break;
        struct job j = p->ring[p->head];
        p->head = (p->head + 1) % p->max;
        p->queued--;
        pthread_mutex_unlock(&p->lock);
        j.fn(j.arg);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

ks_err ks_pool_new(const char *name, unsigned threads, size_t max_queued, struct ks_pool **ret)
{
    struct ks_pool *p = ks_zalloc(sizeof *p + threads * sizeof *p->ids);
    if (!p)
        return KS_ENOMEM;
    p->max = max_queued ? max_queued : 1;
    if (!(p->ring = ks_alloc_array(p->max, sizeof *p->ring))) {
        ks_free(p);
        return KS_ENOMEM;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (; p->threads < threads; p->threads++) {
        if (pthread_create(&p->ids[p->threads], NULL, worker, p) != 0) {
            ks_pool_free(p);
            return ks_fail(KS_ENOMEM, "cannot start thread %s", name);
        }
        char short_name[16];
        snprintf(short_name, sizeof short_name, "%s", name);
        pthread_setname_np(p->ids[p->threads], short_name);
    }
    *ret = p;
    return KS_OK;
}

void ks_pool_free(struct ks_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    ks_free(p->ring);
    ks_free(p);
}

ks_err ks_pool_submit(struct ks_pool *p, ks_job_fn fn, void *arg)
{
    pthread_mutex_lock(&p->lock);
    bool taken = p->queued < p->max && !p->stop;
    if (taken)
        p->ring[(p->head + p->queued++) % p->max] = (struct job){fn, arg};
    pthread_mutex_unlock(&p->lock);
    if (taken) /* whoever wakes finds the lock free */
        pthread_cond_signal(&p->wake);
    return taken ? KS_OK : ks_fail(KS_EAGAIN, "the job queue is full (%zu jobs)", p->max);
}

size_t ks_pool_queued(struct ks_pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->queued;
    pthread_mutex_unlock(&p->lock);
    return n;
}

unsigned ks_pool_threads(const struct ks_pool *p)
{
    return p->threads;
}

/* A parallel loop, on the heap and refcounted: a helper job may start only after the caller has
 * gone. */
struct loop {
    ks_for_fn fn;
    void *arg;
    size_t count;
    _Atomic size_t next, done;
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    pthread_cond_t finished;
};

static void loop_work(struct loop *l)
{
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->count;) {
        l->fn(l->arg, i);
        if (atomic_fetch_add(&l->done, 1) + 1 == l->count) {
            pthread_mutex_lock(&l->lock);
            pthread_cond_signal(&l->finished);
            pthread_mutex_unlock(&l->lock);
        }
    }
}

static void loop_unref(struct loop *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->finished);
    ks_free(l);
}

static void loop_job(void *arg)
{
    loop_work(arg);
    loop_unref(arg);
}

void ks_pool_for(struct ks_pool *p, size_t count, ks_for_fn fn, void *arg)
{
    struct loop *l = p && count > 1 ? ks_zalloc(sizeof *l) : NULL;
    if (!l) {
        for (size_t i = 0; i < count; i++)
            fn(arg, i);
        return;
    }
    l->fn = fn;
    l->arg = arg;
    l->count = count;
    atomic_store(&l->refs, 1);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->finished, NULL);
    /* The caller is one of as many as there are threads: more would only wait for a processor. */
    for (unsigned i = 0; i + 1 < p->threads && i + 1 < count; i++) {
        atomic_fetch_add(&l->refs, 1);
        if (ks_pool_submit(p, loop_job, l) != KS_OK) {
            loop_unref(l);
            break;
        }
    }
    loop_work(l);
    pthread_mutex_lock(&l->lock);
    while (atomic_load(&l->done) < count)
        pthread_cond_wait(&l->finished, &l->lock);
    pthread_mutex_unlock(&l->lock);
    loop_unref(l);
}

/* First number in a small text file; -1 when there is none. */
static double read_number(const char *path, double *ret_second)
{
    double a = -1, b = -1;
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%lf %lf", &a, &b) < 1)
            a = -1;
        fclose(f);
    }
    if (ret_second)
        *ret_second = b;
    return a;
}

unsigned ks_cpu_count(void)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    double period, quota = read_number("/sys/fs/cgroup/cpu.max", &period);
    if (quota > 0 && period > 0 && quota / period < n)
        n = (unsigned)(quota / period + 0.999);
    return n ? n : 1;
}

size_t ks_memory_limit_bytes(void)
{
    size_t machine = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    double v2 = read_number("/sys/fs/cgroup/memory.max", NULL);
    double v1 = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", NULL);
    double limit = v2 > 0 ? v2 : v1;
    return limit > 0 && limit < (double)machine ? (size_t)limit : machine;
}

size_t ks_memory_resident_bytes(void)
{
    double resident;
    read_number("/proc/self/statm", &resident);
    return resident > 0 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}
