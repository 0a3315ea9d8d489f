# How attended.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.multiplexed.value cimport SavedClient

cdef class Attended(SavedClient):
    pass
