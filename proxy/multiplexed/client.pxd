# How client.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.metrics.meters cimport RouteMeters
from proxy.multiplexed.pieces cimport Pieces
from proxy.multiplexed.stream cimport Inbox
from proxy.sides cimport Downstream

cdef Pieces _pieces

cdef class Client(Downstream):
    cdef public int alike
    cdef public dict awaited
    cdef public dict blockers
    cdef public RouteMeters counted_at
    cdef public list held
    cdef public Inbox inbox
    cdef public long long last_id
    cdef public bint leaving
    cdef public double linger
    cdef public dict pushes
    cdef public str route
    cdef public double soonest
    cdef public dict uses

    cpdef readable(self, Calls calls, double now)
    @cython.locals(buffer=bytearray)
    cpdef received(self, data)
    cpdef take(self, bytearray buffer)
    cpdef give_up(self, reason)
    cpdef stuffed(self)
    @cython.locals(meters=RouteMeters)
    cpdef deliver(self, bytearray buffer, Py_ssize_t begun, Py_ssize_t end, long count, long wrong, str route)
    cpdef use(self, upstream)
    cpdef drained(self)
    cpdef block(self, upstream)
    cpdef _slow(self)
    cpdef _leave(self)
    cpdef long in_flight(self) except -1
