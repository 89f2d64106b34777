/*
 * Blocks made of rows of other blocks, column by column: while rows are added only their places are
 * noted; when the block is full, each column gathers its values from where they stand.
 *
 * A source block stays open from its first run to the block its last row went to, with what was
 * decoded of it, so that nothing is decoded twice.
 */
#include <string.h>

#include "base/mem.h"
#include "storage/logs/block_read_priv.h"
#include "storage/logs/column_merge.h"
#include "storage/logs/log_part_write_priv.h"

enum {
    OPEN_MAX = 24, /* source blocks: a block of ours that draws on more ends early */
    SPARE_MAX = 16,
};

struct source_column {
    struct ksi_column *c;
    struct ksi_src src;
    uint32_t row, pos; /* of the values before `row` there are `pos` */
};

/* In the arena of the block. */
struct source {
    struct ks_lblock *b;
    size_t column_count;
    uint32_t *numbers; /* names of its columns in the new part */
    struct source_column *columns;
    const int64_t *times;
    bool used;  /* by the open block */
    bool given; /* no more rows will come */
};

/* Rows of a source, one after the other, that go to rows from `to` on. */
struct stretch {
    uint32_t source, first, count, to;
};

struct ksi_block_merge {
    struct source **sources;
    size_t source_count, source_cap;
    struct stretch *stretches;
    size_t stretch_count, stretch_cap;
    uint32_t *places; /* per column in use and source: its column there + 1 */
    size_t place_cap;
    uint32_t *rank; /* name number → place among those in use */
    size_t rank_cap;
    struct ksi_piece *pieces; /* of the column being written */
    size_t piece_count, piece_cap;
    size_t value_count;
    struct ks_lblock *spare[SPARE_MAX];
    size_t spare_count;
};

/* --- source blocks --- */

static void recycle(struct ksi_block_merge *m, struct ks_lblock *b)
{
    ks_lblock_close(b);
    if (m->spare_count < SPARE_MAX)
        m->spare[m->spare_count++] = b;
    else
        ks_lblock_free(b);
}

void ksi_block_merge_free(struct ksi_block_merge *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->source_count; i++)
        if (m->sources[i]->given)
            ks_lblock_free(m->sources[i]->b);
    for (size_t i = 0; i < m->spare_count; i++)
        ks_lblock_free(m->spare[i]);
    ks_free(m->sources);
    ks_free(m->stretches);
    ks_free(m->places);
    ks_free(m->rank);
    ks_free(m->pieces);
    ks_free(m);
}

static ks_err begin(struct ks_lpart_writer *w)
{
    if (!w->merge && !(w->merge = ks_zalloc(sizeof *w->merge)))
        return KS_ENOMEM;
    return KS_OK;
}

ks_err ks_lpart_take_block(struct ks_lpart_writer *w, struct ks_lblock **ret)
{
    KS_TRY(begin(w));
    if (!w->merge->spare_count)
        return ks_lblock_new(ret);
    *ret = w->merge->spare[--w->merge->spare_count];
    return KS_OK;
}

static void drop_source(struct ksi_block_merge *m, size_t i)
{
    struct ks_lblock *b = m->sources[i]->b;
    m->sources[i] = m->sources[--m->source_count];
    recycle(m, b);
}

void ks_lpart_give_block(struct ks_lpart_writer *w, struct ks_lblock *b)
{
    struct ksi_block_merge *m = w->merge;
    if (!b)
        return;
    if (!m) { /* there was no memory for it */
        ks_lblock_free(b);
        return;
    }
    for (size_t i = 0; i < m->source_count; i++) {
        if (m->sources[i]->b != b)
            continue;
        m->sources[i]->given = true;
        if (!m->sources[i]->used)
            drop_source(m, i);
        return;
    }
    recycle(m, b);
}

