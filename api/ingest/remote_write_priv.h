/* Shared by the two remote write decoders. */
#ifndef KS_API_INGEST_REMOTE_WRITE_PRIV_H
#define KS_API_INGEST_REMOTE_WRITE_PRIV_H

#include "api/exemplars.h"
#include "api/ingest/remote_write.h"
#include "base/protobuf.h"

/* A malformed message: what and where. */
struct ksi_pb {
    const uint8_t *start; /* of the body, for offsets */
};

static inline ks_err ksi_pb_fail(const struct ksi_pb *pb, const uint8_t *at, const char *field)
{
    return ks_fail(KS_EPARSE, "malformed protobuf: field %s at byte %zu", field,
                   (size_t)(at - pb->start));
}

/* A length-delimited field's content; *pp moves behind it. */
static inline bool ksi_pb_bytes(const uint8_t **pp, const uint8_t *end, struct ks_slice *ret)
{
    uint64_t len;
    if (KS_UNLIKELY(!ks_pb_varint(pp, end, &len) || len > (uint64_t)(end - *pp)))
        return false;
    *ret = ks_slice(*pp, (size_t)len);
    *pp += len;
    return true;
}

/* Skips a field of any known wire type. */
static inline bool ksi_pb_skip(const uint8_t **pp, const uint8_t *end, uint64_t key)
{
    uint64_t v;
    struct ks_slice s;
    size_t fixed = (key & 7) == 1 ? 8 : 4;
    switch (key & 7) {
    case 0:
        return ks_pb_varint(pp, end, &v);
    case 2:
        return ksi_pb_bytes(pp, end, &s);
    case 1:
    case 5:
        if ((size_t)(end - *pp) < fixed)
            return false;
        *pp += fixed;
        return true;
    default:
        return false;
    }
}

/* A Sample message (the same in 1.0 and 2.0). */
ks_err ksi_rw_sample(struct ks_ingest *in, const struct ksi_pb *pb, const uint8_t *p,
                     const uint8_t *end);
/*
 * A Histogram message (the same fields in 1.0 and 2.0) becomes VictoriaMetrics' series: name_count,
 * name_sum and name_bucket{vmrange="lower...upper"}. Starts series of its own. raw: the series' raw
 * labels.
 */
ks_err ksi_rw_histogram(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                        struct ks_slice message);
/* The value and time of an Exemplar message: labels or references (1), value (2), timestamp (3),
 * the same in 1.0 and 2.0; the caller sees to field 1, then ks_ingest_exemplar. */
ks_err ksi_rw_exemplar(const struct ksi_pb *pb, struct ks_slice message, struct ks_exemplar *ret);

#endif
