# How downstream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.cluster cimport Cluster
from proxy.http1.message cimport RequestHead
from proxy.http1.upload cimport Upload
from proxy.listener cimport Listener
from proxy.route cimport Route, RouteTable

cdef class Http1Downstream(Upload):
    cpdef begin(self)
    cpdef received(self, data)
    cpdef _proceed(self)
    cpdef _keep(self, bytes data)
    @cython.locals(listener=Listener, end=Py_ssize_t)
    cpdef _take(self, bytes data)
    cpdef _await_head(self, bytes data)
    @cython.locals(listener=Listener, cluster=Cluster, route=Route, routes=RouteTable, name=str)
    cpdef bytes _serve(self, RequestHead head, bytes data, passage=*)
    cpdef ended(self)
    cpdef _leave(self)
    cpdef failed(self, int errno)
    cpdef drained(self)
    cpdef finished(self)
    cpdef drain(self)
    cpdef expired(self, double now)
    cpdef long in_flight(self) except -1
