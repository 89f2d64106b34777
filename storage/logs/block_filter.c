/*
 * Filtering a column with as little reading as the hints allow: the bloom filter first, then what
 * the encoding knows (constant, dictionary, range of numbers, template), then the text of the rows
 * that are left. Hints never say yes on their own, but for templates whose text holds the literal.
 */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "storage/logs/block_read_priv.h"
#include "storage/logs/token.h"

enum { EXACT_NUMBERS = 64, EXACT_BLOOM = 256 };

/* --- tokens --- */

static bool all_digits(struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!ks_is_digit(s.ptr[i]))
            return false;
    return true;
}

static bool may_have(const struct ksi_column *c, struct ks_slice bloom, struct ks_slice token)
{
    return (c->dir->bloom_without_numbers && all_digits(token)) ||
           ks_bloom_may_have(bloom, ks_token_hash(token));
}

/* Whether the value may be there: all its tokens are. */
static bool may_have_value(const struct ksi_column *c, struct ks_slice bloom, struct ks_slice value)
{
    struct ks_slice token;
    size_t at = 0;
    while (ks_token_next(value, &at, &token))
        if (!may_have(c, bloom, token))
            return false;
    return true;
}

/* Whether the filter of the column rules the predicate out. */
static ks_err ruled_out(struct ks_lblock *b, const struct ksi_column *c,
                        const struct ks_log_pred *pred, bool *ret)
{
    struct ks_slice bloom;
    bool values = pred->exact && pred->exact_count <= EXACT_BLOOM;
    *ret = false;
    if (!c->dir->bloom_len || (!pred->token_count && !values))
        return KS_OK;
    KS_TRY(ksi_lblock_bloom(b, &bloom));
    if (c->dir->bloom_at > bloom.len || c->dir->bloom_len > bloom.len - c->dir->bloom_at)
        return ks_fail(KS_ECORRUPT, "%s: log block %zu: filter out of range",
                       ks_part_path(b->part->file), b->index);
    bloom = ks_slice(bloom.ptr + c->dir->bloom_at, c->dir->bloom_len);
    for (size_t i = 0; i < pred->token_count && !*ret; i++)
        *ret = !may_have(c, bloom, pred->tokens[i]);
    if (*ret || !values)
        return KS_OK;
    for (size_t i = 0; i < pred->exact_count; i++)
        if (may_have_value(c, bloom, pred->exact[i]))
            return KS_OK;
    *ret = true;
    return KS_OK;
}

/* --- by value --- */

static bool at_want(const uint64_t *want, uint32_t i)
{
    return ksi_bit(want, i);
}

void ksi_filter_values(const struct ksi_vector *v, uint32_t count, const struct ks_log_pred *pred,
                       const uint64_t *want, uint64_t *hit)
{
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++) {
        for (uint64_t left = want[w]; left; left &= left - 1) {
            size_t i = w * 64 + (unsigned)__builtin_ctzll(left);
            if (pred->match(pred->arg, v->values[i]))
                hit[w] |= left & -left;
        }
    }
}

/* Each value of a dictionary is asked at most once. */
static ks_err filter_dict(struct ks_lblock *b, const struct ksi_vector *v, uint32_t count,
                          const struct ks_log_pred *pred, const uint64_t *want, uint64_t *hit)
{
    uint8_t *state = ks_arena_zalloc(&b->arena, v->value_count + 1);
    if (!state)
        return ks_arena_err(&b->arena);
    for (size_t w = 0; w < KS_ROW_WORDS(count); w++) {
        for (uint64_t left = want[w]; left; left &= left - 1) {
            uint32_t code = v->codes[w * 64 + (unsigned)__builtin_ctzll(left)];
            if (!state[code])
                state[code] = pred->match(pred->arg, v->values[code]) ? 2 : 1;
            if (state[code] == 2)
                hit[w] |= left & -left;
        }
    }
    return KS_OK;
}

