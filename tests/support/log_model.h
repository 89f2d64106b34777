/*
 * A log store under test and what is known of it: rows whose whole content follows from their
 * number, what became of each, and a check of every row the store shows. For tests of crashes and
 * faults.
 */
#ifndef KS_TESTS_LOG_MODEL_H
#define KS_TESTS_LOG_MODEL_H

#include "engine/engine.h"
#include "engine/logs/log_store.h"
#include "sys/simdisk.h"

enum { LM_ROWS = 20000, LM_STREAMS = 7, LM_FIELDS = 6, LM_GROUPS = 10 };
#define LM_NOW_MS 1790000000000ll

enum { LM_UNTRIED, LM_TRIED, LM_ACKED, LM_GONE };

struct log_model {
    uint8_t state[LM_ROWS];
    uint8_t seen[LM_ROWS];
    bool delete_unsure[LM_GROUPS];
    uint32_t next;
    /* Tells what is wrong and does not return. */
    void (*fail)(const char *what, uint32_t row);
};

struct log_world {
    struct ks_engine *e; /* NULL: closed */
    struct ks_logs *logs;
    struct ks_log_store *s;
};

/* A store named "logs" with one rule: rows of {app="s6"} live one day. */
ks_err log_world_open(struct ks_simdisk *d, struct log_world *w);
ks_err log_world_close(struct log_world *w);

/* Writes 1 to `most` rows. */
ks_err log_model_write(struct log_model *m, struct log_world *w, uint64_t *rng, uint32_t most);
/* Deletes a group of rows: those whose number modulo LM_GROUPS is the group. */
ks_err log_model_delete(struct log_model *m, struct log_world *w, uint32_t group);
/*
 * Every acknowledged row is there once, byte for byte, no row that was never written, none twice,
 * none that was deleted. Afterwards what was found is what has to be there. An error of the store
 * is returned, and nothing was concluded.
 */
ks_err log_model_check(struct log_model *m, struct log_world *w);

#endif
