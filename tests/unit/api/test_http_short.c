/* Which requests are held for the same question, and when one is held for short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "api/http_priv.h"
#include "base/mem.h"
#include "sys/clock.h"

static uint64_t key_of(enum ks_http_method method, const char *target, const char *body, bool whole)
{
    struct ksi_conn *c = ks_zalloc(sizeof *c);
    assert_non_null(c);
    ks_http_request_init(&c->req, 1 << 20);
    assert_int_equal(ks_http_parse_target(&c->req, target, NULL), KS_OK);
    c->req.method = method;
    c->req.whole = whole;
    c->req.body = ks_slice_str(body);
    uint64_t key = ksi_short_key(c);
    ks_http_request_done(&c->req);
    ks_free(c);
    return key;
}

static uint64_t get(const char *target)
{
    return key_of(KS_GET, target, "", true);
}

static void test_keys(void **state)
{
    uint64_t up = get("/api/v1/query?query=up&time=100");
    assert_true(up);
    assert_true(up == get("/api/v1/query?query=up&time=250.5"));
    assert_true(up != get("/api/v1/query?query=down&time=100"));
    assert_true(up != get("/select/7/prometheus/api/v1/query?query=up&time=100"));
    assert_true(up == get("/api/v1/query?query=up&time=1&_=99"));
    uint64_t hour = get("/api/v1/query_range?query=up&start=0&end=3600&step=15");
    assert_true(hour == get("/api/v1/query_range?query=up&start=100&end=3700&step=15"));
    assert_true(hour != get("/api/v1/query_range?query=up&start=100&end=9900&step=15"));
    assert_true(hour != get("/api/v1/query_range?query=up&start=0&end=3600&step=60"));
    uint64_t form = key_of(KS_POST, "/api/v1/query", "query=up&time=100", true);
    assert_true(form && form == key_of(KS_POST, "/api/v1/query", "query=up&time=7", true));
    assert_true(form != key_of(KS_POST, "/api/v1/query", "query=up&step=7", true));
    /* What cannot be told is not guessed. */
    assert_true(get("/api/v1/query?query=up&time=2026-01-01T00:00:00Z") == 0);
    assert_true(get("/api/v1/query_range?query=up&start=-1h&end=5") == 0);
    assert_true(key_of(KS_GET, "/api/v1/query?query=up", "", false) == 0);
    assert_true(key_of(KS_DELETE, "/api/v1/query?query=up", "", true) == 0);
}

static void test_learning(void **state)
{
    struct ks_http_server *s = ks_zalloc(sizeof *s);
    assert_non_null(s);
    uint64_t key = get("/api/v1/query?query=up");
    assert_false(ksi_is_short(s, 0));
    assert_false(ksi_is_short(s, key));
    ksi_short_learn(s, key, 50);
    assert_true(ksi_is_short(s, key));
    assert_false(ksi_is_short(s, key ^ (uint64_t)1 << 40)); /* another one of the slot */
    ksi_short_learn(s, key, 5000);
    assert_false(ksi_is_short(s, key));
    int runs = 0;
    for (; !ksi_is_short(s, key); runs++)
        ksi_short_learn(s, key, 50);
    assert_in_range(runs, 5, 20);
    ksi_short_learn(s, key, INT64_MAX);
    assert_false(ksi_is_short(s, key));
    ksi_short_learn(s, 0, 1);
    assert_false(ksi_is_short(s, 0));
    ks_free(s);
}

static int64_t spin_until_cpu_us(int64_t us)
{
    struct timespec t;
    volatile uint64_t sink = 0;
    do {
        for (int i = 0; i < 1000; i++)
            sink += (uint64_t)i;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while ((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 < us);
    return (int64_t)sink;
}

/* The processor taken away does not make a request long; waiting does. */
static void test_stopwatch(void **state)
{
    struct ksi_stopwatch w;
    struct timespec t, pause = {.tv_nsec = 3000000};
    ksi_stopwatch_start(&w, ks_mono_us() - 50000); /* as if 50 ms had been others' */
    assert_true(ksi_stopwatch_us(&w) < 50000);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    ksi_stopwatch_start(&w, ks_mono_us());
    spin_until_cpu_us((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + 2000);
    assert_true(ksi_stopwatch_us(&w) >= 1900);
    ksi_stopwatch_start(&w, ks_mono_us());
    nanosleep(&pause, NULL);
    assert_true(ksi_stopwatch_us(&w) >= 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_learning),
        cmocka_unit_test(test_stopwatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
