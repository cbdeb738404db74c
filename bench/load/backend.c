/* A backend that costs as little as a backend can: fixed answers over epoll.
 *
 *   backend PORT...      listens on 127.0.0.1 at each PORT (0 = any) and prints the
 *                        ports it got, one line, on standard output
 *
 * GET /64k, /1m, /1g answer a body of that size; every other GET, and every POST once
 * its Content-Length body is swallowed, answers the 13 bytes "Hello, world!".
 * Keep-alive unless the request says `Connection: close`. A chunked request is
 * answered with 411: no proxy here turns a counted body into a chunked one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 32768, SCRATCH = 262144, EVENTS = 512, KIB64 = 65536, MIB = 1 << 20 };

struct answer {
    char *bytes;     /* head and the first block of the body, sent as one piece */
    size_t head;     /* length of the head */
    size_t size;     /* length of head and block */
    uint64_t blocks; /* how often the block is sent in all */
};

struct conn {
    int fd;
    bool listening, closing, wants_out;
    size_t have;                /* bytes of head[] filled */
    uint64_t swallow;           /* bytes of a request body still to come */
    const struct answer *reply; /* being sent, or NULL */
    size_t at;                  /* offset into reply->bytes */
    uint64_t blocks;            /* blocks of the reply still to send, this one too */
    char head[HEAD_MAX + 1];
};

static struct answer hello, kib64, mib, gib, refused;
static char scratch[SCRATCH];
static int epoll_fd;

static void die(const char *what) { perror(what); exit(1); }

static void prepare(struct answer *a, const char *status, size_t block, uint64_t blocks) {
    char head[256];
    a->head = (size_t)snprintf(head, sizeof head,
        "HTTP/1.1 %s\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
        status, (unsigned long long)(block * blocks));
    a->size = a->head + block;
    a->blocks = blocks;
    if (!(a->bytes = malloc(a->size))) die("malloc");
    memcpy(a->bytes, head, a->head);
    memset(a->bytes + a->head, 'x', block);
    if (block == 13) memcpy(a->bytes + a->head, "Hello, world!", 13);
}

static void arm(struct conn *c, int op, bool out) {
    struct epoll_event e = {.events = out ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &e) < 0) die("epoll_ctl");
    c->wants_out = out;
}

static struct conn *watch(int fd, bool listening) {
    struct conn *c = malloc(sizeof *c); /* not calloc: head[] stays untouched pages */
    if (!c) die("malloc");
    memset(c, 0, offsetof(struct conn, head));
    c->fd = fd;
    c->listening = listening;
    arm(c, EPOLL_CTL_ADD, false);
    return c;
}

/* Read the head of `size` bytes: choose the answer, note what follows. */
static void understand(struct conn *c, size_t size) {
    char *line = c->head, *end = c->head + size;
    char *path = memchr(line, ' ', size);
    const struct answer *reply = &hello;
    if (path && c->head[0] == 'G') {
        if (!strncmp(path, " /64k ", 6)) reply = &kib64;
        else if (!strncmp(path, " /1m ", 5)) reply = &mib;
        else if (!strncmp(path, " /1g ", 5)) reply = &gib;
    }
    c->swallow = 0;
    for (; (line = memchr(line, '\n', (size_t)(end - line))) && ++line < end;) {
        if ((*line | 32) == 'c') {
            if (!strncasecmp(line, "content-length:", 15)) c->swallow = strtoull(line + 15, NULL, 10);
            else if (!strncasecmp(line, "connection: close", 17)) c->closing = true;
        } else if ((*line | 32) == 't' && !strncasecmp(line, "transfer-encoding:", 18)) {
            reply = &refused;
            c->closing = true;
        }
    }
    c->reply = reply;
    c->at = 0;
    c->blocks = reply->blocks;
}

/* Send what can be sent; false when the connection is over. */
static bool send_reply(struct conn *c) {
    while (c->reply) {
        ssize_t n = send(c->fd, c->reply->bytes + c->at, c->reply->size - c->at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return false;
            if (!c->wants_out) arm(c, EPOLL_CTL_MOD, true);
            return true;
        }
        c->at += (size_t)n;
        if (c->at < c->reply->size) continue;
        if (--c->blocks) c->at = c->reply->head;
        else c->reply = NULL;
    }
    if (c->wants_out) arm(c, EPOLL_CTL_MOD, false);
    return !c->closing;
}

/* One event; false when the connection is over. */
static bool serve(struct conn *c) {
    if (c->reply) { /* then go on with what was pipelined behind it, if anything */
        if (!send_reply(c)) return false;
        if (c->reply) return true;
    } else if (c->swallow) {
        ssize_t n = recv(c->fd, scratch, c->swallow < SCRATCH ? c->swallow : SCRATCH, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        if (c->swallow -= (uint64_t)n) return true;
        c->reply = &hello;
        c->at = 0;
        c->blocks = 1;
        return send_reply(c);
    } else {
        ssize_t n = recv(c->fd, c->head + c->have, HEAD_MAX - c->have, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        c->have += (size_t)n;
    }
    while (c->have) {
        char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
        if (!end) return c->have < HEAD_MAX;
        size_t size = (size_t)(end - c->head) + 4, rest = c->have - size;
        understand(c, size);
        size_t eaten = rest < c->swallow ? rest : (size_t)c->swallow;
        c->swallow -= eaten;
        c->have = rest - eaten;
        memmove(c->head, c->head + size + eaten, c->have);
        if (c->swallow) { c->reply = NULL; return true; }
        if (!send_reply(c)) return false;
        if (c->reply) return true; /* the next request waits for EPOLLOUT */
    }
    return true;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    prepare(&hello, "200 OK", 13, 1);
    prepare(&kib64, "200 OK", KIB64, 1);
    prepare(&mib, "200 OK", MIB, 1);
    prepare(&gib, "200 OK", MIB, 1024);
    prepare(&refused, "411 Length Required", 13, 1);
    epoll_fd = epoll_create1(0);
    for (int i = 1; i < argc; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[i])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof a;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&a, size) || listen(fd, 16384)) die("listen");
        getsockname(fd, (struct sockaddr *)&a, &size);
        printf("%s%d", i > 1 ? " " : "", ntohs(a.sin_port));
        watch(fd, true);
    }
    puts("");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->listening) {
                int fd, one = 1;
                while ((fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    watch(fd, false);
                }
            } else if (!serve(c)) { /* one descriptor, one event: nothing stale */
                close(c->fd);
                free(c);
            }
        }
    }
}
