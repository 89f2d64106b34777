#include "api/ingest/import.h"

#include <stdio.h>

#include "base/log.h"
#include "base/stats.h"

void ks_import_line(struct ks_import_lines *l, const char *wrong, size_t number, size_t column)
{
    l->good += !wrong;
    l->bad += wrong != NULL;
    if (!wrong || l->first[0])
        return;
    if (column)
        snprintf(l->first, sizeof l->first, "line %zu, column %zu: %s", number, column, wrong);
    else
        snprintf(l->first, sizeof l->first, "line %zu: %s", number, wrong);
}

ks_err ks_import_lines_end(const struct ks_import_lines *l, const char *what,
                           struct ks_stat *invalid, uint64_t *ret_bad)
{
    *ret_bad = l->bad;
    if (!l->bad)
        return KS_OK;
    ks_stat_add(invalid, l->bad);
    ks_log_limited(5000, KS_LOG_WARN, "api", "%s: %llu bad lines skipped; first: %s", what,
                   (unsigned long long)l->bad, l->first);
    return l->good ? KS_OK : ks_fail(KS_EPARSE, "cannot parse %s", l->first);
}
