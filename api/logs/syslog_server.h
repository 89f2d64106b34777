/*
 * Listeners for syslog: TCP, UDP and unix sockets, a thread each. What arrives is decoded and
 * written in rounds: all that is readable now, then one write to the log. Only then is more read,
 * so a store that does not keep up slows TCP senders down; datagrams are lost by the kernel, which
 * counts them. Buffers and connections have limits.
 */
#ifndef KS_API_LOGS_SYSLOG_SERVER_H
#define KS_API_LOGS_SYSLOG_SERVER_H

#include "api/compress.h"
#include "api/logs/syslog.h"

struct ks_app;
struct ks_syslog_server;
struct ks_tls;

enum ks_syslog_kind { KS_SYSLOG_TCP, KS_SYSLOG_UDP, KS_SYSLOG_UNIX, KS_SYSLOG_UNIX_DGRAM };
struct ks_syslog_listener {
    enum ks_syslog_kind kind;
    const char *addr; /* "host:port", ":514"; a path */
    const char *store;
    struct ks_log_params params; /* tenant, stream, ignored, colours, extra fields */
    struct ks_syslog_opts opts;  /* ip is set per message */
    enum ks_encoding encoding;   /* of datagrams */
    struct ks_tls *tls;          /* of TCP; NULL: plain */
};

/* The list's strings must outlive the server. */
KS_NODISCARD ks_err ks_syslog_start(struct ks_app *app, const struct ks_syslog_listener *list,
                                    size_t count, struct ks_syslog_server **ret);
/* What has been read by now is written; the connections are closed. NULL is fine. */
void ks_syslog_stop(struct ks_syslog_server *s);
/* "127.0.0.1:39641" as bound. */
const char *ks_syslog_addr(const struct ks_syslog_server *s, size_t i);

#endif
