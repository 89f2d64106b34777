/* See plan.h. Column sets are computed backwards; a pipe that is not known to need less needs all.
 */
#include "query/logsql/plan.h"

#include <string.h>

/* ---------------------------------------------------------------- column sets */

static bool in_fields(const struct ks_lq_fields *f, struct ks_slice name)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct ks_lq_field *x = &f->items[i];
        if (x->prefix ? ks_slice_has_prefix(name, x->name) : ks_slice_eq(name, x->name))
            return true;
    }
    return false;
}

bool ksi_lq_need_has(const struct ksi_lq_need *n, struct ks_slice name)
{
    return n->all ? !in_fields(&n->except, name) : in_fields(&n->fields, name);
}

static ks_err push(struct ks_arena *arena, struct ks_lq_fields *f, size_t *cap,
                   struct ks_lq_field x)
{
    if (f->count == *cap)
        KS_TRY(ks_arena_grow(arena, (void **)&f->items, cap, f->count + 1, sizeof *f->items));
    f->items[f->count++] = x;
    return KS_OK;
}

static void need_all(struct ksi_lq_need *n)
{
    n->all = true;
    n->fields.count = n->except.count = 0;
}

static void need_none(struct ksi_lq_need *n)
{
    n->all = false;
    n->fields.count = n->except.count = 0;
}

static ks_err add(struct ks_arena *arena, struct ksi_lq_need *n, struct ks_lq_field f)
{
    if (f.prefix && !f.name.len) {
        need_all(n);
        return KS_OK;
    }
    if (!n->all)
        return push(arena, &n->fields, &n->fields_cap, f);
    size_t k = 0; /* what is needed is not excepted any more */
    for (size_t i = 0; i < n->except.count; i++) {
        struct ks_lq_field e = n->except.items[i];
        bool hit = f.prefix || e.prefix
                       ? ks_slice_has_prefix(e.name, f.name) || ks_slice_has_prefix(f.name, e.name)
                       : ks_slice_eq(e.name, f.name);
        if (!hit)
            n->except.items[k++] = e;
    }
    n->except.count = k;
    return KS_OK;
}

static ks_err add_name(struct ks_arena *arena, struct ksi_lq_need *n, struct ks_slice name)
{
    return add(arena, n, (struct ks_lq_field){name, false});
}

ks_err ksi_lq_need_add(struct ks_arena *arena, struct ksi_lq_need *n, struct ks_slice name)
{
    return add_name(arena, n, name);
}

void ksi_lq_need_list(struct ksi_lq_need *n)
{
    size_t count = 0;
    n->listed = false;
    for (size_t i = 0; i < n->fields.count; i++)
        if (n->all || n->fields.items[i].prefix)
            return;
    for (size_t i = 0; i < n->fields.count; i++) {
        struct ks_lq_field x = n->fields.items[i];
        size_t at = count;
        while (at && ks_slice_cmp(n->fields.items[at - 1].name, x.name) > 0)
            at--;
        if (at && ks_slice_eq(n->fields.items[at - 1].name, x.name))
            continue;
        memmove(&n->fields.items[at + 1], &n->fields.items[at],
                (count - at) * sizeof *n->fields.items);
        n->fields.items[at] = x;
        count++;
    }
    n->fields.count = count;
    n->listed = !n->all;
}

static ks_err add_fields(struct ks_arena *arena, struct ksi_lq_need *n,
                         const struct ks_lq_fields *f)
{
    for (size_t i = 0; i < f->count; i++)
        KS_TRY(add(arena, n, f->items[i]));
    return KS_OK;
}

static ks_err add_names(struct ks_arena *arena, struct ksi_lq_need *n, const struct ks_lq_names *f)
{
    for (size_t i = 0; i < f->count; i++)
        KS_TRY(add_name(arena, n, f->items[i]));
    return KS_OK;
}

