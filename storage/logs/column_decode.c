/*
 * Decoding nodes. All bytes are hostile: counts are checked against what is there before anything
 * is made from them, and what decoding makes is bounded by the arena.
 */
#include <string.h>

#include "base/mem.h"
#include "storage/codec/pack_priv.h"
#include "storage/logs/block_priv.h"
#include "storage/logs/column.h"
#include "storage/logs/pred.h"

static ks_err malformed(const char *what)
{
    return ks_fail(KS_ECORRUPT, "a column of a log block is malformed: %s", what);
}

ks_err ksi_pages_get(struct ksi_pages *p, struct ksi_loc loc, struct ks_slice *ret)
{
    if (!loc.len) {
        *ret = ks_slice("", 0);
        return KS_OK;
    }
    if (loc.page >= p->count)
        return malformed("page number");
    struct ks_page *pin = &p->pins[loc.page];
    if (!pin->pin)
        KS_TRY(ks_part_read(p->part,
                            ks_page_ref_load(p->refs + (size_t)loc.page * KS_PAGE_REF_BYTES), pin));
    if (loc.offset > pin->raw.len || loc.len > pin->raw.len - loc.offset)
        return malformed("location");
    *ret = ks_slice(pin->raw.ptr + loc.offset, loc.len);
    return KS_OK;
}

/* --- the directory --- */

bool ksi_loc_parse(struct ks_reader *r, struct ksi_loc *ret)
{
    uint64_t page = ks_read_varint(r), offset = ks_read_varint(r), len = ks_read_varint(r);
    if (page > UINT32_MAX || offset > UINT32_MAX || len > UINT32_MAX)
        return false;
    *ret = (struct ksi_loc){(uint32_t)page, (uint32_t)offset, (uint32_t)len};
    return !r->bad;
}

bool ksi_numbers_parse(struct ks_reader *r, struct ksi_node *n)
{
    n->min = ks_read_zigzag(r);
    n->max = (int64_t)((uint64_t)n->min + ks_read_varint(r));
    uint8_t shape = ks_read_u8(r);
    n->width = shape & 15;
    n->delta = shape & 16;
    n->base = n->delta ? ks_read_zigzag(r) : n->min;
    return n->width <= 8 && shape < 32 && n->max >= n->min && ksi_loc_parse(r, &n->loc) &&
           (uint64_t)n->count * n->width == n->loc.len;
}

static ks_err parse_typed(struct ks_reader *r, struct ksi_node *n)
{
    uint8_t kind = (uint8_t)(n->kind - KSI_NODE_TYPED);
    if (!ks_typed_load(r, kind, &n->typed))
        return malformed("type");
    n->kind = KSI_NODE_TYPED;
    if (kind == KS_TYPED_HEX || kind == KS_TYPED_UUID) {
        if (!ksi_loc_parse(r, &n->loc) || ks_hex_bytes(&n->typed) * n->count != n->loc.len)
            return malformed("hex");
        return KS_OK;
    }
    return ksi_numbers_parse(r, n) ? KS_OK : malformed("numbers");
}

static ks_err parse_children(struct ks_reader *r, struct ks_arena *arena, struct ksi_node *n)
{
    const struct ksi_templates *t = n->templates;
    n->children = ks_arena_zalloc(arena, (n->child_count + 1) * sizeof *n->children);
    if (!n->children)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i <= t->count; i++)
        for (uint32_t k = 0; t->items[i].rows && k < t->items[i].slots; k++)
            KS_TRY(ksi_node_parse(r, arena, t->items[i].rows, 1,
                                  &n->children[t->items[i].first_child + k]));
    return KS_OK;
}

ks_err ksi_template_children(struct ksi_node *n, struct ks_arena *arena)
{
    if (n->children)
        return KS_OK;
    struct ks_reader r = ks_reader(n->children_text);
    return parse_children(&r, arena, n);
}

