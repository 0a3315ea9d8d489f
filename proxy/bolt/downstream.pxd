# How downstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.bolt.runs cimport BoltCalls, Sight
from proxy.cluster cimport Cluster
from proxy.endpoint cimport Endpoint
from proxy.listener cimport Listener
from proxy.multiplexed.downstream cimport MultiplexedDownstream
from proxy.multiplexed.ledger cimport Ledger
from proxy.multiplexed.pieces cimport Pieces
from proxy.multiplexed.stream cimport Inbox

cdef Sight _sight
cdef Pieces _pieces

cdef class BoltDownstream(MultiplexedDownstream):
    @cython.locals(listener=Listener, size=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, now=double, patience=double, upstream=Ledger, calls=BoltCalls, sight=Sight, endpoint=Endpoint, cluster=Cluster)
    cpdef take(self, bytearray buffer)
    cpdef other(self, bytearray buffer, Py_ssize_t at)
