/*
 * Pipes that make one value of another: decolorize, collapse_nums, hash, len, json_array_len,
 * split, unpack_words, time_add. Each is a pure function of a text, run once per distinct value.
 */
#include "base/hash.h"
#include "base/num.h"
#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/stats/keymap.h"
#include "query/logsql/text/collapse_nums.h"
#include "query/logsql/text/json_text.h"

/* ---------------------------------------------------------------- functions */

/* A decimal number in the arena. */
static ks_err number_text(struct ks_arena *arena, uint64_t v, struct ks_slice *ret)
{
    char *p = ks_arena_alloc(arena, 20);
    if (!p)
        return ks_arena_err(arena);
    *ret = ks_slice(p, ks_u64_format(p, v));
    return KS_OK;
}

/* Without ESC [ … letter. */
static ks_err decolorize_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                              struct ks_slice *ret)
{
    *ret = in;
    if (!in.len || !memchr(in.ptr, 0x1b, in.len))
        return KS_OK;
    char *out = ks_arena_alloc(arena, in.len);
    size_t n = 0, i = 0;
    if (!out)
        return ks_arena_err(arena);
    while (i < in.len) {
        if (in.ptr[i] != 0x1b || i + 1 >= in.len || in.ptr[i + 1] != '[') {
            out[n++] = in.ptr[i++];
            continue;
        }
        for (i += 2; i < in.len && (in.ptr[i] < 0x40 || in.ptr[i] > 0x7e);)
            i++;
        i += i < in.len;
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

struct collapse {
    bool prettify;
};
static ks_err collapse_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                            struct ks_slice *ret)
{
    const struct collapse *how = arg;
    struct ks_buf nums, pretty;
    ks_buf_init(&nums, KS_BUF_UNLIMITED);
    ks_buf_init(&pretty, KS_BUF_UNLIMITED);
    ksi_lq_collapse_nums(in, &nums);
    if (how->prettify)
        ksi_lq_collapse_prettify(ks_buf_view(&nums), &pretty);
    const struct ks_buf *b = how->prettify ? &pretty : &nums;
    ks_err err = ks_buf_status(&nums) != KS_OK ? ks_buf_status(&nums) : ks_buf_status(b);
    if (err == KS_OK)
        err = ksi_lq_take(arena, ks_buf_view(b), ret);
    ks_buf_done(&nums);
    ks_buf_done(&pretty);
    return err;
}

static ks_err hash_text(void *arg, struct ks_arena *arena, struct ks_slice in, struct ks_slice *ret)
{
    return number_text(arena, ks_xxh64(in.ptr, in.len) & ((1ull << 53) - 1), ret);
}

static ks_err len_text(void *arg, struct ks_arena *arena, struct ks_slice in, struct ks_slice *ret)
{
    return number_text(arena, in.len, ret);
}

static ks_err array_len_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                             struct ks_slice *ret)
{
    size_t count = 0;
    bool ok;
    KS_TRY(ksi_json_items(in, arena, NULL, &count, &ok));
    return number_text(arena, ok ? count : 0, ret);
}

static void array_item(struct ks_buf *b, struct ks_slice item)
{
    ks_buf_byte(b, b->len ? ',' : '[');
    ks_lq_buf_json(b, item);
}
static ks_err array_take(struct ks_buf *b, struct ks_arena *arena, struct ks_slice *ret)
{
    if (!b->len)
        ks_buf_byte(b, '[');
    ks_buf_byte(b, ']');
    ks_err err = ks_buf_status(b);
    if (err == KS_OK)
        err = ksi_lq_take(arena, ks_buf_view(b), ret);
    ks_buf_done(b);
    return err;
}

/* The next rune's length; 1 for a broken one. */
static size_t rune_len(struct ks_slice s)
{
    unsigned char c = (unsigned char)s.ptr[0];
    size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n <= s.len ? n : 1;
}

