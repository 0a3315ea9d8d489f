/* The upstream of the load generator: echoes bytes, or answers every head with one response. */
#include "loadgen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int listen_upstream(int port) {
    int fd = tcp_socket(), on = 1;
    struct sockaddr_in address = loopback(port);
    socklen_t length = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, BACKLOG)) die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &length)) die("getsockname");
    watch(fd, UPSTREAM_LISTENER, EPOLLIN);
    return ntohs(address.sin_port);
}

void accept_upstream(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        no_delay(fd);
        watch(fd, UPSTREAM, EPOLLIN);
    }
}

/* Requests have no body here, so each end of a head is one request. */
static int complete_heads(struct connection *c, const char *bytes, int length) {
    int heads = 0;
    for (int i = 0; i < length; i++) {
        if (bytes[i] == "\r\n\r\n"[c->matched]) {
            if (++c->matched == 4) heads++, c->matched = 0;
        } else {
            c->matched = bytes[i] == '\r';
        }
    }
    return heads;
}

/* Sends what is owed of responses; the rest goes when the socket has room again. */
void pay(struct connection *c) {
    while (c->owed > 0) {
        long left = (c->owed - 1) % message_length + 1; /* of the response under way */
        ssize_t n = send(c->fd, message + message_length - left, (size_t)left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) counts.errors++, c->owed = 0;
        if (n < 0) break;
        c->owed -= n;
    }
    if (c->blocked == (c->owed > 0)) return;
    c->blocked = !c->blocked;
    poll_for(c, EPOLL_CTL_MOD, c->blocked ? EPOLLOUT : EPOLLIN);
}

void serve(struct connection *c) {
    if (options.bolt) {
        serve_calls(c);
        return;
    }
    ssize_t n = recv(c->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        close_connection(c);
        return;
    }
    if (!options.http) {
        if (!send_all(c, buffer, (int)n)) counts.errors++;
        return;
    }
    c->owed += (long)complete_heads(c, buffer, (int)n) * message_length;
    pay(c);
}
