/* kofstore block for log parts. One thread. */
#ifndef KS_CMD_BLOCK_LOGS_H
#define KS_CMD_BLOCK_LOGS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>

bool ks_block_is_log(const char *path);
/* What ls says of a part between its level and its marks. */
KS_NODISCARD ks_err ks_block_logs_line(const char *path, int level);
KS_NODISCARD ks_err ks_block_logs_info(const char *path);
/*
 * Rows as JSON lines, as queries answer them and /insert/jsonline?_stream_fields=… reads them, with
 * the tenant where there is one. selector NULL: every stream; it is one of labels. Damaged blocks
 * and columns are left out and named on stderr; KS_ECORRUPT at the end then.
 */
KS_NODISCARD ks_err ks_block_logs_export(const char *path, const char *selector, const char *format,
                                         FILE *out);

#endif
