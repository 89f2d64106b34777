#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load/load.h"

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "bench_load: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

const char *arg_str(int argc, char **argv, const char *name, const char *or_else)
{
    size_t n = strlen(name);
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strncmp(argv[i] + 2, name, n) == 0 &&
            argv[i][2 + n] == '=')
            return argv[i] + 3 + n;
    if (!or_else)
        die("--%s= is missing", name);
    return or_else;
}

double arg_num(int argc, char **argv, const char *name, double or_else)
{
    const char *s = arg_str(argc, argv, name, "");
    return *s ? strtod(s, NULL) : or_else;
}

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double cpu_us(int pid)
{
    clockid_t clock;
    struct timespec t;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double percentile(double *x, size_t n, double share)
{
    if (n == 0)
        return 0;
    qsort(x, n, sizeof *x, by_value);
    size_t i = (size_t)(share * (double)(n - 1) + 0.5);
    return x[i];
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int, char **);
    } commands[] = {{"gen", load_gen},      {"genlogs", load_genlogs}, {"send", load_send},
                    {"query", load_query},  {"tiny", load_tiny},       {"parts", load_parts},
                    {"traces", load_traces}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr,
            "bench_load gen   --out=FILE --series=N --rounds=R --start-ms=T "
            "[--step-ms=15000] [--seed=1] [--batch=2000]\n"
            "                 [--run=1 samples of a series per request] [--late=0.02] "
            "[--churn=0.0005]\n"
            "bench_load send  --file=FILE --addr=HOST:PORT --path=PATH --pid=PID "
            "[--from=R] [--to=R] [--conns=2] [--loop=1]\n"
            "bench_load query --addr=HOST:PORT --pid=PID --paths=FILE [--save=DIR] "
            "[--budget-ms=300] [--max=50]\n"
            "bench_load tiny  --addr=HOST:PORT --paths=FILE --rate=200 --seconds=10\n"
            "bench_load traces --port=PORT --pid=PID [--traces=100000] [--turns=3] [--conns=4] "
            "[--batch=512] [--control=1]\n");
    return 2;
}
