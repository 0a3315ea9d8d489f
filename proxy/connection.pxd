# How connection.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.flow cimport Flow
from proxy.plane cimport Plane
from proxy.tls.guard cimport Guard

cdef class Connection:
    cdef public Plane plane
    cdef public long long serial
    cdef public int fd
    cdef public long long changes
    cdef public double active
    cdef public double alarm
    cdef public bint bulk
    cdef public object outbox
    cdef public object peer
    cdef public long interest
    cdef public bint connecting
    cdef public bint paused
    cdef public bint fin_sent
    cdef public bint eof
    cdef public bint shutting
    cdef public bint clogged
    cdef public bint stale
    cdef public Flow count_in
    cdef public Flow count_out
    cdef public Guard tls

    cpdef fresh(self, Plane plane)
    @cython.locals(size=Py_ssize_t, portion=Py_ssize_t)
    cpdef readable(self, Calls calls, double now)
    @cython.locals(count=Py_ssize_t)
    cpdef flush(self, Calls calls, double now)
    cpdef tally(self, Flow flow, Py_ssize_t size)
    cpdef long events(self)
    cpdef send(self, data)
    cpdef shut(self)
    cpdef close(self)
    cpdef reset(self)
    cpdef pause(self)
    cpdef resume(self)
    cpdef wake(self, double when)
    cpdef touch(self)

    cpdef attached(self)
    cpdef detached(self)
    cpdef over(self)
    cpdef begin(self)
    cpdef connected(self)
    cpdef connect_failed(self, int errno)
    cpdef received(self, data)
    cpdef catch_up(self)
    cpdef ended(self)
    cpdef failed(self, int errno)
    cpdef went(self, int errno)
    cpdef drained(self)
    cpdef finished(self)
    cpdef double due(self)
    cpdef expired(self, double now)
    cpdef drain(self)
    cpdef long in_flight(self) except -1
