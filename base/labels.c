#include "base/labels.h"

void ks_labels_canonicalise(struct ks_labels *l)
{
    struct ks_label *v = l->items;
    /* Insertion sort: stable, and sets arrive nearly sorted. */
    for (size_t i = 1; i < l->count; i++) {
        struct ks_label x = v[i];
        size_t j = i;
        while (j > 0 && ks_slice_cmp(v[j - 1].name, x.name) > 0) {
            v[j] = v[j - 1];
            j--;
        }
        v[j] = x;
    }
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (i + 1 < l->count && ks_slice_eq(v[i].name, v[i + 1].name))
            continue;
        if (v[i].name.len && v[i].value.len)
            v[n++] = v[i];
    }
    l->count = n;
}

void ks_labels_encode(const struct ks_labels *l, struct ks_buf *out)
{
    for (size_t i = 0; i < l->count; i++) {
        ks_buf_lp(out, l->items[i].name);
        ks_buf_lp(out, l->items[i].value);
    }
}

ks_err ks_labels_decode(struct ks_slice bytes, struct ks_arena *arena, struct ks_labels *ret)
{
    struct ks_reader r = ks_reader(bytes);
    struct ks_labels l = {0};
    while (ks_reader_left(&r)) {
        struct ks_label x;
        x.name = ks_read_lp(&r);
        x.value = ks_read_lp(&r);
        bool ordered = l.count == 0 || ks_slice_cmp(l.items[l.count - 1].name, x.name) < 0;
        if (r.bad || !x.name.len || !x.value.len || !ordered)
            return ks_fail(KS_ECORRUPT, "label set is malformed at label %zu", l.count);
        KS_TRY(ks_arena_grow(arena, (void **)&l.items, &l.cap, l.count + 1, sizeof *l.items));
        l.items[l.count++] = x;
    }
    *ret = l;
    return KS_OK;
}

struct ks_slice ks_labels_get(struct ks_slice bytes, struct ks_slice name)
{
    struct ks_labels_iter it = ks_labels_iter(bytes);
    struct ks_label l;
    while (ks_labels_next(&it, &l))
        if (ks_slice_eq(l.name, name))
            return l.value;
    return ks_slice(NULL, 0);
}

ks_hash128 ks_series_fp(struct ks_tenant tenant, struct ks_slice label_bytes)
{
    uint64_t seed = ks_mix64(ks_tenant_key(tenant) + 0x6b6f6673746f7265u); /* "kofstore" */
    return ks_hash128_of(label_bytes.ptr, label_bytes.len, seed);
}

int ks_series_cmp(struct ks_tenant ta, struct ks_slice a, struct ks_tenant tb, struct ks_slice b)
{
    uint64_t ka = ks_tenant_key(ta), kb = ks_tenant_key(tb);
    if (ka != kb)
        return ka < kb ? -1 : 1;
    static const char *const first[] = {"__name__", "job", "instance"};
    for (size_t i = 0; i < 3; i++) {
        struct ks_slice name = ks_slice_str(first[i]);
        int c = ks_slice_cmp(ks_labels_get(a, name), ks_labels_get(b, name));
        if (c)
            return c;
    }
    return ks_slice_cmp(a, b);
}
