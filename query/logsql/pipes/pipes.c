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
        return ksi_lq_make_##name(x, pipe, next, ret);
        KSI_LQ_MAKERS(X)
#undef X
    case KS_LQ_P_FILTER:
    case KS_LQ_P_STREAM_CONTEXT:
    case KS_LQ_P_BLOCK_STATS:
    case KS_LQ_P_BLOCKS_COUNT:
    case KS_LQ_P_QUERY_STATS:
        return ks_lq_exec_pipe_stage(x, pipe, next, ret);
    default:
        return ks_fail(KS_EUNSUPPORTED, "this pipe is not supported yet");
    }
}
