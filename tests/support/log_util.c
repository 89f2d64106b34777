#include "log_util.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/num.h"

void tl_init(struct tl *t)
{
    static const struct ks_slice time_field[] = {{"_time", 5}};
    *t = (struct tl){.params.time_fields = {time_field, 1}};
    ks_arena_init(&t->arena, 16 << 20);
    ks_buf_init(&t->text, KS_BUF_UNLIMITED);
    if (ks_log_scratch_new(&t->scratch) != KS_OK)
        abort();
    t->app.cfg.logs.max_fields = 1000;
}

void tl_done(struct tl *t)
{
    ks_log_scratch_free(t->scratch);
    ks_arena_done(&t->arena);
    ks_buf_done(&t->text);
}

struct ks_log_names tl_names(struct tl *t, const char *list)
{
    struct ks_log_names n;
    if (ks_log_names_parse(&t->arena, ks_slice_str(list), &n) != KS_OK)
        abort();
    return n;
}

void tl_extra(struct tl *t, const char *list)
{
    if (ks_log_extra_parse(&t->arena, ks_slice_str(list), &t->params) != KS_OK)
        abort();
}

KS_LOG_PROTOCOL(protocol, "test");

void tl_begin(struct tl *t, int64_t now_ns)
{
    ks_log_ingest_init(&t->in, &t->app, t->scratch, &protocol, &t->params);
    t->in.now_ns = now_ns;
    t->in.store = NULL;
}

static struct ks_log_params fuzz_all;

void tl_init_fuzz(struct tl *t)
{
    tl_init(t);
    ks_log_set_level(KS_LOG_ERROR);
    fuzz_all.time_fields = tl_names(t, "_time,@timestamp,time,__REALTIME_TIMESTAMP");
    fuzz_all.msg_fields = tl_names(t, "message,event,m");
    fuzz_all.stream_fields = tl_names(t, "app,host,_HOSTNAME,service");
    fuzz_all.ignore = tl_names(t, "secret,tmp*");
    fuzz_all.decolorize = tl_names(t, "*");
    fuzz_all.preserve = tl_names(t, "n,o");
    tl_extra(t, "tenant=blue,app=forced");
    fuzz_all.extra = t->params.extra;
    fuzz_all.extra_count = t->params.extra_count;
}

void tl_begin_fuzz(struct tl *t, uint8_t options)
{
    t->params = fuzz_all;
    if (!(options & 1))
        t->params.msg_fields.count = 0;
    if (!(options & 2))
        t->params.stream_fields.count = 0;
    if (!(options & 4))
        t->params.ignore.count = 0;
    if (!(options & 8))
        t->params.extra_count = 0;
    if (!(options & 16))
        t->params.decolorize.count = 0;
    if (!(options & 32))
        t->params.preserve.count = 0;
    t->app.cfg.logs.default_msg = options & 2 ? "none" : "";
    tl_begin(t, 1700000000123456789);
}

static void value(struct ks_buf *out, struct ks_slice s)
{
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c == '"')
            ks_buf_printf(out, "\\x%02x", c);
        else
            ks_buf_byte(out, c);
    }
    ks_buf_byte(out, '"');
}

const char *tl_text(struct tl *t)
{
    const struct ks_log_batch *b = t->in.batch;
    struct ks_buf *out = &t->text;
    ks_buf_reset(out);
    for (size_t i = 0; i < b->row_count; i++) {
        const struct ks_log_row *r = &b->rows[i];
        if (r->stream >= b->stream_count || r->field_first + r->field_count > b->field_count)
            abort();
        ks_buf_i64_dec(out, r->time_ns);
        ks_buf_byte(out, ' ');
        ks_stream_print(b->streams[r->stream].tags, out);
        for (size_t k = 0; k < r->field_count; k++) {
            const struct ks_log_field *f = &b->fields[r->field_first + k];
            if (!f->name.len || !f->value.len)
                abort();
            ks_buf_byte(out, ' ');
            ks_buf_slice(out, f->name);
            ks_buf_byte(out, '=');
            value(out, f->value);
        }
        ks_buf_byte(out, '\n');
    }
    ks_buf_byte(out, 0);
    return out->ptr;
}
