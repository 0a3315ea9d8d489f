/* Secrets: the secrets of one handshake, from lines in the key log format of NSS.
 *
 *     LABEL client_random-in-hex secret-in-hex       three words, one space between them
 */
#include "native.h"

typedef struct {
    const char *label;
    size_t bytes, size; /* where the Secrets keep them */
} Kept;

static const Kept kept[] = {
    {"CLIENT_TRAFFIC_SECRET_0", offsetof(Secrets, client), offsetof(Secrets, client_size)},
    {"SERVER_TRAFFIC_SECRET_0", offsetof(Secrets, server), offsetof(Secrets, server_size)},
    {"CLIENT_RANDOM", offsetof(Secrets, master), offsetof(Secrets, master_size)},
};

enum { KEPT = sizeof kept / sizeof *kept };

static const Kept *find_label(const char *label, size_t size)
{
    for (int i = 0; i < KEPT; i++)
        if (strlen(kept[i].label) == size && memcmp(kept[i].label, label, size) == 0)
            return &kept[i];
    return NULL;
}

static int hex_digit(char digit) /* its value, or -1 */
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

static bool is_hex(const char *digits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (hex_digit(digits[i]) < 0)
            return false;
    return true;
}

static void decode_hex(const char *digits, size_t bytes, uint8_t *out)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(hex_digit(digits[2 * i]) << 4 | hex_digit(digits[2 * i + 1]));
}

/* Changes nothing unless all of the line is good. */
static bool parse(Secrets *self, const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    const Kept *found = space ? find_label(line, (size_t)(space - line)) : NULL;
    if (found == NULL)
        return true; /* handshake secrets, exporters: none that we need */
    const char *random = space + 1;
    size_t left = size - (size_t)(random - line);
    if (left <= 2 * RANDOM_SIZE + 1 || random[2 * RANDOM_SIZE] != ' ')
        return false;
    const char *secret = random + 2 * RANDOM_SIZE + 1;
    size_t digits = left - 2 * RANDOM_SIZE - 1;
    bool fits = digits == 2 * 48 || (digits == 2 * 32 && found->bytes != offsetof(Secrets, master));
    if (!fits || !is_hex(random, 2 * RANDOM_SIZE) || !is_hex(secret, digits))
        return false;
    decode_hex(random, RANDOM_SIZE, self->client_random);
    decode_hex(secret, digits / 2, (uint8_t *)self + found->bytes);
    ((uint8_t *)self)[found->size] = (uint8_t)(digits / 2);
    self->has_random = true;
    return true;
}

static bool usable(const Secrets *self)
{
    if (!check_epoch(self->epoch))
        return false;
    if (self->ended)
        PyErr_SetString(PyExc_ValueError, "these secrets have ended");
    return !self->ended;
}

/* The line is cleansed, too: a bytes object is immutable for everybody else, so it has to be one that was made for
 * this call, as pyOpenSSL makes it for a key log callback. */
static PyObject *secrets_line(Secrets *self, PyObject *line)
{
    if (!PyBytes_CheckExact(line)) {
        PyErr_SetString(PyExc_TypeError, "a line of the key log has to be bytes");
        return NULL;
    }
    bool ok = usable(self);
    char *text = PyBytes_AS_STRING(line);
    size_t size = (size_t)PyBytes_GET_SIZE(line);
    if (ok && !parse(self, text, size)) {
        PyErr_SetString(PyExc_ValueError, "a line of the key log cannot be read");
        ok = false;
    }
    if (size > 1) /* shorter ones are shared by the whole process */
        OPENSSL_cleanse(text, size);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* For the twin, which does what we do not: here a secret becomes a Python object, and stays in memory as one. */
static PyObject *secrets_take(Secrets *self, PyObject *name)
{
    Py_ssize_t size;
    const char *label = PyUnicode_AsUTF8AndSize(name, &size);
    if (label == NULL || !usable(self))
        return NULL;
    const Kept *found = find_label(label, (size_t)size);
    uint8_t secret_size = found ? ((uint8_t *)self)[found->size] : 0;
    if (secret_size == 0)
        return PyErr_Format(PyExc_ValueError, "the handshake's secrets lack %s", label);
    return PyBytes_FromStringAndSize((char *)self + found->bytes, secret_size);
}

static void cleanse(Secrets *self)
{
    OPENSSL_cleanse(self->client, sizeof self->client);
    OPENSSL_cleanse(self->server, sizeof self->server);
    OPENSSL_cleanse(self->master, sizeof self->master);
    self->client_size = self->server_size = self->master_size = 0;
}

static PyObject *secrets_end(Secrets *self, PyObject *unused)
{
    (void)unused;
    cleanse(self);
    self->ended = true;
    Py_RETURN_NONE;
}

static PyObject *secrets_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Secrets", names))
        return NULL;
    Secrets *self = (Secrets *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->epoch = process_epoch;
    return (PyObject *)self;
}

static void secrets_dealloc(Secrets *self)
{
    cleanse(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *secrets_client_random(Secrets *self, void *unused)
{
    (void)unused;
    if (!self->has_random)
        return PyBytes_FromStringAndSize(NULL, 0);
    return PyBytes_FromStringAndSize((char *)self->client_random, RANDOM_SIZE);
}

static PyMethodDef methods[] = {
    {"line", (PyCFunction)secrets_line, METH_O, NULL},
    {"take", (PyCFunction)secrets_take, METH_O, NULL},
    {"end", (PyCFunction)secrets_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"client_random", (getter)secrets_client_random, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Secrets_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "proxy.tls._record.Secrets",
    .tp_basicsize = sizeof(Secrets),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = secrets_new,
    .tp_dealloc = (destructor)secrets_dealloc,
    .tp_methods = methods,
    .tp_getset = attributes,
};
