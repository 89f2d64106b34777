#include "query/promql/binary_op.h"

#include "base/err.h"

double ksi_op_arith(enum ks_binary_op op, double a, double b)
{
    switch (op) {
    case KS_OP_ADD:
        return a + b;
    case KS_OP_SUB:
        return a - b;
    case KS_OP_MUL:
        return a * b;
    case KS_OP_DIV:
        return a / b;
    case KS_OP_MOD:
        return fmod(a, b);
    case KS_OP_POW:
        return pow(a, b);
    case KS_OP_ATAN2:
        return atan2(a, b);
    default:
        KS_ASSERT(!"not an arithmetic operator");
        return NAN;
    }
}
