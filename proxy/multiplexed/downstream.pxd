# How downstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.cluster cimport Cluster
from proxy.endpoint cimport Endpoint
from proxy.listener cimport Listener
from proxy.multiplexed.attended cimport Attended
from proxy.multiplexed.ledger cimport Ledger
from proxy.shared_pool cimport SharedPool
from proxy.sides cimport Shared

cdef class MultiplexedDownstream(Attended):
    @cython.locals(listener=Listener, cluster=Cluster, endpoint=Endpoint, pool=SharedPool, chosen=Shared)
    cpdef choose(self, bytearray buffer, Py_ssize_t begun, Py_ssize_t end, int version, Ledger last)
    cpdef ended(self)
    cpdef failed(self, int errno)
    cpdef finished(self)
    cpdef expired(self, double now)
