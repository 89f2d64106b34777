/*
 * Further signals (logs, traces) beside the engine's metrics: each keeps its own files, but all
 * write to the engine's one log and are recovered, flushed and bounded by it.
 *
 * Life: load (what is on disk) → replay of the log's records of its types, in LSN order, from the
 * lowest LSN any signal asked for → start (the log takes appends; ks_engine_wal) → tick, merge,
 * flush → ks_engine_close flushes once more and closes the log; then the owner frees what it owns.
 *
 * A signal says by needs() which records a restart would have to replay: nothing at or above it is
 * let go. It is a durable statement: the LSN must stand in the signal's own files already. A signal
 * that is loaded for the first time needs nothing (KS_LSN_NONE) and in start() stores
 * ks_wal_next_lsn() as its first cut, before it appends anything. A flush moves the cut forward
 * also when there was nothing to write: or the log of the others could never be recycled.
 */
#ifndef KS_ENGINE_SIGNAL_H
#define KS_ENGINE_SIGNAL_H

#include "storage/cache.h"
#include "wal/wal.h"

struct ks_engine;

#define KS_LSN_NONE UINT64_MAX
enum { KS_SIGNALS_MAX = 8 };

/* Types of the log's records, by signal. Metrics have 1..15 (engine/records.h). */
enum {
    KS_REC_LOGS_FIRST = 16,
    KS_REC_LOGS_LAST = 31,
    KS_REC_TRACES_FIRST = 32,
    KS_REC_TRACES_LAST = 47
};

struct ks_signal {
    const char *name; /* static; for messages */
    uint8_t type_first, type_last;
    void *self;
    /* Opening thread. ret_from: the first LSN to replay, KS_LSN_NONE: none. */
    ks_err (*load)(void *self, struct ks_engine *e, ks_lsn *ret_from);
    /* Opening thread, LSN order; also records below ret_from when another signal asked for them. */
    ks_err (*replay)(void *self, const struct ks_wal_record *rec);
    ks_err (*start)(void *self);
    ks_lsn (*needs)(void *self); /* any thread */
    ks_err (*flush)(void *self); /* any thread; returns when the new cut is durable */
    ks_err (*tick)(void *self);  /* keeper thread, about once a second: retention, flush when due.
                                    May be NULL */
    ks_err (*merge)(void *self); /* merger thread, one bounded step. May be NULL */
    /* Adds hard links of the signal's files to a snapshot, dir being its root. After flush. May be
     * NULL */
    ks_err (*snapshot)(void *self, const char *dir);
    /* Ends threads of the signal's own: called once when the engine closes, before the last flush,
     * also when opening failed after start(). May be NULL */
    void (*stop)(void *self);
    /* Lets go of all that came from the engine (parts read through its cache): called once, the
     * last of all, also when opening failed after load(). May be NULL */
    void (*close)(void *self);
};

/* What a signal uses of the engine. The log is there from start() on. */
struct ks_wal *ks_engine_wal(struct ks_engine *e);
struct ks_vfs *ks_engine_vfs(struct ks_engine *e);
struct ks_cache *ks_engine_cache(struct ks_engine *e);
const char *ks_engine_dir(struct ks_engine *e);
bool ks_engine_read_only(
    struct ks_engine *e); /* free disk is low: refuse writes with KS_EREADONLY */
bool ks_engine_has_background(struct ks_engine *e); /* false: tests; nothing may run by itself */
bool ks_engine_stopping(struct ks_engine *e);       /* long jobs give up with KS_ECANCELED */

#endif
