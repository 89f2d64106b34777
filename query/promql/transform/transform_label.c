/* Functions that edit labels. */
#include <ctype.h>

#include "base/cxx/re2.h"
#include "query/promql/exec_priv.h"

/* String arguments from `from` on. */
static ks_err strings(const struct ksi_call *c, size_t from, struct ks_slice **ret,
                      size_t *ret_count)
{
    size_t n = c->arg_count > from ? c->arg_count - from : 0;
    *ret = ks_arena_array(c->ctx->q->arena, n + 1, sizeof **ret);
    if (!*ret)
        return ks_arena_err(c->ctx->q->arena);
    for (size_t i = 0; i < n; i++)
        KS_TRY(ksi_arg_string(c->ctx, &c->args[from + i], from + i, &(*ret)[i]));
    *ret_count = n;
    return KS_OK;
}

static ks_err pairs(const struct ksi_call *c, size_t from, struct ks_slice **ret, size_t *ret_count)
{
    if ((c->arg_count - from) % 2)
        return ks_fail(KS_EEXEC, "the number of string args must be even; got %zu",
                       c->arg_count - from);
    return strings(c, from, ret, ret_count);
}

static ks_err label_set(const struct ksi_call *c, struct ksi_vec *v)
{
    struct ks_slice *s;
    size_t n;
    KS_TRY(pairs(c, 1, &s, &n));
    for (size_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < n; k += 2)
            KS_TRY(ksi_labels_set(c->ctx->q, &v->items[i].labels, s[k], s[k + 1]));
    return KS_OK;
}

static ks_err label_copy(const struct ksi_call *c, struct ksi_vec *v, bool move)
{
    struct ks_slice *s;
    size_t n;
    KS_TRY(pairs(c, 1, &s, &n));
    for (size_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < n; k += 2) {
            struct ks_slice *labels = &v->items[i].labels, value = ks_labels_get(*labels, s[k]);
            if (!value.len) /* a missing source leaves the destination alone */
                continue;
            KS_TRY(ksi_labels_set(c->ctx->q, labels, s[k + 1], value));
            if (move && !ks_slice_eq(s[k], s[k + 1]))
                KS_TRY(ksi_labels_remove(c->ctx->q, labels, s[k]));
        }
    return KS_OK;
}

static ks_err label_filtered(const struct ksi_call *c, struct ksi_vec *v, enum ksi_filter_mode mode)
{
    struct ks_slice *s;
    size_t n;
    KS_TRY(strings(c, 1, &s, &n));
    struct ksi_label_filter f = {.names = s, .count = n, .mode = mode};
    for (size_t i = 0; i < v->count; i++)
        KS_TRY(ksi_labels_filtered(c->ctx->q, v->items[i].labels, &f, &v->items[i].labels));
    return KS_OK;
}

static ks_err label_join(const struct ksi_call *c, struct ksi_vec *v)
{
    struct ks_slice *s;
    size_t n;
    KS_TRY(strings(c, 1, &s, &n));
    if (n < 2)
        return ks_fail(KS_EEXEC, "not enough args; got %zu; want at least 3", c->arg_count);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_err err = KS_OK;
    for (size_t i = 0; i < v->count && err == KS_OK; i++) {
        ks_buf_reset(&b);
        for (size_t k = 2; k < n; k++) {
            if (k > 2)
                ks_buf_slice(&b, s[1]);
            ks_buf_slice(&b, ks_labels_get(v->items[i].labels, s[k]));
        }
        err = ks_buf_status(&b);
        if (err == KS_OK)
            err = ksi_labels_set(c->ctx->q, &v->items[i].labels, s[0], ks_buf_view(&b));
    }
    ks_buf_done(&b);
    return err;
}

static ks_err label_map(const struct ksi_call *c, struct ksi_vec *v)
{
    struct ks_slice label, *s;
    size_t n;
    if (c->arg_count < 2)
        return ks_fail(KS_EEXEC, "not enough args; got %zu; want at least 2", c->arg_count);
    KS_TRY(ksi_arg_string(c->ctx, &c->args[1], 1, &label));
    KS_TRY(pairs(c, 2, &s, &n));
    for (size_t i = 0; i < v->count; i++) {
        struct ks_slice value = ks_labels_get(v->items[i].labels, label);
        for (size_t k = n; k > 0; k -= 2) /* of equal keys the last one counts */
            if (ks_slice_eq(s[k - 2], value)) {
                KS_TRY(ksi_labels_set(c->ctx->q, &v->items[i].labels, label, s[k - 1]));
                break;
            }
    }
    return KS_OK;
}

