# How pool.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.sides cimport Upstream

cdef class Pool:
    cdef public dict _idle
    cdef public double keepalive
    cdef public long limit

    cpdef acquire(self)
    cpdef bint release(self, Upstream connection) except -1
    cpdef discard(self, Upstream connection)

cdef class Corner(Pool):
    cdef public Pool _whole

    cpdef acquire(self)
    cpdef bint release(self, Upstream connection) except -1
    cpdef discard(self, Upstream connection)
