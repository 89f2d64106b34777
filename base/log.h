/*
 * The program's log: one logfmt (or JSON) line per event on stderr. Only engine jobs, api and cmd
 * log, once per event. ks_log_limited() lets at most one line per `every_ms` and call site through
 * and says how many were held back.
 */
#ifndef KS_BASE_LOG_H
#define KS_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum ks_log_level { KS_LOG_DEBUG, KS_LOG_INFO, KS_LOG_WARN, KS_LOG_ERROR };

void ks_log_set_level(enum ks_log_level min);
void ks_log_set_json(bool json);
/* Lines written so far at a level: vm_log_messages_total. */
uint64_t ks_log_count(enum ks_log_level level);

/* area: the folder that speaks ("wal"). The format makes the message; put key=value pairs at its
 * end. */
void ks_log(enum ks_log_level level, const char *area, const char *fmt, ...) KS_PRINTF(3, 4);

struct ks_log_gate {
    _Atomic int64_t next_ms;
    _Atomic uint64_t held;
};
bool ks_log_gate_pass(struct ks_log_gate *g, int64_t every_ms, uint64_t *ret_held);

#define ks_log_limited(every_ms, level, area, fmt, ...)                                            \
    do {                                                                                           \
        static struct ks_log_gate gate_;                                                           \
        uint64_t held_;                                                                            \
        if (ks_log_gate_pass(&gate_, (every_ms), &held_))                                          \
            ks_log((level), (area), fmt " suppressed=%llu", ##__VA_ARGS__,                         \
                   (unsigned long long)held_);                                                     \
    } while (0)

#endif
