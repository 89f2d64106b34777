#include "sys/rand.h"

#include <sys/random.h>

#include "base/err.h"

void ks_random_bytes(void *out, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((char *)out + done, len - done, 0);
        KS_ASSERT(n > 0);
        done += (size_t)n;
    }
}

uint64_t ks_random_u64(void)
{
    uint64_t v;
    ks_random_bytes(&v, sizeof v);
    return v;
}
