# How relay.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.connection cimport Connection
from proxy.plane cimport Plane

cdef class Relay(Connection):
    cdef public long long passed
    cdef public bint unseen

    cpdef fresh(self, Plane plane)
    @cython.locals(peer=Connection, size=Py_ssize_t, sent=Py_ssize_t, left=bytes)
    cpdef readable(self, Calls calls, double now)
    @cython.locals(peer=Connection)
    cpdef received(self, data)
    cpdef long long ahead(self) except? -1
    cpdef carried(self, long long size)
    cpdef drained(self)
    cpdef ended(self)
    cpdef finished(self)
    cpdef failed(self, int errno)
    cpdef part(self)
