/*
 * kofstore block: parts looked into, checked, exported and repaired without a server. Everything
 * but repair only reads and may run beside a server; repair takes the folder's lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "cmd/block_export.h"
#include "cmd/block_logs.h"
#include "cmd/commands.h"
#include "cmd/tool.h"
#include "engine/offline.h"
#include "index/metric_part.h"
#include "storage/manifest.h"

static const char usage[] =
    "usage: kofstore block COMMAND, for parts of metrics and of logs\n\n"
    "  ls DIR                       parts of a data folder\n"
    "  info FILE                    what a part file holds\n"
    "  verify DIR|FILE              check every page, chunk and the order of the series\n"
    "  export FILE [-selector='{a=\"b\"}'] [-format=jsonl|prometheus|csv]\n"
    "  repair DIR [-shards=N]       save what is readable of damaged parts, rebuild a lost "
    "manifest; the server must be down\n";

static struct ks_vfs *vfs(void)
{
    return ks_vfs_posix();
}

/* --- the files of a folder --- */

typedef ks_err (*file_fn)(void *arg, const char *path);

struct folder {
    struct ks_buf names;
    bool dirs;
};

static bool take_name(void *arg, const char *name, bool is_dir)
{
    struct folder *f = arg;
    if (is_dir == f->dirs)
        ks_buf_add(&f->names, name, strlen(name) + 1);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Calls fn with dir/NAME for the files (or folders) of dir in order; an absent folder has none. */
static ks_err each(const char *dir, bool dirs, const char *suffix, file_fn fn, void *arg)
{
    struct folder f = {.dirs = dirs};
    const char *sorted[65536];
    size_t n = 0;
    char path[4096];
    ks_buf_init(&f.names, 64 << 20);
    ks_err err = vfs()->ops->list(vfs(), dir, take_name, &f);
    if (err == KS_OK)
        err = ks_buf_status(&f.names);
    for (size_t at = 0; err == KS_OK && at < f.names.len; at += strlen(f.names.ptr + at) + 1) {
        size_t len = strlen(f.names.ptr + at), k = strlen(suffix);
        if (len >= k && strcmp(f.names.ptr + at + len - k, suffix) == 0 &&
            n < sizeof sorted / sizeof *sorted)
            sorted[n++] = f.names.ptr + at;
    }
    if (n)
        qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, sorted[i]);
        err = fn(arg, path);
    }
    ks_buf_done(&f.names);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

struct visit {
    file_fn fn;
    void *arg;
};

static ks_err each_part_of_day(void *arg, const char *day)
{
    struct visit *v = arg;
    return each(day, false, ".part", v->fn, v->arg);
}

static ks_err each_part(const char *dir, file_fn fn, void *arg)
{
    struct visit v = {fn, arg};
    char path[4096];
    snprintf(path, sizeof path, "%s/parts", dir);
    return each(path, true, "", each_part_of_day, &v);
}

static bool is_folder(const char *path)
{
    struct folder f = {.dirs = true};
    ks_buf_init(&f.names, 64 << 20);
    bool is = vfs()->ops->list(vfs(), path, take_name, &f) == KS_OK;
    ks_buf_done(&f.names);
    return is;
}

/* --- ls, info --- */

static void print_time(int64_t ms)
{
    char text[33] = "";
    text[ks_time_format_rfc3339_ms(text, ms)] = 0;
    printf("%s", text);
}

struct ls {
    struct ks_manifest m;
    bool has_manifest;
    uint64_t damaged;
};

static const struct ks_manifest_part *listed(const struct ls *l, const char *path)
{
    uint64_t id = strtoull(strrchr(path, '/') + 1, NULL, 16);
    for (size_t i = 0; i < l->m.part_count; i++)
        if (l->m.parts[i].id == id)
            return &l->m.parts[i];
    return NULL;
}

static void print_marks(const struct ls *l, const struct ks_manifest_part *known)
{
    printf("%s%s%s\n", known && known->resolution ? " downsampled" : "",
           known && known->tombs_id ? " has_deleted" : "",
           l->has_manifest && !known ? " NOT LISTED" : "");
}

