# How upstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.endpoint cimport Endpoint
from proxy.http1.exchange cimport Exchange
from proxy.http1.message cimport ResponseHead
from proxy.http1.pooled cimport Pooled
from proxy.octets cimport cut
from proxy.plane cimport Plane
from proxy.pool cimport Pool

cdef class Http1Upstream(Pooled):
    cdef public bint answered
    cdef public bytes inbox
    cdef public Py_ssize_t scanned

    cpdef fresh(self, Plane plane)
    cpdef received(self, data)
    cpdef _pass_on(self, bytes data)
    cpdef long long ahead(self) except? -1
    cpdef carried(self, long long size)
    @cython.locals(exchange=Exchange, endpoint=Endpoint, head=ResponseHead, end=Py_ssize_t, start=Py_ssize_t, there=Py_ssize_t, length=cython.longlong, status=int, text=bytes)
    cpdef _take_head(self, bytes data)
    cpdef _switch(self, Exchange exchange, bint agreed, bytes data)
    @cython.locals(endpoint=Endpoint, plane=Plane, pool=Pool, keep=bint, when=double)
    cpdef _complete(self, exchange)
    cpdef _fail(self, detail, status=*)
    cpdef connected(self)
    cpdef connect_failed(self, int errno)
    cpdef ended(self)
    cpdef failed(self, int errno)
    cpdef drained(self)
    cpdef finished(self)
    cpdef double due(self) except? -1
    cpdef expired(self, double now)
