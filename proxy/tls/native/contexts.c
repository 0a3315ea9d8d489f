/* AEAD by OpenSSL's EVP, and the contexts that hold expanded keys.
 *
 * A context takes 1.2 KB, a connection has two, and most connections are idle. So a context is built when a record
 * is sealed or opened, 1 to 2 us, and all there are form one list by last use: beyond `context_limit` the one that
 * was not used for longest is given up.
 */
#include "native.h"

int context_limit = 1024; /* directions */
int context_count = 0;

static Direction *newest, *oldest;

EVP_CIPHER_CTX *aead_context(const EVP_CIPHER *cipher, const uint8_t *key, bool seals)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (openssl_did(context != NULL && EVP_CipherInit_ex(context, cipher, NULL, key, NULL, seals)))
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

bool aead_seal(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *aad, int aad_size, const uint8_t *data,
               int size, uint8_t *out)
{
    int written;
    return openssl_did(EVP_EncryptInit_ex(context, NULL, NULL, NULL, nonce)
                       && EVP_EncryptUpdate(context, NULL, &written, aad, aad_size)
                       && (size == 0 || EVP_EncryptUpdate(context, out, &written, data, size))
                       && EVP_EncryptFinal_ex(context, out + size, &written)
                       && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + size));
}

bool aead_open(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *aad, int aad_size, const uint8_t *data,
               int size, uint8_t *out)
{
    int written;
    return openssl_did(EVP_DecryptInit_ex(context, NULL, NULL, NULL, nonce)
                       && EVP_DecryptUpdate(context, NULL, &written, aad, aad_size)
                       && (size == 0 || EVP_DecryptUpdate(context, out, &written, data, size))
                       && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (void *)(data + size))
                       && EVP_DecryptFinal_ex(context, out + size, &written) > 0);
}

static void unlink_direction(Direction *direction)
{
    *(direction->newer ? &direction->newer->older : &newest) = direction->older;
    *(direction->older ? &direction->older->newer : &oldest) = direction->newer;
    direction->newer = direction->older = NULL;
}

static void link_newest(Direction *direction)
{
    direction->older = newest;
    *(newest ? &newest->newer : &oldest) = direction;
    newest = direction;
}

EVP_CIPHER_CTX *direction_context(Direction *direction, const Suite *suite)
{
    if (direction == newest)
        return direction->context;
    if (direction->context != NULL) {
        unlink_direction(direction);
    } else {
        if (!direction->has_key && !direction_derive(direction, suite))
            return NULL;
        direction->context = aead_context(suite_cipher(suite), direction->key, direction->seals);
        if (direction->context == NULL)
            return NULL;
        context_count++;
        contexts_shrink(context_limit); /* of the others: this one is not in the list yet */
    }
    link_newest(direction);
    return direction->context;
}

void direction_forget(Direction *direction)
{
    if (direction->context == NULL)
        return;
    unlink_direction(direction);
    EVP_CIPHER_CTX_free(direction->context); /* cleanses the key in it */
    direction->context = NULL;
    context_count--;
}

void direction_end(Direction *direction)
{
    direction_forget(direction);
    OPENSSL_cleanse(direction->secret, sizeof direction->secret);
    OPENSSL_cleanse(direction->key, sizeof direction->key);
    OPENSSL_cleanse(direction->iv, sizeof direction->iv);
    direction->has_key = false;
}

void contexts_shrink(int limit)
{
    while (context_count > limit && oldest != NULL)
        direction_forget(oldest);
}
