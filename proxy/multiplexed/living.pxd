# How living.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.multiplexed.value cimport SavedLedger

cdef class Living(SavedLedger):
    cpdef connected(self)
    cpdef end_if_done(self)
    cpdef finished(self)
    cpdef drain(self)
    cpdef expired(self, double now)
    cpdef ended_calls(self, long count)
