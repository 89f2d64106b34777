/*
 * A snapshot into a ring: one thread hands in items, others make generations of them, and those are
 * put into the ring in the order of the file.
 */
#include <stdio.h>

#include "base/mem.h"
#include "storage/traces/image_priv.h"

enum { JOBS = 8, THREADS_MAX = 8, POOLED_MIN_BYTES = KSI_CHUNK_BYTES / 4 * 3 };

enum state { FILLING, READY, RUNNING, DONE };

struct job {
    struct ksi_image_head head;
    struct ksi_gen *g;
    struct ksi_tenant *tn;
    struct ks_buf table, slots;
    _Atomic enum state state;
    ks_err err;
    char text[KS_ERR_TEXT_MAX];
};

struct ks_traces_loader {
    struct ks_traces *t;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
    pthread_mutex_t lock; /* jobs' states, end */
    pthread_cond_t changed;
    struct job jobs[JOBS];
    size_t first, count; /* the last one may be FILLING */
    bool end;
};

static struct job *job_at(struct ks_traces_loader *l, size_t i)
{
    return &l->jobs[(l->first + i) % JOBS];
}

static void run(struct ks_traces_loader *l, struct job *j)
{
    j->err = ksi_image_build(&j->head, ks_buf_view(&j->table), ks_buf_view(&j->slots), j->tn,
                             l->t->opts.max_names, j->g);
    if (j->err != KS_OK)
        snprintf(j->text, sizeof j->text, "%s", ks_err_text());
}

