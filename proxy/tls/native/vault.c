/* Vault: the key of one handover attempt, under which secrets travel. AES-256-GCM.
 *
 *     wrapped:  | count u64 | ciphertext | tag 16 |       nonce: 4 zero bytes, count
 *
 * The count goes up with everything that is wrapped, so no nonce comes twice: the key lives in one process that
 * wraps, and whoever reads it from a descriptor only unwraps.
 */
#include "native.h"
#include <openssl/rand.h>
#include <unistd.h>

static EVP_CIPHER *vault_cipher; /* fetched by the first one */

static Vault *allocate(PyTypeObject *type, bool made_here)
{
    if (vault_cipher == NULL)
        vault_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (!openssl_did(vault_cipher != NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL has no AES-256-GCM");
        return NULL;
    }
    Vault *self = (Vault *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->epoch = process_epoch;
        self->made_here = made_here;
    }
    return self;
}

static Vault *build_context(Vault *self)
{
    self->context = aead_context(vault_cipher, self->key, self->made_here);
    if (self->context == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL did not take the key of a vault");
        Py_CLEAR(self);
    }
    return self;
}

static PyObject *vault_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Vault", names))
        return NULL;
    Vault *self = allocate(type, true);
    if (self == NULL)
        return NULL;
    if (!openssl_did(RAND_priv_bytes(self->key, sizeof self->key) == 1)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL has no random bytes");
        return NULL;
    }
    return (PyObject *)build_context(self);
}

