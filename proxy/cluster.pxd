# How cluster.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.endpoint cimport Endpoint

cdef class Cluster:
    cdef public dict _former
    cdef public object _pick
    cdef public tuple _used
    cdef public object announces
    cdef public dict answers
    cdef public long long calls_before
    cdef public object config
    cdef public tuple endpoints
    cdef public object families
    cdef public object handshakes
    cdef public object healing
    cdef public bint http2
    cdef public object limits
    cdef public object login
    cdef public double max_duration
    cdef public object meters
    cdef public str name
    cdef public bint personal
    cdef public double request_timeout
    cdef public long shared_connections
    cdef public object switch
    cdef public object tls

    @cython.locals(candidates=tuple)
    cpdef pick(self, tried=*, subset=*)
