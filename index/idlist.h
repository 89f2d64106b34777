/*
 * Lists of ids written as what changed since the list before: neighbours in an index share most of
 * their label pairs. Own memory only, never from disk: malformed bytes are a bug and end the
 * process. Each step is a varint v << 2 | op.
 */
#ifndef KS_INDEX_IDLIST_H
#define KS_INDEX_IDLIST_H

#include "base/buf.h"
#include "base/bytes.h"

#define KSI_ID_MAX ((1u << 30) - 1)

/* Appends `cur` relative to `prev` (both may be empty). Errors are sticky in out. */
void ksi_idlist_encode(const uint32_t *prev, size_t prev_count, const uint32_t *cur,
                       size_t cur_count, struct ks_buf *out);
/* Reads one list of `count` ids into cur, which does not overlap prev. */
void ksi_idlist_decode(struct ks_reader *r, const uint32_t *prev, size_t prev_count, uint32_t *cur,
                       size_t count);

#endif
