/* Exemplars of OTLP points: the id of trace and span, and the attributes that views filtered out.
 */
#include "api/ingest/otlp_exemplars.h"

#include "base/hex.h"

enum { LABELS_RUNES_MAX = 128 }; /* of OpenMetrics, which Prometheus keeps to */

static void hex_label(struct ksi_otlp_labels *l, const char *name, struct ks_slice id)
{
    char text[32];
    ks_hex_put_bytes(text, id);
    ksi_otlp_label(l, ks_slice_str(name), ks_slice(text, 2 * id.len));
}

/* Characters of names and values. */
static size_t runes_of(struct ks_slice raw)
{
    struct ks_reader r = ks_reader(raw);
    struct ks_label l;
    bool bad = false;
    size_t n = 0;
    while (ks_raw_label_next(&r, &l, &bad)) {
        for (size_t i = 0; i < l.name.len; i++)
            n += (l.name.ptr[i] & 0xc0) != 0x80;
        for (size_t i = 0; i < l.value.len; i++)
            n += (l.value.ptr[i] & 0xc0) != 0x80;
    }
    return n;
}

ks_err ksi_otlp_exemplar(struct ksi_otlp_labels *l, struct ks_slice message,
                         struct ksi_otlp_exemplar *ret)
{
    struct ksi_message m = ksi_message(message, "Exemplar");
    struct ksi_field f;
    struct ks_slice trace = ks_slice("", 0), span = ks_slice("", 0);
    size_t begun = l->raw.len;
    *ret = (struct ksi_otlp_exemplar){0};
    while (ksi_next(&m, &f)) {
        if (f.key == KSI_FIXED64(2)) {
            ret->time_ns = f.number;
        } else if (f.key == KSI_FIXED64(3)) {
            ret->value = ks_f64_from_bits(f.number);
            ret->has_value = true;
        } else if (f.key == KSI_FIXED64(6)) {
            ret->value = (double)(int64_t)f.number;
            ret->has_value = true;
        } else if (f.key == KSI_BYTES(4)) {
            span = f.bytes;
        } else if (f.key == KSI_BYTES(5)) {
            trace = f.bytes;
        }
    }
    if (m.bad)
        return ksi_pb_fail(l->pb, m.p, m.name);
    if (trace.len == 16)
        hex_label(l, "trace_id", trace);
    if (span.len == 8)
        hex_label(l, "span_id", span);
    size_t ids = l->raw.len;
    for (m = ksi_message(message, ""); ksi_next(&m, &f);)
        if (f.key == KSI_BYTES(7))
            KS_TRY(ksi_otlp_attribute(l, f.bytes, ""));
    KS_TRY(ks_buf_status(&l->raw));
    if (runes_of(ks_slice(l->raw.ptr + begun, l->raw.len - begun)) > LABELS_RUNES_MAX)
        l->raw.len = ids;
    ret->raw = ks_slice(l->raw.ptr ? l->raw.ptr + begun : "", l->raw.len - begun);
    return KS_OK;
}
