#include "api/app.h"
#include "api/ingest/import.h"
#include "api/metadata.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"prometheus\"}");
static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"prometheus\"}");

enum { LABELS_MAX = 1024 };

struct text_import {
    struct ks_ingest *in;
    int64_t default_ms;
    bool openmetrics; /* timestamps are seconds */
    const struct ks_label *add;
    size_t add_count;
    struct ks_label labels[LABELS_MAX];
    size_t label_count;
};

static struct ks_slice blanks(struct ks_slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = ks_slice_from(s, 1);
    return s;
}

static size_t word_len(struct ks_slice s, const char *stop)
{
    size_t n = 0;
    while (n < s.len && !strchr(stop, s.ptr[n]))
        n++;
    return n;
}

static struct ks_slice take_word(struct ks_slice *s)
{
    *s = blanks(*s);
    size_t n = word_len(*s, " \t");
    struct ks_slice w = ks_slice(s->ptr, n);
    *s = ks_slice_from(*s, n);
    return w;
}

/* "…" with \\, \" and \n; borrowed when it has no escapes. */
static bool quoted(struct text_import *t, struct ks_slice *s, struct ks_slice *ret)
{
    if (!s->len || s->ptr[0] != '"')
        return false;
    const char *start = s->ptr + 1, *end = s->ptr + s->len, *p = start;
    bool escaped = false;
    while (p < end && *p != '"') {
        escaped |= *p == '\\';
        p += 1 + (*p == '\\');
    }
    if (p >= end)
        return false;
    *s = ks_slice(p + 1, (size_t)(end - p - 1));
    *ret = ks_slice(start, (size_t)(p - start));
    if (!escaped)
        return true;
    char *out = ks_arena_alloc(t->in->arena, ret->len), *o = out;
    if (!out)
        return false;
    for (const char *q = start; q < p; q++) {
        if (*q == '\\' && (q[1] == '\\' || q[1] == '"' || q[1] == 'n')) {
            q++;
            *o++ = *q == 'n' ? '\n' : *q;
        } else {
            *o++ = *q;
        }
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return true;
}

static bool add_label(struct text_import *t, struct ks_slice name, struct ks_slice value)
{
    if (t->label_count == LABELS_MAX)
        return false;
    t->labels[t->label_count++] = (struct ks_label){name, value};
    return true;
}

/* {a="b", "quoted name"="c"}; a lone quoted string is the metric name (UTF-8 form). */
static bool label_list(struct text_import *t, struct ks_slice *s)
{
    *s = ks_slice_from(*s, 1);
    for (;;) {
        struct ks_slice name, value;
        *s = blanks(*s);
        if (s->len && s->ptr[0] == '}')
            break;
        bool is_quoted = s->len && s->ptr[0] == '"';
        if (is_quoted) {
            if (!quoted(t, s, &name))
                return false;
        } else {
            name = ks_slice_trim(ks_slice(s->ptr, word_len(*s, "=,}\"")));
            *s = ks_slice_from(*s, word_len(*s, "=,}\""));
            if (!name.len)
                return false;
        }
        *s = blanks(*s);
        if (s->len && s->ptr[0] == '=') {
            *s = blanks(ks_slice_from(*s, 1));
            if (!quoted(t, s, &value) || !add_label(t, name, value))
                return false;
        } else if (!is_quoted || !add_label(t, KS_NAME_LABEL, name)) {
            return false;
        }
        *s = blanks(*s);
        if (s->len && s->ptr[0] == ',')
            *s = ks_slice_from(*s, 1);
        else if (!s->len || s->ptr[0] != '}')
            return false;
    }
    *s = ks_slice_from(*s, 1);
    return true;
}

/* Milliseconds; seconds in OpenMetrics and wherever there is a fraction. */
static bool timestamp(const struct text_import *t, struct ks_slice w, int64_t *ret)
{
    double v;
    if (!t->openmetrics && ks_i64_parse(w, ret))
        return true;
    if (!ks_f64_parse(w, &v) || !(v > -9e15 && v < 9e15))
        return false;
    *ret = (int64_t)(v * 1000 + (v < 0 ? -0.5 : 0.5));
    return true;
}

static ks_err store(struct text_import *t, int64_t ms, double value)
{
    struct ks_slice raw;
    KS_TRY(ks_raw_labels_make(t->in->arena, t->labels, t->label_count, &raw));
    KS_TRY(ks_ingest_series(t->in, raw));
    KS_TRY(ks_ingest_sample(t->in, ms, value));
    return ks_ingest_flush_if_big(t->in);
}

/* NULL when the line was stored (or *ret_err tells why not), else what is wrong with it. */
static const char *sample_line(struct text_import *t, struct ks_slice s, ks_err *ret_err)
{
    t->label_count = 0;
    size_t n = word_len(s, " \t{");
    if (n && !add_label(t, KS_NAME_LABEL, ks_slice(s.ptr, n)))
        return "too many labels";
    s = blanks(ks_slice_from(s, n));
    if (s.len && s.ptr[0] == '{' && !label_list(t, &s))
        return "malformed labels";
    if (!t->label_count)
        return "no metric name";
    double value;
    struct ks_slice w = take_word(&s);
    if (!ks_f64_parse(w, &value))
        return "malformed value";
    int64_t ms = t->default_ms;
    w = take_word(&s);
    if (w.len && w.ptr[0] != '#') {
        if (!timestamp(t, w, &ms))
            return "malformed timestamp";
        w = take_word(&s);
        if (w.len && w.ptr[0] != '#')
            return "text behind the timestamp";
    }
    for (size_t i = 0; i < t->add_count; i++)
        if (!add_label(t, t->add[i].name, t->add[i].value))
            return "too many labels";
    *ret_err = store(t, ms, value);
    return NULL;
}

/* # HELP name text, # TYPE name counter, # UNIT name bytes. One kind per line: the others of the
 * name stay. */
struct merge {
    struct ks_metadata m;
    struct ks_buf text;
};

static bool keep_known(void *arg, const struct ks_metadata *known)
{
    struct merge *g = arg;
    if (!ks_tenant_eq(known->tenant, g->m.tenant))
        return true;
    if (!g->m.type)
        g->m.type = known->type;
    size_t help_len = known->help.len;
    ks_buf_slice(&g->text, known->help);
    ks_buf_slice(&g->text, known->unit);
    if (ks_buf_status(&g->text) == KS_OK) {
        if (!g->m.help.len && help_len)
            g->m.help = ks_slice(g->text.ptr, help_len);
        if (!g->m.unit.len && known->unit.len)
            g->m.unit = ks_slice(g->text.ptr + help_len, known->unit.len);
    }
    return false;
}

static void comment(struct text_import *t, struct ks_slice s)
{
    s = ks_slice_from(s, 1);
    struct ks_slice kind = take_word(&s), name = take_word(&s), text = ks_slice_trim(s);
    struct merge g = {.m = {.tenant = t->in->tenant, .name = name}};
    if (!name.len || !text.len)
        return;
    if (ks_slice_is(kind, "HELP"))
        g.m.help = text;
    else if (ks_slice_is(kind, "UNIT"))
        g.m.unit = text;
    else if (ks_slice_is(kind, "TYPE"))
        for (unsigned i = 0; i <= KS_TYPE_STATESET; i++)
            g.m.type = ks_slice_is(text, ks_metric_type_name(i)) ? i : g.m.type;
    else
        return;
    if (!t->in->app->metadata)
        return;
    ks_buf_init(&g.text, 64 << 10);
    ks_metadata_lookup(t->in->app->metadata, t->in->tenant, name, keep_known, &g);
    ks_metadata_put(t->in->app->metadata, &g.m);
    ks_buf_done(&g.text);
}

static bool ends_in_eof(struct ks_slice body)
{
    body = ks_slice_trim(body);
    return body.len >= 5 && memcmp(body.ptr + body.len - 5, "# EOF", 5) == 0;
}

ks_err ks_import_text(struct ks_ingest *in, struct ks_slice body, int64_t default_ms,
                      const struct ks_label *add, size_t add_count, uint64_t *ret_bad_lines)
{
    struct text_import t = {.in = in, .default_ms = default_ms, .add = add, .add_count = add_count};
    t.openmetrics = ends_in_eof(body);
    size_t line_no = 0;
    struct ks_import_lines lines = {0};
    while (body.len) {
        const char *nl = memchr(body.ptr, '\n', body.len);
        struct ks_slice line = ks_slice(body.ptr, nl ? (size_t)(nl - body.ptr) : body.len);
        body = ks_slice_from(body, line.len + (nl != NULL));
        line = ks_slice_trim(line);
        line_no++;
        if (!line.len)
            continue;
        if (line.ptr[0] == '#') {
            comment(&t, line);
            continue;
        }
        ks_err err = KS_OK;
        const char *wrong = sample_line(&t, line, &err);
        KS_TRY(err);
        ks_import_line(&lines, wrong, line_no, 0);
    }
    return ks_import_lines_end(&lines, "import", &stat_invalid, ret_bad_lines);
}

/* --- the handler --- */
static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-' || c == '+' ? 62
           : c == '_' || c == '/' ? 63
                                  : -1;
}

