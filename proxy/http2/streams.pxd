# How streams.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.downstream cimport Http2Downstream
from proxy.http2.exchange cimport Http2Exchange
from proxy.http2.heads cimport Head
from proxy.http2.owner cimport Owner
from proxy.http2.session cimport Session
from proxy.http2.stream cimport Stream
from proxy.listener cimport Listener

cdef int LOCAL_ENDED, NO_ERROR

cdef class Streams(Owner):
    cdef public dict closing
    cdef public Http2Downstream host
    cdef public long long requests
    cdef public Session session
    cdef public dict table
    cdef public bytes tail

    @cython.locals(host=Http2Downstream, stream=Http2Exchange, listener=Listener)
    cpdef headers(self, long stream_id, Head head, bint end)
    @cython.locals(host=Http2Downstream)
    cpdef _seat(self, Http2Exchange stream, long number)
    @cython.locals(stream=Http2Exchange, session=Session)
    cpdef body(self, long stream_id, bytes piece, bint end)
    @cython.locals(stream=Http2Exchange)
    cpdef trailers(self, long stream_id, fields)
    @cython.locals(stream=Http2Exchange, host=Http2Downstream)
    cpdef reset(self, long stream_id, long code)
    @cython.locals(host=Http2Downstream)
    cpdef refused(self, long stream_id, int status)
    @cython.locals(stream=Http2Exchange)
    cpdef writable(self, long stream_id)
    cpdef settled(self)
    cpdef pong(self)
    cpdef goaway(self, long last, long code)
    @cython.locals(host=Http2Downstream)
    cpdef broken(self, long code, reason)
    @cython.locals(number=long, session=Session, host=Http2Downstream)
    cpdef done(self, Http2Exchange stream, long code)
    @cython.locals(stream=Stream, session=Session, host=Http2Downstream)
    cpdef close_those_done(self, double now)
    @cython.locals(stream=Http2Exchange)
    cpdef lose(self)
    @cython.locals(stream=Http2Exchange, waiting=Stream)
    cpdef flow(self)
