/*
 * Filtering a column of templates: first what the static text of a template says of all its rows,
 * then what its slots say of single rows (search.h); text is made of the rows left.
 */
#include <string.h>

#include "storage/logs/block_read_priv.h"
#include "storage/logs/search.h"
#include "storage/logs/template_rows.h"
#include "storage/logs/token.h"

/* Variables have a digit in every token but those of UUIDs. */
static bool may_be_in_variable(struct ks_slice token)
{
    if (ks_has_digit(token))
        return true;
    if (token.len != 4 && token.len != 8 && token.len != 12)
        return false;
    for (size_t i = 0; i < token.len; i++)
        if (!(ks_char_class[(uint8_t)token.ptr[i]] & KS_CHAR_HEX))
            return false;
    return true;
}

enum { ANY_MAX = 32 };

enum verdict {
    NONE,
    ALL,
    ASK,  /* the text of each row */
    SOME, /* the rows of its mask */
    ASK_SOME
};

struct filter {
    struct ks_lblock *b;
    struct ksi_node *n;
    const struct ks_log_pred *pred;
    const uint64_t *want;
    bool all; /* every row is wanted */
    size_t words;
    uint64_t *bits;    /* scratch: rows of a template */
    uint8_t *verdicts; /* by template */
    uint64_t **masks;  /* of SOME, ASK_SOME: rows by their number within the template */
    uint32_t *next;    /* scratch: rows of a template met so far */
};

/* Whether the literal stands in the text of a template so that every row matches. */
static bool answers(struct ks_slice text, const struct ks_log_pred *pred)
{
    struct ks_slice l = pred->literal;
    const char *p = text.ptr, *end = text.ptr + text.len;
    if (!l.len || (!pred->substring && !pred->phrase && !pred->prefix) ||
        memchr(l.ptr, KSI_SLOT_MARK, l.len))
        return false;
    while ((size_t)(end - p) >= l.len && (p = memmem(p, (size_t)(end - p), l.ptr, l.len))) {
        if (pred->substring)
            return true;
        const char *behind = p + l.len;
        /* A byte above 127 may be a letter: ask then. Next to a slot no token character stands. */
        bool starts = !ks_is_token_char(l.ptr[0]) || p == text.ptr ||
                      (!ks_is_token_char(p[-1]) && !((uint8_t)p[-1] & 0x80));
        bool ends = pred->prefix || !ks_is_token_char(l.ptr[l.len - 1]) || behind == end ||
                    (!ks_is_token_char(*behind) && !((uint8_t)*behind & 0x80));
        bool wide = ((uint8_t)l.ptr[0] | (uint8_t)l.ptr[l.len - 1]) & 0x80;
        if (starts && ends && !wide)
            return true;
        p++;
    }
    return false;
}

static enum verdict judge(const struct ksi_template *x, const struct ks_log_pred *pred)
{
    for (size_t i = 0; i < pred->token_count; i++) {
        struct ks_slice t = pred->tokens[i];
        if (x->slots && may_be_in_variable(t))
            continue;
        if (!ks_contains_token(x->text, t))
            return NONE;
    }
    if (answers(x->text, pred))
        return ALL;
    if (x->slots)
        return ASK;
    return pred->match(pred->arg, x->text) ? ALL : NONE;
}

/* Verdicts of all templates. True: some need more than their static text. */
static bool judge_all(struct filter *f)
{
    const struct ksi_templates *t = f->n->templates;
    bool open = t->items[0].rows > 0;
    f->verdicts[0] = open ? ASK : NONE;
    for (uint32_t id = 1; id <= t->count; id++) {
        f->verdicts[id] = (uint8_t)judge(&t->items[id], f->pred);
        open |= f->verdicts[id] == ASK;
    }
    return open;
}

static uint32_t count_verdicts(const struct filter *f, enum verdict a, enum verdict b)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id <= f->n->templates->count; id++)
        n += f->verdicts[id] == a || f->verdicts[id] == b;
    return n;
}

/* --- narrowing by slots --- */

