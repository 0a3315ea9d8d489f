# How session.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.tls.guard cimport Guard

cdef class Session(Guard):
    cdef public object about
    cdef public bint answered
    cdef public bint closed_out
    cdef public bint cut
    cdef public object error
    cdef public bytes inbox
    cdef public object layer
    cdef public bytes partial
    cdef public bint rejected
    cdef public long updates

    @cython.locals(unheard=bint, plain=bytes)
    cpdef arrived(self, connection, data)
    cpdef _conclude(self, connection)
    @cython.locals(at=Py_ssize_t, plain=bytes, piece=bytes, buffer=bytes)
    cpdef bytes receive(self, data)
    cpdef break_off(self, error)
    cpdef bint _control(self, long kind, payload) except -1
    cpdef _alert(self, payload)
    cpdef _count(self)
    cpdef _handshake(self, payload)
    cpdef long _expected(self, long kind) except -1
    @cython.locals(count=Py_ssize_t, size=Py_ssize_t, taken=Py_ssize_t, sealed=bytes)
    cpdef Py_ssize_t write(self, Calls calls, int fd, outbox) except -1
    cpdef close(self)
    cpdef pass_on(self, other)
    cpdef end(self)
