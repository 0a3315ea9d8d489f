/*
 * Bolt, version 1, both ends: calls with an id, a class and a header as real clients send them, and a content that must
 * come back to the call that it belongs to. `depth` calls are under way on a busy connection; answers may come in any
 * order.
 *
 * What the upstream is sent and sends back differs in the head only, so it patches the call into its answer.
 */
#include "loadgen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char class_name[] = "com.alipay.sofa.rpc.core.request.SofaRequest";
static const char service[] = "\0\0\0\7service\0\0\0\x18" "com.test.EchoService:1.0";
enum { CLASS = sizeof class_name - 1, HEADER = sizeof service - 1, FIXED = CALL_HEAD + CLASS + HEADER };

static char call[BUFFER];
static int call_length, answer_length;

static void put16(char *at, unsigned value) { *(uint16_t *)at = htons((uint16_t)value); }
static void put32(char *at, uint32_t value) { memcpy(at, &(uint32_t){htonl(value)}, 4); }
static uint32_t get32(const char *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

void prepare_calls(void) {
    call_length = FIXED + options.size;
    answer_length = ANSWER_HEAD + options.size;
    memcpy(call, "\1\1\0\1\1", 5);
    call[9] = 1;
    put32(call + 10, 5000);
    put16(call + 14, CLASS);
    put16(call + 16, HEADER);
    put32(call + 18, (uint32_t)options.size);
    memcpy(call + CALL_HEAD, class_name, CLASS);
    memcpy(call + CALL_HEAD + CLASS, service, HEADER);
    memset(call + FIXED, 'z', (size_t)options.size);
}

/* The content begins with index and sequence of the call; the id is its sequence. */
static void add_call(char *at, struct connection *c) {
    c->sequence++;
    put32(call + 5, c->sequence);
    memcpy(call + FIXED, &c->index, 4);
    memcpy(call + FIXED + 4, &c->sequence, 4);
    memcpy(at, call, (size_t)call_length);
}

static void ask_some(struct connection *c, int count) {
    static char run[MAX_DEPTH * BUFFER];
    int length = 0;
    for (; count > 0; count--, c->received++, length += call_length) add_call(run + length, c);
    c->phase = WAITING;
    c->sent = now;
    if (length && !send_all(c, run, length)) counts.errors++;
}

void ask_calls(struct connection *c) { ask_some(c, 1); }

static bool right(const struct connection *c, const char *frame) {
    const char *content = frame + ANSWER_HEAD;
    return !memcmp(frame, "\1\0\0\2\1", 5) && !memcmp(frame + 10, "\0\0\0\0\0\0", 6) &&
           get32(frame + 16) == (uint32_t)options.size && !memcmp(content, &c->index, 4) &&
           c->sequence - get32(frame + 5) < MAX_DEPTH && !memcmp(content + 4, &(uint32_t){get32(frame + 5)}, 4) &&
           !memcmp(content + 8, call + FIXED + 8, (size_t)options.size - 8);
}

/* `received` counts the calls under way. */
void take_answers(struct connection *c) {
    ssize_t n;
    int asked = 0;
    const char *from = buffer;
    if ((n = receive(c, buffer, BUFFER)) < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        close_connection(c);
        return;
    }
    while (n > 0) {
        const char *frame = from;
        if (c->filled || n < answer_length) {
            int more = answer_length - c->filled < n ? answer_length - c->filled : (int)n;
            memcpy(c->head + c->filled, from, (size_t)more);
            c->filled += more;
            from += more;
            n -= more;
            if (c->filled < answer_length) break;
            frame = c->head;
            c->filled = 0;
        } else {
            from += answer_length;
            n -= answer_length;
        }
        if (!right(c, frame)) {
            wrong(c);
            return;
        }
        c->received--;
        answered(c);
        if ((int)c->index < options.busy && options.rate <= 0) asked++;
    }
    if ((int)c->index < options.busy && options.rate <= 0)
        ask_some(c, options.depth - c->received);
    else if (c->received)
        c->phase = WAITING;
}

/* Whole calls become answers: the head changes, class and header go. */
void serve_calls(struct connection *c) {
    static char answers[2 * BUFFER];
    ssize_t n = recv(c->fd, buffer + c->filled, (size_t)(BUFFER - c->filled), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        close_connection(c);
        return;
    }
    memcpy(buffer, c->head, (size_t)c->filled);
    int have = c->filled + (int)n, at = 0, length = 0;
    for (; have - at >= call_length; at += call_length) {
        const char *frame = buffer + at;
        char *answer = answers + length;
        if (memcmp(frame, "\1\1\0\1\1", 5)) counts.errors++;
        memcpy(answer, "\1\0\0\2\1", 5);
        memcpy(answer + 5, frame + 5, 5);
        memset(answer + 10, 0, 6);
        memcpy(answer + 16, frame + 18, 4);
        memcpy(answer + ANSWER_HEAD, frame + FIXED, (size_t)options.size);
        length += answer_length;
    }
    c->filled = have - at;
    memcpy(c->head, buffer + at, (size_t)c->filled);
    if (length && !send_all(c, answers, length)) counts.errors++;
}
