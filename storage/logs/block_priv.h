/*
 * A block of rows as stored in a log part, shared by its writer and its reader. Format:
 * docs/format/log-part.md.
 *
 * Columns are trees of nodes: a node encodes a vector of values; a template node has a child node
 * per variable slot. Where a node's bytes lie is a location: page of the block, offset, length.
 * Small payloads share pages, large ones have their own.
 */
#ifndef KS_STORAGE_LOGS_BLOCK_PRIV_H
#define KS_STORAGE_LOGS_BLOCK_PRIV_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "storage/logs/bloom.h"
#include "storage/logs/column.h"
#include "storage/logs/typed.h"
#include "storage/part.h"

enum ksi_node_kind {
    KSI_NODE_CONST = 0,
    KSI_NODE_DICT = 1,
    KSI_NODE_RAW = 2,
    KSI_NODE_TEMPLATE = 3,
    KSI_NODE_TYPED = 16 /* + ks_typed_kind */
};

enum {
    KSI_BLOCK_VERSION = 1,
    KSI_BLOCK_ROWS = 1 << 16,
    KSI_BLOCK_PAGES = 1 << 16,
    KSI_BLOCK_COLUMNS = 1 << 14,
    KSI_TEMPLATES = 4096,
    KSI_TEMPLATE_SLOTS = 100,
    KSI_SLOT_MARK = 0, /* byte that stands for a slot in a template's text */
    KSI_DICT_MAX = 1 << 16,
    KSI_SMALL_DICT = 256, /* up to so many values a dictionary is always taken */
    KSI_DICT_MIN_ROWS = 8,
    KSI_TEMPLATE_MIN_ROWS = 16,
    KSI_PRESENT_ALL = 0,
    KSI_PRESENT_RUNS = 1,
    KSI_PRESENT_BITS = 2,
    KSI_BLOOM_WITHOUT_NUMBERS = 1, /* tokens that are whole numbers may be missing in it */
};

#define KSI_SECTION_COLUMNS "columns"
#define KSI_SECTION_DIRS    "dirs"
#define KSI_SECTION_BLOOMS  "blooms"
#define KSI_SECTION_INDEX   "index"
#define KSI_SECTION_STREAMS "streams"
#define KSI_SECTION_NAMES   "names"

/* --- writing --- */

struct ksi_loc {
    uint32_t page, offset, len;
};

/* Encodes the columns of one block after another. Errors are sticky in err. */
struct ksi_enc {
    struct ks_part_writer *w;
    ks_err err;
    struct ks_buf group; /* small payloads of the open shared page */
    uint32_t group_page;
    struct ks_page_ref *pages;
    size_t page_count, page_cap;
    struct ks_buf dir;
    struct ks_buf payload, scratch;
    struct ks_hash_set tokens;
    bool numbers_left_out, gather;
    struct ks_buf blooms;
    /* scratch vectors, reused */
    int64_t *numbers;
    size_t number_cap;
    uint32_t *codes, *table;
    size_t code_cap, table_cap;
    struct ksi_split *split;
    struct ksi_enc_merge *merge; /* column_merge.c */
};
void ksi_enc_init(struct ksi_enc *e, struct ks_part_writer *w);
void ksi_enc_done(struct ksi_enc *e);
void ksi_enc_begin_block(struct ksi_enc *e);
/* Closes the open shared page: afterwards all refs in pages are known. */
void ksi_enc_end_block(struct ksi_enc *e);
/* Places a payload; its location goes to dir. */
void ksi_enc_place(struct ksi_enc *e, struct ks_slice payload);
/* Encodes a vector as a node, directory bytes to e->dir. depth 0: a column, 1: a slot. */
void ksi_enc_values(struct ksi_enc *e, const struct ks_slice *v, size_t n, int depth);
/* The parts of it that merging shares. A constant; a dictionary in the making: its values are in
 * the scratch buffer, codes of rows in e->codes. */
struct ksi_enc_dict {
    struct ks_slice *values;
    size_t count, limit, cap;
};
void ksi_enc_const(struct ksi_enc *e, struct ks_slice v, int depth);
bool ksi_enc_dict_begin(struct ksi_enc *e, size_t n, struct ksi_enc_dict *d);
/* The code of a value, new ones are added; false: there are too many for a dictionary to pay. */
bool ksi_enc_dict_code(struct ksi_enc *e, struct ksi_enc_dict *d, struct ks_slice v, uint32_t *ret);
/* Writes the node: values in order of text, codes one or two bytes each. */
void ksi_enc_dict_put(struct ksi_enc *e, const struct ksi_enc_dict *d, size_t n);
/* Numbers as a node's tail: range, planes, location. */
void ksi_enc_numbers(struct ksi_enc *e, const int64_t *v, size_t n);
void ksi_enc_tokens(struct ksi_enc *e, struct ks_slice text);

