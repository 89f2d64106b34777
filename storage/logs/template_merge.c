/*
 * Templates of several blocks as those of one: a row that comes split stays split; its template is
 * found by text, its variables are taken from the slots where they stand. Rows that were kept
 * whole, and those of other encodings, are split here. The node is the one that splitting all texts
 * gives.
 */
#include <string.h>

#include "base/mem.h"
#include "storage/logs/column_merge.h"
#include "storage/logs/pred.h"
#include "storage/logs/template_priv.h"

/* Rows of one template that stand together in a source (piece), or that were split here. */
struct ksi_stretch {
    uint32_t piece;    /* KSI_NO_PIECE: here, values of the vector from first on */
    uint32_t template; /* of the source */
    uint32_t first, count;
};

struct tmerge {
    struct ksi_enc *e;
    struct ksi_enc_merge *m;
    struct ksi_split *s;
    const struct ksi_piece *p;
    size_t pieces, n;
};

/* --- sources --- */

/* Templates, children, and which row of its template each value is. */
static ks_err load(struct ksi_src *s)
{
    struct ksi_node *n = s->node;
    if (s->ord)
        return KS_OK;
    KS_TRY(ksi_templates_load(n, s->pages, s->arena));
    KS_TRY(ksi_template_children(n, s->arena));
    const struct ksi_templates *t = n->templates;
    uint32_t *next = ks_arena_zalloc(s->arena, (t->count + 1) * sizeof *next);
    uint32_t *ord = ks_arena_array(s->arena, n->count, sizeof *ord);
    s->shapes = ks_arena_array(s->arena, t->count + 1u, sizeof *s->shapes);
    s->children = ks_arena_zalloc(s->arena, (n->child_count + 1) * sizeof *s->children);
    if (!next || !ord || !s->shapes || !s->children)
        return ks_arena_err(s->arena);
    for (uint32_t i = 0; i < n->count; i++)
        ord[i] = next[ksi_template_id(t, i)]++;
    for (uint32_t i = 0; i < n->child_count; i++)
        s->children[i] =
            (struct ksi_src){.node = &n->children[i], .pages = s->pages, .arena = s->arena};
    s->ord = ord;
    return KS_OK;
}

/* The shape of a source's template, by its text. */
static ks_err map_template(struct tmerge *t, struct ksi_src *s, uint32_t id)
{
    const struct ksi_template *x = &s->node->templates->items[id];
    ks_buf_reset(&t->s->text);
    ks_buf_slice(&t->s->text, x->text);
    KS_TRY(ks_buf_status(&t->s->text));
    KS_TRY(ksi_split_shape(t->s, x->slots, &s->shapes[id]));
    t->s->shapes[s->shapes[id]].rows--; /* its rows are counted one by one */
    s->shapes[id]++;
    return KS_OK;
}

static ks_err split_here(struct tmerge *t, size_t row, struct ks_slice text)
{
    t->m->of_piece[row] = KSI_NO_PIECE;
    t->m->whole[row] = text;
    return ksi_split_row(t->s, row, text);
}

static ks_err take_split(struct tmerge *t, uint32_t piece, size_t row)
{
    const struct ksi_piece *p = &t->p[piece];
    struct ksi_src *s = p->src;
    KS_TRY(load(s));
    if (s->shapes_round != t->m->round) {
        memset(s->shapes, 0, (s->node->templates->count + 1u) * sizeof *s->shapes);
        s->shapes_round = t->m->round;
    }
    for (uint32_t i = 0; i < p->count; i++, row++) {
        uint32_t id = ksi_template_id(s->node->templates, p->first + i);
        uint32_t k = s->ord[p->first + i];
        if (!id) {
            struct ksi_src *whole = &s->children[0]; /* of the rows kept whole: the first child */
            KS_TRY(ksi_src_text(whole));
            KS_TRY(split_here(t, row, ksi_vector_at(&whole->text, k)));
            continue;
        }
        if (KS_UNLIKELY(!s->shapes[id]))
            KS_TRY(map_template(t, s, id));
        t->s->shape_of[row] = s->shapes[id] - 1;
        t->s->shapes[s->shapes[id] - 1].rows++;
        t->m->of_piece[row] = piece;
        t->m->ord[row] = k;
    }
    return KS_OK;
}

