/*
 * Texts of a generation: which go to the dictionary, which stay in the record, and how.
 *
 * A value that stays in its record is packed when it is mostly numbers: the text around them is a
 * pattern of the generation (it must have been seen twice), decimal numbers become varints, runs of
 * hexadecimal digits half as many bytes. Ids, addresses and paths with ids in them are what makes
 * spans large, and they come once each.
 *
 * A pattern is the text with every run replaced by a mark: 1 width: lower-case hexadecimal digits,
 * 2 width: upper-case ones, 3: a decimal number of 2 to 19 digits that does not begin with 0.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/gen_priv.h"

enum {
    INTERN_MIN_BYTES = 3, /* shorter texts are as short as a number */
    NO_KEY = UINT32_MAX,
    MARK_LOWER = 1,
    MARK_UPPER = 2,
    MARK_DECIMAL = 3,
    MARK_LAST = 3,
    PACK_MIN_BYTES = 8,
    DECIMAL_MAX = 19,
    NIBBLES_MIN = 4,
    RUNS_MAX = 12,
    PATTERNS_MAX = 1 << 14,
    GAIN_MIN = 4
};

/* --- the dictionary --- */
ks_err ksi_intern(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                  uint32_t string, uint32_t *ret)
{
    uint32_t at = m->strings[string].number;
    if (!at || at == KSI_NONE) {
        uint32_t n = ksi_dict_put(g, ks_batch_text(b, string), b->strings[string].hash);
        if (n == KSI_NONE)
            return KS_ENOMEM;
        m->strings[string].number = at = n + 1;
    }
    *ret = at - 1;
    return KS_OK;
}

bool ksi_note(struct ksi_gen *g, struct ksi_mapping *m, uint64_t hash)
{
    uint64_t *recent = &m->recent[hash % KSI_RECENT];
    if (*recent == hash)
        return true;
    *recent = hash;
    return ksi_bloom_add(g, hash);
}

/*
 * Where the text stays: in the dictionary once it has come twice, in the record the first time. The
 * bloom filter is the memory of the first time, and what searches ask.
 */
static uint32_t place(struct ksi_gen *g, const struct ks_batch_string *s, bool again)
{
    struct ks_slice text = ks_slice(s->ptr, s->len);
    if (!s->len)
        return KSI_NONE;
    uint32_t n = ksi_dict_find(&g->d, text, s->hash);
    if (n == KSI_NONE) {
        if (s->len < INTERN_MIN_BYTES || !(again || s->refs > 1))
            return KSI_NONE;
        n = ksi_dict_put(g, text, s->hash);
    }
    return n == KSI_NONE ? KSI_NONE : n + 1;
}

static void put_raw(struct ks_buf *out, const struct ks_batch_string *s)
{
    ks_buf_varint(out, (uint64_t)s->len << 2);
    ks_buf_add(out, s->ptr, s->len);
}

/* The number of the text, noting that it came with this key; KSI_NONE: it stays in the record. */
static uint32_t number_of(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch_string *s,
                          uint32_t string, uint32_t key, uint64_t hash)
{
    struct ksi_known *known = &m->strings[string];
    bool again = true;
    if (known->key != key && s->len) {
        again = ksi_note(g, m, hash);
        known->key = key;
    }
    if (!known->number)
        known->number = place(g, s, again);
    return known->number;
}

void ksi_put_text(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b,
                  uint32_t string)
{
    const struct ks_batch_string *s = &b->strings[string];
    uint32_t at = number_of(g, m, s, string, NO_KEY, s->hash);
    if (KS_LIKELY(at != KSI_NONE))
        ks_buf_varint(&m->record, (uint64_t)(at - 1) << 1 | 1);
    else
        put_raw(&m->record, s);
}

/* --- packing --- */
enum { IS_DIGIT = 1, IS_LOWER = 2, IS_UPPER = 4, IS_OTHER = 8, IS_MARK = 16 };

/* Of the first 128 characters; the others are no letters here. */
#define D IS_DIGIT
#define L IS_LOWER
#define U IS_UPPER
#define O IS_OTHER
#define M IS_MARK
static const uint8_t classes[256] = {
    M, M, M, M, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, D, D, D, D, D, D, D, D, D, D, 0, 0, 0, 0, 0, 0,
    0, U, U, U, U, U, U, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, 0, 0, 0, 0, 0,
    0, L, L, L, L, L, L, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, 0, 0, 0, 0, 0,
};
#undef D
#undef L
#undef U
#undef O
#undef M

static inline unsigned class_of(uint8_t c)
{
    return classes[c];
}

