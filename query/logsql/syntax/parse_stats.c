/* stats, running_stats, total_stats: buckets, functions, if and switch. */
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

enum arity { ANY_ARGS, NO_STAR, EXACT_1, EXACT_2, AT_LEAST_1, NO_ARGS };

static const struct func {
    const char *name;
    enum ks_lq_func_kind kind;
    enum arity arity;
    bool limit;
    bool running; /* of running_stats and total_stats */
} funcs[] = {
    {"any", KS_LQ_FN_ANY, EXACT_1, false, false},
    {"avg", KS_LQ_FN_AVG, ANY_ARGS, false, false},
    {"count", KS_LQ_FN_COUNT, ANY_ARGS, false, true},
    {"count_empty", KS_LQ_FN_COUNT_EMPTY, ANY_ARGS, false, false},
    {"count_uniq", KS_LQ_FN_COUNT_UNIQ, NO_STAR, true, false},
    {"count_uniq_hash", KS_LQ_FN_COUNT_UNIQ_HASH, NO_STAR, true, false},
    {"field_max", KS_LQ_FN_FIELD_MAX, EXACT_2, false, false},
    {"field_min", KS_LQ_FN_FIELD_MIN, EXACT_2, false, false},
    {"histogram", KS_LQ_FN_HISTOGRAM, EXACT_1, false, false},
    {"json_values", KS_LQ_FN_JSON_VALUES, ANY_ARGS, true, false},
    {"max", KS_LQ_FN_MAX, ANY_ARGS, false, true},
    {"median", KS_LQ_FN_MEDIAN, ANY_ARGS, false, false},
    {"min", KS_LQ_FN_MIN, ANY_ARGS, false, true},
    {"quantile", KS_LQ_FN_QUANTILE, ANY_ARGS, false, false},
    {"rate", KS_LQ_FN_RATE, NO_ARGS, false, false},
    {"rate_sum", KS_LQ_FN_RATE_SUM, ANY_ARGS, false, false},
    {"row_any", KS_LQ_FN_ROW_ANY, ANY_ARGS, false, false},
    {"row_max", KS_LQ_FN_ROW_MAX, AT_LEAST_1, false, false},
    {"row_min", KS_LQ_FN_ROW_MIN, AT_LEAST_1, false, false},
    {"stddev", KS_LQ_FN_STDDEV, ANY_ARGS, false, false},
    {"sum", KS_LQ_FN_SUM, ANY_ARGS, false, true},
    {"sum_len", KS_LQ_FN_SUM_LEN, ANY_ARGS, false, false},
    {"uniq_values", KS_LQ_FN_UNIQ_VALUES, ANY_ARGS, true, false},
    {"values", KS_LQ_FN_VALUES, ANY_ARGS, true, false},
    {"first", KS_LQ_FN_FIRST, EXACT_1, false, true},
    {"last", KS_LQ_FN_LAST, EXACT_1, false, true},
};

const char *ksi_lq_func_name(enum ks_lq_func_kind kind)
{
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++)
        if (funcs[i].kind == kind)
            return funcs[i].name;
    return "?";
}

static const struct func *find_func(struct ks_slice word, bool running)
{
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++) {
        const struct func *f = &funcs[i];
        bool only_running = f->kind == KS_LQ_FN_FIRST || f->kind == KS_LQ_FN_LAST;
        if (running ? !f->running : only_running)
            continue;
        if (word.len == strlen(f->name) && strncasecmp(word.ptr, f->name, word.len) == 0)
            return f;
    }
    return NULL;
}

bool ksi_lq_is_func_name(struct ks_slice word)
{
    return find_func(word, false) != NULL;
}

/* --- by (…) --- */

static const struct {
    const char *name;
    enum ks_lq_bucket_unit unit;
    double size;
} units[] = {{"nanosecond", KS_LQ_BUCKET_SIZE, 1},    {"microsecond", KS_LQ_BUCKET_SIZE, 1e3},
             {"millisecond", KS_LQ_BUCKET_SIZE, 1e6}, {"second", KS_LQ_BUCKET_SIZE, 1e9},
             {"minute", KS_LQ_BUCKET_SIZE, 60e9},     {"hour", KS_LQ_BUCKET_SIZE, 3600e9},
             {"day", KS_LQ_BUCKET_SIZE, 86400e9},     {"week", KS_LQ_BUCKET_WEEK, 7 * 86400e9},
             {"month", KS_LQ_BUCKET_MONTH, 0},        {"year", KS_LQ_BUCKET_YEAR, 0}};