static ks_err split_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                         struct ks_slice *ret)
{
    const struct ks_slice sep = *(const struct ks_slice *)arg;
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    if (!sep.len) {
        while (in.len) {
            size_t n = rune_len(in);
            array_item(&b, ks_slice(in.ptr, n));
            in = ks_slice_from(in, n);
        }
        return array_take(&b, arena, ret);
    }
    for (;;) {
        const char *at = in.len >= sep.len ? memmem(in.ptr, in.len, sep.ptr, sep.len) : NULL;
        if (!at)
            break;
        size_t n = (size_t)(at - in.ptr);
        array_item(&b, ks_slice(in.ptr, n));
        in = ks_slice_from(in, n + sep.len);
    }
    array_item(&b, in);
    return array_take(&b, arena, ret);
}

static ks_err words_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                         struct ks_slice *ret)
{
    bool unique = *(const bool *)arg, fresh = true;
    struct ksi_keymap seen;
    struct ks_buf b;
    struct ks_slice w;
    size_t pos = 0;
    ks_err err = KS_OK;
    uint32_t at;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ksi_keymap_init(&seen, arena);
    while (err == KS_OK && ks_lq_next_word(in, &pos, &w)) {
        if (unique)
            err = ksi_keymap_add(&seen, w, ksi_keymap_hash(w), &at, &fresh);
        if (err == KS_OK && fresh)
            array_item(&b, w);
    }
    ksi_keymap_done(&seen);
    if (err != KS_OK)
        ks_buf_done(&b);
    return err != KS_OK ? err : array_take(&b, arena, ret);
}

static ks_err time_add_text(void *arg, struct ks_arena *arena, struct ks_slice in,
                            struct ks_slice *ret)
{
    int64_t ns, add = *(const int64_t *)arg;
    *ret = in;
    if (!ks_lq_parse_rfc3339(in, &ns) || __builtin_add_overflow(ns, add, &ns))
        return KS_OK;
    char *p = ks_arena_alloc(arena, KS_LQ_TIME_TEXT_MAX);
    if (!p)
        return ks_arena_err(arena);
    *ret = ks_slice(p, ks_lq_time_format(p, ns));
    return KS_OK;
}

/* ---------------------------------------------------------------- stages */

/* Stages whose function needs no argument but the pipe's `map` part. */
#define SIMPLE(name, fn, argument)                                                                 \
    static ks_err name##_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)                        \
    {                                                                                              \
        return ksi_lq_apply_text(c, m->pipe->u.map.from, m->pipe->u.map.to, fn, argument);         \
    }                                                                                              \
    KSI_LQ_MAP_PIPE(name, name##_apply)
SIMPLE(decolorize, decolorize_text, NULL)
SIMPLE(collapse_nums, collapse_text, (&(struct collapse){m->pipe->u.map.prettify}))
SIMPLE(hash, hash_text, NULL)
SIMPLE(len, len_text, NULL)
SIMPLE(json_array_len, array_len_text, NULL)
SIMPLE(split, split_text, (void *)&m->pipe->u.map.arg)
SIMPLE(unpack_words, words_text, (void *)&m->pipe->u.map.drop_duplicates)

static ks_err time_add_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_slice at = m->pipe->u.time_add.at;
    const struct ks_lq_col *col = ks_lq_rows_col(c->in, at);
    int64_t add = m->pipe->u.time_add.add_ns;
    if (!col)
        return KS_OK;
    if (col->kind != KS_LQ_TIMES)
        return ksi_lq_apply_text(c, at, at, time_add_text, &add);
    int64_t *times = ks_arena_array(c->arena, c->in->row_count, sizeof *times);
    if (!times)
        return ks_arena_err(c->arena);
    for (uint32_t i = 0; i < c->in->row_count; i++)
        if (__builtin_add_overflow(col->times_ns[i], add, &times[i]))
            times[i] = col->times_ns[i];
    struct ks_lq_col out = *col;
    out.times_ns = times;
    return ksi_lq_edit_put(&c->edit, &out);
}
KSI_LQ_MAP_PIPE(time_add, time_add_apply)
