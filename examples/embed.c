/*
 * A program with kofstore inside: writes an hour of two series, asks for their rate. Build against
 * an installed library:
 *
 *     cc embed.c $(pkg-config --cflags --libs --static kofstore) -o embed && ./embed /var/tmp/demo
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <kofstore.h>

static void check(int code, const char *what)
{
    if (code == KOFSTORE_OK)
        return;
    fprintf(stderr, "%s: %s (%s)\n", what, kofstore_errmsg(), kofstore_errname(code));
    exit(1);
}

static void write_hour(kofstore *db, int64_t now)
{
    static const kofstore_label north[] = {KOFSTORE_LABEL("__name__", "visits_total"),
                                           KOFSTORE_LABEL("door", "north")};
    static const kofstore_label south[] = {KOFSTORE_LABEL("__name__", "visits_total"),
                                           KOFSTORE_LABEL("door", "south")};
    kofstore_batch *b;
    check(kofstore_batch_new(&b), "batch");
    for (int k = 0; k < 2; k++) {
        check(kofstore_batch_series(b, k ? south : north, 2), "series");
        for (int i = 0; i < 240; i++) {
            int64_t t = now - 3600000 + i * 15000;
            double v = i * (k + 1);
            check(kofstore_batch_samples(b, &t, &v, 1), "sample");
        }
    }
    kofstore_write_info info = {.size = sizeof info};
    check(kofstore_write(db, b, &info), "write"); /* durable from here on */
    printf("stored %llu samples\n", (unsigned long long)info.stored);
    kofstore_batch_free(b);
}

static void print(kofstore_result *r)
{
    const kofstore_label *labels;
    size_t n;
    int64_t t;
    double v;
    int code;
    while ((code = kofstore_result_next(r)) == KOFSTORE_OK) {
        check(kofstore_result_labels(r, &labels, &n), "labels");
        for (size_t i = 0; i < n; i++)
            printf("%.*s=\"%.*s\" ", (int)labels[i].name_len, labels[i].name,
                   (int)labels[i].value_len, labels[i].value);
        putchar('\n');
        while (kofstore_result_point(r, &t, &v) == KOFSTORE_OK)
            printf("  %lld.%03lld %g\n", (long long)t / 1000, (long long)t % 1000, v);
    }
    if (code != KOFSTORE_DONE)
        check(code, "result");
    kofstore_result_free(r);
}

int main(int argc, char **argv)
{
    kofstore_options *o;
    kofstore *db;
    kofstore_result *r;
    int64_t now = (int64_t)time(NULL) * 1000;
    check(kofstore_options_new(&o), "options");
    check(kofstore_options_set(o, "retentionPeriod", "30d"), "options");
    check(kofstore_open(argc > 1 ? argv[1] : "kofstore-demo", o, &db), "open");
    kofstore_options_free(o);
    write_hour(db, now);
    check(kofstore_query_range(db, "sum(rate(visits_total[5m])) by (door)", now - 1800000,
                               now - 300000, 300000, NULL, &r),
          "query");
    print(r);
    check(kofstore_close(db), "close");
    return 0;
}
