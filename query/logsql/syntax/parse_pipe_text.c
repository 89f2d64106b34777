/* Pipes that take texts apart and put them together: extract, format, unpack, replace, pack, … */
#include <stdio.h>

#include "base/cxx/re2.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

/* --- patterns --- */

static const struct {
    const char *name, *text;
} entities[] = {{"&lt;", "<"},   {"&gt;", ">"},  {"&amp;", "&"},  {"&quot;", "\""},
                {"&#34;", "\""}, {"&#39;", "'"}, {"&apos;", "'"}, {"&nbsp;", "\xc2\xa0"}};

static ks_err html_unescape(struct ksi_lq_parser *p, struct ks_slice s, struct ks_slice *ret)
{
    if (!s.len || !memchr(s.ptr, '&', s.len)) {
        *ret = s;
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, s.len);
    if (!out)
        return ksi_lq_oom(p);
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        size_t k = 0, count = sizeof entities / sizeof *entities;
        while (k < count &&
               !ks_slice_has_prefix(ks_slice_from(s, i), ks_slice_str(entities[k].name)))
            k++;
        if (s.ptr[i] == '&' && k < count) {
            size_t len = strlen(entities[k].text);
            memcpy(out + n, entities[k].text, len);
            n += len;
            i += strlen(entities[k].name);
        } else {
            out[n++] = s.ptr[i++];
        }
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

/* What stands in <…>. */
static void read_field(struct ks_slice in, struct ks_lq_pattern_step *step)
{
    const char *colon = in.len ? memchr(in.ptr, ':', in.len) : NULL;
    step->has_field = true;
    if (colon) {
        step->opt = ks_slice_trim(ks_slice(in.ptr, (size_t)(colon - in.ptr)));
        in = ks_slice_from(in, (size_t)(colon - in.ptr) + 1);
    }
    in = ks_slice_trim(in);
    if (!ks_slice_is(in, "_") && !ks_slice_is(in, "*"))
        step->field = in;
}

ks_err ksi_lq_pattern(struct ksi_lq_parser *p, struct ks_slice text, struct ks_lq_pattern *ret)
{
    size_t cap = 0;
    *ret = (struct ks_lq_pattern){.text = text};
    struct ks_slice rest = text;
    for (;;) {
        struct ks_lq_pattern_step step = {0};
        const char *lt = rest.len ? memchr(rest.ptr, '<', rest.len) : NULL;
        size_t n = lt ? (size_t)(lt - rest.ptr) : rest.len;
        KS_TRY(html_unescape(p, ks_slice(rest.ptr, n), &step.prefix));
        if (!lt) {
            if (n || !ret->count)
                KSI_LQ_PUSH(p, ret->steps, ret->count, cap, step);
            return KS_OK;
        }
        rest = ks_slice_from(rest, n + 1);
        const char *gt = rest.len ? memchr(rest.ptr, '>', rest.len) : NULL;
        if (!gt)
            return ks_fail(KS_EPARSE, "missing '>' behind '<' in the pattern \"%.*s\"",
                           KS_SLICE_ARG(text));
        n = (size_t)(gt - rest.ptr);
        read_field(ks_slice(rest.ptr, n), &step);
        KSI_LQ_PUSH(p, ret->steps, ret->count, cap, step);
        rest = ks_slice_from(rest, n + 1);
    }
}

/* What extract asks of a pattern: a named field, and text between fields. */
static ks_err check_extract(const struct ks_lq_pattern *pt)
{
    bool named = false;
    for (size_t i = 0; i < pt->count; i++) {
        if (pt->steps[i].has_field && pt->steps[i].field.len)
            named = true;
        if (i > 0 && pt->steps[i].has_field && !pt->steps[i].prefix.len)
            return ks_fail(KS_EPARSE, "missing text between two fields of the pattern \"%.*s\"",
                           KS_SLICE_ARG(pt->text));
        if (pt->steps[i].opt.len && !ks_slice_is(pt->steps[i].opt, "plain"))
            return ks_fail(KS_EPARSE, "unknown option '%.*s' in the pattern \"%.*s\"",
                           KS_SLICE_ARG(pt->steps[i].opt), KS_SLICE_ARG(pt->text));
        if (pt->steps[i].field.len && pt->steps[i].field.ptr[pt->steps[i].field.len - 1] == '*')
            return ks_fail(KS_EPARSE, "a field of the pattern \"%.*s\" ends with '*'",
                           KS_SLICE_ARG(pt->text));
    }
    if (!named)
        return ks_fail(KS_EPARSE, "the pattern \"%.*s\" names no field", KS_SLICE_ARG(pt->text));
    return KS_OK;
}

static ks_err parse_text(struct ksi_lq_parser *p, const char *what, struct ks_slice *ret)
{
    return ksi_lq_compound(p, KSI_LQ_COLON | KSI_LQ_ANY, what, ret);
}

/* --- shared tails --- */

static ks_err parse_from(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    bool from;
    KS_TRY(ksi_lq_skip(p, "from", &from));
    return from ? ksi_lq_field_name(p, ret) : KS_OK;
}

static ks_err parse_keep(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    KS_TRY(ksi_lq_skip(p, "keep_original_fields", &ret->keep_original_fields));
    if (!ret->keep_original_fields)
        KS_TRY(ksi_lq_skip(p, "skip_empty_results", &ret->skip_empty_results));
    return KS_OK;
}

/* --- extract, format, replace --- */

static ks_err check_groups(struct ks_slice re, size_t *ret_named)
{
    char why[200];
    struct ks_re *c = ks_re_new(re.ptr, re.len, KS_RE_DOT_NL, why, sizeof why);
    if (!c)
        return ks_fail(KS_EPARSE, "bad regexp \"%.*s\": %s", KS_SLICE_ARG(re), why);
    ks_re_free(c);
    *ret_named = 0;
    for (size_t i = 0; i + 4 < re.len; i++)
        if (memcmp(re.ptr + i, "(?P<", 4) == 0 || memcmp(re.ptr + i, "(?<", 3) == 0)
            ++*ret_named;
    return KS_OK;
}

static ks_err parse_extract(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    struct ks_slice text;
    size_t named;
    KS_TRY(ksi_lq_if(p, &ret->cond));
    if (ksi_lq_is(p, "from"))
        return ksi_lq_unexpected(p, "the pattern has to stand before 'from'");
    KS_TRY(parse_text(p, "a pattern is needed", &text));
    if (ret->kind == KS_LQ_P_EXTRACT) {
        KS_TRY(ksi_lq_pattern(p, text, &ret->u.extract.pattern));
        KS_TRY(check_extract(&ret->u.extract.pattern));
    } else {
        ret->u.extract.pattern.text = text;
        KS_TRY(check_groups(text, &named));
        if (!named)
            return ks_fail(KS_EPARSE, "the regexp \"%.*s\" has no named group (?P<field>…)",
                           KS_SLICE_ARG(text));
    }
    ret->u.extract.from = KS_SLICE_LIT("_msg");
    KS_TRY(parse_from(p, &ret->u.extract.from));
    return parse_keep(p, ret);
}

static ks_err parse_format(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    struct ks_slice text;
    bool as;
    KS_TRY(ksi_lq_if(p, &ret->cond));
    KS_TRY(parse_text(p, "format needs a text", &text));
    KS_TRY(ksi_lq_pattern(p, text, &ret->u.format.pattern));
    ret->u.format.to = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (as)
        KS_TRY(ksi_lq_field_name(p, &ret->u.format.to));
    return parse_keep(p, ret);
}

static ks_err parse_replace(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool at;
    size_t named;
    KS_TRY(ksi_lq_if(p, &ret->cond));
    KS_TRY(ksi_lq_expect(p, "("));
    KS_TRY(parse_text(p, "replace needs the text to look for", &ret->u.replace.from));
    KS_TRY(ksi_lq_expect(p, ","));
    KS_TRY(parse_text(p, "replace needs the new text", &ret->u.replace.to));
    KS_TRY(ksi_lq_expect(p, ")"));
    if (ret->kind == KS_LQ_P_REPLACE_REGEXP)
        KS_TRY(check_groups(ret->u.replace.from, &named));
    ret->u.replace.at = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_skip(p, "at", &at));
    if (at)
        KS_TRY(ksi_lq_field_name(p, &ret->u.replace.at));
    if (ksi_lq_is(p, "limit"))
        return ksi_lq_uint_after(p, &ret->u.replace.limit);
    return KS_OK;
}

