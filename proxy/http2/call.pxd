# How call.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.http1.exchange cimport Exchange
from proxy.http1.upstream cimport Http1Upstream
from proxy.http2.heads cimport Head
from proxy.http2.living cimport Living
from proxy.http2.requests cimport Requests
from proxy.http2.sealing cimport sealed_of
from proxy.http2.server_text cimport request_fields, response_text
from proxy.http2.session cimport Session
from proxy.http2.stream cimport Stream
from proxy.http2.text cimport chunk, last_chunk, trailer_fields
from proxy.plane cimport Plane

cdef int LOCAL_ENDED, NO_ERROR, CANCEL

cdef class Http2Call(Http1Upstream):
    cdef public Living host
    cdef public bytes key
    cdef public long number
    cdef public long long owed
    cdef public bytearray unread
    cdef public bint untouched
    cdef public object uploading
    cdef public long long wanting
    cdef public bint wraps

    cpdef fresh(self, Plane plane)
    @cython.locals(requests=Requests)
    cpdef seat(self, Living host, Exchange exchange)
    cpdef begins(self)
    @cython.locals(exchange=Exchange)
    cpdef turn(self)
    @cython.locals(host=Living, out=bytes, over=bint, stream=Stream, room=bint)
    cpdef flush(self, Calls calls, double now)
    @cython.locals(session=Session, number=long, requests=Requests)
    cpdef bint _open(self, Living host, bytes out) except -1
    @cython.locals(session=Session, number=long, piece=bytes, room=bint)
    cpdef bint _upload(self, Living host, bytes out, bint end) except -1
    cpdef writable(self)
    @cython.locals(stream=Stream)
    cpdef _shut(self, Living host)
    @cython.locals(exchange=Exchange, text=bytes)
    cpdef headed(self, Head head, bint ended)
    cpdef body(self, bytes piece, bint end)
    cpdef ended_by(self, trailers)
    cpdef _arrived(self, bytes text)
    cpdef _at_end(self)
    cpdef resume(self)
    @cython.locals(owed=cython.longlong, host=Living)
    cpdef _give_back(self)
    cpdef _complete(self, exchange)
    cpdef close(self)
    cpdef reset(self)
    @cython.locals(host=Living)
    cpdef _leave(self, long code)
    cpdef gone(self)
    cpdef double due(self) except? -1
    @cython.locals(host=Living)
    cpdef expired(self, double now)
    cpdef attached(self)
    cpdef detached(self)
    cpdef recount(self)
