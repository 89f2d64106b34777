/* See column_merge.h. One thread per encoder. */
#include "storage/logs/column_merge.h"

#include <string.h>

#include "base/mem.h"

void ksi_enc_merge_free(struct ksi_enc_merge *m)
{
    if (!m)
        return;
    ks_free(m->texts);
    ks_free(m->of_piece);
    ks_free(m->ord);
    ks_free(m->whole);
    ks_free(m->stretches);
    ks_free(m->pieces);
    ks_free(m);
}

static bool failed(struct ksi_enc *e, ks_err err)
{
    if (e->err == KS_OK)
        e->err = err;
    return e->err != KS_OK;
}

ks_err ksi_src_text(struct ksi_src *s)
{
    if (!s->has_text)
        KS_TRY(ksi_node_decode(s->node, s->pages, s->arena, NULL, &s->text));
    s->has_text = true;
    return KS_OK;
}

/* --- dictionaries and constants --- */

/* The codes of a source are looked up once each. */
static bool map_codes(struct ksi_enc *e, struct ksi_enc_dict *d, const struct ksi_piece *p,
                      uint32_t *out)
{
    struct ksi_src *s = p->src;
    uint32_t one;
    if (s->node->kind == KSI_NODE_CONST) {
        if (!ksi_enc_dict_code(e, d, s->node->constant, &one))
            return false;
        for (uint32_t i = 0; i < p->count; i++)
            out[i] = one;
        return true;
    }
    if (failed(e, ksi_src_text(s)))
        return false;
    size_t bytes = s->text.value_count * sizeof *s->codes;
    if (!s->codes && !(s->codes = ks_arena_alloc(s->arena, bytes)))
        return failed(e, ks_arena_err(s->arena)), false;
    if (s->codes_round != e->merge->round) {
        memset(s->codes, 0, bytes);
        s->codes_round = e->merge->round;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t c = s->text.codes[p->first + i];
        if (KS_UNLIKELY(!s->codes[c])) {
            if (!ksi_enc_dict_code(e, d, s->text.values[c], &one))
                return false;
            s->codes[c] = one + 1;
        }
        out[i] = s->codes[c] - 1;
    }
    return true;
}

static bool put_codes(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n,
                      int depth)
{
    struct ksi_enc_dict d;
    size_t at = 0;
    for (size_t i = 0; i < pieces; i++)
        if (p[i].src->node->kind != KSI_NODE_CONST && p[i].src->node->kind != KSI_NODE_DICT)
            return false;
    if (n < KSI_DICT_MIN_ROWS || !ksi_enc_dict_begin(e, n, &d))
        return false;
    e->merge->round++;
    for (size_t i = 0; i < pieces; at += p[i++].count)
        if (!map_codes(e, &d, &p[i], e->codes + at))
            return false;
    if (d.count > KSI_SMALL_DICT)
        return false; /* perhaps they are numbers */
    if (d.count == 1) {
        ksi_enc_const(e, d.values[0], depth);
        return true;
    }
    for (size_t i = 0; depth && i < d.count; i++)
        ksi_enc_tokens(e, d.values[i]);
    ksi_enc_dict_put(e, &d, n);
    return true;
}

/* --- numbers --- */

static bool same_type(const struct ks_typed *a, const struct ks_typed *b)
{
    return a->kind == b->kind && a->digits == b->digits && a->date_sep == b->date_sep &&
           a->fraction_sep == b->fraction_sep && a->suffix_len == b->suffix_len &&
           a->upper == b->upper && memcmp(a->suffix, b->suffix, a->suffix_len) == 0;
}

/* The numbers of a piece; false when they are not all of type t. */
static bool take_numbers(struct ksi_enc *e, const struct ksi_piece *p, const struct ks_typed *t,
                         int64_t *out)
{
    struct ksi_src *s = p->src;
    int64_t one;
    if (s->node->kind == KSI_NODE_CONST) {
        if (!ks_typed_parse(t, s->node->constant, &one))
            return false;
        for (uint32_t i = 0; i < p->count; i++)
            out[i] = one;
        return true;
    }
    if (s->node->kind == KSI_NODE_DICT) {
        if (failed(e, ksi_src_text(s)))
            return false;
        for (uint32_t i = 0; i < p->count; i++)
            if (!ks_typed_parse(t, s->text.values[s->text.codes[p->first + i]], &out[i]))
                return false;
        return true;
    }
    if (s->node->kind == KSI_NODE_RAW && s->has_text) { /* a few rows among many */
        for (uint32_t i = 0; i < p->count; i++)
            if (!ks_typed_parse(t, s->text.values[p->first + i], &out[i]))
                return false;
        return true;
    }
    if (!ksi_is_number(s->node) || !same_type(t, &s->node->typed))
        return false;
    if (!s->numbers && failed(e, ksi_node_numbers(s->node, s->pages, s->arena, &s->numbers)))
        return false;
    memcpy(out, s->numbers + p->first, p->count * sizeof *out);
    return true;
}

