/* The floor: what the kernel's calls alone cost a proxy. recv, send, recv, send.
 *
 *   floor PORT WORKERS UPSTREAM_PORT...     all on 127.0.0.1
 *
 * Every accepted connection gets one upstream connection of its own, which lives as
 * long; whatever one recv gives is sent to the other side. Nothing is parsed, so it
 * cannot serve a new connection per request from kept upstream connections.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct side { int fd, dead; struct side *peer, *next; char *kept; size_t at, left; };
static char scratch[1 << 17];
static struct side *graves; /* freed after the batch: its events may name them still */
static int epoll_fd, one = 1;

static void arm(struct side *s, int op, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(epoll_fd, op, s->fd, &e);
}
static int tcp(int port, int listening) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (listening ? bind(fd, (void *)&a, sizeof a) || listen(fd, 16384)
                  : connect(fd, (void *)&a, sizeof a)) exit(1);
    return fd;
}
static struct side *add(int fd) {
    struct side *s = calloc(1, sizeof *s);
    setsockopt(s->fd = fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}
static void bury(struct side *s) { close(s->fd); s->dead = 1; s->next = graves; graves = s; }
static void pass(struct side *from, struct side *to, const char *data, size_t size) {
    ssize_t n = send(to->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) { bury(from); bury(to); return; }
    to->at = n > 0 ? (size_t)n : 0;
    if (!(to->left = size - to->at)) return;
    to->kept = memcpy(malloc(size), data, size); /* the reader is slow: hold the source */
    arm(from, EPOLL_CTL_MOD, 0);
    arm(to, EPOLL_CTL_MOD, EPOLLOUT);
}
static void resume(struct side *to) {
    ssize_t n = send(to->fd, to->kept + to->at, to->left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) { free(to->kept); bury(to->peer); bury(to); return; }
    if (n > 0) { to->at += (size_t)n; to->left -= (size_t)n; }
    if (to->left) return;
    free(to->kept);
    arm(to->peer, EPOLL_CTL_MOD, EPOLLIN);
    arm(to, EPOLL_CTL_MOD, EPOLLIN);
}
int main(int argc, char **argv) {
    struct epoll_event events[512];
    if (argc < 4) return 2;
    for (int i = 1; i < atoi(argv[2]); i++)
        if (!fork()) { prctl(PR_SET_PDEATHSIG, SIGKILL); break; }
    epoll_fd = epoll_create1(0);
    struct side listener = {.fd = tcp(atoi(argv[1]), 1)};
    arm(&listener, EPOLL_CTL_ADD, EPOLLIN);
    for (int turn = 3;; turn = turn + 1 < argc ? turn + 1 : 3) {
        int n = epoll_wait(epoll_fd, events, 512, -1);
        for (int i = 0; i < n; i++) {
            struct side *s = events[i].data.ptr;
            if (s == &listener) { /* level triggered: one per wake is enough */
                struct side *a = add(accept(listener.fd, NULL, NULL)), *b = add(tcp(atoi(argv[turn]), 0));
                a->peer = b; b->peer = a;
                arm(a, EPOLL_CTL_ADD, EPOLLIN); arm(b, EPOLL_CTL_ADD, EPOLLIN);
            } else if (!s->dead && s->left) resume(s);
            else if (!s->dead) {
                ssize_t size = recv(s->fd, scratch, sizeof scratch, MSG_DONTWAIT);
                if (size > 0) pass(s, s->peer, scratch, (size_t)size);
                else if (size == 0 || errno != EAGAIN) { bury(s->peer); bury(s); }
            }
        }
        for (struct side *s; (s = graves); free(s)) graves = s->next;
    }
}
