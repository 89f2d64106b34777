/* OTLP JSON: what the transcoder makes is protobuf that the decoder can walk; it fails at most for
 * a missing name or nesting. */
#include <stdio.h>
#include <stdlib.h>

#include "api/ingest/otlp_json.h"
#include "api/ingest/otlp_metrics.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    struct ks_otlp_result res;
    struct ks_arena arena;
    struct ks_buf out;
    if (!t.app.engine)
        ti_init(&t, 1700000000123);
    ks_arena_init(&arena, 16 << 20);
    ks_buf_init(&out, 16 << 20);
    if (ks_otlp_json_to_protobuf(ks_slice(data, size), &ks_otlp_metrics_request, &arena, &out) ==
        KS_OK) {
        ti_reset(&t);
        ks_err err = ks_otlp_metrics(&t.in, ks_buf_view(&out), &res);
        if (err == KS_OK)
            ti_text(&t);
        else if (err == KS_EPARSE && !strstr(ks_err_text(), "Metric.name") &&
                 !strstr(ks_err_text(), "nested")) {
            fprintf(stderr, "%s\n", ks_err_text());
            abort();
        }
    }
    ks_buf_done(&out);
    ks_arena_done(&arena);
    return 0;
}
