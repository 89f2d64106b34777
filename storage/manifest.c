#include "storage/manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"

enum { MAX_BYTES = 256 << 20, MAX_SHARDS = 1024 };

void ks_manifest_done(struct ks_manifest *m)
{
    ks_free(m->cuts);
    ks_free(m->parts);
    *m = (struct ks_manifest){0};
}

ks_err ks_manifest_copy(const struct ks_manifest *m, struct ks_manifest *ret)
{
    struct ks_manifest c = *m;
    c.part_cap = m->part_count;
    c.cuts = ks_memdup(m->cuts, m->shard_count * sizeof *m->cuts);
    c.parts = ks_memdup(m->parts, m->part_count * sizeof *m->parts);
    if (!c.cuts || !c.parts) {
        ks_manifest_done(&c);
        return KS_ENOMEM;
    }
    *ret = c;
    return KS_OK;
}

ks_err ks_manifest_add_part(struct ks_manifest *m, struct ks_manifest_part part)
{
    KS_TRY(ks_array_reserve((void **)&m->parts, &m->part_cap, m->part_count + 1, sizeof part));
    m->parts[m->part_count++] = part;
    return KS_OK;
}

/* --- writing --- */

static void put_text(const struct ks_manifest *m, struct ks_buf *b)
{
    ks_buf_printf(b, "kofstore manifest %d\nstore ", KS_MANIFEST_FORMAT);
    for (size_t i = 0; i < sizeof m->store_id; i++)
        ks_buf_printf(b, "%02x", m->store_id[i]);
    ks_buf_printf(b, "\nnext %llu\nshards %u\ncheckpoint %llu\n", (unsigned long long)m->next_id,
                  m->shard_count, (unsigned long long)m->checkpoint_id);
    for (uint32_t i = 0; i < m->shard_count; i++)
        ks_buf_printf(b, "cut %u %llu\n", i, (unsigned long long)m->cuts[i]);
    for (size_t i = 0; i < m->part_count; i++)
        ks_buf_printf(b, "part %llu %lld %u %u %llu\n", (unsigned long long)m->parts[i].id,
                      (long long)m->parts[i].day, m->parts[i].level, m->parts[i].resolution,
                      (unsigned long long)m->parts[i].tombs_id);
    ks_buf_printf(b, "hash %016llx\n", (unsigned long long)ks_hash64(b->ptr, b->len));
}

/* Hard-links the current manifest as the previous one, so that a repair has it. */
static ks_err keep_previous(struct ks_vfs *vfs, const char *path)
{
    char prev[4096];
    if ((size_t)snprintf(prev, sizeof prev, "%s.prev", path) >= sizeof prev)
        return ks_fail(KS_EINVAL, "path is too long: %s", path);
    ks_err err = vfs->ops->unlink(vfs, prev);
    if (err == KS_OK || err == KS_ENOTFOUND)
        err = vfs->ops->link(vfs, path, prev);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

ks_err ks_manifest_store(struct ks_vfs *vfs, const char *dir, const struct ks_manifest *m)
{
    char path[4000];
    struct ks_buf b;
    if ((size_t)snprintf(path, sizeof path, "%s/MANIFEST", dir) >= sizeof path)
        return ks_fail(KS_EINVAL, "path is too long: %s", dir);
    ks_buf_init(&b, MAX_BYTES);
    put_text(m, &b);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = keep_previous(vfs, path);
    if (err == KS_OK)
        err = ks_vfs_replace_file(vfs, path, ks_buf_view(&b));
    ks_buf_done(&b);
    return err;
}

/* --- reading --- */

/* The numbers after the keyword of a line; exactly n of them. */
static bool numbers(struct ks_slice rest, int64_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        while (len < rest.len && rest.ptr[len] != ' ')
            len++;
        uint64_t u;
        struct ks_slice word = ks_slice(rest.ptr, len);
        if (ks_u64_parse(word, &u))
            out[i] = (int64_t)u;
        else if (!ks_i64_parse(word, &out[i]))
            return false;
        if ((i + 1 < n) != (len < rest.len))
            return false;
        rest = ks_slice_from(rest, len < rest.len ? len + 1 : len);
    }
    return true;
}

static bool keyword(struct ks_slice line, const char *word, struct ks_slice *rest)
{
    if (!ks_slice_has_prefix(line, ks_slice_str(word)))
        return false;
    *rest = ks_slice_from(line, strlen(word));
    return true;
}

static bool parse_store_id(struct ks_slice hex, uint8_t out[16])
{
    static const char digits[] = "0123456789abcdef";
    if (hex.len != 32)
        return false;
    for (size_t i = 0; i < 32; i++) {
        const char *d = memchr(digits, hex.ptr[i], 16);
        if (!d)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (d - digits));
    }
    return true;
}

