/*
 * The open chunk: samples appended one by one to a bit stream that the caller stores.
 *
 * Time is coded as delta of delta, values as XOR against the previous one (Pelkonen et al.,
 * "Gorilla", VLDB 2015), with tokens of our own (docs/format/chunk.md, "Open chunk"). While (delta,
 * value) repeat, the chunk is in run mode: only a counter moves and no byte is written. Values are
 * 64 raw bits here: NaN payloads and -0 come back as they went in.
 *
 * Invariants: bits above bit_len in the last used byte are zero; bytes behind it are unspecified.
 * The state and (bit_len + 7) / 8 bytes are the whole chunk: copy both to move it to a larger slab.
 * Threads: the state belongs to one thread at a time (the shard's mutex); decoding only reads.
 */
#ifndef KS_STORAGE_CODEC_GORILLA_H
#define KS_STORAGE_CODEC_GORILLA_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

#define KS_GORILLA_COUNT_MAX   UINT16_MAX
#define KS_GORILLA_APPEND_MAX  24 /* no append needs more free bytes than this */
#define KS_GORILLA_STATE_BYTES 34 /* of ks_gorilla_save() */

#define KS_GORILLA_UNSURE 255

/* All zero is the empty chunk. */
struct ks_gorilla {
    int64_t last_ts;     /* ms */
    uint64_t last_bits;  /* the last value */
    uint64_t prev_delta; /* last_ts minus the one before, modulo 2^64; 0 while count < 2 */
    uint32_t bit_len;    /* bits written */
    uint16_t count;      /* samples, those of the pending run included */
    uint16_t run; /* samples of the pending run: same delta and value as the last written one */
    uint8_t lead, sig; /* the XOR window: leading zeros, significant bits; sig 0: none yet */
    uint8_t mark_due4; /* of whoever keeps places to begin decoding at: not touched here but by the
                          first append, which clears it */
    /* No sample behind the 4 fell4-th is below the one before it; KS_GORILLA_UNSURE: one may be, or
     * there is a NaN behind the first, or one fell below zero: no counter, and how its falls are
     * made good depends on all samples before. Not saved: ks_gorilla_note_falls() */
    uint8_t fell4;
    uint32_t seen; /* of whoever wants to know when something came last: not touched here but by the
                      first append, which clears it; not saved */
};

static inline size_t ks_gorilla_bytes(const struct ks_gorilla *g)
{
    return ((size_t)g->bit_len + 7) / 8;
}

/* The time of the first sample, of a chunk that has one. */
static inline int64_t ks_gorilla_first_ts(const uint8_t *buf)
{
    return (int64_t)ks_le64(buf);
}

/*
 * Appends one sample. False, and nothing changed, when buf has no room for it (move the chunk to a
 * larger slab and retry; KS_GORILLA_APPEND_MAX free bytes always do) or when the chunk holds
 * KS_GORILLA_COUNT_MAX samples (seal it). ts must be greater than last_ts: the caller's duty. Any
 * int64 and any 64 value bits fit.
 */
bool ks_gorilla_append(struct ks_gorilla *g, uint8_t *buf, size_t cap_bytes, int64_t ts,
                       uint64_t value_bits);

/*
 * Decodes all samples of a chunk of our own memory; both arrays have room for g->count. Returns
 * g->count. Reads ks_gorilla_bytes(g) bytes of buf and none more.
 */
size_t ks_gorilla_decode(const struct ks_gorilla *g, const uint8_t *buf, int64_t *ret_ts,
                         double *ret_values);

/*
 * A place to begin decoding at: behind `count` samples, the last of which is known. The tokens of
 * those that follow begin at bit pos of the chunk.
 */
struct ks_gorilla_place {
    uint64_t ts, bits, delta;
    uint32_t pos;
    uint16_t count;
    uint8_t lead, sig;
};
/* Behind the first sample, of a chunk that has one. */
struct ks_gorilla_place ks_gorilla_begin(const uint8_t *buf);
/* Behind the last one, of a chunk without a pending run. */
struct ks_gorilla_place ks_gorilla_end(const struct ks_gorilla *g);
/* Moves a place of the whole chunk on by at least n samples, not into the pending run. Reads like
 * the below. */
void ks_gorilla_pass(const struct ks_gorilla *g, const uint8_t *buf, size_t n,
                     struct ks_gorilla_place *place);

/*
 * The samples of [min_ms, max_ms] from a place on, its last known one included; what lies before is
 * passed over, what lies behind is not looked at. `bytes` are the chunk's from byte place->pos / 8
 * on, and KS_GORILLA_SLACK bytes behind them can be read. The arrays have room for all samples from
 * the place on (what is passed over may be written first). Returns how many there are.
 */
#define KS_GORILLA_SLACK 16
size_t ks_gorilla_decode_range(const struct ks_gorilla *g, const struct ks_gorilla_place *place,
                               const uint8_t *bytes, int64_t min_ms, int64_t max_ms,
                               int64_t *ret_ts, double *ret_values);

/*
 * ks_gorilla_decode for bytes of a file. `bytes` is exactly the chunk's ks_gorilla_bytes(); reads
 * no byte behind it. Beyond well-formed tokens, timestamps must ascend and the end of the stream
 * must agree with the state, so an accepted chunk can be appended to. Errors: KS_ECORRUPT (the
 * arrays' content is then unspecified).
 */
KS_NODISCARD ks_err ks_gorilla_decode_checked(const struct ks_gorilla *g, struct ks_slice bytes,
                                              int64_t *ret_ts, double *ret_values);

/* Sets fell4 by the chunk's decoded values. */
void ks_gorilla_note_falls(struct ks_gorilla *g, const double *values);

/* The state as KS_GORILLA_STATE_BYTES little-endian bytes, for checkpoints. */
void ks_gorilla_save(const struct ks_gorilla *g, uint8_t *out);
/* The state back from the first KS_GORILLA_STATE_BYTES of `bytes`. KS_ECORRUPT when no chunk can
 * have such a state. */
KS_NODISCARD ks_err ks_gorilla_load(struct ks_slice bytes, struct ks_gorilla *ret);

#endif
