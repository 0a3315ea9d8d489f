# How pooled.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.http1.download cimport Download
from proxy.http1.ending cimport Ending
from proxy.plane cimport Plane

cdef class Pooled(Download):
    cdef public bint counted
    cdef public double deadline
    cdef public double since
    cdef public object use
    cdef public long long uses

    cpdef fresh(self, Plane plane)
    cpdef dial_for(self, exchange, endpoint, double timeout)
    cpdef take(self, Ending exchange)
    cpdef drop(self)
    cpdef _join(self, exchange)
    cpdef _part(self)
    cpdef _there(self)
    cpdef _succeeds(self)
    cpdef _unfit(self, reason)
    cpdef detached(self)
    cpdef drain(self)
