/* Walking protobuf messages field by field. Bytes are hostile; nothing is copied. */
#ifndef KS_API_LOGS_LOG_PB_H
#define KS_API_LOGS_LOG_PB_H

#include "base/bytes.h"
#include "base/err.h"

struct ks_pb {
    struct ks_reader r;
    uint32_t number;       /* of the field just read */
    uint8_t wire;          /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
    uint64_t value;        /* of 0, 1 and 5 */
    struct ks_slice bytes; /* of 2 */
};

static inline struct ks_pb ks_pb(struct ks_slice message)
{
    return (struct ks_pb){.r = ks_reader(message)};
}

/* False at the end and when malformed (then p->r.bad). */
static inline bool ks_pb_next(struct ks_pb *p)
{
    if (p->r.p == p->r.end)
        return false;
    uint64_t key = ks_read_varint(&p->r);
    p->number = (uint32_t)(key >> 3);
    p->wire = key & 7;
    p->value = 0;
    p->bytes = ks_slice("", 0);
    if (!p->number || key >> 35)
        ks_reader_fail(&p->r);
    else if (p->wire == 0)
        p->value = ks_read_varint(&p->r);
    else if (p->wire == 1)
        p->value = ks_read_u64(&p->r);
    else if (p->wire == 2)
        p->bytes = ks_read_lp(&p->r);
    else if (p->wire == 5)
        p->value = ks_read_u32(&p->r);
    else
        ks_reader_fail(&p->r);
    return !p->r.bad;
}

static inline bool ks_pb_is(const struct ks_pb *p, uint32_t number, uint8_t wire)
{
    return p->number == number && p->wire == wire;
}

#endif
