/*
 * InfluxDB line protocol: measurement[,tag=value…] field=value[,field=value…] [timestamp]. Each
 * field becomes a sample of the series measurement_field with the tags as labels, as
 * VictoriaMetrics maps them.
 *
 * Lines stand alone: a malformed one is counted, its number and reason are kept for the answer, and
 * the others are stored. So the write answers 400 naming the line (InfluxDB's "partial write"); in
 * stream mode it answers 204, as VictoriaMetrics does.
 */
#ifndef KS_API_INGEST_INFLUX_H
#define KS_API_INGEST_INFLUX_H

#include "api/ingest/ingest.h"

struct ks_influx_opts {
    struct ks_slice
        db_label; /* the label that gets db, unless the line has a tag of that name; "" = none */
    struct ks_slice db;
    struct ks_slice separator; /* between measurement and field */
    bool skip_single_field;    /* the name of a line with one field is the measurement alone */
    bool skip_measurement;     /* names are fields alone */
    int64_t precision; /* timestamps per ms when > 0, ms per unit when < 0; 0 = told by magnitude */
};

struct ks_influx_result {
    uint64_t good, bad;    /* lines */
    size_t first_bad_line; /* counted from 1 */
    char first_bad[160];   /* what is wrong with it */
};

/* "ns", "u", "us", "µ", "ms", "s", "m", "h" as ks_influx_opts.precision; anything else is 0. */
int64_t ks_influx_precision(struct ks_slice name);
/* Decodes a body. Fails only when writing fails: bad lines are in the result. */
KS_NODISCARD ks_err ks_import_influx(struct ks_ingest *in, struct ks_slice body,
                                     const struct ks_influx_opts *opts,
                                     struct ks_influx_result *ret);

KS_NODISCARD ks_err ks_influx_write_handle(struct ks_http_request *req);
/* Canned answers that clients probe for: SHOW DATABASES and health. */
KS_NODISCARD ks_err ks_influx_query_handle(struct ks_http_request *req);
KS_NODISCARD ks_err ks_influx_health_handle(struct ks_http_request *req);

#endif
