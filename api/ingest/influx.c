/*
 * One pass per line, straight into the write batch. Label bytes of a line are laid down once in the
 * arena; each field copies them and adds its name. Text is unescaped only where it has a backslash.
 * What a bad line had added is taken back: the batch is flushed between lines only.
 */
#include "api/ingest/influx.h"

#include <stdio.h>

#include "api/app.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"influx\"}");

enum { TAGS_MAX = 1024, FIELDS_MAX = 64 << 10 };

struct field {
    struct ks_slice key;
    double value;
};

struct influx {
    struct ks_ingest *in;
    const struct ks_influx_opts *o;
    const char *p, *end; /* the line */
    struct ks_slice measurement;
    struct ks_label tags[TAGS_MAX];
    size_t tag_count;
    struct field *fields; /* owned */
    size_t field_count, field_cap;
    bool no_memory; /* the error is not the line's */
};

/* The text up to an unescaped byte of stop (at most 3 bytes) or the line's end. */
static struct ks_slice until(struct influx *x, const char stop[4], bool *ret_escaped)
{
    const char *start = x->p, *p = start;
    bool escaped = false;
    while (p < x->end && *p != stop[0] && *p != stop[1] && *p != stop[2]) {
        if (*p == '\\' && p + 1 < x->end) {
            escaped = true;
            p++;
        }
        p++;
    }
    x->p = p;
    *ret_escaped = escaped;
    return ks_slice(start, (size_t)(p - start));
}

/* A backslash goes before space, comma, equals sign and backslash; elsewhere it is itself. */
static bool unescape(struct influx *x, struct ks_slice *s)
{
    char *out = ks_arena_alloc(x->in->arena, s->len), *o = out;
    if (!out) {
        x->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < s->len; i++) {
        char c = s->ptr[i], next = i + 1 < s->len ? s->ptr[i + 1] : 0;
        if (c == '\\' && (next == ' ' || next == ',' || next == '=' || next == '\\'))
            c = s->ptr[++i];
        *o++ = c;
    }
    *s = ks_slice(out, (size_t)(o - out));
    return true;
}

static bool token(struct influx *x, const char stop[4], struct ks_slice *ret)
{
    bool escaped;
    *ret = until(x, stop, &escaped);
    return !escaped || unescape(x, ret);
}

static const char *tags(struct influx *x)
{
    while (x->p < x->end && *x->p == ',') {
        struct ks_label l;
        x->p++;
        if (!token(x, "=, ", &l.name))
            return "out of memory";
        if (x->p == x->end || *x->p != '=')
            return "a tag has no value";
        x->p++;
        if (!token(x, ",  ", &l.value))
            return "out of memory";
        if (!l.name.len || !l.value.len)
            continue;
        if (x->tag_count == TAGS_MAX)
            return "too many tags";
        x->tags[x->tag_count++] = l;
    }
    return NULL;
}

/* Text in quotes: a number in it counts, other text is 0, as in VictoriaMetrics. */
static const char *quoted_value(struct influx *x, double *ret)
{
    const char *start = ++x->p;
    while (x->p < x->end && *x->p != '"')
        x->p += 1 + (*x->p == '\\');
    if (x->p >= x->end)
        return "a quoted field value has no closing quote";
    if (!ks_f64_parse(ks_slice(start, (size_t)(x->p - start)), ret))
        *ret = 0;
    x->p++;
    return NULL;
}

static bool word(struct ks_slice s, double *ret)
{
    static const char *const words[] = {"t", "T", "true",  "True",  "TRUE",
                                        "f", "F", "false", "False", "FALSE"};
    for (size_t i = 0; i < 10; i++)
        if (ks_slice_is(s, words[i])) {
            *ret = i < 5;
            return true;
        }
    return false;
}

static const char *value(struct influx *x, double *ret)
{
    if (x->p < x->end && *x->p == '"')
        return quoted_value(x, ret);
    const char *start = x->p;
    while (x->p < x->end && *x->p != ',' && *x->p != ' ')
        x->p++;
    struct ks_slice s = ks_slice(start, (size_t)(x->p - start));
    if (!s.len)
        return "a field has no value";
    char last = s.ptr[s.len - 1];
    struct ks_slice digits = ks_slice(s.ptr, s.len - 1);
    int64_t i;
    uint64_t u;
    if (last == 'i' && ks_i64_parse(digits, &i))
        *ret = (double)i;
    else if (last == 'u' && ks_u64_parse(digits, &u))
        *ret = (double)u;
    else if (!ks_f64_parse(s, ret) && !word(s, ret))
        return "a field value is no number, boolean or quoted text";
    return NULL;
}