static ks_err parse_line(struct ks_slice line, struct ks_manifest *m, bool *ret_good)
{
    struct ks_slice rest;
    int64_t v[5];
    *ret_good = true;
    if (keyword(line, "store ", &rest) && parse_store_id(rest, m->store_id))
        return KS_OK;
    if (keyword(line, "next ", &rest) && numbers(rest, v, 1)) {
        m->next_id = (uint64_t)v[0];
        return KS_OK;
    }
    if (keyword(line, "shards ", &rest) && numbers(rest, v, 1) && !m->cuts && v[0] > 0 &&
        v[0] <= MAX_SHARDS) {
        m->shard_count = (uint32_t)v[0];
        m->cuts = ks_zalloc_array(m->shard_count, sizeof *m->cuts);
        return m->cuts ? KS_OK : KS_ENOMEM;
    }
    if (keyword(line, "checkpoint ", &rest) && numbers(rest, v, 1)) {
        m->checkpoint_id = (uint64_t)v[0];
        return KS_OK;
    }
    if (keyword(line, "cut ", &rest) && numbers(rest, v, 2) && v[0] >= 0 && v[0] < m->shard_count) {
        m->cuts[v[0]] = (uint64_t)v[1];
        return KS_OK;
    }
    if (keyword(line, "part ", &rest) && numbers(rest, v, 5) && v[2] >= 0 && v[2] < 16 &&
        v[3] >= 0 && v[3] <= UINT32_MAX)
        return ks_manifest_add_part(m,
                                    (struct ks_manifest_part){(uint64_t)v[0], v[1], (uint8_t)v[2],
                                                              (uint32_t)v[3], (uint64_t)v[4]});
    *ret_good = false;
    return KS_OK;
}

static ks_err parse_body(struct ks_slice body, struct ks_manifest *m)
{
    size_t line_no = 1;
    while (body.len) {
        const char *nl = memchr(body.ptr, '\n', body.len);
        struct ks_slice line = ks_slice(body.ptr, nl ? (size_t)(nl - body.ptr) : body.len);
        bool good;
        body = ks_slice_from(body, line.len + (nl ? 1 : 0));
        if (line_no == 1) {
            struct ks_slice rest;
            int64_t format;
            if (!keyword(line, "kofstore manifest ", &rest) || !numbers(rest, &format, 1))
                return ks_fail(KS_ECORRUPT, "line 1: this is no kofstore manifest");
            if (format != KS_MANIFEST_FORMAT)
                return ks_fail(KS_EUNSUPPORTED, "manifest format %lld is not known to this version",
                               (long long)format);
        } else {
            KS_TRY(parse_line(line, m, &good));
            if (!good)
                return ks_fail(KS_ECORRUPT, "line %zu: cannot understand \"%.*s\"", line_no,
                               KS_SLICE_ARG(line));
        }
        line_no++;
    }
    return m->cuts ? KS_OK : ks_fail(KS_ECORRUPT, "the number of shards is missing");
}

ks_err ks_manifest_parse(struct ks_slice text, struct ks_manifest *ret)
{
    enum { TAIL = 22 }; /* "hash " 16 digits "\n" */
    struct ks_manifest m = {0};
    char want[TAIL + 1];
    if (text.len < TAIL)
        return ks_fail(KS_ECORRUPT, "too short");
    struct ks_slice body = ks_slice(text.ptr, text.len - TAIL);
    snprintf(want, sizeof want, "hash %016llx\n",
             (unsigned long long)ks_hash64(body.ptr, body.len));
    if (memcmp(text.ptr + body.len, want, TAIL) != 0)
        return ks_fail(KS_ECORRUPT, "the hash in the last line does not match");
    ks_err err = parse_body(body, &m);
    if (err != KS_OK) {
        ks_manifest_done(&m);
        return err;
    }
    *ret = m;
    return KS_OK;
}

ks_err ks_manifest_load(struct ks_vfs *vfs, const char *dir, struct ks_manifest *ret)
{
    char path[4096], *text;
    size_t len;
    if ((size_t)snprintf(path, sizeof path, "%s/MANIFEST", dir) >= sizeof path)
        return ks_fail(KS_EINVAL, "path is too long: %s", dir);
    KS_TRY(ks_vfs_read_file(vfs, path, MAX_BYTES, &text, &len));
    ks_err err = ks_manifest_parse(ks_slice(text, len), ret);
    ks_free(text);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "%s", path);
}
