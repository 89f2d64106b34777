/*
 * Splitting texts into what is said again and again and what varies. A variable is a token with a
 * digit in it, a dotted run of numbers (addresses, versions, decimals), or a UUID; the rest is the
 * template. Tokens are never cut: each lies wholly in the template or wholly in a variable.
 *
 * Texts of templates met less than three times are kept whole, as the one slot of template 0.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/logs/template_priv.h"
#include "storage/logs/token.h"

enum { SAMPLE_ROWS = 512, RARE = 3, TEXT_MAX = 64 << 20, UUID_LEN = 36 };

void ksi_split_free(struct ksi_split *s)
{
    if (!s)
        return;
    ks_buf_done(&s->text);
    ks_buf_done(&s->texts);
    ksi_classes_done(&s->classes);
    ks_free(s->shapes);
    ks_free(s->table);
    ks_free(s->shape_of);
    ks_free(s->first_slot);
    ks_free(s->slots);
    ks_free(s->grouped);
    ks_free(s->vector);
    ks_free(s);
}

/* --- one text --- */

static bool is_uuid(const char *p, size_t left)
{
    if (left < UUID_LEN || (left > UUID_LEN && ks_is_token_char(p[UUID_LEN])))
        return false;
    for (size_t i = 0; i < UUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? p[i] != '-' : !(ks_char_class[(uint8_t)p[i]] & KS_CHAR_HEX))
            return false;
    }
    return true;
}

/* The end of a variable whose first token is [i, j): dotted numbers are taken together. */
static size_t extend(struct ks_slice v, size_t i, size_t j)
{
    for (size_t k = i; k < j; k++)
        if (!ks_is_digit(v.ptr[k]))
            return j;
    while (j + 1 < v.len && v.ptr[j] == '.' && ks_is_digit(v.ptr[j + 1])) {
        size_t k = j + 1;
        while (k < v.len && ks_is_digit(v.ptr[k]))
            k++;
        if (k < v.len && ks_is_token_char(v.ptr[k]))
            return j;
        j = k;
    }
    return j;
}

/*
 * The UUID a token with a digit, at i, is part of; its first groups may have none, so they are
 * looked for where they would begin. *ret_start: at `least` or later.
 */
static bool find_uuid(struct ks_slice v, size_t least, size_t i, size_t *ret_start)
{
    static const uint8_t groups[] = {0, 9, 14, 19, 24};
    for (size_t g = sizeof groups; g-- > 0;) {
        if (i < least + groups[g] || (g && v.ptr[i - 1] != '-'))
            continue;
        size_t at = i - groups[g];
        if ((at && ks_is_token_char(v.ptr[at - 1])) || !is_uuid(v.ptr + at, v.len - at))
            continue;
        *ret_start = at;
        return true;
    }
    return false;
}

static ks_err add_slot(struct ksi_split *s, struct ks_slice v)
{
    if (s->slot_count == s->slot_cap)
        KS_TRY(ks_array_reserve((void **)&s->slots, &s->slot_cap, s->slot_count + 1,
                                sizeof *s->slots));
    s->slots[s->slot_count++] = v;
    return KS_OK;
}

bool ksi_split_one(struct ksi_split *s, struct ks_slice v, uint32_t *ret_slots, ks_err *err)
{
    size_t i = 0, first = s->slot_count;
    ks_buf_reset(&s->text);
    *err = ksi_classes_of(&s->classes, v);
    if (*err != KS_OK || s->classes.has_nul)
        return false;
    if (!ks_buf_reserve(&s->text, v.len)) {
        *err = ks_buf_status(&s->text);
        return false;
    }
    char *out = s->text.ptr;
    for (size_t digit; (digit = ksi_classes_digit(&s->classes, i)) < v.len;) {
        size_t start = ksi_classes_start(&s->classes, digit, i);
        size_t end = ksi_classes_end(&s->classes, digit);
        if ((end - start == 4 || end - start == 8 || end - start == 12) &&
            find_uuid(v, i, start, &start))
            end = start + UUID_LEN;
        else
            end = extend(v, start, end);
        if (s->slot_count - first == KSI_TEMPLATE_SLOTS)
            return false;
        *err = add_slot(s, ks_slice_sub(v, start, end - start));
        if (*err != KS_OK)
            return false;
        memcpy(out, v.ptr + i, start - i);
        out += start - i;
        *out++ = KSI_SLOT_MARK;
        i = end;
    }
    memcpy(out, v.ptr + i, v.len - i);
    out += v.len - i;
    s->text.len = (size_t)(out - s->text.ptr);
    *ret_slots = (uint32_t)(s->slot_count - first);
    return true;
}