/* storage/logs/template.c: true when the vector was written as a template node. */
bool ksi_enc_templates(struct ksi_enc *e, const struct ks_slice *v, size_t n);
void ksi_split_free(struct ksi_split *s);
void ksi_enc_merge_free(struct ksi_enc_merge *m);

/* --- reading --- */

struct ksi_node {
    uint8_t kind;
    struct ks_typed typed;
    uint32_t count; /* values */
    struct ksi_loc loc;
    struct ks_slice constant;
    uint32_t dict_count;
    uint8_t width; /* bytes of a number, or of a length */
    bool delta;
    int64_t min, max, base;
    /* templates */
    uint32_t template_count, child_count;
    struct ksi_node *children;       /* ksi_template_children */
    struct ks_slice children_text;   /* where they are still to be parsed */
    struct ksi_templates *templates; /* texts and ids are loaded when asked for */
};

/* A vector of values, decoded. Values of rows not wanted are undefined. */
struct ksi_vector {
    uint8_t kind; /* enum ks_log_column_kind: CONST, DICT, VALUES */
    uint32_t value_count;
    const struct ks_slice *values;
    const uint32_t *codes;
};
static inline struct ks_slice ksi_vector_at(const struct ksi_vector *v, uint32_t i)
{
    return v->kind == KS_COL_CONST  ? v->values[0]
           : v->kind == KS_COL_DICT ? v->values[v->codes[i]]
                                    : v->values[i];
}

/* The pages of a block, read when asked for. */
struct ksi_pages {
    struct ks_part *part;
    const uint8_t *refs; /* stored: KS_PAGE_REF_BYTES each */
    struct ks_page *pins;
    uint32_t count;
};
KS_NODISCARD ks_err ksi_pages_get(struct ksi_pages *p, struct ksi_loc loc, struct ks_slice *ret);

bool ksi_loc_parse(struct ks_reader *r, struct ksi_loc *ret);
/* Range, width and location of numbers; n->count is set. */
bool ksi_numbers_parse(struct ks_reader *r, struct ksi_node *n);
/* Parses a node's directory bytes; children of templates too. */
KS_NODISCARD ks_err ksi_node_parse(struct ks_reader *r, struct ks_arena *arena, uint32_t count,
                                   int depth, struct ksi_node *ret);
/* The same for a node known to be good, the last thing wanted of r: slots of templates are parsed
 * when somebody asks for them. */
KS_NODISCARD ks_err ksi_node_parse_lazy(struct ks_reader *r, struct ks_arena *arena, uint32_t count,
                                        struct ksi_node *ret);
KS_NODISCARD ks_err ksi_template_children(struct ksi_node *n, struct ks_arena *arena);
/* want: bits of the values wanted, NULL for all. */
KS_NODISCARD ks_err ksi_node_decode(struct ksi_node *n, struct ksi_pages *pages,
                                    struct ks_arena *arena, const uint64_t *want,
                                    struct ksi_vector *ret);
/* The numbers of a typed node. */
KS_NODISCARD ks_err ksi_node_numbers(const struct ksi_node *n, struct ksi_pages *pages,
                                     struct ks_arena *arena, int64_t **ret);

struct ksi_template {
    struct ks_slice text; /* with marks */
    uint32_t slots, first_child;
    uint32_t rows;
};
struct ksi_templates {
    struct ksi_template *items; /* template_count + 1 with an escape: items[0] */
    uint32_t count;
    const uint8_t *ids8; /* one of the two */
    const uint8_t *ids16;
    _Atomic uint8_t *checked; /* the ids have been counted before; NULL: count them */
};
static inline uint32_t ksi_template_id(const struct ksi_templates *t, uint32_t row)
{
    return t->ids8 ? t->ids8[row] : ks_le16(t->ids16 + 2 * (size_t)row);
}
KS_NODISCARD ks_err ksi_templates_load(struct ksi_node *n, struct ksi_pages *pages,
                                       struct ks_arena *arena);
/* ksi_node_decode of templates. */
KS_NODISCARD ks_err ksi_templates_decode(struct ksi_node *n, struct ksi_pages *pages,
                                         struct ks_arena *arena, const uint64_t *want,
                                         struct ksi_vector *ret);

static inline bool ksi_bit(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

#endif