/* --- unpack --- */

static bool unpack_keyword(const struct ksi_lq_parser *p)
{
    static const char *const words[] = {"if",
                                        "fields",
                                        "preserve_keys",
                                        "result_prefix",
                                        "keep_original_fields",
                                        "skip_empty_results",
                                        "offset",
                                        NULL};
    return ksi_lq_is_any(p, words);
}

static ks_err parse_unpack(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool taken;
    bool syslog = ret->kind == KS_LQ_P_UNPACK_SYSLOG;
    ret->u.unpack.from = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_if(p, &ret->cond));
    KS_TRY(ksi_lq_skip(p, "from", &taken));
    if (taken || (!ksi_lq_pipe_end(p) && !unpack_keyword(p)))
        KS_TRY(ksi_lq_field_name(p, &ret->u.unpack.from));
    if (syslog && ksi_lq_is(p, "offset")) {
        KS_TRY(ksi_lq_next(p));
        KS_TRY(ksi_lq_duration(p, "a duration is needed after 'offset'", &ret->u.unpack.offset_ns,
                               &ret->u.unpack.offset_text));
    }
    if (!syslog) {
        KS_TRY(ksi_lq_skip(p, "fields", &taken));
        if (taken)
            KS_TRY(ksi_lq_fields_paren(p, true, &ret->u.unpack.fields));
    }
    if (ret->kind == KS_LQ_P_UNPACK_JSON) {
        KS_TRY(ksi_lq_skip(p, "preserve_keys", &taken));
        if (taken)
            KS_TRY(ksi_lq_fields_paren(p, false, &ret->u.unpack.preserve_keys));
    }
    KS_TRY(ksi_lq_skip(p, "result_prefix", &taken));
    if (taken)
        KS_TRY(ksi_lq_compound(p, KSI_LQ_ANY, "a text is needed after 'result_prefix'",
                               &ret->u.unpack.result_prefix));
    if (!syslog)
        return parse_keep(p, ret);
    return ksi_lq_skip(p, "keep_original_fields", &ret->keep_original_fields);
}

