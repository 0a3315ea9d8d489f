/* The module proxy.tls._record: its classes, its functions, and what happens at a fork. */
#include "native.h"
#include <pthread.h>

PyObject *NotOwner;
static PyObject *TlsError;

/* A child of a fork has the keys and the sequence numbers of its parent: whatever it sealed would use a nonce that the
 * parent uses as well. So nothing that was made before the fork is of use in the child. */
unsigned process_epoch = 1;

static void forked(void)
{
    process_epoch++;
}

bool check_epoch(unsigned epoch)
{
    if (epoch != process_epoch)
        PyErr_SetString(NotOwner, "this was made before a fork: it belongs to the process that made it");
    return epoch == process_epoch;
}

PyObject *raise_tls_error(int alert, const char *text)
{
    PyObject *error = PyObject_CallFunction(TlsError, "is", alert, text);
    if (error != NULL) {
        PyErr_SetObject(TlsError, error);
        Py_DECREF(error);
    }
    return NULL;
}

static PyObject *set_context_limit(PyObject *unused, PyObject *number)
{
    (void)unused;
    int limit;
    if (!PyArg_Parse(number, "i:set_context_limit", &limit))
        return NULL;
    if (limit < 1) {
        PyErr_SetString(PyExc_ValueError, "there has to be room for one context at least");
        return NULL;
    }
    context_limit = limit;
    contexts_shrink(limit);
    Py_RETURN_NONE;
}

static PyObject *contexts(PyObject *unused, PyObject *nothing)
{
    (void)unused, (void)nothing;
    return PyLong_FromLong(context_count);
}

static PyObject *openssl_version(PyObject *unused, PyObject *nothing)
{
    (void)unused, (void)nothing;
    return PyUnicode_FromString(OpenSSL_version(OPENSSL_VERSION_STRING));
}

static PyMethodDef functions[] = {
    {"set_context_limit", set_context_limit, METH_O, NULL},
    {"contexts", contexts, METH_NOARGS, NULL},
    {"openssl_version", openssl_version, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "proxy.tls._record",
    .m_size = -1,
    .m_methods = functions,
};

static bool find_errors(void)
{
    PyObject *errors = PyImport_ImportModule("proxy.tls.errors");
    if (errors == NULL)
        return false;
    TlsError = PyObject_GetAttrString(errors, "TlsError");
    NotOwner = PyObject_GetAttrString(errors, "NotOwner");
    Py_DECREF(errors);
    return TlsError != NULL && NotOwner != NULL;
}

static bool fill(PyObject *module)
{
    PyObject *suites = suite_ids();
    bool ok = PyModule_AddType(module, &Permit_Type) == 0 && PyModule_AddType(module, &Vault_Type) == 0
              && PyModule_AddType(module, &Secrets_Type) == 0 && PyModule_AddType(module, &RecordLayer_Type) == 0
              && PyModule_AddIntConstant(module, "FORMAT", STATE_FORMAT) == 0
              && suites != NULL && PyModule_AddObjectRef(module, "SUITES", suites) == 0;
    Py_XDECREF(suites);
    return ok;
}

PyMODINIT_FUNC PyInit__record(void)
{
    if (!find_errors())
        return NULL;
    if (!openssl_did(keys_fetch()) || pthread_atfork(NULL, NULL, forked) != 0) {
        PyErr_SetString(PyExc_ImportError, "OpenSSL lacks a cipher or HMAC, or fork handlers cannot be set");
        return NULL;
    }
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && !fill(module))
        Py_CLEAR(module);
    return module;
}
