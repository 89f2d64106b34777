#include "index/idlist.h"

#include "base/err.h"

enum { COPY = 0, SUBST = 1, INSERT = 2, SKIP = 3 };
enum { LOOK_AHEAD = 4 };

/* Where x stands in v[1..LOOK_AHEAD], 0 when not. */
static size_t ahead(const uint32_t *v, size_t count, uint32_t x)
{
    for (size_t k = 1; k <= LOOK_AHEAD && k < count; k++)
        if (v[k] == x)
            return k;
    return 0;
}

void ksi_idlist_encode(const uint32_t *prev, size_t prev_count, const uint32_t *cur,
                       size_t cur_count, struct ks_buf *out)
{
    size_t i = 0, j = 0;
    while (j < cur_count) {
        size_t run = 0;
        while (i + run < prev_count && j + run < cur_count && prev[i + run] == cur[j + run])
            run++;
        if (run) {
            ks_buf_varint(out, (uint64_t)run << 2 | COPY);
            i += run;
            j += run;
            continue;
        }
        size_t skip = ahead(prev + i, prev_count - i, cur[j]);
        if (skip) {
            ks_buf_varint(out, (uint64_t)skip << 2 | SKIP);
            i += skip;
        } else if (i == prev_count || ahead(cur + j, cur_count - j, prev[i])) {
            ks_buf_varint(out, (uint64_t)cur[j++] << 2 | INSERT);
        } else {
            ks_buf_varint(out, (uint64_t)cur[j++] << 2 | SUBST);
            i++;
        }
    }
}

void ksi_idlist_decode(struct ks_reader *r, const uint32_t *prev, size_t prev_count, uint32_t *cur,
                       size_t count)
{
    size_t i = 0, j = 0;
    while (j < count) {
        uint64_t step = ks_read_varint(r), v = step >> 2;
        KS_ASSERT(!r->bad);
        switch (step & 3) {
        case COPY:
            KS_ASSERT(v <= prev_count - i && v <= count - j);
            memcpy(cur + j, prev + i, v * sizeof *cur);
            i += v;
            j += v;
            break;
        case SUBST:
            KS_ASSERT(i < prev_count);
            i++;
            cur[j++] = (uint32_t)v;
            break;
        case INSERT:
            cur[j++] = (uint32_t)v;
            break;
        default:
            KS_ASSERT(v <= prev_count - i);
            i += v;
        }
    }
}