/* --- one column to another --- */

static ks_err parse_words(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool from, as, has_to = false;
    ret->u.map.from = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_skip(p, "from", &from));
    if (from || (!ksi_lq_pipe_end(p) && !ksi_lq_is(p, "as") && !ksi_lq_is(p, "drop_duplicates")))
        KS_TRY(ksi_lq_field_name(p, &ret->u.map.from));
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (as || (!ksi_lq_pipe_end(p) && !ksi_lq_is(p, "drop_duplicates"))) {
        KS_TRY(ksi_lq_field_name(p, &ret->u.map.to));
        has_to = true;
    }
    if (!has_to)
        ret->u.map.to = ret->u.map.from;
    return ksi_lq_skip(p, "drop_duplicates", &ret->u.map.drop_duplicates);
}

static ks_err parse_split(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool from, as, has_to = false;
    if (ksi_lq_is(p, "as") || ksi_lq_is(p, "from"))
        return ksi_lq_unexpected(p, "split needs a separator");
    KS_TRY(parse_text(p, "split needs a separator", &ret->u.map.arg));
    ret->u.map.from = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_skip(p, "from", &from));
    if (from || (!ksi_lq_pipe_end(p) && !ksi_lq_is(p, "as")))
        KS_TRY(ksi_lq_field_name(p, &ret->u.map.from));
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (as || !ksi_lq_pipe_end(p)) {
        KS_TRY(ksi_lq_field_name(p, &ret->u.map.to));
        has_to = true;
    }
    if (!has_to)
        ret->u.map.to = ret->u.map.from;
    return KS_OK;
}