static ks_err open_source(struct ks_lpart_writer *w, struct ks_lblock *b, struct source **ret)
{
    struct ksi_block_merge *m = w->merge;
    const struct ks_slice *names;
    size_t n = ks_lblock_names(b, &names);
    struct source *s = ks_arena_zalloc(&b->arena, sizeof *s);
    if (!s)
        return ks_arena_err(&b->arena);
    *s = (struct source){.b = b,
                         .column_count = n,
                         .numbers = ks_arena_array(&b->arena, n + 1, sizeof *s->numbers),
                         .columns =
                             ks_arena_zalloc(&b->arena, (n + 1) * sizeof(struct source_column))};
    if (!s->numbers || !s->columns)
        return ks_arena_err(&b->arena);
    KS_TRY(ks_lblock_times(b, &s->times));
    for (size_t i = 0; i < n; i++)
        KS_TRY(ksi_writer_name(w, names[i], &s->numbers[i]));
    KS_TRY(ks_array_reserve((void **)&m->sources, &m->source_cap, m->source_count + 1,
                            sizeof *m->sources));
    m->sources[m->source_count++] = s;
    *ret = s;
    return KS_OK;
}

/* The open block takes rows of the source: its columns are in use. */
static ks_err use_source(struct ks_lpart_writer *w, struct source *s)
{
    size_t fresh = 0;
    for (size_t i = 0; i < s->column_count; i++)
        fresh += !w->columns[s->numbers[i]].count;
    if (w->rows && w->used_count + fresh > KSI_BLOCK_COLUMNS_MAX)
        KS_TRY(ksi_writer_block(w));
    KS_TRY(ks_array_reserve((void **)&w->used, &w->used_cap, w->used_count + s->column_count,
                            sizeof *w->used));
    for (size_t i = 0; i < s->column_count; i++) {
        struct ksi_wcolumn *c = &w->columns[s->numbers[i]];
        if (!c->count)
            w->used[w->used_count++] = s->numbers[i];
        c->count = 1; /* counted when the block is written */
    }
    s->used = true;
    return KS_OK;
}

static ks_err find_source(struct ks_lpart_writer *w, struct ks_lblock *b, uint32_t *ret)
{
    struct ksi_block_merge *m = w->merge;
    size_t i = 0;
    while (i < m->source_count && m->sources[i]->b != b)
        i++;
    if (i == m->source_count) {
        struct source *s;
        if (m->source_count >= OPEN_MAX && w->rows)
            KS_TRY(ksi_writer_block(w));
        KS_TRY(open_source(w, b, &s));
        i = m->source_count - 1;
    }
    if (!m->sources[i]->used)
        KS_TRY(use_source(w, m->sources[i]));
    /* Ending a block may have moved it. */
    for (i = 0; m->sources[i]->b != b;)
        i++;
    *ret = (uint32_t)i;
    return KS_OK;
}

/* --- adding rows --- */

static uint64_t text_before(const struct ks_lblock *b, uint32_t row)
{
    const struct ks_lpart_block *meta = ks_lpart_block(b->part, b->index);
    return (uint64_t)((unsigned __int128)meta->text_bytes * row / meta->rows);
}

