# How tcp.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.sides cimport Downstream, Upstream

cdef class TcpDownstream(Downstream):
    cdef public object cluster
    cdef public double connect_by
    cdef public double until
    cdef public tuple tried
    cdef public object record

cdef class TcpUpstream(Upstream):
    pass
