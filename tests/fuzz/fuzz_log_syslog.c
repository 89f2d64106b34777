/* Syslog: whatever the bytes, framing ends and the batch is sound. The first byte chooses options.
 */
#include "api/logs/syslog.h"
#include "log_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tl t;
    static bool ready;
    if (!ready)
        tl_init_fuzz(&t);
    ready = true;
    if (!size)
        return 0;
    struct ks_slice body = ks_slice(data + 1, size - 1), text;
    struct ks_syslog_opts o = {data[0] >> 7, true, data[0] >> 6 & 1, KS_SLICE_LIT("::1")};
    struct ks_syslog_framer f = {.max_bytes = 64 + (data[0] & 63)};
    tl_begin_fuzz(&t, data[0]);
    while (ks_syslog_next(&f, &body, &text))
        (void)!ks_syslog_message(&t.in, text, &o);
    body = ks_slice(data + 1, size - 1);
    while (ks_syslog_next_datagram(&body, &text))
        (void)!ks_syslog_message(&t.in, text, &o);
    tl_text(&t);
    return 0;
}
