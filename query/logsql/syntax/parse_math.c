/*
 * Expressions of the math pipe, by operator precedence with explicit stacks for binary operators;
 * parentheses and calls recurse, counted.
 */
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

static const struct op {
    const char *text;
    enum ks_lq_math_kind kind;
    int level; /* binds tighter the smaller it is */
} ops[] = {
    {"^", KS_LQ_M_POW, 1},           {"*", KS_LQ_M_MUL, 2},   {"/", KS_LQ_M_DIV, 2},
    {"%", KS_LQ_M_MOD, 2},           {"+", KS_LQ_M_PLUS, 3},  {"-", KS_LQ_M_MINUS, 3},
    {"&", KS_LQ_M_AND, 4},           {"xor", KS_LQ_M_XOR, 5}, {"or", KS_LQ_M_OR, 6},
    {"default", KS_LQ_M_DEFAULT, 7},
};

static const struct call {
    const char *name;
    enum ks_lq_math_kind kind;
    size_t min_args, max_args;
} calls[] = {
    {"abs", KS_LQ_M_ABS, 1, 1},     {"ceil", KS_LQ_M_CEIL, 1, 1}, {"exp", KS_LQ_M_EXP, 1, 1},
    {"floor", KS_LQ_M_FLOOR, 1, 1}, {"ln", KS_LQ_M_LN, 1, 1},     {"max", KS_LQ_M_MAX, 2, 1000},
    {"min", KS_LQ_M_MIN, 2, 1000},  {"now", KS_LQ_M_NOW, 0, 0},   {"rand", KS_LQ_M_RAND, 0, 0},
    {"round", KS_LQ_M_ROUND, 1, 2},
};

static ks_err parse_expr(struct ksi_lq_parser *p, struct ks_lq_math **ret);

static ks_err new_node(struct ksi_lq_parser *p, enum ks_lq_math_kind kind, size_t args,
                       struct ks_lq_math **ret)
{
    struct ks_lq_math *m = ks_arena_zalloc(p->arena, sizeof *m);
    if (!m)
        return ksi_lq_oom(p);
    m->kind = kind;
    m->arg_count = args;
    m->args = ks_arena_array(p->arena, args + 1, sizeof *m->args);
    if (!m->args)
        return ksi_lq_oom(p);
    *ret = m;
    return KS_OK;
}

static ks_err parse_call(struct ksi_lq_parser *p, const struct call *c, struct ks_lq_math **ret)
{
    struct ks_lq_math **args = NULL;
    size_t count = 0, cap = 0;
    KS_TRY(ksi_lq_expect(p, "("));
    while (!ksi_lq_is(p, ")")) {
        struct ks_lq_math *a;
        KS_TRY(parse_expr(p, &a));
        KSI_LQ_PUSH(p, args, count, cap, a);
        if (!ksi_lq_is(p, ")"))
            KS_TRY(ksi_lq_expect(p, ","));
    }
    KS_TRY(ksi_lq_next(p));
    if (count < c->min_args || count > c->max_args)
        return ks_fail(KS_EPARSE, "%s() of math got %zu arguments", c->name, count);
    KS_TRY(new_node(p, c->kind, 0, ret));
    (*ret)->args = args;
    (*ret)->arg_count = count;
    return KS_OK;
}

/* Words of names and numbers: foo.bar, 1.5KB, 10e9. Operators need blanks only where they would be
 * part of a number. */
static bool glues(const struct ksi_lq_parser *p, struct ks_slice so_far)
{
    if (p->lx.spaced || p->lx.kind == KSI_LQ_END || p->lx.kind == KSI_LQ_QUOTED)
        return false;
    if (p->lx.kind == KSI_LQ_WORD)
        return true;
    char c = p->lx.token.ptr[0];
    if (c == '.' || c == ':' || c == '$' || c == '@')
        return true;
    /* 1e-7 */
    return (c == '-' || c == '+') && so_far.len > 1 && so_far.ptr[0] >= '0' &&
           so_far.ptr[0] <= '9' && (so_far.ptr[so_far.len - 1] | 0x20) == 'e' &&
           !(so_far.len > 2 && (so_far.ptr[1] | 0x20) == 'x') && p->lx.pos < p->lx.text.len &&
           p->lx.text.ptr[p->lx.pos] >= '0' && p->lx.text.ptr[p->lx.pos] <= '9';
}

static ks_err parse_word(struct ksi_lq_parser *p, struct ks_lq_math **ret)
{
    struct ks_slice s;
    bool quoted = p->lx.kind == KSI_LQ_QUOTED;
    if (quoted) {
        s = p->lx.token;
        KS_TRY(ksi_lq_next(p));
    } else {
        size_t from = p->lx.at;
        do {
            s = ks_slice_sub(p->lx.text, from, p->lx.pos - from);
            KS_TRY(ksi_lq_next(p));
        } while (glues(p, s));
    }
    double v;
    bool number = ks_lq_parse_any_number(s, &v) && s.len &&
                  (quoted || (s.ptr[0] >= '0' && s.ptr[0] <= '9') || s.ptr[0] == '.' ||
                   strncasecmp(s.ptr, "inf", s.len) == 0 || strncasecmp(s.ptr, "nan", s.len) == 0);
    KS_TRY(new_node(p, number ? KS_LQ_M_CONST : KS_LQ_M_FIELD, 0, ret));
    (*ret)->text = s.len ? s : KS_SLICE_LIT("_msg");
    (*ret)->value = number ? v : 0;
    return KS_OK;
}

