/*
 * Decoding nodes. All bytes are hostile: counts are checked against what is there before anything
 * is made from them, and what decoding makes is bounded by the arena.
 */
#include <string.h>

#include "base/mem.h"
#include "storage/codec/pack_priv.h"
#include "storage/logs/block_priv.h"
#include "storage/logs/column.h"

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
    n->children = ks_arena_zalloc(arena, (n->child_count + 1) * sizeof *n->children);
    if (!n->children)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i <= count; i++)
        for (uint32_t k = 0; t->items[i].rows && k < t->items[i].slots; k++)
            KS_TRY(ksi_node_parse(r, arena, t->items[i].rows, 1,
                                  &n->children[t->items[i].first_child + k]));
    return KS_OK;
}

ks_err ksi_node_parse(struct ks_reader *r, struct ks_arena *arena, uint32_t count, int depth,
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
    for (uint32_t i = 0; i < n->count; i++) {
        codes[i] = code == 1 ? p[i] : ks_le16(p + 2 * (size_t)i);
        bad |= codes[i] >= n->dict_count;
    }
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

KSI_CLONES static void numbers(uint64_t *v, const uint8_t *p, size_t n, unsigned width,
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

static ks_err decode_numbers(const struct ksi_node *n, struct ksi_pages *pages,
                             struct ks_arena *arena, const uint64_t *want, struct ksi_vector *ret)
{
    enum { CHUNK = 1024 };
    int64_t *v;
    struct ks_slice *values = ks_arena_array(arena, (size_t)n->count + 1, sizeof *values);
    if (!values)
        return ks_arena_err(arena);
    KS_TRY(ksi_node_numbers(n, pages, arena, &v));
    char *text = NULL, *end = NULL;
    for (uint32_t i = 0; i < n->count; i++) {
        if (want && !ksi_bit(want, i)) {
            values[i] = ks_slice("", 0);
            continue;
        }
        if (i && text && v[i] == v[i - 1] && values[i - 1].len) {
            values[i] = values[i - 1];
            continue;
        }
        if (end - text < KS_TYPED_TEXT_MAX) {
            if (!(text = ks_arena_alloc(arena, CHUNK * KS_TYPED_TEXT_MAX / 4)))
                return ks_arena_err(arena);
            end = text + CHUNK * KS_TYPED_TEXT_MAX / 4;
        }
        values[i] = ks_slice(text, ks_typed_print(&n->typed, v[i], text));
        text += values[i].len;
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
        values[i] = ks_slice("", 0);
        if (want && !ksi_bit(want, i))
            continue;
        ks_hex_unpack(&n->typed, (const uint8_t *)payload.ptr + packed * i, text);
        values[i] = ks_slice(text, each);
        text += each;
    }
    *ret = (struct ksi_vector){KS_COL_VALUES, n->count, values, NULL};
    return KS_OK;
}

/* --- templates --- */

ks_err ksi_templates_load(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena)
{
    struct ksi_templates *t = n->templates;
    struct ks_slice payload;
    if (t->ids8 || t->ids16)
        return KS_OK;
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    struct ks_reader r = ks_reader(payload);
    size_t width = n->template_count < 256 ? 1 : 2;
    for (uint32_t i = 1; i <= n->template_count; i++) {
        struct ksi_template *x = &t->items[i];
        uint32_t slots = 0;
        x->text = ks_read_lp(&r);
        for (size_t k = 0; k < x->text.len; k++)
            slots += x->text.ptr[k] == KSI_SLOT_MARK;
        if (slots != x->slots)
            return malformed("slots of a template");
    }
    if (r.bad || ks_reader_left(&r) != width * n->count)
        return malformed("templates");
    uint32_t *rows = ks_arena_zalloc(arena, (t->count + 1) * sizeof *rows);
    if (!rows)
        return ks_arena_err(arena);
    struct ksi_templates ids = {.ids8 = width == 1 ? r.p : NULL, .ids16 = width == 2 ? r.p : NULL};
    for (uint32_t i = 0; i < n->count; i++) {
        uint32_t id = ksi_template_id(&ids, i);
        if (id > t->count)
            return malformed("number of a template");
        rows[id]++;
    }
    for (uint32_t i = 0; i <= t->count; i++)
        if (rows[i] != t->items[i].rows)
            return malformed("rows of a template");
    t->ids8 = ids.ids8;
    t->ids16 = ids.ids16;
    return KS_OK;
}

static inline struct ks_slice vector_at(const struct ksi_vector *v, uint32_t i)
{
    return v->kind == KS_COL_CONST  ? v->values[0]
           : v->kind == KS_COL_DICT ? v->values[v->codes[i]]
                                    : v->values[i];
}

struct assembly {
    struct ksi_node *n;
    struct ksi_vector *slots; /* per child */
    const uint64_t *want;
    char *text, *end;
};

/* Which templates are wanted at all, and of each template which of its rows. */
static ks_err decode_slots(struct assembly *a, struct ksi_pages *pages, struct ks_arena *arena)
{
    struct ksi_node *n = a->n;
    struct ksi_templates *t = n->templates;
    uint64_t **masks = NULL;
    uint32_t *next = ks_arena_zalloc(arena, (t->count + 1) * sizeof *next);
    uint8_t *used = ks_arena_zalloc(arena, t->count + 1);
    if (!next || !used)
        return ks_arena_err(arena);
    if (a->want) {
        if (!(masks = ks_arena_zalloc(arena, (t->count + 1) * sizeof *masks)))
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < n->count; i++) {
            uint32_t id = ksi_template_id(t, i), k = next[id]++;
            if (!ksi_bit(a->want, i))
                continue;
            if (!used[id]) {
                used[id] = 1;
                masks[id] = ks_arena_zalloc(arena, (t->items[id].rows / 64 + 1) * 8);
                if (!masks[id])
                    return ks_arena_err(arena);
            }
            masks[id][k / 64] |= 1ull << k % 64;
        }
    }
    for (uint32_t i = 0; i <= t->count; i++) {
        if (!t->items[i].rows || (a->want && !used[i]))
            continue;
        for (uint32_t k = 0; k < t->items[i].slots; k++) {
            uint32_t child = t->items[i].first_child + k;
            KS_TRY(ksi_node_decode(&n->children[child], pages, arena, masks ? masks[i] : NULL,
                                   &a->slots[child]));
        }
    }
    return KS_OK;
}

/* Row k of template x as text. */
static ks_err assemble(struct assembly *a, const struct ksi_template *x, uint32_t k,
                       struct ks_arena *arena, struct ks_slice *ret)
{
    enum { CHUNK = 64 << 10 };
    const struct ksi_vector *slot = &a->slots[x->first_child];
    if (x == a->n->templates->items) {
        *ret = vector_at(slot, k);
        return KS_OK;
    }
    if (!x->slots) {
        *ret = x->text;
        return KS_OK;
    }
    size_t need = x->text.len;
    for (uint32_t s = 0; s < x->slots; s++)
        need += vector_at(&slot[s], k).len;
    if ((size_t)(a->end - a->text) < need) {
        size_t chunk = need > CHUNK ? need : CHUNK;
        if (!(a->text = ks_arena_alloc(arena, chunk)))
            return ks_arena_err(arena);
        a->end = a->text + chunk;
    }
    char *p = a->text;
    const char *at = x->text.ptr, *end = at + x->text.len;
    for (uint32_t s = 0; s < x->slots; s++) {
        const char *mark = memchr(at, KSI_SLOT_MARK, (size_t)(end - at));
        struct ks_slice v = vector_at(&slot[s], k);
        memcpy(p, at, (size_t)(mark - at));
        p += mark - at;
        memcpy(p, v.ptr, v.len);
        p += v.len;
        at = mark + 1;
    }
    memcpy(p, at, (size_t)(end - at));
    p += end - at;
    *ret = ks_slice(a->text, (size_t)(p - a->text));
    a->text = p;
    return KS_OK;
}

static ks_err decode_templates(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                               const uint64_t *want, struct ksi_vector *ret)
{
    struct assembly a = {.n = n, .want = want};
    struct ksi_templates *t = n->templates;
    KS_TRY(ksi_templates_load(n, pages, arena));
    struct ks_slice *values = ks_arena_array(arena, (size_t)n->count + 1, sizeof *values);
    uint32_t *next = ks_arena_zalloc(arena, (t->count + 1) * sizeof *next);
    a.slots = ks_arena_zalloc(arena, (n->child_count + 1) * sizeof *a.slots);
    if (!values || !next || !a.slots)
        return ks_arena_err(arena);
    KS_TRY(decode_slots(&a, pages, arena));
    for (uint32_t i = 0; i < n->count; i++) {
        uint32_t id = ksi_template_id(t, i), k = next[id]++;
        values[i] = ks_slice("", 0);
        if (!want || ksi_bit(want, i))
            KS_TRY(assemble(&a, &t->items[id], k, arena, &values[i]));
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
        return decode_templates(n, pages, arena, want, ret);
    default:
        if (n->typed.kind == KS_TYPED_HEX || n->typed.kind == KS_TYPED_UUID)
            return decode_hex(n, pages, arena, want, ret);
        return decode_numbers(n, pages, arena, want, ret);
    }
}
