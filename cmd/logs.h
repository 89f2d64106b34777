/* Log stores and their listeners as the flags name them. */
#ifndef KS_CMD_LOGS_H
#define KS_CMD_LOGS_H

#include "base/arena.h"
#include "base/err.h"

struct ks_logs;
struct ks_tls;

/* The stores of -logs.*; "logs" is always there. */
KS_NODISCARD ks_err ks_cmd_logs_new(struct ks_arena *arena, struct ks_logs **ret);

/* All addresses to listen on: -httpListenAddr without a role, then -logs.listenAddr with theirs. */
struct ks_cmd_listeners {
    const char **addrs, **roles;
    struct ks_tls **tls; /* NULL: plain */
    size_t count;
};
KS_NODISCARD ks_err ks_cmd_listeners(struct ks_arena *arena, struct ks_cmd_listeners *ret);

#endif