static ks_err add_filter(struct ks_arena *arena, struct ksi_lq_need *n,
                         const struct ks_lq_filter *f)
{
    if (!f)
        return KS_OK;
    for (size_t i = 0; i < f->kid_count; i++)
        KS_TRY(add_filter(arena, n, f->kids[i]));
    switch (f->kind) {
    case KS_LQ_F_ALL:
    case KS_LQ_F_AND:
    case KS_LQ_F_OR:
    case KS_LQ_F_NOT:
        return KS_OK;
    case KS_LQ_F_TIME:
    case KS_LQ_F_DAY_RANGE:
    case KS_LQ_F_WEEK_RANGE:
        return add_name(arena, n, KS_SLICE_LIT("_time"));
    case KS_LQ_F_STREAM:
        return add_name(arena, n, KS_SLICE_LIT("_stream"));
    case KS_LQ_F_STREAM_ID:
        return add_name(arena, n, KS_SLICE_LIT("_stream_id"));
    case KS_LQ_F_EQ_FIELD:
    case KS_LQ_F_LE_FIELD:
    case KS_LQ_F_LT_FIELD:
        KS_TRY(add_name(arena, n, f->text));
        break;
    default:
        break;
    }
    return add(arena, n, f->field);
}

static ks_err need_of_funcs(struct ks_arena *arena, struct ksi_lq_need *n,
                            const struct ks_lq_pipe *p)
{
    for (size_t i = 0; i < p->u.stats.by_count; i++)
        KS_TRY(add_name(arena, n, p->u.stats.by[i].name));
    for (size_t i = 0; i < p->u.stats.func_count; i++) {
        const struct ks_lq_func *f = &p->u.stats.funcs[i];
        KS_TRY(add_filter(arena, n, f->cond));
        for (size_t k = 0; k < f->sort.count; k++)
            KS_TRY(add_name(arena, n, f->sort.items[k].name));
        bool star = f->args.count == 1 && f->args.items[0].prefix && !f->args.items[0].name.len;
        if (f->kind == KS_LQ_FN_COUNT && star)
            continue;
        bool all =
            (f->kind == KS_LQ_FN_QUANTILE && !f->args.count) ||
            ((f->kind == KS_LQ_FN_ROW_MAX || f->kind == KS_LQ_FN_ROW_MIN) && f->args.count == 1);
        if (all)
            need_all(n);
        KS_TRY(add_fields(arena, n, &f->args));
    }
    return KS_OK;
}

static ks_err need_of_sort(struct ks_arena *arena, struct ksi_lq_need *n,
                           const struct ks_lq_pipe *p)
{
    if (!p->u.sort.by.count) {
        need_all(n);
        return KS_OK;
    }
    for (size_t i = 0; i < p->u.sort.by.count; i++)
        KS_TRY(add_name(arena, n, p->u.sort.by.items[i].name));
    return add_names(arena, n, &p->u.sort.partition_by);
}

/* After `fields a, b`: of these, what is needed below. */
static ks_err need_of_fields(struct ks_arena *arena, struct ksi_lq_need *n,
                             const struct ks_lq_pipe *p)
{
    struct ksi_lq_need out = {0};
    for (size_t i = 0; i < p->u.fields.count; i++) {
        struct ks_lq_field f = p->u.fields.items[i];
        if (f.prefix || ksi_lq_need_has(n, f.name))
            KS_TRY(add(arena, &out, f));
    }
    if (!out.all)
        *n = out;
    return KS_OK;
}

static ks_err need_of_delete(struct ks_arena *arena, struct ksi_lq_need *n,
                             const struct ks_lq_pipe *p)
{
    for (size_t i = 0; n->all && i < p->u.fields.count; i++)
        KS_TRY(push(arena, &n->except, &n->except_cap, p->u.fields.items[i]));
    return KS_OK;
}

/* Copies and renames: sources are needed as their targets are; to be simple, always. */
static ks_err need_of_move(struct ks_arena *arena, struct ksi_lq_need *n,
                           const struct ks_lq_pipe *p)
{
    for (size_t i = 0; i < p->u.move.count; i++)
        KS_TRY(add(arena, n, p->u.move.from[i]));
    return KS_OK;
}

