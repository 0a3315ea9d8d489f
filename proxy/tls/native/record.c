/* One record sealed, one record opened.
 *
 *     TLS 1.3, RFC 8446 5.2                          TLS 1.2, RFC 5246 6.2.3.3
 *     | 23 | 03 03 | length u16 |                    | type | 03 03 | length u16 |
 *     | plaintext, type, zeros: sealed | tag |       | explicit nonce 8, GCM only | plaintext: sealed | tag |
 *
 *     additional data: the header                    sequence u64, type, version, length of the plaintext
 *     nonce: iv XOR sequence                         GCM: iv 4, explicit nonce 8 (RFC 5288 3); else as TLS 1.3
 */
#include "native.h"

enum { AAD_SIZE = 13 };

static void xor_nonce(const uint8_t *iv, uint64_t seq, uint8_t *nonce)
{
    memcpy(nonce, iv, 4);
    put64(nonce + 4, get64(iv + 4) ^ seq);
}

static void additional_data_1_2(uint64_t seq, const uint8_t *header, int size, uint8_t *aad)
{
    uint8_t *at = put64(aad, seq);
    memcpy(at, header, 3);
    put16(at + 3, (unsigned)size);
}

uint8_t *record_seal(RecordLayer *layer, int kind, const uint8_t *data, int size, uint8_t *out)
{
    const Suite *suite = layer->suite;
    Direction *tx = &layer->tx;
    EVP_CIPHER_CTX *context = direction_context(tx, suite);
    if (context == NULL || tx->seq == UINT64_MAX)
        return NULL;
    uint64_t seq = tx->seq++; /* before use: whatever fails now can skip a nonce, never use one again */
    uint8_t nonce[NONCE_SIZE], *body = out + HEADER_SIZE;
    bool ok;
    out[0] = (uint8_t)(suite->version == TLS_1_3 ? APPLICATION_DATA : kind);
    put16(out + 1, TLS_1_2);
    put16(out + 3, (unsigned)(size + record_expansion(suite)));
    if (suite->version == TLS_1_3) {
        xor_nonce(tx->iv, seq, nonce);
        memcpy(body, data, (size_t)size); /* sealed in place: cheaper than one more call for the type alone */
        body[size++] = (uint8_t)kind;
        ok = aead_seal(context, nonce, out, HEADER_SIZE, body, size, body);
    } else {
        uint8_t aad[AAD_SIZE];
        additional_data_1_2(seq, out, size, aad);
        if (suite_explicit_size(suite)) {
            memcpy(nonce, tx->iv, 4);
            put64(nonce + 4, layer->tx_explicit++);
            memcpy(body, nonce + 4, 8);
            body += 8;
        } else {
            xor_nonce(tx->iv, seq, nonce);
        }
        ok = aead_seal(context, nonce, aad, AAD_SIZE, data, size, body);
    }
    return ok ? body + size + TAG_SIZE : NULL;
}

static Opened bad(int alert, const char *text)
{
    return (Opened){.alert = alert, .text = text};
}

/* The type is the last byte that is not zero (RFC 8446 5.4). */
static void strip_padding(Opened *opened, const uint8_t *plain)
{
    while (opened->size > 0 && plain[opened->size - 1] == 0)
        opened->size--;
    opened->kind = opened->size > 0 ? plain[--opened->size] : 0;
}

Opened record_open(EVP_CIPHER_CTX *context, const Suite *suite, const uint8_t *iv, uint64_t seq, const uint8_t *record,
                   int length, uint8_t *out)
{
    int explicit_size = suite_explicit_size(suite);
    Opened opened = {.kind = record[0], .size = length - explicit_size - TAG_SIZE};
    uint8_t nonce[NONCE_SIZE], aad[AAD_SIZE];
    const uint8_t *body = record + HEADER_SIZE;
    if (opened.size < 0)
        return bad(BAD_RECORD_MAC, "a record is shorter than its tag");
    if (explicit_size) {
        memcpy(nonce, iv, 4);
        memcpy(nonce + 4, body, 8);
    } else {
        xor_nonce(iv, seq, nonce);
    }
    bool ok;
    if (suite->version == TLS_1_3) {
        ok = aead_open(context, nonce, record, HEADER_SIZE, body, opened.size, out);
    } else {
        additional_data_1_2(seq, record, opened.size, aad);
        ok = aead_open(context, nonce, aad, AAD_SIZE, body + explicit_size, opened.size, out);
    }
    if (!ok) {
        OPENSSL_cleanse(out, (size_t)opened.size); /* plaintext of nobody knows whom */
        return bad(BAD_RECORD_MAC, "a record cannot be opened");
    }
    if (suite->version == TLS_1_3)
        strip_padding(&opened, out);
    if (opened.kind < ALERT || opened.kind > APPLICATION_DATA)
        return bad(UNEXPECTED_MESSAGE, "a record has an unexpected type");
    if (opened.size == 0 && opened.kind != APPLICATION_DATA)
        return bad(UNEXPECTED_MESSAGE, "a record of an alert or a handshake message is empty");
    return opened;
}
