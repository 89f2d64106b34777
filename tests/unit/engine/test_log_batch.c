/* Batches: streams found again, ids as the peer computes them, fields by the rules of rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/logs/log_batch.h"

#define L(n, v)                                                                                    \
    {                                                                                              \
        KS_SLICE_LIT(n), KS_SLICE_LIT(v)                                                           \
    }

static void ids_are_the_peers(void **state)
{
    struct ks_log_batch b;
    struct ks_label l[] = {L("app", "lossy")};
    char text[KS_STREAM_ID_TEXT];
    struct ks_stream_id back;
    uint32_t s;
    ks_log_batch_init(&b, 1 << 20);
    assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){0, 0}, l, 1, &s), KS_OK);
    ks_stream_id_print(b.streams[s].id, text);
    assert_memory_equal(text, "0000000000000000225555dc83d5a6dbae29dd195347a758", sizeof text);
    assert_true(ks_stream_id_parse(ks_slice(text, sizeof text), &back));
    assert_int_equal(back.lo, b.streams[s].id.lo);
    assert_int_equal(back.hi, b.streams[s].id.hi);
    text[3] = 'x';
    assert_false(ks_stream_id_parse(ks_slice(text, sizeof text), &back));
    ks_log_batch_done(&b);
}

static void streams_are_found_again(void **state)
{
    struct ks_log_batch b;
    struct ks_label l[] = {L("b", "2"), L("a", "1"), L("e", ""), L("b", "3")};
    struct ks_label same[] = {L("a", "1"), L("b", "3")};
    uint32_t s, t, u;
    ks_log_batch_init(&b, 64 << 20);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){1, 2}, l, 4, &s), KS_OK);
        assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){1, 2}, same, 2, &t), KS_OK);
        assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){1, 3}, same, 2, &u), KS_OK);
        assert_int_equal(s, t);
        assert_int_not_equal(s, u);
        for (unsigned i = 0; i < 5000; i++) {
            char v[16];
            snprintf(v, sizeof v, "%u", i);
            struct ks_label x = {KS_SLICE_LIT("n"), ks_slice_str(v)};
            assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){1, 2}, &x, 1, &t), KS_OK);
            assert_int_equal(t, i + 2);
        }
        if (round == 1)
            ks_log_batch_reset(&b);
    }
    ks_log_batch_done(&b);
}

static void stream_texts_are_quoted(void **state)
{
    struct ks_log_batch b;
    struct ks_label l[] = {L("a", "x\"y\\\n\x01\xff"), L("b", "\xc3\xa9")};
    struct ks_buf out;
    uint32_t s;
    ks_log_batch_init(&b, 1 << 20);
    ks_buf_init(&out, 1 << 10);
    assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){0, 0}, l, 2, &s), KS_OK);
    ks_stream_print(b.streams[s].tags, &out);
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, "{a=\"x\\\"y\\\\\\n\\x01\\xff\",b=\"\xc3\xa9\"}");
    ks_buf_done(&out);
    ks_log_batch_done(&b);
}

static void fields_follow_the_rules(void **state)
{
    struct ks_log_batch b;
    static char names[200][8];
    struct ks_log_field f[200];
    uint32_t s;
    ks_log_batch_init(&b, 1 << 20);
    assert_int_equal(ks_log_batch_stream(&b, (struct ks_tenant){0, 0}, NULL, 0, &s), KS_OK);
    struct ks_log_field few[] = {L("a", "1"), L("b", ""), L("a", "2"), L("c", "3"), L("c", "")};
    assert_int_equal(ks_log_batch_row(&b, s, 5, few, 5), KS_OK);
    assert_int_equal(b.rows[0].field_count, 1);
    assert_true(ks_slice_is(b.fields[0].value, "2"));
    assert_int_equal(b.bytes, 2);
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], 8, "n%d", i % 150);
        f[i] = (struct ks_log_field){ks_slice_str(names[i]), ks_slice_str(i < 150 ? "old" : "new")};
        if (i == 199)
            f[i].value.len = 0;
    }
    assert_int_equal(ks_log_batch_row(&b, s, 6, f, 200), KS_OK);
    assert_int_equal(b.rows[1].field_count, 149);
    for (uint32_t i = 0; i < 149; i++) {
        struct ks_log_field x = b.fields[b.rows[1].field_first + i];
        assert_true(ks_slice_is(x.value, i < 49 ? "new" : "old"));
    }
    ks_log_batch_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_the_peers),
        cmocka_unit_test(streams_are_found_again),
        cmocka_unit_test(stream_texts_are_quoted),
        cmocka_unit_test(fields_follow_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