static ks_err base64_value(struct ks_arena *arena, struct ks_slice in, struct ks_slice *ret)
{
    char *out = ks_arena_alloc(arena, in.len + 1), *o = out;
    if (!out)
        return ks_arena_err(arena);
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.len && in.ptr[i] != '='; i++) {
        int d = base64_digit(in.ptr[i]);
        if (d < 0)
            return ks_fail(KS_EINVAL, "label value \"%.*s\" in the path is not base64",
                           KS_SLICE_ARG(in));
        acc = acc << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *o++ = (char)(acc >> bits);
        }
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

static struct ks_slice next_segment(struct ks_slice *s)
{
    size_t n = word_len(*s, "/");
    struct ks_slice seg = ks_slice(s->ptr, n);
    *s = ks_slice_from(*s, n < s->len ? n + 1 : n);
    return seg;
}

/* metrics/job/<job>[/<label>/<value>]…; a name ending in @base64 has its value so encoded. */
static ks_err pushgateway_labels(struct ks_http_request *req, struct ks_slice path,
                                 struct ks_label **ret, size_t *ret_count)
{
    struct ks_label *list = NULL;
    size_t n = 0, cap = 0;
    if (ks_slice_has_prefix(path, KS_SLICE_LIT("metrics/")))
        path = ks_slice_from(path, 8);
    while (path.len) {
        struct ks_label l = {.name = next_segment(&path)};
        if (!path.len && !ks_slice_has_prefix(l.name, KS_SLICE_LIT("job")))
            return ks_fail(KS_EINVAL, "label \"%.*s\" in the path has no value",
                           KS_SLICE_ARG(l.name));
        l.value = next_segment(&path);
        if (l.name.len > 7 && memcmp(l.name.ptr + l.name.len - 7, "@base64", 7) == 0) {
            l.name.len -= 7;
            KS_TRY(base64_value(&req->arena, l.value, &l.value));
        }
        KS_TRY(ks_arena_grow(&req->arena, (void **)&list, &cap, n + 1, sizeof l));
        list[n++] = l;
    }
    *ret = list;
    *ret_count = n;
    return KS_OK;
}

ks_err ks_import_text_handle(struct ks_http_request *req)
{
    struct ks_ingest in;
    struct ks_slice body;
    struct ks_label *labels = NULL;
    size_t label_count = 0;
    uint64_t bad;
    int64_t ms;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(pushgateway_labels(req, req->param, &labels, &label_count));
    KS_TRY(ks_http_arg_i64(req, "timestamp", in.now_ms, &ms));
    KS_TRY(ks_ingest_body(req, ks_app_of(req)->cfg.import_max_request_bytes, &body));
    KS_TRY(ks_import_text(&in, body, ms ? ms : in.now_ms, labels, label_count, &bad));
    KS_TRY(ks_ingest_end(&in));
    req->resp.status = label_count ? 200 : 204;
    return KS_OK;
}
