/*
 * Encoding vectors of values: constant, dictionary, typed numbers, hex ids, templates, plain text,
 * whichever is cheapest to guess right. Deterministic: equal vectors give equal bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/logs/block_priv.h"
#include "storage/logs/token.h"

enum {
    OWN_PAGE_BYTES = 16 << 10,
    GROUP_BYTES = 256 << 10,
    DICT_SAMPLE = 1024,
    SORTED_DICT = 4096,
    BUF_MAX = 64 << 20,
    NO_PAGE = UINT32_MAX,
};

void ksi_enc_init(struct ksi_enc *e, struct ks_part_writer *w)
{
    *e = (struct ksi_enc){.w = w, .group_page = NO_PAGE};
    ks_buf_init(&e->group, BUF_MAX);
    ks_buf_init(&e->dir, BUF_MAX);
    ks_buf_init(&e->payload, BUF_MAX);
    ks_buf_init(&e->scratch, BUF_MAX);
    ks_buf_init(&e->blooms, BUF_MAX);
}

void ksi_enc_done(struct ksi_enc *e)
{
    ks_buf_done(&e->group);
    ks_buf_done(&e->dir);
    ks_buf_done(&e->payload);
    ks_buf_done(&e->scratch);
    ks_buf_done(&e->blooms);
    ks_hash_set_done(&e->tokens);
    ksi_split_free(e->split);
    ksi_enc_merge_free(e->merge);
    ks_free(e->pages);
    ks_free(e->numbers);
    ks_free(e->codes);
    ks_free(e->table);
}

void ksi_enc_begin_block(struct ksi_enc *e)
{
    ks_buf_reset(&e->group);
    ks_buf_reset(&e->dir);
    ks_buf_reset(&e->blooms);
    e->page_count = 0;
    e->group_page = NO_PAGE;
}

static void check(struct ksi_enc *e, ks_err err)
{
    if (e->err == KS_OK)
        e->err = err;
}

/* --- where payloads go --- */

static uint32_t new_page(struct ksi_enc *e)
{
    check(e,
          ks_array_reserve((void **)&e->pages, &e->page_cap, e->page_count + 1, sizeof *e->pages));
    if (e->err != KS_OK)
        return 0;
    e->pages[e->page_count] = (struct ks_page_ref){0};
    return (uint32_t)e->page_count++;
}

static void write_page(struct ksi_enc *e, uint32_t page, struct ks_slice raw)
{
    if (e->err == KS_OK)
        e->err = ks_part_page(e->w, KSI_SECTION_COLUMNS, raw, KS_PAGE_ZSTD, &e->pages[page]);
}

static void close_group(struct ksi_enc *e)
{
    if (e->group_page == NO_PAGE)
        return;
    check(e, ks_buf_status(&e->group));
    write_page(e, e->group_page, ks_buf_view(&e->group));
    ks_buf_reset(&e->group);
    e->group_page = NO_PAGE;
}

void ksi_enc_end_block(struct ksi_enc *e)
{
    close_group(e);
    check(e, ks_buf_status(&e->dir));
    check(e, ks_buf_status(&e->blooms));
}

void ksi_enc_place(struct ksi_enc *e, struct ks_slice payload)
{
    struct ksi_loc loc = {0, 0, (uint32_t)payload.len};
    if (payload.len >= OWN_PAGE_BYTES) {
        loc.page = new_page(e);
        write_page(e, loc.page, payload);
    } else if (payload.len) {
        if (e->group_page == NO_PAGE)
            e->group_page = new_page(e);
        loc.page = e->group_page;
        loc.offset = (uint32_t)e->group.len;
        ks_buf_slice(&e->group, payload);
        if (e->group.len > GROUP_BYTES)
            close_group(e);
    }
    ks_buf_varint(&e->dir, loc.page);
    ks_buf_varint(&e->dir, loc.offset);
    ks_buf_varint(&e->dir, loc.len);
}

void ksi_enc_tokens(struct ksi_enc *e, struct ks_slice text)
{
    size_t at = 0;
    struct ks_slice token;
    if (!e->gather)
        return;
    while (ks_token_next(text, &at, &token))
        check(e, ks_hash_set_add(&e->tokens, ks_token_hash(token)));
}

