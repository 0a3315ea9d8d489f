/* The metrics that a program counts with, in C: see shm_metrics/twin.py, which counts the same, and
 * shm_metrics/layout.py for where the cells are.
 *
 * Each object holds a buffer of the cells (Py_buffer), so no pointer outlives the memory it points into. Values are
 * written by one relaxed atomic store of eight aligned bytes: a reader in another process sees them before or after it.
 * The interpreter's lock makes adding undisturbed by other threads.
 *
 * The collector of cycles must not see the view that a cell holds: CPython 3.11 clears a memoryview in garbage though
 * somebody has its buffer, and crashes. The price is that memory with an attribute that leads back to its own cells
 * stays for good.
 *
 * Letting go of a buffer may run code of others (callbacks of weak references), and so may taking one or a number, so
 * an object is whole before each of these: not yet made, or with the old cells, or with the new ones. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define FORMAT 1 /* that of shm_metrics/twin.py */
#define CELL ((Py_ssize_t)sizeof(double))

_Static_assert(sizeof(double) == 8, "cells are doubles of eight bytes");

typedef struct {
    PyObject_HEAD
    Py_buffer view;
    double *at;
} Cell;

typedef struct {
    Cell cell;
    double *bounds;
    Py_ssize_t count; /* of bounds; there is one bucket more */
} Histogram;

static double get(const double *at)
{
    double value;
    __atomic_load(at, &value, __ATOMIC_RELAXED);
    return value;
}

static void put(double *at, double value)
{
    __atomic_store(at, &value, __ATOMIC_RELAXED);
}

/* ---- where the cells are ---- */

/* The address of `needed` cells from `first` on, NULL with an error. Keep it only together with the view. */
static double *take(PyObject *cells, Py_ssize_t first, Py_ssize_t needed, Py_buffer *view)
{
    if (PyObject_GetBuffer(cells, view, PyBUF_CONTIG | PyBUF_FORMAT) < 0)
        return NULL;
    const char *format = view->format == NULL ? "B" : view->format;
    const Py_ssize_t there = view->len / CELL;
    if (strcmp(format, "d") != 0 || view->itemsize != CELL || (uintptr_t)view->buf % CELL != 0)
        PyErr_SetString(PyExc_ValueError, "cells are a writable buffer of the format d, aligned");
    else if (first < 0 || needed > there || first > there - needed)
        PyErr_SetString(PyExc_ValueError, "there are not so many cells");
    else
        return (double *)view->buf + first;
    PyBuffer_Release(view);
    return NULL;
}

static int move(Cell *self, PyObject *cells, Py_ssize_t first, Py_ssize_t needed)
{
    Py_buffer view;
    double *at = take(cells, first, needed, &view);
    if (at == NULL)
        return -1;
    Py_buffer former = self->view;
    self->view = view;
    self->at = at;
    PyBuffer_Release(&former); /* last: it may run code that counts here */
    return 0;
}

static void cell_dealloc(PyObject *object)
{
    Cell *self = (Cell *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyBuffer_Release(&self->view);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *cell_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cells", "at", NULL};
    PyObject *cells;
    Py_ssize_t first;
    Py_buffer view;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "On", names, &cells, &first))
        return NULL;
    double *at = take(cells, first, 1, &view);
    if (at == NULL)
        return NULL;
    Cell *self = (Cell *)type->tp_alloc(type, 0);
    if (self == NULL) {
        PyBuffer_Release(&view);
        return NULL;
    }
    self->view = view;
    self->at = at;
    return (PyObject *)self;
}

static PyObject *cell_bind(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cells", "at", NULL};
    PyObject *cells;
    Py_ssize_t first;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "On:bind", names, &cells, &first)
        || move((Cell *)self, cells, first, 1) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *cell_value(PyObject *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(get(((Cell *)self)->at));
}

/* ---- one optional argument, by position or by name ---- */

static int number(PyObject *argument, double *value)
{
    if (PyFloat_CheckExact(argument)) {
        *value = PyFloat_AS_DOUBLE(argument);
        return 0;
    }
    /* PyFloat_AsDouble makes a float of an integer first: 40 ns */
    *value = PyLong_CheckExact(argument) ? PyLong_AsDouble(argument) : PyFloat_AsDouble(argument);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static int amount(PyObject *const *args, Py_ssize_t count, PyObject *names, double *value)
{
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    *value = 1.0;
    if (count + named == 0)
        return 0;
    if (count + named > 1 || (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "amount") != 0)) {
        PyErr_SetString(PyExc_TypeError, "one argument at most: amount");
        return -1;
    }
    return number(args[0], value);
}

/* ---- Counter ---- */

static PyObject *counter_inc(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    double more = 1.0;
    if ((count || names != NULL) && amount(args, count, names, &more) < 0)
        return NULL;
    if (!(more >= 0.0)) { /* NaN, too */
        PyErr_SetString(PyExc_ValueError, "a counter never goes down");
        return NULL;
    }
    double *at = ((Cell *)self)->at;
    put(at, get(at) + more);
    Py_RETURN_NONE;
}

/* ---- Gauge ---- */

static PyObject *gauge_add(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names, double sign)
{
    double more;
    if (amount(args, count, names, &more) < 0)
        return NULL;
    double *at = ((Cell *)self)->at;
    put(at, get(at) + sign * more);
    Py_RETURN_NONE;
}

static PyObject *gauge_inc(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return gauge_add(self, args, count, names, 1.0);
}

static PyObject *gauge_dec(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return gauge_add(self, args, count, names, -1.0);
}

static PyObject *gauge_set(PyObject *self, PyObject *argument)
{
    double value;
    if (number(argument, &value) < 0)
        return NULL;
    put(((Cell *)self)->at, value);
    Py_RETURN_NONE;
}

