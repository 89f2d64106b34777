/* kofstore: chooses the command. Without one it serves, as its users' deployments expect. */
#include <stdio.h>
#include <string.h>

#include "api/router.h"
#include "cmd/commands.h"
#include "cmd/flags.h"

/* jemalloc: pages of large blocks are kept for a while like all others. Given back at once, every
 * query over many series faulted its arrays in again. A thread of its own sees to it that they go
 * after three seconds, also when nothing is allocated any more. No page is added to large blocks to
 * spread them over the processor's caches: the blocks of the trace ring would take an eighth more.
 */
const char *malloc_conf;
const char *malloc_conf = "oversize_threshold:0,background_thread:true,dirty_decay_ms:3000";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", ks_cmd_serve, "run the server (the default)"},
    {"block", ks_cmd_block, "look into parts without a server: ls, info, verify, export, repair"},
    {"wal", ks_cmd_wal, "look into the write-ahead log without a server: ls, verify"},
    {"help", ks_cmd_help, "this text; help flags | help endpoints print Markdown tables"},
};

static void usage(FILE *f)
{
    fprintf(f,
            "kofstore %s: storage for metrics, logs and traces\n\nusage: kofstore [COMMAND] "
            "[FLAGS]\n\n",
            KS_VERSION);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(f, "\nFlags are written -name=value; see kofstore help flags.\n");
}

int ks_cmd_help(int argc, char **argv)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    if (argc && strcmp(argv[0], "flags") == 0)
        ks_flags_print_markdown(&b);
    else if (argc && strcmp(argv[0], "endpoints") == 0)
        ks_router_print(&b);
    else
        usage(stdout);
    fwrite(b.ptr ? b.ptr : "", 1, b.len, stdout);
    ks_buf_done(&b);
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-help") == 0 ||
                     strcmp(argv[1], "--help") == 0))
        return ks_cmd_help(0, NULL);
    if (!name)
        return ks_cmd_serve(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "kofstore: unknown command \"%s\"\n\n", name);
    usage(stderr);
    return 2;
}
