/* Pipes that rewrite parts of a value: replace, replace_regexp. */
#include "base/cxx/re2.h"
#include "query/logsql/pipes/pipe_priv.h"

/* ---------------------------------------------------------------- replace */

struct literal {
    struct ks_slice from, to;
    uint64_t limit; /* UINT64_MAX: none */
};

static ks_err replace_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                           struct ks_slice *ret)
{
    const struct literal *l = arg;
    struct ks_slice rest = in;
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint64_t n = 0; n < l->limit && rest.len >= l->from.len && l->from.len; n++) {
        const char *at = memmem(rest.ptr, rest.len, l->from.ptr, l->from.len);
        if (!at)
            break;
        ks_buf_add(&b, rest.ptr, (size_t)(at - rest.ptr));
        ks_buf_slice(&b, l->to);
        rest = ks_slice_from(rest, (size_t)(at - rest.ptr) + l->from.len);
    }
    if (rest.ptr == in.ptr) {
        *ret = in;
        return KS_OK;
    }
    ks_buf_slice(&b, rest);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ksi_lq_take(arena, ks_buf_view(&b), ret);
    ks_buf_done(&b);
    return err;
}

static ks_err replace_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_pipe *p = m->pipe;
    struct literal l = {p->u.replace.from, p->u.replace.to,
                        p->u.replace.limit ? p->u.replace.limit : UINT64_MAX};
    if (!ks_lq_rows_col(c->in, p->u.replace.at))
        return KS_OK;
    return ksi_lq_apply_text(c, p->u.replace.at, p->u.replace.at, replace_text, &l);
}

ks_err ks_lq_make_replace(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                          struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    KS_TRY(ksi_lq_map_new(x, pipe, next, replace_apply, &m));
    *ret = &m->head;
    return KS_OK;
}

/* ---------------------------------------------------------------- replace_regexp */

enum { GROUPS_MAX = 64 };

struct regexp {
    struct ks_re *re;
    int groups; /* with the whole match */
    struct ks_slice to;
    uint64_t limit;
};

static bool name_char(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* The reference behind a '$' at t[i]: its name, and where it ends; false when it is none. */
static bool reference(struct ks_slice t, size_t i, struct ks_slice *ret_name, size_t *ret_after)
{
    bool brace = i < t.len && t.ptr[i] == '{';
    size_t from = i + brace, n = from;
    while (n < t.len && name_char(t.ptr[n]))
        n++;
    if (n == from || (brace && (n == t.len || t.ptr[n] != '}')))
        return false;
    *ret_name = ks_slice_sub(t, from, n - from);
    *ret_after = n + brace;
    return true;
}

static int group_index(const struct regexp *r, struct ks_slice name)
{
    uint64_t n = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9' || n > 1000)
            return ks_re_group_index(r->re, name.ptr, name.len);
        n = n * 10 + (uint64_t)(name.ptr[i] - '0');
    }
    return n < (uint64_t)r->groups ? (int)n : -1;
}

/* The replacement as Go's Regexp.Expand makes it: $1, ${name}, $$. */
static void expand(const struct regexp *r, struct ks_slice text, const struct ks_re_group *groups,
                   struct ks_buf *out)
{
    struct ks_slice t = r->to, name;
    for (size_t i = 0; i < t.len;) {
        size_t after;
        if (t.ptr[i] != '$') {
            ks_buf_byte(out, (uint8_t)t.ptr[i++]);
        } else if (i + 1 < t.len && t.ptr[i + 1] == '$') {
            ks_buf_byte(out, '$');
            i += 2;
        } else if (reference(t, i + 1, &name, &after)) {
            int g = group_index(r, name);
            if (g >= 0 && g < r->groups && groups[g].start >= 0)
                ks_buf_slice(out, ks_slice_sub(text, groups[g].start,
                                               (size_t)(groups[g].end - groups[g].start)));
            i = after;
        } else {
            ks_buf_byte(out, (uint8_t)t.ptr[i++]);
        }
    }
}

/* The length of the rune at pos, so that an empty match never splits one. */
static size_t rune_width(struct ks_slice s, size_t pos)
{
    size_t n = 1;
    if (pos >= s.len)
        return 1;
    if ((unsigned char)s.ptr[pos] >= 0xc0)
        while (n < 4 && pos + n < s.len && ((unsigned char)s.ptr[pos + n] & 0xc0) == 0x80)
            n++;
    return n;
}

static void replace_matches(const struct regexp *r, struct ks_slice in, struct ks_buf *out,
                            bool *ret_any)
{
    struct ks_re_group groups[GROUPS_MAX];
    size_t pos = 0, copied = 0;
    uint64_t n = 0;
    while (pos <= in.len && n < r->limit &&
           ks_re_search(r->re, in.ptr, in.len, pos, 0, groups, r->groups)) {
        size_t from = (size_t)groups[0].start, to = (size_t)groups[0].end;
        ks_buf_slice(out, ks_slice_sub(in, copied, from - copied));
        if (to > copied || from == 0) { /* no empty match right behind another one */
            expand(r, in, groups, out);
            n++;
        }
        copied = to;
        pos = to > pos ? to : pos + rune_width(in, pos);
        *ret_any = true;
    }
    ks_buf_slice(out, ks_slice_sub(in, copied, in.len - copied));
}

static ks_err regexp_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                          struct ks_slice *ret)
{
    struct ks_buf b;
    bool any = false;
    ks_err err = KS_OK;
    *ret = in;
    if (!in.len)
        return KS_OK;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    replace_matches(arg, in, &b, &any);
    if (any)
        err = ks_buf_status(&b) != KS_OK ? ks_buf_status(&b)
                                         : ksi_lq_take(arena, ks_buf_view(&b), ret);
    ks_buf_done(&b);
    return err;
}

static void regexp_free(void *state)
{
    struct regexp *r = state;
    if (r)
        ks_re_free(r->re);
    ks_free(r);
}

static ks_err regexp_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_slice at = m->pipe->u.replace.at;
    if (!ks_lq_rows_col(c->in, at))
        return KS_OK;
    return ksi_lq_apply_text(c, at, at, regexp_text, m->state);
}

ks_err ks_lq_make_replace_regexp(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                 struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    char why[256];
    const struct ks_slice from = pipe->u.replace.from;
    KS_TRY(ksi_lq_map_new(x, pipe, next, regexp_apply, &m));
    struct regexp *r = ks_zalloc(sizeof *r);
    m->state = r;
    m->state_free = regexp_free;
    ks_err err = r ? KS_OK : KS_ENOMEM;
    if (err == KS_OK) {
        r->to = pipe->u.replace.to;
        r->limit = pipe->u.replace.limit ? pipe->u.replace.limit : UINT64_MAX;
        r->re = ks_re_new(from.ptr, from.len, KS_RE_DOT_NL, why, sizeof why);
        if (!r->re)
            err = ks_fail(KS_EPARSE, "replace_regexp: bad regular expression \"%.*s\": %s",
                          KS_SLICE_ARG(from), why);
    }
    if (err == KS_OK) {
        r->groups = ks_re_group_count(r->re) + 1;
        if (r->groups > GROUPS_MAX)
            err = ks_fail(KS_ELIMIT, "replace_regexp: more than %d groups", GROUPS_MAX - 1);
    }
    if (err != KS_OK) {
        m->head.ops->free(&m->head);
        return err;
    }
    *ret = &m->head;
    return KS_OK;
}
