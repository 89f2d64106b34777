/* Requests that are tried on the network thread first, over a real server on the loopback: what is
 * short is answered there, what the handler defers by a worker, and so is all while workers are
 * busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http.h"

static _Atomic int calls, held;
static _Atomic bool hold;

static void route(struct ks_http_request *req)
{
    req->lane = KS_LANE_SELECT;
    req->tried = !ks_slice_is(req->path, "/held");
}

static void handle(struct ks_http_request *req)
{
    atomic_fetch_add(&calls, 1);
    if (ks_slice_is(req->path, "/held")) {
        atomic_fetch_add(&held, 1);
        while (atomic_load(&hold))
            usleep(1000);
    }
    bool at_once = req->may_defer;
    if (ks_slice_is(req->path, "/long") && ks_http_defer(req))
        return;
    ks_http_text(req, 200, at_once ? "at once" : "worker");
}

static int ask(struct ks_http_server *s, const char *path)
{
    char text[256];
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((uint16_t)atoi(strrchr(ks_http_addr(s, 0), ':') + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                     path);
    assert_int_equal(write(fd, text, (size_t)n), n);
    return fd;
}

static void answered(int fd, const char *want)
{
    char text[4096];
    size_t n = 0;
    ssize_t got;
    while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    text[n] = 0;
    const char *body = strstr(text, "\r\n\r\n");
    assert_ptr_equal(strstr(text, "HTTP/1.1 200"), text);
    assert_non_null(body);
    assert_string_equal(body + 4, want);
}

/* A worker is busy a moment longer than its client waits. */
static void wait_idle(struct ks_http_server *s)
{
    struct ks_http_lane_stats st;
    for (;;) {
        ks_http_lane_get_stats(s, KS_LANE_SELECT, &st);
        if (!st.current && !st.queued)
            return;
        usleep(100);
    }
}

static void test_tried(void **state)
{
    const char *addr = "127.0.0.1:0";
    struct ks_http_opts o = {.addrs = &addr,
                             .addr_count = 1,
                             .io_threads = 2,
                             .max_body_bytes = 1 << 20,
                             .max_inflight_body_bytes = 1 << 20,
                             .max_arena_bytes = 1 << 20,
                             .route = route,
                             .handle = handle};
    for (int i = 0; i < KS_LANE_COUNT; i++)
        o.lanes[i] = (struct ks_http_lane_opts){1, 100, 10000, 429};
    struct ks_http_server *s;
    assert_int_equal(ks_http_start(&o, &s), KS_OK);
    for (int i = 1; i <= 20; i++) {
        answered(ask(s, "/short"), "at once");
        assert_int_equal(atomic_load(&calls), i);
    }
    atomic_store(&calls, 0);
    for (int i = 1; i <= 20; i++) {
        answered(ask(s, "/long"), "worker");
        assert_int_equal(atomic_load(&calls), 2 * i);
        wait_idle(s);
    }
    atomic_store(&calls, 0);
    atomic_store(&hold, true);
    int busy = ask(s, "/held");
    while (!atomic_load(&held))
        usleep(1000);
    int waits = ask(s, "/short");
    usleep(50000);
    assert_int_equal(atomic_load(&calls), 1);
    atomic_store(&hold, false);
    answered(busy, "worker");
    answered(waits, "worker");
    assert_int_equal(atomic_load(&calls), 2);
    ks_http_stop(s, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tried)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
