/* proxy.tls._record: the record layer in C. What its files share.
 *
 *     module.c    the module: its classes, its functions, what happens at a fork
 *     layer.c     RecordLayer: from a handshake to its end
 *     traffic.c   RecordLayer.seal and RecordLayer.open
 *     record.c    seals one record, opens one record
 *     state.c     RecordLayer saved and restored
 *     keys.c      cipher suites, derivation of keys
 *     contexts.c  EVP contexts: built on first use, the longest unused ones given up
 *     secrets.c   Secrets: the lines of a key log
 *     vault.c     Vault: the key under which secrets travel
 *     permit.c    Permit: whether this process owns
 *
 * proxy/tls/twin.py is the same in Python, and where the classes, the rules and the formats are explained. A secret
 * here lives in memory of ours, never in a Python object (but for what the twin asks for: Secrets.take, Vault.unwrap),
 * and is cleansed when it is no longer needed.
 */
#ifndef HOTSWAP_TLS_NATIVE_H
#define HOTSWAP_TLS_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <endian.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if OPENSSL_VERSION_NUMBER < 0x30000010L /* 3.0.0 copies no HMAC that has no key yet */
#error "OpenSSL 3.0.1 or newer is needed; without it the record layer in Python serves"
#endif

/* Between the files here alone: a function of that name in another library is not to be called instead. */
#pragma GCC visibility push(hidden)

enum { TLS_1_2 = 0x0303, TLS_1_3 = 0x0304 };
enum { ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23 };                              /* RFC 8446 5.1 */
enum { UNEXPECTED_MESSAGE = 10, BAD_RECORD_MAC = 20, RECORD_OVERFLOW = 22, INTERNAL_ERROR = 80 }; /* RFC 8446 6 */

enum {
    HEADER_SIZE = 5,
    TAG_SIZE = 16,
    NONCE_SIZE = 12,
    LONGEST_KEY = 32,
    LONGEST_SECRET = 48,
    LONGEST_PLAINTEXT = 16384,
    RANDOM_SIZE = 32,
    MASTER_SIZE = 48,
};

/* ---- errors and forks (module.c) */

extern PyObject *NotOwner; /* proxy.tls.errors */
extern unsigned process_epoch; /* counts the forks that led here: what is older than the last one is of no use */

PyObject *raise_tls_error(int alert, const char *text);
bool check_epoch(unsigned epoch); /* or sets NotOwner */

/* Whether OpenSSL did what it was asked for. What it says about a failure waits in a queue of this thread, where
 * others, TLS connections of OpenSSL's above all, would find it and take it for theirs. */
static inline bool openssl_did(bool ok)
{
    if (!ok)
        ERR_clear_error();
    return ok;
}

/* ---- Permit */

typedef struct {
    PyObject_HEAD
    unsigned epoch;
    bool granted, ended;
} Permit;

extern PyTypeObject Permit_Type;

static inline bool permit_grants(const Permit *permit)
{
    return permit->granted && permit->epoch == process_epoch;
}

/* ---- AEAD (contexts.c) */

EVP_CIPHER_CTX *aead_context(const EVP_CIPHER *cipher, const uint8_t *key, bool seals); /* NULL if that fails */
bool aead_seal(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *aad, int aad_size, const uint8_t *data,
               int size, uint8_t *out); /* size bytes, then the tag; in place is fine */
bool aead_open(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *aad, int aad_size, const uint8_t *data,
               int size, uint8_t *out); /* data: size bytes, then the tag */

/* ---- cipher suites and keys */

typedef enum { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, CIPHERS } Cipher;
typedef enum { SHA256, SHA384, HASHES } Hash;

typedef struct {
    uint16_t id, version;
    Cipher cipher;
    Hash hash;
    const char *name;
} Suite;

const Suite *suite_find(int version, int id); /* NULL if it is none of ours */
PyObject *suite_ids(void);
int suite_key_size(const Suite *suite);
int suite_hash_size(const Suite *suite);
int suite_iv_size(const Suite *suite);       /* the implicit part of the nonce */
int suite_explicit_size(const Suite *suite); /* the part that is in the record */
const EVP_CIPHER *suite_cipher(const Suite *suite);
bool keys_fetch(void); /* once, at import */

/* One direction of a connection. TLS 1.3 keeps the traffic secret: the next one comes of it, and key and IV, too,
 * when they are first needed. TLS 1.2 knows only key and IV. */
typedef struct Direction {
    struct Direction *newer, *older; /* in the list of contexts */
    EVP_CIPHER_CTX *context;
    uint64_t seq;
    uint8_t secret[LONGEST_SECRET];
    uint8_t key[LONGEST_KEY];
    uint8_t iv[NONCE_SIZE];
    bool seals, has_key;
} Direction;

