/* Attributes as labels. Values nest: an explicit stack with a limit, no recursion. */
#include "api/ingest/otlp_priv.h"
#include "base/num.h"

enum { DEPTH_MAX = 32 };

/* AnyValue's fields. */
enum { STRING = 1, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES };

void ksi_otlp_label(struct ksi_otlp_labels *l, struct ks_slice name, struct ks_slice value)
{
    struct ks_buf fixed;
    if (!name.len || !value.len)
        return;
    ks_buf_init(&fixed, 1 << 20);
    if (l->prometheus) {
        ksi_otlp_label_name(name, &fixed);
        name = ks_buf_view(&fixed);
        if (ks_buf_status(&fixed) != KS_OK)
            l->raw.err = ks_buf_status(&fixed);
    }
    size_t size = ks_raw_label_size(name.len, value.len);
    if (ks_buf_reserve(&l->raw, size)) {
        ks_raw_label_put(l->raw.ptr + l->raw.len, name, value);
        l->raw.len += size;
    }
    ks_buf_done(&fixed);
}

static void base64(struct ks_buf *out, struct ks_slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < s.len; i += 3) {
        size_t n = s.len - i < 3 ? s.len - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)s.ptr[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            ks_buf_byte(out, k <= n ? (uint8_t)digits[v >> (18 - 6 * k) & 63] : '=');
    }
}

/* The last field counts, as in any oneof; key 0 when there is none. */
static bool any_value(struct ks_slice message, struct ksi_field *ret)
{
    struct ksi_message m = ksi_message(message, "AnyValue");
    struct ksi_field f;
    *ret = (struct ksi_field){0};
    while (ksi_next(&m, &f)) {
        uint64_t k = f.key;
        if (k == KSI_BYTES(STRING) || k == KSI_VARINT(BOOL) || k == KSI_VARINT(INT) ||
            k == KSI_FIXED64(DOUBLE) || k == KSI_BYTES(ARRAY) || k == KSI_BYTES(KVLIST) ||
            k == KSI_BYTES(BYTES))
            *ret = f;
    }
    return !m.bad;
}

static bool key_value(struct ks_slice message, struct ks_slice *ret_key,
                      struct ksi_field *ret_value)
{
    struct ksi_message m = ksi_message(message, "KeyValue");
    struct ksi_field f;
    *ret_key = ks_slice("", 0);
    *ret_value = (struct ksi_field){0};
    while (ksi_next(&m, &f)) {
        if (f.key == KSI_BYTES(1))
            *ret_key = f.bytes;
        else if (f.key == KSI_BYTES(2) && !any_value(f.bytes, ret_value))
            return false;
    }
    return !m.bad;
}

/* Everything but lists, as text (json: strings in quotes). */
static void scalar(struct ks_buf *out, const struct ksi_field *v, bool json)
{
    char text[KS_F64_TEXT_MAX];
    switch (v->key >> 3) {
    case STRING:
        if (json)
            ks_buf_json_str(out, v->bytes);
        else
            ks_buf_slice(out, v->bytes);
        break;
    case BOOL:
        ks_buf_str(out, v->number ? "true" : "false");
        break;
    case INT:
        ks_buf_i64_dec(out, (int64_t)v->number);
        break;
    case DOUBLE:
        ks_buf_add(out, text,
                   json ? ks_f64_format_g(text, ks_f64_from_bits(v->number))
                        : ks_f64_format_fixed(text, ks_f64_from_bits(v->number)));
        break;
    case BYTES:
        ks_buf_str(out, json ? "\"" : "");
        base64(out, v->bytes);
        ks_buf_str(out, json ? "\"" : "");
        break;
    default:
        ks_buf_str(out, "null");
    }
}

struct frame {
    struct ksi_message m;
    bool object, first;
    size_t key_len; /* of labels: what stands before the keys in here */
};

/* An array or list of pairs as JSON. */
static bool to_json(const struct ksi_field *value, struct ks_buf *out)
{
    struct frame stack[DEPTH_MAX];
    size_t depth = 0;
    struct ksi_field v = *value, f;
    for (;;) {
        bool list = v.key == KSI_BYTES(ARRAY) || v.key == KSI_BYTES(KVLIST);
        if (list && depth == DEPTH_MAX)
            return false;
        if (list) {
            bool object = v.key == KSI_BYTES(KVLIST);
            ks_buf_byte(out, object ? '{' : '[');
            stack[depth++] = (struct frame){ksi_message(v.bytes, "value"), object, true, 0};
        } else {
            scalar(out, &v, true);
        }
        /* To the next element, closing what has ended. */
        for (;;) {
            struct frame *top = &stack[depth - 1];
            if (ksi_next(&top->m, &f)) {
                if (f.key != KSI_BYTES(1))
                    continue;
                struct ks_slice key;
                ks_buf_str(out, top->first ? "" : ",");
                top->first = false;
                if (!(top->object ? key_value(f.bytes, &key, &v) : any_value(f.bytes, &v)))
                    return false;
                if (top->object) {
                    ks_buf_json_str(out, key);
                    ks_buf_byte(out, ':');
                }
                break;
            }
            if (top->m.bad)
                return false;
            ks_buf_byte(out, top->object ? '}' : ']');
            if (!--depth)
                return true;
        }
    }
}

/* One pair; a list of pairs in it is pushed. */
static bool pair(struct ksi_otlp_labels *l, struct ks_slice message, struct frame *stack,
                 size_t *depth, size_t prefix_len)
{
    struct ks_slice key;
    struct ksi_field v;
    if (!key_value(message, &key, &v))
        return false;
    if (!key.len || !v.key)
        return true;
    l->key.len = prefix_len;
    ks_buf_slice(&l->key, key);
    if (v.key == KSI_BYTES(KVLIST)) {
        if (*depth == DEPTH_MAX)
            return false;
        ks_buf_byte(&l->key, '.');
        stack[(*depth)++] =
            (struct frame){ksi_message(v.bytes, "KeyValueList"), true, true, l->key.len};
        return true;
    }
    ks_buf_reset(&l->value);
    if (v.key != KSI_BYTES(ARRAY))
        scalar(&l->value, &v, false);
    else if (!to_json(&v, &l->value))
        return false;
    ksi_otlp_label(l, ks_buf_view(&l->key), ks_buf_view(&l->value));
    return true;
}

ks_err ksi_otlp_attribute(struct ksi_otlp_labels *l, struct ks_slice message, const char *prefix)
{
    struct frame stack[DEPTH_MAX];
    size_t depth = 0, prefix_len = strlen(prefix);
    struct ksi_field f;
    ks_buf_reset(&l->key);
    ks_buf_str(&l->key, prefix);
    bool ok = pair(l, message, stack, &depth, prefix_len);
    while (ok && depth) {
        struct frame *top = &stack[depth - 1];
        size_t len = top->key_len;
        if (ksi_next(&top->m, &f))
            ok = f.key != KSI_BYTES(1) || pair(l, f.bytes, stack, &depth, len);
        else if (!(ok = !top->m.bad))
            break;
        else
            depth--;
        /* A nested list has written its own keys behind this prefix, never before it. */
    }
    if (!ok)
        return ksi_pb_fail(l->pb, (const uint8_t *)message.ptr,
                           "KeyValue (malformed or nested too deeply)");
    KS_TRY(ks_buf_status(&l->key));
    KS_TRY(ks_buf_status(&l->value));
    return ks_buf_status(&l->raw);
}
