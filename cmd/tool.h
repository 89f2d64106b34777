/* What the offline commands share: their little command line and how they complain. One thread. */
#ifndef KS_CMD_TOOL_H
#define KS_CMD_TOOL_H

#include "base/err.h"

#include <stddef.h>

/* An option -name=value or -name value (also with two dashes); value stays NULL when it is not
 * given. */
struct ks_tool_opt {
    const char *name;
    const char *value;
};

/* Splits argv into options (into opts) and at most cap other words. KS_EINVAL names what is
 * unknown. */
KS_NODISCARD ks_err ks_tool_args(int argc, char **argv, struct ks_tool_opt *opts, size_t opt_count,
                                 const char **words, size_t cap, size_t *ret_count);
/* Prints this thread's error as the program's and gives the exit status: 2 for a wrong command
 * line, else 1. */
int ks_tool_complain(ks_err err);

#endif
