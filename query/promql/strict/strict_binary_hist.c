/* Native histograms in binary operators of strict PromQL: what Prometheus 3.5 computes, and what it
 * says where it cannot. */
#include "query/promql/exec_priv.h"
#include "query/promql/strict/histogram_math.h"

/* A copy of h with buckets of its own. */
static ks_err own(struct ksi_query *q, const struct ks_histogram *h, struct ks_histogram **ret)
{
    if (!(*ret = ks_arena_alloc(q->arena, sizeof **ret)))
        return ks_arena_err(q->arena);
    return ks_histogram_copy_buckets(q->arena, h, *ret);
}

ks_err ksi_hist_scale(struct ksi_query *q, double v, double factor, bool divide, double *ret)
{
    struct ks_histogram *h;
    KS_TRY(own(q, ksi_hist(q, v), &h));
    if (divide)
        ks_hist_div(h, factor);
    else
        ks_hist_mul(h, factor);
    return ksi_hist_point(q, h, ret);
}

static ks_err scaled(struct ksi_query *q, const struct ks_histogram *x, double factor, bool divide,
                     double *ret)
{
    struct ks_histogram *h;
    KS_TRY(own(q, x, &h));
    if (divide)
        ks_hist_div(h, factor);
    else
        ks_hist_mul(h, factor);
    KS_TRY(ks_histogram_compact(q->arena, 0, h));
    return ksi_hist_point(q, h, ret);
}

static ks_err sum(struct ksi_query *q, const struct ks_histogram *x, const struct ks_histogram *y,
                  bool subtract, double *ret, struct ksi_binary_note *note)
{
    struct ks_histogram *h;
    unsigned notes = 0;
    KS_TRY(own(q, x, &h));
    KS_TRY(subtract ? ks_hist_sub(q->arena, h, y, &notes) : ks_hist_add(q->arena, h, y, &notes));
    if (notes & KS_HIST_FATAL) {
        note->kind = KSI_NOTE_BUCKETS;
        return KS_OK;
    }
    KS_TRY(ks_histogram_compact(q->arena, 0, h));
    return ksi_hist_point(q, h, ret);
}

ks_err ksi_hist_binary(struct ksi_query *q, const struct ks_expr_binary *b, double x, double y,
                       double *ret, struct ksi_binary_note *note)
{
    const struct ks_histogram *l = ksi_hist(q, x), *r = ksi_hist(q, y);
    enum ks_binary_op op = b->op;
    *ret = ksi_absent();
    note->kind = KSI_NOTE_NONE;
    if (l && r && (op == KS_OP_ADD || op == KS_OP_SUB))
        return sum(q, l, r, op == KS_OP_SUB, ret, note);
    if (l && r && (op == KS_OP_EQ || op == KS_OP_NE)) {
        bool holds = ks_histogram_equal(l, r) == (op == KS_OP_EQ);
        *ret = b->return_bool ? (double)holds : holds ? x : ksi_absent();
        return KS_OK;
    }
    if (!l != !r && op == KS_OP_MUL)
        return scaled(q, l ? l : r, l ? y : x, false, ret);
    if (l && !r && op == KS_OP_DIV)
        return scaled(q, l, y, true, ret);
    *note = (struct ksi_binary_note){KSI_NOTE_TYPES, l ? "histogram" : "float",
                                     r ? "histogram" : "float"};
    return KS_OK;
}

ks_err ksi_binary_annotate(struct ksi_query *q, const struct ks_expr *e,
                           const struct ksi_binary_note *note)
{
    const char *op = ks_binary_op_text[e->binary.op];
    switch (note->kind) {
    case KSI_NOTE_TYPES:
        return ksi_inform(q, e,
                          "incompatible sample types encountered for binary operator \"%s\": %s %s "
                          "%s",
                          op, note->left, op, note->right);
    case KSI_NOTE_BUCKETS:
        return ksi_warn(q, e, "incompatible bucket layout encountered for binary operator %s", op);
    case KSI_NOTE_NONE:
        break;
    }
    return KS_OK;
}
