#include "compaction/compact.h"

ks_err ks_compact_merge(const struct ks_compact_opts *o, const struct ks_compact_input *inputs, size_t count,
                        struct ks_compact_result *ret)
{
    return ks_fail(KS_EUNSUPPORTED, "merging is not built yet");
}

size_t ks_compact_pick(const struct ks_compact_candidate *list, size_t count, const struct ks_compact_policy *policy,
                       size_t *pick, int *ret_level)
{
    return 0;
}