static bool parse_bucket(struct ks_slice s, struct ks_lq_by *ret)
{
    uint64_t bits;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ks_slice_is(s, units[i].name)) {
            ret->unit = units[i].unit;
            ret->size = units[i].size;
            return true;
        }
    ret->unit = KS_LQ_BUCKET_SIZE;
    if (s.len > 1 && s.ptr[0] == '/') {
        if (!ks_lq_parse_u64(ks_slice_from(s, 1), &bits) || bits > 32)
            return false;
        ret->size = (double)(1ull << (32 - bits));
        return true;
    }
    return ks_lq_parse_number(s, &ret->size) && ret->size > 0 && ret->size < 9.2e18;
}

static ks_err parse_by_item(struct ksi_lq_parser *p, struct ks_lq_by *ret)
{
    enum { FLAGS = KSI_LQ_ANY | KSI_LQ_SIGN };
    KS_TRY(ksi_lq_field_name(p, &ret->name));
    if (!ksi_lq_is(p, ":"))
        return KS_OK;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_compound(p, FLAGS, "a bucket size is needed after ':'", &ret->bucket_text));
    if (!parse_bucket(ret->bucket_text, ret))
        return ks_fail(KS_EPARSE, "bad bucket size \"%.*s\"", KS_SLICE_ARG(ret->bucket_text));
    if (!ksi_lq_is(p, "offset"))
        return KS_OK;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_compound(p, FLAGS, "a number is needed after 'offset'", &ret->offset_text));
    if (!ks_lq_parse_number(ret->offset_text, &ret->offset))
        return ks_fail(KS_EPARSE, "bad bucket offset \"%.*s\"", KS_SLICE_ARG(ret->offset_text));
    return KS_OK;
}

static ks_err parse_by(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    size_t cap = 0;
    KS_TRY(ksi_lq_expect(p, "("));
    for (;;) {
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        struct ks_lq_by by = {0};
        KS_TRY(parse_by_item(p, &by));
        KSI_LQ_PUSH(p, ret->u.stats.by, ret->u.stats.by_count, cap, by);
        if (ksi_lq_is(p, ")"))
            return ksi_lq_next(p);
        KS_TRY(ksi_lq_expect(p, ","));
    }
}

/* --- functions --- */

static ks_err check_args(const struct func *fn, const struct ks_lq_func *f)
{
    size_t n = f->args.count;
    bool prefix = false;
    for (size_t i = 0; i < n; i++)
        prefix |= f->args.items[i].prefix;
    switch (fn->arity) {
    case NO_ARGS:
        if (n)
            return ks_fail(KS_EPARSE, "%s() takes no arguments", fn->name);
        return KS_OK;
    case EXACT_1:
    case EXACT_2:
        if (n != (fn->arity == EXACT_1 ? 1u : 2u) || prefix)
            return ks_fail(KS_EPARSE, "%s() takes %s; '*' is not allowed", fn->name,
                           fn->arity == EXACT_1 ? "one field" : "two fields");
        return KS_OK;
    case NO_STAR:
        if (!n || prefix)
            return ks_fail(KS_EPARSE, "%s() needs fields without '*'", fn->name);
        return KS_OK;
    case AT_LEAST_1:
        if (!n || f->args.items[0].prefix)
            return ks_fail(KS_EPARSE, "%s() needs a field", fn->name);
        return KS_OK;
    case ANY_ARGS:
        break;
    }
    return KS_OK;
}

static ks_err star_args(struct ksi_lq_parser *p, struct ks_lq_func *f)
{
    f->args.items = ks_arena_zalloc(p->arena, sizeof *f->args.items);
    if (!f->args.items)
        return ksi_lq_oom(p);
    f->args.items[0] = (struct ks_lq_field){ks_slice("", 0), true};
    f->args.count = 1;
    return KS_OK;
}

