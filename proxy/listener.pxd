# How listener.py is laid out when it is compiled: see proxy/compiled.py.

cdef class Listener:
    cdef public object access_log
    cdef public str address
    cdef public long long answered
    cdef public bint attended
    cdef public object calls
    cdef public object clusters
    cdef public object config
    cdef public long long connections
    cdef public object downstream
    cdef public bint draining
    cdef public long long failed
    cdef public long fd
    cdef public object filters
    cdef public object gate
    cdef public object handshakes
    cdef public object http2
    cdef public double keepalive_timeout
    cdef public dict lanes
    cdef public bint looks
    cdef public Py_ssize_t max_header_bytes
    cdef public long max_headers
    cdef public object meters
    cdef public str name
    cdef public bint polled
    cdef public object routes
    cdef public object services
    cdef public object splits
    cdef public object tls
    cdef public str turning_away
