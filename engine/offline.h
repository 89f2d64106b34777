/*
 * Work on a data folder that no engine has open: checking parts, saving what is readable of damaged
 * ones, making a manifest anew. For the offline tool and for tests. Checking changes nothing and is
 * safe beside a running server; repairing takes the folder's lock. One thread.
 */
#ifndef KS_ENGINE_OFFLINE_H
#define KS_ENGINE_OFFLINE_H

#include "base/err.h"
#include "sys/vfs.h"

#include <roaring/roaring.h>
#include <stdint.h>

/* Hears of everything found or done; path names the file. */
typedef void (*ks_offline_fn)(void *arg, const char *path, const char *what);

struct ks_offline_counts {
    uint64_t series, chunks, samples;
    uint64_t problems; /* each told to the callback */
};

/*
 * Checks one part file: every page's hash, the order of the series, every chunk decoded and
 * compared with what the directory says of it (range, count, order of time, aggregates, content
 * hash). Files that are no metric parts have their pages checked.
 *
 * Errors    KS_ECORRUPT there were problems | KS_EIO, KS_ENOTFOUND, KS_ENOMEM, KS_EUNSUPPORTED.
 */
KS_NODISCARD ks_err ks_offline_verify(struct ks_vfs *vfs, const char *path, ks_offline_fn fn,
                                      void *arg, struct ks_offline_counts *ret);

/*
 * Copies every series and chunk of `from`, but the rows in deleted (may be NULL), that can be read
 * and holds what its directory says into a new part `to` (whose folder exists). ret counts what was
 * saved; problems what was not. KS_ECORRUPT: nothing could be saved (no file is made).
 */
KS_NODISCARD ks_err ks_offline_salvage(struct ks_vfs *vfs, const char *from, const char *to,
                                       const roaring_bitmap_t *deleted, ks_offline_fn fn, void *arg,
                                       struct ks_offline_counts *ret);

struct ks_repair_result {
    uint64_t parts_good, parts_salvaged,
        parts_lost; /* lost: nothing of it was readable; kept in quarantine/ as <id>.part.lost */
    uint64_t samples_salvaged, problems;
    bool manifest_rebuilt;
};

/*
 * Brings a data folder into a state the engine opens: checks every part, replaces damaged ones (in
 * parts/ and quarantine/) by what can be saved, and when MANIFEST is missing or damaged makes one
 * from MANIFEST.prev and the files that are there. Originals of damaged parts go to quarantine/
 * (<id>.part.salvaged). Running it again changes nothing more.
 *
 * shards    shard count when no manifest tells it; 0: unknown.
 * Errors    KS_EBUSY an engine has the folder | KS_EINVAL no manifest tells the shard count | I/O
 * errors: nothing is published then.
 */
KS_NODISCARD ks_err ks_offline_repair(struct ks_vfs *vfs, const char *dir, uint32_t shards,
                                      ks_offline_fn fn, void *arg, struct ks_repair_result *ret);

#endif
