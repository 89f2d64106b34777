/* Canonical text of filters, options and queries. Pipes are in print_pipe.c. */
#include <arpa/inet.h>

#include "base/num.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

/* Words of the language that are no names of pipes, stats functions or filters. */
static const char *const keywords[] = {
    "and", "or", "not", "by", "options", "stats_remote",
};

enum { OPERATORS = 3, KEYWORDS = sizeof keywords / sizeof *keywords };

/* Of the first n keywords. */
static bool is_one_of(struct ks_slice s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s.len == strlen(keywords[i]) && strncasecmp(s.ptr, keywords[i], s.len) == 0)
            return true;
    return false;
}

static bool is_keyword(struct ks_slice s)
{
    return is_one_of(s, KEYWORDS) || ksi_lq_is_filter_func(s) || ksi_lq_is_pipe_name(s) ||
           ksi_lq_is_func_name(s);
}

/* `or.x`: an operator is one whatever stands behind it. */
static bool begins_with_operator(struct ks_slice s)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] != '.')
        n++;
    return is_one_of(ks_slice(s.ptr, n), OPERATORS);
}

static bool needs_quotes(struct ks_slice s)
{
    if (!s.len || is_keyword(s) || begins_with_operator(s))
        return true;
    for (size_t pos = 0; pos < s.len;) {
        struct ks_slice w;
        size_t from = pos;
        if (s.ptr[pos] == '.') {
            pos++;
            continue;
        }
        if (!ks_lq_next_word(s, &pos, &w) || w.ptr != s.ptr + from)
            return true;
    }
    return false;
}

static void quote_byte(struct ks_buf *out, unsigned char c)
{
    static const char from[] = "\a\b\f\n\r\t\v\\\"", to[] = "abfnrtv\\\"";
    const char *at = c ? memchr(from, c, sizeof from - 1) : NULL;
    if (at) {
        ks_buf_byte(out, '\\');
        ks_buf_byte(out, (uint8_t)to[at - from]);
    } else if (c < 0x20 || c >= 0x7f) {
        ks_buf_printf(out, "\\x%02x", c);
    } else {
        ks_buf_byte(out, c);
    }
}

/* The length of the UTF-8 rune at s[i], 0 when it is broken. */
static size_t rune_len(struct ks_slice s, size_t i)
{
    unsigned char c = (unsigned char)s.ptr[i];
    size_t n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (!n || s.len - i < n)
        return 0;
    for (size_t k = 1; k < n; k++)
        if (((unsigned char)s.ptr[i + k] & 0xc0) != 0x80)
            return 0;
    return n;
}

void ksi_lq_print_quoted(struct ks_slice s, struct ks_buf *out)
{
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t n = (unsigned char)s.ptr[i] >= 0x80 ? rune_len(s, i) : 0;
        if (n) {
            ks_buf_slice(out, ks_slice_sub(s, i, n));
            i += n;
        } else {
            quote_byte(out, (unsigned char)s.ptr[i++]);
        }
    }
    ks_buf_byte(out, '"');
}

void ks_lq_print_token(struct ks_slice s, struct ks_buf *out)
{
    if (needs_quotes(s))
        ksi_lq_print_quoted(s, out);
    else
        ks_buf_slice(out, s);
}

void ksi_lq_print_field(const struct ks_lq_field *f, struct ks_buf *out)
{
    if (f->prefix) {
        if (f->name.len)
            ks_lq_print_token(f->name, out);
        ks_buf_byte(out, '*');
    } else {
        ks_lq_print_token(f->name, out);
    }
}

void ksi_lq_print_fields(const struct ks_lq_fields *f, struct ks_buf *out)
{
    for (size_t i = 0; i < f->count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        ksi_lq_print_field(&f->items[i], out);
    }
}

void ksi_lq_print_names(const struct ks_lq_names *n, struct ks_buf *out)
{
    for (size_t i = 0; i < n->count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        ks_lq_print_token(n->items[i], out);
    }
}

/* --- filters --- */

static void print_prefix(struct ks_slice text, struct ks_buf *out)
{
    if (text.len)
        ks_lq_print_token(text, out);
    ks_buf_byte(out, '*');
}

static void print_values(const struct ks_lq_filter *f, const char *name, struct ks_buf *out)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, '(');
    if (f->sub)
        ks_lq_print(f->sub, out);
    for (size_t i = 0; i < f->values.count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_lq_print_token(f->values.items[i], out);
    }
    ks_buf_byte(out, ')');
}

