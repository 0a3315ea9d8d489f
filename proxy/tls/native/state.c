/* RecordLayer saved and restored. The format is that of proxy/tls/twin_state.py. */
#include "native.h"

enum {
    HEADER = 34, /* in clear */
    LONGEST_SECRETS = 2 * LONGEST_SECRET,
    LONGEST_STATE = HEADER + VAULT_OVERHEAD + LONGEST_SECRETS,
};

enum { FLAG_SERVER = 1, FLAG_ALERTED = 2 };

static int secrets_size(const Suite *suite) /* of one direction */
{
    return suite->version == TLS_1_3 ? suite_hash_size(suite) : suite_key_size(suite) + suite_iv_size(suite);
}

static uint8_t *put_secrets(const Direction *direction, const Suite *suite, uint8_t *at)
{
    int key_size = suite_key_size(suite), size = secrets_size(suite);
    if (suite->version == TLS_1_3) {
        memcpy(at, direction->secret, (size_t)size);
    } else {
        memcpy(at, direction->key, (size_t)key_size);
        memcpy(at + key_size, direction->iv, (size_t)(size - key_size));
    }
    return at + size;
}

static const uint8_t *get_secrets(Direction *direction, const Suite *suite, const uint8_t *at)
{
    int key_size = suite_key_size(suite), size = secrets_size(suite);
    direction_end(direction);
    if (suite->version == TLS_1_3) {
        memcpy(direction->secret, at, (size_t)size);
    } else {
        memcpy(direction->key, at, (size_t)key_size);
        memcpy(direction->iv, at + key_size, (size_t)(size - key_size));
        direction->has_key = true;
    }
    return at + size;
}

static void put_header(const RecordLayer *layer, uint8_t *at)
{
    *at++ = STATE_FORMAT;
    *at++ = (uint8_t)((layer->server ? FLAG_SERVER : 0) | (layer->alerted ? FLAG_ALERTED : 0));
    at = put16(at, layer->suite->version);
    at = put16(at, layer->suite->id);
    at = put16(at, layer->limit);
    at = put64(at, layer->tx.seq);
    at = put64(at, layer->rx.seq);
    at = put64(at, layer->tx_explicit);
    *at++ = layer->broken;
    *at++ = layer->empties;
}

PyObject *layer_save(RecordLayer *self, PyObject *vault)
{
    if (!PyObject_TypeCheck(vault, &Vault_Type))
        return PyErr_Format(PyExc_TypeError, "a vault of this module is needed, not %s", Py_TYPE(vault)->tp_name);
    if (!layer_alive(self))
        return NULL;
    uint8_t secrets[LONGEST_SECRETS];
    int size = (int)(put_secrets(&self->rx, self->suite, put_secrets(&self->tx, self->suite, secrets)) - secrets);
    PyObject *state = PyBytes_FromStringAndSize(NULL, HEADER + VAULT_OVERHEAD + size);
    if (state != NULL) {
        uint8_t *header = (uint8_t *)PyBytes_AS_STRING(state);
        put_header(self, header);
        if (!vault_wrap((Vault *)vault, header, HEADER, secrets, size, header + HEADER))
            Py_CLEAR(state);
    }
    OPENSSL_cleanse(secrets, sizeof secrets);
    return state;
}

static const Suite *check_header(const uint8_t *state, Py_ssize_t size)
{
    const Suite *suite;
    if (size < HEADER + VAULT_OVERHEAD) {
        PyErr_SetString(PyExc_ValueError, "the state is cut off");
    } else if (state[0] != STATE_FORMAT || state[1] & ~(FLAG_SERVER | FLAG_ALERTED)) {
        PyErr_Format(PyExc_ValueError, "the state has format %d, known is %d", state[0], STATE_FORMAT);
    } else if ((suite = suite_find((int)get16(state + 2), (int)get16(state + 4))) == NULL) {
        PyErr_Format(PyExc_ValueError, "the state has suite 0x%04x, which is unknown here", get16(state + 4));
    } else if (get16(state + 6) < 1 || get16(state + 6) > LONGEST_PLAINTEXT) {
        PyErr_SetString(PyExc_ValueError, "the state limits records to nonsense");
    } else if (size != HEADER + VAULT_OVERHEAD + 2 * secrets_size(suite)) {
        PyErr_SetString(PyExc_ValueError, "the state has a wrong size");
    } else {
        return suite;
    }
    return NULL;
}

