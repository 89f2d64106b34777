#include "base/histogram_text.h"

#include <inttypes.h>
#include <math.h>

#include "base/num.h"

static void json_number(struct ks_buf *out, double v)
{
    char text[KS_F64_TEXT_MAX];
    size_t n = ks_f64_format_json(text, v);
    ks_buf_byte(out, '"');
    ks_buf_add(out, text, n);
    ks_buf_byte(out, '"');
}

static void number(struct ks_buf *out, double v)
{
    char text[KS_F64_TEXT_MAX];
    ks_buf_add(out, text, ks_f64_format_g(text, v));
}

void ks_histogram_json(const struct ks_histogram *h, struct ks_buf *out)
{
    static const char rules[2][2] = {{'2', '0'},
                                     {'1', '3'}}; /* [lower inclusive][upper inclusive] */
    struct ks_histogram_cursor c = ks_histogram_cursor(h, false);
    struct ks_histogram_bucket b;
    bool any = false;
    ks_buf_str(out, "{\"count\":");
    json_number(out, ks_histogram_count_f64(h));
    ks_buf_str(out, ",\"sum\":");
    json_number(out, h->sum);
    while (ks_histogram_next(&c, &b)) {
        if (b.count == 0)
            continue;
        ks_buf_str(out, any ? ",[" : ",\"buckets\":[[");
        any = true;
        ks_buf_byte(out, (uint8_t)rules[b.lower_inclusive][b.upper_inclusive]);
        ks_buf_byte(out, ',');
        json_number(out, b.lower);
        ks_buf_byte(out, ',');
        json_number(out, b.upper);
        ks_buf_byte(out, ',');
        json_number(out, b.count);
        ks_buf_byte(out, ']');
    }
    ks_buf_str(out, any ? "]}" : "}");
}

static void string_bucket(struct ks_buf *out, const struct ks_histogram_bucket *b)
{
    ks_buf_str(out, b->lower_inclusive ? ", [" : ", (");
    number(out, b->lower);
    ks_buf_byte(out, ',');
    number(out, b->upper);
    ks_buf_str(out, b->upper_inclusive ? "]:" : "):");
    number(out, b->count);
}

void ks_histogram_string(const struct ks_histogram *h, struct ks_buf *out)
{
    int32_t index;
    double count, zero = ks_histogram_zero_f64(h), edge = h->zero_threshold;
    ks_buf_str(out, "{count:");
    number(out, ks_histogram_count_f64(h));
    ks_buf_str(out, ", sum:");
    number(out, h->sum);
    /* Side by side, not by the cursor: here bounds inside the zero bucket stay where they are. */
    for (int positive = 0; positive < 2; positive++) {
        struct ks_histogram_walk w =
            ks_histogram_walk(h, positive ? &h->positive : &h->negative, !positive);
        while (ks_histogram_step(&w, &index, &count)) {
            struct ks_histogram_bucket b = ks_histogram_bucket_at(h, positive, index, count);
            if (count != 0)
                string_bucket(out, &b);
        }
        if (!positive && zero != 0)
            string_bucket(out, &(struct ks_histogram_bucket){-edge, edge, zero, true, true});
    }
    ks_buf_byte(out, '}');
}

/* --- the notation of promql tests --- */

static const char *const hints[] = {NULL, "reset", "not_reset", "gauge"};

static void item(struct ks_buf *out, const char *key, double v)
{
    if (v == 0)
        return;
    ks_buf_printf(out, " %s:", key);
    number(out, v);
}

static void list(struct ks_buf *out, const char *key, const double *v, uint32_t n)
{
    ks_buf_printf(out, " %s:[", key);
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            ks_buf_byte(out, ' ');
        number(out, v[i]);
    }
    ks_buf_byte(out, ']');
}

static void side_notation(struct ks_buf *out, const struct ks_histogram_side *s, const char *offset,
                          const char *buckets)
{
    if (!s->bucket_count)
        return;
    if (s->spans[0].offset)
        ks_buf_printf(out, " %s:%" PRId32, offset, s->spans[0].offset);
    list(out, buckets, s->counts, s->bucket_count);
}

ks_err ks_histogram_notation(struct ks_arena *arena, const struct ks_histogram *source,
                             struct ks_buf *out)
{
    struct ks_histogram h;
    KS_TRY(ks_histogram_to_float(arena, source, &h));
    KS_TRY(ks_histogram_compact(arena, UINT32_MAX, &h));
    ks_buf_str(out, "{{");
    size_t start = out->len;
    if (h.schema)
        ks_buf_printf(out, " schema:%" PRId32, h.schema);
    item(out, "count", h.count.f);
    item(out, "sum", h.sum);
    item(out, "z_bucket", h.zero_count.f);
    item(out, "z_bucket_w", h.zero_threshold);
    if (ks_histogram_is_custom(&h))
        list(out, "custom_values", h.custom_values, h.custom_count);
    if (h.hint && h.hint < sizeof hints / sizeof *hints)
        ks_buf_printf(out, " counter_reset_hint:%s", hints[h.hint]);
    side_notation(out, &h.positive, "offset", "buckets");
    side_notation(out, &h.negative, "n_offset", "n_buckets");
    if (out->err == KS_OK && out->len > start) { /* the blank before the first item */
        memmove(out->ptr + start, out->ptr + start + 1, out->len - start - 1);
        out->len--;
    }
    ks_buf_str(out, "}}");
    return ks_buf_status(out);
}

struct parser {
    struct ks_arena *arena;
    const char *start, *p, *end;
    double numbers[KS_HISTOGRAM_CUSTOM_MAX];
};

static void skip_blanks(struct parser *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r'))
        t->p++;
}

