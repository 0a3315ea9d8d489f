/* The module proxy.http1._head: its functions, and the twin that they ask where they are not sure. */
#include "native.h"

enum { FORMAT = 2 }; /* proxy.http1.head has the same number if both are of the same sources */

static PyObject *twin_find_end, *twin_parse_request, *twin_parse_response;

/* Where CRLF CRLF begins; NULL if there is none. From line to line: that is half the time of memmem. */
static const char *find_empty_line(const char *at, const char *end)
{
    while (end - at >= 4 && (at = memchr(at, '\r', (size_t)(end - at - 3))) != NULL) {
        if (memcmp(at, "\r\n\r\n", 4) == 0)
            return at;
        at++;
    }
    return NULL;
}

static PyObject *find_end(PyObject *unused, PyObject *const *args, Py_ssize_t count)
{
    (void)unused;
    if (count == 3 && PyBytes_CheckExact(args[0])) {
        const char *buffer = PyBytes_AS_STRING(args[0]);
        Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
        Py_ssize_t scanned = PyLong_AsSsize_t(args[1]);
        Py_ssize_t limit = PyLong_AsSsize_t(args[2]);
        if ((scanned == -1 || limit == -1) && PyErr_Occurred())
            return NULL;
        Py_ssize_t from = scanned > 3 ? scanned - 3 : 0;
        const char *end = from < size ? find_empty_line(buffer + from, buffer + size) : NULL;
        if (end != NULL && end - buffer <= limit)
            return PyLong_FromSsize_t(end - buffer);
    }
    return PyObject_Vectorcall(twin_find_end, args, (size_t)count, NULL);
}

static PyObject *parse_request(PyObject *unused, PyObject *const *args, Py_ssize_t count)
{
    (void)unused;
    if (count == 2 && PyBytes_CheckExact(args[0])) {
        long max_fields = PyLong_AsLong(args[1]);
        if (max_fields == -1 && PyErr_Occurred())
            return NULL;
        PyObject *head = read_request(args[0], max_fields);
        if (head != NULL || PyErr_Occurred())
            return head;
    }
    return PyObject_Vectorcall(twin_parse_request, args, (size_t)count, NULL);
}

static PyObject *parse_response(PyObject *unused, PyObject *const *args, Py_ssize_t count)
{
    (void)unused;
    if (count == 3 && PyBytes_CheckExact(args[0]) && PyBytes_CheckExact(args[1])) {
        long max_fields = PyLong_AsLong(args[2]);
        if (max_fields == -1 && PyErr_Occurred())
            return NULL;
        PyObject *head = read_response(args[0], args[1], max_fields);
        if (head != NULL || PyErr_Occurred())
            return head;
    }
    return PyObject_Vectorcall(twin_parse_response, args, (size_t)count, NULL);
}

static PyMethodDef functions[] = {
    {"find_end", (PyCFunction)(void (*)(void))find_end, METH_FASTCALL, NULL},
    {"parse_request", (PyCFunction)(void (*)(void))parse_request, METH_FASTCALL, NULL},
    {"parse_response", (PyCFunction)(void (*)(void))parse_response, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "proxy.http1._head",
    .m_size = -1,
    .m_methods = functions,
};

static bool find_twin(void)
{
    static const struct {
        const char *name;
        PyObject **kept;
    } wanted[] = {
        {"find_end", &twin_find_end},
        {"parse_request", &twin_parse_request},
        {"parse_response", &twin_parse_response},
    };
    PyObject *twin = PyImport_ImportModule("proxy.http1.head");
    PyObject *message = PyImport_ImportModule("proxy.http1.message");
    bool ok = twin != NULL && message != NULL;
    for (size_t i = 0; ok && i < sizeof wanted / sizeof *wanted; i++)
        ok = (*wanted[i].kept = PyObject_GetAttrString(twin, wanted[i].name)) != NULL;
    ok = ok && (new_request = PyObject_GetAttrString(message, "request")) != NULL
         && (new_response = PyObject_GetAttrString(message, "response")) != NULL;
    if (ok)
        head_find(message);
    Py_XDECREF(twin);
    Py_XDECREF(message);
    return ok;
}

PyMODINIT_FUNC PyInit__head(void)
{
    grammar_prepare();
    if (!head_prepare() || !find_twin())
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddIntConstant(module, "FORMAT", FORMAT) < 0)
        Py_CLEAR(module);
    return module;
}