static void print_call(const char *name, struct ks_slice arg, struct ks_buf *out)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, '(');
    ks_lq_print_token(arg, out);
    ks_buf_byte(out, ')');
}

static void print_tag(const struct ks_lq_tag_filter *t, struct ks_buf *out)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~", " in ", " not_in "};
    ks_lq_print_token(t->name, out);
    ks_buf_str(out, ops[t->op]);
    if (t->op != KS_LQ_TAG_IN && t->op != KS_LQ_TAG_NOT_IN) {
        ksi_lq_print_quoted(t->value, out);
        return;
    }
    ks_buf_byte(out, '(');
    for (size_t i = 0; i < t->values.count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ksi_lq_print_quoted(t->values.items[i], out);
    }
    ks_buf_byte(out, ')');
}

static void print_stream(const struct ks_lq_stream_filter *s, struct ks_buf *out)
{
    ks_buf_byte(out, '{');
    for (size_t i = 0; i < s->count; i++) {
        if (i)
            ks_buf_str(out, " or ");
        for (size_t k = 0; k < s->ors[i].count; k++) {
            if (k)
                ks_buf_byte(out, ',');
            print_tag(&s->ors[i].items[k], out);
        }
    }
    ks_buf_byte(out, '}');
}

static void print_ip6(const struct ks_lq_filter *f, struct ks_buf *out)
{
    char a[INET6_ADDRSTRLEN] = "", b[INET6_ADDRSTRLEN] = "";
    inet_ntop(AF_INET6, f->min_ip6, a, sizeof a);
    inet_ntop(AF_INET6, f->max_ip6, b, sizeof b);
    ks_buf_printf(out, "ipv6_range(%s, %s)", a, b);
}

static void print_ip4(const struct ks_lq_filter *f, struct ks_buf *out)
{
    char a[16], b[16];
    size_t na = ks_lq_ipv4_format(a, f->min_ip), nb = ks_lq_ipv4_format(b, f->max_ip);
    ks_buf_printf(out, "ipv4_range(%.*s, %.*s)", (int)na, a, (int)nb, b);
}

static void print_string_range(const struct ks_lq_filter *f, struct ks_buf *out)
{
    if (f->shown.len) { /* it was a comparison */
        ks_buf_slice(out, f->shown);
        return;
    }
    ks_buf_str(out, "string_range(");
    ks_lq_print_token(f->min_text, out);
    ks_buf_str(out, ", ");
    ks_lq_print_token(f->max_text, out);
    ks_buf_byte(out, ')');
}

/* What stands behind the field. */
static void print_leaf(const struct ks_lq_filter *f, struct ks_buf *out)
{
    switch (f->kind) {
    case KS_LQ_F_PHRASE:
        ks_lq_print_token(f->text, out);
        return;
    case KS_LQ_F_PREFIX:
        print_prefix(f->text, out);
        return;
    case KS_LQ_F_SUBSTRING:
        ks_buf_byte(out, '*');
        ks_lq_print_token(f->text, out);
        ks_buf_byte(out, '*');
        return;
    case KS_LQ_F_EXACT:
        ks_buf_byte(out, '=');
        ks_lq_print_token(f->text, out);
        return;
    case KS_LQ_F_EXACT_PREFIX:
        ks_buf_byte(out, '=');
        ks_lq_print_token(f->text, out);
        ks_buf_byte(out, '*');
        return;
    case KS_LQ_F_ANYCASE_PHRASE:
        print_call("i", f->text, out);
        return;
    case KS_LQ_F_ANYCASE_PREFIX:
        ks_buf_str(out, "i(");
        print_prefix(f->text, out);
        ks_buf_byte(out, ')');
        return;
    case KS_LQ_F_REGEXP:
        ks_buf_byte(out, '~');
        ks_lq_print_token(f->text, out);
        return;
    case KS_LQ_F_SEQUENCE:
    case KS_LQ_F_IN:
    case KS_LQ_F_CONTAINS_ANY:
    case KS_LQ_F_CONTAINS_ALL:
    case KS_LQ_F_EQUALS_COMMON_CASE:
    case KS_LQ_F_CONTAINS_COMMON_CASE:
    case KS_LQ_F_JSON_ARRAY_CONTAINS_ANY:
        print_values(f, ksi_lq_filter_func_name(f), out);
        return;
    case KS_LQ_F_STRING_RANGE:
        print_string_range(f, out);
        return;
    case KS_LQ_F_IPV4_RANGE:
        print_ip4(f, out);
        return;
    case KS_LQ_F_IPV6_RANGE:
        print_ip6(f, out);
        return;
    case KS_LQ_F_EQ_FIELD:
    case KS_LQ_F_LE_FIELD:
    case KS_LQ_F_LT_FIELD:
    case KS_LQ_F_VALUE_TYPE:
    case KS_LQ_F_PATTERN_MATCH:
        print_call(ksi_lq_filter_func_name(f), f->text, out);
        return;
    case KS_LQ_F_STREAM_ID:
        if (f->sub || f->values.count != 1)
            print_values(f, "in", out);
        else
            ks_lq_print_token(f->values.items[0], out);
        return;
    default: /* ranges and times keep their text */
        ks_buf_slice(out, f->shown);
    }
}

