/* The merge policy, by simulation: days of flushes, late samples, size caps, marks. Every run must
 * end, and no sample travel too often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "compaction/compact.h"
#include "sys/rand.h"

enum { PARTS_MAX = 20000 };

struct world {
    struct ks_compact_candidate parts[PARTS_MAX];
    double travel[PARTS_MAX]; /* how often a part's dearest byte was rewritten */
    size_t count;
    uint64_t next_id, written, flushed;
    uint64_t max_part_bytes;
    int64_t now_ms;
    double worst;
};

static struct world w;

static void flush(int64_t day, uint64_t bytes)
{
    assert_true(w.count < PARTS_MAX);
    w.parts[w.count] = (struct ks_compact_candidate){
        .id = w.next_id++, .bytes = bytes, .day = day, .created_ms = w.now_ms};
    w.travel[w.count++] = 0;
    w.flushed += bytes;
}

static int by_index_down(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

/* Applies one choice; false when there was none. */
static bool step(bool force)
{
    static size_t pick[PARTS_MAX];
    struct ks_compact_policy p = {
        .now_ms = w.now_ms, .max_part_bytes = w.max_part_bytes, .force = force};
    int level = -1;
    size_t n = ks_compact_pick(w.parts, w.count, &p, pick, &level);
    if (!n)
        return false;
    struct ks_compact_candidate made = {
        .id = w.next_id++, .day = w.parts[pick[0]].day, .created_ms = w.now_ms};
    double travel = 0;
    assert_true(level == 1 || level == 2);
    made.level = (uint8_t)level;
    qsort(pick, n, sizeof *pick, by_index_down);
    for (size_t i = 0; i < n; i++) {
        const struct ks_compact_candidate *c = &w.parts[pick[i]];
        assert_true(i == 0 || pick[i] != pick[i - 1]);
        assert_int_equal(c->day, made.day);
        made.bytes += (uint64_t)((double)c->bytes * (1 - c->deleted_share));
        travel = w.travel[pick[i]] > travel ? w.travel[pick[i]] : travel;
        w.written += c->bytes;
    }
    for (size_t i = 0; i < n; i++) {
        memmove(&w.parts[pick[i]], &w.parts[pick[i] + 1],
                (w.count - pick[i] - 1) * sizeof *w.parts);
        memmove(&w.travel[pick[i]], &w.travel[pick[i] + 1],
                (w.count - pick[i] - 1) * sizeof *w.travel);
        w.count--;
    }
    w.parts[w.count] = made;
    w.travel[w.count++] = travel + 1;
    w.worst = travel + 1 > w.worst ? travel + 1 : w.worst;
    return true;
}

static void settle(bool force)
{
    for (int i = 0; step(force); i++)
        assert_true(i < 10000);
}

static size_t parts_of(int64_t day)
{
    size_t n = 0;
    for (size_t i = 0; i < w.count; i++)
        n += w.parts[i].day == day;
    return n;
}

static void start(void)
{
    memset(&w, 0, sizeof w);
    w.next_id = 1;
}

/* Ten days with a flush every `every` ms, of about one size. */
static void run_days(int64_t every_ms, uint64_t bytes, int days, size_t parts_max)
{
    uint64_t rng = 5;
    for (w.now_ms = 1000 * KS_MS_DAY; w.now_ms < (1000 + days) * KS_MS_DAY; w.now_ms += every_ms) {
        flush(ks_day_of_ms(w.now_ms), bytes / 2 + ks_rng_below(&rng, bytes));
        settle(false);
        assert_true(parts_of(ks_day_of_ms(w.now_ms)) <= parts_max);
    }
    w.now_ms += 3 * KS_MS_HOUR;
    settle(false);
    for (int d = 0; d < days; d++) {
        assert_int_equal(parts_of(1000 + d), 1);
        for (size_t i = 0; i < w.count; i++)
            assert_int_equal(w.parts[i].level, 2);
    }
}

static void test_regular_days(void **state)
{
    static const int64_t every[] = {2 * KS_MS_HOUR, 30 * KS_MS_MINUTE, 10 * KS_MS_MINUTE,
                                    5 * KS_MS_MINUTE};
    for (size_t i = 0; i < sizeof every / sizeof *every; i++) {
        start();
        run_days(every[i], 1 << 20, 10, 20);
        assert_true(w.worst <= 4);
        assert_true(w.written <= 4 * w.flushed);
    }
}

/* Some samples of every flush are a day or two late; days end as few parts and the amplification
 * stays bounded. */
static void test_late_samples(void **state)
{
    uint64_t rng = 9;
    start();
    for (w.now_ms = 1000 * KS_MS_DAY; w.now_ms < 1012 * KS_MS_DAY; w.now_ms += 30 * KS_MS_MINUTE) {
        int64_t day = ks_day_of_ms(w.now_ms);
        flush(day, 1 << 20);
        flush(day - 1, 10000 + ks_rng_below(&rng, 1000));
        flush(day - 2, 5000 + ks_rng_below(&rng, 1000));
        settle(false);
        assert_true(parts_of(day - 1) <= 24);
    }
    w.now_ms += 2 * KS_MS_DAY;
    settle(false);
    assert_true(w.written <= 4 * w.flushed);
    for (int64_t d = 1001; d < 1010; d++)
        assert_true(parts_of(d) <= 3);
}

/* A bulk import of one old day in many flushes. */
static void test_backfill(void **state)
{
    start();
    w.now_ms = 1000 * KS_MS_DAY;
    for (int i = 0; i < 500; i++, w.now_ms += KS_MS_MINUTE) {
        flush(900, 1 << 20);
        settle(false);
        assert_true(parts_of(900) <= 24);
    }
    w.now_ms += KS_MS_DAY;
    settle(false);
    assert_int_equal(parts_of(900), 1);
    assert_true(w.written <= 5 * w.flushed);
}

static void test_size_cap(void **state)
{
    start();
    w.max_part_bytes = 10 << 20;
    run_days(KS_MS_HOUR, 100 << 10, 2, 20);
    start();
    w.max_part_bytes = 10 << 20;
    w.now_ms = 1000 * KS_MS_DAY;
    for (int i = 0; i < 48; i++, w.now_ms += 30 * KS_MS_MINUTE) {
        flush(1000, 1 << 20);
        settle(false);
    }
    w.now_ms += 3 * KS_MS_HOUR;
    settle(false);
    assert_in_range(parts_of(1000), 5, 12);
    for (size_t i = 0; i < w.count; i++)
        assert_true(w.parts[i].bytes <= w.max_part_bytes);
    settle(true);
    settle(true);
    assert_in_range(parts_of(1000), 5, 12);
}

static void test_marks(void **state)
{
    start();
    run_days(KS_MS_HOUR, 1 << 20, 2, 20);
    w.parts[0].deleted_share = 0.09;
    settle(false);
    assert_true(w.parts[0].deleted_share > 0);
    w.parts[0].deleted_share = 0.11;
    assert_true(step(false));
    assert_false(step(false));
    w.parts[0].thin_due = true;
    assert_true(step(false));
    assert_false(step(false));
    assert_int_equal(w.count, 2);
    w.parts[1].has_deleted = true;
    assert_true(step(true));
    assert_false(step(true));
    flush(ks_day_of_ms(w.now_ms), 100);
    w.parts[2].deleted_share = 0.2;
    assert_false(step(false));
    w.parts[2].deleted_share = 0.4;
    assert_true(step(false));
    assert_int_equal(w.parts[2].level, 1);
}

/* Whatever the list looks like, picking ends and picks are in bounds. */
static void test_random_lists(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t rng = seed;
        start();
        w.now_ms = 1000 * KS_MS_DAY + (int64_t)ks_rng_below(&rng, 86400000);
        w.max_part_bytes = 1 + ks_rng_below(&rng, 4000);
        size_t n = ks_rng_below(&rng, 120);
        for (size_t i = 0; i < n; i++) {
            flush(996 + (int64_t)ks_rng_below(&rng, 6), ks_rng_below(&rng, 3000));
            w.parts[i].level = (uint8_t)ks_rng_below(&rng, 3);
            w.parts[i].created_ms = w.now_ms - (int64_t)ks_rng_below(&rng, 200000000);
            w.parts[i].deleted_share =
                ks_rng_below(&rng, 4) ? 0 : (double)ks_rng_below(&rng, 100) / 100;
            w.parts[i].thin_due = ks_rng_below(&rng, 5) == 0;
        }
        settle(false);
        w.now_ms += 2 * KS_MS_DAY;
        settle(false);
        settle(true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular_days), cmocka_unit_test(test_late_samples),
        cmocka_unit_test(test_backfill),     cmocka_unit_test(test_size_cap),
        cmocka_unit_test(test_marks),        cmocka_unit_test(test_random_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
