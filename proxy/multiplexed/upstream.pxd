# How upstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.endpoint cimport Endpoint
from proxy.metrics.meters cimport EndpointMeters
from proxy.multiplexed.living cimport Living
from proxy.multiplexed.pending cimport Pending

cdef class MultiplexedUpstream(Living):
    @cython.locals(endpoint=Endpoint, meters=EndpointMeters, calls=Pending)
    cpdef count_answers(self, long answered, long wrong)
    cpdef connect_failed(self, int errno)
    cpdef ended(self)
    cpdef failed(self, int errno)
    cpdef give_up(self, reason)
    cpdef stuffed(self)
    cpdef drained(self)