static ks_err new_mask(struct filter *f, uint32_t id)
{
    uint32_t rows = f->n->templates->items[id].rows;
    f->masks[id] = ks_arena_zalloc(&f->b->arena, (KS_ROW_WORDS(rows) + 1) * 8);
    return f->masks[id] ? KS_OK : ks_arena_err(&f->b->arena);
}

/* The rows wanted of each template that is asked. */
static ks_err make_masks(struct filter *f)
{
    const struct ksi_templates *t = f->n->templates;
    bool few = count_verdicts(f, ASK, ASK) <= KSI_TEMPLATES_FEW;
    for (uint32_t id = 0; id <= t->count; id++) {
        if (f->verdicts[id] != ASK)
            continue;
        KS_TRY(new_mask(f, id));
        if (f->all) {
            memset(f->masks[id], 0xff, t->items[id].rows / 64 * 8);
            f->masks[id][t->items[id].rows / 64] = (1ull << t->items[id].rows % 64) - 1;
        } else if (few) {
            ksi_template_bits(t, f->n->count, id, f->bits);
            ksi_bits_gather(f->bits, f->want, f->words, f->masks[id]);
        }
    }
    if (f->all || few)
        return KS_OK;
    memset(f->next, 0, (t->count + 1) * sizeof *f->next);
    for (uint32_t i = 0; i < f->n->count; i++) {
        uint32_t id = ksi_template_id(t, i), k = f->next[id]++;
        if (f->verdicts[id] == ASK)
            f->masks[id][k / 64] |= (uint64_t)ksi_bit(f->want, i) << k % 64;
    }
    return KS_OK;
}

static struct ksi_search_text search_text(const struct ks_log_pred *p, struct ks_slice text)
{
    return (struct ksi_search_text){text, p->bounded_start, p->bounded_end};
}

static ks_err narrow(struct filter *f, uint32_t id)
{
    const struct ks_log_pred *p = f->pred;
    bool some = false, known = p->substring;
    for (size_t i = 0; i < p->literal_count; i++) {
        enum ksi_found found;
        KS_TRY(ksi_search_template(f->n, id, search_text(p, p->literals[i]), &f->b->pages,
                                   &f->b->arena, f->masks[id], &found));
        if (found == KSI_FOUND_NONE) {
            f->verdicts[id] = NONE;
            return KS_OK;
        }
        some |= found == KSI_FOUND_SOME || found == KSI_FOUND_MAYBE;
        known &= found == KSI_FOUND_SOME || found == KSI_FOUND_ALL;
    }
    f->verdicts[id] = known ? some ? SOME : ALL : some ? ASK_SOME : ASK;
    return KS_OK;
}

/* Rows that hold one of some texts. */
static ks_err narrow_any(struct filter *f, uint32_t id)
{
    const struct ks_log_pred *p = f->pred;
    size_t words = KS_ROW_WORDS(f->n->templates->items[id].rows);
    uint64_t *one = ks_arena_array(&f->b->arena, words + 1, sizeof *one);
    uint64_t *sum = ks_arena_zalloc(&f->b->arena, (words + 1) * sizeof *sum), any = 0;
    if (!one || !sum)
        return ks_arena_err(&f->b->arena);
    for (size_t i = 0; i < p->any_count; i++) {
        enum ksi_found found;
        for (size_t w = 0; w < words; w++)
            one[w] = f->masks[id][w] & ~sum[w];
        KS_TRY(ksi_search_template(f->n, id, search_text(p, p->any[i]), &f->b->pages, &f->b->arena,
                                   one, &found));
        if (found == KSI_FOUND_ALL || found == KSI_FOUND_UNKNOWN)
            return KS_OK; /* each row of it is to be asked */
        for (size_t w = 0; found != KSI_FOUND_NONE && w < words; w++)
            sum[w] |= one[w];
    }
    for (size_t w = 0; w < words; w++)
        any |= sum[w];
    f->verdicts[id] = any ? ASK_SOME : NONE;
    f->masks[id] = sum;
    return KS_OK;
}

