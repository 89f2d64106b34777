/* Any text as a query, run over a few rows in memory. Nothing may crash, leak, or run away. */
#include <stdint.h>

#include "logsql_util.h"
#include "query/logsql/syntax/parser.h"
#include "sys/clock.h"

static struct ks_lq_mem *data;

static void fill(void)
{
    static const char *const msgs[] = {
        "user=1 took 15ms",
        "{\"a\":\"b\",\"n\":5,\"l\":[1,\"x\"]}",
        "<165>1 2003-10-11T22:14:15.003Z host app 1 ID47 - hello",
        "error: cannot find file /tmp/x from 10.0.0.1",
        "\x1b[31mred\x1b[0m \xff\xc3\xa9",
    };
    static const char *const nums[] = {"1", "-2.5", "10KiB", "1h5m", "1.2.3.4", "x", "1e300"};
    if (ks_lq_mem_new(4, &data))
        return;
    for (int i = 0; i < 20; i++)
        logsql_add(data, 1699999990000000000 + i * 500000000ll, i % 2 ? "app=web" : "", "_msg",
                   msgs[i % 5], "n", nums[i % 7], "list", i % 3 ? "[\"a\",\"b\"]" : "", "ts",
                   "2023-11-14T22:13:20Z", NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
    char query[1025];
    if (!data)
        fill();
    if (size < 1 || size > 1024)
        return 0;
    memcpy(query, in, size);
    query[size] = 0;
    struct ks_read_ctx ctx = {.deadline_mono_ms = ks_mono_ms() + 2000};
    struct ks_lq_request req = {.min_ns = INT64_MIN,
                                .max_ns = INT64_MAX,
                                .ctx = &ctx,
                                .memory_max = 16 << 20,
                                .newest = in[0] & 1 ? 3 : 0};
    struct ks_buf out;
    ks_buf_init(&out, 64 << 20);
    ks_err err = logsql_run(data, query, &req, in[0] & 2, &out);
    (void)err;
    ks_buf_done(&out);
    return 0;
}
