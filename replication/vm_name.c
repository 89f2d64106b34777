/* VictoriaMetrics' marshalled metric names. 0x00, 0x01 and 0x02 in text are escaped as 0x00 and
 * '0', '1', '2'. */
#include "replication/vm_block.h"

enum { ESCAPE = 0, END = 1 };

static void put(struct ks_buf *out, struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];
        if (c <= 2) {
            ks_buf_byte(out, ESCAPE);
            c = (uint8_t)('0' + c);
        }
        ks_buf_byte(out, c);
    }
    ks_buf_byte(out, END);
}

void ks_vm_name_put(struct ks_slice label_bytes, const struct ks_label *extra, size_t extra_count,
                    struct ks_buf *out)
{
    struct ks_labels_iter it = ks_labels_iter(label_bytes);
    struct ks_label l;
    put(out, ks_labels_get(label_bytes, KS_NAME_LABEL));
    while (ks_labels_next(&it, &l)) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL))
            continue;
        put(out, l.name);
        put(out, l.value);
    }
    for (size_t i = 0; i < extra_count; i++) {
        put(out, extra[i].name);
        put(out, extra[i].value);
    }
}

static ks_err next(struct ks_slice *s, struct ks_arena *arena, struct ks_slice *ret)
{
    const char *end = s->len ? memchr(s->ptr, END, s->len) : NULL;
    if (!end)
        return ks_fail(KS_EPARSE, "malformed metric name: a text without end");
    struct ks_slice text = ks_slice(s->ptr, (size_t)(end - s->ptr));
    *s = ks_slice_from(*s, text.len + 1);
    if (!text.len || !memchr(text.ptr, ESCAPE, text.len)) {
        *ret = text;
        return KS_OK;
    }
    char *out = ks_arena_alloc(arena, text.len), *o = out;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == ESCAPE) {
            if (++i == text.len || text.ptr[i] < '0' || text.ptr[i] > '2')
                return ks_fail(KS_EPARSE, "malformed metric name: unknown escape");
            c = (char)(text.ptr[i] - '0');
        }
        *o++ = c;
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

ks_err ks_vm_name_read(struct ks_slice bytes, struct ks_arena *arena, struct ks_label *ret,
                       size_t cap, size_t *ret_count)
{
    size_t n = 0;
    struct ks_label l = {KS_NAME_LABEL, ks_slice("", 0)};
    KS_TRY(next(&bytes, arena, &l.value));
    for (;;) {
        if (n == cap)
            return ks_fail(KS_EPARSE, "a metric name of more than %zu labels", cap);
        ret[n++] = l;
        if (!bytes.len)
            break;
        KS_TRY(next(&bytes, arena, &l.name));
        KS_TRY(next(&bytes, arena, &l.value));
    }
    *ret_count = n;
    return KS_OK;
}
