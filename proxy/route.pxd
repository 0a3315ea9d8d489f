# How route.py is laid out when it is compiled: see proxy/compiled.py.

cdef class Route:
    cdef public bytes _below
    cdef public object _config
    cdef public tuple _headers
    cdef public bytes _host
    cdef public bytes _path
    cdef public bytes _prefix
    cdef public bytes _segment
    cdef public str cluster
    cdef public str lane
    cdef public object meters
    cdef public bint plain
    cdef public object split

cdef class RouteTable:
    cdef public bint _remember
    cdef public dict known
    cdef public tuple routes