static const char *fields(struct influx *x)
{
    for (;;) {
        struct field f;
        if (x->field_count == FIELDS_MAX)
            return "too many fields";
        if (x->field_count == x->field_cap &&
            ks_array_reserve((void **)&x->fields, &x->field_cap, x->field_count + 1, sizeof f) !=
                KS_OK) {
            x->no_memory = true;
            return "out of memory";
        }
        if (!token(x, "=, ", &f.key))
            return "out of memory";
        if (!f.key.len)
            return "a field has no name";
        if (x->p == x->end || *x->p != '=')
            return "a field has no value";
        x->p++;
        const char *wrong = value(x, &f.value);
        if (wrong)
            return wrong;
        x->fields[x->field_count++] = f;
        if (x->p == x->end || *x->p == ' ')
            return NULL;
        if (*x->p++ != ',')
            return "text behind a quoted field value";
    }
}

/* Absent and 0 mean now, cut to the precision. */
static const char *timestamp(struct influx *x, int64_t *ret_ms)
{
    int64_t unit = x->o->precision, t = 0, now = x->in->now_ms;
    struct ks_slice s = ks_slice_trim(ks_slice(x->p, (size_t)(x->end - x->p)));
    if (s.len && !ks_i64_parse(s, &t))
        return "malformed timestamp";
    if (!t)
        *ret_ms = unit < 0 ? now - now % -unit : now;
    else if (unit > 0)
        *ret_ms = t / unit;
    else if (unit < 0)
        return __builtin_mul_overflow(t, -unit, ret_ms) ? "the timestamp is too large" : NULL;
    else if (t >= 100000000000000000)
        *ret_ms = t / 1000000;
    else if (t >= 100000000000000)
        *ret_ms = t / 1000;
    else
        return t < 100000000000 && __builtin_mul_overflow(t, 1000, ret_ms)
                   ? "the timestamp is too large"
               : t < 100000000000 ? NULL
                                  : (*ret_ms = t, NULL);
    return NULL;
}

static const char *parse(struct influx *x, int64_t *ret_ms)
{
    x->tag_count = x->field_count = 0;
    if (!token(x, ",  ", &x->measurement))
        return "out of memory";
    const char *wrong = tags(x);
    if (wrong)
        return wrong;
    if (x->p == x->end)
        return "no fields";
    while (x->p < x->end && *x->p == ' ')
        x->p++;
    wrong = fields(x);
    return wrong ? wrong : timestamp(x, ret_ms);
}

static bool has_tag(const struct influx *x, struct ks_slice name)
{
    for (size_t i = 0; i < x->tag_count; i++)
        if (ks_slice_eq(x->tags[i].name, name))
            return true;
    return false;
}

/* The label bytes all fields of the line share. */
static ks_err line_labels(struct influx *x, struct ks_slice *ret)
{
    const struct ks_influx_opts *o = x->o;
    struct ks_label db = {o->db_label, o->db};
    bool add_db = db.name.len && db.value.len && !has_tag(x, db.name);
    size_t size = add_db ? ks_raw_label_size(db.name.len, db.value.len) : 0;
    for (size_t i = 0; i < x->tag_count; i++)
        size += ks_raw_label_size(x->tags[i].name.len, x->tags[i].value.len);
    char *out = ks_arena_alloc(x->in->arena, size + 1), *p = out;
    if (!out)
        return ks_arena_err(x->in->arena);
    for (size_t i = 0; i < x->tag_count; i++)
        p = ks_raw_label_put(p, x->tags[i].name, x->tags[i].value);
    if (add_db)
        p = ks_raw_label_put(p, db.name, db.value);
    *ret = ks_slice(out, (size_t)(p - out));
    return KS_OK;
}

