/*
 * Hints never lose a row: random filters against random values; whatever matches has to contain
 * the tokens and the literal, be one of the exact values, lie in the range.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cxx/re2.h"
#include "base/num.h"
#include "query/logsql/filter/match.h"
#include "query/logsql/syntax/parser.h"

static uint64_t seed = 88172645463325252u;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

static void pick(char *out, size_t parts, const char *const *from, unsigned n)
{
    *out = 0;
    for (size_t i = 0; i < parts; i++)
        strcat(out, from[below(n)]);
}

static const char *const pieces[] = {"a", "b", "ab", "1", "12", "_", " ",  ".",
                                     "-", "é", "ж",  "A", "B",  "z", "a ", "2"};
static const char *const re_pieces[] = {
    "a",    "b",    "ab",  "1",       ".",    " ",    "é",           "a?",  "b*",  "1+",
    "[ab]", "[^ ]", "\\.", "(ab)",    "(a)?", "a{1}", "b{0,1}",      "\\d", "\\s", "(?:b)*",
    "ab|1", "é?",   "|",   "(ab|ba)", "|ab",  "ab",   "[[:digit:]]", "[|]", "\\|"};

static bool token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool has_token(struct ks_slice v, struct ks_slice t)
{
    for (size_t i = 0; i + t.len <= v.len; i++)
        if (memcmp(v.ptr + i, t.ptr, t.len) == 0 && (i == 0 || !token_char(v.ptr[i - 1])) &&
            (i + t.len == v.len || !token_char(v.ptr[i + t.len])))
            return true;
    return false;
}

/* Does the text stand in v as the hint says it does? */
static bool stands(const struct ks_log_pred *p, struct ks_slice v, struct ks_slice t)
{
    for (size_t i = 0; i + t.len <= v.len; i++)
        if (memcmp(v.ptr + i, t.ptr, t.len) == 0 &&
            !(p->bounded_start && i && token_char(t.ptr[0]) && token_char(v.ptr[i - 1])) &&
            !(p->bounded_end && i + t.len < v.len && token_char(t.ptr[t.len - 1]) &&
              token_char(v.ptr[i + t.len])))
            return true;
    return false;
}

static void check(const struct ksi_lq_leaf *l, const char *filter, struct ks_slice v)
{
    const struct ks_log_pred *p = &l->pred;
    bool match = p->match(p->arg, v);
    if (l->f->kind == KS_LQ_F_REGEXP) { /* which looks at its hints first: the engine's own word */
        bool found = ks_re_search(l->re, v.ptr, v.len, 0, 0, NULL, 0);
        if (found != match)
            fail_msg("[%s] on [%.*s]: %d, the regexp says %d", filter, KS_SLICE_ARG(v), match,
                     found);
    }
    bool contains = p->literal.len && memmem(v.ptr, v.len, p->literal.ptr, p->literal.len);
    if (p->substring && p->literal.len)
        assert_int_equal(match, contains);
    if ((p->phrase || p->prefix) && p->literal.len && match)
        assert_true(contains);
    for (size_t i = 0; i < p->literal_count && match; i++)
        if (!stands(p, v, p->literals[i]))
            fail_msg("[%s] matches [%.*s] without [%.*s]", filter, KS_SLICE_ARG(v),
                     KS_SLICE_ARG(p->literals[i]));
    if (!v.len)
        assert_int_equal(match, p->match_empty);
    if (p->not_empty || p->only_empty)
        assert_int_equal(match, p->not_empty ? v.len > 0 : v.len == 0);
    if (!match)
        return;
    for (size_t i = 0; i < p->token_count; i++)
        if (!has_token(v, p->tokens[i]))
            fail_msg("[%s] matches [%.*s] without the token [%.*s]", filter, KS_SLICE_ARG(v),
                     KS_SLICE_ARG(p->tokens[i]));
    if (p->literal.len && !memmem(v.ptr, v.len, p->literal.ptr, p->literal.len))
        fail_msg("[%s] matches [%.*s] without [%.*s]", filter, KS_SLICE_ARG(v),
                 KS_SLICE_ARG(p->literal));
    bool any = !p->any_count;
    for (size_t i = 0; i < p->any_count && !any; i++)
        any = stands(p, v, p->any[i]);
    if (!any)
        fail_msg("[%s] matches [%.*s] without any of its texts", filter, KS_SLICE_ARG(v));
    bool exact = !p->exact;
    for (size_t i = 0; i < p->exact_count && !exact; i++)
        exact = ks_slice_eq(p->exact[i], v);
    assert_true(exact);
    double d;
    if (p->has_range && ks_f64_parse(v, &d))
        assert_true(d >= p->range_min && d <= p->range_max);
}

static void one_filter(const char *filter)
{
    struct ks_arena a;
    struct ks_lq_filter *f;
    struct ksi_lq_leaf leaf;
    char v[128];
    ks_arena_init(&a, 4 << 20);
    if (ks_lq_parse_filter(ks_slice_str(filter), 0, &a, &f) == KS_OK && f->kind != KS_LQ_F_ALL &&
        ksi_lq_leaf_init(&leaf, f, &a) == KS_OK) {
        for (int k = 0; k < 60; k++) {
            pick(v, below(8), pieces, sizeof pieces / sizeof *pieces);
            check(&leaf, filter, ks_slice_str(v));
        }
        ksi_lq_leaf_done(&leaf);
    }
    ks_arena_done(&a);
}

static void hints_are_sound(void **state)
{
    static const char *const forms[] = {"\"%s\"",
                                        "\"%s\"*",
                                        "*\"%s\"*",
                                        "=\"%s\"",
                                        "=\"%s\"*",
                                        "i(\"%s\")",
                                        "i(\"%s\"*)",
                                        "seq(\"%s\", a)",
                                        "in(\"%s\", a)",
                                        "contains_all(\"%s\", b)",
                                        "contains_any(\"%s\", b)",
                                        "contains_common_case(\"%s\")",
                                        "pattern_match(\"%s<N>\")",
                                        "string_range(\"%s\", z)"};
    char text[128], filter[256];
    for (int i = 0; i < 6000; i++) {
        pick(text, below(5), pieces, sizeof pieces / sizeof *pieces);
        snprintf(filter, sizeof filter, forms[below(sizeof forms / sizeof *forms)], text);
        one_filter(filter);
    }
    for (int i = 0; i < 20000; i++) {
        pick(text, 1 + below(6), re_pieces, sizeof re_pieces / sizeof *re_pieces);
        snprintf(filter, sizeof filter, "~`%s`", text);
        one_filter(filter);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(filter, sizeof filter, "range[%d, %d)", (int)below(20) - 2, (int)below(30));
        one_filter(filter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hints_are_sound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
