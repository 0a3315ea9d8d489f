# How guests.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.connection cimport Connection
from proxy.plane cimport Plane

cdef class Guests:
    cdef public Plane _reactor
    cdef public dict by_serial

    @cython.locals(reactor=Plane)
    cpdef host(self, Connection connection)
    cpdef unhost(self, Connection connection)