/* --- numbers --- */

static unsigned bit_width(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* Byte k of every number stands together: high bytes, which repeat, compress to nothing. */
static void put_planes(struct ks_buf *out, const int64_t *v, size_t n, unsigned width, int64_t base,
                       bool delta)
{
    if (!width || !ks_buf_reserve(out, n * width))
        return;
    uint8_t *p = (uint8_t *)out->ptr + out->len;
    uint64_t prev = (uint64_t)base;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = (uint64_t)v[i] - prev;
        if (delta) {
            x = ks_zigzag((int64_t)x);
            prev = (uint64_t)v[i];
        }
        for (unsigned k = 0; k < width; k++)
            p[k * n + i] = (uint8_t)(x >> 8 * k);
    }
    out->len += n * width;
}

void ksi_enc_numbers(struct ksi_enc *e, const int64_t *v, size_t n)
{
    int64_t min = v[0], max = v[0];
    uint64_t plain_bits = 0, delta_bits = 0, widest = 0;
    for (size_t i = 1; i < n; i++) {
        min = v[i] < min ? v[i] : min;
        max = v[i] > max ? v[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t d = ks_zigzag((int64_t)((uint64_t)v[i] - (uint64_t)v[i ? i - 1 : 0]));
        plain_bits += bit_width((uint64_t)v[i] - (uint64_t)min);
        delta_bits += bit_width(d);
        widest = d > widest ? d : widest;
    }
    bool delta = delta_bits < plain_bits - plain_bits / 8;
    unsigned bits = delta ? bit_width(widest) : bit_width((uint64_t)max - (uint64_t)min);
    unsigned width = (bits + 7) / 8;
    ks_buf_zigzag(&e->dir, min);
    ks_buf_varint(&e->dir, (uint64_t)max - (uint64_t)min);
    ks_buf_byte(&e->dir, (uint8_t)(width | (delta ? 16 : 0)));
    if (delta)
        ks_buf_zigzag(&e->dir, v[0]);
    ks_buf_reset(&e->payload);
    put_planes(&e->payload, v, n, width, delta ? v[0] : min, delta);
    check(e, ks_buf_status(&e->payload));
    ksi_enc_place(e, ks_buf_view(&e->payload));
}

static bool parse_all(struct ksi_enc *e, const struct ks_typed *t, const struct ks_slice *v,
                      size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!ks_typed_parse(t, v[i], &e->numbers[i]))
            return false;
    return true;
}

