/* The clients of the load generator: one request in flight each, every byte of the answer checked. */
#include "loadgen.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { OPENING_AT_ONCE = 128 };
enum { ASKED_AT_ONCE = 256 }; /* by a sweep: a herd of thousands would measure the herd */

static int opened, opening, in_use, swept, sweep_cursor = -1;
static int turn;   /* whose turn it is when requests are paced */
static double due; /* the next paced request */
static char request[1024];
static int request_length;

void prepare_clients(void) {
    clients = calloc((size_t)options.connections + 1, sizeof(void *));
    latencies = calloc(LATENCY_SLOTS, sizeof *latencies);
    if (!clients || !latencies) die("calloc");
    /* What a browser's API call looks like, about 330 bytes. */
    request_length = snprintf(request, sizeof request,
        "GET /api/v1/items?id=12345 HTTP/1.1\r\nHost: svc.example.com\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench/1.0\r\nAccept: application/json, text/plain, */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nCookie: sid=0123456789abcdef0123456789abcdef; theme=dark\r\n"
        "X-Request-Id: 7f3a9c1e-5b2d-4e8f-9a6b-1c2d3e4f5a6b\r\n\r\n");
}

static int dial(void) {
    struct sockaddr_in address = loopback(options.target_port);
    int fd = tcp_socket();
    no_delay(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
    return fd;
}

static void open_client(void) {
    struct connection *c = watch(dial(), CLIENT, EPOLLOUT);
    c->index = (uint32_t)opened;
    c->sent = now;
    clients[opened++] = c;
    opening++;
}

static void tag_message(const struct connection *c) {
    memcpy(message, &c->index, sizeof c->index);
    memcpy(message + sizeof c->index, &c->sequence, sizeof c->sequence);
}

void ask_http(struct connection *c) {
    if (!send_all(c, request, request_length)) counts.errors++;
}

static void ask(struct connection *c) {
    if (options.bolt) {
        ask_calls(c);
        return;
    }
    if (options.shakes) {
        c->sent = now;
        c->fd = dial();
        c->phase = CONNECTING;
        poll_for(c, EPOLL_CTL_ADD, EPOLLOUT);
        return;
    }
    c->sequence++;
    c->received = 0;
    c->body_left = -1;
    c->sent = now;
    c->phase = WAITING;
    if (options.http) {
        ask_http(c);
    } else {
        tag_message(c);
        if (!send_all(c, message, message_length)) counts.errors++;
    }
}

void connected(struct connection *c) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        errno = error;
        die("connect");
    }
    poll_for(c, EPOLL_CTL_MOD, EPOLLIN);
    if (options.tls_minor) {
        begin_tls(c);
        c->phase = SHAKING;
        shake(c);
        return;
    }
    c->answered = now;
    ask(c);
}

void shake(struct connection *c) {
    if (shake_hands(c) < 0) {
        if (errno != EAGAIN) wrong(c);
    } else if (options.shakes) {
        shaken(c);
    } else {
        c->answered = now;
        ask(c);
    }
}

static bool is_busy(const struct connection *c) { return (int)c->index < options.busy; }

/* Counts an answer. */
void answered(struct connection *c) {
    double gap = now - c->answered, latency = now - c->sent;
    c->phase = IDLE;
    if (!c->used) {
        c->used = true;
        opening--;
        in_use++;
        c->answered = now;
        return;
    }
    if (!c->swept) c->swept = true, swept++;
    counts.answers++;
    if (gap > c->longest_gap) c->longest_gap = gap;
    if (latency > counts.worst) counts.worst = latency;
    c->answered = now;
    uint64_t slot = (uint64_t)(latency * 1e6);
    latencies[slot < LATENCY_SLOTS ? slot : LATENCY_SLOTS - 1]++;
}

void answer(struct connection *c) {
    bool first = !c->used;
    answered(c);
    if (!first && is_busy(c) && options.rate <= 0) ask(c);
}

/* A message is wrong once: close the connection, since nothing after it can be trusted. */
void wrong(struct connection *c) {
    counts.errors++;
    close_connection(c);
}

static void take_echo(struct connection *c, int length) {
    tag_message(c);
    if (c->phase != WAITING || c->received + length > message_length ||
        memcmp(message + c->received, buffer, (size_t)length)) {
        wrong(c);
        return;
    }
    c->received += length;
    if (c->received == message_length) answer(c);
}

