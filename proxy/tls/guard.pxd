# How guard.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.calls cimport Calls

cdef class Guard:
    cdef public bytes sealed
    cdef public bint dialling
    cdef public bint waiting
    cdef public bint unheard
    cdef public bint closed_in

    cpdef arrived(self, connection, data)
    cpdef Py_ssize_t write(self, Calls calls, int fd, outbox) except -1
    cpdef pass_on(self, other)
    cpdef end(self)