static ks_err ls_part(void *arg, const char *path)
{
    struct ls *l = arg;
    struct ks_mpart p;
    int64_t min_ms, max_ms;
    const struct ks_manifest_part *known = listed(l, path);
    bool is_log = ks_block_is_log(path);
    ks_err err = is_log ? ks_block_logs_line(path, known ? known->level : -1)
                        : ks_mpart_open(vfs(), path, NULL, &p);
    if (err == KS_ECORRUPT || err == KS_EUNSUPPORTED) {
        l->damaged++;
        printf("%s\tDAMAGED: %s\n", path, ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    if (is_log) {
        print_marks(l, known);
        return KS_OK;
    }
    ks_mdata_time_range(p.data, &min_ms, &max_ms);
    printf("%s\tlevel=%d bytes=%llu series=%u samples=%llu from=", path, known ? known->level : -1,
           (unsigned long long)ks_part_bytes(p.file), ks_sindex_series_count(p.index),
           (unsigned long long)ks_mdata_sample_count(p.data));
    print_time(min_ms);
    printf(" to=");
    print_time(max_ms);
    print_marks(l, known);
    ks_mpart_close(&p);
    return KS_OK;
}

static ks_err print_aside(void *arg, const char *path)
{
    (void)arg;
    printf("%s\tset aside\n", path);
    return KS_OK;
}

/* One store: the data folder itself or a log store in it. */
static ks_err ls_store(void *arg, const char *dir)
{
    struct ls l = {0};
    struct ls *sum = arg;
    char path[4096];
    ks_err err = ks_manifest_load(vfs(), dir, &l.m);
    l.has_manifest = err == KS_OK;
    if (err != KS_OK)
        fprintf(stderr, "kofstore: %s\n", ks_err_text());
    err = each_part(dir, ls_part, &l);
    snprintf(path, sizeof path, "%s/quarantine", dir);
    if (err == KS_OK)
        err = each(path, false, "", print_aside, NULL);
    ks_manifest_done(&l.m);
    sum->damaged += l.damaged;
    sum->has_manifest &= l.has_manifest;
    return err;
}

static ks_err each_log_store(const char *dir, file_fn fn, void *arg)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/logs", dir);
    return each(path, true, "", fn, arg);
}

static ks_err block_ls(const char *dir)
{
    struct ls l = {.has_manifest = true};
    ks_err err = ls_store(&l, dir);
    if (err == KS_OK)
        err = each_log_store(dir, ls_store, &l);
    if (err == KS_OK && (l.damaged || !l.has_manifest))
        return ks_fail(KS_ECORRUPT, "%llu damaged parts%s; see kofstore block verify and repair",
                       (unsigned long long)l.damaged, l.has_manifest ? "" : ", no usable manifest");
    return err;
}

static void print_encodings(const uint64_t *counts, const char *what, const char *(*name)(uint8_t))
{
    printf("%s:", what);
    for (int i = 0; i < 256; i++)
        if (counts[i])
            printf(" %s=%llu", name((uint8_t)i), (unsigned long long)counts[i]);
    printf("\n");
}

static ks_err count_encodings(struct ks_mpart *p, uint64_t *values, uint64_t *times)
{
    struct ks_chunk_ref *refs = NULL;
    size_t cap = 0;
    ks_err err = KS_OK;
    for (uint32_t ord = 0; ord < ks_sindex_series_count(p->index) && err == KS_OK; ord++) {
        size_t n = 0;
        err = ks_mdata_chunks(p->data, ord, INT64_MIN, INT64_MAX, &refs, &n, &cap);
        for (size_t i = 0; i < n && err == KS_OK; i++) {
            values[refs[i].meta.values_encoding]++;
            times[refs[i].meta.times_encoding]++;
        }
    }
    ks_free(refs);
    return err;
}

static ks_err block_info(const char *path)
{
    struct ks_mpart p;
    uint8_t uuid[16];
    int64_t min_ms, max_ms;
    static uint64_t values[256], times[256];
    if (ks_block_is_log(path))
        return ks_block_logs_info(path);
    KS_TRY(ks_mpart_open(vfs(), path, NULL, &p));
    ks_part_uuid(p.file, uuid);
    printf("file: %s\nuuid: ", path);
    for (int i = 0; i < 16; i++)
        printf("%02x", uuid[i]);
    printf("\ncreated: ");
    print_time(ks_part_created_ms(p.file));
    ks_mdata_time_range(p.data, &min_ms, &max_ms);
    printf("\nfrom: ");
    print_time(min_ms);
    printf("\nto: ");
    print_time(max_ms);
    uint64_t samples = ks_mdata_sample_count(p.data);
    printf("\nbytes: %llu\nseries: %u\nchunks: %llu\nsamples: %llu\nbytes_per_sample: %.3f\n",
           (unsigned long long)ks_part_bytes(p.file), ks_sindex_series_count(p.index),
           (unsigned long long)ks_mdata_chunk_count(p.data), (unsigned long long)samples,
           samples ? (double)ks_part_bytes(p.file) / (double)samples : 0);
    const char *name;
    for (size_t i = 0; (name = ks_part_section_name(p.file, i)); i++) {
        size_t pages;
        ks_part_section_pages(p.file, name, &pages);
        printf("section %s: pages=%zu bytes=%llu\n", name, pages,
               (unsigned long long)ks_part_section_bytes(p.file, name));
    }
    ks_err err = count_encodings(&p, values, times);
    print_encodings(values, "values", ks_values_encoding_name);
    print_encodings(times, "times", ks_times_encoding_name);
    ks_mpart_close(&p);
    return err;
}

/* --- verify, repair --- */

static void hear(void *arg, const char *path, const char *what)
{
    (void)arg;
    printf("%s: %s\n", path, what);
}

struct verify {
    uint64_t files, bad;
    struct ks_offline_counts sum;
};

static ks_err verify_file(void *arg, const char *path)
{
    struct verify *v = arg;
    struct ks_offline_counts n = {0};
    ks_err err = ks_offline_verify(vfs(), path, hear, NULL, &n);
    v->files++;
    v->sum.series += n.series;
    v->sum.chunks += n.chunks;
    v->sum.samples += n.samples;
    if (err == KS_ECORRUPT || err == KS_EUNSUPPORTED) {
        if (!n.problems)
            hear(NULL, path, ks_err_text());
        v->bad++;
        return KS_OK;
    }
    return err;
}

static ks_err verify_store(void *arg, const char *dir)
{
    struct verify *v = arg;
    struct ks_manifest m;
    char path[4096];
    ks_err err = ks_manifest_load(vfs(), dir, &m);
    if (err == KS_OK) {
        ks_manifest_done(&m);
    } else {
        v->bad++;
        hear(NULL, dir, ks_err_text());
    }
    KS_TRY(each_part(dir, verify_file, v));
    snprintf(path, sizeof path, "%s/checkpoint", dir);
    return each(path, false, ".ckpt", verify_file, v);
}

static ks_err block_verify(const char *path)
{
    struct verify v = {0};
    bool folder = is_folder(path);
    KS_TRY(folder ? verify_store(&v, path) : verify_file(&v, path));
    if (folder)
        KS_TRY(each_log_store(path, verify_store, &v));
    printf("%llu files, %llu series, %llu chunks, %llu samples: %s\n", (unsigned long long)v.files,
           (unsigned long long)v.sum.series, (unsigned long long)v.sum.chunks,
           (unsigned long long)v.sum.samples, v.bad ? "DAMAGED" : "good");
    return v.bad ? ks_fail(KS_ECORRUPT, "%llu damaged files", (unsigned long long)v.bad) : KS_OK;
}

static ks_err block_repair(const char *dir, const char *shards)
{
    struct ks_repair_result r;
    uint64_t n = 0;
    if (shards && (!ks_u64_parse(ks_slice_str(shards), &n) || n > 1024))
        return ks_fail(KS_EINVAL, "-shards=%s: want a number up to 1024", shards);
    KS_TRY(ks_offline_repair(vfs(), dir, (uint32_t)n, hear, NULL, &r));
    printf("good=%llu salvaged=%llu lost=%llu samples_salvaged=%llu problems=%llu manifest=%s\n",
           (unsigned long long)r.parts_good, (unsigned long long)r.parts_salvaged,
           (unsigned long long)r.parts_lost, (unsigned long long)r.samples_salvaged,
           (unsigned long long)r.problems, r.manifest_rebuilt ? "rebuilt" : "kept");
    return KS_OK;
}

int ks_cmd_block(int argc, char **argv)
{
    struct ks_tool_opt opts[] = {{"selector", NULL}, {"format", "jsonl"}, {"shards", NULL}};
    const char *words[2];
    size_t n;
    ks_err err = ks_tool_args(argc, argv, opts, 3, words, 2, &n);
    if (err != KS_OK)
        return ks_tool_complain(err);
    if (n != 2) {
        fputs(usage, n ? stderr : stdout);
        return n ? 2 : 0;
    }
    if (strcmp(words[0], "ls") == 0)
        err = block_ls(words[1]);
    else if (strcmp(words[0], "info") == 0)
        err = block_info(words[1]);
    else if (strcmp(words[0], "verify") == 0)
        err = block_verify(words[1]);
    else if (strcmp(words[0], "export") == 0)
        err = (ks_block_is_log(words[1]) ? ks_block_logs_export : ks_block_export)(
            words[1], opts[0].value, opts[1].value, stdout);
    else if (strcmp(words[0], "repair") == 0)
        err = block_repair(words[1], opts[2].value);
    else
        err = ks_fail(KS_EINVAL, "unknown command \"block %s\"", words[0]);
    return err == KS_OK ? 0 : ks_tool_complain(err);
}
