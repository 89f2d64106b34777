/*
 * Layout of the part container, shared by writer and reader (docs/format/part.md). Offsets in
 * bytes, little-endian.
 *
 * header   0 magic | 8 version u16 | 10 kind u8 | 11 zero u8 | 12 header bytes u32 | 16 compat u32
 * | 20 incompat u32 | 24 uuid 16 | 40 created unix ms i64 | 48 writer version u32 | 52 zero u32 |
 * 56 XXH3-64 of 0..55 page     0 XXH3-64, seeded, of everything behind it | 8 raw bytes u32 | 12
 * payload bytes u32 | 16 codec u8 | 17 zero 3 | 20 payload footer   0 TOC offset u64 | 8 TOC stored
 * u32 | 12 TOC raw u32 | 16 TOC page hash u64 | 24 file bytes u64 | 32 XXH3-64, seeded, of 0..31 |
 * 40 magic
 *
 * Seeds contain the uuid and, for pages, the offset: a page of another file or another place never
 * validates.
 */
#ifndef KS_STORAGE_PART_PRIV_H
#define KS_STORAGE_PART_PRIV_H

#include "storage/part.h"

#define KSI_PART_MAGIC   "\x89KSPART\n"
#define KSI_FOOTER_MAGIC "KSPEND\r\n"

enum {
    KSI_TOC_RAW_MAX = 64 << 20,
    KSI_SECTIONS_MAX = 256,
    KSI_PROPS_MAX = 1024,
    KSI_PROP_KEY_MAX = 255,
};

/* Pages of one section. */
struct ksi_section {
    char name[KS_SECTION_NAME_MAX + 1];
    struct ks_page_ref *pages;
    size_t count, cap;
    uint64_t stored_bytes;
};

struct ksi_prop {
    char *key;             /* heap, NUL-terminated */
    struct ks_slice value; /* heap */
};

/* What the table of contents says. */
struct ksi_toc {
    struct ksi_section *sections;
    size_t section_count, section_cap;
    struct ksi_prop *props;
    size_t prop_count, prop_cap;
};

void ksi_toc_done(struct ksi_toc *t);
/* The section of that name, made when absent and `make`; NULL when absent or out of memory. */
struct ksi_section *ksi_toc_section(struct ksi_toc *t, struct ks_slice name, bool make);
KS_NODISCARD ks_err ksi_toc_add_prop(struct ksi_toc *t, struct ks_slice key, struct ks_slice value);
void ksi_toc_encode(const struct ksi_toc *t, struct ks_buf *out);
/* Every page is checked to lie in [header, data_end). KS_ECORRUPT without file name: the caller
 * adds it. */
KS_NODISCARD ks_err ksi_toc_decode(struct ks_slice raw, uint64_t data_end, struct ksi_toc *ret);

/* The seed of the hash of the page at `offset` in the file with that uuid. */
uint64_t ksi_page_seed(const uint8_t uuid[16], uint64_t offset);

/* Compresses as asked, or leaves raw when that saves less than 1/16; appends page header and
 * payload to out. `scratch` is the writer's. offset: where the page will lie. */
struct ksi_packer;
struct ksi_packer *ksi_packer_new(void);
void ksi_packer_free(struct ksi_packer *k);
KS_NODISCARD ks_err ksi_page_pack(struct ksi_packer *k, const uint8_t uuid[16], uint64_t offset,
                                  struct ks_slice raw, enum ks_page_codec codec,
                                  struct ks_buf *out);
/* Checks and unpacks a stored page into dst[0..ref.raw_bytes). KS_ECORRUPT without file name. */
KS_NODISCARD ks_err ksi_page_unpack(const uint8_t uuid[16], struct ks_page_ref ref,
                                    const uint8_t *stored, void *dst);

#endif