/* A state may not lead a layer back: to nonces that were used since. */
static bool leads_on(const RecordLayer *self, const Suite *suite, const uint8_t *state)
{
    if (!layer_alive(self))
        return false;
    if (self->saved_at == NEWER_THAN_ANY || permit_grants(self->permit))
        PyErr_SetString(PyExc_ValueError, "an owner's layer is newer than any state");
    else if (self->suite != suite || self->server != (state[1] & FLAG_SERVER))
        PyErr_SetString(PyExc_ValueError, "the state is one of another connection");
    else if (get64(state + HEADER) < self->saved_at)
        PyErr_SetString(PyExc_ValueError, "the state is older than what is there");
    else
        return true;
    return false;
}

/* Changes nothing unless all of it is good. */
static bool load(RecordLayer *self, const uint8_t *state, Py_ssize_t size, PyObject *vault)
{
    const Suite *suite = check_header(state, size);
    bool fresh = self->suite == NULL;
    if (suite == NULL || (!fresh && !leads_on(self, suite, state)))
        return false;
    uint8_t secrets[LONGEST_SECRETS];
    bool ok = vault_unwrap((Vault *)vault, state, HEADER, state + HEADER, 2 * secrets_size(suite), secrets);
    if (ok) {
        self->suite = suite;
        self->server = state[1] & FLAG_SERVER;
        self->alerted = (state[1] & FLAG_ALERTED) != 0;
        self->limit = (uint16_t)get16(state + 6);
        self->tx_explicit = get64(state + 24);
        self->broken = state[32];
        self->empties = state[33];
        self->saved_at = get64(state + HEADER);
        get_secrets(&self->rx, suite, get_secrets(&self->tx, suite, secrets));
        self->tx.seq = get64(state + 8);
        self->rx.seq = get64(state + 16);
    }
    OPENSSL_cleanse(secrets, sizeof secrets);
    return ok;
}

/* As in `seal`, the buffer comes before all that it could change. */
static bool load_object(RecordLayer *self, PyObject *state, PyObject *vault)
{
    Py_buffer buffer;
    if (!PyObject_TypeCheck(vault, &Vault_Type)) {
        PyErr_Format(PyExc_TypeError, "a vault of this module is needed, not %s", Py_TYPE(vault)->tp_name);
        return false;
    }
    if (PyObject_GetBuffer(state, &buffer, PyBUF_SIMPLE) < 0)
        return false;
    bool ok = load(self, buffer.buf, buffer.len, vault);
    PyBuffer_Release(&buffer);
    return ok;
}

PyObject *layer_restore(PyObject *unused, PyObject *const *args, Py_ssize_t count)
{
    (void)unused;
    if (count != 3 || !PyObject_TypeCheck(args[2], &Permit_Type)) {
        PyErr_SetString(PyExc_TypeError, "restore takes a state, a vault and a permit of this module");
        return NULL;
    }
    RecordLayer *self = layer_new((Permit *)args[2], NULL, false);
    if (self != NULL && !load_object(self, args[0], args[1]))
        Py_CLEAR(self);
    return (PyObject *)self;
}

PyObject *layer_reload(RecordLayer *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "reload takes a state and a vault");
        return NULL;
    }
    if (!layer_alive(self) || !load_object(self, args[0], args[1]))
        return NULL;
    Py_RETURN_NONE;
}
