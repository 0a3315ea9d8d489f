/* Cipher suites, and how their keys come of secrets.
 *
 * TLS 1.3, RFC 8446 7.3:    key = HKDF-Expand-Label(traffic secret, "key", "", key size), iv the same with 12 bytes
 *                  7.2:     next traffic secret = HKDF-Expand-Label(traffic secret, "traffic upd", "", hash size)
 * TLS 1.2, RFC 5246 6.3:    PRF(master secret, "key expansion", server random + client random) =
 *                           client key, server key, client iv, server iv; AEAD ciphers have no MAC keys
 */
#include "native.h"

static const Suite suites[] = {
    {0x1301, TLS_1_3, AES_128_GCM, SHA256, "TLS_AES_128_GCM_SHA256"},
    {0x1302, TLS_1_3, AES_256_GCM, SHA384, "TLS_AES_256_GCM_SHA384"},
    {0x1303, TLS_1_3, CHACHA20_POLY1305, SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
    {0x009C, TLS_1_2, AES_128_GCM, SHA256, "AES128-GCM-SHA256"},
    {0x009D, TLS_1_2, AES_256_GCM, SHA384, "AES256-GCM-SHA384"},
    {0x009E, TLS_1_2, AES_128_GCM, SHA256, "DHE-RSA-AES128-GCM-SHA256"},
    {0x009F, TLS_1_2, AES_256_GCM, SHA384, "DHE-RSA-AES256-GCM-SHA384"},
    {0xC02B, TLS_1_2, AES_128_GCM, SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {0xC02C, TLS_1_2, AES_256_GCM, SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {0xC02F, TLS_1_2, AES_128_GCM, SHA256, "ECDHE-RSA-AES128-GCM-SHA256"},
    {0xC030, TLS_1_2, AES_256_GCM, SHA384, "ECDHE-RSA-AES256-GCM-SHA384"},
    {0xCCA8, TLS_1_2, CHACHA20_POLY1305, SHA256, "ECDHE-RSA-CHACHA20-POLY1305"},
    {0xCCA9, TLS_1_2, CHACHA20_POLY1305, SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {0xCCAA, TLS_1_2, CHACHA20_POLY1305, SHA256, "DHE-RSA-CHACHA20-POLY1305"},
};

enum { SUITES = sizeof suites / sizeof *suites };

static const char *const cipher_names[CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
static const int key_sizes[CIPHERS] = {16, 32, 32};
static const char *const hash_names[HASHES] = {"SHA256", "SHA384"};
static const int hash_sizes[HASHES] = {32, 48};

/* Fetched once: a fetch by name takes longer than sealing a small record. */
static EVP_CIPHER *ciphers[CIPHERS];
static EVP_MAC_CTX *macs[HASHES]; /* without a key: to be copied */

bool keys_fetch(void)
{
    for (int i = 0; i < CIPHERS; i++)
        if ((ciphers[i] = EVP_CIPHER_fetch(NULL, cipher_names[i], NULL)) == NULL)
            return false;
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    bool ok = hmac != NULL;
    for (int i = 0; i < HASHES && ok; i++) {
        OSSL_PARAM digest[] = {OSSL_PARAM_utf8_string("digest", (char *)hash_names[i], 0), OSSL_PARAM_END};
        digest[0].data_size = strlen(hash_names[i]);
        macs[i] = EVP_MAC_CTX_new(hmac);
        ok = macs[i] != NULL && EVP_MAC_CTX_set_params(macs[i], digest);
    }
    EVP_MAC_free(hmac);
    return ok;
}

const Suite *suite_find(int version, int id)
{
    for (int i = 0; i < SUITES; i++)
        if (suites[i].id == id && suites[i].version == version)
            return &suites[i];
    return NULL;
}

PyObject *suite_ids(void)
{
    PyObject *ids = PyTuple_New(SUITES);
    for (int i = 0; ids != NULL && i < SUITES; i++) {
        PyObject *id = PyLong_FromLong(suites[i].id);
        if (id == NULL)
            Py_CLEAR(ids);
        else
            PyTuple_SET_ITEM(ids, i, id);
    }
    return ids;
}

int suite_key_size(const Suite *suite) { return key_sizes[suite->cipher]; }

int suite_hash_size(const Suite *suite) { return hash_sizes[suite->hash]; }

int suite_explicit_size(const Suite *suite) /* RFC 5288 3; RFC 7905 2 and RFC 8446 5.3 have none */
{
    return suite->version == TLS_1_2 && suite->cipher != CHACHA20_POLY1305 ? 8 : 0;
}

int suite_iv_size(const Suite *suite) { return NONCE_SIZE - suite_explicit_size(suite); }

const EVP_CIPHER *suite_cipher(const Suite *suite) { return ciphers[suite->cipher]; }

static bool hmac(Hash hash, const uint8_t *key, int key_size, const uint8_t *data, int size, uint8_t *out)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(macs[hash]);
    bool ok = mac != NULL && EVP_MAC_init(mac, key, (size_t)key_size, NULL)
              && EVP_MAC_update(mac, data, (size_t)size) && EVP_MAC_final(mac, out, NULL, (size_t)hash_sizes[hash]);
    EVP_MAC_CTX_free(mac); /* cleanses what it made of the key */
    return openssl_did(ok);
}

/* RFC 8446 7.1, for up to one hash of output: HKDF-Expand is a single HMAC then (RFC 5869 2.3).
 *
 *     info:  | size u16 | length of label u8 | "tls13 " label | length of context u8 = 0 | 1 |
 */
static bool expand_label(Hash hash, const uint8_t *secret, const char *label, uint8_t *out, int size)
{
    uint8_t info[32], full[LONGEST_SECRET];
    int label_size = (int)strlen(label);
    put16(info, (unsigned)size);
    info[2] = (uint8_t)(6 + label_size);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, (size_t)label_size);
    info[9 + label_size] = 0;
    info[10 + label_size] = 1;
    bool ok = hmac(hash, secret, hash_sizes[hash], info, 11 + label_size, full);
    if (ok)
        memcpy(out, full, (size_t)size);
    OPENSSL_cleanse(full, sizeof full);
    return ok;
}

bool direction_derive(Direction *direction, const Suite *suite)
{
    direction->has_key = expand_label(suite->hash, direction->secret, "key", direction->key, suite_key_size(suite))
                         && expand_label(suite->hash, direction->secret, "iv", direction->iv, NONCE_SIZE);
    return direction->has_key;
}

bool direction_next(Direction *direction, const Suite *suite)
{
    uint8_t next[LONGEST_SECRET];
    bool ok = expand_label(suite->hash, direction->secret, "traffic upd", next, suite_hash_size(suite));
    if (ok) {
        direction_end(direction);
        memcpy(direction->secret, next, sizeof next);
        direction->seq = 0;
    }
    OPENSSL_cleanse(next, sizeof next);
    return ok;
}

/* RFC 5246 5: P_hash(secret, seed) = HMAC(secret, A(1) + seed) + HMAC(secret, A(2) + seed) + ...,
 * A(0) = seed, A(i) = HMAC(secret, A(i - 1)). Here 88 bytes at most are needed, three rounds of SHA-256. */
bool keys_expand_master(const Suite *suite, const uint8_t *master, const uint8_t *client_random,
                        const uint8_t *server_random, Direction *client, Direction *server)
{
    enum { LABEL = 13, SEED = LABEL + 2 * RANDOM_SIZE, BLOCK = 2 * (LONGEST_KEY + NONCE_SIZE) };
    uint8_t seed[LONGEST_SECRET + SEED], block[BLOCK + LONGEST_SECRET];
    int hash_size = suite_hash_size(suite), key_size = suite_key_size(suite), iv_size = suite_iv_size(suite);
    uint8_t *plain_seed = seed + hash_size; /* A(i) goes in front of it */
    memcpy(plain_seed, "key expansion", LABEL);
    memcpy(plain_seed + LABEL, server_random, RANDOM_SIZE);
    memcpy(plain_seed + LABEL + RANDOM_SIZE, client_random, RANDOM_SIZE);

    bool ok = hmac(suite->hash, master, MASTER_SIZE, plain_seed, SEED, seed);
    for (int done = 0; ok && done < 2 * (key_size + iv_size); done += hash_size)
        ok = hmac(suite->hash, master, MASTER_SIZE, seed, hash_size + SEED, block + done)
             && hmac(suite->hash, master, MASTER_SIZE, seed, hash_size, seed);
    if (ok) {
        memcpy(client->key, block, (size_t)key_size);
        memcpy(server->key, block + key_size, (size_t)key_size);
        memcpy(client->iv, block + 2 * key_size, (size_t)iv_size);
        memcpy(server->iv, block + 2 * key_size + iv_size, (size_t)iv_size);
        client->has_key = server->has_key = true;
    }
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}
