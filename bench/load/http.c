/* The client's half of HTTP/1.1, as much as the benchmark needs. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/load/load.h"

void conn_init(struct conn *c, const char *host, int port)
{
    *c = (struct conn){.host = host, .port = port, .fd = -1};
    ks_buf_init(&c->in, KS_BUF_UNLIMITED);
}

static void hang_up(struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void conn_done(struct conn *c)
{
    hang_up(c);
    ks_buf_done(&c->in);
}

static int dial(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
    inet_pton(AF_INET, c->host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0)
        return 1;
    hang_up(c);
    return 0;
}

static int send_all(int fd, const void *head, size_t head_len, const void *body, size_t body_len)
{
    struct iovec v[2] = {{(void *)head, head_len}, {(void *)body, body_len}};
    int at = 0;
    while (at < 2) {
        struct msghdr m = {.msg_iov = v + at, .msg_iovlen = (size_t)(2 - at)};
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return 0;
        for (size_t left = (size_t)n; at < 2;) {
            size_t k = left < v[at].iov_len ? left : v[at].iov_len;
            v[at].iov_base = (char *)v[at].iov_base + k;
            v[at].iov_len -= k;
            left -= k;
            if (v[at].iov_len)
                break;
            at++;
        }
    }
    return 1;
}

static int more(struct conn *c)
{
    if (!ks_buf_reserve(&c->in, c->in.len > 1 << 20 ? 1 << 20 : 64 << 10))
        die("out of memory");
    ssize_t n;
    do
        n = recv(c->fd, c->in.ptr + c->in.len, c->in.cap - c->in.len - 1, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    c->in.len += (size_t)n;
    c->in.ptr[c->in.len] = 0;
    return 1;
}

static char *header(struct conn *c, const char *name)
{
    for (char *line = c->in.ptr;
         (line = strstr(line, "\r\n")) && line + 4 <= c->in.ptr + c->body_at; line += 2)
        if (strncasecmp(line + 2, name, strlen(name)) == 0)
            return line + 2 + strlen(name);
    return NULL;
}

/* Puts the chunks together in place. */
static int read_chunked(struct conn *c)
{
    size_t from = c->body_at, to = c->body_at;
    for (;;) {
        char *eol;
        while (c->in.len < from || !(eol = memmem(c->in.ptr + from, c->in.len - from, "\r\n", 2)))
            if (!more(c))
                return 0;
        size_t n = strtoul(c->in.ptr + from, NULL, 16);
        from = (size_t)(eol - c->in.ptr) + 2;
        while (c->in.len < from + n + 2)
            if (!more(c))
                return 0;
        memmove(c->in.ptr + to, c->in.ptr + from, n);
        from += n + 2, to += n;
        if (n == 0)
            break;
    }
    c->in.len = to;
    return 1;
}

static int read_answer(struct conn *c)
{
    ks_buf_reset(&c->in);
    char *end = NULL;
    while (!end) {
        if (!more(c))
            return 0;
        end = memmem(c->in.ptr, c->in.len, "\r\n\r\n", 4);
    }
    c->body_at = (size_t)(end - c->in.ptr) + 4;
    int status = atoi(c->in.ptr + 9);
    const char *length = header(c, "content-length:");
    const char *coding = header(c, "transfer-encoding:");
    if (coding && strstr(coding, "chunked") == coding + strspn(coding, " "))
        return read_chunked(c) ? status : 0;
    size_t want = c->body_at + (length && status != 204 ? strtoul(length, NULL, 10) : 0);
    while (c->in.len < want)
        if (!more(c))
            return 0;
    return status;
}

int conn_call(struct conn *c, const char *head, size_t head_len, const void *body, size_t body_len)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int fresh = c->fd < 0;
        if (fresh && !dial(c))
            return 0;
        int status = send_all(c->fd, head, head_len, body, body_len) ? read_answer(c) : 0;
        if (status) {
            const char *connection = header(c, "connection:");
            if (connection && strncasecmp(connection + strspn(connection, " "), "close", 5) == 0)
                hang_up(c);
            return status;
        }
        hang_up(c);
        if (fresh)
            return 0;
    }
    return 0;
}

struct ks_slice conn_body(const struct conn *c)
{
    return ks_slice(c->in.ptr + c->body_at, c->in.len - c->body_at);
}
