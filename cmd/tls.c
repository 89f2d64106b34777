#include "cmd/tls.h"

#include <stdio.h>
#include <string.h>

#include "api/tls.h"
#include "base/mem.h"
#include "cmd/flags.h"

static struct ks_tls **made;
static size_t made_count, made_cap;

static const char *item(const char *prefix, const char *flag, size_t at)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, flag);
    return ks_flag_item(name, at);
}

/* Listeners of log stores may share the certificate of the others. */
static const char *file(const char *prefix, const char *flag, size_t at)
{
    const char *own = item(prefix, flag, at);
    return !own[0] && strcmp(prefix, "logs.") == 0 ? ks_flag_item(flag, 0) : own;
}

ks_err ks_cmd_tls(const char *prefix, size_t at, struct ks_tls **ret)
{
    char name[64];
    struct ks_tls *t;
    bool syslog = strcmp(prefix, "syslog.") == 0;
    *ret = NULL;
    snprintf(name, sizeof name, "%stls", prefix);
    if (!ks_flag_item_bool(name, at))
        return KS_OK;
    struct ks_tls_opts o = {.cert_file = file(prefix, "tlsCertFile", at),
                            .key_file = file(prefix, "tlsKeyFile", at),
                            .min_version = syslog ? ks_flag_str("syslog.tlsMinVersion")
                                                  : item(prefix, "tlsMinVersion", at)};
    snprintf(name, sizeof name, "%stlsCipherSuites", prefix);
    o.suite_count = ks_flag_list(name, &o.suites);
    KS_TRY(ks_array_reserve((void **)&made, &made_cap, made_count + 1, sizeof(struct ks_tls *)));
    ks_err err = ks_tls_new(&o, &t);
    if (err != KS_OK)
        return ks_fail_context(err, "-%stls", prefix);
    made[made_count++] = t;
    *ret = t;
    return KS_OK;
}

void ks_cmd_tls_done(void)
{
    for (size_t i = 0; i < made_count; i++)
        ks_tls_free(made[i]);
    ks_free(made);
    made = NULL;
    made_count = made_cap = 0;
}