/* Rows whose text holds the literal are found by one search over all the text. */
static ks_err filter_raw(struct ks_lblock *b, struct ksi_node *n, const struct ks_log_pred *pred,
                         const uint64_t *want, uint64_t *hit)
{
    struct ksi_vector v;
    KS_TRY(ksi_node_decode(n, &b->pages, &b->arena, NULL, &v));
    if (pred->literal.len < 2) {
        ksi_filter_values(&v, n->count, pred, want, hit);
        return KS_OK;
    }
    const char *p = v.values[0].ptr;
    const char *end = v.values[n->count - 1].ptr + v.values[n->count - 1].len;
    uint32_t i = 0;
    while (p < end && (p = memmem(p, (size_t)(end - p), pred->literal.ptr, pred->literal.len))) {
        while (v.values[i].ptr + v.values[i].len <= p)
            i++;
        if (at_want(want, i) && pred->match(pred->arg, v.values[i]))
            hit[i / 64] |= 1ull << i % 64;
        p = v.values[i].ptr + v.values[i].len; /* also when the literal crossed into the next */
        if (i + 1 < n->count)
            i++;
    }
    return KS_OK;
}

/* --- numbers --- */

/* Leaves in `some` the rows whose number is one of the exact ones. False: cannot be told. */
static bool keep_exact(const struct ksi_node *n, const int64_t *v, const struct ks_log_pred *pred,
                       uint64_t *some)
{
    int64_t exact[EXACT_NUMBERS];
    size_t count = 0;
    if (!pred->exact || pred->exact_count > EXACT_NUMBERS)
        return false;
    for (size_t i = 0; i < pred->exact_count; i++)
        if (ks_typed_parse(&n->typed, pred->exact[i], &exact[count]) && exact[count] >= n->min &&
            exact[count] <= n->max)
            count++;
    for (uint32_t i = 0; i < n->count; i++) {
        bool in = false;
        for (size_t k = 0; k < count; k++)
            in |= v[i] == exact[k];
        if (!in)
            some[i / 64] &= ~(1ull << i % 64);
    }
    return true;
}

static double pow10_d(unsigned n)
{
    double p = 1;
    while (n--)
        p *= 10;
    return p;
}

/* Leaves the rows that may lie in the range: a hair wider than it, the text decides. */
static void keep_range(const struct ksi_node *n, const int64_t *v, const struct ks_log_pred *pred,
                       uint64_t *some)
{
    double scale = n->typed.kind == KS_TYPED_DECIMAL ? pow10_d(n->typed.digits) : 1;
    double lo = pred->range_min * scale, hi = pred->range_max * scale;
    lo -= 1 + (lo < 0 ? -lo : lo) * 1e-12;
    hi += 1 + (hi < 0 ? -hi : hi) * 1e-12;
    for (uint32_t i = 0; i < n->count; i++)
        if (!((double)v[i] >= lo && (double)v[i] <= hi))
            some[i / 64] &= ~(1ull << i % 64);
}

static ks_err filter_numbers(struct ks_lblock *b, struct ksi_node *n,
                             const struct ks_log_pred *pred, const uint64_t *want, uint64_t *hit)
{
    size_t words = KS_ROW_WORDS(n->count);
    uint8_t kind = n->typed.kind;
    bool number = kind == KS_TYPED_INT || kind == KS_TYPED_PADDED || kind == KS_TYPED_DECIMAL;
    bool range = pred->has_range && number;
    const uint64_t *rest = want;
    struct ksi_vector v;
    if (kind != KS_TYPED_HEX && kind != KS_TYPED_UUID && (pred->exact || range)) {
        int64_t *numbers;
        uint64_t *some = ks_arena_alloc(&b->arena, words * 8 + 8), any = 0;
        if (!some)
            return ks_arena_err(&b->arena);
        memcpy(some, want, words * 8);
        KS_TRY(ksi_node_numbers(n, &b->pages, &b->arena, &numbers));
        if (!keep_exact(n, numbers, pred, some) && range)
            keep_range(n, numbers, pred, some);
        for (size_t w = 0; w < words; w++)
            any |= some[w];
        if (!any)
            return KS_OK;
        rest = some;
    }
    KS_TRY(ksi_node_decode(n, &b->pages, &b->arena, rest, &v));
    ksi_filter_values(&v, n->count, pred, rest, hit);
    return KS_OK;
}

