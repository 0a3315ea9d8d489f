# How stream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.connection cimport Connection
from proxy.plane cimport Plane

cdef class Inbox:
    cdef public bint much
    cdef public bytearray rest
    cdef public Py_ssize_t skip
    cdef public Py_ssize_t wanted

    @cython.locals(size=Py_ssize_t, plane=Plane)
    cpdef bint read(self, Connection connection, Calls calls, double now) except -1
    @cython.locals(dropped=Py_ssize_t, rest=bytearray)
    cpdef bytearray add(self, data)
    @cython.locals(end=Py_ssize_t)
    cpdef Py_ssize_t skip_frame(self, bytearray buffer, Py_ssize_t at, Py_ssize_t length) except -1
