# How exchange.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.http1.downstream cimport Http1Downstream
from proxy.http1.message cimport RequestHead, ResponseHead
from proxy.http1.upstream cimport Http1Upstream
from proxy.http2.downstream cimport Http2Downstream
from proxy.http2.grpc cimport about
from proxy.http2.heads cimport Head
from proxy.http2.sealing cimport seal, sealed_of
from proxy.http2.session cimport Session
from proxy.http2.text cimport answer_fields, chunk, last_chunk, request_head, request_text, trailer_fields
from proxy.listener cimport Listener
from proxy.plane cimport Plane

cdef class Http2Exchange(Http1Downstream):
    cdef public bint called
    cdef public tuple concealed
    cdef public Http2Downstream host
    cdef public long number
    cdef public long long owed
    cdef public tuple sealed
    cdef public object trailing
    cdef public bytearray unread
    cdef public double until

    cpdef fresh(self, Plane plane)
    @cython.locals(listener=Listener)
    cpdef open(self, Head head, bint ended)
    cpdef bytes _serve(self, RequestHead head, bytes data, passage=*)
    cpdef body(self, bytes piece, bint end)
    cpdef ended_by(self, trailers)
    cpdef _arrived(self, bytes data)
    cpdef _shut_tunnel(self)
    @cython.locals(owed=cython.longlong, host=Http2Downstream, session=Session)
    cpdef _give_back(self)
    cpdef resume(self)
    @cython.locals(none=bint, session=Session, plain=bint, key=bytes, host=Http2Downstream, listener=Listener)
    cpdef bytes answer(self, ResponseHead head)
    @cython.locals(host=Http2Downstream, plane=Plane, session=Session)
    cpdef complete(self)
    cpdef interim(self, head)
    @cython.locals(host=Http2Downstream, session=Session)
    cpdef _tell(self, list fields, bint end)
    cpdef bint switch(self, head) except -1
    cpdef conceal(self, names)
    cpdef trailers(self, section)
    @cython.locals(host=Http2Downstream, session=Session, over=bint, last=bint, room=bint, piece=bytes)
    cpdef flush(self, Calls calls, double now)
    cpdef writable(self)
    cpdef write_record(self, outcome)
    @cython.locals(host=Http2Downstream)
    cpdef finished(self)
    cpdef close(self)
    cpdef reset(self)
    @cython.locals(host=Http2Downstream)
    cpdef _end(self, long code)
    cpdef gone(self)
    @cython.locals(host=Http2Downstream, session=Session)
    cpdef _leave_host(self)
    cpdef attached(self)
    cpdef detached(self)
    cpdef double due(self) except? -1
    cpdef expired(self, double now)
