/*
 * Large transfers through a proxy: the clients and the upstream in one process and on one epoll. Every byte is checked.
 *
 *     bulk --tcp PORT --http PORT --to-tcp PORT --to-http PORT
 *
 * listens on the first two as the upstream of a proxy on 127.0.0.1 that is asked on the others, prints
 * {"event":"listening"} and obeys lines on stdin:
 *
 *     KIND CONNECTIONS BYTES RATE
 *
 * tells to make so many connections and carry so many bytes over each: `tcp` to the client over a relay, `length` and
 * `chunked` in a response of HTTP/1.1, `upload` in a request. Clients read RATE bytes a second each, 0: all they can.
 * Then it prints {"event":"done",...}, or after `stop`, which ends what is under way. End of input ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 18, PERIOD = 65521, CHUNK = 1 << 15, HEAD = 2048, EVENTS = 64, MOST = 1024 };
enum role { COMMANDS, TCP_LISTENER, HTTP_LISTENER, TCP_SIDE, HTTP_SIDE, CLIENT };
enum kind { TCP, LENGTH, CHUNKED, UPLOAD };
static const char *const KINDS[] = {"tcp", "length", "chunked", "upload"};

struct side {
    int fd;
    enum role role;
    enum kind kind;
    char head[HEAD];       /* what came of a head; behind it a body begins */
    int headed;            /* its length; -1: it is complete */
    long place;            /* in the body, of bytes that came */
    long due;              /* bytes of the body that are to come */
    long sent, to_send;    /* the same of those that go */
    char frame[128];       /* what goes before the next bytes of the body */
    int framed, frame_at;
    long in_chunk;         /* chunked, to come or to go: bytes of this chunk left */
    char size_line[32];    /* chunked, to come: what came of it */
    int size_length;
    bool last, over;       /* chunked: the last chunk is framed; all is done */
    uint32_t polled;
    double began;
};

static char pattern[PERIOD + PIECE], buffer[PIECE];
static int poll_fd, ports[2];
static struct side *clients[MOST];
static int opened, finished, errors;
static long asked, rate, carried;
static double started, now;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double read_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void poll_for(struct side *s, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = s};
    if (s->polled == events) return;
    if (epoll_ctl(poll_fd, s->polled == ~0u ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &event)) die("epoll_ctl");
    s->polled = events;
}

static struct side *watch(int fd, enum role role, uint32_t events) {
    struct side *s = calloc(1, sizeof *s);
    if (!s) die("calloc");
    s->fd = fd, s->role = role, s->polled = ~0u;
    poll_for(s, events);
    return s;
}

static void end(struct side *s) {
    close(s->fd);
    s->fd = -1; /* kept until the batch of events is over: another one may be about it */
    s->over = true;
}

static void report(void) {
    printf("{\"event\":\"done\",\"seconds\":%.6f,\"bytes\":%ld,\"errors\":%d}\n", now - started, carried, errors);
}

static void finish(struct side *s, bool well) {
    if (!well) errors++;
    end(s);
    if (s->role == CLIENT && ++finished == opened) report();
}

/* ---- what comes ---- */

static bool expected(const char *bytes, long length, long place) {
    return !memcmp(bytes, pattern + place % PERIOD, (size_t)length);
}

static bool take_data(struct side *s, const char *bytes, long length) {
    bool well = expected(bytes, length, s->place);
    s->place += length;
    carried += length;
    return well;
}

/* The chunks of a body, whose size lines may come in parts. False if they are not as they should be. */
static bool take_chunks(struct side *s, const char *bytes, long length) {
    while (length > 0) {
        if (s->in_chunk > 0) {
            long n = length < s->in_chunk ? length : s->in_chunk;
            if (!take_data(s, bytes, n)) return false;
            bytes += n, length -= n, s->in_chunk -= n;
            continue;
        }
        if (s->size_length == (int)sizeof s->size_line - 1) return false;
        s->size_line[s->size_length++] = *bytes++, length--;
        s->size_line[s->size_length] = 0;
        bool first = !strncmp(s->size_line, "\r\n", 2); /* the end of the chunk before */
        char *line = s->size_line + (first ? 2 : 0), *line_end = strstr(line, "\r\n");
        if (!line_end || line_end == line) continue;
        long size = strtol(line, NULL, 16);
        if (size) {
            s->in_chunk = size, s->size_length = 0;
        } else if (!strcmp(line_end, "\r\n\r\n")) {
            s->over = true;
        }
    }
    return true;
}

