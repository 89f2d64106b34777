/* Pins: what is taken for a reference, waiting for spans, bounds of rate and number, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#include "api/logs/log_pin.h"
#include "api/trace_pins.h"
#include "engine/traces/trace_store.h"
#include "sys/clock.h"

static const struct ks_tenant TENANT = {1, 2};

static struct ks_trace_store *store_new(void)
{
    struct ks_trace_store_opts o = {.no_log = true};
    struct ks_trace_store *s;
    assert_int_equal(ks_trace_store_new(&o, &s), KS_OK);
    return s;
}

static void add_trace(struct ks_trace_store *s, uint64_t n)
{
    static const struct ks_resource r = {.service = KS_SLICE_LIT("s"), .has_service = true};
    static const struct ks_scope scope;
    struct ks_batch b;
    struct ks_batch_memo memo = {0};
    struct ks_buf scratch;
    struct ks_traces_result res;
    ks_lsn lsn = 0;
    struct ks_span span = {.trace_id = {7, n},
                           .span_id = 1,
                           .start_ns = 5,
                           .end_ns = 6,
                           .name = KS_SLICE_LIT("n"),
                           .resource = &r,
                           .scope = &scope};
    ks_batch_init(&b);
    ks_buf_init(&scratch, 1 << 20);
    ks_batch_reset(&b, TENANT);
    ks_batch_copy_span(&b, &span, &memo);
    assert_int_equal(ks_trace_store_write(s, &b, &scratch, &lsn, &res), KS_OK);
    ks_batch_done(&b);
    ks_buf_done(&scratch);
}

static struct ks_trace_pins *pins_new(struct ks_trace_store *s, uint32_t per_minute, int64_t tick)
{
    struct ks_trace_pins_opts o = {
        .store = s, .from = {true, true}, .per_minute = per_minute, .tick_ms = tick};
    struct ks_trace_pins *p;
    assert_int_equal(ks_trace_pins_new(&o, &p), KS_OK);
    return p;
}

static void ask(struct ks_trace_pins *p, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ks_trace_id id = {7, from + i};
        ks_trace_pins_add(p, KS_PIN_LOG, TENANT, &id, 1);
    }
}

static uint64_t metric(struct ks_trace_pins *p, const char *name)
{
    struct ks_buf b;
    char line[160];
    unsigned long long v = 0;
    ks_buf_init(&b, 1 << 16);
    ks_trace_pins_metrics(p, &b);
    ks_buf_byte(&b, 0);
    int n = snprintf(line, sizeof line, "kofstore_traces_pins_%s ", name);
    const char *at = strstr(b.ptr, line);
    assert_non_null(at);
    assert_int_equal(sscanf(at + n, "%llu", &v), 1);
    ks_buf_done(&b);
    return v;
}

static uint64_t pinned(struct ks_trace_store *s)
{
    struct ks_trace_store_stats st;
    ks_trace_store_get_stats(s, &st);
    return st.ring.pinned_total;
}

static void test_waits_for_spans(void **state)
{
    struct ks_trace_store *s = store_new();
    struct ks_trace_pins *p = pins_new(s, 1000, -1);
    int64_t now = ks_mono_ms();
    add_trace(s, 1);
    ask(p, 1, 2);
    ask(p, 1, 1); /* the same again costs nothing */
    ks_trace_pins_tick(p, now + 1000);
    assert_int_equal(pinned(s), 1);
    assert_int_equal(metric(p, "waiting"), 1);
    ask(p, 3, 1);
    ks_trace_pins_tick(p, now + 2000);
    assert_int_equal(metric(p, "waiting"), 2);
    add_trace(s, 2);
    ks_trace_pins_tick(p, now + 3000);
    assert_int_equal(pinned(s), 2);
    assert_int_equal(metric(p, "waiting"), 1);
    /* What never comes is given up, and may be asked for again. */
    ks_trace_pins_tick(p, now + KS_PIN_WAIT_MS + 5000);
    assert_int_equal(metric(p, "waiting"), 0);
    assert_int_equal(metric(p, "dropped_total{reason=\"unknown\"}"), 1);
    add_trace(s, 3);
    ask(p, 3, 1);
    ks_trace_pins_tick(p, now + KS_PIN_WAIT_MS + 6000);
    assert_int_equal(pinned(s), 3);
    assert_int_equal(metric(p, "set_total"), 3);
    assert_int_equal(metric(p, "asked_total{source=\"logs\"}"), 5);
    ks_trace_pins_free(p);
    ks_trace_store_free(s);
}