static bool all_same(const int64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return false;
    return true;
}

static bool put_numbers(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n,
                        int depth)
{
    size_t first = 0, at = 0;
    while (first < pieces && !ksi_is_number(p[first].src->node))
        first++;
    if (first == pieces ||
        failed(e, ks_array_reserve((void **)&e->numbers, &e->number_cap, n, sizeof *e->numbers)))
        return false;
    const struct ks_typed *t = &p[first].src->node->typed;
    for (size_t i = 0; i < pieces; at += p[i++].count)
        if (!take_numbers(e, &p[i], t, e->numbers + at))
            return false;
    if (all_same(e->numbers, n))
        return false;
    ks_buf_byte(&e->dir, (uint8_t)(KSI_NODE_TYPED + t->kind));
    ks_typed_save(t, &e->dir);
    for (size_t i = 0; t->kind == KS_TYPED_TIME && depth && i < n; i++) {
        char text[KS_TYPED_TEXT_MAX];
        ksi_enc_tokens(e, ks_slice(text, ks_typed_print(t, e->numbers[i], text)));
    }
    e->numbers_left_out |= t->kind != KS_TYPED_TIME;
    ksi_enc_numbers(e, e->numbers, n);
    return true;
}

/* --- hex ids --- */

static bool put_packed(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n)
{
    const struct ks_typed *t = &p[0].src->node->typed;
    size_t each = ks_hex_bytes(t), equal = 0;
    for (size_t i = 0; i < pieces; i++)
        if (!ksi_is_hex(p[i].src->node) || !same_type(t, &p[i].src->node->typed))
            return false;
    ks_buf_reset(&e->payload);
    if (!ks_buf_reserve(&e->payload, each * n))
        return failed(e, ks_buf_status(&e->payload)), false;
    for (size_t i = 0; i < pieces; i++) {
        struct ksi_src *s = p[i].src;
        struct ks_slice all;
        if (!s->packed) {
            if (failed(e, ksi_pages_get(s->pages, s->node->loc, &all)))
                return false;
            s->packed = (const uint8_t *)all.ptr;
        }
        memcpy(e->payload.ptr + e->payload.len, s->packed + p[i].first * each, p[i].count * each);
        e->payload.len += p[i].count * each;
    }
    for (const char *v = e->payload.ptr; equal < n && memcmp(v, v + equal * each, each) == 0;)
        equal++;
    if (equal == n)
        return false;
    char text[KS_HEX_DIGITS_MAX + 1];
    for (size_t i = 0; i < n; i++) {
        ks_hex_unpack(t, (const uint8_t *)e->payload.ptr + i * each, text);
        ksi_enc_tokens(e, ks_slice(text, ks_hex_text(t)));
    }
    ks_buf_byte(&e->dir, (uint8_t)(KSI_NODE_TYPED + t->kind));
    ks_typed_save(t, &e->dir);
    ksi_enc_place(e, ks_buf_view(&e->payload));
    return true;
}

/* --- all else --- */

static void put_texts(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n,
                      int depth)
{
    struct ksi_enc_merge *m = e->merge;
    size_t at = 0;
    if (failed(e, ks_array_reserve((void **)&m->texts, &m->text_cap, n, sizeof *m->texts)))
        return;
    for (size_t i = 0; i < pieces; i++) {
        if (failed(e, ksi_src_text(p[i].src)))
            return;
        for (uint32_t k = 0; k < p[i].count; k++)
            m->texts[at++] = ksi_vector_at(&p[i].src->text, p[i].first + k);
    }
    ksi_enc_values(e, m->texts, n, depth);
}

/* Whether most values come from templates. */
static bool mostly_templates(const struct ksi_piece *p, size_t pieces, size_t n)
{
    size_t split = 0;
    for (size_t i = 0; i < pieces; i++)
        split += p[i].src->node->kind == KSI_NODE_TEMPLATE ? p[i].count : 0;
    return split > n / 2 && n >= KSI_TEMPLATE_MIN_ROWS;
}

void ksi_enc_pieces(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n,
                    int depth)
{
    if (e->err != KS_OK)
        return;
    if (!e->merge && !(e->merge = ks_zalloc(sizeof *e->merge))) {
        e->err = KS_ENOMEM;
        return;
    }
    if (put_codes(e, p, pieces, n, depth) || put_numbers(e, p, pieces, n, depth) ||
        put_packed(e, p, pieces, n))
        return;
    if (e->err == KS_OK && depth == 0 && mostly_templates(p, pieces, n) &&
        ksi_enc_template_pieces(e, p, pieces, n))
        return;
    if (e->err == KS_OK)
        put_texts(e, p, pieces, n, depth);
}