struct packing {
    uint8_t pattern[KSI_PACKED_MAX + 2 * RUNS_MAX], decimals[10 * RUNS_MAX],
        nibbles[KSI_PACKED_MAX];
    size_t pattern_len, decimal_len, nibble_len;
    unsigned varints, runs;
};

static void add_literal(struct packing *k, const uint8_t *p, size_t n)
{
    uint8_t *to = k->pattern + k->pattern_len;
    for (size_t i = 0; i < n; i++) /* words: shorter than a call */
        to[i] = p[i];
    k->pattern_len += n;
}

static void add_decimal(struct packing *k, const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (p[i] - '0');
    k->pattern[k->pattern_len++] = MARK_DECIMAL;
    k->decimal_len += ks_varint_put(k->decimals + k->decimal_len, v);
    k->varints++;
    k->runs++;
}

static inline uint8_t nibble(uint8_t c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static void add_nibbles(struct packing *k, const uint8_t *p, size_t n, uint8_t mark)
{
    k->pattern[k->pattern_len++] = mark;
    k->pattern[k->pattern_len++] = (uint8_t)n;
    for (size_t i = 0; i < n; i += 2)
        k->nibbles[k->nibble_len++] =
            (uint8_t)(nibble(p[i]) << 4 | (i + 1 < n ? nibble(p[i + 1]) : 0));
    k->runs++;
}

/* A run of letters and digits: as a number where that is shorter. */
static void add_run(struct packing *k, const uint8_t *p, size_t n, unsigned has)
{
    bool room = k->runs < RUNS_MAX;
    if (room && has == IS_DIGIT && n >= 2 && n <= DECIMAL_MAX && p[0] != '0')
        add_decimal(k, p, n);
    else if (room && n >= NIBBLES_MIN && n < 256 && (has & IS_DIGIT) &&
             !(has & ~(IS_DIGIT | IS_LOWER)))
        add_nibbles(k, p, n, MARK_LOWER);
    else if (room && n >= NIBBLES_MIN && n < 256 && has == (IS_DIGIT | IS_UPPER))
        add_nibbles(k, p, n, MARK_UPPER);
    else
        add_literal(k, p, n);
}

/* False: nothing to be gained. */
static bool pack(const struct ks_batch_string *s, struct packing *k)
{
    const uint8_t *p = (const uint8_t *)s->ptr, *end = p + s->len;
    k->pattern_len = k->decimal_len = k->nibble_len = 0;
    k->varints = k->runs = 0;
    while (p < end) {
        unsigned c = class_of(*p), has = 0;
        const uint8_t *from = p;
        if (c == IS_MARK)
            return false;
        if (!c) {
            k->pattern[k->pattern_len++] = *p++;
            continue;
        }
        for (; p < end && (c = class_of(*p)) && c != IS_MARK; p++)
            has |= c;
        add_run(k, from, (size_t)(p - from), has);
    }
    return k->runs && k->decimal_len + k->nibble_len + GAIN_MIN <= s->len;
}

static void pattern_measure(struct ksi_pattern *p, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint8_t c = *at++;
        if (c == MARK_DECIMAL) {
            p->varints++;
        } else if (c == MARK_LOWER || c == MARK_UPPER) {
            p->nibble_bytes += (uint16_t)((*at++ + 1) / 2);
        }
    }
}

bool ksi_pattern_valid(struct ks_slice text)
{
    const uint8_t *at = (const uint8_t *)text.ptr, *end = at + text.len;
    size_t most = 0;
    while (at < end && most <= KSI_UNPACKED_MAX) {
        uint8_t c = *at++;
        bool nibbles = c == MARK_LOWER || c == MARK_UPPER;
        if (!c || (nibbles && at == end))
            return false;
        most += nibbles ? *at++ : c == MARK_DECIMAL ? 20 : 1;
    }
    return most <= KSI_UNPACKED_MAX;
}

static uint64_t pattern_hash(struct ks_slice text)
{
    return ksi_text_hash(text) ^ 0x5bd1e995;
}

ks_err ksi_pattern_load(struct ksi_gen *g, uint32_t pos, uint32_t len)
{
    struct ksi_table *t = &g->pattern_table;
    if (!ksi_table_roomy(t)) {
        KS_TRY(ksi_table_grow(g, t));
        for (uint32_t i = 0; i < g->patterns_count; i++)
            ksi_table_put(t, g->patterns[i].hash, i);
    }
    KS_TRY(ksi_gen_reserve(g, (void **)&g->patterns, &g->patterns_cap, g->patterns_count + 1,
                           sizeof *g->patterns));
    const uint8_t *text = ksi_chunks_at(&g->text, pos);
    struct ksi_pattern p = {.pos = pos, .len = len, .hash = pattern_hash(ks_slice(text, len))};
    pattern_measure(&p, text, text + len);
    ksi_table_put(t, p.hash, (uint32_t)g->patterns_count);
    t->count++;
    g->patterns[g->patterns_count++] = p;
    return KS_OK;
}

