/* Canonical text of pipes and stats functions. */
#include "base/num.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

static bool is_msg(struct ks_slice s)
{
    return ks_slice_is(s, "_msg");
}

static void word(const char *w, struct ks_slice name, struct ks_buf *out)
{
    ks_buf_byte(out, ' ');
    ks_buf_str(out, w);
    ks_buf_byte(out, ' ');
    ks_lq_print_token(name, out);
}

static void number(const char *w, uint64_t n, struct ks_buf *out)
{
    ks_buf_printf(out, " %s ", w);
    ks_buf_u64_dec(out, n);
}

static void print_if(const struct ks_lq_filter *f, struct ks_buf *out)
{
    if (!f)
        return;
    ks_buf_str(out, " if (");
    ks_lq_print_filter(f, out);
    ks_buf_byte(out, ')');
}

static void print_keep(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->keep_original_fields)
        ks_buf_str(out, " keep_original_fields");
    if (p->skip_empty_results)
        ks_buf_str(out, " skip_empty_results");
}

void ksi_lq_print_sort_keys(const struct ks_lq_sort_keys *k, struct ks_buf *out)
{
    ks_buf_byte(out, '(');
    for (size_t i = 0; i < k->count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        ks_lq_print_token(k->items[i].name, out);
        if (k->items[i].desc)
            ks_buf_str(out, " desc");
    }
    ks_buf_byte(out, ')');
}

/* --- stats --- */

void ks_lq_print_func(const struct ks_lq_func *f, struct ks_buf *out)
{
    ks_buf_str(out, ksi_lq_func_name(f->kind));
    ks_buf_byte(out, '(');
    if (f->kind == KS_LQ_FN_QUANTILE) {
        ks_buf_slice(out, f->phi_text);
        if (f->args.count)
            ks_buf_str(out, ", ");
    }
    ksi_lq_print_fields(&f->args, out);
    ks_buf_byte(out, ')');
    if (f->sort.count) {
        ks_buf_str(out, " sort by ");
        ksi_lq_print_sort_keys(&f->sort, out);
    }
    if (f->limit)
        number("limit", f->limit, out);
    if (f->offset)
        number("offset", f->offset, out);
}

static void print_switch(const struct ks_lq_func *f, size_t count, struct ks_buf *out)
{
    ks_lq_print_func(f, out);
    ks_buf_str(out, " switch(");
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        if (f[i].switch_default) {
            ks_buf_str(out, "default");
        } else {
            ks_buf_str(out, "case (");
            ks_lq_print_filter(f[i].switch_cond, out);
            ks_buf_byte(out, ')');
        }
        word("as", f[i].result, out);
    }
    ks_buf_byte(out, ')');
}

static void print_by(const struct ks_lq_by *by, size_t count, struct ks_buf *out)
{
    ks_buf_str(out, " by (");
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_str(out, ", ");
        ks_lq_print_token(by[i].name, out);
        if (by[i].bucket_text.len) {
            ks_buf_byte(out, ':');
            ks_buf_slice(out, by[i].bucket_text);
        }
        if (by[i].offset_text.len) {
            ks_buf_str(out, " offset ");
            ks_buf_slice(out, by[i].offset_text);
        }
    }
    ks_buf_byte(out, ')');
}

void ksi_lq_print_stats(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->u.stats.by_count)
        print_by(p->u.stats.by, p->u.stats.by_count, out);
    for (size_t i = 0, n; i < p->u.stats.func_count; i += n) {
        const struct ks_lq_func *f = &p->u.stats.funcs[i];
        ks_buf_str(out, i ? ", " : " ");
        n = 1;
        if (f->switch_id) {
            while (i + n < p->u.stats.func_count && f[n].switch_id == f->switch_id)
                n++;
            print_switch(f, n, out);
            continue;
        }
        ks_lq_print_func(f, out);
        print_if(f->cond, out);
        word("as", f->result, out);
    }
}

