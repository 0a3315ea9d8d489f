/* RecordLayer: the methods that Python calls. */
#include "native.h"
#include <structmember.h>

bool layer_alive(const RecordLayer *self)
{
    if (self->ended)
        PyErr_SetString(NotOwner, "this record layer has ended: its keys are gone");
    return !self->ended && check_epoch(self->epoch);
}

bool layer_owns(RecordLayer *self)
{
    if (!layer_alive(self))
        return false;
    if (!permit_grants(self->permit)) {
        PyErr_SetString(NotOwner, "this generation does not own the connection: nothing is sealed or opened");
        return false;
    }
    self->saved_at = NEWER_THAN_ANY;
    return true;
}

RecordLayer *layer_new(Permit *permit, const Suite *suite, bool server)
{
    RecordLayer *self = (RecordLayer *)RecordLayer_Type.tp_alloc(&RecordLayer_Type, 0);
    if (self == NULL)
        return NULL;
    self->permit = (Permit *)Py_NewRef(permit);
    self->suite = suite;
    self->server = server;
    self->epoch = process_epoch;
    self->limit = LONGEST_PLAINTEXT;
    self->rekey_at = REKEY_AT;
    self->tx.seals = true;
    return self;
}

/* ---- from a handshake */

/* For PyArg_Parse: a number of 64 bits. Its own format K would cut off what is too large. */
static int convert_64(PyObject *number, void *to)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    *(uint64_t *)to = value;
    if (value != ULLONG_MAX || !PyErr_Occurred())
        return true;
    if (PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_SetString(PyExc_ValueError, "a sequence number has 64 bits");
    return false;
}

static bool take_traffic_secret(Direction *direction, const uint8_t *secret, int size, const Suite *suite)
{
    if (size != suite_hash_size(suite)) {
        PyErr_SetString(PyExc_ValueError, "the traffic secrets of the handshake are missing or of another suite");
        return false;
    }
    memcpy(direction->secret, secret, (size_t)size);
    return true;
}

static bool take_secrets(RecordLayer *self, const Secrets *secrets, const uint8_t *server_random)
{
    Direction *client = self->server ? &self->rx : &self->tx, *server = self->server ? &self->tx : &self->rx;
    if (self->suite->version == TLS_1_3)
        return take_traffic_secret(client, secrets->client, secrets->client_size, self->suite)
               && take_traffic_secret(server, secrets->server, secrets->server_size, self->suite);
    if (secrets->master_size != MASTER_SIZE)
        PyErr_SetString(PyExc_ValueError, "the master secret of the handshake is missing");
    else if (!keys_expand_master(self->suite, secrets->master, secrets->client_random, server_random, client, server))
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not derive keys");
    else
        return true;
    return false;
}

static PyObject *layer_begin(PyObject *unused, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"secrets", "permit", "server", "version", "suite", "client_random", "server_random",
                            "tx_seq", "rx_seq", "tx_explicit", "limit", "rekey_at", NULL};
    (void)unused;
    Secrets *secrets;
    Permit *permit;
    int server, version, id, limit = LONGEST_PLAINTEXT;
    const uint8_t *client_random, *server_random;
    Py_ssize_t client_random_size, server_random_size;
    uint64_t tx_seq, rx_seq, tx_explicit = 0, rekey_at = REKEY_AT;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!piiy#y#O&O&|O&iO&:begin", names, &Secrets_Type, &secrets,
                                     &Permit_Type, &permit, &server, &version, &id, &client_random,
                                     &client_random_size, &server_random, &server_random_size, convert_64, &tx_seq,
                                     convert_64, &rx_seq, convert_64, &tx_explicit, &limit, convert_64, &rekey_at))
        return NULL;
    const Suite *suite = suite_find(version, id);
    if (suite == NULL)
        return PyErr_Format(PyExc_ValueError, "suite 0x%04x of version 0x%04x is unknown here", id, version);
    if (limit < 1 || limit > LONGEST_PLAINTEXT || rekey_at < 1) {
        PyErr_SetString(PyExc_ValueError, "limit has to be 1 to 16384, rekey_at at least 1");
        return NULL;
    }
    if (client_random_size != RANDOM_SIZE || server_random_size != RANDOM_SIZE || !secrets->has_random
        || memcmp(client_random, secrets->client_random, RANDOM_SIZE) != 0) {
        PyErr_SetString(PyExc_ValueError, "the secrets are missing, or of another handshake");
        return NULL;
    }
    if (!check_epoch(secrets->epoch))
        return NULL;
    RecordLayer *self = layer_new(permit, suite, server);
    if (self != NULL && !take_secrets(self, secrets, server_random))
        Py_CLEAR(self);
    if (self != NULL) {
        self->tx.seq = tx_seq;
        self->rx.seq = rx_seq;
        self->tx_explicit = tx_explicit;
        self->limit = (uint16_t)limit;
        self->rekey_at = rekey_at;
        self->saved_at = NEWER_THAN_ANY;
    }
    return (PyObject *)self;
}

/* ---- KeyUpdate, RFC 8446 4.6.3 */

