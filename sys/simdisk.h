/*
 * A simulated disk for tests: a ks_vfs in memory that forgets what was not synced, tears what was
 * being written, and fails on demand. Equal seeds give equal outcomes.
 *
 * What it promises is what POSIX promises and no more:
 *  - written data stays after a crash only if ks_sync was called on the file, or it was opened with
 * DSYNC; otherwise each 4 KiB block written since the last sync is kept or dropped independently,
 * and blocks of the last write may be torn between any two 512-byte sectors; the file's size may be
 * the old, the new or one between;
 *  - creating, renaming, linking and unlinking stay only after sync_dir on the folder; otherwise a
 * random prefix of these operations is kept. mkdir is durable at once, as ks_vfs_posix does it;
 *  - a sync that fails loses what it should have written: a later sync that succeeds does not bring
 * it back (as Linux);
 *  - a failed write may have written its first half.
 *
 * Blocks are shared and copied on write, so crash states and big files of zeros are cheap. Typical
 * crash test:
 *
 *     for (uint64_t n = 1;; n++) {
 *         disk = new; ks_simdisk_stop_at(disk, n); run the workload, noting what was acknowledged;
 *         bool done = !ks_simdisk_stopped(disk);
 *         ks_simdisk_crash(disk, seed, &after); ks_simdisk_free(disk);
 *         open the store on `after`, check that everything acknowledged is there and nothing is
 * invented; if (done) break;
 *     }
 *
 * Thread-safe (one mutex per disk). Files must be closed before ks_simdisk_free.
 */
#ifndef KS_SYS_SIMDISK_H
#define KS_SYS_SIMDISK_H

#include "sys/vfs.h"

struct ks_simdisk;

/* Kinds of calls, as a mask. */
enum ks_sim_kind {
    KS_SIM_OPEN = 1,    /* open of what exists, lock */
    KS_SIM_READ = 2,    /* read_at, size, space */
    KS_SIM_WRITE = 4,   /* write_at, truncate */
    KS_SIM_SYNC = 8,    /* sync, sync_dir */
    KS_SIM_RENAME = 16, /* rename, link */
    KS_SIM_UNLINK = 32, /* unlink, rmdir */
    KS_SIM_MKDIR = 64,
    KS_SIM_LIST = 128,
    KS_SIM_CREATE = 256, /* open that creates or truncates */
    KS_SIM_ALL = 511,
    KS_SIM_CHANGES =
        KS_SIM_WRITE | KS_SIM_SYNC | KS_SIM_RENAME | KS_SIM_UNLINK | KS_SIM_MKDIR | KS_SIM_CREATE,
};

KS_NODISCARD ks_err ks_simdisk_new(struct ks_simdisk **ret);
void ks_simdisk_free(struct ks_simdisk *d);
struct ks_vfs *ks_simdisk_vfs(struct ks_simdisk *d);

/* A new disk in a state that power loss now could leave. d itself stays as it is (close its files,
 * then free it). */
KS_NODISCARD ks_err ks_simdisk_crash(struct ks_simdisk *d, uint64_t seed, struct ks_simdisk **ret);

/*
 * The power goes at the n-th call of kind KS_SIM_CHANGES from now (1 = the next): that call may
 * have happened, wholly or torn, and fails with KS_EIO, as does every call after it. 0 turns it
 * off.
 */
void ks_simdisk_stop_at(struct ks_simdisk *d, uint64_t n);
bool ks_simdisk_stopped(struct ks_simdisk *d);

/*
 * The n-th call of the kinds in mask from now fails with err (KS_EIO, KS_ENOSPC …), and with
 * `sticky` all after it. A write stores its first half before it fails. n = 0 turns it off.
 */
void ks_simdisk_fail(struct ks_simdisk *d, unsigned mask, uint64_t n, ks_err err, bool sticky);
/* Whether an armed failure was delivered since it was armed. */
bool ks_simdisk_fail_hit(struct ks_simdisk *d);
/* Calls of these kinds so far. */
uint64_t ks_simdisk_calls(struct ks_simdisk *d, unsigned mask);

/* Files may hold at most this many bytes in whole blocks, else KS_ENOSPC; 0 = no limit. Holes are
 * free. */
void ks_simdisk_limit(struct ks_simdisk *d, uint64_t bytes);
uint64_t ks_simdisk_used(struct ks_simdisk *d);
/* Opens with KS_OPEN_DIRECT answer KS_EUNSUPPORTED. (When allowed, misaligned calls fail with
 * KS_EINVAL.) */
void ks_simdisk_refuse_direct(struct ks_simdisk *d, bool refuse);

/* Damage: changes bytes as the medium would, durable at once and unseen by any write path; never
 * extends the file. */
KS_NODISCARD ks_err ks_simdisk_poke(struct ks_simdisk *d, const char *path, uint64_t off,
                                    const void *bytes, size_t len);
KS_NODISCARD ks_err ks_simdisk_flip(struct ks_simdisk *d, const char *path, uint64_t bit);
/* The file ends at size from now on, durable. */
KS_NODISCARD ks_err ks_simdisk_cut(struct ks_simdisk *d, const char *path, uint64_t size);

#endif
