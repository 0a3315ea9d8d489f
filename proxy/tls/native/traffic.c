/* RecordLayer.seal and RecordLayer.open: as many records as there are, with one allocation. */
#include "native.h"

static PyObject *fail(RecordLayer *self, int alert, const char *text)
{
    self->broken = (uint8_t)alert;
    return raise_tls_error(alert, text);
}

/* ---- seal */

static bool rekeys(const RecordLayer *self, int kind)
{
    return kind == APPLICATION_DATA && self->suite->version == TLS_1_3;
}

/* How many KeyUpdates come between this many records. */
static Py_ssize_t count_updates(const RecordLayer *self, Py_ssize_t records)
{
    uint64_t before = self->tx.seq < self->rekey_at ? self->rekey_at - self->tx.seq : 0;
    if ((uint64_t)records <= before)
        return 0;
    return (Py_ssize_t)(1 + ((uint64_t)records - before - 1) / self->rekey_at); /* rounded up; the sum may not overflow */
}

static const uint8_t key_update[] = {24, 0, 0, 1, 0}; /* RFC 8446 4.6.3, update_not_requested */

static uint8_t *seal_update(RecordLayer *self, uint8_t *out)
{
    out = record_seal(self, HANDSHAKE, key_update, sizeof key_update, out);
    return out != NULL && direction_next(&self->tx, self->suite) ? out : NULL;
}

static uint8_t *seal_all(RecordLayer *self, int kind, const uint8_t *data, Py_ssize_t left, uint8_t *out)
{
    do {
        if (self->tx.seq >= self->rekey_at && rekeys(self, kind) && (out = seal_update(self, out)) == NULL)
            return NULL;
        int size = left < self->limit ? (int)left : self->limit;
        if ((out = record_seal(self, kind, data, size, out)) == NULL)
            return NULL;
        data += size;
        left -= size;
    } while (left > 0);
    return out;
}

static bool may_seal(RecordLayer *self, int kind)
{
    if (!layer_owns(self))
        return false;
    if (self->broken && (kind != ALERT || self->alerted)) {
        raise_tls_error(self->broken, "the connection is broken: nothing but an alert can be sent");
        return false;
    }
    self->alerted = self->broken != 0;
    return true;
}

static PyObject *seal_buffer(RecordLayer *self, int kind, const Py_buffer *data)
{
    if (!may_seal(self, kind))
        return NULL;
    Py_ssize_t records = data->len > self->limit ? (data->len + self->limit - 1) / self->limit : 1;
    Py_ssize_t size = data->len + records * (HEADER_SIZE + record_expansion(self->suite));
    if (rekeys(self, kind))
        size += count_updates(self, records) * (HEADER_SIZE + (int)sizeof key_update + record_expansion(self->suite));
    PyObject *sealed = PyBytes_FromStringAndSize(NULL, size);
    if (sealed == NULL || seal_all(self, kind, data->buf, data->len, (uint8_t *)PyBytes_AS_STRING(sealed)) != NULL)
        return sealed;
    Py_DECREF(sealed);
    return fail(self, INTERNAL_ERROR, "a record cannot be sealed: its sequence numbers are used up, or OpenSSL failed");
}

/* The buffer comes first: an object that brings its own may run any code, also such that ends this layer. */
PyObject *layer_seal(RecordLayer *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "seal takes a type and data");
        return NULL;
    }
    long kind = PyLong_AsLong(args[0]);
    if (kind < ALERT || kind > APPLICATION_DATA) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the type of a record is 21, 22 or 23");
        return NULL;
    }
    Py_buffer data;
    if (PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *sealed = seal_buffer(self, (int)kind, &data);
    PyBuffer_Release(&data);
    return sealed;
}

/* ---- open */

enum { NOTHING_LEFT = 0, CALL_AGAIN = -1 }; /* instead of a type */

/* In one call. A call measures what it may open, and a record of another type ends it: without a bound, a peer that
 * mixes types in small records would have all that waits measured again for each of them. */
enum { MOST_RECORDS = 64 };

/* What the header alone tells. A record that is too long is not waited for. */
static Opened check_header(const Suite *suite, const uint8_t *header)
{
    bool known = suite->version == TLS_1_3 ? header[0] == APPLICATION_DATA
                                           : header[0] >= ALERT && header[0] <= APPLICATION_DATA;
    if (!known)
        return (Opened){.alert = UNEXPECTED_MESSAGE, .text = "a record has an unexpected type"};
    if ((int)get16(header + 3) > LONGEST_PLAINTEXT + record_expansion(suite))
        return (Opened){.alert = RECORD_OVERFLOW, .text = "a record is too long"};
    return (Opened){.alert = 0};
}

typedef struct {
    const uint8_t *at, *end; /* records that wait */
    uint8_t *out;            /* end of the plaintext */
    Opened last;             /* the record that stopped it: kind 0 if none is left, alert if it is bad */
    bool more;               /* behind `end`, for another call */
} Reading;