static void print_at(const struct ks_lq_filter *f, int level, struct ks_buf *out)
{
    /* level: 0 or, 1 and, 2 not */
    int own = f->kind == KS_LQ_F_OR ? 0 : f->kind == KS_LQ_F_AND ? 1 : 2;
    if (own < level)
        ks_buf_byte(out, '(');
    switch (f->kind) {
    case KS_LQ_F_ALL:
        ks_buf_byte(out, '*');
        break;
    case KS_LQ_F_AND:
    case KS_LQ_F_OR:
        for (size_t i = 0; i < f->kid_count; i++) {
            if (i)
                ks_buf_str(out, own ? " " : " or ");
            print_at(f->kids[i], own + (own ? 1 : 0), out);
        }
        break;
    case KS_LQ_F_NOT:
        ks_buf_byte(out, '!');
        print_at(f->kids[0], 2, out);
        break;
    case KS_LQ_F_STREAM:
        print_stream(&f->stream, out);
        break;
    default:
        /* `*` alone is every row, not every row with a message. */
        if (f->field.prefix || !ks_slice_is(f->field.name, "_msg") ||
            (f->kind == KS_LQ_F_PREFIX && !f->text.len)) {
            ksi_lq_print_field(&f->field, out);
            ks_buf_byte(out, ':');
        }
        print_leaf(f, out);
    }
    if (own < level)
        ks_buf_byte(out, ')');
}

void ks_lq_print_filter(const struct ks_lq_filter *f, struct ks_buf *out)
{
    print_at(f, 0, out);
}

/* --- queries --- */

static void print_option(const char *name, bool *first, struct ks_buf *out)
{
    ks_buf_str(out, *first ? "options(" : ", ");
    ks_buf_str(out, name);
    ks_buf_byte(out, '=');
    *first = false;
}

static void print_options(const struct ks_lq_options *o, struct ks_buf *out)
{
    bool first = true;
    if (o->concurrency) {
        print_option("concurrency", &first, out);
        ks_buf_u64_dec(out, o->concurrency);
    }
    if (o->parallel_readers) {
        print_option("parallel_readers", &first, out);
        ks_buf_u64_dec(out, o->parallel_readers);
    }
    if (o->ignore_global_time_filter) {
        print_option("ignore_global_time_filter", &first, out);
        ks_buf_str(out, o->ignore_global_time_filter == KS_LQ_TRUE ? "true" : "false");
    }
    if (o->allow_partial_response) {
        print_option("allow_partial_response", &first, out);
        ks_buf_str(out, o->allow_partial_response == KS_LQ_TRUE ? "true" : "false");
    }
    if (o->time_offset_text.len) {
        print_option("time_offset", &first, out);
        ks_buf_slice(out, o->time_offset_text);
    }
    if (o->global_filter) {
        print_option("global_filter", &first, out);
        ks_buf_byte(out, '(');
        ks_lq_print_filter(o->global_filter, out);
        ks_buf_byte(out, ')');
    }
    if (!first)
        ks_buf_str(out, ") ");
}

void ks_lq_print(const struct ks_lq_query *q, struct ks_buf *out)
{
    print_options(&q->options, out);
    ks_lq_print_filter(q->filter, out);
    for (size_t i = 0; i < q->pipe_count; i++) {
        ks_buf_str(out, " | ");
        ks_lq_print_pipe(&q->pipes[i], out);
    }
}
