/*
 * CPU per log line of the decoders alone: a body of lines as collectors send them, decoded into the
 * batch again and again. usage: micro_log_ingest [rounds]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "api/app.h"
#include "api/logs/logs.h"

KS_LOG_PROTOCOL(protocol, "bench");

enum { LINES = 4000 };

static double cpu_s(void)
{
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    return (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
}

/* About 300 bytes: a container's line with its labels in an object. */
static void container_line(struct ks_buf *b, unsigned i)
{
    ks_buf_printf(
        b,
        "{\"_time\":\"2026-11-21T14:%02u:%02u.%06uZ\",\"_msg\":\"GET /api/v1/users/%u?page=%u "
        "200 %u.%02ums\",\"level\":\"info\",\"kubernetes\":{\"namespace\":\"prod\",\"pod\":"
        "\"api-7d9f8b6c5d-x%02uz\",\"container\":\"api\"},\"trace_id\":\"%08x%08x%08x%08x\","
        "\"status\":200,\"bytes\":%u}\n",
        i / 60 % 60, i % 60, i * 37 % 1000000, i * 7919, i % 13, i % 90, i % 100, i % 40,
        i * 2654435761u, i * 40503u, i, ~i, i * 31);
}

/* The same with escapes in the message. */
static void escaped_line(struct ks_buf *b, unsigned i)
{
    ks_buf_printf(
        b,
        "{\"_time\":\"1763735%03u.%03u\",\"_msg\":\"{\\\"user\\\":\\\"u%u\\\",\\\"path\\\":"
        "\\\"/a/b\\\",\\\"took\\\":%u}\",\"stream\":\"stdout\",\"host\":\"node-%u\"}\n",
        i % 1000, i % 997, i, i % 300, i % 16);
}

static void run(const char *name, void (*line)(struct ks_buf *, unsigned), const char *streams,
                unsigned rounds)
{
    static struct ks_app app;
    struct ks_log_scratch *scratch;
    struct ks_log_params params = {0};
    struct ks_log_ingest in;
    struct ks_arena arena;
    struct ks_buf body;
    static const struct ks_slice time_field[] = {{"_time", 5}};
    ks_arena_init(&arena, 1 << 20);
    ks_buf_init(&body, KS_BUF_UNLIMITED);
    for (unsigned i = 0; i < LINES; i++)
        line(&body, i);
    params.time_fields = (struct ks_log_names){time_field, 1};
    if (ks_log_names_parse(&arena, ks_slice_str(streams), &params.stream_fields) != KS_OK ||
        ks_log_scratch_new(&scratch) != KS_OK)
        exit(1);
    double start = 0;
    for (unsigned r = 0; r < rounds + 3; r++) {
        if (r == 3)
            start = cpu_s();
        ks_log_ingest_init(&in, &app, scratch, &protocol, &params);
        in.store = NULL;
        if (ks_jsonline_decode(&in, ks_buf_view(&body), KS_LOG_LINE_BYTES) != KS_OK ||
            in.batch->row_count != LINES)
            exit(1);
    }
    double s = cpu_s() - start, n = (double)rounds * LINES;
    printf("%-12s %6.0f ns per line of %zu bytes, %6.0f MB/s, %zu streams\n", name, s / n * 1e9,
           body.len / LINES, n / LINES * (double)body.len / s / 1e6, in.batch->stream_count);
    ks_log_scratch_free(scratch);
    ks_arena_done(&arena);
    ks_buf_done(&body);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
    run("container", container_line, "kubernetes.pod,kubernetes.namespace", rounds);
    run("no stream", container_line, "", rounds);
    run("escaped", escaped_line, "host,stream", rounds);
    return 0;
}