static ks_err parse_template(struct ks_reader *r, struct ks_arena *arena, struct ksi_node *n)
{
    uint64_t count = ks_read_varint(r), rows = 0;
    if (count < 1 || count > KSI_TEMPLATES || count > ks_reader_left(r))
        return malformed("count of templates");
    n->template_count = (uint32_t)count;
    struct ksi_templates *t = ks_arena_zalloc(arena, sizeof *t);
    if (!t || !(t->items = ks_arena_zalloc(arena, (count + 1) * sizeof *t->items)))
        return ks_arena_err(arena);
    n->templates = t;
    t->count = n->template_count;
    for (uint64_t i = 0; i <= count; i++) {
        struct ksi_template *x = &t->items[i];
        uint64_t of_it = ks_read_varint(r), slots = i ? ks_read_varint(r) : 1;
        if (of_it > n->count || (i && !of_it) || slots > KSI_TEMPLATE_SLOTS)
            return malformed("rows of a template");
        x->rows = (uint32_t)of_it;
        x->slots = (uint32_t)slots;
        x->first_child = n->child_count;
        n->child_count += of_it ? x->slots : 0;
        rows += of_it;
    }
    if (rows != n->count || !ksi_loc_parse(r, &n->loc))
        return malformed("rows of templates");
    return KS_OK;
}

/* depth -1: a column whose slots may wait. */
static ks_err parse_node(struct ks_reader *r, struct ks_arena *arena, uint32_t count, int depth,
                         struct ksi_node *ret)
{
    struct ksi_node n = {.kind = ks_read_u8(r), .count = count};
    bool good = true;
    switch (n.kind) {
    case KSI_NODE_CONST:
        n.constant = ks_read_lp(r);
        break;
    case KSI_NODE_DICT: {
        uint64_t values = ks_read_varint(r);
        n.width = ks_read_u8(r);
        good = values >= 1 && values <= KSI_DICT_MAX && n.width <= 4 && ksi_loc_parse(r, &n.loc);
        n.dict_count = (uint32_t)values;
        break;
    }
    case KSI_NODE_RAW:
        n.width = ks_read_u8(r);
        good = n.width >= 1 && n.width <= 4 && ksi_loc_parse(r, &n.loc);
        break;
    case KSI_NODE_TEMPLATE:
        if (depth > 0)
            return malformed("templates within templates");
        KS_TRY(parse_template(r, arena, &n));
        if (depth == 0)
            KS_TRY(parse_children(r, arena, &n));
        else
            n.children_text = ks_slice((const char *)r->p, ks_reader_left(r));
        break;
    default:
        if (n.kind < KSI_NODE_TYPED)
            return malformed("kind");
        KS_TRY(parse_typed(r, &n));
    }
    if (r->bad || !good)
        return malformed("directory");
    *ret = n;
    return KS_OK;
}

ks_err ksi_node_parse(struct ks_reader *r, struct ks_arena *arena, uint32_t count, int depth,
                      struct ksi_node *ret)
{
    return parse_node(r, arena, count, depth, ret);
}

ks_err ksi_node_parse_lazy(struct ks_reader *r, struct ks_arena *arena, uint32_t count,
                           struct ksi_node *ret)
{
    return parse_node(r, arena, count, -1, ret);
}

/* --- lengths and text --- */

/* Values from planes of lengths and the bytes behind them; *ret_used: bytes read. */
static ks_err texts(struct ks_slice payload, uint32_t n, uint8_t width, struct ks_slice *out,
                    size_t *ret_used)
{
    size_t head = (size_t)n * width;
    if (head > payload.len)
        return malformed("lengths");
    const uint8_t *p = (const uint8_t *)payload.ptr;
    const char *at = payload.ptr + head;
    size_t left = payload.len - head;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = p[i];
        for (unsigned k = 1; k < width; k++)
            len |= (uint32_t)p[(size_t)k * n + i] << 8 * k;
        if (len > left)
            return malformed("text is too short");
        out[i] = ks_slice(at, len);
        at += len;
        left -= len;
    }
    *ret_used = payload.len - left;
    return KS_OK;
}

