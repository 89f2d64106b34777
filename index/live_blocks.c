/* Block: u32 bytes, u32 longest list, u16 used slots, then per used slot varint tenant, varint
 * count, the list. */
#include "index/live_blocks.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "index/idlist.h"

enum { HEAD = 10, MALLOC_OVERHEAD = 8 };

static size_t block_bytes(const uint8_t *block)
{
    return block ? ks_le32(block) + MALLOC_OVERHEAD : 0;
}

void ksi_blocks_done(struct ksi_blocks *b)
{
    for (size_t i = 0; i < b->count; i++)
        ks_free(b->v[i]);
    ks_free(b->v);
}

ks_err ksi_blocks_reserve(struct ksi_blocks *b, size_t count)
{
    if (count <= b->count)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&b->v, &b->cap, count, sizeof *b->v));
    memset(b->v + b->count, 0, (count - b->count) * sizeof *b->v);
    b->count = count;
    return KS_OK;
}

void ksi_blocks_put(struct ksi_blocks *b, size_t i, uint8_t *block)
{
    b->bytes += block_bytes(block) - block_bytes(b->v[i]);
    ks_free(b->v[i]);
    b->v[i] = block;
}

static struct ks_reader block_reader(const uint8_t *block)
{
    return ks_reader(ks_slice(block + HEAD, ks_le32(block) - HEAD));
}

uint32_t ksi_block_max_labels(const uint8_t *block)
{
    return ks_le32(block + 4);
}

ks_err ksi_block_load(const uint8_t *block, struct ksi_block_view *ret)
{
    memset(ret->e, 0, sizeof ret->e);
    ret->id_count = 0;
    if (!block)
        return KS_OK;
    struct ks_reader r = block_reader(block);
    unsigned used = ks_le16(block + 8);
    size_t prev = 0, prev_count = 0;
    for (unsigned i = 0; i < KSI_BLOCK_SIDS; i++) {
        if (!(used >> i & 1))
            continue;
        ret->e[i].used = true;
        ret->e[i].tenant = (uint32_t)ks_read_varint(&r);
        size_t n = ret->e[i].count = (uint32_t)ks_read_varint(&r);
        KS_TRY(ks_array_reserve((void **)&ret->ids, &ret->id_cap, ret->id_count + n + 1,
                                sizeof *ret->ids));
        ret->e[i].first = ret->id_count;
        ksi_idlist_decode(&r, ret->ids + prev, prev_count, ret->ids + ret->id_count, n);
        prev = ret->id_count;
        prev_count = n;
        ret->id_count += n;
    }
    return KS_OK;
}

ks_err ksi_block_build(const struct ksi_block_view *view, struct ks_buf *scratch, uint8_t **ret)
{
    ks_buf_reset(scratch);
    uint32_t longest = 0, used = 0;
    ks_buf_u64(scratch, 0);
    ks_buf_u16(scratch, 0);
    const uint32_t *prev = view->ids;
    size_t prev_count = 0;
    for (unsigned i = 0; i < KSI_BLOCK_SIDS; i++) {
        if (!view->e[i].used)
            continue;
        uint32_t n = view->e[i].count;
        const uint32_t *cur = view->ids + view->e[i].first;
        used |= 1u << i;
        longest = n > longest ? n : longest;
        ks_buf_varint(scratch, view->e[i].tenant);
        ks_buf_varint(scratch, n);
        ksi_idlist_encode(prev, prev_count, cur, n, scratch);
        prev = cur;
        prev_count = n;
    }
    KS_TRY(ks_buf_status(scratch));
    uint8_t *block = NULL;
    if (used) {
        ks_put_le32(scratch->ptr, (uint32_t)scratch->len);
        ks_put_le32(scratch->ptr + 4, longest);
        ks_put_le16(scratch->ptr + 8, (uint16_t)used);
        block = ks_alloc(scratch->len);
        if (!block)
            return KS_ENOMEM;
        memcpy(block, scratch->ptr, scratch->len);
    }
    *ret = block;
    return KS_OK;
}

bool ksi_block_read(const uint8_t *block, unsigned slot, uint32_t *a, uint32_t *b,
                    uint32_t **ret_ids, uint32_t *ret_count, uint32_t *ret_tenant)
{
    unsigned used = ks_le16(block + 8);
    if (!(used >> slot & 1))
        return false;
    struct ks_reader r = block_reader(block);
    uint32_t *prev = a, *cur = b, n = 0, prev_count = 0, tenant = 0;
    for (unsigned i = 0; i <= slot; i++) {
        if (!(used >> i & 1))
            continue;
        tenant = (uint32_t)ks_read_varint(&r);
        n = (uint32_t)ks_read_varint(&r);
        ksi_idlist_decode(&r, prev, prev_count, cur, n);
        uint32_t *t = prev;
        prev = cur;
        cur = t;
        prev_count = n;
    }
    *ret_ids = prev;
    *ret_count = n;
    *ret_tenant = tenant;
    return true;
}