static ks_err label_case(const struct ksi_call *c, struct ksi_vec *v, int (*fn)(int))
{
    struct ks_slice *s;
    size_t n;
    KS_TRY(strings(c, 1, &s, &n));
    for (size_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < n; k++) {
            struct ks_slice x =
                ks_arena_dup(c->ctx->q->arena, ks_labels_get(v->items[i].labels, s[k]));
            if (!x.ptr)
                return ks_arena_err(c->ctx->q->arena);
            for (size_t b = 0; b < x.len; b++)
                if ((unsigned char)x.ptr[b] < 0x80)
                    ((char *)x.ptr)[b] = (char)fn((unsigned char)x.ptr[b]);
            KS_TRY(ksi_labels_set(c->ctx->q, &v->items[i].labels, s[k], x));
        }
    return KS_OK;
}

/* --- regular expressions --- */
enum { MAX_GROUPS = 32 };

/* Appends template t with $1, ${1}, $name, ${name}, $$ filled from the match, as Go's Expand does.
 */
static void expand(const struct ks_re *re, struct ks_slice t, const char *text,
                   const struct ks_re_group *g, int groups, struct ks_buf *out)
{
    for (size_t i = 0; i < t.len;) {
        if (t.ptr[i] != '$' || i + 1 == t.len) {
            ks_buf_byte(out, (uint8_t)t.ptr[i++]);
            continue;
        }
        if (t.ptr[i + 1] == '$') {
            ks_buf_byte(out, '$');
            i += 2;
            continue;
        }
        bool brace = t.ptr[i + 1] == '{';
        size_t from = i + 1 + brace, to = from;
        while (to < t.len && (isalnum((unsigned char)t.ptr[to]) || t.ptr[to] == '_'))
            to++;
        if (to == from || (brace && (to == t.len || t.ptr[to] != '}'))) {
            ks_buf_byte(out, '$');
            i++;
            continue;
        }
        int64_t index;
        struct ks_slice name = ks_slice_sub(t, from, to - from);
        if (!ks_i64_parse(name, &index))
            index = ks_re_group_index(re, name.ptr, name.len);
        if (index >= 0 && index < groups && g[index].start >= 0)
            ks_buf_add(out, text + g[index].start, (size_t)(g[index].end - g[index].start));
        i = to + brace;
    }
}

/* All matches of re in s replaced; the part of Go's rule that matters: no empty match right behind
 * another match. */
static void replace_all(const struct ks_re *re, struct ks_slice s, struct ks_slice t,
                        struct ks_buf *out)
{
    struct ks_re_group g[MAX_GROUPS];
    int groups = ks_re_group_count(re) + 1;
    if (groups > MAX_GROUPS)
        groups = MAX_GROUPS;
    size_t pos = 0, copied = 0;
    ptrdiff_t last_end = -1;
    const char *text = s.ptr ? s.ptr : "";
    while (pos <= s.len && ks_re_search(re, text, s.len, pos, 0, g, groups)) {
        ks_buf_add(out, text + copied, (size_t)g[0].start - copied);
        copied = (size_t)g[0].end;
        if (g[0].end > last_end || g[0].start == 0)
            expand(re, t, text, g, groups, out);
        last_end = g[0].end;
        pos = (size_t)g[0].end + (g[0].start == g[0].end);
    }
    if (copied < s.len)
        ks_buf_add(out, text + copied, s.len - copied);
}

struct replace {
    struct ks_slice dst, tmpl, src, regex;
    bool anchored;
};

static ks_err replace_one(struct ksi_query *q, const struct replace *r, const struct ks_re *re,
                          struct ks_buf *b, struct ks_slice *labels)
{
    struct ks_slice s = ks_labels_get(*labels, r->src);
    const char *text = s.ptr ? s.ptr : "";
    struct ks_re_group g[MAX_GROUPS];
    int groups = ks_re_group_count(re) + 1;
    if (groups > MAX_GROUPS)
        groups = MAX_GROUPS;
    if (!ks_re_search(re, text, s.len, 0, r->anchored, g, groups))
        return KS_OK;
    ks_buf_reset(b);
    if (r->anchored)
        expand(re, r->tmpl, text, g, groups, b);
    else
        replace_all(re, s, r->tmpl, b);
    KS_TRY(ks_buf_status(b));
    return ksi_labels_set(q, labels, r->dst, ks_buf_view(b));
}