static void take_http(struct connection *c, int length) {
    const char *from = buffer;
    if (c->phase != WAITING) {
        wrong(c);
        return;
    }
    if (c->body_left < 0) {
        int taken = length < HEAD_LIMIT - 1 - c->received ? length : HEAD_LIMIT - 1 - c->received;
        memcpy(c->head + c->received, from, (size_t)taken);
        c->head[c->received + taken] = 0;
        char *end = strstr(c->head, "\r\n\r\n"), *field = strcasestr(c->head, "\r\ncontent-length:");
        if (!end) {
            if (taken < length) wrong(c);
            c->received += taken;
            return;
        }
        if (strncmp(c->head, "HTTP/1.1 200 ", 13) || !field || field > end) {
            wrong(c);
            return;
        }
        int head_in_buffer = (int)(end + 4 - c->head) - c->received;
        c->body_left = atoi(field + 17);
        if (c->body_left < 0 || c->body_left > options.size) {
            wrong(c);
            return;
        }
        from += head_in_buffer;
        length -= head_in_buffer;
    }
    const char *body = message + message_length - c->body_left;
    if (length > c->body_left || memcmp(body, from, (size_t)length)) {
        wrong(c);
        return;
    }
    c->body_left -= length;
    if (c->body_left == 0) answer(c);
}

void take(struct connection *c) {
    if (options.shakes) {
        take_ending(c);
        return;
    }
    if (options.bolt) {
        take_answers(c);
        return;
    }
    ssize_t n = receive(c, buffer, BUFFER);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0)
        close_connection(c);
    else if (options.http)
        take_http(c, (int)n);
    else
        take_echo(c, (int)n);
}

static bool everybody_in_use(void) { return in_use == options.connections; }

void start_if_ready(void) {
    static bool started;
    while (opening < OPENING_AT_ONCE && opened < options.connections) open_client();
    if (started || !everybody_in_use()) return;
    started = true;
    printf("{\"event\":\"ready\",\"connections\":%d}\n", in_use);
    counts.since = now;
}

void load(int busy, double rate, bool open) {
    options.busy = busy;
    options.rate = rate;
    options.open = open;
    due = now;
    turn = 0;
    for (int i = 0; i < busy && rate <= 0; i++)
        if (clients[i]->phase == IDLE) ask(clients[i]);
}

/* The next one of the busy clients that is idle, in turn; NULL if all wait for an answer. */
static struct connection *next_idle(void) {
    for (int tried = 0; tried < options.busy; tried++) {
        struct connection *c = clients[turn];
        turn = (turn + 1) % options.busy;
        if (c->phase == IDLE) return c;
    }
    return NULL;
}

/* Requests that are due and find no idle connection wait: `due` stays behind, and they are sent as answers come. What
 * follows waits behind them, and a wait begins when a request is due, so a pause of the proxy shows in every one. */
static void pace_open(void) {
    struct connection *c;
    for (; due <= now && (c = next_idle()); due += 1 / options.rate) {
        ask(c);
        c->sent = due;
    }
}

void pace(void) {
    if (options.rate <= 0 || options.busy == 0 || !everybody_in_use()) return;
    if (options.open) {
        pace_open();
        return;
    }
    for (; due <= now; due += 1 / options.rate) {
        struct connection *c = clients[turn];
        turn = (turn + 1) % options.busy;
        if (c->phase == IDLE)
            ask(c);
        else
            counts.missed++; /* the last answer is still to come: its gap tells */
    }
}

void sweep(void) {
    if (sweep_cursor < 0) return;
    for (int asked = 0; sweep_cursor < options.connections && asked < ASKED_AT_ONCE; sweep_cursor++) {
        struct connection *c = clients[sweep_cursor];
        if (c->phase == IDLE && !c->swept) ask(c), asked++; /* a second one would be under way at the end */
    }
    if (sweep_cursor == options.connections && swept + (int)counts.closed >= options.connections) {
        printf("{\"event\":\"swept\",\"answered\":%d,\"closed\":%lu}\n", swept, (unsigned long)counts.closed);
        sweep_cursor = -1;
    }
}

void start_sweep(void) {
    sweep_cursor = swept = 0;
    for (int i = 0; i < options.connections; i++) clients[i]->swept = false;
}

bool sweeping(void) { return sweep_cursor >= 0; }