/* quantile(phi, fields…) */
static ks_err parse_quantile(struct ksi_lq_parser *p, struct ks_lq_func *f)
{
    size_t cap = 0;
    KS_TRY(ksi_lq_expect(p, "("));
    KS_TRY(ksi_lq_compound(p, KSI_LQ_SIGN, "quantile needs a number", &f->phi_text));
    if (!ks_lq_parse_float(f->phi_text, &f->phi) || !(f->phi >= 0 && f->phi <= 1))
        return ks_fail(KS_EPARSE, "quantile(%.*s): the first argument has to be from 0 to 1",
                       KS_SLICE_ARG(f->phi_text));
    while (!ksi_lq_is(p, ")")) {
        struct ks_lq_field a;
        KS_TRY(ksi_lq_expect(p, ","));
        if (ksi_lq_is(p, ")"))
            break;
        KS_TRY(ksi_lq_field(p, true, &a));
        KSI_LQ_PUSH(p, f->args.items, f->args.count, cap, a);
    }
    return ksi_lq_next(p);
}

static ks_err parse_func_tail(struct ksi_lq_parser *p, const struct func *fn, struct ks_lq_func *f)
{
    if (fn->kind == KS_LQ_FN_JSON_VALUES && (ksi_lq_is(p, "sort") || ksi_lq_is(p, "order"))) {
        bool by;
        KS_TRY(ksi_lq_next(p));
        KS_TRY(ksi_lq_skip(p, "by", &by));
        KS_TRY(ksi_lq_sort_keys(p, &f->sort));
    }
    if (fn->limit && ksi_lq_is(p, "limit"))
        KS_TRY(ksi_lq_uint_after(p, &f->limit));
    if ((fn->kind == KS_LQ_FN_FIRST || fn->kind == KS_LQ_FN_LAST) && ksi_lq_is(p, "offset"))
        KS_TRY(ksi_lq_uint_after(p, &f->offset));
    return KS_OK;
}

static ks_err parse_func(struct ksi_lq_parser *p, bool running, struct ks_lq_func *f)
{
    const struct func *fn = p->lx.kind == KSI_LQ_WORD ? find_func(p->lx.token, running) : NULL;
    if (!fn)
        return ksi_lq_unexpected(p, "the name of a stats function is needed");
    f->kind = fn->kind;
    KS_TRY(ksi_lq_next(p));
    if (!ksi_lq_is(p, "("))
        return ksi_lq_unexpected(p, "missing '(' after the name of a stats function");
    if (fn->kind == KS_LQ_FN_QUANTILE)
        KS_TRY(parse_quantile(p, f));
    else
        KS_TRY(ksi_lq_fields_paren(p, true, &f->args));
    if (!f->args.count && fn->arity == ANY_ARGS && fn->kind != KS_LQ_FN_QUANTILE)
        KS_TRY(star_args(p, f));
    KS_TRY(check_args(fn, f));
    return parse_func_tail(p, fn, f);
}

/* The canonical text is the name of a result without one. */
static ks_err default_result(struct ksi_lq_parser *p, struct ks_lq_func *f)
{
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    ks_lq_print_func(f, &b);
    if (f->cond) {
        ks_buf_str(&b, " if (");
        ks_lq_print_filter(f->cond, &b);
        ks_buf_byte(&b, ')');
    }
    ks_err err = ks_buf_status(&b);
    if (!err)
        err = ksi_lq_dup(p, ks_buf_view(&b), &f->result);
    ks_buf_done(&b);
    return err;
}

static ks_err parse_result(struct ksi_lq_parser *p, struct ks_lq_func *f)
{
    bool as;
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (!as && (ksi_lq_pipe_end(p) || ksi_lq_is(p, ",")))
        return default_result(p, f);
    return ksi_lq_field_name(p, &f->result);
}

struct func_list {
    struct ks_lq_func *items;
    size_t count, cap;
};

/* !(a or b) & own */
static ks_err case_cond(struct ksi_lq_parser *p, const struct func_list *l, size_t first,
                        struct ks_lq_filter *own, struct ks_lq_filter **ret)
{
    if (first == l->count) {
        *ret = own;
        return KS_OK;
    }
    struct ks_lq_filter *and;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_AND, NULL, &and));
    and->kids = ks_arena_array(p->arena, l->count - first + 1, sizeof *and->kids);
    if (!and->kids)
        return ksi_lq_oom(p);
    if (own)
        and->kids[ and->kid_count++] = own;
    for (size_t i = first; i < l->count; i++) {
        struct ks_lq_filter * not ;
        if (!l->items[i].switch_cond)
            continue;
        KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_NOT, NULL, &not ));
        not ->kids = ks_arena_alloc(p->arena, sizeof *not ->kids);
        if (!not ->kids)
            return ksi_lq_oom(p);
        not ->kids[0] = l->items[i].switch_cond;
        not ->kid_count = 1;
        and->kids[ and->kid_count++] = not ;
    }
    *ret = and->kid_count ? and : own;
    return KS_OK;
}