static ks_err label_replace(const struct ksi_call *c, struct ksi_vec *v)
{
    struct replace r = {.anchored = c->call->func->id == KS_FN_LABEL_REPLACE};
    KS_TRY(ksi_want_args(c->arg_count, r.anchored ? 5 : 4));
    struct ks_slice *s;
    size_t n;
    KS_TRY(strings(c, 1, &s, &n));
    if (r.anchored) {
        r.dst = s[0];
        r.tmpl = s[1];
        r.src = s[2];
        r.regex = s[3];
    } else {
        r.dst = r.src = s[0];
        r.regex = s[1];
        r.tmpl = s[2];
    }
    char msg[256];
    struct ks_re *re = ks_re_new(r.regex.ptr ? r.regex.ptr : "", r.regex.len,
                                 r.anchored ? KS_RE_DOT_NL : 0, msg, sizeof msg);
    if (!re)
        return ks_fail(KS_EEXEC, "cannot compile regex \"%.*s\": %s", KS_SLICE_ARG(r.regex), msg);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_err err = KS_OK;
    for (size_t i = 0; i < v->count && err == KS_OK; i++)
        err = replace_one(c->ctx->q, &r, re, &b, &v->items[i].labels);
    ks_buf_done(&b);
    ks_re_free(re);
    return err;
}

/* --- the metric name's dot groups --- */
static struct ks_slice dot_group(struct ks_slice name, int64_t index)
{
    for (size_t from = 0;; index--) {
        const char *dot = from <= name.len ? memchr(name.ptr + from, '.', name.len - from) : NULL;
        size_t to = dot ? (size_t)(dot - name.ptr) : name.len;
        if (index == 0)
            return ks_slice_sub(name, from, to - from);
        if (!dot || index < 0)
            return ks_slice(NULL, 0);
        from = to + 1;
    }
}

static ks_err label_graphite_group(const struct ksi_call *c, struct ksi_vec *v)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_err err = KS_OK;
    for (size_t i = 0; i < v->count && err == KS_OK; i++) {
        struct ks_slice name = ks_labels_get(v->items[i].labels, KS_NAME_LABEL);
        ks_buf_reset(&b);
        for (size_t k = 1; k < c->arg_count && err == KS_OK; k++) {
            int64_t index = 0;
            err = ksi_arg_int(&c->args[k], k, &index);
            if (k > 1)
                ks_buf_byte(&b, '.');
            if (err == KS_OK && name.len)
                ks_buf_slice(&b, dot_group(name, index));
        }
        if (err == KS_OK)
            err = ks_buf_status(&b);
        if (err == KS_OK)
            err = ksi_labels_set(c->ctx->q, &v->items[i].labels, KS_NAME_LABEL, ks_buf_view(&b));
    }
    ks_buf_done(&b);
    return err;
}

static ks_err label_value(const struct ksi_call *c, struct ksi_vec *v)
{
    struct ks_slice label;
    KS_TRY(ksi_want_args(c->arg_count, 2));
    KS_TRY(ksi_arg_string(c->ctx, &c->args[1], 1, &label));
    for (size_t i = 0; i < v->count; i++) {
        double x;
        KS_TRY(ksi_labels_drop_name(c->ctx->q, &v->items[i].labels));
        if (!ks_f64_parse(ks_labels_get(v->items[i].labels, label), &x))
            x = NAN;
        for (size_t k = 0; k < c->ctx->points; k++)
            if (!isnan(v->items[i].values[k]))
                v->items[i].values[k] = x;
    }
    return KS_OK;
}

ks_err ksi_transform_label(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    *mine = c->call->func->kind == KS_FUNC_LABEL;
    if (!*mine)
        return KS_OK;
    if (!c->arg_count)
        return ks_fail(KS_EEXEC, "not enough args; got 0; want at least 1");
    *ret = c->args[0];
    switch (c->call->func->id) {
    case KS_FN_LABEL_SET:
        return label_set(c, ret);
    case KS_FN_LABEL_COPY:
        return label_copy(c, ret, false);
    case KS_FN_LABEL_MOVE:
        return label_copy(c, ret, true);
    case KS_FN_LABEL_DEL:
        return label_filtered(c, ret, KSI_DROP);
    case KS_FN_LABEL_KEEP:
        return label_filtered(c, ret, KSI_KEEP);
    case KS_FN_LABEL_JOIN:
        return label_join(c, ret);
    case KS_FN_LABEL_MAP:
        return label_map(c, ret);
    case KS_FN_LABEL_LOWERCASE:
        return label_case(c, ret, tolower);
    case KS_FN_LABEL_UPPERCASE:
        return label_case(c, ret, toupper);
    case KS_FN_LABEL_REPLACE:
    case KS_FN_LABEL_TRANSFORM:
        return label_replace(c, ret);
    case KS_FN_LABEL_GRAPHITE_GROUP:
        return label_graphite_group(c, ret);
    case KS_FN_LABEL_VALUE:
        return label_value(c, ret);
    default:
        *mine = false;
        return KS_OK;
    }
}
