/*
 * A load generator and the upstream it talks to, in one process and on one epoll, so that measuring a proxy costs
 * one other core and no wake-ups between processes. One request is in flight per connection; every byte of every
 * answer is checked.
 *
 *     loadgen --listen PORT                                   an upstream (port 0: any), and
 *             --target PORT --connections N                   clients of a proxy on 127.0.0.1
 *             --protocol echo|http|bolt --size BYTES          what they say
 *             --depth CALLS                                   under way on a busy connection (bolt)
 *             --tls 1.2|1.3                                   clients talk TLS, see tls.c
 *             --handshakes full|resumed                       what they say is connections, see shakes.c
 *
 * Every connection is opened and used once; then the program prints {"event":"ready",...} and obeys lines on stdin:
 *
 *     load N R  N connections are busy, with R requests a second in all; R = 0: the next one follows the answer
 *     open N R  the same as an open loop: each of R requests a second goes over the next of N connections that is idle,
 *               however late, and has waited since it was due. For this the program spins, and so takes a whole core
 *     reset     forget counts, latencies and gaps
 *     report    print them as one line of JSON
 *     sweep     one request on every connection, idle ones too; prints {"event":"swept"} when all are answered
 *
 * End of input ends it. A gap is the time between two answers on one connection, the one still open included.
 */
#include "loadgen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512 };

struct options options = {.depth = 1, .size = 1024, .connections = 64, .listen_port = -1, .target_port = -1};
struct counts counts;
uint32_t *latencies;
struct connection **clients;
double now;
int poll_fd;
char *message;
int message_length;
char buffer[BUFFER];

void die(const char *what) {
    perror(what);
    exit(1);
}

static double read_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct connection *watch(int fd, enum role role, uint32_t events) {
    struct connection *c = calloc(1, sizeof *c + (role == CLIENT || options.bolt ? 2 * HEAD_LIMIT : 0));
    if (!c) die("calloc");
    c->fd = fd;
    c->role = role;
    poll_for(c, EPOLL_CTL_ADD, events);
    return c;
}

void poll_for(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poll_fd, operation, c->fd, &event)) die("epoll_ctl");
}

int tcp_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    return fd;
}

struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* One request is in flight per connection, so the socket buffer always has room for the next one. */
bool send_all(struct connection *c, const char *bytes, int length) {
    if (c->tls) return send_tls(c, bytes, length);
    return send(c->fd, bytes, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) == length;
}

/* As recv(2) does: 0 at the end, -1 with EAGAIN when nothing is there. */
ssize_t receive(struct connection *c, char *into, int size) {
    if (c->tls) return receive_tls(c, into, size);
    return recv(c->fd, into, (size_t)size, MSG_DONTWAIT);
}

void close_connection(struct connection *c) {
    if (c->tls) end_tls(c);
    close(c->fd);
    if (c->role == CLIENT && !c->used) {
        fprintf(stderr, "loadgen: a connection was closed before its first answer\n");
        exit(1);
    }
    if (c->role == CLIENT) {
        c->phase = CLOSED; /* kept: its gap goes on, and the report counts it */
        counts.closed++;
    } else {
        free(c);
    }
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static unsigned percentile(double share) {
    uint64_t seen = 0;
    for (unsigned slot = 0; slot < LATENCY_SLOTS; slot++)
        if ((seen += latencies[slot]) > (uint64_t)(share * (double)counts.answers)) return slot;
    return 0;
}

static void report(void) {
    double *gaps = calloc((size_t)options.busy + 1, sizeof *gaps);
    if (!gaps) die("calloc");
    for (int i = 0; i < options.busy; i++) {
        double open = now - clients[i]->answered;
        gaps[i] = open > clients[i]->longest_gap ? open : clients[i]->longest_gap;
    }
    qsort(gaps, (size_t)options.busy, sizeof *gaps, ascending);
    printf("{\"event\":\"report\",\"seconds\":%.6f,\"answers\":%lu,\"errors\":%lu,\"closed\":%lu,\"missed\":%lu,"
           "\"p50_us\":%u,\"p99_us\":%u,\"worst_us\":%.0f,\"gap_p50_ms\":%.3f,\"gap_p99_ms\":%.3f,\"gap_ms\":%.3f}\n",
           now - counts.since, (unsigned long)counts.answers, (unsigned long)counts.errors,
           (unsigned long)counts.closed, (unsigned long)counts.missed, percentile(0.5), percentile(0.99),
           counts.worst * 1e6, gaps[options.busy / 2] * 1e3, gaps[options.busy * 99 / 100] * 1e3,
           (options.busy ? gaps[options.busy - 1] : 0) * 1e3);
    free(gaps);
}

static void reset(void) {
    uint64_t closed = counts.closed; /* a lost connection stays lost */
    memset(&counts, 0, sizeof counts);
    memset(latencies, 0, LATENCY_SLOTS * sizeof *latencies);
    counts.closed = closed;
    counts.since = now;
    for (int i = 0; i < options.connections; i++) {
        clients[i]->longest_gap = 0;
        clients[i]->answered = now;
    }
    printf("{\"event\":\"reset\"}\n");
}

static void obey(const char *command) {
    double rate;
    int busy;
    if (!strcmp(command, "reset"))
        reset();
    else if (!strcmp(command, "report"))
        report();
    else if (!strcmp(command, "sweep"))
        start_sweep();
    else if (sscanf(command, "load %d %lf", &busy, &rate) == 2)
        load(busy < options.connections ? busy : options.connections, rate, false);
    else if (sscanf(command, "open %d %lf", &busy, &rate) == 2)
        load(busy < options.connections ? busy : options.connections, rate, true);
    else
        fprintf(stderr, "loadgen: unknown command %s\n", command);
}

/* Commands come whole, from a program that writes a line at a time; several may have queued up. */
static void read_commands(void) {
    static char text[1024];
    ssize_t n = read(STDIN_FILENO, text, sizeof text - 1);
    if (n <= 0) exit(0);
    text[n] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) obey(line);
}