static bool pack_all(struct ksi_enc *e, const struct ks_typed *t, const struct ks_slice *v,
                     size_t n)
{
    size_t each = ks_hex_bytes(t);
    ks_buf_reset(&e->payload);
    if (!ks_buf_reserve(&e->payload, each * n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!ks_hex_pack(t, v[i], (uint8_t *)e->payload.ptr + i * each))
            return false;
    e->payload.len = each * n;
    return true;
}

static bool encode_typed(struct ksi_enc *e, const struct ks_slice *v, size_t n, int depth)
{
    struct ks_typed t = ks_typed_guess(v[0]);
    check(e, ks_array_reserve((void **)&e->numbers, &e->number_cap, n, sizeof *e->numbers));
    if (t.kind == KS_TYPED_NONE || e->err != KS_OK)
        return false;
    bool hex = t.kind == KS_TYPED_HEX || t.kind == KS_TYPED_UUID;
    bool fits = hex ? pack_all(e, &t, v, n) : parse_all(e, &t, v, n);
    if (!fits && (t.kind == KS_TYPED_INT || t.kind == KS_TYPED_PADDED)) {
        /* 17 among 05, or ids of which the first happened to have no letter. */
        struct ks_slice first = v[0];
        t = (struct ks_typed){.kind = KS_TYPED_PADDED, .digits = (uint8_t)first.len};
        fits = first.len && first.len < 19 && parse_all(e, &t, v, n);
        if (!fits && first.len >= 8 && first.len <= KS_HEX_DIGITS_MAX) {
            t = (struct ks_typed){.kind = KS_TYPED_HEX, .digits = (uint8_t)first.len};
            fits = hex = pack_all(e, &t, v, n);
        }
    }
    if (!fits)
        return false;
    ks_buf_byte(&e->dir, (uint8_t)(KSI_NODE_TYPED + t.kind));
    ks_typed_save(&t, &e->dir);
    if (hex)
        ksi_enc_place(e, ks_buf_view(&e->payload));
    else
        ksi_enc_numbers(e, e->numbers, n);
    if (!hex && t.kind != KS_TYPED_TIME) {
        e->numbers_left_out = true; /* so are those of decimals and addresses: numbers, all */
        return true;
    }
    for (size_t i = 0; (hex || depth) && i < n; i++)
        ksi_enc_tokens(e, v[i]);
    return true;
}

/* --- dictionary --- */

static int by_value(const void *a, const void *b, void *values)
{
    const struct ks_slice *v = values;
    return ks_slice_cmp(v[*(const uint32_t *)a], v[*(const uint32_t *)b]);
}

bool ksi_enc_dict_begin(struct ksi_enc *e, size_t n, struct ksi_enc_dict *d)
{
    *d = (struct ksi_enc_dict){.cap = 256};
    d->limit = n / 4 < KSI_SMALL_DICT ? n / 4 : n / 8 < KSI_SMALL_DICT ? KSI_SMALL_DICT : n / 8;
    d->limit = d->limit < KSI_DICT_MAX ? d->limit : KSI_DICT_MAX;
    while (d->cap < d->limit * 2)
        d->cap *= 2;
    check(e, ks_array_reserve((void **)&e->table, &e->table_cap, d->cap, sizeof *e->table));
    check(e, ks_array_reserve((void **)&e->codes, &e->code_cap, n, sizeof *e->codes));
    ks_buf_reset(&e->scratch);
    if (e->err != KS_OK || !ks_buf_reserve(&e->scratch, (d->limit + 1) * sizeof *d->values))
        return false;
    d->values = (struct ks_slice *)(void *)e->scratch.ptr;
    memset(e->table, 0, d->cap * sizeof *e->table);
    return true;
}

bool ksi_enc_dict_code(struct ksi_enc *e, struct ksi_enc_dict *d, struct ks_slice v, uint32_t *ret)
{
    size_t at = ks_hash64(v.ptr, v.len) & (d->cap - 1);
    while (e->table[at] && !ks_slice_eq(d->values[e->table[at] - 1], v))
        at = (at + 1) & (d->cap - 1);
    if (!e->table[at]) {
        if (d->count == d->limit)
            return false;
        d->values[d->count] = v;
        e->table[at] = (uint32_t)++d->count;
    }
    *ret = e->table[at] - 1;
    return true;
}

/* Numbers the distinct values in e->codes; false when there are too many to pay. */
static bool collect(struct ksi_enc *e, const struct ks_slice *v, size_t n, struct ksi_enc_dict *d)
{
    if (!ksi_enc_dict_begin(e, n, d))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (i && ks_slice_eq(v[i], v[i - 1])) {
            e->codes[i] = e->codes[i - 1];
            continue;
        }
        if (!ksi_enc_dict_code(e, d, v[i], &e->codes[i]) ||
            (i < DICT_SAMPLE && d->count > DICT_SAMPLE / 2))
            return false;
    }
    return true;
}

static void put_lengths(struct ks_buf *out, const struct ks_slice *v, size_t n, uint8_t *ret_width)
{
    size_t widest = 0;
    for (size_t i = 0; i < n; i++)
        widest = v[i].len > widest ? v[i].len : widest;
    uint8_t width = widest < 256 ? 1 : widest < 65536 ? 2 : 4;
    if (!ks_buf_reserve(out, n * width))
        return;
    uint8_t *p = (uint8_t *)out->ptr + out->len;
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < width; k++)
            p[k * n + i] = (uint8_t)(v[i].len >> 8 * k);
    out->len += n * width;
    *ret_width = width;
}