static ks_err need_of_math(struct ks_arena *arena, struct ksi_lq_need *n,
                           const struct ks_lq_math *m)
{
    if (m->kind == KS_LQ_M_FIELD)
        KS_TRY(add_name(arena, n, m->text));
    for (size_t i = 0; i < m->arg_count; i++)
        KS_TRY(need_of_math(arena, n, m->args[i]));
    return KS_OK;
}

static ks_err need_of_pattern(struct ks_arena *arena, struct ksi_lq_need *n,
                              const struct ks_lq_pipe *p)
{
    for (size_t i = 0; i < p->u.format.pattern.count; i++)
        if (p->u.format.pattern.steps[i].field.len)
            KS_TRY(add_name(arena, n, p->u.format.pattern.steps[i].field));
    return add_name(arena, n, p->u.format.to);
}

static ks_err need_of_pipe(struct ks_arena *arena, struct ksi_lq_need *n,
                           const struct ks_lq_pipe *p)
{
    if (p->kind != KS_LQ_P_STATS)
        KS_TRY(add_filter(arena, n, p->cond));
    switch (p->kind) {
    case KS_LQ_P_FILTER:
    case KS_LQ_P_LIMIT:
    case KS_LQ_P_OFFSET:
    case KS_LQ_P_SAMPLE:
        return KS_OK;
    case KS_LQ_P_STATS:
        need_none(n);
        return need_of_funcs(arena, n, p);
    case KS_LQ_P_SORT:
    case KS_LQ_P_FIRST:
    case KS_LQ_P_LAST:
        return need_of_sort(arena, n, p);
    case KS_LQ_P_FIELDS:
        return need_of_fields(arena, n, p);
    case KS_LQ_P_DELETE:
        return need_of_delete(arena, n, p);
    case KS_LQ_P_COPY:
    case KS_LQ_P_RENAME:
        return need_of_move(arena, n, p);
    case KS_LQ_P_UNIQ:
    case KS_LQ_P_FIELD_VALUES:
        need_none(n);
        return add_names(arena, n, &p->u.uniq.by);
    case KS_LQ_P_TOP:
        need_none(n);
        return add_names(arena, n, &p->u.top.by);
    case KS_LQ_P_MATH:
        for (size_t i = 0; i < p->u.math.count; i++)
            KS_TRY(need_of_math(arena, n, p->u.math.items[i].expr));
        return KS_OK;
    case KS_LQ_P_EXTRACT:
    case KS_LQ_P_EXTRACT_REGEXP:
        return add_name(arena, n, p->u.extract.from);
    case KS_LQ_P_FORMAT:
        return need_of_pattern(arena, n, p);
    case KS_LQ_P_REPLACE:
    case KS_LQ_P_REPLACE_REGEXP:
        return add_name(arena, n, p->u.replace.at);
    case KS_LQ_P_UNPACK_JSON:
    case KS_LQ_P_UNPACK_LOGFMT:
    case KS_LQ_P_UNPACK_SYSLOG:
        return add_name(arena, n, p->u.unpack.from);
    case KS_LQ_P_UNROLL:
        return add_names(arena, n, &p->u.unroll.by);
    case KS_LQ_P_BLOCKS_COUNT:
    case KS_LQ_P_GENERATE_SEQUENCE:
        need_none(n);
        return KS_OK;
    case KS_LQ_P_DECOLORIZE:
    case KS_LQ_P_COLLAPSE_NUMS:
    case KS_LQ_P_HASH:
    case KS_LQ_P_LEN:
    case KS_LQ_P_JSON_ARRAY_LEN:
    case KS_LQ_P_SPLIT:
    case KS_LQ_P_UNPACK_WORDS:
        return add_name(arena, n, p->u.map.from);
    default:
        need_all(n);
        return KS_OK;
    }
}