static ks_err narrow_all(struct filter *f)
{
    bool any = f->pred->any_count > 0 && f->pred->any_count <= ANY_MAX;
    if (!f->pred->literal_count && !any)
        return KS_OK;
    KS_TRY(ksi_template_children(f->n, &f->b->arena));
    KS_TRY(make_masks(f));
    for (uint32_t id = 0; id <= f->n->templates->count; id++)
        if (f->verdicts[id] == ASK)
            KS_TRY(f->pred->literal_count ? narrow(f, id) : narrow_any(f, id));
    return KS_OK;
}

/* --- back to rows --- */

/* Template by template. */
static void spread_few(struct filter *f, uint64_t *hit, uint64_t *ask)
{
    const struct ksi_templates *t = f->n->templates;
    for (uint32_t id = 0; id <= t->count; id++) {
        uint8_t v = f->verdicts[id];
        uint64_t *to = v == ALL || v == SOME ? hit : ask;
        if (v == NONE)
            continue;
        ksi_template_bits(t, f->n->count, id, f->bits);
        if (v >= SOME)
            ksi_bits_scatter(f->bits, f->masks[id], f->words, to);
        for (size_t w = 0; v < SOME && w < f->words; w++)
            to[w] |= f->bits[w] & f->want[w];
    }
}

/* Row by row. */
static void spread_many(struct filter *f, uint64_t *hit, uint64_t *ask)
{
    const struct ksi_templates *t = f->n->templates;
    memset(f->next, 0, (t->count + 1) * sizeof *f->next);
    for (uint32_t i = 0; i < f->n->count; i++) {
        uint32_t id = ksi_template_id(t, i), k = f->next[id]++;
        uint8_t v = f->verdicts[id];
        if (v == NONE || !(v >= SOME ? ksi_bit(f->masks[id], k) : ksi_bit(f->want, i)))
            continue;
        (v == ALL || v == SOME ? hit : ask)[i / 64] |= 1ull << i % 64;
    }
}

static bool all_set(const uint64_t *bits, uint32_t count)
{
    uint64_t all = ~0ull;
    for (size_t w = 0; w < count / 64; w++)
        all &= bits[w];
    return all == ~0ull && (!(count % 64) || bits[count / 64] == (1ull << count % 64) - 1);
}

static ks_err filter_new(struct filter *f)
{
    struct ks_arena *a = &f->b->arena;
    size_t templates = f->n->templates->count + 1u;
    f->words = KS_ROW_WORDS(f->n->count);
    f->all = all_set(f->want, f->n->count);
    f->verdicts = ks_arena_zalloc(a, templates);
    f->masks = ks_arena_zalloc(a, templates * sizeof *f->masks);
    f->next = ks_arena_array(a, templates, sizeof *f->next);
    f->bits = ks_arena_array(a, f->words, sizeof *f->bits);
    return f->verdicts && f->masks && f->next && f->bits ? KS_OK : ks_arena_err(a);
}

ks_err ksi_filter_templates(struct ks_lblock *b, struct ksi_node *n, const struct ks_log_pred *pred,
                            const uint64_t *want, uint64_t *hit)
{
    struct filter f = {.b = b, .n = n, .pred = pred, .want = want};
    uint64_t *ask = ks_arena_zalloc(&b->arena, KS_ROW_WORDS(n->count) * 8), any = 0;
    struct ksi_vector v;
    if (!ask)
        return ks_arena_err(&b->arena);
    KS_TRY(filter_new(&f));
    KS_TRY(ksi_templates_load(n, &b->pages, &b->arena));
    if (judge_all(&f))
        KS_TRY(narrow_all(&f));
    uint32_t none = count_verdicts(&f, NONE, NONE), templates = n->templates->count + 1;
    if (templates - none > KSI_TEMPLATES_FEW)
        spread_many(&f, hit, ask);
    else if (none < templates)
        spread_few(&f, hit, ask);
    for (size_t w = 0; w < f.words; w++)
        any |= ask[w];
    if (!any)
        return KS_OK;
    KS_TRY(ksi_node_decode(n, &b->pages, &b->arena, ask, &v));
    ksi_filter_values(&v, n->count, pred, ask, hit);
    return KS_OK;
}
