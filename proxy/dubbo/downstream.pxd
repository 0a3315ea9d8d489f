# How downstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.cluster cimport Cluster
from proxy.dubbo.runs cimport DubboCalls, Sight
from proxy.endpoint cimport Endpoint
from proxy.listener cimport Listener
from proxy.multiplexed.downstream cimport MultiplexedDownstream
from proxy.multiplexed.ledger cimport Ledger
from proxy.multiplexed.pieces cimport Pieces

cdef Sight _sight
cdef Pieces _pieces

cdef class DubboDownstream(MultiplexedDownstream):
    @cython.locals(listener=Listener, limit=Py_ssize_t, size=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, body=Py_ssize_t, reached=Py_ssize_t, same=Py_ssize_t, now=double, until=double, upstream=Ledger, calls=DubboCalls, sight=Sight, endpoint=Endpoint, cluster=Cluster)
    cpdef take(self, bytearray buffer)
    cpdef other(self, bytearray buffer, Py_ssize_t at)
    cpdef drain(self)