static void answer(struct side *s);

/* Reads on until nothing is there; `most` bytes at most. */
static void take(struct side *s, long most) {
    while (most > 0 && !s->over) {
        long wanted = most < PIECE ? most : PIECE, at = 0;
        ssize_t n = recv(s->fd, buffer, (size_t)wanted, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            bool awaited = s->role != CLIENT ? s->headed == 0 : s->kind == TCP && n == 0 && s->place == s->due;
            finish(s, awaited || (s->role == TCP_SIDE && s->sent == s->to_send));
            return;
        }
        most -= n;
        if (s->headed >= 0) {
            long before = s->headed, room = HEAD - 1 - before, copied = n < room ? n : room;
            memcpy(s->head + before, buffer, (size_t)copied);
            s->head[before + copied] = 0;
            char *stop = strstr(s->head, s->role == TCP_SIDE ? "\n" : "\r\n\r\n");
            s->headed += (int)copied;
            if (!stop) continue;
            at = stop + (s->role == TCP_SIDE ? 1 : 4) - s->head - before;
            s->headed = -1;
            if (s->role == CLIENT && strncmp(s->head, "HTTP/1.1 200", 12)) {
                finish(s, false);
                return;
            }
            if (s->role != CLIENT) answer(s);
        }
        bool well = true;
        if (n > at && s->role == CLIENT && s->kind == CHUNKED) well = take_chunks(s, buffer + at, n - at);
        else if (n > at) well = take_data(s, buffer + at, n - at);
        if (!well || s->place > s->due) {
            finish(s, false);
            return;
        }
        if (s->role == HTTP_SIDE && s->kind == UPLOAD && s->place == s->due) {
            s->framed = sprintf(s->frame, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            s->headed = 0, s->place = s->due = 0;
            poll_for(s, EPOLLIN | EPOLLOUT);
        }
        if (s->role != CLIENT || s->kind == TCP) continue;
        if (s->kind == CHUNKED ? s->over : s->place == s->due) {
            s->over = false;
            finish(s, s->place == s->due && s->sent == s->to_send);
            return;
        }
    }
}

/* ---- what goes ---- */

/* Writes until the socket is full or all went. */
static void give(struct side *s) {
    for (;;) {
        ssize_t n;
        if (s->frame_at < s->framed) {
            n = send(s->fd, s->frame + s->frame_at, (size_t)(s->framed - s->frame_at), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) s->frame_at += (int)n;
        } else if (s->kind == CHUNKED && s->role == HTTP_SIDE && !s->in_chunk && s->to_send) {
            long left = s->to_send - s->sent;
            if (!left && s->last) break;
            s->in_chunk = left < CHUNK ? left : CHUNK;
            s->last = !left;
            s->framed = sprintf(s->frame, "%s%lx\r\n%s", s->sent ? "\r\n" : "", s->in_chunk, left ? "" : "\r\n");
            s->frame_at = 0;
            continue;
        } else {
            long left = s->kind == CHUNKED && s->role == HTTP_SIDE ? s->in_chunk : s->to_send - s->sent;
            if (left > PIECE) left = PIECE;
            if (!left) break;
            n = send(s->fd, pattern + s->sent % PERIOD, (size_t)left, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) s->sent += n;
            if (n > 0 && s->in_chunk) s->in_chunk -= n;
        }
        if (n < 0 && errno == EAGAIN) {
            poll_for(s, s->role == CLIENT && s->kind != UPLOAD ? EPOLLOUT : EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) {
            finish(s, false);
            return;
        }
    }
    if (s->role == TCP_SIDE) shutdown(s->fd, SHUT_WR);
    if (s->role == HTTP_SIDE) s->to_send = s->sent = 0, s->last = false;
    poll_for(s, s->role == CLIENT && rate ? 0 : EPOLLIN);
}

/* The upstream has a whole head. */
static void answer(struct side *s) {
    long size = 0;
    char way[16] = "tcp";
    s->frame_at = s->framed = 0;
    s->in_chunk = 0;
    if (s->role == TCP_SIDE) size = atol(s->head);
    else if (sscanf(s->head, "%*s /api/%15[a-z]/%ld", way, &size) != 2) errors++;
    for (enum kind k = TCP; k <= UPLOAD; k++)
        if (!strcmp(way, KINDS[k])) s->kind = k;
    s->place = s->due = s->sent = s->to_send = 0;
    if (s->kind == UPLOAD) {
        s->due = size;
        return;
    }
    s->to_send = size;
    if (s->role == HTTP_SIDE) s->headed = 0; /* the next request */
    if (s->kind == LENGTH) s->framed = sprintf(s->frame, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", size);
    if (s->kind == CHUNKED) s->framed = sprintf(s->frame, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    poll_for(s, EPOLLIN | EPOLLOUT);
}

/* ---- connections ---- */

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, MOST)) die("listen");
    return fd;
}

static void open_client(enum kind kind, long size) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(ports[kind != TCP]);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct side *s = watch(fd, CLIENT, EPOLLOUT);
    s->kind = kind, s->began = read_clock();
    s->headed = kind == TCP ? -1 : 0;
    if (kind == UPLOAD) s->to_send = size;
    else s->due = size;
    if (kind == TCP) s->framed = sprintf(s->frame, "%ld\n", size);
    else
        s->framed = sprintf(s->frame, "%s /api/%s/%ld HTTP/1.1\r\nHost: svc.example.com\r\n", kind == UPLOAD ? "PUT" : "GET",
                            KINDS[kind], size);
    if (kind == UPLOAD) s->framed += sprintf(s->frame + s->framed, "Content-Length: %ld\r\n", size);
    if (kind != TCP) s->framed += sprintf(s->frame + s->framed, "\r\n");
    clients[opened++] = s;
}

