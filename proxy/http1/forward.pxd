# How forward.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.http1.message cimport RequestHead, ResponseHead
from proxy.octets cimport hexadecimal

cdef class RequestIds:
    cdef public bytes _begin
    cdef public unsigned long long _count

    cpdef bytes line(self)

cpdef bytes request_head(RequestHead head, bytes tail, str remote, RequestIds ids, str cluster)
cpdef bytes response_head(ResponseHead head, int minor, bint keep)
