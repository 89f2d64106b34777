/*
 * The part container: one immutable file of named sections, made of pages. Format:
 * docs/format/part.md.
 *
 *   header | pages … | table of contents | footer
 *
 * A page is the unit of compression, checksum (XXH3-64 of the bytes as stored) and cache. Sections
 * are lists of pages in file order; a section's own bytes say how pages refer to each other (by
 * ks_page_ref). Unknown sections are skipped, unknown incompatible feature bits refuse the file.
 * Everything read is treated as hostile: KS_ECORRUPT names file and offset.
 */
#ifndef KS_STORAGE_PART_H
#define KS_STORAGE_PART_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "storage/cache.h"
#include "sys/vfs.h"

enum ks_part_kind {
    KS_PART_METRICS = 1,
    KS_PART_LOGS = 2,
    KS_PART_TRACES = 3,
    KS_PART_CHECKPOINT = 4
};
enum ks_page_codec { KS_PAGE_RAW = 0, KS_PAGE_ZSTD = 1, KS_PAGE_LZ4 = 2 };

/* A file of this build. Readers refuse newer versions and incompatible bits they do not know;
 * compatible bits are free. */
#define KS_PART_VERSION 1
/* A metric part or a checkpoint holds native histograms. */
#define KS_PART_INCOMPAT_HISTOGRAMS 1u
#define KS_PART_INCOMPAT_ALL        KS_PART_INCOMPAT_HISTOGRAMS
#define KS_PART_COMPAT_ALL          0u
#define KS_PART_HEADER_BYTES        64
#define KS_PART_FOOTER_BYTES        48
#define KS_PAGE_HEADER_BYTES        20
#define KS_SECTION_NAME_MAX         31

/* Where a page lies. 16 bytes when stored. */
struct ks_page_ref {
    uint64_t offset;
    uint32_t stored_bytes; /* page header included */
    uint32_t raw_bytes;
};
#define KS_PAGE_REF_BYTES 16
#define KS_PAGE_RAW_MAX   (8u << 20)
void ks_page_ref_save(uint8_t out[KS_PAGE_REF_BYTES], struct ks_page_ref ref);
struct ks_page_ref ks_page_ref_load(const uint8_t in[KS_PAGE_REF_BYTES]);

/* --- writing: one thread --- */
struct ks_part_writer;

/* Creates path.tmp. The parent folder exists. */
KS_NODISCARD ks_err ks_part_writer_new(struct ks_vfs *vfs, const char *path, enum ks_part_kind kind,
                                       struct ks_part_writer **ret);
/* Appends one page to section `name` (1..31 bytes; sections may be written interleaved: the table
 * of contents lists each section's pages). 1..KS_PAGE_RAW_MAX raw bytes; stored raw when the codec
 * does not save 1/16. */
KS_NODISCARD ks_err ks_part_page(struct ks_part_writer *w, const char *section, struct ks_slice raw,
                                 enum ks_page_codec codec, struct ks_page_ref *ret);
/* A small key → bytes property kept in the table of contents (counts, time range, level). */
KS_NODISCARD ks_err ks_part_prop(struct ks_part_writer *w, const char *key, struct ks_slice value);
/* Older programs that do not know these bits must refuse the file. */
void ks_part_incompat(struct ks_part_writer *w, uint32_t bits);
uint64_t ks_part_writer_bytes(const struct ks_part_writer *w);
/* Writes TOC and footer, syncs, renames path.tmp to path, syncs the folder. The writer is gone in
 * any case; on error so is the temporary file. */
KS_NODISCARD ks_err ks_part_writer_finish(struct ks_part_writer *w, uint64_t *ret_bytes);
void ks_part_writer_abort(struct ks_part_writer *w); /* removes the temporary file; NULL is fine */

/* --- reading: any thread --- */
struct ks_part;

/* Checks header, footer and TOC. cache may be NULL: pages are then read anew each time. */
KS_NODISCARD ks_err ks_part_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                                 struct ks_part **ret);
/* Pinned pages stay readable; the cache forgets the others. */
void ks_part_close(struct ks_part *p);
enum ks_part_kind ks_part_get_kind(const struct ks_part *p);
const char *ks_part_path(const struct ks_part *p);
uint64_t ks_part_bytes(const struct ks_part *p);
void ks_part_uuid(const struct ks_part *p, uint8_t out[16]);
int64_t ks_part_created_ms(const struct ks_part *p);
/* For owners of decoded objects that live beside the pages: the cache (may be NULL). */
struct ks_cache *ks_part_cache(const struct ks_part *p);

/* Pages of a section in file order; count 0 when there is no such section. The array lives as long
 * as the part. */
const struct ks_page_ref *ks_part_section_pages(const struct ks_part *p, const char *name,
                                                size_t *ret_count);
uint64_t ks_part_section_bytes(const struct ks_part *p, const char *name); /* stored */
bool ks_part_get_prop(const struct ks_part *p, const char *key, struct ks_slice *ret);
/* Section names in TOC order; NULL at the end. */
const char *ks_part_section_name(const struct ks_part *p, size_t i);

/* The raw bytes of a page, verified, pinned until ks_page_release. */
struct ks_page {
    struct ks_slice raw;
    void *pin; /* opaque; all zero is the released page */
};
KS_NODISCARD ks_err ks_part_read(struct ks_part *p, struct ks_page_ref ref, struct ks_page *ret);
/* Reads many pages with as few and as parallel calls as can be; all or none. */
KS_NODISCARD ks_err ks_part_read_many(struct ks_part *p, const struct ks_page_ref *refs,
                                      size_t count, struct ks_page *ret);
void ks_page_release(struct ks_page *page);

/* A page of some part. */
struct ks_part_page {
    struct ks_part *part;
    struct ks_page_ref ref;
};
/* Brings pages of several parts into their caches, all reads in one batch; those that are there
 * cost a look. pages is put in order. Parts of one vfs. */
KS_NODISCARD ks_err ks_part_prefetch_pages(struct ks_part_page *pages, size_t count);
/* Whether a read of the page would not go to the file. Without a cache every read does, and
 * bringing pages in early is of no use: true. */
bool ks_part_at_hand(struct ks_part *p, struct ks_page_ref ref);

/* Reads every page and checks it; fn (may be NULL) hears of each damaged page. KS_ECORRUPT when
 * there was one. */
typedef void (*ks_part_damage_fn)(void *arg, const char *section, struct ks_page_ref ref,
                                  const char *what);
KS_NODISCARD ks_err ks_part_verify(struct ks_part *p, ks_part_damage_fn fn, void *arg);

#endif
