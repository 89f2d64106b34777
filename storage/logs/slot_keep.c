/* See slot_keep.h. */
#include "storage/logs/slot_keep.h"

#include <string.h>

#include "storage/logs/column.h"
#include "storage/logs/pred.h"
#include "storage/logs/token.h"

enum { INT_DIGITS_MAX = 19 };

static bool passes(struct ksi_ask ask, struct ks_slice v)
{
    struct ks_slice t = ask.text;
    if (v.len < t.len)
        return false;
    switch (ask.how) {
    case KSI_CONTAINS:
        return !t.len || memmem(v.ptr, v.len, t.ptr, t.len) != NULL;
    case KSI_BEGINS:
        return !t.len || memcmp(v.ptr, t.ptr, t.len) == 0;
    case KSI_ENDS:
        return !t.len || memcmp(v.ptr + v.len - t.len, t.ptr, t.len) == 0;
    default:
        return v.len == t.len && (!t.len || memcmp(v.ptr, t.ptr, t.len) == 0);
    }
}

static bool none(const uint64_t *bits, uint32_t count)
{
    uint64_t any = 0;
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++)
        any |= bits[w];
    return !any;
}

static void clear(uint64_t *bits, uint32_t count)
{
    memset(bits, 0, KS_ROW_WORDS(count) * sizeof *bits);
}

/* --- what a type can say at all --- */

static bool only_of(struct ks_slice text, const char *chars, size_t count)
{
    for (size_t i = 0; i < text.len; i++)
        if (!memchr(chars, text.ptr[i], count))
            return false;
    return true;
}

static size_t put(char *out, size_t n, const char *chars, size_t count)
{
    memcpy(out + n, chars, count);
    return n + count;
}

static bool typed_may(const struct ks_typed *t, struct ks_slice text)
{
    char set[32];
    size_t n = put(set, 0, "0123456789", 10);
    switch (t->kind) {
    case KS_TYPED_INT:
        n = put(set, n, "-", 1);
        break;
    case KS_TYPED_PADDED:
        if (text.len > t->digits)
            return false;
        break;
    case KS_TYPED_DECIMAL:
        n = put(set, n, "-.", 2);
        break;
    case KS_TYPED_IPV4:
        n = put(set, n, ".", 1);
        break;
    case KS_TYPED_TIME:
        n = put(set, n, "-:", 2);
        set[n++] = (char)t->date_sep;
        set[n++] = (char)t->fraction_sep;
        n = put(set, n, t->suffix, t->suffix_len);
        break;
    default: /* hex, uuid */
        if (text.len > ks_hex_text(t))
            return false;
        n = put(set, n, t->upper ? "ABCDEF-" : "abcdef-", t->kind == KS_TYPED_UUID ? 7 : 6);
    }
    return text.len <= KS_HEX_DIGITS_MAX && only_of(text, set, n);
}

bool ksi_slot_may(const struct ksi_node *n, struct ksi_ask ask)
{
    if (n->kind == KSI_NODE_CONST)
        return passes(ask, n->constant);
    if (n->kind != KSI_NODE_TYPED)
        return true;
    /* no typed value is empty */
    return ask.text.len ? typed_may(&n->typed, ask.text) : ask.how != KSI_EQUALS;
}

/* --- dictionaries and text --- */

static ks_err keep_dict(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                        struct ksi_ask ask, uint64_t *bits)
{
    struct ksi_vector v;
    KS_TRY(ksi_node_decode(n, pages, arena, NULL, &v));
    uint8_t *good = ks_arena_alloc(arena, v.value_count + 1u), any = 0, all = 1;
    if (!good)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < v.value_count; i++) {
        good[i] = passes(ask, v.values[i]);
        any |= good[i];
        all &= good[i];
    }
    if (!any)
        clear(bits, n->count);
    if (!any || all)
        return KS_OK;
    for (size_t w = 0; w < KS_ROW_WORDS(n->count); w++)
        for (uint64_t left = bits[w]; left; left &= left - 1)
            if (!good[v.codes[w * 64 + (unsigned)__builtin_ctzll(left)]])
                bits[w] &= ~(left & -left);
    return KS_OK;
}

