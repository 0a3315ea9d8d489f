# How plane.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.flow cimport Flow

cdef class Plane:
    cdef public object kernel
    cdef public long long next_serial
    cdef public double now
    cdef public list unflushed
    cdef public list flows
    cdef public bint draining
    cdef public object tls
    cdef public object dials
    cdef public object guests
    cdef public object acceptor

    @cython.locals(flow=Flow, flows=list)
    cpdef tell(self)
    cpdef host(self, connection)
    cpdef unhost(self, connection)
    cpdef read_on(self, connection)
    cpdef unread(self, connection)
    cpdef at_end(self, connection)
    cpdef io_failed(self, connection, error)
    cpdef follow(self, connection)
    cpdef wake(self, connection, double when)
