# How shared_pool.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.endpoint cimport Endpoint
from proxy.sides cimport Shared

cdef class SharedPool:
    cdef public Shared _chosen
    cdef public dict members
    cdef public double not_before

    @cython.locals(chosen=Shared, one=Shared, best=Shared, busy=cython.longlong, fewest=cython.longlong)
    cpdef choose(self)
    @cython.locals(chosen=Shared)
    cpdef at_hand(self, Endpoint endpoint, long most, double now)
    @cython.locals(chosen=Shared)
    cpdef choose_for(self, Endpoint endpoint, double now)
    cpdef discard(self, connection)
