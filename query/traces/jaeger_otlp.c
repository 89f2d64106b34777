#include "query/traces/jaeger_otlp.h"

#include "query/traces/jaeger_priv.h"
#include "query/traces/proto_out.h"

/* An ArrayValue of texts. */
static ks_err warnings_attr(const struct ksi_jaeger_span *j, struct ks_arena *arena,
                            struct ks_attr *ret)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < j->warning_count; i++) {
        size_t at = ks_pbw_begin(&b, 1);
        ks_pbw_bytes(&b, 1, ks_slice_str(j->warnings[i]));
        ks_pbw_end(&b, at);
    }
    ks_err err = ks_buf_status(&b);
    *ret = (struct ks_attr){.key = KS_SLICE_LIT("@jaeger@warnings"), .type = KS_ATTR_ARRAY};
    if (err == KS_OK) {
        ret->text = ks_arena_dup(arena, ks_buf_view(&b));
        err = ret->text.ptr ? KS_OK : ks_arena_err(arena);
    }
    ks_buf_done(&b);
    return err;
}

static ks_err with_warnings(const struct ksi_jaeger_span *j, struct ks_arena *arena,
                            struct ks_attrs *ret)
{
    struct ks_attr *items = ks_arena_array(arena, j->attrs.count + (size_t)1, sizeof *items);
    if (!items)
        return ks_arena_err(arena);
    if (j->attrs.count)
        memcpy(items, j->attrs.items, j->attrs.count * sizeof *items);
    KS_TRY(warnings_attr(j, arena, &items[j->attrs.count]));
    *ret = (struct ks_attrs){items, j->attrs.count + 1, j->attrs.dropped};
    return KS_OK;
}

static ks_err live_links(struct ks_span *s, struct ks_arena *arena)
{
    struct ks_span_link *kept = ks_arena_array(arena, s->link_count + (size_t)1, sizeof *kept);
    uint32_t n = 0;
    if (!kept)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < s->link_count; i++) {
        if (ks_trace_id_zero(s->links[i].trace_id))
            continue;
        kept[n] = s->links[i];
        KS_TRY(ksi_sorted_attrs(&kept[n].attrs, arena, &kept[n].attrs));
        n++;
    }
    s->links = kept;
    s->link_count = n;
    return KS_OK;
}

ks_err ks_jaeger_adjust_spans(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                              struct ks_span **ret)
{
    struct ksi_jaeger_trace t;
    struct ks_span *out = ks_arena_array(arena, count + 1, sizeof *out);
    if (!out)
        return ks_arena_err(arena);
    KS_TRY(ksi_jaeger_model(KS_JAEGER_2, false, spans, count, arena, &t));
    for (size_t i = 0; i < count; i++) {
        const struct ksi_jaeger_span *j = &t.spans[i];
        out[i] = spans[i];
        out[i].span_id = j->id;
        out[i].parent_id = j->parent;
        out[i].attrs = j->attrs;
        out[i].events = j->events;
        out[i].resource = j->process;
        if (j->warning_count)
            KS_TRY(with_warnings(j, arena, &out[i].attrs));
        if (out[i].link_count)
            KS_TRY(live_links(&out[i], arena));
    }
    *ret = out;
    return KS_OK;
}
