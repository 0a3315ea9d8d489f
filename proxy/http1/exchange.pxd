# How exchange.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.cluster cimport Cluster
from proxy.endpoint cimport Endpoint
from proxy.http1.ending cimport Ending
from proxy.http1.message cimport ResponseHead
from proxy.http1.upstream cimport Http1Upstream
from proxy.listener cimport Listener
from proxy.plane cimport Plane
from proxy.pool cimport Pool

cdef class Exchange(Ending):
    @cython.locals(cluster=Cluster, endpoint=Endpoint, pool=Pool, upstream=Http1Upstream, any_idle=bint, settled=bint, listener=Listener)
    cpdef _dispatch(self, event)
    cpdef _call(self, event, endpoint, calls)
    cpdef _send_held(self, Http1Upstream upstream)
    @cython.locals(plane=Plane, when=double)
    cpdef _sent(self)
    cpdef dialled(self, Http1Upstream upstream)
    cpdef lost(self)
    cpdef refused(self)
    cpdef _overdue(self, double now)
    cpdef double due(self) except? -1
    @cython.locals(listener=Listener, ends_it=bint, status=int)
    cpdef bytes answer(self, ResponseHead head)
    cpdef conceal(self, names)
    cpdef trailers(self, section)
    cpdef filter_response(self, head)
    cpdef interim(self, head)
    cpdef bint switch(self, head) except -1
    cpdef bad_gateway(self, detail, status=*)
    cpdef _abort(self)
