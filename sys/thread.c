#include "sys/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/clock.h"

enum { TURN_NS = 200000, PROMPT_NS = 100000, BREATHE_US = 400 };

/* struct sched_attr of the kernel, first version: the C library has none. */
struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of ordinary threads: the length of a turn */
    uint64_t deadline_ns, period_ns;
};

/* A kernel that knows no turns, or a sandbox that forbids the call, leaves all as it was. */
static void take_turns(uint32_t policy, uint64_t turn_ns)
{
    struct attr a = {.size = sizeof a};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 || a.policy != SCHED_OTHER)
        return; /* somebody gave this process another policy: theirs */
    a.policy = policy;
    a.runtime_ns = turn_ns;
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

void ks_thread_short_turns(void)
{
    take_turns(SCHED_OTHER, TURN_NS);
}

void ks_thread_prompt(void)
{
    take_turns(SCHED_OTHER, PROMPT_NS);
}

void ks_thread_background(void)
{
    take_turns(SCHED_BATCH, TURN_NS);
}

void ks_thread_breathe(void)
{
    static _Thread_local int64_t last_us;
    int64_t now_us = ks_mono_us();
    if (now_us - last_us < BREATHE_US)
        return;
    sched_yield();
    last_us = now_us;
}