/* --- math --- */

static const char *math_op(enum ks_lq_math_kind kind)
{
    switch (kind) {
    case KS_LQ_M_PLUS:
        return " + ";
    case KS_LQ_M_MINUS:
        return " - ";
    case KS_LQ_M_MUL:
        return " * ";
    case KS_LQ_M_DIV:
        return " / ";
    case KS_LQ_M_MOD:
        return " % ";
    case KS_LQ_M_POW:
        return " ^ ";
    case KS_LQ_M_AND:
        return " & ";
    case KS_LQ_M_OR:
        return " or ";
    case KS_LQ_M_XOR:
        return " xor ";
    case KS_LQ_M_DEFAULT:
        return " default ";
    default:
        return NULL;
    }
}

static const char *math_call(enum ks_lq_math_kind kind)
{
    static const char *const names[] = {"abs", "ceil", "exp", "floor", "ln",
                                        "max", "min",  "now", "rand",  "round"};
    return names[kind - KS_LQ_M_ABS];
}

static void print_math_body(const struct ks_lq_math *m, struct ks_buf *out)
{
    const char *op = math_op(m->kind);
    if (op) {
        ksi_lq_print_math(m->args[0], out);
        ks_buf_str(out, op);
        ksi_lq_print_math(m->args[1], out);
    } else if (m->kind == KS_LQ_M_CONST) {
        if (m->text.len &&
            (m->text.ptr[4 < m->text.len ? 4 : 0] == '-' || memchr(m->text.ptr, ':', m->text.len)))
            ksi_lq_print_quoted(m->text, out);
        else
            ks_buf_slice(out, m->text);
    } else if (m->kind == KS_LQ_M_FIELD) {
        ks_lq_print_token(m->text, out);
    } else if (m->kind == KS_LQ_M_UNARY_MINUS) {
        ks_buf_byte(out, '-');
        ksi_lq_print_math(m->args[0], out);
    } else {
        ks_buf_str(out, math_call(m->kind));
        ks_buf_byte(out, '(');
        for (size_t i = 0; i < m->arg_count; i++) {
            if (i)
                ks_buf_str(out, ", ");
            ksi_lq_print_math(m->args[i], out);
        }
        ks_buf_byte(out, ')');
    }
}

void ksi_lq_print_math(const struct ks_lq_math *m, struct ks_buf *out)
{
    if (m->parens)
        ks_buf_byte(out, '(');
    print_math_body(m, out);
    if (m->parens)
        ks_buf_byte(out, ')');
}

static void print_math_pipe(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    for (size_t i = 0; i < p->u.math.count; i++) {
        ks_buf_str(out, i ? ", " : " ");
        ksi_lq_print_math(p->u.math.items[i].expr, out);
        word("as", p->u.math.items[i].result, out);
    }
}

/* --- pipes --- */

static void print_move(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    for (size_t i = 0; i < p->u.move.count; i++) {
        ks_buf_str(out, i ? ", " : " ");
        ksi_lq_print_field(&p->u.move.from[i], out);
        ks_buf_str(out, " as ");
        ksi_lq_print_field(&p->u.move.to[i], out);
    }
}

static void print_rows(const struct ks_lq_literal_rows *rows, struct ks_buf *out)
{
    ks_buf_str(out, " rows(");
    for (size_t i = 0; i < rows->count; i++) {
        ks_buf_str(out, i ? ",{" : "{");
        for (size_t k = 0; k < rows->items[i].count; k++) {
            if (k)
                ks_buf_byte(out, ',');
            ksi_lq_print_quoted(rows->items[i].fields[k].name, out);
            ks_buf_byte(out, ':');
            ksi_lq_print_quoted(rows->items[i].fields[k].value, out);
        }
        ks_buf_byte(out, '}');
    }
    ks_buf_byte(out, ')');
}

