# How requests.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.call cimport Http2Call
from proxy.http2.heads cimport Head
from proxy.http2.living cimport Living
from proxy.http2.owner cimport Owner
from proxy.http2.session cimport Session
from proxy.http2.stream cimport Stream

cdef int LOCAL_ENDED, NO_ERROR, CANCEL, REFUSED_STREAM, SETTINGS

cdef class Requests(Owner):
    cdef public dict closing
    cdef public Living host
    cdef public bint lively
    cdef public dict seated
    cdef public Session session
    cdef public dict table
    cdef public dict waiting

    @cython.locals(session=Session)
    cpdef bint is_told(self) except -1
    @cython.locals(session=Session)
    cpdef bint has_room(self) except -1
    @cython.locals(host=Living, room=bint)
    cpdef seat(self, Http2Call call)
    @cython.locals(host=Living)
    cpdef wait(self, Http2Call call)
    @cython.locals(session=Session, host=Living, call=Http2Call, begun=cython.longlong, room=cython.longlong)
    cpdef serve(self)
    @cython.locals(session=Session, host=Living, number=long)
    cpdef long open(self, Http2Call call) except -1
    @cython.locals(session=Session, host=Living, number=long, stream=Stream, until=double)
    cpdef left(self, Http2Call call, long code)
    @cython.locals(host=Living)
    cpdef forget(self, Http2Call call)
    @cython.locals(session=Session, call=Http2Call, stream=Stream)
    cpdef flow(self)
    @cython.locals(session=Session, host=Living)
    cpdef close_late(self, double now)
    @cython.locals(call=Http2Call)
    cpdef headers(self, long stream_id, Head head, bint end)
    @cython.locals(call=Http2Call, session=Session)
    cpdef body(self, long stream_id, bytes piece, bint end)
    @cython.locals(call=Http2Call)
    cpdef trailers(self, long stream_id, fields)
    @cython.locals(host=Living)
    cpdef _ended(self, long stream_id)
    @cython.locals(call=Http2Call, host=Living)
    cpdef reset(self, long stream_id, long code)
    cpdef refused(self, long stream_id, int status)
    @cython.locals(call=Http2Call, host=Living)
    cpdef writable(self, long stream_id)
    @cython.locals(host=Living)
    cpdef settled(self)
    @cython.locals(host=Living)
    cpdef pong(self)
    @cython.locals(host=Living)
    cpdef goaway(self, long last, long code)
    @cython.locals(host=Living)
    cpdef broken(self, long code, reason)
