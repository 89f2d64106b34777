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

struct ks_series_key ks_series_key_of(struct ks_tenant tenant, struct ks_slice label_bytes)
{
    static const struct ks_slice names[] = {{"__name__", 8}, {"job", 3}, {"instance", 8}};
    struct ks_series_key k = {.tenant = ks_tenant_key(tenant), .labels = label_bytes};
    struct ks_labels_iter it = ks_labels_iter(label_bytes);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        for (size_t i = 0; i < 3; i++)
            if (ks_slice_eq(l.name, names[i])) {
                k.first[i] = l.value;
                break;
            }
        if (l.name.len && (unsigned char)l.name.ptr[0] > 'j')
            break; /* names ascend */
    }
    return k;
}

int ks_series_key_cmp(const struct ks_series_key *a, const struct ks_series_key *b)
{
    if (a->tenant != b->tenant)
        return a->tenant < b->tenant ? -1 : 1;
    for (size_t i = 0; i < 3; i++) {
        int c = ks_slice_cmp(a->first[i], b->first[i]);
        if (c)
            return c;
    }
    return ks_slice_cmp(a->labels, b->labels);
}

int ks_series_cmp(struct ks_tenant ta, struct ks_slice a, struct ks_tenant tb, struct ks_slice b)
{
    if (!ks_tenant_eq(ta, tb))
        return ks_tenant_key(ta) < ks_tenant_key(tb) ? -1 : 1;
    struct ks_series_key ka = ks_series_key_of(ta, a), kb = ks_series_key_of(tb, b);
    return ks_series_key_cmp(&ka, &kb);
}
