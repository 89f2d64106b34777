/* The server's trace store and the listeners of tracing clients, from the flags. */
#ifndef KS_CMD_TRACES_H
#define KS_CMD_TRACES_H

#include "api/app.h"

struct ks_signal;

/* Makes app->traces and describes it to the engine. */
KS_NODISCARD ks_err ks_serve_traces_new(struct ks_app *app, uint64_t memory_bytes,
                                        struct ks_signal *ret);
/* What runs beside the store, once the engine is open: pins, metrics of spans. */
KS_NODISCARD ks_err ks_serve_traces_start(struct ks_app *app);
/* Before the engine is closed. */
void ks_serve_traces_end(struct ks_app *app);
/* Starts what -otlp.httpListenAddr and its kin ask for; opts: the main server's. */
KS_NODISCARD ks_err ks_serve_traces_listen(struct ks_app *app, const struct ks_http_opts *opts);
void ks_serve_traces_stop(struct ks_app *app, int64_t grace_ms);

#endif
