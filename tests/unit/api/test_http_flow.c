/* Answers that leave while they are written, over a real server on the loopback: whole and in order
 * whatever the client's pace, cut beyond the budget, nobody waits for a client that takes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/http.h"
#include "base/mem.h"
#include "sys/clock.h"

enum { ANSWER_MAX = 24 << 20 };
static _Atomic int handled, flowed;

static void route(struct ks_http_request *req)
{
    req->lane = KS_LANE_SELECT;
}

/* /?bytes=N: that many bytes in pieces of odd sizes, each telling where it stands. */
static void handle(struct ks_http_request *req)
{
    int64_t bytes = 0;
    assert_int_equal(ks_http_arg_i64(req, "bytes", 0, &bytes), KS_OK);
    struct ks_buf *out = &req->resp.body;
    bool ever = false;
    for (int64_t at = 0; at < bytes; at++) {
        if (at % 1009 == 0)
            ks_http_flow(req);
        ever |= ks_http_streaming(req);
        ks_buf_byte(out, (uint8_t)('a' + at / 7 % 23));
    }
    atomic_fetch_add(&flowed, ever);
    atomic_fetch_add(&handled, 1);
}

static struct ks_http_server *start(size_t budget, bool compress)
{
    const char *addr = "127.0.0.1:0";
    struct ks_http_opts o = {.addrs = &addr,
                             .addr_count = 1,
                             .max_body_bytes = 1 << 20,
                             .max_inflight_body_bytes = 1 << 20,
                             .max_inflight_answer_bytes = budget,
                             .max_arena_bytes = 1 << 20,
                             .compress_responses = compress,
                             .route = route,
                             .handle = handle};
    for (int i = 0; i < KS_LANE_COUNT; i++)
        o.lanes[i] = (struct ks_http_lane_opts){2, 100, 10000, 429};
    struct ks_http_server *s;
    assert_int_equal(ks_http_start(&o, &s), KS_OK);
    atomic_store(&handled, 0);
    atomic_store(&flowed, 0);
    return s;
}

static int ask(struct ks_http_server *s, size_t bytes, const char *headers)
{
    char text[256];
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((uint16_t)atoi(strrchr(ks_http_addr(s, 0), ':') + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 32 << 10;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int n = snprintf(text, sizeof text,
                     "GET /?bytes=%zu HTTP/1.1\r\nHost: x\r\n%sConnection: close\r\n\r\n", bytes,
                     headers);
    assert_int_equal(write(fd, text, (size_t)n), n);
    return fd;
}

/* Until the server closes, with a pause now and then. */
static size_t read_all(int fd, char *to, size_t room, int pause_every)
{
    size_t n = 0;
    ssize_t got;
    for (int i = 1; (got = read(fd, to + n, room - n)) > 0; i++) {
        n += (size_t)got;
        if (pause_every && i % pause_every == 0)
            usleep(1000);
    }
    close(fd);
    return n;
}

/* Undoes chunks in place; *ret_whole: the last one was there. */
static size_t dechunk(char *p, size_t n, bool *ret_whole)
{
    size_t out = 0, at = 0;
    *ret_whole = false;
    while (at < n) {
        char *end;
        size_t size = strtoul(p + at, &end, 16);
        if (end + 2 > p + n || end[0] != '\r')
            break; /* cut inside a size */
        at = (size_t)(end - p) + 2;
        if (!size) {
            *ret_whole = true;
            break;
        }
        if (size > n - at)
            size = n - at;
        memmove(p + out, p + at, size);
        out += size;
        at += size + 2;
    }
    return out;
}

static void check_body(const char *p, size_t n)
{
    for (size_t at = 0; at < n; at++)
        if (p[at] != (char)('a' + at / 7 % 23))
            fail_msg("byte %zu differs", at);
}

static void get(struct ks_http_server *s, size_t bytes, int pause_every, char *room)
{
    bool whole = true;
    size_t n = read_all(ask(s, bytes, ""), room, ANSWER_MAX, pause_every);
    room[n] = 0;
    char *body = strstr(room, "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    n -= (size_t)(body - room);
    assert_ptr_equal(strstr(room, "HTTP/1.1 200"), room);
    *(body - 1) = 0;
    if (strstr(room, "chunked"))
        n = dechunk(body, n, &whole);
    assert_true(whole);
    assert_int_equal(n, bytes);
    check_body(body, n);
}

static void test_whole(void **state)
{
    char *room = malloc(ANSWER_MAX + 1);
    struct ks_http_server *s = start((size_t)64 << 20, true);
    size_t sizes[] = {0, 1, 262143, 262144, 262145, 300000, 1 << 20, 3000001, 17 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        get(s, sizes[i], i % 3 == 2 ? 3 : 0, room);
    assert_in_range(atomic_load(&flowed), 4, 6);
    /* What is compressed stays whole: compressed in one go. */
    int before = atomic_load(&flowed);
    size_t n = read_all(ask(s, 3 << 20, "Accept-Encoding: gzip\r\n"), room, ANSWER_MAX, 0);
    room[n] = 0;
    assert_non_null(strstr(room, "Content-Encoding: gzip"));
    assert_null(strstr(room, "chunked"));
    assert_int_equal(atomic_load(&flowed), before);
    ks_http_stop(s, 1000);
    free(room);
}

static void wait_handled(int n)
{
    for (int i = 0; i < 5000 && atomic_load(&handled) < n; i++)
        usleep(2000);
    assert_int_equal(atomic_load(&handled), n);
}

/* Clients that do not read: workers are free all the same; what does not fit is cut; and the budget
 * is whole again when they have gone. */
static void test_budget(void **state)
{
    enum { IDLE = 5 };
    char *room = malloc(ANSWER_MAX + 1);
    struct ks_http_server *s = start((size_t)40 << 20, false);
    int fds[IDLE];
    for (int i = 0; i < IDLE; i++)
        fds[i] = ask(s, 16 << 20, "");
    wait_handled(IDLE);
    int cut = 0;
    for (int i = 0; i < IDLE; i++) {
        bool whole = false;
        size_t n = read_all(fds[i], room, ANSWER_MAX, 0);
        room[n] = 0;
        char *body = strstr(room, "\r\n\r\n");
        if (!body) { /* reset behind the cut */
            cut++;
            continue;
        }
        n = dechunk(body + 4, n - (size_t)(body + 4 - room), &whole);
        check_body(body + 4, n);
        assert_true(whole ? n == 16 << 20 : n < 16 << 20);
        cut += !whole;
    }
    assert_in_range(cut, 1, IDLE - 1);
    for (int i = 0; i < 3; i++)
        get(s, 20 << 20, 0, room);
    ks_http_stop(s, 1000);
    free(room);
}

/* Clients that leave in the middle. */
static void test_gone(void **state)
{
    char *room = malloc(ANSWER_MAX + 1);
    struct ks_http_server *s = start((size_t)40 << 20, false);
    for (int i = 0; i < 20; i++) {
        int fd = ask(s, 8 << 20, "");
        ssize_t got = i % 2 ? read(fd, room, 100000) : 0;
        assert_true(got >= 0);
        close(fd);
    }
    wait_handled(20);
    get(s, 20 << 20, 0, room);
    ks_http_stop(s, 1000);
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