static void print_sub(const struct ks_lq_query *sub, const struct ks_lq_literal_rows *rows,
                      struct ks_buf *out)
{
    if (!sub) {
        print_rows(rows, out);
        return;
    }
    ks_buf_str(out, " (");
    ks_lq_print(sub, out);
    ks_buf_byte(out, ')');
}

static void print_join(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    ks_buf_str(out, " by (");
    ksi_lq_print_names(&p->u.join.by, out);
    ks_buf_byte(out, ')');
    print_sub(p->u.join.sub, &p->u.join.rows, out);
    if (p->u.join.inner)
        ks_buf_str(out, " inner");
    if (p->u.join.prefix.len)
        word("prefix", p->u.join.prefix, out);
}

static void print_partition(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (!p->u.sort.partition_by.count)
        return;
    ks_buf_str(out, " partition by (");
    ksi_lq_print_names(&p->u.sort.partition_by, out);
    ks_buf_byte(out, ')');
}

static void print_rank(struct ks_slice rank, struct ks_buf *out)
{
    if (!rank.len)
        return;
    ks_buf_str(out, " rank");
    if (!ks_slice_is(rank, "rank"))
        word("as", rank, out);
}

static void print_sort(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    bool sort = p->kind == KS_LQ_P_SORT;
    if (!sort && p->u.sort.has_limit) {
        ks_buf_byte(out, ' ');
        ks_buf_u64_dec(out, p->u.sort.limit);
    }
    if (p->u.sort.by.count) {
        ks_buf_str(out, " by ");
        ksi_lq_print_sort_keys(&p->u.sort.by, out);
    }
    if (p->u.sort.desc)
        ks_buf_str(out, " desc");
    print_partition(p, out);
    if (sort && p->u.sort.offset)
        number("offset", p->u.sort.offset, out);
    if (sort && p->u.sort.limit)
        number("limit", p->u.sort.limit, out);
    print_rank(p->u.sort.rank, out);
}

static void print_uniq(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->kind == KS_LQ_P_FIELD_VALUES) {
        ks_buf_byte(out, ' ');
        ks_lq_print_token(p->u.uniq.by.items[0], out);
    } else {
        ks_buf_str(out, " by (");
        ksi_lq_print_names(&p->u.uniq.by, out);
        ks_buf_byte(out, ')');
    }
    if (p->u.uniq.filter.len)
        word("filter", p->u.uniq.filter, out);
    if (p->kind == KS_LQ_P_UNIQ && p->u.uniq.with_hits)
        ks_buf_str(out, " with hits");
    if (p->u.uniq.limit)
        number("limit", p->u.uniq.limit, out);
}

static void print_top(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->u.top.has_limit) {
        ks_buf_byte(out, ' ');
        ks_buf_u64_dec(out, p->u.top.limit);
    }
    ks_buf_str(out, " by (");
    ksi_lq_print_names(&p->u.top.by, out);
    ks_buf_byte(out, ')');
    if (!ks_slice_is(p->u.top.hits, "hits"))
        word("hits as", p->u.top.hits, out);
    print_rank(p->u.top.rank, out);
}

static void print_facets(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->u.facets.limit != 10) {
        ks_buf_byte(out, ' ');
        ks_buf_u64_dec(out, p->u.facets.limit);
    }
    if (p->u.facets.max_values_per_field != 1000)
        number("max_values_per_field", p->u.facets.max_values_per_field, out);
    if (p->u.facets.max_value_len != 128)
        number("max_value_len", p->u.facets.max_value_len, out);
    if (p->u.facets.keep_const_fields)
        ks_buf_str(out, " keep_const_fields");
}

static void print_from(struct ks_slice from, struct ks_buf *out)
{
    if (!is_msg(from))
        word("from", from, out);
}

static void print_paren_fields(const char *w, const struct ks_lq_fields *f, struct ks_buf *out)
{
    if (!f->count)
        return;
    ks_buf_printf(out, " %s (", w);
    ksi_lq_print_fields(f, out);
    ks_buf_byte(out, ')');
}

