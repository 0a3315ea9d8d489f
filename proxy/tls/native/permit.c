/* Permit: whether this process may seal and open. One flag, shared by all layers of an ownership period. */
#include "native.h"

static PyObject *permit_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Permit", names))
        return NULL;
    Permit *self = (Permit *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->epoch = process_epoch;
    return (PyObject *)self;
}

static PyObject *permit_grant(Permit *self, PyObject *unused)
{
    (void)unused;
    if (!check_epoch(self->epoch))
        return NULL;
    if (self->ended) {
        PyErr_SetString(NotOwner, "this permit has ended: ownership was given away for good");
        return NULL;
    }
    self->granted = true;
    Py_RETURN_NONE;
}

static PyObject *permit_revoke(Permit *self, PyObject *unused)
{
    (void)unused;
    self->granted = false;
    Py_RETURN_NONE;
}

static PyObject *permit_end(Permit *self, PyObject *unused)
{
    self->ended = true;
    return permit_revoke(self, unused);
}

static PyObject *permit_granted(Permit *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(permit_grants(self));
}

static PyMethodDef methods[] = {
    {"grant", (PyCFunction)permit_grant, METH_NOARGS, NULL},
    {"revoke", (PyCFunction)permit_revoke, METH_NOARGS, NULL},
    {"end", (PyCFunction)permit_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"granted", (getter)permit_granted, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Permit_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "proxy.tls._record.Permit",
    .tp_basicsize = sizeof(Permit),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = permit_new,
    .tp_methods = methods,
    .tp_getset = attributes,
};
