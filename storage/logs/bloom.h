/*
 * Which tokens a column may contain: a split-block Bloom filter (blocks of 256 bits, one bit in
 * each of 8 words per token, as Parquet has them), 10 bits a token, about 1 % false answers.
 */
#ifndef KS_STORAGE_LOGS_BLOOM_H
#define KS_STORAGE_LOGS_BLOOM_H

#include "base/buf.h"
#include "base/err.h"

/* Distinct hashes on their way into a filter. */
struct ks_hash_set {
    uint64_t *slots; /* 0 is empty; a hash of 0 is stored as 1 */
    size_t count, cap;
};
void ks_hash_set_reset(struct ks_hash_set *s);
void ks_hash_set_done(struct ks_hash_set *s);
KS_NODISCARD ks_err ks_hash_set_add(struct ks_hash_set *s, uint64_t hash);

size_t ks_bloom_bytes(size_t token_count);
/* Appends the filter of the set; nothing for an empty set. */
void ks_bloom_build(const struct ks_hash_set *s, struct ks_buf *out);
/* False: the token is not in. bytes of any content are safe; an empty or odd filter says true. */
bool ks_bloom_may_have(struct ks_slice bytes, uint64_t hash);

#endif
