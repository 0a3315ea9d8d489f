# How filtered.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.http1.exchange cimport Exchange
from proxy.http1.message cimport RequestHead
from proxy.plane cimport Plane

cdef class Filtered(Exchange):
    cdef public str lane
    cdef public tuple wishes

    cpdef fresh(self, Plane plane)
    cpdef bytes _filter(self, bytes text, bytes data, first=*)
    cpdef _pass(self, chain, first, text, head, wishes)
    cpdef filter_response(self, head)
    cpdef _go_on(self)
    cpdef bytes _serve(self, RequestHead head, bytes data, passage=*)
    cpdef _take(self, bytes data)
