# What pieces.pyx offers to compiled modules: see proxy/compiled.py.

cdef class Pieces:
    cpdef bytearray rest(self, bytearray buffer, Py_ssize_t at)
    cpdef joined(self, out, bytearray buffer, Py_ssize_t begun, Py_ssize_t end)
