/*
 * The table of contents: sections with their pages, and properties.
 *
 * varint sections, each: name (length-prefixed) | varint pages | pages, each: zigzag (offset - end
 * of the section's page before; the first against the header's end) | varint stored bytes | varint
 * raw bytes; varint properties, each: key | value (length-prefixed). Nothing behind.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/part_priv.h"

void ksi_toc_done(struct ksi_toc *t)
{
    for (size_t i = 0; i < t->section_count; i++)
        ks_free(t->sections[i].pages);
    for (size_t i = 0; i < t->prop_count; i++) {
        ks_free(t->props[i].key);
        ks_free((void *)t->props[i].value.ptr);
    }
    ks_free(t->sections);
    ks_free(t->props);
    *t = (struct ksi_toc){0};
}

struct ksi_section *ksi_toc_section(struct ksi_toc *t, struct ks_slice name, bool make)
{
    for (size_t i = 0; i < t->section_count; i++)
        if (ks_slice_is(name, t->sections[i].name))
            return &t->sections[i];
    if (!make || ks_array_reserve((void **)&t->sections, &t->section_cap, t->section_count + 1,
                                  sizeof *t->sections) != KS_OK)
        return NULL;
    struct ksi_section *s = &t->sections[t->section_count++];
    memset(s, 0, sizeof *s);
    memcpy(s->name, name.ptr, name.len);
    return s;
}

ks_err ksi_toc_add_prop(struct ksi_toc *t, struct ks_slice key, struct ks_slice value)
{
    KS_TRY(ks_array_reserve((void **)&t->props, &t->prop_cap, t->prop_count + 1, sizeof *t->props));
    char *k = ks_memdup(key.ptr, key.len), *v = ks_memdup(value.ptr, value.len);
    if (!k || !v) {
        ks_free(k);
        ks_free(v);
        return KS_ENOMEM;
    }
    t->props[t->prop_count++] = (struct ksi_prop){k, ks_slice(v, value.len)};
    return KS_OK;
}

void ksi_toc_encode(const struct ksi_toc *t, struct ks_buf *out)
{
    ks_buf_varint(out, t->section_count);
    for (size_t i = 0; i < t->section_count; i++) {
        const struct ksi_section *s = &t->sections[i];
        uint64_t at = KS_PART_HEADER_BYTES;
        ks_buf_lp(out, ks_slice_str(s->name));
        ks_buf_varint(out, s->count);
        for (size_t k = 0; k < s->count; k++) {
            ks_buf_zigzag(out, (int64_t)(s->pages[k].offset - at));
            ks_buf_varint(out, s->pages[k].stored_bytes);
            ks_buf_varint(out, s->pages[k].raw_bytes);
            at = s->pages[k].offset + s->pages[k].stored_bytes;
        }
    }
    ks_buf_varint(out, t->prop_count);
    for (size_t i = 0; i < t->prop_count; i++) {
        ks_buf_lp(out, ks_slice_str(t->props[i].key));
        ks_buf_lp(out, t->props[i].value);
    }
}

static ks_err decode_page(struct ks_reader *r, uint64_t data_end, uint64_t *at,
                          struct ks_page_ref *ret)
{
    uint64_t offset = *at + (uint64_t)ks_read_zigzag(r), stored = ks_read_varint(r),
             raw = ks_read_varint(r);
    if (r->bad || offset < KS_PART_HEADER_BYTES || offset > data_end ||
        stored > data_end - offset || stored <= KS_PAGE_HEADER_BYTES ||
        stored > KS_PAGE_RAW_MAX + KS_PAGE_HEADER_BYTES || raw == 0 || raw > KS_PAGE_RAW_MAX)
        return ks_fail(KS_ECORRUPT,
                       "table of contents: page of %llu bytes at offset %llu does not fit",
                       (unsigned long long)stored, (unsigned long long)offset);
    *ret = (struct ks_page_ref){offset, (uint32_t)stored, (uint32_t)raw};
    *at = offset + stored;
    return KS_OK;
}

static bool name_ok(struct ks_slice s, size_t max)
{
    return s.len >= 1 && s.len <= max && !memchr(s.ptr, 0, s.len);
}

static ks_err decode_section(struct ks_reader *r, uint64_t data_end, struct ksi_toc *t)
{
    struct ks_slice name = ks_read_lp(r);
    uint64_t count = ks_read_varint(r), at = KS_PART_HEADER_BYTES;
    if (r->bad || !name_ok(name, KS_SECTION_NAME_MAX) || ksi_toc_section(t, name, false))
        return ks_fail(KS_ECORRUPT, "table of contents: bad or repeated section name");
    if (count > ks_reader_left(r) / 3)
        return ks_fail(KS_ECORRUPT, "table of contents: %llu pages do not fit",
                       (unsigned long long)count);
    struct ksi_section *s = ksi_toc_section(t, name, true);
    if (!s || (count && !(s->pages = ks_alloc_array(count, sizeof *s->pages))))
        return KS_ENOMEM;
    for (; s->count < count; s->count++) {
        KS_TRY(decode_page(r, data_end, &at, &s->pages[s->count]));
        s->stored_bytes += s->pages[s->count].stored_bytes;
    }
    return KS_OK;
}

static ks_err decode_all(struct ks_reader *r, uint64_t data_end, struct ksi_toc *t)
{
    uint64_t sections = ks_read_varint(r);
    if (sections > KSI_SECTIONS_MAX)
        return ks_fail(KS_ECORRUPT, "table of contents: too many sections");
    for (uint64_t i = 0; i < sections; i++)
        KS_TRY(decode_section(r, data_end, t));
    uint64_t props = ks_read_varint(r);
    if (r->bad || props > KSI_PROPS_MAX)
        return ks_fail(KS_ECORRUPT, "table of contents: too many properties");
    for (uint64_t i = 0; i < props; i++) {
        struct ks_slice key = ks_read_lp(r), value = ks_read_lp(r);
        if (r->bad || !name_ok(key, KSI_PROP_KEY_MAX))
            return ks_fail(KS_ECORRUPT, "table of contents: bad property");
        KS_TRY(ksi_toc_add_prop(t, key, value));
    }
    return r->bad || ks_reader_left(r) ? ks_fail(KS_ECORRUPT, "table of contents: wrong length")
                                       : KS_OK;
}

ks_err ksi_toc_decode(struct ks_slice raw, uint64_t data_end, struct ksi_toc *ret)
{
    struct ks_reader r = ks_reader(raw);
    struct ksi_toc t = {0};
    ks_err err = decode_all(&r, data_end, &t);
    if (err != KS_OK)
        ksi_toc_done(&t);
    else
        *ret = t;
    return err;
}
