/* The embedded library as a program sees it: the installed header and the one archive, nothing
 * else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kofstore.h>

static char dir[256];
static int64_t now;

static void ok_at(int code, int line)
{
    if (code != KOFSTORE_OK)
        print_error("line %d: %s %s\n", line, kofstore_errname(code), kofstore_errmsg());
    assert_int_equal(code, KOFSTORE_OK);
}
#define ok(x) ok_at((x), __LINE__)

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kofstore-embed-XXXXXX", tmp ? tmp : "/tmp");
    now = (int64_t)time(NULL) * 1000 / 60000 * 60000;
    return mkdtemp(dir) ? 0 : 1;
}

static int remove_dir(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static kofstore *open_db(void)
{
    kofstore *db;
    ok(kofstore_open(dir, NULL, &db));
    return db;
}

static void put(kofstore *db, const char *name, const char *room, int64_t t, double v)
{
    kofstore_label l[] = {{"__name__", 8, name, strlen(name)}, {"room", 4, room, strlen(room)}};
    ok(kofstore_append(db, l, 2, &t, &v, 1));
}

static size_t points(kofstore_result *r, double *last)
{
    size_t n = 0;
    int64_t t;
    while (kofstore_result_point(r, &t, last) == KOFSTORE_OK)
        n++;
    return n;
}

static void test_write_and_query(void **state)
{
    kofstore *db = open_db();
    kofstore_result *r;
    const kofstore_label *l;
    size_t n;
    double v = 0;
    int64_t t;
    for (int i = 0; i < 20; i++) {
        put(db, "temp", "kitchen", now - 600000 + i * 30000, 20 + i);
        put(db, "temp", "attic", now - 600000 + i * 30000, 10 + i);
    }
    for (int round = 0; round < 2; round++) {
        ok(kofstore_query(db, "max(temp) by (room) > 30", now - 30000, NULL, &r));
        assert_int_equal(kofstore_result_type(r), KOFSTORE_VECTOR);
        assert_int_equal(kofstore_result_series_count(r), 1);
        ok(kofstore_result_next(r));
        ok(kofstore_result_labels(r, &l, &n));
        assert_int_equal(n, 1);
        assert_memory_equal(l[0].value, "kitchen", 7);
        ok(kofstore_result_point(r, &t, &v));
        assert_true(t == now - 30000 && v == 39);
        assert_int_equal(kofstore_result_point(r, &t, &v), KOFSTORE_DONE);
        assert_int_equal(kofstore_result_next(r), KOFSTORE_DONE);
        kofstore_result_free(r);

        ok(kofstore_query_range(db, "sum(temp)", now - 600000, now - 30000, 60000, NULL, &r));
        assert_int_equal(kofstore_result_type(r), KOFSTORE_MATRIX);
        ok(kofstore_result_next(r));
        assert_int_equal(points(r, &v), 10);
        assert_true(v == 38 + 28);
        kofstore_result_free(r);

        ok(kofstore_select(db, "{room=~\"k.*\"}", now - 600000, now - 300001, NULL, &r));
        assert_int_equal(kofstore_result_type(r), KOFSTORE_RAW);
        ok(kofstore_result_next(r));
        assert_int_equal(points(r, &v), 10);
        assert_true(v == 29);
        kofstore_result_free(r);
        ok(kofstore_close(db)); /* and all is there again */
        db = open_db();
    }
    ok(kofstore_close(db));
}

static void test_exact_values(void **state)
{
    static const uint64_t bits[] = {
        0x7ff0000000000002, 0x7ff8000000000001, 0x8000000000000000, 1,
        0x3fd5555555555555, 0x7fefffffffffffff, 0xfff0000000000000, 0x7ff8dead00000001};
    enum { N = sizeof bits / sizeof *bits };
    kofstore *db = open_db();
    kofstore_label l[] = {KOFSTORE_LABEL("__name__", "exact")};
    int64_t t[N], got_t;
    double v[N], got;
    kofstore_result *r;
    for (int i = 0; i < N; i++)
        t[i] = now - 1000 * (N - i);
    memcpy(v, bits, sizeof v);
    ok(kofstore_append(db, l, 1, t, v, N));
    ok(kofstore_flush(db));
    ok(kofstore_select(db, "exact", 0, now, NULL, &r));
    ok(kofstore_result_next(r));
    for (int i = 0; i < N; i++) {
        ok(kofstore_result_point(r, &got_t, &got));
        assert_int_equal(got_t, t[i]);
        assert_memory_equal(&got, &bits[i], 8);
    }
    kofstore_result_free(r);
    ok(kofstore_close(db));
}

