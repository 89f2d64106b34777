/* Certificates of listeners as the flags name them. Used at start only; one thread. */
#ifndef KS_CMD_TLS_H
#define KS_CMD_TLS_H

#include "base/err.h"

struct ks_tls;

/* Of listener `at` by -<prefix>tls, -<prefix>tlsCertFile …; *ret is NULL when it is to be plain.
 * Lives until ks_cmd_tls_done(). */
KS_NODISCARD ks_err ks_cmd_tls(const char *prefix, size_t at, struct ks_tls **ret);
void ks_cmd_tls_done(void);

#endif
