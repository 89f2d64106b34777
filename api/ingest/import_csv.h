/*
 * /api/v1/import/csv: lines whose columns format=<pos>:<time|label|metric>:<what>,… explains. A
 * header line is stepped over. A malformed line is counted and skipped, as in the other imports;
 * when no line was good the request fails and names the first.
 */
#ifndef KS_API_INGEST_IMPORT_CSV_H
#define KS_API_INGEST_IMPORT_CSV_H

#include "api/csv.h"
#include "api/ingest/ingest.h"

enum ks_csv_kind { KS_CSV_IGNORED, KS_CSV_TIME, KS_CSV_LABEL, KS_CSV_METRIC };
struct ks_csv_column_rule {
    enum ks_csv_kind kind;
    struct ks_slice name; /* of label or metric */
    struct ks_csv_time time;
};
struct ks_csv_format {
    struct ks_csv_column_rule *columns;
    size_t count, metric_count;
};

/* Reads the format argument; rules live in the arena. KS_EINVAL names the entry. */
KS_NODISCARD ks_err ks_csv_format_parse(struct ks_slice text, struct ks_arena *arena,
                                        struct ks_csv_format *ret);
KS_NODISCARD ks_err ks_import_csv(struct ks_ingest *in, struct ks_slice body,
                                  const struct ks_csv_format *format, uint64_t *ret_bad_lines);
KS_NODISCARD ks_err ks_import_csv_handle(struct ks_http_request *req);

#endif