ks_err ksi_lq_needed(const struct ks_lq_pipe *pipes, size_t count, struct ks_arena *arena,
                     struct ksi_lq_need *ret)
{
    *ret = (struct ksi_lq_need){.all = true};
    for (size_t i = count; i-- > 0;)
        KS_TRY(need_of_pipe(arena, ret, &pipes[i]));
    return KS_OK;
}

/* ---------------------------------------------------------------- filters at the top */

typedef bool (*pick_fn)(const struct ks_lq_filter *f);

/* The parts of the AND list at the top that pick takes, and the others; NULL for none. */
static ks_err split(const struct ks_lq_filter *f, struct ks_arena *arena, pick_fn pick,
                    const struct ks_lq_filter **ret_picked, const struct ks_lq_filter **ret_rest)
{
    *ret_picked = *ret_rest = NULL;
    if (!f || f->kind != KS_LQ_F_AND) {
        if (f && f->kind != KS_LQ_F_ALL)
            *(pick(f) ? ret_picked : ret_rest) = f;
        return KS_OK;
    }
    struct ks_lq_filter *lists = ks_arena_zalloc(arena, 2 * sizeof *lists);
    struct ks_lq_filter **kids = ks_arena_array(arena, f->kid_count * 2, sizeof *kids);
    if (!lists || !kids)
        return ks_arena_err(arena);
    for (int i = 0; i < 2; i++) {
        lists[i].kind = KS_LQ_F_AND;
        lists[i].kids = kids + (size_t)i * f->kid_count;
    }
    for (size_t i = 0; i < f->kid_count; i++) {
        struct ks_lq_filter *to = &lists[pick(f->kids[i]) ? 0 : 1];
        to->kids[to->kid_count++] = f->kids[i];
    }
    *ret_picked = lists[0].kid_count ? &lists[0] : NULL;
    *ret_rest = lists[1].kid_count ? &lists[1] : NULL;
    return KS_OK;
}

static bool is_time(const struct ks_lq_filter *f)
{
    return f->kind == KS_LQ_F_TIME;
}

static void narrow(const struct ks_lq_filter *f, int64_t *io_min_ns, int64_t *io_max_ns)
{
    if (f->min_ns > *io_min_ns)
        *io_min_ns = f->min_ns;
    if (f->max_ns < *io_max_ns)
        *io_max_ns = f->max_ns;
}

ks_err ksi_lq_split_time(const struct ks_lq_filter *f, struct ks_arena *arena, int64_t *io_min_ns,
                         int64_t *io_max_ns, bool *ret_has_time,
                         const struct ks_lq_filter **ret_rest)
{
    const struct ks_lq_filter *times;
    KS_TRY(split(f, arena, is_time, &times, ret_rest));
    *ret_has_time = times != NULL;
    if (!times)
        return KS_OK;
    if (times->kind == KS_LQ_F_TIME)
        narrow(times, io_min_ns, io_max_ns);
    for (size_t i = 0; i < times->kid_count; i++)
        narrow(times->kids[i], io_min_ns, io_max_ns);
    return KS_OK;
}

/* Only of streams, all the way down. */
static bool is_stream(const struct ks_lq_filter *f)
{
    if (f->kind == KS_LQ_F_STREAM || f->kind == KS_LQ_F_STREAM_ID)
        return true;
    if (f->kind != KS_LQ_F_AND && f->kind != KS_LQ_F_OR && f->kind != KS_LQ_F_NOT)
        return false;
    for (size_t i = 0; i < f->kid_count; i++)
        if (!is_stream(f->kids[i]))
            return false;
    return true;
}

ks_err ksi_lq_split_stream(const struct ks_lq_filter *f, struct ks_arena *arena,
                           const struct ks_lq_filter **ret_stream,
                           const struct ks_lq_filter **ret_rest)
{
    return split(f, arena, is_stream, ret_stream, ret_rest);
}