static void print_unpack(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    print_if(p->cond, out);
    print_from(p->u.unpack.from, out);
    if (p->u.unpack.offset_text.len) {
        ks_buf_str(out, " offset ");
        ks_buf_slice(out, p->u.unpack.offset_text);
    }
    print_paren_fields("fields", &p->u.unpack.fields, out);
    print_paren_fields("preserve_keys", &p->u.unpack.preserve_keys, out);
    if (p->u.unpack.result_prefix.len)
        word("result_prefix", p->u.unpack.result_prefix, out);
    print_keep(p, out);
}

static void print_replace(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    print_if(p->cond, out);
    ks_buf_str(out, " (");
    ks_lq_print_token(p->u.replace.from, out);
    ks_buf_str(out, ", ");
    ks_lq_print_token(p->u.replace.to, out);
    ks_buf_byte(out, ')');
    if (!is_msg(p->u.replace.at))
        word("at", p->u.replace.at, out);
    if (p->u.replace.limit)
        number("limit", p->u.replace.limit, out);
}

static void print_map(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    print_if(p->cond, out);
    switch (p->kind) {
    case KS_LQ_P_HASH:
    case KS_LQ_P_LEN:
    case KS_LQ_P_JSON_ARRAY_LEN:
    case KS_LQ_P_COALESCE:
    case KS_LQ_P_JSON_ARRAY_CONCAT:
        ks_buf_byte(out, '(');
        if (p->u.map.args.count)
            ksi_lq_print_fields(&p->u.map.args, out);
        else
            ks_lq_print_token(p->u.map.from, out);
        ks_buf_byte(out, ')');
        if (!is_msg(p->u.map.to))
            word("as", p->u.map.to, out);
        return;
    case KS_LQ_P_SPLIT:
    case KS_LQ_P_UNPACK_WORDS:
        if (p->kind == KS_LQ_P_SPLIT) {
            ks_buf_byte(out, ' ');
            ks_lq_print_token(p->u.map.arg, out);
        }
        print_from(p->u.map.from, out);
        if (!ks_slice_eq(p->u.map.from, p->u.map.to))
            word("as", p->u.map.to, out);
        if (p->u.map.drop_duplicates)
            ks_buf_str(out, " drop_duplicates");
        return;
    case KS_LQ_P_COLLAPSE_NUMS:
        if (!is_msg(p->u.map.from))
            word("at", p->u.map.from, out);
        if (p->u.map.prettify)
            ks_buf_str(out, " prettify");
        return;
    case KS_LQ_P_DECOLORIZE:
        if (!is_msg(p->u.map.from)) {
            ks_buf_byte(out, ' ');
            ks_lq_print_token(p->u.map.from, out);
        }
        return;
    case KS_LQ_P_FIELD_NAMES:
        if (p->u.map.has_arg)
            word("filter", p->u.map.arg, out);
        if (!ks_slice_is(p->u.map.to, "name"))
            word("as", p->u.map.to, out);
        return;
    default: /* blocks_count */
        if (!ks_slice_is(p->u.map.to, "blocks_count"))
            word("as", p->u.map.to, out);
    }
}

static void print_context(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    if (p->u.context.before || !p->u.context.after)
        number("before", p->u.context.before, out);
    if (p->u.context.after)
        number("after", p->u.context.after, out);
    if (p->u.context.window_text.len) {
        ks_buf_str(out, " time_window ");
        ks_buf_slice(out, p->u.context.window_text);
    }
}

static void print_text_pipe(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    print_if(p->cond, out);
    ks_buf_byte(out, ' ');
    if (p->kind == KS_LQ_P_FORMAT) {
        ksi_lq_print_quoted(p->u.format.pattern.text, out);
        if (!is_msg(p->u.format.to))
            word("as", p->u.format.to, out);
    } else {
        ksi_lq_print_quoted(p->u.extract.pattern.text, out);
        print_from(p->u.extract.from, out);
    }
    print_keep(p, out);
}

