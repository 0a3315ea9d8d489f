# How sending.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.sides cimport Upstream
from proxy.plane cimport Plane

cdef class Announced(Upstream):
    cdef public bytes announced

    cpdef fresh(self, Plane plane)
    cpdef announce(self, client)
    cpdef load_announced(self, header)
