#include "api/extra_labels.h"

#include <string.h>

ks_err ks_extra_labels(struct ks_http_request *req, struct ks_label **ret, size_t *ret_count)
{
    size_t cap = 0;
    *ret = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < req->arg_count; i++) {
        struct ks_slice v = req->args[i].value;
        if (!ks_slice_is(req->args[i].name, "extra_label"))
            continue;
        const char *eq = v.len ? memchr(v.ptr, '=', v.len) : NULL;
        if (!eq || eq == v.ptr)
            return ks_fail(KS_EINVAL, "cannot parse extra_label \"%.*s\"; want name=value",
                           KS_SLICE_ARG(v));
        struct ks_slice name = ks_slice(v.ptr, (size_t)(eq - v.ptr));
        KS_TRY(ks_arena_grow(&req->arena, (void **)ret, &cap, *ret_count + 1, sizeof **ret));
        (*ret)[(*ret_count)++] = (struct ks_label){name, ks_slice_from(v, name.len + 1)};
    }
    return KS_OK;
}