/* measurement, separator, field: written in place behind the shared labels. */
static ks_err field_series(struct influx *x, struct ks_slice shared, struct ks_slice key)
{
    const struct ks_influx_opts *o = x->o;
    bool single = o->skip_single_field && x->field_count == 1 && x->measurement.len;
    struct ks_slice parts[3] = {o->skip_measurement ? ks_slice("", 0) : x->measurement,
                                o->separator, key};
    if (single) {
        parts[1] = parts[2] = ks_slice("", 0);
        if (!parts[0].len)
            parts[2] = key;
    } else if (!parts[0].len) {
        parts[1] = ks_slice("", 0);
    }
    size_t name_len = parts[0].len + parts[1].len + parts[2].len;
    KS_TRY(ks_ingest_spend(x->in, shared.len + name_len));
    char *out =
        ks_arena_alloc(x->in->arena, shared.len + name_len + ks_raw_label_size(8, name_len));
    if (!out)
        return ks_arena_err(x->in->arena);
    char *name = out + shared.len + ks_raw_label_size(8, name_len), *n = name;
    for (size_t i = 0; i < 3; i++)
        if (parts[i].len) {
            memcpy(n, parts[i].ptr, parts[i].len);
            n += parts[i].len;
        }
    memcpy(out, shared.ptr, shared.len);
    char *end = ks_raw_label_put(out + shared.len, KS_NAME_LABEL, ks_slice(name, name_len));
    return ks_ingest_series(x->in, ks_slice(out, (size_t)(end - out)));
}

static ks_err store(struct influx *x, int64_t ms)
{
    struct ks_slice shared;
    KS_TRY(line_labels(x, &shared));
    for (size_t i = 0; i < x->field_count; i++) {
        KS_TRY(field_series(x, shared, x->fields[i].key));
        KS_TRY(ks_ingest_sample(x->in, ms, x->fields[i].value));
    }
    return ks_ingest_flush_if_big(x->in);
}

static ks_err line(struct influx *x, struct ks_slice text, const char **ret_wrong)
{
    int64_t ms;
    size_t max = x->in->app->cfg.import_max_line_bytes;
    x->p = text.ptr;
    x->end = text.ptr + text.len;
    *ret_wrong =
        max && text.len > max ? "the line is longer than -import.maxLineLen" : parse(x, &ms);
    if (x->no_memory)
        return ks_arena_err(x->in->arena);
    return *ret_wrong ? KS_OK : store(x, ms);
}

int64_t ks_influx_precision(struct ks_slice name)
{
    static const struct {
        const char *name;
        int64_t unit;
    } units[] = {{"ns", 1000000}, {"n", 1000000}, {"u", 1000},   {"us", 1000},   {"µ", 1000},
                 {"ms", 1},       {"s", -1000},   {"m", -60000}, {"h", -3600000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ks_slice_is(name, units[i].name))
            return units[i].unit;
    return 0;
}

ks_err ks_import_influx(struct ks_ingest *in, struct ks_slice body,
                        const struct ks_influx_opts *opts, struct ks_influx_result *ret)
{
    struct influx x;
    x.in = in;
    x.o = opts;
    x.fields = NULL;
    x.field_cap = 0;
    x.no_memory = false;
    *ret = (struct ks_influx_result){0};
    ks_ingest_budget(in, body.len);
    ks_err err = KS_OK;
    for (size_t line_no = 1; body.len && err == KS_OK; line_no++) {
        const char *nl = memchr(body.ptr, '\n', body.len), *wrong;
        struct ks_slice text = ks_slice(body.ptr, nl ? (size_t)(nl - body.ptr) : body.len);
        body = ks_slice_from(body, text.len + (nl != NULL));
        if (text.len && text.ptr[text.len - 1] == '\r')
            text.len--;
        if (!text.len || text.ptr[0] == '#')
            continue;
        err = line(&x, text, &wrong);
        ret->good += err == KS_OK && !wrong;
        ret->bad += err == KS_OK && wrong;
        if (err == KS_OK && wrong && !ret->first_bad_line) {
            ret->first_bad_line = line_no;
            snprintf(ret->first_bad, sizeof ret->first_bad, "%s, near byte %zu", wrong,
                     (size_t)(x.p - text.ptr) + 1);
        }
    }
    ks_free(x.fields);
    if (ret->bad)
        ks_stat_add(&stat_invalid, ret->bad);
    return err;
}
