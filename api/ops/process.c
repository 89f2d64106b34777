/* Process metrics, from /proc. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/ops/ops.h"
#include "base/stats.h"
#include "sys/pool.h"

/* The number behind `key` in a "key: value" file; 0 when absent. */
static uint64_t number_after(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    return p ? strtoull(p + strlen(key), NULL, 10) : 0;
}

static bool read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(out, 1, size - 1, f);
    fclose(f);
    out[n] = 0;
    return n > 0;
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* ., .. and the folder itself */
}

static void memory(struct ks_buf *out)
{
    char text[8192];
    if (!read_text("/proc/self/status", text, sizeof text))
        return;
    uint64_t anon = number_after(text, "RssAnon:") << 10;
    ks_stats_line_u64(out, "process_virtual_memory_bytes", number_after(text, "VmSize:") << 10);
    ks_stats_line_u64(out, "process_resident_memory_bytes", number_after(text, "VmRSS:") << 10);
    ks_stats_line_u64(out, "process_resident_memory_peak_bytes",
                      number_after(text, "VmHWM:") << 10);
    ks_stats_line_u64(out, "process_resident_memory_anon_bytes", anon);
    ks_stats_line_u64(out, "process_resident_memory_file_bytes",
                      number_after(text, "RssFile:") << 10);
    ks_stats_line_u64(out, "process_resident_memory_shared_bytes",
                      number_after(text, "RssShmem:") << 10);
    ks_stats_line_u64(out, "process_num_threads", number_after(text, "Threads:"));
    /* Dashboards and the operator's page know the Go names: threads and anonymous memory are what a
     * C program has for them. */
    ks_stats_line_u64(out, "go_goroutines", number_after(text, "Threads:"));
    ks_stats_line_u64(out, "go_memstats_heap_alloc_bytes", anon);
    ks_stats_line_u64(out, "go_memstats_heap_inuse_bytes", anon);
    ks_stats_line_u64(out, "go_memstats_heap_idle_bytes", 0);
    ks_stats_line_u64(out, "go_memstats_sys_bytes", number_after(text, "VmSize:") << 10);
    ks_stats_line_u64(out, "go_gomaxprocs", ks_cpu_count());
    ks_stats_line_u64(out, "go_cgo_calls_count", 0);
    ks_stats_line_u64(out, "go_gc_cpu_seconds_total", 0);
}

static void io(struct ks_buf *out)
{
    static const struct {
        const char *key, *name;
    } map[] = {{"rchar:", "process_io_read_bytes_total"},
               {"wchar:", "process_io_written_bytes_total"},
               {"syscr:", "process_io_read_syscalls_total"},
               {"syscw:", "process_io_write_syscalls_total"},
               {"\nread_bytes:", "process_io_storage_read_bytes_total"},
               {"\nwrite_bytes:", "process_io_storage_written_bytes_total"}};
    char text[1024];
    if (!read_text("/proc/self/io", text, sizeof text))
        return;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        ks_stats_line_u64(out, map[i].name, number_after(text, map[i].key));
}

/* The cgroup's pressure, else the machine's. */
static void pressure(struct ks_buf *out)
{
    static const char *const kinds[] = {"cpu", "io", "memory"};
    for (size_t i = 0; i < 3; i++) {
        char path[64], text[512], name[96];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s.pressure", kinds[i]);
        if (!read_text(path, text, sizeof text)) {
            snprintf(path, sizeof path, "/proc/pressure/%s", kinds[i]);
            if (!read_text(path, text, sizeof text))
                continue;
        }
        const char *full = strstr(text, "full");
        snprintf(name, sizeof name, "process_pressure_%s_waiting_seconds_total", kinds[i]);
        ks_stats_line_f64(out, name, (double)number_after(text, "total=") / 1e6);
        snprintf(name, sizeof name, "process_pressure_%s_stalled_seconds_total", kinds[i]);
        ks_stats_line_f64(out, name, full ? (double)number_after(full, "total=") / 1e6 : 0);
    }
}

void ks_ops_process_metrics(struct ks_buf *out)
{
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru) == 0) {
        double user = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
        double sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
        ks_stats_line_f64(out, "process_cpu_seconds_total", user + sys);
        ks_stats_line_f64(out, "process_cpu_seconds_user_total", user);
        ks_stats_line_f64(out, "process_cpu_seconds_system_total", sys);
        ks_stats_line_u64(out, "process_major_pagefaults_total", (uint64_t)ru.ru_majflt);
        ks_stats_line_u64(out, "process_minor_pagefaults_total", (uint64_t)ru.ru_minflt);
    }
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0)
        ks_stats_line_u64(out, "process_max_fds", rl.rlim_cur);
    ks_stats_line_u64(out, "process_open_fds", open_fds());
    ks_stats_line_f64(out, "process_cpu_cores_available", ks_cpu_count());
    memory(out);
    io(out);
    pressure(out);
}
