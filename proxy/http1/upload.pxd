# How upload.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http1.filtered cimport Filtered
from proxy.plane cimport Plane

cdef class Upload(Filtered):
    cdef public tuple copies

    cpdef fresh(self, Plane plane)
    cpdef long long ahead(self) except? -1
    cpdef carried(self, long long size)
    cpdef _begin_body(self, head)
    @cython.locals(piece=bytes, rest=bytes)
    cpdef bytes _take_body(self, bytes data)
    cpdef _forward_body(self, bytes piece)
    cpdef _refuse_body(self, why)
    cpdef _copy_body(self, bytes piece)
    cpdef _drop_copies(self)
    cpdef _discard(self)
    cpdef _last(self)
    cpdef over(self)
    cpdef _take(self, bytes data)