static PyObject *vault_read(PyObject *unused, PyObject *number)
{
    (void)unused;
    int fd = PyObject_AsFileDescriptor(number);
    Vault *self = fd < 0 ? NULL : allocate(&Vault_Type, false);
    if (self == NULL)
        return NULL;
    uint8_t content[LONGEST_KEY + 1], zero[LONGEST_KEY] = {0};
    ssize_t size = pread(fd, content, sizeof content, 0);
    bool filled = size == LONGEST_KEY && memcmp(content, zero, LONGEST_KEY) != 0;
    if (filled)
        memcpy(self->key, content, LONGEST_KEY);
    OPENSSL_cleanse(content, sizeof content);
    if (size >= 0 && filled)
        return (PyObject *)build_context(self);
    if (size < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    else
        PyErr_SetString(PyExc_ValueError, "the descriptor holds no key of a vault");
    Py_DECREF(self);
    return NULL;
}

static bool usable(const Vault *self, bool wraps)
{
    if (!check_epoch(self->epoch))
        return false;
    if (self->ended)
        PyErr_SetString(PyExc_ValueError, "this vault has ended");
    else if (wraps && !self->made_here)
        PyErr_SetString(PyExc_ValueError, "this vault was read from a descriptor: it does not save");
    else if (!wraps && self->made_here)
        PyErr_SetString(PyExc_ValueError, "this vault was made here: what it saved is restored elsewhere");
    else
        return true;
    return false;
}

static PyObject *vault_write(Vault *self, PyObject *number)
{
    int fd = PyObject_AsFileDescriptor(number);
    if (fd < 0 || !usable(self, true))
        return NULL;
    ssize_t size = pwrite(fd, self->key, sizeof self->key, 0);
    if (size < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (size != (ssize_t)sizeof self->key) {
        PyErr_SetString(PyExc_OSError, "the key of a vault was written in part only");
        return NULL;
    }
    Py_RETURN_NONE;
}

bool vault_wrap(Vault *self, const uint8_t *header, int header_size, const uint8_t *secret, int size, uint8_t *wrapped)
{
    if (!usable(self, true))
        return false;
    uint8_t nonce[NONCE_SIZE] = {0};
    put64(nonce + 4, ++self->count); /* before use: a failure can only skip one */
    memcpy(wrapped, nonce + 4, VAULT_COUNT_SIZE);
    if (aead_seal(self->context, nonce, header, header_size, secret, size, wrapped + VAULT_COUNT_SIZE))
        return true;
    PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not wrap secrets");
    return false;
}

bool vault_unwrap(Vault *self, const uint8_t *header, int header_size, const uint8_t *wrapped, int size,
                  uint8_t *secret)
{
    if (!usable(self, false))
        return false;
    uint8_t nonce[NONCE_SIZE] = {0};
    memcpy(nonce + 4, wrapped, VAULT_COUNT_SIZE);
    if (aead_open(self->context, nonce, header, header_size, wrapped + VAULT_COUNT_SIZE, size, secret))
        return true;
    OPENSSL_cleanse(secret, (size_t)size);
    PyErr_SetString(PyExc_ValueError, "the state was saved under another vault, or was changed on its way");
    return false;
}

enum { LONGEST_INPUT = 1 << 20 }; /* bytes: OpenSSL counts in int */

static bool check_sizes(const Py_buffer *header, const Py_buffer *content, Py_ssize_t shortest)
{
    bool ok = content->len >= shortest && content->len <= LONGEST_INPUT && header->len <= LONGEST_INPUT;
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "the state is cut off, or of no sensible size");
    return ok;
}

/* For the twin: wrap(header, secret) -> wrapped, unwrap(header, wrapped) -> secret. */
static PyObject *vault_wrap_bytes(Vault *self, PyObject *args)
{
    Py_buffer header, secret;
    if (!PyArg_ParseTuple(args, "y*y*:wrap", &header, &secret))
        return NULL;
    PyObject *wrapped = NULL;
    if (check_sizes(&header, &secret, 0))
        wrapped = PyBytes_FromStringAndSize(NULL, secret.len + VAULT_OVERHEAD);
    if (wrapped != NULL && !vault_wrap(self, header.buf, (int)header.len, secret.buf, (int)secret.len,
                                       (uint8_t *)PyBytes_AS_STRING(wrapped)))
        Py_CLEAR(wrapped);
    PyBuffer_Release(&header);
    PyBuffer_Release(&secret);
    return wrapped;
}

static PyObject *vault_unwrap_bytes(Vault *self, PyObject *args)
{
    Py_buffer header, wrapped;
    if (!PyArg_ParseTuple(args, "y*y*:unwrap", &header, &wrapped))
        return NULL;
    PyObject *secret = NULL;
    if (check_sizes(&header, &wrapped, VAULT_OVERHEAD))
        secret = PyBytes_FromStringAndSize(NULL, wrapped.len - VAULT_OVERHEAD);
    if (secret != NULL && !vault_unwrap(self, header.buf, (int)header.len, wrapped.buf,
                                        (int)(wrapped.len - VAULT_OVERHEAD), (uint8_t *)PyBytes_AS_STRING(secret)))
        Py_CLEAR(secret);
    PyBuffer_Release(&header);
    PyBuffer_Release(&wrapped);
    return secret;
}

static PyObject *vault_end(Vault *self, PyObject *unused)
{
    (void)unused;
    EVP_CIPHER_CTX_free(self->context);
    self->context = NULL;
    OPENSSL_cleanse(self->key, sizeof self->key);
    self->ended = true;
    Py_RETURN_NONE;
}

static void vault_dealloc(Vault *self)
{
    Py_DECREF(vault_end(self, NULL));
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef methods[] = {
    {"read", vault_read, METH_O | METH_STATIC, NULL},
    {"write", (PyCFunction)vault_write, METH_O, NULL},
    {"wrap", (PyCFunction)vault_wrap_bytes, METH_VARARGS, NULL},
    {"unwrap", (PyCFunction)vault_unwrap_bytes, METH_VARARGS, NULL},
    {"end", (PyCFunction)vault_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Vault_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "proxy.tls._record.Vault",
    .tp_basicsize = sizeof(Vault),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = vault_new,
    .tp_dealloc = (destructor)vault_dealloc,
    .tp_methods = methods,
};
