/*
 * bench_load: makes remote write requests ahead of time, sends them, and asks queries; prints what
 * it measured. The server's CPU is read from its process clock, so what this program itself burns
 * does not count.
 *
 * The data file is a run of records: a header, then a snappy-compressed WriteRequest, padded to 8
 * bytes. Records of a round follow each other.
 */
#ifndef KS_BENCH_LOAD_LOAD_H
#define KS_BENCH_LOAD_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct record {
    uint32_t bytes; /* of the body that follows */
    uint32_t samples;
    uint32_t round;
    uint32_t late; /* 1: samples held back for one round */
};

int load_gen(int argc, char **argv);
int load_genlogs(int argc, char **argv); /* bodies are plain JSON lines, samples are lines */
int load_send(int argc, char **argv);
int load_query(int argc, char **argv);
int load_tiny(int argc, char **argv);
int load_parts(int argc, char **argv);
int load_traces(int argc, char **argv);

/* Value of --name=… in argv, or the default. */
const char *arg_str(int argc, char **argv, const char *name, const char *or_else);
double arg_num(int argc, char **argv, const char *name, double or_else);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* --- HTTP over one kept connection --- */

struct conn {
    const char *host;
    int port, fd;
    struct ks_buf in; /* the answer: header, then body as sent or, if chunked, put together */
    size_t body_at;
};

void conn_init(struct conn *c, const char *host, int port);
void conn_done(struct conn *c);
/* Sends the request and reads the whole answer; the status, or 0 when the connection broke (it is
 * opened anew next time). */
int conn_call(struct conn *c, const char *head, size_t head_len, const void *body, size_t body_len);
struct ks_slice conn_body(const struct conn *c);

/* --- clocks --- */

double now_us(void);
/* CPU time of a process so far in microseconds, 0 if it is gone. */
double cpu_us(int pid);

/* --- what the machine itself withholds: core_gaps.c --- */

/* Starts a thread per core that notes how late it wakes; the report is one line of JSON. */
void core_gaps_start(void);
void core_gaps_report(void);
/* After the report: how much of a time (unix, microseconds) one core was withheld in gaps of more
 * than a millisecond; of the core with the most. */
double core_gaps_within(double from_us, double to_us);

/* Sorted in place; share 0..1. */
double percentile(double *x, size_t n, double share);

#endif