static ks_err decode_raw(const struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                         struct ksi_vector *ret)
{
    struct ks_slice payload, *values;
    size_t used;
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    if (!(values = ks_arena_array(arena, n->count, sizeof *values)))
        return ks_arena_err(arena);
    KS_TRY(texts(payload, n->count, n->width, values, &used));
    *ret = (struct ksi_vector){KS_COL_VALUES, n->count, values, NULL};
    return used == payload.len ? KS_OK : malformed("text is too long");
}

KS_CLONES static void widen_codes(uint32_t *codes, const uint8_t *p, uint32_t count, size_t width)
{
    if (width == 1)
        for (uint32_t i = 0; i < count; i++)
            codes[i] = p[i];
    else
        for (uint32_t i = 0; i < count; i++)
            codes[i] = ks_le16(p + 2 * (size_t)i);
}

static ks_err decode_dict(const struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                          struct ksi_vector *ret)
{
    struct ks_slice payload, *values;
    size_t used, code = n->dict_count <= 256 ? 1 : 2;
    uint32_t *codes, bad = 0;
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    values = ks_arena_array(arena, n->dict_count, sizeof *values);
    codes = ks_arena_array(arena, (size_t)n->count + 1, sizeof *codes);
    if (!values || !codes)
        return ks_arena_err(arena);
    KS_TRY(texts(payload, n->dict_count, n->width, values, &used));
    if (payload.len - used != code * n->count)
        return malformed("codes");
    const uint8_t *p = (const uint8_t *)payload.ptr + used;
    widen_codes(codes, p, n->count, code);
    for (uint32_t i = 0; i < n->count; i++)
        bad |= codes[i] >= n->dict_count;
    *ret = (struct ksi_vector){KS_COL_DICT, n->dict_count, values, codes};
    return bad ? malformed("code") : KS_OK;
}

/* --- numbers --- */

/* Sums planes of bytes: v[i] = base + Σ plane k [i] << 8k. Inlined per width. */
static inline void sum_planes(uint64_t *v, const uint8_t *p, size_t n, unsigned width,
                              uint64_t base)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        for (unsigned k = 0; k < width; k++)
            x |= (uint64_t)p[k * n + i] << 8 * k;
        v[i] = base + x;
    }
}

static inline void sum_deltas(uint64_t *v, const uint8_t *p, size_t n, unsigned width,
                              uint64_t prev)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        for (unsigned k = 0; k < width; k++)
            x |= (uint64_t)p[k * n + i] << 8 * k;
        v[i] = prev += (uint64_t)ks_unzigzag(x);
    }
}

#define EACH_WIDTH(f, width, ...)                                                                  \
    switch (width) {                                                                               \
    case 0:                                                                                        \
        f(__VA_ARGS__, 0, base);                                                                   \
        break;                                                                                     \
    case 1:                                                                                        \
        f(__VA_ARGS__, 1, base);                                                                   \
        break;                                                                                     \
    case 2:                                                                                        \
        f(__VA_ARGS__, 2, base);                                                                   \
        break;                                                                                     \
    case 3:                                                                                        \
        f(__VA_ARGS__, 3, base);                                                                   \
        break;                                                                                     \
    case 4:                                                                                        \
        f(__VA_ARGS__, 4, base);                                                                   \
        break;                                                                                     \
    default:                                                                                       \
        f(__VA_ARGS__, width, base);                                                               \
    }

KS_CLONES static void numbers(uint64_t *v, const uint8_t *p, size_t n, unsigned width,
                              uint64_t base, bool delta)
{
    if (delta)
        EACH_WIDTH(sum_deltas, width, v, p, n)
    else
        EACH_WIDTH(sum_planes, width, v, p, n)
}

ks_err ksi_node_numbers(const struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                        int64_t **ret)
{
    struct ks_slice payload;
    uint64_t *v = ks_arena_array(arena, (size_t)n->count + 1, sizeof *v);
    if (!v)
        return ks_arena_err(arena);
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    numbers(v, (const uint8_t *)payload.ptr, n->count, n->width, (uint64_t)n->base, n->delta);
    *ret = (int64_t *)v;
    return KS_OK;
}

