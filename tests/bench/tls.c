/*
 * TLS of the clients: OpenSSL over their sockets, one version and one suite, so that every server does the same work.
 * The key exchange is X25519. Certificates are not verified: that would cost this process time and show nothing about
 * the server.
 */
#include "loadgen.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static SSL_CTX *context;

static void die_of_tls(const char *what) {
    fprintf(stderr, "loadgen: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* TLS 1.2 gives a session at the end of the handshake, TLS 1.3 with each ticket. 1: it is ours to free. */
static int keep_session(SSL *tls, SSL_SESSION *session) {
    struct connection *c = SSL_get_app_data(tls);
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

void prepare_tls(void) {
    int version = options.tls_minor == 3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (!options.tls_minor) return;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (!(context = SSL_CTX_new(TLS_client_method()))) die_of_tls("SSL_CTX_new");
    if (!SSL_CTX_set_min_proto_version(context, version) || !SSL_CTX_set_max_proto_version(context, version) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256") ||
        !SSL_CTX_set1_groups_list(context, "X25519:P-256")) /* the certificate is of P-256 (RFC 8422, section 5.1.1) */
        die_of_tls("the suite");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
}

void begin_tls(struct connection *c) {
    if (!(c->tls = SSL_new(context)) || !SSL_set_fd(c->tls, c->fd)) die_of_tls("SSL_new");
    SSL_set_app_data(c->tls, c);
    SSL_set_connect_state(c->tls);
    if (options.resume && c->session && !SSL_set_session(c->tls, c->session)) die_of_tls("SSL_set_session");
}

void end_tls(struct connection *c) {
    SSL_free(c->tls);
    c->tls = NULL;
}

/* The result of a call of OpenSSL in the words of recv(2). */
static ssize_t as_recv(struct connection *c, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(c->tls, result);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    ERR_clear_error();
    return -1;
}

/* 1: done; -1 with EAGAIN: the server's turn. */
ssize_t shake_hands(struct connection *c) { return as_recv(c, SSL_do_handshake(c->tls)); }

/* A whole record: OpenSSL reads no further than its end, so the socket tells of the next one. */
ssize_t receive_tls(struct connection *c, char *into, int size) { return as_recv(c, SSL_read(c->tls, into, size)); }

bool send_tls(struct connection *c, const char *bytes, int length) {
    return as_recv(c, SSL_write(c->tls, bytes, length)) == length;
}

/* Full with X25519, or resumed, as ordered. The first of a client has nothing to resume. */
bool shaken_as_ordered(const struct connection *c) {
    EVP_PKEY *key = NULL;
    if (options.resume && c->used) return SSL_session_reused(c->tls);
    bool exchanged = SSL_get_peer_tmp_key(c->tls, &key) && EVP_PKEY_is_a(key, "X25519");
    EVP_PKEY_free(key);
    return exchanged && !SSL_session_reused(c->tls);
}

void notify_close(struct connection *c) { SSL_shutdown(c->tls); }
