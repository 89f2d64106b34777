/*
 * Texts that pipes take apart: JSON, syslog, Go quotes, patterns, numbers to collapse, colours.
 * The first byte chooses the taker; what it gives must lie in memory it owns or was given, and the
 * same text must give the same again.
 */
#include <stdint.h>

#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/pipes/value_key.h"
#include "query/logsql/text/collapse_nums.h"
#include "query/logsql/text/json_text.h"
#include "query/logsql/text/pattern.h"
#include "query/logsql/text/syslog_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t touch(struct ks_slice s)
{
    uint64_t sum = s.len;
    for (size_t i = 0; i < s.len; i++)
        sum = sum * 31 + (unsigned char)s.ptr[i];
    return sum;
}

static uint64_t touch_fields(const struct ksi_json_fields *f)
{
    uint64_t sum = f->count;
    for (size_t i = 0; i < f->count; i++)
        sum = sum * 31 + touch(f->items[i].name) + 7 * touch(f->items[i].value);
    return sum;
}

/* Asking for some names gives what asking for all gives of them. */
static void check_wanted(struct ks_slice s, struct ks_arena *a, const struct ksi_json_fields *all,
                         bool all_ok)
{
    struct ks_lq_field names[2] = {{KS_SLICE_LIT("a"), s.len % 2}, {KS_SLICE_LIT("b.c"), false}};
    struct ks_lq_fields wanted = {names, 2};
    struct ksi_json_fields some = {NULL, 0, 0};
    size_t k = 0;
    bool ok;
    if (all->count) {
        names[0].name = all->items[s.len % all->count].name;
        if (s.len % 3 == 0)
            names[0].name.len /= 2;
    }
    if (ksi_json_flatten(s, NULL, &wanted, a, &some, &ok) != KS_OK)
        return;
    KS_ASSERT(ok == all_ok);
    for (size_t i = 0; i < all->count; i++) {
        if (!ksi_lq_fields_match(&wanted, all->items[i].name))
            continue;
        KS_ASSERT(k < some.count && ks_slice_eq(some.items[k].name, all->items[i].name) &&
                  ks_slice_eq(some.items[k].value, all->items[i].value));
        k++;
    }
    KS_ASSERT(k == some.count);
}

static uint64_t json(struct ks_slice s, struct ks_arena *a)
{
    struct ksi_json_fields f = {NULL, 0, 0};
    struct ks_slice *items;
    size_t count = 0, again = 0;
    bool ok, ok2;
    if (ksi_json_flatten(s, NULL, NULL, a, &f, &ok) != KS_OK)
        return 0;
    KS_ASSERT(ok || f.count == 0);
    check_wanted(s, a, &f, ok);
    if (ksi_json_items(s, a, &items, &count, &ok) != KS_OK ||
        ksi_json_items(s, a, NULL, &again, &ok2) != KS_OK)
        return 0;
    KS_ASSERT(ok == ok2 && (!ok || count == again));
    uint64_t sum = touch_fields(&f);
    for (size_t i = 0; ok && i < count; i++)
        sum = sum * 31 + touch(items[i]);
    return sum;
}

static uint64_t syslog(struct ks_slice s, struct ks_arena *a)
{
    struct ksi_json_fields f = {NULL, 0, 0};
    if (ksi_lq_syslog_fields(s, 1700000000000000000, 3600000000000, a, &f) != KS_OK)
        return 0;
    return touch_fields(&f);
}

/* "<pattern>\0<text>": steps are cut at '<' and '>' as the parser does, roughly. */
static uint64_t pattern(struct ks_slice s, struct ks_arena *a)
{
    struct ks_lq_pattern_step steps[8] = {0};
    struct ks_lq_pattern p = {.steps = steps};
    struct ks_slice ret[8];
    const char *nul = s.len ? memchr(s.ptr, 0, s.len) : NULL;
    size_t from = 0, end = nul ? (size_t)(nul - s.ptr) : 0;
    for (size_t i = 0; i <= end && p.count < 8 && nul; i++) {
        if (i < end && s.ptr[i] != '<')
            continue;
        steps[p.count].prefix = ks_slice(s.ptr + from, i - from);
        if (p.count && !steps[p.count].prefix.len)
            break;
        steps[p.count].has_field = i < end;
        steps[p.count++].field = KS_SLICE_LIT("f");
        from = i + 1;
    }
    struct ks_slice text = nul ? ks_slice_from(s, end + 1) : s;
    if (ksi_lq_pattern_match(&p, text, a, ret) != KS_OK)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < p.count; i++)
        if (steps[i].has_field)
            sum = sum * 31 + touch(ret[i]);
    return sum;
}

static uint64_t forms(struct ks_slice s)
{
    struct ks_buf b, c;
    int64_t ns;
    ks_buf_init(&b, 1 << 24);
    ks_buf_init(&c, 1 << 24);
    ksi_lq_collapse_nums(s, &b);
    ksi_lq_collapse_prettify(ks_buf_view(&b), &c);
    for (int opt = KSI_LQ_FMT_PLAIN; opt <= KSI_LQ_FMT_URLDECODE; opt++)
        ksi_lq_format_value((enum ksi_lq_format_opt)opt, s, &c);
    if (ks_lq_parse_unix(s, &ns)) {
        char text[40];
        ks_buf_add(&c, text, ks_lq_time_format(text, ns));
    }
    struct ks_lq_key k = ks_lq_key(s);
    KS_ASSERT(ks_lq_key_cmp(&k, &k) == 0);
    uint64_t sum = touch(ks_buf_view(&c));
    ks_buf_done(&b);
    ks_buf_done(&c);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_arena a;
    uint64_t first = 0;
    if (size < 1 || size > 1 << 16)
        return 0;
    struct ks_slice s = ks_slice(data + 1, size - 1);
    for (int round = 0; round < 2; round++) {
        ks_arena_init(&a, 64 << 20);
        uint64_t sum = data[0] == 'j'   ? json(s, &a)
                       : data[0] == 's' ? syslog(s, &a)
                       : data[0] == 'p' ? pattern(s, &a)
                                        : forms(s);
        ks_arena_done(&a);
        KS_ASSERT(round == 0 || sum == first);
        first = sum;
    }
    return 0;
}
