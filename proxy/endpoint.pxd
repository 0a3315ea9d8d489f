# How endpoint.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.encryption.mix cimport Mix
from proxy.metrics.meters cimport EndpointMeters
from proxy.pool cimport Pool

cdef class Endpoint:
    cdef public object address
    cdef public object announces
    cdef public long long calls
    cdef public object cluster
    cdef public long long current
    cdef public object encryption
    cdef public dict guises
    cdef public str host
    cdef public long long in_flight
    cdef public str key
    cdef public object labels
    cdef public EndpointMeters meters
    cdef public Mix mix
    cdef public str name
    cdef public Pool pool
    cdef public double rests_until
    cdef public dict shared
    cdef public str source
    cdef public object watch
    cdef public long weight

    cpdef begin(self)
    cpdef end(self)
    cpdef lost(self, double now)
    cpdef overdue(self, double now)
    cpdef shared_pool(self, key)
    cpdef seen_by(self, client)

cdef class Guise(Endpoint):
    cdef public Endpoint _whole

    cpdef begin(self)
    cpdef end(self)

cdef class Anywhere(Endpoint):
    cpdef seen_by(self, client)
