/* Request targets and forms: "<target>\n<form body>". Parsing never fails but for memory, and times
 * and numbers are read safely. */
#include <stdlib.h>
#include <string.h>

#include "api/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_http_request req;
    const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
    size_t target_len = nl ? (size_t)(nl - data) : size;
    char *target = calloc(1, target_len + 1);
    if (!target)
        return 0;
    memcpy(target, size ? data : (const uint8_t *)"", target_len);
    ks_http_request_init(&req, 16 << 20);
    ks_err err = ks_http_parse_target(&req, target, "/prefix");
    if (err == KS_OK && nl)
        err = ks_http_parse_args(&req, ks_slice(nl + 1, size - target_len - 1), true);
    if (err == KS_OK) {
        int64_t v;
        static const char *const names[] = {"start",   "end",   "time", "step",
                                            "timeout", "limit", "topN"};
        for (size_t i = 0; i < 7; i++) {
            (void)!ks_http_arg_time_ms(&req, names[i], 0, &v);
            (void)!ks_http_arg_duration_ms(&req, names[i], 0, &v);
            (void)!ks_http_arg_i64(&req, names[i], 0, &v);
            (void)ks_http_arg_bool(&req, names[i]);
        }
        for (size_t i = 0; i + 1 < req.path.len; i++)
            if (req.path.ptr[i] == '/' && req.path.ptr[i + 1] == '/')
                abort();
    }
    ks_http_request_done(&req);
    free(target);
    return 0;
}