/* --- shapes --- */

static ks_err grow_table(struct ksi_split *s)
{
    size_t cap = s->table_cap ? s->table_cap * 2 : 1024;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->shape_count; i++) {
        size_t at = s->shapes[i].hash & (cap - 1);
        while (table[at])
            at = (at + 1) & (cap - 1);
        table[at] = (uint32_t)i + 1;
    }
    ks_free(s->table);
    s->table = table;
    s->table_cap = cap;
    return KS_OK;
}

ks_err ksi_split_shape(struct ksi_split *s, uint32_t slots, uint32_t *ret)
{
    struct ks_slice text = ks_buf_view(&s->text);
    uint64_t hash = ks_hash64(text.ptr, text.len);
    if (s->shape_count * 2 >= s->table_cap)
        KS_TRY(grow_table(s));
    size_t at = hash & (s->table_cap - 1);
    for (; s->table[at]; at = (at + 1) & (s->table_cap - 1)) {
        struct ksi_shape *x = &s->shapes[s->table[at] - 1];
        if (x->hash == hash && ks_slice_eq(ks_slice(s->texts.ptr + x->at, x->len), text)) {
            x->rows++;
            *ret = s->table[at] - 1;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&s->shapes, &s->shape_cap, s->shape_count + 1,
                            sizeof *s->shapes));
    s->shapes[s->shape_count] = (struct ksi_shape){
        .at = s->texts.len, .len = (uint32_t)text.len, .slots = slots, .rows = 1, .hash = hash};
    ks_buf_slice(&s->texts, text);
    s->table[at] = (uint32_t)++s->shape_count;
    *ret = (uint32_t)s->shape_count - 1;
    return ks_buf_status(&s->texts);
}

ks_err ksi_split_row(struct ksi_split *s, size_t i, struct ks_slice v)
{
    uint32_t slots;
    ks_err err = KS_OK;
    s->first_slot[i] = s->slot_count;
    s->shape_of[i] = KSI_ESCAPED;
    if (ksi_split_one(s, v, &slots, &err))
        return ksi_split_shape(s, slots, &s->shape_of[i]);
    s->slot_count = s->first_slot[i];
    return err;
}

/* Splits all rows; false when templates do not pay. */
static bool split_all(struct ksi_split *s, const struct ks_slice *v, size_t n, ks_err *err)
{
    for (size_t i = 0; i < n; i++) {
        *err = ksi_split_row(s, i, v[i]);
        if (*err != KS_OK)
            return false;
        if (i == SAMPLE_ROWS && s->shape_count > SAMPLE_ROWS / 2)
            return false;
    }
    return s->shape_count <= n / 3 + 4;
}

uint32_t ksi_split_number(struct ksi_split *s, size_t n, size_t *ret_escaped)
{
    uint32_t count = 0;
    size_t kept = 0;
    for (size_t i = 0; i < s->shape_count; i++) {
        struct ksi_shape *x = &s->shapes[i];
        x->id = x->rows >= RARE && count < KSI_TEMPLATES ? ++count : 0;
        kept += x->id ? x->rows : 0;
    }
    *ret_escaped = n - kept;
    return count;
}

/* --- writing --- */

static void put_texts_and_ids(struct ksi_enc *e, struct ksi_split *s, size_t n, uint32_t count)
{
    struct ks_buf *out = &e->payload;
    ks_buf_reset(out);
    for (size_t i = 0; i < s->shape_count; i++) {
        if (!s->shapes[i].id)
            continue;
        struct ks_slice text = ks_slice(s->texts.ptr + s->shapes[i].at, s->shapes[i].len);
        ks_buf_lp(out, text);
        ksi_enc_tokens(e, text);
    }
    size_t width = count < 256 ? 1 : 2;
    if (ks_buf_reserve(out, n * width)) {
        uint8_t *p = (uint8_t *)out->ptr + out->len;
        for (size_t i = 0; i < n; i++) {
            uint32_t id = ksi_split_id(s, i);
            if (width == 1)
                p[i] = (uint8_t)id;
            else
                ks_put_le16(p + 2 * i, (uint16_t)id);
        }
        out->len += n * width;
    }
    if (e->err == KS_OK)
        e->err = ks_buf_status(out);
    ksi_enc_place(e, ks_buf_view(out));
}