static void test_batch_tenants_delete(void **state)
{
    kofstore *db = open_db();
    kofstore_batch *b;
    kofstore_result *r;
    kofstore_write_info info = {.size = sizeof info};
    kofstore_label l[] = {KOFSTORE_LABEL("__name__", "m"), KOFSTORE_LABEL("", "no name"),
                          KOFSTORE_LABEL("empty", ""), KOFSTORE_LABEL("a", "1"),
                          KOFSTORE_LABEL("a", "2")};
    const kofstore_label *got;
    int64_t t = now - 1000, old = now - 100ll * 86400000;
    double v = 1;
    size_t n;
    uint32_t account, project;
    ok(kofstore_batch_new(&b));
    assert_int_equal(kofstore_batch_samples(b, &t, &v, 1), KOFSTORE_EINVAL);
    assert_int_equal(kofstore_batch_series(b, l + 1, 2), KOFSTORE_EINVAL);
    for (uint32_t k = 0; k < 3; k++) {
        kofstore_batch_tenant(b, k, k * 10);
        ok(kofstore_batch_series(b, l, 5));
        ok(kofstore_batch_samples(b, &t, &v, 1));
        ok(kofstore_batch_samples(b, &old, &v, 1));
    }
    ok(kofstore_write(db, b, &info));
    assert_true(info.stored == 3 && info.too_old == 3 && info.series_created == 3);
    ok(kofstore_write(db, b, &info)); /* empty again */
    assert_int_equal(info.stored, 0);
    kofstore_batch_free(b);

    kofstore_query_opts q = {.size = sizeof q, .account = 2, .project = 20};
    ok(kofstore_select(db, "m{a=\"2\"}", 0, now, &q, &r));
    ok(kofstore_result_next(r));
    ok(kofstore_result_labels(r, &got, &n));
    assert_int_equal(n, 2); /* empty ones dropped, the last of equal names counts */
    kofstore_result_tenant(r, &account, &project);
    assert_true(account == 2 && project == 20);
    kofstore_result_free(r);
    q = (kofstore_query_opts){.size = sizeof q, .all_tenants = 1};
    ok(kofstore_query(db, "count(m) by (vm_account_id)", now, &q, &r));
    assert_int_equal(kofstore_result_series_count(r), 3);
    kofstore_result_free(r);
    uint64_t touched = 0;
    ok(kofstore_delete(db, "m", 2, 20, &touched));
    assert_int_equal(touched, 1);
    ok(kofstore_query(db, "count(m)", now, &q, &r));
    ok(kofstore_result_next(r));
    ok(kofstore_result_point(r, &t, &v));
    assert_true(v == 2);
    kofstore_result_free(r);
    ok(kofstore_close(db));
}

static void test_languages(void **state)
{
    kofstore *db = open_db();
    kofstore_result *r;
    kofstore_query_opts q = {.size = sizeof q, .language = KOFSTORE_PROMQL};
    int64_t t;
    double v;
    put(db, "up", "x", now - 1000, 1);
    ok(kofstore_query(db, "1 + 2", now, &q, &r));
    assert_int_equal(kofstore_result_type(r), KOFSTORE_SCALAR);
    ok(kofstore_result_next(r));
    ok(kofstore_result_point(r, &t, &v));
    assert_true(v == 3);
    kofstore_result_free(r);
    ok(kofstore_query(db, "\"hello\"", now, &q, &r));
    assert_int_equal(kofstore_result_type(r), KOFSTORE_STRING);
    assert_string_equal(kofstore_result_text(r), "hello");
    assert_int_equal(kofstore_result_next(r), KOFSTORE_DONE);
    kofstore_result_free(r);
    ok(kofstore_query(db, "up[5m]", now, &q, &r));
    assert_int_equal(kofstore_result_type(r), KOFSTORE_RAW);
    ok(kofstore_result_next(r));
    ok(kofstore_result_point(r, &t, &v));
    assert_int_equal(t, now - 1000);
    kofstore_result_free(r);
    assert_int_equal(kofstore_query(db, "rate(up)", now, &q, &r),
                     KOFSTORE_EPARSE); /* PromQL wants a window */
    q.language = KOFSTORE_METRICSQL;
    ok(kofstore_query(db, "rate(up)", now, &q, &r));
    kofstore_result_free(r);
    ok(kofstore_close(db));
}