void ksi_enc_dict_put(struct ksi_enc *e, const struct ksi_enc_dict *d, size_t n)
{
    uint8_t width = 1;
    uint32_t *order = e->table; /* at least twice as large as the dictionary */
    uint32_t *rank = order + d->count;
    for (uint32_t i = 0; i < d->count; i++)
        order[i] = i;
    if (d->count <= SORTED_DICT)
        qsort_r(order, d->count, sizeof *order, by_value, d->values);
    for (uint32_t i = 0; i < d->count; i++)
        rank[order[i]] = i;
    struct ks_slice *sorted = ks_alloc_array(d->count + 1, sizeof *sorted);
    if (!sorted) {
        check(e, KS_ENOMEM);
        return;
    }
    for (uint32_t i = 0; i < d->count; i++)
        sorted[i] = d->values[order[i]];
    struct ks_buf *out = &e->payload;
    ks_buf_reset(out);
    put_lengths(out, sorted, d->count, &width);
    for (uint32_t i = 0; i < d->count; i++)
        ks_buf_slice(out, sorted[i]);
    ks_free(sorted);
    size_t code = d->count <= 256 ? 1 : 2;
    if (ks_buf_reserve(out, n * code)) {
        uint8_t *p = (uint8_t *)out->ptr + out->len;
        for (size_t i = 0; i < n; i++) {
            uint32_t c = rank[e->codes[i]];
            if (code == 1)
                p[i] = (uint8_t)c;
            else
                ks_put_le16(p + 2 * i, (uint16_t)c);
        }
        out->len += n * code;
    }
    ks_buf_byte(&e->dir, KSI_NODE_DICT);
    ks_buf_varint(&e->dir, d->count);
    ks_buf_byte(&e->dir, width);
    check(e, ks_buf_status(out));
    ksi_enc_place(e, ks_buf_view(out));
}

static bool encode_dict(struct ksi_enc *e, const struct ks_slice *v, size_t n, int depth)
{
    struct ksi_enc_dict d;
    if (n < KSI_DICT_MIN_ROWS || !collect(e, v, n, &d))
        return false;
    /* Many distinct numbers are smaller and quicker as numbers. (The dictionary is in the scratch
     * buffer, which typed values do not use.) */
    if (d.count > KSI_SMALL_DICT && encode_typed(e, v, n, depth))
        return true;
    for (size_t i = 0; depth && i < d.count; i++)
        ksi_enc_tokens(e, d.values[i]);
    ksi_enc_dict_put(e, &d, n);
    return true;
}

/* --- text --- */

static void encode_raw(struct ksi_enc *e, const struct ks_slice *v, size_t n)
{
    uint8_t width = 1;
    ks_buf_reset(&e->payload);
    put_lengths(&e->payload, v, n, &width);
    for (size_t i = 0; i < n; i++) {
        ks_buf_slice(&e->payload, v[i]);
        ksi_enc_tokens(e, v[i]);
    }
    ks_buf_byte(&e->dir, KSI_NODE_RAW);
    ks_buf_byte(&e->dir, width);
    check(e, ks_buf_status(&e->payload));
    ksi_enc_place(e, ks_buf_view(&e->payload));
}

static bool all_equal(const struct ks_slice *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (!ks_slice_eq(v[i], v[0]))
            return false;
    return true;
}

void ksi_enc_const(struct ksi_enc *e, struct ks_slice v, int depth)
{
    ks_buf_byte(&e->dir, KSI_NODE_CONST);
    ks_buf_lp(&e->dir, v);
    if (depth)
        ksi_enc_tokens(e, v);
}

void ksi_enc_values(struct ksi_enc *e, const struct ks_slice *v, size_t n, int depth)
{
    if (e->err != KS_OK)
        return;
    if (all_equal(v, n)) {
        ksi_enc_const(e, v[0], depth);
        return;
    }
    if (encode_dict(e, v, n, depth) || encode_typed(e, v, n, depth))
        return;
    if (depth == 0 && n >= KSI_TEMPLATE_MIN_ROWS && ksi_enc_templates(e, v, n))
        return;
    encode_raw(e, v, n);
}
