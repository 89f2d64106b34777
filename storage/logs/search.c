/* See search.h. */
#include "storage/logs/search.h"

#include <string.h>

#include "storage/logs/pred.h"
#include "storage/logs/slot_keep.h"
#include "storage/logs/token.h"

enum { ASKS_MAX = 8, WAYS_MAX = 64 };

/* One way the text lies over the template: all asks have to be answered with yes. */
struct way {
    uint32_t count;
    struct {
        uint32_t slot;
        struct ksi_ask ask;
    } asks[ASKS_MAX];
};

struct search {
    struct ksi_node *children; /* of the template's slots */
    uint32_t slots;
    struct ks_slice pieces[KSI_TEMPLATE_SLOTS + 1]; /* static: before slot 0, behind slot 0, … */
    struct way *ways;
    size_t way_count;
    bool start, end; /* of a token: see search.h */
    bool too_many, loose;
};

/* Whether values are one token each, so that nothing within them is a boundary. */
static bool is_token(const struct ksi_node *n)
{
    if (n->kind != KSI_NODE_TYPED)
        return false;
    return n->typed.kind == KS_TYPED_PADDED || n->typed.kind == KS_TYPED_HEX ||
           (n->typed.kind == KS_TYPED_INT && n->min >= 0);
}

/* The ask, made stricter by boundaries. last: the text ends here. */
static enum ksi_part_of strict(const struct search *s, uint32_t slot, enum ksi_part_of how)
{
    bool starts = how == KSI_CONTAINS || how == KSI_ENDS,
         ends = how == KSI_CONTAINS || how == KSI_BEGINS;
    if (!is_token(&s->children[slot]))
        return how;
    bool whole_start = how == KSI_BEGINS || how == KSI_EQUALS || (starts && s->start);
    bool whole_end = how == KSI_ENDS || how == KSI_EQUALS || (ends && s->end);
    return whole_start ? (whole_end ? KSI_EQUALS : KSI_BEGINS)
           : whole_end ? KSI_ENDS
                       : KSI_CONTAINS;
}

static bool add_ask(struct search *s, struct way *w, uint32_t slot, enum ksi_part_of how,
                    struct ks_slice text)
{
    struct ksi_ask ask = {strict(s, slot, how), text};
    if (!ksi_slot_may(&s->children[slot], ask))
        return false;
    KS_ASSERT(w->count < ASKS_MAX);
    w->asks[w->count].slot = slot;
    w->asks[w->count].ask = ask;
    w->count++;
    return true;
}

static void add_way(struct search *s, const struct way *w)
{
    if (s->way_count == WAYS_MAX)
        s->too_many = true;
    else
        s->ways[s->way_count++] = *w;
}