/* switch(case (filter) as a, …, default as b) */
static ks_err parse_switch(struct ksi_lq_parser *p, const struct ks_lq_func *fn,
                           struct func_list *out)
{
    size_t first = out->count;
    size_t fallback = SIZE_MAX;
    unsigned id = ++p->switch_count;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_expect(p, "("));
    for (;;) {
        struct ks_lq_func f = *fn;
        bool as;
        f.switch_id = id;
        if (ksi_lq_is(p, "case")) {
            KS_TRY(ksi_lq_next(p));
            KS_TRY(ksi_lq_filter_paren(p, &f.switch_cond));
            KS_TRY(ksi_lq_simplify_filter(p, &f.switch_cond));
        } else if (ksi_lq_is(p, "default") && fallback == SIZE_MAX) {
            KS_TRY(ksi_lq_next(p));
            f.switch_default = true;
            fallback = out->count;
        } else {
            return ksi_lq_unexpected(p, "'case (…)' or one 'default' is needed");
        }
        KS_TRY(ksi_lq_skip(p, "as", &as));
        KS_TRY(ksi_lq_field_name(p, &f.result));
        if (!f.switch_default)
            KS_TRY(case_cond(p, out, first, f.switch_cond, &f.cond));
        KSI_LQ_PUSH(p, out->items, out->count, out->cap, f);
        if (ksi_lq_is(p, ")"))
            break;
        KS_TRY(ksi_lq_expect(p, ","));
    }
    if (fallback != SIZE_MAX)
        KS_TRY(case_cond(p, out, first, NULL, &out->items[fallback].cond));
    return ksi_lq_next(p);
}

static ks_err parse_one(struct ksi_lq_parser *p, bool running, struct func_list *out)
{
    struct ks_lq_func f = {0};
    KS_TRY(parse_func(p, running, &f));
    if (!running && ksi_lq_is(p, "switch"))
        return parse_switch(p, &f, out);
    if (!running)
        KS_TRY(ksi_lq_if(p, &f.cond));
    KS_TRY(parse_result(p, &f));
    KSI_LQ_PUSH(p, out->items, out->count, out->cap, f);
    return KS_OK;
}

/* A result may not have the name of a field it is grouped by. */
static ks_err check_names(const struct ks_lq_pipe *pipe)
{
    for (size_t i = 0; i < pipe->u.stats.func_count; i++) {
        for (size_t k = 0; k < pipe->u.stats.by_count; k++)
            if (ks_slice_eq(pipe->u.stats.funcs[i].result, pipe->u.stats.by[k].name))
                return ks_fail(KS_EPARSE, "the result name \"%.*s\" is one of the by() fields",
                               KS_SLICE_ARG(pipe->u.stats.funcs[i].result));
        for (size_t k = 0; k < i; k++)
            if (ks_slice_eq(pipe->u.stats.funcs[i].result, pipe->u.stats.funcs[k].result))
                return ks_fail(KS_EPARSE, "the result name \"%.*s\" is used twice",
                               KS_SLICE_ARG(pipe->u.stats.funcs[i].result));
    }
    return KS_OK;
}

ks_err ksi_lq_pipe_stats(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    bool running = ret->kind != KS_LQ_P_STATS, by;
    struct func_list list = {0};
    KS_TRY(ksi_lq_skip(p, "by", &by));
    if (by || ksi_lq_is(p, "("))
        KS_TRY(parse_by(p, ret));
    for (;;) {
        KS_TRY(parse_one(p, running, &list));
        if (!ksi_lq_is(p, ","))
            break;
        KS_TRY(ksi_lq_next(p));
    }
    ret->u.stats.funcs = list.items;
    ret->u.stats.func_count = list.count;
    return running ? KS_OK : check_names(ret);
}