static ks_err take_all(struct tmerge *t)
{
    size_t row = 0;
    for (uint32_t i = 0; i < t->pieces; row += t->p[i++].count) {
        struct ksi_src *s = t->p[i].src;
        if (s->node->kind == KSI_NODE_TEMPLATE) {
            KS_TRY(take_split(t, i, row));
            continue;
        }
        KS_TRY(ksi_src_text(s));
        for (uint32_t k = 0; k < t->p[i].count; k++)
            KS_TRY(split_here(t, row + k, ksi_vector_at(&s->text, t->p[i].first + k)));
    }
    return KS_OK;
}

/*
 * Rows that came split by a template of which too few are left: their texts. Few, so the sources
 * make those alone.
 */
static ks_err make_whole(struct tmerge *t)
{
    size_t row = 0;
    for (uint32_t i = 0; i < t->pieces; row += t->p[i++].count) {
        const struct ksi_piece *p = &t->p[i];
        struct ksi_vector v;
        uint64_t *want = NULL;
        for (uint32_t k = 0; k < p->count; k++) {
            if (t->m->of_piece[row + k] == KSI_NO_PIECE || ksi_split_id(t->s, row + k))
                continue;
            if (!want && !(want = ks_arena_zalloc(p->src->arena,
                                                  (KS_ROW_WORDS(p->src->node->count) + 1) * 8)))
                return ks_arena_err(p->src->arena);
            want[(p->first + k) / 64] |= 1ull << (p->first + k) % 64;
        }
        if (!want)
            continue;
        KS_TRY(ksi_templates_decode(p->src->node, p->src->pages, p->src->arena, want, &v));
        for (uint32_t k = 0; k < p->count; k++) {
            if (t->m->of_piece[row + k] == KSI_NO_PIECE || ksi_split_id(t->s, row + k))
                continue;
            t->m->whole[row + k] = v.values[p->first + k];
            t->m->of_piece[row + k] = KSI_NO_PIECE;
        }
    }
    return KS_OK;
}

/* --- writing --- */

/* The template, in its source, of a row that came split. */
static uint32_t source_id(const struct tmerge *t, const uint32_t *starts_of_piece, uint32_t row)
{
    const struct ksi_piece *p = &t->p[t->m->of_piece[row]];
    uint32_t at = p->first + row - starts_of_piece[t->m->of_piece[row]];
    return ksi_template_id(p->src->node->templates, at);
}

/* Rows of a template as stretches. */
static ks_err find_stretches(struct tmerge *t, const uint32_t *starts_of_piece,
                             const uint32_t *rows, uint32_t n, size_t *ret)
{
    struct ksi_enc_merge *m = t->m;
    struct ksi_stretch *last = NULL;
    uint32_t here = 0;
    size_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t piece = m->of_piece[rows[i]], id = 0;
        uint32_t first = piece == KSI_NO_PIECE ? here++ : m->ord[rows[i]];
        if (last && last->piece == piece && last->first + last->count == first) {
            last->count++;
            continue;
        }
        if (piece != KSI_NO_PIECE)
            id = source_id(t, starts_of_piece, rows[i]);
        KS_TRY(ks_array_reserve((void **)&m->stretches, &m->stretch_cap, count + 1,
                                sizeof *m->stretches));
        last = &m->stretches[count++];
        *last = (struct ksi_stretch){piece, id, first, 1};
    }
    *ret = count;
    return ks_array_reserve((void **)&m->pieces, &m->piece_cap, count, sizeof *m->pieces);
}

