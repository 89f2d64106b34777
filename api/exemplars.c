#include "api/exemplars.h"

#include <pthread.h>

#include "api/ingest/ingest.h"
#include "base/mem.h"

enum { EXEMPLAR_MAX_BYTES = 64 << 10, LABELS_MAX = 256 };

struct slot {
    struct ks_exemplar x;
    char *text;
    size_t bytes;
};

struct ks_exemplar_ring {
    pthread_mutex_t lock;
    size_t max_count, max_bytes, bytes, head, count;
    struct slot *slots;
};

ks_err ks_exemplars_new(size_t max_count, size_t max_bytes, struct ks_exemplar_ring **ret)
{
    struct ks_exemplar_ring *r = ks_zalloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    r->max_count = max_count ? max_count : 1;
    r->max_bytes = max_bytes;
    if (!(r->slots = ks_zalloc_array(r->max_count, sizeof *r->slots))) {
        ks_free(r);
        return KS_ENOMEM;
    }
    pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    return KS_OK;
}

void ks_exemplars_free(struct ks_exemplar_ring *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->max_count; i++)
        ks_free(r->slots[i].text);
    pthread_mutex_destroy(&r->lock);
    ks_free(r->slots);
    ks_free(r);
}

/* Canonical label bytes of raw labels plus extra ones. */
static ks_err canonical(struct ks_slice raw, const struct ks_label *extra, size_t extra_count,
                        struct ks_buf *out)
{
    struct ks_label items[LABELS_MAX];
    struct ks_labels l = {items, 0, LABELS_MAX};
    struct ks_reader r = ks_reader(raw);
    bool bad = false;
    while (l.count + extra_count < LABELS_MAX && ks_raw_label_next(&r, &items[l.count], &bad))
        l.count++;
    if (bad)
        return ks_fail(KS_EPARSE, "malformed label of an exemplar");
    if (r.p != r.end || extra_count > LABELS_MAX)
        return ks_fail(KS_ELIMIT, "an exemplar's series has too many labels");
    for (size_t i = 0; i < extra_count; i++)
        items[l.count++] = extra[i];
    ks_labels_canonicalise(&l);
    ks_labels_encode(&l, out);
    return ks_buf_status(out);
}

/* Under the lock. */
static void drop_oldest(struct ks_exemplar_ring *r)
{
    struct slot *s = &r->slots[r->head];
    r->bytes -= s->bytes;
    ks_free(s->text);
    s->text = NULL;
    r->head = (r->head + 1) % r->max_count;
    r->count--;
}

ks_err ks_exemplars_add(struct ks_exemplar_ring *r, const struct ks_exemplar *x,
                        const struct ks_label *extra, size_t extra_count)
{
    if (!r || x->series_raw.len + x->raw.len > EXEMPLAR_MAX_BYTES)
        return KS_OK;
    struct ks_buf b;
    ks_buf_init(&b, 2 * EXEMPLAR_MAX_BYTES);
    ks_err err = canonical(x->series_raw, extra, extra_count, &b);
    size_t series_len = b.len;
    ks_buf_slice(&b, x->raw);
    if (err == KS_OK)
        err = ks_buf_status(&b);
    if (err != KS_OK) {
        ks_buf_done(&b);
        if (err == KS_ELIMIT) /* cut short it would pass for another series: not kept */
            return KS_OK;
        return err;
    }
    struct slot s = {.x = *x, .text = b.ptr, .bytes = b.len + sizeof s};
    s.x.series_raw = ks_slice(b.ptr ? b.ptr : "", series_len);
    s.x.raw = b.ptr ? ks_slice(b.ptr + series_len, b.len - series_len) : ks_slice("", 0);
    pthread_mutex_lock(&r->lock);
    while (r->count && (r->count == r->max_count || r->bytes + s.bytes > r->max_bytes))
        drop_oldest(r);
    r->slots[(r->head + r->count++) % r->max_count] = s;
    r->bytes += s.bytes;
    pthread_mutex_unlock(&r->lock);
    return KS_OK;
}

void ks_exemplars_each(struct ks_exemplar_ring *r, ks_exemplar_fn fn, void *arg)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        if (!fn(arg, &r->slots[(r->head + i) % r->max_count].x))
            break;
    pthread_mutex_unlock(&r->lock);
}