static void obey(const char *command) {
    char way[16];
    int connections;
    long size;
    if (!strcmp(command, "stop")) {
        for (int i = 0; i < opened; i++)
            if (!clients[i]->over) end(clients[i]);
        if (finished < opened) report();
        finished = opened;
        return;
    }
    if (sscanf(command, "%15s %d %ld %ld", way, &connections, &size, &rate) != 4 || connections > MOST) exit(2);
    for (int i = 0; i < opened; i++) free(clients[i]);
    opened = finished = errors = 0;
    carried = 0, asked = size;
    started = read_clock();
    for (enum kind k = TCP; k <= UPLOAD; k++)
        for (int i = 0; !strcmp(way, KINDS[k]) && i < connections; i++) open_client(k, size);
}

static void read_commands(void) {
    static char text[1024];
    ssize_t n = read(STDIN_FILENO, text, sizeof text - 1);
    if (n <= 0) exit(0);
    text[n] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) obey(line);
}

static void accept_all(int listener, enum role role) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, role, EPOLLIN);
    }
}

static void dispatch(struct side *s, uint32_t events) {
    if (s->role == COMMANDS) read_commands();
    else if (s->role == TCP_LISTENER || s->role == HTTP_LISTENER)
        accept_all(s->fd, s->role == TCP_LISTENER ? TCP_SIDE : HTTP_SIDE);
    else {
        if (s->fd >= 0 && events & ~(uint32_t)EPOLLOUT) take(s, PIECE);
        if (s->fd >= 0 && events & EPOLLOUT) give(s);
    }
}

/* Slow readers take what they may by now. */
static void pace(void) {
    for (int i = 0; rate && i < opened; i++) {
        struct side *s = clients[i];
        if (s->fd < 0 || s->sent < s->to_send || s->frame_at < s->framed) continue;
        long allowed = (long)((now - s->began) * (double)rate) - s->place;
        if (allowed > 0) take(s, allowed);
    }
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"tcp", 1, 0, 't'}, {"http", 1, 0, 'h'}, {"to-tcp", 1, 0, 'T'}, {"to-http", 1, 0, 'H'}, {0, 0, 0, 0}};
    static struct epoll_event events[EVENTS];
    setlinebuf(stdout);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < (int)sizeof pattern; i++) pattern[i] = (char)((i % PERIOD) * 2654435761u >> 13);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (option) {
        case 't': watch(listen_on(atoi(optarg)), TCP_LISTENER, EPOLLIN); break;
        case 'h': watch(listen_on(atoi(optarg)), HTTP_LISTENER, EPOLLIN); break;
        case 'T': ports[0] = atoi(optarg); break;
        case 'H': ports[1] = atoi(optarg); break;
        default: exit(2);
        }
    watch(STDIN_FILENO, COMMANDS, EPOLLIN);
    printf("{\"event\":\"listening\"}\n");
    for (;;) {
        int n = epoll_wait(poll_fd, events, EVENTS, rate && finished < opened ? 5 : -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        now = read_clock();
        for (int i = 0; i < n; i++) dispatch(events[i].data.ptr, events[i].events);
        pace();
    }
}
