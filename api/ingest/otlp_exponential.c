/* OTLP's exponential histograms as native ones (otlp_priv.h). */
#include "api/ingest/otlp_priv.h"

/* Empty buckets up to so many between two others are stored rather than a new span begun. */
enum { GAP_MAX = 2 };

static const double default_zero_threshold = 1e-128; /* what the client meant by none */

void ksi_otlp_exponential(const struct ksi_otlp_exponential *in, struct ks_histogram *ret)
{
    *ret = (struct ks_histogram){
        .schema = in->scale > KS_HISTOGRAM_SCHEMA_MAX ? KS_HISTOGRAM_SCHEMA_MAX : in->scale,
        .zero_threshold = in->zero_threshold > 0 ? in->zero_threshold : default_zero_threshold,
        .zero_count.u = in->zero_count,
        .count.u = in->count,
        .sum = in->sum,
    };
}

struct side {
    struct ks_histogram_span *spans;
    int64_t *deltas;
    uint32_t span_count, bucket_count;
    int64_t next; /* index behind the last bucket */
    uint64_t before;
};

static void put(struct side *s, uint64_t count)
{
    s->deltas[s->bucket_count++] = (int64_t)(count - s->before);
    s->before = count;
    s->spans[s->span_count - 1].length++;
    s->next++;
}

static void bucket(struct side *s, int64_t index, uint64_t count)
{
    if (!s->span_count || index - s->next > GAP_MAX) {
        s->spans[s->span_count++] = (struct ks_histogram_span){(int32_t)(index - s->next), 0};
        s->next = index;
    }
    while (s->next < index)
        put(s, 0);
    put(s, count);
}

ks_err ksi_otlp_exponential_side(struct ks_arena *arena, int32_t scale, int32_t offset,
                                 const uint64_t *counts, size_t n, struct ks_histogram_side *ret)
{
    int shift = scale > KS_HISTOGRAM_SCHEMA_MAX ? scale - KS_HISTOGRAM_SCHEMA_MAX : 0;
    size_t filled = 0;
    *ret = (struct ks_histogram_side){0};
    for (size_t i = 0; i < n; i++)
        filled += counts[i] != 0;
    if (!filled)
        return KS_OK;
    if (filled > KS_HISTOGRAM_BUCKETS_MAX || n > INT32_MAX / 2 || offset > INT32_MAX / 2 ||
        offset < INT32_MIN / 2)
        return ks_fail(KS_ELIMIT, "an exponential histogram of %zu buckets from %d on", n, offset);
    struct side s = {.spans = ks_arena_array(arena, filled, sizeof *s.spans),
                     .deltas = ks_arena_array(arena, filled * (GAP_MAX + 1), sizeof *s.deltas)};
    if (!s.spans || !s.deltas)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n;) {
        int64_t index = ((int64_t)offset + (int64_t)i) >> shift;
        uint64_t sum = 0;
        for (; i < n && ((int64_t)offset + (int64_t)i) >> shift == index; i++)
            sum += counts[i];
        if (sum)
            bucket(&s, index + 1, sum);
    }
    *ret = (struct ks_histogram_side){s.spans, s.span_count, s.bucket_count, {.deltas = s.deltas}};
    return KS_OK;
}