/* ---- Histogram ---- */

/* Bounds as numbers, to be freed; NULL with an error. */
static double *take_bounds(PyObject *bounds)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(bounds);
    double *numbers = PyMem_New(double, count ? count : 1);
    if (numbers == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t n = 0; n < count; n++) {
        if (number(PyTuple_GET_ITEM(bounds, n), &numbers[n]) < 0) {
            PyMem_Free(numbers);
            return NULL;
        }
    }
    return numbers;
}

static PyObject *histogram_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cells", "at", "bounds", NULL};
    PyObject *cells, *bounds;
    Py_ssize_t first;
    Py_buffer view;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OnO!", names, &cells, &first, &PyTuple_Type, &bounds))
        return NULL;
    double *numbers = take_bounds(bounds);
    if (numbers == NULL)
        return NULL;
    double *at = take(cells, first, PyTuple_GET_SIZE(bounds) + 2, &view);
    if (at == NULL) {
        PyMem_Free(numbers);
        return NULL;
    }
    Histogram *self = (Histogram *)type->tp_alloc(type, 0);
    if (self == NULL) {
        PyBuffer_Release(&view);
        PyMem_Free(numbers);
        return NULL;
    }
    self->cell.view = view;
    self->cell.at = at;
    self->bounds = numbers;
    self->count = PyTuple_GET_SIZE(bounds);
    return (PyObject *)self;
}

static void histogram_dealloc(PyObject *self)
{
    PyMem_Free(((Histogram *)self)->bounds);
    cell_dealloc(self);
}

static PyObject *histogram_bind(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cells", "at", NULL};
    Histogram *self = (Histogram *)object;
    PyObject *cells;
    Py_ssize_t first;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "On:bind", names, &cells, &first)
        || move(&self->cell, cells, first, self->count + 2) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *histogram_observe(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Histogram *self = (Histogram *)object;
    double value, count = 1.0;
    if (given < 1 || given > 2) {
        PyErr_SetString(PyExc_TypeError, "observe takes a value, and how many there are of it");
        return NULL;
    }
    if (number(args[0], &value) < 0 || (given == 2 && number(args[1], &count) < 0))
        return NULL;
    if (!(count >= 0.0)) { /* NaN, too */
        PyErr_SetString(PyExc_ValueError, "a histogram never goes down");
        return NULL;
    }
    Py_ssize_t low = 0, high = self->count; /* bisect_left: the first bound that is not below it */
    while (low < high) {
        const Py_ssize_t middle = low + (high - low) / 2;
        if (self->bounds[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    double *at = self->cell.at;
    put(at + 1 + low, get(at + 1 + low) + count);
    put(at, get(at) + value * count);
    Py_RETURN_NONE;
}

static PyObject *histogram_count(PyObject *object, void *Py_UNUSED(closure))
{
    const Histogram *self = (Histogram *)object;
    double sum = 0.0;
    for (Py_ssize_t n = 0; n <= self->count; n++)
        sum += get(self->cell.at + 1 + n);
    return PyFloat_FromDouble(sum);
}

/* ---- the module ---- */

static PyObject *fence(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE)

static PyMethodDef counter_methods[] = {
    {"inc", FAST(counter_inc), METH_FASTCALL | METH_KEYWORDS, "One more, or `amount` more."},
    {"bind", FAST(cell_bind), METH_VARARGS | METH_KEYWORDS, "Count in other cells from now on."},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef gauge_methods[] = {
    {"set", gauge_set, METH_O, "It is this now."},
    {"inc", FAST(gauge_inc), METH_FASTCALL | METH_KEYWORDS, "So much more."},
    {"dec", FAST(gauge_dec), METH_FASTCALL | METH_KEYWORDS, "So much less."},
    {"bind", FAST(cell_bind), METH_VARARGS | METH_KEYWORDS, "Use other cells from now on."},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef histogram_methods[] = {
    {"observe", FAST(histogram_observe), METH_FASTCALL, "One more of this size, or `count` more."},
    {"bind", FAST(histogram_bind), METH_VARARGS | METH_KEYWORDS, "Use other cells from now on."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef cell_values[] = {
    {"value", cell_value, NULL, "What this process has counted or set.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyGetSetDef histogram_values[] = {
    {"count", histogram_count, NULL, "How many this process has observed.", NULL},
    {"sum", cell_value, NULL, "Of all that this process has observed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define SLOTS(prefix, make, end, values)                                                                               \
    static PyType_Slot prefix##_slots[] = {                                                                            \
        {Py_tp_new, make}, {Py_tp_dealloc, end}, {Py_tp_methods, prefix##_methods}, {Py_tp_getset, values}, {0, NULL}, \
    }

SLOTS(counter, cell_new, cell_dealloc, cell_values);
SLOTS(gauge, cell_new, cell_dealloc, cell_values);
SLOTS(histogram, histogram_new, histogram_dealloc, histogram_values);

static PyType_Spec specs[] = {
    {"shm_metrics._cells.Counter", sizeof(Cell), 0, FLAGS, counter_slots},
    {"shm_metrics._cells.Gauge", sizeof(Cell), 0, FLAGS, gauge_slots},
    {"shm_metrics._cells.Histogram", sizeof(Histogram), 0, FLAGS, histogram_slots},
};

static int execute(PyObject *module)
{
    for (size_t n = 0; n < Py_ARRAY_LENGTH(specs); n++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[n], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    return PyModule_AddIntConstant(module, "FORMAT", FORMAT);
}

static PyMethodDef functions[] = {
    {"fence", fence, METH_NOARGS, "All stores before it are seen before those after it."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "shm_metrics._cells",
    .m_doc = "The metrics that a program counts with.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__cells(void)
{
    return PyModuleDef_Init(&definition);
}