static void *worker(void *arg)
{
    struct ks_traces_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        struct job *next = NULL;
        for (size_t i = 0; i < l->count && !next; i++)
            if (job_at(l, i)->state == READY)
                next = job_at(l, i);
        if (!next && l->end)
            break;
        if (!next) {
            pthread_cond_wait(&l->changed, &l->lock);
            continue;
        }
        next->state = RUNNING;
        pthread_mutex_unlock(&l->lock);
        run(l, next);
        pthread_mutex_lock(&l->lock);
        next->state = DONE;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

ks_err ks_traces_loader_new(struct ks_traces *t, unsigned threads, struct ks_traces_loader **ret)
{
    struct ks_traces_loader *l = ks_zalloc(sizeof *l);
    if (!l)
        return KS_ENOMEM;
    l->t = t;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    for (size_t i = 0; i < JOBS; i++) {
        ks_buf_init(&l->jobs[i].table, KS_BUF_UNLIMITED);
        ks_buf_init(&l->jobs[i].slots, KS_BUF_UNLIMITED);
    }
    /* Without threads the caller does their work. */
    while (l->thread_count < threads && l->thread_count < THREADS_MAX &&
           pthread_create(&l->threads[l->thread_count], NULL, worker, l) == 0)
        l->thread_count++;
    *ret = l;
    return KS_OK;
}

/* --- putting generations into the ring --- */
static ks_err index_slots(struct ks_traces *t, struct ksi_ring *r, struct ksi_gen *g)
{
    for (size_t i = 0; i < g->slot_count; i++)
        if (!ks_trace_id_zero(g->slots[i].id))
            KS_TRY(ksi_ring_index(t, r, g->slots[i].id, g->first_seq + i));
    return KS_OK;
}

/* The ring takes the job's reference. */
static ks_err link_locked(struct ks_traces *t, struct job *j)
{
    struct ksi_ring *r = &j->tn->rings[j->head.kept ? KSI_KEPT : KSI_MAIN];
    uint64_t first = j->head.first_seq, live = j->head.first_live;
    if (!first || first > UINT64_MAX / 4 || live > UINT64_MAX / 4 ||
        (r->gen_count && (first < r->next_seq || first - r->next_seq > r->max_traces)))
        return ks_fail(KS_ECORRUPT, "generations of traces are out of order");
    if (ksi_tenant_find(t, j->head.tenant) != j->tn)
        return KS_OK; /* there are too many: it was forgotten */
    KS_TRY(ks_array_reserve((void **)&r->gens, &r->gen_cap, r->gen_count + 1, sizeof *r->gens));
    if (r->gen_count) { /* numbers that nobody has */
        struct ksi_gen *last = r->gens[r->gen_count - 1];
        for (; r->next_seq < first; r->next_seq++)
            if (!ksi_gen_slot_add(last, (struct ks_trace_id){0}))
                return KS_ENOMEM;
    } else {
        r->first_seq = live > first && live <= first + j->g->slot_count ? live : first;
    }
    r->gens[r->gen_count++] = j->g;
    r->next_seq = first + j->g->slot_count;
    t->stats.generations++;
    t->stats.spans += j->g->spans;
    ksi_follow_bytes(t, j->tn, j->g);
    struct ksi_gen *g = j->g;
    j->g = NULL;
    if (g->lsn > t->lsn)
        t->lsn = g->lsn;
    return index_slots(t, r, g);
}

static void job_drop(struct job *j)
{
    if (j->g && j->tn)
        ksi_gen_drop_names(j->tn, j->g);
    ksi_gen_unref(j->g);
    ksi_tenant_unref(j->tn);
    j->g = NULL;
    j->tn = NULL;
}

/* Waits for the oldest job and takes it out. */
static ks_err settle_first(struct ks_traces_loader *l)
{
    struct job *j = job_at(l, 0);
    pthread_mutex_lock(&l->lock);
    while (j->state != DONE)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    ks_err err = j->err == KS_OK ? KS_OK : ks_fail(j->err, "%s", j->text);
    if (err == KS_OK) {
        ksi_writer_enter(l->t);
        err = link_locked(l->t, j);
        ksi_writer_leave(l->t);
    }
    job_drop(j);
    pthread_mutex_lock(&l->lock);
    l->first = (l->first + 1) % JOBS;
    l->count--;
    pthread_mutex_unlock(&l->lock);
    return err;
}

/* --- items --- */
static ks_err read_head(struct ks_slice payload, struct ksi_image_head *h)
{
    struct ks_reader r = ks_reader(payload);
    *h = (struct ksi_image_head){0};
    uint64_t *const counts[] = {&h->slots,    &h->dict,        &h->keys,
                                &h->shapes,   &h->resources,   &h->scopes,
                                &h->patterns, &h->text_chunks, &h->rec_chunks};
    h->tenant.account = ks_read_u32(&r);
    h->tenant.project = ks_read_u32(&r);
    uint8_t bits = ks_read_u8(&r);
    h->kept = bits & 1;
    h->has_bytes = bits >> 1 & 1;
    h->first_seq = ks_read_u64(&r);
    h->first_live = ks_read_u64(&r);
    h->lsn = ks_read_u64(&r);
    h->base_ns = ks_read_u64(&r);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        *counts[i] = ks_read_varint(&r);
    if (r.bad || r.p != r.end || h->slots > UINT32_MAX / KSI_IMAGE_SLOT_BYTES)
        return ks_fail(KS_ECORRUPT, "the head of a generation of traces is malformed");
    return KS_OK;
}

static ks_err begin(struct ks_traces_loader *l, struct ks_slice payload)
{
    if (l->count == JOBS)
        KS_TRY(settle_first(l));
    struct job *j = job_at(l, l->count);
    struct ksi_tenant *tn;
    KS_TRY(read_head(payload, &j->head));
    ksi_writer_enter(l->t);
    ks_err err = ksi_tenant_get(l->t, j->head.tenant, &tn);
    if (err == KS_OK)
        atomic_fetch_add(&tn->refs, 1);
    ksi_writer_leave(l->t);
    KS_TRY(err);
    j->tn = tn;
    j->g = ksi_gen_new(l->t->pool, j->head.first_seq, j->head.base_ns,
                       tn->rings[j->head.kept ? KSI_KEPT : KSI_MAIN].slot_max);
    if (!j->g) {
        job_drop(j);
        return KS_ENOMEM;
    }
    ks_buf_reset(&j->table);
    ks_buf_reset(&j->slots);
    j->err = KS_OK;
    pthread_mutex_lock(&l->lock);
    j->state = FILLING;
    l->count++;
    pthread_mutex_unlock(&l->lock);
    return KS_OK;
}

/* The last item of a generation: it can be made. */
static void submit(struct ks_traces_loader *l, struct job *j)
{
    if (!l->thread_count)
        run(l, j);
    pthread_mutex_lock(&l->lock);
    j->state = l->thread_count ? READY : DONE;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static ks_err fill(struct ks_traces_loader *l, struct job *j, enum ks_trimage type,
                   struct ks_slice payload)
{
    const struct ksi_image_head *h = &j->head;
    struct ksi_gen *g = j->g;
    bool whole = g->text.count == h->text_chunks && g->recs.count == h->rec_chunks;
    if (type == KS_TRIMAGE_TEXT && g->text.count < h->text_chunks)
        return ksi_chunk_load(g, &g->text, payload, payload.len >= POOLED_MIN_BYTES);
    if (type == KS_TRIMAGE_RECORDS && g->recs.count < h->rec_chunks)
        return ksi_chunk_load(g, &g->recs, payload, payload.len >= POOLED_MIN_BYTES);
    if (type == KS_TRIMAGE_TABLE && whole && !j->table.len) {
        ks_buf_slice(&j->table, payload);
        return ks_buf_status(&j->table);
    }
    if (type != KS_TRIMAGE_SLOTS || !whole)
        return ks_fail(KS_ECORRUPT, "pieces of a generation of traces are out of order");
    ks_buf_slice(&j->slots, payload);
    KS_TRY(ks_buf_status(&j->slots));
    submit(l, j);
    return KS_OK;
}

ks_err ks_traces_loader_item(struct ks_traces_loader *l, enum ks_trimage type,
                             struct ks_slice payload)
{
    struct job *last = l->count ? job_at(l, l->count - 1) : NULL;
    bool filling = last && last->state == FILLING; /* nobody else changes that */
    if (type == KS_TRIMAGE_HEAD && !filling)
        return begin(l, payload);
    if (!filling)
        return ks_fail(KS_ECORRUPT, "a piece of a generation of traces comes before its head");
    return fill(l, last, type, payload);
}

static void keep_limits(struct ks_traces *t)
{
    for (size_t i = 0; i < t->tenant_count; i++)
        for (unsigned k = 0; k < 2; k++) {
            struct ksi_ring *r = &t->tenants[i]->rings[k];
            if (r->next_seq - r->first_seq > r->max_traces)
                ksi_ring_evict_to(t, t->tenants[i], r, r->next_seq - r->max_traces);
        }
    ksi_keep_bytes(t);
}

ks_err ks_traces_loader_finish(struct ks_traces_loader *l)
{
    ks_err err = KS_OK;
    while (l->count && err == KS_OK) {
        struct job *j = job_at(l, 0);
        if (j->state == FILLING)
            err = ks_fail(KS_ECORRUPT, "a generation of traces is cut off");
        else
            err = settle_first(l);
    }
    if (err == KS_OK) {
        ksi_writer_enter(l->t);
        keep_limits(l->t);
        ksi_writer_leave(l->t);
    }
    return err;
}

void ks_traces_loader_free(struct ks_traces_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->end = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->thread_count; i++)
        pthread_join(l->threads[i], NULL);
    for (size_t i = 0; i < l->count; i++)
        job_drop(job_at(l, i));
    for (size_t i = 0; i < JOBS; i++) {
        ks_buf_done(&l->jobs[i].table);
        ks_buf_done(&l->jobs[i].slots);
    }
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    ks_free(l);
}
