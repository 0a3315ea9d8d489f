# How meters.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.flow cimport Flow

cdef class RouteMeters:
    cdef public object _families
    cdef public tuple _where
    cdef public list codes
    cdef public object durations
    cdef public Flow errors
    cdef public str name
    cdef public Flow oks
    cdef public object timeouts

cdef class EndpointMeters:
    cdef public object _families
    cdef public dict _made
    cdef public object calls
    cdef public list codes
    cdef public object durations
    cdef public object ejections
    cdef public object received
    cdef public object refused
    cdef public object resets
    cdef public object sent
    cdef public object timed_out
    cdef public object timeouts
    cdef public tuple where