/* How many of the rows from `first` on the open block still takes. */
static uint32_t that_fit(const struct ks_lpart_writer *w, const struct ks_lblock *b, uint32_t first,
                         uint32_t count)
{
    uint32_t n = KSI_BLOCK_ROWS - w->rows;
    n = n < count ? n : count;
    uint64_t room = KSI_BLOCK_TEXT_MAX - w->text_bytes, start = text_before(b, first);
    if (text_before(b, first + n) - start <= room)
        return n;
    uint32_t lo = 1, hi = n; /* one more than fit: the row that makes it full */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (text_before(b, first + mid) - start > room)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static ks_err add_stretch(struct ks_lpart_writer *w, uint32_t source, uint32_t first,
                          uint32_t count)
{
    struct ksi_block_merge *m = w->merge;
    struct stretch *last = m->stretch_count ? &m->stretches[m->stretch_count - 1] : NULL;
    KS_TRY(ks_array_reserve((void **)&w->times, &w->time_cap, w->rows + count, sizeof *w->times));
    KS_TRY(ksi_writer_run(w, count));
    memcpy(w->times + w->rows, m->sources[source]->times + first, count * sizeof *w->times);
    if (last && last->source == source && last->first + last->count == first) {
        last->count += count;
    } else {
        KS_TRY(ks_array_reserve((void **)&m->stretches, &m->stretch_cap, m->stretch_count + 1,
                                sizeof *m->stretches));
        m->stretches[m->stretch_count++] = (struct stretch){source, first, count, w->rows};
    }
    w->rows += count;
    const struct ks_lblock *b = m->sources[source]->b;
    w->text_bytes += text_before(b, first + count) - text_before(b, first);
    return KS_OK;
}

static ks_err add_run(struct ks_lpart_writer *w, struct ks_lblock *b, uint32_t first,
                      uint32_t count)
{
    KS_ASSERT(w->stream_count && first <= b->rows && count <= b->rows - first);
    KS_TRY(begin(w));
    if (w->rows && !ksi_block_merge_open(w))
        KS_TRY(ksi_writer_block(w));
    while (count) {
        uint32_t source;
        if (w->rows == KSI_BLOCK_ROWS || w->text_bytes > KSI_BLOCK_TEXT_MAX)
            KS_TRY(ksi_writer_block(w));
        KS_TRY(find_source(w, b, &source));
        uint32_t n = that_fit(w, b, first, count);
        KS_TRY(add_stretch(w, source, first, n));
        first += n;
        count -= n;
    }
    return KS_OK;
}

ks_err ks_lpart_add_run(struct ks_lpart_writer *w, struct ks_lblock *b, uint32_t first,
                        uint32_t count)
{
    if (w->err == KS_OK)
        w->err = add_run(w, b, first, count);
    return w->err;
}

/* --- writing --- */

bool ksi_block_merge_open(const struct ks_lpart_writer *w)
{
    return w->merge && w->merge->stretch_count;
}

static ks_err parse_column(struct source *s, size_t i)
{
    struct source_column *x = &s->columns[i];
    const uint64_t *present;
    const struct ks_slice *names;
    if (x->c)
        return KS_OK;
    ks_lblock_names(s->b, &names);
    KS_TRY(ksi_lblock_find(s->b, names[i], &x->c));
    KS_TRY(ksi_column_parse(s->b, x->c));
    KS_TRY(ksi_column_present(s->b, x->c, &present));
    x->src = (struct ksi_src){.node = &x->c->node, .pages = &s->b->pages, .arena = &s->b->arena};
    return KS_OK;
}

static uint64_t mask_from(uint32_t row)
{
    return ~0ull << row % 64;
}

/* Bits in [from, to). */
static uint32_t count_bits(const uint64_t *bits, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t w = from / 64; from < to; w++, from = w * 64) {
        uint64_t x = bits[w] & mask_from(from);
        if (to - w * 64 < 64)
            x &= ~mask_from(to);
        n += (uint32_t)__builtin_popcountll(x);
    }
    return n;
}

/* How many values the column has before the row. Rows are asked for in order. */
static uint32_t values_before(struct source_column *x, uint32_t row)
{
    if (!x->c->present)
        return row;
    if (row < x->row)
        x->row = x->pos = 0;
    x->pos += count_bits(x->c->present, x->row, row);
    x->row = row;
    return x->pos;
}

static struct source_column *column_of(struct ksi_block_merge *m, uint32_t rank, uint32_t source)
{
    uint32_t place = m->places[rank * m->source_count + source];
    return place ? &m->sources[source]->columns[place - 1] : NULL;
}

