# How downstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.http2.session cimport Session
from proxy.http2.streams cimport Streams
from proxy.sides cimport Downstream

cdef Py_ssize_t MOST_UNREAD

cdef class Http2Downstream(Downstream):
    cdef public double checked
    cdef public double deadline
    cdef public bint leaving
    cdef public bint speaks
    cdef public Streams streams

    @cython.locals(session=Session)
    cpdef begin(self)
    @cython.locals(session=Session)
    cpdef received(self, data)
    cpdef later(self)
    cpdef flush(self, Calls calls, double now)
    @cython.locals(streams=Streams, session=Session, said=bytes)
    cpdef stir(self)
    @cython.locals(session=Session)
    cpdef end(self)
    @cython.locals(streams=Streams)
    cpdef ended(self)
    @cython.locals(streams=Streams)
    cpdef failed(self, int errno)
    cpdef over(self)
    cpdef finished(self)
    @cython.locals(streams=Streams)
    cpdef drained(self)
    cpdef drain(self)
    @cython.locals(session=Session)
    cpdef leave(self)
    cpdef detached(self)
    @cython.locals(streams=Streams)
    cpdef double due(self) except? -1
    cpdef long in_flight(self) except -1
    @cython.locals(streams=Streams, session=Session)
    cpdef expired(self, double now)
