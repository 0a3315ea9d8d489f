# How ending.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.listener cimport Listener
from proxy.metrics.meters cimport RouteMeters
from proxy.plane cimport Plane
from proxy.sides cimport Downstream

cdef class Ending(Downstream):
    cdef public long attempts
    cdef public double began
    cdef public object chunks
    cdef public object cluster
    cdef public double deadline
    cdef public bint expects
    cdef public double expires
    cdef public long filtered
    cdef public bytes held
    cdef public bytes inbox
    cdef public bint keep
    cdef public long long left
    cdef public RouteMeters meters
    cdef public bytes method
    cdef public int minor
    cdef public dict notes
    cdef public object record
    cdef public long long requests
    cdef public Py_ssize_t scanned
    cdef public long long spendable
    cdef public object step
    cdef public bytes tail
    cdef public object terms
    cdef public bint timed_out
    cdef public tuple tried
    cdef public bint upgrade

    cpdef fresh(self, Plane plane)
    @cython.locals(plane=Plane, now=double, when=double, listener=Listener)
    cpdef complete(self)
    cpdef write_record(self, outcome)
    cpdef over(self)
    cpdef _discard(self)
    cpdef _last(self)
    cpdef _drop_upstream(self)
    cpdef double due(self) except? -1
    cpdef _proceed(self)