static void test_rate(void **state)
{
    struct ks_trace_store *s = store_new();
    struct ks_trace_pins *p = pins_new(s, 2, -1);
    int64_t now = ks_mono_ms();
    for (uint64_t i = 1; i <= 60; i++)
        add_trace(s, i);
    ask(p, 1, 30);
    ks_trace_pins_tick(p, now);
    assert_int_equal(pinned(s), 20); /* ten minutes' worth */
    assert_int_equal(metric(p, "dropped_total{reason=\"rate\"}"), 10);
    ask(p, 21, 10); /* refused ones are asked for again */
    ks_trace_pins_tick(p, now + 60500);
    assert_int_equal(pinned(s), 22);
    ks_trace_pins_tick(p, now + 24 * 3600 * 1000);
    ask(p, 31, 30);
    ks_trace_pins_tick(p, now + 24 * 3600 * 1000);
    assert_int_equal(pinned(s), 42);
    ks_trace_pins_free(p);
    ks_trace_store_free(s);
}

static void test_bounds(void **state)
{
    struct ks_trace_store *s = store_new();
    struct ks_trace_pins *p = pins_new(s, 1000, -1);
    int64_t now = ks_mono_ms();
    ask(p, 1, KS_PINS_WAITING_MAX + 10);
    assert_int_equal(metric(p, "waiting"), KS_PINS_WAITING_MAX);
    assert_int_equal(metric(p, "dropped_total{reason=\"queue\"}"), 10);
    ks_trace_pins_tick(p, now + 1000);
    assert_int_equal(metric(p, "waiting"), KS_PINS_WAITING_MAX);
    ks_trace_pins_free(p);
    ks_trace_pins_add(NULL, KS_PIN_LOG, TENANT, NULL, 0);
    assert_false(ks_trace_pins_wanted(NULL, KS_PIN_LOG));
    ks_trace_pins_free(NULL);
    ks_trace_store_free(s);
}

static void *ask_many(void *arg)
{
    for (uint64_t i = 1; i <= 500; i++)
        ask(arg, i, 1);
    return NULL;
}

static void test_threads(void **state)
{
    struct ks_trace_store *s = store_new();
    struct ks_trace_pins *p = pins_new(s, 1000, 1);
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_many, p), 0);
    for (uint64_t i = 1; i <= 500; i++)
        add_trace(s, i);
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    ks_trace_pins_free(p); /* its last round sets what is left */
    assert_int_equal(pinned(s), 500);
    ks_trace_store_free(s);
}

static void test_names(void **state)
{
    static const char *const yes[] = {"trace_id", "traceid",  "traceID", "traceId",
                                      "TraceId",  "trace.id", "TRACE_ID"};
    static const char *const no[] = {"",         "trace",    "trace_i", "trace__id", "trace_id_",
                                     "_traceid", "trace-id", "span_id", "traceid_",  "tra_ceid"};
    struct ks_trace_id id;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(ks_pin_id_name(ks_slice_str(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(ks_pin_id_name(ks_slice_str(no[i])));
    assert_true(ks_pin_id_text(KS_SLICE_LIT("0123456789ABCDEF0123456789abcdef"), &id));
    assert_int_equal(id.lo, 0x0123456789abcdef);
    assert_false(ks_pin_id_text(KS_SLICE_LIT("00000000000000000000000000000000"), &id));
    assert_false(ks_pin_id_text(KS_SLICE_LIT("g123456789ABCDEF0123456789abcdef"), &id));
    assert_false(ks_pin_id_text(KS_SLICE_LIT("0123456789ABCDEF"), &id));
}

static void test_levels(void **state)
{
    static const char *const errors[][2] = {{"level", "error"},          {"level", "ERROR"},
                                            {"severity_text", "Error3"}, {"Severity", "fatal"},
                                            {"log.level", "critical"},   {"severity_number", "17"},
                                            {"severity_number", "24"},   {"lvl", "E"}};
    static const char *const others[][2] = {
        {"level", "info"},        {"level", ""},     {"msg", "error"},    {"severity_number", "16"},
        {"severity_number", "x"}, {"severity", "3"}, {"level", "errors"}, {"level", "warn"}};
    for (size_t i = 0; i < 8; i++) {
        assert_true(ksi_log_is_error(ks_slice_str(errors[i][0]), ks_slice_str(errors[i][1])));
        assert_false(ksi_log_is_error(ks_slice_str(others[i][0]), ks_slice_str(others[i][1])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_spans), cmocka_unit_test(test_rate),
        cmocka_unit_test(test_bounds),          cmocka_unit_test(test_threads),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
