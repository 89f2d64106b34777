/*
 * A pool of worker threads over one bounded FIFO of jobs, and parallel loops on it. A job must not
 * wait for another job of the same pool, except through ks_pool_for, where the caller works too.
 */
#ifndef KS_SYS_POOL_H
#define KS_SYS_POOL_H

#include <stddef.h>

#include "base/err.h"

struct ks_pool;
typedef void (*ks_job_fn)(void *arg);

/* threads ≥ 1; at most `max_queued` jobs wait. name (≤ 15 bytes) shows in top and gdb. */
KS_NODISCARD ks_err ks_pool_new(const char *name, unsigned threads, size_t max_queued,
                                struct ks_pool **ret);
/* Runs what is queued, then ends the threads. */
void ks_pool_free(struct ks_pool *p);
/* KS_EAGAIN when the queue is full: the job was not taken. */
KS_NODISCARD ks_err ks_pool_submit(struct ks_pool *p, ks_job_fn fn, void *arg);
size_t ks_pool_queued(struct ks_pool *p);
unsigned ks_pool_threads(const struct ks_pool *p);

/*
 * Calls fn(arg, i) for every i in [0, count), spread over the caller and idle workers, and returns
 * when all are done. Indexes are handed out in order. With p NULL the caller does all.
 */
typedef void (*ks_for_fn)(void *arg, size_t i);
void ks_pool_for(struct ks_pool *p, size_t count, ks_for_fn fn, void *arg);

/* Cores this process may use (cgroup quota and affinity), at least 1; memory limit of the cgroup or
 * machine in bytes. */
unsigned ks_cpu_count(void);
size_t ks_memory_limit_bytes(void);
size_t ks_memory_resident_bytes(void);

#endif
