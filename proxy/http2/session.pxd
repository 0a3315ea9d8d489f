# How session.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.http2.incoming cimport Incoming

cdef class Session(Incoming):
    cpdef begin(self)
    cpdef ping(self)
    cpdef shut_down(self)
    cpdef end(self, long code=*)