static ks_err pattern_add(struct ksi_gen *g, struct ks_slice text, uint32_t *ret)
{
    uint32_t pos;
    char *to = ksi_chunks_alloc(g, &g->text, text.len, &pos);
    if (!to)
        return KS_ENOMEM;
    memcpy(to, text.ptr, text.len);
    KS_TRY(ksi_pattern_load(g, pos, (uint32_t)text.len));
    *ret = (uint32_t)g->patterns_count - 1;
    return KS_OK;
}

/* The pattern's number when it is known or has come a second time. */
static bool pattern_of(struct ksi_gen *g, struct ksi_mapping *m, const struct packing *k,
                       uint32_t *ret)
{
    struct ks_slice text = ks_slice(k->pattern, k->pattern_len);
    uint64_t hash = pattern_hash(text);
    const struct ksi_table *t = &g->pattern_table;
    for (size_t i = hash & t->mask; t->slots && t->slots[i]; i = (i + 1) & t->mask) {
        const struct ksi_pattern *p = &g->patterns[t->slots[i] - 1];
        if (p->hash == hash && p->len == text.len &&
            memcmp(ksi_chunks_at(&g->text, p->pos), text.ptr, text.len) == 0) {
            *ret = t->slots[i] - 1;
            return true;
        }
    }
    return ksi_note(g, m, hash) && g->patterns_count < PATTERNS_MAX &&
           pattern_add(g, text, ret) == KS_OK;
}

void ksi_put_value(struct ksi_gen *g, struct ksi_mapping *m, const struct ks_batch *b, uint32_t key,
                   uint32_t string)
{
    const struct ks_batch_string *s = &b->strings[string];
    uint32_t at = number_of(g, m, s, string, key + 1, ksi_pair_hash(b->strings[key].hash, s->hash));
    if (KS_LIKELY(at != KSI_NONE)) {
        ks_buf_varint(&m->record, (uint64_t)(at - 1) << 1 | 1);
        return;
    }
    struct packing k;
    uint32_t pattern;
    if (s->len < PACK_MIN_BYTES || s->len > KSI_PACKED_MAX || !pack(s, &k) ||
        !pattern_of(g, m, &k, &pattern)) {
        put_raw(&m->record, s);
        return;
    }
    ks_buf_varint(&m->record, (uint64_t)pattern << 2 | 2);
    ks_buf_add(&m->record, k.decimals, k.decimal_len);
    ks_buf_add(&m->record, k.nibbles, k.nibble_len);
}

/* --- unpacking --- */
static size_t write_decimal(uint64_t v, char *out)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

struct ks_slice ksi_unpack_value(const struct ksi_data *g, uint32_t number, const uint8_t **p,
                                 char scratch[KSI_UNPACKED_MAX])
{
    const struct ksi_pattern *pt = &g->patterns[number];
    const uint8_t *at = ksi_chunks_at(&g->text, pt->pos), *end = at + pt->len, *nibbles = *p;
    char *out = scratch;
    for (unsigned i = 0; i < pt->varints; i++)
        (void)ksi_varint(&nibbles);
    while (at < end) {
        uint8_t c = *at++;
        if (c > MARK_LAST || !c) {
            *out++ = (char)c;
        } else if (c == MARK_DECIMAL) {
            out += write_decimal(ksi_varint(p), out);
        } else {
            const char *hex = c == MARK_LOWER ? "0123456789abcdef" : "0123456789ABCDEF";
            unsigned width = *at++;
            for (unsigned i = 0; i < width; i++)
                *out++ = hex[i & 1 ? *nibbles++ & 15 : *nibbles >> 4];
            nibbles += width & 1;
        }
    }
    *p = nibbles;
    return ks_slice(scratch, (size_t)(out - scratch));
}

ks_err ksi_value_view(const struct ksi_data *g, const uint8_t **p, struct ks_arena *arena,
                      struct ks_slice *ret)
{
    char scratch[KSI_UNPACKED_MAX];
    *ret = ksi_value_text(g, p, scratch);
    if (ret->ptr == scratch) {
        *ret = ks_arena_dup(arena, *ret);
        if (!ret->ptr)
            return ks_arena_err(arena);
    }
    return KS_OK;
}