void ks_lq_print_pipe(const struct ks_lq_pipe *p, struct ks_buf *out)
{
    ks_buf_str(out, ks_lq_pipe_name(p->kind));
    if (p->kind == KS_LQ_P_STATS && p->u.stats.remote)
        ks_buf_str(out, "_remote");
    switch (p->kind) {
    case KS_LQ_P_COPY:
    case KS_LQ_P_RENAME:
        print_move(p, out);
        break;
    case KS_LQ_P_DELETE:
    case KS_LQ_P_FIELDS:
    case KS_LQ_P_SET_STREAM_FIELDS:
        print_if(p->cond, out);
        ks_buf_byte(out, ' ');
        ksi_lq_print_fields(&p->u.fields, out);
        break;
    case KS_LQ_P_EXTRACT:
    case KS_LQ_P_EXTRACT_REGEXP:
    case KS_LQ_P_FORMAT:
        print_text_pipe(p, out);
        break;
    case KS_LQ_P_FACETS:
        print_facets(p, out);
        break;
    case KS_LQ_P_FIELD_VALUES:
    case KS_LQ_P_UNIQ:
        print_uniq(p, out);
        break;
    case KS_LQ_P_FILTER:
        ks_buf_byte(out, ' ');
        ks_lq_print_filter(p->cond, out);
        break;
    case KS_LQ_P_FIRST:
    case KS_LQ_P_LAST:
    case KS_LQ_P_SORT:
        print_sort(p, out);
        break;
    case KS_LQ_P_GENERATE_SEQUENCE:
    case KS_LQ_P_LIMIT:
    case KS_LQ_P_OFFSET:
    case KS_LQ_P_SAMPLE:
        ks_buf_byte(out, ' ');
        ks_buf_u64_dec(out, p->u.count.n);
        break;
    case KS_LQ_P_JOIN:
        print_join(p, out);
        break;
    case KS_LQ_P_UNION:
        print_sub(p->u.unite.sub, &p->u.unite.rows, out);
        break;
    case KS_LQ_P_MATH:
        print_math_pipe(p, out);
        break;
    case KS_LQ_P_PACK_JSON:
    case KS_LQ_P_PACK_LOGFMT:
        print_paren_fields("fields", &p->u.pack.fields, out);
        if (!is_msg(p->u.pack.to))
            word("as", p->u.pack.to, out);
        break;
    case KS_LQ_P_REPLACE:
    case KS_LQ_P_REPLACE_REGEXP:
        print_replace(p, out);
        break;
    case KS_LQ_P_RUNNING_STATS:
    case KS_LQ_P_STATS:
    case KS_LQ_P_TOTAL_STATS:
        ksi_lq_print_stats(p, out);
        break;
    case KS_LQ_P_STREAM_CONTEXT:
        print_context(p, out);
        break;
    case KS_LQ_P_TIME_ADD:
        ks_buf_byte(out, ' ');
        ks_buf_slice(out, p->u.time_add.text);
        if (!ks_slice_is(p->u.time_add.at, "_time"))
            word("at", p->u.time_add.at, out);
        break;
    case KS_LQ_P_TOP:
        print_top(p, out);
        break;
    case KS_LQ_P_UNPACK_JSON:
    case KS_LQ_P_UNPACK_LOGFMT:
    case KS_LQ_P_UNPACK_SYSLOG:
        print_unpack(p, out);
        break;
    case KS_LQ_P_UNROLL:
        print_if(p->cond, out);
        ks_buf_str(out, " by (");
        ksi_lq_print_names(&p->u.unroll.by, out);
        ks_buf_byte(out, ')');
        break;
    case KS_LQ_P_BLOCK_STATS:
    case KS_LQ_P_DROP_EMPTY_FIELDS:
    case KS_LQ_P_QUERY_STATS:
        break;
    default:
        print_map(p, out);
    }
}
