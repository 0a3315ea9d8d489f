# What pieces.pyx offers to compiled modules: see proxy/compiled.py.

from cpython.bytearray cimport PyByteArray_GET_SIZE

cdef inline Py_ssize_t reach(bytearray buffer, Py_ssize_t at) except -1:
    """How long a buffer is, in which `at` is a place, or the end. Codecs of others may ask for anything."""
    if buffer is None or not 0 <= at <= PyByteArray_GET_SIZE(buffer):
        raise IndexError("a place outside of a buffer")
    return PyByteArray_GET_SIZE(buffer)


cdef class Pieces:
    cpdef bytearray rest(self, bytearray buffer, Py_ssize_t at)
    cpdef joined(self, out, bytearray buffer, Py_ssize_t begun, Py_ssize_t end)
