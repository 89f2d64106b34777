/* When two spans are one: whatever order their attributes have, but nothing less than every value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/traces/span_equal.h"

static struct ks_attr text_attr(const char *key, const char *text)
{
    return (struct ks_attr){
        .key = ks_slice_str(key), .type = KS_ATTR_STRING, .text = ks_slice_str(text)};
}

static void test_every_value_counts(void **state)
{
    struct ks_attr attrs[] = {text_attr("a", "1"), text_attr("b", "2")};
    struct ks_attr turned[] = {attrs[1], attrs[0]}, other[] = {attrs[0], text_attr("b", "3")};
    struct ks_resource r = {.attrs = {.items = attrs, .count = 2}};
    struct ks_resource same = {.attrs = {.items = turned, .count = 2}};
    struct ks_resource differs = {.attrs = {.items = other, .count = 2}};
    struct ks_scope scope = {0}, scope2 = {0}, named = {.name = KS_SLICE_LIT("lib")};
    struct ks_span a = {.trace_id = {1, 2}, .span_id = 3, .resource = &r, .scope = &scope};
    a.attrs = r.attrs;
    struct ks_span b = a;
    b.resource = &same;
    b.scope = &scope2;
    b.attrs = same.attrs;
    assert_true(ks_spans_equal(&a, &b));
    b.attrs = differs.attrs;
    assert_false(ks_spans_equal(&a, &b));
    b = a;
    b.resource = &differs;
    assert_false(ks_spans_equal(&a, &b));
    b = a;
    b.scope = &named;
    assert_false(ks_spans_equal(&a, &b));
    b = a;
    b.status_message = KS_SLICE_LIT("late");
    assert_false(ks_spans_equal(&a, &b));
    b = a;
    b.trace_id.hi++;
    assert_false(ks_spans_equal(&a, &b));
}

static void test_repeats_go(void **state)
{
    struct ks_attr one = text_attr("k", "1"), two = text_attr("k", "2");
    struct ks_resource r = {0};
    struct ks_scope scope = {0};
    struct ks_span a = {.span_id = 7, .resource = &r, .scope = &scope, .attrs = {&one, 1, 0}};
    struct ks_span b = a;
    b.attrs = (struct ks_attrs){&two, 1, 0};
    struct ks_span spans[] = {a, b, a, b, a};
    struct ks_arena arena;
    size_t n = 5;
    ks_arena_init(&arena, 1 << 20);
    assert_int_equal(ks_spans_drop_repeats(spans, &n, &arena), KS_OK);
    assert_int_equal(n, 2);
    assert_true(ks_slice_is(spans[0].attrs.items[0].text, "1"));
    assert_true(ks_slice_is(spans[1].attrs.items[0].text, "2"));
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value_counts),
        cmocka_unit_test(test_repeats_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
