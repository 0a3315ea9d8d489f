/*
 * Clients whose request is a whole connection: TCP, a handshake, and its end. An answer is counted when the server has
 * ended it too, so that all its work for the connection lies before.
 *
 * Who is to resume needs a ticket first. Some servers give none before they have something to write, so the first
 * connection of such a client carries an HTTP request. Where a later connection brings a newer one, that is used next.
 */
#include "loadgen.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Ends our half; the server follows. */
static void finish(struct connection *c) {
    if (!shaken_as_ordered(c)) counts.errors++;
    notify_close(c);
    shutdown(c->fd, SHUT_WR);
    c->phase = ENDING;
}

static void await_ticket(struct connection *c) {
    ssize_t n = receive(c, buffer, BUFFER);
    if (c->session)
        finish(c);
    else if (n == 0 || (n < 0 && errno != EAGAIN))
        wrong(c);
}

static void await_end(struct connection *c) {
    ssize_t n;
    while ((n = receive(c, buffer, BUFFER)) > 0) {}
    if (n < 0 && errno == EAGAIN) return;
    end_tls(c);
    close(c->fd);
    answer(c);
}

/* The handshake is done. */
void shaken(struct connection *c) {
    if (options.resume && !c->session) {
        c->phase = WAITING;
        ask_http(c);
    } else {
        finish(c);
    }
}

void take_ending(struct connection *c) {
    if (c->phase == WAITING)
        await_ticket(c);
    else
        await_end(c);
}