/* Room for the plaintext of as many records as this call may open; `end` moves to the end of these. */
static Py_ssize_t plaintext_room(Reading *reading)
{
    const uint8_t *at = reading->at;
    Py_ssize_t room = 0;
    for (int records = 0; records < MOST_RECORDS; records++) {
        if (reading->end - at < HEADER_SIZE)
            return room;
        Py_ssize_t length = get16(at + 3);
        if (length > reading->end - at - HEADER_SIZE)
            return room;
        room += length;
        at += HEADER_SIZE + length;
    }
    reading->more = at < reading->end;
    reading->end = at;
    return room;
}

static Opened open_next(RecordLayer *self, Reading *reading, EVP_CIPHER_CTX *context)
{
    const uint8_t *record = reading->at;
    if (reading->end - record < HEADER_SIZE)
        return (Opened){.kind = NOTHING_LEFT};
    Opened opened = check_header(self->suite, record);
    if (opened.alert)
        return opened;
    int length = (int)get16(record + 3);
    if (reading->end - record - HEADER_SIZE < length)
        return (Opened){.kind = NOTHING_LEFT};
    if (self->rx.seq == UINT64_MAX)
        return (Opened){.alert = INTERNAL_ERROR, .text = "the sequence numbers are used up"};
    opened = record_open(context, self->suite, self->rx.iv, self->rx.seq, record, length, reading->out);
    bool empty = opened.kind == APPLICATION_DATA && opened.size == 0;
    if (empty && self->empties >= MOST_EMPTIES)
        return (Opened){.alert = UNEXPECTED_MESSAGE, .text = "too many empty records in a row"};
    if (opened.alert)
        return opened;
    self->empties = empty ? self->empties + 1 : 0;
    self->rx.seq++;
    reading->at = record + HEADER_SIZE + length;
    return opened;
}

static void open_all(RecordLayer *self, Reading *reading, EVP_CIPHER_CTX *context)
{
    for (;;) {
        reading->last = open_next(self, reading, context);
        if (reading->last.alert || reading->last.kind != APPLICATION_DATA)
            return;
        reading->out += reading->last.size;
    }
}

/* The answer of `open`. What was opened in front of a bad record is told first; the next call finds that record again
 * and raises. */
static PyObject *answer(RecordLayer *self, const Reading *reading, const Py_buffer *buffer, Py_ssize_t at,
                        PyObject *plain)
{
    Py_ssize_t now = reading->at - (const uint8_t *)buffer->buf;
    const Opened *last = &reading->last;
    PyObject *payload = NULL;
    if (last->alert && now == at) {
        Py_DECREF(plain);
        return fail(self, last->alert, last->text);
    }
    if (!last->alert && last->kind != NOTHING_LEFT
        && (payload = PyBytes_FromStringAndSize((const char *)reading->out, last->size)) == NULL) {
        Py_DECREF(plain);
        return NULL;
    }
    Py_ssize_t size = reading->out - (uint8_t *)PyBytes_AS_STRING(plain);
    if (_PyBytes_Resize(&plain, size) < 0) {
        Py_XDECREF(payload);
        return NULL;
    }
    bool again = last->alert || (last->kind == NOTHING_LEFT && reading->more);
    int kind = again ? CALL_AGAIN : last->kind;
    return Py_BuildValue("nNiN", now, plain, kind, payload ? payload : Py_NewRef(Py_None));
}

static PyObject *open_buffer(RecordLayer *self, const Py_buffer *buffer, Py_ssize_t at)
{
    if (!layer_owns(self))
        return NULL;
    if (self->broken)
        return raise_tls_error(self->broken, "the connection is broken: nothing more is opened");
    if (at < 0 || at > buffer->len) {
        PyErr_SetString(PyExc_ValueError, "the position is outside of the buffer");
        return NULL;
    }
    EVP_CIPHER_CTX *context = direction_context(&self->rx, self->suite);
    if (context == NULL)
        return fail(self, INTERNAL_ERROR, "OpenSSL did not take the key");
    Reading reading = {.at = (const uint8_t *)buffer->buf + at, .end = (const uint8_t *)buffer->buf + buffer->len};
    PyObject *plain = PyBytes_FromStringAndSize(NULL, plaintext_room(&reading));
    if (plain == NULL)
        return NULL;
    reading.out = (uint8_t *)PyBytes_AS_STRING(plain);
    open_all(self, &reading, context);
    return answer(self, &reading, buffer, at, plain);
}

PyObject *layer_open(RecordLayer *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !(PyBytes_Check(args[0]) || PyByteArray_Check(args[0]))) { /* memory that nobody else changes */
        PyErr_SetString(PyExc_TypeError, "open takes bytes or a bytearray, and a position");
        return NULL;
    }
    Py_ssize_t at = PyNumber_AsSsize_t(args[1], NULL); /* the nearest one if there is none so large */
    Py_buffer buffer;
    if ((at == -1 && PyErr_Occurred()) || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *result = open_buffer(self, &buffer, at);
    PyBuffer_Release(&buffer);
    return result;
}
