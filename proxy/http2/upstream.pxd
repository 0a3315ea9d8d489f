# How upstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.http2.call cimport Http2Call
from proxy.http2.living cimport Living
from proxy.http2.requests cimport Requests
from proxy.http2.session cimport Session

cdef class Http2Upstream(Living):
    @cython.locals(requests=Requests, session=Session)
    cpdef received(self, data)
    @cython.locals(requests=Requests)
    cpdef flush(self, Calls calls, double now)
    cpdef drained(self)
    cpdef ended(self)
    cpdef failed(self, int errno)
    cpdef finished(self)
