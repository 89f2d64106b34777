/* Transforms that make values: time and the grid's facts, constants, random numbers, zone offsets,
 * absent, scalar. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "query/promql/exec_priv.h"
#include "sys/rand.h"

/* --- time zones: TZif files of the system's database --- */
enum { TZ_MAX_BYTES = 256 << 10 };

struct zone {
    uint8_t *bytes;
    size_t len;
    const uint8_t *times, *indexes, *types; /* big-endian 64-bit times */
    uint32_t time_count, type_count;
};

static bool zone_name_ok(struct ks_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                  (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' || ch == '+' ||
                  (ch == '/' && i);
        if (!ok)
            return false;
    }
    return name.len > 0 && name.len < 64;
}

/* One TZif header: counts → bytes of its body, or false when it does not fit. */
static bool zone_header(struct ks_reader *r, size_t time_bytes, uint32_t n[6], uint64_t *ret_body)
{
    struct ks_slice magic = ks_read_bytes(r, 4);
    ks_read_bytes(r, 16);
    for (int i = 0; i < 6; i++)
        n[i] = ks_read_be32(r);
    *ret_body = (uint64_t)n[3] * time_bytes + n[3] + (uint64_t)n[4] * 6 + n[5] +
                (uint64_t)n[2] * (time_bytes + 4) + n[1] + n[0];
    return !r->bad && ks_slice_is(magic, "TZif") && *ret_body <= ks_reader_left(r);
}

static bool zone_parse(struct zone *z)
{
    struct ks_reader r = ks_reader(ks_slice(z->bytes, z->len));
    uint32_t n[6];
    uint64_t body;
    if (!zone_header(&r, 4, n, &body))
        return false;
    ks_read_bytes(&r, body);
    if (!zone_header(&r, 8, n, &body) || !n[4])
        return false;
    z->time_count = n[3];
    z->type_count = n[4];
    z->times = r.p;
    z->indexes = z->times + (size_t)n[3] * 8;
    z->types = z->indexes + n[3];
    return true;
}

static double zone_offset(const struct zone *z, int64_t seconds)
{
    size_t lo = 0, hi = z->time_count;
    while (lo < hi) { /* first change after the moment */
        size_t mid = (lo + hi) / 2;
        if ((int64_t)ks_be64(z->times + mid * 8) <= seconds)
            lo = mid + 1;
        else
            hi = mid;
    }
    unsigned type = lo ? z->indexes[lo - 1] : 0;
    if (type >= z->type_count)
        type = 0;
    return (double)(int32_t)ks_be32(z->types + (size_t)type * 6);
}

static ks_err zone_load(struct ksi_query *q, struct ks_slice name, struct zone *z)
{
    char path[128];
    if (!zone_name_ok(name))
        return ks_fail(KS_EEXEC, "cannot load timezone \"%.*s\"", KS_SLICE_ARG(name));
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", KS_SLICE_ARG(name));
    FILE *f = fopen(path, "rb");
    z->bytes = ks_arena_alloc(q->arena, TZ_MAX_BYTES);
    if (f && z->bytes)
        z->len = fread(z->bytes, 1, TZ_MAX_BYTES, f);
    if (f)
        fclose(f);
    if (!z->bytes)
        return ks_arena_err(q->arena);
    if (!f || !zone_parse(z))
        return ks_fail(KS_EEXEC, "cannot load timezone \"%.*s\"", KS_SLICE_ARG(name));
    return KS_OK;
}

static ks_err timezone_offset(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct ks_slice name;
    KS_TRY(ksi_want_args(c->arg_count, 1));
    KS_TRY(ksi_arg_string(c->ctx, &c->args[0], 0, &name));
    KS_TRY(ksi_vec_number(c->ctx, 0, ret));
    if (!name.len || ks_slice_is(name, "UTC") || ks_slice_is(name, "Local"))
        return KS_OK;
    struct zone z = {0};
    KS_TRY(zone_load(c->ctx->q, name, &z));
    for (size_t i = 0; i < c->ctx->points; i++)
        ret->items[0].values[i] = zone_offset(&z, ksi_time(c->ctx, i) / 1000);
    return KS_OK;
}

