# How roster.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Poller
from proxy.connection cimport Connection
from proxy.plane cimport Plane
from proxy.timers cimport Alarms

cdef class Roster(Plane):
    cdef public dict connections
    cdef public dict hosted
    cdef public bint sharing
    cdef public Poller epoll
    cdef public Poller past
    cdef public list _by_fd
    cdef public Alarms _alarms
    cdef public list _closing
    cdef public object origins

    @cython.locals(wanted=long, interest=long)
    cpdef _watch(self, Connection connection)
    @cython.locals(connection=Connection, changes=cython.longlong, known=cython.longlong)
    cpdef tuple survey(self, dict sent)
    @cython.locals(connection=Connection, count=cython.longlong)
    cpdef long long under_way(self) except -1
