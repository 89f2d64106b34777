#include "log_shapes.h"

#include <stdio.h>

#include "sys/rand.h"

static uint64_t below(uint64_t *rng, uint64_t n)
{
    return ks_rng_below(rng, n);
}

/* Several at once, in this order: arguments of a call have none, and compilers differ. */
#define DRAW(rng, out, ...)                                                                        \
    unsigned out[] = {__VA_ARGS__};                                                                \
    for (size_t draw_i = 0; draw_i < sizeof out / sizeof *out; draw_i++)                           \
    out[draw_i] = (unsigned)below(rng, out[draw_i])

static void hex(uint64_t *rng, unsigned n, bool upper, struct ks_buf *out)
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (unsigned i = 0; i < n; i++)
        ks_buf_byte(out, (uint8_t)set[below(rng, 16)]);
}

static void uuid(uint64_t *rng, bool upper, struct ks_buf *out)
{
    static const unsigned parts[] = {8, 4, 4, 4, 12};
    for (int i = 0; i < 5; i++) {
        if (i)
            ks_buf_byte(out, '-');
        hex(rng, parts[i], upper, out);
    }
}

static void ipv4(uint64_t *rng, struct ks_buf *out)
{
    DRAW(rng, x, 3, 256, 256);
    ks_buf_printf(out, "10.%u.%u.%u", x[0], x[1], x[2]);
}

static void noise(uint64_t *rng, unsigned max, struct ks_buf *out)
{
    for (uint64_t n = below(rng, max); n > 0; n--)
        ks_buf_byte(out, (uint8_t)ks_rng_next(rng));
}

static void when(uint64_t *rng, unsigned digits, struct ks_buf *out)
{
    DRAW(rng, x, 12, 31, 24, 60, 60);
    ks_buf_printf(out, "2026-%02u-%02uT%02u:%02u:%02u", x[0] + 1, x[1] + 1, x[2], x[3], x[4]);
    if (digits)
        ks_buf_byte(out, '.');
    for (; digits; digits--)
        ks_buf_byte(out, (uint8_t)('0' + below(rng, 10)));
}

void log_message(uint64_t *rng, struct ks_buf *out)
{
    switch (below(rng, 9)) {
    case 0:
        ks_buf_printf(out, "Receiving block blk_%lld src: /", (long long)ks_rng_next(rng));
        ipv4(rng, out);
        ks_buf_printf(out, ":%u dest: /", (unsigned)below(rng, 65536));
        ipv4(rng, out);
        ks_buf_str(out, ":50010");
        break;
    case 1:
        ks_buf_printf(out, "error while reading from socket %u: connection reset by peer",
                      (unsigned)below(rng, 500));
        break;
    case 2: {
        ks_buf_str(out, "GET /api/v1/users/");
        uuid(rng, false, out);
        DRAW(rng, x, 50, 4, 100, 1000);
        ks_buf_printf(out, "?page=%u HTTP/1.1 status=%u took=%u.%03ums", x[0], 200 + 100 * x[1],
                      x[2], x[3]);
        break;
    }
    case 3:
        ks_buf_str(out, "session opened for user root by (uid=0)");
        break;
    case 4:
        ks_buf_printf(out, "caf\xc3\xa9 order %u paid", (unsigned)below(rng, 100000));
        break;
    case 5: {
        DRAW(rng, x, 8, 20, 20, 20);
        ks_buf_printf(out, "worker-%u finished in %u.%u.%u", x[0], x[1], x[2], x[3]);
        break;
    }
    case 6:
        when(rng, 3, out);
        ks_buf_printf(out, "Z [%05u] WARN pool exhausted", (unsigned)below(rng, 30000));
        break;
    case 7:
        ks_buf_str(out, "one of a kind ");
        hex(rng, 3, false, out);
        noise(rng, 30, out);
        break;
    default:
        ks_buf_printf(out, "{\"level\":\"info\",\"n\":%d,\"id\":\"", (int)below(rng, 9) - 4);
        hex(rng, 16, false, out);
        ks_buf_str(out, "\"}");
    }
}

void log_shape(unsigned shape, uint64_t *rng, struct ks_buf *out)
{
    static const char *const levels[] = {"info", "warn", "error", "debug"};
    ks_buf_reset(out);
    switch (shape) {
    case 0:
        ks_buf_str(out, "constant");
        break;
    case 1:
        ks_buf_str(out, levels[below(rng, 4)]);
        break;
    case 2:
        ks_buf_printf(out, "%llu", (unsigned long long)below(rng, 1000000));
        break;
    case 3: {
        long long wide = (long long)ks_rng_next(rng);
        ks_buf_printf(out, "%lld", wide >> below(rng, 64));
        break;
    }
    case 4:
        ks_buf_printf(out, "%06u", (unsigned)below(rng, 1000000));
        break;
    case 5: {
        DRAW(rng, x, 5, 50, 100);
        ks_buf_printf(out, "%s%u.%02u", x[0] ? "" : "-", x[1], x[2]);
        break;
    }
    case 6: {
        DRAW(rng, x, 4, 100000);
        ks_buf_printf(out, "%.*f", (int)x[0], (double)x[1] / 64);
        break;
    }
    case 7:
        ipv4(rng, out);
        break;
    case 8: {
        DRAW(rng, x, 300, 256, 256, 256);
        ks_buf_printf(out, "%u.%u.%u.%u", x[0], x[1], x[2], x[3]);
        break;
    }
    case 9:
        when(rng, 3, out);
        ks_buf_byte(out, 'Z');
        break;
    case 10:
        when(rng, (unsigned)below(rng, 10), out);
        break;
    case 11:
        hex(rng, 32, false, out);
        break;
    case 12:
        hex(rng, 15, true, out);
        break;
    case 13:
        uuid(rng, below(rng, 50) == 0, out);
        break;
    case 14:
        uuid(rng, false, out);
        break;
    case 15:
        log_message(rng, out);
        break;
    case 16:
        noise(rng, 40, out);
        break;
    case 17: /* seldom there */
        if (below(rng, 50) == 0)
            ks_buf_printf(out, "%u", (unsigned)below(rng, 5));
        break;
    case 18:
        if (below(rng, 2))
            log_message(rng, out);
        break;
    case 19:
        ks_buf_printf(out, "user-%u", (unsigned)below(rng, 3000));
        break;
    case 20:
        ks_buf_str(out, below(rng, 2) ? "0" : below(rng, 2) ? "-0" : "00");
        break;
    case 21: {
        DRAW(rng, x, 20, 100);
        ks_buf_printf(out, "a%cb %u", x[0] ? ' ' : 0, x[1]);
        break;
    }
    case 22:
        ks_buf_printf(out, "%llu", 9223372036854775800ull + below(rng, 20));
        break;
    default:
        if (below(rng, 2000) == 0)
            for (int i = 0; i < 20000; i++)
                ks_buf_byte(out, (uint8_t)('a' + below(rng, 26)));
        else
            ks_buf_printf(out, "short %u", (unsigned)below(rng, 10));
    }
}
