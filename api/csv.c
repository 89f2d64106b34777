#include "api/csv.h"

#include "api/go_time.h"
#include "base/num.h"
#include "base/time.h"

ks_err ks_csv_time_of(struct ks_slice text, struct ks_csv_time *ret)
{
    static const char *const names[] = {"unix_s", "unix_ms", "unix_ns", "rfc3339"};
    for (int i = 0; i < 4; i++)
        if (ks_slice_is(text, names[i])) {
            *ret = (struct ks_csv_time){.kind = (enum ks_csv_time_kind)i};
            return KS_OK;
        }
    if (!ks_slice_has_prefix(text, KS_SLICE_LIT("custom:")))
        return ks_fail(KS_EINVAL,
                       "unknown time format \"%.*s\"; want unix_s, unix_ms, unix_ns, rfc3339 or "
                       "custom:<layout>",
                       KS_SLICE_ARG(text));
    *ret = (struct ks_csv_time){KS_CSV_CUSTOM, ks_slice_from(text, 7)};
    return KS_OK;
}

bool ks_csv_time_read(const struct ks_csv_time *t, struct ks_slice text, int64_t *ret_ms)
{
    int64_t v;
    switch (t->kind) {
    case KS_CSV_RFC3339:
        return ks_go_time_parse(KS_SLICE_LIT("2006-01-02T15:04:05Z07:00"), text, ret_ms);
    case KS_CSV_CUSTOM:
        return ks_go_time_parse(t->layout, text, ret_ms);
    default:
        if (!ks_i64_parse(text, &v) ||
            (t->kind == KS_CSV_UNIX_S && (v > INT64_MAX / 1000 || v < INT64_MIN / 1000)))
            return false;
        *ret_ms = t->kind == KS_CSV_UNIX_S ? v * 1000 : t->kind == KS_CSV_UNIX_MS ? v : v / 1000000;
        return true;
    }
}

void ks_csv_time_write(const struct ks_csv_time *t, int64_t ms, struct ks_buf *out)
{
    switch (t->kind) {
    case KS_CSV_UNIX_S:
        ks_buf_i64_dec(out, ms / 1000);
        break;
    case KS_CSV_UNIX_MS:
        ks_buf_i64_dec(out, ms);
        break;
    case KS_CSV_UNIX_NS:
        ks_buf_i64_dec(out, ms);
        ks_buf_add(out, "000000", ms ? 6 : 0);
        break;
    case KS_CSV_RFC3339:
        ks_go_time_format(KS_SLICE_LIT("2006-01-02T15:04:05.999Z07:00"), ms, out);
        break;
    case KS_CSV_CUSTOM:
        ks_go_time_format(t->layout, ms, out);
        break;
    }
}

static const char *quoted(struct ks_slice *line, struct ks_arena *arena, struct ks_slice *ret)
{
    char quote = line->ptr[0];
    const char *start = line->ptr + 1, *end = line->ptr + line->len, *p = start;
    size_t doubled = 0;
    for (; p < end; p++) {
        if (*p != quote)
            continue;
        if (p + 1 == end || p[1] != quote)
            break;
        doubled++;
        p++;
    }
    if (p >= end)
        return "a quoted column has no closing quote";
    *line = ks_slice(p + 1, (size_t)(end - p - 1));
    *ret = ks_slice(start, (size_t)(p - start));
    if (!doubled)
        return NULL;
    char *out = ks_arena_alloc(arena, ret->len), *o = out;
    if (!out)
        return "out of memory";
    for (const char *q = start; q < p; q++) {
        *o++ = *q;
        q += *q == quote;
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return NULL;
}

const char *ks_csv_column(struct ks_slice *line, struct ks_arena *arena, struct ks_slice *ret,
                          bool *ret_more)
{
    if (line->len && (line->ptr[0] == '"' || line->ptr[0] == '\'')) {
        const char *wrong = quoted(line, arena, ret);
        if (wrong)
            return wrong;
        *ret_more = line->len > 0;
        if (*ret_more && line->ptr[0] != ',')
            return "text behind a quoted column";
        *line = ks_slice_from(*line, *ret_more);
        return NULL;
    }
    const char *comma = line->len ? memchr(line->ptr, ',', line->len) : NULL;
    *ret = ks_slice(line->ptr, comma ? (size_t)(comma - line->ptr) : line->len);
    *line = ks_slice_from(*line, ret->len + (comma != NULL));
    *ret_more = comma != NULL;
    return NULL;
}

void ks_csv_put(struct ks_buf *out, struct ks_slice s)
{
    bool plain =
        !s.len || (s.ptr[0] != '\'' && !memchr(s.ptr, '"', s.len) && !memchr(s.ptr, ',', s.len) &&
                   !memchr(s.ptr, '\n', s.len) && !memchr(s.ptr, '\r', s.len));
    if (plain) {
        ks_buf_slice(out, s);
        return;
    }
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"')
            ks_buf_byte(out, '"');
        ks_buf_byte(out, (uint8_t)s.ptr[i]);
    }
    ks_buf_byte(out, '"');
}