/* --- the whole --- */

static ks_err filter_node(struct ks_lblock *b, struct ksi_node *n, const struct ks_log_pred *pred,
                          const uint64_t *want, uint64_t *hit)
{
    struct ksi_vector v;
    switch (n->kind) {
    case KSI_NODE_CONST:
        if (pred->match(pred->arg, n->constant))
            memcpy(hit, want, KS_ROW_WORDS(n->count) * 8);
        return KS_OK;
    case KSI_NODE_DICT:
        KS_TRY(ksi_node_decode(n, &b->pages, &b->arena, NULL, &v));
        return filter_dict(b, &v, n->count, pred, want, hit);
    case KSI_NODE_RAW:
        return filter_raw(b, n, pred, want, hit);
    case KSI_NODE_TEMPLATE:
        return ksi_filter_templates(b, n, pred, want, hit);
    default:
        return filter_numbers(b, n, pred, want, hit);
    }
}

/* What the values said, back to rows. */
static ks_err apply(struct ks_lblock *b, struct ksi_column *c, const uint64_t *hit,
                    bool match_empty, uint64_t *bits)
{
    const uint64_t *present;
    KS_TRY(ksi_column_present(b, c, &present));
    uint32_t k = 0;
    for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++) {
        if (!present) {
            bits[w] &= hit[w];
            continue;
        }
        uint64_t keep = match_empty ? ~present[w] : 0;
        for (uint64_t left = present[w]; left; left &= left - 1, k++)
            if (ksi_bit(hit, k))
                keep |= left & -left;
        bits[w] &= keep;
    }
    return KS_OK;
}

static bool none_set(const uint64_t *bits, uint32_t rows)
{
    uint64_t any = 0;
    for (size_t w = 0; w < KS_ROW_WORDS(rows); w++)
        any |= bits[w];
    return !any;
}

/* Whether a row has the column is all that is asked: stored values are never empty. */
static ks_err filter_presence(struct ks_lblock *b, struct ksi_column *c, bool has, uint64_t *bits)
{
    const uint64_t *present;
    KS_TRY(ksi_column_parse(b, c));
    KS_TRY(ksi_column_present(b, c, &present));
    for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++)
        bits[w] &= !present ? (has ? ~0ull : 0) : has ? present[w] : ~present[w];
    return KS_OK;
}

ks_err ks_lblock_filter(struct ks_lblock *b, struct ks_slice name, const struct ks_log_pred *pred,
                        uint64_t *bits)
{
    struct ksi_column *c;
    const uint64_t *want;
    bool out;
    KS_TRY(ksi_lblock_find(b, name, &c));
    if (!c) {
        if (!pred->match_empty)
            memset(bits, 0, KS_ROW_WORDS(b->rows) * 8);
        return KS_OK;
    }
    if (none_set(bits, b->rows))
        return KS_OK;
    if (pred->not_empty || pred->only_empty)
        return filter_presence(b, c, pred->not_empty, bits);
    KS_TRY(ruled_out(b, c, pred, &out));
    if (out && !pred->match_empty) {
        memset(bits, 0, KS_ROW_WORDS(b->rows) * 8);
        return KS_OK;
    }
    KS_TRY(ksi_column_parse(b, c));
    uint64_t *hit = ks_arena_zalloc(&b->arena, (c->count / 64 + 1) * 8);
    if (!hit)
        return ks_arena_err(&b->arena);
    if (!out) {
        KS_TRY(ksi_column_want(b, c, bits, &want));
        if (!none_set(want, c->count))
            KS_TRY(filter_node(b, &c->node, pred, want, hit));
    }
    return apply(b, c, hit, pred->match_empty, bits);
}