static void keep_each(const struct ksi_vector *v, uint32_t count, struct ksi_ask ask,
                      uint64_t *bits)
{
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++)
        for (uint64_t left = bits[w]; left; left &= left - 1)
            if (!passes(ask, v->values[w * 64 + (unsigned)__builtin_ctzll(left)]))
                bits[w] &= ~(left & -left);
}

/* Values that hold the text, by one search over all of them. */
static ks_err keep_holding(const struct ksi_vector *v, uint32_t count, struct ks_slice text,
                           struct ks_arena *arena, uint64_t *bits)
{
    uint64_t *hit = ks_arena_zalloc(arena, KS_ROW_WORDS(count) * sizeof *hit);
    if (!hit)
        return ks_arena_err(arena);
    const char *p = v->values[0].ptr;
    const char *end = v->values[count - 1].ptr + v->values[count - 1].len;
    uint32_t i = 0;
    while (p < end && (p = memmem(p, (size_t)(end - p), text.ptr, text.len))) {
        while (v->values[i].ptr + v->values[i].len <= p)
            i++;
        const char *stop = v->values[i].ptr + v->values[i].len;
        if ((size_t)(stop - p) < text.len) { /* it crosses into the next */
            p++;
            continue;
        }
        hit[i / 64] |= 1ull << i % 64;
        p = stop;
    }
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++)
        bits[w] &= hit[w];
    return KS_OK;
}

static ks_err keep_raw(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                       struct ksi_ask ask, uint64_t *bits)
{
    struct ksi_vector v;
    struct ks_slice payload;
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    size_t head = (size_t)n->width * n->count;
    if (ask.text.len && (payload.len < head || !memmem(payload.ptr + head, payload.len - head,
                                                       ask.text.ptr, ask.text.len))) {
        clear(bits, n->count);
        return KS_OK;
    }
    KS_TRY(ksi_node_decode(n, pages, arena, NULL, &v));
    if (ask.how == KSI_CONTAINS && ask.text.len)
        return keep_holding(&v, n->count, ask.text, arena, bits);
    keep_each(&v, n->count, ask, bits);
    return KS_OK;
}

/* --- numbers --- */

struct range {
    int64_t min, max;
};

static void keep_ranges(const int64_t *v, uint32_t count, const struct range *r, size_t ranges,
                        uint64_t *bits)
{
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++) {
        uint64_t in = 0;
        size_t n = count - w * 64 < 64 ? count - w * 64 : 64;
        for (size_t k = 0; bits[w] && k < ranges; k++)
            for (size_t i = 0; i < n; i++)
                in |= (uint64_t)(v[w * 64 + i] >= r[k].min && v[w * 64 + i] <= r[k].max) << i;
        bits[w] &= in;
    }
}

static int64_t pow10_i(size_t n)
{
    int64_t p = 1;
    while (n--)
        p *= 10;
    return p;
}

/* The numbers whose text begins with these digits, as far as [n->min, n->max] goes. False: not
 * known (signs, leading zeros). */
static bool ranges_of(const struct ksi_node *n, struct ks_slice text, struct range *out,
                      size_t *ret_count)
{
    int64_t x = 0;
    size_t count = 0, digits = n->typed.digits;
    bool padded = n->typed.kind == KS_TYPED_PADDED;
    if (!padded && (n->typed.kind != KS_TYPED_INT || n->min < 0))
        return false;
    if (!text.len || text.len > INT_DIGITS_MAX - 1 || (padded && digits > INT_DIGITS_MAX - 1))
        return false;
    for (size_t i = 0; i < text.len; i++)
        x = x * 10 + (text.ptr[i] - '0');
    if (padded) {
        int64_t step = pow10_i(digits - text.len);
        out[count++] = (struct range){x * step, x * step + (step - 1)};
    } else if (text.ptr[0] == '0') {
        if (text.len == 1)
            out[count++] = (struct range){0, 0};
    } else {
        for (size_t more = 0; text.len + more <= INT_DIGITS_MAX - 1; more++) {
            int64_t step = pow10_i(more);
            if (x * step > n->max)
                break;
            if (x * step + (step - 1) >= n->min)
                out[count++] = (struct range){x * step, x * step + (step - 1)};
        }
        if (n->max >= pow10_i(INT_DIGITS_MAX - 1))
            return false;
    }
    *ret_count = count;
    return true;
}

