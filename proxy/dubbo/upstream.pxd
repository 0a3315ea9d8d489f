# How upstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.dubbo.runs cimport DubboCalls, Sight
from proxy.endpoint cimport Endpoint
from proxy.multiplexed.client cimport Client
from proxy.multiplexed.pieces cimport Pieces
from proxy.multiplexed.upstream cimport MultiplexedUpstream

cdef Sight _sight
cdef Pieces _pieces

cdef class DubboUpstream(MultiplexedUpstream):
    @cython.locals(endpoint=Endpoint, size=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, answered=long, wrong=long, now=double, calls=DubboCalls, sight=Sight, client=Client, call=tuple)
    cpdef take(self, bytearray buffer)
