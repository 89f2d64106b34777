/* Writing the samples of one part file as text. One thread. */
#ifndef KS_CMD_BLOCK_EXPORT_H
#define KS_CMD_BLOCK_EXPORT_H

#include "base/err.h"

#include <stdio.h>

/*
 * format    "jsonl" (/api/v1/import reads it), "prometheus" or "csv" (account,project,series,unix
 * ms,value). selector  NULL: every series. Damaged series and chunks are left out and named on
 * stderr; KS_ECORRUPT at the end then.
 */
KS_NODISCARD ks_err ks_block_export(const char *path, const char *selector, const char *format,
                                    FILE *out);

#endif