bool direction_derive(Direction *direction, const Suite *suite); /* key and IV of the traffic secret */
bool direction_next(Direction *direction, const Suite *suite);   /* the next traffic secret, sequence 0 */
bool keys_expand_master(const Suite *suite, const uint8_t *master, const uint8_t *client_random,
                        const uint8_t *server_random, Direction *client, Direction *server);

/* The context of a direction, built if there is none; NULL if that fails. It stays until others push it out. */
EVP_CIPHER_CTX *direction_context(Direction *direction, const Suite *suite);
void direction_forget(Direction *direction); /* the context */
void direction_end(Direction *direction);    /* everything secret */
extern int context_limit, context_count;
void contexts_shrink(int limit);

/* ---- Secrets */

typedef struct {
    PyObject_HEAD
    unsigned epoch;
    bool ended, has_random;
    uint8_t client_size, server_size, master_size; /* 0: not seen */
    uint8_t client_random[RANDOM_SIZE];
    uint8_t client[LONGEST_SECRET], server[LONGEST_SECRET], master[MASTER_SIZE];
} Secrets;

extern PyTypeObject Secrets_Type;

/* ---- Vault */

enum { VAULT_COUNT_SIZE = 8, VAULT_OVERHEAD = VAULT_COUNT_SIZE + TAG_SIZE };

typedef struct {
    PyObject_HEAD
    unsigned epoch;
    bool made_here, ended; /* made here: it wraps; else it was read, and unwraps */
    uint64_t count;        /* nonces used */
    EVP_CIPHER_CTX *context;
    uint8_t key[LONGEST_KEY];
} Vault;

extern PyTypeObject Vault_Type;

/* wrapped: count, ciphertext, tag. Both set an exception if they fail. */
bool vault_wrap(Vault *vault, const uint8_t *header, int header_size, const uint8_t *secret, int size,
                uint8_t *wrapped);
bool vault_unwrap(Vault *vault, const uint8_t *header, int header_size, const uint8_t *wrapped, int size,
                  uint8_t *secret);

/* ---- RecordLayer */

typedef struct {
    PyObject_HEAD
    Permit *permit;
    const Suite *suite;
    Direction tx, rx;
    uint64_t tx_explicit; /* the explicit nonce of the next record, TLS 1.2 with GCM */
    uint64_t rekey_at;    /* TLS 1.3: the sequence number that asks for a KeyUpdate */
    uint64_t saved_at;    /* the vault's count in the state that this came from, or NEWER_THAN_ANY */
    unsigned epoch;
    uint16_t limit;       /* bytes of plaintext in a record that we seal */
    uint8_t broken;       /* the alert that ended it, 0 while all is well */
    uint8_t empties;      /* records of application data without any, in a row */
    bool server, alerted, ended;
} RecordLayer;

extern PyTypeObject RecordLayer_Type;

enum { REKEY_AT = 1 << 23, MOST_EMPTIES = 32 };
#define NEWER_THAN_ANY UINT64_MAX /* an owner's: it may have used nonces that no state knows of */

RecordLayer *layer_new(Permit *permit, const Suite *suite, bool server);
bool layer_alive(const RecordLayer *layer); /* or sets NotOwner: it has ended, or was made before a fork */
bool layer_owns(RecordLayer *layer);        /* or sets NotOwner. Once it did, no state leads the layer back */

/* traffic.c */
PyObject *layer_seal(RecordLayer *layer, PyObject *const *args, Py_ssize_t count);
PyObject *layer_open(RecordLayer *layer, PyObject *const *args, Py_ssize_t count);

/* record.c */
static inline int record_expansion(const Suite *suite)
{
    return TAG_SIZE + (suite->version == TLS_1_3 ? 1 : suite_explicit_size(suite));
}
uint8_t *record_seal(RecordLayer *layer, int kind, const uint8_t *data, int size, uint8_t *out); /* its end, or NULL */

typedef struct {
    int kind, size;   /* of the plaintext */
    int alert;        /* what is wrong with the record, 0 if nothing */
    const char *text;
} Opened;

/* A complete record into out, which has room for its length. */
Opened record_open(EVP_CIPHER_CTX *context, const Suite *suite, const uint8_t *iv, uint64_t seq, const uint8_t *record,
                   int length, uint8_t *out);

/* state.c */
enum { STATE_FORMAT = 1 };
PyObject *layer_save(RecordLayer *layer, PyObject *vault);
PyObject *layer_restore(PyObject *type, PyObject *const *args, Py_ssize_t count);
PyObject *layer_reload(RecordLayer *layer, PyObject *const *args, Py_ssize_t count);

/* ---- bytes, big-endian */

static inline uint8_t *put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static inline uint8_t *put64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, 8);
    return at + 8;
}

static inline unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static inline uint64_t get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return be64toh(value);
}

#pragma GCC visibility pop

#endif
