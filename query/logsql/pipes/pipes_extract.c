/* extract, extract_regexp: fields out of a text; format: a text out of fields. */
#include "base/cxx/re2.h"
#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/text/pattern.h"

static struct ksi_lq_how how_of(const struct ksi_lq_map *m, const struct ksi_lq_call *c)
{
    return (struct ksi_lq_how){c->bits, m->pipe->keep_original_fields, m->pipe->skip_empty_results};
}

/* Whether value i of a column that has one per row is of use. */
static bool picked(const struct ksi_lq_call *c, const struct ksi_lq_texts *t, uint32_t i)
{
    return !c->bits || t->constant || t->codes || ks_lq_bit(c->bits, i);
}

/* Columns out[k * t->count …] under names[k]; empty names are left out. */
static ks_err set_columns(const struct ksi_lq_map *m, struct ksi_lq_call *c,
                          const struct ksi_lq_texts *from, const struct ks_slice *out,
                          const struct ks_slice *names, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        struct ksi_lq_texts t = *from;
        t.values = out + k * from->count;
        if (names[k].len)
            KS_TRY(ksi_lq_edit_set(&c->edit, names[k], &t, how_of(m, c)));
    }
    return KS_OK;
}

/* ---------------------------------------------------------------- extract */

static ks_err extract_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_pattern *p = &m->pipe->u.extract.pattern;
    struct ksi_lq_texts t;
    KS_TRY(ksi_lq_texts_named(c->in, m->pipe->u.extract.from, c->arena, &t));
    struct ks_slice *out = ks_arena_zalloc(c->arena, p->count * t.count * sizeof *out);
    struct ks_slice *row = ks_arena_array(c->arena, p->count + 1, sizeof *row);
    struct ks_slice *names = ks_arena_array(c->arena, p->count + 1, sizeof *names);
    if (!out || !row || !names)
        return ks_arena_err(c->arena);
    for (size_t k = 0; k < p->count; k++)
        names[k] = p->steps[k].has_field ? p->steps[k].field : KS_SLICE_LIT("");
    for (uint32_t i = 0; i < t.count; i++) {
        if (!picked(c, &t, i))
            continue;
        KS_TRY(ksi_lq_pattern_match(p, t.values[i], c->arena, row));
        for (size_t k = 0; k < p->count; k++)
            out[k * t.count + i] = row[k];
    }
    return set_columns(m, c, &t, out, names, p->count);
}

ks_err ks_lq_make_extract(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                          struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    KS_TRY(ksi_lq_map_new(x, pipe, next, extract_apply, &m));
    *ret = &m->head;
    return KS_OK;
}

/* ---------------------------------------------------------------- extract_regexp */

enum { GROUPS_MAX = 64 };
struct regexp {
    struct ks_re *re;
    int groups;
    struct ks_slice names[GROUPS_MAX]; /* of the group at the same place in at */
    int at[GROUPS_MAX];
    size_t count;
};

static ks_err regexp_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct regexp *r = m->state;
    struct ks_re_group groups[GROUPS_MAX];
    struct ksi_lq_texts t;
    KS_TRY(ksi_lq_texts_named(c->in, m->pipe->u.extract.from, c->arena, &t));
    struct ks_slice *out = ks_arena_zalloc(c->arena, r->count * t.count * sizeof *out);
    if (!out)
        return ks_arena_err(c->arena);
    for (uint32_t i = 0; i < t.count; i++) {
        struct ks_slice v = t.values[i];
        if (!picked(c, &t, i) || !ks_re_search(r->re, v.ptr, v.len, 0, 0, groups, r->groups))
            continue;
        for (size_t k = 0; k < r->count; k++) {
            struct ks_re_group g = groups[r->at[k]];
            if (g.start >= 0)
                out[k * t.count + i] = ks_slice_sub(v, (size_t)g.start, (size_t)(g.end - g.start));
        }
    }
    return set_columns(m, c, &t, out, r->names, r->count);
}

static void regexp_free(void *state)
{
    struct regexp *r = state;
    if (r)
        ks_re_free(r->re);
    ks_free(r);
}

/* The names of groups in order: (?P<name> and (?<name>, not behind a backslash. */
static void group_names(struct regexp *r, struct ks_slice text)
{
    for (size_t i = 0; i + 3 < text.len && r->count < GROUPS_MAX; i++) {
        if (text.ptr[i] == '\\') {
            i++;
            continue;
        }
        size_t from = i + 2;
        if (text.ptr[i] != '(' || text.ptr[i + 1] != '?')
            continue;
        from += text.ptr[from] == 'P';
        if (from >= text.len || text.ptr[from] != '<')
            continue;
        const char *end = memchr(text.ptr + from, '>', text.len - from);
        if (!end)
            continue;
        struct ks_slice name = ks_slice(text.ptr + from + 1, (size_t)(end - text.ptr) - from - 1);
        int at = ks_re_group_index(r->re, name.ptr, name.len);
        if (at > 0 && at < r->groups) {
            r->names[r->count] = name;
            r->at[r->count++] = at;
        }
    }
}

