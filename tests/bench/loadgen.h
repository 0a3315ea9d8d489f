/* What the parts of the load generator share; the program itself is described in loadgen.c. */
#ifndef LOADGEN_H
#define LOADGEN_H
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { BUFFER = 1 << 16, BODY_LIMIT = 1 << 24, HEAD_LIMIT = 1024, BACKLOG = 4096 };
enum { LATENCY_SLOTS = 1 << 20 }; /* one a microsecond, the last one takes all above */

enum role { COMMANDS, UPSTREAM_LISTENER, UPSTREAM, CLIENT };
enum phase { CONNECTING, SHAKING, IDLE, WAITING, ENDING, CLOSED };
enum { CALL_HEAD = 22, ANSWER_HEAD = 20, MAX_DEPTH = 64 }; /* bolt, version 1; see proxy/bolt/frame.py */

struct connection {
    int fd;
    enum role role;
    enum phase phase;
    bool used;            /* answered once: counts towards "ready" */
    bool swept;           /* answered since the last "sweep" */
    uint32_t index;       /* of a client, and the first word of its echo */
    uint32_t sequence;    /* the second word: an answer to anything but the last request is an error */
    int matched;          /* upstream, http: how much of \r\n\r\n the last bytes were */
    int received;         /* client: bytes of the answer so far; http: of its head, until it is complete */
    int body_left;        /* client, http: -1 while the head is incomplete */
    int filled;           /* bolt: bytes of the next frame in `head` */
    long owed;            /* upstream, http: bytes of responses still to send */
    bool blocked;         /* upstream, http: it waits for room to send them */
    struct ssl_st *tls;   /* client: NULL without TLS */
    struct ssl_session_st *session; /* client: the newest that the server gave */
    double sent, answered, longest_gap;
    char head[];          /* client, http: HEAD_LIMIT bytes; bolt: a frame that is not complete */
};

struct options {
    bool http, bolt;
    bool shakes;     /* a request is a connection, see shakes.c */
    bool resume;     /* by the session of the one before */
    int tls_minor;   /* 2 or 3; 0: no TLS */
    int depth;       /* bolt: calls under way on a busy connection */
    int size, connections, listen_port, target_port;
    int busy;        /* the first so many clients go on asking */
    double rate;     /* requests a second in all; 0: the next one follows the answer */
    bool open;       /* paced requests wait for an idle connection, and no answer decides when they are due */
};

struct counts {
    uint64_t answers, errors, closed, missed;
    double since, worst;
};

extern struct options options;
extern struct counts counts;
extern uint32_t *latencies;
extern struct connection **clients;
extern double now;           /* seconds, monotonic, of this batch of events */
extern int poll_fd;
extern char *message;        /* the echo, or the upstream's http response */
extern int message_length;
extern char buffer[BUFFER];  /* what was read last; nobody keeps a pointer into it */

void die(const char *what);
struct connection *watch(int fd, enum role role, uint32_t events);
void poll_for(struct connection *c, int operation, uint32_t events);
int tcp_socket(void);
void no_delay(int fd);
struct sockaddr_in loopback(int port);
bool send_all(struct connection *c, const char *bytes, int length);
ssize_t receive(struct connection *c, char *into, int size);
void close_connection(struct connection *c);

int listen_upstream(int port);
void accept_upstream(int listener);
void serve(struct connection *c);
void pay(struct connection *c);

void prepare_calls(void);
void ask_calls(struct connection *c);
void take_answers(struct connection *c);
void serve_calls(struct connection *c);
void answered(struct connection *c);
void wrong(struct connection *c);

void prepare_clients(void);
void connected(struct connection *c);
void shake(struct connection *c);
void answer(struct connection *c);
void ask_http(struct connection *c);
void take(struct connection *c);
void start_if_ready(void);
void load(int busy, double rate, bool open);
void pace(void);
void start_sweep(void);
void sweep(void);
bool sweeping(void);

void prepare_tls(void);
void begin_tls(struct connection *c);
void end_tls(struct connection *c);
ssize_t shake_hands(struct connection *c);
ssize_t receive_tls(struct connection *c, char *into, int size);
bool send_tls(struct connection *c, const char *bytes, int length);
bool shaken_as_ordered(const struct connection *c);
void notify_close(struct connection *c);

void shaken(struct connection *c);
void take_ending(struct connection *c);

#endif