/* name(field) [as x], or name field [as x] */
static ks_err parse_of_field(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool paren;
    KS_TRY(ksi_lq_skip(p, "(", &paren));
    KS_TRY(ksi_lq_field_name(p, &ret->u.map.from));
    if (paren)
        KS_TRY(ksi_lq_expect(p, ")"));
    ret->u.map.to = KS_SLICE_LIT("_msg");
    return ksi_lq_as(p, &ret->u.map.to);
}

static ks_err parse_of_fields(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    KS_TRY(ksi_lq_fields_paren(p, true, &ret->u.map.args));
    if (!ret->u.map.args.count)
        return ks_fail(KS_EPARSE, "%s needs at least one field", ks_lq_pipe_name(ret->kind));
    ret->u.map.to = KS_SLICE_LIT("_msg");
    return ksi_lq_as(p, &ret->u.map.to);
}

static ks_err parse_collapse(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool at;
    KS_TRY(ksi_lq_if(p, &ret->cond));
    ret->u.map.from = KS_SLICE_LIT("_msg");
    KS_TRY(ksi_lq_skip(p, "at", &at));
    if (at)
        KS_TRY(ksi_lq_field_name(p, &ret->u.map.from));
    ret->u.map.to = ret->u.map.from;
    return ksi_lq_skip(p, "prettify", &ret->u.map.prettify);
}

static ks_err parse_pack(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool taken;
    KS_TRY(ksi_lq_skip(p, "fields", &taken));
    if (taken)
        KS_TRY(ksi_lq_fields_paren(p, true, &ret->u.pack.fields));
    ret->u.pack.to = KS_SLICE_LIT("_msg");
    return ksi_lq_as(p, &ret->u.pack.to);
}

ks_err ksi_lq_pipe_text(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    switch (ret->kind) {
    case KS_LQ_P_EXTRACT:
    case KS_LQ_P_EXTRACT_REGEXP:
        return parse_extract(p, ret);
    case KS_LQ_P_FORMAT:
        return parse_format(p, ret);
    case KS_LQ_P_REPLACE:
    case KS_LQ_P_REPLACE_REGEXP:
        return parse_replace(p, ret);
    case KS_LQ_P_UNPACK_JSON:
    case KS_LQ_P_UNPACK_LOGFMT:
    case KS_LQ_P_UNPACK_SYSLOG:
        return parse_unpack(p, ret);
    case KS_LQ_P_UNPACK_WORDS:
        return parse_words(p, ret);
    case KS_LQ_P_SPLIT:
        return parse_split(p, ret);
    case KS_LQ_P_HASH:
    case KS_LQ_P_LEN:
    case KS_LQ_P_JSON_ARRAY_LEN:
        return parse_of_field(p, ret);
    case KS_LQ_P_COALESCE:
    case KS_LQ_P_JSON_ARRAY_CONCAT:
        return parse_of_fields(p, ret);
    case KS_LQ_P_COLLAPSE_NUMS:
        return parse_collapse(p, ret);
    case KS_LQ_P_PACK_JSON:
    case KS_LQ_P_PACK_LOGFMT:
        return parse_pack(p, ret);
    case KS_LQ_P_DECOLORIZE:
        ret->u.map.from = KS_SLICE_LIT("_msg");
        if (!ksi_lq_pipe_end(p))
            KS_TRY(ksi_lq_field_name(p, &ret->u.map.from));
        ret->u.map.to = ret->u.map.from;
        return KS_OK;
    case KS_LQ_P_BLOCKS_COUNT:
        ret->u.map.to = KS_SLICE_LIT("blocks_count");
        return ksi_lq_as(p, &ret->u.map.to);
    default:
        return ksi_lq_unexpected(p, "this pipe cannot be read");
    }
}
