/*
 * TLS for listeners: a certificate and key that are read again when their files change, and which
 * versions and ciphers are taken. The only place that knows GnuTLS (the library libmicrohttpd is
 * built with): HTTP hands it the descriptor's half by libmicrohttpd, stream listeners use
 * ks_tls_conn on their own sockets.
 *
 * A ks_tls belongs to its listener and outlives its connections. Any thread may use it; a
 * connection has one thread.
 */
#ifndef KS_API_TLS_H
#define KS_API_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct ks_tls;
struct ks_tls_conn;

struct ks_tls_opts {
    const char *cert_file, *key_file; /* PEM; the chain begins with the server's certificate */
    const char *min_version;          /* TLS10 … TLS13; NULL or "" = TLS12 */
    /* IANA names or numbers of suites before TLS 1.3; none: the library's choice. Key exchange,
     * cipher and hash are allowed each for itself: what they combine to is allowed too. */
    const char *const *suites;
    size_t suite_count;
};

/* Reads both files: KS_EINVAL names the one that does not do. */
KS_NODISCARD ks_err ks_tls_new(const struct ks_tls_opts *opts, struct ks_tls **ret);
void ks_tls_free(struct ks_tls *t);

/* --- a connection on a non-blocking socket, which stays the caller's --- */
KS_NODISCARD ks_err ks_tls_conn_new(struct ks_tls *t, int fd, struct ks_tls_conn **ret);
void ks_tls_conn_free(struct ks_tls_conn *c);
/*
 * As read(2) of what the client said: 0 at the end (also when it just went), -1 with errno EAGAIN
 * when there is nothing yet, EPROTO when it does not speak TLS as it should; the error text says
 * how. *ret_ended is set when nothing follows, maybe together with the last bytes. The handshake
 * happens in here. With room for a whole record nothing stays behind that the socket would not
 * announce.
 */
enum { KS_TLS_RECORD_BYTES = 16 << 10 };
ssize_t ks_tls_read(struct ks_tls_conn *c, void *buf, size_t room, bool *ret_ended);
/* Whether the next step waits for room to send instead of bytes to read. */
bool ks_tls_wants_write(const struct ks_tls_conn *c);

/* --- for libmicrohttpd --- */
/* Its callback for certificates has no argument: there are this many. KS_ELIMIT beyond. */
enum { KS_TLS_HTTP_MAX = 16 };
KS_NODISCARD ks_err ks_tls_http_callback(struct ks_tls *t, void **ret);
const char *ks_tls_priorities(const struct ks_tls *t);

#endif