static ks_err bad(const struct parser *t, const char *what)
{
    return ks_fail(KS_EPARSE, "histogram description: %s at byte %zu", what,
                   (size_t)(t->p - t->start));
}

static struct ks_slice word(struct parser *t)
{
    const char *p = t->p;
    while (t->p < t->end && !strchr(" \t\r\n:[]{}", *t->p))
        t->p++;
    return ks_slice(p, (size_t)(t->p - p));
}

static ks_err parse_number(struct parser *t, double *ret)
{
    struct ks_slice s = word(t);
    return s.len && ks_f64_parse(s, ret) ? KS_OK : bad(t, "expected a number");
}

static ks_err parse_int(struct parser *t, int32_t *ret)
{
    int64_t v;
    struct ks_slice s = word(t);
    if (!s.len || !ks_i64_parse(s, &v) || v < INT32_MIN || v > INT32_MAX)
        return bad(t, "expected an integer");
    *ret = (int32_t)v;
    return KS_OK;
}

static ks_err parse_list(struct parser *t, double **ret, uint32_t *ret_count)
{
    uint32_t n = 0;
    if (t->p == t->end || *t->p != '[')
        return bad(t, "expected [");
    for (t->p++;; n++) {
        skip_blanks(t);
        if (t->p < t->end && *t->p == ']')
            break;
        if (n == KS_HISTOGRAM_CUSTOM_MAX)
            return bad(t, "too many numbers");
        KS_TRY(parse_number(t, &t->numbers[n]));
    }
    t->p++;
    *ret = ks_arena_array(t->arena, n + 1, sizeof **ret);
    if (!*ret)
        return ks_arena_err(t->arena);
    memcpy(*ret, t->numbers, n * sizeof **ret);
    *ret_count = n;
    return KS_OK;
}

static ks_err parse_hint(struct parser *t, uint8_t *ret)
{
    struct ks_slice s = word(t);
    for (unsigned i = 1; i < sizeof hints / sizeof *hints; i++) {
        if (ks_slice_is(s, hints[i])) {
            *ret = (uint8_t)i;
            return KS_OK;
        }
    }
    if (!ks_slice_is(s, "unknown"))
        return bad(t, "expected a counter reset hint: unknown, reset, not_reset or gauge");
    *ret = KS_HISTOGRAM_UNKNOWN;
    return KS_OK;
}

static ks_err parse_item(struct parser *t, struct ks_histogram *h, int32_t offsets[2])
{
    struct ks_slice key = word(t);
    uint32_t n = 0;
    double *v = NULL;
    if (t->p == t->end || *t->p != ':')
        return bad(t, "expected a histogram description key and a colon, e.g. buckets:[5 10 7]");
    t->p++;
    if (ks_slice_is(key, "schema"))
        return parse_int(t, &h->schema);
    if (ks_slice_is(key, "sum"))
        return parse_number(t, &h->sum);
    if (ks_slice_is(key, "count"))
        return parse_number(t, &h->count.f);
    if (ks_slice_is(key, "z_bucket"))
        return parse_number(t, &h->zero_count.f);
    if (ks_slice_is(key, "z_bucket_w"))
        return parse_number(t, &h->zero_threshold);
    if (ks_slice_is(key, "offset"))
        return parse_int(t, &offsets[0]);
    if (ks_slice_is(key, "n_offset"))
        return parse_int(t, &offsets[1]);
    if (ks_slice_is(key, "counter_reset_hint"))
        return parse_hint(t, &h->hint);
    bool bounds = ks_slice_is(key, "custom_values"), positive = ks_slice_is(key, "buckets");
    if (!bounds && !positive && !ks_slice_is(key, "n_buckets"))
        return bad(t, "unknown histogram description key");
    KS_TRY(parse_list(t, &v, &n));
    if (bounds) {
        h->custom_values = v;
        h->custom_count = n;
    } else {
        struct ks_histogram_side *s = positive ? &h->positive : &h->negative;
        s->counts = v;
        s->bucket_count = n;
    }
    return KS_OK;
}

static ks_err one_span(struct ks_arena *arena, struct ks_histogram_side *s, int32_t offset)
{
    if (!s->bucket_count)
        return KS_OK;
    struct ks_histogram_span *span = ks_arena_alloc(arena, sizeof *span);
    if (!span)
        return ks_arena_err(arena);
    *span = (struct ks_histogram_span){offset, s->bucket_count};
    s->spans = span;
    s->span_count = 1;
    return KS_OK;
}

ks_err ks_histogram_parse(struct ks_slice text, struct ks_arena *arena, struct ks_histogram *ret)
{
    struct ks_histogram h = {.is_float = true};
    int32_t offsets[2] = {0, 0};
    text = ks_slice_trim(text);
    if (text.len >= 4 && ks_slice_has_prefix(text, KS_SLICE_LIT("{{")) &&
        text.ptr[text.len - 2] == '}' && text.ptr[text.len - 1] == '}')
        text = ks_slice(text.ptr + 2, text.len - 4);
    struct parser *t = ks_arena_alloc(arena, sizeof *t);
    if (!t)
        return ks_arena_err(arena);
    t->arena = arena;
    t->start = t->p = text.ptr;
    t->end = text.ptr + text.len;
    for (skip_blanks(t); t->p < t->end; skip_blanks(t))
        KS_TRY(parse_item(t, &h, offsets));
    KS_TRY(one_span(arena, &h.positive, offsets[0]));
    KS_TRY(one_span(arena, &h.negative, offsets[1]));
    ks_err err = ks_histogram_check_layout(&h);
    if (err != KS_OK)
        return err == KS_EINVAL ? ks_fail_context(KS_EPARSE, "histogram description") : err;
    *ret = h;
    return KS_OK;
}
