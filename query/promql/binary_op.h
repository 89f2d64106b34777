/*
 * What an arithmetic or comparison operator makes of two numbers: the one place for both dialects
 * and for the folding of constants.
 */
#ifndef KS_QUERY_PROMQL_BINARY_OP_H
#define KS_QUERY_PROMQL_BINARY_OP_H

#include <math.h>

#include "query/promql/syntax/ast.h"

/* As floating point has it: NaN compares with nothing but !=. op: a comparison. */
static inline bool ksi_op_holds(enum ks_binary_op op, double a, double b)
{
    switch (op) {
    case KS_OP_EQ:
        return a == b;
    case KS_OP_NE:
        return a != b;
    case KS_OP_LT:
        return a < b;
    case KS_OP_GT:
        return a > b;
    case KS_OP_LE:
        return a <= b;
    default:
        return a >= b;
    }
}

/* MetricsQL: NaN equals NaN, so that `!= NaN` is a filter. */
static inline bool ksi_op_holds_mql(enum ks_binary_op op, double a, double b)
{
    if (isnan(a) && isnan(b))
        return op == KS_OP_EQ;
    return ksi_op_holds(op, a, b);
}

/* op: arithmetic. */
double ksi_op_arith(enum ks_binary_op op, double a, double b);

#endif
