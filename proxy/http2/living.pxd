# How living.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.requests cimport Requests
from proxy.http2.session cimport Session
from proxy.sides cimport Shared

cdef Py_ssize_t MOST_UNREAD

cdef class Living(Shared):
    cdef public double asked
    cdef public double deadline
    cdef public double heard
    cdef public bint replaced
    cdef public Requests requests
    cdef public bint retiring

    cpdef bint is_ready(self) except -1
    @cython.locals(requests=Requests)
    cpdef busy(self)
    @cython.locals(requests=Requests)
    cpdef vacated(self)
    @cython.locals(session=Session)
    cpdef connected(self)
    cpdef connect_failed(self, int errno)
    @cython.locals(session=Session, said=bytes)
    cpdef stir(self)
    cpdef settled(self)
    cpdef pong(self)
    cpdef told_to_go(self, code)
    cpdef exhausted(self)
    cpdef broke(self, reason)
    cpdef wind_down(self)
    cpdef drain(self)
    @cython.locals(requests=Requests)
    cpdef end_if_done(self)
    @cython.locals(session=Session)
    cpdef _end(self)
    cpdef cut(self)
    cpdef over(self)
    cpdef detached(self)
    @cython.locals(requests=Requests, when=double)
    cpdef double due(self) except? -1
    @cython.locals(interval=double, session=Session)
    cpdef double _heartbeat(self) except? -1
    @cython.locals(requests=Requests, session=Session)
    cpdef expired(self, double now)