static void test_errors(void **state)
{
    kofstore *db = open_db(), *other;
    kofstore_options *o;
    kofstore_result *r;
    assert_int_equal(kofstore_open(dir, NULL, &other), KOFSTORE_EBUSY);
    assert_non_null(strstr(kofstore_errmsg(), "LOCK"));
    assert_int_equal(kofstore_query(db, "sum(", now, NULL, &r), KOFSTORE_EPARSE);
    assert_true(strlen(kofstore_errmsg()) > 5);
    assert_int_equal(kofstore_query_range(db, "up", now, now, 0, NULL, &r), KOFSTORE_EINVAL);
    assert_int_equal(kofstore_select(db, "a{b=~\"(\"}", 0, now, NULL, &r), KOFSTORE_EPARSE);
    assert_string_equal(kofstore_errname(KOFSTORE_ECORRUPT), "ECORRUPT");
    ok(kofstore_close(db));
    ok(kofstore_options_new(&o));
    ok(kofstore_options_set(o, "retentionFilter", "{a=\"b\"}:7d"));
    ok(kofstore_options_set(o, "downsampling.period", "10d:5m"));
    ok(kofstore_options_set(o, "memory.allowedBytes", "256MiB"));
    ok(kofstore_options_set(o, "background", "false"));
    assert_int_equal(kofstore_options_set(o, "nonsense", "1"), KOFSTORE_EINVAL);
    assert_int_equal(kofstore_options_set(o, "threads", "-1"), KOFSTORE_EINVAL);
    assert_int_equal(kofstore_options_set(o, "wal.sync", "never"), KOFSTORE_EINVAL);
    assert_int_equal(kofstore_options_set(o, "retentionFilter", "{a=}:7d"), KOFSTORE_EPARSE);
    ok(kofstore_open(dir, o, &db));
    kofstore_options_free(o);
    ok(kofstore_tick(db));
    char name[64];
    ok(kofstore_snapshot(db, name));
    assert_true(strlen(name) > 10);
    ok(kofstore_close(db));
    ok(kofstore_close(NULL));
    kofstore_result_free(NULL);
    kofstore_batch_free(NULL);
    kofstore_options_free(NULL);
}

/* Callers built against smaller structs get just the members they know. */
static void test_old_sizes(void **state)
{
    kofstore *db = open_db();
    kofstore_batch *b;
    kofstore_result *r;
    kofstore_label l[] = {KOFSTORE_LABEL("__name__", "sized")};
    struct {
        size_t size;
        uint64_t stored, guard;
    } info = {offsetof(kofstore_write_info, too_old), 0, 7};
    struct {
        size_t size;
        int language;
    } q = {offsetof(kofstore_query_opts, account), KOFSTORE_PROMQL};
    int64_t t = now - 1000;
    double v = 1;
    ok(kofstore_batch_new(&b));
    ok(kofstore_batch_series(b, l, 1));
    ok(kofstore_batch_samples(b, &t, &v, 1));
    ok(kofstore_write(db, b, (kofstore_write_info *)&info));
    assert_true(info.stored == 1 && info.guard == 7);
    kofstore_batch_free(b);
    ok(kofstore_query(db, "1", now, (const kofstore_query_opts *)&q, &r));
    assert_int_equal(kofstore_result_type(r), KOFSTORE_SCALAR);
    kofstore_result_free(r);
    ok(kofstore_close(db));
}

struct worker {
    kofstore *db;
    int number, failures;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    char room[16];
    int n = snprintf(room, sizeof room, "r%d", w->number);
    kofstore_label l[] = {KOFSTORE_LABEL("__name__", "threads"), {"room", 4, room, (size_t)n}};
    for (int i = 0; i < 30; i++) {
        int64_t t = now - 60000 + i * 100;
        double v = i;
        kofstore_result *r;
        if (kofstore_append(w->db, l, 2, &t, &v, 1) != KOFSTORE_OK)
            w->failures++;
        if (kofstore_query(w->db, "count(threads)", t, NULL, &r) == KOFSTORE_OK)
            kofstore_result_free(r);
        else
            w->failures++;
    }
    return NULL;
}

static void test_threads(void **state)
{
    kofstore *db = open_db();
    pthread_t threads[4];
    struct worker w[4];
    kofstore_result *r;
    double v;
    for (int i = 0; i < 4; i++) {
        w[i] = (struct worker){db, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].failures, 0);
    }
    ok(kofstore_select(db, "threads", 0, now, NULL, &r));
    for (int i = 0; i < 4; i++) {
        ok(kofstore_result_next(r));
        assert_int_equal(points(r, &v), 30);
    }
    kofstore_result_free(r);
    ok(kofstore_close(db));
}

static int count_text(void *arg, const char *text, size_t len)
{
    (*(int *)arg)++;
    return 1;
}

static void test_label_values(void **state)
{
    kofstore *db = open_db();
    int n = 0;
    put(db, "a", "one", now, 1);
    put(db, "b", "two", now, 1);
    ok(kofstore_label_values(db, "room", now - 1000, now, NULL, count_text, &n));
    assert_int_equal(n, 2);
    ok(kofstore_close(db));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        T(test_write_and_query), T(test_exact_values), T(test_batch_tenants_delete),
        T(test_languages),       T(test_errors),       T(test_old_sizes),
        T(test_threads),         T(test_label_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
