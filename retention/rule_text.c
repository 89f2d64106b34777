#include "retention/rule_text.h"

#include "base/time.h"

/* Bytes up to the first `stop` outside of quotes, braces and brackets; text.len when there is none.
 */
static size_t until(struct ks_slice text, char stop)
{
    int depth = 0;
    char quote = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quote) {
            if (c == '\\' && quote != '`')
                i++;
            else if (c == quote)
                quote = 0;
            continue;
        }
        if (c == '"' || c == '\'' || c == '`')
            quote = c;
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth -= depth > 0;
        else if (c == stop && !depth)
            return i;
    }
    return text.len;
}

size_t ks_rule_text_item(struct ks_slice text)
{
    return until(text, ',');
}

/* Cuts `{…}:` or `name{…}:` off the front. */
static ks_err take_filter(struct ks_slice text, struct ks_slice *ret_filter,
                          struct ks_slice *ret_rest)
{
    size_t n = until(text, ':');
    *ret_filter = ks_slice(text.ptr, 0);
    *ret_rest = text;
    if (!n || (text.ptr[0] >= '0' && text.ptr[0] <= '9'))
        return KS_OK;
    if (n == text.len)
        return ks_fail(KS_EINVAL, "no ':' behind the filter in \"%.*s\"", KS_SLICE_ARG(text));
    *ret_filter = ks_slice_trim(ks_slice(text.ptr, n));
    *ret_rest = ks_slice_from(text, n + 1);
    return KS_OK;
}

ks_err ks_retention_text_parse(struct ks_slice text, struct ks_slice *ret_filter,
                               int64_t *ret_keep_ms)
{
    struct ks_slice filter, rest;
    int64_t keep;
    text = ks_slice_trim(text);
    KS_TRY(take_filter(text, &filter, &rest));
    if (!filter.len)
        return ks_fail(KS_EINVAL, "\"%.*s\" has no filter; write {label=\"value\"}:30d",
                       KS_SLICE_ARG(text));
    ks_err err = ks_retention_parse_ms(ks_slice_trim(rest), &keep);
    if (err != KS_OK)
        return ks_fail_context(err, "retention of \"%.*s\"", KS_SLICE_ARG(text));
    /* "1m" reads like a month and would leave a minute. */
    if (keep < KS_MS_HOUR)
        return ks_fail(KS_EINVAL,
                       "retention \"%.*s\" is shorter than an hour; a month is written 31d or 1",
                       KS_SLICE_ARG(rest));
    *ret_filter = filter;
    *ret_keep_ms = keep;
    return KS_OK;
}

static ks_err duration(struct ks_slice text, struct ks_slice whole, int64_t *ret)
{
    ks_err err = ks_duration_parse_ms(ks_slice_trim(text), ret);
    if (err != KS_OK)
        return ks_fail_context(err, "in \"%.*s\"", KS_SLICE_ARG(whole));
    return *ret < 0 ? ks_fail(KS_EINVAL, "negative duration in \"%.*s\"", KS_SLICE_ARG(whole))
                    : KS_OK;
}

ks_err ks_downsample_text_parse(struct ks_slice text, struct ks_slice *ret_filter,
                                int64_t *ret_after_ms, int64_t *ret_resolution_ms)
{
    struct ks_slice filter, rest;
    int64_t after, resolution;
    text = ks_slice_trim(text);
    KS_TRY(take_filter(text, &filter, &rest));
    size_t colon = until(rest, ':');
    if (colon == rest.len)
        return ks_fail(KS_EINVAL, "\"%.*s\" is not [filter:]offset:interval, like 30d:5m",
                       KS_SLICE_ARG(text));
    KS_TRY(duration(ks_slice(rest.ptr, colon), text, &after));
    KS_TRY(duration(ks_slice_from(rest, colon + 1), text, &resolution));
    if (!resolution && after)
        return ks_fail(KS_EINVAL,
                       "interval 0 in \"%.*s\"; only 0s:0s is allowed, it exempts series",
                       KS_SLICE_ARG(text));
    *ret_filter = filter;
    *ret_after_ms = after;
    *ret_resolution_ms = resolution;
    return KS_OK;
}