/* Where texts are put, one behind the other. */
struct texts_out {
    struct ks_arena *arena;
    char *at, *end;
};

static ks_err print_number(struct texts_out *o, const struct ks_typed *t, int64_t v,
                           struct ks_slice *ret)
{
    enum { CHUNK = 256 * KS_TYPED_TEXT_MAX };
    if (o->end - o->at < KS_TYPED_TEXT_MAX) {
        if (!(o->at = ks_arena_alloc(o->arena, CHUNK)))
            return ks_arena_err(o->arena);
        o->end = o->at + CHUNK;
    }
    *ret = ks_slice(o->at, ks_typed_print(t, v, o->at));
    o->at += ret->len;
    return KS_OK;
}

static ks_err decode_numbers(const struct ksi_node *n, struct ksi_pages *pages,
                             struct ks_arena *arena, const uint64_t *want, struct ksi_vector *ret)
{
    int64_t *v;
    struct ks_slice *values = ks_arena_array(arena, (size_t)n->count + 1, sizeof *values);
    struct texts_out out = {arena, NULL, NULL};
    uint32_t last = UINT32_MAX; /* the last one made: equal neighbours share their text */
    if (!values)
        return ks_arena_err(arena);
    KS_TRY(ksi_node_numbers(n, pages, arena, &v));
    for (size_t w = 0; w < KS_ROW_WORDS(n->count); w++) {
        uint64_t all = n->count - w * 64 < 64 ? (1ull << (n->count - w * 64)) - 1 : ~0ull;
        for (uint64_t left = want ? want[w] & all : all; left; left &= left - 1) {
            uint32_t i = (uint32_t)(w * 64) + (unsigned)__builtin_ctzll(left);
            if (last != UINT32_MAX && v[i] == v[last])
                values[i] = values[last];
            else
                KS_TRY(print_number(&out, &n->typed, v[i], &values[i]));
            last = i;
        }
    }
    *ret = (struct ksi_vector){KS_COL_VALUES, n->count, values, NULL};
    return KS_OK;
}

static ks_err decode_hex(const struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                         const uint64_t *want, struct ksi_vector *ret)
{
    size_t each = ks_hex_text(&n->typed), packed = ks_hex_bytes(&n->typed), wanted = n->count;
    struct ks_slice payload;
    struct ks_slice *values = ks_arena_array(arena, (size_t)n->count + 1, sizeof *values);
    if (want) {
        wanted = 0;
        for (uint32_t i = 0; i < n->count; i++)
            wanted += ksi_bit(want, i);
    }
    char *text = ks_arena_alloc(arena, wanted * each + 1);
    if (!values || !text)
        return ks_arena_err(arena);
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    for (uint32_t i = 0; i < n->count; i++) {
        if (want && !ksi_bit(want, i))
            continue;
        ks_hex_unpack(&n->typed, (const uint8_t *)payload.ptr + packed * i, text);
        values[i] = ks_slice(text, each);
        text += each;
    }
    *ret = (struct ksi_vector){KS_COL_VALUES, n->count, values, NULL};
    return KS_OK;
}

ks_err ksi_node_decode(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                       const uint64_t *want, struct ksi_vector *ret)
{
    switch (n->kind) {
    case KSI_NODE_CONST:
        *ret = (struct ksi_vector){KS_COL_CONST, 1, &n->constant, NULL};
        return KS_OK;
    case KSI_NODE_DICT:
        return decode_dict(n, pages, arena, ret);
    case KSI_NODE_RAW:
        return decode_raw(n, pages, arena, ret);
    case KSI_NODE_TEMPLATE:
        return ksi_templates_decode(n, pages, arena, want, ret);
    default:
        if (n->typed.kind == KS_TYPED_HEX || n->typed.kind == KS_TYPED_UUID)
            return decode_hex(n, pages, arena, want, ret);
        return decode_numbers(n, pages, arena, want, ret);
    }
}
