#include "engine/logs/segment.h"

#include "base/mem.h"

enum { ARENA_MAX = 1 << 30 };

ks_err ksi_segment_new(uint64_t first_arrival, struct ksi_segment **ret)
{
    struct ksi_segment *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    atomic_init(&s->refs, 1);
    ks_arena_init(&s->arena, ARENA_MAX);
    s->first_arrival = first_arrival;
    s->min_ns = INT64_MAX;
    s->max_ns = INT64_MIN;
    *ret = s;
    return KS_OK;
}

void ksi_segment_unref(struct ksi_segment *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    ks_arena_done(&s->arena);
    ks_free(s);
}

struct ksi_segment_view ksi_segment_pin(struct ksi_segment *s)
{
    atomic_fetch_add(&s->refs, 1);
    return (struct ksi_segment_view){s,         s->first,  s->frame_count, s->row_count,
                                     s->min_ns, s->max_ns, s->text_bytes};
}

ks_err ksi_segment_read(struct ksi_segment *s, struct ks_slice record, struct ksi_frame **ret)
{
    struct ks_slice copy = ks_arena_dup(&s->arena, record);
    if (!copy.ptr)
        return ks_arena_err(&s->arena);
    return ksi_frame_parse(copy, &s->arena, ret);
}

void ksi_segment_link(struct ksi_segment *s, struct ksi_frame *f)
{
    if (s->last)
        s->last->next = f;
    else
        s->first = f;
    s->last = f;
    s->frame_count++;
    s->row_count += f->row_count;
    s->text_bytes += f->rows.len;
    s->min_ns = f->min_ns < s->min_ns ? f->min_ns : s->min_ns;
    s->max_ns = f->max_ns > s->max_ns ? f->max_ns : s->max_ns;
}