static ks_err regexp_new(struct ks_slice text, struct regexp **ret)
{
    char why[256];
    struct regexp *r = ks_zalloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    r->re = ks_re_new(text.ptr, text.len, KS_RE_DOT_NL, why, sizeof why);
    if (!r->re) {
        ks_free(r);
        return ks_fail(KS_EPARSE, "extract_regexp: bad regular expression \"%.*s\": %s",
                       KS_SLICE_ARG(text), why);
    }
    r->groups = ks_re_group_count(r->re) + 1;
    if (r->groups > GROUPS_MAX) {
        regexp_free(r);
        return ks_fail(KS_ELIMIT, "extract_regexp: more than %d groups", GROUPS_MAX - 1);
    }
    group_names(r, text);
    *ret = r;
    return KS_OK;
}

ks_err ks_lq_make_extract_regexp(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                 struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    struct regexp *r = NULL;
    KS_TRY(ksi_lq_map_new(x, pipe, next, regexp_apply, &m));
    ks_err err = regexp_new(pipe->u.extract.pattern.text, &r);
    m->state = r;
    m->state_free = regexp_free;
    if (err != KS_OK) {
        m->head.ops->free(&m->head);
        return err;
    }
    *ret = &m->head;
    return KS_OK;
}

/* ---------------------------------------------------------------- format */

struct format_step {
    struct ks_slice prefix;
    struct ksi_lq_texts texts;
    enum ksi_lq_format_opt opt;
    bool has_field;
};

static void format_row(const struct format_step *steps, size_t count, uint32_t row,
                       struct ks_buf *b)
{
    for (size_t i = 0; i < count; i++) {
        ks_buf_slice(b, steps[i].prefix);
        if (steps[i].has_field)
            ksi_lq_format_value(steps[i].opt, ksi_lq_text(&steps[i].texts, row), b);
    }
}

/* The steps over the columns of this batch; *ret_like: a column whose rows share results when the
 * others are constant, or one value per row. */
static ks_err format_steps(const struct ks_lq_pattern *p, struct ksi_lq_call *c,
                           struct format_step **ret, struct ksi_lq_texts *ret_like)
{
    struct format_step *steps = ks_arena_array(c->arena, p->count + 1, sizeof *steps);
    size_t varying = 0;
    if (!steps)
        return ks_arena_err(c->arena);
    *ret_like = (struct ksi_lq_texts){NULL, NULL, 1, true};
    for (size_t i = 0; i < p->count; i++) {
        const struct ks_lq_pattern_step *s = &p->steps[i];
        steps[i] =
            (struct format_step){.prefix = s->prefix, .has_field = s->has_field && s->field.len};
        if (!steps[i].has_field)
            continue;
        if (!ksi_lq_format_opt(s->opt, &steps[i].opt))
            return ks_fail(KS_EPARSE, "format: unknown option \"%.*s\"", KS_SLICE_ARG(s->opt));
        KS_TRY(ksi_lq_texts_named(c->in, s->field, c->arena, &steps[i].texts));
        if (steps[i].texts.constant)
            continue;
        *ret_like = steps[i].texts;
        varying++;
    }
    if (varying > 1)
        *ret_like = (struct ksi_lq_texts){NULL, NULL, c->in->row_count, false};
    *ret = steps;
    return KS_OK;
}

static ks_err format_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_pattern *p = &m->pipe->u.format.pattern;
    struct format_step *steps = NULL;
    struct ksi_lq_texts like;
    KS_TRY(format_steps(p, c, &steps, &like));
    struct ks_slice *out = ks_arena_zalloc(c->arena, like.count * sizeof *out);
    struct ks_buf b;
    ks_err err = out ? KS_OK : ks_arena_err(c->arena);
    bool coded = like.codes != NULL;
    if (coded) /* walk the dictionary: every step's index is the code */
        for (size_t i = 0; i < p->count; i++)
            steps[i].texts.codes = NULL;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint32_t i = 0; i < like.count && err == KS_OK; i++) {
        if (!picked(c, &like, i))
            continue;
        ks_buf_reset(&b);
        format_row(steps, p->count, i, &b);
        err = ks_buf_status(&b);
        if (err == KS_OK)
            err = ksi_lq_take(c->arena, ks_buf_view(&b), &out[i]);
    }
    ks_buf_done(&b);
    KS_TRY(err);
    like.values = out;
    return ksi_lq_edit_set(&c->edit, m->pipe->u.format.to, &like, how_of(m, c));
}

ks_err ks_lq_make_format(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    KS_TRY(ksi_lq_map_new(x, pipe, next, format_apply, &m));
    *ret = &m->head;
    return KS_OK;
}