static PyObject *update(RecordLayer *self, Direction *direction)
{
    if (!layer_owns(self))
        return NULL;
    if (self->suite->version != TLS_1_3) {
        PyErr_SetString(PyExc_ValueError, "only TLS 1.3 has KeyUpdates");
        return NULL;
    }
    if (!direction_next(direction, self->suite)) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not derive keys");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *layer_update_tx(RecordLayer *self, PyObject *unused)
{
    (void)unused;
    return update(self, &self->tx);
}

static PyObject *layer_update_rx(RecordLayer *self, PyObject *unused)
{
    (void)unused;
    return update(self, &self->rx);
}

/* ---- proof of the keys */

static PyObject *try_record(const Direction *direction, const Suite *suite, uint64_t seq, const uint8_t *record,
                            int length)
{
    EVP_CIPHER_CTX *context = aead_context(suite_cipher(suite), direction->key, false);
    PyObject *plain = context ? PyBytes_FromStringAndSize(NULL, length) : PyErr_NoMemory();
    if (plain != NULL) {
        Opened opened = record_open(context, suite, direction->iv, seq, record, length,
                                    (uint8_t *)PyBytes_AS_STRING(plain));
        if (opened.alert)
            Py_SETREF(plain, Py_NewRef(Py_None));
        else
            _PyBytes_Resize(&plain, opened.size);
    }
    EVP_CIPHER_CTX_free(context);
    return plain;
}

static PyObject *layer_proves(RecordLayer *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"record", "ours", "seq", NULL};
    Py_buffer record;
    int ours;
    uint64_t seq;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*pO&:proves", names, &record, &ours, convert_64, &seq))
        return NULL;
    PyObject *plain = NULL;
    Direction *direction = ours ? &self->tx : &self->rx;
    const uint8_t *bytes = record.buf;
    if (!layer_alive(self))
        ; /* it set the exception */
    else if (!direction->has_key && !direction_derive(direction, self->suite))
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not derive keys");
    else if (record.len < HEADER_SIZE || record.len != HEADER_SIZE + (Py_ssize_t)get16(bytes + 3))
        plain = Py_NewRef(Py_None);
    else
        plain = try_record(direction, self->suite, seq, bytes, (int)record.len - HEADER_SIZE);
    PyBuffer_Release(&record);
    return plain;
}

/* ---- ownership and end */

static PyObject *layer_assign(RecordLayer *self, PyObject *permit)
{
    if (!PyObject_TypeCheck(permit, &Permit_Type))
        return PyErr_Format(PyExc_TypeError, "a permit of this module is needed, not %s", Py_TYPE(permit)->tp_name);
    if (!layer_alive(self))
        return NULL;
    Py_SETREF(self->permit, (Permit *)Py_NewRef(permit));
    Py_RETURN_NONE;
}

static PyObject *layer_end(RecordLayer *self, PyObject *unused)
{
    (void)unused;
    direction_end(&self->tx);
    direction_end(&self->rx);
    self->ended = true;
    Py_RETURN_NONE;
}

static void layer_dealloc(RecordLayer *self)
{
    direction_end(&self->tx);
    direction_end(&self->rx);
    Py_XDECREF(self->permit);
    Py_TYPE(self)->tp_free(self);
}

/* ---- what may be known */

static PyObject *layer_repr(RecordLayer *self)
{
    return PyUnicode_FromFormat("<RecordLayer TLS 1.%d %s %s>", self->suite->version - TLS_1_2 + 2, self->suite->name,
                                self->server ? "server" : "client");
}

static PyObject *layer_version(RecordLayer *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(self->suite->version);
}

static PyObject *layer_suite(RecordLayer *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(self->suite->id);
}

static PyGetSetDef attributes[] = {
    {"version", (getter)layer_version, NULL, NULL, NULL},
    {"suite", (getter)layer_suite, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"server", T_BOOL, offsetof(RecordLayer, server), READONLY, NULL},
    {"limit", T_USHORT, offsetof(RecordLayer, limit), READONLY, NULL},
    {"tx_seq", T_ULONGLONG, offsetof(RecordLayer, tx.seq), READONLY, NULL},
    {"rx_seq", T_ULONGLONG, offsetof(RecordLayer, rx.seq), READONLY, NULL},
    {"tx_explicit", T_ULONGLONG, offsetof(RecordLayer, tx_explicit), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* By way of void *: a cast from one type of function to another is what a warning asks about. */
#define METHOD(function) ((PyCFunction)(void *)(function))

static PyMethodDef methods[] = {
    {"begin", METHOD(layer_begin), METH_VARARGS | METH_KEYWORDS | METH_STATIC, NULL},
    {"restore", METHOD(layer_restore), METH_FASTCALL | METH_STATIC, NULL},
    {"reload", METHOD(layer_reload), METH_FASTCALL, NULL},
    {"save", METHOD(layer_save), METH_O, NULL},
    {"seal", METHOD(layer_seal), METH_FASTCALL, NULL},
    {"open", METHOD(layer_open), METH_FASTCALL, NULL},
    {"update_tx", METHOD(layer_update_tx), METH_NOARGS, NULL},
    {"update_rx", METHOD(layer_update_rx), METH_NOARGS, NULL},
    {"proves", METHOD(layer_proves), METH_VARARGS | METH_KEYWORDS, NULL},
    {"assign", METHOD(layer_assign), METH_O, NULL},
    {"end", METHOD(layer_end), METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* A static type without members that Python sees cannot be copied or pickled: two layers under one key would use a
 * nonce twice. Nor can it be made other than by begin and restore. */
PyTypeObject RecordLayer_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "proxy.tls._record.RecordLayer",
    .tp_basicsize = sizeof(RecordLayer),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)layer_dealloc,
    .tp_repr = (reprfunc)layer_repr,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = attributes,
};
