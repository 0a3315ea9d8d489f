# How download.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.proxy_protocol.sending cimport Announced
from proxy.plane cimport Plane

cdef class Download(Announced):
    cdef public object chunks
    cdef public bint keep
    cdef public long long left

    cpdef fresh(self, Plane plane)
    cpdef long long ahead(self) except? -1
    cpdef carried(self, long long size)
    cpdef _begin_body(self, long long length)
    cpdef _take_body(self, bytes data)
    cpdef _break_off(self, exchange)
    cpdef drop(self)
    cpdef _complete(self, exchange)
