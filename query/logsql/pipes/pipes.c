/*
 * Makes the stage of a pipe. One file per pipe or family; this one only chooses.
 */
#include "query/logsql/pipes/pipe_priv.h"

ks_err ks_lq_pipe_stage(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                        struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    switch (pipe->kind) {
#define X(name, ID)                                                                                \
    case KS_LQ_P_##ID:                                                                             \
        return ks_lq_make_##name(x, pipe, next, ret);
        KS_LQ_PIPE_TABLE(X)
#undef X
    case KS_LQ_P_COUNT_OF_KINDS:
        break;
    }
    ks_panic(__FILE__, __LINE__, "a pipe of no kind");
}