bool ksi_lq_pipe_row_local(const struct ks_lq_pipe *p)
{
    static const struct ks_slice time = {"_time", 5};
    switch (p->kind) {
    case KS_LQ_P_FILTER:
    case KS_LQ_P_DROP_EMPTY_FIELDS:
    case KS_LQ_P_PACK_JSON:
    case KS_LQ_P_PACK_LOGFMT:
    case KS_LQ_P_SET_STREAM_FIELDS:
        return true;
    case KS_LQ_P_DELETE:
        return !in_fields(&p->u.fields, time);
    case KS_LQ_P_FIELDS:
        return in_fields(&p->u.fields, time);
    case KS_LQ_P_COPY:
    case KS_LQ_P_RENAME:
        for (size_t i = 0; i < p->u.move.count; i++) {
            struct ks_lq_fields to = {&p->u.move.to[i], 1}, from = {&p->u.move.from[i], 1};
            if (in_fields(&to, time) || (p->kind == KS_LQ_P_RENAME && in_fields(&from, time)))
                return false;
        }
        return true;
    case KS_LQ_P_FORMAT:
        return !ks_slice_eq(p->u.format.to, time);
    case KS_LQ_P_REPLACE:
    case KS_LQ_P_REPLACE_REGEXP:
        return !ks_slice_eq(p->u.replace.at, time);
    case KS_LQ_P_COALESCE:
    case KS_LQ_P_COLLAPSE_NUMS:
    case KS_LQ_P_DECOLORIZE:
    case KS_LQ_P_HASH:
    case KS_LQ_P_JSON_ARRAY_CONCAT:
    case KS_LQ_P_JSON_ARRAY_LEN:
    case KS_LQ_P_LEN:
    case KS_LQ_P_SPLIT:
    case KS_LQ_P_UNPACK_WORDS:
        return !ks_slice_eq(p->u.map.to, time);
    case KS_LQ_P_MATH:
        for (size_t i = 0; i < p->u.math.count; i++)
            if (ks_slice_eq(p->u.math.items[i].result, time))
                return false;
        return true;
    case KS_LQ_P_EXTRACT:
        for (size_t i = 0; i < p->u.extract.pattern.count; i++)
            if (ks_slice_eq(p->u.extract.pattern.steps[i].field, time))
                return false;
        return true;
    case KS_LQ_P_UNPACK_LOGFMT:
    case KS_LQ_P_UNPACK_JSON:
        return p->u.unpack.result_prefix.len > 0;
    default:
        return false;
    }
}

bool ksi_lq_pipe_one_to_one(const struct ks_lq_pipe *p)
{
    switch (p->kind) {
    case KS_LQ_P_COALESCE:
    case KS_LQ_P_COLLAPSE_NUMS:
    case KS_LQ_P_COPY:
    case KS_LQ_P_DECOLORIZE:
    case KS_LQ_P_DELETE:
    case KS_LQ_P_DROP_EMPTY_FIELDS:
    case KS_LQ_P_EXTRACT:
    case KS_LQ_P_EXTRACT_REGEXP:
    case KS_LQ_P_FIELDS:
    case KS_LQ_P_FORMAT:
    case KS_LQ_P_HASH:
    case KS_LQ_P_JSON_ARRAY_CONCAT:
    case KS_LQ_P_JSON_ARRAY_LEN:
    case KS_LQ_P_LEN:
    case KS_LQ_P_MATH:
    case KS_LQ_P_PACK_JSON:
    case KS_LQ_P_PACK_LOGFMT:
    case KS_LQ_P_RENAME:
    case KS_LQ_P_REPLACE:
    case KS_LQ_P_REPLACE_REGEXP:
    case KS_LQ_P_SET_STREAM_FIELDS:
    case KS_LQ_P_SPLIT:
    case KS_LQ_P_TIME_ADD:
    case KS_LQ_P_UNPACK_JSON:
    case KS_LQ_P_UNPACK_LOGFMT:
    case KS_LQ_P_UNPACK_SYSLOG:
    case KS_LQ_P_UNPACK_WORDS:
        return true;
    default:
        return false;
    }
}
