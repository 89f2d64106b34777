/*
 * Line protocols of /api/v1/import. A malformed line is counted in vm_rows_invalid_total, reported
 * in the log (rate-limited), and skipped; the rest of the body is stored, as VictoriaMetrics does.
 * When no line was good the request fails.
 */
#ifndef KS_API_INGEST_IMPORT_H
#define KS_API_INGEST_IMPORT_H

#include "api/ingest/ingest.h"

/* What became of a body's lines. */
struct ks_import_lines {
    uint64_t good, bad;
    char first[192]; /* what was wrong with the first bad one */
};
/* One line was read; wrong NULL: fine. column 0: not known. */
void ks_import_line(struct ks_import_lines *l, const char *wrong, size_t number, size_t column);
/* Counts the bad ones in invalid and tells of them; KS_EPARSE when no line was good. */
KS_NODISCARD ks_err ks_import_lines_end(const struct ks_import_lines *l, const char *what,
                                        struct ks_stat *invalid, uint64_t *ret_bad);

/* {"metric":{"__name__":"up",…},"values":[1,null,"Infinity"],"timestamps":[ms,…]} per line. */
KS_NODISCARD ks_err ks_import_json(struct ks_ingest *in, struct ks_slice body,
                                   uint64_t *ret_bad_lines);
KS_NODISCARD ks_err ks_import_json_handle(struct ks_http_request *req);

/*
 * Prometheus text exposition and OpenMetrics: name{label="value"} value [timestamp]. A timestamp in
 * ms, or in seconds when it has a fraction or the body ends in # EOF. HELP, TYPE and UNIT go to the
 * metadata store; exemplars behind # are skipped.
 */
KS_NODISCARD ks_err ks_import_text(struct ks_ingest *in, struct ks_slice body, int64_t default_ms,
                                   const struct ks_label *add, size_t add_count,
                                   uint64_t *ret_bad_lines);
KS_NODISCARD ks_err ks_import_text_handle(struct ks_http_request *req);

#endif
