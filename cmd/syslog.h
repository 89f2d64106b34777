/* The syslog listeners as the flags name them. */
#ifndef KS_CMD_SYSLOG_H
#define KS_CMD_SYSLOG_H

#include "base/arena.h"
#include "base/err.h"

struct ks_app;
struct ks_syslog_server;

/* Starts those of -syslog.listenAddr.*; *ret is NULL when there are none. The arena must outlive
 * the server. */
KS_NODISCARD ks_err ks_cmd_syslog_start(struct ks_app *app, struct ks_arena *arena,
                                        struct ks_syslog_server **ret);

#endif