static ks_err parse_operand(struct ksi_lq_parser *p, struct ks_lq_math **ret)
{
    if (ksi_lq_is(p, "(")) {
        KS_TRY(ksi_lq_next(p));
        KS_TRY(parse_expr(p, ret));
        KS_TRY(ksi_lq_expect(p, ")"));
        (*ret)->parens = true;
        return KS_OK;
    }
    if (ksi_lq_is(p, "-") || ksi_lq_is(p, "+")) {
        bool minus = ksi_lq_is(p, "-");
        struct ks_lq_math *kid;
        KS_TRY(ksi_lq_next(p));
        KS_TRY(ksi_lq_enter(p));
        KS_TRY(parse_operand(p, &kid));
        ksi_lq_leave(p);
        if (!minus) {
            *ret = kid;
            return KS_OK;
        }
        KS_TRY(new_node(p, KS_LQ_M_UNARY_MINUS, 1, ret));
        (*ret)->args[0] = kid;
        return KS_OK;
    }
    if (p->lx.kind == KSI_LQ_WORD) {
        struct ksi_lq_lexer saved = p->lx;
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            if (!ksi_lq_is(p, calls[i].name))
                continue;
            KS_TRY(ksi_lq_next(p));
            if (ksi_lq_is(p, "("))
                return parse_call(p, &calls[i], ret);
            p->lx = saved;
        }
    } else if (p->lx.kind != KSI_LQ_QUOTED && !ksi_lq_is(p, ".")) {
        return ksi_lq_unexpected(p, "a field, a number or '(' is needed");
    }
    return parse_word(p, ret);
}

static const struct op *find_op(const struct ksi_lq_parser *p)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ksi_lq_is(p, ops[i].text))
            return &ops[i];
    return NULL;
}

struct pending {
    struct ks_lq_math *left;
    const struct op *op;
};

/* Closes pending operators that bind at least as tightly as level; ^ is left associative, too. */
static ks_err reduce(struct ksi_lq_parser *p, struct pending *stack, size_t *depth, int level,
                     struct ks_lq_math **operand)
{
    while (*depth && stack[*depth - 1].op->level <= level) {
        struct ks_lq_math *m;
        const struct pending *top = &stack[--*depth];
        KS_TRY(new_node(p, top->op->kind, 2, &m));
        m->args[0] = top->left;
        m->args[1] = *operand;
        *operand = m;
    }
    return KS_OK;
}

static ks_err parse_expr(struct ksi_lq_parser *p, struct ks_lq_math **ret)
{
    struct pending stack[8]; /* levels rise strictly, so it cannot overflow */
    size_t depth = 0, nodes = 0;
    struct ks_lq_math *operand;
    KS_TRY(ksi_lq_enter(p));
    for (;;) {
        KS_TRY(parse_operand(p, &operand));
        const struct op *op = find_op(p);
        KS_TRY(reduce(p, stack, &depth, op ? op->level : 99, &operand));
        if (!op)
            break;
        if (++nodes > 1000)
            return ks_fail(KS_EPARSE, "a math expression has more than 1000 operators");
        stack[depth++] = (struct pending){operand, op};
        KS_TRY(ksi_lq_next(p));
    }
    ksi_lq_leave(p);
    *ret = operand;
    return KS_OK;
}

static ks_err result_name(struct ksi_lq_parser *p, struct ks_lq_math_entry *e)
{
    bool as;
    KS_TRY(ksi_lq_skip(p, "as", &as));
    if (as || (!ksi_lq_pipe_end(p) && !ksi_lq_is(p, ",")))
        return ksi_lq_field_name(p, &e->result);
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    ksi_lq_print_math(e->expr, &b);
    ks_err err = ks_buf_status(&b);
    if (!err)
        err = ksi_lq_dup(p, ks_buf_view(&b), &e->result);
    ks_buf_done(&b);
    return err;
}

ks_err ksi_lq_pipe_math(struct ksi_lq_parser *p, struct ks_lq_pipe *ret)
{
    size_t cap = 0;
    for (;;) {
        struct ks_lq_math_entry e = {0};
        KS_TRY(parse_expr(p, &e.expr));
        KS_TRY(result_name(p, &e));
        KSI_LQ_PUSH(p, ret->u.math.items, ret->u.math.count, cap, e);
        if (!ksi_lq_is(p, ","))
            return KS_OK;
        KS_TRY(ksi_lq_next(p));
    }
}