/* --- others --- */
static ks_err random_values(const struct ksi_call *c, struct ksi_vec *ret)
{
    int64_t seed = (int64_t)ks_random_u64();
    if (c->arg_count > 1)
        return ks_fail(KS_EEXEC, "unexpected number of args; got %zu; want 0 or 1", c->arg_count);
    if (c->arg_count)
        KS_TRY(ksi_arg_int(&c->args[0], 0, &seed));
    struct ksi_gorand *r;
    KS_TRY(ksi_gorand_new(c->ctx->q->arena, seed, &r));
    KS_TRY(ksi_vec_number(c->ctx, 0, ret));
    enum ks_promql_func_id id = c->call->func->id;
    for (size_t i = 0; i < c->ctx->points; i++)
        ret->items[0].values[i] = id == KS_FN_RAND          ? ksi_gorand_float(r)
                                  : id == KS_FN_RAND_NORMAL ? ksi_gorand_normal(r)
                                                            : ksi_gorand_exp(r);
    return KS_OK;
}

static ks_err absent(const struct ksi_call *c, struct ksi_vec *ret)
{
    KS_TRY(ksi_want_args(c->arg_count, 1));
    KS_TRY(ksi_vec_absent(c->ctx, c->call->args[0], ret));
    for (size_t i = 0; i < c->args[0].count; i++)
        for (size_t k = 0; k < c->ctx->points; k++)
            if (!ksi_is_absent(c->ctx->q, c->args[0].items[i].values[k]))
                ret->items[0].values[k] = ksi_absent();
    return KS_OK;
}

/* Strict: NaN unless exactly one series has a value at the point. */
static ks_err scalar_strict(const struct ksi_call *c, struct ksi_vec *ret)
{
    KS_TRY(ksi_vec_number(c->ctx, NAN, ret));
    for (size_t k = 0; k < c->ctx->points; k++) {
        size_t n = 0;
        for (size_t i = 0; i < c->args[0].count; i++)
            if (!ksi_is_absent(c->ctx->q, c->args[0].items[i].values[k])) {
                ret->items[0].values[k] = c->args[0].items[i].values[k];
                n++;
            }
        if (n != 1)
            ret->items[0].values[k] = NAN;
    }
    return KS_OK;
}

static ks_err scalar(const struct ksi_call *c, struct ksi_vec *ret)
{
    KS_TRY(ksi_want_args(c->arg_count, 1));
    const struct ks_expr *e = ksi_strip(c->call->args[0]);
    if (c->ctx->q->strict)
        return scalar_strict(c, ret);
    if (e->kind == KS_EXPR_STRING) {
        double v;
        return ksi_vec_number(c->ctx, ks_f64_parse(e->string, &v) ? v : NAN, ret);
    }
    if (c->args[0].count != 1)
        return ksi_vec_number(c->ctx, NAN, ret);
    *ret = c->args[0];
    ret->items[0].labels = ks_slice("", 0);
    return KS_OK;
}

ks_err ksi_transform_source(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    const struct ksi_ctx *ctx = c->ctx;
    switch (c->call->func->id) {
    case KS_FN_TIME:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_time(ctx, ret);
    case KS_FN_NOW:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_number(ctx, (double)ctx->q->req->now_ms / 1e3, ret);
    case KS_FN_START:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_number(ctx, (double)ctx->start_ms / 1e3, ret);
    case KS_FN_END:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_number(ctx, (double)ctx->end_ms / 1e3, ret);
    case KS_FN_STEP:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_number(ctx, (double)ctx->step_ms / 1e3, ret);
    case KS_FN_PI:
        KS_TRY(ksi_want_args(c->arg_count, 0));
        return ksi_vec_number(ctx, M_PI, ret);
    case KS_FN_RAND:
    case KS_FN_RAND_NORMAL:
    case KS_FN_RAND_EXPONENTIAL:
        return random_values(c, ret);
    case KS_FN_TIMEZONE_OFFSET:
        return timezone_offset(c, ret);
    case KS_FN_ABSENT:
        return absent(c, ret);
    case KS_FN_SCALAR:
        return scalar(c, ret);
    case KS_FN_VECTOR:
        KS_TRY(ksi_want_args(c->arg_count, 1));
        *ret = c->args[0];
        return KS_OK;
    default:
        *mine = false;
        return KS_OK;
    }
}
