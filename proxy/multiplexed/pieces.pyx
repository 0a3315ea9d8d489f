"""Parts of the buffers that frames are read from, as outboxes take them, in C: see pieces.py, the twin in Python.

A slice is an object that lives for as long as it takes to copy it once more; here bytes are copied once.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

cdef extern from "Python.h":
    ctypedef struct PyByteArrayObject:
        Py_ssize_t ob_alloc


cdef class Pieces:
    """Without a state: a class, for that is what compiled code calls without a lookup."""

    cpdef bytearray rest(self, bytearray buffer, Py_ssize_t at):
        """What is there from `at` on."""
        cdef Py_ssize_t size = reach(buffer, at)
        return PyByteArray_FromStringAndSize(PyByteArray_AS_STRING(buffer) + at, size - at)

    cpdef joined(self, out, bytearray buffer, Py_ssize_t begun, Py_ssize_t end):
        """An outbox with a part of a buffer behind it. The buffer is given away, for all of it may be the outbox."""
        cdef bytearray whole
        cdef Py_ssize_t size
        reach(buffer, end)
        if not 0 <= begun <= end:
            raise IndexError("no part of a buffer")
        if not out:
            if begun == 0 and end == PyByteArray_GET_SIZE(buffer):
                return buffer
            return PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer) + begun, end - begun)
        whole = bytearray(out) if type(out) is bytes else out
        size = PyByteArray_GET_SIZE(whole)
        if size + end - begun >= (<PyByteArrayObject *>whole).ob_alloc:  # twice as much, for more will come:
            PyByteArray_Resize(whole, 2 * (size + end - begun))  # an eighth, as is usual, is copied with each piece
        PyByteArray_Resize(whole, size + end - begun)
        memcpy(PyByteArray_AS_STRING(whole) + size, PyByteArray_AS_STRING(buffer) + begun, end - begun)
        return whole
