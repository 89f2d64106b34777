#include "api/logs/log_pin.h"

#include <strings.h>

#include "api/trace_pins.h"
#include "base/num.h"

enum { OTEL_ERROR = 17 }; /* severity numbers from here on */

static bool any_of(struct ks_slice s, const char *const *words)
{
    for (; *words; words++)
        if (s.len == strlen(*words) && strncasecmp(s.ptr, *words, s.len) == 0)
            return true;
    return false;
}

bool ksi_log_is_error(struct ks_slice name, struct ks_slice value)
{
    static const char *const names[] = {
        "level", "severity",  "severity_text", "log.level",     "loglevel", "log_level",
        "lvl",   "levelname", "priority",      "severity_name", NULL};
    static const char *const errors[] = {"error",    "err",    "e",         "fatal", "f",
                                         "critical", "crit",   "emergency", "emerg", "alert",
                                         "panic",    "severe", "dpanic",    NULL};
    uint64_t number;
    /* Most fields of a row are neither. */
    char first = name.len ? (char)(name.ptr[0] | 32) : 0;
    if ((first != 'l' && first != 's' && first != 'p') || name.len > 15 || value.len > 12)
        return false;
    if (ks_slice_is(name, "severity_number"))
        return ks_u64_parse(value, &number) && number >= OTEL_ERROR;
    if (!any_of(name, names))
        return false;
    while (value.len && value.ptr[value.len - 1] >= '0' && value.ptr[value.len - 1] <= '9')
        value.len--; /* OpenTelemetry's ERROR2 */
    return any_of(value, errors);
}

void ksi_log_trace_pin(struct ks_log_ingest *in, size_t at)
{
    struct ks_trace_id id;
    bool error = false;
    for (size_t i = 0; i < in->field_count && !error; i++)
        error =
            in->fields[i].value.len && ksi_log_is_error(in->fields[i].name, in->fields[i].value);
    if (!error || !ks_pin_id_text(in->fields[at].value, &id))
        return;
    for (size_t i = in->pin_count; i-- > 0;)
        if (ks_trace_id_eq(in->pin[i], id))
            return;
    if (in->pin_count == KS_LOG_PINS)
        ksi_log_trace_pins_ask(in);
    in->pin[in->pin_count++] = id;
}

void ksi_log_trace_pins_ask(struct ks_log_ingest *in)
{
    ks_trace_pins_add(in->pins, KS_PIN_LOG, in->params->tenant, in->pin, in->pin_count);
    in->pin_count = 0;
}