static ks_err keep_numbers(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                           struct ksi_ask ask, uint64_t *bits)
{
    struct range ranges[INT_DIGITS_MAX + 1];
    size_t count;
    int64_t *v, x;
    bool known = true;
    char text[KS_TYPED_TEXT_MAX];
    if (ask.how == KSI_EQUALS) {
        count = ks_typed_parse(&n->typed, ask.text, &x) && x >= n->min && x <= n->max;
        ranges[0] = (struct range){x, x};
    } else {
        known = ask.how == KSI_BEGINS && ranges_of(n, ask.text, ranges, &count);
    }
    if (known && !count) {
        clear(bits, n->count);
        return KS_OK;
    }
    KS_TRY(ksi_node_numbers(n, pages, arena, &v));
    if (known) {
        keep_ranges(v, n->count, ranges, count, bits);
        return KS_OK;
    }
    const int64_t *known_of = NULL; /* what the last one printed said */
    bool good = false;
    for (size_t w = 0; w < KS_ROW_WORDS(n->count); w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            uint32_t i = (uint32_t)(w * 64) + (unsigned)__builtin_ctzll(left);
            if (!known_of || *known_of != v[i])
                good = passes(ask, ks_slice(text, ks_typed_print(&n->typed, v[i], text)));
            known_of = &v[i];
            if (!good)
                bits[w] &= ~(left & -left);
        }
    }
    return KS_OK;
}

static ks_err keep_hex(struct ksi_node *n, struct ksi_pages *pages, struct ksi_ask ask,
                       uint64_t *bits)
{
    struct ks_slice payload;
    uint8_t packed[KS_HEX_DIGITS_MAX];
    char text[KS_HEX_DIGITS_MAX];
    size_t bytes = ks_hex_bytes(&n->typed), len = ks_hex_text(&n->typed);
    bool whole = ask.text.len == len;
    if ((whole && !ks_hex_pack(&n->typed, ask.text, packed)) || (ask.how == KSI_EQUALS && !whole)) {
        clear(bits, n->count);
        return KS_OK;
    }
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    for (size_t w = 0; w < KS_ROW_WORDS(n->count); w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            size_t i = w * 64 + (unsigned)__builtin_ctzll(left);
            const uint8_t *p = (const uint8_t *)payload.ptr + i * bytes;
            bool good = whole && memcmp(p, packed, bytes) == 0;
            if (!whole) {
                ks_hex_unpack(&n->typed, p, text);
                good = passes(ask, ks_slice(text, len));
            }
            if (!good)
                bits[w] &= ~(left & -left);
        }
    }
    return KS_OK;
}

ks_err ksi_slot_keep(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                     struct ksi_ask ask, uint64_t *bits)
{
    KS_ASSERT(n->kind != KSI_NODE_TEMPLATE);
    if (!ksi_slot_may(n, ask)) {
        clear(bits, n->count);
        return KS_OK;
    }
    if ((!ask.text.len && ask.how != KSI_EQUALS) || none(bits, n->count))
        return KS_OK;
    switch (n->kind) {
    case KSI_NODE_CONST:
        return KS_OK; /* it may, so it does */
    case KSI_NODE_DICT:
        return keep_dict(n, pages, arena, ask, bits);
    case KSI_NODE_RAW:
        return keep_raw(n, pages, arena, ask, bits);
    default:
        if (n->typed.kind == KS_TYPED_HEX || n->typed.kind == KS_TYPED_UUID)
            return keep_hex(n, pages, ask, bits);
        return keep_numbers(n, pages, arena, ask, bits);
    }
}
