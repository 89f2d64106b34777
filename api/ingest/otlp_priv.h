/* Shared by the parts of the OTLP decoder: reading fields, attributes as labels, names. */
#ifndef KS_API_INGEST_OTLP_PRIV_H
#define KS_API_INGEST_OTLP_PRIV_H

#include "api/ingest/remote_write_priv.h"
#include "base/histogram.h"

/* One field of a message, whatever its type. */
struct ksi_field {
    uint64_t key;    /* number << 3 | wire type */
    uint64_t number; /* varint, fixed64, fixed32 */
    struct ks_slice bytes;
    const uint8_t *at;
};
#define KSI_VARINT(n)  ((uint64_t)(n) << 3)
#define KSI_FIXED64(n) ((uint64_t)(n) << 3 | 1)
#define KSI_BYTES(n)   ((uint64_t)(n) << 3 | 2)

struct ksi_message {
    const uint8_t *p, *end;
    const char *name; /* for errors */
    bool bad;
};
static inline struct ksi_message ksi_message(struct ks_slice s, const char *name)
{
    const uint8_t *p = (const uint8_t *)s.ptr;
    return (struct ksi_message){p, p ? p + s.len : p, name, false};
}

/* The next field; false at the end, or when malformed (then m->bad, and m->p is at the field). */
static inline bool ksi_next(struct ksi_message *m, struct ksi_field *ret)
{
    const uint8_t *p = m->p;
    bool ok = false;
    if (p == m->end)
        return false;
    ret->at = p;
    ret->number = 0;
    ret->bytes = ks_slice("", 0);
    if (ks_pb_varint(&p, m->end, &ret->key) && ret->key >> 3) {
        size_t width = (ret->key & 7) == 1 ? 8 : 4;
        switch (ret->key & 7) {
        case 0:
            ok = ks_pb_varint(&p, m->end, &ret->number);
            break;
        case 2:
            ok = ksi_pb_bytes(&p, m->end, &ret->bytes);
            break;
        case 1:
        case 5:
            ok = (size_t)(m->end - p) >= width;
            if (ok)
                memcpy(&ret->number, p, width);
            p += ok ? width : 0;
            break;
        }
    }
    m->bad = !ok;
    if (ok)
        m->p = p;
    return ok;
}

/* Label bytes in the making. */
struct ksi_otlp_labels {
    struct ks_buf raw;        /* raw labels (api/ingest/ingest.h) */
    struct ks_buf key, value; /* scratch */
    bool prometheus;          /* label names as Prometheus' rules have them */
    const struct ksi_pb *pb;
};

/* Adds attribute messages (KeyValue) as labels called prefix + key; lists of pairs give a label
 * each, arrays are JSON. */
KS_NODISCARD ks_err ksi_otlp_attribute(struct ksi_otlp_labels *l, struct ks_slice message,
                                       const char *prefix);
void ksi_otlp_label(struct ksi_otlp_labels *l, struct ks_slice name, struct ks_slice value);
/* Replaces *out by the label or metric name that Prometheus' rules make: unit and _total appended.
 */
void ksi_otlp_label_name(struct ks_slice name, struct ks_buf *out);
void ksi_otlp_metric_name(struct ks_slice name, struct ks_slice unit, bool counter, bool gauge,
                          struct ks_buf *out);

/*
 * otlp_exponential.c: exponential histograms as native ones. Scales above 8 are brought down to 8;
 * the lowest is -4. Buckets here include their upper bound, there their lower one: as Prometheus
 * does it, the difference is overlooked.
 */
struct ksi_otlp_exponential {
    int32_t scale;
    uint64_t count, zero_count;
    double sum, zero_threshold;
};
/* All but the sides. */
void ksi_otlp_exponential(const struct ksi_otlp_exponential *in, struct ks_histogram *ret);
/* counts: of the buckets from `offset` on. KS_ELIMIT, KS_ENOMEM of the arena. */
KS_NODISCARD ks_err ksi_otlp_exponential_side(struct ks_arena *arena, int32_t scale, int32_t offset,
                                              const uint64_t *counts, size_t n,
                                              struct ks_histogram_side *ret);

#endif