/* Which column of which source each column in use has. */
static ks_err place_columns(struct ks_lpart_writer *w)
{
    struct ksi_block_merge *m = w->merge;
    size_t n = w->used_count * m->source_count;
    KS_TRY(ks_array_reserve((void **)&m->places, &m->place_cap, n + 1, sizeof *m->places));
    KS_TRY(ks_array_reserve((void **)&m->rank, &m->rank_cap, w->name_count + 1, sizeof *m->rank));
    memset(m->places, 0, n * sizeof *m->places);
    for (size_t i = 0; i < w->used_count; i++)
        m->rank[w->used[i]] = (uint32_t)i;
    for (size_t s = 0; s < m->source_count; s++) {
        struct source *x = m->sources[s];
        for (size_t i = 0; x->used && i < x->column_count; i++) {
            KS_TRY(parse_column(x, i));
            m->places[m->rank[x->numbers[i]] * m->source_count + s] = (uint32_t)i + 1;
        }
    }
    return KS_OK;
}

ks_err ksi_block_merge_count(struct ks_lpart_writer *w)
{
    struct ksi_block_merge *m = w->merge;
    size_t kept = 0;
    KS_TRY(place_columns(w));
    for (size_t i = 0; i < w->used_count; i++) {
        size_t count = 0;
        for (size_t k = 0; k < m->stretch_count; k++) {
            const struct stretch *x = &m->stretches[k];
            const struct source_column *c = column_of(m, (uint32_t)i, x->source);
            if (c)
                count += c->c->present ? count_bits(c->c->present, x->first, x->first + x->count)
                                       : x->count;
        }
        w->columns[w->used[i]].count = count;
        if (count)
            w->used[kept++] = w->used[i]; /* ranks are by name: they stay */
    }
    w->used_count = kept;
    return KS_OK;
}

static void put_rows(struct ksi_wcolumn *c, const struct source_column *s, const struct stretch *x)
{
    const uint64_t *bits = s->c->present;
    uint32_t *out = c->rows + c->count, end = x->first + x->count;
    if (!bits) {
        for (uint32_t i = 0; i < x->count; i++)
            out[i] = x->to + i;
        c->count += x->count;
        return;
    }
    for (uint32_t w = x->first / 64; w * 64 < end; w++) {
        uint64_t left = bits[w];
        if (w == x->first / 64)
            left &= mask_from(x->first);
        if (end - w * 64 < 64)
            left &= ~mask_from(end);
        for (; left; left &= left - 1)
            c->rows[c->count++] = x->to + w * 64 + (unsigned)__builtin_ctzll(left) - x->first;
    }
}

ks_err ksi_block_merge_rows(struct ks_lpart_writer *w, struct ksi_wcolumn *c)
{
    struct ksi_block_merge *m = w->merge;
    KS_TRY(ks_array_reserve((void **)&c->rows, &c->row_cap, c->count, sizeof *c->rows));
    m->value_count = c->count;
    m->piece_count = 0;
    c->count = 0;
    for (size_t k = 0; k < m->stretch_count; k++) {
        const struct stretch *x = &m->stretches[k];
        struct source_column *s = column_of(m, m->rank[c->number], x->source);
        if (!s)
            continue;
        uint32_t before = values_before(s, x->first), had = (uint32_t)c->count;
        put_rows(c, s, x);
        if (c->count == had)
            continue;
        KS_TRY(ks_array_reserve((void **)&m->pieces, &m->piece_cap, m->piece_count + 1,
                                sizeof *m->pieces));
        m->pieces[m->piece_count++] = (struct ksi_piece){&s->src, before, (uint32_t)c->count - had};
    }
    KS_ASSERT(c->count == m->value_count);
    return KS_OK;
}

void ksi_block_merge_values(struct ks_lpart_writer *w)
{
    struct ksi_block_merge *m = w->merge;
    ksi_enc_pieces(&w->enc, m->pieces, m->piece_count, m->value_count, 0);
}

void ksi_block_merge_close(struct ks_lpart_writer *w)
{
    struct ksi_block_merge *m = w->merge;
    m->stretch_count = 0;
    for (size_t i = m->source_count; i-- > 0;) {
        m->sources[i]->used = false;
        if (m->sources[i]->given)
            drop_source(m, i);
    }
}