static void prepare_message(void) {
    message = malloc((size_t)options.size + HEAD_LIMIT);
    if (!message) die("malloc");
    if (options.http)
        message_length = sprintf(message, "HTTP/1.1 200 OK\r\nServer: loadgen\r\nDate: Sat, 22 Nov 2025 03:21:00 GMT\r\n"
                                          "Content-Type: application/json\r\nContent-Length: %d\r\n"
                                          "Cache-Control: no-cache\r\n\r\n", options.size);
    memset(message + message_length, 'z', (size_t)options.size);
    message_length += options.size;
}

static void parse_options(int argc, char **argv) {
    static const struct option known[] = {
        {"listen", 1, 0, 'l'}, {"target", 1, 0, 't'},   {"connections", 1, 0, 'c'},
        {"protocol", 1, 0, 'p'}, {"size", 1, 0, 's'},   {"depth", 1, 0, 'd'},
        {"tls", 1, 0, 'T'},      {"handshakes", 1, 0, 'h'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (option) {
        case 'l': options.listen_port = atoi(optarg); break;
        case 't': options.target_port = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'p':
            options.http = !strcmp(optarg, "http");
            options.bolt = !strcmp(optarg, "bolt");
            break;
        case 'd': options.depth = atoi(optarg); break;
        case 's': options.size = atoi(optarg); break;
        case 'T': options.tls_minor = !strcmp(optarg, "1.3") ? 3 : 2; break;
        case 'h':
            options.shakes = true;
            options.resume = !strcmp(optarg, "resumed");
            break;
        default: exit(2);
        }
    if (options.target_port < 0) options.connections = 0;
    if (options.size < 8 || options.size > (options.http ? BODY_LIMIT : BUFFER / 2)) exit(2);
    if (options.depth < 1 || options.depth > MAX_DEPTH || (options.bolt && options.size > HEAD_LIMIT)) exit(2);
    if (options.shakes && !options.tls_minor) exit(2);
}

static void dispatch(struct connection *c, uint32_t events) {
    if (c->role == COMMANDS)
        read_commands();
    else if (c->role == UPSTREAM_LISTENER)
        accept_upstream(c->fd);
    else if (c->role == UPSTREAM)
        events & EPOLLOUT ? pay(c) : serve(c);
    else if (c->phase == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        connected(c);
    else if (c->phase == SHAKING)
        shake(c);
    else
        take(c);
}

int main(int argc, char **argv) {
    static struct epoll_event events[EVENTS];
    setlinebuf(stdout);
    parse_options(argc, argv);
    prepare_message();
    if (options.bolt) prepare_calls();
    prepare_clients();
    prepare_tls();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(STDIN_FILENO, COMMANDS, EPOLLIN);
    if (options.listen_port >= 0)
        printf("{\"event\":\"listening\",\"port\":%d}\n", listen_upstream(options.listen_port));
    for (;;) {
        /* 100 us paces well enough, and a sweep goes on while it waits for nothing else */
        struct timespec pause = {.tv_nsec = options.open ? 0 : options.rate > 0 || sweeping() ? 100000 : 200000000};
        int n = epoll_pwait2(poll_fd, events, EVENTS, &pause, NULL);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        now = read_clock();
        for (int i = 0; i < n; i++) {
            dispatch(events[i].data.ptr, events[i].events);
            if (options.open) now = read_clock(); /* or an answer would not have waited for those before it */
        }
        if (options.target_port >= 0) start_if_ready();
        pace();
        sweep();
    }
}
