/* Writes the own /metrics as samples every interval, so that a single program can watch itself. One
 * thread of its own. */
#ifndef KS_API_OPS_SELF_SCRAPE_H
#define KS_API_OPS_SELF_SCRAPE_H

#include "api/app.h"

struct ks_self_scrape;
KS_NODISCARD ks_err ks_self_scrape_start(struct ks_app *app, int64_t interval_ms, const char *job,
                                         const char *instance, struct ks_self_scrape **ret);
void ks_self_scrape_stop(struct ks_self_scrape *s); /* NULL is fine */

#endif
