#include "base/stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ks_stat *head;
static size_t count;

void ks_stat_register(struct ks_stat *s)
{
    pthread_mutex_lock(&lock);
    if (!atomic_load(&s->registered)) {
        s->next = head;
        head = s;
        count++;
        atomic_store(&s->registered, 1);
    }
    pthread_mutex_unlock(&lock);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct ks_stat *const *)a)->name, (*(struct ks_stat *const *)b)->name);
}

void ks_stats_write(struct ks_buf *out)
{
    pthread_mutex_lock(&lock);
    struct ks_stat **list = ks_alloc_array(count, sizeof *list);
    size_t n = 0;
    for (struct ks_stat *s = head; list && s; s = s->next)
        list[n++] = s;
    pthread_mutex_unlock(&lock);
    if (n)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n; i++)
        ks_stats_line_u64(out, list[i]->name, ks_stat_get(list[i]));
    ks_free(list);
}

void ks_stats_line_u64(struct ks_buf *out, const char *name, uint64_t v)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, ' ');
    ks_buf_u64_dec(out, v);
    ks_buf_byte(out, '\n');
}

void ks_stats_line_f64(struct ks_buf *out, const char *name, double v)
{
    ks_buf_str(out, name);
    ks_buf_byte(out, ' ');
    ks_buf_f64(out, v);
    ks_buf_byte(out, '\n');
}
