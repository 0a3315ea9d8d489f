# How owner.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.http2.heads cimport Head

cdef class Owner:
    cpdef headers(self, long stream_id, Head head, bint end)
    cpdef body(self, long stream_id, bytes piece, bint end)
    cpdef trailers(self, long stream_id, fields)
    cpdef reset(self, long stream_id, long code)
    cpdef refused(self, long stream_id, int status)
    cpdef writable(self, long stream_id)
    cpdef settled(self)
    cpdef pong(self)
    cpdef goaway(self, long last, long code)
    cpdef broken(self, long code, reason)