/* Slot k of a template; rows kept whole have one, their text. */
static ks_err put_slot(struct tmerge *t, const uint32_t *rows, uint32_t n, size_t stretches,
                       uint32_t k)
{
    struct ksi_split *s = t->s;
    struct ksi_enc_merge *m = t->m;
    bool whole = !ksi_split_id(s, rows[0]);
    uint32_t here = 0;
    for (uint32_t i = 0; i < n; i++)
        if (m->of_piece[rows[i]] == KSI_NO_PIECE)
            s->vector[here++] = whole ? m->whole[rows[i]] : s->slots[s->first_slot[rows[i]] + k];
    struct ksi_node node = {.kind = KSI_NODE_RAW, .count = here};
    struct ksi_src made = {
        .node = &node, .has_text = true, .text = {KS_COL_VALUES, here, s->vector, NULL}};
    for (size_t i = 0; i < stretches; i++) {
        const struct ksi_stretch *x = &m->stretches[i];
        struct ksi_src *src = &made;
        if (x->piece != KSI_NO_PIECE) {
            src = t->p[x->piece].src;
            src = &src->children[src->node->templates->items[x->template].first_child + k];
        }
        m->pieces[i] = (struct ksi_piece){src, x->first, x->count};
    }
    if (stretches == 1 && m->pieces[0].src == &made)
        ksi_enc_values(t->e, s->vector, n, 1);
    else
        ksi_enc_pieces(t->e, m->pieces, stretches, n, 1);
    return t->e->err;
}

static ks_err put_slots(struct tmerge *t, uint32_t count, const uint32_t *starts)
{
    struct ksi_split *s = t->s;
    uint32_t row = 0, *starts_of_piece = ks_alloc_array(t->pieces + 1, sizeof *starts_of_piece);
    ks_err err = starts_of_piece ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; err == KS_OK && i < t->pieces; row += t->p[i++].count)
        starts_of_piece[i] = row;
    for (uint32_t id = 0; id <= count && err == KS_OK; id++) {
        const uint32_t *rows = s->grouped + starts[id];
        uint32_t n = starts[id + 1] - starts[id];
        size_t stretches = 0;
        if (!n)
            continue;
        err = find_stretches(t, starts_of_piece, rows, n, &stretches);
        uint32_t slots = id ? s->shapes[s->shape_of[rows[0]]].slots : 1;
        for (uint32_t k = 0; k < slots && err == KS_OK; k++)
            err = put_slot(t, rows, n, stretches, k);
    }
    ks_free(starts_of_piece);
    return err;
}

static ks_err reserve(struct tmerge *t)
{
    struct ksi_enc_merge *m = t->m;
    KS_TRY(ksi_split_begin(t->e, t->n));
    KS_TRY(ks_array_reserve((void **)&m->of_piece, &m->of_piece_cap, t->n, sizeof *m->of_piece));
    KS_TRY(ks_array_reserve((void **)&m->ord, &m->ord_cap, t->n, sizeof *m->ord));
    KS_TRY(ks_array_reserve((void **)&m->whole, &m->whole_cap, t->n, sizeof *m->whole));
    m->round++;
    t->s = t->e->split;
    return KS_OK;
}

static ks_err merge(struct tmerge *t, bool *ret_written)
{
    size_t escaped;
    KS_TRY(reserve(t));
    KS_TRY(take_all(t));
    if (t->s->shape_count > t->n / 3 + 4)
        return KS_OK;
    uint32_t count = ksi_split_number(t->s, t->n, &escaped);
    if (!count || escaped > t->n / 2)
        return KS_OK;
    if (escaped)
        KS_TRY(make_whole(t));
    uint32_t *starts = ks_alloc_array(count + 2, sizeof *starts);
    if (!starts)
        return KS_ENOMEM;
    *ret_written = true;
    ksi_split_put_head(t->e, t->n, count, starts);
    ks_err err = put_slots(t, count, starts);
    ks_free(starts);
    return err;
}

bool ksi_enc_template_pieces(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n)
{
    struct tmerge t = {.e = e, .m = e->merge, .p = p, .pieces = pieces, .n = n};
    bool written = false;
    ks_err err = merge(&t, &written);
    if (e->err == KS_OK)
        e->err = err;
    return written;
}
