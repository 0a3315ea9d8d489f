# How sides.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.relay cimport Relay
from proxy.plane cimport Plane

cdef class Downstream(Relay):
    cdef public object listener
    cdef public object remote
    cdef public object introduced
    cdef public object destination
    cdef public object server_name

cdef class Upstream(Relay):
    cdef public object endpoint
    cdef public bytes preface
    cdef public bint spare
    cdef public bint secured
    cdef public bint spurned
    cdef public object _counted

    cpdef fresh(self, Plane plane)
    cpdef recount(self)

cdef class Shared(Upstream):
    cpdef long burden(self) except -1
