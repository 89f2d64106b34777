/*
 * Syslog: one message to one row (RFC 5424, RFC 3164 and what is sent under its name, CEF, @cee),
 * and the cutting of a byte stream into messages (line ends or octet counts, RFC 6587).
 */
#ifndef KS_API_LOGS_SYSLOG_H
#define KS_API_LOGS_SYSLOG_H

#include "api/logs/log_ingest.h"

struct ks_syslog_opts {
    bool local_time; /* arrival counts, not what the message says */
    bool utc;        /* RFC 3164 times are UTC, else in the machine's zone */
    bool remote_ip;  /* field remote_ip */
    struct ks_slice ip;
};

/* Adds the message as a row. Whatever the text, a row comes out of it (but for empty text). */
KS_NODISCARD ks_err ks_syslog_message(struct ks_log_ingest *in, struct ks_slice text,
                                      const struct ks_syslog_opts *opts);

/* Takes messages off a stream. */
struct ks_syslog_framer {
    size_t max_bytes;    /* of a message */
    uint64_t skip_bytes; /* of a message that is too long and counted */
    bool skip_line;      /* to the next line end */
    size_t kept;         /* the caller's: bytes left over */
    uint64_t long_count; /* messages skipped so far */
};
/*
 * The next whole message in *data, which moves behind it; empty messages are stepped over. False:
 * more bytes are needed; what is left in *data must come again in front of them.
 */
bool ks_syslog_next(struct ks_syslog_framer *f, struct ks_slice *data, struct ks_slice *ret);
/* The same for a datagram: one message, or several that begin on new lines with <. */
bool ks_syslog_next_datagram(struct ks_slice *data, struct ks_slice *ret);

#endif
