/* kofstore wal: the write-ahead log looked into without a server. Reads only. */
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/tool.h"
#include "wal/inspect.h"

static const char usage[] =
    "usage: kofstore wal COMMAND\n\n"
    "  ls DIR       segments of a data folder's log\n"
    "  verify DIR   read every frame; exit status 1 when durable frames are damaged\n";

struct show {
    bool list;
    uint64_t segments, frames;
};

static void print_end(void *arg, const struct ks_wal_segment_info *info,
                      const struct ks_wal_segment_end *end)
{
    struct show *s = arg;
    s->segments++;
    s->frames += end->frames;
    if (!s->list && end->state == KS_WAL_CLEAN)
        return;
    printf("%s\tstate=%s first_lsn=%llu end_lsn=%llu commits=%llu frames=%llu payload_bytes=%llu "
           "file_bytes=%llu%s%s%s\n",
           info->path, ks_wal_state_name(end->state), (unsigned long long)info->first_lsn,
           (unsigned long long)end->end_lsn, (unsigned long long)end->commits,
           (unsigned long long)end->frames, (unsigned long long)end->payload_bytes,
           (unsigned long long)info->file_bytes, info->damaged_copy ? " set_aside" : "",
           end->why ? " why=" : "", end->why ? end->why : "");
}

int ks_cmd_wal(int argc, char **argv)
{
    const char *words[2];
    char path[4096];
    size_t n;
    enum ks_wal_state state = KS_WAL_CLEAN;
    ks_err err = ks_tool_args(argc, argv, NULL, 0, words, 2, &n);
    if (err != KS_OK)
        return ks_tool_complain(err);
    struct show s = {.list = n == 2 && strcmp(words[0], "ls") == 0};
    if (n != 2 || (!s.list && strcmp(words[0], "verify") != 0)) {
        fputs(usage, n ? stderr : stdout);
        return n ? 2 : 0;
    }
    struct ks_wal_inspector in = {.arg = &s, .segment_end = print_end};
    snprintf(path, sizeof path, "%s/wal", words[1]);
    err = ks_wal_inspect(ks_vfs_posix(), path, &in, &state);
    if (err != KS_OK)
        return ks_tool_complain(err);
    printf("%llu segments, %llu frames: %s\n", (unsigned long long)s.segments,
           (unsigned long long)s.frames, ks_wal_state_name(state));
    return state == KS_WAL_DAMAGED || state == KS_WAL_UNREADABLE;
}
