# How reactor.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls, Poller
from proxy.connection cimport Connection
from proxy.roster cimport Roster

cdef class Reactor(Roster):
    cdef public double stop_at
    cdef public long long bugs
    cdef public object count_bug
    cdef public object agenda
    cdef public bint called
    cdef public int _control

    cpdef double next_alarm(self)
    @cython.locals(until=double, alarm=double)
    cpdef serve(self, double seconds)
    @cython.locals(until=double)
    cpdef tick(self, double timeout=*)
    @cython.locals(count=int, at=int, calls=Calls, poller=Poller, fd=int, mask=long, plain=long, now=double, by_fd=list, connection=Connection)
    cpdef int _batch(self, double timeout) except -1
    @cython.locals(connection=Connection, calls=Calls, batch=list, now=double)
    cpdef settle(self)
    cpdef _ready(self, Connection connection, long mask)
    cpdef lose(self, Connection connection, int code, reason=*)
