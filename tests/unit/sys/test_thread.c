/* What the kernel was told of a thread that takes short turns, and of one in the background. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/thread.h"

struct seen {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static struct seen now(void)
{
    struct seen s = {0};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &s, sizeof s, 0), 0);
    return s;
}

static void *short_turns(void *arg)
{
    ks_thread_short_turns();
    *(struct seen *)arg = now();
    return NULL;
}

static void *background(void *arg)
{
    ks_thread_background();
    *(struct seen *)arg = now();
    return NULL;
}

static struct seen of(void *(*fn)(void *))
{
    pthread_t t;
    struct seen s;
    assert_int_equal(pthread_create(&t, NULL, fn, &s), 0);
    pthread_join(t, NULL);
    return s;
}

static void test_policies(void **state)
{
    struct seen own = now();
    if (own.policy != SCHED_OTHER) {
        print_message("skipped: this process was given scheduling policy %u, which stays\n",
                      own.policy);
        skip();
    }
    struct seen turns = of(short_turns), back = of(background);
    assert_int_equal(turns.policy, SCHED_OTHER);
    assert_int_equal(turns.nice, own.nice);
    assert_int_equal(back.policy, SCHED_BATCH);
    assert_int_equal(back.nice, own.nice);
    if (own.runtime_ns) { /* a kernel that tells how long turns are */
        assert_int_equal(turns.runtime_ns, 200000);
        assert_int_equal(back.runtime_ns, 200000);
    } else {
        print_message("this kernel has no turns to set\n");
    }
    struct seen after = now();
    assert_int_equal(after.policy, own.policy); /* of one thread, not of all */
    assert_int_equal(after.runtime_ns, own.runtime_ns);
}

static void test_breathe(void **state)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 100000; i++)
        ks_thread_breathe();
    clock_gettime(CLOCK_MONOTONIC, &to);
    double us = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
    print_message("%.3f us each\n", us / 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_policies),
                                       cmocka_unit_test(test_breathe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
