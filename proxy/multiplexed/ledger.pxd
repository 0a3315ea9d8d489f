# How ledger.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.endpoint cimport Endpoint
from proxy.multiplexed.client cimport Client
from proxy.multiplexed.pending cimport Pending
from proxy.multiplexed.pieces cimport Pieces
from proxy.multiplexed.stream cimport Inbox
from proxy.sides cimport Shared

cdef Pieces _pieces

cdef class Ledger(Shared):
    cdef public dict again
    cdef public dict asked
    cdef public dict awaited
    cdef public double beaten
    cdef public Client caller
    cdef public long long caller_awaited
    cdef public Pending calls
    cdef public double connect_by
    cdef public dict feeders
    cdef public object feeders_awaited
    cdef public double heard
    cdef public Inbox inbox
    cdef public object kept
    cdef public double retire_by
    cdef public bint retiring
    cdef public double soonest
    cdef public double spoke
    cdef public Py_ssize_t torn
    cdef public long unanswered
    cdef public object unsent
    cdef public int version

    cpdef readable(self, Calls calls, double now)
    @cython.locals(buffer=bytearray)
    cpdef received(self, data)
    cpdef take(self, bytearray buffer)
    cpdef give_up(self, reason)
    cpdef stuffed(self)
    @cython.locals(endpoint=Endpoint)
    cpdef append(self, bytearray buffer, Py_ssize_t begun, Py_ssize_t end, Client caller, long calls, double soonest)
    @cython.locals(count=Py_ssize_t)
    cpdef flush(self, Calls calls, double now)
    @cython.locals(calls=Pending)
    cpdef long burden(self) except -1
    cpdef end_if_done(self)
    cpdef long in_flight(self) except -1