static bool same(const char *a, const char *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

/* rest is to lie from the beginning of slot on; w: what was asked to get there. At most ASKS_MAX
 * deep. */
static void lay(struct search *s, struct way w, uint32_t slot, struct ks_slice rest)
{
    struct way ended = w;
    if (w.count == ASKS_MAX) { /* enough is known; the rest is for the texts to say */
        s->loose = true;
        add_way(s, &w);
        return;
    }
    if (add_ask(s, &ended, slot, KSI_BEGINS, rest))
        add_way(s, &ended);
    struct ks_slice piece = s->pieces[slot + 1];
    for (size_t m = 0; m < rest.len && !s->too_many; m++) {
        /* the value is rest[0, m), the piece behind it goes on */
        size_t left = rest.len - m, n = left < piece.len ? left : piece.len;
        if (!same(piece.ptr, rest.ptr + m, n) || (n < left && slot + 1 == s->slots))
            continue;
        struct way next = w;
        if (!add_ask(s, &next, slot, KSI_EQUALS, ks_slice(rest.ptr, m)))
            continue;
        if (n == left)
            add_way(s, &next);
        else
            lay(s, next, slot + 1, ks_slice_from(rest, m + n));
    }
}

/* Ways that begin within the static piece before `slot` and leave it. */
static void from_piece(struct search *s, uint32_t slot, struct ks_slice text)
{
    struct ks_slice piece = s->pieces[slot];
    size_t from = piece.len >= text.len ? piece.len - text.len + 1 : 0;
    for (; from < piece.len && !s->too_many; from++)
        if (piece.ptr[from] == text.ptr[0] && same(piece.ptr + from, text.ptr, piece.len - from))
            lay(s, (struct way){0}, slot, ks_slice_from(text, piece.len - from));
}

/* Ways that begin within a slot. */
static void from_slot(struct search *s, uint32_t slot, struct ks_slice text)
{
    struct ks_slice piece = s->pieces[slot + 1];
    struct way inside = {0};
    if (add_ask(s, &inside, slot, KSI_CONTAINS, text))
        add_way(s, &inside);
    for (size_t m = 1; m < text.len && !s->too_many; m++) {
        size_t left = text.len - m, n = left < piece.len ? left : piece.len;
        if (!same(piece.ptr, text.ptr + m, n) || (n < left && slot + 1 == s->slots))
            continue;
        struct way w = {0};
        if (!add_ask(s, &w, slot, KSI_ENDS, ks_slice(text.ptr, m)))
            continue;
        if (n == left)
            add_way(s, &w);
        else
            lay(s, w, slot + 1, ks_slice_from(text, m + n));
    }
}

/* Cuts the template's text at its slots. */
static void cut(struct search *s, const struct ksi_template *x, bool whole)
{
    struct ks_slice rest = whole ? ks_slice("", 0) : x->text;
    for (uint32_t i = 0; i < s->slots && !whole; i++) {
        const char *mark = memchr(rest.ptr, KSI_SLOT_MARK, rest.len);
        s->pieces[i] = ks_slice(rest.ptr, (size_t)(mark - rest.ptr));
        rest = ks_slice_from(rest, s->pieces[i].len + 1);
    }
    if (whole)
        s->pieces[0] = ks_slice("", 0);
    s->pieces[s->slots] = rest;
}

/* The rows of all ways. */
static ks_err gather(struct search *s, uint32_t rows, struct ksi_pages *pages,
                     struct ks_arena *arena, uint64_t *bits)
{
    size_t words = KS_ROW_WORDS(rows);
    uint64_t *one = ks_arena_array(arena, words + 1, sizeof *one);
    uint64_t *sum = ks_arena_zalloc(arena, (words + 1) * sizeof *sum);
    if (!one || !sum)
        return ks_arena_err(arena);
    for (size_t i = 0; i < s->way_count; i++) {
        const struct way *w = &s->ways[i];
        for (size_t k = 0; k < words; k++)
            one[k] = bits[k] & ~sum[k];
        for (uint32_t k = 0; k < w->count; k++)
            KS_TRY(ksi_slot_keep(&s->children[w->asks[k].slot], pages, arena, w->asks[k].ask, one));
        for (size_t k = 0; k < words; k++)
            sum[k] |= one[k];
    }
    memcpy(bits, sum, words * sizeof *bits);
    return KS_OK;
}

ks_err ksi_search_template(struct ksi_node *n, uint32_t id, struct ksi_search_text what,
                           struct ksi_pages *pages, struct ks_arena *arena, uint64_t *bits,
                           enum ksi_found *ret)
{
    const struct ksi_template *x = &n->templates->items[id];
    struct ks_slice text = what.text;
    struct way ways[WAYS_MAX];
    struct search s = {.children = &n->children[x->first_child],
                       .slots = x->slots,
                       .ways = ways,
                       .start = what.start && ks_is_token_char(text.ptr[0]),
                       .end = what.end && ks_is_token_char(text.ptr[text.len - 1])};
    cut(&s, x, id == 0);
    *ret = KSI_FOUND_ALL;
    for (uint32_t i = 0; i <= s.slots; i++)
        if (s.pieces[i].len >= text.len &&
            memmem(s.pieces[i].ptr, s.pieces[i].len, text.ptr, text.len))
            return KS_OK;
    for (uint32_t i = 0; i < s.slots && !s.too_many; i++) {
        from_piece(&s, i, text);
        from_slot(&s, i, text);
    }
    *ret = s.too_many ? KSI_FOUND_UNKNOWN : s.way_count ? KSI_FOUND_SOME : KSI_FOUND_NONE;
    if (*ret != KSI_FOUND_SOME)
        return KS_OK;
    KS_TRY(gather(&s, x->rows, pages, arena, bits));
    uint64_t any = 0;
    for (size_t w = 0; w < KS_ROW_WORDS(x->rows); w++)
        any |= bits[w];
    *ret = !any ? KSI_FOUND_NONE : s.loose ? KSI_FOUND_MAYBE : KSI_FOUND_SOME;
    return KS_OK;
}