/* Rows by template, each template's in order. starts: count + 2 entries. */
static void group_rows(struct ksi_split *s, size_t n, uint32_t count, uint32_t *starts)
{
    memset(starts, 0, (count + 2) * sizeof *starts);
    for (size_t i = 0; i < n; i++)
        starts[ksi_split_id(s, i) + 1]++;
    for (uint32_t t = 0; t <= count; t++)
        starts[t + 1] += starts[t];
    for (size_t i = 0; i < n; i++)
        s->grouped[starts[ksi_split_id(s, i)]++] = (uint32_t)i;
    for (uint32_t t = count + 1; t > 0; t--)
        starts[t] = starts[t - 1];
    starts[0] = 0;
}

static void put_slots(struct ksi_enc *e, struct ksi_split *s, const struct ks_slice *v,
                      uint32_t count, const uint32_t *starts)
{
    for (uint32_t t = 0; t <= count && e->err == KS_OK; t++) {
        const uint32_t *rows = s->grouped + starts[t];
        uint32_t n = starts[t + 1] - starts[t];
        if (!n)
            continue;
        uint32_t slots = t ? s->shapes[s->shape_of[rows[0]]].slots : 1;
        for (uint32_t k = 0; k < slots; k++) {
            for (uint32_t i = 0; i < n; i++)
                s->vector[i] = t ? s->slots[s->first_slot[rows[i]] + k] : v[rows[i]];
            ksi_enc_values(e, s->vector, n, 1);
        }
    }
}

ks_err ksi_split_begin(struct ksi_enc *e, size_t n)
{
    if (!e->split) {
        if (!(e->split = ks_zalloc(sizeof *e->split)))
            return KS_ENOMEM;
        ks_buf_init(&e->split->text, TEXT_MAX);
        ks_buf_init(&e->split->texts, TEXT_MAX);
    }
    struct ksi_split *s = e->split;
    KS_TRY(ks_array_reserve((void **)&s->shape_of, &s->row_cap, n, sizeof *s->shape_of));
    KS_TRY(ks_array_reserve((void **)&s->first_slot, &s->first_cap, n, sizeof *s->first_slot));
    KS_TRY(ks_array_reserve((void **)&s->grouped, &s->grouped_cap, n, sizeof *s->grouped));
    KS_TRY(ks_array_reserve((void **)&s->vector, &s->vector_cap, n, sizeof *s->vector));
    if (s->shape_count)
        memset(s->table, 0, s->table_cap * sizeof *s->table);
    s->shape_count = s->slot_count = 0;
    ks_buf_reset(&s->texts);
    return KS_OK;
}

void ksi_split_put_head(struct ksi_enc *e, size_t n, uint32_t count, uint32_t *starts)
{
    struct ksi_split *s = e->split;
    group_rows(s, n, count, starts);
    ks_buf_byte(&e->dir, KSI_NODE_TEMPLATE);
    ks_buf_varint(&e->dir, count);
    ks_buf_varint(&e->dir, starts[1]); /* rows kept whole */
    for (uint32_t t = 1; t <= count; t++) {
        ks_buf_varint(&e->dir, starts[t + 1] - starts[t]);
        ks_buf_varint(&e->dir, s->shapes[s->shape_of[s->grouped[starts[t]]]].slots);
    }
    put_texts_and_ids(e, s, n, count);
}

bool ksi_enc_templates(struct ksi_enc *e, const struct ks_slice *v, size_t n)
{
    ks_err err = ksi_split_begin(e, n);
    struct ksi_split *s = e->split;
    size_t escaped;
    if (err != KS_OK || !split_all(s, v, n, &err)) {
        e->err = e->err == KS_OK ? err : e->err;
        return false;
    }
    uint32_t count = ksi_split_number(s, n, &escaped);
    if (!count || escaped > n / 2)
        return false;
    uint32_t *starts = ks_alloc_array(count + 2, sizeof *starts);
    if (!starts) {
        e->err = KS_ENOMEM;
        return false;
    }
    ksi_split_put_head(e, n, count, starts);
    put_slots(e, s, v, count, starts);
    ks_free(starts);
    return true;
}
