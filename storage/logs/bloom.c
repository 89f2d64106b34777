#include "storage/logs/bloom.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

enum { BLOCK_BYTES = 32, BITS_PER_TOKEN = 10 };

static const uint32_t salt[8] = {0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du,
                                 0x705495c7u, 0x2df1424bu, 0x9efc4947u, 0x5c6bfb31u};

void ks_hash_set_reset(struct ks_hash_set *s)
{
    enum { KEEP = 1 << 16 };
    if (s->cap > KEEP && s->count * 16 < s->cap)
        ks_hash_set_done(s);
    if (s->count)
        memset(s->slots, 0, s->cap * sizeof *s->slots);
    s->count = 0;
}

void ks_hash_set_done(struct ks_hash_set *s)
{
    ks_free(s->slots);
    *s = (struct ks_hash_set){0};
}

static void put(uint64_t *slots, size_t cap, uint64_t hash, size_t *count)
{
    size_t at = (hash >> 20) & (cap - 1);
    for (; slots[at]; at = (at + 1) & (cap - 1))
        if (slots[at] == hash)
            return;
    slots[at] = hash;
    ++*count;
}

ks_err ks_hash_set_add(struct ks_hash_set *s, uint64_t hash)
{
    if (s->count * 2 >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256, n = 0;
        uint64_t *slots = ks_zalloc_array(cap, sizeof *slots);
        if (!slots)
            return KS_ENOMEM;
        for (size_t i = 0; i < s->cap; i++)
            if (s->slots[i])
                put(slots, cap, s->slots[i], &n);
        ks_free(s->slots);
        s->slots = slots;
        s->cap = cap;
    }
    put(s->slots, s->cap, hash ? hash : 1, &s->count);
    return KS_OK;
}

size_t ks_bloom_bytes(size_t tokens)
{
    return (tokens * BITS_PER_TOKEN + BLOCK_BYTES * 8 - 1) / (BLOCK_BYTES * 8) * BLOCK_BYTES;
}

static size_t block_of(uint64_t hash, size_t blocks)
{
    return (size_t)(((hash >> 32) * (uint64_t)blocks) >> 32);
}

void ks_bloom_build(const struct ks_hash_set *s, struct ks_buf *out)
{
    size_t bytes = ks_bloom_bytes(s->count), blocks = bytes / BLOCK_BYTES;
    if (!bytes || !ks_buf_reserve(out, bytes))
        return;
    char *base = out->ptr + out->len;
    memset(base, 0, bytes);
    for (size_t i = 0; i < s->cap; i++) {
        uint64_t h = s->slots[i];
        if (!h)
            continue;
        char *block = base + block_of(h, blocks) * BLOCK_BYTES;
        for (int k = 0; k < 8; k++) {
            uint32_t word = ks_le32(block + k * 4) | 1u << (((uint32_t)h * salt[k]) >> 27);
            ks_put_le32(block + k * 4, word);
        }
    }
    out->len += bytes;
}

bool ks_bloom_may_have(struct ks_slice bytes, uint64_t hash)
{
    size_t blocks = bytes.len / BLOCK_BYTES;
    if (!blocks || bytes.len % BLOCK_BYTES)
        return true;
    hash = hash ? hash : 1;
    const char *block = bytes.ptr + block_of(hash, blocks) * BLOCK_BYTES;
    for (int k = 0; k < 8; k++)
        if (!(ks_le32(block + k * 4) & 1u << (((uint32_t)hash * salt[k]) >> 27)))
            return false;
    return true;
}
